/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers of ADD, OR, ADC, SBB, AND, SUB, XOR, CMP and TEST for every width, between registers,
 * immediates and memory, and of INC, DEC, NEG and NOT. Locked forms are left to the general ones.
 */
#include "tcg-fallback/x86/fast.h"

/* Result r of a and b with its flags; S the width. */
#define ALU_FLAGS(kind_, S, b_)                                                                              \
	cpu->cc.result = r;                                                                                  \
	cpu->cc.source = (b_);                                                                               \
	cpu->cc.op = CC_OP(kind_, LOG_##S)
#define ALU_ADD(S)                                                                                           \
	const uint##S##_t r = (uint##S##_t)(a + b);                                                          \
	ALU_FLAGS(CC_ADD, S, b)
#define ALU_SUB(S)                                                                                           \
	const uint##S##_t r = (uint##S##_t)(a - b);                                                          \
	ALU_FLAGS(CC_SUB, S, b)
#define ALU_ADC(S)                                                                                           \
	CARRY_NOW(carry);                                                                                    \
	const uint##S##_t r = (uint##S##_t)(a + b + carry);                                                  \
	ALU_FLAGS(carry ? CC_ADC : CC_ADD, S, b)
#define ALU_SBB(S)                                                                                           \
	CARRY_NOW(carry);                                                                                    \
	const uint##S##_t r = (uint##S##_t)(a - b - carry);                                                  \
	ALU_FLAGS(carry ? CC_SBB : CC_SUB, S, b)
#define ALU_LOGIC(S)                                                                                         \
	cpu->cc.result = r;                                                                                  \
	cpu->cc.op = CC_OP(CC_LOGIC, LOG_##S)
#define ALU_OR(S)                                                                                            \
	const uint##S##_t r = (uint##S##_t)(a | b);                                                          \
	ALU_LOGIC(S)
#define ALU_AND(S)                                                                                           \
	const uint##S##_t r = (uint##S##_t)(a & b);                                                          \
	ALU_LOGIC(S)
#define ALU_XOR(S)                                                                                           \
	const uint##S##_t r = (uint##S##_t)(a ^ b);                                                          \
	ALU_LOGIC(S)
#define ALU_CMP(S)  ALU_SUB(S)
#define ALU_TEST(S) ALU_AND(S)

/* Comparisons only set flags. */
#define OUT_ADD(x) x
#define OUT_SUB(x) x
#define OUT_ADC(x) x
#define OUT_SBB(x) x
#define OUT_OR(x)  x
#define OUT_AND(x) x
#define OUT_XOR(x) x
#define OUT_CMP(x)
#define OUT_TEST(x)
#define WAY_ADD  write
#define WAY_SUB  write
#define WAY_ADC  write
#define WAY_SBB  write
#define WAY_OR   write
#define WAY_AND  write
#define WAY_XOR  write
#define WAY_CMP  read
#define WAY_TEST read

#define ALU_REGISTERS(S, N)                                                                                  \
	HANDLER(N##_rr_##S)                                                                                  \
	{                                                                                                    \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		const uint##S##_t b = RD_##S(op->src);                                                       \
		ALU_##N(S);                                                                                  \
		OUT_##N(WR_##S(op->dst, r);) OP_NEXT(cpu, op);                                               \
	}                                                                                                    \
	HANDLER(N##_ri_##S)                                                                                  \
	{                                                                                                    \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		const uint##S##_t b = (uint##S##_t)op->imm;                                                  \
		ALU_##N(S);                                                                                  \
		OUT_##N(WR_##S(op->dst, r);) OP_NEXT(cpu, op);                                               \
	}

#define LOOKUP_WAY(ptr_, S, EA, way_) LOOKUP(ptr_, S, EA, way_)
#define ALU_MEMORY(EA, S, N)                                                                                 \
	HANDLER(N##_rm_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP(p, S, EA, read)                                                                       \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		const uint##S##_t b = LD(S, p);                                                              \
		ALU_##N(S);                                                                                  \
		OUT_##N(WR_##S(op->dst, r);) OP_NEXT(cpu, op);                                               \
	}                                                                                                    \
	HANDLER(N##_mr_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP_WAY(p, S, EA, WAY_##N)                                                                \
		const uint##S##_t a = LD(S, p);                                                              \
		const uint##S##_t b = RD_##S(op->src);                                                       \
		ALU_##N(S);                                                                                  \
		OUT_##N(ST(S, p, r);) OP_NEXT(cpu, op);                                                      \
	}                                                                                                    \
	HANDLER(N##_mi_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP_WAY(p, S, EA, WAY_##N)                                                                \
		const uint##S##_t a = LD(S, p);                                                              \
		const uint##S##_t b = (uint##S##_t)op->imm;                                                  \
		ALU_##N(S);                                                                                  \
		OUT_##N(ST(S, p, r);) OP_NEXT(cpu, op);                                                      \
	}

#define ALU_WIDTH(S, N) ALU_REGISTERS(S, N) FOR_EA(ALU_MEMORY, S, N)
#define ALU_FAMILY(N)   FOR_BITS(ALU_WIDTH, N)
ALU_FAMILY(ADD)
ALU_FAMILY(OR)
ALU_FAMILY(ADC)
ALU_FAMILY(SBB)
ALU_FAMILY(AND)
ALU_FAMILY(SUB)
ALU_FAMILY(XOR)
ALU_FAMILY(CMP)
ALU_FAMILY(TEST)

enum alu_name {
	NAME_ADD,
	NAME_OR,
	NAME_ADC,
	NAME_SBB,
	NAME_AND,
	NAME_SUB,
	NAME_XOR,
	NAME_CMP,
	NAME_TEST,
	NAME_COUNT
};

struct alu_row {
	x86_op_fn *rr, *ri, *rm[EA_KINDS], *mr[EA_KINDS], *mi[EA_KINDS];
};

#define ALU_FORM(EA, S, N, form_) [EA_##EA] = N##_##form_##_##EA##_##S,
#define ALU_ROW(S, N)                                                                                        \
	[LOG_##S] = {N##_rr_##S,                                                                             \
		     N##_ri_##S,                                                                             \
		     {FOR_EA(ALU_FORM, S, N, rm)},                                                           \
		     {FOR_EA(ALU_FORM, S, N, mr)},                                                           \
		     {FOR_EA(ALU_FORM, S, N, mi)}},
#define ALU_ROWS(N) [NAME_##N] = {FOR_BITS(ALU_ROW, N)},
static const struct alu_row alu_rows[NAME_COUNT][4] = {ALU_ROWS(ADD) ALU_ROWS(OR) ALU_ROWS(ADC) ALU_ROWS(
	SBB) ALU_ROWS(AND) ALU_ROWS(SUB) ALU_ROWS(XOR) ALU_ROWS(CMP) ALU_ROWS(TEST)};

/* What the flags are after it; ADC and SBB depend on the carry. */
static const uint8_t alu_kind[NAME_COUNT] = {
	[NAME_ADD] = CC_ADD,   [NAME_SUB] = CC_SUB,   [NAME_CMP] = CC_SUB,    [NAME_OR] = CC_LOGIC,
	[NAME_AND] = CC_LOGIC, [NAME_XOR] = CC_LOGIC, [NAME_TEST] = CC_LOGIC,
};

static bool lower_two(struct x86_lowering *l, struct x86_op *op, enum alu_name name)
{
	const struct x86_insn *in = l->in;
	const struct alu_row *row = &alu_rows[name][size_log2(in->opsize)];
	bool is_test = name == NAME_TEST;
	bool immediate = is_test ? in->opcode >= 0xa8 : in->opcode >= 0x80 || (in->opcode & 7) >= 4;
	bool to_rm = is_test || in->opcode >= 0x80 || !(in->opcode & 2);
	enum x86_ea ea;

	op->imm = fast_immediate(in);
	if (in->has_modrm && in->mod != 3) {
		ea = x86_lower_ea(l, op);
		if (in->lock || ea == EA_NONE)
			return false;
		op->dst = op->src = fast_register(in, in->reg);
		op->fn = immediate ? row->mi[ea] : to_rm ? row->mr[ea] : row->rm[ea];
	} else if (!in->has_modrm) {
		op->dst = fast_register(in, REG_RAX);
		op->fn = row->ri;
	} else {
		op->dst = fast_register(in, to_rm ? in->rm : in->reg);
		op->src = fast_register(in, to_rm ? in->reg : in->rm);
		op->fn = immediate ? row->ri : row->rr;
	}
	x86_lower_sets_flags(l, op,
			     alu_kind[name] ? CC_OP(alu_kind[name], size_log2(in->opsize)) : CC_UNKNOWN);
	return true;
}

/* One-operand forms. */
#define STEP(S, N, kind_, delta_)                                                                            \
	CARRY_NOW(carry);                                                                                    \
	const uint##S##_t r = (uint##S##_t)(a delta_);                                                       \
	cc_set(cpu, CC_OP(kind_, LOG_##S), r, carry)
#define ONE_INC(S) STEP(S, INC, CC_INC, +1)
#define ONE_DEC(S) STEP(S, DEC, CC_DEC, -1)
#define ONE_NEG(S)                                                                                           \
	const uint##S##_t r = (uint##S##_t)(0 - a);                                                          \
	cc_set(cpu, CC_OP(CC_SUB, LOG_##S), r, a)
#define ONE_NOT(S) const uint##S##_t r = (uint##S##_t) ~a

#define ONE_MEMORY(EA, S, N)                                                                                 \
	HANDLER(N##_m_##EA##_##S)                                                                            \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		const uint##S##_t a = LD(S, p);                                                              \
		ONE_##N(S);                                                                                  \
		ST(S, p, r);                                                                                 \
		OP_NEXT(cpu, op);                                                                            \
	}
#define ONE_WIDTH(S, N)                                                                                      \
	HANDLER(N##_r_##S)                                                                                   \
	{                                                                                                    \
		const uint##S##_t a = RD_##S(op->dst);                                                       \
		ONE_##N(S);                                                                                  \
		WR_##S(op->dst, r);                                                                          \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	FOR_EA(ONE_MEMORY, S, N)
#define ONE_FAMILY(N) FOR_BITS(ONE_WIDTH, N)
ONE_FAMILY(INC)
ONE_FAMILY(DEC)
ONE_FAMILY(NEG)
ONE_FAMILY(NOT)

enum one_name { NAME_INC, NAME_DEC, NAME_NEG, NAME_NOT, ONE_COUNT };
struct one_row {
	x86_op_fn *r, *m[EA_KINDS];
};
#define ONE_FORM(EA, S, N) [EA_##EA] = N##_m_##EA##_##S,
#define ONE_ROW(S, N)      [LOG_##S] = {N##_r_##S, {FOR_EA(ONE_FORM, S, N)}},
#define ONE_ROWS(N)        [NAME_##N] = {FOR_BITS(ONE_ROW, N)},
static const struct one_row one_rows[ONE_COUNT][4] = {ONE_ROWS(INC) ONE_ROWS(DEC) ONE_ROWS(NEG)
							      ONE_ROWS(NOT)};
static const uint8_t one_kind[ONE_COUNT] = {[NAME_INC] = CC_INC, [NAME_DEC] = CC_DEC, [NAME_NEG] = CC_SUB};

static bool lower_one(struct x86_lowering *l, struct x86_op *op, enum one_name name)
{
	const struct x86_insn *in = l->in;
	const struct one_row *row = &one_rows[name][size_log2(in->opsize)];
	enum x86_ea ea;

	if (in->has_modrm && in->mod != 3) {
		ea = x86_lower_ea(l, op);
		if (in->lock || ea == EA_NONE)
			return false;
		op->fn = row->m[ea];
	} else {
		op->dst = in->has_modrm ? fast_register(in, in->rm) : (in->opcode & 7);
		op->fn = row->r;
	}
	if (name != NAME_NOT)
		x86_lower_sets_flags(l, op, CC_OP(one_kind[name], size_log2(in->opsize)));
	return true;
}

bool x86_lower_alu(struct x86_lowering *l, struct x86_op *op)
{
	switch (x86_rows[l->in->row].fast) {
	case X86_FAST_ADD: return lower_two(l, op, NAME_ADD);
	case X86_FAST_OR: return lower_two(l, op, NAME_OR);
	case X86_FAST_ADC: return lower_two(l, op, NAME_ADC);
	case X86_FAST_SBB: return lower_two(l, op, NAME_SBB);
	case X86_FAST_AND: return lower_two(l, op, NAME_AND);
	case X86_FAST_SUB: return lower_two(l, op, NAME_SUB);
	case X86_FAST_XOR: return lower_two(l, op, NAME_XOR);
	case X86_FAST_CMP: return lower_two(l, op, NAME_CMP);
	case X86_FAST_TEST: return lower_two(l, op, NAME_TEST);
	case X86_FAST_INC: return lower_one(l, op, NAME_INC);
	case X86_FAST_DEC: return lower_one(l, op, NAME_DEC);
	case X86_FAST_NEG: return lower_one(l, op, NAME_NEG);
	case X86_FAST_NOT: return lower_one(l, op, NAME_NOT);
	default: return false;
	}
}
