/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions that load and store segment registers. Intel SDM vol. 2, MOV, PUSH, POP, LDS/LES/LFS/LGS/LSS.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

/* Loading SS holds back interrupts, and debug traps too, until after the next instruction. Intel SDM vol.
 * 3, 6.8.3. */
static void shadow_after_ss(struct x86_cpu *cpu)
{
	cpu->intr_shadow = true;
	cpu->ss_shadow = cpu->debug_active;
}

/* SS decides the width of the stack: the mode may have changed. */
static void segment_loaded(struct x86_cpu *cpu, unsigned seg)
{
	if (seg == SEG_SS)
		shadow_after_ss(cpu);
	x86_mode_changed(cpu);
}

void x86_slow_mov_sreg(struct x86_cpu *cpu, const struct x86_insn *in)
{
	unsigned seg = in->reg & 7;
	uint16_t selector;

	if (seg == SEG_CS || seg > SEG_GS)
		x86_raise_ud(cpu);
	selector = x86_insn_is_mem(in) ? x86_ld16(cpu, in->seg, x86_insn_ea(cpu, in)) : cpu->r[in->rm];
	x86_segment_load(cpu, seg, selector);
	segment_loaded(cpu, seg);
}

void x86_slow_mov_from_sreg(struct x86_cpu *cpu, const struct x86_insn *in)
{
	unsigned seg = in->reg & 7;

	if (seg > SEG_GS)
		x86_raise_ud(cpu);
	if (x86_insn_is_mem(in))
		x86_st16(cpu, in->seg, x86_insn_ea(cpu, in), cpu->seg[seg].selector);
	else
		x86_gpr_set(cpu, in->rm, cpu->seg[seg].selector, in->opsize);
}

/* 06 0E 16 1E, 0F A0, 0F A8 and the pops beside them: the register is in bits 3-5. */
static unsigned opcode_segment(const struct x86_insn *in)
{
	return in->opcode >> 3 & 7;
}

void x86_slow_push_seg(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_stack stack = x86_stack_current(cpu);

	x86_stack_push(cpu, &stack, cpu->seg[opcode_segment(in)].selector, in->opsize);
	x86_stack_commit(cpu, &stack);
}

void x86_slow_pop_seg(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_stack stack = x86_stack_current(cpu);
	unsigned seg = opcode_segment(in);
	uint16_t selector = x86_stack_pop(cpu, &stack, in->opsize);

	x86_segment_load(cpu, seg, selector);
	x86_stack_commit(cpu, &stack);
	segment_loaded(cpu, seg);
}

static unsigned far_load_segment(const struct x86_insn *in)
{
	switch (in->opcode) {
	case 0xc4: return SEG_ES;
	case 0xc5: return SEG_DS;
	case 0xb2: return SEG_SS;
	case 0xb4: return SEG_FS;
	default: return SEG_GS;
	}
}

void x86_slow_lseg(struct x86_cpu *cpu, const struct x86_insn *in)
{
	unsigned seg = far_load_segment(in);
	unsigned size =
		in->opsize == 8 && !x86_vendor_is_intel(cpu) ? 4 : in->opsize; /* as far calls on AMD CPUs */
	uint64_t ea = x86_insn_ea(cpu, in);
	uint64_t offset = x86_ld(cpu, in->seg, ea, size);
	uint16_t selector = x86_ld16(cpu, in->seg, (ea + size) & x86_size_mask(in->addrsize));

	x86_segment_load(cpu, seg, selector);
	x86_gpr_set(cpu, in->reg, offset, size);
	segment_loaded(cpu, seg);
}
