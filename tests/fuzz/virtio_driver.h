/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver for fuzz targets of small virtio devices: the input chooses ring and features, then each
 * byte is an operation with its operands - buffers of any shape in any queue, bytes anywhere in the driver's
 * memory and in the rings, configuration writes, queue and device resets, pauses - and one operation that the
 * target itself has (what its backend does).
 */
#pragma once

#include "tests/fuzz/virtio_fuzz.h"
#include "tests/unit/virtio_guest.h"

#define VIRTIO_DRIVER_QUEUE_SIZE  16
#define VIRTIO_DRIVER_ARENA_BYTES (64u << 10)  /* the driver's buffers lie here, 256 bytes apart */
#define VIRTIO_DRIVER_SPARE_BYTES (256u << 10) /* for indirect tables; used again when it is full */
#define VIRTIO_DRIVER_BUFFERS     5

struct virtio_driver {
	struct virtio_guest *guest;
	struct device *device;
	struct virtio_fuzz_input *input;
	unsigned ring;
	uint64_t features, arena, spare;
	/* The target's own operation. */
	void (*other)(struct virtio_driver *driver);
};

static inline void virtio_driver_start(struct virtio_driver *driver)
{
	struct virtio_guest *guest = driver->guest;

	if (!virtio_guest_negotiate(guest, driver->ring, driver->features & guest->virtio->features))
		return;
	guest->free_gpa = 4096;
	driver->arena = virtio_guest_alloc(guest, VIRTIO_DRIVER_ARENA_BYTES, 4096);
	for (unsigned i = 0; i < guest->virtio->queue_count; i++)
		virtio_guest_set_up_queue(guest, i, VIRTIO_DRIVER_QUEUE_SIZE);
	driver->spare = guest->free_gpa;
	virtio_guest_driver_ok(guest);
}

static inline void virtio_driver_add(struct virtio_driver *driver)
{
	struct virtio_guest_buffer buffers[VIRTIO_DRIVER_BUFFERS];
	unsigned queue = (unsigned)virtio_fuzz_take(driver->input, 1) % driver->guest->virtio->queue_count;
	uint8_t how = (uint8_t)virtio_fuzz_take(driver->input, 1);
	unsigned count = 1 + how % VIRTIO_DRIVER_BUFFERS;

	if (driver->guest->free_gpa > driver->spare + VIRTIO_DRIVER_SPARE_BYTES)
		driver->guest->free_gpa = driver->spare;
	for (unsigned i = 0; i < count; i++) {
		uint8_t kind = (uint8_t)virtio_fuzz_take(driver->input, 1);

		buffers[i] = (struct virtio_guest_buffer){
			.gpa = kind & 0x80 ? virtio_fuzz_take(driver->input, 4)
					   : driver->arena + (kind & 15u) * 256,
			.len = kind & 0x40 ? (uint32_t)virtio_fuzz_take(driver->input, 2) : 1u << (kind & 7),
			.write = kind & 0x20,
		};
	}
	if (how & 0x40)
		virtio_guest_add_direct(driver->guest, queue, buffers, count);
	else
		virtio_guest_add(driver->guest, queue, buffers, count);
	if (!(how & 0x80))
		virtio_queue_notify(driver->guest->virtio, queue);
}

/* Bytes into the driver's buffers: what requests say. */
static inline void virtio_driver_fill(struct virtio_driver *driver)
{
	uint64_t gpa = driver->arena + virtio_fuzz_take(driver->input, 2) % (VIRTIO_DRIVER_ARENA_BYTES - 64);
	size_t len = virtio_fuzz_take(driver->input, 1) & 31;

	for (size_t i = 0; i < len; i++)
		*(uint8_t *)virtio_guest_at(driver->guest, gpa + i, 1) =
			(uint8_t)virtio_fuzz_take(driver->input, 1);
}

static inline void virtio_driver_configure(struct virtio_driver *driver)
{
	uint8_t bytes[8];
	uint64_t offset = virtio_fuzz_take(driver->input, 1);
	size_t len = 1 + virtio_fuzz_take(driver->input, 1) % sizeof(bytes);
	uint64_t value = virtio_fuzz_take(driver->input, 8);

	memcpy(bytes, &value, sizeof(bytes));
	virtio_config_write(driver->guest->virtio, offset, bytes, len);
	virtio_config_read(driver->guest->virtio, offset, bytes, len);
}

static inline void virtio_driver_step(struct virtio_driver *driver)
{
	struct virtio_device *virtio = driver->guest->virtio;

	switch (virtio_fuzz_take(driver->input, 1) % 12) {
	case 0:
	case 1:
	case 2: virtio_driver_add(driver); return;
	case 3:
	case 4: virtio_driver_fill(driver); return;
	case 5: virtio_fuzz_poke(driver->guest->gmem, driver->input); return;
	case 6: virtio_driver_configure(driver); return;
	case 7:
		virtio_queue_reset(virtio,
				   (uint32_t)virtio_fuzz_take(driver->input, 1) % virtio->queue_count);
		return;
	case 8:
		virtio_status_write(virtio, 0);
		virtio_driver_start(driver);
		return;
	case 9:
		virtio_class_pause(driver->device);
		driver->device->class->resume(driver->device);
		return;
	case 10: virtio_guest_run(driver->guest); return;
	case 11: driver->other(driver); return;
	}
}

/* Runs the whole input; guest, device (which the guest takes), input and other are set. */
static inline void virtio_driver_run(struct virtio_driver *driver)
{
	virtio_guest_attach(driver->guest, driver->device);
	driver->ring = (unsigned)virtio_fuzz_take(driver->input, 1) % VIRTIO_GUEST_RING_KINDS;
	driver->features = virtio_fuzz_take(driver->input, 2) | VIRTIO_BIT(VIRTIO_F_RING_RESET);
	virtio_driver_start(driver);
	for (unsigned i = 0; i < VIRTIO_FUZZ_STEPS && driver->input->size; i++)
		virtio_driver_step(driver);
	virtio_guest_run(driver->guest);
}
