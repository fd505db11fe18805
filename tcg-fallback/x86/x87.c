/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoding of the x87 escapes: tables by ModRM to the instructions, and the checks that come before every one
 * of them. The tables follow Intel SDM vol. 2, A.5.2; the aliases that it leaves out (FSTP1, FXCH4, FCOM2,
 * FFREEP, ...) are those of the 8087 and 80287 that all successors still execute.
 */
#include "tcg-fallback/x86/x87_state.h"

/* A group of eight instructions that differ in ModRM.rm. */
struct x87_group {
	x86_slow_fn *fn[8];
};

struct x87_escape {
	x86_slow_fn *mem[8];              /* by ModRM.reg */
	x86_slow_fn *sti[8];              /* by ModRM.reg, operand ST(ModRM.rm) */
	const struct x87_group *group[8]; /* by ModRM.reg, where sti is NULL */
};

static const struct x87_group group_d9_2 = {{x87_fnop}};
static const struct x87_group group_d9_4 = {{x87_fchs, x87_fabs, NULL, NULL, x87_ftst, x87_fxam}};
static const struct x87_group group_d9_5 = {{x87_fld_constant, x87_fld_constant, x87_fld_constant,
					     x87_fld_constant, x87_fld_constant, x87_fld_constant,
					     x87_fld_constant}};
static const struct x87_group group_d9_6 = {
	{x87_f2xm1, x87_fyl2x, x87_fptan, x87_fpatan, x87_fxtract, x87_fprem1, x87_fdecstp, x87_fincstp}};
static const struct x87_group group_d9_7 = {
	{x87_fprem, x87_fyl2xp1, x87_fsqrt, x87_fsincos, x87_frndint, x87_fscale, x87_fsin, x87_fcos}};
static const struct x87_group group_da_5 = {{NULL, x87_fucompp}};
static const struct x87_group group_db_4 = {{x87_ignored, x87_ignored, x87_fnclex, x87_fninit, x87_ignored}};
static const struct x87_group group_de_3 = {{NULL, x87_fcompp}};
static const struct x87_group group_df_4 = {{x87_fnstsw_ax}};

static const struct x87_escape escape_d8 = {
	.mem = {x87_arith_m32, x87_arith_m32, x87_arith_m32, x87_arith_m32, x87_arith_m32, x87_arith_m32,
		x87_arith_m32, x87_arith_m32},
	.sti = {x87_arith_st0_sti, x87_arith_st0_sti, x87_fcom, x87_fcomp, x87_arith_st0_sti,
		x87_arith_st0_sti, x87_arith_st0_sti, x87_arith_st0_sti},
};

static const struct x87_escape escape_d9 = {
	.mem = {x87_fld_m32, NULL, x87_fst_m32, x87_fstp_m32, x87_fldenv, x87_fldcw, x87_fnstenv, x87_fnstcw},
	.sti = {x87_fld_sti, x87_fxch, NULL, x87_fstp1},
	.group = {NULL, NULL, &group_d9_2, NULL, &group_d9_4, &group_d9_5, &group_d9_6, &group_d9_7},
};

static const struct x87_escape escape_da = {
	.mem = {x87_arith_m32i, x87_arith_m32i, x87_arith_m32i, x87_arith_m32i, x87_arith_m32i,
		x87_arith_m32i, x87_arith_m32i, x87_arith_m32i},
	.sti = {x87_fcmov, x87_fcmov, x87_fcmov, x87_fcmov},
	.group = {[5] = &group_da_5},
};

static const struct x87_escape escape_db = {
	.mem = {x87_fild_m32, x87_fisttp_m32, x87_fist_m32, x87_fistp_m32, NULL, x87_fld_m80, NULL,
		x87_fstp_m80},
	.sti = {x87_fcmov, x87_fcmov, x87_fcmov, x87_fcmov, NULL, x87_fucomi, x87_fcomi},
	.group = {[4] = &group_db_4},
};

static const struct x87_escape escape_dc = {
	.mem = {x87_arith_m64, x87_arith_m64, x87_arith_m64, x87_arith_m64, x87_arith_m64, x87_arith_m64,
		x87_arith_m64, x87_arith_m64},
	.sti = {x87_arith_sti_st0, x87_arith_sti_st0, x87_fcom, x87_fcomp, x87_arith_sti_st0,
		x87_arith_sti_st0, x87_arith_sti_st0, x87_arith_sti_st0},
};

static const struct x87_escape escape_dd = {
	.mem = {x87_fld_m64, x87_fisttp_m64, x87_fst_m64, x87_fstp_m64, x87_frstor, NULL, x87_fnsave,
		x87_fnstsw_m16},
	.sti = {x87_ffree, x87_fxch, x87_fst_sti, x87_fstp_sti, x87_fucom, x87_fucomp},
};

static const struct x87_escape escape_de = {
	.mem = {x87_arith_m16i, x87_arith_m16i, x87_arith_m16i, x87_arith_m16i, x87_arith_m16i,
		x87_arith_m16i, x87_arith_m16i, x87_arith_m16i},
	.sti = {x87_arithp_sti_st0, x87_arithp_sti_st0, x87_fcomp, NULL, x87_arithp_sti_st0,
		x87_arithp_sti_st0, x87_arithp_sti_st0, x87_arithp_sti_st0},
	.group = {[3] = &group_de_3},
};

static const struct x87_escape escape_df = {
	.mem = {x87_fild_m16, x87_fisttp_m16, x87_fist_m16, x87_fistp_m16, x87_fbld, x87_fild_m64, x87_fbstp,
		x87_fistp_m64},
	.sti = {x87_ffreep, x87_fxch, x87_fstp_sti, x87_fstp_sti, NULL, x87_fucomip, x87_fcomip},
	.group = {[4] = &group_df_4},
};

/* The instructions that do not wait: a pending exception does not keep them from executing. */
static bool x87_is_no_wait(x86_slow_fn *fn)
{
	return fn == x87_fnstcw || fn == x87_fnstsw_m16 || fn == x87_fnstsw_ax || fn == x87_fnstenv ||
	       fn == x87_fnsave || fn == x87_fnclex || fn == x87_fninit || fn == x87_ignored;
}

static x86_slow_fn *x87_lookup(const struct x87_escape *escape, const struct x86_insn *in)
{
	unsigned int reg = in->reg & 7;

	if (x86_insn_is_mem(in))
		return escape->mem[reg];
	if (escape->sti[reg])
		return escape->sti[reg];
	return escape->group[reg] ? escape->group[reg]->fn[in->rm & 7] : NULL;
}

x86_slow_fn *x87_find(const struct x86_insn *in)
{
	static const struct x87_escape *const escapes[8] = {&escape_d8, &escape_d9, &escape_da, &escape_db,
							    &escape_dc, &escape_dd, &escape_de, &escape_df};

	return x87_lookup(escapes[in->opcode & 7], in);
}

static void x87_execute(struct x86_cpu *cpu, const struct x86_insn *in, const struct x87_escape *escape)
{
	x86_slow_fn *fn = x87_lookup(escape, in);

	if (cpu->cr0 & (CR0_EM | CR0_TS))
		x86_raise(cpu, VEC_NM);
	if (!fn)
		x86_raise_ud(cpu);
	if ((cpu->fpu.status & X87_STATUS_ES) && !x87_is_no_wait(fn))
		x87_check_pending(cpu);
	fn(cpu, in);
}

void x86_slow_fpu_d8(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_d8);
}

void x86_slow_fpu_d9(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_d9);
}

void x86_slow_fpu_da(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_da);
}

void x86_slow_fpu_db(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_db);
}

void x86_slow_fpu_dc(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_dc);
}

void x86_slow_fpu_dd(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_dd);
}

void x86_slow_fpu_de(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_de);
}

void x86_slow_fpu_df(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_execute(cpu, in, &escape_df);
}

/* FWAIT looks at CR0.MP and TS together, never at EM. */
void x86_slow_fwait(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if ((cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		x86_raise(cpu, VEC_NM);
	x87_check_pending(cpu);
}
