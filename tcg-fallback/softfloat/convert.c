/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversions among f32, f64, f80, integers and packed BCD, and rounding to an integral value. Integer and
 * BCD indefinites: SDM vol. 1, 4.8.2 and table 4-4.
 */
#include "tcg-fallback/softfloat/pack.h"

/* The largest magnitude of an 18-digit number. */
#define BCD_MAX 999999999999999999ull

/*
 * Magnitude of a value rounded to an integer, UINT64_MAX where there is none; *inexact is only set, never
 * raised.
 */
static uint64_t sf_parts_to_magnitude(const struct sf_parts *a, enum sf_rounding rounding, bool *inexact,
				      struct sf_env *env)
{
	struct sf_parts p = *a;

	*inexact = false;
	if (p.class == SF_CLASS_ZERO)
		return 0;
	if (p.class != SF_CLASS_FINITE || p.exp > 63)
		return UINT64_MAX;
	*inexact = sf_parts_round_to_int(&p, rounding, env);
	return p.class == SF_CLASS_ZERO ? 0 : p.exp > 63 ? UINT64_MAX : p.hi >> (63 - p.exp);
}

/* A signed integer of some width, or its indefinite. */
static int64_t sf_parts_to_int(const struct sf_parts *a, int bits, enum sf_rounding rounding,
			       struct sf_env *env)
{
	uint64_t limit = 1ull << (bits - 1);
	bool inexact;
	uint64_t magnitude = sf_parts_to_magnitude(a, rounding, &inexact, env);

	if (magnitude > limit || (magnitude == limit && !a->sign)) {
		env->flags |= SF_INVALID;
		env->rounded_up = false;
		return (int64_t)-limit;
	}
	if (inexact)
		env->flags |= SF_INEXACT;
	return (int64_t)(a->sign ? -magnitude : magnitude);
}

int32_t sf32_to_i32(uint32_t a, enum sf_rounding rounding, struct sf_env *env)
{
	struct sf_parts p = sf32_unpack(a, env);

	return (int32_t)sf_parts_to_int(&p, 32, rounding, env);
}

int64_t sf32_to_i64(uint32_t a, enum sf_rounding rounding, struct sf_env *env)
{
	struct sf_parts p = sf32_unpack(a, env);

	return sf_parts_to_int(&p, 64, rounding, env);
}

int32_t sf64_to_i32(uint64_t a, enum sf_rounding rounding, struct sf_env *env)
{
	struct sf_parts p = sf64_unpack(a, env);

	return (int32_t)sf_parts_to_int(&p, 32, rounding, env);
}

int64_t sf64_to_i64(uint64_t a, enum sf_rounding rounding, struct sf_env *env)
{
	struct sf_parts p = sf64_unpack(a, env);

	return sf_parts_to_int(&p, 64, rounding, env);
}

int16_t sf80_to_i16(struct f80 a, enum sf_rounding rounding, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a);

	return (int16_t)sf_parts_to_int(&p, 16, rounding, env);
}

int32_t sf80_to_i32(struct f80 a, enum sf_rounding rounding, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a);

	return (int32_t)sf_parts_to_int(&p, 32, rounding, env);
}

int64_t sf80_to_i64(struct f80 a, enum sf_rounding rounding, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a);

	return sf_parts_to_int(&p, 64, rounding, env);
}

static struct sf_parts sf_parts_from_int(int64_t a)
{
	uint64_t magnitude = a < 0 ? -(uint64_t)a : (uint64_t)a;

	return sf_parts_from_u128(a < 0, 63, (sf_u128)magnitude << 64);
}

uint32_t sf32_from_i64(int64_t a, struct sf_env *env)
{
	struct sf_parts p = sf_parts_from_int(a);

	return sf32_pack(&p, env);
}

uint32_t sf32_from_i32(int32_t a, struct sf_env *env)
{
	return sf32_from_i64(a, env);
}

uint64_t sf64_from_i64(int64_t a, struct sf_env *env)
{
	struct sf_parts p = sf_parts_from_int(a);

	return sf64_pack(&p, env);
}

uint64_t sf64_from_i32(int32_t a, struct sf_env *env)
{
	return sf64_from_i64(a, env);
}

struct f80 sf80_from_i64(int64_t a)
{
	struct sf_parts p = sf_parts_from_int(a);
	struct sf_env exact = {0};

	return sf80_pack(&p, &exact);
}

/* What every change of format does before the new format is packed. */
static struct sf_parts sf_parts_convert(const struct sf_parts *a, struct sf_env *env)
{
	if (a->class >= SF_CLASS_QNAN)
		return sf_unary_nan(a, env);
	if (sf_denormal_stops(a->denormal, env))
		return sf_parts_zero(a->sign);
	return *a;
}

uint64_t sf32_to_f64(uint32_t a, struct sf_env *env)
{
	struct sf_parts p = sf32_unpack(a, env);

	p = sf_parts_convert(&p, env);
	return sf64_pack(&p, env);
}

uint32_t sf64_to_f32(uint64_t a, struct sf_env *env)
{
	struct sf_parts p = sf64_unpack(a, env);

	p = sf_parts_convert(&p, env);
	return sf32_pack(&p, env);
}

struct f80 sf80_widen_f32(uint32_t a)
{
	struct sf_env exact = {0};
	struct sf_parts p = sf32_unpack(a, &exact);

	return sf80_pack(&p, &exact);
}

struct f80 sf80_widen_f64(uint64_t a)
{
	struct sf_env exact = {0};
	struct sf_parts p = sf64_unpack(a, &exact);

	return sf80_pack(&p, &exact);
}

/* An unmasked SF_DENORMAL does not keep a load from its result. */
static struct f80 sf80_loaded(struct sf_parts *p, struct sf_env *env)
{
	if (p->class >= SF_CLASS_QNAN)
		*p = sf_unary_nan(p, env);
	sf_denormal_stops(p->denormal, env);
	return sf80_pack(p, env);
}

struct f80 sf80_from_f32(uint32_t a, struct sf_env *env)
{
	struct sf_parts p = sf32_unpack(a, env);

	return sf80_loaded(&p, env);
}

struct f80 sf80_from_f64(uint64_t a, struct sf_env *env)
{
	struct sf_parts p = sf64_unpack(a, env);

	return sf80_loaded(&p, env);
}

/* A store raises no SF_DENORMAL for what is in the register. */
static struct sf_parts sf80_unpack_for_store(struct f80 a, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a);

	return p.class >= SF_CLASS_QNAN ? sf_unary_nan(&p, env) : p;
}

/* A store that does not happen reports no inexact result (SDM vol. 1, 8.5.6). */
static void sf80_store_finish(struct sf_env *env)
{
	if (env->flags & env->unmasked & (SF_OVERFLOW | SF_UNDERFLOW)) {
		env->flags &= (uint8_t)~SF_INEXACT;
		env->rounded_up = false;
	}
}

uint32_t sf80_to_f32(struct f80 a, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack_for_store(a, env);
	uint32_t r = sf32_pack(&p, env);

	sf80_store_finish(env);
	return r;
}

uint64_t sf80_to_f64(struct f80 a, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack_for_store(a, env);
	uint64_t r = sf64_pack(&p, env);

	sf80_store_finish(env);
	return r;
}

/* A zero that comes of rounding keeps its sign. */
static void sf_round_in_place(struct sf_parts *p, enum sf_rounding rounding, bool report, struct sf_env *env)
{
	if (p->class == SF_CLASS_FINITE && sf_parts_round_to_int(p, rounding, env) && report)
		env->flags |= SF_INEXACT;
}

uint32_t sf32_round_to_int(uint32_t a, enum sf_rounding rounding, bool report_inexact, struct sf_env *env)
{
	struct sf_parts p = sf32_unpack(a, env);

	if (p.class >= SF_CLASS_QNAN)
		p = sf_unary_nan(&p, env);
	sf_round_in_place(&p, rounding, report_inexact, env);
	return sf32_pack(&p, env);
}

uint64_t sf64_round_to_int(uint64_t a, enum sf_rounding rounding, bool report_inexact, struct sf_env *env)
{
	struct sf_parts p = sf64_unpack(a, env);

	if (p.class >= SF_CLASS_QNAN)
		p = sf_unary_nan(&p, env);
	sf_round_in_place(&p, rounding, report_inexact, env);
	return sf64_pack(&p, env);
}

struct f80 sf80_round_to_int(struct f80 a, struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a);
	bool up;

	p = sf_parts_convert(&p, env);
	sf_round_in_place(&p, (enum sf_rounding)env->rounding, true, env);
	up = env->rounded_up;
	a = sf80_pack(&p, env);
	env->rounded_up = up; /* packing rounds nothing more, but says so */
	return a;
}

struct f80 sf80_from_bcd(const uint8_t bcd[10])
{
	uint64_t magnitude = 0;
	struct f80 r;

	for (int i = 8; i >= 0; i--)
		magnitude = magnitude * 100 + (bcd[i] >> 4) * 10u + (bcd[i] & 15);
	r = sf80_from_i64((int64_t)magnitude);
	r.sexp |= (uint16_t)((bcd[9] & 0x80) << 8);
	return r;
}

void sf80_to_bcd(struct f80 a, uint8_t bcd[10], struct sf_env *env)
{
	struct sf_parts p = sf80_unpack(a);
	bool inexact;
	uint64_t magnitude = sf_parts_to_magnitude(&p, (enum sf_rounding)env->rounding, &inexact, env);
	bool fits = magnitude <= BCD_MAX;

	if (!fits) {
		env->flags |= SF_INVALID;
		env->rounded_up = false;
		magnitude = 0;
	} else if (inexact) {
		env->flags |= SF_INEXACT;
	}
	for (int i = 0; i < 9; i++, magnitude /= 100)
		bcd[i] = (uint8_t)((magnitude / 10 % 10) << 4 | magnitude % 10);
	bcd[9] = p.sign ? 0x80 : 0;
	if (!fits) { /* the packed BCD indefinite */
		bcd[7] = 0xc0;
		bcd[8] = 0xff;
		bcd[9] = 0xff;
	}
}
