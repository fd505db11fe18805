/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user back end for tests, on a thread of its own: speaks the protocol as a well-behaved process
 * does, or makes one mistake that it is told to make. Its device copies what a request's readable part holds
 * into its writable part.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum vhost_peer_fault {
	PEER_HONEST,
	PEER_ANSWERS_OTHER_REQUEST,
	PEER_ANSWERS_SHORT,
	PEER_ANSWERS_WITHOUT_FLAG,
	PEER_CLOSES,
	PEER_REFUSES_MEMORY,
	PEER_HAS_NO_CONFIG,
	PEER_USES_UNKNOWN_ID,
	PEER_USES_TWICE,
	PEER_WRITES_TOO_MUCH, /* says so; the front end cuts it */
	PEER_SPEAKS_UNASKED,
	PEER_KEEPS_REQUESTS, /* never uses them */
};

#define VHOST_PEER_QUEUES 4

struct vhost_peer_region {
	uint64_t gpa, size, uva;
	uint8_t *base;
	uint64_t mapped;
};

struct vhost_peer_ring {
	uint64_t desc, used, avail;
	unsigned size;
	uint16_t next;
	int kick_fd, call_fd;
	bool enabled;
};

struct vhost_peer {
	char folder[32], path[48];
	int listen_fd, fd;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic int fault;
	uint64_t features, protocol_features;
	uint64_t queue_count;
	uint8_t config[256];
	_Atomic uint64_t acked;
	_Atomic unsigned requests, stops, memory_tables;
	struct vhost_peer_region region[8];
	unsigned region_count;
	struct vhost_peer_ring ring[VHOST_PEER_QUEUES];
};

struct vhost_peer *vhost_peer_start(uint64_t features);
/* Ends the connection and the thread; the socket stays until _destroy, and _restart serves it again. */
void vhost_peer_end(struct vhost_peer *peer);
void vhost_peer_restart(struct vhost_peer *peer);
void vhost_peer_destroy(struct vhost_peer *peer);
