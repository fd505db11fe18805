/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System behaviour of the CPU on flat memory: segment loads, far transfers, events through the IDT, task switches. Every
 * expected error code is that of the Intel SDM's pseudo code.
 */
#include "tests/unit/x86_flat.h"

#include "insn_gen.h"

/* The GDT of all tests. */
enum {
	CODE0 = 0x08, DATA0 = 0x10, CODE3 = 0x1b, DATA3 = 0x23, TSS_A = 0x28, TSS_B = 0x30, ABSENT = 0x38, READONLY = 0x40,
	CONFORMING = 0x48, GATE = 0x53, STACK_ABSENT = 0x58, LDT = 0x60, CODE64 = 0x68, DATA1 = 0x71, EXECONLY = 0x78,
	TASK_GATE = 0x80, TSS64 = 0x90, LAST = 0xa8,
};
#define GDT_AT   0x1000
#define IDT_AT   0x2000
#define TSS_A_AT 0x3000
#define TSS_B_AT 0x3100
#define STACK0   0x8000
#define STACK3   0x9000
#define OUTSIDE  0x400

static void set_gdt(struct flat *flat, uint16_t selector, uint64_t raw)
{
	flat_put(flat, GDT_AT + (selector & 0xfff8), raw, 8);
}

static void load(struct flat *flat, unsigned seg, uint16_t selector)
{
	flat->cpu.seg[seg] = x86_segment_from(selector, flat_get(flat, GDT_AT + (selector & 0xfff8), 8));
}

static void fill_gdt(struct flat *flat)
{
	set_gdt(flat, CODE0, flat_descriptor(0, 0xfffff, 0xc09b));
	set_gdt(flat, DATA0, flat_descriptor(0, 0xfffff, 0xc093));
	set_gdt(flat, CODE3, flat_descriptor(0, 0xfffff, 0xc0fb));
	set_gdt(flat, DATA3, flat_descriptor(0, 0xfffff, 0xc0f3));
	set_gdt(flat, TSS_A, flat_descriptor(TSS_A_AT, 0x67, 0x8b));
	set_gdt(flat, TSS_B, flat_descriptor(TSS_B_AT, 0x67, 0x89));
	set_gdt(flat, ABSENT, flat_descriptor(0, 0xfffff, 0xc013));
	set_gdt(flat, READONLY, flat_descriptor(0, 0xfffff, 0xc091));
	set_gdt(flat, CONFORMING, flat_descriptor(0, 0xfffff, 0xc09f));
	set_gdt(flat, GATE, flat_gate(CODE0, 0x5000, 0xec, 2));
	set_gdt(flat, STACK_ABSENT, flat_descriptor(0, 0xfffff, 0xc013));
	set_gdt(flat, LDT, flat_descriptor(0x4000, 0x1f, 0x82));
	set_gdt(flat, CODE64, flat_descriptor(0, 0xfffff, 0xa09b));
	set_gdt(flat, DATA1, flat_descriptor(0, 0xfffff, 0xc0b3));
	set_gdt(flat, EXECONLY, flat_descriptor(0, 0xfffff, 0xc099));
	set_gdt(flat, TASK_GATE, flat_gate(TSS_B, 0, 0x85, 0));
	set_gdt(flat, TSS64, flat_descriptor(TSS_A_AT, 0x67, 0x89));
	flat->cpu.gdtr.base = GDT_AT;
	flat->cpu.gdtr.limit = LAST - 1;
	flat->cpu.idtr.base = IDT_AT;
	flat->cpu.idtr.limit = 0x7ff;
}

/* 32-bit protected mode at a privilege level. */
static struct flat *protected_cpu(unsigned cpl)
{
	struct flat *flat = flat_create();

	fill_gdt(flat);
	load(flat, SEG_CS, cpl ? CODE3 : CODE0);
	load(flat, SEG_SS, cpl ? DATA3 : DATA0);
	load(flat, SEG_DS, DATA3);
	load(flat, SEG_ES, DATA3);
	load(flat, SEG_FS, 0);
	load(flat, SEG_GS, 0);
	flat->cpu.seg[SEG_FS].usable = flat->cpu.seg[SEG_GS].usable = false;
	load(flat, SEG_TR, TSS_A);
	flat->cpu.seg[SEG_LDTR].usable = false;
	flat->cpu.cr0 |= CR0_PE;
	flat->cpu.cpl = cpl;
	flat->cpu.r[REG_RSP] = cpl ? STACK3 : STACK0;
	flat->cpu.rip = 0x7000;
	flat_put(flat, TSS_A_AT + 4, STACK0, 4);
	flat_put(flat, TSS_A_AT + 8, DATA0, 2);
	x86_mode_changed(&flat->cpu);
	return flat;
}

/* 64-bit mode. */
static struct flat *long_cpu(unsigned cpl)
{
	struct flat *flat = protected_cpu(cpl);

	set_gdt(flat, CODE3, flat_descriptor(0, 0xfffff, 0xa0fb));
	load(flat, SEG_CS, cpl ? CODE3 : CODE64);
	flat->cpu.efer = EFER_LME | EFER_LMA | EFER_SCE;
	flat->cpu.cr0 |= CR0_PG;
	flat->cpu.cr4 |= CR4_PAE;
	flat_put(flat, TSS_A_AT + 4, STACK0, 8);
	x86_mode_changed(&flat->cpu);
	assert_int_equal(flat->cpu.mode_bits, 64);
	return flat;
}

static void assert_fault(struct flat *flat, x86_slow_fn *fn, const struct x86_insn *in, int vector, uint32_t code)
{
	struct x86_cpu before = flat->cpu;

	assert_int_equal(flat_run(flat, fn, in), vector);
	assert_int_equal(flat->cpu.fault.code, code);
	assert_memory_equal(before.r, flat->cpu.r, sizeof(before.r));
	assert_int_equal(before.rip, flat->cpu.rip);
	assert_memory_equal(before.seg, flat->cpu.seg, sizeof(before.seg));
	assert_int_equal(x86_eflags_get(&before), x86_eflags_get(&flat->cpu));
}

static struct x86_insn mov_sreg(unsigned seg)
{
	return (struct x86_insn){.len = 2, .has_modrm = true, .mod = 3, .reg = seg, .rm = REG_RAX, .opsize = 4, .addrsize = 4};
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

static void assert_jump(struct flat *flat, bool call, uint16_t selector, int vector, uint32_t code)
{
	struct x86_insn in = {.len = 7, .opsize = 4, .addrsize = 4, .imm = 0x5678, .imm2 = selector};
	x86_slow_fn *fn = call ? x86_slow_callf : x86_slow_jmpf;

	if (vector >= 0) {
		assert_fault(flat, fn, &in, vector, code);
		return;
	}
	assert_int_equal(flat_run(flat, fn, &in), -1);
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

static void push(struct flat *flat, uint64_t value, unsigned size)
{
	flat->cpu.r[REG_RSP] -= size;
	flat_put(flat, flat->cpu.r[REG_RSP], value, size);
}

static const struct x86_insn iret32 = {.len = 1, .opsize = 4, .addrsize = 4};

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

static void set_idt64(struct flat *flat, unsigned vector, uint16_t selector, uint64_t offset, uint8_t access, unsigned ist)
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
