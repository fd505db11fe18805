/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one shape in which all three formats are computed: a class, a sign, an exponent and a left-aligned
 * significand with 64 further bits below it. A value is taken apart, an exact (or sticky) result is made, and
 * pack.h rounds it once. Private to softfloat/. SDM vol. 1, 4.8 and 4.9.
 */
#pragma once

#include "tcg-fallback/softfloat/softfloat.h"

__extension__ typedef unsigned __int128 sf_u128;

#define SF_TOP_BIT   0x8000000000000000ull
#define SF_QUIET_BIT 0x4000000000000000ull

/* Ordered so that `class >= SF_CLASS_QNAN` finds everything that is not a number. */
enum sf_class {
	SF_CLASS_ZERO,
	SF_CLASS_FINITE,
	SF_CLASS_INF,
	SF_CLASS_QNAN,
	SF_CLASS_SNAN,
	SF_CLASS_UNSUPPORTED, /* f80 only: an encoding that the 8087 knew and its successors refuse */
};

struct sf_parts {
	uint64_t hi;         /* finite: bit 63 is set; NaN: payload below the quiet bit 62, bit 63 set */
	uint64_t lo;         /* the bits below hi, the last one sticky; 0 in an operand */
	int32_t exp;         /* finite: weight of bit 63 of hi, as a power of two */
	bool sign;           /* true: negative */
	bool denormal;       /* the operand was a denormal (or pseudo-denormal) */
	enum sf_class class; /* what the other fields mean */
};

static inline struct sf_parts sf_parts_zero(bool sign)
{
	return (struct sf_parts){.class = SF_CLASS_ZERO, .sign = sign};
}

static inline struct sf_parts sf_parts_inf(bool sign)
{
	return (struct sf_parts){.class = SF_CLASS_INF, .sign = sign};
}

/* Takes a value with any leading zeros; the weight is that of bit 127 of v. */
static inline struct sf_parts sf_parts_from_u128(bool sign, int32_t exp, sf_u128 v)
{
	uint64_t top = (uint64_t)(v >> 64);
	int shift;

	if (!v)
		return sf_parts_zero(sign);
	shift = top ? __builtin_clzll(top) : 64 + __builtin_clzll((uint64_t)v);
	v <<= shift;
	return (struct sf_parts){
		.class = SF_CLASS_FINITE,
		.sign = sign,
		.exp = exp - shift,
		.hi = (uint64_t)(v >> 64),
		.lo = (uint64_t)v,
	};
}

/* Raises SF_INVALID; the default NaN of the x86 is negative. */
static inline struct sf_parts sf_parts_invalid(struct sf_env *env)
{
	env->flags |= SF_INVALID;
	return (struct sf_parts){.class = SF_CLASS_QNAN, .sign = true, .hi = SF_TOP_BIT | SF_QUIET_BIT};
}

/* Raises SF_DENORMAL where the operands ask for it; true when it is unmasked and the operation must stop. */
static inline bool sf_denormal_stops(bool denormal, struct sf_env *env)
{
	if (!denormal && !env->src_denormal)
		return false;
	env->flags |= SF_DENORMAL;
	return env->unmasked & SF_DENORMAL;
}

static inline bool sf_divzero_stops(struct sf_env *env)
{
	env->flags |= SF_DIVZERO;
	return env->unmasked & SF_DIVZERO;
}

/* A right shift by any amount that keeps "something was lost" in the last bit. */
static inline sf_u128 sf_shift_right_jam(sf_u128 v, unsigned int count)
{
	if (count == 0)
		return v;
	if (count >= 128)
		return v != 0;
	return (v >> count) | ((v << (128 - count)) != 0);
}

/* The NaN that comes of an operation with at least one operand of class SF_CLASS_QNAN or above. */
struct sf_parts sf_sse_nan(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env);
struct sf_parts sf_x87_nan(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env);
struct sf_parts sf_unary_nan(const struct sf_parts *a, struct sf_env *env);

/* |a| against |b|, both finite and not zero. */
enum sf_relation sf_parts_compare_magnitude(const struct sf_parts *a, const struct sf_parts *b);

/*
 * Rounds a finite value to an integral one in place (class zero when nothing is left); true when it was
 * inexact.
 */
bool sf_parts_round_to_int(struct sf_parts *p, enum sf_rounding rounding, struct sf_env *env);

/*
 * Whether the bits below the last kept one round the magnitude up; rest is a 64-bit fraction of that last
 * bit.
 */
static inline bool sf_rounds_up(uint8_t rounding, bool sign, bool odd, uint64_t rest)
{
	switch ((enum sf_rounding)(rounding & 3)) {
	case SF_ROUND_NEAREST: return rest > SF_TOP_BIT || (rest == SF_TOP_BIT && odd);
	case SF_ROUND_DOWN: return sign && rest;
	case SF_ROUND_UP: return !sign && rest;
	case SF_ROUND_ZERO: return false;
	}
	return false;
}
