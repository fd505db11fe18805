/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes and pops on a stack that is described by value, so that a transfer can work on the new stack before
 * it becomes SS:RSP, and on the old one without touching RSP. Intel SDM vol. 1, 6.2; vol. 3, 5.8.5.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "tcg-fallback/x86/system.h"

static uint64_t stack_mask(const struct x86_stack *stack)
{
	if (stack->flat)
		return ~0ull;
	return stack->ss.attributes & SEG_ATTR_DB ? 0xffffffff : 0xffff;
}

/* 32-bit stack pointers clear the upper half of RSP, 16-bit ones keep everything above. */
static uint64_t stack_merge(const struct x86_stack *stack, uint64_t sp)
{
	uint64_t mask = stack_mask(stack);

	return mask == 0xffff ? (stack->sp & ~mask) | (sp & mask) : sp & mask;
}

/* Expand-down segments are valid above the limit, up to 0xffff or 0xffffffff by their B bit. */
static bool within_limit(const struct x86_segment *ss, uint64_t offset, unsigned bytes)
{
	uint64_t last = offset + bytes - 1;

	if ((ss->attributes & 0x1c) == 0x14)
		return offset > ss->limit && last <= (ss->attributes & SEG_ATTR_DB ? 0xffffffff : 0xffff);
	return last <= ss->limit;
}

static uint64_t stack_linear(struct x86_cpu *cpu, const struct x86_stack *stack, uint64_t offset,
			     unsigned bytes)
{
	if (stack->flat) {
		if (!x86_is_canonical(cpu, offset) || !x86_is_canonical(cpu, offset + bytes - 1))
			x86_raise_code(cpu, VEC_SS, stack->error);
		return offset;
	}
	if (!stack->ss.usable || !within_limit(&stack->ss, offset, bytes))
		x86_raise_code(cpu, VEC_SS, stack->error);
	return (uint32_t)(stack->ss.base + offset);
}

/* Alignment is checked for a user's stack alone. */
static void stack_align(struct x86_cpu *cpu, const struct x86_stack *stack, uint64_t linear, unsigned bytes)
{
	bool checks = stack->user && cpu->cpl == 3 && (cpu->eflags & FLAG_AC) && (cpu->cr0 & CR0_AM);

	if (checks && (linear & (bytes - 1)))
		x86_raise_code(cpu, VEC_AC, 0);
}

struct x86_stack x86_stack_current(const struct x86_cpu *cpu)
{
	return (struct x86_stack){
		.ss = cpu->seg[SEG_SS],
		.sp = cpu->r[REG_RSP],
		.flat = x86_is_64bit(cpu),
		.user = cpu->cpl == 3,
	};
}

void x86_stack_push(struct x86_cpu *cpu, struct x86_stack *stack, uint64_t value, unsigned size_bytes)
{
	uint64_t sp = (stack->sp - size_bytes) & stack_mask(stack);

	uint64_t linear = stack_linear(cpu, stack, sp, size_bytes);

	stack_align(cpu, stack, linear, size_bytes);
	x86_priv_st(cpu, linear, value, size_bytes, stack->user);
	stack->sp = stack_merge(stack, sp);
}

uint64_t x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *stack, unsigned size_bytes)
{
	uint64_t sp = stack->sp & stack_mask(stack);
	uint64_t linear = stack_linear(cpu, stack, sp, size_bytes), value;

	stack_align(cpu, stack, linear, size_bytes);
	value = x86_priv_ld(cpu, linear, size_bytes, stack->user);
	stack->sp = stack_merge(stack, sp + size_bytes);
	return value;
}

void x86_stack_reserve(struct x86_cpu *cpu, const struct x86_stack *stack, unsigned bytes)
{
	uint64_t mask = stack_mask(stack);

	for (unsigned below = 2; below <= bytes; below += 2)
		stack_linear(cpu, stack, (stack->sp - below) & mask, 2);
}

void x86_stack_release(struct x86_stack *stack, uint64_t bytes)
{
	stack->sp = stack_merge(stack, stack->sp + bytes);
}

void x86_stack_commit(struct x86_cpu *cpu, const struct x86_stack *stack)
{
	cpu->r[REG_RSP] = stack->sp;
}
