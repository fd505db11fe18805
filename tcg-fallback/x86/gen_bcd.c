/* SPDX-License-Identifier: Apache-2.0 */
/* General forms of the decimal and ASCII adjustments (not in 64-bit mode). Intel SDM vol. 2, AAA to AAS, DAA,
 * DAS. */
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

static uint8_t al_get(const struct x86_cpu *cpu)
{
	return (uint8_t)cpu->r[REG_RAX];
}

static void ax_set(struct x86_cpu *cpu, unsigned ah, unsigned al)
{
	gen_register_set(cpu, REG_RAX, 2, (ah & 0xff) << 8 | (al & 0xff));
}

/* AAA adds 6 to AL and 1 to AH, AAS subtracts, when the digit overflowed. */
static void ascii_adjust(struct x86_cpu *cpu, int direction)
{
	const uint32_t before = x86_eflags_get(cpu);
	const unsigned ax = (unsigned)cpu->r[REG_RAX] & 0xffff;
	const bool adjust = (ax & 15) > 9 || (before & FLAG_AF);
	const unsigned adjusted = adjust ? ax + (unsigned)(direction * 0x106) : ax;

	ax_set(cpu, adjusted >> 8, adjusted & 15);
	x86_eflags_set(cpu, gen_flags_szp(adjusted & 15, 1) | (adjust ? FLAG_AF | FLAG_CF : 0), FLAGS_STATUS);
}

GEN(aaa)
{
	ascii_adjust(cpu, 1);
}

GEN(aas)
{
	ascii_adjust(cpu, -1);
}

GEN(aam)
{
	const unsigned base = in->imm & 0xff, al = al_get(cpu);

	if (!base)
		x86_raise(cpu, VEC_DE);
	ax_set(cpu, al / base, al % base);
	x86_eflags_set(cpu, gen_flags_szp(al % base, 1), FLAGS_STATUS);
}

GEN(aad)
{
	const unsigned ah = (unsigned)cpu->r[REG_RAX] >> 8 & 0xff;
	const unsigned al = (al_get(cpu) + ah * ((unsigned)in->imm & 0xff)) & 0xff;

	ax_set(cpu, 0, al);
	x86_eflags_set(cpu, gen_flags_szp(al, 1), FLAGS_STATUS);
}

/* DAA and DAS: each digit is corrected by 6 when it overflowed or borrowed. */
static void decimal_adjust(struct x86_cpu *cpu, int direction)
{
	const uint32_t before = x86_eflags_get(cpu);
	const uint8_t old = al_get(cpu);
	const bool low = (old & 15) > 9 || (before & FLAG_AF);
	const bool high = old > 0x99 || (before & FLAG_CF);
	const uint8_t al = (uint8_t)(old + direction * ((low ? 6 : 0) + (high ? 0x60 : 0)));
	/* DAS also keeps the borrow of its first step. */
	const bool borrow = direction < 0 && low && old < 6;

	gen_register_set(cpu, REG_RAX, 1, al);
	x86_eflags_set(cpu, gen_flags_szp(al, 1) | (low ? FLAG_AF : 0) | (high || borrow ? FLAG_CF : 0),
		       FLAGS_STATUS);
}

GEN(daa)
{
	decimal_adjust(cpu, 1);
}

GEN(das)
{
	decimal_adjust(cpu, -1);
}
