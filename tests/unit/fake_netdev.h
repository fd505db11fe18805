/* SPDX-License-Identifier: Apache-2.0 */
/* A network backend for tests of the card: it keeps what it is sent, and gives the frames that a test puts
 * into it. */
#pragma once

#include "vmm/core/netdev.h"

#define FAKE_FRAMES_MAX 64

struct fake_frame {
	struct netdev_header header;
	size_t len;
	uint8_t *bytes; /* owned */
};

struct fake_queue {
	struct fake_frame waiting[FAKE_FRAMES_MAX];
	unsigned first, waiting_count;
	bool polled;
	unsigned resets;
};

struct fake_netdev {
	struct netdev netdev;
	struct fake_queue queue[NETDEV_QUEUES_MAX];
	struct fake_frame sent[FAKE_FRAMES_MAX]; /* the last ones, by sent_count % FAKE_FRAMES_MAX */
	unsigned sent_queue[FAKE_FRAMES_MAX];
	unsigned sent_count, flushes;
	unsigned room; /* frames that it takes before it is full */
	uint32_t set_offloads;
	unsigned set_pairs;
	bool *destroyed; /* told at the end; may be NULL */
};

#define FAKE_OFFLOADS                                                                                        \
	(NETDEV_TX_CSUM | NETDEV_TX_TSO4 | NETDEV_TX_TSO6 | NETDEV_TX_ECN | NETDEV_TX_USO | NETDEV_RX_CSUM | \
	 NETDEV_RX_TSO4 | NETDEV_RX_TSO6 | NETDEV_RX_ECN | NETDEV_RX_USO4 | NETDEV_RX_USO6)

struct fake_netdev *fake_netdev_new(unsigned pairs, uint32_t offloads);
/* Adds a frame for the guest, filled with a pattern of `seed`; it must be told of (netdev_tell_readable). */
void fake_netdev_put(struct fake_netdev *fake, unsigned queue, const struct netdev_header *header, size_t len,
		     uint8_t seed);
uint8_t fake_netdev_byte(uint8_t seed, size_t at);
