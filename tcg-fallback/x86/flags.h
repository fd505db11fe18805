/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lazy status flags. An operation leaves its result and what else the flags need in cpu->cc; they are
 * computed when asked for, mostly by a conditional jump that needs one comparison. Intel SDM vol. 1, 3.4.3.1.
 *
 *   operation   result          source            CF                 OF
 *   ADD         a + b           b                 result < b         signs of a = result - b, b, result
 *   ADC         a + b + 1       b                 result <= b        (only with carry in; without, it is ADD)
 *   SUB         a - b           b                 a < b              a = result + b
 *   SBB         a - b - 1       b                 a <= b             a = result + b + 1
 *   LOGIC       any             -                 0                  0 (and AF 0)
 *   INC, DEC    a + 1, a - 1    CF as it was      source             result is the extreme
 *   RESULT      any             bit 0 CF, bit 1 OF, bit 2 AF: SF, ZF, PF from the result
 *   EFLAGS      the six bits themselves
 *
 * result and source are zero-extended from the operation's width, so ZF is result == 0 for all but EFLAGS.
 */
#pragma once

#include "tcg-fallback/x86/cpu.h"

enum x86_cc_kind { CC_EFLAGS, CC_ADD, CC_ADC, CC_SUB, CC_SBB, CC_LOGIC, CC_INC, CC_DEC, CC_RESULT };

/* x86_lazy_flags.op: the kind and log2 of the width in bytes. */
#define CC_OP(kind, log2_size) ((uint32_t)(kind) << 2 | (uint32_t)(log2_size))
#define CC_KIND(op)            ((op) >> 2)
#define CC_BITS(op)            (8u << ((op)&3))

#define CC_SOURCE_CF 1u
#define CC_SOURCE_OF 2u
#define CC_SOURCE_AF 4u

/* Condition codes as in the opcodes of Jcc; an odd one is the negation of the one below it. */
enum x86_cond {
	COND_O,
	COND_NO,
	COND_B,
	COND_AE,
	COND_E,
	COND_NE,
	COND_BE,
	COND_A,
	COND_S,
	COND_NS,
	COND_P,
	COND_NP,
	COND_L,
	COND_GE,
	COND_LE,
	COND_G
};

static inline void cc_set(struct x86_cpu *cpu, uint32_t op, uint64_t result, uint64_t source)
{
	cpu->cc.result = result;
	cpu->cc.source = source;
	cpu->cc.op = op;
}

static inline unsigned size_log2(unsigned size)
{
	return (unsigned)__builtin_ctz(size);
}

/* The six bits. flags.c */
uint32_t x86_flags_status(const struct x86_cpu *cpu);
bool x86_flags_cf(const struct x86_cpu *cpu);
bool x86_cond_holds(const struct x86_cpu *cpu, unsigned cond);
/* Replaces the six bits. */
static inline void x86_flags_set_status(struct x86_cpu *cpu, uint32_t status)
{
	cc_set(cpu, CC_OP(CC_EFLAGS, 0), status & FLAGS_STATUS, 0);
}

static inline bool x86_flags_zf(const struct x86_cpu *cpu)
{
	return cpu->cc.op < 4 ? (cpu->cc.result & FLAG_ZF) != 0 : cpu->cc.result == 0;
}

/* PF of a result's low byte. */
static inline uint32_t x86_parity(uint64_t result)
{
	return __builtin_parity((unsigned)result & 0xff) ? 0 : FLAG_PF;
}
