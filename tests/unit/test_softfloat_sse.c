/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every f32 and f64 operation of softfloat/ against the host's SSE unit: results and all six flags, in every
 * rounding mode, with DAZ and FTZ, and with exceptions unmasked (then the #XM signal is the answer). SDM vol.
 * 1, 11.5.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <ucontext.h>
#include <cmocka.h>

#include "tests/unit/softfloat_oracle.h"

#define RANDOM_CASES_MASKED   80000
#define RANDOM_CASES_UNMASKED 1500

#if SOFTFLOAT_HAS_ORACLE

typedef uint64_t native_fn(uint64_t a, uint64_t b, struct oracle_sse *s);
typedef uint64_t soft_fn(uint64_t a, uint64_t b, struct sf_env *env);

/* What the operands of an operation are made of. */
enum operand { OPERAND_F32, OPERAND_F64, OPERAND_I32, OPERAND_I64 };

struct sse_op {
	const char *name;
	enum operand operand;
	native_fn *native;
	soft_fn *soft;
};

/* A signal handler has no other way to learn where to go on, or to tell what it saw. */
static struct {
	uint64_t resume_rip;
	uint32_t mxcsr;
	bool raised;
} fpe_signal;

static void on_fpe(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	fpe_signal.raised = true;
	fpe_signal.mxcsr = uc->uc_mcontext.fpregs->mxcsr;
	uc->uc_mcontext.fpregs->mxcsr = 0x1f80;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)fpe_signal.resume_rip;
}

#define NATIVE(name, code)                                                                                   \
	static uint64_t native_##name(uint64_t a, uint64_t b, struct oracle_sse *s)                          \
	{                                                                                                    \
		uint64_t r;                                                                                  \
		uint32_t calm = 0x1f80;                                                                      \
                                                                                                             \
		fpe_signal.raised = false;                                                                   \
		__asm__ volatile("lea 1f(%%rip), %%rax\n\t"                                                  \
				 "mov %%rax, %[resume]\n\t"                                                  \
				 "movq %[a], %%xmm0\n\t"                                                     \
				 "movq %[b], %%xmm1\n\t"                                                     \
				 "mov %[a], %%rax\n\t"                                                       \
				 "ldmxcsr %[in]\n\t" code "\n1:\tstmxcsr %[out]\n\t"                         \
				 "ldmxcsr %[calm]\n\t"                                                       \
				 : [r] "=&r"(r), [out] "=m"(s->status), [resume] "=m"(fpe_signal.resume_rip) \
				 : [a] "r"(a), [b] "r"(b), [in] "m"(s->control), [calm] "m"(calm)            \
				 : "rax", "rcx", "xmm0", "xmm1", "cc", "memory");                            \
		s->raised = fpe_signal.raised;                                                               \
		if (s->raised)                                                                               \
			s->status = fpe_signal.mxcsr;                                                        \
		return r;                                                                                    \
	}

#define SOFT(name, expression)                                                                               \
	static uint64_t soft_##name(uint64_t a, uint64_t b, struct sf_env *env)                              \
	{                                                                                                    \
		return (uint64_t)(expression);                                                               \
	}

#define BINARY(name)                                                                                         \
	NATIVE(name##ss, #name "ss %%xmm1, %%xmm0\n\tmovd %%xmm0, %k[r]")                                    \
	NATIVE(name##sd, #name "sd %%xmm1, %%xmm0\n\tmovq %%xmm0, %[r]")                                     \
	SOFT(name##ss, sf32_##name((uint32_t)a, (uint32_t)b, env))                                           \
	SOFT(name##sd, sf64_##name(a, b, env))

/* CF, PF and ZF as LAHF shows them. */
static uint64_t ah_of_relation(enum sf_relation relation)
{
	switch (relation) {
	case SF_LESS: return 0x01;
	case SF_EQUAL: return 0x40;
	case SF_GREATER: return 0x00;
	case SF_UNORDERED: return 0x45;
	}
	return ~0ull;
}

#define COMPARE(name, function)                                                                              \
	NATIVE(name##ss,                                                                                     \
	       #name "ss %%xmm1, %%xmm0\n\tlahf\n\tshr $8, %%eax\n\tand $0x45, %%eax\n\tmov %%eax, %k[r]")   \
	NATIVE(name##sd,                                                                                     \
	       #name "sd %%xmm1, %%xmm0\n\tlahf\n\tshr $8, %%eax\n\tand $0x45, %%eax\n\tmov %%eax, %k[r]")   \
	SOFT(name##ss, ah_of_relation(sf32_##function((uint32_t)a, (uint32_t)b, env)))                       \
	SOFT(name##sd, ah_of_relation(sf64_##function(a, b, env)))

#define ROUND(imm)                                                                                           \
	NATIVE(roundss##imm, "roundss $" #imm ", %%xmm0, %%xmm0\n\tmovd %%xmm0, %k[r]")                      \
	NATIVE(roundsd##imm, "roundsd $" #imm ", %%xmm0, %%xmm0\n\tmovq %%xmm0, %[r]")                       \
	SOFT(roundss##imm,                                                                                   \
	     sf32_round_to_int((uint32_t)a, imm & 4 ? env->rounding : imm & 3, !(imm & 8), env))             \
	SOFT(roundsd##imm, sf64_round_to_int(a, imm & 4 ? env->rounding : imm & 3, !(imm & 8), env))

BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(min)
BINARY(max)
NATIVE(sqrtss, "sqrtss %%xmm0, %%xmm0\n\tmovd %%xmm0, %k[r]")
NATIVE(sqrtsd, "sqrtsd %%xmm0, %%xmm0\n\tmovq %%xmm0, %[r]")
SOFT(sqrtss, sf32_sqrt((uint32_t)a, env))
SOFT(sqrtsd, sf64_sqrt(a, env))
COMPARE(comi, compare)
COMPARE(ucomi, compare_quiet)
ROUND(0)
ROUND(1)
ROUND(2)
ROUND(3)
ROUND(4)
ROUND(12)
NATIVE(cvtss2sd, "cvtss2sd %%xmm0, %%xmm0\n\tmovq %%xmm0, %[r]")
NATIVE(cvtsd2ss, "cvtsd2ss %%xmm0, %%xmm0\n\tmovd %%xmm0, %k[r]")
NATIVE(cvtss2sil, "cvtss2si %%xmm0, %k[r]")
NATIVE(cvtss2siq, "cvtss2si %%xmm0, %q[r]")
NATIVE(cvttss2sil, "cvttss2si %%xmm0, %k[r]")
NATIVE(cvttss2siq, "cvttss2si %%xmm0, %q[r]")
NATIVE(cvtsd2sil, "cvtsd2si %%xmm0, %k[r]")
NATIVE(cvtsd2siq, "cvtsd2si %%xmm0, %q[r]")
NATIVE(cvttsd2sil, "cvttsd2si %%xmm0, %k[r]")
NATIVE(cvttsd2siq, "cvttsd2si %%xmm0, %q[r]")
NATIVE(cvtsi2ssl, "cvtsi2ss %%eax, %%xmm0\n\tmovd %%xmm0, %k[r]")
NATIVE(cvtsi2ssq, "cvtsi2ss %%rax, %%xmm0\n\tmovd %%xmm0, %k[r]")
NATIVE(cvtsi2sdl, "cvtsi2sd %%eax, %%xmm0\n\tmovq %%xmm0, %[r]")
NATIVE(cvtsi2sdq, "cvtsi2sd %%rax, %%xmm0\n\tmovq %%xmm0, %[r]")
SOFT(cvtss2sd, sf32_to_f64((uint32_t)a, env))
SOFT(cvtsd2ss, sf64_to_f32(a, env))
SOFT(cvtss2sil, (uint32_t)sf32_to_i32((uint32_t)a, (enum sf_rounding)env->rounding, env))
SOFT(cvtss2siq, sf32_to_i64((uint32_t)a, (enum sf_rounding)env->rounding, env))
SOFT(cvttss2sil, (uint32_t)sf32_to_i32((uint32_t)a, SF_ROUND_ZERO, env))
SOFT(cvttss2siq, sf32_to_i64((uint32_t)a, SF_ROUND_ZERO, env))
SOFT(cvtsd2sil, (uint32_t)sf64_to_i32(a, (enum sf_rounding)env->rounding, env))
SOFT(cvtsd2siq, sf64_to_i64(a, (enum sf_rounding)env->rounding, env))
SOFT(cvttsd2sil, (uint32_t)sf64_to_i32(a, SF_ROUND_ZERO, env))
SOFT(cvttsd2siq, sf64_to_i64(a, SF_ROUND_ZERO, env))
SOFT(cvtsi2ssl, sf32_from_i32((int32_t)a, env))
SOFT(cvtsi2ssq, sf32_from_i64((int64_t)a, env))
SOFT(cvtsi2sdl, sf64_from_i32((int32_t)a, env))
SOFT(cvtsi2sdq, sf64_from_i64((int64_t)a, env))

#define OP(name, operand)                                                                                    \
	{                                                                                                    \
#name, operand, native_##name, soft_##name                                                   \
	}
#define OP_BOTH(name) OP(name##ss, OPERAND_F32), OP(name##sd, OPERAND_F64)
#define OP_ROUND(imm) OP(roundss##imm, OPERAND_F32), OP(roundsd##imm, OPERAND_F64)

static const struct sse_op sse_ops[] = {
	OP_BOTH(add),
	OP_BOTH(sub),
	OP_BOTH(mul),
	OP_BOTH(div),
	OP_BOTH(min),
	OP_BOTH(max),
	OP_BOTH(sqrt),
	OP_BOTH(comi),
	OP_BOTH(ucomi),
	OP_ROUND(0),
	OP_ROUND(1),
	OP_ROUND(2),
	OP_ROUND(3),
	OP_ROUND(4),
	OP_ROUND(12),
	OP(cvtss2sd, OPERAND_F32),
	OP(cvtsd2ss, OPERAND_F64),
	OP(cvtss2sil, OPERAND_F32),
	OP(cvtss2siq, OPERAND_F32),
	OP(cvttss2sil, OPERAND_F32),
	OP(cvttss2siq, OPERAND_F32),
	OP(cvtsd2sil, OPERAND_F64),
	OP(cvtsd2siq, OPERAND_F64),
	OP(cvttsd2sil, OPERAND_F64),
	OP(cvttsd2siq, OPERAND_F64),
	OP(cvtsi2ssl, OPERAND_I32),
	OP(cvtsi2ssq, OPERAND_I64),
	OP(cvtsi2sdl, OPERAND_I32),
	OP(cvtsi2sdq, OPERAND_I64),
};

#define SSE_OP_COUNT (sizeof(sse_ops) / sizeof(sse_ops[0]))

static const uint32_t special_f32[] = {
	0x00000000, 0x00000001, 0x00400000, 0x007fffff, 0x00800000, 0x00800001, 0x00ffffff, 0x01000000,
	0x33800000, 0x3effffff, 0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000, 0x40000000,
	0x40200000, 0x4affffff, 0x4b000001, 0x4effffff, 0x4f000000, 0x5effffff, 0x5f000000, 0x7f000000,
	0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fc12345, 0x7fffffff,
};

static const uint64_t special_f64[] = {
	0x0000000000000000, 0x0000000000000001, 0x0008000000000000, 0x000fffffffffffff, 0x0010000000000000,
	0x0010000000000001, 0x001fffffffffffff, 0x0020000000000000, 0x36a0000000000000, 0x380fffffffffffff,
	0x3810000000000000, 0x3ca0000000000000, 0x3fdfffffffffffff, 0x3fe0000000000000, 0x3fefffffffffffff,
	0x3ff0000000000000, 0x3ff0000000000001, 0x3ff8000000000000, 0x4004000000000000, 0x41dfffffffc00000,
	0x41e0000000000000, 0x432fffffffffffff, 0x43dfffffffffffff, 0x43e0000000000000, 0x47efffffe0000000,
	0x47efffffefffffff, 0x47f0000000000000, 0x7fe0000000000000, 0x7fefffffffffffff, 0x7ff0000000000000,
	0x7ff0000000000001, 0x7ff7ffffffffffff, 0x7ff8000000000000, 0x7ff8123456789abc, 0x7fffffffffffffff,
};

static uint64_t special_operand(const struct sse_op *op, size_t i)
{
	bool single = op->operand == OPERAND_F32 || op->operand == OPERAND_I32;

	if (single)
		return special_f32[i >> 1] | (i & 1 ? 0x80000000u : 0);
	return special_f64[i >> 1] | (i & 1 ? 1ull << 63 : 0);
}

static size_t special_count(const struct sse_op *op)
{
	bool single = op->operand == OPERAND_F32 || op->operand == OPERAND_I32;

	return 2 * (single ? sizeof(special_f32) / sizeof(special_f32[0])
			   : sizeof(special_f64) / sizeof(special_f64[0]));
}

static uint64_t random_operand(const struct sse_op *op, uint64_t *state, uint64_t other)
{
	switch (op->operand) {
	case OPERAND_F32: return oracle_f32(state, (uint32_t)other);
	case OPERAND_F64: return oracle_f64(state, other);
	case OPERAND_I32: return (uint32_t)(oracle_significand(state) >> (oracle_random(state) & 31));
	case OPERAND_I64: return oracle_significand(state) >> (oracle_random(state) & 63);
	}
	return 0;
}

static void check_case(const struct sse_op *op, uint64_t a, uint64_t b, uint32_t mxcsr)
{
	struct oracle_sse s = {.control = mxcsr};
	struct sf_env env = oracle_env_of_mxcsr(mxcsr);
	uint64_t native = op->native(a, b, &s), soft = op->soft(a, b, &env);
	bool raised = env.flags & env.unmasked;

	if (raised == s.raised && env.flags == (s.status & 0x3f) && (raised || native == soft))
		return;
	print_error(
		"%s(%llx, %llx) mxcsr %x: native %llx flags %02x raised %d, soft %llx flags %02x raised %d\n",
		op->name, (unsigned long long)a, (unsigned long long)b, mxcsr, (unsigned long long)native,
		s.status & 0x3f, s.raised, (unsigned long long)soft, env.flags, raised);
	fail();
}

/* Rounding, DAZ and FTZ from four bits, everything masked. */
static uint32_t masked_mxcsr(unsigned int bits)
{
	return 0x1f80 | (bits & 3) << 13 | (bits & 4 ? 0x40 : 0) | (bits & 8 ? 0x8000 : 0);
}

static void specials_agree(void **state)
{
	for (size_t n = 0; n < SSE_OP_COUNT; n++) {
		const struct sse_op *op = &sse_ops[n];

		for (size_t i = 0; i < special_count(op); i++)
			for (size_t j = 0; j < special_count(op); j++)
				for (unsigned int bits = 0; bits < 16; bits++)
					check_case(op, special_operand(op, i), special_operand(op, j),
						   masked_mxcsr(bits));
	}
}

static void random_operands_agree(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull;

	for (size_t n = 0; n < SSE_OP_COUNT; n++) {
		for (int i = 0; i < RANDOM_CASES_MASKED; i++) {
			uint64_t a = random_operand(&sse_ops[n], &seed, 0);
			uint64_t b = random_operand(&sse_ops[n], &seed, a);

			check_case(&sse_ops[n], a, b, masked_mxcsr((unsigned int)oracle_random(&seed) & 15));
		}
	}
}

static void unmasked_exceptions_agree(void **state)
{
	struct sigaction action = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO}, old;
	uint64_t seed = 0xd1b54a32d192ed03ull;

	sigaction(SIGFPE, &action, &old);
	for (size_t n = 0; n < SSE_OP_COUNT; n++) {
		const struct sse_op *op = &sse_ops[n];

		for (int i = 0; i < RANDOM_CASES_UNMASKED; i++) {
			uint64_t r = oracle_random(&seed);
			uint64_t a = random_operand(op, &seed, 0), b = random_operand(op, &seed, a);

			if (r & 1 << 20)
				a = special_operand(op, (r >> 32) % special_count(op));
			if (r & 1 << 21)
				b = special_operand(op, (r >> 48) % special_count(op));
			check_case(op, a, b, masked_mxcsr(r & 15) & ~((uint32_t)(r >> 8 & 0x3f) << 7));
		}
	}
	sigaction(SIGFPE, &old, NULL);
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

static void packed_flags_hide_what_was_never_computed(void **state)
{
	assert_int_equal(sf_sse_visible_flags(SF_DENORMAL | SF_INEXACT, SF_DENORMAL), SF_DENORMAL);
	assert_int_equal(sf_sse_visible_flags(SF_DENORMAL | SF_INEXACT, SF_INEXACT),
			 SF_DENORMAL | SF_INEXACT);
	assert_int_equal(sf_sse_visible_flags(SF_OVERFLOW | SF_INEXACT, 0), SF_OVERFLOW | SF_INEXACT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specials_agree),
		cmocka_unit_test(random_operands_agree),
		cmocka_unit_test(unmasked_exceptions_agree),
		cmocka_unit_test(packed_flags_hide_what_was_never_computed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
