/* SPDX-License-Identifier: Apache-2.0 */
/*
 * F2XM1, FYL2X, FYL2XP1, by series in 128-bit fractions. Special operands: the tables in SDM vol. 2.
 */
#include "tcg-fallback/softfloat/wide.h"

/*
 * Terms of the series before they fall below 2^-128: at ln(2), and at the square of (sqrt(2) - 1) / (sqrt(2)
 * + 1).
 */
#define EXP_TERMS 34
#define LOG_TERMS 26

#define SQRT2_SIGNIFICAND SF_U128(0xb504f333f9de6484, 0)

static const struct sf_wide wide_one = {SF_U128(SF_TOP_BIT, 0), 0, false};
static const struct sf_wide wide_ln2 = {SF_U128(0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af), -1, false};
static const struct sf_wide wide_2_over_ln2 = {SF_U128(0xb8aa3b295c17f0bb, 0xbe87fed0691d3e89), 1, false};

/* e^t - 1 for |t| <= ln(2): t (1 + t/2 (1 + t/3 (...))) */
static struct sf_wide sf_wide_expm1(struct sf_wide t)
{
	sf_u128 fraction = sf_wide_fraction(t), u = 0;

	for (unsigned int k = EXP_TERMS; k > 1; k--)
		u = (t.sign ? sf_mul_high(fraction, ~u) : fraction + sf_mul_high(fraction, u)) / k;
	return sf_wide_mul(t, t.sign ? sf_wide_one_minus(u) : sf_wide_one_plus(u));
}

static struct sf_parts sf_2xm1_of_finite(const struct sf_parts *a, struct sf_env *env)
{
	struct sf_parts r = *a;

	if (a->exp < 0)
		return sf_parts_from_wide(sf_wide_expm1(sf_wide_mul(sf_wide_from_parts(a), wide_ln2)), false);
	env->flags |= SF_INEXACT; /* the hardware says so of 1 and -1/2 as well */
	if (a->exp == 0 && a->hi == SF_TOP_BIT && a->sign)
		r.exp = -1;
	return r; /* the manual promises nothing beyond 1: an AMD Zen returns its operand */
}

struct f80 sf80_2xm1(struct f80 a, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a);

	if (p.class >= SF_CLASS_QNAN)
		p = sf_unary_nan(&p, env);
	else if (p.class == SF_CLASS_INF && p.sign)
		return sf80_from_i64(-1);
	else if (sf_denormal_stops(p.denormal, env))
		p = sf_parts_zero(p.sign);
	else if (p.class == SF_CLASS_FINITE)
		p = sf_2xm1_of_finite(&p, env);
	return sf80_pack(&p, env);
}

/* log2 of (1 + z) / (1 - z) = 2/ln(2) z (1 + z^2/3 + z^4/5 + ...) for |z| <= 0.172 */
static struct sf_wide sf_log2_series(struct sf_wide z)
{
	sf_u128 fraction = sf_wide_fraction(z), square = sf_mul_high(fraction, fraction), t = 0;

	for (unsigned int k = LOG_TERMS; k > 0; k--)
		t = sf_mul_high(square, ~(sf_u128)0 / (2 * k + 1) + t);
	return sf_wide_mul(sf_wide_mul(z, wide_2_over_ln2), sf_wide_one_plus(t));
}

/* log2(v) of a positive v; exact for a power of two. */
static struct sf_wide sf_wide_log2(struct sf_wide v, bool *exact)
{
	struct sf_wide whole, z;
	int32_t exp = v.exp;

	v.exp = 0;
	if (v.mant > SQRT2_SIGNIFICAND) {
		v.exp = -1;
		exp++;
	}
	whole = sf_wide_from_int(exp);
	*exact = v.mant == wide_one.mant;
	if (*exact)
		return whole;
	z = sf_wide_add(v, (struct sf_wide){.mant = wide_one.mant, .sign = true});
	z = sf_wide_div(z, sf_wide_add(v, wide_one));
	return sf_wide_add(whole, sf_log2_series(z));
}

/* y times a logarithm that is not zero. */
static struct sf_parts sf_times_log(const struct sf_parts *y, struct sf_wide log, bool exact)
{
	if (y->class == SF_CLASS_INF)
		return sf_parts_inf(y->sign ^ log.sign);
	if (y->class == SF_CLASS_ZERO)
		return sf_parts_zero(y->sign ^ log.sign);
	return sf_parts_from_wide(sf_wide_mul(sf_wide_from_parts(y), log), exact);
}

/* y log2(0) */
static struct sf_parts sf_times_log_of_zero(const struct sf_parts *y, struct sf_env *env)
{
	if (y->class == SF_CLASS_ZERO)
		return sf_parts_invalid(env);
	if (y->class == SF_CLASS_INF)
		return sf_parts_inf(!y->sign);
	return sf_divzero_stops(env) ? sf_parts_zero(false) : sf_parts_inf(!y->sign);
}

/* The hardware reports every product of a logarithm as inexact, an exact one too. */
static struct f80 sf80_pack_product(const struct sf_parts *p, struct sf_env *env)
{
	struct f80 r = sf80_pack(p, env);

	if (p->class == SF_CLASS_FINITE)
		env->flags |= (r.sexp & 0x7fff) ? SF_INEXACT : SF_INEXACT | SF_UNDERFLOW;
	return r;
}

static struct sf_parts sf_yl2x_of_numbers(const struct sf_parts *x, const struct sf_parts *y,
					  struct sf_env *env)
{
	struct sf_wide log;
	bool exact;

	if (x->class == SF_CLASS_ZERO)
		return sf_times_log_of_zero(y, env);
	if (x->sign || (x->class == SF_CLASS_INF && y->class == SF_CLASS_ZERO))
		return sf_parts_invalid(env);
	if (x->class == SF_CLASS_INF) {
		sf_denormal_stops(y->denormal, env);
		return sf_parts_inf(y->sign);
	}
	log = sf_wide_log2(sf_wide_from_parts(x), &exact);
	if (!log.mant && y->class == SF_CLASS_INF)
		return sf_parts_invalid(env);
	if (sf_denormal_stops(x->denormal | y->denormal, env))
		return sf_parts_zero(y->sign);
	return log.mant ? sf_times_log(y, log, exact) : sf_parts_zero(y->sign);
}

struct f80 sf80_yl2x(struct f80 x, struct f80 y, struct sf_env *env)
{
	struct sf_parts px = sf80_unpack(x), py = sf80_unpack(y), r;

	if (px.class >= SF_CLASS_QNAN || py.class >= SF_CLASS_QNAN)
		r = sf_x87_nan(&px, &py, env);
	else
		r = sf_yl2x_of_numbers(&px, &py, env);
	return sf80_pack_product(&r, env);
}

/* log2(1 + x) of a finite x above -1. Near zero 1 + x would lose x's bits: z = x / (2 + x) keeps them. */
static struct sf_wide sf_wide_log2p1(struct sf_wide x, bool *exact)
{
	struct sf_wide two = wide_one;

	if (x.exp >= -2)
		return sf_wide_log2(sf_wide_add(wide_one, x), exact);
	two.exp = 1;
	*exact = false;
	return sf_log2_series(sf_wide_div(x, sf_wide_add(two, x)));
}

static struct sf_parts sf_yl2xp1_of_numbers(const struct sf_parts *x, const struct sf_parts *y,
					    struct sf_env *env)
{
	bool exact, below = x->sign && x->class == SF_CLASS_FINITE && x->exp >= 0;
	struct sf_wide log;

	if ((x->class == SF_CLASS_ZERO && y->class == SF_CLASS_INF) ||
	    (x->class == SF_CLASS_INF && (x->sign || y->class == SF_CLASS_ZERO)))
		return sf_parts_invalid(env);
	if (sf_denormal_stops(x->denormal | y->denormal, env) || x->class == SF_CLASS_ZERO)
		return sf_parts_zero(x->sign ^ y->sign);
	if (x->class == SF_CLASS_INF)
		return sf_parts_inf(y->sign);
	if (below && y->class == SF_CLASS_ZERO)
		return sf_parts_zero(!y->sign);
	if (below && y->class == SF_CLASS_INF)
		return sf_parts_inf(!y->sign);
	if (below) /* far outside of what the instruction is made for: an AMD Zen returns its operand */
		return *x;
	log = sf_wide_log2p1(sf_wide_from_parts(x), &exact);
	return sf_times_log(y, log, exact);
}

struct f80 sf80_yl2xp1(struct f80 x, struct f80 y, struct sf_env *env)
{
	struct sf_parts px = sf80_unpack(x), py = sf80_unpack(y), r;

	if (px.class >= SF_CLASS_QNAN || py.class >= SF_CLASS_QNAN)
		r = sf_x87_nan(&px, &py, env);
	else
		r = sf_yl2xp1_of_numbers(&px, &py, env);
	return sf80_pack_product(&r, env);
}
