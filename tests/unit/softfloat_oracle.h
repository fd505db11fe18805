/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host CPU as the oracle of the soft floating point: operands worth testing, and small thunks that run
 * one instruction natively and tell its result and its flags. Only x86-64 hosts have one; elsewhere the tests
 * skip.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tcg-fallback/softfloat/softfloat.h"

#if defined(__x86_64__)
#define SOFTFLOAT_HAS_ORACLE 1
#else
#define SOFTFLOAT_HAS_ORACLE 0
#endif

/* xorshift64*: the same cases on every run. */
static inline uint64_t oracle_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

/* A significand with long runs of equal bits: what makes ties, carries and cancellation likely. */
static inline uint64_t oracle_significand(uint64_t *state)
{
	uint64_t r = oracle_random(state), m = oracle_random(state);
	unsigned int a = r & 63, b = r >> 6 & 63;

	switch (r >> 12 & 7) {
	case 0: return m;
	case 1: return m << a;
	case 2: return ~0ull << a;
	case 3: return 1ull << a | 1ull << b;
	case 4: return ~(1ull << a) ^ (1ull << b);
	case 5: return m & (~0ull << a | ~0ull >> b);
	case 6: return (m & 0xf) << a | (m >> 60) << b;
	}
	return 0x8000000000000000ull | ((m & 7) << (a & 31)) | (m >> 63);
}

/* A biased exponent: anything, the ends, the middle, or near another operand's. */
static inline uint32_t oracle_exponent(uint64_t *state, uint32_t max, uint32_t near)
{
	uint64_t r = oracle_random(state);
	uint32_t small = (uint32_t)(r >> 8) % 70;

	switch (r & 7) {
	case 0: return (uint32_t)(r >> 20) % (max + 1);
	case 1: return small & 3;
	case 2: return max - (small & 3);
	case 3: return max / 2 + small - 35;
	case 4: return small;
	case 5: return max - small;
	}
	near += small - 35;
	return near > max ? max / 2 : near;
}

static inline uint32_t oracle_f32(uint64_t *state, uint32_t other)
{
	uint32_t exp = oracle_exponent(state, 255, other >> 23 & 255);
	uint64_t mant = oracle_significand(state);

	return (uint32_t)(oracle_random(state) & 0x80000000u) | exp << 23 | (uint32_t)(mant >> 40 & 0x7fffff);
}

static inline uint64_t oracle_f64(uint64_t *state, uint64_t other)
{
	uint64_t exp = oracle_exponent(state, 2047, other >> 52 & 2047);
	uint64_t mant = oracle_significand(state);

	return (oracle_random(state) & 1ull << 63) | exp << 52 | (mant >> 11 & 0xfffffffffffffull);
}

/* Mostly valid encodings: the integer bit follows the exponent but in one case of sixteen. */
static inline struct f80 oracle_f80(uint64_t *state, struct f80 other)
{
	uint32_t exp = oracle_exponent(state, 0x7fff, other.sexp & 0x7fff);
	uint64_t r = oracle_random(state);
	struct f80 f = {.mant = oracle_significand(state)};

	f.sexp = (uint16_t)((r & 0x8000) | exp);
	if (r & 15)
		f.mant = exp ? f.mant | 1ull << 63 : f.mant & ~(1ull << 63);
	return f;
}

/* How an SSE instruction is to be run natively, and what came of it. */
struct oracle_sse {
	uint32_t control; /* MXCSR in */
	uint32_t status;  /* MXCSR out: by STMXCSR, or as it was when #XM was raised */
	bool raised;
};

static inline struct sf_env oracle_env_of_mxcsr(uint32_t mxcsr)
{
	return (struct sf_env){
		.rounding = mxcsr >> 13 & 3,
		.daz = mxcsr >> 6 & 1,
		.ftz = mxcsr >> 15 & 1,
		.unmasked = ~(mxcsr >> 7) & 0x3f,
	};
}

static inline struct sf_env oracle_env_of_fcw(uint16_t fcw)
{
	return (struct sf_env){
		.rounding = fcw >> 10 & 3,
		.precision = fcw >> 8 & 3,
		.unmasked = (uint8_t)(~fcw & 0x3f),
	};
}

static inline bool oracle_same_f80(struct f80 a, struct f80 b)
{
	return a.mant == b.mant && a.sexp == b.sexp;
}

#define FSW_C0 0x0100
#define FSW_C1 0x0200
#define FSW_C2 0x0400
#define FSW_C3 0x4000

/* What an x87 instruction leaves behind, of what it may write. */
struct oracle_x87 {
	struct f80 st0, st1;
	uint8_t mem[16];
	uint16_t status; /* flags and condition codes */
};

#if SOFTFLOAT_HAS_ORACLE

/*
 * A native thunk: b and a are pushed, the code runs under `control`, and what is there afterwards is taken
 * down.
 */
#define ORACLE_X87(name, code)                                                                               \
	static void native_##name(const struct f80 *a, const struct f80 *b, uint16_t control,                \
				  struct oracle_x87 *out)                                                    \
	{                                                                                                    \
		__asm__ volatile(                                                                            \
			"fninit\n\t"                                                                         \
			"fldt %[b]\n\t"                                                                      \
			"fldt %[a]\n\t"                                                                      \
			"fldcw %[cw]\n\t" code "\n\t"                                                        \
			"fnstsw %[sw]\n\t"                                                                   \
			"fnclex\n\t"                                                                         \
			"fldcw %[calm]\n\t"                                                                  \
			"fstpt %[st0]\n\t"                                                                   \
			"fstpt %[st1]\n\t"                                                                   \
			"fninit"                                                                             \
			: [sw] "=m"(out->status), [st0] "=m"(out->st0), [st1] "=m"(out->st1),                \
			  [mem] "+m"(out->mem)                                                               \
			: [a] "m"(*a), [b] "m"(*b), [cw] "m"(control), [calm] "m"((uint16_t){0x37f})         \
			: "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc");        \
	}

#endif
