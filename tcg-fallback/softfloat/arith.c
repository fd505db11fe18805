/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Add, subtract, multiply, divide and square root: each is computed once, on parts, with enough bits and a
 * sticky one, and rounded by the pack function of its format. Order of checks in every operation: NaN
 * operand, invalid operation, division by zero, denormal operand, result (SDM vol. 1, 4.9.2).
 */
#include "tcg-fallback/softfloat/pack.h"

static inline sf_u128 sf_significand(const struct sf_parts *a)
{
	return (sf_u128)a->hi << 62; /* two bits of room above, 62 below */
}

static struct sf_parts sf_add_magnitudes(const struct sf_parts *a, const struct sf_parts *b)
{
	const struct sf_parts *big = a->exp >= b->exp ? a : b;
	const struct sf_parts *small = big == a ? b : a;
	sf_u128 sum = sf_significand(big) +
		      sf_shift_right_jam(sf_significand(small), (unsigned int)(big->exp - small->exp));

	return sf_parts_from_u128(a->sign, big->exp + 2, sum);
}

/* |a| - |b| with the sign of a, of -b where b is larger; an exact zero is positive unless rounding down. */
static struct sf_parts sf_subtract_magnitudes(const struct sf_parts *a, const struct sf_parts *b,
					      const struct sf_env *env)
{
	enum sf_relation relation = sf_parts_compare_magnitude(a, b);
	const struct sf_parts *big = relation == SF_LESS ? b : a;
	const struct sf_parts *small = relation == SF_LESS ? a : b;
	sf_u128 difference;

	if (relation == SF_EQUAL)
		return sf_parts_zero(env->rounding == SF_ROUND_DOWN);
	difference = sf_significand(big) -
		     sf_shift_right_jam(sf_significand(small), (unsigned int)(big->exp - small->exp));
	return sf_parts_from_u128(relation == SF_LESS ? !a->sign : a->sign, big->exp + 2, difference);
}

/* a + b, neither of them a NaN. */
static struct sf_parts sf_parts_add(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env)
{
	if (a->class == SF_CLASS_INF && b->class == SF_CLASS_INF && a->sign != b->sign)
		return sf_parts_invalid(env);
	if (sf_denormal_stops(a->denormal | b->denormal, env))
		return sf_parts_zero(false);
	if (a->class == SF_CLASS_INF || b->class == SF_CLASS_INF)
		return sf_parts_inf(a->class == SF_CLASS_INF ? a->sign : b->sign);
	if (a->class == SF_CLASS_ZERO && b->class == SF_CLASS_ZERO)
		return sf_parts_zero(a->sign == b->sign ? a->sign : env->rounding == SF_ROUND_DOWN);
	if (b->class == SF_CLASS_ZERO)
		return *a;
	if (a->class == SF_CLASS_ZERO)
		return *b;
	return a->sign == b->sign ? sf_add_magnitudes(a, b) : sf_subtract_magnitudes(a, b, env);
}

static struct sf_parts sf_parts_mul(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env)
{
	bool sign = a->sign ^ b->sign;
	bool zero = a->class == SF_CLASS_ZERO || b->class == SF_CLASS_ZERO;
	bool inf = a->class == SF_CLASS_INF || b->class == SF_CLASS_INF;

	if (zero && inf)
		return sf_parts_invalid(env);
	if (sf_denormal_stops(a->denormal | b->denormal, env) || zero)
		return sf_parts_zero(sign);
	if (inf)
		return sf_parts_inf(sign);
	return sf_parts_from_u128(sign, a->exp + b->exp + 1, (sf_u128)a->hi * b->hi);
}

static struct sf_parts sf_divide_significands(const struct sf_parts *a, const struct sf_parts *b)
{
	bool below = a->hi < b->hi;
	sf_u128 dividend = (sf_u128)a->hi << (below ? 64 : 63);
	uint64_t quotient = (uint64_t)(dividend / b->hi);
	uint64_t rest = (uint64_t)(dividend % b->hi);
	uint64_t half = rest >= b->hi - rest ? SF_TOP_BIT : 0; /* 2 * rest >= b->hi */

	return (struct sf_parts){
		.class = SF_CLASS_FINITE,
		.sign = a->sign ^ b->sign,
		.exp = a->exp - b->exp - below,
		.hi = quotient,
		.lo = half | (rest && rest != b->hi - rest),
	};
}

static struct sf_parts sf_parts_div(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env)
{
	bool sign = a->sign ^ b->sign;

	if (a->class == b->class && a->class != SF_CLASS_FINITE)
		return sf_parts_invalid(env);
	if (a->class == SF_CLASS_FINITE && b->class == SF_CLASS_ZERO)
		return sf_divzero_stops(env) ? sf_parts_zero(sign) : sf_parts_inf(sign);
	if (sf_denormal_stops(a->denormal | b->denormal, env))
		return sf_parts_zero(sign);
	if (a->class == SF_CLASS_INF)
		return sf_parts_inf(sign);
	if (a->class == SF_CLASS_ZERO || b->class == SF_CLASS_INF)
		return sf_parts_zero(sign);
	return sf_divide_significands(a, b);
}

/* The root of a value with its top bit or the one below set, and the remainder. */
static uint32_t sf_sqrt_u64(uint64_t n, uint64_t *rest)
{
	uint64_t root = 0, left = 0;

	for (int i = 0; i < 32; i++) {
		left = left << 2 | n >> 62;
		n <<= 2;
		root <<= 1;
		if (left > 2 * root) {
			left -= 2 * root + 1;
			root++;
		}
	}
	*rest = left;
	return (uint32_t)root;
}

/*
 * One step of Zimmermann's "Karatsuba square root" (INRIA RR-3805): the root of the upper half and one
 * division give the root of the whole. Needs one of the two top bits of n.
 */
static uint64_t sf_sqrt_u128(sf_u128 n, sf_u128 *rest)
{
	uint64_t high_rest, high_root = sf_sqrt_u64((uint64_t)(n >> 64), &high_rest);
	sf_u128 dividend = ((sf_u128)high_rest << 32) | (uint32_t)((uint64_t)n >> 32);
	sf_u128 root = ((sf_u128)high_root << 32) + dividend / (2 * high_root);

	while (root >> 64 || root * root > n)
		root--;
	*rest = n - root * root;
	return (uint64_t)root;
}

static struct sf_parts sf_parts_sqrt(const struct sf_parts *a, struct sf_env *env)
{
	struct sf_parts r = {.class = SF_CLASS_FINITE, .exp = a->exp >> 1};
	sf_u128 rest;

	if (a->class == SF_CLASS_ZERO)
		return *a;
	if (a->sign)
		return sf_parts_invalid(env);
	if (sf_denormal_stops(a->denormal, env))
		return sf_parts_zero(false);
	if (a->class == SF_CLASS_INF)
		return *a;
	r.hi = sf_sqrt_u128((sf_u128)a->hi << (a->exp & 1 ? 64 : 63), &rest);
	r.lo = !rest ? 0 : rest > r.hi ? SF_TOP_BIT | 1 : 1; /* (root + 1/2)^2 = root^2 + root + 1/4 */
	return r;
}

/* The three formats differ in how they are taken apart, which NaN wins and how they are put together. */
typedef struct sf_parts sf_binary(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env);

static inline uint32_t sf32_binary(sf_binary *op, uint32_t a, uint32_t b, struct sf_env *env)
{
	struct sf_parts pa = sf32_unpack(a, env), pb = sf32_unpack(b, env), r;

	r = pa.class >= SF_CLASS_QNAN || pb.class >= SF_CLASS_QNAN ? sf_sse_nan(&pa, &pb, env)
								   : op(&pa, &pb, env);
	return sf32_pack(&r, env);
}

static inline uint64_t sf64_binary(sf_binary *op, uint64_t a, uint64_t b, struct sf_env *env)
{
	struct sf_parts pa = sf64_unpack(a, env), pb = sf64_unpack(b, env), r;

	r = pa.class >= SF_CLASS_QNAN || pb.class >= SF_CLASS_QNAN ? sf_sse_nan(&pa, &pb, env)
								   : op(&pa, &pb, env);
	return sf64_pack(&r, env);
}

static inline struct f80 sf80_binary(sf_binary *op, struct f80 a, struct f80 b, struct sf_env *env)
{
	struct sf_parts pa = sf80_unpack(a), pb = sf80_unpack(b), r;

	r = pa.class >= SF_CLASS_QNAN || pb.class >= SF_CLASS_QNAN ? sf_x87_nan(&pa, &pb, env)
								   : op(&pa, &pb, env);
	return sf80_pack_precise(&r, env);
}

/* A NaN operand keeps its sign, so a difference is not the sum with the second operand's sign turned outside.
 */
static struct sf_parts sf_parts_sub(const struct sf_parts *a, const struct sf_parts *b, struct sf_env *env)
{
	struct sf_parts negated = *b;

	negated.sign = !b->sign;
	return sf_parts_add(a, &negated, env);
}

uint32_t sf32_add(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_binary(sf_parts_add, a, b, env);
}

uint32_t sf32_sub(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_binary(sf_parts_sub, a, b, env);
}

uint32_t sf32_mul(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_binary(sf_parts_mul, a, b, env);
}

uint32_t sf32_div(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_binary(sf_parts_div, a, b, env);
}

uint32_t sf32_sqrt(uint32_t a, struct sf_env *env)
{
	struct sf_parts pa = sf32_unpack(a, env), r;

	r = pa.class >= SF_CLASS_QNAN ? sf_unary_nan(&pa, env) : sf_parts_sqrt(&pa, env);
	return sf32_pack(&r, env);
}

uint64_t sf64_add(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_binary(sf_parts_add, a, b, env);
}

uint64_t sf64_sub(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_binary(sf_parts_sub, a, b, env);
}

uint64_t sf64_mul(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_binary(sf_parts_mul, a, b, env);
}

uint64_t sf64_div(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_binary(sf_parts_div, a, b, env);
}

uint64_t sf64_sqrt(uint64_t a, struct sf_env *env)
{
	struct sf_parts pa = sf64_unpack(a, env), r;

	r = pa.class >= SF_CLASS_QNAN ? sf_unary_nan(&pa, env) : sf_parts_sqrt(&pa, env);
	return sf64_pack(&r, env);
}

struct f80 sf80_add(struct f80 a, struct f80 b, struct sf_env *env)
{
	return sf80_binary(sf_parts_add, a, b, env);
}

struct f80 sf80_sub(struct f80 a, struct f80 b, struct sf_env *env)
{
	return sf80_binary(sf_parts_sub, a, b, env);
}

struct f80 sf80_mul(struct f80 a, struct f80 b, struct sf_env *env)
{
	return sf80_binary(sf_parts_mul, a, b, env);
}

struct f80 sf80_div(struct f80 a, struct f80 b, struct sf_env *env)
{
	return sf80_binary(sf_parts_div, a, b, env);
}

struct f80 sf80_sqrt(struct f80 a, struct sf_env *env)
{
	struct sf_parts pa = sf80_unpack(a), r;

	r = pa.class >= SF_CLASS_QNAN ? sf_unary_nan(&pa, env) : sf_parts_sqrt(&pa, env);
	return sf80_pack_precise(&r, env);
}
