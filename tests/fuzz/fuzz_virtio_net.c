/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a hostile driver of the network card, before the software offloads. The first bytes choose
 * ring, features and pairs; then each byte is an operation with its operands: frames of any shape and header,
 * receive buffers of any size, control commands, frames from the network, a backend that is full, bytes
 * anywhere in the rings, resets. The backend asserts that what reaches it is a plain frame.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/net.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_fuzz.h"
#include "tests/unit/fake_netdev.h"
#include "vmm/backend/net_wrap.h"

#define QUEUE_SIZE  16
#define ARENA_BYTES (512u << 10) /* the driver's memory is used again after so much */

struct fuzz {
	struct virtio_fuzz_input input;
	struct virtio_guest *guest;
	struct fake_netdev *fake;
	struct netdev *netdev; /* the fake, or what stands before it */
	struct device *device;
	uint64_t features;
	uint64_t arena;
	unsigned ring, pairs;
	bool started;     /* the driver has queues */
	unsigned checked; /* frames of fake->sent that were looked at */
};

static uint64_t take(struct fuzz *fuzz, unsigned bytes)
{
	return virtio_fuzz_take(&fuzz->input, bytes);
}

/* Software leaves nothing to do, and no frame is longer than a frame. */
static void fuzz_check_sent(struct fuzz *fuzz)
{
	for (; fuzz->checked < fuzz->fake->sent_count; fuzz->checked++) {
		const struct fake_frame *frame = &fuzz->fake->sent[fuzz->checked % FAKE_FRAMES_MAX];

		assert(frame->len >= NETDEV_FRAME_MIN && frame->len <= NETDEV_FRAME_MAX);
		if (fuzz->netdev != &fuzz->fake->netdev)
			assert(frame->header.flags == 0 && frame->header.gso_type == 0);
	}
}

static void fuzz_start(struct fuzz *fuzz)
{
	fuzz->started = virtio_guest_negotiate(fuzz->guest, fuzz->ring,
					       fuzz->features & fuzz->guest->virtio->features);
	if (!fuzz->started)
		return;
	fuzz->guest->free_gpa = 4096;
	for (unsigned i = 0; i < fuzz->guest->virtio->queue_count; i++)
		virtio_guest_set_up_queue(fuzz->guest, i, QUEUE_SIZE);
	fuzz->arena = fuzz->guest->free_gpa;
	virtio_guest_driver_ok(fuzz->guest);
}

static uint64_t fuzz_alloc(struct fuzz *fuzz, size_t bytes)
{
	if (fuzz->guest->free_gpa > fuzz->arena + ARENA_BYTES)
		fuzz->guest->free_gpa = fuzz->arena;
	return virtio_guest_alloc(fuzz->guest, bytes, 16);
}

static void fuzz_kick(struct fuzz *fuzz, unsigned queue)
{
	virtio_queue_notify(fuzz->guest->virtio, queue);
	virtio_guest_run(fuzz->guest);
	fuzz_check_sent(fuzz);
}

/* A frame that begins like TCP or UDP over IP, then what the input has, then zeroes. */
static void fuzz_write_frame(struct fuzz *fuzz, uint8_t *at, size_t len, uint8_t shape)
{
	memset(at, 0, len);
	if (len > 54) {
		memcpy(at + 12, shape & 1 ? "\x86\xdd\x60" : "\x08\0\x45", 3);
		at[shape & 1 ? 20 : 23] = shape & 2 ? 17 : 6;
		at[46] = 0x50;
		at[66 < len ? 66 : 50] = 0x50;
	}
	for (unsigned i = 0; i < (shape >> 4) && len > 0; i++)
		at[take(fuzz, 2) % len] = (uint8_t)take(fuzz, 1);
}

static void fuzz_transmit(struct fuzz *fuzz)
{
	uint8_t shape = (uint8_t)take(fuzz, 1);
	uint8_t cut = (uint8_t)take(fuzz, 1);
	size_t len = take(fuzz, 2) % (shape & 4 ? 66000 : 2000);
	unsigned pair = (unsigned)take(fuzz, 1) % fuzz->pairs;
	struct netdev_header header = {
		.flags = (uint8_t)take(fuzz, 1) & 3,
		.gso_type = (uint8_t)take(fuzz, 1),
		.gso_size = (uint16_t)take(fuzz, 2),
		.csum_start = (uint16_t)take(fuzz, shape & 8 ? 2 : 1),
		.csum_offset = (uint16_t)take(fuzz, 1),
	};
	uint64_t gpa = fuzz_alloc(fuzz, len + sizeof(header));
	uint8_t *at = virtio_guest_at(fuzz->guest, gpa, len + sizeof(header));
	uint32_t total = (uint32_t)(len + sizeof(header));
	uint32_t first = cut < total ? cut : total;
	const struct virtio_guest_buffer buffers[] = {
		{.gpa = gpa, .len = first},
		{.gpa = gpa + first, .len = total - first, .write = cut == 77},
	};

	memcpy(at, &header, sizeof(header));
	fuzz_write_frame(fuzz, at + sizeof(header), len, shape);
	virtio_guest_add(fuzz->guest, 2 * pair + 1, buffers, first < total ? 2 : 1);
	fuzz_kick(fuzz, 2 * pair + 1);
}

static void fuzz_offer(struct fuzz *fuzz)
{
	unsigned pair = (unsigned)take(fuzz, 1) % fuzz->pairs;
	unsigned count = 1 + (unsigned)take(fuzz, 1) % 20;
	uint32_t len = (uint32_t)take(fuzz, 2) % 9000 + 1;

	for (unsigned i = 0; i < count; i++) {
		const struct virtio_guest_buffer buffers[] = {
			{.gpa = fuzz_alloc(fuzz, len), .len = len, .write = true},
			{.gpa = fuzz_alloc(fuzz, 5), .len = 5, .write = true},
		};

		virtio_guest_add(fuzz->guest, 2 * pair, buffers, 1 + (len & 1));
	}
	fuzz_kick(fuzz, 2 * pair);
}

static void fuzz_receive(struct fuzz *fuzz)
{
	unsigned pair = (unsigned)take(fuzz, 1) % fuzz->pairs;
	unsigned count = 1 + (unsigned)take(fuzz, 1) % 8;
	size_t len = 1 + take(fuzz, 2) % NETDEV_FRAME_MAX;
	const struct netdev_header header = {.flags = (uint8_t)take(fuzz, 1),
					     .gso_type = (uint8_t)take(fuzz, 1)};

	for (unsigned i = 0; i < count; i++)
		fake_netdev_put(fuzz->fake, pair, &header, i ? 60 : len, (uint8_t)i);
	netdev_tell_readable(&fuzz->fake->netdev, pair);
	virtio_guest_run(fuzz->guest);
}

static void fuzz_control(struct fuzz *fuzz)
{
	unsigned queue = take(fuzz, 1) & 1 ? 2 : 2 * fuzz->pairs;
	uint32_t len = (uint32_t)take(fuzz, 1) % 64;
	uint64_t gpa = fuzz_alloc(fuzz, 1024);
	uint8_t *at = virtio_guest_at(fuzz->guest, gpa, 1024);
	const struct virtio_guest_buffer buffers[] = {
		{.gpa = gpa, .len = len & 32 ? 1000 : len + 1},
		{.gpa = gpa + 1023, .len = 1, .write = true},
	};

	for (unsigned i = 0; i <= len; i++)
		at[i] = (uint8_t)take(fuzz, 1);
	virtio_guest_add(fuzz->guest, queue, buffers, 2);
	fuzz_kick(fuzz, queue);
}

static void fuzz_backend(struct fuzz *fuzz)
{
	uint8_t how = (uint8_t)take(fuzz, 1);

	fuzz->fake->room = how & 1 ? UINT32_MAX : how >> 4;
	if (how & 2)
		netdev_set_link(&fuzz->fake->netdev, how & 4);
	netdev_tell_writable(&fuzz->fake->netdev, how % fuzz->pairs);
	fuzz_check_sent(fuzz);
}

static void fuzz_life(struct fuzz *fuzz)
{
	uint8_t how = (uint8_t)take(fuzz, 1);

	switch (how % 4) {
	case 0:
		virtio_class_reset(fuzz->device);
		fuzz_start(fuzz);
		return;
	case 1:
		virtio_class_pause(fuzz->device);
		virtio_class_resume(fuzz->device);
		return;
	case 2: virtio_queue_reset(fuzz->guest->virtio, how >> 2); return;
	default: virtio_guest_run(fuzz->guest); return;
	}
}

static void fuzz_step(struct fuzz *fuzz)
{
	unsigned step = (unsigned)take(fuzz, 1) % 10;

	if (!fuzz->started && step != 4 && step < 7)
		return;
	switch (step) {
	case 0:
	case 1:
	case 2: fuzz_transmit(fuzz); return;
	case 3: fuzz_offer(fuzz); return;
	case 4:
	case 5: fuzz_receive(fuzz); return;
	case 6: fuzz_control(fuzz); return;
	case 7: fuzz_backend(fuzz); return;
	case 8: fuzz_life(fuzz); return;
	default: virtio_fuzz_poke(fuzz->guest->gmem, &fuzz->input); return;
	}
}

static bool fuzz_create(struct fuzz *fuzz)
{
	const struct netdev_env env = {0};
	const struct netdev_config backend = {0};
	struct net_config config = {.id = "net0", .mac = {2, 0, 0, 0, 0, 1}};
	uint8_t kind = (uint8_t)take(fuzz, 1);

	fuzz->ring = (unsigned)take(fuzz, 1) % VIRTIO_GUEST_RING_KINDS;
	fuzz->features = take(fuzz, 8) | VIRTIO_BIT(VIRTIO_F_RING_RESET);
	fuzz->pairs = 1 + (kind >> 2) % 3;
	fuzz->guest = virtio_guest_create();
	fuzz->fake = fake_netdev_new(fuzz->pairs, kind & 1 ? FAKE_OFFLOADS : FAKE_OFFLOADS & NETDEV_RX_ALL);
	fuzz->netdev = net_soft_wrap(&fuzz->fake->netdev, &env, &backend, NULL);
	config.netdev = fuzz->netdev;
	config.mtu = kind & 2 ? 9000 : 0;
	fuzz->device = net_create(&fuzz->guest->env, &config, &fuzz->guest->err);
	if (fuzz->device)
		virtio_guest_attach(fuzz->guest, fuzz->device);
	return fuzz->device != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = {.input = {.data = data, .size = size}};

	if (fuzz_create(&fuzz)) {
		fuzz_start(&fuzz);
		for (unsigned i = 0; i < VIRTIO_FUZZ_STEPS && fuzz.input.size > 0; i++)
			fuzz_step(&fuzz);
		virtio_guest_run(fuzz.guest);
	}
	virtio_guest_destroy(fuzz.guest);
	return 0;
}
