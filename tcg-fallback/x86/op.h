/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lowered instruction: what the interpreter executes. Ops stand in a row in the code arena; each handler
 * does its work and goes on to the next (NEXT) or to another op (GOTO). lower.c makes them, op_*.c and
 * fast_*.c execute them.
 *
 * The CPU's RIP is not kept up to date: an op knows its offset in the page, and r[REG_RIP] holds RIP less
 * that offset for the page that runs, so blocks serve every virtual address at which the physical page is
 * mapped. Whatever may raise calls op_sync_rip first. Handlers of the fast forms never raise: when the inline
 * TLB misses they hand over to the general form of the same instruction (op_miss_*, x86_execute_one), which
 * can do everything.
 *
 * Code that was overwritten needs no check in any handler: each op of a dropped block gets op_stale as its
 * handler, which looks RIP up anew (core/code.c). So a store into the running block takes effect at the next
 * instruction.
 */
#pragma once

#include "tcg-fallback/x86/insn.h"
#include "tcg-fallback/x86/mem.h"

struct x86_op;
typedef struct x86_op *x86_op_fn(struct x86_cpu *cpu, struct x86_op *op);

struct x86_op {
	x86_op_fn *fn;
	union {
		uint64_t imm;          /* immediate, cut to the operand size */
		struct x86_op *target; /* of a direct jump within the page; NULL until linked */
		x86_slow_fn *slow_row;
	};
	int32_t disp; /* displacement of the memory operand, RIP-relative ones corrected; jumps: distance from
			 this page */
	uint16_t off; /* page offset of the instruction's first byte */
	uint8_t len;  /* of the instruction (pairs that were fused: of both) */
	uint8_t slots;              /* 32-byte slots that this op takes, data included */
	uint8_t dst;                /* register number; 8-bit operands: byte offset in r[] */
	uint8_t src;                /* likewise */
	uint8_t base, index, scale; /* memory operand; REG_ZERO where there is none */
	uint8_t seg;                /* SEG_* */
	uint8_t kind;               /* OP_* flags */
	uint8_t aux; /* what the operation likes: condition, shift count, repeat prefix, operand size */
};
#define OP_NO_ENTRY 1u /* relies on what the op before it did: nobody may jump here */
#define OP_LAST     2u /* always leaves: nothing of its block follows */
_Static_assert(sizeof(struct x86_op) == 32, "ops are half a cache line");

/*
 * Dispatch. Where calls in tail position are jumps (musttail, or a compiler that optimises sibling calls), a
 * handler ends by jumping to the next one; otherwise it returns the next op to the loop in run.c. Returning
 * NULL leaves to the run loop, which looks cpu->rip up anew.
 */
#if defined(__clang__) && __has_attribute(musttail)
#define X86_TAIL 1
#define OP_GOTO(cpu, op)                                                                                     \
	do {                                                                                                 \
		struct x86_op *goto_ = (op);                                                                 \
		__attribute__((musttail)) return goto_->fn((cpu), goto_);                                    \
	} while (0)
#define OP_TAIL(fn, cpu, op) __attribute__((musttail)) return fn((cpu), (op))
#elif defined(__GNUC__) && defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) &&                        \
	!defined(__SANITIZE_THREAD__)
#define X86_TAIL 1
#define OP_GOTO(cpu, op)                                                                                     \
	do {                                                                                                 \
		struct x86_op *goto_ = (op);                                                                 \
		return goto_->fn((cpu), goto_);                                                              \
	} while (0)
#define OP_TAIL(fn, cpu, op) return fn((cpu), (op))
#else
#define X86_TAIL             0
#define OP_GOTO(cpu, op)     return (op)
#define OP_TAIL(fn, cpu, op) return fn((cpu), (op))
#endif
#define OP_NEXT(cpu, op) OP_GOTO(cpu, (op) + 1)

/* The value of r[REG_PAGE]: a page and the longest instruction, by which a displacement may have to be
 * lowered to fit. */
#define OP_PAGE_BIAS (4096 + 16)

/* RIP of this op and of the instruction after it. Outside 64-bit mode RIP has 32 bits. */
static inline uint64_t op_rip(const struct x86_cpu *cpu, const struct x86_op *op)
{
	uint64_t rip = cpu->r[REG_RIP] + op->off;

	return cpu->mode_bits == 64 ? rip : (uint32_t)rip;
}

static inline uint64_t op_rip_next(const struct x86_cpu *cpu, const struct x86_op *op)
{
	uint64_t rip = cpu->r[REG_RIP] + op->off + op->len;

	return cpu->mode_bits == 64 ? rip : (uint32_t)rip;
}

static inline void op_sync_rip(struct x86_cpu *cpu, const struct x86_op *op)
{
	cpu->rip = op_rip(cpu, op);
}
