/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts other than x86-64 execute none of the guest's instructions: what native.c serves is not offered. */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/native.h"

bool x86_native_features(uint32_t present[X86_FEATURE_WORDS])
{
	memset(present, 0, X86_FEATURE_WORDS * sizeof(present[0]));
	return true;
}

bool x86_native_create(struct x86_cpu *cpu)
{
	return true;
}

void x86_native_destroy(struct x86_cpu *cpu)
{
}

void x86_slow_native(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_raise_unknown(cpu, VEC_UD);
}

void x86_slow_native_string(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_raise_unknown(cpu, VEC_UD);
}
