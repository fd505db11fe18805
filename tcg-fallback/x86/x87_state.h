/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the x87 instructions share: the register stack, the environment of an operation and its completion.
 * Private to x87*.c. Intel SDM vol. 1, 8.1 and 8.5.
 */
#pragma once

#include "tcg-fallback/softfloat/softfloat.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/x87.h"

/* Flags of a stack fault: an overflow also sets rounded_up, as C1 tells the two apart. */
#define X87_STACK_FAULT (SF_INVALID | X87_STATUS_SF)

static inline unsigned int x87_physical(const struct x86_cpu *cpu, unsigned int i)
{
	return (cpu->fpu.top + i) & 7;
}

static inline bool x87_is_empty(const struct x86_cpu *cpu, unsigned int i)
{
	return cpu->fpu.empty[x87_physical(cpu, i)];
}

static inline struct f80 x87_get(const struct x86_cpu *cpu, unsigned int i)
{
	return cpu->fpu.reg[x87_physical(cpu, i)];
}

static inline void x87_put(struct x86_cpu *cpu, unsigned int i, struct f80 value)
{
	cpu->fpu.reg[x87_physical(cpu, i)] = value;
	cpu->fpu.empty[x87_physical(cpu, i)] = 0;
}

static inline void x87_pop(struct x86_cpu *cpu)
{
	cpu->fpu.empty[cpu->fpu.top] = 1;
	cpu->fpu.top = (cpu->fpu.top + 1) & 7;
}

static inline void x87_push(struct x86_cpu *cpu, struct f80 value)
{
	cpu->fpu.top = (cpu->fpu.top - 1) & 7;
	x87_put(cpu, 0, value);
}

/* FCW as a floating-point environment, with no flag raised yet. */
static inline struct sf_env x87_env(const struct x86_cpu *cpu)
{
	return (struct sf_env){
		.rounding = cpu->fpu.control >> 10 & 3,
		.precision = cpu->fpu.control >> 8 & 3,
		.unmasked = (uint8_t)(~cpu->fpu.control & SF_ALL),
	};
}

/*
 * Ends an operation: exception flags, C1 and the pointers to the instruction and its operand (`in`). Called
 * when nothing can raise a fault any more. False: an unmasked invalid operation, denormal operand or division
 * by zero: write no result.
 */
bool x87_commit(struct x86_cpu *cpu, const struct x86_insn *in, const struct sf_env *env);

/* The same with no exception, for moves and the like: C1 is cleared. */
void x87_commit_quiet(struct x86_cpu *cpu, const struct x86_insn *in);

/* Records FOP, FIP, FDP alone: for the instructions that leave the status word alone. */
void x87_record(struct x86_cpu *cpu, const struct x86_insn *in);

/* Replaces C3, C2 and C0 (and C1 where cc holds it). */
static inline void x87_condition_set(struct x86_cpu *cpu, uint16_t cc)
{
	cpu->fpu.status =
		(uint16_t)((cpu->fpu.status & ~(X87_STATUS_C0 | X87_STATUS_C2 | X87_STATUS_C3)) | cc);
}

/*
 * The instructions; each name is that of the manual, operand kinds behind it. x87_arith.c, x87_move.c,
 * x87_control.c
 */
x86_slow_fn x87_arith_st0_sti, x87_arith_sti_st0, x87_arithp_sti_st0;
x86_slow_fn x87_arith_m32, x87_arith_m64, x87_arith_m32i, x87_arith_m16i;
x86_slow_fn x87_fcom, x87_fcomp, x87_fcompp, x87_fucom, x87_fucomp, x87_fucompp;
x86_slow_fn x87_fcomi, x87_fcomip, x87_fucomi, x87_fucomip;
x86_slow_fn x87_ftst, x87_fxam, x87_fchs, x87_fabs;
x86_slow_fn x87_fsqrt, x87_frndint, x87_fscale, x87_fprem, x87_fprem1, x87_fxtract;
x86_slow_fn x87_f2xm1, x87_fyl2x, x87_fyl2xp1, x87_fpatan, x87_fptan, x87_fsin, x87_fcos, x87_fsincos;
x86_slow_fn x87_fld_sti, x87_fld_m32, x87_fld_m64, x87_fld_m80, x87_fild_m16, x87_fild_m32, x87_fild_m64,
	x87_fbld;
x86_slow_fn x87_fst_sti, x87_fstp_sti, x87_fstp1, x87_fst_m32, x87_fstp_m32, x87_fst_m64, x87_fstp_m64,
	x87_fstp_m80;
x86_slow_fn x87_fist_m16, x87_fistp_m16, x87_fist_m32, x87_fistp_m32, x87_fistp_m64, x87_fbstp;
x86_slow_fn x87_fisttp_m16, x87_fisttp_m32, x87_fisttp_m64;
x86_slow_fn x87_fxch, x87_fcmov, x87_fld_constant, x87_ffree, x87_ffreep, x87_fincstp, x87_fdecstp, x87_fnop;
x86_slow_fn x87_fldcw, x87_fnstcw, x87_fnstsw_m16, x87_fnstsw_ax, x87_fldenv, x87_fnstenv, x87_frstor,
	x87_fnsave;
x86_slow_fn x87_fnclex, x87_fninit, x87_ignored;
