/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking the formats apart and putting them together: encodings and rounding, inline so that each operation
 * is compiled for its format. No arithmetic is done here. Encodings: SDM vol. 1, 4.2.2 and 8.2.2; tininess is
 * found after rounding (4.9.1.5). Private to softfloat/.
 */
#pragma once

#include "tcg-fallback/softfloat/parts.h"

struct sf_format {
	int precision;   /* bits of significand */
	int32_t exp_min; /* exponent of the smallest normal number */
	int32_t exp_max; /* exponent of the largest finite number */
	bool wraps;      /* an unmasked overflow or underflow still has a result */
	bool flushes;    /* env->ftz applies */
};

static const struct sf_format format_f32 = {24, -126, 127, false, true};
static const struct sf_format format_f64 = {53, -1022, 1023, false, true};
static const struct sf_format format_f80 = {64, -16382, 16383, true, false};
static const struct sf_format format_f80_53 = {53, -16382, 16383, true, false};
static const struct sf_format format_f80_24 = {24, -16382, 16383, true, false};

/* A rounded value, ready for its format: exp is the biased exponent, hi keeps its integer bit in bit 63. */
struct sf_packed {
	uint64_t hi;
	uint32_t exp;
};

static inline struct sf_parts sf_unpack_ieee(uint64_t frac, uint32_t exp, const struct sf_format *f)
{
	struct sf_parts p = {.hi = frac, .class = SF_CLASS_FINITE};
	int shift;

	if (exp == (uint32_t)(2 * f->exp_max + 1)) {
		p.class = !frac ? SF_CLASS_INF : (frac & SF_QUIET_BIT) ? SF_CLASS_QNAN : SF_CLASS_SNAN;
		p.hi = SF_TOP_BIT | frac;
	} else if (exp) {
		p.exp = (int32_t)exp - f->exp_max;
		p.hi = SF_TOP_BIT | frac;
	} else if (!frac) {
		p.class = SF_CLASS_ZERO;
	} else {
		shift = __builtin_clzll(frac);
		p.exp = f->exp_min - shift;
		p.hi = frac << shift;
		p.denormal = true;
	}
	return p;
}

static inline struct sf_parts sf32_unpack(uint32_t a, const struct sf_env *env)
{
	struct sf_parts p = sf_unpack_ieee((uint64_t)(a & 0x7fffff) << 40, a >> 23 & 0xff, &format_f32);

	if (p.denormal && env->daz)
		p = sf_parts_zero(false);
	p.sign = a >> 31;
	return p;
}

static inline struct sf_parts sf64_unpack(uint64_t a, const struct sf_env *env)
{
	struct sf_parts p = sf_unpack_ieee((a & 0xfffffffffffffull) << 11, a >> 52 & 0x7ff, &format_f64);

	if (p.denormal && env->daz)
		p = sf_parts_zero(false);
	p.sign = a >> 63;
	return p;
}

static inline enum sf_class sf80_class_of_special(uint64_t mant)
{
	if (!(mant & SF_TOP_BIT))
		return SF_CLASS_UNSUPPORTED;
	if (mant == SF_TOP_BIT)
		return SF_CLASS_INF;
	return (mant & SF_QUIET_BIT) ? SF_CLASS_QNAN : SF_CLASS_SNAN;
}

static inline struct sf_parts sf80_unpack(struct f80 a)
{
	struct sf_parts p = {.hi = a.mant, .sign = a.sexp >> 15, .class = SF_CLASS_FINITE};
	uint32_t exp = a.sexp & 0x7fff;

	if (exp == 0x7fff) {
		p.class = sf80_class_of_special(a.mant);
	} else if (exp) {
		p.exp = (int32_t)exp - 16383;
		if (!(a.mant & SF_TOP_BIT))
			p.class = SF_CLASS_UNSUPPORTED;
	} else if (!a.mant) {
		p.class = SF_CLASS_ZERO;
	} else {
		int shift = __builtin_clzll(a.mant);

		p.exp = format_f80.exp_min - shift;
		p.hi = a.mant << shift;
		p.denormal = true;
	}
	return p;
}

/* Rounds hi:lo to a number of bits of hi; a carry out of bit 63 leaves hi at bit 63 and is told. */
static inline bool sf_round_bits(uint64_t *hi, uint64_t lo, int precision, bool sign, struct sf_env *env,
				 bool *inexact)
{
	uint64_t ulp = 1ull << (64 - precision);
	uint64_t rest = precision == 64 ? lo : (*hi << (precision & 63)) | (lo != 0);
	bool up = sf_rounds_up(env->rounding, sign, *hi & ulp, rest);

	*inexact = rest != 0;
	env->rounded_up = up;
	*hi &= -ulp;
	if (!up)
		return false;
	*hi += ulp;
	if (*hi)
		return false;
	*hi = SF_TOP_BIT;
	return true;
}

/* Results that have no place in the format; out of line, as they are rare. */
struct sf_packed sf_overflow(bool sign, const struct sf_format *f, struct sf_env *env);
struct sf_packed sf_wrapped(uint64_t hi, int32_t exp, const struct sf_format *f, struct sf_env *env);
struct sf_packed sf_tiny(const struct sf_parts *p, const struct sf_format *f, struct sf_env *env);

static inline struct sf_packed sf_round(const struct sf_parts *p, const struct sf_format *f,
					struct sf_env *env)
{
	uint64_t hi = p->hi;
	bool inexact;
	int32_t exp = p->exp + sf_round_bits(&hi, p->lo, f->precision, p->sign, env, &inexact);

	if (exp >= f->exp_min && exp <= f->exp_max) {
		if (inexact)
			env->flags |= SF_INEXACT;
		return (struct sf_packed){.exp = (uint32_t)(exp + f->exp_max), .hi = hi};
	}
	if (exp > f->exp_max && !(env->unmasked & SF_OVERFLOW))
		return sf_overflow(p->sign, f, env);
	if (exp < f->exp_min && !(env->unmasked & SF_UNDERFLOW))
		return sf_tiny(p, f, env);
	env->flags |= exp > f->exp_max ? SF_OVERFLOW : SF_UNDERFLOW;
	if (inexact)
		env->flags |= SF_INEXACT;
	return sf_wrapped(hi, exp, f, env);
}

static inline struct sf_packed sf_encode(const struct sf_parts *p, const struct sf_format *f,
					 struct sf_env *env)
{
	if (p->class == SF_CLASS_FINITE)
		return sf_round(p, f, env);
	if (p->class == SF_CLASS_ZERO)
		return (struct sf_packed){0};
	return (struct sf_packed){
		.exp = (uint32_t)(2 * f->exp_max + 1),
		.hi = p->class == SF_CLASS_INF ? SF_TOP_BIT : p->hi | SF_TOP_BIT,
	};
}

static inline uint32_t sf32_pack(const struct sf_parts *p, struct sf_env *env)
{
	struct sf_packed r = sf_encode(p, &format_f32, env);

	return (uint32_t)p->sign << 31 | r.exp << 23 | ((uint32_t)(r.hi >> 40) & 0x7fffff);
}

static inline uint64_t sf64_pack(const struct sf_parts *p, struct sf_env *env)
{
	struct sf_packed r = sf_encode(p, &format_f64, env);

	return (uint64_t)p->sign << 63 | (uint64_t)r.exp << 52 | ((r.hi >> 11) & 0xfffffffffffffull);
}

static inline struct f80 sf80_pack(const struct sf_parts *p, struct sf_env *env)
{
	struct sf_packed r = sf_encode(p, &format_f80, env);

	return (struct f80){.mant = r.hi, .sexp = (uint16_t)((uint32_t)p->sign << 15 | r.exp)};
}

static inline struct f80 sf80_pack_precise(const struct sf_parts *p, struct sf_env *env)
{
	const struct sf_format *f = env->precision == SF_PRECISION_24   ? &format_f80_24
				    : env->precision == SF_PRECISION_53 ? &format_f80_53
									: &format_f80;
	struct sf_packed r = sf_encode(p, f, env);

	return (struct f80){.mant = r.hi, .sexp = (uint16_t)((uint32_t)p->sign << 15 | r.exp)};
}
