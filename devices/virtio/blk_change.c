/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of a block device that a guest uses: its size, its limits, the disk behind it. */
#include <errno.h>

#include "devices/virtio/blk_device.h"
#include "devices/virtio/blk_layout.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/blockdev.h"

int virtio_blk_resize(struct device *device, uint64_t size_bytes, struct err *err)
{
	struct virtio_blk *blk = (struct virtio_blk *)device;
	int code = block_resize(blk->blockdev, size_bytes, err);
	uint64_t capacity = block_size_bytes(blk->blockdev) >> BLK_SECTOR_SHIFT;

	if (code < 0)
		return err_prefix(err, "%s", device->id);
	virtio_config_change(&blk->virtio, offsetof(struct blk_config_space, capacity), &capacity,
			     sizeof(capacity));
	return 0;
}

struct blk_limit_call {
	struct virtio_blk *blk;
	const struct rate_bucket_config *operations, *bytes;
};

static void blk_limit_on_loop(void *opaque)
{
	const struct blk_limit_call *call = opaque;
	uint64_t now_ns = clock_monotonic_ns();

	rate_limit_change(&call->blk->limit, call->operations, call->bytes, now_ns);
	/* Whoever waits asks the new buckets. */
	loop_timer_arm(call->blk->limit_timer, now_ns);
}

void virtio_blk_limit(struct device *device, const struct rate_bucket_config *operations,
		      const struct rate_bucket_config *bytes)
{
	struct blk_limit_call call = {(struct virtio_blk *)device, operations, bytes};

	loop_call(call.blk->virtio.env.io_loop, blk_limit_on_loop, &call);
}

struct blk_replace_call {
	struct virtio_blk *blk;
	struct blockdev *blockdev;
	struct err *err;
	int code;
};

/* No request is under way: the device is paused. */
static void blk_replace_on_loop(void *opaque)
{
	struct blk_replace_call *call = opaque;
	struct virtio_blk *blk = call->blk;
	const struct block_queue_config config = {
		.loop = blk->virtio.env.io_loop,
		.gmem = blk->virtio.env.gmem,
		.batch_end = blk_on_batch_end,
		.opaque = blk,
	};
	struct block_queue *queue = block_queue_create(call->blockdev, &config, call->err);

	if (!queue) {
		call->code = -EIO;
		return;
	}
	block_queue_destroy(blk->block_queue);
	blk->block_queue = queue;
	blk->blockdev = call->blockdev;
}

int virtio_blk_replace(struct device *device, struct blockdev *blockdev, struct err *err)
{
	struct virtio_blk *blk = (struct virtio_blk *)device;
	struct blk_replace_call call = {.blk = blk, .blockdev = blockdev, .err = err};
	uint64_t capacity = block_size_bytes(blockdev) >> BLK_SECTOR_SHIFT;

	if (blk_layout_features(blockdev, blk->virtio.queue_count) !=
	    blk_layout_features(blk->blockdev, blk->virtio.queue_count))
		return err_set(err, -EINVAL, "%s: the new file does not offer what the old one did",
			       device->id);
	loop_call(blk->virtio.env.io_loop, blk_replace_on_loop, &call);
	if (call.code < 0)
		return call.code;
	virtio_config_change(&blk->virtio, offsetof(struct blk_config_space, capacity), &capacity,
			     sizeof(capacity));
	return 0;
}
