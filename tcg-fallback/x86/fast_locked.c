/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers of locked and exchanging instructions on aligned memory: the host's atomics on the RAM
 * itself. What is not aligned, or no RAM, goes to the general forms.
 */
#include "tcg-fallback/x86/fast.h"

/* Misaligned atomics could be split between two cache lines of the host. */
#define ALIGNED(S)                                                                                           \
	if (UNLIKELY((uintptr_t)p & (S / 8 - 1)))                                                            \
		OP_TAIL(op_miss_general, cpu, op);

#define LOCKED_MEMORY(EA, S)                                                                                 \
	HANDLER(xchg_m_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		WR_##S(op->src,                                                                              \
		       __atomic_exchange_n((uint##S##_t *)(void *)p, RD_##S(op->src), __ATOMIC_SEQ_CST));    \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(xadd_m_##EA##_##S)                                                                           \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const uint##S##_t b = RD_##S(op->src);                                                       \
		const uint##S##_t a = __atomic_fetch_add((uint##S##_t *)(void *)p, b, __ATOMIC_SEQ_CST);     \
		WR_##S(op->src, a);                                                                          \
		cc_set(cpu, CC_OP(CC_ADD, LOG_##S), (uint##S##_t)(a + b), b);                                \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(cmpxchg_m_##EA##_##S)                                                                        \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const uint##S##_t a = RD_##S(REG_RAX);                                                       \
		uint##S##_t found = a;                                                                       \
		if (!__atomic_compare_exchange_n((uint##S##_t *)(void *)p, &found, RD_##S(op->src), false,   \
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))                        \
			WR_##S(REG_RAX, found);                                                              \
		cc_set(cpu, CC_OP(CC_SUB, LOG_##S), (uint##S##_t)(a - found), found);                        \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(lock_add_##EA##_##S)                                                                         \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const uint##S##_t b = op->aux ? RD_##S(op->src) : (uint##S##_t)op->imm;                      \
		const uint##S##_t a = __atomic_fetch_add((uint##S##_t *)(void *)p, b, __ATOMIC_SEQ_CST);     \
		cc_set(cpu, CC_OP(CC_ADD, LOG_##S), (uint##S##_t)(a + b), b);                                \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(lock_sub_##EA##_##S)                                                                         \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const uint##S##_t b = op->aux ? RD_##S(op->src) : (uint##S##_t)op->imm;                      \
		const uint##S##_t a = __atomic_fetch_sub((uint##S##_t *)(void *)p, b, __ATOMIC_SEQ_CST);     \
		cc_set(cpu, CC_OP(CC_SUB, LOG_##S), (uint##S##_t)(a - b), b);                                \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(lock_or_##EA##_##S)                                                                          \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const uint##S##_t b = op->aux ? RD_##S(op->src) : (uint##S##_t)op->imm;                      \
		cc_set(cpu, CC_OP(CC_LOGIC, LOG_##S),                                                        \
		       __atomic_or_fetch((uint##S##_t *)(void *)p, b, __ATOMIC_SEQ_CST), 0);                 \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(lock_and_##EA##_##S)                                                                         \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const uint##S##_t b = op->aux ? RD_##S(op->src) : (uint##S##_t)op->imm;                      \
		cc_set(cpu, CC_OP(CC_LOGIC, LOG_##S),                                                        \
		       __atomic_and_fetch((uint##S##_t *)(void *)p, b, __ATOMIC_SEQ_CST), 0);                \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(lock_inc_##EA##_##S)                                                                         \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const bool carry = x86_flags_cf(cpu);                                                        \
		cc_set(cpu, CC_OP(CC_INC, LOG_##S),                                                          \
		       __atomic_add_fetch((uint##S##_t *)(void *)p, 1, __ATOMIC_SEQ_CST), carry);            \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(lock_dec_##EA##_##S)                                                                         \
	{                                                                                                    \
		LOOKUP(p, S, EA, write)                                                                      \
		ALIGNED(S)                                                                                   \
		const bool carry = x86_flags_cf(cpu);                                                        \
		cc_set(cpu, CC_OP(CC_DEC, LOG_##S),                                                          \
		       __atomic_sub_fetch((uint##S##_t *)(void *)p, 1, __ATOMIC_SEQ_CST), carry);            \
		OP_NEXT(cpu, op);                                                                            \
	}
FOR_EA(LOCKED_MEMORY, 32)
FOR_EA(LOCKED_MEMORY, 64)

struct locked_row {
	x86_op_fn *handler[2][EA_KINDS]; /* 32 and 64 bits */
	uint8_t kind;                    /* of the flags; CC_EFLAGS: unchanged */
};
#define LOCKED_FORM(EA, S, form_) [EA_##EA] = form_##_##EA##_##S,
#define LOCKED_ROW(form_, kind_)                                                                             \
	{                                                                                                    \
		{{FOR_EA(LOCKED_FORM, 32, form_)}, {FOR_EA(LOCKED_FORM, 64, form_)}}, kind_                  \
	}

static const struct locked_row row_xchg = LOCKED_ROW(xchg_m, CC_EFLAGS);
static const struct locked_row row_xadd = LOCKED_ROW(xadd_m, CC_ADD);
static const struct locked_row row_cmpxchg = LOCKED_ROW(cmpxchg_m, CC_SUB);
static const struct locked_row row_add = LOCKED_ROW(lock_add, CC_ADD);
static const struct locked_row row_sub = LOCKED_ROW(lock_sub, CC_SUB);
static const struct locked_row row_or = LOCKED_ROW(lock_or, CC_LOGIC);
static const struct locked_row row_and = LOCKED_ROW(lock_and, CC_LOGIC);
static const struct locked_row row_inc = LOCKED_ROW(lock_inc, CC_INC);
static const struct locked_row row_dec = LOCKED_ROW(lock_dec, CC_DEC);

static const struct locked_row *locked_row(const struct x86_insn *in)
{
	switch (x86_rows[in->row].fast) {
	case X86_FAST_XCHG: return &row_xchg;
	case X86_FAST_XADD: return in->lock ? &row_xadd : NULL;
	case X86_FAST_CMPXCHG: return in->lock ? &row_cmpxchg : NULL;
	case X86_FAST_ADD: return in->lock ? &row_add : NULL;
	case X86_FAST_SUB: return in->lock ? &row_sub : NULL;
	case X86_FAST_OR: return in->lock ? &row_or : NULL;
	case X86_FAST_AND: return in->lock ? &row_and : NULL;
	case X86_FAST_INC: return in->lock ? &row_inc : NULL;
	case X86_FAST_DEC: return in->lock ? &row_dec : NULL;
	default: return NULL;
	}
}

static bool lower_locked(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;
	const struct locked_row *row = locked_row(in);
	enum x86_ea ea;

	if (!row || !x86_insn_is_mem(in) || in->opsize < 4)
		return false;
	ea = x86_lower_ea(l, op);
	if (ea == EA_NONE)
		return false;
	op->src = in->reg;
	op->imm = fast_immediate(in);
	op->aux = in->opcode < 0x80; /* a register as second operand, where there is one */
	op->fn = row->handler[in->opsize == 8][ea];
	if (row->kind != CC_EFLAGS)
		x86_lower_sets_flags(l, op, CC_OP(row->kind, size_log2(in->opsize)));
	return true;
}

HANDLER(cld)
{
	cpu->eflags &= ~FLAG_DF;
	OP_NEXT(cpu, op);
}

static bool lower_cld(struct x86_op *op)
{
	op->fn = cld;
	return true;
}

bool x86_lower_misc(struct x86_lowering *l, struct x86_op *op)
{
	if (x86_rows[l->in->row].fast == X86_FAST_CLD)
		return lower_cld(op);
	return lower_locked(l, op);
}
