/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of every kind, driven by a guest that behaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/unit/virtio_echo.h"

/* Many requests, so that indices wrap, of changing shapes. */
static void requests_of_every_ring(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = echo_start(ring);

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
		assert_false(echo_needs_reset(guest));
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
		struct virtio_guest *guest = echo_start(ring);

		for (unsigned i = 0; i < 10; i++)
			a_chain_of_pieces(guest, i % 2);
		assert_false(echo_needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* A buffer that crosses two regions is two iovecs, and one that leaves the last breaks the queue. */
static void buffers_cross_regions(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = echo_start(ring);
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
		assert_true(echo_needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* Completion out of order, several at once, with one publish. */
static void completion_out_of_order(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = echo_start(ring);
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
			virtio_guest_watch_writes(guest); /* what is shown is announced when it is shown */
			virtqueue_publish(&echo->virtio.queue[0]);
			virtio_guest_check_writes(guest);
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
		struct virtio_guest *guest = echo_start(ring);
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
		assert_false(echo_needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* Kicks: wanted when the device has found the ring empty, not while it is at work. */
static void kicks_are_suppressed(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = echo_start(ring);
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
		struct virtio_guest *guest = echo_start(ring);
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
			/* An event that lies behind stays there when the ring begins anew. */
			for (unsigned i = 0; i < round % 9; i++)
				use_one(guest);
			assert_int_equal(guest->queue[0].interrupts, before + (by_index ? 1 : 3 + round % 9));
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
		struct virtio_guest *guest = echo_start(ring);
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
	struct virtio_guest *guest = echo_start(VIRTIO_GUEST_EVENT_IDX);
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
	struct virtio_guest *guest = echo_start(0);
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

/* 2.7.5.3.2: normal descriptors may come before the indirect one in a split ring. */
static void indirect_after_direct(void **state)
{
	struct virtio_guest *guest = echo_start(VIRTIO_GUEST_INDIRECT);
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
	echo_put16(guest, table + 12, 2);
	virtio_guest_add_direct(guest, 0, buffers, 2);
	echo_put16(guest, guest->queue[0].desc_gpa + 16 + 12, 4 | 2);
	virtio_guest_kick(guest, 0);
	assert_true(virtio_guest_take(guest, 0, &id, &len));
	assert_int_equal(len, 4);
	assert_memory_equal(virtio_guest_at(guest, in, 4), "abcd", 4);
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
		cmocka_unit_test(a_packed_ring_of_any_size),
		cmocka_unit_test(indirect_after_direct),
	};

	return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
