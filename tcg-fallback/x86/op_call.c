/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ops that call an instruction's general, slow or vector form, which needs its struct x86_insn in the
 * following slots; what fast handlers hand over when a lookup fails; and the ends of blocks.
 */
#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/flags.h"
#include "tcg-fallback/x86/lower.h"
#include "tcg-fallback/x86/vec.h"

static const struct x86_insn *op_insn(const struct x86_op *op)
{
	return (const struct x86_insn *)(const void *)(op + 1);
}

struct x86_op *x86_op_at_rip(struct x86_cpu *cpu)
{
	if (__builtin_expect(atomic_load_explicit(&cpu->attention, memory_order_relaxed), 0))
		return NULL;
	return x86_code_find(cpu);
}

/* The rest of a handler that may have run out of code to go to. */
#define OP_GOTO_OR_LEAVE(cpu, next)                                                                          \
	do {                                                                                                 \
		struct x86_op *at_ = (next);                                                                 \
		if (!at_)                                                                                    \
			return NULL;                                                                         \
		OP_GOTO(cpu, at_);                                                                           \
	} while (0)

struct x86_op *op_stale(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	OP_GOTO_OR_LEAVE(cpu, x86_op_at_rip(cpu));
}

/* End of a block that does not end with a jump: the next instruction is in another block or page. */
struct x86_op *op_fall(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	OP_GOTO_OR_LEAVE(cpu, x86_op_at_rip(cpu));
}

struct x86_op *op_call(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	op->slow_row(cpu, op_insn(op));
	OP_GOTO(cpu, op + op->slots);
}

struct x86_op *op_vec(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	x86_vec_execute(cpu, op_insn(op));
	OP_GOTO(cpu, op + op->slots);
}

struct x86_op *op_call_cpl0(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	if (cpu->cpl)
		x86_raise_gp(cpu);
	op->slow_row(cpu, op_insn(op));
	OP_GOTO(cpu, op + op->slots);
}

struct x86_op *op_call_jump(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	op->slow_row(cpu, op_insn(op));
	OP_GOTO_OR_LEAVE(cpu, x86_op_at_rip(cpu));
}

/* After a slow row that ends the block the run loop looks at everything: mode, shadow, halt, requests. */
struct x86_op *op_call_end(struct x86_cpu *cpu, struct x86_op *op)
{
	const struct x86_insn *in = op_insn(op);
	uint32_t properties = x86_rows[in->row].properties;
	uint64_t next = op_rip_next(cpu, op);

	op_sync_rip(cpu, op);
	if ((properties & X86_PROP_CPL0) && cpu->cpl)
		x86_raise_gp(cpu);
	op->slow_row(cpu, in);
	if (!(properties & X86_PROP_JUMP))
		cpu->rip = next;
	if (cpu->mode_bits != 64)
		x86_code_segments_changed(cpu);
	return NULL;
}

struct x86_op *op_call_string(struct x86_cpu *cpu, struct x86_op *op)
{
	uint64_t rip = op_rip(cpu, op);

	cpu->rip = rip;
	op->slow_row(cpu, op_insn(op));
	if (cpu->rip == rip)
		return NULL; /* interrupted between two iterations */
	OP_GOTO(cpu, op + op->slots);
}

struct x86_op *op_raise_ud(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	x86_raise_unknown(cpu, VEC_UD);
}

struct x86_op *op_raise_gp(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	x86_raise_gp(cpu);
}

/*
 * Executes the op's instruction by its general form. An op that relies on how the one before it left the
 * flags (OP_NO_ENTRY) must not be gone on with, for general forms leave them in another way.
 */
static struct x86_op *execute_generally(struct x86_cpu *cpu, struct x86_op *op)
{
	struct x86_op *next = op + op->slots;

	x86_execute_one(cpu);
	/* A call of the instruction after it arrives there without the block going on there. */
	if (!(op->kind & OP_LAST) && cpu->rip == op_rip_next(cpu, op) && !(next->kind & OP_NO_ENTRY))
		return next;
	return x86_op_at_rip(cpu);
}

/*
 * The inline lookup of cpu->miss failed. When the TLB can be filled the op is tried again; near the end of a
 * page it may cross into the next and would miss for ever, so there, and for all that cannot be inlined, the
 * general form executes it. It does so too when the same instruction misses again: its two operands may want
 * the same entry, and drive each other out for ever.
 */
static struct x86_op *miss(struct x86_cpu *cpu, struct x86_op *op, bool write)
{
	op_sync_rip(cpu, op);
	if (cpu->rip != cpu->miss_rip && (cpu->miss & (PAGE_SIZE - 1)) <= PAGE_SIZE - 16 &&
	    x86_mem_fill(cpu, cpu->miss, write)) {
		cpu->miss_rip = cpu->rip;
		return op;
	}
	return execute_generally(cpu, op);
}

struct x86_op *op_miss_read(struct x86_cpu *cpu, struct x86_op *op)
{
	OP_GOTO_OR_LEAVE(cpu, miss(cpu, op, false));
}

struct x86_op *op_miss_write(struct x86_cpu *cpu, struct x86_op *op)
{
	OP_GOTO_OR_LEAVE(cpu, miss(cpu, op, true));
}

struct x86_op *op_miss_general(struct x86_cpu *cpu, struct x86_op *op)
{
	op_sync_rip(cpu, op);
	OP_GOTO_OR_LEAVE(cpu, execute_generally(cpu, op));
}

struct x86_op *op_settle_carry(struct x86_cpu *cpu, struct x86_op *op)
{
	cc_set(cpu, CC_OP(CC_INC, 0), 0, x86_flags_cf(cpu));
	OP_GOTO(cpu, op);
}
