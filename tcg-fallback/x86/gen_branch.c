/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of near jumps, calls and returns: the target is cut to the operand size and checked (limit of
 * CS, canonical in 64-bit mode) before anything changes. Intel SDM vol. 2, CALL, JMP, RET, Jcc, LOOP.
 */
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

static uint64_t next_rip(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	return cpu->rip + in->len;
}

static bool is_canonical(const struct x86_cpu *cpu, uint64_t address)
{
	const unsigned shift = cpu->cr4 & CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(address << shift) >> shift) == address;
}

static uint64_t checked_target(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t target)
{
	target &= gen_mask(in->opsize);
	if (cpu->mode_bits == 64) {
		if (!is_canonical(cpu, target))
			x86_raise_gp(cpu);
		return target;
	}
	if (target > cpu->seg[SEG_CS].limit)
		x86_raise_gp(cpu);
	return target;
}

/* RIP after an instruction that does not jump. Outside 64-bit mode it has 32 bits. */
static uint64_t fall_through(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	return cpu->mode_bits == 64 ? next_rip(cpu, in) : (uint32_t)next_rip(cpu, in);
}

static void jump_if(struct x86_cpu *cpu, const struct x86_insn *in, bool taken)
{
	cpu->rip = taken ? checked_target(cpu, in, next_rip(cpu, in) + in->imm) : fall_through(cpu, in);
}

GEN(jcc)
{
	jump_if(cpu, in, gen_condition(cpu, in->opcode & 15));
}

GEN(jmp)
{
	jump_if(cpu, in, true);
}

GEN(jmp_ind)
{
	const struct gen_operand target = gen_operand_find(cpu, in, 0);

	cpu->rip = checked_target(cpu, in, gen_read(cpu, &target));
}

/* Faults of the push come before that of the target, which comes before anything is written. */
static void call_to(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t target)
{
	x86_probe_write(cpu, SEG_SS, gen_stack_pointer(cpu, in, -(int64_t)in->opsize), in->opsize);
	target = checked_target(cpu, in, target);
	gen_push(cpu, in, fall_through(cpu, in), in->opsize);
	cpu->rip = target;
}

GEN(call)
{
	call_to(cpu, in, next_rip(cpu, in) + in->imm);
}

GEN(call_ind)
{
	const struct gen_operand target = gen_operand_find(cpu, in, 0);

	call_to(cpu, in, gen_read(cpu, &target));
}

/* RET Iw releases that many bytes more; the immediate is zero in the plain form. */
GEN(ret)
{
	const uint64_t target = x86_ld(cpu, SEG_SS, gen_stack_pointer(cpu, in, 0), in->opsize);
	const uint64_t raised = gen_stack_pointer(cpu, in, in->opsize + (int64_t)(in->imm & 0xffff));

	cpu->rip = checked_target(cpu, in, target);
	gen_stack_pointer_set(cpu, in, raised);
}

/* LOOPcc count in rCX at the address size; the flags are not touched. */
static void loop_while(struct x86_cpu *cpu, const struct x86_insn *in, bool condition)
{
	const uint64_t count = (cpu->r[REG_RCX] - 1) & gen_mask(in->addrsize);
	const bool taken = count && condition;
	const uint64_t target =
		taken ? checked_target(cpu, in, next_rip(cpu, in) + in->imm) : fall_through(cpu, in);

	gen_register_set(cpu, REG_RCX, in->addrsize, count);
	cpu->rip = target;
}

GEN(loop)
{
	loop_while(cpu, in, true);
}

GEN(loope)
{
	loop_while(cpu, in, x86_eflags_get(cpu) & FLAG_ZF);
}

GEN(loopne)
{
	loop_while(cpu, in, !(x86_eflags_get(cpu) & FLAG_ZF));
}

GEN(jcxz)
{
	jump_if(cpu, in, !gen_register_get(cpu, REG_RCX, in->addrsize));
}
