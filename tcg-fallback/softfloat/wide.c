/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic of 128-bit significands. Knows no rounding modes, no special values, no exceptions.
 */
#include "tcg-fallback/softfloat/wide.h"

struct sf_wide sf_wide_normal(bool sign, int32_t exp, sf_u128 mant)
{
	struct sf_parts p = sf_parts_from_u128(sign, exp, mant);

	if (!mant)
		return (struct sf_wide){.sign = sign};
	return sf_wide_from_parts(&p);
}

struct sf_wide sf_wide_from_int(int32_t a)
{
	return sf_wide_normal(a < 0, 127, (sf_u128)(a < 0 ? -(int64_t)a : a));
}

static struct sf_wide sf_wide_add_magnitudes(struct sf_wide big, sf_u128 small)
{
	sf_u128 sum = big.mant + small;

	if (sum < small) {
		big.mant = SF_U128(SF_TOP_BIT, 0) | sum >> 1;
		big.exp++;
	} else {
		big.mant = sum;
	}
	return big;
}

struct sf_wide sf_wide_add(struct sf_wide a, struct sf_wide b)
{
	bool swap = !a.mant || (b.mant && (b.exp > a.exp || (b.exp == a.exp && b.mant > a.mant)));
	struct sf_wide big = swap ? b : a, small = swap ? a : b;
	sf_u128 aligned;

	if (!small.mant)
		return big;
	aligned = sf_shift_right_jam(small.mant, (unsigned int)(big.exp - small.exp));
	if (big.sign == small.sign)
		return sf_wide_add_magnitudes(big, aligned);
	return sf_wide_normal(big.sign, big.exp, big.mant - aligned);
}

struct sf_wide sf_wide_mul(struct sf_wide a, struct sf_wide b)
{
	return sf_wide_normal(a.sign ^ b.sign, a.exp + b.exp + 1, sf_mul_high(a.mant, b.mant));
}

/* Restoring division, a bit at a time. */
struct sf_wide sf_wide_div(struct sf_wide a, struct sf_wide b)
{
	bool below = a.mant < b.mant;
	sf_u128 rest = below ? a.mant : a.mant - b.mant, quotient = below ? 0 : 1;
	int bits = below ? 128 : 127;

	if (!a.mant)
		return (struct sf_wide){.sign = a.sign ^ b.sign};
	for (int i = 0; i < bits; i++) {
		bool carry = rest >> 127;

		rest <<= 1;
		quotient <<= 1;
		if (carry || rest >= b.mant) {
			rest -= b.mant;
			quotient |= 1;
		}
	}
	return (struct sf_wide){.mant = quotient, .exp = a.exp - b.exp - below, .sign = a.sign ^ b.sign};
}

sf_u128 sf_wide_fraction(struct sf_wide a)
{
	int shift = -1 - a.exp;

	return !a.mant || shift >= 128 ? 0 : a.mant >> shift;
}

/* ~t is 1 - t less one unit, so that 1 - 0 is just below one: right for a value that is never exact. */
struct sf_wide sf_wide_one_minus(sf_u128 t)
{
	return sf_wide_normal(false, -1, ~t);
}

struct sf_wide sf_wide_one_plus(sf_u128 t)
{
	return (struct sf_wide){.mant = SF_U128(SF_TOP_BIT, 0) | t >> 1};
}

struct sf_parts sf_parts_from_wide(struct sf_wide a, bool exact)
{
	if (!a.mant)
		return sf_parts_zero(a.sign);
	return (struct sf_parts){
		.class = SF_CLASS_FINITE,
		.sign = a.sign,
		.exp = a.exp,
		.hi = (uint64_t)(a.mant >> 64),
		.lo = (uint64_t)a.mant | !exact,
	};
}
