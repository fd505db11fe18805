/* SPDX-License-Identifier: Apache-2.0 */
/* The small devices: ACPI power management, reset port, debug exit, POST port, FERR#. Sources are cited at
 * each test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/debug_exit.h"
#include "devices/legacy/ferr.h"
#include "devices/legacy/post_port.h"
#include "devices/legacy/reset_port.h"
#include "tests/unit/legacy_board.h"
#include "vmm/base/clock.h"
#include "vmm/core/irq.h"

#define PM 0x600

static struct device *make_pm(struct board *board, bool timer_24bit)
{
	struct acpi_pm_config config = {
		.base_port = PM,
		.sci = board_line(board, 9),
		.timer_24bit = timer_24bit,
		.power_off = board_call,
		.power_off_opaque = board,
	};

	return acpi_pm_create(&board->env, &config, &board->err);
}

static uint64_t in(struct board *board, uint16_t port, unsigned size)
{
	return bus_read(board->env.pio, port, size);
}

static void out(struct board *board, uint16_t port, uint64_t value, unsigned size)
{
	bus_write(board->env.pio, port, value, size);
}

/* ACPI 4.8.3.1: the power button sets its status; SCI while enabled; write one to clear. */
static void power_button(void **state)
{
	struct board *board = board_create();
	struct device *pm = make_pm(board, false);

	acpi_pm_power_button(pm);
	assert_int_equal(in(board, PM, 2), 0x0100);
	assert_false(board->line[9]);
	out(board, PM + 2, 0xffff, 2);
	assert_int_equal(in(board, PM + 2, 2), 0x0521);
	assert_true(board->line[9]);
	out(board, PM, 0x0001, 2);
	assert_true(board->line[9]);
	out(board, PM + 1, 0x01, 1); /* by bytes too */
	assert_false(board->line[9]);
	assert_int_equal(in(board, PM, 2), 0);
	board_destroy(board, pm);
	(void)state;
}

/* ACPI 4.8.3.2: SCI_EN reads one, SLP_EN reads zero; only S5's type powers off. */
static void sleep_control(void **state)
{
	struct board *board = board_create();
	struct device *pm = make_pm(board, false);

	assert_int_equal(in(board, PM + 4, 2), 1);
	out(board, PM + 4, 1 << 13 | 1 << 10, 2);
	assert_int_equal(board->calls, 0);
	assert_int_equal(in(board, PM + 4, 2), 1 << 10 | 1);
	out(board, PM + 4, 5 << 10, 2);
	assert_int_equal(board->calls, 0);
	out(board, PM + 4, 1 << 13 | 5 << 10, 2);
	assert_int_equal(board->calls, 1);
	board_destroy(board, pm);
	(void)state;
}

/* ACPI 4.8.3.3: 3.579545 MHz; the carry event of the top bit; nothing armed unless it is enabled. */
static void pm_timer(void **state)
{
	struct board *board = board_create();
	struct device *pm = make_pm(board, true);

	board_advance(board, NS_PER_S);
	assert_int_equal(in(board, PM + 8, 4), 3579545);
	assert_int_equal(in(board, PM + 9, 1), 3579545 >> 8 & 0xff);
	board_advance(board, 4 * NS_PER_S);
	assert_int_equal(in(board, PM + 8, 4), 5 * 3579545 & 0xffffff);
	assert_int_equal(in(board, PM, 2), 1);
	assert_int_equal(board_timers_armed(board), 0);
	out(board, PM, 1, 2);
	out(board, PM + 2, 1, 2);
	assert_false(board->line[9]);
	board_advance(board, 2 * NS_PER_S + 400 * NS_PER_MS);
	assert_true(board->line[9]);
	board_destroy(board, pm);
	(void)state;
}

static void pm_saved_state(void **state)
{
	struct board *board = board_create(), *other = board_create();
	struct device *pm = make_pm(board, false), *to = make_pm(other, false);
	uint64_t before;

	board_advance(board, 1234 * NS_PER_MS);
	board_advance(other, 99 * NS_PER_S);
	before = in(board, PM + 8, 4);
	board_move_state(board, pm, to);
	assert_in_range(in(other, PM + 8, 4), before, before + 1);
	board_destroy(board, pm);
	board_destroy(other, to);
	(void)state;
}

/* 82371SB, RC register: a rising edge of bit 2 resets, bit 1 says how. */
static void reset_port(void **state)
{
	struct board *board = board_create();
	struct reset_port_config config = {.reset = board_call_bool, .reset_opaque = board};
	struct device *port = reset_port_create(&board->env, &config, &board->err);

	out(board, 0xcf9, 0x02, 1);
	assert_int_equal(board->calls, 0);
	out(board, 0xcf9, 0x06, 1);
	assert_int_equal(board->calls, 1);
	assert_int_equal(board->last_value, 1);
	out(board, 0xcf9, 0x06, 1);
	assert_int_equal(board->calls, 1);
	out(board, 0xcf9, 0x00, 1);
	out(board, 0xcf9, 0x04, 1);
	assert_int_equal(board->calls, 2);
	assert_int_equal(board->last_value, 0);
	assert_int_equal(in(board, 0xcf9, 1), 0x04);
	/* A double word at 0xcf8 is an address of PCI's configuration space, with bits 15-8 of device and
	 * function. */
	out(board, 0xcf9, 0x00, 1);
	out(board, 0xcf8, 0x80000408, 4);
	assert_int_equal(board->calls, 2);
	assert_int_equal(in(board, 0xcf9, 1), 0x00);
	assert_int_equal(in(board, 0xcf8, 4), UINT32_MAX);
	out(board, 0xcf8, 0x0408, 2);
	assert_int_equal(board->calls, 3);
	assert_int_equal(in(board, 0xcf8, 2), 0x04ff);
	assert_int_equal(in(board, 0xcfa, 1), 0xff);
	board_destroy(board, port);
	(void)state;
}

static void debug_exit(void **state)
{
	struct board *board = board_create();
	struct debug_exit_config config = {DEBUG_EXIT_PORT, board_call_value, board};
	struct device *port = debug_exit_create(&board->env, &config, &board->err);

	out(board, 0x501, 0x12345678, 4);
	assert_int_equal(board->last_value, 0x12345678);
	out(board, 0x501, 7, 1);
	assert_int_equal(board->last_value, 7);
	assert_int_equal(in(board, 0x501, 1), 0);
	board_destroy(board, port);
	(void)state;
}

static void post(void **state)
{
	struct board *board = board_create();
	struct device *port = post_port_create(&board->env, &board->err);

	out(board, 0x80, 0xc3, 1);
	out(board, 0xed, 0x55, 1);
	assert_int_equal(post_port_code(port), 0xc3);
	assert_int_equal(in(board, 0x80, 1), 0xff);
	board_destroy(board, port);
	(void)state;
}

/* AT Technical Reference: a write to 0xf0 ends the interrupt, a new edge of FERR# begins the next. */
static void ferr(void **state)
{
	struct board *board = board_create();
	struct ferr_config config = {board_line(board, 13)};
	struct device *device = ferr_create(&board->env, &config, &board->err);

	ferr_set(device, true);
	assert_true(board->line[13]);
	out(board, 0xf0, 0, 1);
	assert_false(board->line[13]);
	ferr_set(device, true);
	assert_false(board->line[13]);
	ferr_set(device, false);
	ferr_set(device, true);
	assert_true(board->line[13]);
	board_destroy(board, device);
	(void)state;
}

/* A taken port: the constructor fails, says which, and leaves nothing behind. */
static void taken_ports(void **state)
{
	struct board *board = board_create();
	struct device *first = make_pm(board, false), *second = make_pm(board, false);

	assert_null(second);
	assert_int_equal(board->err.code, -17);
	first->class->destroy(first);
	first = make_pm(board, false);
	assert_non_null(first);
	board_destroy(board, first);
	(void)state;
}

/* SDM 11.11: fields of an MSI. */
static void msi_decoding(void **state)
{
	struct intr_message m = intr_message_from_msi(0xfee12004, 0xc1b2);

	assert_int_equal(m.destination, 0x12);
	assert_true(m.logical);
	assert_true(m.level_triggered);
	assert_true(m.assert);
	assert_int_equal(m.delivery, INTR_LOWEST);
	assert_int_equal(m.vector, 0xb2);
	m = intr_message_from_msi(0xfee0000c, 0x40);
	assert_int_equal(m.delivery, INTR_LOWEST); /* the redirection hint */
	m = intr_message_from_msi(0xfee00000, 0x8040);
	assert_false(m.assert);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_button), cmocka_unit_test(sleep_control),
		cmocka_unit_test(pm_timer),     cmocka_unit_test(pm_saved_state),
		cmocka_unit_test(reset_port),   cmocka_unit_test(debug_exit),
		cmocka_unit_test(post),         cmocka_unit_test(ferr),
		cmocka_unit_test(taken_ports),  cmocka_unit_test(msi_decoding),
	};

	return cmocka_run_group_tests_name("legacy_ports", tests, NULL, NULL);
}
