/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a vhost-user device, for vhost_user*.c only: what it is made of, and what makes the kinds
 * different. */
#pragma once

#include "devices/virtio/vhost_message.h"
#include "devices/virtio/vhost_ring.h"
#include "devices/virtio/vhost_user.h"
#include "devices/virtio/virtio.h"

#define VHOST_USER_RINGS_MAX (VHOST_USER_QUEUES_MAX + 1)

struct vhost_user_queue {
	struct vhost_ring ring;
	int kick_fd; /* we signal */
	int call_fd; /* the process signals */
	struct loop_fd *call_watch;
	bool started; /* the process serves the ring */
};

struct vhost_user {
	struct virtio_device virtio;
	enum vhost_user_kind kind;
	char *path;
	struct vhost_link link;
	struct loop_fd *link_watch; /* for its end */
	struct loop_timer *timer;   /* to connect again, or to give up waiting for requests */
	uint64_t retry_ns;          /* until the next try */
	uint64_t stop_deadline_ns;  /* 0: nobody waits */
	uint64_t backend_features;
	uint32_t queue_count;
	int memory_fd; /* of all rings */
	uint8_t *memory;
	struct vhost_user_queue queue[VHOST_USER_RINGS_MAX];
	uint64_t reconnects, requests; /* metrics */
};

unsigned vhost_user_queue_count(const struct vhost_user_config *config);
/* Type, features and configuration space of the device; config is zeroed. Asks the process. */
int vhost_user_describe(struct vhost_user *user, const struct vhost_user_config *asked,
			struct virtio_init *init, uint8_t config[VHOST_CONFIG_MAX], struct err *err);
