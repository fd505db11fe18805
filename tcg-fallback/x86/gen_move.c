/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of moves, conversions, stack and flag instructions, and of those that do nothing here. Intel
 * SDM vol. 2.
 */
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

static uint64_t read_operand(struct x86_cpu *cpu, const struct x86_insn *in, unsigned index)
{
	const struct gen_operand operand = gen_operand_find(cpu, in, index);

	return gen_read(cpu, &operand);
}

GEN(mov)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);

	gen_write(cpu, &dst, read_operand(cpu, in, 1));
}

GEN(movnti)
{
	x86_gen_mov(cpu, in);
}

GEN(movzx)
{
	x86_gen_mov(cpu, in);
}

GEN(movsx)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0), src = gen_operand_find(cpu, in, 1);

	gen_write(cpu, &dst, (uint64_t)gen_sign_extend(gen_read(cpu, &src), src.width));
}

/* With a 16-bit operand size MOVSXD moves sixteen bits. */
GEN(movsxd)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	/* Four bytes even when the operand size is two (AMD). */
	const struct gen_operand src = gen_operand_find(cpu, in, 1);

	gen_write(cpu, &dst, (uint64_t)gen_sign_extend(gen_read(cpu, &src), src.width));
}

GEN(lea)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);

	gen_write(cpu, &dst, x86_insn_ea(cpu, in));
}

/* The source is read, and a 32-bit destination zero-extended, whether the condition holds or not. */
GEN(cmovcc)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t value = read_operand(cpu, in, 1);

	gen_write(cpu, &dst, gen_condition(cpu, in->opcode & 15) ? value : gen_read(cpu, &dst));
}

GEN(setcc)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);

	gen_write(cpu, &dst, gen_condition(cpu, in->opcode & 15));
}

GEN(cbw)
{
	gen_register_set(cpu, REG_RAX, 2, (uint64_t)gen_sign_extend(cpu->r[REG_RAX], 1));
}

GEN(cwde)
{
	gen_register_set(cpu, REG_RAX, 4, (uint64_t)gen_sign_extend(cpu->r[REG_RAX], 2));
}

GEN(cdqe)
{
	cpu->r[REG_RAX] = (uint64_t)gen_sign_extend(cpu->r[REG_RAX], 4);
}

GEN(cwd)
{
	gen_register_set(cpu, REG_RDX, 2, cpu->r[REG_RAX] & 0x8000 ? UINT64_MAX : 0);
}

GEN(cdq)
{
	gen_register_set(cpu, REG_RDX, 4, cpu->r[REG_RAX] & 0x80000000 ? UINT64_MAX : 0);
}

GEN(cqo)
{
	cpu->r[REG_RDX] = (int64_t)cpu->r[REG_RAX] < 0 ? UINT64_MAX : 0;
}

GEN(xlat)
{
	const uint64_t offset = (cpu->r[REG_RBX] + (cpu->r[REG_RAX] & 0xff)) & gen_mask(in->addrsize);

	gen_register_set(cpu, REG_RAX, 1, x86_ld8(cpu, in->seg, offset));
}

GEN(bound)
{
	const uint64_t offset = x86_insn_ea(cpu, in);
	const unsigned width = in->opsize;
	const int64_t index = gen_sign_extend(gen_register_get(cpu, in->reg, width), width);
	const int64_t low = gen_sign_extend(x86_ld(cpu, in->seg, offset, width), width);
	const int64_t high = gen_sign_extend(
		x86_ld(cpu, in->seg, (offset + width) & gen_mask(in->addrsize), width), width);

	if (index < low || index > high)
		x86_raise(cpu, VEC_BR);
}

GEN(push)
{
	gen_push(cpu, in, read_operand(cpu, in, 0), in->opsize);
}

/* The address of a memory destination is computed with RSP already raised; RSP changes only when all went
 * well. */
GEN(pop)
{
	const uint64_t value = x86_ld(cpu, SEG_SS, gen_stack_pointer(cpu, in, 0), in->opsize);
	const uint64_t raised = gen_stack_pointer(cpu, in, in->opsize), old = cpu->r[REG_RSP];
	struct gen_operand dst;

	gen_stack_pointer_set(cpu, in, raised);
	dst = gen_operand_find(cpu, in, 0);
	cpu->r[REG_RSP] = old;
	if (dst.kind == GEN_MEM)
		gen_write(cpu, &dst, value);
	gen_stack_pointer_set(cpu, in, raised);
	if (dst.kind != GEN_MEM)
		gen_write(cpu, &dst, value);
}

/* PUSHA and POPA check their whole stretch before the first change. */
GEN(pusha)
{
	const uint64_t top = gen_stack_pointer(cpu, in, -8 * (int64_t)in->opsize);
	const uint64_t old = cpu->r[REG_RSP];

	for (unsigned i = 0; i < 8; i++)
		x86_probe_write(cpu, SEG_SS, gen_stack_pointer(cpu, in, -(int64_t)(i + 1) * in->opsize),
				in->opsize);
	for (unsigned i = 0; i < 8; i++)
		x86_st(cpu, SEG_SS, gen_stack_pointer(cpu, in, -(int64_t)(i + 1) * in->opsize),
		       (i == REG_RSP ? old : cpu->r[i]) & gen_mask(in->opsize), in->opsize);
	gen_stack_pointer_set(cpu, in, top);
}

GEN(popa)
{
	uint64_t value[8];

	for (unsigned i = 0; i < 8; i++)
		value[i] =
			x86_ld(cpu, SEG_SS, gen_stack_pointer(cpu, in, (int64_t)i * in->opsize), in->opsize);
	for (unsigned i = 0; i < 8; i++)
		if (7 - i != REG_RSP)
			gen_register_set(cpu, 7 - i, in->opsize, value[i]);
	gen_stack_pointer_set(cpu, in, gen_stack_pointer(cpu, in, 8 * (int64_t)in->opsize));
}

/* ENTER size, level: pushes rBP, copies level - 1 frame pointers, pushes the new one, reserves size bytes. */
GEN(enter)
{
	const unsigned width = in->opsize, level = in->imm2 & 31;
	const uint64_t frame = gen_stack_pointer(cpu, in, -(int64_t)width);
	int64_t down = -(int64_t)width;

	x86_st(cpu, SEG_SS, frame, gen_register_get(cpu, REG_RBP, width), width);
	for (unsigned i = 1; i < level; i++) {
		const uint64_t from = (cpu->r[REG_RBP] - i * width) & gen_mask(in->stacksize);
		const uint64_t value = x86_ld(cpu, SEG_SS, from, width);

		down -= width;
		x86_st(cpu, SEG_SS, gen_stack_pointer(cpu, in, down), value, width);
	}
	if (level) {
		down -= width;
		x86_st(cpu, SEG_SS, gen_stack_pointer(cpu, in, down), frame & gen_mask(width), width);
	}
	down -= (int64_t)(in->imm & 0xffff);
	x86_probe_write(cpu, SEG_SS, gen_stack_pointer(cpu, in, down), width);
	gen_stack_pointer_set(cpu, in, gen_stack_pointer(cpu, in, down));
	gen_register_set(cpu, REG_RBP, width, frame);
}

GEN(leave)
{
	const uint64_t frame = cpu->r[REG_RBP] & gen_mask(in->stacksize);
	const uint64_t value = x86_ld(cpu, SEG_SS, frame, in->opsize);

	gen_stack_pointer_set(cpu, in, frame + in->opsize);
	gen_register_set(cpu, REG_RBP, in->opsize, value);
}

#define FLAGS_OF_AH (FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF)

GEN(lahf)
{
	const uint64_t flags = (x86_eflags_get(cpu) & FLAGS_OF_AH) | FLAG_ONE;

	cpu->r[REG_RAX] = (cpu->r[REG_RAX] & ~0xff00ull) | flags << 8;
}

GEN(sahf)
{
	x86_eflags_set(cpu, cpu->r[REG_RAX] >> 8 & 0xff, FLAGS_OF_AH);
}

GEN(clc)
{
	x86_eflags_set(cpu, 0, FLAG_CF);
}

GEN(stc)
{
	x86_eflags_set(cpu, FLAG_CF, FLAG_CF);
}

GEN(cmc)
{
	x86_eflags_set(cpu, ~x86_eflags_get(cpu), FLAG_CF);
}

GEN(cld)
{
	x86_eflags_set(cpu, 0, FLAG_DF);
}

GEN(std)
{
	x86_eflags_set(cpu, FLAG_DF, FLAG_DF);
}

/* SALC (D6): AL becomes all copies of CF. */
GEN(salc)
{
	gen_register_set(cpu, REG_RAX, 1, x86_eflags_get(cpu) & FLAG_CF ? 0xff : 0);
}

GEN(nop)
{
}

GEN(pause)
{
}

/* Touches its address as a read of one byte; there is no cache to flush. */
GEN(clflush)
{
	x86_ld8(cpu, in->seg, x86_insn_ea(cpu, in));
}

GEN(lfence)
{
	atomic_thread_fence(memory_order_acquire);
}

GEN(sfence)
{
	atomic_thread_fence(memory_order_release);
}

GEN(mfence)
{
	atomic_thread_fence(memory_order_seq_cst);
}
