/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every f80 operation of softfloat/ against the host's x87: results, exception flags, C1 and condition codes,
 * in every rounding mode and precision, with exceptions masked and unmasked. The x87 only raises at the next
 * waiting instruction, so no signal is involved. SDM vol. 1, chapter 8.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/softfloat_oracle.h"

#define RANDOM_CASES 60000

#if SOFTFLOAT_HAS_ORACLE

typedef void native_fn(const struct f80 *a, const struct f80 *b, uint16_t control, struct oracle_x87 *out);
typedef void soft_fn(struct f80 a, struct f80 b, struct sf_env *env, struct oracle_x87 *out);

enum {
	CHECK_ST0 = 1,   /* st0 is the result */
	CHECK_ST1 = 2,   /* st1 as well */
	CHECK_MEM = 4,   /* memory is the result */
	CHECK_CC = 8,    /* C0, C2 and C3 are defined */
	CHECK_LOAD = 16, /* what was st0 is popped first; a denormal does not keep the load from happening */
	SOURCE_F32 = 32, /* b.mant holds an f32, f64 or integer memory operand */
	SOURCE_F64 = 64,
	SOURCE_BCD = 128,
};

struct x87_op {
	const char *name;
	unsigned int check;
	native_fn *native;
	soft_fn *soft;
};

#define SOFT(name, ...)                                                                                      \
	static void soft_##name(struct f80 a, struct f80 b, struct sf_env *env, struct oracle_x87 *out)      \
	{                                                                                                    \
		__VA_ARGS__;                                                                                 \
	}

/* An arithmetic operation on two registers, and on an f32 and an f64 in memory. */
#define ARITHMETIC(name)                                                                                     \
	ORACLE_X87(f##name, "f" #name " %%st(1), %%st")                                                      \
	ORACLE_X87(f##name##s, "f" #name "s %[b]")                                                           \
	ORACLE_X87(f##name##l, "f" #name "l %[b]")                                                           \
	SOFT(f##name, out->st0 = sf80_##name(a, b, env))                                                     \
	SOFT(f##name##s, env->src_denormal = sf32_is_denormal((uint32_t)b.mant);                             \
	     out->st0 = sf80_##name(a, sf80_widen_f32((uint32_t)b.mant), env))                               \
	SOFT(f##name##l, env->src_denormal = sf64_is_denormal(b.mant);                                       \
	     out->st0 = sf80_##name(a, sf80_widen_f64(b.mant), env))

static uint16_t cc_of_relation(enum sf_relation relation)
{
	switch (relation) {
	case SF_LESS: return FSW_C0;
	case SF_EQUAL: return FSW_C3;
	case SF_GREATER: return 0;
	case SF_UNORDERED: return FSW_C0 | FSW_C2 | FSW_C3;
	}
	return 0xffff;
}

static uint16_t cc_of_quotient(const struct sf80_quotient *q)
{
	if (q->partial)
		return FSW_C2;
	return (uint16_t)((q->low_bits & 1 ? FSW_C1 : 0) | (q->low_bits & 2 ? FSW_C3 : 0) |
			  (q->low_bits & 4 ? FSW_C0 : 0));
}

static void soft_remainder(struct f80 a, struct f80 b, bool nearest, struct sf_env *env,
			   struct oracle_x87 *out)
{
	struct sf80_quotient q;

	out->st0 = nearest ? sf80_rem_nearest(a, b, &q, env) : sf80_rem_truncated(a, b, &q, env);
	out->status = cc_of_quotient(&q);
}

static void put(struct oracle_x87 *out, const struct sf_env *env, const void *value, size_t size)
{
	if (!(env->flags & env->unmasked & ~SF_INEXACT))
		memcpy(out->mem, value, size);
}

ARITHMETIC(add)
ARITHMETIC(sub)
ARITHMETIC(mul)
ARITHMETIC(div)
ORACLE_X87(fsqrt, "fsqrt")
SOFT(fsqrt, out->st0 = sf80_sqrt(a, env))
ORACLE_X87(frndint, "frndint")
SOFT(frndint, out->st0 = sf80_round_to_int(a, env))
ORACLE_X87(fprem, "fprem")
SOFT(fprem, soft_remainder(a, b, false, env, out))
ORACLE_X87(fprem1, "fprem1")
SOFT(fprem1, soft_remainder(a, b, true, env, out))
ORACLE_X87(fscale, "fscale")
SOFT(fscale, out->st0 = sf80_scale(a, b, env))
ORACLE_X87(fxtract, "fxtract")
SOFT(fxtract, out->st0 = sf80_extract(a, &out->st1, env))
ORACLE_X87(fcom, "fcom %%st(1)")
SOFT(fcom, out->status = cc_of_relation(sf80_compare(a, b, env)))
ORACLE_X87(fucom, "fucom %%st(1)")
SOFT(fucom, out->status = cc_of_relation(sf80_compare_quiet(a, b, env)))
ORACLE_X87(flds, "fstp %%st\n\tflds %[b]")
SOFT(flds, out->st0 = sf80_from_f32((uint32_t)b.mant, env))
ORACLE_X87(fldl, "fstp %%st\n\tfldl %[b]")
SOFT(fldl, out->st0 = sf80_from_f64(b.mant, env))
ORACLE_X87(fildll, "fstp %%st\n\tfildll %[b]")
SOFT(fildll, out->st0 = sf80_from_i64((int64_t)b.mant))
ORACLE_X87(fbld, "fstp %%st\n\tfbld %[b]")
SOFT(fbld, uint8_t bcd[10]; memcpy(bcd, &b, 10); out->st0 = sf80_from_bcd(bcd))
ORACLE_X87(fsts, "fsts %[mem]")
SOFT(fsts, uint32_t v = sf80_to_f32(a, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fstl, "fstl %[mem]")
SOFT(fstl, uint64_t v = sf80_to_f64(a, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fists, "fists %[mem]")
SOFT(fists, int16_t v = sf80_to_i16(a, (enum sf_rounding)env->rounding, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fistl, "fistl %[mem]")
SOFT(fistl, int32_t v = sf80_to_i32(a, (enum sf_rounding)env->rounding, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fistpll, "fistpll %[mem]")
SOFT(fistpll, int64_t v = sf80_to_i64(a, (enum sf_rounding)env->rounding, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fisttps, "fisttps %[mem]")
SOFT(fisttps, int16_t v = sf80_to_i16(a, SF_ROUND_ZERO, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fisttpl, "fisttpl %[mem]")
SOFT(fisttpl, int32_t v = sf80_to_i32(a, SF_ROUND_ZERO, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fisttpll, "fisttpll %[mem]")
SOFT(fisttpll, int64_t v = sf80_to_i64(a, SF_ROUND_ZERO, env); put(out, env, &v, sizeof(v)))
ORACLE_X87(fbstp, "fbstp %[mem]")
SOFT(fbstp, uint8_t v[10]; sf80_to_bcd(a, v, env); put(out, env, v, sizeof(v)))

#define OP(name, check)                                                                                      \
	{                                                                                                    \
#name, check, native_##name, soft_##name                                                     \
	}
#define OP_ARITHMETIC(name)                                                                                  \
	OP(f##name, CHECK_ST0), OP(f##name##s, CHECK_ST0 | SOURCE_F32), OP(f##name##l, CHECK_ST0 | SOURCE_F64)

static const struct x87_op x87_ops[] = {
	OP_ARITHMETIC(add),
	OP_ARITHMETIC(sub),
	OP_ARITHMETIC(mul),
	OP_ARITHMETIC(div),
	OP(fsqrt, CHECK_ST0),
	OP(frndint, CHECK_ST0),
	OP(fprem, CHECK_ST0 | CHECK_CC),
	OP(fprem1, CHECK_ST0 | CHECK_CC),
	OP(fscale, CHECK_ST0),
	OP(fxtract, CHECK_ST0 | CHECK_ST1),
	OP(fcom, CHECK_CC),
	OP(fucom, CHECK_CC),
	OP(flds, CHECK_ST0 | CHECK_LOAD | SOURCE_F32),
	OP(fldl, CHECK_ST0 | CHECK_LOAD | SOURCE_F64),
	OP(fildll, CHECK_ST0 | CHECK_LOAD | SOURCE_F64),
	OP(fbld, CHECK_ST0 | CHECK_LOAD | SOURCE_BCD),
	OP(fsts, CHECK_MEM),
	OP(fstl, CHECK_MEM),
	OP(fists, CHECK_MEM),
	OP(fistl, CHECK_MEM),
	OP(fistpll, CHECK_MEM),
	OP(fisttps, CHECK_MEM),
	OP(fisttpl, CHECK_MEM),
	OP(fisttpll, CHECK_MEM),
	OP(fbstp, CHECK_MEM),
};

#define X87_OP_COUNT (sizeof(x87_ops) / sizeof(x87_ops[0]))

static const struct f80 special_f80[] = {
	{0x0000000000000000, 0x0000}, /* zero */
	{0x0000000000000001, 0x0000}, /* denormals */
	{0x4000000000000000, 0x0000}, {0x7fffffffffffffff, 0x0000},
	{0x8000000000000000, 0x0000}, /* pseudo-denormals */
	{0x8000000000000001, 0x0000}, {0xffffffffffffffff, 0x0000},
	{0x8000000000000000, 0x0001}, /* the smallest normal ones */
	{0x8000000000000001, 0x0001}, {0xffffffffffffffff, 0x0001},
	{0x8000000000000000, 0x0002}, {0x8000000000000000, 0x003f},
	{0x8000000000000000, 0x0040}, {0x8000000000000001, 0x1ffe},
	{0x8000000000000000, 0x3bcd}, /* around f64's least and f32's least */
	{0xffffffffffffffff, 0x3c00}, {0xfffffffffffff800, 0x3c00},
	{0x8000000000000000, 0x3c01}, {0xffffff0000000000, 0x3f80},
	{0xffffffffffffffff, 0x3f80}, {0x8000000000000000, 0x3f81},
	{0xffffffffffffffff, 0x3ffd}, {0x8000000000000000, 0x3ffe},
	{0x8000000000000001, 0x3ffe}, {0xffffffffffffffff, 0x3ffe},
	{0x8000000000000000, 0x3fff}, {0x8000000000000001, 0x3fff},
	{0xc000000000000000, 0x3fff}, {0x8000000000000000, 0x4000},
	{0xa000000000000000, 0x4000}, {0xc90fdaa22168c235, 0x4000}, /* pi */
	{0xffff000000000000, 0x400d},                               /* around 2^15, 2^31 and 2^63 */
	{0xfffeffffffffffff, 0x400d}, {0x8000000000000000, 0x400e},
	{0xffffffff00000000, 0x401d}, {0xfffffffeffffffff, 0x401d},
	{0x8000000000000000, 0x401e}, {0xde0b6b3a763ffff0, 0x403a},
	{0xde0b6b3a763ffff8, 0x403a}, {0xde0b6b3a76400000, 0x403a}, /* 10^18 */
	{0xffffffffffffffff, 0x403d}, {0x8000000000000000, 0x403e},
	{0xffffffffffffffff, 0x403e}, {0x8000000000000000, 0x403f},
	{0x8000000000000000, 0x4076}, {0xffffff7fffffffff, 0x407e},
	{0xffffff8000000000, 0x407e}, {0x8000000000000000, 0x407f},
	{0xfffffffffffffbff, 0x43fe}, {0xfffffffffffffc00, 0x43fe},
	{0x8000000000000000, 0x43ff}, {0x8000000000000000, 0x7ffd},
	{0x8000000000000000, 0x7ffe}, {0xffffffffffffffff, 0x7ffe},
	{0x8000000000000000, 0x7fff}, /* infinity */
	{0x8000000000000001, 0x7fff}, {0xbfffffffffffffff, 0x7fff},
	{0xc000000000000000, 0x7fff}, {0xc000000000000001, 0x7fff},
	{0xffffffffffffffff, 0x7fff}, {0x0000000000000000, 0x0001}, /* what the 8087 alone could read */
	{0x7fffffffffffffff, 0x3fff}, {0x0000000000000000, 0x7fff},
	{0x4000000000000000, 0x7fff}, {0x0000000000000001, 0x7fff},
};

#define SPECIAL_COUNT (2 * sizeof(special_f80) / sizeof(special_f80[0]))

static struct f80 special_operand(size_t i)
{
	struct f80 f = special_f80[i >> 1];

	f.sexp |= (uint16_t)((i & 1) << 15);
	return f;
}

/* A memory operand in the bits of b, from the value that b was. */
static struct f80 memory_operand(unsigned int check, struct f80 b, uint64_t *seed)
{
	struct sf_env env = {0};
	uint64_t r = oracle_random(seed);

	if (check & SOURCE_F32) {
		b.mant = r & 3 ? oracle_f32(seed, 0) : sf80_to_f32(b, &env);
	} else if (check & SOURCE_F64) {
		b.mant = r & 3 ? oracle_f64(seed, 0) : sf80_to_f64(b, &env);
	} else if (check & SOURCE_BCD) {
		uint8_t bcd[10];

		sf80_to_bcd(sf80_from_i64((int64_t)(oracle_random(seed) >> (r & 63))), bcd, &env);
		bcd[9] = (uint8_t)(r >> 8 & 0x80);
		memcpy(&b, bcd, sizeof(bcd));
	}
	return b;
}

/* An unmasked pre-computation exception leaves everything as it was. */
static void expect(const struct x87_op *op, struct f80 a, struct f80 b, struct sf_env *env,
		   struct oracle_x87 *out)
{
	struct oracle_x87 untouched = *out;

	op->soft(a, b, env, out);
	if (op->check & CHECK_LOAD)
		untouched.st0 = b;
	if ((env->flags & env->unmasked & (op->check & CHECK_LOAD ? SF_INVALID : SF_PRECOMPUTE)) &&
	    (op->check & (CHECK_ST0 | CHECK_MEM)))
		*out = untouched;
	if (!(op->check & CHECK_CC) && env->rounded_up)
		out->status |= FSW_C1;
	out->status |= env->flags;
}

static void print_case(const char *who, const struct oracle_x87 *out)
{
	uint64_t mem[2];

	memcpy(mem, out->mem, sizeof(mem));
	print_error("  %s: st0 %04x:%016llx st1 %04x:%016llx mem %04llx:%016llx status %04x\n", who,
		    out->st0.sexp, (unsigned long long)out->st0.mant, out->st1.sexp,
		    (unsigned long long)out->st1.mant, (unsigned long long)(mem[1] & 0xffff),
		    (unsigned long long)mem[0], out->status);
}

static bool same(const struct x87_op *op, const struct oracle_x87 *native, const struct oracle_x87 *soft)
{
	uint16_t mask = 0x3f | FSW_C1 | (op->check & CHECK_CC ? FSW_C0 | FSW_C2 | FSW_C3 : 0);

	if ((native->status & mask) != (soft->status & mask))
		return false;
	if ((op->check & CHECK_ST0) && !oracle_same_f80(native->st0, soft->st0))
		return false;
	if ((op->check & CHECK_ST1) && !oracle_same_f80(native->st1, soft->st1))
		return false;
	return !(op->check & CHECK_MEM) || !memcmp(native->mem, soft->mem, 10);
}

static void check_case(const struct x87_op *op, struct f80 a, struct f80 b, uint16_t control)
{
	struct oracle_x87 native = {.mem = {0x5a, 0x5a, 0x5a, 0x5a}}, soft = native;
	struct sf_env env = oracle_env_of_fcw(control);

	soft.st0 = a;
	soft.st1 = b;
	op->native(&a, &b, control, &native);
	expect(op, a, b, &env, &soft);
	if (same(op, &native, &soft))
		return;
	print_error("%s a %04x:%016llx b %04x:%016llx fcw %04x\n", op->name, a.sexp,
		    (unsigned long long)a.mant, b.sexp, (unsigned long long)b.mant, control);
	print_case("native", &native);
	print_case("soft  ", &soft);
	fail();
}

/* Rounding and precision from four bits, everything masked. */
static uint16_t masked_fcw(unsigned int bits)
{
	return (uint16_t)(0x7f | (bits & 3) << 10 | (bits & 12) << 6);
}

static void specials_agree(void **state)
{
	uint64_t seed = 1;

	for (size_t n = 0; n < X87_OP_COUNT; n++)
		for (size_t i = 0; i < SPECIAL_COUNT; i++)
			for (size_t j = 0; j < SPECIAL_COUNT; j++) {
				struct f80 b = memory_operand(x87_ops[n].check, special_operand(j), &seed);

				for (unsigned int bits = 0; bits < 16; bits++)
					check_case(&x87_ops[n], special_operand(i), b, masked_fcw(bits));
			}
}

static void random_operands_agree(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull;

	for (size_t n = 0; n < X87_OP_COUNT; n++)
		for (int i = 0; i < RANDOM_CASES; i++) {
			struct f80 a = oracle_f80(&seed, (struct f80){.sexp = 0x3fff});
			struct f80 b = memory_operand(x87_ops[n].check, oracle_f80(&seed, a), &seed);

			check_case(&x87_ops[n], a, b, masked_fcw((unsigned int)oracle_random(&seed)));
		}
}

static void unmasked_exceptions_agree(void **state)
{
	uint64_t seed = 0xd1b54a32d192ed03ull;

	for (size_t n = 0; n < X87_OP_COUNT; n++)
		for (int i = 0; i < RANDOM_CASES; i++) {
			uint64_t r = oracle_random(&seed);
			struct f80 a = oracle_f80(&seed, (struct f80){.sexp = 0x3fff}),
				   b = oracle_f80(&seed, a);

			if (r & 1 << 20)
				a = special_operand((r >> 32) % SPECIAL_COUNT);
			if (r & 1 << 21)
				b = special_operand((r >> 48) % SPECIAL_COUNT);
			b = memory_operand(x87_ops[n].check, b, &seed);
			check_case(&x87_ops[n], a, b, masked_fcw(r & 15) & (uint16_t) ~(r >> 8 & 0x3f));
		}
}

#else

static void specials_agree(void **state)
{
	skip();
}

static void random_operands_agree(void **state)
{
	skip();
}

static void unmasked_exceptions_agree(void **state)
{
	skip();
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specials_agree),
		cmocka_unit_test(random_operands_agree),
		cmocka_unit_test(unmasked_exceptions_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
