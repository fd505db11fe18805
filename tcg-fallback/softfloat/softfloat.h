/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IEEE 754 arithmetic with the x86's own answers, in integers only: the results, the exception flags and the
 * NaNs are those of an x86 CPU whatever the host is. f32 and f64 follow SSE (SDM vol. 1, 4.8.3.5, 4.9
 * and 11.5), f80 follows the x87 (SDM vol. 1, chapter 8). It knows no CPU state: the caller maps MXCSR or the
 * x87 control and status words to a struct sf_env and back. Every function is pure but for *env, and safe on
 * any bit pattern.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Exception flags, in the bit order of MXCSR[5:0] and FSW[5:0]. */
enum sf_flag {
	SF_INVALID = 0x01,
	SF_DENORMAL = 0x02,
	SF_DIVZERO = 0x04,
	SF_OVERFLOW = 0x08,
	SF_UNDERFLOW = 0x10,
	SF_INEXACT = 0x20,
	SF_PRECOMPUTE = SF_INVALID | SF_DENORMAL | SF_DIVZERO, /* found before a result exists */
	SF_ALL = 0x3f,
};

/* Rounding, as encoded in MXCSR.RC, FCW.RC and the immediate of ROUNDSS. */
enum sf_rounding {
	SF_ROUND_NEAREST = 0, /* ties to even */
	SF_ROUND_DOWN = 1,
	SF_ROUND_UP = 2,
	SF_ROUND_ZERO = 3,
};

/* The x87's precision control, as encoded in FCW.PC (1 is reserved and acts as 64 bits). */
enum sf_precision {
	SF_PRECISION_24 = 0,
	SF_PRECISION_53 = 2,
	SF_PRECISION_64 = 3,
};

/* The answer of a comparison. */
enum sf_relation {
	SF_LESS = -1,
	SF_EQUAL = 0,
	SF_GREATER = 1,
	SF_UNORDERED = 2,
};

/*
 * What an operation depends on and what it tells beside its result.
 *
 * flags only ever gains bits: clear it before the instruction. When (flags & unmasked) is not zero after an
 * operation, the caller raises the exception. The value returned then is
 *   f32 and f64: meaningless, and must not be written anywhere (SSE, and x87 stores to memory);
 *   f80: meaningless after SF_INVALID, SF_DENORMAL and SF_DIVZERO; after SF_OVERFLOW and SF_UNDERFLOW it is
 *     the rounded result with its exponent biased by 24576, to be written (SDM vol. 1, 8.5.4 and 8.5.5).
 *
 * An operation that meets an unmasked pre-computation exception raises no post-computation flag.
 */
struct sf_env {
	uint8_t rounding;  /* in: enum sf_rounding */
	uint8_t precision; /* in: enum sf_precision; only sf80_add, sub, mul, div and sqrt look at it */
	bool daz;          /* in: denormal operands are zeros (f32 and f64 operations only) */
	bool ftz;          /* in: tiny results are zeros when underflow is masked (f32 and f64 only) */
	uint8_t unmasked;  /* in: SF_* bits that are to be raised, i.e. the inverse of the mask bits */
	bool src_denormal; /* in: f80 only: a memory operand was a denormal before it was widened */
	uint8_t flags;     /* out: ORed with SF_* bits */
	bool rounded_up;   /* out: set when a result was rounded away from zero (C1); clear it before */
};

/* An x87 register: the integer bit is explicit. */
struct f80 {
	uint64_t mant;
	uint16_t sexp; /* sign in bit 15, exponent with a bias of 16383 below */
};

/*
 * Which flags of a whole packed SSE instruction are seen, from the OR of its lanes' flags: an unmasked
 * pre-computation exception in any lane stops the instruction before any lane's post-computation flags exist.
 */
static inline uint8_t sf_sse_visible_flags(uint8_t flags, uint8_t unmasked)
{
	return (flags & unmasked & SF_PRECOMPUTE) ? (uint8_t)(flags & SF_PRECOMPUTE) : flags;
}

/* Bits of the formats. */
#define SF32_DEFAULT_NAN 0xffc00000u
#define SF64_DEFAULT_NAN 0xfff8000000000000ull
#define SF80_DEFAULT_NAN ((struct f80){.mant = 0xc000000000000000ull, .sexp = 0xffff})

static inline bool sf32_is_nan(uint32_t a)
{
	return (a & 0x7fffffffu) > 0x7f800000u;
}

static inline bool sf32_is_snan(uint32_t a)
{
	return sf32_is_nan(a) && !(a & 0x00400000u);
}

static inline bool sf32_is_denormal(uint32_t a)
{
	return !(a & 0x7f800000u) && (a & 0x007fffffu);
}

static inline bool sf64_is_nan(uint64_t a)
{
	return (a & 0x7fffffffffffffffull) > 0x7ff0000000000000ull;
}

static inline bool sf64_is_snan(uint64_t a)
{
	return sf64_is_nan(a) && !(a & 0x0008000000000000ull);
}

static inline bool sf64_is_denormal(uint64_t a)
{
	return !(a & 0x7ff0000000000000ull) && (a & 0x000fffffffffffffull);
}

/*
 * f32 and f64: SSE. A NaN result is the first operand if it is a NaN, else the second one, made quiet; an
 * invalid operation gives the default NaN. min and max return b when either is a NaN or both are zeros.
 */
uint32_t sf32_add(uint32_t a, uint32_t b, struct sf_env *env);
uint32_t sf32_sub(uint32_t a, uint32_t b, struct sf_env *env);
uint32_t sf32_mul(uint32_t a, uint32_t b, struct sf_env *env);
uint32_t sf32_div(uint32_t a, uint32_t b, struct sf_env *env);
uint32_t sf32_sqrt(uint32_t a, struct sf_env *env);
uint32_t sf32_min(uint32_t a, uint32_t b, struct sf_env *env);
uint32_t sf32_max(uint32_t a, uint32_t b, struct sf_env *env);

uint64_t sf64_add(uint64_t a, uint64_t b, struct sf_env *env);
uint64_t sf64_sub(uint64_t a, uint64_t b, struct sf_env *env);
uint64_t sf64_mul(uint64_t a, uint64_t b, struct sf_env *env);
uint64_t sf64_div(uint64_t a, uint64_t b, struct sf_env *env);
uint64_t sf64_sqrt(uint64_t a, struct sf_env *env);
uint64_t sf64_min(uint64_t a, uint64_t b, struct sf_env *env);
uint64_t sf64_max(uint64_t a, uint64_t b, struct sf_env *env);

/*
 * Comparisons. The signalling ones (COMISS, CMPLTSS, FCOM) raise SF_INVALID for any NaN, the quiet ones
 * (UCOMISS, CMPEQSS, FUCOM) only for a signalling one.
 */
enum sf_relation sf32_compare(uint32_t a, uint32_t b, struct sf_env *env);
enum sf_relation sf32_compare_quiet(uint32_t a, uint32_t b, struct sf_env *env);
enum sf_relation sf64_compare(uint64_t a, uint64_t b, struct sf_env *env);
enum sf_relation sf64_compare_quiet(uint64_t a, uint64_t b, struct sf_env *env);

/*
 * To an integral value in the same format (ROUNDSS and kin), with the rounding given rather than
 * env->rounding. No SF_DENORMAL is raised; SF_INEXACT is only raised with report_inexact.
 */
uint32_t sf32_round_to_int(uint32_t a, enum sf_rounding rounding, bool report_inexact, struct sf_env *env);
uint64_t sf64_round_to_int(uint64_t a, enum sf_rounding rounding, bool report_inexact, struct sf_env *env);

/*
 * To integers: CVTSS2SI passes env->rounding, CVTTSS2SI passes SF_ROUND_ZERO. What does not fit, and a NaN,
 * gives the integer indefinite (only the top bit set) and SF_INVALID. No SF_DENORMAL is raised.
 */
int32_t sf32_to_i32(uint32_t a, enum sf_rounding rounding, struct sf_env *env);
int64_t sf32_to_i64(uint32_t a, enum sf_rounding rounding, struct sf_env *env);
int32_t sf64_to_i32(uint64_t a, enum sf_rounding rounding, struct sf_env *env);
int64_t sf64_to_i64(uint64_t a, enum sf_rounding rounding, struct sf_env *env);

/* From integers, rounded by env->rounding where the integer has too many bits. */
uint32_t sf32_from_i32(int32_t a, struct sf_env *env);
uint32_t sf32_from_i64(int64_t a, struct sf_env *env);
uint64_t sf64_from_i32(int32_t a, struct sf_env *env);
uint64_t sf64_from_i64(int64_t a, struct sf_env *env);

/* Between the SSE formats (CVTSS2SD, CVTSD2SS). */
uint64_t sf32_to_f64(uint32_t a, struct sf_env *env);
uint32_t sf64_to_f32(uint64_t a, struct sf_env *env);

/*
 * f80: x87. Unsupported encodings (unnormals, pseudo-NaNs, pseudo-infinities) are invalid operands. Of two
 * NaNs the one with the larger significand wins, but a quiet one always beats a signalling one.
 */
struct f80 sf80_add(struct f80 a, struct f80 b, struct sf_env *env);
struct f80 sf80_sub(struct f80 a, struct f80 b, struct sf_env *env);
struct f80 sf80_mul(struct f80 a, struct f80 b, struct sf_env *env);
struct f80 sf80_div(struct f80 a, struct f80 b, struct sf_env *env);
struct f80 sf80_sqrt(struct f80 a, struct sf_env *env);
enum sf_relation sf80_compare(struct f80 a, struct f80 b, struct sf_env *env);
enum sf_relation sf80_compare_quiet(struct f80 a, struct f80 b, struct sf_env *env);
struct f80 sf80_round_to_int(struct f80 a, struct sf_env *env);

/*
 * What FPREM and FPREM1 say beside the remainder: the low bits of the quotient, or that more rounds are
 * needed.
 */
struct sf80_quotient {
	uint8_t low_bits; /* quotient modulo 8; 0 when partial */
	bool partial;     /* C2: the exponents were 64 or more apart, the remainder is only a step nearer */
	bool exists;      /* false: a NaN or an exception stood in the way, C0 and C3 stay as they are */
};

/* FPREM, FPREM1 and FSCALE. */
struct f80 sf80_rem_truncated(struct f80 a, struct f80 b, struct sf80_quotient *q, struct sf_env *env);
struct f80 sf80_rem_nearest(struct f80 a, struct f80 b, struct sf80_quotient *q, struct sf_env *env);
struct f80 sf80_scale(struct f80 a, struct f80 by, struct sf_env *env);

/* FXTRACT: returns the significand, stores the exponent as a value. */
struct f80 sf80_extract(struct f80 a, struct f80 *exponent, struct sf_env *env);

/*
 * FLD m32/m64 and FST m32/m64. A load has its result even when SF_DENORMAL is unmasked. The widen functions
 * only change the format: a signalling NaN stays one, a denormal becomes a normal number without a flag; they
 * serve FADD m32 and kin together with env->src_denormal.
 */
struct f80 sf80_from_f32(uint32_t a, struct sf_env *env);
struct f80 sf80_from_f64(uint64_t a, struct sf_env *env);
struct f80 sf80_widen_f32(uint32_t a);
struct f80 sf80_widen_f64(uint64_t a);
uint32_t sf80_to_f32(struct f80 a, struct sf_env *env);
uint64_t sf80_to_f64(struct f80 a, struct sf_env *env);

struct f80 sf80_from_i64(int64_t a);
int16_t sf80_to_i16(struct f80 a, enum sf_rounding rounding, struct sf_env *env);
int32_t sf80_to_i32(struct f80 a, enum sf_rounding rounding, struct sf_env *env);
int64_t sf80_to_i64(struct f80 a, enum sf_rounding rounding, struct sf_env *env);

/* Packed BCD of ten bytes: eighteen digits, least significant byte first, the sign in bit 7 of byte 9. */
struct f80 sf80_from_bcd(const uint8_t bcd[10]);
void sf80_to_bcd(struct f80 a, uint8_t bcd[10], struct sf_env *env);

/*
 * The transcendentals: correct to well under one unit in the last place of 64 bits, always rounded to 64 bits
 * in the direction of env->rounding. The trigonometric ones reduce by the 66-bit pi of the x87 and return
 * false, storing nothing, when |a| is 2^63 or more (C2).
 */
struct f80 sf80_2xm1(struct f80 a, struct sf_env *env);                 /* 2^a - 1, |a| <= 1 */
struct f80 sf80_yl2x(struct f80 x, struct f80 y, struct sf_env *env);   /* y * log2(x) */
struct f80 sf80_yl2xp1(struct f80 x, struct f80 y, struct sf_env *env); /* y * log2(x + 1) */
struct f80 sf80_patan(struct f80 y, struct f80 x, struct sf_env *env);  /* the angle of (x, y) */
bool sf80_sin(struct f80 a, struct f80 *sin, struct sf_env *env);
bool sf80_cos(struct f80 a, struct f80 *cos, struct sf_env *env);
bool sf80_sincos(struct f80 a, struct f80 *sin, struct f80 *cos, struct sf_env *env);
bool sf80_tan(struct f80 a, struct f80 *tan, struct sf_env *env);
