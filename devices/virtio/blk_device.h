/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the block device, for blk.c, which serves requests, and blk_change.c, which changes it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/virtio.h"

struct block_queue;

struct virtio_blk {
	struct virtio_device virtio;
	struct blockdev *blockdev;
	struct block_queue *block_queue;
	struct rate_limit limit; /* I/O loop */
	_Atomic bool flush_due;  /* the cache was switched off: what it holds has to be written first */
	struct loop_timer *limit_timer;
	unsigned in_flight;   /* at the backend; I/O loop */
	unsigned unpublished; /* completed since the driver was last told; I/O loop */
	struct loop_timer *gather_timer;
	bool gathering; /* the timer is armed: later completions do not put it off */
	char serial[VIRTIO_BLK_SERIAL_MAX];
	_Atomic bool writeback; /* the cache's mode: else every write is durable. Saved */

	/* Metrics. */
	_Atomic uint64_t reads, read_bytes, writes, written_bytes, flushes, discards, write_zeroes, errors,
		throttled;
};

/* The backend has come to the end of what it has to tell. */
void blk_on_batch_end(void *opaque);
