/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RCPPS, RSQRTPS and kin by the host's own instructions. The architecture leaves their bits to each maker,
 * and translated code executes the host's: a guest must not see two answers (docs/decisions/0012).
 * vec_approx.c is the same for other hosts.
 */
#include <immintrin.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

#define VEC(name_)                                                                                           \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)

VEC(rcpps)
{
	_mm_store_ps((float *)(void *)dst, _mm_rcp_ps(_mm_load_ps((const float *)(const void *)src)));
}

VEC(rcpss)
{
	_mm_store_ss((float *)(void *)dst, _mm_rcp_ss(_mm_load_ss((const float *)(const void *)src)));
}

VEC(rsqrtps)
{
	_mm_store_ps((float *)(void *)dst, _mm_rsqrt_ps(_mm_load_ps((const float *)(const void *)src)));
}

VEC(rsqrtss)
{
	_mm_store_ss((float *)(void *)dst, _mm_rsqrt_ss(_mm_load_ss((const float *)(const void *)src)));
}
