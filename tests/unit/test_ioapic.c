/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC. Sections are those of the Intel 82093AA data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/ioapic.h"
#include "tests/unit/legacy_board.h"

#define BASE 0xfec00000

struct fixture {
	struct board *board;
	struct device *ioapic;
	struct intr_message last;
	unsigned count;
};

static void deliver(void *opaque, const struct intr_message *message)
{
	struct fixture *f = opaque;

	f->last = *message;
	f->count++;
}

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct ioapic_config config = {.base = BASE, .apic_id = 1, .sink = {deliver, f}};

	f->board = board_create();
	f->ioapic = ioapic_create(&f->board->env, &config, &f->board->err);
	*state = f;
	return f->ioapic ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_destroy(f->board, f->ioapic);
	test_free(f);
	return 0;
}

static uint32_t rd(struct fixture *f, uint8_t index)
{
	bus_write(f->board->env.mmio, BASE, index, 4);
	return (uint32_t)bus_read(f->board->env.mmio, BASE + 0x10, 4);
}

static void wr(struct fixture *f, uint8_t index, uint32_t value)
{
	bus_write(f->board->env.mmio, BASE, index, 4);
	bus_write(f->board->env.mmio, BASE + 0x10, value, 4);
}

static void set(struct fixture *f, unsigned pin, bool level)
{
	struct irq_line line = ioapic_input(f->ioapic, pin);

	irq_line_set(&line, level);
}

static void eoi(struct fixture *f, uint8_t vector)
{
	struct eoi_sink sink = ioapic_eoi_sink(f->ioapic);

	pthread_mutex_lock(&f->board->intr_lock);
	sink.eoi(sink.opaque, vector);
	pthread_mutex_unlock(&f->board->intr_lock);
}

/* 3.2.1-3.2.4: identification, version, entries masked at reset. */
static void registers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rd(f, 0), 0x01000000);
	assert_int_equal(rd(f, 1), 0x00170011);
	assert_int_equal(rd(f, 0x10), 0x10000);
	assert_int_equal(rd(f, 0x3e), 0x10000);
	assert_int_equal(rd(f, 0x40), 0);
	wr(f, 0, 0xffffffff);
	assert_int_equal(rd(f, 0), 0x0f000000);
	wr(f, 0x10, 0xffffffff);
	assert_int_equal(rd(f, 0x10), 0x1afff); /* status and Remote IRR are read-only */
	wr(f, 0x11, 0xffffffff);
	assert_int_equal(rd(f, 0x11), 0xff000000);
	assert_int_equal(bus_read(f->board->env.mmio, BASE, 1), 0x11);
	bus_write(f->board->env.mmio, BASE + 0x10, 0, 1); /* the window is 32 bits wide */
	assert_int_equal(rd(f, 0x11), 0xff000000);
}

static void edges(void **state)
{
	struct fixture *f = *state;

	set(f, 4, true); /* masked: lost */
	wr(f, 0x18, 0x34);
	assert_int_equal(f->count, 0);
	set(f, 4, false);
	set(f, 4, true);
	set(f, 4, true);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->last.vector, 0x34);
	assert_false(f->last.level_triggered);
	wr(f, 0x19, 0x03000000);
	wr(f, 0x18, 0x934); /* logical, lowest priority */
	set(f, 4, false);
	set(f, 4, true);
	assert_int_equal(f->last.destination, 3);
	assert_true(f->last.logical);
	assert_int_equal(f->last.delivery, INTR_LOWEST);
}

/* 3.2.4, Remote IRR: one message until the EOI, again while the line is high. */
static void levels(void **state)
{
	struct fixture *f = *state;

	set(f, 9, true);
	wr(f, 0x22, 0x8039); /* unmasking shows the level */
	assert_int_equal(f->count, 1);
	assert_true(f->last.level_triggered);
	assert_int_equal(rd(f, 0x22), 0xc039);
	set(f, 9, false);
	set(f, 9, true);
	assert_int_equal(f->count, 1);
	eoi(f, 0x40);
	assert_int_equal(f->count, 1);
	eoi(f, 0x39);
	assert_int_equal(f->count, 2);
	set(f, 9, false);
	bus_write(f->board->env.mmio, BASE + 0x40, 0x39, 4); /* later versions have an EOI register there */
	assert_int_equal(rd(f, 0x22), 0xc039);
	eoi(f, 0x39);
	assert_int_equal(rd(f, 0x22), 0x8039);
	assert_int_equal(f->count, 2);
}

static void edge_mode_clears_remote_irr(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x22, 0x8039);
	set(f, 9, true);
	assert_int_equal(rd(f, 0x22), 0xc039);
	wr(f, 0x22, 0x10039);
	assert_int_equal(rd(f, 0x22), 0x10039);
}

static void nmi_is_an_edge(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x14, 0x8400);
	set(f, 2, true);
	assert_int_equal(f->last.delivery, INTR_NMI);
	assert_false(f->last.level_triggered);
	assert_int_equal(rd(f, 0x14), 0x8400);
}

static void pins_out_of_range(void **state)
{
	struct fixture *f = *state;

	set(f, 24, true);
	set(f, 1000, true);
	assert_int_equal(f->count, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers),         T(edges), T(levels), T(edge_mode_clears_remote_irr), T(nmi_is_an_edge),
		T(pins_out_of_range),
	};

	return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
