/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Far jumps and calls: code segments, call gates with their stack switch, and the way to task switches.
 * Checks are made in the order of the manual's pseudo code and nothing changes before the last of them. Intel
 * SDM vol. 2, JMP and CALL; vol. 3, 5.8.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

/* A far pointer as the instruction gives it. */
struct far_pointer {
	uint16_t selector;
	uint64_t offset;
	unsigned size; /* of the offset, and of what a call pushes: 2, 4, 8 */
	bool call;
};

static uint64_t cut(uint64_t value, unsigned size_bytes)
{
	return value & x86_size_mask(size_bytes);
}

void x86_tss_stack(struct x86_cpu *cpu, unsigned cpl, uint32_t ext, struct x86_stack *stack,
		   struct x86_descriptor *ss)
{
	const struct x86_segment *tr = &cpu->seg[SEG_TR];
	bool tss32 = tr->attributes & 8;
	uint32_t at = tss32 ? 4 + 8 * cpl : 2 + 4 * cpl;
	uint32_t bytes = tss32 ? 6 : 4;
	uint16_t selector;

	if (at + bytes - 1 > tr->limit)
		x86_raise_code(cpu, VEC_TS, (tr->selector & 0xfffcu) | ext);
	*stack = (struct x86_stack){.sp = x86_sys_ld(cpu, (uint32_t)(tr->base + at), tss32 ? 4 : 2)};
	selector = x86_sys_ld(cpu, (uint32_t)(tr->base + at + (tss32 ? 4 : 2)), 2);
	if (x86_selector_is_null(selector))
		x86_raise_code(cpu, VEC_TS, ext);
	x86_stack_segment_check(cpu, selector, cpl, VEC_TS, ext, ss);
	stack->ss = x86_segment_from(selector, ss->raw);
}

/* The target lies in the code segment: within the limit, or canonical in 64-bit mode. */
static void check_offset(struct x86_cpu *cpu, const struct x86_descriptor *cs, uint64_t offset)
{
	bool bad = cpu->long_mode && x86_desc_long(cs->raw) ? !x86_is_canonical(cpu, offset)
							    : offset > x86_desc_limit(cs->raw);

	if (bad)
		x86_raise_gp(cpu);
}

/* Pushes the return address of a call to the same privilege. */
static void push_return(struct x86_cpu *cpu, struct x86_stack *stack, unsigned size, uint64_t return_rip)
{
	x86_stack_reserve(cpu, stack, 2 * size);
	x86_stack_push(cpu, stack, cpu->seg[SEG_CS].selector, size);
	x86_stack_push(cpu, stack, return_rip, size);
}

/* Enters a checked code segment at the present privilege. */
static void enter_same(struct x86_cpu *cpu, struct x86_descriptor *cs, const struct far_pointer *to,
		       uint64_t return_rip)
{
	struct x86_stack stack = x86_stack_current(cpu);

	/* A call from compatibility mode into a 64-bit segment checks its target as 64-bit mode does; the
	 * stack is old. */
	if (to->call)
		push_return(cpu, &stack, to->size, return_rip);
	check_offset(cpu, cs, to->offset);
	x86_descriptor_touch(cpu, cs);
	x86_stack_commit(cpu, &stack);
	x86_segment_load_cs(cpu, cs, cpu->cpl);
	cpu->rip = to->offset;
}

static void transfer_code(struct x86_cpu *cpu, struct x86_descriptor *cs, const struct far_pointer *to,
			  uint64_t return_rip)
{
	uint32_t error = to->selector & 0xfffc;
	unsigned dpl = x86_desc_dpl(cs->raw);
	bool allowed = x86_desc_is_conforming(cs->raw) ? dpl <= cpu->cpl
						       : dpl == cpu->cpl && (to->selector & 3) <= cpu->cpl;

	if (cpu->long_mode && x86_desc_long(cs->raw) && x86_desc_db(cs->raw))
		x86_raise_code(cpu, VEC_GP, error);
	if (!allowed)
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(cs->raw))
		x86_raise_code(cpu, VEC_NP, error);
	enter_same(cpu, cs, to, return_rip);
}

/* Up to 31 parameters are copied from the outer to the inner stack, oldest first. */
static void copy_parameters(struct x86_cpu *cpu, struct x86_stack *inner, unsigned count, unsigned size)
{
	struct x86_stack outer = x86_stack_current(cpu);
	uint64_t value[31];

	for (unsigned i = 0; i < count; i++)
		value[i] = x86_stack_pop(cpu, &outer, size);
	while (count--)
		x86_stack_push(cpu, inner, value[count], size);
}

static struct x86_stack gate_inner_stack(struct x86_cpu *cpu, unsigned cpl, struct x86_descriptor *ss)
{
	const struct x86_segment *tr = &cpu->seg[SEG_TR];
	struct x86_stack stack = {.flat = true};
	uint32_t at = 4 + 8 * cpl;

	if (!cpu->long_mode) {
		x86_tss_stack(cpu, cpl, 0, &stack, ss);
		stack.error = stack.ss.selector & 0xfffc;
		return stack;
	}
	if (at + 7 > tr->limit)
		x86_raise_code(cpu, VEC_TS, tr->selector & 0xfffcu);
	stack.sp = x86_sys_ld(cpu, tr->base + at, 8);
	if (!x86_is_canonical(cpu, stack.sp))
		x86_raise_code(cpu, VEC_SS, 0);
	return stack;
}

/* A call through a gate into an inner level. */
static void enter_inner(struct x86_cpu *cpu, struct x86_descriptor *cs, const struct far_pointer *to,
			unsigned params, uint64_t return_rip)
{
	unsigned cpl = x86_desc_dpl(cs->raw);
	struct x86_descriptor ss;
	struct x86_stack stack = gate_inner_stack(cpu, cpl, &ss);

	x86_stack_reserve(cpu, &stack, (4 + params) * to->size);
	check_offset(cpu, cs, to->offset);
	x86_stack_push(cpu, &stack, cpu->seg[SEG_SS].selector, to->size);
	x86_stack_push(cpu, &stack, cpu->r[REG_RSP], to->size);
	copy_parameters(cpu, &stack, params, to->size);
	x86_stack_push(cpu, &stack, cpu->seg[SEG_CS].selector, to->size);
	x86_stack_push(cpu, &stack, return_rip, to->size);
	x86_descriptor_touch(cpu, cs);
	if (cpu->long_mode) {
		x86_segment_load_null(cpu, SEG_SS, cpl);
	} else {
		x86_descriptor_touch(cpu, &ss);
		cpu->seg[SEG_SS] = x86_segment_from(ss.selector, ss.raw);
	}
	x86_stack_commit(cpu, &stack);
	x86_segment_load_cs(cpu, cs, cpl);
	cpu->rip = to->offset;
}

/* The code segment that a call gate names. */
static void gate_code_segment(struct x86_cpu *cpu, uint16_t selector, bool call, struct x86_descriptor *cs)
{
	uint32_t error = selector & 0xfffc;
	unsigned dpl;
	bool allowed;

	if (x86_selector_is_null(selector))
		x86_raise_gp(cpu);
	x86_descriptor_read_or(cpu, selector, cs, VEC_GP, 0);
	dpl = x86_desc_dpl(cs->raw);
	allowed = call || x86_desc_is_conforming(cs->raw) ? dpl <= cpu->cpl : dpl == cpu->cpl;
	if (!x86_desc_is_code(cs->raw) || !allowed)
		x86_raise_code(cpu, VEC_GP, error);
	if (cpu->long_mode && (!x86_desc_long(cs->raw) || x86_desc_db(cs->raw)))
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(cs->raw))
		x86_raise_code(cpu, VEC_NP, error);
}

static void transfer_call_gate(struct x86_cpu *cpu, const struct x86_descriptor *gate,
			       const struct far_pointer *from, uint64_t return_rip)
{
	uint64_t upper = cpu->long_mode ? x86_descriptor_read_upper(cpu, gate) : 0;
	bool gate32 = x86_desc_type(gate->raw) == X86_TYPE_CALL32;
	struct far_pointer to = {
		.selector = gate->raw >> 16 & 0xffff,
		.offset = (gate->raw & 0xffff) | (gate32 ? gate->raw >> 32 & 0xffff0000 : 0) | upper << 32,
		.size = cpu->long_mode ? 8
			: gate32       ? 4
				       : 2,
		.call = from->call,
	};
	struct x86_descriptor cs;

	gate_code_segment(cpu, to.selector, from->call, &cs);
	if (from->call && !x86_desc_is_conforming(cs.raw) && x86_desc_dpl(cs.raw) < cpu->cpl)
		enter_inner(cpu, &cs, &to, cpu->long_mode ? 0 : gate->raw >> 32 & 31, return_rip);
	else
		enter_same(cpu, &cs, &to, return_rip);
}

static void transfer_task(struct x86_cpu *cpu, uint16_t selector, bool call, uint64_t return_rip)
{
	x86_task_switch(cpu, &(struct x86_task_switch){.source = call ? X86_TASK_CALL : X86_TASK_JMP,
						       .selector = selector,
						       .return_rip = return_rip,
						       .flags = x86_eflags_get(cpu) & ~FLAG_RF});
}

/* Call gates, task gates and TSSs share the checks of privilege and presence. */
static void transfer_system(struct x86_cpu *cpu, const struct x86_descriptor *desc,
			    const struct far_pointer *to, uint64_t return_rip)
{
	uint32_t error = to->selector & 0xfffc;
	unsigned type = x86_desc_type(desc->raw), dpl = x86_desc_dpl(desc->raw);
	bool call_gate = type == X86_TYPE_CALL32 || (type == X86_TYPE_CALL16 && !cpu->long_mode);
	bool task_gate = type == X86_TYPE_TASK_GATE && !cpu->long_mode;
	bool tss = (type == X86_TYPE_TSS16 || type == X86_TYPE_TSS32) && !cpu->long_mode;

	if (!call_gate && !task_gate && !tss)
		x86_raise_code(cpu, VEC_GP, error);
	if (dpl < cpu->cpl || dpl < (to->selector & 3u))
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(desc->raw))
		x86_raise_code(cpu, VEC_NP, error);
	if (call_gate)
		transfer_call_gate(cpu, desc, to, return_rip);
	else
		transfer_task(cpu, tss ? to->selector : desc->raw >> 16 & 0xffff, to->call, return_rip);
}

static void transfer_real(struct x86_cpu *cpu, const struct far_pointer *to, uint64_t return_rip)
{
	struct x86_stack stack = x86_stack_current(cpu);

	if (to->call)
		push_return(cpu, &stack, to->size, return_rip);
	if (to->offset > cpu->seg[SEG_CS].limit)
		x86_raise_gp(cpu);
	x86_stack_commit(cpu, &stack);
	x86_segment_load_real(cpu, SEG_CS, to->selector);
	cpu->rip = to->offset;
	x86_mode_changed(cpu);
}

static void transfer(struct x86_cpu *cpu, const struct x86_insn *in, const struct far_pointer *to)
{
	struct x86_descriptor desc;
	uint64_t return_rip = x86_next_rip(cpu, in);

	if (!x86_is_protected(cpu)) {
		transfer_real(cpu, to, return_rip);
		return;
	}
	if (x86_selector_is_null(to->selector))
		x86_raise_gp(cpu);
	x86_descriptor_read_or(cpu, to->selector, &desc, VEC_GP, 0);
	if (x86_desc_is_code(desc.raw))
		transfer_code(cpu, &desc, to, return_rip);
	else if (x86_desc_is_system(desc.raw))
		transfer_system(cpu, &desc, to, return_rip);
	else
		x86_raise_code(cpu, VEC_GP, to->selector & 0xfffc);
}

static struct far_pointer pointer_direct(const struct x86_insn *in, bool call)
{
	return (struct far_pointer){
		.selector = in->imm2, .offset = cut(in->imm, in->opsize), .size = in->opsize, .call = call};
}

/* AMD CPUs know no m16:64: REX.W leaves the operand size at 32 bits. AMD APM vol. 3, CALL (Far). */
static struct far_pointer pointer_memory(struct x86_cpu *cpu, const struct x86_insn *in, bool call)
{
	unsigned size = in->opsize == 8 && !x86_vendor_is_intel(cpu) ? 4 : in->opsize;
	uint64_t ea = x86_insn_ea(cpu, in);

	return (struct far_pointer){
		.offset = x86_ld(cpu, in->seg, ea, size),
		.selector = x86_ld16(cpu, in->seg, cut(ea + size, in->addrsize)),
		.size = size,
		.call = call,
	};
}

void x86_slow_jmpf(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct far_pointer to = pointer_direct(in, false);

	transfer(cpu, in, &to);
}

void x86_slow_jmpf_mem(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct far_pointer to = pointer_memory(cpu, in, false);

	transfer(cpu, in, &to);
}

void x86_slow_callf(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct far_pointer to = pointer_direct(in, true);

	transfer(cpu, in, &to);
}

void x86_slow_callf_mem(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct far_pointer to = pointer_memory(cpu, in, true);

	transfer(cpu, in, &to);
}
