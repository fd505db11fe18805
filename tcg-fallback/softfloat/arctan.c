/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FPATAN: the angle of the point (x, y). The smaller coordinate over the larger one is brought near an eighth
 * whose arc tangent is known, what is left goes through the series in 128-bit fractions. Special points: SDM
 * vol. 2, FPATAN.
 */
#include "tcg-fallback/softfloat/wide.h"

/* Terms of the series at 1/16 before they fall below 2^-128. */
#define ARCTAN_TERMS 17

static const struct sf_wide wide_pi = {SF_U128(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1), 1, false};
static const struct sf_wide wide_half_pi = {SF_U128(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1), 0, false};

/* The arc tangents of k/8, to 128 bits. */
static const struct sf_wide arctan_of_eighths[9] = {
	{0},
	{SF_U128(0xfeadd4d5617b6e32, 0xc897989f3e888ef8), -4, false},
	{SF_U128(0xfadbafc96406eb15, 0x6dc79ef5f7a217e6), -3, false},
	{SF_U128(0xb7b0ca0f26f78473, 0x8aa32122dcfe4483), -2, false},
	{SF_U128(0xed63382b0dda7b45, 0x6fe445ecbc3a8d03), -2, false},
	{SF_U128(0x8f005d5ef7f59f9b, 0x5c835e1665c43748), -1, false},
	{SF_U128(0xa4bc7d1934f70924, 0x19a87f2a457dac9f), -1, false},
	{SF_U128(0xb8053e2bc2319e73, 0xcb2da55210a4443d), -1, false},
	{SF_U128(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1), -1, false},
};

/* The arc tangent of |z| <= 1/16. */
static struct sf_wide sf_arctan_series(struct sf_wide z)
{
	sf_u128 fraction = sf_wide_fraction(z), square = sf_mul_high(fraction, fraction), t = 0;

	for (unsigned int k = ARCTAN_TERMS; k > 0; k--)
		t = sf_mul_high(square, ~(sf_u128)0 / (2 * k + 1) - t);
	return sf_wide_mul(z, sf_wide_one_minus(t));
}

/* The arc tangent of small/large, both positive, small not above large. */
static struct sf_wide sf_arctan_of_ratio(struct sf_wide small, struct sf_wide large)
{
	struct sf_wide ratio = sf_wide_div(small, large), eighths, numerator, denominator;
	int32_t k;

	if (ratio.exp < -4)
		return sf_arctan_series(ratio);
	k = ratio.exp >= 0 ? 8 : (int32_t)((sf_wide_fraction(ratio) >> 124) + 1) / 2;
	if (!k)
		return sf_arctan_series(ratio);
	eighths = sf_wide_from_int(-k);
	small.exp += 3;
	numerator = sf_wide_add(small, sf_wide_mul(large, eighths));
	small.exp -= 3;
	large.exp += 3;
	eighths.sign = false;
	denominator = sf_wide_add(large, sf_wide_mul(small, eighths));
	if (!numerator.mant)
		return arctan_of_eighths[k];
	return sf_wide_add(arctan_of_eighths[k], sf_arctan_series(sf_wide_div(numerator, denominator)));
}

static struct sf_wide sf_arctan_of_point(struct sf_wide y, struct sf_wide x)
{
	bool steep = y.exp > x.exp || (y.exp == x.exp && y.mant > x.mant);
	bool left = x.sign, down = y.sign;
	struct sf_wide angle;

	x.sign = y.sign = false;
	angle = steep ? sf_arctan_of_ratio(x, y) : sf_arctan_of_ratio(y, x);
	if (steep) {
		angle.sign = !left;
		angle = sf_wide_add(wide_half_pi, angle);
	} else if (left) {
		angle.sign = true;
		angle = sf_wide_add(wide_pi, angle);
	}
	angle.sign = down;
	return angle;
}

/* Quarters of pi for the points at infinity and on the axes; 0 is the exact zero. */
static unsigned int sf_angle_in_quarters(const struct sf_parts *y, const struct sf_parts *x)
{
	if (y->class == SF_CLASS_INF && x->class == SF_CLASS_INF)
		return x->sign ? 3 : 1;
	if (y->class == SF_CLASS_INF || (x->class == SF_CLASS_ZERO && y->class != SF_CLASS_ZERO))
		return 2;
	return x->sign ? 4 : 0;
}

static struct sf_parts sf_quarters_of_pi(unsigned int quarters, bool sign)
{
	struct sf_wide angle = wide_pi;

	if (!quarters)
		return sf_parts_zero(sign);
	angle = sf_wide_mul(angle, sf_wide_from_int((int32_t)quarters));
	angle.exp -= 2;
	angle.sign = sign;
	return sf_parts_from_wide(angle, false);
}

struct f80 sf80_patan(struct f80 y, struct f80 x, struct sf_env *env)
{
	struct sf_parts py = sf80_unpack(y), px = sf80_unpack(x), r;

	if (py.class >= SF_CLASS_QNAN || px.class >= SF_CLASS_QNAN)
		r = sf_x87_nan(&px, &py, env);
	else if (sf_denormal_stops(py.denormal | px.denormal, env))
		r = sf_parts_zero(py.sign);
	else if (py.class == SF_CLASS_FINITE && px.class == SF_CLASS_FINITE)
		r = sf_parts_from_wide(sf_arctan_of_point(sf_wide_from_parts(&py), sf_wide_from_parts(&px)),
				       false);
	else
		r = sf_quarters_of_pi(sf_angle_in_quarters(&py, &px), py.sign);
	return sf80_pack(&r, env);
}
