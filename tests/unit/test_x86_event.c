/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events through the IDT and task switches of the CPU on flat memory. Every
 * expected error code is that of the Intel SDM's pseudo code.
 */
#include "tests/unit/x86_ground.h"

#include "insn_gen.h"

static void set_idt(struct flat *flat, unsigned vector, uint64_t raw)
{
	flat_put(flat, IDT_AT + 8 * vector, raw, 8);
}

static void test_event_same_level(void **state)
{
	struct flat *flat = protected_cpu(0);

	set_idt(flat, 0x20, flat_gate(CODE0, 0x6000, 0x8e, 0));
	x86_eflags_set(&flat->cpu, FLAG_IF | FLAG_CF | FLAG_TF | FLAG_NT, X86_FLAGS_ALL);
	x86_deliver_interrupt(&flat->cpu, 0x20);
	assert_int_equal(flat->cpu.rip, 0x6000);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK0 - 12);
	assert_int_equal(flat_get(flat, STACK0 - 4, 4), FLAG_IF | FLAG_CF | FLAG_TF | FLAG_NT | FLAG_ONE);
	assert_int_equal(flat_get(flat, STACK0 - 8, 4), CODE0);
	assert_int_equal(flat_get(flat, STACK0 - 12, 4), 0x7000);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_CF | FLAG_ONE);
	free(flat);
}

static void raise_gp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_raise_code(cpu, VEC_GP, 0x1234);
}

static void raise_pf(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_raise_pf(cpu, 0xabc000, 6);
}

static void test_fault_inner_level(void **state)
{
	struct flat *flat = protected_cpu(3);

	set_idt(flat, VEC_GP, flat_gate(CODE0, 0x6000, 0x8f, 0));
	x86_eflags_set(&flat->cpu, FLAG_IF, FLAG_IF);
	assert_int_equal(flat_run(flat, raise_gp, &iret32), VEC_GP);
	x86_deliver_fault(&flat->cpu);
	assert_int_equal(flat->cpu.cpl, 0);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK0 - 24);
	assert_int_equal(flat_get(flat, STACK0 - 24, 4), 0x1234);
	assert_int_equal(flat_get(flat, STACK0 - 20, 4), 0x7000);
	assert_int_equal(flat_get(flat, STACK0 - 12, 4), FLAG_IF | FLAG_RF | FLAG_ONE);
	assert_int_equal(flat_get(flat, STACK0 - 8, 4), STACK3);
	assert_int_equal(flat_get(flat, STACK0 - 4, 4), DATA3);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_IF | FLAG_ONE); /* a trap gate keeps IF */
	free(flat);
}

/* A #GP whose delivery faults: the vector and code that arrive. */
static void test_double_and_triple_fault(void **state)
{
	struct flat *flat = protected_cpu(0);

	set_idt(flat, VEC_DF, flat_gate(CODE0, 0x6000, 0x8e, 0));
	flat_run(flat, raise_gp, &iret32);
	x86_deliver_fault(&flat->cpu); /* the gate of #GP is not present: #NP is contributory */
	assert_int_equal(flat->cpu.rip, 0x6000);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK0 - 16);
	assert_int_equal(flat_get(flat, STACK0 - 16, 4), 0);
	assert_false(flat->cpu.shutdown);
	set_idt(flat, VEC_DF, 0);
	flat_run(flat, raise_gp, &iret32);
	x86_deliver_fault(&flat->cpu);
	assert_true(flat->cpu.shutdown);
	free(flat);
}

static void test_page_fault_after_page_fault_is_double(void **state)
{
	struct flat *flat = protected_cpu(0);

	set_idt(flat, VEC_DF, flat_gate(CODE0, 0x6000, 0x8e, 0));
	set_idt(flat, VEC_PF, flat_gate(CODE0, 0x6100, 0x8e, 0));
	flat_run(flat, raise_pf, &iret32);
	x86_deliver_fault(&flat->cpu);
	assert_int_equal(flat->cpu.rip, 0x6100);
	assert_int_equal(flat->cpu.cr2, 0xabc000);
	assert_int_equal(flat_get(flat, flat->cpu.r[REG_RSP], 4), 6);
	flat->pf_from = IDT_AT + 8 * VEC_PF; /* the gate's page is gone */
	flat->pf_to = flat->pf_from + 8;
	flat_run(flat, raise_pf, &iret32);
	x86_deliver_fault(&flat->cpu);
	assert_int_equal(flat->cpu.rip, 0x6000);
	assert_int_equal(flat->cpu.cr2, IDT_AT + 8 * VEC_PF);
	free(flat);
}

/* #GP whose handler cannot be reached for a page fault: the page fault is delivered instead. */
static void test_contributory_then_page_fault_is_serial(void **state)
{
	struct flat *flat = protected_cpu(0);

	set_idt(flat, VEC_PF, flat_gate(CODE0, 0x6100, 0x8e, 0));
	flat->pf_from = IDT_AT + 8 * VEC_GP;
	flat->pf_to = flat->pf_from + 8;
	flat_run(flat, raise_gp, &iret32);
	x86_deliver_fault(&flat->cpu);
	assert_int_equal(flat->cpu.rip, 0x6100);
	free(flat);
}

static void test_external_interrupt_ext_bit(void **state)
{
	struct flat *flat = protected_cpu(0);

	set_idt(flat, VEC_NP, flat_gate(CODE0, 0x6200, 0x8e, 0));
	set_idt(flat, 0x21, flat_gate(CODE0, 0x6000, 0x0e, 0));
	x86_deliver_interrupt(&flat->cpu, 0x21);
	assert_int_equal(flat->cpu.rip, 0x6200);
	assert_int_equal(flat_get(flat, flat->cpu.r[REG_RSP], 4), 0x21 * 8 + 2 + 1);
	free(flat);
}

static void test_int_n_checks(void **state)
{
	struct flat *flat = protected_cpu(3);
	struct x86_insn in = {.len = 2, .imm = 0x80, .opsize = 4};

	set_idt(flat, 0x80, flat_gate(CODE0, 0x6000, 0x8e, 0));
	assert_fault(flat, x86_slow_int, &in, VEC_GP, 0x80 * 8 + 2);
	set_idt(flat, 0x80, flat_gate(CODE0, 0x6000, 0x6e, 0));
	assert_fault(flat, x86_slow_int, &in, VEC_NP, 0x80 * 8 + 2);
	flat->cpu.idtr.limit = 0x80 * 8 + 6;
	assert_fault(flat, x86_slow_int, &in, VEC_GP, 0x80 * 8 + 2);
	flat->cpu.idtr.limit = 0x7ff;
	set_idt(flat, 0x80, flat_gate(CODE0, 0x6000, 0xee, 0));
	assert_int_equal(flat_run(flat, x86_slow_int, &in), -1);
	assert_int_equal(flat_get(flat, flat->cpu.r[REG_RSP], 4), 0x7002);
	free(flat);
}

static void set_idt64(struct flat *flat, unsigned vector, uint16_t selector, uint64_t offset, uint8_t access,
		      unsigned ist)
{
	flat_put(flat, IDT_AT + 16 * vector, flat_gate(selector, (uint32_t)offset, access, ist), 8);
	flat_put(flat, IDT_AT + 16 * vector + 8, offset >> 32, 8);
}

static void test_long_mode_delivery(void **state)
{
	struct flat *flat = long_cpu(3);

	flat->cpu.idtr.limit = 0xfff;
	set_idt64(flat, VEC_GP, CODE64, 0xffff800012345678, 0x8e, 0);
	flat_run(flat, raise_gp, &iret32);
	x86_deliver_fault(&flat->cpu);
	assert_int_equal(flat->cpu.rip, 0xffff800012345678);
	assert_int_equal(flat->cpu.cpl, 0);
	assert_false(flat->cpu.seg[SEG_SS].usable);
	assert_int_equal(flat->cpu.seg[SEG_SS].selector, 0);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK0 - 48);
	assert_int_equal(flat_get(flat, STACK0 - 8, 8), DATA3);
	assert_int_equal(flat_get(flat, STACK0 - 16, 8), STACK3);
	assert_int_equal(flat_get(flat, STACK0 - 32, 8), CODE3);
	assert_int_equal(flat_get(flat, STACK0 - 48, 8), 0x1234);
	free(flat);
}

static void test_long_mode_ist_and_alignment(void **state)
{
	struct flat *flat = long_cpu(0);

	flat->cpu.idtr.limit = 0xfff;
	flat->cpu.r[REG_RSP] = STACK0 - 3;
	set_idt64(flat, 0x20, CODE64, 0x6000, 0x8e, 0);
	set_idt64(flat, 0x21, CODE64, 0x6000, 0x8e, 2);
	flat_put(flat, TSS_A_AT + 44, 0xa00f, 8);
	x86_deliver_interrupt(&flat->cpu, 0x20);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK0 - 16 - 40);
	x86_deliver_interrupt(&flat->cpu, 0x21);
	assert_int_equal(flat->cpu.r[REG_RSP], 0xa000 - 40);
	free(flat);
}

static void test_long_mode_iret_to_null_ss(void **state)
{
	struct flat *flat = long_cpu(0);
	struct x86_insn in = {.len = 2, .opsize = 8, .addrsize = 8};

	push(flat, 0, 8);
	push(flat, 0xffff900000000000, 8);
	push(flat, FLAG_IF, 8);
	push(flat, CODE64, 8);
	push(flat, 0xffff800000000000, 8);
	assert_int_equal(flat_run(flat, x86_slow_iret, &in), -1);
	assert_int_equal(flat->cpu.rip, 0xffff800000000000);
	assert_int_equal(flat->cpu.r[REG_RSP], 0xffff900000000000);
	flat->cpu.r[REG_RSP] = STACK0;
	push(flat, DATA3, 8);
	push(flat, 0, 8);
	push(flat, FLAG_IF, 8);
	push(flat, CODE3, 8);
	push(flat, 0x800000000000, 8);
	assert_fault(flat, x86_slow_iret, &in, VEC_GP, 0);
	free(flat);
}

static void fill_task(struct flat *flat, uint32_t at)
{
	flat_put(flat, at + 0x20, 0x5000, 4);
	flat_put(flat, at + 0x24, FLAG_IF | FLAG_ZF, 4);
	for (unsigned i = 0; i < 8; i++)
		flat_put(flat, at + 0x28 + 4 * i, 0x100 + i, 4);
	flat_put(flat, at + 0x48, DATA0, 2);
	flat_put(flat, at + 0x4c, CODE0, 2);
	flat_put(flat, at + 0x50, DATA0, 2);
	flat_put(flat, at + 0x54, DATA0, 2);
}

static void test_task_call_and_return(void **state)
{
	struct flat *flat = protected_cpu(0);

	fill_task(flat, TSS_B_AT);
	flat->cpu.r[REG_RBX] = 0xbbbb;
	assert_jump(flat, true, TSS_B, -1, 0);
	assert_int_equal(flat->cpu.rip, 0x5000);
	assert_int_equal(flat->cpu.r[REG_RBX], 0x103);
	assert_int_equal(flat->cpu.seg[SEG_TR].selector, TSS_B);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_IF | FLAG_ZF | FLAG_NT | FLAG_ONE);
	assert_int_equal(flat_get(flat, TSS_B_AT, 2), TSS_A);
	assert_int_equal(flat_get(flat, GDT_AT + TSS_A + 5, 1), 0x8b);
	assert_int_equal(flat_get(flat, GDT_AT + TSS_B + 5, 1), 0x8b);
	assert_int_equal(flat_get(flat, TSS_A_AT + 0x20, 4), 0x7007);
	assert_int_equal(flat_get(flat, TSS_A_AT + 0x34, 4), 0xbbbb);
	assert_true(flat->cpu.cr0 & CR0_TS);
	assert_jump(flat, true, TSS_A, VEC_GP, TSS_A); /* busy */
	assert_int_equal(flat_run(flat, x86_slow_iret, &iret32), -1);
	assert_int_equal(flat->cpu.seg[SEG_TR].selector, TSS_A);
	assert_int_equal(flat->cpu.rip, 0x7007);
	assert_int_equal(flat->cpu.r[REG_RBX], 0xbbbb);
	assert_int_equal(flat_get(flat, GDT_AT + TSS_B + 5, 1), 0x89);
	assert_int_equal(flat_get(flat, TSS_B_AT + 0x24, 4), FLAG_IF | FLAG_ZF | FLAG_ONE);
	free(flat);
}

static void test_task_faults_in_new_task(void **state)
{
	struct flat *flat = protected_cpu(0);
	struct x86_insn in = {.len = 7, .opsize = 4, .addrsize = 4, .imm2 = TSS_B};

	fill_task(flat, TSS_B_AT);
	flat_put(flat, TSS_B_AT + 0x54, ABSENT, 2);
	assert_int_equal(flat_run(flat, x86_slow_jmpf, &in), VEC_NP);
	assert_int_equal(flat->cpu.fault.code, ABSENT);
	assert_int_equal(flat->cpu.seg[SEG_TR].selector, TSS_B);
	assert_int_equal(flat->cpu.rip, 0x5000);
	assert_int_equal(flat_get(flat, GDT_AT + TSS_A + 5, 1), 0x89);
	free(flat);
	flat = protected_cpu(0);
	set_gdt(flat, TSS_B, flat_descriptor(TSS_B_AT, 0x66, 0x89));
	assert_fault(flat, x86_slow_jmpf, &in, VEC_TS, TSS_B);
	free(flat);
}

static void test_task_gate_pushes_error_code(void **state)
{
	struct flat *flat = protected_cpu(0);

	fill_task(flat, TSS_B_AT);
	flat_put(flat, TSS_B_AT + 0x38, STACK3, 4);
	set_idt(flat, VEC_GP, flat_gate(TSS_B, 0, 0x85, 0));
	flat_run(flat, raise_gp, &iret32);
	x86_deliver_fault(&flat->cpu);
	assert_int_equal(flat->cpu.seg[SEG_TR].selector, TSS_B);
	assert_int_equal(flat->cpu.r[REG_RSP], STACK3 - 4);
	assert_int_equal(flat_get(flat, STACK3 - 4, 4), 0x1234);
	assert_int_equal(flat_get(flat, TSS_A_AT + 0x20, 4), 0x7000);
	free(flat);
}

static void test_real_mode_interrupt(void **state)
{
	struct flat *flat = flat_create();
	struct x86_insn in = {.len = 2, .imm = 0x10, .opsize = 2};

	flat->cpu.seg[SEG_CS].base = 0;
	flat->cpu.seg[SEG_CS].selector = 0;
	flat->cpu.rip = 0x7c00;
	flat->cpu.r[REG_RSP] = 0x8000;
	flat_put(flat, 0x40, 0xf0001234, 4);
	x86_eflags_set(&flat->cpu, FLAG_IF | FLAG_CF, FLAG_IF | FLAG_CF);
	assert_int_equal(flat_run(flat, x86_slow_int, &in), -1);
	assert_int_equal(flat->cpu.rip, 0x1234);
	assert_int_equal(flat->cpu.seg[SEG_CS].base, 0xf0000);
	assert_int_equal(flat->cpu.r[REG_RSP], 0x7ffa);
	assert_int_equal(flat_get(flat, 0x7ffa, 2), 0x7c02);
	assert_int_equal(flat_get(flat, 0x7ffe, 2), FLAG_IF | FLAG_CF | FLAG_ONE);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_CF | FLAG_ONE);
	free(flat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_same_level),
		cmocka_unit_test(test_fault_inner_level),
		cmocka_unit_test(test_double_and_triple_fault),
		cmocka_unit_test(test_page_fault_after_page_fault_is_double),
		cmocka_unit_test(test_contributory_then_page_fault_is_serial),
		cmocka_unit_test(test_external_interrupt_ext_bit),
		cmocka_unit_test(test_int_n_checks),
		cmocka_unit_test(test_long_mode_delivery),
		cmocka_unit_test(test_long_mode_ist_and_alignment),
		cmocka_unit_test(test_long_mode_iret_to_null_ss),
		cmocka_unit_test(test_task_call_and_return),
		cmocka_unit_test(test_task_faults_in_new_task),
		cmocka_unit_test(test_task_gate_pushes_error_code),
		cmocka_unit_test(test_real_mode_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
