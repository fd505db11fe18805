/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is shared by all formats and rare enough to be out of line: overflow and underflow, the choice among
 * NaNs, rounding to an integral value. Unmasked overflow and underflow of the x87: SDM vol. 1, 8.5.4
 * and 8.5.5; NaNs: table 4-7.
 */
#include "tcg-fallback/softfloat/pack.h"

/* The wrap of an f80 exponent when an unmasked overflow or underflow is raised. */
#define F80_WRAP 24576

struct sf_packed sf_overflow(bool sign, const struct sf_format *f, struct sf_env *env)
{
	bool to_inf =
		env->rounding == SF_ROUND_NEAREST || env->rounding == (sign ? SF_ROUND_DOWN : SF_ROUND_UP);

	env->flags |= SF_OVERFLOW | SF_INEXACT;
	env->rounded_up = to_inf;
	if (to_inf)
		return (struct sf_packed){.exp = (uint32_t)(2 * f->exp_max + 1), .hi = SF_TOP_BIT};
	return (struct sf_packed){.exp = (uint32_t)(2 * f->exp_max), .hi = -(1ull << (64 - f->precision))};
}

/* An unmasked overflow or underflow: hi is the rounded significand, exp its true exponent. */
struct sf_packed sf_wrapped(uint64_t hi, int32_t exp, const struct sf_format *f, struct sf_env *env)
{
	if (!f->wraps)
		return (struct sf_packed){0};
	exp += exp > 0 ? -F80_WRAP : F80_WRAP;
	if (exp >= f->exp_min && exp <= f->exp_max)
		return (struct sf_packed){.exp = (uint32_t)(exp + f->exp_max), .hi = hi};
	env->flags |= SF_INEXACT; /* FSCALE can be off by more than the bias */
	env->rounded_up = exp > f->exp_max;
	return exp > f->exp_max ? (struct sf_packed){.exp = 0x7fff, .hi = SF_TOP_BIT} : (struct sf_packed){0};
}

/* A result that stays below the smallest normal number, underflow being masked. */
struct sf_packed sf_tiny(const struct sf_parts *p, const struct sf_format *f, struct sf_env *env)
{
	sf_u128 v = sf_shift_right_jam(((sf_u128)p->hi << 64) | p->lo, (unsigned int)(f->exp_min - p->exp));
	uint64_t hi = (uint64_t)(v >> 64);
	bool inexact;

	if (f->flushes && env->ftz) {
		env->flags |= SF_UNDERFLOW | SF_INEXACT;
		env->rounded_up = false;
		return (struct sf_packed){0};
	}
	sf_round_bits(&hi, (uint64_t)v, f->precision, p->sign, env, &inexact);
	if (inexact)
		env->flags |= SF_UNDERFLOW | SF_INEXACT;
	return (struct sf_packed){.exp = hi >> 63, .hi = hi};
}

static struct sf_parts sf_quieted(const struct sf_parts *a)
{
	struct sf_parts r = *a;

	r.class = SF_CLASS_QNAN;
	r.hi |= SF_QUIET_BIT;
	return r;
}

struct sf_parts sf_unary_nan(const struct sf_parts *a, struct sf_env *env)
{
	if (a->class == SF_CLASS_UNSUPPORTED)
		return sf_parts_invalid(env);
	if (a->class == SF_CLASS_SNAN)
		env->flags |= SF_INVALID;
	return sf_quieted(a);
}

struct sf_parts sf_sse_nan(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env)
{
	if (a->class == SF_CLASS_SNAN || b->class == SF_CLASS_SNAN)
		env->flags |= SF_INVALID;
	return sf_quieted(a->class >= SF_CLASS_QNAN ? a : b);
}

struct sf_parts sf_x87_nan(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env)
{
	if (a->class == SF_CLASS_UNSUPPORTED || b->class == SF_CLASS_UNSUPPORTED)
		return sf_parts_invalid(env);
	if (a->class == SF_CLASS_SNAN || b->class == SF_CLASS_SNAN)
		env->flags |= SF_INVALID;
	if (a->class < SF_CLASS_QNAN)
		return sf_quieted(b);
	if (b->class < SF_CLASS_QNAN)
		return sf_quieted(a);
	if (a->class != b->class)
		return a->class == SF_CLASS_QNAN ? *a : *b;
	if (a->hi != b->hi)
		return sf_quieted(a->hi > b->hi ? a : b);
	return sf_quieted(a->sign ? b : a);
}

enum sf_relation sf_parts_compare_magnitude(const struct sf_parts *a, const struct sf_parts *b)
{
	if (a->exp != b->exp)
		return a->exp < b->exp ? SF_LESS : SF_GREATER;
	if (a->hi != b->hi)
		return a->hi < b->hi ? SF_LESS : SF_GREATER;
	return SF_EQUAL;
}

bool sf_parts_round_to_int(struct sf_parts *p, enum sf_rounding rounding, struct sf_env *env)
{
	uint64_t whole = 0, rest;
	bool up;

	if (p->exp >= 63)
		return false;
	if (p->exp >= 0) {
		whole = p->hi >> (63 - p->exp);
		rest = p->hi << (p->exp + 1);
	} else {
		rest = p->exp == -1 ? p->hi : 1;
	}
	up = sf_rounds_up((uint8_t)rounding, p->sign, whole & 1, rest);
	*p = sf_parts_from_u128(p->sign, 63, (sf_u128)(whole + up) << 64);
	env->rounded_up = up;
	return rest != 0;
}
