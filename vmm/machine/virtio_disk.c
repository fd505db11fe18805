/* SPDX-License-Identifier: Apache-2.0 */
/* The disks that a configuration asks for: their images are opened and locked here, and closed at the end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/core/blockdev.h"
#include "vmm/machine/config_parts.h"
#include "vmm/machine/parts.h"

/* A second's worth at once; what a limit of zero means is no limit. */
static struct rate_limit_config disk_limit(const struct machine_disk *disk)
{
	return (struct rate_limit_config){
		.operations = {.size = disk->iops,
			       .one_time_burst = disk->iops_burst,
			       .refill_time_ns = NS_PER_S},
		.bytes = {.size = disk->bytes_per_s,
			  .one_time_burst = disk->bytes_burst,
			  .refill_time_ns = NS_PER_S},
	};
}

static struct blockdev *disk_open(const struct machine_disk *disk, struct err *err)
{
	const struct blockdev_config config = {
		.path = disk->path,
		.format = disk->format,
		.readonly = disk->readonly,
		.cache = disk->cache,
		.engine = disk->engine,
		.pin = disk->pin,
		.logical_block_bytes = disk->block_bytes,
	};

	return blockdev_open(&config, err);
}

static int disk_add(struct machine *machine, size_t index, struct err *err)
{
	const struct machine_disk *disk = (const struct machine_disk *)machine->config.disks.item + index;
	struct machine_disk_part *part = &machine->disk[index];
	struct device_env env = machine_io_env(machine);
	char id[sizeof(part->device->id)];
	struct virtio_blk_config config = {
		.id = id,
		.serial = disk->serial,
		.queues = disk->queues ? disk->queues : 1,
		.limit = disk_limit(disk),
	};

	config_disk_id(&machine->config, index, id, sizeof(id));
	part->blockdev = disk_open(disk, err);
	if (!part->blockdev)
		return err ? err->code : -EIO;
	machine->disk_count++;
	config.blockdev = part->blockdev;
	log_info("%s: %s, %llu bytes, by %s", id, disk->path,
		 (unsigned long long)block_size_bytes(part->blockdev), blockdev_engine_name(part->blockdev));
	part->device = virtio_blk_create(&env, &config, err);
	return machine_add_virtio(machine, part->device, err);
}

int machine_add_disks(struct machine *machine, struct err *err)
{
	for (size_t i = 0; i < machine->config.disks.count; i++) {
		if (disk_add(machine, i, err) < 0)
			return err_prefix(err, "--disk (disks)");
	}
	return 0;
}

void machine_close_disks(struct machine *machine)
{
	while (machine->disk_count > 0)
		blockdev_close(machine->disk[--machine->disk_count].blockdev);
}

int machine_resize_disk(struct machine *machine, const char *id, uint64_t size_bytes, struct err *err)
{
	for (size_t i = 0; i < machine->disk_count; i++) {
		if (strcmp(machine->disk[i].device->id, id) == 0)
			return virtio_blk_resize(machine->disk[i].device, size_bytes, err);
	}
	return err_set(err, -ENOENT, "there is no disk \"%s\"", id);
}

void machine_refresh_disks(struct machine *machine)
{
	for (size_t i = 0; i < machine->disk_count; i++) {
		const struct machine_disk_part *part = &machine->disk[i];
		uint64_t before = block_size_bytes(part->blockdev);
		struct err err = {0};

		if (virtio_blk_resize(part->device, 0, &err) < 0)
			log_error("%s", err.message);
		else if (block_size_bytes(part->blockdev) != before)
			log_info("%s: %llu bytes now", part->device->id,
				 (unsigned long long)block_size_bytes(part->blockdev));
	}
}
