/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FSIN, FCOS, FSINCOS, FPTAN. The operand is reduced exactly by the x87's own 66-bit pi (SDM vol. 1, 8.3.8),
 * so the values near multiples of pi are those of the hardware rather than of mathematics; then Taylor's
 * series is summed in 128-bit fractions.
 */
#include "tcg-fallback/softfloat/wide.h"

/* Half of the 66-bit pi, in units of 2^-65. */
#define HALF_PI_UNITS SF_U128(0x3ull, 0x243f6a8885a308d3ull)
#define UNIT_EXP      (-65)

/* Terms of the series at pi/4 before they fall below 2^-128. */
#define SINE_TERMS 17

/* Below it the third term of the tangent's series is under 2^-128. */
#define TAN_SMALL_EXP (-32)

/* An angle of -pi/4 to pi/4, never zero, and how many quarter turns it stands off. */
struct sf_angle {
	struct sf_wide rest;
	sf_u128 square; /* of rest, a fraction */
	unsigned int quadrant;
};

static struct sf_angle sf_angle_reduce(const struct sf_parts *a)
{
	struct sf_angle angle = {.rest = sf_wide_from_parts(a)};
	sf_u128 units, turns, fraction;

	if (a->exp >= -1) {
		units = (sf_u128)a->hi << (a->exp - 63 - UNIT_EXP);
		turns = units / HALF_PI_UNITS;
		units = units % HALF_PI_UNITS;
		angle.quadrant = (unsigned int)turns & 3;
		if (units > HALF_PI_UNITS / 2) {
			angle.quadrant++;
			angle.rest = sf_wide_normal(!a->sign, 127 + UNIT_EXP, HALF_PI_UNITS - units);
		} else {
			angle.rest = sf_wide_normal(a->sign, 127 + UNIT_EXP, units);
		}
		if (a->sign)
			angle.quadrant = -angle.quadrant;
	}
	fraction = sf_wide_fraction(angle.rest);
	angle.square = sf_mul_high(fraction, fraction);
	return angle;
}

/* 1 - x/(first (first + 1)) (1 - x/((first + 2)(first + 3)) (...)): the sine over its angle, or the cosine */
static struct sf_wide sf_alternating_series(sf_u128 x, unsigned int first)
{
	sf_u128 t = 0;

	for (unsigned int k = SINE_TERMS; k-- > 0;)
		t = sf_mul_high(x, ~t) / ((first + 2 * k) * (first + 2 * k + 1));
	return sf_wide_one_minus(t);
}

static struct sf_wide sf_angle_sin(const struct sf_angle *angle, unsigned int quadrant)
{
	struct sf_wide r = sf_alternating_series(angle->square, quadrant & 1 ? 1 : 2);

	if (!(quadrant & 1))
		r = sf_wide_mul(r, angle->rest);
	r.sign ^= quadrant >> 1 & 1;
	return r;
}

/*
 * A small angle has the first two terms of its own series, x (1 + x^2/3): a quotient of two numbers just
 * below one would not show that the tangent is above the angle.
 */
static struct sf_wide sf_angle_tan(const struct sf_angle *angle)
{
	if (!(angle->quadrant & 1) && angle->rest.exp < TAN_SMALL_EXP)
		return sf_wide_mul(angle->rest, sf_wide_one_plus(angle->square / 3));
	return sf_wide_div(sf_angle_sin(angle, angle->quadrant), sf_angle_sin(angle, angle->quadrant + 1));
}

/* Answers what needs no series. */
enum sf_trig_case { TRIG_OUT_OF_RANGE, TRIG_SPECIAL, TRIG_SERIES };

/* On TRIG_SPECIAL: *p is a NaN that both results take over, or a zero. */
static enum sf_trig_case sf_trig_prepare(struct f80 a, struct sf_parts *p, struct sf_env *env)
{
	*p = sf80_unpack(a);
	if (p->class >= SF_CLASS_QNAN)
		*p = sf_unary_nan(p, env);
	else if (p->class == SF_CLASS_INF)
		*p = sf_parts_invalid(env);
	else if (p->class == SF_CLASS_FINITE && p->exp >= 63)
		return TRIG_OUT_OF_RANGE;
	else if (!sf_denormal_stops(p->denormal, env) && p->class == SF_CLASS_FINITE)
		return TRIG_SERIES;
	else if (p->class == SF_CLASS_FINITE)
		*p = sf_parts_zero(p->sign);
	return TRIG_SPECIAL;
}

static struct f80 sf80_pack_wide(struct sf_wide r, struct sf_env *env)
{
	struct sf_parts p = sf_parts_from_wide(r, false);

	return sf80_pack(&p, env);
}

/* cos(0) */
static struct f80 sf80_one_or_nan(const struct sf_parts *p, struct sf_env *env)
{
	return p->class == SF_CLASS_ZERO ? sf80_from_i64(1) : sf80_pack(p, env);
}

bool sf80_sincos(struct f80 a, struct f80 *sin, struct f80 *cos, struct sf_env *env)
{
	struct sf_parts p;
	struct sf_angle angle;

	switch (sf_trig_prepare(a, &p, env)) {
	case TRIG_OUT_OF_RANGE: return false;
	case TRIG_SPECIAL:
		*sin = sf80_pack(&p, env);
		*cos = sf80_one_or_nan(&p, env);
		return true;
	case TRIG_SERIES: break;
	}
	angle = sf_angle_reduce(&p);
	*cos = sf80_pack_wide(sf_angle_sin(&angle, angle.quadrant + 1), env);
	*sin = sf80_pack_wide(sf_angle_sin(&angle, angle.quadrant), env); /* last: C1 tells of the sine */
	return true;
}

bool sf80_sin(struct f80 a, struct f80 *sin, struct sf_env *env)
{
	struct sf_parts p;
	struct sf_angle angle;

	switch (sf_trig_prepare(a, &p, env)) {
	case TRIG_OUT_OF_RANGE: return false;
	case TRIG_SPECIAL: *sin = sf80_pack(&p, env); return true;
	case TRIG_SERIES: break;
	}
	angle = sf_angle_reduce(&p);
	*sin = sf80_pack_wide(sf_angle_sin(&angle, angle.quadrant), env);
	return true;
}

bool sf80_cos(struct f80 a, struct f80 *cos, struct sf_env *env)
{
	struct sf_parts p;
	struct sf_angle angle;

	switch (sf_trig_prepare(a, &p, env)) {
	case TRIG_OUT_OF_RANGE: return false;
	case TRIG_SPECIAL: *cos = sf80_one_or_nan(&p, env); return true;
	case TRIG_SERIES: break;
	}
	angle = sf_angle_reduce(&p);
	*cos = sf80_pack_wide(sf_angle_sin(&angle, angle.quadrant + 1), env);
	return true;
}

bool sf80_tan(struct f80 a, struct f80 *tan, struct sf_env *env)
{
	struct sf_parts p;
	struct sf_angle angle;

	switch (sf_trig_prepare(a, &p, env)) {
	case TRIG_OUT_OF_RANGE: return false;
	case TRIG_SPECIAL: *tan = sf80_pack(&p, env); return true;
	case TRIG_SERIES: break;
	}
	angle = sf_angle_reduce(&p);
	*tan = sf80_pack_wide(sf_angle_tan(&angle), env);
	return true;
}
