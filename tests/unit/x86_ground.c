/* SPDX-License-Identifier: Apache-2.0 */
/* The tables and CPUs of tests/unit/x86_ground.h. */
#include "tests/unit/x86_ground.h"

#include "insn_gen.h"

const struct x86_insn iret32 = {.len = 1, .opsize = 4, .addrsize = 4};

void set_gdt(struct flat *flat, uint16_t selector, uint64_t raw)
{
	flat_put(flat, GDT_AT + (selector & 0xfff8), raw, 8);
}

void load(struct flat *flat, unsigned seg, uint16_t selector)
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
struct flat *protected_cpu(unsigned cpl)
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
struct flat *long_cpu(unsigned cpl)
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

void assert_fault(struct flat *flat, x86_slow_fn *fn, const struct x86_insn *in, int vector, uint32_t code)
{
	struct x86_cpu before = flat->cpu;

	assert_int_equal(flat_run(flat, fn, in), vector);
	assert_int_equal(flat->cpu.fault.code, code);
	assert_memory_equal(before.r, flat->cpu.r, sizeof(before.r));
	assert_int_equal(before.rip, flat->cpu.rip);
	assert_memory_equal(before.seg, flat->cpu.seg, sizeof(before.seg));
	assert_int_equal(x86_eflags_get(&before), x86_eflags_get(&flat->cpu));
}

void assert_jump(struct flat *flat, bool call, uint16_t selector, int vector, uint32_t code)
{
	struct x86_insn in = {.len = 7, .opsize = 4, .addrsize = 4, .imm = 0x5678, .imm2 = selector};
	x86_slow_fn *fn = call ? x86_slow_callf : x86_slow_jmpf;

	if (vector >= 0) {
		assert_fault(flat, fn, &in, vector, code);
		return;
	}
	assert_int_equal(flat_run(flat, fn, &in), -1);
}

void push(struct flat *flat, uint64_t value, unsigned size)
{
	flat->cpu.r[REG_RSP] -= size;
	flat_put(flat, flat->cpu.r[REG_RSP], value, size);
}
