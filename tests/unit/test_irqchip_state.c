/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole state of PIC, I/O APIC, PIT and local APICs, given away, forgotten, and taken back: the guest
 * finds what it left, and time has gone on.
 */
#include "tests/unit/lapic_rig.h"

#include <string.h>

#include "devices/legacy/ioapic.h"
#include "devices/legacy/pic.h"
#include "devices/legacy/pit.h"
#include "vmm/base/clock.h"
#include "vmm/core/irqchip_state.h"

#define PERIOD_NS (0x4000ull * NS_PER_S / PIT_HZ)

static void program_pit(struct board *board, unsigned channel, unsigned mode, uint16_t count)
{
	board_out(board, 0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	board_out(board, (uint16_t)(0x40 + channel), count & 0xff);
	board_out(board, (uint16_t)(0x40 + channel), count >> 8);
}

static uint16_t pit_count(struct board *board, unsigned channel)
{
	uint8_t low;

	board_out(board, 0x43, (uint8_t)(channel << 6));
	low = board_in(board, (uint16_t)(0x40 + channel));
	return (uint16_t)(board_in(board, (uint16_t)(0x40 + channel)) << 8 | low);
}

/* Gives the state away and takes it back ns later, with everything forgotten between. */
static void pit_away(struct board *board, struct device *pit, uint64_t ns)
{
	struct pit_state state;

	pit_state_get(pit, &state);
	pit_rest(pit);
	board_advance(board, ns);
	pit->class->reset(pit);
	pit_state_set(pit, &state);
	pit->class->resume(pit);
}

static void test_pit_counts_on(void **state)
{
	struct board *board = board_create();
	const struct pit_config config = {.irq = board_line(board, 0)};
	struct device *pit = pit_create(&board->env, &config, &board->err);
	unsigned edges;

	program_pit(board, 0, 2, 0x4000);
	program_pit(board, 1, 0, 0x8000);
	board_out(board, 0x61, 3);
	board_out(board, 0x42, 0x99); /* the first byte of two */
	board_advance(board, PERIOD_NS / 4);
	edges = board->edges[0];
	pit_away(board, pit, PERIOD_NS / 4);
	assert_int_equal(board->edges[0], edges);
	assert_in_range(pit_count(board, 0), 0x1ff0, 0x2010);
	assert_in_range(pit_count(board, 1), 0x5ff0, 0x6010);
	assert_int_equal(board_in(board, 0x61) & 3, 3);
	/* The tick comes when it would have come. */
	board_advance(board, PERIOD_NS / 2 - NS_PER_US * 5);
	assert_int_equal(board->edges[0], edges);
	board_advance(board, NS_PER_US * 10);
	assert_int_equal(board->edges[0], edges + 1);
	board_destroy(board, pit);
}

/* A tick that fell into the time away was the other one's. */
static void test_pit_ticks_away_are_not_ours(void **state)
{
	struct board *board = board_create();
	const struct pit_config config = {.irq = board_line(board, 0)};
	struct device *pit = pit_create(&board->env, &config, &board->err);
	unsigned edges;

	program_pit(board, 0, 3, 0x4000);
	board_advance(board, PERIOD_NS / 4);
	edges = board->edges[0];
	pit_away(board, pit, PERIOD_NS * 3);
	board_advance(board, PERIOD_NS / 4);
	assert_int_equal(board->edges[0], edges);
	board_advance(board, PERIOD_NS);
	assert_int_equal(board->edges[0], edges + 1);
	board_destroy(board, pit);
}

static void test_pic_is_found_as_it_was_left(void **state)
{
	static const uint8_t words[2][4] = {{0x11, 0x30, 0x04, 0x01}, {0x11, 0x38, 0x02, 0x01}};
	struct board *board = board_create();
	const struct pic_config config = {.output = board_line(board, 20)};
	struct device *pic = pic_create(&board->env, &config, &board->err);
	struct pic_state given, taken;
	struct irq_line line = pic_input(pic, 12);

	for (unsigned chip = 0; chip < 2; chip++) {
		for (unsigned i = 0; i < 4; i++)
			board_out(board, (uint16_t)((chip ? 0xa0 : 0x20) + (i > 0)), words[chip][i]);
	}
	board_out(board, 0x4d1, 0x10);
	board_out(board, 0x20, 0x0b);
	irq_line_set(&line, true);
	assert_true(board->line[20]);
	pic_state_get(pic, &given);
	pic->class->reset(pic);
	assert_false(board->line[20]);
	pic_state_set(pic, &given);
	assert_true(board->line[20]);
	pic_state_get(pic, &taken);
	assert_memory_equal(&taken, &given, sizeof(given));
	pthread_mutex_lock(&board->intr_lock);
	assert_int_equal(pic_acknowledge(pic), 0x3c);
	pthread_mutex_unlock(&board->intr_lock);
	board_destroy(board, pic);
}

static void count_message(void *opaque, const struct intr_message *message)
{
	++*(unsigned *)opaque;
}

static void test_ioapic_sends_what_waits(void **state)
{
	struct board *board = board_create();
	unsigned messages = 0;
	const struct ioapic_config config = {.base = 0xfec00000,
					     .sink = {.deliver = count_message, .opaque = &messages}};
	struct device *ioapic = ioapic_create(&board->env, &config, &board->err);
	struct ioapic_state given, taken;

	ioapic_state_get(ioapic, &given);
	given.select = 0x17;
	given.id = 3;
	given.lines = 1u << 10 | 1u << 11 | 1u << 4;
	given.entry[10] = 0x8051; /* a level that nobody has sent */
	given.entry[11] = 0xc052; /* one whose end is awaited */
	given.entry[4] = 0x53;    /* an edge that was taken when it came */
	ioapic_state_set(ioapic, &given);
	assert_int_equal(messages, 1);
	ioapic_state_get(ioapic, &taken);
	given.entry[10] |= 0x4000;
	assert_memory_equal(&taken, &given, sizeof(given));
	/* No state makes a chip that there is not. */
	given.entry[10] = ~0ull;
	given.id = 0xff;
	ioapic_state_set(ioapic, &given);
	ioapic_state_get(ioapic, &taken);
	assert_int_equal(taken.entry[10], 0xff0000000001efff);
	assert_int_equal(taken.id, 15);
	board_destroy(board, ioapic);
}

static void test_lapic_timer_runs_on(void **state)
{
	struct fixture *f = *state;
	struct lapic_state given, taken;

	enable_all(f);
	wr(f, 0, 0x3e0, 0xb); /* by one */
	wr(f, 0, 0x320, 0x20044);
	wr(f, 0, 0x380, 1000000);
	wr(f, 0, 0x80, 0x20);
	board_advance(f->board, 400000);
	lapic_state_get(f->lapic, 0, &given);
	lapic_rest(f->lapic);
	assert_int_equal(given.timer_current, 600000);
	assert_int_equal(given.timer_initial, 1000000);
	f->lapic->class->reset(f->lapic);
	lapic_state_set(f->lapic, 0, &given);
	f->lapic->class->resume(f->lapic);
	lapic_state_get(f->lapic, 0, &taken);
	assert_memory_equal(&taken, &given, sizeof(given));
	board_advance(f->board, 599000);
	assert_false(f->intr[0]);
	board_advance(f->board, 1100);
	assert_true(f->intr[0]);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x44);
	wr(f, 0, 0xb0, 0);
	/* Then with its whole period again. */
	board_advance(f->board, 1000000);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x44);
}

/* A CPU that takes over is told of what waits, and an old one of nothing. */
static void test_lapic_tells_the_pin_anew(void **state)
{
	struct fixture *f = *state;
	const struct intr_message m = {.assert = true, .delivery = INTR_FIXED, .vector = 0x41};
	struct lapic_state given;

	enable_all(f);
	send(f, &m);
	assert_true(f->intr[0]);
	lapic_state_get(f->lapic, 0, &given);
	f->intr[0] = false; /* another CPU */
	lapic_state_set(f->lapic, 0, &given);
	f->lapic->class->resume(f->lapic);
	assert_true(f->intr[0]);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x41);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pit_counts_on),
		cmocka_unit_test(test_pit_ticks_away_are_not_ours),
		cmocka_unit_test(test_pic_is_found_as_it_was_left),
		cmocka_unit_test(test_ioapic_sends_what_waits),
		cmocka_unit_test_setup_teardown(test_lapic_timer_runs_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lapic_tells_the_pin_anew, setup, teardown),
	};

	return cmocka_run_group_tests_name("irqchip_state", tests, NULL, NULL);
}
