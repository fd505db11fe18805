/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device for tests of queues, device model and transports: it writes back what it reads, or keeps
 * it. */
#pragma once

#include "tests/unit/virtio_guest.h"

#define ECHO_IOV_MAX 8

struct echo {
	struct virtio_device virtio;
	bool hold;
	struct virtq_chain *held[64];
	unsigned held_count;
	unsigned served;
};

/* One queue of 64. */
struct device *echo_create(struct virtio_guest *guest);
/* Answers one chain, unpublished. */
void echo_serve(struct virtq_chain *chain);
void echo_kick(struct virtio_device *virtio, unsigned index);

/* A guest with an echo device started, rings as enum virtio_guest_ring says. */
struct virtio_guest *echo_start(unsigned ring);
struct echo *echo_of(struct virtio_guest *guest);
bool echo_needs_reset(const struct virtio_guest *guest);
/* Writes 16 bits into the guest's memory. */
void echo_put16(struct virtio_guest *guest, uint64_t gpa, uint16_t value);
