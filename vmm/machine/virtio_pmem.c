/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The persistent memory that a configuration asks for: each file is mapped above RAM before the accelerator
 * takes the guest's memory, and gets its device later. The file must not be cut short while the guest runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/pmem.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/config_parts.h"
#include "vmm/machine/parts.h"

const struct option machine_pmem_fields[] = {
	{.path = "path", .type = OPTION_PATH, .offset = offsetof(struct machine_pmem, path)},
	{.path = "readonly",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_pmem, readonly),
	 .help = "The guest cannot write it; several virtual machines may then share it"},
	{.path = NULL},
};

static uint64_t pmem_round_up(uint64_t size_bytes)
{
	return (size_bytes + PMEM_ALIGNMENT - 1) & ~(PMEM_ALIGNMENT - 1);
}

/* Opens and locks the file: one writer, or any number of readers. */
static int pmem_open(const struct machine_pmem *wish, struct gmem_file *file, struct err *err)
{
	struct stat status;
	int code = 0;

	if (!wish->path || !wish->path[0])
		return err_set(err, -EINVAL, "path: there is no file");
	file->kind = wish->readonly ? GMEM_ROM : GMEM_DEVICE;
	file->fd = open(wish->path, (wish->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (file->fd < 0)
		return err_set_errno(err, -errno, "%s", wish->path);
	if (flock(file->fd, (wish->readonly ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
		code = errno == EWOULDBLOCK
			       ? err_set(err, -EBUSY, "%s is in use by another program", wish->path)
			       : err_set_errno(err, -errno, "%s: lock", wish->path);
	else if (fstat(file->fd, &status) < 0)
		code = err_set_errno(err, -errno, "%s", wish->path);
	else if (!S_ISREG(status.st_mode) || status.st_size == 0)
		code = err_set(err, -EINVAL, "%s is not a file with something in it", wish->path);
	if (code < 0) {
		close(file->fd);
		return code;
	}
	file->file_bytes = (uint64_t)status.st_size;
	file->size_bytes = pmem_round_up(file->file_bytes);
	return 0;
}

static int pmem_map(struct machine *machine, const struct machine_pmem *wish, uint64_t gpa, uint64_t *end,
		    struct err *err)
{
	uint64_t limit = 1ull << machine->capabilities.phys_bits;
	struct gmem_file file;
	int code = pmem_open(wish, &file, err);

	if (code < 0)
		return code;
	if (gpa >= limit || file.size_bytes > limit - gpa)
		code = err_set(err, -EINVAL, "%s: the CPU's %u address bits do not reach the end of it",
			       wish->path, machine->capabilities.phys_bits);
	else
		code = gmem_add_file(machine->gmem, gpa, &file, err);
	if (code < 0)
		close(file.fd);
	*end = gpa + file.size_bytes;
	return code;
}

int machine_add_pmem_memory(struct machine *machine, uint64_t gpa, struct err *err)
{
	const struct machine_pmem *wishes = machine->config.pmem.item;
	int code = 0;

	for (size_t i = 0; i < machine->config.pmem.count && code == 0; i++) {
		gpa = (gpa + MACHINE_PMEM_ALIGNMENT - 1) & ~(MACHINE_PMEM_ALIGNMENT - 1);
		machine->pmem_gpa[i] = gpa;
		code = pmem_map(machine, &wishes[i], gpa, &gpa, err);
	}
	return code < 0 ? err_prefix(err, "--pmem (pmem)") : 0;
}

int machine_add_pmems(struct machine *machine, struct err *err)
{
	for (size_t i = 0; i < machine->config.pmem.count; i++) {
		const struct gmem_region *region = gmem_region_find(machine->gmem, machine->pmem_gpa[i]);
		struct device_env env = machine_io_env(machine);
		char id[32];
		const struct pmem_config config = {
			.id = id,
			.gpa = region->gpa,
			.size_bytes = region->size_bytes,
			.hva = region->hva,
			.file_bytes = region->size_bytes,
		};

		snprintf(id, sizeof(id), "pmem%zu", i);
		if (machine_add_virtio(machine, pmem_create(&env, &config, err), err) < 0)
			return err_prefix(err, "--pmem (pmem)");
	}
	return 0;
}
