/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a hostile driver of the block device. The first bytes choose ring, features and disk; then
 * each byte is an operation with its operands: requests of any shape, bytes anywhere in the rings,
 * configuration writes, resets, a backend that fails, holds requests back or changes its size. The disk
 * asserts that it is asked for nothing outside of itself and that all it was asked for is complete at the
 * end.
 */
#include <errno.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/blk_layout.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/memory_disk.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/base/clock.h"
#include "vmm/base/loop.h"

#define DISK_BYTES  (64u << 10)
#define QUEUE_SIZE  16
#define ARENA_BYTES (256u << 10) /* the driver's memory is used again after so much */
#define STEPS_MAX   256

struct fuzz {
	const uint8_t *data;
	size_t size;
	struct virtio_guest *guest;
	struct memory_disk *disk;
	struct device *device;
	uint64_t features;
	uint64_t arena;
	unsigned queues;
	unsigned ring;
};

static uint8_t fuzz_byte(struct fuzz *fuzz)
{
	if (fuzz->size == 0)
		return 0;
	fuzz->size--;
	return *fuzz->data++;
}

static uint64_t fuzz_number(struct fuzz *fuzz, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | fuzz_byte(fuzz);
	return value;
}

static void fuzz_release(void *opaque)
{
	memory_disk_release(opaque);
}

/* What the backend holds comes back while the device waits for it. */
static void fuzz_let_go(struct fuzz *fuzz)
{
	fuzz->disk->hold = false;
	loop_post(fuzz->guest->env.loop, fuzz_release, fuzz->disk);
}

static void fuzz_start(struct fuzz *fuzz)
{
	if (!virtio_guest_negotiate(fuzz->guest, fuzz->ring, fuzz->features & fuzz->guest->virtio->features))
		return;
	fuzz->guest->free_gpa = 4096;
	for (unsigned i = 0; i < fuzz->queues; i++)
		virtio_guest_set_up_queue(fuzz->guest, i, QUEUE_SIZE);
	fuzz->arena = fuzz->guest->free_gpa;
	virtio_guest_driver_ok(fuzz->guest);
}

/* A chain whose pieces are what a driver would make, or nearly. */
static void fuzz_request(struct fuzz *fuzz)
{
	static const uint32_t types[] = {BLK_T_IN,     BLK_T_OUT,     BLK_T_FLUSH,
					 BLK_T_GET_ID, BLK_T_DISCARD, BLK_T_WRITE_ZEROES};
	struct virtio_guest_buffer buffers[8];
	uint8_t shape = fuzz_byte(fuzz);
	uint32_t type = shape < 240 ? types[shape % 6] : (uint32_t)fuzz_number(fuzz, 4);
	struct blk_header header = {.type = type, .sector = fuzz_number(fuzz, shape & 64 ? 8 : 1)};
	unsigned queue = fuzz_byte(fuzz) % fuzz->queues;
	unsigned count = 1 + fuzz_byte(fuzz) % 7;
	uint64_t gpa = fuzz->arena + 8192;

	if (fuzz->guest->free_gpa > fuzz->arena + ARENA_BYTES)
		fuzz->guest->free_gpa = fuzz->arena;
	memcpy(virtio_guest_at(fuzz->guest, gpa, sizeof(header)), &header, sizeof(header));
	buffers[0] = (struct virtio_guest_buffer){.gpa = gpa, .len = shape & 128 ? fuzz_byte(fuzz) : 16};
	for (unsigned i = 1; i < count; i++) {
		uint8_t kind = fuzz_byte(fuzz);

		buffers[i] = (struct virtio_guest_buffer){
			.gpa = kind & 128 ? fuzz_number(fuzz, 4) : gpa + 16 + (kind & 31) * 16,
			.len = kind & 64 ? (uint32_t)fuzz_number(fuzz, 3) : (kind & 7) * 512,
			.write = type != BLK_T_OUT || (kind & 32),
		};
	}
	buffers[count] = (struct virtio_guest_buffer){.gpa = gpa + 4096, .len = 1, .write = true};
	virtio_guest_add(fuzz->guest, queue, buffers, shape & 32 ? count : count + 1);
	if (!(shape & 16))
		virtio_queue_notify(fuzz->guest->virtio, queue);
}

static void fuzz_ranges(struct fuzz *fuzz)
{
	uint8_t *at = virtio_guest_at(fuzz->guest, fuzz->arena + 8192 + 16, 272);
	unsigned count = fuzz_byte(fuzz) % 17;

	for (unsigned i = 0; i < count; i++) {
		struct blk_range range = {.sector = fuzz_byte(fuzz), .sectors = fuzz_byte(fuzz)};

		range.flags = fuzz_byte(fuzz) & 3;
		if (range.sectors == 255)
			range.sectors = (uint32_t)fuzz_number(fuzz, 4);
		memcpy(at + 16 * i, &range, sizeof(range));
	}
}

static void fuzz_scribble(struct fuzz *fuzz)
{
	uint64_t gpa = 4096 + fuzz_number(fuzz, 2) % (16u << 10);
	unsigned count = 1 + fuzz_byte(fuzz) % 16;

	for (unsigned i = 0; i < count; i++)
		*(uint8_t *)virtio_guest_at(fuzz->guest, gpa + i, 1) = fuzz_byte(fuzz);
}

static void fuzz_backend(struct fuzz *fuzz)
{
	static const int fails[] = {0, 0, -EIO, -EOPNOTSUPP};
	uint8_t how = fuzz_byte(fuzz);

	fuzz->disk->fail = fails[how % 4];
	fuzz->disk->hold = how & 4;
	/* Requests in flight keep the bounds that they were checked against. */
	if (how & 8 && !fuzz->disk->head)
		virtio_blk_resize(fuzz->device, (1 + (how >> 4)) * 8192ull, &fuzz->guest->err);
}

static void fuzz_queue_reset(struct fuzz *fuzz)
{
	unsigned queue = fuzz_byte(fuzz) % fuzz->queues;

	fuzz_let_go(fuzz);
	virtio_queue_reset(fuzz->guest->virtio, queue);
}

static void fuzz_status(struct fuzz *fuzz)
{
	uint8_t value = fuzz_byte(fuzz);

	if (value == 0 || value & 1) { /* a reset waits for what the backend holds */
		fuzz_let_go(fuzz);
		virtio_status_write(fuzz->guest->virtio, 0);
		fuzz_start(fuzz);
	} else {
		virtio_status_write(fuzz->guest->virtio, value);
	}
}

static void fuzz_config(struct fuzz *fuzz)
{
	uint8_t bytes[8];
	uint64_t offset = fuzz_byte(fuzz) % 80;
	size_t len = 1 + fuzz_byte(fuzz) % sizeof(bytes);

	for (size_t i = 0; i < len; i++)
		bytes[i] = fuzz_byte(fuzz);
	virtio_config_write(fuzz->guest->virtio, offset, bytes, len);
	virtio_config_read(fuzz->guest->virtio, offset, bytes, len);
}

static void fuzz_pause(struct fuzz *fuzz)
{
	fuzz_let_go(fuzz);
	virtio_class_pause(fuzz->device);
	virtio_class_resume(fuzz->device);
}

static void fuzz_step(struct fuzz *fuzz)
{
	switch (fuzz_byte(fuzz) % 12) {
	case 0:
	case 1:
	case 2:
	case 3: fuzz_request(fuzz); return;
	case 4: fuzz_ranges(fuzz); return;
	case 5: fuzz_scribble(fuzz); return;
	case 6: fuzz_backend(fuzz); return;
	case 7: fuzz_queue_reset(fuzz); return;
	case 8: fuzz_status(fuzz); return;
	case 9: fuzz_config(fuzz); return;
	case 10: fuzz_pause(fuzz); return;
	case 11: virtio_guest_run(fuzz->guest); return;
	}
}

static bool fuzz_create(struct fuzz *fuzz)
{
	uint8_t ring = fuzz_byte(fuzz);
	uint8_t kind = fuzz_byte(fuzz);
	struct virtio_blk_config config = {.id = "disk0", .queues = 1 + (kind >> 4) % 3};

	fuzz->ring = ring % VIRTIO_GUEST_RING_KINDS;
	fuzz->features = fuzz_number(fuzz, 2) | VIRTIO_BIT(VIRTIO_F_RING_RESET);
	fuzz->queues = config.queues;
	fuzz->guest = virtio_guest_create();
	fuzz->disk = memory_disk_create(DISK_BYTES, kind & 1 ? 4096 : 512, kind & 2);
	config.blockdev = &fuzz->disk->blockdev;
	if (kind & 4)
		config.limit.operations = (struct rate_bucket_config){.size = 8, .refill_time_ns = NS_PER_MS};
	fuzz->device = virtio_blk_create(&fuzz->guest->env, &config, &fuzz->guest->err);
	if (fuzz->device)
		virtio_guest_attach(fuzz->guest, fuzz->device);
	return fuzz->device != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = {.data = data, .size = size};

	if (fuzz_create(&fuzz)) {
		fuzz_start(&fuzz);
		for (unsigned i = 0; i < STEPS_MAX && fuzz.size > 0; i++)
			fuzz_step(&fuzz);
		virtio_guest_run(fuzz.guest);
		fuzz_let_go(&fuzz);
	}
	virtio_guest_destroy(fuzz.guest);
	memory_disk_destroy(fuzz.disk);
	return 0;
}
