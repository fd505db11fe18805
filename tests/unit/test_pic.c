/* SPDX-License-Identifier: Apache-2.0 */
/* The pair of 8259A. Headings are those of the Intel 8259A data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/pic.h"
#include "tests/unit/legacy_board.h"

struct fixture {
	struct board *board;
	struct device *pic;
};

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	board_out(f->board, port, value);
}

static void init(struct fixture *f, uint8_t icw4)
{
	static const uint16_t ports[2] = {0x20, 0xa0};

	for (unsigned i = 0; i < 2; i++) {
		out(f, ports[i], 0x11);
		out(f, ports[i] + 1, i ? 0x70 : 0x08);
		out(f, ports[i] + 1, i ? 2 : 4);
		out(f, ports[i] + 1, icw4);
	}
}

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct pic_config config;

	f->board = board_create();
	config.output = board_line(f->board, 0);
	f->pic = pic_create(&f->board->env, &config, &f->board->err);
	*state = f;
	if (f->pic)
		init(f, 0x01);
	return f->pic ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_destroy(f->board, f->pic);
	test_free(f);
	return 0;
}

static void set(struct fixture *f, unsigned irq, bool level)
{
	struct irq_line line = pic_input(f->pic, irq);

	irq_line_set(&line, level);
}

static void pulse(struct fixture *f, unsigned irq)
{
	set(f, irq, true);
	set(f, irq, false);
}

static int ack(struct fixture *f)
{
	int vector;

	pthread_mutex_lock(&f->board->intr_lock);
	vector = pic_acknowledge(f->pic);
	pthread_mutex_unlock(&f->board->intr_lock);
	return vector;
}

static uint8_t isr(struct fixture *f, uint16_t port)
{
	out(f, port, 0x0b);
	return board_in(f->board, port);
}

/* Fully nested mode: priorities, cascade, vectors. */
static void fully_nested(void **state)
{
	struct fixture *f = *state;

	pulse(f, 4);
	pulse(f, 12);
	pulse(f, 1);
	assert_true(f->board->line[0]);
	assert_int_equal(ack(f), 0x09);
	assert_false(f->board->line[0]); /* 4 and 12 are below 1 */
	pulse(f, 0);
	assert_int_equal(ack(f), 0x08);
	out(f, 0x20, 0x20);
	assert_int_equal(isr(f, 0x20), 0x02);
	out(f, 0x20, 0x20);
	assert_int_equal(ack(f), 0x74);
	assert_int_equal(isr(f, 0x20), 0x04);
	assert_int_equal(isr(f, 0xa0), 0x10);
	out(f, 0xa0, 0x64); /* specific EOIs */
	out(f, 0x20, 0x62);
	assert_int_equal(ack(f), 0x0c);
}

static void masks(void **state)
{
	struct fixture *f = *state;

	out(f, 0x21, 0x10);
	assert_int_equal(board_in(f->board, 0x21), 0x10);
	pulse(f, 4);
	assert_false(f->board->line[0]);
	assert_int_equal(board_in(f->board, 0x20), 0x10); /* IRR */
	out(f, 0x21, 0x00);
	assert_true(f->board->line[0]);
	out(f, 0x20, 0x11); /* ICW1 clears mask and edge latches */
	assert_false(f->board->line[0]);
}

/* "Default IR7": a request that is gone; from the second chip IRQ 15. */
static void spurious(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ack(f), 0x0f);
	assert_int_equal(isr(f, 0x20), 0);
	board_out(f->board, 0x4d1, 0x08); /* IRQ 11 is a level */
	set(f, 11, true);
	set(f, 11, false);
	assert_int_equal(ack(f), 0x77);
	assert_int_equal(isr(f, 0xa0), 0);
	assert_int_equal(isr(f, 0x20), 0x04);
}

/* Edge and level registers: a level asks again after the EOI. */
static void levels(void **state)
{
	struct fixture *f = *state;

	out(f, 0x4d0, 0xff);
	out(f, 0x4d1, 0xff);
	assert_int_equal(board_in(f->board, 0x4d0), 0xf8);
	assert_int_equal(board_in(f->board, 0x4d1), 0xde);
	set(f, 5, true);
	assert_int_equal(ack(f), 0x0d);
	assert_false(f->board->line[0]);
	out(f, 0x20, 0x20);
	assert_true(f->board->line[0]);
	set(f, 5, false);
	assert_false(f->board->line[0]);
	set(f, 9, true);
	assert_int_equal(ack(f), 0x71);
	out(f, 0xa0, 0x20);
	out(f, 0x20, 0x20);
	assert_int_equal(ack(f), 0x71);
}

/* Automatic rotation: the one served becomes the lowest. */
static void rotation(void **state)
{
	struct fixture *f = *state;

	pulse(f, 4);
	pulse(f, 6);
	assert_int_equal(ack(f), 0x0c);
	out(f, 0x20, 0xa0);
	pulse(f, 4);
	assert_int_equal(ack(f), 0x0e); /* 5 is now the highest, 6 the next */
	out(f, 0x20, 0x20);
	out(f, 0x20, 0xc3); /* set priority: 3 is the lowest, 4 the highest */
	pulse(f, 0);
	assert_int_equal(ack(f), 0x0c);
}

static void automatic_eoi(void **state)
{
	struct fixture *f = *state;

	init(f, 0x03);
	pulse(f, 4);
	pulse(f, 9);
	pulse(f, 10);
	assert_int_equal(ack(f), 0x71);
	assert_int_equal(isr(f, 0x20), 0);
	assert_int_equal(ack(f), 0x72); /* the second request of the second chip is not lost */
	assert_int_equal(ack(f), 0x0c);
	out(f, 0x20, 0x80); /* rotate in automatic EOI mode */
	pulse(f, 3);
	ack(f);
	pulse(f, 3);
	pulse(f, 4);
	assert_int_equal(ack(f), 0x0c);
}

static void special_mask(void **state)
{
	struct fixture *f = *state;

	pulse(f, 1);
	assert_int_equal(ack(f), 0x09);
	out(f, 0x21, 0x02);
	pulse(f, 4);
	assert_false(f->board->line[0]);
	out(f, 0x20, 0x68);
	assert_true(f->board->line[0]);
	assert_int_equal(ack(f), 0x0c);
	out(f, 0x20, 0x20); /* leaves the masked level in service */
	assert_int_equal(isr(f, 0x20), 0x02);
}

/* Special fully nested mode: a higher request of the second chip interrupts its own service. */
static void special_fully_nested(void **state)
{
	struct fixture *f = *state;

	pulse(f, 12);
	ack(f);
	pulse(f, 8);
	assert_false(f->board->line[0]);
	init(f, 0x11);
	pulse(f, 12);
	ack(f);
	pulse(f, 8);
	assert_true(f->board->line[0]);
	assert_int_equal(ack(f), 0x70);
}

static void poll(void **state)
{
	struct fixture *f = *state;

	out(f, 0x20, 0x0c);
	assert_int_equal(board_in(f->board, 0x20), 0x00);
	pulse(f, 5);
	out(f, 0x20, 0x0c);
	assert_int_equal(board_in(f->board, 0x20), 0x85);
	assert_int_equal(isr(f, 0x20), 0x20);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(fully_nested), T(masks),         T(spurious),     T(levels),
		T(rotation),     T(automatic_eoi), T(special_mask), T(special_fully_nested),
		T(poll),
	};

	return cmocka_run_group_tests_name("pic", tests, NULL, NULL);
}
