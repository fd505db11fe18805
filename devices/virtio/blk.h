/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio block device. virtio 1.2, 5.2. */
#pragma once

#include <stdint.h>

#include "vmm/base/rate_limit.h"

struct blockdev;
struct device;
struct device_env;
struct err;

#define VIRTIO_BLK_SERIAL_MAX 20 /* 5.2.6: the device's ID string, not terminated if it is this long */
#define VIRTIO_BLK_QUEUES_MAX 16 /* more than CPUs that would use them; bounds the memory for requests */

struct virtio_blk_config {
	const char *id;            /* "disk0" */
	const char *serial;        /* at most VIRTIO_BLK_SERIAL_MAX; NULL: id */
	struct blockdev *blockdev; /* borrowed for the device's life */
	unsigned queues;           /* 1 to VIRTIO_BLK_QUEUES_MAX */
	struct rate_limit_config limit;
};

/* Returns owned, or NULL with err set. */
struct device *virtio_blk_create(const struct device_env *env, const struct virtio_blk_config *config,
				 struct err *err);

/*
 * Makes the disk size_bytes large, or with 0 as large as its file has become, and tells the driver. Any
 * thread, not from the I/O loop. 0 or -errno.
 */
int virtio_blk_resize(struct device *device, uint64_t size_bytes, struct err *err);
/* Other buckets; NULL leaves one as it is. Any thread, not from the I/O loop. */
void virtio_blk_limit(struct device *device, const struct rate_bucket_config *operations,
		      const struct rate_bucket_config *bytes);
/*
 * Another disk in the place of the one that was, which is the caller's again; the driver is told the size.
 * The device is paused. What the driver was offered (whether it may write, the block size) has to be the
 * same: else -EINVAL, and nothing has changed.
 */
int virtio_blk_replace(struct device *device, struct blockdev *blockdev, struct err *err);
