/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio console: up to CONSOLE_PORTS_MAX ports, each a character backend. virtio 1.2, 5.3. */
#pragma once

#include <stdbool.h>

struct chardev;
struct device;
struct device_env;
struct err;

#define CONSOLE_PORTS_MAX 16 /* two queues each, and two for control */
#define CONSOLE_NAME_MAX  64 /* bytes of a port's name with its end; Linux makes it a file name */

struct console_port_config {
	struct chardev *chardev; /* borrowed, outlives the device */
	const char *name;        /* the guest's /dev/virtio-ports/NAME; copied; may be NULL */
	bool is_console;         /* /dev/hvcN; else a port for programs */
	bool is_connected;       /* whether somebody is at the other end when the machine starts */
};

struct console_config {
	const char *id;
	const struct console_port_config *port;
	unsigned port_count; /* 1 .. CONSOLE_PORTS_MAX */
};

/* Owned by its device class's destroy; NULL with err set. */
struct device *console_create(const struct device_env *env, const struct console_config *config,
			      struct err *err);
