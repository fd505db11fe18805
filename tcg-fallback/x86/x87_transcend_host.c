/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87_transcend.h by the host's x87, so that the interpreter and translated code give the same bits. The host
 * never has an exception unmasked: with one unmasked in the guest, which translated code does not execute,
 * softfloat serves. The x87 is as the ABI has it before and after. Intel SDM vol. 1, 8.3.
 */
#include <stddef.h>

#include "tcg-fallback/x86/x87_transcend.h"

#define CONTROL_ABI   0x037fu
#define CONTROL_MASKS 0x007fu
#define STATUS_C1     0x0200u
#define STATUS_C2     0x0400u

/* A register as the x87 loads and stores it. */
struct m80 {
	uint8_t bytes[10];
};

_Static_assert(offsetof(struct f80, sexp) == 8, "a struct f80 begins with an x87 operand in memory");

static struct m80 *operand(struct f80 *value)
{
	return (struct m80 *)value;
}

static const struct m80 *source(const struct f80 *value)
{
	return (const struct m80 *)value;
}

static uint16_t control_of(const struct sf_env *env)
{
	return (uint16_t)(CONTROL_MASKS | (unsigned)env->precision << 8 | (unsigned)env->rounding << 10);
}

static void take_status(struct sf_env *env, uint16_t status)
{
	env->flags |= status & SF_ALL;
	env->rounded_up |= !!(status & STATUS_C1);
}

/* insn_ on st(0) = a_ (and st(1) = b_), one result. */
#define UNARY(insn_, a_, status_, env_)                                                                      \
	__asm__ volatile("fldt %0; fldcw %2; fnclex; " insn_ "; fnstsw %1; fstpt %0; fnclex; fldcw %3"       \
			 : "+m"(*operand(a_)), "=m"(*(status_))                                              \
			 : "m"(*(const uint16_t[]){control_of(env_)}),                                       \
			   "m"(*(const uint16_t[]){CONTROL_ABI}))
#define BINARY(insn_, a_, b_, status_, env_)                                                                 \
	__asm__ volatile("fldt %2; fldt %0; fldcw %3; fnclex; " insn_                                        \
			 "; fnstsw %1; fstpt %0; fnclex; fldcw %4"                                           \
			 : "+m"(*operand(a_)), "=m"(*(status_))                                              \
			 : "m"(*source(b_)), "m"(*(const uint16_t[]){control_of(env_)}),                     \
			   "m"(*(const uint16_t[]){CONTROL_ABI}))

struct f80 x87_2xm1(struct f80 a, struct sf_env *env)
{
	uint16_t status;

	if (env->unmasked)
		return sf80_2xm1(a, env);
	UNARY("f2xm1", &a, &status, env);
	take_status(env, status);
	return a;
}

struct f80 x87_yl2x(struct f80 x, struct f80 y, struct sf_env *env)
{
	uint16_t status;

	if (env->unmasked)
		return sf80_yl2x(x, y, env);
	BINARY("fyl2x", &x, &y, &status, env);
	take_status(env, status);
	return x;
}

struct f80 x87_yl2xp1(struct f80 x, struct f80 y, struct sf_env *env)
{
	uint16_t status;

	if (env->unmasked)
		return sf80_yl2xp1(x, y, env);
	BINARY("fyl2xp1", &x, &y, &status, env);
	take_status(env, status);
	return x;
}

struct f80 x87_patan(struct f80 y, struct f80 x, struct sf_env *env)
{
	uint16_t status;

	if (env->unmasked)
		return sf80_patan(y, x, env);
	BINARY("fpatan", &x, &y, &status, env);
	take_status(env, status);
	return x;
}

bool x87_sin(struct f80 a, struct f80 *sin, struct sf_env *env)
{
	uint16_t status;

	if (env->unmasked)
		return sf80_sin(a, sin, env);
	UNARY("fsin", &a, &status, env);
	take_status(env, status);
	if (status & STATUS_C2)
		return false;
	*sin = a;
	return true;
}

bool x87_cos(struct f80 a, struct f80 *cos, struct sf_env *env)
{
	uint16_t status;

	if (env->unmasked)
		return sf80_cos(a, cos, env);
	UNARY("fcos", &a, &status, env);
	take_status(env, status);
	if (status & STATUS_C2)
		return false;
	*cos = a;
	return true;
}

/* Two results, unless the operand was too large: st(0) goes to *top, st(1), or what a is still, to *below. */
#define PUSHING(insn_, a_, top_, below_, status_, env_)                                                      \
	__asm__ volatile("fldt %3; fldcw %4; fnclex; " insn_                                                 \
			 "; fnstsw %%ax; mov %%ax, %2; test $0x04, %%ah; jnz 1f; "                           \
			 "fstpt %0; 1: fstpt %1; fnclex; fldcw %5"                                           \
			 : "=m"(*operand(top_)), "=m"(*operand(below_)), "=m"(*(status_))                    \
			 : "m"(*source(a_)), "m"(*(const uint16_t[]){control_of(env_)}),                     \
			   "m"(*(const uint16_t[]){CONTROL_ABI})                                             \
			 : "ax", "cc")

bool x87_sincos(struct f80 a, struct f80 *sin, struct f80 *cos, struct sf_env *env)
{
	struct f80 top = a, below = a;
	uint16_t status;

	if (env->unmasked)
		return sf80_sincos(a, sin, cos, env);
	PUSHING("fsincos", &a, &top, &below, &status, env);
	take_status(env, status);
	if (status & STATUS_C2)
		return false;
	*cos = top;
	*sin = below;
	return true;
}

/* What is pushed above the tangent is known: 1, or the NaN that the tangent is. */
bool x87_tan(struct f80 a, struct f80 *tan, struct sf_env *env)
{
	struct f80 top = a, below = a;
	uint16_t status;

	if (env->unmasked)
		return sf80_tan(a, tan, env);
	PUSHING("fptan", &a, &top, &below, &status, env);
	take_status(env, status);
	if (status & STATUS_C2)
		return false;
	*tan = below;
	return true;
}
