/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transcendentals of softfloat/ against the host's x87: within one unit in the last place, equal where
 * the answer is exact or special, with the same exception flags. SDM vol. 1, 8.3.7 to 8.3.10.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/softfloat_oracle.h"

#define RANDOM_CASES 100000

#if SOFTFLOAT_HAS_ORACLE
#include <cpuid.h>

typedef void native_fn(const struct f80 *a, const struct f80 *b, uint16_t control, struct oracle_x87 *out);
typedef void soft_fn(struct f80 a, struct f80 b, struct sf_env *env, struct oracle_x87 *out);

struct transcendental {
	const char *name;
	unsigned int results; /* 1: st0; 2: st0 and st1 */
	uint64_t limit_mant;  /* the manual promises nothing for |a| above this; 0: no limit */
	uint16_t limit_sexp;
	native_fn *native;
	soft_fn *soft;
};

#define SOFT(name, ...)                                                                                      \
	static void soft_##name(struct f80 a, struct f80 b, struct sf_env *env, struct oracle_x87 *out)      \
	{                                                                                                    \
		__VA_ARGS__;                                                                                 \
	}

static void trig(bool (*op)(struct f80, struct f80 *, struct sf_env *), struct f80 a, struct sf_env *env,
		 struct oracle_x87 *out)
{
	if (!op(a, &out->st0, env))
		out->status |= FSW_C2;
}

static void trig_pair(bool tangent, struct f80 a, struct sf_env *env, struct oracle_x87 *out)
{
	struct f80 first, second = {.mant = 1ull << 63, .sexp = 0x3fff};
	bool in_range = tangent ? sf80_tan(a, &first, env) : sf80_sincos(a, &first, &second, env);

	if (!in_range) {
		out->status |= FSW_C2;
		return;
	}
	if (tangent && (first.sexp & 0x7fff) == 0x7fff)
		second = first;
	out->st1 = first;
	out->st0 = second;
}

ORACLE_X87(f2xm1, "f2xm1")
SOFT(f2xm1, out->st0 = sf80_2xm1(a, env))
ORACLE_X87(fyl2x, "fyl2x")
SOFT(fyl2x, out->st0 = sf80_yl2x(a, b, env))
ORACLE_X87(fyl2xp1, "fyl2xp1")
SOFT(fyl2xp1, out->st0 = sf80_yl2xp1(a, b, env))
ORACLE_X87(fpatan, "fpatan")
SOFT(fpatan, out->st0 = sf80_patan(b, a, env))
ORACLE_X87(fsin, "fsin")
SOFT(fsin, trig(sf80_sin, a, env, out))
ORACLE_X87(fcos, "fcos")
SOFT(fcos, trig(sf80_cos, a, env, out))
ORACLE_X87(fsincos, "fsincos")
SOFT(fsincos, trig_pair(false, a, env, out))
ORACLE_X87(fptan, "fptan")
SOFT(fptan, trig_pair(true, a, env, out))

static const struct transcendental transcendentals[] = {
	{"f2xm1", 1, 1ull << 63, 0x3fff, native_f2xm1, soft_f2xm1},
	{"fyl2x", 1, 0, 0, native_fyl2x, soft_fyl2x},
	{"fyl2xp1", 1, 0x95f619980c4336f7, 0x3ffd, native_fyl2xp1, soft_fyl2xp1},
	{"fpatan", 1, 0, 0, native_fpatan, soft_fpatan},
	{"fsin", 1, 0, 0, native_fsin, soft_fsin},
	{"fcos", 1, 0, 0, native_fcos, soft_fcos},
	{"fsincos", 2, 0, 0, native_fsincos, soft_fsincos},
	{"fptan", 2, 0, 0, native_fptan, soft_fptan},
};

#define TRANSCENDENTAL_COUNT (sizeof(transcendentals) / sizeof(transcendentals[0]))

/* Beyond the limits an AMD CPU is still what softfloat/ follows. */
static bool is_defined(const struct transcendental *op, struct f80 a)
{
	uint16_t exp = a.sexp & 0x7fff;
	unsigned int eax, ebx, ecx, edx;

	if (!op->limit_mant || exp < op->limit_sexp || (exp == op->limit_sexp && a.mant <= op->limit_mant))
		return true;
	return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx;
}

/* The distance of two values of one sign and no NaN as steps from one f80 to the next. */
static bool within_one_ulp(struct f80 a, struct f80 b)
{
	__extension__ typedef __int128 wide;
	wide x = ((wide)(a.sexp & 0x7fff) << 63) + (wide)(a.mant & ~(1ull << 63));
	wide y = ((wide)(b.sexp & 0x7fff) << 63) + (wide)(b.mant & ~(1ull << 63));

	if (oracle_same_f80(a, b))
		return true;
	if ((a.sexp ^ b.sexp) & 0x8000 || (a.sexp & 0x7fff) == 0x7fff || (b.sexp & 0x7fff) == 0x7fff)
		return false;
	return x - y <= 1 && y - x <= 1;
}

static void check_case(const struct transcendental *op, struct f80 a, struct f80 b, uint16_t control)
{
	struct oracle_x87 native = {0}, soft = {.st0 = a, .st1 = b};
	struct sf_env env = oracle_env_of_fcw(control);
	bool raised, same;

	if (!is_defined(op, a))
		return;
	op->native(&a, &b, control, &native);
	op->soft(a, b, &env, &soft);
	raised = env.flags & env.unmasked & SF_PRECOMPUTE;
	if (raised)
		soft = (struct oracle_x87){.st0 = a, .st1 = b};
	soft.status |= env.flags;
	same = within_one_ulp(native.st0, soft.st0) &&
	       (op->results < 2 || within_one_ulp(native.st1, soft.st1));
	if (same && ((native.status ^ soft.status) & (0x3f | FSW_C2)) == 0)
		return;
	print_error("%s a %04x:%016llx b %04x:%016llx fcw %04x\n", op->name, a.sexp,
		    (unsigned long long)a.mant, b.sexp, (unsigned long long)b.mant, control);
	print_error("  native %04x:%016llx %04x:%016llx status %04x\n", native.st0.sexp,
		    (unsigned long long)native.st0.mant, native.st1.sexp, (unsigned long long)native.st1.mant,
		    native.status);
	print_error("  soft   %04x:%016llx %04x:%016llx status %04x\n", soft.st0.sexp,
		    (unsigned long long)soft.st0.mant, soft.st1.sexp, (unsigned long long)soft.st1.mant,
		    soft.status);
	fail();
}

static struct f80 operand(uint64_t *seed, struct f80 other)
{
	uint64_t r = oracle_random(seed);
	struct f80 a = oracle_f80(seed, other);

	if (r & 3) {
		a.sexp = (uint16_t)((a.sexp & 0x8000) | (0x3fff - 40 + (r >> 8) % 44));
		a.mant |= 1ull << 63;
	}
	return a;
}

static void random_operands_agree(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull;

	for (size_t n = 0; n < TRANSCENDENTAL_COUNT; n++)
		for (int i = 0; i < RANDOM_CASES; i++) {
			struct f80 a = operand(&seed, (struct f80){.sexp = 0x3fff}), b = operand(&seed, a);
			uint64_t r = oracle_random(&seed);
			uint16_t unmasked = r & 3 ? 0 : r >> 16 & 0x3f;

			check_case(&transcendentals[n], a, b, (uint16_t)((0x37f | (r & 0xc00)) & ~unmasked));
		}
}

static void specials_agree(void **state)
{
	static const struct f80 special[] = {
		{0, 0},
		{1, 0},
		{1ull << 62, 0},
		{1ull << 63, 0},
		{~0ull, 0},
		{1ull << 63, 1},
		{1ull << 63, 0x3fbe},
		{1ull << 63, 0x3ffd},
		{0x95f619980c4336f7, 0x3ffd},
		{0xa000000000000000, 0x3ffd},
		{1ull << 63, 0x3ffe},
		{0xb504f333f9de6484, 0x3ffe},
		{0xc90fdaa22168c234, 0x3ffe},
		{0xc90fdaa22168c235, 0x3ffe},
		{~0ull, 0x3ffe},
		{1ull << 63, 0x3fff},
		{(1ull << 63) + 1, 0x3fff},
		{0xb504f333f9de6485, 0x3fff},
		{0xc90fdaa22168c235, 0x3fff},
		{0xc000000000000000, 0x3fff},
		{1ull << 63, 0x4000},
		{0xc90fdaa22168c235, 0x4000},
		{0xc90fdaa22168c235, 0x4001},
		{~0ull, 0x403d},
		{1ull << 63, 0x403e},
		{1ull << 63, 0x403f},
		{1ull << 63, 0x43ff},
		{~0ull, 0x7ffe},
		{1ull << 63, 0x7fff},
		{(1ull << 63) + 1, 0x7fff},
		{0xc000000000000000, 0x7fff},
		{0xc000000000000001, 0x7fff},
		{0, 0x7fff},
		{1, 0x7fff},
		{0, 1},
		{1ull << 62, 0x3fff},
	};
	const size_t count = 2 * sizeof(special) / sizeof(special[0]);

	for (size_t n = 0; n < TRANSCENDENTAL_COUNT; n++)
		for (size_t i = 0; i < count * count; i++) {
			struct f80 a = special[i / count / 2], b = special[i % count / 2];

			a.sexp |= (uint16_t)((i / count & 1) << 15);
			b.sexp |= (uint16_t)((i & 1) << 15);
			for (unsigned int bits = 0; bits < 8; bits++)
				check_case(&transcendentals[n], a, b,
					   (uint16_t)((bits & 4 ? 0x340 : 0x37f) | (bits & 3) << 10));
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

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specials_agree),
		cmocka_unit_test(random_operands_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
