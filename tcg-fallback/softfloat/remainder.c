/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87 operations on exponents and integer quotients: FPREM, FPREM1, FSCALE, FXTRACT (SDM vol. 2). All but
 * the result of FSCALE are exact.
 */
#include "tcg-fallback/softfloat/pack.h"

/* A scale factor beyond this moves any f80 out of any range, the wrapped exponents included. */
#define SCALE_LIMIT 0x10000

/*
 * A partial round of FPREM takes this many bits of the quotient less than the exponents differ by, from 32
 * to 63.
 */
static int32_t sf_partial_bits(int32_t difference)
{
	return (difference & 31) | 32;
}

/* The operands that have an answer without a division; true when *r is it. */
static bool sf_rem_special(const struct sf_parts *a, const struct sf_parts *b, struct sf_parts *r,
			   struct sf_env *env)
{
	*r = *a;
	if (a->class >= SF_CLASS_QNAN || b->class >= SF_CLASS_QNAN) {
		*r = sf_x87_nan(a, b, env);
		return true;
	}
	if (a->class == SF_CLASS_INF || b->class == SF_CLASS_ZERO) {
		*r = sf_parts_invalid(env);
		return true;
	}
	if (sf_denormal_stops(a->denormal | b->denormal, env)) {
		*r = sf_parts_zero(a->sign);
		return true;
	}
	return a->class == SF_CLASS_ZERO || b->class == SF_CLASS_INF;
}

/*
 * a modulo b as a magnitude whose bit 63 weighs as b's; the quotient's low bits. The exponents differ by 0
 * to 63.
 */
static uint64_t sf_rem_step(const struct sf_parts *a, const struct sf_parts *b, int32_t difference,
			    uint64_t *quotient)
{
	sf_u128 dividend = (sf_u128)a->hi << difference;

	*quotient = (uint64_t)(dividend / b->hi);
	return (uint64_t)(dividend % b->hi);
}

/* The remainder that is nearest to zero, from a truncated one of 0 <= rest < b. */
static struct sf_parts sf_rem_to_nearest(const struct sf_parts *a, const struct sf_parts *b, uint64_t rest,
					 uint64_t *quotient)
{
	uint64_t other = b->hi - rest;

	if (rest < other || (rest == other && !(*quotient & 1)))
		return sf_parts_from_u128(a->sign, b->exp, (sf_u128)rest << 64);
	(*quotient)++;
	return sf_parts_from_u128(!a->sign, b->exp, (sf_u128)other << 64);
}

/* |a| below |b|: the truncated remainder is a, the nearest one may be a - b. */
static struct sf_parts sf_rem_below(const struct sf_parts *a, const struct sf_parts *b, uint64_t *quotient)
{
	sf_u128 twice = (sf_u128)a->hi << (a->exp == b->exp ? 1 : 0);

	if (a->exp < b->exp - 1 || twice <= b->hi)
		return *a;
	*quotient = 1; /* b/2 < a < b: b - a, in units of half of b's last bit */
	return sf_parts_from_u128(!a->sign, b->exp, (((sf_u128)b->hi << 1) - twice) << 63);
}

static struct sf_parts sf_rem_divide(const struct sf_parts *a, const struct sf_parts *b, bool nearest,
				     struct sf80_quotient *q)
{
	int32_t difference = a->exp - b->exp;
	uint64_t rest, quotient = 0;
	struct sf_parts r;

	if (difference >= 64) {
		int32_t bits = sf_partial_bits(difference);

		q->partial = true;
		rest = sf_rem_step(a, b, bits, &quotient);
		r = sf_parts_from_u128(a->sign, b->exp + difference - bits, (sf_u128)rest << 64);
		return r;
	}
	if (sf_parts_compare_magnitude(a, b) == SF_LESS) {
		r = nearest ? sf_rem_below(a, b, &quotient) : *a;
	} else {
		rest = sf_rem_step(a, b, difference, &quotient);
		r = nearest ? sf_rem_to_nearest(a, b, rest, &quotient)
			    : sf_parts_from_u128(a->sign, b->exp, (sf_u128)rest << 64);
	}
	if (r.class == SF_CLASS_ZERO)
		r.sign = a->sign;
	q->low_bits = quotient & 7;
	return r;
}

static struct f80 sf80_rem(struct f80 a, struct f80 b, bool nearest, struct sf80_quotient *q,
			   struct sf_env *env)
{
	struct sf_parts pa = sf80_unpack(a), pb = sf80_unpack(b), r;

	*q = (struct sf80_quotient){0};
	if (!sf_rem_special(&pa, &pb, &r, env))
		r = sf_rem_divide(&pa, &pb, nearest, q);
	q->exists = r.class < SF_CLASS_QNAN && !(env->flags & env->unmasked);
	return sf80_pack(&r, env);
}

struct f80 sf80_rem_truncated(struct f80 a, struct f80 b, struct sf80_quotient *q, struct sf_env *env)
{
	return sf80_rem(a, b, false, q, env);
}

struct f80 sf80_rem_nearest(struct f80 a, struct f80 b, struct sf80_quotient *q, struct sf_env *env)
{
	return sf80_rem(a, b, true, q, env);
}

/* A finite value cut to an integer, and to +-SCALE_LIMIT. */
static int32_t sf_scale_factor(const struct sf_parts *by)
{
	int32_t n;

	if (by->class == SF_CLASS_ZERO || by->exp < 0)
		return 0;
	n = by->exp > 16 ? SCALE_LIMIT : (int32_t)(by->hi >> (63 - by->exp));
	if (n > SCALE_LIMIT)
		n = SCALE_LIMIT;
	return by->sign ? -n : n;
}

struct f80 sf80_scale(struct f80 a, struct f80 by, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a), pb = sf80_unpack(by);

	if (p.class >= SF_CLASS_QNAN || pb.class >= SF_CLASS_QNAN)
		p = sf_x87_nan(&p, &pb, env);
	else if (pb.class == SF_CLASS_INF && p.class == (pb.sign ? SF_CLASS_INF : SF_CLASS_ZERO))
		p = sf_parts_invalid(env);
	else if (sf_denormal_stops(p.denormal | pb.denormal, env))
		p = sf_parts_zero(p.sign);
	else if (pb.class == SF_CLASS_INF)
		p = pb.sign ? sf_parts_zero(p.sign) : sf_parts_inf(p.sign);
	else if (p.class == SF_CLASS_FINITE)
		p.exp += sf_scale_factor(&pb);
	return sf80_pack(&p, env);
}

struct f80 sf80_extract(struct f80 a, struct f80 *exponent, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a), e = sf_parts_inf(false);

	if (p.class >= SF_CLASS_QNAN) {
		p = sf_unary_nan(&p, env);
		e = p;
	} else if (p.class == SF_CLASS_ZERO) {
		e.sign = true;
		sf_divzero_stops(env);
	} else if (p.class == SF_CLASS_FINITE) {
		sf_denormal_stops(p.denormal, env);
		*exponent = sf80_from_i64(p.exp);
		p.exp = 0;
		return sf80_pack(&p, env);
	}
	*exponent = sf80_pack(&e, env);
	return sf80_pack(&p, env);
}
