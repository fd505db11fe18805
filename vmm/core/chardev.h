/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Character backends as a device sees them: serial port on one side; stdio, file, pty or socket on the other.
 * Everything runs on the loop's thread except chardev_write, which any thread may call.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct chardev;

/* Implemented by the device. Called on the loop's thread with no lock held. */
struct chardev_client {
	/* How many bytes the device can take now. */
	size_t (*can_receive)(void *opaque);
	/* len <= what can_receive said. */
	void (*receive)(void *opaque, const uint8_t *data, size_t len);
	/* The peer sent a break, or connected or went away. */
	void (*event)(void *opaque, int event);
	void *opaque;
};
enum chardev_event { CHARDEV_BREAK, CHARDEV_OPENED, CHARDEV_CLOSED };

struct chardev_ops {
	/* Returns bytes taken (all, unless the backend is full and its policy is to drop), never blocks the guest for ever. */
	size_t (*write)(struct chardev *chardev, const uint8_t *data, size_t len);
	/* The device has room again: deliver what waits. Any thread. */
	void (*accept_input)(struct chardev *chardev);
	void (*destroy)(struct chardev *chardev);
};

/* First member of each backend's structure. */
struct chardev {
	const struct chardev_ops *ops;
	struct chardev_client client; /* set by chardev_attach */
};

static inline void chardev_attach(struct chardev *chardev, const struct chardev_client *client)
{
	chardev->client = *client;
}

static inline size_t chardev_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	return chardev->ops->write(chardev, data, len);
}

static inline void chardev_accept_input(struct chardev *chardev)
{
	if (chardev->ops->accept_input)
		chardev->ops->accept_input(chardev);
}
