/* SPDX-License-Identifier: Apache-2.0 */
/* Local APICs on a test board: pins, lines and sinks that record what reaches them. Included by
 * test_lapic*.c. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/legacy/lapic.h"
#include "tests/unit/legacy_board.h"
#include "vmm/base/clock.h"

#define CPUS 4

struct fixture {
	struct board *board;
	struct device *lapic;
	bool intr[CPUS];
	unsigned nmi[CPUS], smi[CPUS], init[CPUS], startup[CPUS];
	uint8_t startup_vector;
	int pic_vector;
	int eoi_vector;
};

static inline void pin_intr(void *opaque, unsigned cpu, bool level)
{
	((struct fixture *)opaque)->intr[cpu] = level;
}

static inline void pin_nmi(void *opaque, unsigned cpu)
{
	((struct fixture *)opaque)->nmi[cpu]++;
}

static inline void pin_smi(void *opaque, unsigned cpu)
{
	((struct fixture *)opaque)->smi[cpu]++;
}

static inline void pin_init(void *opaque, unsigned cpu)
{
	((struct fixture *)opaque)->init[cpu]++;
}

static inline void pin_startup(void *opaque, unsigned cpu, uint8_t vector)
{
	((struct fixture *)opaque)->startup[cpu]++;
	((struct fixture *)opaque)->startup_vector = vector;
}

static inline int pic_ack(void *opaque)
{
	return ((struct fixture *)opaque)->pic_vector;
}

static inline void sink_eoi(void *opaque, uint8_t vector)
{
	((struct fixture *)opaque)->eoi_vector = vector;
}

/* A TSC of 2 GHz that was 0 when the board was made. */
static inline uint64_t tsc_to_ns(void *opaque, unsigned cpu, uint64_t tsc)
{
	(void)opaque;
	(void)cpu;
	return BOARD_START_NS + tsc / 2;
}

static inline struct device *make(struct board *board, struct fixture *fixture)
{
	struct lapic_config config = {
		.cpu_count = CPUS,
		.x2apic = true,
		.phys_bits = 40,
		.pins = {pin_intr, pin_nmi, pin_smi, pin_init, pin_startup, fixture},
		.extint_acknowledge = pic_ack,
		.extint_opaque = fixture,
		.eoi = {sink_eoi, fixture},
		.tsc_to_monotonic_ns = tsc_to_ns,
	};

	return lapic_create(&board->env, &config, &board->err);
}

static inline int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	f->board = board_create();
	f->lapic = make(f->board, f);
	f->eoi_vector = -1;
	*state = f;
	return f->lapic ? 0 : -1;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	board_destroy(f->board, f->lapic);
	test_free(f);
	return 0;
}

static inline uint32_t rd(struct fixture *f, unsigned cpu, uint32_t offset)
{
	return (uint32_t)lapic_mmio_read(f->lapic, cpu, offset, 4);
}

static inline void wr(struct fixture *f, unsigned cpu, uint32_t offset, uint32_t value)
{
	lapic_mmio_write(f->lapic, cpu, offset, value, 4);
}

static inline void enable_all(struct fixture *f)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		wr(f, cpu, 0xf0, 0x1ff);
}

static inline void x2apic_all(struct fixture *f)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		assert_true(lapic_msr_write(f->lapic, cpu, 0x1b, 0xfee00c00 | (cpu ? 0 : 0x100)));
		assert_true(lapic_msr_write(f->lapic, cpu, 0x80f, 0x1ff));
	}
}

static inline void send(struct fixture *f, const struct intr_message *message)
{
	struct intr_sink sink = lapic_sink(f->lapic);

	pthread_mutex_lock(&f->board->intr_lock);
	sink.deliver(sink.opaque, message);
	pthread_mutex_unlock(&f->board->intr_lock);
}

static inline void lint(struct fixture *f, unsigned number, bool level)
{
	struct irq_line line = lapic_lint_line(f->lapic, number);

	pthread_mutex_lock(&f->board->intr_lock);
	irq_line_set(&line, level);
	pthread_mutex_unlock(&f->board->intr_lock);
}
