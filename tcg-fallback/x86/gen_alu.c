/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of addition, subtraction, logic, comparison and exchange, locked forms included. Intel SDM
 * vol. 2.
 */
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

/* Result and status flags of one operation on two values of `width` bytes. */
struct alu_result {
	uint64_t value;
	uint32_t flags;
};
typedef struct alu_result alu_fn(uint64_t a, uint64_t b, unsigned carry, unsigned width);

static struct alu_result alu_add(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	return (struct alu_result){a + b + carry, gen_flags_add(a, b, carry, width)};
}

static struct alu_result alu_sub(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	return (struct alu_result){a - b - carry, gen_flags_sub(a, b, carry, width)};
}

static struct alu_result alu_and(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	return (struct alu_result){a & b, gen_flags_szp(a & b, width)};
}

static struct alu_result alu_or(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	return (struct alu_result){a | b, gen_flags_szp(a | b, width)};
}

static struct alu_result alu_xor(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	return (struct alu_result){a ^ b, gen_flags_szp(a ^ b, width)};
}

/* dst := fn(dst, b); flags of `mask` change. */
static void alu_update(struct x86_cpu *cpu, const struct x86_insn *in, alu_fn *fn, uint64_t b, uint32_t mask)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	struct alu_result result;
	uint64_t old;

	do {
		old = gen_update_begin(cpu, &dst);
		result = fn(old, b, 0, dst.width);
	} while (!gen_update_end(cpu, &dst, in->lock, old, result.value));
	x86_eflags_set(cpu, result.flags, mask);
}

static uint64_t second_operand(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const struct gen_operand src = gen_operand_find(cpu, in, 1);

	return gen_read(cpu, &src);
}

GEN(add)
{
	alu_update(cpu, in, alu_add, second_operand(cpu, in), FLAGS_STATUS);
}

GEN(sub)
{
	alu_update(cpu, in, alu_sub, second_operand(cpu, in), FLAGS_STATUS);
}

GEN(and)
{
	alu_update(cpu, in, alu_and, second_operand(cpu, in), FLAGS_STATUS);
}

GEN(or)
{
	alu_update(cpu, in, alu_or, second_operand(cpu, in), FLAGS_STATUS);
}

GEN(xor)
{
	alu_update(cpu, in, alu_xor, second_operand(cpu, in), FLAGS_STATUS);
}

GEN(inc)
{
	alu_update(cpu, in, alu_add, 1, FLAGS_STATUS & ~FLAG_CF);
}

GEN(dec)
{
	alu_update(cpu, in, alu_sub, 1, FLAGS_STATUS & ~FLAG_CF);
}

static void alu_update_carry(struct x86_cpu *cpu, const struct x86_insn *in, alu_fn *fn)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const unsigned carry = x86_eflags_get(cpu) & FLAG_CF;
	const uint64_t b = second_operand(cpu, in);
	struct alu_result result;
	uint64_t old;

	do {
		old = gen_update_begin(cpu, &dst);
		result = fn(old, b, carry, dst.width);
	} while (!gen_update_end(cpu, &dst, in->lock, old, result.value));
	x86_eflags_set(cpu, result.flags, FLAGS_STATUS);
}

GEN(adc)
{
	alu_update_carry(cpu, in, alu_add);
}

GEN(sbb)
{
	alu_update_carry(cpu, in, alu_sub);
}

static struct alu_result alu_negate(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	return alu_sub(0, a, 0, width);
}

static struct alu_result alu_not(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	return (struct alu_result){~a, 0};
}

GEN(neg)
{
	alu_update(cpu, in, alu_negate, 0, FLAGS_STATUS);
}

GEN(not )
{
	alu_update(cpu, in, alu_not, 0, 0);
}

GEN(cmp)
{
	const struct gen_operand a = gen_operand_find(cpu, in, 0);
	const uint64_t first = gen_read(cpu, &a);

	x86_eflags_set(cpu, gen_flags_sub(first, second_operand(cpu, in), 0, a.width), FLAGS_STATUS);
}

GEN(test)
{
	const struct gen_operand a = gen_operand_find(cpu, in, 0);
	const uint64_t first = gen_read(cpu, &a);

	x86_eflags_set(cpu, gen_flags_szp(first & second_operand(cpu, in), a.width), FLAGS_STATUS);
}

/* XCHG with memory is locked whether the prefix is there or not. */
GEN(xchg)
{
	const struct gen_operand a = gen_operand_find(cpu, in, 0), b = gen_operand_find(cpu, in, 1);
	const uint64_t incoming = gen_read(cpu, &b);
	uint64_t old;

	do {
		old = gen_update_begin(cpu, &a);
	} while (!gen_update_end(cpu, &a, true, old, incoming));
	gen_write(cpu, &b, old);
}

GEN(xadd)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0), src = gen_operand_find(cpu, in, 1);
	const uint64_t addend = gen_read(cpu, &src);
	uint64_t old;

	do {
		old = gen_update_begin(cpu, &dst);
		if (dst.kind != GEN_MEM)
			gen_write(cpu, &src, old);
	} while (!gen_update_end(cpu, &dst, in->lock, old, old + addend));
	if (dst.kind == GEN_MEM)
		gen_write(cpu, &src, old);
	x86_eflags_set(cpu, gen_flags_add(old, addend, 0, dst.width), FLAGS_STATUS);
}

/*
 * A memory destination is written in either case: with its old value when the comparison fails. A register is
 * left alone then, so that the upper half of its 64 bits survives (AMD; Intel's documents are silent).
 */
GEN(cmpxchg)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0), src = gen_operand_find(cpu, in, 1);
	const uint64_t incoming = gen_read(cpu, &src);
	const uint64_t expected = gen_register_get(cpu, REG_RAX, dst.width);
	uint64_t old;

	do {
		old = gen_update_begin(cpu, &dst);
	} while ((old == expected || dst.kind == GEN_MEM) &&
		 !gen_update_end(cpu, &dst, in->lock, old, old == expected ? incoming : old));
	if (old != expected)
		gen_register_set(cpu, REG_RAX, dst.width, old);
	x86_eflags_set(cpu, gen_flags_sub(expected, old, 0, dst.width), FLAGS_STATUS);
}

GEN(cmpxchg8b)
{
	const struct gen_operand dst = {
		.kind = GEN_MEM, .width = 8, .seg = in->seg, .value = x86_insn_ea(cpu, in)};
	const uint64_t expected = (uint32_t)cpu->r[REG_RAX] | cpu->r[REG_RDX] << 32;
	const uint64_t incoming = (uint32_t)cpu->r[REG_RBX] | cpu->r[REG_RCX] << 32;
	uint64_t old;

	do {
		old = gen_update_begin(cpu, &dst);
	} while (!gen_update_end(cpu, &dst, in->lock, old, old == expected ? incoming : old));
	if (old != expected) {
		cpu->r[REG_RAX] = (uint32_t)old;
		cpu->r[REG_RDX] = old >> 32;
	}
	x86_eflags_set(cpu, old == expected ? FLAG_ZF : 0, FLAG_ZF);
}

GEN(cmpxchg16b)
{
	const uint64_t offset = x86_insn_ea(cpu, in);
	uint64_t expected[2] = {cpu->r[REG_RAX], cpu->r[REG_RDX]};
	const uint64_t incoming[2] = {cpu->r[REG_RBX], cpu->r[REG_RCX]};
	bool equal;

	/* Before #SS and #GP of a non-canonical address. */
	if (x86_linear_of(cpu, in->seg, offset, 16, true) & 15)
		x86_raise_gp(cpu);
	equal = x86_cas128(cpu, in->seg, offset, expected, incoming);
	if (!equal) {
		cpu->r[REG_RAX] = expected[0];
		cpu->r[REG_RDX] = expected[1];
	}
	x86_eflags_set(cpu, equal ? FLAG_ZF : 0, FLAG_ZF);
}

/* ADCX uses and changes CF alone, ADOX OF alone. */
static void add_with_flag(struct x86_cpu *cpu, const struct x86_insn *in, uint32_t flag)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const unsigned carry = (x86_eflags_get(cpu) & flag) != 0;
	const uint64_t b = second_operand(cpu, in), a = gen_read(cpu, &dst);
	const bool out = gen_flags_add(a, b, carry, dst.width) & FLAG_CF;

	gen_write(cpu, &dst, a + b + carry);
	x86_eflags_set(cpu, out ? flag : 0, flag);
}

GEN(adcx)
{
	add_with_flag(cpu, in, FLAG_CF);
}

GEN(adox)
{
	add_with_flag(cpu, in, FLAG_OF);
}
