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
#include "vmm/machine/control.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot.h"

/* A second's worth at once; what a limit of zero means is no limit. Buckets were checked with the
 * configuration. */
static struct rate_limit_config disk_limit(const struct machine_disk *disk)
{
	struct rate_limit_config limit = {
		.operations = {.size = disk->iops,
			       .one_time_burst = disk->iops_burst,
			       .refill_time_ns = NS_PER_S},
		.bytes = {.size = disk->bytes_per_s,
			  .one_time_burst = disk->bytes_burst,
			  .refill_time_ns = NS_PER_S},
	};

	if (disk->byte_bucket)
		rate_bucket_parse(disk->byte_bucket, &limit.bytes, NULL);
	if (disk->request_bucket)
		rate_bucket_parse(disk->request_bucket, &limit.operations, NULL);
	return limit;
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
	if (machine_add_virtio(machine, part->device, err) < 0)
		return err ? err->code : -EIO;
	part->slot = machine->virtio_slot;
	return 0;
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

static int disk_swap(struct machine *machine, size_t index, struct blockdev *blockdev, struct err *err)
{
	struct machine_disk_part *part = &machine->disk[index];
	bool was_paused = machine_is_paused(machine);
	int code = machine_pause(machine, err);
	int resumed = 0;

	if (code == 0)
		code = virtio_blk_replace(part->device, blockdev, err);
	if (!was_paused)
		resumed = machine_resume(machine, code == 0 ? err : NULL);
	if (code < 0) {
		blockdev_close(blockdev);
		return code;
	}
	blockdev_close(part->blockdev);
	part->blockdev = blockdev;
	return resumed;
}

int machine_replace_disk(struct machine *machine, size_t index, const char *path, struct err *err)
{
	struct machine_disk *disk = (struct machine_disk *)machine->config.disks.item + index;
	struct machine_disk changed;
	struct blockdev *blockdev;
	char *copy;
	int code;

	if (index >= machine->disk_count)
		return err_set(err, -ENOENT, "there is no disk %zu", index);
	/* The same file again means that its size has changed: two writers of it would be one too many. */
	if (strcmp(path, disk->path) == 0)
		return virtio_blk_resize(machine->disk[index].device, 0, err);
	copy = strdup(path);
	if (!copy)
		return err_set(err, -ENOMEM, "no memory");
	changed = *disk;
	changed.path = copy;
	blockdev = disk_open(&changed, err);
	code = blockdev ? disk_swap(machine, index, blockdev, err) : err->code;
	if (code < 0) {
		free(copy);
		return code;
	}
	free(disk->path);
	disk->path = copy;
	return 0;
}

int machine_limit_disk(struct machine *machine, size_t index, const struct machine_limits *limits,
		       struct err *err)
{
	if (index >= machine->disk_count)
		return err_set(err, -ENOENT, "there is no disk %zu", index);
	virtio_blk_limit(machine->disk[index].device, limits->operations, limits->bytes);
	return 0;
}

int machine_plug_disk(struct machine *machine, const struct machine_disk *wish, struct err *err)
{
	size_t index = machine->config.disks.count;
	bool was_running;
	int code;

	if (!machine->pci_host)
		return err_set(err, -ENOTSUP, "PCI is not enabled");
	if (index != machine->disk_count || index == MACHINE_DISKS_MAX)
		return err_set(err, -ENOSPC, "%d disks are possible", MACHINE_DISKS_MAX);
	code = machine_add_wish(machine, "disks", wish, err);
	if (code < 0)
		return code;
	code = config_check_disks(&machine->config, err);
	was_running = machine_run_pause(machine);
	if (code == 0)
		code = disk_add(machine, index, err);
	if (code < 0) {
		if (machine->disk_count > index) {
			machine_remove_virtio(machine, machine->disk[index].device, VIRTIO_NO_SLOT);
			blockdev_close(machine->disk[--machine->disk_count].blockdev);
		}
		machine_drop_wish(machine, "disks", index);
	}
	if (was_running)
		machine_run_resume(machine);
	return code;
}

int machine_unplug_disk(struct machine *machine, size_t index, struct err *err)
{
	bool was_running;

	if (!machine->pci_host)
		return err_set(err, -ENOTSUP, "PCI is not enabled");
	if (index >= machine->disk_count)
		return err_set(err, -ENOENT, "Device not found");
	was_running = machine_run_pause(machine);
	machine_remove_virtio(machine, machine->disk[index].device, machine->disk[index].slot);
	blockdev_close(machine->disk[index].blockdev);
	machine->disk_count--;
	memmove(&machine->disk[index], &machine->disk[index + 1],
		(machine->disk_count - index) * sizeof(machine->disk[0]));
	machine_drop_wish(machine, "disks", index);
	if (was_running)
		machine_run_resume(machine);
	return 0;
}
