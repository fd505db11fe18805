/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Effective addresses of decoded instructions. Intel SDM vol. 1, 3.7.5.
 */
#include "tcg-fallback/x86/insn.h"

uint64_t x86_insn_ea(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t base = in->base == REG_RIP ? cpu->rip + in->len : cpu->r[in->base];
	uint64_t offset = base + (cpu->r[in->index] << in->scale) + (uint64_t)in->disp;

	if (in->addrsize == 8)
		return offset;
	return in->addrsize == 4 ? (uint32_t)offset : (uint16_t)offset;
}
