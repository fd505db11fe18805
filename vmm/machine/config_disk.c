/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said of a disk: the rows of a `--disk`, and the check of what rows alone cannot say. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/rate_limit.h"
#include "vmm/core/blockdev.h"
#include "vmm/machine/config.h"
#include "vmm/machine/config_parts.h"

#define DISK_ID_MAX     31
#define DISK_SERIAL_MAX 20 /* virtio 1.2, 5.2.6 */
#define DISK_QUEUES_MAX 16

/* In the order of enum block_cache. */
static const struct option_choice disk_caches[] = {
	{"writeback", "the host's page cache; what the guest flushes is on the medium"},
	{"unsafe", "the guest's flushes are ignored: for disks that nobody needs after a crash of the host"},
	{"direct", "past the page cache, by O_DIRECT"},
	{NULL, NULL},
};

/* In the order of enum block_engine. */
static const struct option_choice disk_engines[] = {
	{"auto", "io_uring where the kernel allows it, else threads"},
	{"io_uring", NULL},
	{"threads", NULL},
	{NULL, NULL},
};

const struct option config_disk_fields[] = {
	{.path = "path", .type = OPTION_PATH, .offset = offsetof(struct machine_disk, path)},
	{.path = "format",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_disk, format),
	 .metavar = "NAME",
	 .help = "raw, or auto: what the file is. A file that auto takes for raw cannot become anything "
		 "else: "
		 "a write that would make it look like another format fails",
	 .default_text = "auto"},
	{.path = "readonly",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_disk, readonly),
	 .help = "The guest cannot write, and other machines may read the file at the same time"},
	{.path = "id",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_disk, id),
	 .metavar = "NAME",
	 .help = "The disk's name in messages",
	 .default_text = "disk0, disk1, ..."},
	{.path = "cache",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_disk, cache),
	 .metavar = "MODE",
	 .help = "How writes reach the file",
	 .default_text = "writeback",
	 .choice = disk_caches},
	{.path = "engine",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_disk, engine),
	 .metavar = "NAME",
	 .help = "What does the I/O",
	 .default_text = "auto",
	 .choice = disk_engines},
	{.path = "iops",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_disk, iops),
	 .metavar = "N",
	 .help = "At most so many requests a second",
	 .default_text = "no limit"},
	{.path = "iops_burst",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_disk, iops_burst),
	 .metavar = "N",
	 .help = "So many requests more, once"},
	{.path = "bps",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct machine_disk, bytes_per_s),
	 .metavar = "SIZE",
	 .help = "At most so many bytes a second; a plain number is MiB",
	 .default_text = "no limit"},
	{.path = "bps_burst",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct machine_disk, bytes_burst),
	 .metavar = "SIZE",
	 .help = "So many bytes more, once"},
	{.path = "byte_bucket",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_disk, byte_bucket),
	 .metavar = "SIZE/MS[+BURST]",
	 .help = "Instead of bps: SIZE bytes in MS milliseconds, and BURST bytes more, once"},
	{.path = "request_bucket",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_disk, request_bucket),
	 .metavar = "N/MS[+BURST]",
	 .help = "Instead of iops: N requests in MS milliseconds, and BURST more, once"},
	{.path = "serial",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_disk, serial),
	 .metavar = "TEXT",
	 .help = "The serial number that the guest sees, of at most 20 characters",
	 .default_text = "the id"},
	{.path = "queues",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_disk, queues),
	 .metavar = "N",
	 .help = "Request queues, at best one for each CPU of the guest",
	 .default_text = "1",
	 .max = DISK_QUEUES_MAX},
	{.path = "block_size",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_disk, block_bytes),
	 .metavar = "N",
	 .help = "The size of a logical block: 512 or 4096",
	 .default_text = "512, or what cache=direct needs"},
	{.path = "pin",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_disk, pin),
	 .help = "Register the guest's memory with io_uring: cheaper requests with cache=direct, and all of "
		 "the memory stays resident"},
	{.path = NULL},
};

/* "disk1", or what the configuration calls it. */
void config_disk_id(const struct machine_config *config, size_t index, char *id, size_t size)
{
	const struct machine_disk *disks = config->disks.item;

	if (disks[index].id)
		snprintf(id, size, "%s", disks[index].id);
	else
		snprintf(id, size, "disk%zu", index);
}

static int config_check_disk(const struct machine_disk *disk, struct err *err)
{
	struct rate_bucket_config bucket;

	if (!disk->path || !disk->path[0])
		return err_set(err, -EINVAL, "has no file: write PATH or PATH,KEY=VALUE...");
	if (blockdev_format_check(disk->format, err) < 0)
		return err ? err->code : -EINVAL;
	if (disk->id && (!disk->id[0] || strlen(disk->id) > DISK_ID_MAX))
		return err_set(err, -EINVAL, "id: has 1 to %d characters", DISK_ID_MAX);
	if (disk->serial && strlen(disk->serial) > DISK_SERIAL_MAX)
		return err_set(err, -EINVAL, "serial: \"%s\" is longer than %d characters", disk->serial,
			       DISK_SERIAL_MAX);
	if (disk->block_bytes != 0 && disk->block_bytes != 512 && disk->block_bytes != 4096)
		return err_set(err, -EINVAL, "block_size: %u is neither 512 nor 4096", disk->block_bytes);
	if (rate_bucket_parse(disk->byte_bucket, &bucket, err) < 0)
		return err_prefix(err, "byte_bucket");
	if (rate_bucket_parse(disk->request_bucket, &bucket, err) < 0)
		return err_prefix(err, "request_bucket");
	if (disk->pin && disk->engine == BLOCK_ENGINE_THREADS)
		return err_set(err, -EINVAL, "pin: is for io_uring, not for engine=threads");
	return 0;
}

int config_check_disks(const struct machine_config *config, struct err *err)
{
	const struct machine_disk *disks = config->disks.item;
	char id[DISK_ID_MAX + 1];
	char other[DISK_ID_MAX + 1];

	if (config->disks.count > MACHINE_DISKS_MAX)
		return err_set(err, -EINVAL, "%zu disks are asked for: at most %d are possible",
			       config->disks.count, MACHINE_DISKS_MAX);
	for (size_t i = 0; i < config->disks.count; i++) {
		if (config_check_disk(&disks[i], err) < 0)
			return err_prefix(err, "disk %zu", i + 1);
		config_disk_id(config, i, id, sizeof(id));
		for (size_t j = 0; j < i; j++) {
			config_disk_id(config, j, other, sizeof(other));
			if (strcmp(id, other) == 0)
				return err_set(err, -EINVAL, "disk %zu: id: \"%s\" is disk %zu's, too", i + 1,
					       id, j + 1);
		}
	}
	return 0;
}
