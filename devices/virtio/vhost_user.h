/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices that another process implements: disks, network cards and file systems behind a vhost-user
 * socket. The process gets the guest's memory. virtio 1.2, 5.1, 5.2, 5.11.
 */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;

#define VHOST_USER_TAG_MAX 36 /* virtio 1.2, 5.11.4: of a file system */
#define VHOST_USER_QUEUES_MAX                                                                                \
	16 /* of a disk or a file system, beside others: more than CPUs that would use them */

enum vhost_user_kind { VHOST_USER_BLOCK, VHOST_USER_NET, VHOST_USER_FS };

struct vhost_user_config {
	const char *id; /* "vhost-user-blk0" */
	enum vhost_user_kind kind;
	const char *socket; /* that the process listens on */
	unsigned queues;    /* BLOCK, FS: of requests, 1 to VHOST_USER_QUEUES_MAX */
	const char *tag;    /* FS: what the guest mounts, 1 to VHOST_USER_TAG_MAX bytes */
	uint8_t mac[6];     /* NET */
};

/* Connects and asks what the process can do. Returns owned, or NULL with err set. */
struct device *vhost_user_create(const struct device_env *env, const struct vhost_user_config *config,
				 struct err *err);
