/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating-point arithmetic of SSE to SSE4.1 on top of softfloat: results, MXCSR flags and NaNs are an x86's
 * on any host. Results are computed aside and written only when no exception is unmasked. Intel SDM vol.
 * 1, 11.5 and vol. 2.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

#define VEC(name_)                                                                                           \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)

typedef uint32_t float32_fn(uint32_t a, uint32_t b, struct sf_env *env);
typedef uint64_t float64_fn(uint64_t a, uint64_t b, struct sf_env *env);

static void float32_lanes(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned lanes,
			  float32_fn *fn)
{
	struct sf_env env = x86_vec_env(cpu);
	uint32_t result[4];

	for (unsigned i = 0; i < lanes; i++)
		result[i] = fn(dst->d[i], src->d[i], &env);
	x86_vec_env_done(cpu, &env);
	memcpy(dst->d, result, lanes * sizeof(result[0]));
}

static void float64_lanes(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned lanes,
			  float64_fn *fn)
{
	struct sf_env env = x86_vec_env(cpu);
	uint64_t result[2];

	for (unsigned i = 0; i < lanes; i++)
		result[i] = fn(dst->q[i], src->q[i], &env);
	x86_vec_env_done(cpu, &env);
	memcpy(dst->q, result, lanes * sizeof(result[0]));
}

/* The square root ignores the destination's old value. */
static uint32_t float32_sqrt(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_sqrt(b, env);
}

static uint64_t float64_sqrt(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_sqrt(b, env);
}

#define FLOAT(name_, fn32_, fn64_)                                                                           \
	VEC(name_##ps)                                                                                       \
	{                                                                                                    \
		float32_lanes(cpu, dst, src, 4, fn32_);                                                      \
	}                                                                                                    \
	VEC(name_##ss)                                                                                       \
	{                                                                                                    \
		float32_lanes(cpu, dst, src, 1, fn32_);                                                      \
	}                                                                                                    \
	VEC(name_##pd)                                                                                       \
	{                                                                                                    \
		float64_lanes(cpu, dst, src, 2, fn64_);                                                      \
	}                                                                                                    \
	VEC(name_##sd)                                                                                       \
	{                                                                                                    \
		float64_lanes(cpu, dst, src, 1, fn64_);                                                      \
	}
FLOAT(add, sf32_add, sf64_add)
FLOAT(sub, sf32_sub, sf64_sub)
FLOAT(mul, sf32_mul, sf64_mul)
FLOAT(div, sf32_div, sf64_div)
FLOAT(min, sf32_min, sf64_min)
FLOAT(max, sf32_max, sf64_max)
FLOAT(sqrt, float32_sqrt, float64_sqrt)

/* Alternating and horizontal sums. */
VEC(addsubps)
{
	struct sf_env env = x86_vec_env(cpu);
	uint32_t result[4];

	for (unsigned i = 0; i < 4; i++)
		result[i] = (i & 1 ? sf32_add : sf32_sub)(dst->d[i], src->d[i], &env);
	x86_vec_env_done(cpu, &env);
	memcpy(dst->d, result, sizeof(result));
}

VEC(addsubpd)
{
	struct sf_env env = x86_vec_env(cpu);
	const uint64_t low = sf64_sub(dst->q[0], src->q[0], &env);
	const uint64_t high = sf64_add(dst->q[1], src->q[1], &env);

	x86_vec_env_done(cpu, &env);
	dst->q[0] = low;
	dst->q[1] = high;
}

static void horizontal32(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, float32_fn *fn)
{
	struct sf_env env = x86_vec_env(cpu);
	const uint32_t result[4] = {
		fn(dst->d[0], dst->d[1], &env),
		fn(dst->d[2], dst->d[3], &env),
		fn(src->d[0], src->d[1], &env),
		fn(src->d[2], src->d[3], &env),
	};

	x86_vec_env_done(cpu, &env);
	memcpy(dst->d, result, sizeof(result));
}

static void horizontal64(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, float64_fn *fn)
{
	struct sf_env env = x86_vec_env(cpu);
	const uint64_t low = fn(dst->q[0], dst->q[1], &env);
	const uint64_t high = fn(src->q[0], src->q[1], &env);

	x86_vec_env_done(cpu, &env);
	dst->q[0] = low;
	dst->q[1] = high;
}

VEC(haddps)
{
	horizontal32(cpu, dst, src, sf32_add);
}

VEC(haddpd)
{
	horizontal64(cpu, dst, src, sf64_add);
}

VEC(hsubps)
{
	horizontal32(cpu, dst, src, sf32_sub);
}

VEC(hsubpd)
{
	horizontal64(cpu, dst, src, sf64_sub);
}

/* An unmasked exception of one step keeps the steps after it from raising flags (SDM vol. 2, DPPS). */
static void step_done(struct x86_cpu *cpu, struct sf_env *env)
{
	x86_vec_env_done(cpu, env);
	*env = x86_vec_env(cpu);
}

/* Dot products: products where imm[7:4] says so, summed in pairs, stored where imm[3:0] says so. */
VEC(dpps)
{
	struct sf_env env = x86_vec_env(cpu);
	uint32_t product[4], sum;

	for (unsigned i = 0; i < 4; i++)
		product[i] = imm >> (4 + i) & 1 ? sf32_mul(dst->d[i], src->d[i], &env) : 0;
	step_done(cpu, &env);
	product[0] = sf32_add(product[0], product[1], &env);
	product[2] = sf32_add(product[2], product[3], &env);
	step_done(cpu, &env);
	sum = sf32_add(product[0], product[2], &env);
	x86_vec_env_done(cpu, &env);
	for (unsigned i = 0; i < 4; i++)
		dst->d[i] = imm >> i & 1 ? sum : 0;
}

VEC(dppd)
{
	struct sf_env env = x86_vec_env(cpu);
	uint64_t product[2], sum;

	for (unsigned i = 0; i < 2; i++)
		product[i] = imm >> (4 + i) & 1 ? sf64_mul(dst->q[i], src->q[i], &env) : 0;
	step_done(cpu, &env);
	sum = sf64_add(product[0], product[1], &env);
	x86_vec_env_done(cpu, &env);
	for (unsigned i = 0; i < 2; i++)
		dst->q[i] = imm >> i & 1 ? sum : 0;
}

/* CMPPS and kin. Predicates: 0 EQ 1 LT 2 LE 3 UNORD 4 NEQ 5 NLT 6 NLE 7 ORD; those on order signal any NaN.
 */
static bool predicate_signals(unsigned predicate)
{
	const unsigned base = predicate & 3;

	return base == 1 || base == 2;
}

static bool predicate_holds(unsigned predicate, enum sf_relation relation)
{
	bool holds = false;

	switch (predicate & 3) {
	case 0: holds = relation == SF_EQUAL; break;
	case 1: holds = relation == SF_LESS; break;
	case 2: holds = relation == SF_LESS || relation == SF_EQUAL; break;
	case 3: holds = relation == SF_UNORDERED; break;
	}
	return holds != !!(predicate & 4);
}

static void compare32(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned lanes,
		      unsigned imm)
{
	struct sf_env env = x86_vec_env(cpu);
	uint32_t result[4];

	for (unsigned i = 0; i < lanes; i++)
		result[i] = predicate_holds(imm, (predicate_signals(imm) ? sf32_compare : sf32_compare_quiet)(
							 dst->d[i], src->d[i], &env))
				    ? UINT32_MAX
				    : 0;
	x86_vec_env_done(cpu, &env);
	memcpy(dst->d, result, lanes * sizeof(result[0]));
}

static void compare64(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned lanes,
		      unsigned imm)
{
	struct sf_env env = x86_vec_env(cpu);
	uint64_t result[2];

	for (unsigned i = 0; i < lanes; i++)
		result[i] = predicate_holds(imm, (predicate_signals(imm) ? sf64_compare : sf64_compare_quiet)(
							 dst->q[i], src->q[i], &env))
				    ? UINT64_MAX
				    : 0;
	x86_vec_env_done(cpu, &env);
	memcpy(dst->q, result, lanes * sizeof(result[0]));
}

VEC(cmpps)
{
	compare32(cpu, dst, src, 4, imm);
}

VEC(cmpss)
{
	compare32(cpu, dst, src, 1, imm);
}

VEC(cmppd)
{
	compare64(cpu, dst, src, 2, imm);
}

VEC(cmpsd)
{
	compare64(cpu, dst, src, 1, imm);
}

/* COMISS and kin set ZF, PF, CF; OF, SF and AF are cleared. */
static void compare_to_flags(struct x86_cpu *cpu, enum sf_relation relation, const struct sf_env *env)
{
	uint32_t flags = 0;

	x86_vec_env_done(cpu, env);
	switch (relation) {
	case SF_LESS: flags = FLAG_CF; break;
	case SF_EQUAL: flags = FLAG_ZF; break;
	case SF_GREATER: break;
	case SF_UNORDERED: flags = FLAG_ZF | FLAG_PF | FLAG_CF; break;
	}
	x86_eflags_set(cpu, flags, FLAGS_STATUS);
}

#define COMPARE_TO_FLAGS(name_, lane_, fn_)                                                                  \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		struct sf_env env = x86_vec_env(cpu);                                                        \
		const enum sf_relation relation = fn_(dst->lane_, src->lane_, &env);                         \
		compare_to_flags(cpu, relation, &env);                                                       \
	}
COMPARE_TO_FLAGS(comiss, d[0], sf32_compare)
COMPARE_TO_FLAGS(ucomiss, d[0], sf32_compare_quiet)
COMPARE_TO_FLAGS(comisd, q[0], sf64_compare)
COMPARE_TO_FLAGS(ucomisd, q[0], sf64_compare_quiet)

/* ROUNDPS and kin: imm[1:0] the mode, bit 2 MXCSR's instead, bit 3 no inexact flag. */
static enum sf_rounding round_mode(const struct x86_cpu *cpu, unsigned imm)
{
	return (enum sf_rounding)(imm & 4 ? cpu->mxcsr >> 13 & 3 : imm & 3);
}

static void round32(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned lanes,
		    unsigned imm)
{
	struct sf_env env = x86_vec_env(cpu);
	uint32_t result[4];

	for (unsigned i = 0; i < lanes; i++)
		result[i] = sf32_round_to_int(src->d[i], round_mode(cpu, imm), !(imm & 8), &env);
	x86_vec_env_done(cpu, &env);
	memcpy(dst->d, result, lanes * sizeof(result[0]));
}

static void round64(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned lanes,
		    unsigned imm)
{
	struct sf_env env = x86_vec_env(cpu);
	uint64_t result[2];

	for (unsigned i = 0; i < lanes; i++)
		result[i] = sf64_round_to_int(src->q[i], round_mode(cpu, imm), !(imm & 8), &env);
	x86_vec_env_done(cpu, &env);
	memcpy(dst->q, result, lanes * sizeof(result[0]));
}

VEC(roundps)
{
	round32(cpu, dst, src, 4, imm);
}

VEC(roundss)
{
	round32(cpu, dst, src, 1, imm);
}

VEC(roundpd)
{
	round64(cpu, dst, src, 2, imm);
}

VEC(roundsd)
{
	round64(cpu, dst, src, 1, imm);
}
