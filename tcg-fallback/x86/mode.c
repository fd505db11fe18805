/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from control registers, CS and flags: the mode, and whether debugging is on. Intel SDM vol.
 * 3, 2.2, 17.2. */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"

#define DR7_ENABLES 0xffu /* L0 G0 .. L3 G3 */

static unsigned code_bits(const struct x86_cpu *cpu)
{
	uint16_t attributes = cpu->seg[SEG_CS].attributes;

	if (cpu->long_mode && (attributes & SEG_ATTR_L))
		return 64;
	return attributes & SEG_ATTR_DB ? 32 : 16;
}

void x86_mode_changed(struct x86_cpu *cpu)
{
	cpu->long_mode = cpu->efer & EFER_LMA;
	cpu->mode_bits = code_bits(cpu);
	/* RF: the run loop must take the next instruction alone, so that RF ends with it. */
	cpu->debug_active =
		(cpu->eflags & (FLAG_TF | FLAG_RF)) || (cpu->dr[7] & DR7_ENABLES) || cpu->pending_db;
	x86_tlb_context_changed(cpu);
}
