/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of every kind, driven by a guest that behaves and by guests that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "virtio_guest.h"

#define ECHO_IOV_MAX 8

/* A device that writes back what it reads, or keeps chains until it is told. */
struct echo {
	struct virtio_device virtio;
	bool hold;
	struct virtq_chain *held[64];
	unsigned held_count;
	unsigned served;
};

static void echo_serve(struct virtq_chain *chain)
{
	uint8_t bytes[4096];
	size_t len = chain->read_bytes < chain->write_bytes ? chain->read_bytes : chain->write_bytes;

	assert_true(len <= sizeof(bytes));
	assert_true(virtq_chain_read(chain, 0, bytes, len));
	assert_true(virtq_chain_write(chain, 0, bytes, len));
	virtqueue_complete(chain, len);
}

static void echo_kick(struct virtio_device *virtio, unsigned index)
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

static struct device *echo_create(struct virtio_guest *guest)
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

static struct virtio_guest *start(unsigned ring)
{
	struct virtio_guest *guest = virtio_guest_create();

	virtio_guest_start(guest, echo_create(guest), ring, 0);
	return guest;
}

static struct echo *echo_of(struct virtio_guest *guest)
{
	return (struct echo *)guest->virtio;
}

static bool needs_reset(const struct virtio_guest *guest)
{
	return virtio_status(guest->virtio) & VIRTIO_STATUS_NEEDS_RESET;
}

/* Many requests, so that indices wrap, of changing shapes. */
static void requests_of_every_ring(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);

		virtio_guest_watch_writes(guest);
		for (unsigned i = 0; i < 200; i++) {
			uint8_t out[300], in[300] = {0};
			size_t len = 1 + i * 7 % sizeof(out);

			memset(out, (int)i + 1, sizeof(out));
			assert_int_equal(virtio_guest_request(guest, 0, out, len, in, sizeof(in)), len);
			assert_memory_equal(in, out, len);
			assert_int_equal(in[len - 1], (uint8_t)(i + 1));
		}
		assert_int_equal(echo_of(guest)->served, 200);
		assert_false(needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

static void a_chain_of_pieces(struct virtio_guest *guest, bool direct)
{
	uint64_t out = virtio_guest_alloc(guest, 64, 16), in = virtio_guest_alloc(guest, 64, 16);
	const struct virtio_guest_buffer buffers[] = {{out, 10, false},
						      {out + 20, 5, false},
						      {in, 3, true},
						      {in + 10, 4, true},
						      {in + 20, 20, true}};
	uint16_t id;
	uint32_t len;

	memcpy(virtio_guest_at(guest, out, 10), "0123456789", 10);
	memcpy(virtio_guest_at(guest, out + 20, 5), "abcde", 5);
	virtio_guest_watch_writes(guest);
	if (direct)
		virtio_guest_add_direct(guest, 0, buffers, 5);
	else
		virtio_guest_add(guest, 0, buffers, 5);
	virtio_guest_watch_writes(guest);
	virtio_guest_kick(guest, 0);
	assert_true(virtio_guest_take(guest, 0, &id, &len));
	assert_int_equal(len, 15);
	assert_memory_equal(virtio_guest_at(guest, in, 3), "012", 3);
	assert_memory_equal(virtio_guest_at(guest, in + 10, 4), "3456", 4);
	assert_memory_equal(virtio_guest_at(guest, in + 20, 9), "789abcde", 9);
	virtio_guest_check_writes(guest);
}

static void chains_are_scattered(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);

		for (unsigned i = 0; i < 10; i++)
			a_chain_of_pieces(guest, i % 2);
		assert_false(needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* A buffer that crosses two regions is two iovecs, and one that leaves the last breaks the queue. */
static void buffers_cross_regions(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);
		struct echo *echo = echo_of(guest);
		const uint64_t border = VIRTIO_GUEST_MORE_GPA;
		const uint64_t end = VIRTIO_GUEST_MORE_GPA + VIRTIO_GUEST_MORE_BYTES;
		const struct virtio_guest_buffer across[] = {{border - 2, 4, false}, {border - 6, 16, true}};
		const struct virtio_guest_buffer beyond[] = {{end - 2, 4, true}};

		echo->hold = true;
		virtio_guest_add(guest, 0, across, 2);
		virtio_guest_kick(guest, 0);
		assert_int_equal(echo->held_count, 1);
		assert_int_equal(echo->held[0]->read_count, 2);
		assert_int_equal(echo->held[0]->write_count, 2);
		assert_int_equal(echo->held[0]->write[0].iov_len, 6);
		assert_int_equal(echo->held[0]->write_bytes, 16);
		memcpy(virtio_guest_at(guest, border - 2, 2), "xy", 2);
		memcpy(virtio_guest_at(guest, border, 2), "zw", 2);
		virtio_guest_watch_writes(guest);
		echo_serve(echo->held[--echo->held_count]);
		virtqueue_publish(&echo->virtio.queue[0]);
		assert_memory_equal(virtio_guest_at(guest, border - 6, 4), "xyzw", 4);
		virtio_guest_check_writes(guest);
		virtio_guest_add(guest, 0, beyond, 1);
		virtio_guest_kick(guest, 0);
		assert_true(needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* Completion out of order, several at once, with one publish. */
static void completion_out_of_order(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);
		struct echo *echo = echo_of(guest);
		uint64_t gpa = virtio_guest_alloc(guest, 4096, 16);
		uint16_t id[6], used;
		uint32_t len;

		echo->hold = true;
		for (unsigned round = 0; round < 20; round++) {
			for (unsigned i = 0; i < 6; i++) {
				const struct virtio_guest_buffer buffers[] = {
					{gpa + 64 * i, i + 1, false}, {gpa + 1024 + 64 * i, 32, true}};

				id[i] = virtio_guest_add(guest, 0, buffers, 2);
			}
			virtio_guest_kick(guest, 0);
			assert_int_equal(echo->held_count, 6);
			for (unsigned i = 6; i-- > 0;) {
				assert_false(virtio_guest_take(guest, 0, &used, &len));
				echo_serve(echo->held[i]);
			}
			echo->held_count = 0;
			virtqueue_publish(&echo->virtio.queue[0]);
			for (unsigned i = 6; i-- > 0;) {
				assert_true(virtio_guest_take(guest, 0, &used, &len));
				assert_int_equal(used, id[i]);
				assert_int_equal(len, i + 1);
			}
			assert_false(virtio_guest_take(guest, 0, &used, &len));
		}
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* A chain put back is popped again, in every position of the ring. */
static void chains_are_returned(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);
		struct echo *echo = echo_of(guest);
		struct virtqueue *queue = &echo->virtio.queue[0];
		uint64_t gpa = virtio_guest_alloc(guest, 256, 16);

		echo->hold = true;
		for (unsigned round = 0; round < 40; round++) {
			const struct virtio_guest_buffer buffers[] = {{gpa, round + 1, false},
								      {gpa, 64, true}};
			uint16_t first = virtio_guest_add(guest, 0, buffers, 1 + round % 2);
			uint16_t second = virtio_guest_add(guest, 0, buffers, 2), used;
			uint32_t len;

			virtio_guest_kick(guest, 0);
			assert_int_equal(echo->held_count, 2);
			virtqueue_return(echo->held[1]);
			virtqueue_return(echo->held[0]);
			assert_int_equal(queue->in_flight, 0);
			echo->held_count = 0;
			echo_kick(&echo->virtio, 0);
			assert_int_equal(echo->held_count, 2);
			assert_int_equal(echo->held[0]->read_bytes, round + 1);
			echo_serve(echo->held[0]);
			virtqueue_complete_now(echo->held[1], 0);
			echo->held_count = 0;
			assert_true(virtio_guest_take(guest, 0, &used, &len));
			assert_int_equal(used, first);
			assert_true(virtio_guest_take(guest, 0, &used, &len));
			assert_int_equal(used, second);
		}
		assert_false(needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* Kicks: wanted when the device has found the ring empty, not while it is at work. */
static void kicks_are_suppressed(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);
		struct echo *echo = echo_of(guest);
		uint64_t gpa = virtio_guest_alloc(guest, 64, 16);
		const struct virtio_guest_buffer buffer = {gpa, 8, true};
		uint16_t id;
		uint32_t len;

		for (unsigned round = 0; round < 40; round++) {
			virtio_guest_add(guest, 0, &buffer, 1);
			assert_true(virtio_guest_kick_is_wanted(guest, 0, 1));
			/* It takes one and does not look further: no kick is wanted for the next. */
			echo_serve(virtqueue_pop(&echo->virtio.queue[0]));
			virtio_guest_add(guest, 0, &buffer, 1);
			assert_false(virtio_guest_kick_is_wanted(guest, 0, 1));
			echo_kick(&echo->virtio, 0);
			while (virtio_guest_take(guest, 0, &id, &len))
				;
		}
		assert_int_equal(echo->served, 40);
		virtio_guest_destroy(guest);
	}
	(void)state;
}

static void use_one(struct virtio_guest *guest)
{
	const struct virtio_guest_buffer buffer = {4096, 1, false};

	virtio_guest_add(guest, 0, &buffer, 1);
	virtio_guest_kick(guest, 0);
}

/* Interrupts: by flag one for each publish; by event index when the named entry is passed, and only then. */
static void interrupts_are_suppressed(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);
		bool by_index = ring & VIRTIO_GUEST_EVENT_IDX;
		uint16_t id;
		uint32_t len;

		use_one(guest); /* the first decision has no history */
		assert_true(virtio_guest_take(guest, 0, &id, &len));
		for (unsigned round = 0; round < 60; round++) {
			unsigned before = guest->queue[0].interrupts;

			virtio_guest_no_interrupts(guest, 0);
			use_one(guest);
			use_one(guest);
			assert_int_equal(guest->queue[0].interrupts, before);
			while (virtio_guest_take(guest, 0, &id, &len))
				;
			virtio_guest_want_interrupt(guest, 0, 2);
			use_one(guest);
			use_one(guest);
			assert_int_equal(guest->queue[0].interrupts, before + (by_index ? 0 : 2));
			use_one(guest);
			assert_int_equal(guest->queue[0].interrupts, before + (by_index ? 1 : 3));
			while (virtio_guest_take(guest, 0, &id, &len))
				;
		}
		assert_true(guest->virtio->queue[0].interrupts_saved > 0);
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* Ring positions survive a move into another instance, whatever they are. */
static void queues_move(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = start(ring);
		uint8_t out[9] = "it moves", in[9];

		for (unsigned i = 0; i < 37; i++) {
			assert_int_equal(virtio_guest_request(guest, 0, out, 9, in, 9), 9);
			virtio_guest_move(guest, echo_create(guest));
			assert_int_equal(virtio_guest_request(guest, 0, out, 9, in, 9), 9);
			assert_memory_equal(in, out, 9);
		}
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* What a driver made available while the device was paused is served when it goes on. */
static void a_pause_loses_nothing(void **state)
{
	struct virtio_guest *guest = start(VIRTIO_GUEST_EVENT_IDX);
	struct device *device = &guest->virtio->device;
	const struct virtio_guest_buffer buffer = {4096, 1, false};

	device->class->pause(device);
	virtio_guest_add(guest, 0, &buffer, 1);
	virtio_guest_kick(guest, 0);
	assert_int_equal(echo_of(guest)->served, 0);
	device->class->resume(device);
	assert_int_equal(echo_of(guest)->served, 1);
	virtio_guest_destroy(guest);
	(void)state;
}

/* The device's own storage of a chain is there, aligned, and each chain's own. */
static void requests_have_storage(void **state)
{
	struct virtio_guest *guest = start(0);
	struct echo *echo = echo_of(guest);
	const struct virtio_guest_buffer buffer = {4096, 1, false};

	echo->hold = true;
	for (unsigned i = 0; i < 10; i++)
		virtio_guest_add(guest, 0, &buffer, 1);
	virtio_guest_kick(guest, 0);
	assert_int_equal(echo->held_count, 10);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal((uintptr_t)echo->held[i]->request % 16, 0);
		memset(echo->held[i]->request, (int)i, 24);
	}
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(*(uint8_t *)echo->held[i]->request, i);
	virtio_guest_destroy(guest);
	(void)state;
}

static void iovecs_are_cut(void **state)
{
	char bytes[] = "0123456789";
	struct iovec iov[3] = {{bytes, 3}, {bytes + 3, 3}, {bytes + 6, 4}}, *at = iov;

	assert_int_equal(virtq_iov_cut(&at, 3, 4, 5), 2);
	assert_ptr_equal(at, iov + 1);
	assert_memory_equal(at[0].iov_base, "45", 2);
	assert_int_equal(at[0].iov_len, 2);
	assert_int_equal(at[1].iov_len, 3);
	assert_int_equal(virtq_iov_bytes(at, 2), 5);
	assert_int_equal(virtq_iov_cut(&at, 2, 3, 3), 0);
	assert_int_equal(virtq_iov_cut(&at, 2, UINT64_MAX, 1), 0);
	assert_int_equal(virtq_iov_cut(&at, 2, 1, UINT64_MAX), 0);
	assert_int_equal(virtq_iov_cut(&at, 2, 5, 0), 0);
	(void)state;
}

/* Hostile rings. Each breaks the queue: the driver is told by NEEDS_RESET, and a reset makes all well again.
 */

static void put16(struct virtio_guest *guest, uint64_t gpa, uint16_t value)
{
	memcpy(virtio_guest_at(guest, gpa, 2), &value, 2);
}

static void expect_broken_then_reset(struct virtio_guest *guest, unsigned ring)
{
	struct device *device = &guest->virtio->device;
	uint8_t out[4] = "abc", in[4];

	virtio_guest_kick(guest, 0);
	assert_true(needs_reset(guest));
	assert_true(guest->config_interrupts >= 1);
	assert_int_equal(guest->virtio->ring_errors, 1);
	virtio_guest_kick(guest, 0); /* it stays quiet */
	assert_int_equal(guest->virtio->ring_errors, 1);
	virtio_status_write(guest->virtio, 0);
	assert_int_equal(virtio_status(guest->virtio), 0);
	virtio_guest_start(guest, device, ring, 0);
	assert_int_equal(virtio_guest_request(guest, 0, out, 4, in, 4), 4);
	virtio_guest_destroy(guest);
}

static void hostile_buffers(void **state)
{
	static const struct virtio_guest_buffer bad[][2] = {
		{{4096, 0, false}, {4096, 16, true}},                           /* empty */
		{{4096, 16, false}, {4096, 0, true}},                           /* empty, writable */
		{{4096, 16, true}, {4096, 16, false}},                          /* order */
		{{VIRTIO_GUEST_HOLE_GPA, 16, false}, {4096, 16, true}},         /* no memory */
		{{4096, 16, false}, {VIRTIO_GUEST_ROM_GPA, 16, true}},          /* not to be written */
		{{UINT64_MAX - 8, 16, false}, {4096, 16, true}},                /* wraps */
		{{4096, UINT32_MAX, false}, {4096, UINT32_MAX, true}},          /* too long for memory */
		{{VIRTIO_GUEST_MORE_GPA - 4, 8, false}, {UINT64_MAX, 1, true}}, /* one good, one beyond all */
	};

	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			struct virtio_guest *guest = start(ring);

			virtio_guest_add(guest, 0, bad[i], 2);
			expect_broken_then_reset(guest, ring);
		}
	}
	(void)state;
}

static void too_many_pieces(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest_buffer buffers[ECHO_IOV_MAX + 1];
		struct virtio_guest *guest = start(ring);

		for (unsigned i = 0; i <= ECHO_IOV_MAX; i++)
			buffers[i] = (struct virtio_guest_buffer){4096 + 16 * i, 16, i > 3};
		virtio_guest_add(guest, 0, buffers, ECHO_IOV_MAX);
		virtio_guest_kick(guest, 0);
		assert_false(needs_reset(guest));
		virtio_guest_add(guest, 0, buffers, ECHO_IOV_MAX + 1);
		expect_broken_then_reset(guest, ring);
	}
	(void)state;
}

/* A chain that leads back into itself, in the ring and in an indirect table. */
static void loops(void **state)
{
	for (unsigned indirect = 0; indirect < 2; indirect++) {
		unsigned ring = indirect ? VIRTIO_GUEST_INDIRECT : 0;
		struct virtio_guest *guest = start(ring);
		const struct virtio_guest_buffer buffers[3] = {
			{4096, 8, false}, {4104, 8, false}, {4112, 8, false}};
		uint64_t table = (guest->free_gpa + 15) & ~15ull;
		uint64_t last = (indirect ? table : guest->queue[0].desc_gpa) + 16 * 2;

		virtio_guest_add(guest, 0, buffers, 3);
		put16(guest, last + 12, 1); /* NEXT */
		put16(guest, last + 14, 1);
		expect_broken_then_reset(guest, ring);
	}
	(void)state;
}

/* Successors and heads that the table does not have. */
static void indices_outside(void **state)
{
	static const uint16_t next[] = {VIRTIO_GUEST_QUEUE_SIZE, 0x8000, UINT16_MAX};

	for (unsigned i = 0; i < 3; i++) {
		struct virtio_guest *guest = start(0);
		const struct virtio_guest_buffer buffer = {4096, 8, false};

		virtio_guest_add(guest, 0, &buffer, 1);
		put16(guest, guest->queue[0].desc_gpa + 12, 1);
		put16(guest, guest->queue[0].desc_gpa + 14, next[i]);
		expect_broken_then_reset(guest, 0);
		guest = start(0);
		virtio_guest_add(guest, 0, &buffer, 1);
		put16(guest, guest->queue[0].driver_gpa + 4, next[i]); /* the head */
		expect_broken_then_reset(guest, 0);
		guest = start(VIRTIO_GUEST_INDIRECT);
		virtio_guest_add(guest, 0, &buffer, 1);
		put16(guest, guest->free_gpa - 16 + 12, 1);
		put16(guest, guest->free_gpa - 16 + 14, next[i]);
		expect_broken_then_reset(guest, VIRTIO_GUEST_INDIRECT);
	}
	(void)state;
}

/* The available index runs ahead of what a ring can hold. */
static void available_index_jumps(void **state)
{
	static const uint16_t idx[] = {VIRTIO_GUEST_QUEUE_SIZE + 1, 0x8000, UINT16_MAX};

	for (unsigned i = 0; i < 3; i++) {
		struct virtio_guest *guest = start(0);

		put16(guest, guest->queue[0].driver_gpa + 2, idx[i]);
		expect_broken_then_reset(guest, 0);
	}
	(void)state;
}

/* The same chain again while it is in flight. */
static void chains_in_flight_again(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct virtio_guest *guest = start(packed ? VIRTIO_GUEST_PACKED : 0);
		struct virtio_guest_buffer buffers[4] = {
			{4096, 8, false}, {4096, 8, false}, {4096, 8, false}, {4096, 8, false}};

		echo_of(guest)->hold = true;
		for (unsigned i = 0; i < VIRTIO_GUEST_QUEUE_SIZE / 4; i++)
			virtio_guest_add(guest, 0, buffers, 4);
		virtio_guest_kick(guest, 0);
		assert_false(needs_reset(guest));
		assert_int_equal(echo_of(guest)->held_count, VIRTIO_GUEST_QUEUE_SIZE / 4);
		virtio_guest_add(guest, 0, buffers, 1);
		virtio_guest_kick(guest, 0);
		assert_true(needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

static void add_indirect(struct virtio_guest *guest, uint64_t table_gpa, uint32_t len, uint16_t more_flags)
{
	const struct virtio_guest_buffer table = {table_gpa, len, false};
	uint64_t desc = guest->queue[0].desc_gpa;
	unsigned at = guest->ring & VIRTIO_GUEST_PACKED ? 14 : 12;
	uint16_t flags;

	virtio_guest_add_direct(guest, 0, &table, 1);
	memcpy(&flags, virtio_guest_at(guest, desc + at, 2), 2);
	put16(guest, desc + at, flags | 4 | more_flags);
}

static void hostile_indirect_tables(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
		uint16_t flags;
	} bad[] = {
		{8192, 0, 0},                   /* no descriptor */
		{8192, 8, 0},                   /* half a one */
		{8192, 24, 0},                  /* one and a half */
		{VIRTIO_GUEST_HOLE_GPA, 16, 0}, /* no memory */
		{UINT64_MAX - 15, 32, 0},       /* wraps */
		{8192, 16, 1},                  /* with a successor */
	};

	for (unsigned packed = 0; packed < 2; packed++) {
		for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			unsigned ring = VIRTIO_GUEST_INDIRECT | (packed ? VIRTIO_GUEST_PACKED : 0);
			struct virtio_guest *guest = start(ring);

			add_indirect(guest, bad[i].gpa, bad[i].len, bad[i].flags);
			expect_broken_then_reset(guest, ring);
		}
	}
	(void)state;
}

static void indirect_where_it_may_not_be(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		unsigned ring = packed ? VIRTIO_GUEST_PACKED : 0;
		struct virtio_guest *guest = start(ring);
		const struct virtio_guest_buffer buffer = {4096, 16, false};

		/* Not negotiated. */
		add_indirect(guest, 8192, 16, 0);
		expect_broken_then_reset(guest, ring);
		/* In an indirect table. */
		ring |= VIRTIO_GUEST_INDIRECT;
		guest = start(ring);
		virtio_guest_add(guest, 0, &buffer, 1);
		put16(guest, guest->free_gpa - 16 + (packed ? 14 : 12), 4);
		expect_broken_then_reset(guest, ring);
	}
	(void)state;
}

/* 2.7.5.3.2: normal descriptors may come before the indirect one in a split ring. */
static void indirect_after_direct(void **state)
{
	struct virtio_guest *guest = start(VIRTIO_GUEST_INDIRECT);
	uint64_t gpa = virtio_guest_alloc(guest, 64, 16), table = virtio_guest_alloc(guest, 16, 16);
	const struct virtio_guest_buffer buffers[] = {{gpa, 4, false},
						      {table, 16, true /* must be ignored */}};
	const uint64_t in = gpa + 32;
	const uint32_t in_len = 8;
	uint16_t id;
	uint32_t len;

	memcpy(virtio_guest_at(guest, gpa, 4), "abcd", 4);
	memcpy(virtio_guest_at(guest, table, 8), &in, 8);
	memcpy(virtio_guest_at(guest, table + 8, 4), &in_len, 4);
	put16(guest, table + 12, 2);
	virtio_guest_add_direct(guest, 0, buffers, 2);
	put16(guest, guest->queue[0].desc_gpa + 16 + 12, 4 | 2);
	virtio_guest_kick(guest, 0);
	assert_true(virtio_guest_take(guest, 0, &id, &len));
	assert_int_equal(len, 4);
	assert_memory_equal(virtio_guest_at(guest, in, 4), "abcd", 4);
	virtio_guest_destroy(guest);
	(void)state;
}

/* A packed chain whose next descriptor is not available. */
static void packed_chain_without_end(void **state)
{
	struct virtio_guest *guest = start(VIRTIO_GUEST_PACKED);
	const struct virtio_guest_buffer buffer = {4096, 16, false};

	virtio_guest_add(guest, 0, &buffer, 1);
	put16(guest, guest->queue[0].desc_gpa + 14, 0x80 | 1);
	expect_broken_then_reset(guest, VIRTIO_GUEST_PACKED);
	(void)state;
}

/* Rings where there is no memory, or crooked; sizes that cannot be. */
static void rings_out_of_place(void **state)
{
	static const uint64_t gpa[] = {VIRTIO_GUEST_HOLE_GPA, VIRTIO_GUEST_ROM_GPA, 4096 + 1, UINT64_MAX - 15,
				       VIRTIO_GUEST_MORE_GPA - 16};

	for (unsigned field = VIRTIO_QUEUE_DESC; field <= VIRTIO_QUEUE_DEVICE; field++) {
		for (unsigned i = 0; i < 5; i++) {
			struct virtio_guest *guest = virtio_guest_create();

			virtio_guest_attach(guest, echo_create(guest));
			assert_true(virtio_guest_negotiate(guest, 0, 0));
			for (unsigned other = VIRTIO_QUEUE_DESC; other <= VIRTIO_QUEUE_DEVICE; other++)
				virtio_queue_write(guest->virtio, 0, other, UINT64_MAX,
						   other == field ? gpa[i] : 8192);
			virtio_queue_enable(guest->virtio, 0);
			virtio_guest_driver_ok(guest);
			assert_true(needs_reset(guest));
			assert_false(virtio_is_active(guest->virtio));
			virtio_guest_kick(guest, 0);
			assert_int_equal(echo_of(guest)->served, 0);
			virtio_guest_destroy(guest);
		}
	}
	(void)state;
}

static void sizes_that_cannot_be(void **state)
{
	static const uint64_t size[] = {0, 3, 63, 65, 128, 65536, 65536 + 16, UINT64_MAX};

	for (unsigned i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		struct virtio_guest *guest = virtio_guest_create();

		virtio_guest_attach(guest, echo_create(guest));
		assert_true(virtio_guest_negotiate(guest, 0, 0));
		virtio_queue_write(guest->virtio, 0, VIRTIO_QUEUE_SIZE, UINT64_MAX, size[i]);
		for (unsigned field = VIRTIO_QUEUE_DESC; field <= VIRTIO_QUEUE_DEVICE; field++)
			virtio_queue_write(guest->virtio, 0, field, UINT64_MAX, 8192 * field);
		virtio_queue_enable(guest->virtio, 0);
		virtio_guest_driver_ok(guest);
		assert_true(needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* 2.8.10.1: a packed ring's size need not be a power of two. */
static void a_packed_ring_of_any_size(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	uint8_t out[2] = "x", in[2];

	virtio_guest_attach(guest, echo_create(guest));
	assert_true(virtio_guest_negotiate(guest, VIRTIO_GUEST_PACKED | VIRTIO_GUEST_EVENT_IDX, 0));
	virtio_guest_set_up_queue(guest, 0, 7);
	virtio_guest_driver_ok(guest);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(virtio_guest_request(guest, 0, out, 2, in, 2), 2);
	virtio_guest_destroy(guest);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_of_every_ring),
		cmocka_unit_test(chains_are_scattered),
		cmocka_unit_test(buffers_cross_regions),
		cmocka_unit_test(completion_out_of_order),
		cmocka_unit_test(chains_are_returned),
		cmocka_unit_test(kicks_are_suppressed),
		cmocka_unit_test(interrupts_are_suppressed),
		cmocka_unit_test(queues_move),
		cmocka_unit_test(a_pause_loses_nothing),
		cmocka_unit_test(requests_have_storage),
		cmocka_unit_test(iovecs_are_cut),
		cmocka_unit_test(hostile_buffers),
		cmocka_unit_test(too_many_pieces),
		cmocka_unit_test(loops),
		cmocka_unit_test(indices_outside),
		cmocka_unit_test(available_index_jumps),
		cmocka_unit_test(chains_in_flight_again),
		cmocka_unit_test(hostile_indirect_tables),
		cmocka_unit_test(indirect_where_it_may_not_be),
		cmocka_unit_test(indirect_after_direct),
		cmocka_unit_test(packed_chain_without_end),
		cmocka_unit_test(rings_out_of_place),
		cmocka_unit_test(sizes_that_cannot_be),
		cmocka_unit_test(a_packed_ring_of_any_size),
	};

	return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
