/* SPDX-License-Identifier: Apache-2.0 */
/* The block device on the fake guest, over a disk in memory. */
#pragma once

#include "devices/virtio/blk.h"
#include "devices/virtio/blk_layout.h"
#include "tests/unit/memory_disk.h"
#include "tests/unit/virtio_guest.h"

#define DISK_BYTES   (256u << 10)
#define DISK_SECTORS (DISK_BYTES / 512)
#define ALL_FEATURES                                                                                         \
	(VIRTIO_BIT(BLK_F_FLUSH) | VIRTIO_BIT(BLK_F_CONFIG_WCE) | VIRTIO_BIT(BLK_F_DISCARD) |                \
	 VIRTIO_BIT(BLK_F_WRITE_ZEROES))

struct rig {
	struct virtio_guest *guest;
	struct memory_disk *disk;
	struct device *device;
	unsigned queue; /* that requests go to */
};

/* A device that no driver has started yet: id, blockdev and queues are filled in. */
struct rig rig_make(const struct virtio_blk_config *config, uint32_t block, bool readonly);
/* One of 512-byte blocks, started. */
struct rig rig_start(unsigned ring, uint64_t features);
void rig_end(struct rig *rig);
/* Sends a request; returns its status. data goes out after the header, or comes in before the status. */
int rig_request(struct rig *rig, uint32_t type, uint64_t sector, void *data, size_t len, bool in);
/* The writeback field of the configuration space. */
uint8_t rig_writeback(const struct rig *rig);
void rig_fill(uint8_t *bytes, size_t len, unsigned seed);
