/* SPDX-License-Identifier: Apache-2.0 */
/* The rig of the block device's tests. */
#include "tests/unit/blk_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

struct rig rig_make(const struct virtio_blk_config *config, uint32_t block, bool readonly)
{
	struct virtio_blk_config full = *config;
	struct rig rig = {.guest = virtio_guest_create(),
			  .disk = memory_disk_create(DISK_BYTES, block, readonly)};

	full.id = "disk0";
	full.blockdev = &rig.disk->blockdev;
	full.queues = config->queues ? config->queues : 1;
	rig.device = virtio_blk_create(&rig.guest->env, &full, &rig.guest->err);
	assert_non_null(rig.device);
	return rig;
}

struct rig rig_start(unsigned ring, uint64_t features)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){0}, 512, false);

	virtio_guest_start(rig.guest, rig.device, ring, features);
	return rig;
}

void rig_end(struct rig *rig)
{
	virtio_guest_destroy(rig->guest);
	memory_disk_destroy(rig->disk);
}

/* Sends a request; returns its status. data goes out after the header, or comes in before the status. */
int rig_request(struct rig *rig, uint32_t type, uint64_t sector, void *data, size_t len, bool in)
{
	const struct blk_header header = {.type = type, .sector = sector};
	static uint8_t out[70000], back[70000];
	size_t out_len = sizeof(header) + (in ? 0 : len);
	size_t in_len = 1 + (in ? len : 0);
	uint32_t used;

	memcpy(out, &header, sizeof(header));
	if (!in && len > 0)
		memcpy(out + sizeof(header), data, len);
	memset(back, 0xaa, in_len);
	used = virtio_guest_request(rig->guest, rig->queue, out, out_len, back, in_len);
	assert_int_equal(used, in_len);
	if (in && len > 0)
		memcpy(data, back, len);
	return back[in_len - 1];
}

void rig_fill(uint8_t *bytes, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)((i * 7 + seed) >> (i % 3));
}

uint8_t rig_writeback(const struct rig *rig)
{
	uint8_t value = 0xff;

	virtio_config_read(rig->guest->virtio, offsetof(struct blk_config_space, writeback), &value, 1);
	return value;
}
