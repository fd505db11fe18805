/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87's arithmetic, comparisons and transcendentals: operands from the stack or from memory, softfloat/
 * for the value, the result and the condition codes back. Memory is read before anything changes. Intel SDM
 * vol. 2.
 */
#include "tcg-fallback/x86/x87_state.h"
#include "tcg-fallback/x86/x87_transcend.h"

/* The eight operations of D8, DA, DC and DE, by ModRM.reg; 2 and 3 are the comparisons. */
enum { ARITH_ADD, ARITH_MUL, ARITH_COM, ARITH_COMP, ARITH_SUB, ARITH_SUBR, ARITH_DIV, ARITH_DIVR };

static struct f80 x87_compute(unsigned int op, struct f80 a, struct f80 b, struct sf_env *env)
{
	switch (op) {
	case ARITH_ADD: return sf80_add(a, b, env);
	case ARITH_MUL: return sf80_mul(a, b, env);
	case ARITH_SUB: return sf80_sub(a, b, env);
	case ARITH_SUBR: return sf80_sub(b, a, env);
	case ARITH_DIV: return sf80_div(a, b, env);
	default: return sf80_div(b, a, env);
	}
}

static uint16_t x87_condition_of(enum sf_relation relation)
{
	switch (relation) {
	case SF_LESS: return X87_STATUS_C0;
	case SF_EQUAL: return X87_STATUS_C3;
	case SF_GREATER: return 0;
	case SF_UNORDERED: break;
	}
	return X87_STATUS_C0 | X87_STATUS_C2 | X87_STATUS_C3;
}

/* st(dest) = st(0) op st(i), in the operand order of op. */
static void x87_arith_registers(struct x86_cpu *cpu, const struct x86_insn *in, unsigned int dest, bool pop)
{
	struct sf_env env = x87_env(cpu);
	unsigned int i = in->rm & 7;
	struct f80 r = SF80_DEFAULT_NAN;

	if (x87_is_empty(cpu, 0) || x87_is_empty(cpu, i))
		env.flags = X87_STACK_FAULT;
	else
		r = x87_compute(in->reg & 7, x87_get(cpu, 0), x87_get(cpu, i), &env);
	if (!x87_commit(cpu, in, &env))
		return;
	x87_put(cpu, dest, r);
	if (pop)
		x87_pop(cpu);
}

void x87_arith_st0_sti(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_arith_registers(cpu, in, 0, false);
}

void x87_arith_sti_st0(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_arith_registers(cpu, in, in->rm & 7, false);
}

void x87_arithp_sti_st0(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_arith_registers(cpu, in, in->rm & 7, true);
}

/* Condition codes are set even where an unmasked exception is raised; only the pops then do not happen. */
static void x87_compare_finish(struct x86_cpu *cpu, const struct x86_insn *in, enum sf_relation relation,
			       const struct sf_env *env, unsigned int pops)
{
	bool completed = x87_commit(cpu, in, env);

	x87_condition_set(cpu, x87_condition_of(relation));
	while (completed && pops--)
		x87_pop(cpu);
}

/* st(0) op a memory operand that has been read and widened; env already knows whether it was a denormal. */
static void x87_arith_operand(struct x86_cpu *cpu, const struct x86_insn *in, struct f80 b,
			      struct sf_env *env)
{
	unsigned int op = in->reg & 7;
	bool empty = x87_is_empty(cpu, 0);
	struct f80 r = SF80_DEFAULT_NAN;

	if (empty)
		env->flags = X87_STACK_FAULT;
	if (op == ARITH_COM || op == ARITH_COMP) {
		enum sf_relation relation = empty ? SF_UNORDERED : sf80_compare(x87_get(cpu, 0), b, env);

		x87_compare_finish(cpu, in, relation, env, op == ARITH_COMP);
		return;
	}
	if (!empty)
		r = x87_compute(op, x87_get(cpu, 0), b, env);
	if (x87_commit(cpu, in, env))
		x87_put(cpu, 0, r);
}

void x87_arith_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint32_t b = x86_ld32(cpu, in->seg, x86_insn_ea(cpu, in));
	struct sf_env env = x87_env(cpu);

	env.src_denormal = sf32_is_denormal(b);
	x87_arith_operand(cpu, in, sf80_widen_f32(b), &env);
}

void x87_arith_m64(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t b = x86_ld64(cpu, in->seg, x86_insn_ea(cpu, in));
	struct sf_env env = x87_env(cpu);

	env.src_denormal = sf64_is_denormal(b);
	x87_arith_operand(cpu, in, sf80_widen_f64(b), &env);
}

void x87_arith_m32i(struct x86_cpu *cpu, const struct x86_insn *in)
{
	int32_t b = (int32_t)x86_ld32(cpu, in->seg, x86_insn_ea(cpu, in));
	struct sf_env env = x87_env(cpu);

	x87_arith_operand(cpu, in, sf80_from_i64(b), &env);
}

void x87_arith_m16i(struct x86_cpu *cpu, const struct x86_insn *in)
{
	int16_t b = (int16_t)x86_ld16(cpu, in->seg, x86_insn_ea(cpu, in));
	struct sf_env env = x87_env(cpu);

	x87_arith_operand(cpu, in, sf80_from_i64(b), &env);
}

static enum sf_relation x87_compare_registers(const struct x86_cpu *cpu, const struct x86_insn *in,
					      bool quiet, struct sf_env *env)
{
	unsigned int i = in->rm & 7;

	if (x87_is_empty(cpu, 0) || x87_is_empty(cpu, i)) {
		env->flags = X87_STACK_FAULT;
		return SF_UNORDERED;
	}
	return quiet ? sf80_compare_quiet(x87_get(cpu, 0), x87_get(cpu, i), env)
		     : sf80_compare(x87_get(cpu, 0), x87_get(cpu, i), env);
}

static void x87_compare(struct x86_cpu *cpu, const struct x86_insn *in, bool quiet, unsigned int pops)
{
	struct sf_env env = x87_env(cpu);
	enum sf_relation relation = x87_compare_registers(cpu, in, quiet, &env);

	x87_compare_finish(cpu, in, relation, &env, pops);
}

void x87_fcom(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare(cpu, in, false, 0);
}

void x87_fcomp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare(cpu, in, false, 1);
}

void x87_fcompp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare(cpu, in, false, 2);
}

void x87_fucom(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare(cpu, in, true, 0);
}

void x87_fucomp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare(cpu, in, true, 1);
}

void x87_fucompp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare(cpu, in, true, 2);
}

static uint32_t x87_eflags_of(enum sf_relation relation)
{
	switch (relation) {
	case SF_LESS: return FLAG_CF;
	case SF_EQUAL: return FLAG_ZF;
	case SF_GREATER: return 0;
	case SF_UNORDERED: break;
	}
	return FLAG_CF | FLAG_PF | FLAG_ZF;
}

/* As with the condition codes, EFLAGS are set in any case; C1 is only touched (cleared) by a stack fault. */
static void x87_compare_eflags(struct x86_cpu *cpu, const struct x86_insn *in, bool quiet, bool pop)
{
	struct sf_env env = x87_env(cpu);
	enum sf_relation relation = x87_compare_registers(cpu, in, quiet, &env);
	uint16_t c1 = cpu->fpu.status & X87_STATUS_C1;
	bool completed = x87_commit(cpu, in, &env);

	if (!(env.flags & X87_STATUS_SF))
		cpu->fpu.status |= c1;
	x86_eflags_set(cpu, x87_eflags_of(relation), FLAGS_STATUS);
	if (completed && pop)
		x87_pop(cpu);
}

void x87_fcomi(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare_eflags(cpu, in, false, false);
}

void x87_fcomip(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare_eflags(cpu, in, false, true);
}

void x87_fucomi(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare_eflags(cpu, in, true, false);
}

void x87_fucomip(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_compare_eflags(cpu, in, true, true);
}

void x87_ftst(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	enum sf_relation relation = SF_UNORDERED;

	if (x87_is_empty(cpu, 0))
		env.flags = X87_STACK_FAULT;
	else
		relation = sf80_compare(x87_get(cpu, 0), (struct f80){0}, &env);
	x87_compare_finish(cpu, in, relation, &env, 0);
}

static uint16_t x87_class_of(struct f80 a)
{
	unsigned int exp = a.sexp & 0x7fff;

	if (exp == 0)
		return a.mant ? X87_STATUS_C3 | X87_STATUS_C2 : X87_STATUS_C3;
	if (!(a.mant >> 63))
		return 0;
	if (exp != 0x7fff)
		return X87_STATUS_C2;
	return a.mant << 1 ? X87_STATUS_C0 : X87_STATUS_C2 | X87_STATUS_C0;
}

void x87_fxam(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct f80 a = x87_get(cpu, 0);
	uint16_t cc = x87_is_empty(cpu, 0) ? X87_STATUS_C3 | X87_STATUS_C0 : x87_class_of(a);

	x87_commit_quiet(cpu, in);
	x87_condition_set(cpu, a.sexp >> 15 ? cc | X87_STATUS_C1 : cc);
}

static void x87_sign(struct x86_cpu *cpu, const struct x86_insn *in, struct f80 r)
{
	struct sf_env env = x87_env(cpu);

	if (x87_is_empty(cpu, 0)) {
		env.flags = X87_STACK_FAULT;
		r = SF80_DEFAULT_NAN;
	}
	if (x87_commit(cpu, in, &env))
		x87_put(cpu, 0, r);
}

void x87_fchs(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct f80 r = x87_get(cpu, 0);

	r.sexp ^= 0x8000;
	x87_sign(cpu, in, r);
}

void x87_fabs(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct f80 r = x87_get(cpu, 0);

	r.sexp &= 0x7fff;
	x87_sign(cpu, in, r);
}

/* st(0) = op(st(0)) */
static void x87_unary(struct x86_cpu *cpu, const struct x86_insn *in,
		      struct f80 (*op)(struct f80, struct sf_env *))
{
	struct sf_env env = x87_env(cpu);
	struct f80 r = SF80_DEFAULT_NAN;

	if (x87_is_empty(cpu, 0))
		env.flags = X87_STACK_FAULT;
	else
		r = op(x87_get(cpu, 0), &env);
	if (x87_commit(cpu, in, &env))
		x87_put(cpu, 0, r);
}

void x87_fsqrt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_unary(cpu, in, sf80_sqrt);
}

void x87_frndint(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_unary(cpu, in, sf80_round_to_int);
}

void x87_f2xm1(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_unary(cpu, in, x87_2xm1);
}

/* st(dest) = op(st(0), st(1)) */
static void x87_binary(struct x86_cpu *cpu, const struct x86_insn *in, unsigned int dest,
		       struct f80 (*op)(struct f80, struct f80, struct sf_env *))
{
	struct sf_env env = x87_env(cpu);
	struct f80 r = SF80_DEFAULT_NAN;

	if (x87_is_empty(cpu, 0) || x87_is_empty(cpu, 1))
		env.flags = X87_STACK_FAULT;
	else
		r = op(x87_get(cpu, 0), x87_get(cpu, 1), &env);
	if (!x87_commit(cpu, in, &env))
		return;
	x87_put(cpu, dest, r);
	if (dest == 1)
		x87_pop(cpu);
}

void x87_fscale(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_binary(cpu, in, 0, sf80_scale);
}

void x87_fyl2x(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_binary(cpu, in, 1, x87_yl2x);
}

void x87_fyl2xp1(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_binary(cpu, in, 1, x87_yl2xp1);
}

static struct f80 x87_angle(struct f80 st0, struct f80 st1, struct sf_env *env)
{
	return x87_patan(st1, st0, env);
}

void x87_fpatan(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_binary(cpu, in, 1, x87_angle);
}

static void x87_remainder(struct x86_cpu *cpu, const struct x86_insn *in, bool nearest)
{
	struct sf_env env = x87_env(cpu);
	struct sf80_quotient q = {0};
	struct f80 r = SF80_DEFAULT_NAN;
	uint16_t cc;
	bool completed;

	if (x87_is_empty(cpu, 0) || x87_is_empty(cpu, 1))
		env.flags = X87_STACK_FAULT;
	else if (nearest)
		r = sf80_rem_nearest(x87_get(cpu, 0), x87_get(cpu, 1), &q, &env);
	else
		r = sf80_rem_truncated(x87_get(cpu, 0), x87_get(cpu, 1), &q, &env);
	completed = x87_commit(cpu, in, &env);
	cpu->fpu.status &= (uint16_t)~X87_STATUS_C2;
	if (completed)
		x87_put(cpu, 0, r);
	if (!q.exists)
		return;
	cc = (uint16_t)((q.low_bits & 1 ? X87_STATUS_C1 : 0) | (q.low_bits & 2 ? X87_STATUS_C3 : 0) |
			(q.low_bits & 4 ? X87_STATUS_C0 : 0));
	x87_condition_set(cpu, q.partial ? X87_STATUS_C2 : cc);
}

void x87_fprem(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_remainder(cpu, in, false);
}

void x87_fprem1(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_remainder(cpu, in, true);
}

/* Writes st(0) and pushes one more, for the instructions with two results. env has told that there is room.
 */
static void x87_put_two(struct x86_cpu *cpu, struct f80 below, struct f80 top)
{
	x87_put(cpu, 0, below);
	x87_push(cpu, top);
}

/* An empty st(0), or no room for the second result; both results are then the default NaN. */
static bool x87_two_results_fault(const struct x86_cpu *cpu, struct sf_env *env)
{
	if (!x87_is_empty(cpu, 0) && x87_is_empty(cpu, 7))
		return false;
	env->flags = X87_STACK_FAULT;
	env->rounded_up = !x87_is_empty(cpu, 0);
	return true;
}

void x87_fxtract(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	struct f80 significand = SF80_DEFAULT_NAN, exponent = SF80_DEFAULT_NAN;

	if (!x87_two_results_fault(cpu, &env))
		significand = sf80_extract(x87_get(cpu, 0), &exponent, &env);
	if (x87_commit(cpu, in, &env))
		x87_put_two(cpu, exponent, significand);
}

/* C2 tells an operand that is too large, and is cleared otherwise, by a fault too. True: write the result. */
static bool x87_trig_commit(struct x86_cpu *cpu, const struct x86_insn *in, const struct sf_env *env,
			    bool in_range)
{
	bool completed = x87_commit(cpu, in, env);

	cpu->fpu.status &= (uint16_t)~X87_STATUS_C2;
	if (!in_range)
		cpu->fpu.status |= X87_STATUS_C2;
	return completed && in_range;
}

static void x87_trig(struct x86_cpu *cpu, const struct x86_insn *in,
		     bool (*op)(struct f80, struct f80 *, struct sf_env *))
{
	struct sf_env env = x87_env(cpu);
	struct f80 r = SF80_DEFAULT_NAN;
	bool in_range = true;

	if (x87_is_empty(cpu, 0))
		env.flags = X87_STACK_FAULT;
	else
		in_range = op(x87_get(cpu, 0), &r, &env);
	if (x87_trig_commit(cpu, in, &env, in_range))
		x87_put(cpu, 0, r);
}

void x87_fsin(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_trig(cpu, in, x87_sin);
}

void x87_fcos(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_trig(cpu, in, x87_cos);
}

void x87_fsincos(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	struct f80 sin = SF80_DEFAULT_NAN, cos = SF80_DEFAULT_NAN;
	bool in_range = true;

	if (!x87_two_results_fault(cpu, &env))
		in_range = x87_sincos(x87_get(cpu, 0), &sin, &cos, &env);
	if (x87_trig_commit(cpu, in, &env, in_range))
		x87_put_two(cpu, sin, cos);
}

/* The pushed 1.0 is what the 8087's denominator has become; a NaN is pushed as a NaN. */
void x87_fptan(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	struct f80 tan = SF80_DEFAULT_NAN, one = {.mant = 1ull << 63, .sexp = 0x3fff};
	bool in_range = true;

	if (!x87_two_results_fault(cpu, &env))
		in_range = x87_tan(x87_get(cpu, 0), &tan, &env);
	if ((tan.sexp & 0x7fff) == 0x7fff)
		one = tan;
	if (x87_trig_commit(cpu, in, &env, in_range))
		x87_put_two(cpu, tan, one);
}
