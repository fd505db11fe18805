/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment loads, far transfers and returns of the CPU on flat memory. Every
 * expected error code is that of the Intel SDM's pseudo code.
 */
#include "tests/unit/x86_ground.h"

#include "insn_gen.h"

static struct x86_insn mov_sreg(unsigned seg)
{
	return (struct x86_insn){
		.len = 2, .has_modrm = true, .mod = 3, .reg = seg, .rm = REG_RAX, .opsize = 4, .addrsize = 4};
}

static void assert_load(struct flat *flat, unsigned seg, uint16_t selector, int vector, uint32_t code)
{
	struct x86_insn in = mov_sreg(seg);

	flat->cpu.r[REG_RAX] = selector;
	if (vector >= 0) {
		assert_fault(flat, x86_slow_mov_sreg, &in, vector, code);
		return;
	}
	assert_int_equal(flat_run(flat, x86_slow_mov_sreg, &in), -1);
	assert_int_equal(flat->cpu.seg[seg].selector, selector);
}

static void test_load_data_segment(void **state)
{
	struct flat *flat = protected_cpu(3);

	assert_load(flat, SEG_DS, DATA3, -1, 0);
	assert_load(flat, SEG_DS, DATA0, VEC_GP, DATA0);
	assert_load(flat, SEG_DS, DATA0 | 3, VEC_GP, DATA0);
	assert_load(flat, SEG_ES, 0, -1, 0);
	assert_load(flat, SEG_ES, 3, -1, 0);
	assert_false(flat->cpu.seg[SEG_ES].usable);
	assert_load(flat, SEG_FS, OUTSIDE, VEC_GP, OUTSIDE);
	assert_load(flat, SEG_FS, 4, VEC_GP, 4); /* no LDT */
	assert_load(flat, SEG_GS, TSS_A | 3, VEC_GP, TSS_A);
	assert_load(flat, SEG_GS, CONFORMING | 3, -1, 0);
	assert_load(flat, SEG_CS, CODE3, VEC_UD, 0);
	flat->cpu.cpl = 0;
	assert_load(flat, SEG_DS, EXECONLY, VEC_GP, EXECONLY);
	assert_load(flat, SEG_DS, ABSENT, VEC_NP, ABSENT);
	assert_load(flat, SEG_DS, DATA0, -1, 0);
	free(flat);
}

static void test_load_stack_segment(void **state)
{
	struct flat *flat = protected_cpu(0);

	assert_load(flat, SEG_SS, 0, VEC_GP, 0);
	assert_load(flat, SEG_SS, DATA0 | 3, VEC_GP, DATA0);
	assert_load(flat, SEG_SS, DATA3, VEC_GP, DATA3 & ~3);
	assert_load(flat, SEG_SS, READONLY, VEC_GP, READONLY);
	assert_load(flat, SEG_SS, STACK_ABSENT, VEC_SS, STACK_ABSENT);
	assert_load(flat, SEG_SS, DATA0, -1, 0);
	assert_true(flat->cpu.intr_shadow);
	free(flat);
	flat = long_cpu(0);
	assert_load(flat, SEG_SS, 0, -1, 0);
	assert_load(flat, SEG_SS, 3, VEC_GP, 0);
	free(flat);
}

static void test_load_sets_accessed(void **state)
{
	struct flat *flat = protected_cpu(0);

	set_gdt(flat, DATA0, flat_descriptor(0x12345678, 0x12, 0x4092));
	assert_load(flat, SEG_FS, DATA0, -1, 0);
	assert_int_equal(flat_get(flat, GDT_AT + DATA0 + 5, 1), 0x93);
	assert_int_equal(flat->cpu.seg[SEG_FS].base, 0x12345678);
	assert_int_equal(flat->cpu.seg[SEG_FS].limit, 0x12);
	assert_int_equal(flat->cpu.seg[SEG_FS].attributes, 0x4093);
	free(flat);
}

static void test_load_real_mode_keeps_limit(void **state)
{
	struct flat *flat = flat_create();

	flat->cpu.seg[SEG_DS].limit = 0xffffffff;
	assert_load(flat, SEG_DS, 0x1234, -1, 0);
	assert_int_equal(flat->cpu.seg[SEG_DS].base, 0x12340);
	assert_int_equal(flat->cpu.seg[SEG_DS].limit, 0xffffffff);
	free(flat);
}

static void test_jump_far_checks(void **state)
{
	struct flat *flat = protected_cpu(3);

	assert_jump(flat, false, 0, VEC_GP, 0);
	assert_jump(flat, false, OUTSIDE, VEC_GP, OUTSIDE);
	assert_jump(flat, false, DATA3, VEC_GP, DATA3 & ~3);
	assert_jump(flat, false, CODE0, VEC_GP, CODE0);
	assert_jump(flat, false, TSS_B | 3, VEC_GP, TSS_B);
	assert_jump(flat, false, CONFORMING, -1, 0);
	assert_int_equal(flat->cpu.seg[SEG_CS].selector, CONFORMING | 3);
	assert_int_equal(flat->cpu.cpl, 3);
	assert_int_equal(flat->cpu.rip, 0x5678);
	assert_jump(flat, false, GATE, VEC_GP, CODE0); /* a jump cannot change the privilege */
	set_gdt(flat, CODE3, flat_descriptor(0, 0x5677, 0x40fb));
	assert_jump(flat, false, CODE3, VEC_GP, 0);
	set_gdt(flat, CODE3, flat_descriptor(0, 0xffff, 0x407b));
	assert_jump(flat, false, CODE3, VEC_NP, CODE3 & ~3);
	free(flat);
}

static void test_call_far_pushes(void **state)
{
	struct flat *flat = protected_cpu(3);

	assert_jump(flat, true, CODE3, -1, 0);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK3 - 8);
	assert_int_equal(flat_get(flat, STACK3 - 8, 4), 0x7007);
	assert_int_equal(flat_get(flat, STACK3 - 4, 4), CODE3);
	free(flat);
}

static void test_call_gate_switches_stack(void **state)
{
	struct flat *flat = protected_cpu(3);

	flat->cpu.r[REG_RSP] = STACK3 - 8;
	flat_put(flat, STACK3 - 8, 0x11111111, 4);
	flat_put(flat, STACK3 - 4, 0x22222222, 4);
	assert_jump(flat, true, GATE, -1, 0);
	assert_int_equal(flat->cpu.cpl, 0);
	assert_int_equal(flat->cpu.rip, 0x5000);
	assert_int_equal(flat->cpu.seg[SEG_CS].selector, CODE0);
	assert_int_equal(flat->cpu.seg[SEG_SS].selector, DATA0);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK0 - 24);
	assert_int_equal(flat_get(flat, STACK0 - 4, 4), DATA3);
	assert_int_equal(flat_get(flat, STACK0 - 8, 4), STACK3 - 8);
	assert_int_equal(flat_get(flat, STACK0 - 12, 4), 0x22222222);
	assert_int_equal(flat_get(flat, STACK0 - 16, 4), 0x11111111);
	assert_int_equal(flat_get(flat, STACK0 - 20, 4), CODE3);
	assert_int_equal(flat_get(flat, STACK0 - 24, 4), 0x7007);
	free(flat);
}

static void test_call_gate_checks(void **state)
{
	struct flat *flat = protected_cpu(3);

	set_gdt(flat, GATE, flat_gate(CODE0, 0x5000, 0x8c, 0));
	assert_jump(flat, true, GATE, VEC_GP, GATE & ~3); /* DPL of the gate */
	set_gdt(flat, GATE, flat_gate(CODE0, 0x5000, 0x6c, 0));
	assert_jump(flat, true, GATE, VEC_NP, GATE & ~3);
	set_gdt(flat, GATE, flat_gate(0, 0x5000, 0xec, 0));
	assert_jump(flat, true, GATE, VEC_GP, 0);
	set_gdt(flat, GATE, flat_gate(DATA0, 0x5000, 0xec, 0));
	assert_jump(flat, true, GATE, VEC_GP, DATA0);
	set_gdt(flat, GATE, flat_gate(CODE0, 0x5000, 0xec, 0));
	flat_put(flat, TSS_A_AT + 8, 0, 2);
	assert_jump(flat, true, GATE, VEC_TS, 0);
	flat_put(flat, TSS_A_AT + 8, DATA3, 2);
	assert_jump(flat, true, GATE, VEC_TS, DATA3 & ~3);
	flat_put(flat, TSS_A_AT + 8, STACK_ABSENT, 2);
	assert_jump(flat, true, GATE, VEC_SS, STACK_ABSENT);
	flat->cpu.seg[SEG_TR].limit = 8;
	assert_jump(flat, true, GATE, VEC_TS, TSS_A);
	free(flat);
}

static void test_iret_outer(void **state)
{
	struct flat *flat = protected_cpu(0);

	load(flat, SEG_FS, DATA0);
	push(flat, DATA3, 4);
	push(flat, 0x8888, 4);
	push(flat, FLAG_IF | FLAG_CF | FLAG_ID | FLAG_IOPL, 4);
	push(flat, CODE3, 4);
	push(flat, 0x4444, 4);
	assert_int_equal(flat_run(flat, x86_slow_iret, &iret32), -1);
	assert_int_equal(flat->cpu.cpl, 3);
	assert_int_equal(flat->cpu.rip, 0x4444);
	assert_int_equal(flat->cpu.r[REG_RSP], 0x8888);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_IF | FLAG_CF | FLAG_ID | FLAG_IOPL | FLAG_ONE);
	assert_false(flat->cpu.seg[SEG_FS].usable);
	assert_true(flat->cpu.seg[SEG_DS].usable);
	free(flat);
}

static void iret_case(uint16_t cs, uint16_t ss, uint32_t ip, int vector, uint32_t code)
{
	struct flat *flat = protected_cpu(0);

	push(flat, ss, 4);
	push(flat, 0x8888, 4);
	push(flat, 0, 4);
	push(flat, cs, 4);
	push(flat, ip, 4);
	assert_fault(flat, x86_slow_iret, &iret32, vector, code);
	free(flat);
}

static void test_iret_checks(void **state)
{
	iret_case(0, DATA3, 0, VEC_GP, 0);
	iret_case(OUTSIDE, DATA3, 0, VEC_GP, OUTSIDE);
	iret_case(DATA3, DATA3, 0, VEC_GP, DATA3 & ~3);
	iret_case(CODE0 | 3, DATA3, 0, VEC_GP, CODE0);
	iret_case(CODE3, 0, 0, VEC_GP, 0);
	iret_case(CODE3, DATA0, 0, VEC_GP, DATA0);
	iret_case(CODE3, DATA1 | 3, 0, VEC_GP, DATA1 & ~3);
	iret_case(CODE3, OUTSIDE | 3, 0, VEC_GP, OUTSIDE);
}

static void test_iret_flags_by_privilege(void **state)
{
	struct flat *flat = protected_cpu(3);

	push(flat, FLAG_IF | FLAG_IOPL | FLAG_VIF | FLAG_AC | FLAG_ZF, 4);
	push(flat, CODE3, 4);
	push(flat, 0x4444, 4);
	assert_int_equal(flat_run(flat, x86_slow_iret, &iret32), -1);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_AC | FLAG_ZF | FLAG_ONE);
	free(flat);
}

static void test_iret_to_v86(void **state)
{
	struct flat *flat = protected_cpu(0);
	static const uint16_t segments[] = {0x1000, 0x0f00, 0x0e00, 0x0d00, 0x0c00}; /* GS FS DS ES SS */

	push(flat, segments[0], 4);
	push(flat, segments[1], 4);
	push(flat, segments[2], 4);
	push(flat, segments[3], 4);
	push(flat, segments[4], 4);
	push(flat, 0x1234, 4);
	push(flat, FLAG_VM | FLAG_IF, 4);
	push(flat, 0x0b00, 4);
	push(flat, 0x0100, 4);
	assert_int_equal(flat_run(flat, x86_slow_iret, &iret32), -1);
	assert_true(x86_is_v86(&flat->cpu));
	assert_int_equal(flat->cpu.cpl, 3);
	assert_int_equal(flat->cpu.mode_bits, 16);
	assert_int_equal(flat->cpu.seg[SEG_CS].base, 0xb000);
	assert_int_equal(flat->cpu.seg[SEG_SS].base, 0xc000);
	assert_int_equal(flat->cpu.seg[SEG_GS].selector, 0x1000);
	assert_int_equal(flat->cpu.seg[SEG_GS].limit, 0xffff);
	assert_int_equal(flat->cpu.seg[SEG_DS].attributes, 0xf3);
	assert_int_equal(flat->cpu.r[REG_RSP], 0x1234);
	free(flat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_data_segment),
		cmocka_unit_test(test_load_stack_segment),
		cmocka_unit_test(test_load_sets_accessed),
		cmocka_unit_test(test_load_real_mode_keeps_limit),
		cmocka_unit_test(test_jump_far_checks),
		cmocka_unit_test(test_call_far_pushes),
		cmocka_unit_test(test_call_gate_switches_stack),
		cmocka_unit_test(test_call_gate_checks),
		cmocka_unit_test(test_iret_outer),
		cmocka_unit_test(test_iret_checks),
		cmocka_unit_test(test_iret_flags_by_privilege),
		cmocka_unit_test(test_iret_to_v86),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
