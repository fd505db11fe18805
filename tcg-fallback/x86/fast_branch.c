/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers of jumps, calls, returns, SETcc and CMOVcc. Direct jumps within a page are linked to the
 * target op once it is known: the physical page is the one that runs, so nothing can change under them but a
 * dropped block, whose ops are stale. Others find their target in the jump cache. Each taken jump looks at
 * `attention`, so no loop escapes an interrupt.
 *
 * A condition on flags whose origin the lowering knows is one comparison of what that operation left
 * (flags.h).
 */
#include "tcg-fallback/core/code.h"
#include "tcg-fallback/x86/fast.h"

static inline bool attention(const struct x86_cpu *cpu)
{
	return UNLIKELY(atomic_load_explicit(&cpu->attention, memory_order_relaxed));
}

static inline uint64_t target_rip(const struct x86_cpu *cpu, const struct x86_op *op)
{
	uint64_t rip = cpu->r[REG_RIP] + (uint64_t)(int64_t)op->disp;

	return cpu->mode_bits == 64 ? rip : (uint32_t)rip;
}

/* Links a direct jump within the page. */
static struct x86_op *take_slowly(struct x86_cpu *cpu, struct x86_op *op)
{
	uint64_t flushes = cpu->code->flushes;
	struct x86_op *target;

	if (attention(cpu))
		return NULL;
	target = x86_code_find(cpu);
	/* An instruction that crosses the page is looked up each time: the next page may have moved. */
	if (target && op->disp >= 0 && op->disp == target->off &&
	    target->off + target->len <= (int)PAGE_SIZE && flushes == cpu->code->flushes)
		op->target = target;
	return target;
}

/* A direct jump that is not linked, cannot be, or must not go on now. */
static struct x86_op *op_take(struct x86_cpu *cpu, struct x86_op *op)
{
	struct x86_op *target;

	cpu->rip = target_rip(cpu, op);
	target = (uint32_t)op->disp < PAGE_SIZE ? NULL : x86_jump_probe(cpu, cpu->code, cpu->rip);
	if (UNLIKELY(!target) || attention(cpu)) {
		target = take_slowly(cpu, op);
		if (!target)
			return NULL;
	}
	cpu->r[REG_RIP] = cpu->rip - target->off;
	OP_GOTO(cpu, target);
}

#define TAKE(cpu, op)                                                                                        \
	do {                                                                                                 \
		struct x86_op *const linked_ = (op)->target;                                                 \
		if (UNLIKELY(!linked_) || attention(cpu))                                                    \
			OP_TAIL(op_take, cpu, op);                                                           \
		OP_GOTO(cpu, linked_);                                                                       \
	} while (0)

HANDLER(jmp)
{
	TAKE(cpu, op);
}

/* Conditions on what SUB and CMP (a, b, r) and logic (r) left, widths S. Odd conditions negate. */
#define SIGN(S, x) ((int##S##_t)(x) < 0)
#define SUB_O(S)   SIGN(S, (a ^ b) & (a ^ r))
#define SUB_B(S)   (a < b)
#define SUB_E(S)   (r == 0)
#define SUB_BE(S)  (a <= b)
#define SUB_S(S)   SIGN(S, r)
#define SUB_P(S)   (x86_parity(r) != 0)
#define SUB_L(S)   ((int##S##_t)a < (int##S##_t)b)
#define SUB_LE(S)  ((int##S##_t)a <= (int##S##_t)b)
#define SUB_LOAD(S)                                                                                          \
	const uint##S##_t r = (uint##S##_t)cpu->cc.result;                                                   \
	const uint##S##_t b = (uint##S##_t)cpu->cc.source;                                                   \
	const uint##S##_t a = (uint##S##_t)(r + b);                                                          \
	(void)a, (void)b, (void)r
#define LOGIC_O(S)  false
#define LOGIC_B(S)  false
#define LOGIC_E(S)  (r == 0)
#define LOGIC_BE(S) (r == 0)
#define LOGIC_S(S)  SIGN(S, r)
#define LOGIC_P(S)  (x86_parity(r) != 0)
#define LOGIC_L(S)  SIGN(S, r)
#define LOGIC_LE(S) ((int##S##_t)r <= 0)
#define LOGIC_LOAD(S)                                                                                        \
	const uint##S##_t r = (uint##S##_t)cpu->cc.result;                                                   \
	(void)r

#define FOR_COND(X, ...)                                                                                     \
	X(O, O, , __VA_ARGS__)                                                                               \
	X(NO, O, !, __VA_ARGS__)                                                                             \
	X(B, B, , __VA_ARGS__) X(AE, B, !, __VA_ARGS__) X(E, E, , __VA_ARGS__) X(NE, E, !, __VA_ARGS__)      \
		X(BE, BE, , __VA_ARGS__) X(A, BE, !, __VA_ARGS__) X(S, S, , __VA_ARGS__)                     \
			X(NS, S, !, __VA_ARGS__) X(P, P, , __VA_ARGS__) X(NP, P, !, __VA_ARGS__)             \
				X(L, L, , __VA_ARGS__) X(GE, L, !, __VA_ARGS__) X(LE, LE, , __VA_ARGS__)     \
					X(G, LE, !, __VA_ARGS__)

#define CONDITIONAL(C, base_, not_, W, K)                                                                    \
	HANDLER(jcc_##C##_##K##_##W)                                                                         \
	{                                                                                                    \
		K##_LOAD(W);                                                                                 \
		if (not_ K##_##base_(W))                                                                     \
			TAKE(cpu, op);                                                                       \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(setcc_##C##_##K##_##W)                                                                       \
	{                                                                                                    \
		K##_LOAD(W);                                                                                 \
		WR_8(op->dst, not_ K##_##base_(W));                                                          \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(cmov32_##C##_##K##_##W)                                                                      \
	{                                                                                                    \
		K##_LOAD(W);                                                                                 \
		const uint64_t from = (not_ K##_##base_(W)) ? cpu->r[op->src] : cpu->r[op->dst];             \
		cpu->r[op->dst] = (uint32_t)from;                                                            \
		OP_NEXT(cpu, op);                                                                            \
	}                                                                                                    \
	HANDLER(cmov64_##C##_##K##_##W)                                                                      \
	{                                                                                                    \
		K##_LOAD(W);                                                                                 \
		cpu->r[op->dst] = (not_ K##_##base_(W)) ? cpu->r[op->src] : cpu->r[op->dst];                 \
		OP_NEXT(cpu, op);                                                                            \
	}
#define CONDITIONAL_WIDTH(W, K) FOR_COND(CONDITIONAL, W, K)
FOR_BITS(CONDITIONAL_WIDTH, SUB)
FOR_BITS(CONDITIONAL_WIDTH, LOGIC)

struct cond_row {
	x86_op_fn *jcc[16], *setcc[16], *cmov32[16], *cmov64[16];
};
#define COND_ENTRY(C, base_, not_, form_, W, K) form_##_##C##_##K##_##W,
#define COND_ROW(W, K)                                                                                       \
	[LOG_##W] = {{FOR_COND(COND_ENTRY, jcc, W, K)},                                                      \
		     {FOR_COND(COND_ENTRY, setcc, W, K)},                                                    \
		     {FOR_COND(COND_ENTRY, cmov32, W, K)},                                                   \
		     {FOR_COND(COND_ENTRY, cmov64, W, K)}},
static const struct cond_row sub_rows[4] = {FOR_BITS(COND_ROW, SUB)};
static const struct cond_row logic_rows[4] = {FOR_BITS(COND_ROW, LOGIC)};

HANDLER(jcc_any)
{
	if (x86_cond_holds(cpu, op->aux))
		TAKE(cpu, op);
	OP_NEXT(cpu, op);
}

HANDLER(setcc_any)
{
	WR_8(op->dst, x86_cond_holds(cpu, op->aux));
	OP_NEXT(cpu, op);
}

HANDLER(cmov32_any)
{
	cpu->r[op->dst] = (uint32_t)(x86_cond_holds(cpu, op->aux) ? cpu->r[op->src] : cpu->r[op->dst]);
	OP_NEXT(cpu, op);
}

HANDLER(cmov64_any)
{
	if (x86_cond_holds(cpu, op->aux))
		cpu->r[op->dst] = cpu->r[op->src];
	OP_NEXT(cpu, op);
}

/* The row whose handlers know these flags, or NULL. ZF, SF and PF of any lazy result are those of logic. */
static const struct cond_row *cond_row_for(uint32_t cc_op, unsigned cond)
{
	if (cc_op == CC_UNKNOWN || CC_KIND(cc_op) == CC_EFLAGS)
		return NULL;
	if (CC_KIND(cc_op) == CC_SUB)
		return &sub_rows[cc_op & 3];
	if (CC_KIND(cc_op) == CC_LOGIC)
		return &logic_rows[cc_op & 3];
	switch (cond & 14) {
	case COND_E:
	case COND_S:
	case COND_P: return &logic_rows[cc_op & 3];
	default: return NULL;
	}
}

/* Jumps whose RIP needs neither a limit check nor cutting to 16 bits. */
static bool branch_is_plain(const struct x86_lowering *l)
{
	if (lowering_is64(l))
		return l->in->opsize == 8;
	return l->in->opsize == 4 && !(l->mode & CODE_MODE_LIMITED);
}

static bool lower_target(struct x86_lowering *l, struct x86_op *op)
{
	int64_t disp = (int64_t)l->off + l->in->len + (int64_t)l->in->imm;

	op->target = NULL;
	op->disp = (int32_t)disp;
	return branch_is_plain(l) && disp == (int32_t)disp;
}

static bool lower_jcc(struct x86_lowering *l, struct x86_op *op)
{
	unsigned cond = l->in->opcode & 15;
	const struct cond_row *row = cond_row_for(l->cc_op, cond);

	if (!lower_target(l, op))
		return false;
	op->aux = (uint8_t)cond;
	op->fn = row ? row->jcc[cond] : jcc_any;
	if (row)
		x86_lower_relies_on_flags(l, op);
	return true;
}

static bool lower_jmp(struct x86_lowering *l, struct x86_op *op)
{
	if (!lower_target(l, op))
		return false;
	op->fn = jmp;
	l->ended = true;
	return true;
}

static bool lower_setcc(struct x86_lowering *l, struct x86_op *op)
{
	unsigned cond = l->in->opcode & 15;
	const struct cond_row *row = cond_row_for(l->cc_op, cond);

	if (l->in->mod != 3)
		return false;
	op->dst = byte_register(l->in, l->in->rm);
	op->aux = (uint8_t)cond;
	op->fn = row ? row->setcc[cond] : setcc_any;
	if (row)
		x86_lower_relies_on_flags(l, op);
	return true;
}

static bool lower_cmov(struct x86_lowering *l, struct x86_op *op)
{
	unsigned cond = l->in->opcode & 15;
	const struct cond_row *row = cond_row_for(l->cc_op, cond);

	if (l->in->mod != 3 || l->in->opsize < 4)
		return false;
	op->dst = l->in->reg;
	op->src = l->in->rm;
	op->aux = (uint8_t)cond;
	if (l->in->opsize == 8)
		op->fn = row ? row->cmov64[cond] : cmov64_any;
	else
		op->fn = row ? row->cmov32[cond] : cmov32_any;
	if (row)
		x86_lower_relies_on_flags(l, op);
	return true;
}

/* Goes to cpu->rip by way of the run loop's lookup. */
static struct x86_op *op_at_rip(struct x86_cpu *cpu, struct x86_op *op)
{
	struct x86_op *target = x86_op_at_rip(cpu);

	if (!target)
		return NULL;
	OP_GOTO(cpu, target);
}

/* An indirect jump: the jump cache inline, all else out of line. CS is flat: RIP is linear. */
#define GO_TO_RIP(rip_)                                                                                      \
	do {                                                                                                 \
		const uint64_t to_ = (rip_);                                                                 \
		struct x86_op *const target_ = x86_jump_probe(cpu, cpu->code, to_);                          \
		cpu->rip = to_;                                                                              \
		if (UNLIKELY(!target_) || attention(cpu))                                                    \
			OP_TAIL(op_at_rip, cpu, op);                                                         \
		cpu->r[REG_RIP] = to_ - target_->off;                                                        \
		OP_GOTO(cpu, target_);                                                                       \
	} while (0)

/* In 64-bit mode a target must be canonical before anything changes. */
#define CANONICAL_GUARD_64(to_)                                                                              \
	if (UNLIKELY((uint64_t)((int64_t)(to_) >> 47) + 1 > 1) && !x86_canonical(cpu, to_))                  \
		OP_TAIL(op_miss_general, cpu, op);
#define CANONICAL_GUARD_32(to_)

#define STACK_GUARD_64
#define STACK_GUARD_32                                                                                       \
	if (UNLIKELY(!(cpu->flat_segments >> SEG_SS & 1)))                                                   \
		OP_TAIL(op_miss_general, cpu, op);

#define CALLS(S)                                                                                             \
	HANDLER(call_##S)                                                                                    \
	{                                                                                                    \
		STACK_GUARD_##S const uint##S##_t to = (uint##S##_t)(cpu->r[REG_RSP] - S / 8);               \
		LOOKUP_AT(p, S, to, write)                                                                   \
		ST(S, p, (uint##S##_t)op_rip_next(cpu, op));                                                 \
		cpu->r[REG_RSP] = to;                                                                        \
		TAKE(cpu, op);                                                                               \
	}                                                                                                    \
	HANDLER(ret_##S)                                                                                     \
	{                                                                                                    \
		STACK_GUARD_##S const uint##S##_t from = RD_##S(REG_RSP);                                    \
		LOOKUP_AT(p, S, from, read)                                                                  \
		const uint64_t target = LD(S, p);                                                            \
		CANONICAL_GUARD_##S(target) cpu->r[REG_RSP] = (uint##S##_t)(from + S / 8 + op->imm);         \
		GO_TO_RIP(target);                                                                           \
	}                                                                                                    \
	HANDLER(jmp_r_##S)                                                                                   \
	{                                                                                                    \
		const uint64_t target = RD_##S(op->src);                                                     \
		CANONICAL_GUARD_##S(target) GO_TO_RIP(target);                                               \
	}                                                                                                    \
	HANDLER(call_r_##S)                                                                                  \
	{                                                                                                    \
		STACK_GUARD_##S const uint64_t target = RD_##S(op->src);                                     \
		const uint##S##_t to = (uint##S##_t)(cpu->r[REG_RSP] - S / 8);                               \
		CANONICAL_GUARD_##S(target) LOOKUP_AT(p, S, to, write)                                       \
			ST(S, p, (uint##S##_t)op_rip_next(cpu, op));                                         \
		cpu->r[REG_RSP] = to;                                                                        \
		GO_TO_RIP(target);                                                                           \
	}                                                                                                    \
	FOR_EA(INDIRECT_MEMORY, S)
#define INDIRECT_MEMORY(EA, S)                                                                               \
	HANDLER(jmp_m_##EA##_##S)                                                                            \
	{                                                                                                    \
		LOOKUP(p, S, EA, read)                                                                       \
		const uint64_t target = LD(S, p);                                                            \
		CANONICAL_GUARD_##S(target) GO_TO_RIP(target);                                               \
	}                                                                                                    \
	HANDLER(call_m_##EA##_##S)                                                                           \
	{                                                                                                    \
		STACK_GUARD_##S LOOKUP(p, S, EA, read) const uint64_t target = LD(S, p);                     \
		const uint##S##_t to = (uint##S##_t)(cpu->r[REG_RSP] - S / 8);                               \
		CANONICAL_GUARD_##S(target) LOOKUP_AT(q, S, to, write)                                       \
			ST(S, q, (uint##S##_t)op_rip_next(cpu, op));                                         \
		cpu->r[REG_RSP] = to;                                                                        \
		GO_TO_RIP(target);                                                                           \
	}
CALLS(32)
CALLS(64)
#define INDIRECT_FORM(EA, S, form_) [EA_##EA] = form_##_m_##EA##_##S,
static x86_op_fn *const jmp_memory[2][EA_KINDS] = {{FOR_EA(INDIRECT_FORM, 32, jmp)},
						   {FOR_EA(INDIRECT_FORM, 64, jmp)}};
static x86_op_fn *const call_memory[2][EA_KINDS] = {{FOR_EA(INDIRECT_FORM, 32, call)},
						    {FOR_EA(INDIRECT_FORM, 64, call)}};

static bool lower_indirect(struct x86_lowering *l, struct x86_op *op, bool call)
{
	const struct x86_insn *in = l->in;
	bool is64 = lowering_is64(l);
	enum x86_ea ea;

	if (!branch_is_plain(l) || (call && !is64 && in->stacksize != 4))
		return false;
	if (in->mod == 3) {
		op->src = in->rm;
		op->fn = call ? (is64 ? call_r_64 : call_r_32) : (is64 ? jmp_r_64 : jmp_r_32);
	} else {
		ea = x86_lower_ea(l, op);
		if (ea == EA_NONE)
			return false;
		op->fn = call ? call_memory[is64][ea] : jmp_memory[is64][ea];
	}
	l->ended = true;
	return true;
}

static bool lower_call_direct(struct x86_lowering *l, struct x86_op *op)
{
	if ((!lowering_is64(l) && l->in->stacksize != 4) || !lower_target(l, op))
		return false;
	op->fn = lowering_is64(l) ? call_64 : call_32;
	l->ended = true;
	return true;
}

static bool lower_ret(struct x86_lowering *l, struct x86_op *op)
{
	if (!branch_is_plain(l) || (!lowering_is64(l) && l->in->stacksize != 4))
		return false;
	op->imm = l->in->imm & 0xffff;
	op->fn = lowering_is64(l) ? ret_64 : ret_32;
	l->ended = true;
	return true;
}

bool x86_lower_branch(struct x86_lowering *l, struct x86_op *op)
{
	switch (x86_rows[l->in->row].fast) {
	case X86_FAST_JCC: return lower_jcc(l, op);
	case X86_FAST_JMP: return lower_jmp(l, op);
	case X86_FAST_SETCC: return lower_setcc(l, op);
	case X86_FAST_CMOVCC: return lower_cmov(l, op);
	case X86_FAST_CALL: return lower_call_direct(l, op);
	case X86_FAST_CALL_IND: return lower_indirect(l, op, true);
	case X86_FAST_JMP_IND: return lower_indirect(l, op, false);
	case X86_FAST_RET: return lower_ret(l, op);
	default: return false;
	}
}
