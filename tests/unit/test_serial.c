/* SPDX-License-Identifier: Apache-2.0 */
/* The 16550A. Sections are those of the National Semiconductor PC16550D data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/serial.h"
#include "tests/unit/legacy_board.h"
#include "vmm/base/clock.h"

#define COM 0x3f8

struct fixture {
	struct board *board;
	struct device *serial;
	struct board_chardev chardev;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct serial_config config = {.base_port = COM, .gsi = 4, .chardev = &f->chardev.chardev};

	f->board = board_create();
	board_chardev_init(&f->chardev);
	config.irq = board_line(f->board, 4);
	f->serial = serial_create(&f->board->env, &config, &f->board->err);
	*state = f;
	return f->serial ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_destroy(f->board, f->serial);
	test_free(f);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned index)
{
	return board_in(f->board, (uint16_t)(COM + index));
}

static void out(struct fixture *f, unsigned index, uint8_t value)
{
	board_out(f->board, (uint16_t)(COM + index), value);
}

static void receive(struct fixture *f, const char *text, size_t len)
{
	const struct chardev_client *client = &f->chardev.chardev.client;

	assert_true(client->can_receive(client->opaque) >= len);
	client->receive(client->opaque, (const uint8_t *)text, len);
}

/* Table III: state after reset. */
static void reset_values(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, 1), 0x00);
	assert_int_equal(in(f, 2), 0x01);
	assert_int_equal(in(f, 3), 0x00);
	assert_int_equal(in(f, 4), 0x00);
	assert_int_equal(in(f, 5), 0x60);
	assert_int_equal(in(f, 6), 0xb0);
	out(f, 7, 0xa5);
	assert_int_equal(in(f, 7), 0xa5);
	out(f, 1, 0xff);
	assert_int_equal(in(f, 1), 0x0f);
}

/* 8.1: the divisor latch replaces data and IER. */
static void divisor(void **state)
{
	struct fixture *f = *state;

	out(f, 3, 0x83);
	out(f, 0, 0x34);
	out(f, 1, 0x12);
	assert_int_equal(in(f, 0), 0x34);
	assert_int_equal(in(f, 1), 0x12);
	out(f, 3, 0x03);
	assert_int_equal(in(f, 1), 0x00);
	assert_int_equal(f->chardev.out_len, 0);
}

static void transmit(void **state)
{
	struct fixture *f = *state;

	out(f, 1, 0x02);
	assert_true(f->board->line[4]); /* enabling it while empty raises it */
	assert_int_equal(in(f, 2), 0x02);
	assert_false(f->board->line[4]); /* reading IIR took it back */
	assert_int_equal(in(f, 2), 0x01);
	out(f, 0, 'h');
	out(f, 0, 'i');
	assert_memory_equal(f->chardev.out, "hi", 2);
	assert_true(f->board->line[4]);
	assert_int_equal(in(f, 5), 0x60);
}

/* A backend that takes nothing: THRE stays low until it does; nothing is lost in the FIFO. */
static void backpressure(void **state)
{
	struct fixture *f = *state;

	out(f, 2, 0x01);
	out(f, 1, 0x02);
	in(f, 2);
	f->chardev.refuse = true;
	for (unsigned i = 0; i < 16; i++)
		out(f, 0, (uint8_t)('a' + i));
	assert_int_equal(in(f, 5), 0x00);
	assert_false(f->board->line[4]);
	board_advance(f->board, 5 * NS_PER_MS);
	assert_int_equal(f->chardev.out_len, 0);
	f->chardev.refuse = false;
	board_advance(f->board, 5 * NS_PER_MS);
	assert_int_equal(f->chardev.out_len, 16);
	assert_memory_equal(f->chardev.out, "abcdefghijklmnop", 16);
	assert_int_equal(in(f, 5), 0x60);
	assert_true(f->board->line[4]);
	assert_int_equal(board_timers_armed(f->board), 0);
}

/* 8.4, 8.11: trigger level and character time-out. */
static void receive_fifo(void **state)
{
	struct fixture *f = *state;

	out(f, 3, 0x83);
	out(f, 0, 1); /* 115200 */
	out(f, 3, 0x03);
	out(f, 2, 0x81); /* trigger at 8 */
	out(f, 1, 0x01);
	receive(f, "1234567", 7);
	assert_int_equal(in(f, 2), 0xc1);
	receive(f, "8", 1);
	assert_int_equal(in(f, 2), 0xc4);
	assert_true(f->board->line[4]);
	assert_int_equal(in(f, 0), '1');
	assert_false(f->board->line[4]);
	board_advance(f->board, 340 * NS_PER_US); /* 40 bits take 347 us */
	assert_int_equal(in(f, 2), 0xc1);
	board_advance(f->board, 10 * NS_PER_US);
	assert_int_equal(in(f, 2), 0xcc);
	assert_int_equal(in(f, 0), '2'); /* a read takes the time-out back and starts it again */
	assert_int_equal(in(f, 2), 0xc1);
	board_advance(f->board, 350 * NS_PER_US);
	assert_int_equal(in(f, 2), 0xcc);
	while (in(f, 5) & 1)
		in(f, 0);
	assert_int_equal(in(f, 2), 0xc1);
	assert_int_equal(board_timers_armed(f->board), 0);
}

static void flow_of_input(void **state)
{
	struct fixture *f = *state;
	const struct chardev_client *client = &f->chardev.chardev.client;
	unsigned accepts;

	assert_int_equal(client->can_receive(client->opaque), 1);
	out(f, 2, 0x01);
	assert_int_equal(client->can_receive(client->opaque), 16);
	receive(f, "0123456789abcdef", 16);
	assert_int_equal(client->can_receive(client->opaque), 0);
	accepts = f->chardev.accepts;
	assert_int_equal(in(f, 0), '0');
	assert_int_equal(f->chardev.accepts, accepts + 1);
	out(f, 2, 0x03); /* reset of the receive FIFO */
	assert_int_equal(in(f, 5) & 1, 0);
	assert_int_equal(client->can_receive(client->opaque), 16);
}

/* 8.3: loop-back; overrun and its priority over data (8.5, table V). */
static void loopback_and_overrun(void **state)
{
	struct fixture *f = *state;
	const struct chardev_client *client = &f->chardev.chardev.client;

	out(f, 4, 0x10);
	out(f, 1, 0x05);
	assert_int_equal(client->can_receive(client->opaque), 0);
	out(f, 0, 'a');
	assert_int_equal(in(f, 2), 0x04);
	out(f, 0, 'b');
	assert_int_equal(in(f, 2), 0x06);
	assert_int_equal(in(f, 5), 0x63);
	assert_int_equal(in(f, 5), 0x61); /* forgotten by the read */
	assert_int_equal(in(f, 2), 0x04);
	assert_int_equal(in(f, 0), 'b'); /* without FIFOs the new byte takes the place */
	assert_int_equal(f->chardev.out_len, 0);
	out(f, 2, 0x01);
	for (unsigned i = 0; i < 17; i++)
		out(f, 0, (uint8_t)i);
	assert_int_equal(in(f, 5) & 0x03, 0x03);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(f, 0), i);
	assert_int_equal(in(f, 5) & 1, 0);
}

/* 8.10: modem status in loop-back, deltas, trailing edge of ring. */
static void modem(void **state)
{
	struct fixture *f = *state;

	out(f, 4, 0x1f);
	in(f, 6);
	out(f, 1, 0x08);
	assert_int_equal(in(f, 6), 0xf0);
	out(f, 4, 0x1b); /* OUT1, the ring, falls */
	assert_int_equal(in(f, 2), 0x00);
	assert_int_equal(in(f, 6), 0xb4);
	assert_int_equal(in(f, 2), 0x01);
	out(f, 4, 0x1f); /* rising: no delta */
	assert_int_equal(in(f, 6), 0xf0);
	out(f, 4, 0x1c);
	assert_int_equal(in(f, 6), 0xcb & 0xc3);
}

static void line_break(void **state)
{
	struct fixture *f = *state;
	const struct chardev_client *client = &f->chardev.chardev.client;

	out(f, 2, 0x01);
	out(f, 1, 0x04);
	receive(f, "x", 1);
	client->event(client->opaque, CHARDEV_BREAK);
	assert_int_equal(in(f, 5), 0xe1); /* an error in the FIFO, not yet at its head */
	assert_int_equal(in(f, 2), 0xc1);
	assert_int_equal(in(f, 0), 'x');
	assert_int_equal(in(f, 2), 0xc6);
	assert_int_equal(in(f, 5), 0xf1);
	assert_int_equal(in(f, 5), 0x61);
	assert_int_equal(in(f, 0), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reset_values),         T(divisor),      T(transmit),
		T(backpressure),         T(receive_fifo), T(flow_of_input),
		T(loopback_and_overrun), T(modem),        T(line_break),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
