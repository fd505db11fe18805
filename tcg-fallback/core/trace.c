/* SPDX-License-Identifier: Apache-2.0 */
/* The file of traces and the map for perf(1). */
#include "tcg-fallback/core/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tcg-fallback/core/phys.h"
#include "vmm/base/err.h"

#define PERF_PATH_MAX 40

struct x86_trace {
	uint32_t kinds;
	FILE *out;                                   /* NULL: kinds is 0 */
	FILE *perf_map;                              /* NULL: none is written */
	struct x86_trace_disassembler *disassembler; /* NULL: none */
};

static int trace_open_out(struct x86_trace *trace, int fd, struct err *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	trace->out = copy >= 0 ? fdopen(copy, "w") : NULL;
	if (trace->out)
		return 0;
	err_set_errno(err, -errno, "the file of traces");
	if (copy >= 0)
		close(copy);
	return -EIO;
}

/* perf wants this name in a folder where everybody writes: somebody else's file or link is refused. */
static int trace_open_perf_map(struct x86_trace *trace, struct err *err)
{
	char path[PERF_PATH_MAX];
	struct stat info;
	int fd;

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0)
		return err_set_errno(err, -errno, "%s", path);
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid())
		trace->perf_map = fdopen(fd, "a");
	if (trace->perf_map)
		return 0;
	close(fd);
	return err_set(err, -EPERM, "%s is not this user's file", path);
}

int x86_trace_create(struct x86_trace **trace, const struct x86_trace_config *config, struct err *err)
{
	struct x86_trace *new;
	int code = 0;

	*trace = NULL;
	if (!config->kinds && !config->perf_map)
		return 0;
	new = calloc(1, sizeof(*new));
	if (!new)
		return err_set(err, -ENOMEM, "no memory for traces");
	new->kinds = config->kinds;
	if (config->kinds)
		code = trace_open_out(new, config->fd, err);
	if (code == 0 && config->perf_map)
		code = trace_open_perf_map(new, err);
	if (code < 0) {
		x86_trace_destroy(new);
		return code;
	}
	if (config->kinds & X86_TRACE_OUT_ASM)
		new->disassembler = x86_trace_disassembler_open();
	*trace = new;
	return 0;
}

void x86_trace_destroy(struct x86_trace *trace)
{
	if (!trace)
		return;
	if (trace->out)
		fclose(trace->out);
	if (trace->perf_map)
		fclose(trace->perf_map);
	x86_trace_disassembler_close(trace->disassembler);
	free(trace);
}

bool x86_trace_wants(const struct x86_cpu *cpu, enum x86_trace_kind kind)
{
	return cpu->vm->trace && (cpu->vm->trace->kinds & kind);
}

struct x86_trace_disassembler *x86_trace_disassembler_of(const struct x86_cpu *cpu)
{
	return cpu->vm->trace->disassembler;
}

void x86_trace_begin(const struct x86_cpu *cpu)
{
	flockfile(cpu->vm->trace->out);
}

void x86_trace_line(const struct x86_cpu *cpu, const char *format, ...)
{
	FILE *out = cpu->vm->trace->out;
	va_list args;

	fprintf(out, "cpu %u ", cpu->index);
	va_start(args, format);
	vfprintf(out, format, args);
	va_end(args);
	putc_unlocked('\n', out);
}

/* What was told before a crash should be in the file. */
void x86_trace_end(const struct x86_cpu *cpu)
{
	fflush(cpu->vm->trace->out);
	funlockfile(cpu->vm->trace->out);
}

void x86_trace_symbol(const struct x86_cpu *cpu, const void *start, size_t size, uint64_t linear,
		      uint64_t gpa)
{
	if (!cpu->vm->trace || !cpu->vm->trace->perf_map)
		return;
	fprintf(cpu->vm->trace->perf_map, "%" PRIxPTR " %zx guest:%#" PRIx64 "/%#" PRIx64 "\n",
		(uintptr_t)start, size, linear, gpa);
	fflush(cpu->vm->trace->perf_map);
}
