/* SPDX-License-Identifier: Apache-2.0 */
/* A card's place before a real backend: takes what it is told of, and keeps it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/netdev.h"

#define PEER_FRAMES_MAX 64

struct peer {
	struct loop *loop;
	struct netdev *netdev;
	struct err err;
	uint8_t frame[PEER_FRAMES_MAX][NETDEV_FRAME_MAX];
	size_t len[PEER_FRAMES_MAX];
	struct netdev_header header[PEER_FRAMES_MAX];
	unsigned got, taken;
	unsigned writable, links;
	bool link_up;
};

static inline void peer_on_readable(void *opaque, unsigned queue)
{
	struct peer *peer = opaque;

	while (peer->got - peer->taken < PEER_FRAMES_MAX) {
		unsigned slot = peer->got % PEER_FRAMES_MAX;
		struct iovec iov[2] = {{peer->frame[slot], 50},
				       {peer->frame[slot] + 50, NETDEV_FRAME_MAX - 50}};
		ssize_t got = netdev_receive(peer->netdev, queue, &peer->header[slot], iov, 2);

		if (got < 0)
			return;
		peer->len[slot] = (size_t)got;
		peer->got++;
	}
}

static inline void peer_on_writable(void *opaque, unsigned queue)
{
	((struct peer *)opaque)->writable++;
}

static inline void peer_on_link(void *opaque, bool up)
{
	struct peer *peer = opaque;

	peer->links++;
	peer->link_up = up;
}

/* A backend by its configuration; NULL with peer->err set. The loop is the caller's. */
static inline struct peer *peer_open(struct loop *loop, const struct netdev_config *config, struct err *err)
{
	const struct netdev_env env = {.loop = loop};
	struct peer *peer = calloc(1, sizeof(*peer));
	const struct netdev_client client = {.readable = peer_on_readable,
					     .writable = peer_on_writable,
					     .link = peer_on_link,
					     .opaque = peer};

	peer->loop = loop;
	peer->netdev = netdev_open(&env, config, err);
	if (!peer->netdev) {
		free(peer);
		return NULL;
	}
	netdev_attach(peer->netdev, &client);
	peer->link_up = peer->netdev->link_up;
	netdev_set_offloads(peer->netdev, NETDEV_RX_ALL);
	netdev_poll(peer->netdev, 0, true);
	return peer;
}

/* The same where it must succeed. */
static inline struct peer *peer_open_good(struct loop *loop, const struct netdev_config *config)
{
	struct err err = {0};
	struct peer *peer = peer_open(loop, config, &err);

	if (!peer) {
		print_error("%s\n", err.message);
		abort();
	}
	return peer;
}

static inline void peer_close(struct peer *peer)
{
	netdev_destroy(peer->netdev);
	free(peer);
}

static inline int peer_send(struct peer *peer, const void *frame, size_t len,
			    const struct netdev_header *header)
{
	static const struct netdev_header plain;
	struct iovec iov[2] = {{(void *)(uintptr_t)frame, 10}, {(uint8_t *)(uintptr_t)frame + 10, len - 10}};
	int code = netdev_send(peer->netdev, 0, header ? header : &plain, iov, 2);

	netdev_flush(peer->netdev, 0);
	return code;
}

/* Runs the loop until a frame has come, for ten seconds at most; returns its slot. */
static inline unsigned peer_wait(struct peer *peer)
{
	uint64_t end_ns = clock_monotonic_ns() + 10 * NS_PER_S;

	while (peer->taken == peer->got) {
		assert_true(clock_monotonic_ns() < end_ns);
		loop_run_once(peer->loop, 1000);
	}
	return peer->taken++ % PEER_FRAMES_MAX;
}

static inline void peer_wait_link(struct peer *peer, bool up)
{
	uint64_t end_ns = clock_monotonic_ns() + 10 * NS_PER_S;

	while (peer->link_up != up) {
		assert_true(clock_monotonic_ns() < end_ns);
		loop_run_once(peer->loop, 1000);
	}
}
