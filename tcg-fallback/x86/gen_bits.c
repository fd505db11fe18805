/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of bit tests, scans and counts, BMI1 and BMI2, byte swaps and CRC32. Intel SDM vol. 2.
 */
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

static uint64_t read_operand(struct x86_cpu *cpu, const struct x86_insn *in, unsigned index)
{
	const struct gen_operand operand = gen_operand_find(cpu, in, index);

	return gen_read(cpu, &operand);
}

/* BT and kin: a register's bit offset is signed and reaches beyond the operand in memory; an immediate does
 * not. */
static struct gen_operand bit_operand(struct x86_cpu *cpu, const struct x86_insn *in, unsigned *bit)
{
	struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const struct gen_operand index = gen_operand_find(cpu, in, 1);
	const int64_t offset = gen_sign_extend(gen_read(cpu, &index), index.width);
	const unsigned bits = dst.width * 8;

	*bit = (unsigned)offset & (bits - 1);
	if (dst.kind == GEN_MEM && index.kind != GEN_IMM)
		dst.value = (dst.value + (uint64_t)((offset >> __builtin_ctz(bits)) * dst.width)) &
			    gen_mask(in->addrsize);
	return dst;
}

enum bit_action { BIT_SET, BIT_RESET, BIT_COMPLEMENT };

static uint64_t bit_apply(uint64_t value, unsigned bit, enum bit_action action)
{
	switch (action) {
	case BIT_SET: return value | 1ull << bit;
	case BIT_RESET: return value & ~(1ull << bit);
	case BIT_COMPLEMENT: break;
	}
	return value ^ 1ull << bit;
}

static void bit_update(struct x86_cpu *cpu, const struct x86_insn *in, enum bit_action action)
{
	unsigned bit;
	const struct gen_operand dst = bit_operand(cpu, in, &bit);
	uint64_t old;

	do {
		old = gen_update_begin(cpu, &dst);
	} while (!gen_update_end(cpu, &dst, in->lock, old, bit_apply(old, bit, action)));
	x86_eflags_set(cpu, old >> bit & 1 ? FLAG_CF : 0, FLAG_CF);
}

GEN(bt)
{
	unsigned bit;
	const struct gen_operand dst = bit_operand(cpu, in, &bit);

	x86_eflags_set(cpu, gen_read(cpu, &dst) >> bit & 1 ? FLAG_CF : 0, FLAG_CF);
}

GEN(bts)
{
	bit_update(cpu, in, BIT_SET);
}

GEN(btr)
{
	bit_update(cpu, in, BIT_RESET);
}

GEN(btc)
{
	bit_update(cpu, in, BIT_COMPLEMENT);
}

/* BSF and BSR of zero set ZF and leave the destination alone, as both makers' processors do. */
GEN(bsf)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t value = read_operand(cpu, in, 1);

	if (value)
		gen_write(cpu, &dst, (unsigned)__builtin_ctzll(value));
	x86_eflags_set(cpu, value ? 0 : FLAG_ZF, FLAG_ZF);
}

GEN(bsr)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t value = read_operand(cpu, in, 1);

	if (value)
		gen_write(cpu, &dst, 63 - (unsigned)__builtin_clzll(value));
	x86_eflags_set(cpu, value ? 0 : FLAG_ZF, FLAG_ZF);
}

static void count_zeros(struct x86_cpu *cpu, const struct gen_operand *dst, uint64_t value, unsigned count)
{
	gen_write(cpu, dst, count);
	x86_eflags_set(cpu, (value ? 0 : FLAG_CF) | (count ? 0 : FLAG_ZF), FLAG_CF | FLAG_ZF);
}

GEN(tzcnt)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t value = read_operand(cpu, in, 1);

	count_zeros(cpu, &dst, value, value ? (unsigned)__builtin_ctzll(value) : dst.width * 8);
}

GEN(lzcnt)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t value = read_operand(cpu, in, 1);

	count_zeros(cpu, &dst, value,
		    value ? (unsigned)__builtin_clzll(value) - (64 - dst.width * 8) : dst.width * 8);
}

GEN(popcnt)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t value = read_operand(cpu, in, 1);

	gen_write(cpu, &dst, (unsigned)__builtin_popcountll(value));
	x86_eflags_set(cpu, value ? 0 : FLAG_ZF, FLAGS_STATUS);
}

/* BMI1 and BMI2 results with SF, ZF of the result and CF as given; OF is cleared, AF and PF are left at zero.
 */
static void write_bmi(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t value, bool carry)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);

	gen_write(cpu, &dst, value);
	x86_eflags_set(cpu, (gen_flags_szp(value, dst.width) & (FLAG_SF | FLAG_ZF)) | (carry ? FLAG_CF : 0),
		       FLAGS_STATUS);
}

GEN(andn)
{
	write_bmi(cpu, in, ~read_operand(cpu, in, 1) & read_operand(cpu, in, 2), false);
}

GEN(blsr)
{
	const uint64_t value = read_operand(cpu, in, 1);

	write_bmi(cpu, in, value & (value - 1), !value);
}

GEN(blsmsk)
{
	const uint64_t value = read_operand(cpu, in, 1);

	write_bmi(cpu, in, value ^ (value - 1), !value);
}

GEN(blsi)
{
	const uint64_t value = read_operand(cpu, in, 1);

	write_bmi(cpu, in, value & (0 - value), value != 0);
}

GEN(bextr)
{
	const uint64_t value = read_operand(cpu, in, 1), control = read_operand(cpu, in, 2);
	const unsigned start = control & 0xff, length = control >> 8 & 0xff;
	const uint64_t shifted = start < 64 ? value >> start : 0;

	write_bmi(cpu, in, length < 64 ? shifted & ((1ull << length) - 1) : shifted, false);
}

GEN(bzhi)
{
	const unsigned bits = gen_operand_find(cpu, in, 0).width * 8;
	const uint64_t value = read_operand(cpu, in, 1);
	const unsigned index = read_operand(cpu, in, 2) & 0xff;

	write_bmi(cpu, in, index < bits ? value & ((1ull << index) - 1) : value, index >= bits);
}

GEN(pdep)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	uint64_t source = read_operand(cpu, in, 1), mask = read_operand(cpu, in, 2), result = 0;

	for (; mask; mask &= mask - 1, source >>= 1)
		if (source & 1)
			result |= mask & (0 - mask);
	gen_write(cpu, &dst, result);
}

GEN(pext)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t source = read_operand(cpu, in, 1);
	uint64_t mask = read_operand(cpu, in, 2), result = 0;

	for (unsigned i = 0; mask; mask &= mask - 1, i++)
		if (source & mask & (0 - mask))
			result |= 1ull << i;
	gen_write(cpu, &dst, result);
}

/* BSWAP of a word is undefined; both makers' processors clear it. */
GEN(bswap)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const uint64_t value = gen_read(cpu, &dst);

	switch (dst.width) {
	case 2: gen_write(cpu, &dst, 0); break;
	case 4: gen_write(cpu, &dst, __builtin_bswap32((uint32_t)value)); break;
	case 8: gen_write(cpu, &dst, __builtin_bswap64(value)); break;
	}
}

GEN(movbe)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);

	gen_write(cpu, &dst, __builtin_bswap64(read_operand(cpu, in, 1)) >> (64 - dst.width * 8));
}

/* CRC-32C, polynomial 0x11edc6f41, bit-reflected. */
GEN(crc32)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0), src = gen_operand_find(cpu, in, 1);
	const uint64_t data = gen_read(cpu, &src);
	uint32_t crc = (uint32_t)gen_register_get(cpu, dst.number, 4);

	for (unsigned byte = 0; byte < src.width; byte++) {
		crc ^= (uint8_t)(data >> (8 * byte));
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	gen_register_set(cpu, dst.number, 8, crc);
}
