/* SPDX-License-Identifier: Apache-2.0 */
/* The 8254 and port 0x61. Headings are those of the Intel 8254 data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/pit.h"
#include "devices/legacy/pit_channel.h"
#include "tests/unit/legacy_board.h"
#include "vmm/base/clock.h"

struct fixture {
	struct board *board;
	struct device *pit;
};

static struct device *make(struct board *board)
{
	struct pit_config config = {.irq = board_line(board, 0)};

	return pit_create(&board->env, &config, &board->err);
}

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	f->board = board_create();
	f->pit = make(f->board);
	*state = f;
	return f->pit ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_destroy(f->board, f->pit);
	test_free(f);
	return 0;
}

static void program(struct fixture *f, unsigned channel, unsigned mode, uint16_t count)
{
	board_out(f->board, 0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	board_out(f->board, (uint16_t)(0x40 + channel), count & 0xff);
	board_out(f->board, (uint16_t)(0x40 + channel), count >> 8);
}

static uint16_t latched(struct fixture *f, unsigned channel)
{
	uint8_t low;

	board_out(f->board, 0x43, (uint8_t)(channel << 6));
	low = board_in(f->board, (uint16_t)(0x40 + channel));
	return (uint16_t)(board_in(f->board, (uint16_t)(0x40 + channel)) << 8 | low);
}

static uint64_t clocks_ns(uint64_t clocks)
{
	return clocks * NS_PER_S / PIT_HZ;
}

/* A channel with count n loaded in clock 1. */
static struct pit_channel loaded(unsigned mode, uint16_t count, bool bcd)
{
	struct pit_channel channel;

	pit_channel_reset(&channel, true);
	pit_channel_set_mode(&channel, (uint8_t)(0x30 | mode << 1 | bcd));
	pit_channel_write(&channel, count & 0xff, 0);
	pit_channel_write(&channel, (uint8_t)(count >> 8), 0);
	return channel;
}

static uint16_t count_at(struct pit_channel channel, uint64_t tick)
{
	uint8_t low = pit_channel_read(&channel, tick);

	return (uint16_t)(pit_channel_read(&channel, tick) << 8 | low);
}

/* Mode 0: OUT is low for n + 1 clocks after the write, then high; the count goes on. */
static void mode0(void **state)
{
	struct pit_channel c = loaded(0, 4, false);

	assert_false(pit_channel_out(&c, 1));
	assert_int_equal(count_at(c, 1), 4);
	assert_false(pit_channel_out(&c, 4));
	assert_true(pit_channel_out(&c, 5));
	assert_int_equal(count_at(c, 6), 0xffff);
	assert_int_equal(pit_channel_next_edge(&c, 0), 5);
	assert_int_equal(pit_channel_next_edge(&c, 5), PIT_TICK_NEVER);
	pit_channel_set_gate(&c, false, 3);
	assert_int_equal(count_at(c, 100), 2); /* the gate stops it */
	pit_channel_set_gate(&c, true, 100);
	assert_true(pit_channel_out(&c, 102));
	pit_channel_write(&c, 9, 200); /* first byte of a new count: OUT low, stopped */
	assert_false(pit_channel_out(&c, 200));
	(void)state;
}

/* Mode 1: the gate's edge triggers, and triggers again. */
static void mode1(void **state)
{
	struct pit_channel c = loaded(1, 3, false);

	assert_true(pit_channel_out(&c, 50));
	pit_channel_set_gate(&c, false, 50);
	pit_channel_set_gate(&c, true, 60);
	assert_false(pit_channel_out(&c, 61));
	assert_false(pit_channel_out(&c, 63));
	assert_true(pit_channel_out(&c, 64));
	pit_channel_set_gate(&c, false, 70);
	pit_channel_set_gate(&c, true, 71);
	pit_channel_set_gate(&c, false, 72);
	pit_channel_set_gate(&c, true, 73);
	assert_false(pit_channel_out(&c, 76));
	assert_true(pit_channel_out(&c, 77));
	(void)state;
}

/* Mode 2: low for one clock in n; a new count waits for the end of the period. */
static void mode2(void **state)
{
	struct pit_channel c = loaded(2, 3, false);

	assert_true(pit_channel_out(&c, 1));
	assert_true(pit_channel_out(&c, 2));
	assert_false(pit_channel_out(&c, 3));
	assert_true(pit_channel_out(&c, 4));
	assert_int_equal(count_at(c, 3), 1);
	assert_int_equal(count_at(c, 4), 3);
	assert_int_equal(pit_channel_edges(&c, 0, 31), 10);
	pit_channel_write(&c, 5, 4);
	pit_channel_write(&c, 0, 4);
	pit_channel_sync(&c, 6);
	assert_int_equal(count_at(c, 6), 1); /* still of three */
	assert_int_equal(pit_channel_edges(&c, 4, 12), 2);
	pit_channel_sync(&c, 7);
	assert_int_equal(count_at(c, 7), 5);
	pit_channel_set_gate(&c, false, 8);
	assert_true(pit_channel_out(&c, 11));
	pit_channel_set_gate(&c, true, 20);
	assert_int_equal(count_at(c, 21), 5);
	(void)state;
}

/* Mode 3: (n + 1) / 2 clocks high, the rest low; the count steps by two. */
static void mode3(void **state)
{
	struct pit_channel even = loaded(3, 4, false), odd = loaded(3, 5, false);
	static const uint8_t odd_counts[5] = {4, 2, 0, 4, 2};

	assert_true(pit_channel_out(&even, 1));
	assert_true(pit_channel_out(&even, 2));
	assert_false(pit_channel_out(&even, 3));
	assert_false(pit_channel_out(&even, 4));
	assert_true(pit_channel_out(&even, 5));
	assert_int_equal(count_at(even, 1), 4);
	assert_int_equal(count_at(even, 2), 2);
	assert_int_equal(count_at(even, 3), 4);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(count_at(odd, 1 + i), odd_counts[i]);
		assert_int_equal(pit_channel_out(&odd, 1 + i), i < 3);
	}
	pit_channel_write(&even, 10, 1); /* in the high half: taken over at its end */
	pit_channel_write(&even, 0, 1);
	assert_int_equal(pit_channel_next_edge(&even, 1), 8);
	pit_channel_sync(&even, 3);
	assert_false(pit_channel_out(&even, 3));
	assert_false(pit_channel_out(&even, 7));
	assert_true(pit_channel_out(&even, 8));
	(void)state;
}

/* Modes 4 and 5: a strobe of one clock, by software and by the gate. */
static void strobes(void **state)
{
	struct pit_channel c = loaded(4, 3, false);

	assert_true(pit_channel_out(&c, 3));
	assert_false(pit_channel_out(&c, 4));
	assert_true(pit_channel_out(&c, 5));
	assert_int_equal(pit_channel_next_edge(&c, 0), 5);
	c = loaded(5, 3, false);
	assert_true(pit_channel_out(&c, 4));
	pit_channel_set_gate(&c, false, 9);
	pit_channel_set_gate(&c, true, 10);
	assert_false(pit_channel_out(&c, 14));
	assert_true(pit_channel_out(&c, 15));
	(void)state;
}

static void bcd(void **state)
{
	struct pit_channel c = loaded(0, 0x0100, true);

	assert_int_equal(count_at(c, 1), 0x0100);
	assert_int_equal(count_at(c, 2), 0x0099);
	assert_int_equal(count_at(c, 102), 0x9999);
	c = loaded(2, 0, true);
	assert_int_equal(pit_channel_period(&c), 10000);
	(void)state;
}

/* Counter latch and read-back commands, status byte. */
static void latches(void **state)
{
	struct fixture *f = *state;
	uint16_t first;

	program(f, 2, 0, 0x8000);
	board_out(f->board, 0x61, 1);
	board_advance(f->board, clocks_ns(1000));
	board_out(f->board, 0x43, 0x80);
	board_advance(f->board, clocks_ns(1000));
	board_out(f->board, 0x43, 0x80); /* a second latch is ignored */
	first = board_in(f->board, 0x42);
	first |= (uint16_t)(board_in(f->board, 0x42) << 8);
	assert_in_range(first, 0x8000 - 1002, 0x8000 - 998);
	assert_in_range(latched(f, 2), 0x8000 - 2002, 0x8000 - 1998);
	board_out(f->board, 0x43, 0xe8); /* read-back: status of 2 */
	assert_int_equal(board_in(f->board, 0x42), 0x30);
	board_out(f->board, 0x43, 0xb0);
	board_out(f->board, 0x43, 0xe8);
	assert_int_equal(board_in(f->board, 0x42), 0x70); /* null count */
	board_out(f->board, 0x43, 0xa6);                  /* high byte only, mode 3 */
	board_out(f->board, 0x42, 0x12);
	board_advance(f->board, 2000);
	board_out(f->board, 0x43, 0xc8); /* status first, then the count */
	assert_int_equal(board_in(f->board, 0x42), 0xa6);
	assert_in_range(board_in(f->board, 0x42), 0x11, 0x12);
	assert_int_equal(board_in(f->board, 0x43), 0xff);
}

/* Port 0x61 as the calibration of operating systems uses it. */
static void port61(void **state)
{
	struct fixture *f = *state;
	unsigned toggles = 0;
	uint8_t last;

	board_out(f->board, 0x61, 0x00);
	program(f, 2, 0, 11932); /* 10 ms */
	board_advance(f->board, 20 * NS_PER_MS);
	assert_int_equal(board_in(f->board, 0x61) & 0x2f, 0x00); /* the gate is shut */
	board_out(f->board, 0x61, 0x01);
	board_advance(f->board, 9 * NS_PER_MS);
	assert_int_equal(board_in(f->board, 0x61) & 0x2f, 0x01);
	board_advance(f->board, 2 * NS_PER_MS);
	assert_int_equal(board_in(f->board, 0x61) & 0x2f, 0x21);
	last = board_in(f->board, 0x61);
	for (unsigned i = 0; i < 100; i++) {
		board_advance(f->board, 15085);
		toggles += (last ^ board_in(f->board, 0x61)) >> 4 & 1;
		last = board_in(f->board, 0x61);
	}
	assert_int_equal(toggles, 100);
	assert_int_equal(board_timers_armed(f->board), 0);
}

static void interrupts(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(board_timers_armed(f->board), 0);
	program(f, 0, 2, 11932);
	f->board->edges[0] = 0;
	board_advance(f->board, NS_PER_S);
	assert_int_equal(f->board->edges[0], 99);
	program(f, 0, 0, 11932);
	assert_false(f->board->line[0]);
	f->board->edges[0] = 0;
	board_advance(f->board, NS_PER_S);
	assert_int_equal(f->board->edges[0], 1);
	assert_int_equal(board_timers_armed(f->board), 0);
}

/* Late ticks: all of a second's, spaced; none of what is older. */
static void late_ticks(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 2, 11932);
	f->board->edges[0] = 0;
	board_oversleep(f->board, 105 * NS_PER_MS);
	assert_int_equal(f->board->edges[0], 1);
	board_advance(f->board, 895 * NS_PER_MS);
	assert_int_equal(f->board->edges[0], 99);
	f->board->edges[0] = 0;
	board_oversleep(f->board, 60 * NS_PER_S);
	board_advance(f->board, NS_PER_S);
	assert_in_range(f->board->edges[0], 195, 202);
}

/* A period of two clocks costs the event loop a bounded number of wake-ups. */
static void hostile_period(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 2, 2);
	f->board->edges[0] = 0;
	board_advance(f->board, 10 * NS_PER_MS);
	assert_in_range(f->board->edges[0], 100, 201);
}

static void saved_state(void **state)
{
	struct fixture *f = *state;
	struct board *board = board_create();
	struct device *other = make(board);
	struct fixture g = {board, other};

	program(f, 0, 0, 11932);
	board_advance(f->board, 4 * NS_PER_MS);
	board_advance(board, 777 * NS_PER_MS);
	board_move_state(f->board, f->pit, other);
	assert_in_range(latched(&g, 0), 7155, 7163);
	board_advance(board, 5 * NS_PER_MS);
	assert_false(board->line[0]);
	board_advance(board, 2 * NS_PER_MS);
	assert_true(board->line[0]);
	board_destroy(board, other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mode0),
		cmocka_unit_test(mode1),
		cmocka_unit_test(mode2),
		cmocka_unit_test(mode3),
		cmocka_unit_test(strobes),
		cmocka_unit_test(bcd),
		T(latches),
		T(port61),
		T(interrupts),
		T(late_ticks),
		T(hostile_period),
		T(saved_state),
	};

	return cmocka_run_group_tests_name("pit", tests, NULL, NULL);
}
