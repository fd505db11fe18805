/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point with 128 bits of significand, and 128-bit fractions: what the transcendentals are computed
 * in. Results are truncated, an error of a few units in the last of 128 places being far below what 64 bits
 * show. Private to softfloat/.
 */
#pragma once

#include "tcg-fallback/softfloat/pack.h"

#define SF_U128(high, low) (((sf_u128)(high) << 64) | (low))

/* The value is mant * 2^(exp - 127), bit 127 of mant being set; zero has mant 0. */
struct sf_wide {
	sf_u128 mant;
	int32_t exp;
	bool sign;
};

/* The upper 128 bits of a product: the product of two fractions of 2^128. */
static inline sf_u128 sf_mul_high(sf_u128 a, sf_u128 b)
{
	uint64_t a1 = (uint64_t)(a >> 64), a0 = (uint64_t)a, b1 = (uint64_t)(b >> 64), b0 = (uint64_t)b;
	sf_u128 middle = (sf_u128)a1 * b0 + (((sf_u128)a0 * b0) >> 64);
	sf_u128 other = (sf_u128)a0 * b1 + (uint64_t)middle;

	return (sf_u128)a1 * b1 + (middle >> 64) + (other >> 64);
}

static inline struct sf_wide sf_wide_from_parts(const struct sf_parts *p)
{
	return (struct sf_wide){.mant = SF_U128(p->hi, p->lo), .exp = p->exp, .sign = p->sign};
}

/* A value that is mant * 2^(exp - 127) with any number of leading zeros in mant. */
struct sf_wide sf_wide_normal(bool sign, int32_t exp, sf_u128 mant);
struct sf_wide sf_wide_from_int(int32_t a);

struct sf_wide sf_wide_add(struct sf_wide a, struct sf_wide b);
struct sf_wide sf_wide_mul(struct sf_wide a, struct sf_wide b);
struct sf_wide sf_wide_div(struct sf_wide a, struct sf_wide b); /* b is not zero */

/* |a| as a fraction of 2^128; a is below one in magnitude. */
sf_u128 sf_wide_fraction(struct sf_wide a);

/* The value 1 - t or 1 + t of a fraction t. */
struct sf_wide sf_wide_one_minus(sf_u128 t);
struct sf_wide sf_wide_one_plus(sf_u128 t);

/* For rounding; an irrational value is never exact, whatever the 128 bits say. */
struct sf_parts sf_parts_from_wide(struct sf_wide a, bool exact);
