/* SPDX-License-Identifier: Apache-2.0 */
/* The MC146818. Headings are those of the Motorola data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/rtc.h"
#include "devices/legacy/rtc_calendar.h"
#include "tests/unit/legacy_board.h"
#include "vmm/base/clock.h"

struct fixture {
	struct board *board;
	struct device *rtc;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct rtc_config config = {.ram_below_4g_bytes = 512u << 20, .ram_above_4g_bytes = 1ull << 30};

	f->board = board_create();
	config.irq = board_line(f->board, 8);
	config.realtime_ns = board_realtime_ns;
	config.realtime_opaque = f->board;
	f->rtc = rtc_create(&f->board->env, &config, &f->board->err);
	*state = f;
	return f->rtc ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_destroy(f->board, f->rtc);
	test_free(f);
	return 0;
}

static uint8_t rd(struct fixture *f, uint8_t index)
{
	board_out(f->board, 0x70, index);
	return board_in(f->board, 0x71);
}

static void wr(struct fixture *f, uint8_t index, uint8_t value)
{
	board_out(f->board, 0x70, index);
	board_out(f->board, 0x71, value);
}

static void calendar(void **state)
{
	static const int64_t days[] = {-62135596800, -1, 0, 951782400, 951868800, 4107542400, 7258118399};

	for (unsigned i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		struct rtc_time time = rtc_time_from_seconds(days[i]);

		assert_int_equal(rtc_time_to_seconds(&time), days[i]);
	}
	assert_int_equal(rtc_time_from_seconds(951782400).month, 2); /* 29 February 2000 */
	assert_int_equal(rtc_time_from_seconds(951782400).day, 29);
	assert_int_equal(rtc_time_from_seconds(4107542400).day, 1); /* 2100 has none */
	assert_int_equal(rtc_time_from_seconds(4107542400).month, 3);
	assert_int_equal(rtc_time_from_seconds(0).weekday, 5);
	(void)state;
}

/* BCD and binary, 24 and 12 hours, century. */
static void formats(void **state)
{
	struct fixture *f = *state;

	board_advance(f->board, 10 * 3600 * NS_PER_S + 51 * NS_PER_S);
	assert_int_equal(rd(f, 0), 0x56);
	assert_int_equal(rd(f, 2), 0x04);
	assert_int_equal(rd(f, 4), 0x13);
	assert_int_equal(rd(f, 6), 0x01);
	assert_int_equal(rd(f, 7), 0x02);
	assert_int_equal(rd(f, 8), 0x01);
	assert_int_equal(rd(f, 9), 0x00);
	assert_int_equal(rd(f, 0x32), 0x20);
	wr(f, 0x0b, 0x04);
	assert_int_equal(rd(f, 0), 56);
	assert_int_equal(rd(f, 4), 0x81); /* 1 PM */
	wr(f, 0x0b, 0x00);
	assert_int_equal(rd(f, 4), 0x81);
	assert_int_equal(rd(f, 0x0d), 0x80);
	assert_int_equal(board_in(f->board, 0x70), 0xff);
}

/* Register A, UIP: 244 us before an update, never while SET. */
static void update_in_progress(void **state)
{
	struct fixture *f = *state;

	board_advance(f->board, NS_PER_S - 300 * NS_PER_US);
	assert_int_equal(rd(f, 0x0a), 0x26);
	board_advance(f->board, 100 * NS_PER_US);
	assert_int_equal(rd(f, 0x0a), 0xa6);
	wr(f, 0x0b, 0x82);
	assert_int_equal(rd(f, 0x0a), 0x26);
}

/* Register B, SET: the registers stand; the guest's time is kept as an offset from the host's. */
static void setting_the_time(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x0b, 0x82);
	board_advance(f->board, 5 * NS_PER_S);
	assert_int_equal(rd(f, 0), 0x05);
	wr(f, 9, 0x24);
	wr(f, 8, 0x02);
	wr(f, 7, 0x28);
	wr(f, 4, 0x23);
	wr(f, 2, 0x59);
	wr(f, 0, 0x58);
	wr(f, 0x0b, 0x02);
	board_advance(f->board, 2 * NS_PER_S);
	assert_int_equal(rd(f, 7), 0x29); /* 2024 is a leap year */
	assert_int_equal(rd(f, 8), 0x02);
	assert_int_equal(rd(f, 4), 0x00);
	board_advance(f->board, 86400 * NS_PER_S);
	assert_int_equal(rd(f, 7), 0x01);
	assert_int_equal(rd(f, 8), 0x03);
	wr(f, 0, 0x30); /* without SET it counts as well */
	board_advance(f->board, 3 * NS_PER_S);
	assert_int_equal(rd(f, 0), 0x33);
}

/* Divider reset: the next update comes half a second later, as operating systems rely on. */
static void divider_reset(void **state)
{
	struct fixture *f = *state;

	board_advance(f->board, 700 * NS_PER_MS);
	wr(f, 0x0a, 0x76);
	wr(f, 0, 0x10);
	board_advance(f->board, 3 * NS_PER_S);
	assert_int_equal(rd(f, 0), 0x10);
	wr(f, 0x0a, 0x26);
	board_advance(f->board, 499 * NS_PER_MS);
	assert_int_equal(rd(f, 0), 0x10);
	board_advance(f->board, 2 * NS_PER_MS);
	assert_int_equal(rd(f, 0), 0x11);
}

static void update_interrupt(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(board_timers_armed(f->board), 0);
	rd(f, 0x0c);
	wr(f, 0x0b, 0x12);
	board_advance(f->board, NS_PER_S);
	assert_true(f->board->line[8]);
	assert_int_equal(rd(f, 0x0c) & 0xb0, 0x90);
	assert_false(f->board->line[8]);
	assert_int_equal(rd(f, 0x0c), 0x00);
	board_advance(f->board, 3 * NS_PER_S);
	assert_int_equal(f->board->edges[8], 2); /* not read: one */
	wr(f, 0x0b, 0x92);
	assert_int_equal(rd(f, 0x0b), 0x82); /* SET clears UIE */
}

/* Alarm: exact, with wildcards, and one that never comes. */
static void alarms(void **state)
{
	struct fixture *f = *state;

	wr(f, 1, 0x07);
	wr(f, 3, 0x05);
	wr(f, 5, 0x03);
	rd(f, 0x0c);
	wr(f, 0x0b, 0x22);
	board_advance(f->board, 61 * NS_PER_S);
	assert_false(f->board->line[8]);
	board_advance(f->board, 2 * NS_PER_S);
	assert_true(f->board->line[8]);
	assert_int_equal(rd(f, 0x0c) & 0xa0, 0xa0);
	wr(f, 3, 0xc0);
	wr(f, 5, 0xff);
	board_advance(f->board, 58 * NS_PER_S);
	assert_false(f->board->line[8]);
	board_advance(f->board, NS_PER_S);
	assert_true(f->board->line[8]);
	rd(f, 0x0c);
	wr(f, 1, 0x77);
	assert_int_equal(board_timers_armed(f->board), 0);
	board_advance(f->board, 200 * NS_PER_S);
	assert_int_equal(rd(f, 0x0c) & 0x20, 0);
}

/* Table 5: periodic rates. */
static void periodic(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x0a, 0x2d); /* 8 Hz */
	rd(f, 0x0c);
	wr(f, 0x0b, 0x42);
	for (unsigned i = 0; i < 16; i++) {
		board_advance(f->board, 125 * NS_PER_MS);
		assert_int_equal(rd(f, 0x0c) & 0xc0, 0xc0);
	}
	assert_int_equal(f->board->edges[8], 16);
	wr(f, 0x0a, 0x21); /* 256 Hz */
	rd(f, 0x0c);
	board_advance(f->board, 3906 * NS_PER_US);
	assert_false(f->board->line[8]);
	board_advance(f->board, NS_PER_US);
	assert_true(f->board->line[8]);
	rd(f, 0x0c);
	wr(f, 0x0a, 0x20);
	assert_int_equal(board_timers_armed(f->board), 0);
}

static void memory(void **state)
{
	struct fixture *f = *state;
	unsigned sum = 0;

	assert_int_equal(rd(f, 0x15) | rd(f, 0x16) << 8, 640);
	assert_int_equal(rd(f, 0x17) | rd(f, 0x18) << 8, 0xffff);
	assert_int_equal(rd(f, 0x34) | rd(f, 0x35) << 8, 496 * 16);
	assert_int_equal(rd(f, 0x5b) | rd(f, 0x5c) << 8 | rd(f, 0x5d) << 16, 1 << 14);
	for (uint8_t i = 0x10; i <= 0x2d; i++)
		sum += rd(f, i);
	assert_int_equal(rd(f, 0x2e) << 8 | rd(f, 0x2f), sum);
	wr(f, 0xff, 0x5a); /* bit 7 masks NMI */
	assert_int_equal(rd(f, 0x7f), 0x5a);
	wr(f, 0x0b, 0x72);
	f->rtc->class->reset(f->rtc);
	assert_int_equal(rd(f, 0x0b), 0x02);
	assert_int_equal(rd(f, 0x7f), 0x5a); /* the battery keeps it */
}

/* Nonsense in the registers gives some time, never a crash. */
static void absurd_times(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x0b, 0x82);
	for (uint8_t i = 0; i < 10; i++)
		wr(f, i, 0xff);
	wr(f, 0x32, 0xff);
	wr(f, 0x0b, 0x02);
	board_advance(f->board, 86400 * NS_PER_S);
	assert_int_equal(rd(f, 0x32), 0x22);
	wr(f, 0x32, 0x00);
	assert_int_equal(rd(f, 0x32), 0x19);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calendar),
		T(formats),
		T(update_in_progress),
		T(setting_the_time),
		T(divider_reset),
		T(update_interrupt),
		T(alarms),
		T(periodic),
		T(memory),
		T(absurd_times),
	};

	return cmocka_run_group_tests_name("rtc", tests, NULL, NULL);
}
