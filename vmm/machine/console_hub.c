/* SPDX-License-Identifier: Apache-2.0 */
/* Output to all, input from all. */
#include "vmm/machine/console_hub.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/chardev.h"

#define CONSOLE_INPUT_SIZE 256

struct console_hub;

struct console_visitor {
	struct console_hub *hub;
	int fd; /* -1: none; under the hub's lock */
	struct loop_fd *watch;
	uint8_t input[CONSOLE_INPUT_SIZE]; /* what the device has no room for yet */
	size_t input_len;
};

struct console_hub {
	struct chardev chardev;
	struct chardev *lower;
	struct loop *loop;
	pthread_mutex_t lock; /* the visitors' descriptors: any thread writes; a leaf */
	struct console_visitor visitor[CONSOLE_VISITORS_MAX];
};

static size_t console_hub_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	struct console_hub *hub = (struct console_hub *)chardev;

	pthread_mutex_lock(&hub->lock);
	for (unsigned i = 0; i < CONSOLE_VISITORS_MAX; i++) {
		ssize_t sent;

		if (hub->visitor[i].fd < 0)
			continue;
		sent = send(hub->visitor[i].fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)sent; /* one that is gone or slow: its input tells the former */
	}
	pthread_mutex_unlock(&hub->lock);
	return chardev_write(hub->lower, data, len);
}

static void console_hub_leave(struct console_visitor *visitor)
{
	pthread_mutex_lock(&visitor->hub->lock);
	close(visitor->fd);
	visitor->fd = -1;
	pthread_mutex_unlock(&visitor->hub->lock);
	loop_fd_remove(visitor->watch);
	visitor->watch = NULL;
	visitor->input_len = 0;
}

/*
 * Gives the device what it has room for; while something is left, no more is read. The device tells of new
 * room only after it has said that there is none: it is asked until then.
 */
static void console_hub_deliver(struct console_visitor *visitor)
{
	const struct chardev_client *client = &visitor->hub->chardev.client;

	while (visitor->input_len > 0) {
		size_t room = client->can_receive ? client->can_receive(client->opaque) : 0;
		size_t part = room < visitor->input_len ? room : visitor->input_len;

		if (part == 0)
			break;
		client->receive(client->opaque, visitor->input, part);
		visitor->input_len -= part;
		memmove(visitor->input, visitor->input + part, visitor->input_len);
	}
	loop_fd_modify(visitor->watch, visitor->input_len ? 0 : EPOLLIN);
}

static void console_hub_on_input(void *opaque, uint32_t events)
{
	struct console_visitor *visitor = opaque;
	ssize_t got = recv(visitor->fd, visitor->input + visitor->input_len,
			   sizeof(visitor->input) - visitor->input_len, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		console_hub_leave(visitor);
		return;
	}
	visitor->input_len += (size_t)got;
	console_hub_deliver(visitor);
}

static void console_hub_on_room(void *opaque)
{
	struct console_hub *hub = opaque;

	for (unsigned i = 0; i < CONSOLE_VISITORS_MAX; i++) {
		if (hub->visitor[i].watch && hub->visitor[i].input_len)
			console_hub_deliver(&hub->visitor[i]);
	}
}

/* From any thread; the visitors' input is the loop's. */
static void console_hub_accept_input(struct chardev *chardev)
{
	struct console_hub *hub = (struct console_hub *)chardev;

	chardev_accept_input(hub->lower);
	loop_post(hub->loop, console_hub_on_room, hub);
}

static void console_hub_destroy(struct chardev *chardev)
{
	struct console_hub *hub = (struct console_hub *)chardev;

	for (unsigned i = 0; i < CONSOLE_VISITORS_MAX; i++) {
		if (hub->visitor[i].fd >= 0)
			console_hub_leave(&hub->visitor[i]);
	}
	chardev_destroy(hub->lower);
	pthread_mutex_destroy(&hub->lock);
	free(hub);
}

static const struct chardev_ops console_hub_ops = {
	.write = console_hub_write,
	.accept_input = console_hub_accept_input,
	.destroy = console_hub_destroy,
};

/* --- the lower backend's client */

static size_t console_hub_can_receive(void *opaque)
{
	const struct chardev_client *client = &((struct console_hub *)opaque)->chardev.client;

	return client->can_receive ? client->can_receive(client->opaque) : 0;
}

static void console_hub_receive(void *opaque, const uint8_t *data, size_t len)
{
	const struct chardev_client *client = &((struct console_hub *)opaque)->chardev.client;

	if (client->receive)
		client->receive(client->opaque, data, len);
}

static void console_hub_event(void *opaque, int event)
{
	const struct chardev_client *client = &((struct console_hub *)opaque)->chardev.client;

	if (client->event)
		client->event(client->opaque, event);
}

struct chardev *console_hub_create(struct loop *loop, struct chardev *lower, struct err *err)
{
	struct console_hub *hub = calloc(1, sizeof(*hub));
	const struct chardev_client client = {
		.can_receive = console_hub_can_receive,
		.receive = console_hub_receive,
		.event = console_hub_event,
		.opaque = hub,
	};

	if (!hub) {
		chardev_destroy(lower);
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	hub->chardev.ops = &console_hub_ops;
	hub->lower = lower;
	hub->loop = loop;
	pthread_mutex_init(&hub->lock, NULL);
	for (unsigned i = 0; i < CONSOLE_VISITORS_MAX; i++)
		hub->visitor[i] = (struct console_visitor){.hub = hub, .fd = -1};
	chardev_attach(lower, &client);
	return &hub->chardev;
}

int console_hub_visit(struct chardev *chardev, int fd, struct err *err)
{
	struct console_hub *hub = (struct console_hub *)chardev;
	unsigned i = 0;

	while (i < CONSOLE_VISITORS_MAX && hub->visitor[i].fd >= 0)
		i++;
	if (i == CONSOLE_VISITORS_MAX) {
		close(fd);
		return err_set(err, -EBUSY, "%d visitors are at the console already", CONSOLE_VISITORS_MAX);
	}
	hub->visitor[i].watch =
		loop_fd_add(hub->loop, fd, EPOLLIN, console_hub_on_input, &hub->visitor[i], err);
	if (!hub->visitor[i].watch) {
		close(fd);
		return -EIO;
	}
	pthread_mutex_lock(&hub->lock);
	hub->visitor[i].fd = fd;
	pthread_mutex_unlock(&hub->lock);
	return 0;
}
