/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vector instructions share: the wrapper that fetches operands, and MXCSR as a floating-point
 * environment. Intel SDM vol. 1, chapters 9-12.
 */
#pragma once

#include "tcg-fallback/x86/insn.h"

#define MXCSR_DAZ   0x0040u
#define MXCSR_FTZ   0x8000u
#define MXCSR_VALID 0xffffu
#define MXCSR_MASKS 0x1f80u

/*
 * Executes a VEC row: checks (#UD, #NM, #MF, alignment), loads the operands, calls the row's function and
 * writes the destination back. On entry cpu->rip is that of the instruction; it is not changed. May raise.
 */
void x86_vec_execute(struct x86_cpu *cpu, const struct x86_insn *in);

/* The checks alone, by X86_PROP_MMX and X86_PROP_SSE of `properties`: #UD, #NM, #MF. */
void x86_vec_check(struct x86_cpu *cpu, uint32_t properties);
/* What an MMX instruction that completes does to the x87: TOP = 0, every register in use. */
void x86_vec_enter_mmx(struct x86_cpu *cpu);

/* The environment that MXCSR describes, with no flag raised yet. */
static inline struct sf_env x86_vec_env(const struct x86_cpu *cpu)
{
	return (struct sf_env){
		.rounding = cpu->mxcsr >> 13 & 3,
		.daz = cpu->mxcsr & MXCSR_DAZ,
		.ftz = cpu->mxcsr & MXCSR_FTZ,
		.unmasked = (uint8_t)(~(cpu->mxcsr >> 7) & SF_ALL),
	};
}

/* Adds the flags to MXCSR; raises #XM (#UD without CR4.OSXMMEXCPT) when one is unmasked. Call before writing
 * results. */
void x86_vec_env_done(struct x86_cpu *cpu, const struct sf_env *env);
