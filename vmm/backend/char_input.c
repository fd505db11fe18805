/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading half of character backends.
 *
 * The race between "no room" here and "room again" on a vCPU's thread: the loop sets `waiting` and then asks
 * the device once more; the device makes room and then looks at `waiting`. One of the two sees the other.
 */
#include "vmm/backend/char_input.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/loop.h"

#define CHAR_INPUT_READ_SIZE 512

static void char_input_on_fd(void *opaque, uint32_t epoll_events);

static size_t char_input_room(const struct char_input *input)
{
	return CHAR_INPUT_QUEUE_SIZE - input->count;
}

static size_t char_input_client_room(const struct char_input *input)
{
	const struct chardev_client *client = &input->chardev->client;

	return client->can_receive ? client->can_receive(client->opaque) : 0;
}

static void char_input_enqueue(struct char_input *input, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len && input->count < CHAR_INPUT_QUEUE_SIZE; i++) {
		input->queue[(input->head + input->count) % CHAR_INPUT_QUEUE_SIZE] = data[i];
		input->count++;
	}
}

static void char_input_end(struct char_input *input)
{
	if (input->watch)
		loop_fd_remove(input->watch);
	input->watch = NULL;
	input->ended = true;
	if (input->on_end)
		input->on_end(input->opaque);
}

/* Reads once, as much as may be taken. False when there is nothing (more) to read now. */
static bool char_input_read(struct char_input *input)
{
	uint8_t data[CHAR_INPUT_READ_SIZE];
	size_t want =
		input->lossy || char_input_room(input) > sizeof(data) ? sizeof(data) : char_input_room(input);
	ssize_t got;

	if (want == 0 || input->ended)
		return false;
	got = read(input->fd, data, want);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		char_input_end(input);
		return false;
	}
	want = input->filter ? input->filter(input->opaque, data, (size_t)got) : (size_t)got;
	char_input_enqueue(input, data, want);
	return true;
}

/* One contiguous piece of the queue to the device; false when the device has no room. */
static bool char_input_deliver_piece(struct char_input *input)
{
	size_t room = char_input_client_room(input);
	size_t piece = CHAR_INPUT_QUEUE_SIZE - input->head;

	if (room == 0) {
		atomic_store(&input->waiting, true);
		room = char_input_client_room(input);
		if (room == 0 || !atomic_exchange(&input->waiting, false))
			return false; /* accept_input has posted a delivery, or will */
	}
	if (piece > input->count)
		piece = input->count;
	if (piece > room)
		piece = room;
	input->chardev->client.receive(input->chardev->client.opaque, input->queue + input->head, piece);
	input->head = (input->head + piece) % CHAR_INPUT_QUEUE_SIZE;
	input->count -= piece;
	return true;
}

/* Watches the descriptor when, and only when, the queue can take more: a level-triggered watch would spin. */
static void char_input_update_watch(struct char_input *input)
{
	bool wanted = !input->ended && input->pollable && (input->lossy || char_input_room(input) > 0);

	if (wanted && !input->watch)
		input->watch = loop_fd_add(input->loop, input->fd, EPOLLIN, char_input_on_fd, input, NULL);
	if (!wanted && input->watch) {
		loop_fd_remove(input->watch);
		input->watch = NULL;
	}
}

static void char_input_pump(void *opaque)
{
	struct char_input *input = opaque;

	do {
		while (input->count > 0 && char_input_deliver_piece(input))
			;
	} while (!input->pollable && input->count == 0 && char_input_read(input));
	char_input_update_watch(input);
}

static void char_input_on_fd(void *opaque, uint32_t epoll_events)
{
	struct char_input *input = opaque;

	char_input_read(input);
	char_input_pump(input);
}

int char_input_start(struct char_input *input, int fd, struct err *err)
{
	struct err watch_err = {0};

	input->fd = fd;
	input->ended = false;
	input->pollable = true;
	input->head = input->count = 0;
	input->watch = loop_fd_add(input->loop, fd, EPOLLIN, char_input_on_fd, input, &watch_err);
	if (input->watch)
		return 0;
	if (watch_err.code != -EPERM) {
		err_set(err, watch_err.code, "%s", watch_err.message);
		return watch_err.code;
	}
	input->pollable = false;
	return loop_post(input->loop, char_input_pump, input);
}

void char_input_stop(struct char_input *input)
{
	if (input->watch)
		loop_fd_remove(input->watch);
	input->watch = NULL;
	input->ended = true;
	input->count = 0;
	input->fd = -1;
}

void char_input_accept(struct char_input *input)
{
	/* A full ring of posted calls loses nothing: the next byte that the device takes asks again. */
	if (atomic_exchange(&input->waiting, false) && loop_post(input->loop, char_input_pump, input) < 0)
		atomic_store(&input->waiting, true);
}
