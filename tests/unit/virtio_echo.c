/* SPDX-License-Identifier: Apache-2.0 */
/* The echo device for tests. */
#include "tests/unit/virtio_echo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

void echo_serve(struct virtq_chain *chain)
{
	uint8_t bytes[4096];
	size_t len = chain->read_bytes < chain->write_bytes ? chain->read_bytes : chain->write_bytes;

	if (len > sizeof(bytes))
		len = sizeof(bytes);
	assert_true(virtq_chain_read(chain, 0, bytes, len));
	assert_true(virtq_chain_write(chain, 0, bytes, len));
	virtqueue_complete(chain, len);
}

void echo_kick(struct virtio_device *virtio, unsigned index)
{
	struct echo *echo = (struct echo *)virtio;
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(&virtio->queue[index])) != NULL) {
		echo->served++;
		if (echo->hold)
			echo->held[echo->held_count++] = chain;
		else
			echo_serve(chain);
	}
	virtqueue_publish(&virtio->queue[index]);
}

static void echo_stop(struct virtio_device *virtio, unsigned index)
{
	struct echo *echo = (struct echo *)virtio;

	while (echo->held_count > 0)
		virtqueue_discard(echo->held[--echo->held_count]);
	(void)index;
}

static void echo_destroy(struct device *device)
{
	virtio_release((struct virtio_device *)device);
	free(device);
}

static const struct state_field echo_state[] = {VIRTIO_STATE_FIELDS, {.name = NULL}};

static const struct device_class echo_class = {
	.name = "virtio-echo",
	.state = echo_state,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.destroy = echo_destroy,
};

static const struct virtio_ops echo_ops = {.queue_kick = echo_kick, .queue_stop = echo_stop};

struct device *echo_create(struct virtio_guest *guest)
{
	struct echo *echo = calloc(1, sizeof(*echo));
	const struct virtio_queue_init queue = {.size_max = 64, .iov_max = ECHO_IOV_MAX, .request_bytes = 24};
	const struct virtio_init init = {
		.class = &echo_class,
		.ops = &echo_ops,
		.id = "echo0",
		.type = VIRTIO_TYPE_CONSOLE,
		.queue_count = 1,
		.queue = &queue,
	};

	assert_non_null(echo);
	assert_int_equal(virtio_init(&echo->virtio, &guest->env, &init, &guest->err), 0);
	return &echo->virtio.device;
}

struct virtio_guest *echo_start(unsigned ring)
{
	struct virtio_guest *guest = virtio_guest_create();

	virtio_guest_start(guest, echo_create(guest), ring, 0);
	return guest;
}

struct echo *echo_of(struct virtio_guest *guest)
{
	return (struct echo *)guest->virtio;
}

bool echo_needs_reset(const struct virtio_guest *guest)
{
	return virtio_status(guest->virtio) & VIRTIO_STATUS_NEEDS_RESET;
}

void echo_put16(struct virtio_guest *guest, uint64_t gpa, uint16_t value)
{
	memcpy(virtio_guest_at(guest, gpa, 2), &value, 2);
}
