/* SPDX-License-Identifier: Apache-2.0 */
/* The blockdev in memory. Knows no device. */
#include "tests/unit/memory_disk.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"

static struct memory_disk *memory_disk_of(const struct block_queue *queue)
{
	return (struct memory_disk *)queue->blockdev;
}

static struct block_queue *memory_queue_create(struct blockdev *blockdev,
					       const struct block_queue_config *config, struct err *err)
{
	struct memory_disk *disk = (struct memory_disk *)blockdev;

	if (disk->queues > 0) {
		err_set(err, -EBUSY, "one queue only");
		return NULL;
	}
	disk->queues++;
	disk->queue = (struct block_queue){.blockdev = blockdev, .config = *config};
	return &disk->queue;
}

static void memory_queue_destroy(struct block_queue *queue)
{
	struct memory_disk *disk = memory_disk_of(queue);

	assert(!disk->head && disk->submitted == disk->completed);
	disk->queues--;
}

static void memory_submit(struct block_queue *queue, struct block_request *request)
{
	struct memory_disk *disk = memory_disk_of(queue);

	assert(disk->depth > 0);
	request->next = NULL;
	if (disk->tail)
		disk->tail->next = request;
	else
		disk->head = request;
	disk->tail = request;
	disk->submitted++;
}

static void memory_copy(struct memory_disk *disk, struct block_request *request)
{
	uint8_t *bytes = disk->bytes + request->offset_bytes;
	uint64_t total = 0;

	for (unsigned i = 0; i < request->iov_count; i++) {
		struct iovec *iov = &request->iov[i];

		total += iov->iov_len;
		assert(total <= request->size_bytes);
		if (request->op == BLOCK_READ)
			memcpy(iov->iov_base, bytes, iov->iov_len);
		else
			memcpy(bytes, iov->iov_base, iov->iov_len);
		bytes += iov->iov_len;
		/* As a backend may, so that nobody relies on them. */
		*iov = (struct iovec){0};
	}
	assert(total == request->size_bytes);
}

/* Bounds are asserted: the device above must have checked them. */
static void memory_perform(struct memory_disk *disk, struct block_request *request)
{
	uint32_t block = disk->blockdev.limits.logical_block_bytes;

	disk->durable += request->durable;
	disk->unmapped += request->op == BLOCK_WRITE_ZEROES && request->unmap;
	if (request->op == BLOCK_FLUSH) {
		disk->flushes++;
		return;
	}
	assert(request->op == BLOCK_READ || !disk->blockdev.limits.readonly);
	assert((request->offset_bytes | request->size_bytes) % block == 0);
	assert(request->offset_bytes <= disk->size_bytes);
	assert(request->size_bytes <= disk->size_bytes - request->offset_bytes);
	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
		memory_copy(disk, request);
		return;
	}
	disk->discards += request->op == BLOCK_DISCARD;
	disk->zeroes += request->op == BLOCK_WRITE_ZEROES;
	memset(disk->bytes + request->offset_bytes, 0, request->size_bytes);
}

static void memory_complete(struct memory_disk *disk, unsigned count)
{
	struct block_request *request;
	bool any = false;

	while (count-- > 0 && (request = disk->head)) {
		disk->head = request->next;
		if (!disk->head)
			disk->tail = NULL;
		if (disk->fail == 0)
			memory_perform(disk, request);
		disk->completed++;
		any = true;
		request->complete(request, disk->fail);
	}
	if (any && disk->queue.config.batch_end) {
		disk->batches++;
		disk->queue.config.batch_end(disk->queue.config.opaque);
	}
}

static void memory_plug(struct block_queue *queue)
{
	memory_disk_of(queue)->depth++;
}

static void memory_unplug(struct block_queue *queue)
{
	struct memory_disk *disk = memory_disk_of(queue);

	assert(disk->depth > 0);
	if (disk->depth == 1 && !disk->hold)
		memory_complete(disk, UINT_MAX);
	disk->depth--;
}

void memory_disk_release_some(struct memory_disk *disk, unsigned count)
{
	disk->depth++;
	memory_complete(disk, count);
	disk->depth--;
}

void memory_disk_release(struct memory_disk *disk)
{
	memory_disk_release_some(disk, UINT_MAX);
}

static void memory_drain(struct block_queue *queue)
{
	memory_disk_release(memory_disk_of(queue));
}

static uint64_t memory_size_bytes(const struct blockdev *blockdev)
{
	return ((const struct memory_disk *)blockdev)->size_bytes;
}

static int memory_resize(struct blockdev *blockdev, uint64_t size_bytes, struct err *err)
{
	struct memory_disk *disk = (struct memory_disk *)blockdev;
	uint8_t *bytes = size_bytes ? realloc(disk->bytes, size_bytes) : NULL;

	if (!bytes)
		return err_set(err, -EINVAL, "no such size");
	if (size_bytes > disk->size_bytes)
		memset(bytes + disk->size_bytes, 0, size_bytes - disk->size_bytes);
	disk->bytes = bytes;
	disk->size_bytes = size_bytes;
	return 0;
}

static void memory_close(struct blockdev *blockdev)
{
	memory_disk_destroy((struct memory_disk *)blockdev);
}

static const char *memory_engine_name(const struct blockdev *blockdev)
{
	return "memory";
}

static const struct blockdev_ops memory_ops = {
	.queue_create = memory_queue_create,
	.queue_destroy = memory_queue_destroy,
	.submit = memory_submit,
	.plug = memory_plug,
	.unplug = memory_unplug,
	.drain = memory_drain,
	.size_bytes = memory_size_bytes,
	.resize = memory_resize,
	.close = memory_close,
	.engine_name = memory_engine_name,
};

struct memory_disk *memory_disk_create(uint64_t size_bytes, uint32_t logical_block_bytes, bool readonly)
{
	struct memory_disk *disk = calloc(1, sizeof(*disk));

	disk->bytes = calloc(1, size_bytes);
	disk->size_bytes = size_bytes;
	disk->blockdev = (struct blockdev){
		.ops = &memory_ops,
		.limits = {.logical_block_bytes = logical_block_bytes,
			   .physical_block_bytes = 4096,
			   .discard_granularity_bytes = 4096,
			   .readonly = readonly,
			   .can_discard = !readonly,
			   .volatile_cache = !readonly},
	};
	return disk;
}

void memory_disk_destroy(struct memory_disk *disk)
{
	assert(disk->queues == 0);
	free(disk->bytes);
	free(disk);
}
