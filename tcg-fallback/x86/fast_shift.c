/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers of shifts and rotates of registers, of multiplication, and of bit tests. OF for counts above
 * one is undefined; it is computed as for one, like the general forms do.
 */
#include "tcg-fallback/x86/fast.h"

/* a shifted by n, 1 <= n <= width: r, cf and of. */
#define SHIFT_SHL(S)                                                                                         \
	const uint##S##_t r = (uint##S##_t)((uint64_t)a << n % 64);                                          \
	const unsigned cf = a >> (S - n) & 1;                                                                \
	const unsigned of = (r >> (S - 1)) ^ cf
#define SHIFT_SHR(S)                                                                                         \
	const uint##S##_t r = (uint##S##_t)((uint64_t)a >> n);                                               \
	const unsigned cf = a >> (n - 1) & 1;                                                                \
	const unsigned of = ((uint##S##_t)(r << 1) ^ r) >> (S - 1)
#define SHIFT_SAR(S)                                                                                         \
	const uint##S##_t r = (uint##S##_t)((int64_t)(int##S##_t)a >> n);                                    \
	const unsigned cf = (unsigned)((int64_t)(int##S##_t)a >> (n - 1)) & 1;                               \
	const unsigned of = 0

#define SHIFT(S, N)                                                                                          \
	HANDLER(N##_i_##S)                                                                                   \
	{                                                                                                    \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		const unsigned n = op->aux;                                                                  \
		SHIFT_##N(S);                                                                                \
		WR_##S(op->dst, r);                                                                          \
		cc_set(cpu, CC_OP(CC_RESULT, LOG_##S), r, cf | of << 1);                                     \
		OP_NEXT(cpu, op);                                                                            \
	}
FOR_BITS(SHIFT, SHL)
FOR_BITS(SHIFT, SHR)
FOR_BITS(SHIFT, SAR)

/* By CL: a count of zero leaves the flags, but a 32-bit register still loses its upper half. */
#define SHIFT_CL(S, N)                                                                                       \
	HANDLER(N##_cl_##S)                                                                                  \
	{                                                                                                    \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		const unsigned n = (unsigned)cpu->r[REG_RCX] & (S - 1);                                      \
		if (n) {                                                                                     \
			SHIFT_##N(S);                                                                        \
			WR_##S(op->dst, r);                                                                  \
			cc_set(cpu, CC_OP(CC_RESULT, LOG_##S), r, cf | of << 1);                             \
		} else {                                                                                     \
			WR_##S(op->dst, a);                                                                  \
		}                                                                                            \
		OP_NEXT(cpu, op);                                                                            \
	}
SHIFT_CL(32, SHL)
SHIFT_CL(64, SHL)
SHIFT_CL(32, SHR)
SHIFT_CL(64, SHR)
SHIFT_CL(32, SAR)
SHIFT_CL(64, SAR)

enum shift_name { NAME_SHL, NAME_SHR, NAME_SAR };
#define SHIFT_I(S, N) N##_i_##S,
static x86_op_fn *const shift_immediate[3][4] = {
	{FOR_BITS(SHIFT_I, SHL)}, {FOR_BITS(SHIFT_I, SHR)}, {FOR_BITS(SHIFT_I, SAR)}};
static x86_op_fn *const shift_cl[3][2] = {
	{SHL_cl_32, SHL_cl_64}, {SHR_cl_32, SHR_cl_64}, {SAR_cl_32, SAR_cl_64}};

/* The masked count of the immediate and by-one forms. */
static unsigned constant_count(const struct x86_insn *in)
{
	return (in->opcode < 0xd0 ? (unsigned)in->imm : 1u) & (in->opsize == 8 ? 63 : 31);
}

static bool lower_shift(struct x86_lowering *l, struct x86_op *op, enum shift_name name)
{
	const struct x86_insn *in = l->in;
	unsigned count = constant_count(in);

	if (in->mod != 3)
		return false;
	op->dst = fast_register(in, in->rm);
	if (in->opcode >= 0xd2) {
		if (in->opsize < 4)
			return false;
		op->fn = shift_cl[name][in->opsize == 8];
		x86_lower_sets_flags(l, op, CC_UNKNOWN);
		return true;
	}
	if (!count || count > 8u * in->opsize)
		return false;
	op->aux = (uint8_t)count;
	op->fn = shift_immediate[name][size_log2(in->opsize)];
	x86_lower_sets_flags(l, op, CC_OP(CC_RESULT, size_log2(in->opsize)));
	return true;
}

/* Rotates keep SF, ZF, AF and PF, so all flags become real ones. */
#define ROTATE(S, N, expression_, carry_, overflow_)                                                         \
	HANDLER(N##_i_##S)                                                                                   \
	{                                                                                                    \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		const unsigned n = op->aux;                                                                  \
		const uint##S##_t r = (uint##S##_t)(expression_);                                            \
		const uint32_t status = x86_flags_status(cpu) & ~(FLAG_CF | FLAG_OF);                        \
		const bool cf = carry_;                                                                      \
		WR_##S(op->dst, r);                                                                          \
		x86_flags_set_status(cpu, status | (cf ? FLAG_CF : 0) | ((overflow_) ? FLAG_OF : 0));        \
		OP_NEXT(cpu, op);                                                                            \
	}
ROTATE(32, ROL, a << n | a >> (32 - n), r & 1, (r >> 31) != cf)
ROTATE(64, ROL, a << n | a >> (64 - n), r & 1, (r >> 63) != cf)
ROTATE(32, ROR, a >> n | a << (32 - n), r >> 31, (r >> 30 & 1) != cf)
ROTATE(64, ROR, a >> n | a << (64 - n), r >> 63, (r >> 62 & 1) != cf)

static bool lower_rotate(struct x86_lowering *l, struct x86_op *op, bool left)
{
	const struct x86_insn *in = l->in;
	unsigned count = constant_count(in);

	if (in->mod != 3 || in->opcode >= 0xd2 || in->opsize < 4 || !count)
		return false;
	op->dst = in->rm;
	op->aux = (uint8_t)count;
	op->fn = in->opsize == 8 ? (left ? ROL_i_64 : ROR_i_64) : (left ? ROL_i_32 : ROR_i_32);
	x86_lower_sets_flags(l, op, CC_UNKNOWN);
	return true;
}

#define IMUL(S, W, a_, b_)                                                                                   \
	const W product = (W)(int##S##_t)(a_) * (int##S##_t)(b_);                                            \
	const uint##S##_t r = (uint##S##_t)product;                                                          \
	cpu->r[op->dst] = r;                                                                                 \
	cc_set(cpu, CC_OP(CC_RESULT, LOG_##S), r,                                                            \
	       product != (W)(int##S##_t)r ? CC_SOURCE_CF | CC_SOURCE_OF : 0);                               \
	OP_NEXT(cpu, op)
#define IMUL_MEMORY(EA, S, W)                                                                                \
	HANDLER(imul_rm_##EA##_##S)                                                                          \
	{                                                                                                    \
		LOOKUP(p, S, EA, read)                                                                       \
		IMUL(S, W, cpu->r[op->dst], LD(S, p));                                                       \
	}                                                                                                    \
	HANDLER(imul_rmi_##EA##_##S)                                                                         \
	{                                                                                                    \
		LOOKUP(p, S, EA, read)                                                                       \
		IMUL(S, W, op->imm, LD(S, p));                                                               \
	}
#define IMUL_WIDTH(S, W)                                                                                     \
	HANDLER(imul_rr_##S)                                                                                 \
	{                                                                                                    \
		IMUL(S, W, cpu->r[op->dst], cpu->r[op->src]);                                                \
	}                                                                                                    \
	HANDLER(imul_rri_##S)                                                                                \
	{                                                                                                    \
		IMUL(S, W, op->imm, cpu->r[op->src]);                                                        \
	}                                                                                                    \
	FOR_EA(IMUL_MEMORY, S, W)
IMUL_WIDTH(32, int64_t)
IMUL_WIDTH(64, __int128)

struct imul_row {
	x86_op_fn *rr, *rri, *rm[EA_KINDS], *rmi[EA_KINDS];
};
#define IMUL_FORM(EA, S, form_) [EA_##EA] = imul_##form_##_##EA##_##S,
#define IMUL_ROW(S)                                                                                          \
	{                                                                                                    \
		imul_rr_##S, imul_rri_##S, {FOR_EA(IMUL_FORM, S, rm)},                                       \
		{                                                                                            \
			FOR_EA(IMUL_FORM, S, rmi)                                                            \
		}                                                                                            \
	}
static const struct imul_row imul_rows[2] = {IMUL_ROW(32), IMUL_ROW(64)};

static bool lower_imul(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;
	const struct imul_row *row = &imul_rows[in->opsize == 8];
	bool immediate = in->map == 0;
	enum x86_ea ea;

	if (in->opsize < 4)
		return false;
	op->dst = in->reg;
	op->src = in->rm;
	op->imm = in->imm;
	if (in->mod == 3) {
		op->fn = immediate ? row->rri : row->rr;
	} else {
		ea = x86_lower_ea(l, op);
		if (ea == EA_NONE)
			return false;
		op->fn = immediate ? row->rmi[ea] : row->rm[ea];
	}
	x86_lower_sets_flags(l, op, CC_OP(CC_RESULT, size_log2(in->opsize)));
	return true;
}

static inline void set_carry(struct x86_cpu *cpu, bool cf)
{
	x86_flags_set_status(cpu, (x86_flags_status(cpu) & ~FLAG_CF) | (cf ? FLAG_CF : 0));
}

/* Bit tests; memory ones only with an immediate, which stays within the operand. */
#define BIT_TEST(S, _)                                                                                       \
	HANDLER(bt_rr_##S)                                                                                   \
	{                                                                                                    \
		set_carry(cpu, RD_##S(op->dst) >> (RD_##S(op->src) & (S - 1)) & 1);                          \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(bt_ri_##S)                                                                                   \
	{                                                                                                    \
		set_carry(cpu, RD_##S(op->dst) >> op->aux & 1);                                              \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	FOR_EA(BIT_MEMORY, S)
#define BIT_MEMORY(EA, S)                                                                                    \
	HANDLER(bt_mi_##EA##_##S)                                                                            \
	{                                                                                                    \
		LOOKUP(p, S, EA, read)                                                                       \
		set_carry(cpu, LD(S, p) >> op->aux & 1);                                                     \
		OP_NEXT(cpu, op);                                                                            \
	}
BIT_TEST(32, _)
BIT_TEST(64, _)
#define BIT_FORM(EA, S) [EA_##EA] = bt_mi_##EA##_##S,
static x86_op_fn *const bt_memory[2][EA_KINDS] = {{FOR_EA(BIT_FORM, 32)}, {FOR_EA(BIT_FORM, 64)}};

static bool lower_bt(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;
	bool immediate = in->opcode == 0xba, wide = in->opsize == 8;
	enum x86_ea ea;

	if (in->opsize < 4)
		return false;
	op->dst = in->rm;
	op->src = in->reg;
	op->aux = (uint8_t)(in->imm & (8u * in->opsize - 1));
	if (in->mod == 3) {
		op->fn = immediate ? (wide ? bt_ri_64 : bt_ri_32) : (wide ? bt_rr_64 : bt_rr_32);
	} else {
		ea = x86_lower_ea(l, op);
		if (!immediate || ea == EA_NONE)
			return false;
		op->fn = bt_memory[wide][ea];
	}
	x86_lower_sets_flags(l, op, CC_UNKNOWN);
	return true;
}

bool x86_lower_shift(struct x86_lowering *l, struct x86_op *op)
{
	switch (x86_rows[l->in->row].fast) {
	case X86_FAST_SHL: return lower_shift(l, op, NAME_SHL);
	case X86_FAST_SHR: return lower_shift(l, op, NAME_SHR);
	case X86_FAST_SAR: return lower_shift(l, op, NAME_SAR);
	case X86_FAST_ROL: return lower_rotate(l, op, true);
	case X86_FAST_ROR: return lower_rotate(l, op, false);
	case X86_FAST_IMUL: return lower_imul(l, op);
	case X86_FAST_BT: return lower_bt(l, op);
	default: return false;
	}
}
