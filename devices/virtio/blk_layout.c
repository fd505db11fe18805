/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk offers its driver: features and configuration space. virtio 1.2, 5.2.3 and 5.2.4. */
#include "devices/virtio/blk_layout.h"

#include "devices/virtio/virtio.h"
#include "vmm/core/blockdev.h"

static uint8_t blk_layout_log2(uint32_t value)
{
	return (uint8_t)(31 - __builtin_clz(value | 1));
}

struct blk_config_space blk_layout_config(const struct blockdev *blockdev, unsigned queues)
{
	const struct block_limits *limits = &blockdev->limits;
	uint32_t logical = limits->logical_block_bytes;

	return (struct blk_config_space){
		.capacity = block_size_bytes(blockdev) >> BLK_SECTOR_SHIFT,
		.size_max = BLK_SIZE_MAX,
		.seg_max = BLK_SEG_MAX,
		.blk_size = logical,
		.physical_block_exp = blk_layout_log2(limits->physical_block_bytes / logical),
		.min_io_size = (uint16_t)(limits->physical_block_bytes / logical),
		.opt_io_size = limits->optimal_io_bytes / logical,
		.writeback = 1,
		.num_queues = (uint16_t)queues,
		.max_discard_sectors = BLK_DISCARD_SECTORS_MAX,
		.max_discard_seg = BLK_RANGES_MAX,
		.discard_sector_alignment = limits->discard_granularity_bytes >> BLK_SECTOR_SHIFT,
		.max_write_zeroes_sectors = BLK_ZEROES_SECTORS_MAX,
		.max_write_zeroes_seg = BLK_RANGES_MAX,
		.write_zeroes_may_unmap = 1,
	};
}

uint64_t blk_layout_features(const struct blockdev *blockdev, unsigned queues)
{
	uint64_t features = VIRTIO_BIT(BLK_F_SIZE_MAX) | VIRTIO_BIT(BLK_F_SEG_MAX) |
			    VIRTIO_BIT(BLK_F_BLK_SIZE) | VIRTIO_BIT(BLK_F_FLUSH) |
			    VIRTIO_BIT(BLK_F_TOPOLOGY) | VIRTIO_BIT(BLK_F_CONFIG_WCE);

	if (queues > 1)
		features |= VIRTIO_BIT(BLK_F_MQ);
	if (blockdev->limits.readonly)
		return features | VIRTIO_BIT(BLK_F_RO);
	features |= VIRTIO_BIT(BLK_F_WRITE_ZEROES);
	return blockdev->limits.can_discard ? features | VIRTIO_BIT(BLK_F_DISCARD) : features;
}
