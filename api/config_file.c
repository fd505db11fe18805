/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file: its sections go where the requests' bodies go, by the same tables and checks. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/json_reader.h"
#include "api/vm.h"
#include "vmm/base/err.h"
#include "vmm/base/json.h"

/* The file's text, terminated and owned, or NULL. */
static char *config_file_read(const char *path, size_t *len, struct err *err)
{
	char *text = malloc(JSON_FILE_SIZE_MAX + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 1;

	*len = 0;
	if (!text || fd < 0) {
		err_set(err, -errno, "Unable to open or read from the configuration file: %s (os error %d)",
			strerror(errno), errno);
		got = -1;
	}
	while (got > 0 && *len < JSON_FILE_SIZE_MAX) {
		got = read(fd, text + *len, JSON_FILE_SIZE_MAX - *len);
		*len += got > 0 ? (size_t)got : 0;
	}
	if (fd >= 0)
		close(fd);
	if (got == 0) {
		text[*len] = '\0';
		return text;
	}
	if (got > 0 || !err->code)
		err_set(err, -EFBIG, "%s cannot be read, or is larger than %u bytes", path,
			JSON_FILE_SIZE_MAX);
	free(text);
	return NULL;
}

static int config_file_set_lists(struct api_vm *vm, struct vm_config_body *file, struct err *err)
{
	struct drive *drives = file->drives.item;
	struct net_body *nets = file->nets.item;
	struct pmem_body *pmem = file->pmem.item;
	int code = 0;

	for (size_t i = 0; i < file->drives.count && code == 0; i++)
		code = api_vm_set_drive(vm, &drives[i], err);
	for (size_t i = 0; i < file->nets.count && code == 0; i++)
		code = api_vm_set_net(vm, &nets[i], err);
	for (size_t i = 0; i < file->pmem.count && code == 0; i++)
		code = api_vm_set_pmem(vm, &pmem[i], err);
	return code;
}

static int config_file_set_singles(struct api_vm *vm, struct vm_config_body *file, struct err *err)
{
	int code = 0;

	if (file->balloon)
		code = api_vm_set_balloon(vm, file->balloon, err);
	if (code == 0 && file->vsock)
		code = api_vm_set_vsock(vm, file->vsock, err);
	if (code == 0 && file->entropy)
		code = api_vm_set_entropy(vm, file->entropy, err);
	if (code == 0 && file->mmds)
		code = api_vm_set_mmds_config(vm, file->mmds, err);
	if (code == 0 && file->memory_hotplug)
		code = api_vm_set_memory_hotplug(vm, file->memory_hotplug, err);
	return code;
}

/* A template in the file, or the name of a file that has it. */
static int config_file_set_cpu(struct api_vm *vm, json_t *value, struct err *err)
{
	json_t *template =
		json_is_string(value) ? json_read_file(json_string_value(value), err) : json_incref(value);
	int code = template ? api_vm_set_cpu_config(vm, template, err) : -EINVAL;

	json_decref(template);
	return code;
}

static int config_file_apply(struct api_vm *vm, struct vm_config_body *file, struct err *err)
{
	int code = 0;

	if (file->logger)
		code = api_vm_set_logger(vm, file->logger, err);
	if (code == 0 && file->metrics && api_metrics_open(&vm->metrics, file->metrics, err) < 0)
		code = err_prefix(err, "Metrics error");
	if (code == 0)
		code = api_vm_set_boot_source(vm, file->boot_source, err);
	if (code == 0 && file->machine)
		code = api_vm_set_machine(vm, file->machine, err);
	if (code == 0 && file->cpu_config)
		code = config_file_set_cpu(vm, file->cpu_config, err);
	if (code == 0)
		code = config_file_set_lists(vm, file, err);
	return code < 0 ? code : config_file_set_singles(vm, file, err);
}

int api_vm_read_config(struct api_vm *vm, const char *path, struct err *err)
{
	struct vm_config_body file = {0};
	char error[JSON_READER_ERROR_SIZE];
	size_t len;
	char *text = config_file_read(path, &len, err);
	int code = 0;

	if (!text)
		return err->code ? err->code : -EIO;
	if (!body_parse(&vm_config_type, &file, text, len, error))
		code = err_set(err, -EINVAL, "Invalid JSON: %.400s", error);
	free(text);
	if (code == 0)
		code = config_file_apply(vm, &file, err);
	body_clear(&vm_config_type, &file);
	return code < 0 ? err_prefix(err, "Configuration for VMM from one single json failed") : 0;
}
