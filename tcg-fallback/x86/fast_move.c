/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers that move data: MOV, MOVZX, MOVSX, MOVSXD, LEA, PUSH, POP, LEAVE, XCHG between registers,
 * sign extension.
 */
#include "tcg-fallback/core/code.h"
#include "tcg-fallback/x86/fast.h"

#define MOVE_MEMORY(EA, S, _)                                                                                \
	HANDLER(mov_rm_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP(p, S, EA, read)                                                                       \
		WR_##S(op->dst, LD(S, p));                                                                   \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(mov_mr_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ST(S, p, RD_##S(op->src));                                                                   \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(mov_mi_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ST(S, p, (uint##S##_t)op->imm);                                                              \
		OP_NEXT(cpu, op);                                                                            \
	}
#define MOVE_WIDTH(S, _)                                                                                     \
	HANDLER(mov_rr_##S)                                                                                  \
	{                                                                                                    \
		WR_##S(op->dst, RD_##S(op->src));                                                            \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(mov_ri_##S)                                                                                  \
	{                                                                                                    \
		WR_##S(op->dst, (uint##S##_t)op->imm);                                                       \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	FOR_EA(MOVE_MEMORY, S, _)
FOR_BITS(MOVE_WIDTH, _)

struct move_row {
	x86_op_fn *rr, *ri, *rm[EA_KINDS], *mr[EA_KINDS], *mi[EA_KINDS];
};
#define MOVE_FORM(EA, S, form_) [EA_##EA] = mov_##form_##_##EA##_##S,
#define MOVE_ROW(S, _)                                                                                       \
	[LOG_##S] = {mov_rr_##S,                                                                             \
		     mov_ri_##S,                                                                             \
		     {FOR_EA(MOVE_FORM, S, rm)},                                                             \
		     {FOR_EA(MOVE_FORM, S, mr)},                                                             \
		     {FOR_EA(MOVE_FORM, S, mi)}},
static const struct move_row move_rows[4] = {FOR_BITS(MOVE_ROW, _)};

static bool lower_mov(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;
	const struct move_row *row = &move_rows[size_log2(in->opsize)];
	bool immediate = in->opcode >= 0xb0, to_rm = !(in->opcode & 2);
	enum x86_ea ea;

	op->imm = fast_immediate(in);
	if (!in->has_modrm) { /* B0-BF; A0-A3 are rare */
		if (!immediate)
			return false;
		op->dst = fast_register(in, (in->opcode & 7u) | (in->rex & 1u) << 3);
		op->fn = row->ri;
		return true;
	}
	if (in->mod != 3) {
		ea = x86_lower_ea(l, op);
		if (ea == EA_NONE)
			return false;
		op->dst = op->src = fast_register(in, in->reg);
		op->fn = immediate ? row->mi[ea] : to_rm ? row->mr[ea] : row->rm[ea];
		return true;
	}
	op->dst = fast_register(in, immediate || to_rm ? in->rm : in->reg);
	op->src = fast_register(in, to_rm ? in->reg : in->rm);
	op->fn = immediate ? row->ri : row->rr;
	return true;
}

/* Widening: from F bits (type T when signed) to 32 or 64. Byte sources are byte offsets, destinations
 * numbers. */
#define WIDEN_MEMORY(EA, name_, F, S, T)                                                                     \
	HANDLER(name_##_rm_##EA##_##S)                                                                       \
	{                                                                                                    \
		LOOKUP(p, F, EA, read)                                                                       \
		WR_##S(op->dst, (uint##S##_t)(T)LD(F, p));                                                   \
		OP_NEXT(cpu, op);                                                                            \
	}
#define WIDEN(name_, F, S, T)                                                                                \
	HANDLER(name_##_rr_##S)                                                                              \
	{                                                                                                    \
		WR_##S(op->dst, (uint##S##_t)(T)RD_##F(op->src));                                            \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	FOR_EA(WIDEN_MEMORY, name_, F, S, T)
WIDEN(movzx8, 8, 32, uint8_t)
WIDEN(movzx16, 16, 32, uint16_t)
WIDEN(movsx8, 8, 32, int8_t)
WIDEN(movsx8, 8, 64, int8_t)
WIDEN(movsx16, 16, 32, int16_t)
WIDEN(movsx16, 16, 64, int16_t)
WIDEN(movsx32, 32, 64, int32_t)

struct widen_row {
	x86_op_fn *rr, *rm[EA_KINDS];
};
#define WIDEN_FORM(EA, name_, S) [EA_##EA] = name_##_rm_##EA##_##S,
#define WIDEN_ROW(name_, S)                                                                                  \
	{                                                                                                    \
		name_##_rr_##S,                                                                              \
		{                                                                                            \
			FOR_EA(WIDEN_FORM, name_, S)                                                         \
		}                                                                                            \
	}
/* [signed][16-bit source][64-bit result]; a zero-extended 64-bit result is that of 32 bits. */
static const struct widen_row widen_rows[2][2][2] = {
	{{WIDEN_ROW(movzx8, 32), WIDEN_ROW(movzx8, 32)}, {WIDEN_ROW(movzx16, 32), WIDEN_ROW(movzx16, 32)}},
	{{WIDEN_ROW(movsx8, 32), WIDEN_ROW(movsx8, 64)}, {WIDEN_ROW(movsx16, 32), WIDEN_ROW(movsx16, 64)}},
};
static const struct widen_row widen_movsxd = WIDEN_ROW(movsx32, 64);

static bool lower_widen(struct x86_lowering *l, struct x86_op *op, const struct widen_row *row,
			bool from_byte)
{
	const struct x86_insn *in = l->in;
	enum x86_ea ea;

	op->dst = in->reg;
	if (in->mod == 3) {
		op->src = from_byte ? byte_register(in, in->rm) : in->rm;
		op->fn = row->rr;
		return true;
	}
	ea = x86_lower_ea(l, op);
	if (ea == EA_NONE)
		return false;
	op->fn = row->rm[ea];
	return true;
}

static bool lower_extension(struct x86_lowering *l, struct x86_op *op, bool is_signed)
{
	const struct x86_insn *in = l->in;

	if (in->opsize < 4)
		return false;
	return lower_widen(l, op, &widen_rows[is_signed][in->opcode & 1][in->opsize == 8], !(in->opcode & 1));
}

HANDLER(lea_bd_64)
{
	cpu->r[op->dst] = ADDRESS_BD(cpu, op);
	OP_NEXT(cpu, op);
}

HANDLER(lea_bis_64)
{
	cpu->r[op->dst] = ADDRESS_BIS(cpu, op);
	OP_NEXT(cpu, op);
}

HANDLER(lea_32)
{
	cpu->r[op->dst] = ADDRESS_32(cpu, op);
	OP_NEXT(cpu, op);
}

static bool lower_lea(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;
	enum x86_ea ea = x86_lower_ea(l, op);

	if (ea == EA_NONE || in->opsize < 4)
		return false;
	op->dst = in->reg;
	op->fn = in->opsize == 4 ? lea_32 : op->index == REG_ZERO ? lea_bd_64 : lea_bis_64;
	return true;
}

/* The stack, 64 bits wide in 64-bit mode, 32 bits wide in 32-bit mode with a flat, wide stack segment. */
#define STACK_GUARD_64
#define STACK_GUARD_32                                                                                       \
	if (UNLIKELY(!(cpu->flat_segments >> SEG_SS & 1)))                                                   \
		OP_TAIL(op_miss_general, cpu, op);
#define STACK(S, _)                                                                                          \
	HANDLER(push_r_##S)                                                                                  \
	{                                                                                                    \
		STACK_GUARD_##S const uint##S##_t to = (uint##S##_t)(cpu->r[REG_RSP] - S / 8);               \
		LOOKUP_AT(p, S, to, write)                                                                   \
		ST(S, p, RD_##S(op->src));                                                                   \
		cpu->r[REG_RSP] = to;                                                                        \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(push_i_##S)                                                                                  \
	{                                                                                                    \
		STACK_GUARD_##S const uint##S##_t to = (uint##S##_t)(cpu->r[REG_RSP] - S / 8);               \
		LOOKUP_AT(p, S, to, write)                                                                   \
		ST(S, p, (uint##S##_t)op->imm);                                                              \
		cpu->r[REG_RSP] = to;                                                                        \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(pop_r_##S)                                                                                   \
	{                                                                                                    \
		STACK_GUARD_##S const uint##S##_t from = RD_##S(REG_RSP);                                    \
		LOOKUP_AT(p, S, from, read)                                                                  \
		cpu->r[REG_RSP] = (uint##S##_t)(from + S / 8);                                               \
		cpu->r[op->dst] = LD(S, p);                                                                  \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(leave_##S)                                                                                   \
	{                                                                                                    \
		STACK_GUARD_##S const uint##S##_t from = RD_##S(REG_RBP);                                    \
		LOOKUP_AT(p, S, from, read)                                                                  \
		cpu->r[REG_RSP] = (uint##S##_t)(from + S / 8);                                               \
		cpu->r[REG_RBP] = LD(S, p);                                                                  \
		OP_NEXT(cpu, op);                                                                            \
	}
STACK(32, _)
STACK(64, _)

/* Is the operand as wide as a stack pointer that the handlers know? */
static bool stack_is_plain(const struct x86_lowering *l)
{
	if (lowering_is64(l))
		return l->in->opsize == 8;
	return l->in->opsize == 4 && l->in->stacksize == 4;
}

static bool lower_push(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;
	bool is64 = lowering_is64(l);

	if (!stack_is_plain(l) || (in->has_modrm && in->mod != 3))
		return false;
	op->imm = fast_immediate(in);
	op->src = in->has_modrm ? in->rm : (uint8_t)((in->opcode & 7u) | (in->rex & 1u) << 3);
	if (!in->has_modrm && in->opcode >= 0x68)
		op->fn = is64 ? push_i_64 : push_i_32;
	else
		op->fn = is64 ? push_r_64 : push_r_32;
	return true;
}

static bool lower_pop(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;

	if (!stack_is_plain(l) || (in->has_modrm && in->mod != 3))
		return false;
	op->dst = in->has_modrm ? in->rm : (uint8_t)((in->opcode & 7u) | (in->rex & 1u) << 3);
	op->fn = lowering_is64(l) ? pop_r_64 : pop_r_32;
	return true;
}

static bool lower_leave(struct x86_lowering *l, struct x86_op *op)
{
	if (!stack_is_plain(l))
		return false;
	op->fn = lowering_is64(l) ? leave_64 : leave_32;
	return true;
}

#define EXCHANGE(S, _)                                                                                       \
	HANDLER(xchg_rr_##S)                                                                                 \
	{                                                                                                    \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		const uint##S##_t b = RD_##S(op->src);                                                       \
		WR_##S(op->dst, b);                                                                          \
		WR_##S(op->src, a);                                                                          \
		OP_NEXT(cpu, op);                                                                            \
	}
FOR_BITS(EXCHANGE, _)

static bool lower_xchg(struct x86_lowering *l, struct x86_op *op)
{
	static x86_op_fn *const handler[4] = {xchg_rr_8, xchg_rr_16, xchg_rr_32, xchg_rr_64};
	const struct x86_insn *in = l->in;

	if (in->has_modrm && in->mod != 3)
		return false;
	op->dst = fast_register(in, in->has_modrm ? in->rm : (in->opcode & 7u) | (in->rex & 1u) << 3);
	op->src = fast_register(in, in->has_modrm ? in->reg : REG_RAX);
	op->fn = handler[size_log2(in->opsize)];
	return true;
}

HANDLER(cdqe)
{
	cpu->r[REG_RAX] = (uint64_t)(int64_t)(int32_t)cpu->r[REG_RAX];
	OP_NEXT(cpu, op);
}

HANDLER(cwde)
{
	cpu->r[REG_RAX] = (uint32_t)(int16_t)cpu->r[REG_RAX];
	OP_NEXT(cpu, op);
}

HANDLER(cdq)
{
	cpu->r[REG_RDX] = (uint32_t)((int32_t)cpu->r[REG_RAX] >> 31);
	OP_NEXT(cpu, op);
}

HANDLER(cqo)
{
	cpu->r[REG_RDX] = (uint64_t)((int64_t)cpu->r[REG_RAX] >> 63);
	OP_NEXT(cpu, op);
}

HANDLER(nothing)
{
	OP_NEXT(cpu, op);
}

static bool lower_plain(struct x86_op *op, x86_op_fn *fn)
{
	op->fn = fn;
	return true;
}

bool x86_lower_move(struct x86_lowering *l, struct x86_op *op)
{
	switch (x86_rows[l->in->row].fast) {
	case X86_FAST_MOV: return lower_mov(l, op);
	case X86_FAST_MOVZX: return lower_extension(l, op, false);
	case X86_FAST_MOVSX: return lower_extension(l, op, true);
	case X86_FAST_MOVSXD: return l->in->opsize == 8 && lower_widen(l, op, &widen_movsxd, false);
	case X86_FAST_LEA: return lower_lea(l, op);
	case X86_FAST_PUSH: return lower_push(l, op);
	case X86_FAST_POP: return lower_pop(l, op);
	case X86_FAST_LEAVE: return lower_leave(l, op);
	case X86_FAST_XCHG: return lower_xchg(l, op);
	case X86_FAST_CDQE: return lower_plain(op, cdqe);
	case X86_FAST_CWDE: return lower_plain(op, cwde);
	case X86_FAST_CDQ: return lower_plain(op, cdq);
	case X86_FAST_CQO: return lower_plain(op, cqo);
	case X86_FAST_NOP: return lower_plain(op, nothing);
	default: return false;
	}
}
