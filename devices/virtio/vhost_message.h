/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user protocol, front end: messages over a unix socket to a process that implements a device. Each
 * call sends one message and, where the protocol has an answer, waits for it; a peer that does not answer in
 * time, or answers something else, is as good as gone (-EPROTO, -ETIMEDOUT, -EPIPE). Knows no device. Follows
 * "Vhost-user Protocol" of QEMU's documentation (docs/interop/vhost-user.rst).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Of VHOST_GET_FEATURES: beside virtio's own bits. */
#define VHOST_F_PROTOCOL_FEATURES 30

enum vhost_protocol_feature {
	VHOST_PROTOCOL_F_MQ = 0,
	VHOST_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_PROTOCOL_F_CONFIG = 9,
};

#define VHOST_REGIONS_MAX 8   /* descriptors of one message that every back end takes */
#define VHOST_CONFIG_MAX  256 /* bytes of configuration: the protocol's own limit */

struct vhost_region {
	uint64_t gpa;
	uint64_t size_bytes;
	uint64_t hva; /* names addresses of rings to the peer; nothing is read there */
	uint64_t fd_offset;
};

struct vhost_ring_address {
	uint32_t index;
	uint32_t flags;
	uint64_t desc, used, avail, log; /* as hva of a region */
};

struct vhost_link {
	int fd; /* connected stream socket, -1: none */
	int timeout_ms;
	uint64_t protocol_features; /* agreed */
};

/* Connects. 0 or -errno with err set. */
int vhost_connect(struct vhost_link *link, const char *path, struct err *err);
void vhost_close(struct vhost_link *link);

int vhost_get_features(struct vhost_link *link, uint64_t *features, struct err *err);
int vhost_set_features(struct vhost_link *link, uint64_t features, struct err *err);
int vhost_get_protocol_features(struct vhost_link *link, uint64_t *features, struct err *err);
int vhost_set_protocol_features(struct vhost_link *link, uint64_t features, struct err *err);
int vhost_set_owner(struct vhost_link *link, struct err *err);
int vhost_get_queue_count(struct vhost_link *link, uint64_t *count, struct err *err);
/* [0, size) of the configuration space; size is at most VHOST_CONFIG_MAX. */
int vhost_get_config(struct vhost_link *link, void *bytes, size_t size, struct err *err);
/* fds are borrowed: one a region. */
int vhost_set_memory(struct vhost_link *link, const struct vhost_region *regions, const int *fds,
		     size_t count, struct err *err);
int vhost_set_ring_size(struct vhost_link *link, unsigned index, unsigned size, struct err *err);
int vhost_set_ring_base(struct vhost_link *link, unsigned index, unsigned base, struct err *err);
int vhost_set_ring_address(struct vhost_link *link, const struct vhost_ring_address *address,
			   struct err *err);
int vhost_set_ring_kick(struct vhost_link *link, unsigned index, int fd, struct err *err);
int vhost_set_ring_call(struct vhost_link *link, unsigned index, int fd, struct err *err);
int vhost_enable_ring(struct vhost_link *link, unsigned index, bool enabled, struct err *err);
/* Stops the ring; when it returns the peer touches it no more. */
int vhost_get_ring_base(struct vhost_link *link, unsigned index, unsigned *base, struct err *err);
