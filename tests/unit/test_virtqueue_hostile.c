/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings of guests that do not behave. Each breaks the queue: the driver is told by NEEDS_RESET, and a reset
 * makes all well again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/unit/virtio_echo.h"

static void expect_broken_then_reset(struct virtio_guest *guest, unsigned ring)
{
	struct device *device = &guest->virtio->device;
	uint8_t out[4] = "abc", in[4];

	virtio_guest_kick(guest, 0);
	assert_true(echo_needs_reset(guest));
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
			struct virtio_guest *guest = echo_start(ring);

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
		struct virtio_guest *guest = echo_start(ring);

		for (unsigned i = 0; i <= ECHO_IOV_MAX; i++)
			buffers[i] = (struct virtio_guest_buffer){4096 + 16 * i, 16, i > 3};
		virtio_guest_add(guest, 0, buffers, ECHO_IOV_MAX);
		virtio_guest_kick(guest, 0);
		assert_false(echo_needs_reset(guest));
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
		struct virtio_guest *guest = echo_start(ring);
		const struct virtio_guest_buffer buffers[3] = {
			{4096, 8, false}, {4104, 8, false}, {4112, 8, false}};
		uint64_t table = (guest->free_gpa + 15) & ~15ull;
		uint64_t last = (indirect ? table : guest->queue[0].desc_gpa) + 16 * 2;

		virtio_guest_add(guest, 0, buffers, 3);
		echo_put16(guest, last + 12, 1); /* NEXT */
		echo_put16(guest, last + 14, 1);
		expect_broken_then_reset(guest, ring);
	}
	(void)state;
}

/* Successors and heads that the table does not have. */
static void indices_outside(void **state)
{
	static const uint16_t next[] = {VIRTIO_GUEST_QUEUE_SIZE, 0x8000, UINT16_MAX};

	for (unsigned i = 0; i < 3; i++) {
		struct virtio_guest *guest = echo_start(0);
		const struct virtio_guest_buffer buffer = {4096, 8, false};

		virtio_guest_add(guest, 0, &buffer, 1);
		echo_put16(guest, guest->queue[0].desc_gpa + 12, 1);
		echo_put16(guest, guest->queue[0].desc_gpa + 14, next[i]);
		expect_broken_then_reset(guest, 0);
		guest = echo_start(0);
		virtio_guest_add(guest, 0, &buffer, 1);
		echo_put16(guest, guest->queue[0].driver_gpa + 4, next[i]); /* the head */
		expect_broken_then_reset(guest, 0);
		guest = echo_start(VIRTIO_GUEST_INDIRECT);
		virtio_guest_add(guest, 0, &buffer, 1);
		echo_put16(guest, guest->free_gpa - 16 + 12, 1);
		echo_put16(guest, guest->free_gpa - 16 + 14, next[i]);
		expect_broken_then_reset(guest, VIRTIO_GUEST_INDIRECT);
	}
	(void)state;
}

/* The available index runs ahead of what a ring can hold. */
static void available_index_jumps(void **state)
{
	static const uint16_t idx[] = {VIRTIO_GUEST_QUEUE_SIZE + 1, 0x8000, UINT16_MAX};

	for (unsigned i = 0; i < 3; i++) {
		struct virtio_guest *guest = echo_start(0);

		echo_put16(guest, guest->queue[0].driver_gpa + 2, idx[i]);
		expect_broken_then_reset(guest, 0);
	}
	(void)state;
}

/* The same chain again while it is in flight. */
static void chains_in_flight_again(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct virtio_guest *guest = echo_start(packed ? VIRTIO_GUEST_PACKED : 0);
		struct virtio_guest_buffer buffers[4] = {
			{4096, 8, false}, {4096, 8, false}, {4096, 8, false}, {4096, 8, false}};

		echo_of(guest)->hold = true;
		for (unsigned i = 0; i < VIRTIO_GUEST_QUEUE_SIZE / 4; i++)
			virtio_guest_add(guest, 0, buffers, 4);
		virtio_guest_kick(guest, 0);
		assert_false(echo_needs_reset(guest));
		assert_int_equal(echo_of(guest)->held_count, VIRTIO_GUEST_QUEUE_SIZE / 4);
		virtio_guest_add(guest, 0, buffers, 1);
		virtio_guest_kick(guest, 0);
		assert_true(echo_needs_reset(guest));
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
	echo_put16(guest, desc + at, flags | 4 | more_flags);
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
			struct virtio_guest *guest = echo_start(ring);

			add_indirect(guest, bad[i].gpa, bad[i].len, bad[i].flags);
			expect_broken_then_reset(guest, ring);
		}
	}
	(void)state;
}

/* A successor beyond the table's end is refused even where a good descriptor happens to lie. */
static void indirect_beyond_the_table(void **state)
{
	struct virtio_guest *guest = echo_start(VIRTIO_GUEST_INDIRECT);
	uint64_t table = virtio_guest_alloc(guest, 32, 16);

	for (unsigned i = 0; i < 2; i++) {
		const uint64_t gpa = 4096;
		const uint32_t len = 16;

		memcpy(virtio_guest_at(guest, table + 16 * i, 8), &gpa, 8);
		memcpy(virtio_guest_at(guest, table + 16 * i + 8, 4), &len, 4);
		echo_put16(guest, table + 16 * i + 12, i == 0);
		echo_put16(guest, table + 16 * i + 14, i == 0);
	}
	add_indirect(guest, table, 32, 0);
	virtio_guest_kick(guest, 0);
	assert_false(echo_needs_reset(guest));
	assert_int_equal(echo_of(guest)->served, 1);
	virtio_guest_destroy(guest);
	guest = echo_start(VIRTIO_GUEST_INDIRECT);
	virtio_guest_alloc(guest, 32, 16);
	memcpy(virtio_guest_at(guest, table, 32),
	       (uint8_t[32]){0, 16, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 16},
	       32);
	add_indirect(guest, table, 16, 0);
	expect_broken_then_reset(guest, VIRTIO_GUEST_INDIRECT);
	(void)state;
}

static void indirect_where_it_may_not_be(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		unsigned ring = packed ? VIRTIO_GUEST_PACKED : 0;
		struct virtio_guest *guest = echo_start(ring);
		const struct virtio_guest_buffer buffer = {4096, 16, false};

		/* Not negotiated. */
		add_indirect(guest, 8192, 16, 0);
		expect_broken_then_reset(guest, ring);
		/* In an indirect table. */
		ring |= VIRTIO_GUEST_INDIRECT;
		guest = echo_start(ring);
		virtio_guest_add(guest, 0, &buffer, 1);
		echo_put16(guest, guest->free_gpa - 16 + (packed ? 14 : 12), 4);
		expect_broken_then_reset(guest, ring);
	}
	(void)state;
}

/* A packed chain whose next descriptor is not available. */
static void packed_chain_without_end(void **state)
{
	struct virtio_guest *guest = echo_start(VIRTIO_GUEST_PACKED);
	const struct virtio_guest_buffer buffer = {4096, 16, false};

	virtio_guest_add(guest, 0, &buffer, 1);
	echo_put16(guest, guest->queue[0].desc_gpa + 14, 0x80 | 1);
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
			assert_true(echo_needs_reset(guest));
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
		assert_true(echo_needs_reset(guest));
		virtio_guest_destroy(guest);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_buffers),
		cmocka_unit_test(too_many_pieces),
		cmocka_unit_test(loops),
		cmocka_unit_test(indices_outside),
		cmocka_unit_test(available_index_jumps),
		cmocka_unit_test(chains_in_flight_again),
		cmocka_unit_test(hostile_indirect_tables),
		cmocka_unit_test(indirect_beyond_the_table),
		cmocka_unit_test(indirect_where_it_may_not_be),
		cmocka_unit_test(packed_chain_without_end),
		cmocka_unit_test(rings_out_of_place),
		cmocka_unit_test(sizes_that_cannot_be),
	};

	return cmocka_run_group_tests_name("virtqueue_hostile", tests, NULL, NULL);
}
