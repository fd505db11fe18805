/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of virtio, for tests of devices: memory, a transport that counts interrupts, and a driver
 * for split and packed rings that behaves, or does exactly what it is told. Everything runs on the test's
 * thread; no thread runs the I/O loop but virtio_guest_run and _wait.
 *
 * A test creates a guest, then a device with guest->env, hands it to virtio_guest_start, and makes requests
 * (virtio_guest_request). virtio_guest_destroy destroys the device as well.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/virtio_transport.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define VIRTIO_GUEST_RAM_BYTES (4u << 20) /* from 0 */
#define VIRTIO_GUEST_MORE_GPA                                                                                \
	VIRTIO_GUEST_RAM_BYTES /* a second region right behind it: buffers can cross                         \
				*/
#define VIRTIO_GUEST_MORE_BYTES (1u << 20)
#define VIRTIO_GUEST_ROM_GPA    (8u << 20)
#define VIRTIO_GUEST_ROM_BYTES  (1u << 16)
#define VIRTIO_GUEST_HOLE_GPA   (16u << 20) /* nothing is here */
#define VIRTIO_GUEST_QUEUE_SIZE                                                                              \
	16 /* of the queues that virtio_guest_start sets up, if the device offers it */

/* What to negotiate of the ring's shape. */
enum virtio_guest_ring {
	VIRTIO_GUEST_SPLIT = 0,
	VIRTIO_GUEST_PACKED = 1,
	VIRTIO_GUEST_EVENT_IDX = 2,
	VIRTIO_GUEST_INDIRECT = 4,
	VIRTIO_GUEST_RING_KINDS = 8, /* for (ring = 0; ring < KINDS; ring++) tries them all */
};

/* A descriptor as the driver writes it. */
struct virtio_guest_buffer {
	uint64_t gpa;
	uint32_t len;
	bool write; /* for the device to write */
};

struct virtio_guest_queue {
	uint16_t size;
	uint64_t desc_gpa, driver_gpa, device_gpa;
	uint16_t next_avail, next_used; /* the driver's own */
	bool avail_wrap, used_wrap;
	uint16_t free_head;  /* split: next descriptor to use, round and round */
	uint16_t slots[256]; /* packed: of each id */
	uint16_t next_id;
	unsigned interrupts;
};

struct virtio_guest {
	struct device_env env;
	struct err err;
	pthread_mutex_t lock, intr_lock;
	struct gmem *gmem;
	struct virtio_device *virtio;
	struct virtio_transport transport;
	enum virtio_guest_ring ring;
	struct virtio_guest_queue queue[VIRTIO_QUEUES_MAX];
	unsigned config_interrupts, resets;
	bool line; /* interrupt line's level */
	uint64_t free_gpa;
	uint8_t *before, *announced; /* a byte for each of RAM and MORE; made when writes are watched */
};

struct virtio_guest *virtio_guest_create(void);
void virtio_guest_destroy(struct virtio_guest *guest);

/* Zeroed guest memory; never freed. */
uint64_t virtio_guest_alloc(struct virtio_guest *guest, size_t bytes, size_t align);
void *virtio_guest_at(struct virtio_guest *guest, uint64_t gpa, size_t len);

/* The steps of start, for tests that stop on the way. negotiate: FEATURES_OK was accepted. */
void virtio_guest_attach(struct virtio_guest *guest, struct device *device);
bool virtio_guest_negotiate(struct virtio_guest *guest, unsigned ring, uint64_t features);
void virtio_guest_set_up_queue(struct virtio_guest *guest, unsigned index, uint16_t size);
void virtio_guest_driver_ok(struct virtio_guest *guest);
/* All of them, for every queue; fails the test if the device refuses. features: the device's own that are
 * wanted. */
void virtio_guest_start(struct virtio_guest *guest, struct device *device, unsigned ring, uint64_t features);

/* Runs what is ready on the loop, until nothing is. */
void virtio_guest_run(struct virtio_guest *guest);
/* Makes buffers available, in an indirect table if that was negotiated; returns the id that will be used. No
 * kick. */
uint16_t virtio_guest_add(struct virtio_guest *guest, unsigned queue,
			  const struct virtio_guest_buffer *buffers, unsigned count);
/* The same in the ring itself, even if indirect was negotiated. */
uint16_t virtio_guest_add_direct(struct virtio_guest *guest, unsigned queue,
				 const struct virtio_guest_buffer *buffers, unsigned count);
/* Whether the device wants to be kicked for what was added since the last kick (count chains). */
bool virtio_guest_kick_is_wanted(struct virtio_guest *guest, unsigned queue, unsigned count);
/* Kicks and runs. */
void virtio_guest_kick(struct virtio_guest *guest, unsigned queue);
/* Takes the next used chain; false when there is none. */
bool virtio_guest_take(struct virtio_guest *guest, unsigned queue, uint16_t *id, uint32_t *len);
/* Runs the loop until there is one; fails the test after ten seconds. */
void virtio_guest_wait(struct virtio_guest *guest, unsigned queue, uint16_t *id, uint32_t *len);
/* The driver asks for no interrupt, or again for one: with event index, for that of the used entry `ahead`
 * from now. */
void virtio_guest_no_interrupts(struct virtio_guest *guest, unsigned queue);
void virtio_guest_want_interrupt(struct virtio_guest *guest, unsigned queue, unsigned ahead);

/* One request: out to the device, in from it; either may be 0 long. Returns the length that the device wrote.
 */
uint32_t virtio_guest_request(struct virtio_guest *guest, unsigned queue, const void *out, size_t out_len,
			      void *in, size_t in_len);

/* Announcements (gmem_written): from here on ... */
void virtio_guest_watch_writes(struct virtio_guest *guest);
/* ... fails the test unless every byte that has changed was announced. */
void virtio_guest_check_writes(struct virtio_guest *guest);

/* Pauses `from`, copies its saved state into `to` by the class's table, resumes `to` and drives it from now
 * on. */
void virtio_guest_move(struct virtio_guest *guest, struct device *to);
/* By the table of their class, as a snapshot does. */
void virtio_guest_copy_state(const struct device *from, struct device *to);
