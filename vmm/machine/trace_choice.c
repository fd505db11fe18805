/* SPDX-License-Identifier: Apache-2.0 */
/* The words of --log, and the file that they go to. */
#include "vmm/machine/trace_choice.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/core/accel.h"
#include "vmm/machine/config.h"

static const struct {
	const char *name;
	enum accel_trace kind;
} trace_words[] = {
	{"in_asm", ACCEL_TRACE_IN_ASM}, {"out_asm", ACCEL_TRACE_OUT_ASM}, {"op", ACCEL_TRACE_OP},
	{"int", ACCEL_TRACE_INT},       {"mmu", ACCEL_TRACE_MMU},
};

static int trace_word(const char *word, size_t len, uint32_t *kinds, struct err *err)
{
	for (size_t i = 0; i < sizeof(trace_words) / sizeof(trace_words[0]); i++) {
		if (strlen(trace_words[i].name) == len && strncmp(trace_words[i].name, word, len) == 0) {
			*kinds |= trace_words[i].kind;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "\"%.*s\" is none of in_asm, out_asm, op, int, mmu", (int)len, word);
}

int trace_choice_parse(const char *text, uint32_t *kinds, struct err *err)
{
	int code = 0;

	*kinds = 0;
	while (text && code == 0) {
		size_t len = strcspn(text, ",");

		code = trace_word(text, len, kinds, err);
		text = text[len] ? text + len + 1 : NULL;
	}
	return code;
}

int trace_choice_open(const struct machine_config *config, struct accel_vm_config *vm_config, struct err *err)
{
	int code = trace_choice_parse(config->log, &vm_config->trace, err);

	vm_config->trace_fd = -1;
	vm_config->perf_map = config->perf_map;
	if (code < 0 || !vm_config->trace)
		return code;
	if (config->log_file)
		vm_config->trace_fd =
			open(config->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
	else
		vm_config->trace_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return vm_config->trace_fd < 0
		       ? err_set_errno(err, -errno, "--log-file %s", config->log_file ? config->log_file : "")
		       : 0;
}

void trace_choice_close(struct accel_vm_config *vm_config)
{
	if (vm_config->trace_fd >= 0)
		close(vm_config->trace_fd);
	vm_config->trace_fd = -1;
}
