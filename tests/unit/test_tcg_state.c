/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in CPU as somebody who takes over a vCPU and gives it away: events that had begun, MSRs of
 * others, latched pins, clocks, the paravirtual clock's page, single blocks, what it does not have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/tcg_rig.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/accel.h"
#include "vmm/core/gmem.h"

static const uint8_t code_halt[] = {0xf4};

/* It was acknowledged elsewhere: nobody would ask for it again. */
static void test_an_interrupt_that_had_begun_is_delivered(void **state)
{
	struct rig *rig = *state;

	enter_flat(rig, code_halt, sizeof(code_halt));
	rig->state->event = (struct x86_event_state){.injected = true, .is_interrupt = true, .vector = 0x40};
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	save(rig);
	assert_int_equal(rig->state->rip, HANDLER + 1);
	assert_int_equal(rig->state->gpr[X86_RSP], STACK_GPA - 12);
	assert_int_equal(get32(rig, STACK_GPA - 12), CODE_GPA);
	assert_false(rig->state->event.injected);
}

static void test_an_exception_that_had_begun_is_delivered(void **state)
{
	struct rig *rig = *state;

	enter_flat(rig, code_halt, sizeof(code_halt));
	rig->state->cr2 = 0x12345678;
	rig->state->event = (struct x86_event_state){
		.injected = true, .vector = 14, .has_error_code = true, .error_code = 6};
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	save(rig);
	assert_int_equal(rig->state->gpr[X86_RSP], STACK_GPA - 16);
	assert_int_equal(get32(rig, STACK_GPA - 16), 6);
	assert_int_equal(get32(rig, STACK_GPA - 12), CODE_GPA);
	assert_true(get32(rig, STACK_GPA - 4) & 1u << 16); /* RF: a fault */
	assert_int_equal(rig->state->cr2, 0x12345678);
}

/* INT n is executed again, or it would be delivered twice. */
static void test_a_software_event_is_left_to_its_instruction(void **state)
{
	static const uint8_t code[] = {0xcd, 0x41, 0xf4}; /* int 0x41; hlt */
	struct rig *rig = *state;

	enter_flat(rig, code, sizeof(code));
	rig->state->event = (struct x86_event_state){.injected = true, .is_software = true, .vector = 0x41};
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	save(rig);
	assert_int_equal(rig->state->gpr[X86_RSP], STACK_GPA - 12);
	assert_int_equal(get32(rig, STACK_GPA - 12), CODE_GPA + 2);
}

/* A kick may come before the event is delivered: then it goes on with the state. */
static void test_an_event_that_is_not_delivered_goes_on(void **state)
{
	struct rig *rig = *state;

	enter_flat(rig, code_halt, sizeof(code_halt));
	rig->state->event = (struct x86_event_state){.injected = true, .is_interrupt = true, .vector = 0x40};
	load(rig);
	OPS->vcpu_kick(rig->vcpu[0]);
	assert_int_equal(run(rig), ACCEL_EXIT_KICKED);
	save(rig);
	assert_true(rig->state->event.injected);
	assert_true(rig->state->event.is_interrupt);
	assert_int_equal(rig->state->event.vector, 0x40);
	assert_int_equal(rig->state->rip, CODE_GPA);
}

static void test_pins_are_apart_from_the_state(void **state)
{
	struct rig *rig = *state;
	struct accel_pins pins;

	enter_flat(rig, code_halt, sizeof(code_halt));
	OPS->vcpu_nmi(rig->vcpu[0]);
	OPS->vcpu_intr(rig->vcpu[0], true);
	OPS->vcpu_startup(rig->vcpu[1], 0x9a);
	load(rig);
	save(rig);
	assert_false(rig->state->nmi_pending);
	OPS->vcpu_pins_take(rig->vcpu[0], &pins);
	assert_true(pins.nmi && pins.intr && !pins.init && !pins.startup);
	OPS->vcpu_pins_take(rig->vcpu[0], &pins);
	assert_true(!pins.nmi && pins.intr);
	OPS->vcpu_pins_take(rig->vcpu[1], &pins);
	assert_true(pins.startup);
	assert_int_equal(pins.startup_vector, 0x9a);
	/* One that was pending inside of another CPU is. */
	rig->state->nmi_pending = true;
	load(rig);
	OPS->vcpu_pins_take(rig->vcpu[0], &pins);
	assert_true(pins.nmi);
}

static const struct x86_msr_state *msr_of(const struct x86_cpu_state *state, uint32_t index)
{
	for (uint32_t i = 0; i < state->msr_count; i++)
		if (state->msr[i].index == index)
			return &state->msr[i];
	return NULL;
}

static void test_msrs_of_others_are_kept(void **state)
{
	struct rig *rig = *state;
	const struct x86_msr_state *kept;

	enter_flat(rig, code_halt, sizeof(code_halt));
	rig->state->msr[rig->state->msr_count++] = (struct x86_msr_state){MSR_NOBODY, 0x1122334455667788};
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	save(rig);
	kept = msr_of(rig->state, MSR_NOBODY);
	assert_true(kept && kept->value == 0x1122334455667788);
	/* And belong to the state, not to the CPU. */
	x86_cpu_state_drop_msr(rig->state, MSR_NOBODY);
	load(rig);
	save(rig);
	assert_null(msr_of(rig->state, MSR_NOBODY));
}

/* What the page says, as a guest computes it. */
static uint64_t pvclock_read(const struct rig *rig, uint64_t tsc)
{
	uint64_t delta = tsc - get64(rig, CLOCK_GPA + 8);
	int8_t shift = (int8_t)rig->ram[CLOCK_GPA + 28];

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return get64(rig, CLOCK_GPA + 16) +
	       (uint64_t)((unsigned __int128)delta * get32(rig, CLOCK_GPA + 24) >> 32);
}

/* wrmsr of the page's address; hlt */
static const uint8_t code_wrmsr[] = {0x0f, 0x30, 0xf4};

static void test_clocks_go_on_from_another_ones(void **state)
{
	const uint64_t apart = 5 * TSC_HZ; /* the guest has set CPU 1's TSC */
	struct rig *rig = *state;
	struct accel_clock set;
	struct accel_clock got[2];
	struct err err = {0};
	uint64_t passed_ns;
	uint32_t version;

	enter_flat(rig, code_wrmsr, sizeof(code_wrmsr));
	rig->state->gpr[X86_RCX] = MSR_TIME;
	rig->state->gpr[X86_RAX] = CLOCK_GPA | 1;
	rig->state->gpr[X86_RDX] = 0;
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	version = get32(rig, CLOCK_GPA);
	assert_true(version && !(version & 1));
	assert_int_equal(rig->ram[CLOCK_GPA + 29], 1); /* the TSC is stable */

	assert_int_equal(OPS->clock_get(rig->vcpu[0], &set, &err), 0);
	set.tsc = 1ull << 50;
	set.paravirtual_ns = 77 * NS_PER_S;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(OPS->clock_set(rig->vcpu[i], &set, &err), 0);
		set.tsc += apart;
	}
	set.tsc -= 2 * apart;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(OPS->clock_get(rig->vcpu[i], &got[i], &err), 0);
	passed_ns = got[1].monotonic_ns - set.monotonic_ns;
	/* Never early, and late by no more than what a busy host takes between two readings. */
	assert_true(got[0].tsc >= set.tsc && got[0].paravirtual_ns >= 77 * NS_PER_S);
	assert_in_range(got[0].paravirtual_ns, 77 * NS_PER_S, 77 * NS_PER_S + 2 * passed_ns + NS_PER_MS);
	assert_in_range(got[1].tsc - got[0].tsc, apart,
			apart + muldiv64(2 * passed_ns + NS_PER_MS, TSC_HZ, NS_PER_S));

	/* The page follows when the CPU runs, and agrees. */
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	assert_true(get32(rig, CLOCK_GPA) > version);
	assert_int_equal(OPS->clock_get(rig->vcpu[0], &got[0], &err), 0);
	assert_in_range(pvclock_read(rig, got[0].tsc), got[0].paravirtual_ns - 1000,
			got[0].paravirtual_ns + 1000);
}

/* A clock without the paravirtual one leaves the guest's page alone: it is somebody else's. */
static void test_the_page_can_be_left_alone(void **state)
{
	struct rig *rig = *state;
	struct accel_clock clock;
	struct err err = {0};
	uint32_t version;

	enter_flat(rig, code_wrmsr, sizeof(code_wrmsr));
	rig->state->gpr[X86_RCX] = MSR_TIME;
	rig->state->gpr[X86_RAX] = CLOCK_GPA | 1;
	rig->state->gpr[X86_RDX] = 0;
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	version = get32(rig, CLOCK_GPA);
	assert_int_equal(OPS->clock_get(rig->vcpu[0], &clock, &err), 0);
	clock.has_paravirtual = false;
	assert_int_equal(OPS->clock_set(rig->vcpu[0], &clock, &err), 0);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	assert_int_equal(get32(rig, CLOCK_GPA), version);
}

/* inc eax; jmp to itself: a block each. */
static void test_blocks_are_counted(void **state)
{
	static const uint8_t code[] = {0x40, 0xeb, 0xfd};
	struct rig *rig = *state;
	struct err err = {0};

	enter_flat(rig, code, sizeof(code));
	rig->state->gpr[X86_RAX] = 0;
	load(rig);
	assert_int_equal(OPS->vcpu_run_blocks(rig->vcpu[0], 1, &err), ACCEL_EXIT_KICKED);
	save(rig);
	assert_int_equal(rig->state->gpr[X86_RAX], 1);
	assert_int_equal(OPS->vcpu_run_blocks(rig->vcpu[0], 1000, &err), ACCEL_EXIT_KICKED);
	save(rig);
	assert_in_range(rig->state->gpr[X86_RAX], 2, 1001);
}

/* A string instruction of many iterations, a fault and a halt end as they should within blocks. */
static void test_blocks_end_as_they_must(void **state)
{
	static const uint8_t fill[] = {0xf3, 0xaa, 0xf4};         /* rep stosb; hlt */
	static const uint8_t divide[] = {0x31, 0xc9, 0xf7, 0xf1}; /* xor ecx,ecx; div ecx */
	struct rig *rig = *state;
	struct err err = {0};
	enum accel_exit why = ACCEL_EXIT_KICKED;

	enter_flat(rig, fill, sizeof(fill));
	rig->state->gpr[X86_RCX] = 0x20000;
	rig->state->gpr[X86_RDI] = 0x20000;
	rig->state->gpr[X86_RAX] = 0xab;
	load(rig);
	for (unsigned i = 0; i < 100 && why == ACCEL_EXIT_KICKED; i++)
		why = OPS->vcpu_run_blocks(rig->vcpu[0], 1, &err);
	assert_int_equal(why, ACCEL_EXIT_HALTED);
	save(rig);
	assert_int_equal(rig->state->gpr[X86_RCX], 0);
	assert_int_equal(rig->ram[0x3ffff], 0xab);
	assert_int_equal(rig->state->mp_state, X86_MP_HALTED);

	enter_flat(rig, divide, sizeof(divide));
	rig->state->mp_state = X86_MP_RUNNABLE;
	load(rig);
	for (why = ACCEL_EXIT_KICKED; why == ACCEL_EXIT_KICKED;)
		why = OPS->vcpu_run_blocks(rig->vcpu[0], 1, &err);
	assert_int_equal(why, ACCEL_EXIT_HALTED);
	assert_int_equal(get32(rig, STACK_GPA - 12), CODE_GPA + 2); /* #DE at the DIV itself */
}

/* vmread eax,eax: promised by CPUID (VMX), unknown to the engine. Without the promise it is #UD. */
static void test_what_is_promised_is_no_undefined_opcode(void **state)
{
	static const uint8_t code[] = {0x40, 0x0f, 0x78, 0xc0}; /* inc eax; vmread */
	struct rig *rig = *state;
	struct err err = {0};

	enter_flat(rig, code, sizeof(code));
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	save(rig);
	assert_int_equal(rig->state->rip, HANDLER + 1); /* through the gate of #UD */

	rig_close(rig);
	rig_open(rig, 1u << 5);
	enter_flat(rig, code, sizeof(code));
	rig->state->gpr[X86_RAX] = 0;
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_CANNOT_EXECUTE);
	save(rig);
	assert_int_equal(rig->state->rip, CODE_GPA + 1);
	assert_int_equal(rig->state->gpr[X86_RAX], 1);
	assert_int_equal(OPS->vcpu_run_blocks(rig->vcpu[0], 10, &err), ACCEL_EXIT_CANNOT_EXECUTE);
}

static void expect_text(struct rig *rig, const void *code, size_t size, const char *expected)
{
	char text[128];

	enter_flat(rig, code, size);
	load(rig);
	OPS->vcpu_instruction(rig->vcpu[0], text, sizeof(text));
	assert_string_equal(text, expected);
}

static void test_instructions_as_text(void **state)
{
	struct rig *rig = *state;

	expect_text(rig, "\xf0\x0f\xc7\x4d\x20", 5, "f0 0f c7 4d 20 lock cmpxchg8b [ebp+0x20]");
	expect_text(rig, "\x8b\x84\x8b\xf0\xff\xff\xff", 7, "8b 84 8b f0 ff ff ff mov eax, [ebx+ecx*4-0x10]");
	expect_text(rig, "\x64\xa1\x34\x12\x00\x00", 6, "64 a1 34 12 00 00 mov eax, fs:[0x1234]");
	expect_text(rig, "\x88\xe3", 2, "88 e3 mov bl, ah");
	expect_text(rig, "\xf3\xa4", 2, "f3 a4 rep movsb es:[di], [si]");
	expect_text(rig, "\x74\xfe", 2, "74 fe je 0x1000");
	expect_text(rig, "\x0f\x58\xc1", 3, "0f 58 c1 addps xmm0, xmm1");
	expect_text(rig, "\x0f\x22\xd8", 3, "0f 22 d8 mov cr3, eax");
	expect_text(rig, "\x83\xc0\xff", 3, "83 c0 ff add eax, -0x1");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(an_interrupt_that_had_begun_is_delivered),
		T(an_exception_that_had_begun_is_delivered),
		T(a_software_event_is_left_to_its_instruction),
		T(an_event_that_is_not_delivered_goes_on),
		T(pins_are_apart_from_the_state),
		T(msrs_of_others_are_kept),
		T(clocks_go_on_from_another_ones),
		T(the_page_can_be_left_alone),
		T(blocks_are_counted),
		T(blocks_end_as_they_must),
		T(what_is_promised_is_no_undefined_opcode),
		T(instructions_as_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
