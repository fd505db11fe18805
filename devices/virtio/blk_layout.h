/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of virtio-blk's requests and configuration space, and the limits that the device states there.
 * virtio 1.2, 5.2.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

struct blockdev;

#define BLK_SECTOR_SHIFT 9
#define BLK_SECTOR_BYTES (1u << BLK_SECTOR_SHIFT)

#define BLK_QUEUE_SIZE          256u
#define BLK_SEG_MAX             (BLK_QUEUE_SIZE - 2) /* header and status take a descriptor each */
#define BLK_IOV_MAX             (BLK_QUEUE_SIZE + 8) /* some segments may cross regions of memory */
#define BLK_SIZE_MAX            (1u << 20) /* of a segment: with SEG_MAX, what a driver asks for at once */
#define BLK_RANGES_MAX          16u        /* of one discard: they are kept in the request */
#define BLK_DISCARD_SECTORS_MAX (1u << 22) /* 2 GiB: a file system makes a hole of this size at once */
#define BLK_ZEROES_SECTORS_MAX  (1u << 15) /* 16 MiB: may have to be written */

#define BLK_CONFIG_BYTES 60 /* of struct blk_config_space; its C size is rounded up */

/* 5.2.3 */
enum blk_feature {
	BLK_F_SIZE_MAX = 1,
	BLK_F_SEG_MAX = 2,
	BLK_F_RO = 5,
	BLK_F_BLK_SIZE = 6,
	BLK_F_FLUSH = 9,
	BLK_F_TOPOLOGY = 10,
	BLK_F_CONFIG_WCE = 11,
	BLK_F_MQ = 12,
	BLK_F_DISCARD = 13,
	BLK_F_WRITE_ZEROES = 14,
};

/* 5.2.6 */
enum blk_type {
	BLK_T_IN = 0,
	BLK_T_OUT = 1,
	BLK_T_FLUSH = 4,
	BLK_T_GET_ID = 8,
	BLK_T_DISCARD = 11,
	BLK_T_WRITE_ZEROES = 13,
};

enum blk_status { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };

#define BLK_RANGE_UNMAP 1u /* flags of a range; the rest is reserved */

struct blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t sectors;
	uint32_t flags;
};

/* 5.2.4 */
struct blk_config_space {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};
_Static_assert(sizeof(struct blk_header) == 16, "5.2.6");
_Static_assert(sizeof(struct blk_range) == 16, "5.2.6");
_Static_assert(offsetof(struct blk_config_space, writeback) == 32, "5.2.4");
_Static_assert(offsetof(struct blk_config_space, unused1) + 3 == BLK_CONFIG_BYTES, "5.2.4");

/* The device's own feature bits, and the space as it is before a driver comes. */
uint64_t blk_layout_features(const struct blockdev *blockdev, unsigned queues);
struct blk_config_space blk_layout_config(const struct blockdev *blockdev, unsigned queues);
