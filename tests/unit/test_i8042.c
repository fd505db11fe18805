/* SPDX-License-Identifier: Apache-2.0 */
/* The keyboard controller, keyboard and mouse. After the IBM PS/2 Hardware Interface Technical Reference. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/i8042.h"
#include "devices/legacy/port92.h"
#include "tests/unit/legacy_board.h"

#define A20 20

struct fixture {
	struct board *board;
	struct device *i8042;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct i8042_config config = {.reset = board_call};

	f->board = board_create();
	config.keyboard_irq = board_line(f->board, 1);
	config.mouse_irq = board_line(f->board, 12);
	config.a20 = board_line(f->board, A20);
	config.reset_opaque = f->board;
	f->i8042 = i8042_create(&f->board->env, &config, &f->board->err);
	*state = f;
	return f->i8042 ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_destroy(f->board, f->i8042);
	test_free(f);
	return 0;
}

static void command(struct fixture *f, uint8_t value)
{
	board_out(f->board, 0x64, value);
}

static void data(struct fixture *f, uint8_t value)
{
	board_out(f->board, 0x60, value);
}

static void expect(struct fixture *f, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_true(board_in(f->board, 0x64) & 1);
		assert_int_equal(board_in(f->board, 0x60), bytes[i]);
	}
	assert_false(board_in(f->board, 0x64) & 1);
}
#define EXPECT(f, ...) expect(f, (const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

static void controller(void **state)
{
	struct fixture *f = *state;

	command(f, 0xaa);
	assert_true(f->board->line[1]);
	EXPECT(f, 0x55);
	assert_false(f->board->line[1]);
	command(f, 0xab);
	EXPECT(f, 0x00);
	command(f, 0xa9);
	EXPECT(f, 0x00);
	command(f, 0x60);
	data(f, 0x34);
	command(f, 0x20);
	assert_int_equal(board_in(f->board, 0x64) & 0x1d, 0x1d);
	EXPECT(f, 0x34);
	command(f, 0xae);
	command(f, 0xa7);
	command(f, 0x20);
	EXPECT(f, 0x24);
	command(f, 0x7f);
	data(f, 0x99);
	command(f, 0x3f);
	EXPECT(f, 0x99);
	command(f, 0xd2);
	data(f, 0x77);
	EXPECT(f, 0x77);
	command(f, 0xd3);
	data(f, 0x78);
	assert_int_equal(board_in(f->board, 0x64) & 0x21, 0x21);
	EXPECT(f, 0x78);
}

static void gate_and_reset(void **state)
{
	struct fixture *f = *state;

	assert_true(f->board->line[A20]);
	command(f, 0xd1);
	data(f, 0xdd);
	assert_false(f->board->line[A20]);
	command(f, 0xd0);
	EXPECT(f, 0x01);
	command(f, 0xdf);
	assert_true(f->board->line[A20]);
	assert_int_equal(f->board->calls, 0);
	command(f, 0xfe);
	assert_int_equal(f->board->calls, 1);
	command(f, 0xff);
	assert_int_equal(f->board->calls, 1);
	command(f, 0xd1);
	data(f, 0x02);
	assert_int_equal(f->board->calls, 2);
}

static void keyboard_commands(void **state)
{
	struct fixture *f = *state;

	data(f, 0xff);
	EXPECT(f, 0xfa, 0xaa);
	data(f, 0xee);
	EXPECT(f, 0xee);
	data(f, 0xf2);
	EXPECT(f, 0xfa, 0xab, 0x41); /* 0x83 translated */
	data(f, 0xed);
	EXPECT(f, 0xfa);
	data(f, 0x07);
	EXPECT(f, 0xfa);
	data(f, 0xf3);
	data(f, 0xf4); /* a command in the place of the parameter */
	EXPECT(f, 0xfa, 0xfa);
	data(f, 0xf0);
	data(f, 0x00);
	EXPECT(f, 0xfa, 0xfa, 0x41); /* set 2, translated */
	data(f, 0xf0);
	data(f, 0x03);
	EXPECT(f, 0xfa, 0xfe);
	data(f, 0x05);
	EXPECT(f, 0xfe);
	data(f, 0xfe);
	EXPECT(f, 0xfe);
}

static void keys(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(i8042_key(f->i8042, 0x1e, true), 0);
	assert_int_equal(f->board->edges[1], 1);
	assert_int_equal(i8042_key(f->i8042, 0x1e, false), 0);
	EXPECT(f, 0x1e, 0x9e);
	assert_int_equal(f->board->edges[1], 2);
	i8042_key(f->i8042, 0xe048, true);
	i8042_key(f->i8042, 0xe048, false);
	EXPECT(f, 0xe0, 0x48, 0xe0, 0xc8);
	command(f, 0x60);
	data(f, 0x05); /* no translation: set 2 */
	i8042_key(f->i8042, 0xe048, true);
	i8042_key(f->i8042, 0xe048, false);
	EXPECT(f, 0xe0, 0x75, 0xe0, 0xf0, 0x75);
	data(f, 0xf0);
	data(f, 0x01);
	EXPECT(f, 0xfa, 0xfa);
	i8042_key(f->i8042, 0x1e, false);
	EXPECT(f, 0x9e);
	assert_int_equal(i8042_key(f->i8042, 0x59, true), -22);
	assert_int_equal(i8042_key(f->i8042, 0x1e1e, true), -22);
	data(f, 0xf5);
	EXPECT(f, 0xfa);
	assert_int_equal(i8042_key(f->i8042, 0x1e, true), -11);
}

static void ctrl_alt_del(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(i8042_ctrl_alt_del(f->i8042), 0);
	assert_int_equal(i8042_ctrl_alt_del(f->i8042), -11); /* no room for all: none */
	EXPECT(f, 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d);
}

static void disabled_keyboard(void **state)
{
	struct fixture *f = *state;

	command(f, 0xad);
	i8042_key(f->i8042, 0x1e, true);
	assert_false(board_in(f->board, 0x64) & 1);
	command(f, 0xae);
	EXPECT(f, 0x1e);
	for (unsigned i = 0; i < 40; i++)
		i8042_key(f->i8042, 0x1e, true);
	assert_int_equal(i8042_key(f->i8042, 0x1e, true), -11);
}

static void mouse_write(struct fixture *f, uint8_t value)
{
	command(f, 0xd4);
	data(f, value);
}

static void mouse(void **state)
{
	struct fixture *f = *state;

	command(f, 0x60);
	data(f, 0x47);
	mouse_write(f, 0xff);
	assert_int_equal(board_in(f->board, 0x64) & 0x21, 0x21);
	assert_true(f->board->line[12]);
	EXPECT(f, 0xfa, 0xaa, 0x00);
	mouse_write(f, 0xf2);
	EXPECT(f, 0xfa, 0x00);
	mouse_write(f, 0xf3);
	mouse_write(f, 40);
	EXPECT(f, 0xfa, 0xfa);
	mouse_write(f, 0xe9);
	EXPECT(f, 0xfa, 0x00, 0x02, 40);
	i8042_mouse_move(f->i8042, 5, 5, 0); /* not enabled: kept */
	mouse_write(f, 0xf6);
	EXPECT(f, 0xfa);
	mouse_write(f, 0xf4);
	EXPECT(f, 0xfa);
	i8042_mouse_move(f->i8042, 3, -2, 1);
	EXPECT(f, 0x29, 0x03, 0xfe);
	mouse_write(f, 0x11);
	EXPECT(f, 0xfe);
	for (unsigned i = 0; i < 100; i++)
		i8042_mouse_move(f->i8042, 2147483647, -2147483647, 7);
	assert_true(board_in(f->board, 0x64) & 1);
}

static void both_gates(void **state)
{
	struct fixture *f = *state;
	struct port92_config config = {
		.a20 = board_line(f->board, A20),
		.reset = board_call,
		.reset_opaque = f->board,
	};
	struct device *port = port92_create(&f->board->env, &config, &f->board->err);

	assert_int_equal(board_in(f->board, 0x92), 0x02);
	board_out(f->board, 0x92, 0x00);
	assert_false(f->board->line[A20]);
	board_out(f->board, 0x92, 0x03);
	assert_true(f->board->line[A20]);
	assert_int_equal(f->board->calls, 1);
	board_out(f->board, 0x92, 0x03); /* no edge */
	assert_int_equal(f->board->calls, 1);
	port->class->destroy(port);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(controller),        T(gate_and_reset), T(keyboard_commands), T(keys), T(ctrl_alt_del),
		T(disabled_keyboard), T(mouse),          T(both_gates),
	};

	return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
