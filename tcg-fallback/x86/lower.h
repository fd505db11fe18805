/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the lowering of a block (lower.c) and the families of handlers (fast_*.c, op_*.c): a family looks
 * at a decoded instruction and fills an op, or declines, and then the instruction is called in its general
 * form.
 */
#pragma once

#include "insn_gen.h"
#include "tcg-fallback/x86/op.h"

/* Decodes at a guest-physical address of RAM what lies in its page, and marks it as code first (phys.h). */
enum x86_decode_status x86_lower_decode(struct x86_cpu *cpu, const struct x86_decode_mode *mode, uint64_t gpa,
					struct x86_insn *in);

/* How the address of a memory operand is computed by fast handlers. */
enum x86_ea {
	EA_BD,  /* 64-bit mode: base + displacement */
	EA_BIS, /* base + index << scale + displacement */
	EA_SEG, /* the same plus the base of FS or GS */
	EA_32,  /* 32-bit mode, flat segment: EA_BIS cut to 32 bits */
	EA_B32, /* EA_BD cut to 32 bits */
	EA_S32, /* EA_SEG cut to 32 bits, FS or GS without a limit */
	EA_KINDS,
	EA_NONE /* anything else: general form */
};

struct x86_lowering {
	struct x86_cpu *cpu;
	struct x86_op *op; /* where the next op goes */
	const struct x86_insn *in;
	unsigned mode;            /* CODE_MODE_* */
	unsigned off;             /* page offset of the instruction */
	bool ended;               /* the op just made ends the block */
	struct x86_op *cc_setter; /* the op that set the flags last */
	uint32_t cc_op; /* what the flags of the last op are, when nothing came between; else CC_UNKNOWN */
};
#define CC_UNKNOWN UINT32_MAX

static inline bool lowering_is64(const struct x86_lowering *l)
{
	return (l->mode & 3) == 2;
}

/* Fills base, index, scale, seg and disp of the op for the memory operand; which address form serves it. */
enum x86_ea x86_lower_ea(const struct x86_lowering *l, struct x86_op *op);

/* The families: true when the op was made (fn and fields; off, len and slots are set by the caller, slots
 * preset to 1). */
bool x86_lower_alu(struct x86_lowering *l, struct x86_op *op);
bool x86_lower_move(struct x86_lowering *l, struct x86_op *op);
bool x86_lower_shift(struct x86_lowering *l, struct x86_op *op);
bool x86_lower_branch(struct x86_lowering *l, struct x86_op *op);
bool x86_lower_misc(struct x86_lowering *l, struct x86_op *op);

/* The op sets all flags, in the lazy form cc_op (CC_UNKNOWN: not known before it runs). */
static inline void x86_lower_sets_flags(struct x86_lowering *l, struct x86_op *op, uint32_t cc_op)
{
	l->cc_setter = op;
	l->cc_op = cc_op;
}

/* The op reads the flags in the form cc_op: nobody may enter the block between their setter and it. */
static inline void x86_lower_relies_on_flags(struct x86_lowering *l, struct x86_op *op)
{
	for (struct x86_op *at = l->cc_setter + l->cc_setter->slots; at < op; at += at->slots)
		at->kind |= OP_NO_ENTRY;
	op->kind |= OP_NO_ENTRY;
}

/* Handlers that several families use. */
x86_op_fn op_stale, op_miss_read, op_miss_write, op_miss_general, op_call, op_call_cpl0, op_call_jump,
	op_call_end, op_call_string, op_vec, op_settle_carry, op_raise_ud, op_raise_gp, op_fall;

/* Goes on at cpu->rip, by the jump cache, unless something wants attention (then NULL, for the run loop). */
struct x86_op *x86_op_at_rip(struct x86_cpu *cpu);
