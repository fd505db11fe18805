/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Far returns: RETF and IRET in every mode, to the same or an outer level, to virtual-8086 mode, and the way
 * to the task return. Intel SDM vol. 2, RET and IRET/IRETD/IRETQ; vol. 3, 20.2.1 and 20.3.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

#define FLAGS_IRET (FLAGS_STATUS | FLAG_TF | FLAG_DF | FLAG_NT)

/* What a return takes from the stack. */
struct return_frame {
	uint64_t rip, flags, rsp;
	uint16_t cs, ss;
};

/* The code segment returned to. */
static void check_code_segment(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *cs)
{
	uint32_t error = selector & 0xfffc;
	unsigned rpl = selector & 3, dpl;

	if (x86_selector_is_null(selector))
		x86_raise_gp(cpu);
	x86_descriptor_read_or(cpu, selector, cs, VEC_GP, 0);
	dpl = x86_desc_dpl(cs->raw);
	if (!x86_desc_is_code(cs->raw) || rpl < cpu->cpl)
		x86_raise_code(cpu, VEC_GP, error);
	if (cpu->long_mode && x86_desc_long(cs->raw) && x86_desc_db(cs->raw))
		x86_raise_code(cpu, VEC_GP, error);
	if (x86_desc_is_conforming(cs->raw) ? dpl > rpl : dpl != rpl)
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(cs->raw))
		x86_raise_code(cpu, VEC_NP, error);
}

static bool returns_to_64bit(const struct x86_cpu *cpu, const struct x86_descriptor *cs)
{
	return cpu->long_mode && x86_desc_long(cs->raw);
}

static void check_offset(struct x86_cpu *cpu, const struct x86_descriptor *cs, uint64_t rip)
{
	if (returns_to_64bit(cpu, cs) ? !x86_is_canonical(cpu, rip) : rip > x86_desc_limit(cs->raw))
		x86_raise_gp(cpu);
}

/* The stack segment of the level returned to; true: it is null, as 64-bit code below CPL 3 may have it. */
static bool check_outer_stack(struct x86_cpu *cpu, const struct x86_descriptor *cs, uint16_t selector,
			      struct x86_descriptor *ss)
{
	unsigned cpl = cs->selector & 3;

	if (x86_selector_is_null(selector)) {
		if (!returns_to_64bit(cpu, cs) || cpl == 3 || (selector & 3u) != cpl)
			x86_raise_gp(cpu);
		return true;
	}
	x86_stack_segment_check(cpu, selector, cpl, VEC_GP, 0, ss);
	return false;
}

/* A 16-bit stack takes SP only: the rest of RSP stays what it was inside. */
static void load_outer_stack(struct x86_cpu *cpu, uint16_t selector, uint64_t rsp, bool null_ss,
			     struct x86_descriptor *ss, bool code64)
{
	if (null_ss) {
		x86_segment_load_null(cpu, SEG_SS, selector);
		cpu->r[REG_RSP] = rsp;
		return;
	}
	cpu->seg[SEG_SS] = x86_segment_from(selector, ss->raw);
	if (code64)
		cpu->r[REG_RSP] = rsp;
	else
		x86_gpr_set(cpu, REG_RSP, rsp, x86_desc_db(ss->raw) ? 4 : 2);
}

static void return_same(struct x86_cpu *cpu, struct x86_descriptor *cs, const struct x86_stack *stack,
			uint64_t rip)
{
	check_offset(cpu, cs, rip);
	x86_descriptor_touch(cpu, cs);
	x86_stack_commit(cpu, stack);
	x86_segment_load_cs(cpu, cs, cpu->cpl);
	cpu->rip = rip;
}

static void return_outer(struct x86_cpu *cpu, struct x86_descriptor *cs, const struct return_frame *frame,
			 unsigned release)
{
	struct x86_descriptor ss;
	struct x86_stack outer;
	bool code64 = returns_to_64bit(cpu, cs);
	bool null_ss = check_outer_stack(cpu, cs, frame->ss, &ss);

	check_offset(cpu, cs, frame->rip);
	x86_descriptor_touch(cpu, cs);
	if (!null_ss)
		x86_descriptor_touch(cpu, &ss);
	load_outer_stack(cpu, frame->ss, frame->rsp, null_ss, &ss, code64);
	x86_segment_load_cs(cpu, cs, cs->selector & 3);
	outer = x86_stack_current(cpu);
	x86_stack_release(&outer, release);
	x86_stack_commit(cpu, &outer);
	x86_segments_drop_inner(cpu);
	cpu->rip = frame->rip;
}

static void retf_real(struct x86_cpu *cpu, unsigned size, unsigned release)
{
	struct x86_stack stack = x86_stack_current(cpu);
	uint64_t rip = x86_stack_pop(cpu, &stack, size);
	uint16_t selector = x86_stack_pop(cpu, &stack, size);

	if (rip > cpu->seg[SEG_CS].limit)
		x86_raise_gp(cpu);
	x86_stack_release(&stack, release);
	x86_stack_commit(cpu, &stack);
	x86_segment_load_real(cpu, SEG_CS, selector);
	cpu->rip = rip;
	x86_mode_changed(cpu);
}

static void retf(struct x86_cpu *cpu, unsigned size, unsigned release)
{
	struct x86_stack stack = x86_stack_current(cpu);
	struct return_frame frame;
	struct x86_descriptor cs;

	if (!x86_is_protected(cpu)) {
		retf_real(cpu, size, release);
		return;
	}
	frame.rip = x86_stack_pop(cpu, &stack, size);
	frame.cs = x86_stack_pop(cpu, &stack, size);
	check_code_segment(cpu, frame.cs, &cs);
	x86_stack_release(&stack, release);
	if ((frame.cs & 3) == cpu->cpl) {
		return_same(cpu, &cs, &stack, frame.rip);
		return;
	}
	frame.rsp = x86_stack_pop(cpu, &stack, size);
	frame.ss = x86_stack_pop(cpu, &stack, size);
	return_outer(cpu, &cs, &frame, release);
}

void x86_slow_retf(struct x86_cpu *cpu, const struct x86_insn *in)
{
	retf(cpu, in->opsize, 0);
}

void x86_slow_retf_imm(struct x86_cpu *cpu, const struct x86_insn *in)
{
	retf(cpu, in->opsize, in->imm & 0xffff);
}

/* Loads flags; RF set by the image lasts through the next instruction. */
static void load_flags(struct x86_cpu *cpu, uint32_t image, uint32_t mask)
{
	x86_eflags_set(cpu, image, mask);
	if (mask & image & FLAG_RF) {
		cpu->rf_loaded = true;
		x86_mode_changed(cpu);
	}
}

static void iret_real(struct x86_cpu *cpu, unsigned size, uint32_t mask)
{
	struct x86_stack stack = x86_stack_current(cpu);
	uint64_t rip = x86_stack_pop(cpu, &stack, size);
	uint16_t selector = x86_stack_pop(cpu, &stack, size);
	uint32_t image = x86_stack_pop(cpu, &stack, size);

	if (rip > cpu->seg[SEG_CS].limit)
		x86_raise_gp(cpu);
	if (size == 4)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	x86_stack_commit(cpu, &stack);
	x86_segment_load_real(cpu, SEG_CS, selector);
	cpu->rip = rip;
	load_flags(cpu, image, mask);
	x86_mode_changed(cpu);
}

/* IRET with VME and IOPL < 3: IF goes to VIF; #GP when that would have to let an interrupt in. */
static void iret_vme(struct x86_cpu *cpu)
{
	struct x86_stack stack = x86_stack_current(cpu);
	uint64_t rip = x86_stack_pop(cpu, &stack, 2);
	uint16_t selector = x86_stack_pop(cpu, &stack, 2);
	uint32_t image = x86_stack_pop(cpu, &stack, 2);

	if ((image & FLAG_TF) || ((image & FLAG_IF) && (cpu->eflags & FLAG_VIP)))
		x86_raise_gp(cpu);
	if (image & FLAG_IF)
		image |= FLAG_VIF;
	x86_stack_commit(cpu, &stack);
	x86_segment_load_real(cpu, SEG_CS, selector);
	cpu->rip = rip;
	load_flags(cpu, image, FLAGS_IRET | FLAG_VIF);
	x86_mode_changed(cpu);
}

static void iret_v86(struct x86_cpu *cpu, unsigned size)
{
	if (x86_iopl(cpu) == 3)
		iret_real(cpu, size, FLAGS_IRET | FLAG_IF);
	else if ((cpu->cr4 & CR4_VME) && size == 2)
		iret_vme(cpu);
	else
		x86_raise_gp(cpu);
}

/* From CPL 0 into virtual-8086 mode: six more words, no checks but the limit of IP. */
static void iret_to_v86(struct x86_cpu *cpu, struct x86_stack *stack, const struct return_frame *frame)
{
	uint64_t rsp = x86_stack_pop(cpu, stack, 4);
	uint16_t selector[6];

	selector[SEG_CS] = frame->cs;
	selector[SEG_SS] = x86_stack_pop(cpu, stack, 4);
	selector[SEG_ES] = x86_stack_pop(cpu, stack, 4);
	selector[SEG_DS] = x86_stack_pop(cpu, stack, 4);
	selector[SEG_FS] = x86_stack_pop(cpu, stack, 4);
	selector[SEG_GS] = x86_stack_pop(cpu, stack, 4);
	if (frame->rip > 0xffff)
		x86_raise_gp(cpu);
	x86_segments_load_v86(cpu, selector);
	cpu->r[REG_RSP] = (uint32_t)rsp;
	cpu->rip = frame->rip;
	cpu->cpl = 3;
	load_flags(cpu, frame->flags, X86_FLAGS_ALL);
	x86_mode_changed(cpu);
}

/* The flags that an image of `size` bytes may change at the CPL of the IRET. */
static uint32_t iret_flags_mask(const struct x86_cpu *cpu, unsigned size)
{
	uint32_t mask = FLAGS_IRET;

	if (size != 2)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	if (cpu->cpl <= x86_iopl(cpu))
		mask |= FLAG_IF;
	if (cpu->cpl == 0) {
		mask |= FLAG_IOPL;
		if (size != 2)
			mask |= FLAG_VIF | FLAG_VIP;
	}
	return mask;
}

static void iret_protected(struct x86_cpu *cpu, unsigned size)
{
	struct x86_stack stack = x86_stack_current(cpu);
	uint32_t mask = iret_flags_mask(cpu, size);
	struct return_frame frame;
	struct x86_descriptor cs;
	bool outer;

	frame.rip = x86_stack_pop(cpu, &stack, size);
	frame.cs = x86_stack_pop(cpu, &stack, size);
	frame.flags = x86_stack_pop(cpu, &stack, size);
	if ((frame.flags & FLAG_VM) && size == 4 && cpu->cpl == 0 && !cpu->long_mode) {
		iret_to_v86(cpu, &stack, &frame);
		return;
	}
	check_code_segment(cpu, frame.cs, &cs);
	outer = (frame.cs & 3) != cpu->cpl;
	if (outer || x86_is_64bit(cpu)) {
		frame.rsp = x86_stack_pop(cpu, &stack, size);
		frame.ss = x86_stack_pop(cpu, &stack, size);
		return_outer(cpu, &cs, &frame, 0);
	} else {
		return_same(cpu, &cs, &stack, frame.rip);
	}
	load_flags(cpu, frame.flags, mask);
}

void x86_slow_iret(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (x86_is_v86(cpu))
		iret_v86(cpu, in->opsize);
	else if (x86_is_real(cpu))
		iret_real(cpu, in->opsize, FLAGS_IRET | FLAG_IF | FLAG_IOPL);
	else if (!(cpu->eflags & FLAG_NT))
		iret_protected(cpu, in->opsize);
	else if (cpu->long_mode)
		x86_raise_gp(cpu);
	else
		x86_task_return(cpu, x86_next_rip(cpu, in));
	cpu->nmi_masked = false;
}
