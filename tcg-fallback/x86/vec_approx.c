/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RCPPS, RSQRTPS and kin where the host has none: the correctly rounded value, cut. Beside translated code,
 * which executes the host's own, it is vec_approx_host.c that serves. Intel SDM vol. 2, RCPPS and RSQRTPS.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

#define VEC(name_)                                                                                           \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)

/*
 * Reciprocals. The architecture asks for a relative error of at most 1.5 * 2^-12 and no exceptions; the bits
 * below are each maker's own. Here: the correctly rounded value cut to 12 bits of fraction; denormals count
 * as zeros, tiny results too.
 */
#define RECIPROCAL_KEEP 0xfffff800u

static uint32_t reciprocal_operand(uint32_t a)
{
	return sf32_is_denormal(a) ? a & 0x80000000u : a;
}

static uint32_t reciprocal_finish(uint32_t value)
{
	if (sf32_is_nan(value))
		return value;
	return sf32_is_denormal(value) ? value & 0x80000000u : value & RECIPROCAL_KEEP;
}

static uint32_t reciprocal(uint32_t b)
{
	struct sf_env quiet = {.rounding = SF_ROUND_NEAREST};

	if (sf32_is_nan(b))
		return b | 0x00400000u;
	return reciprocal_finish(sf32_div(0x3f800000u, reciprocal_operand(b), &quiet));
}

static uint32_t reciprocal_sqrt(uint32_t b)
{
	struct sf_env quiet = {.rounding = SF_ROUND_NEAREST};
	uint32_t root;

	if (sf32_is_nan(b))
		return b | 0x00400000u;
	b = reciprocal_operand(b);
	if (!(b & 0x7fffffffu))
		return b | 0x7f800000u;
	root = sf32_sqrt(b, &quiet);
	return sf32_is_nan(root) ? root : reciprocal_finish(sf32_div(0x3f800000u, root, &quiet));
}

static void lanes_map(union x86_vec *dst, const union x86_vec *src, unsigned lanes, uint32_t (*fn)(uint32_t))
{
	for (unsigned i = 0; i < lanes; i++)
		dst->d[i] = fn(src->d[i]);
}

VEC(rcpps)
{
	lanes_map(dst, src, 4, reciprocal);
}

VEC(rcpss)
{
	lanes_map(dst, src, 1, reciprocal);
}

VEC(rsqrtps)
{
	lanes_map(dst, src, 4, reciprocal_sqrt);
}

VEC(rsqrtss)
{
	lanes_map(dst, src, 1, reciprocal_sqrt);
}
