/* SPDX-License-Identifier: Apache-2.0 */
/* The timer of the local APICs. Sections are those of the Intel SDM, vol. 3, chapter 11. */
#include "tests/unit/lapic_rig.h"

/* 11.5.4: one-shot, the divider, the current count. */
static void timer_one_shot(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	wr(f, 0, 0x320, 0x40);
	wr(f, 0, 0x3e0, 0x0); /* by 2 */
	wr(f, 0, 0x380, 1000);
	board_advance(f->board, 500);
	assert_int_equal(rd(f, 0, 0x390), 750);
	wr(f, 0, 0x3e0, 0xb); /* by 1 from here on */
	board_advance(f->board, 749);
	assert_false(f->intr[0]);
	board_advance(f->board, 1);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x40);
	assert_int_equal(rd(f, 0, 0x390), 0);
	assert_int_equal(board_timers_armed(f->board), 0);
}

/* A masked timer counts but arms nothing and leaves nothing pending. */
static void timer_masked(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	wr(f, 0, 0x320, 0x10040);
	wr(f, 0, 0x3e0, 0xb);
	wr(f, 0, 0x380, 1000);
	assert_int_equal(board_timers_armed(f->board), 0);
	board_advance(f->board, 400);
	assert_int_equal(rd(f, 0, 0x390), 600);
	board_advance(f->board, 1000);
	wr(f, 0, 0x320, 0x40);
	board_advance(f->board, 10000);
	assert_false(f->intr[0]);
}

static void timer_periodic(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	wr(f, 0, 0x320, 0x20040);
	wr(f, 0, 0x3e0, 0xb);
	wr(f, 0, 0x380, 1000000);
	for (unsigned i = 0; i < 3; i++) {
		board_advance(f->board, 1000000);
		assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x40);
		wr(f, 0, 0xb0, 0);
	}
	assert_int_equal(rd(f, 0, 0x390), 1000000);
	board_oversleep(f->board, 2500000); /* late: one interrupt, and the phase is kept */
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x40);
	wr(f, 0, 0xb0, 0);
	assert_false(f->intr[0]);
	assert_int_equal(rd(f, 0, 0x390), 500000);
	wr(f, 0, 0x380, 0);
	assert_int_equal(board_timers_armed(f->board), 0);
}

/* 11.5.4.1: TSC-deadline mode. */
static void timer_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	enable_all(f);
	assert_true(lapic_msr_write(f->lapic, 0, 0x6e0, 5000)); /* not in that mode: ignored */
	assert_true(lapic_msr_read(f->lapic, 0, 0x6e0, &value));
	assert_int_equal(value, 0);
	wr(f, 0, 0x320, 0x40040);
	wr(f, 0, 0x380, 77); /* ignored */
	assert_int_equal(rd(f, 0, 0x390), 0);
	assert_true(lapic_msr_write(f->lapic, 0, 0x6e0, 5000));
	assert_true(lapic_msr_read(f->lapic, 0, 0x6e0, &value));
	assert_int_equal(value, 5000);
	board_advance(f->board, 2499);
	assert_false(f->intr[0]);
	board_advance(f->board, 1);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x40);
	wr(f, 0, 0xb0, 0);
	assert_true(lapic_msr_read(f->lapic, 0, 0x6e0, &value));
	assert_int_equal(value, 0);
	assert_true(lapic_msr_write(f->lapic, 0, 0x6e0, 1)); /* past: at once */
	assert_true(f->intr[0]);
	lapic_acknowledge(f->lapic, 0);
	wr(f, 0, 0xb0, 0);
	assert_true(lapic_msr_write(f->lapic, 0, 0x6e0, 1000000));
	wr(f, 0, 0x320, 0x40); /* leaving the mode disarms */
	assert_int_equal(board_timers_armed(f->board), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(timer_one_shot),
		T(timer_masked),
		T(timer_periodic),
		T(timer_deadline),
	};

	return cmocka_run_group_tests_name("lapic timer", tests, NULL, NULL);
}
