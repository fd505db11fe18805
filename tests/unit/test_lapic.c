/* SPDX-License-Identifier: Apache-2.0 */
/* The local APICs. Sections are those of the Intel SDM, vol. 3, chapter 11. */
#include "tests/unit/lapic_rig.h"

/* 11.4.7.1 and 11.4.8: values after power-up. */
static void power_up(void **state)
{
	struct fixture *f = *state;
	uint64_t base;

	assert_true(lapic_msr_read(f->lapic, 0, 0x1b, &base));
	assert_int_equal(base, 0xfee00900);
	assert_true(lapic_msr_read(f->lapic, 1, 0x1b, &base));
	assert_int_equal(base, 0xfee00800);
	assert_int_equal(lapic_mmio_page(f->lapic, 1), 0xfee00000);
	assert_int_equal(rd(f, 2, 0x20), 2u << 24);
	assert_int_equal(rd(f, 0, 0x30) & 0xff00ff, 0x050014);
	assert_int_equal(rd(f, 1, 0xe0), 0xffffffff);
	assert_int_equal(rd(f, 1, 0xf0), 0xff);
	assert_int_equal(rd(f, 1, 0x350), 0x10000);
	assert_int_equal(rd(f, 0, 0x350), 0x700);
}

/* 11.4.1: 32-bit aligned accesses only. */
static void access_widths(void **state)
{
	struct fixture *f = *state;

	wr(f, 0, 0xf0, 0x1ff);
	lapic_mmio_write(f->lapic, 0, 0xf0, 0, 1);
	lapic_mmio_write(f->lapic, 0, 0xf4, 0, 4);
	lapic_mmio_write(f->lapic, 0, 0xf0, 0, 8);
	assert_int_equal(rd(f, 0, 0xf0), 0x1ff);
	assert_int_equal(lapic_mmio_read(f->lapic, 0, 0xf1, 1), 0x01);
	assert_int_equal(lapic_mmio_read(f->lapic, 0, 0xf4, 4), 0);
	assert_int_equal(lapic_mmio_read(f->lapic, 9, 0xf0, 4), 0);
}

/* 11.8.3 and 11.8.4: the highest class first, nested service, EOI of the highest in service. */
static void priorities(void **state)
{
	struct fixture *f = *state;
	struct intr_message m = {.assert = true, .delivery = INTR_FIXED, .vector = 0x41};

	enable_all(f);
	send(f, &m);
	m.vector = 0x52;
	send(f, &m);
	assert_true(f->intr[0]);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x52);
	assert_int_equal(rd(f, 0, 0xa0), 0x50);
	assert_false(f->intr[0]); /* 0x41 is below what is in service */
	assert_int_equal(lapic_acknowledge(f->lapic, 0), -1);
	m.vector = 0x61;
	send(f, &m);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x61);
	wr(f, 0, 0xb0, 0);
	assert_int_equal(rd(f, 0, 0x120), 1u << 0x12);
	wr(f, 0, 0xb0, 0);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x41);
	assert_int_equal(f->eoi_vector, -1); /* edges are not broadcast */
}

/* 11.8.3.1: TPR holds back its class and those below; CR8 is its upper half. */
static void task_priority(void **state)
{
	struct fixture *f = *state;
	struct intr_message m = {.assert = true, .delivery = INTR_FIXED, .vector = 0x4f};

	enable_all(f);
	lapic_cr8_write(f->lapic, 0, 4);
	assert_int_equal(rd(f, 0, 0x80), 0x40);
	send(f, &m);
	assert_false(f->intr[0]);
	wr(f, 0, 0x80, 0x3f);
	assert_int_equal(lapic_cr8_read(f->lapic, 0), 3);
	assert_true(f->intr[0]);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x4f);
}

/* 11.8.5: a level's EOI is told to the I/O APICs; SVR bit 12, which could suppress it, is not there. */
static void eoi_broadcast(void **state)
{
	struct fixture *f = *state;
	struct intr_message m = {
		.assert = true, .delivery = INTR_FIXED, .vector = 0x33, .level_triggered = true};

	enable_all(f);
	send(f, &m);
	assert_int_equal(rd(f, 0, 0x190), 1u << 0x13);
	lapic_acknowledge(f->lapic, 0);
	wr(f, 0, 0xb0, 0);
	assert_int_equal(f->eoi_vector, 0x33);
	f->eoi_vector = -1;
	assert_int_equal(rd(f, 0, 0x30), 0x50014);
	wr(f, 0, 0xf0, 0x11ff);
	assert_int_equal(rd(f, 0, 0xf0), 0x1ff);
	send(f, &m);
	lapic_acknowledge(f->lapic, 0);
	wr(f, 0, 0xb0, 0);
	assert_int_equal(f->eoi_vector, 0x33);
}

/* 11.4.7.2: software-disabled: LVTs masked and stay so, fixed interrupts ignored, NMI and INIT taken. */
static void software_disabled(void **state)
{
	struct fixture *f = *state;
	struct intr_message m = {.assert = true, .delivery = INTR_FIXED, .vector = 0x40};

	enable_all(f);
	wr(f, 0, 0x320, 0x30);
	wr(f, 0, 0xf0, 0xff);
	assert_int_equal(rd(f, 0, 0x320), 0x10030);
	wr(f, 0, 0x320, 0x31);
	assert_int_equal(rd(f, 0, 0x320), 0x10031);
	send(f, &m);
	assert_false(f->intr[0]);
	m.delivery = INTR_NMI;
	send(f, &m);
	assert_int_equal(f->nmi[0], 1);
}

/* 11.6.1: shorthands, physical and broadcast destinations, INIT and SIPI. */
static void ipis(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	wr(f, 0, 0x310, 2u << 24);
	wr(f, 0, 0x300, 0x4045);
	assert_int_equal(lapic_acknowledge(f->lapic, 2), 0x45);
	wr(f, 1, 0x300, 0xc4400); /* NMI to all but self */
	assert_int_equal(f->nmi[0] + f->nmi[2] + f->nmi[3], 3);
	assert_int_equal(f->nmi[1], 0);
	wr(f, 1, 0x300, 0x44050); /* to self */
	assert_int_equal(lapic_acknowledge(f->lapic, 1), 0x50);
	wr(f, 0, 0x310, 0xff000000);
	wr(f, 0, 0x300, 0x4061); /* to id 0xff: everybody */
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		assert_true(f->intr[cpu]);
	wr(f, 0, 0x310, 3u << 24);
	wr(f, 0, 0x300, 0x4500);
	assert_int_equal(f->init[3], 1);
	assert_int_equal(rd(f, 3, 0xf0), 0xff); /* INIT resets the APIC (11.4.7.3) */
	assert_false(f->intr[3]);
	wr(f, 0, 0x300, 0x8500); /* level de-assert: ignored */
	assert_int_equal(f->init[3], 1);
	wr(f, 0, 0x300, 0x4690);
	assert_int_equal(f->startup[3], 1);
	assert_int_equal(f->startup_vector, 0x90);
}

/* 11.6.2.2: flat and cluster logical destinations; 11.6.2.4: lowest priority. */
static void logical_and_lowest(void **state)
{
	struct fixture *f = *state;
	struct intr_message m = {.assert = true, .delivery = INTR_FIXED, .vector = 0x60, .logical = true};

	enable_all(f);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		wr(f, cpu, 0xd0, 1u << (24 + cpu));
	m.destination = 0x0a;
	send(f, &m);
	assert_false(f->intr[0]);
	assert_true(f->intr[1]);
	assert_false(f->intr[2]);
	assert_true(f->intr[3]);
	m.delivery = INTR_LOWEST;
	m.vector = 0x70;
	m.destination = 0x05;
	wr(f, 0, 0x80, 0x20);
	send(f, &m);
	assert_int_equal(lapic_acknowledge(f->lapic, 2), 0x70);
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		wr(f, cpu, 0xe0, 0x0fffffff);
		wr(f, cpu, 0xd0, (cpu / 2) << 28 | 1u << (24 + cpu % 2));
	}
	m = (struct intr_message){.assert = true, .vector = 0x80, .logical = true, .destination = 0x11};
	send(f, &m);
	assert_int_equal(rd(f, 2, 0x240), 1u << 0);
	assert_int_equal(rd(f, 0, 0x240), 0);
	assert_int_equal(rd(f, 3, 0x240), 0);
}

/* Two lowest-priority messages to equal CPUs go to two CPUs. */
static void lowest_takes_turns(void **state)
{
	struct fixture *f = *state;
	struct intr_message m = {
		.assert = true, .delivery = INTR_LOWEST, .vector = 0x70, .destination = 0xff};

	enable_all(f);
	send(f, &m);
	m.vector = 0x71;
	send(f, &m);
	assert_int_equal(f->intr[0] + f->intr[1] + f->intr[2] + f->intr[3], 2);
}

/* 11.5.3: errors are latched by a write to the ESR, and interrupt. */
static void errors(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	wr(f, 0, 0x370, 0xfe);
	wr(f, 0, 0x300, 0x4005); /* vector below 16 */
	assert_int_equal(rd(f, 0, 0x280), 0);
	wr(f, 0, 0x280, 0);
	assert_int_equal(rd(f, 0, 0x280), 0x20);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0xfe);
	rd(f, 0, 0x3f0);
	wr(f, 0, 0x280, 0);
	assert_int_equal(rd(f, 0, 0x280), 0x80);
}

/* 11.12.5: transitions of IA32_APIC_BASE and their #GPs. */
static void base_transitions(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	assert_false(lapic_msr_write(f->lapic, 0, 0x1b, 0xfee00500));              /* EXTD without EN */
	assert_false(lapic_msr_write(f->lapic, 0, 0x1b, 0xfee00901));              /* reserved */
	assert_false(lapic_msr_write(f->lapic, 0, 0x1b, 1ull << 40 | 0xfee00900)); /* beyond MAXPHYADDR */
	assert_false(lapic_msr_read(f->lapic, 0, 0x802, &value));                  /* not in x2APIC mode */
	assert_true(lapic_msr_write(f->lapic, 0, 0x1b, 0xfee00d00));
	assert_int_equal(lapic_mmio_page(f->lapic, 0), LAPIC_MMIO_NONE);
	assert_false(lapic_msr_write(f->lapic, 0, 0x1b, 0xfee00900)); /* x2APIC to xAPIC */
	assert_true(lapic_msr_write(f->lapic, 0, 0x1b, 0xfee00100));
	assert_false(lapic_msr_write(f->lapic, 0, 0x1b, 0xfee00d00)); /* disabled to x2APIC */
	assert_true(lapic_msr_write(f->lapic, 0, 0x1b, 0xd0000900));
	assert_int_equal(lapic_mmio_page(f->lapic, 0), 0xd0000000);
}

/* 11.12.1: registers as MSRs, reserved bits and missing registers are #GP. */
static void x2apic_registers(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	x2apic_all(f);
	assert_true(lapic_msr_read(f->lapic, 3, 0x802, &value));
	assert_int_equal(value, 3);
	assert_true(lapic_msr_read(f->lapic, 3, 0x80d, &value));
	assert_int_equal(value, 8);                               /* cluster 0, bit 3 */
	assert_false(lapic_msr_read(f->lapic, 0, 0x80e, &value)); /* DFR */
	assert_false(lapic_msr_read(f->lapic, 0, 0x831, &value)); /* ICR high */
	assert_false(lapic_msr_read(f->lapic, 0, 0x80b, &value)); /* EOI is write-only */
	assert_false(lapic_msr_write(f->lapic, 0, 0x802, 1));
	assert_false(lapic_msr_write(f->lapic, 0, 0x80b, 1));
	assert_true(lapic_msr_write(f->lapic, 0, 0x80b, 0));
	assert_false(lapic_msr_write(f->lapic, 0, 0x808, 0x100));
	assert_false(lapic_msr_write(f->lapic, 0, 0x828, 1));
	assert_false(lapic_msr_write(f->lapic, 0, 0x832, 1ull << 32));
	assert_true(lapic_msr_write(f->lapic, 0, 0x83f, 0x44)); /* SELF IPI */
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x44);
	assert_true(lapic_msr_write(f->lapic, 0, 0x830, 2ull << 32 | 0x4045));
	assert_int_equal(lapic_acknowledge(f->lapic, 2), 0x45);
	assert_true(lapic_msr_write(f->lapic, 0, 0x830, 0x0000000aull << 32 | 0x4846)); /* logical */
	assert_int_equal(lapic_acknowledge(f->lapic, 1), 0x46);
	assert_int_equal(lapic_acknowledge(f->lapic, 3), 0x46);
	assert_true(lapic_msr_write(f->lapic, 0, 0x830, 0xffffffffull << 32 | 0x4057));
	assert_true(f->intr[1]);
	assert_true(lapic_msr_read(f->lapic, 0, 0x830, &value));
	assert_int_equal(value, 0xffffffff00004057);
}

/* Virtual wire mode and a disabled APIC: the PIC's INT reaches the CPU. 11.5.1, 11.4.3. */
static void extint(void **state)
{
	struct fixture *f = *state;

	f->pic_vector = 0x08;
	lint(f, 0, true);
	assert_true(f->intr[0]);
	assert_false(f->intr[1]);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x08);
	lint(f, 0, false);
	assert_false(f->intr[0]);
	wr(f, 0, 0xf0, 0x1ff);
	wr(f, 0, 0x350, 0x10700);
	lint(f, 0, true);
	assert_false(f->intr[0]);
	wr(f, 0, 0x350, 0x700); /* unmasking shows the level */
	assert_true(f->intr[0]);
	lint(f, 0, false);
	assert_true(lapic_msr_write(f->lapic, 0, 0x1b, 0xfee00100));
	lint(f, 0, true);
	assert_true(f->intr[0]);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x08);
}

/* A fixed interrupt goes before the PIC's. */
static void fixed_before_extint(void **state)
{
	struct fixture *f = *state;
	struct intr_message m = {.assert = true, .vector = 0x90};

	f->pic_vector = 0x08;
	wr(f, 0, 0xf0, 0x1ff);
	wr(f, 0, 0x350, 0x700);
	lint(f, 0, true);
	send(f, &m);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x90);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x08);
}

static void lint_modes(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	lapic_nmi(f->lapic, 0); /* LINT1 is NMI at power-up */
	assert_int_equal(f->nmi[0], 1);
	wr(f, 0, 0x360, 0x10400);
	lapic_nmi(f->lapic, 0);
	assert_int_equal(f->nmi[0], 1);
	wr(f, 0, 0x350, 0x8055); /* fixed, level */
	lint(f, 0, true);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x55);
	assert_int_equal(rd(f, 0, 0x350) & 0x4000, 0x4000);
	wr(f, 0, 0xb0, 0);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), 0x55); /* still high: again */
	lint(f, 0, false);
	wr(f, 0, 0xb0, 0);
	assert_int_equal(lapic_acknowledge(f->lapic, 0), -1);
}

static void msi(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	lapic_msi(f->lapic, 0xfee03000, 0x4071);
	assert_int_equal(lapic_acknowledge(f->lapic, 3), 0x71);
}

/* Registers and the timer's phase survive; the pin's level follows from them. */
static void saved_state(void **state)
{
	struct fixture *f = *state, other = {.board = board_create()};
	struct intr_message m = {.assert = true, .vector = 0x90, .destination = 3};

	other.lapic = make(other.board, &other);
	enable_all(f);
	send(f, &m);
	wr(f, 1, 0x3e0, 0xb);
	wr(f, 1, 0x320, 0x40);
	wr(f, 1, 0x380, 1000);
	board_advance(f->board, 400);
	board_advance(other.board, 123456);
	board_move_state(f->board, f->lapic, other.lapic);
	assert_true(other.intr[3]);
	board_advance(other.board, 599);
	assert_false(other.intr[1]);
	board_advance(other.board, 1);
	assert_int_equal(lapic_acknowledge(other.lapic, 1), 0x40);
	board_destroy(other.board, other.lapic);
}

static void bad_config(void **state)
{
	struct fixture *f = *state;
	struct lapic_config config = {.cpu_count = 256};

	assert_null(lapic_create(&f->board->env, &config, &f->board->err));
	assert_int_equal(f->board->err.code, -22);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(power_up),      T(access_widths),       T(priorities),
		T(task_priority), T(eoi_broadcast),       T(software_disabled),
		T(ipis),          T(logical_and_lowest),  T(lowest_takes_turns),
		T(errors),        T(base_transitions),    T(x2apic_registers),
		T(extint),        T(fixed_before_extint), T(lint_modes),
		T(msi),           T(saved_state),         T(bad_config),
	};

	return cmocka_run_group_tests_name("lapic", tests, NULL, NULL);
}
