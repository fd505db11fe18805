/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MASKMOVQ and MASKMOVDQU: bytes of a register go to DS:[rDI] where the mask's sign bits say so. Slow rows,
 * because each byte is a store of its own to an implicit address. Intel SDM vol. 2, MASKMOVDQU.
 */
#include "insn_gen.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/native.h"
#include "tcg-fallback/x86/vec.h"
#include "tcg-fallback/x86/xsave.h"

static uint64_t mask_move_address(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	const uint64_t rdi = cpu->r[REG_RDI];

	switch (in->addrsize) {
	case 2: return (uint16_t)rdi;
	case 4: return (uint32_t)rdi;
	}
	return rdi;
}

/* All bytes are checked, masked or not: the manual leaves it to the CPU, and AMD's do so. */
static void mask_move(struct x86_cpu *cpu, const struct x86_insn *in, const uint8_t *data,
		      const uint8_t *mask, unsigned len)
{
	const uint64_t address = mask_move_address(cpu, in);

	for (unsigned i = 0; i < len; i += 8)
		x86_probe_write(cpu, in->seg, address + i, 8);
	for (unsigned i = 0; i < len; i++)
		if (mask[i] & 0x80)
			x86_st8(cpu, in->seg, address + i, data[i]);
}

void x86_slow_maskmovdqu(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (in->encoding == X86_ENC_VEX)
		x86_avx_check(cpu, X86_XFEATURE_SSE | X86_XFEATURE_AVX);
	else
		x86_vec_check(cpu, X86_PROP_SSE);
	mask_move(cpu, in, cpu->zmm[in->reg].b, cpu->zmm[in->rm].b, 16);
}

void x86_slow_maskmovq(struct x86_cpu *cpu, const struct x86_insn *in)
{
	union x86_vec data, mask;

	x86_vec_check(cpu, X86_PROP_MMX);
	data.q[0] = cpu->fpu.reg[in->reg & 7].mant;
	mask.q[0] = cpu->fpu.reg[in->rm & 7].mant;
	x86_vec_enter_mmx(cpu); /* a fault of the store comes after that */
	mask_move(cpu, in, data.b, mask.b, 8);
}
