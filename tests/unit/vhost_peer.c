/* SPDX-License-Identifier: Apache-2.0 */
/* A vhost-user back end for tests. */
#include "tests/unit/vhost_peer.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/unix_socket.h"

struct peer_message {
	uint32_t request, flags, size;
	uint8_t payload[512];
} __attribute__((packed));

struct peer_desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

static uint8_t *peer_at(struct vhost_peer *peer, uint64_t address, bool is_uva)
{
	for (unsigned i = 0; i < peer->region_count; i++) {
		const struct vhost_peer_region *region = &peer->region[i];
		uint64_t start = is_uva ? region->uva : region->gpa;

		if (address >= start && address - start < region->size)
			return region->base + (address - start);
	}
	abort();
}

static void peer_forget(struct vhost_peer *peer)
{
	for (unsigned i = 0; i < peer->region_count; i++)
		munmap(peer->region[i].base, peer->region[i].mapped);
	peer->region_count = 0;
}

static void peer_take_memory(struct vhost_peer *peer, const struct peer_message *message, const int *fds)
{
	uint32_t count;

	peer_forget(peer);
	memcpy(&count, message->payload, 4);
	for (unsigned i = 0; i < count; i++) {
		uint64_t fields[4]; /* guest address, size, their address, offset */
		struct vhost_peer_region *region = &peer->region[peer->region_count++];

		memcpy(fields, message->payload + 8 + 32 * i, 32);
		*region = (struct vhost_peer_region){.gpa = fields[0], .size = fields[1], .uva = fields[2]};
		region->base =
			mmap(NULL, fields[1], PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], (off_t)fields[3]);
		region->mapped = fields[1];
		if (region->base == MAP_FAILED)
			abort();
		close(fds[i]);
	}
	atomic_fetch_add(&peer->memory_tables, 1);
}

/* Copies the readable part, 64 KiB of it at most, to the writable one; returns how many bytes. */
static uint32_t peer_copy(struct vhost_peer *peer, const struct peer_desc *table, uint16_t head)
{
	static uint8_t bytes[1 << 16];
	uint32_t have = 0, put = 0;

	for (const struct peer_desc *desc = &table[head];; desc = &table[desc->next]) {
		uint8_t *at = peer_at(peer, desc->gpa, false);

		if (!(desc->flags & 2)) {
			uint32_t room = (uint32_t)sizeof(bytes) - have;
			uint32_t piece = desc->len < room ? desc->len : room;

			memcpy(bytes + have, at, piece);
			have += piece;
		} else {
			uint32_t piece = have - put < desc->len ? have - put : desc->len;

			memcpy(at, bytes + put, piece);
			put += piece;
		}
		if (!(desc->flags & 1))
			return put;
	}
}

static void peer_use(struct vhost_peer_ring *ring, uint8_t *used, uint32_t id, uint32_t len)
{
	uint16_t idx = __atomic_load_n((uint16_t *)(void *)(used + 2), __ATOMIC_RELAXED);

	memcpy(used + 4 + 8 * (idx % ring->size), (uint32_t[]){id, len}, 8);
	__atomic_store_n((uint16_t *)(void *)(used + 2), (uint16_t)(idx + 1), __ATOMIC_RELEASE);
}

static void peer_serve(struct vhost_peer *peer, struct vhost_peer_ring *ring)
{
	const struct peer_desc *table = (void *)peer_at(peer, ring->desc, true);
	uint8_t *avail = peer_at(peer, ring->avail, true), *used = peer_at(peer, ring->used, true);
	const uint64_t one = 1;
	int fault = atomic_load(&peer->fault);
	uint64_t count;

	if (read(ring->kick_fd, &count, sizeof(count)) < 0 || fault == PEER_KEEPS_REQUESTS)
		return;
	while (ring->next != __atomic_load_n((uint16_t *)(void *)(avail + 2), __ATOMIC_ACQUIRE)) {
		uint16_t head;
		uint32_t len;

		memcpy(&head, avail + 4 + 2 * (ring->next++ % ring->size), 2);
		len = peer_copy(peer, table, head);
		atomic_fetch_add(&peer->requests, 1);
		if (fault == PEER_WRITES_TOO_MUCH)
			len = UINT32_MAX;
		peer_use(ring, used, fault == PEER_USES_UNKNOWN_ID ? 7777 : head, len);
		if (fault == PEER_USES_TWICE)
			peer_use(ring, used, head, len);
	}
	if (write(ring->call_fd, &one, sizeof(one)) < 0)
		abort();
}

static void peer_answer(struct vhost_peer *peer, struct peer_message *message, uint32_t size)
{
	int fault = atomic_load(&peer->fault);

	message->flags = fault == PEER_ANSWERS_WITHOUT_FLAG ? 1 : 5;
	message->request += fault == PEER_ANSWERS_OTHER_REQUEST;
	message->size = fault == PEER_ANSWERS_SHORT ? 1 : size;
	if (send(peer->fd, message, 12 + message->size, MSG_NOSIGNAL) < 0)
		return; /* the front end has gone, as its tests expect */
}

static void peer_answer_u64(struct vhost_peer *peer, struct peer_message *message, uint64_t value)
{
	memcpy(message->payload, &value, 8);
	peer_answer(peer, message, 8);
}

static void peer_take_ring(struct vhost_peer *peer, const struct peer_message *message, const int *fds)
{
	uint32_t index, value;
	struct vhost_peer_ring *ring;

	memcpy(&index, message->payload, 4);
	memcpy(&value, message->payload + 4, 4);
	ring = &peer->ring[index % VHOST_PEER_QUEUES];
	switch (message->request) {
	case 8: ring->size = value; break;
	case 9:
		memcpy(&ring->desc, message->payload + 8, 8);
		memcpy(&ring->used, message->payload + 16, 8);
		memcpy(&ring->avail, message->payload + 24, 8);
		break;
	case 10: ring->next = (uint16_t)value; break;
	case 12: ring->kick_fd = fds[0]; break;
	case 13: ring->call_fd = fds[0]; break;
	case 18: ring->enabled = value; break;
	}
}

static void peer_stop_ring(struct vhost_peer *peer, struct peer_message *message)
{
	uint32_t index;
	struct vhost_peer_ring *ring;

	memcpy(&index, message->payload, 4);
	ring = &peer->ring[index % VHOST_PEER_QUEUES];
	ring->enabled = false;
	close(ring->kick_fd);
	close(ring->call_fd);
	ring->kick_fd = ring->call_fd = -1;
	atomic_fetch_add(&peer->stops, 1);
	memcpy(message->payload + 4, (uint32_t[]){ring->next}, 4);
	peer_answer(peer, message, 8);
}

static void peer_handle(struct vhost_peer *peer, struct peer_message *message, const int *fds)
{
	bool wants_ack = message->flags & 8;
	uint64_t acked;
	int fault = atomic_load(&peer->fault);

	switch (message->request) {
	case 1: peer_answer_u64(peer, message, peer->features); return;
	case 2:
		memcpy(&acked, message->payload, 8);
		atomic_store(&peer->acked, acked);
		break;
	case 5: peer_take_memory(peer, message, fds); break;
	case 11: peer_stop_ring(peer, message); return;
	case 15:
		peer_answer_u64(peer, message,
				fault == PEER_HAS_NO_CONFIG ? peer->protocol_features & ~(1ull << 9)
							    : peer->protocol_features);
		return;
	case 17: peer_answer_u64(peer, message, peer->queue_count); return;
	case 24: {
		uint32_t size;

		memcpy(&size, message->payload + 4, 4);
		memcpy(message->payload + 12, peer->config, size);
		peer_answer(peer, message, 12 + size);
		return;
	}
	default: peer_take_ring(peer, message, fds); break;
	}
	if (wants_ack)
		peer_answer_u64(peer, message, fault == PEER_REFUSES_MEMORY && message->request == 5);
}

/* false: the front end has gone. */
static bool peer_receive(struct vhost_peer *peer)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct peer_message message;
	struct iovec piece = {&message, 12};
	struct msghdr header = {.msg_iov = &piece,
				.msg_iovlen = 1,
				.msg_control = &control,
				.msg_controllen = sizeof(control)};
	int fds[8] = {-1, -1, -1, -1, -1, -1, -1, -1};

	if (recvmsg(peer->fd, &header, MSG_WAITALL) != 12)
		return false;
	if (header.msg_controllen > 0)
		memcpy(fds, CMSG_DATA(&control.head), control.head.cmsg_len - CMSG_LEN(0));
	if (message.size > 0 &&
	    recv(peer->fd, message.payload, message.size, MSG_WAITALL) != (ssize_t)message.size)
		return false;
	if (atomic_load(&peer->fault) == PEER_CLOSES)
		return false;
	peer_handle(peer, &message, fds);
	return true;
}

static void peer_session(struct vhost_peer *peer)
{
	bool alive = true;

	while (alive && !atomic_load(&peer->stop)) {
		struct pollfd pollers[1 + VHOST_PEER_QUEUES] = {{.fd = peer->fd, .events = POLLIN}};

		for (unsigned i = 0; i < VHOST_PEER_QUEUES; i++)
			pollers[1 + i] = (struct pollfd){
				.fd = peer->ring[i].enabled ? peer->ring[i].kick_fd : -1, .events = POLLIN};
		if (poll(pollers, 1 + VHOST_PEER_QUEUES, 20) <= 0) {
			if (atomic_load(&peer->fault) == PEER_SPEAKS_UNASKED && peer->ring[0].enabled)
				send(peer->fd, "?", 1, MSG_NOSIGNAL);
			continue;
		}
		if (pollers[0].revents)
			alive = peer_receive(peer);
		for (unsigned i = 0; i < VHOST_PEER_QUEUES; i++) {
			if (pollers[1 + i].revents & POLLIN && peer->ring[i].enabled)
				peer_serve(peer, &peer->ring[i]);
		}
	}
}

static void peer_close_ring(struct vhost_peer_ring *ring)
{
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	if (ring->call_fd >= 0)
		close(ring->call_fd);
	*ring = (struct vhost_peer_ring){.kick_fd = -1, .call_fd = -1};
}

static void *peer_thread(void *opaque)
{
	struct vhost_peer *peer = opaque;

	while (!atomic_load(&peer->stop)) {
		struct pollfd poller = {.fd = peer->listen_fd, .events = POLLIN};

		if (poll(&poller, 1, 20) <= 0)
			continue;
		peer->fd = accept(peer->listen_fd, NULL, NULL);
		peer_session(peer);
		close(peer->fd);
		for (unsigned i = 0; i < VHOST_PEER_QUEUES; i++)
			peer_close_ring(&peer->ring[i]);
		peer_forget(peer);
	}
	return NULL;
}

struct vhost_peer *vhost_peer_start(uint64_t features)
{
	struct vhost_peer *peer = calloc(1, sizeof(*peer));

	assert_non_null(peer);
	strcpy(peer->folder, "/tmp/vhost-test-XXXXXX");
	assert_non_null(mkdtemp(peer->folder));
	snprintf(peer->path, sizeof(peer->path), "%s/s", peer->folder);
	peer->features = features;
	peer->protocol_features = 1ull << 0 | 1ull << 3 | 1ull << 9;
	peer->queue_count = VHOST_PEER_QUEUES;
	for (unsigned i = 0; i < VHOST_PEER_QUEUES; i++)
		peer->ring[i].kick_fd = peer->ring[i].call_fd = -1;
	for (unsigned i = 0; i < sizeof(peer->config); i++)
		peer->config[i] = (uint8_t)i;
	vhost_peer_restart(peer);
	return peer;
}

void vhost_peer_restart(struct vhost_peer *peer)
{
	atomic_store(&peer->stop, false);
	peer->listen_fd = unix_socket_listen(peer->path, 4, NULL);
	assert_true(peer->listen_fd >= 0);
	assert_int_equal(pthread_create(&peer->thread, NULL, peer_thread, peer), 0);
}

void vhost_peer_end(struct vhost_peer *peer)
{
	atomic_store(&peer->stop, true);
	pthread_join(peer->thread, NULL);
	close(peer->listen_fd);
}

void vhost_peer_destroy(struct vhost_peer *peer)
{
	if (!atomic_load(&peer->stop))
		vhost_peer_end(peer);
	unlink(peer->path);
	rmdir(peer->folder);
	free(peer);
}
