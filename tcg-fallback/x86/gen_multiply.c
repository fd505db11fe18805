/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of multiplication and division. Undefined flags after a multiplication: SF and PF of the low
 * half, ZF and AF clear; after a division: unchanged. Intel SDM vol. 2, MUL, IMUL, MULX, DIV, IDIV.
 */
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

static uint64_t read_operand(struct x86_cpu *cpu, const struct x86_insn *in, unsigned index)
{
	const struct gen_operand operand = gen_operand_find(cpu, in, index);

	return gen_read(cpu, &operand);
}

static void set_multiply_flags(struct x86_cpu *cpu, uint64_t low, unsigned width, bool overflow)
{
	const uint32_t flags = gen_flags_szp(low, width) & ~FLAG_ZF;

	x86_eflags_set(cpu, flags | (overflow ? FLAG_CF | FLAG_OF : 0), FLAGS_STATUS);
}

/* A double-width product goes to AX, or to rDX:rAX. */
static void write_product(struct x86_cpu *cpu, unsigned width, uint64_t low, uint64_t high)
{
	if (width == 1) {
		gen_register_set(cpu, REG_RAX, 2, (low & 0xff) | (high & 0xff) << 8);
		return;
	}
	gen_register_set(cpu, REG_RAX, width, low);
	gen_register_set(cpu, REG_RDX, width, high);
}

GEN(mul)
{
	const unsigned width = gen_operand_find(cpu, in, 0).width;
	const unsigned __int128 product =
		(unsigned __int128)gen_register_get(cpu, REG_RAX, width) * read_operand(cpu, in, 0);
	const uint64_t high = (uint64_t)(product >> (8 * width)) & gen_mask(width);

	write_product(cpu, width, (uint64_t)product, high);
	set_multiply_flags(cpu, (uint64_t)product, width, high != 0);
}

static bool signed_overflow(__int128 product, unsigned width)
{
	return product != gen_sign_extend((uint64_t)product, width);
}

GEN(imul1)
{
	const unsigned width = gen_operand_find(cpu, in, 0).width;
	const __int128 product = (__int128)gen_sign_extend(cpu->r[REG_RAX], width) *
				 gen_sign_extend(read_operand(cpu, in, 0), width);

	write_product(cpu, width, (uint64_t)product, (uint64_t)(product >> (8 * width)));
	set_multiply_flags(cpu, (uint64_t)product, width, signed_overflow(product, width));
}

/* Gv,Ev multiplies into the destination; Gv,Ev,I has its own factors. */
GEN(imul)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const bool three = x86_rows[in->row].operand[2] != 0;
	const uint64_t a = three ? read_operand(cpu, in, 2) : gen_read(cpu, &dst);
	const __int128 product = (__int128)gen_sign_extend(a, dst.width) *
				 gen_sign_extend(read_operand(cpu, in, 1), dst.width);

	gen_write(cpu, &dst, (uint64_t)product);
	set_multiply_flags(cpu, (uint64_t)product, dst.width, signed_overflow(product, dst.width));
}

/* MULX: the high half to the first destination, which wins when both are one register. */
GEN(mulx)
{
	const struct gen_operand high = gen_operand_find(cpu, in, 0), low = gen_operand_find(cpu, in, 1);
	const unsigned __int128 product =
		(unsigned __int128)gen_register_get(cpu, REG_RDX, high.width) * read_operand(cpu, in, 2);

	gen_write(cpu, &low, (uint64_t)product);
	gen_write(cpu, &high, (uint64_t)(product >> (8 * high.width)));
}

/* AX by a byte, or rDX:rAX by the rest. */
static unsigned __int128 read_dividend(const struct x86_cpu *cpu, unsigned width)
{
	if (width == 1)
		return gen_register_get(cpu, REG_RAX, 2);
	return (unsigned __int128)gen_register_get(cpu, REG_RDX, width) << (8 * width) |
	       gen_register_get(cpu, REG_RAX, width);
}

GEN(div)
{
	const unsigned width = gen_operand_find(cpu, in, 0).width;
	const uint64_t divisor = read_operand(cpu, in, 0);
	const unsigned __int128 dividend = read_dividend(cpu, width);

	if (!divisor || (dividend >> (8 * width)) >= divisor)
		x86_raise(cpu, VEC_DE);
	write_product(cpu, width, (uint64_t)(dividend / divisor), (uint64_t)(dividend % divisor));
}

/* Magnitudes divide; the quotient is negative when the signs differ, the remainder has the dividend's sign.
 */
GEN(idiv)
{
	const unsigned width = gen_operand_find(cpu, in, 0).width, bits = 16 * width;
	const int64_t divisor = gen_sign_extend(read_operand(cpu, in, 0), width);
	const unsigned __int128 raw = read_dividend(cpu, width);
	const bool negative = raw >> (bits - 1) & 1, minus = negative != (divisor < 0);
	const unsigned __int128 sign_bits = bits == 128 ? 0 : ~(unsigned __int128)0 << (bits % 128);
	const unsigned __int128 magnitude = negative ? 0 - (raw | sign_bits) : raw;
	const uint64_t by = divisor < 0 ? 0 - (uint64_t)divisor : (uint64_t)divisor;
	unsigned __int128 quotient;
	uint64_t rest;

	if (!by)
		x86_raise(cpu, VEC_DE);
	quotient = magnitude / by;
	rest = (uint64_t)(magnitude % by);
	if (quotient > gen_sign_bit(width) - !minus)
		x86_raise(cpu, VEC_DE);
	write_product(cpu, width, minus ? 0 - (uint64_t)quotient : (uint64_t)quotient,
		      negative ? 0 - rest : rest);
}
