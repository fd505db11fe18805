/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio 9P transport device: a folder of the host for `mount -t 9p -o trans=virtio`. */
#pragma once

#include <stdbool.h>

struct device;
struct device_env;
struct err;
struct share;

#define VIRTIO_9P_TAG_MAX 255 /* bytes of a mount tag, so that it is a line of the guest's sysfs */

struct virtio_9p_config {
	const char *id;  /* "share0" */
	const char *tag; /* what the guest mounts; 1 to VIRTIO_9P_TAG_MAX bytes */
	/*
	 * The queue is served by a thread of the device, since files may make it wait; else by env->io_loop,
	 * which then has nobody else to serve.
	 */
	bool own_thread;
	struct share *share; /* taken, also when the creation fails */
};

/* Returns owned, or NULL with err set. */
struct device *virtio_9p_create(const struct device_env *env, const struct virtio_9p_config *config,
				struct err *err);
