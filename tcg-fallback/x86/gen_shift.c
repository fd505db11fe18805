/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of shifts and rotates. Counts are taken modulo 32 (64 for quadwords); a count of zero leaves
 * the flags alone. OF after a count over one is undefined: here it is what the last step of a one-by-one
 * shift gives. Intel SDM vol. 2, RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR, SHLD, SHRD.
 */
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

/* A shift in progress: `value` of `bits` bits by `count` (1 or more), with the carry before and after. */
struct shift {
	uint64_t value;
	unsigned bits, count;
	bool carry, overflow;
};
typedef void shift_fn(struct shift *s);

static bool shift_top(const struct shift *s)
{
	return s->value >> (s->bits - 1) & 1;
}

static uint64_t shift_cut(const struct shift *s, uint64_t value)
{
	return value & gen_mask(s->bits / 8);
}

static void shift_rol(struct shift *s)
{
	const unsigned by = s->count % s->bits;

	if (by)
		s->value = shift_cut(s, s->value << by | s->value >> (s->bits - by));
	s->carry = s->value & 1;
	s->overflow = shift_top(s) != s->carry;
}

static void shift_ror(struct shift *s)
{
	const unsigned by = s->count % s->bits;

	if (by)
		s->value = shift_cut(s, s->value >> by | s->value << (s->bits - by));
	s->carry = shift_top(s);
	s->overflow = s->carry != (s->value >> (s->bits - 2) & 1);
}

static void shift_rcl(struct shift *s)
{
	for (unsigned i = s->count % (s->bits + 1); i; i--) {
		const bool out = shift_top(s);

		s->value = shift_cut(s, s->value << 1 | s->carry);
		s->carry = out;
	}
	s->overflow = shift_top(s) != s->carry;
}

static void shift_rcr(struct shift *s)
{
	for (unsigned i = s->count % (s->bits + 1); i; i--) {
		const bool out = s->value & 1;

		s->value = s->value >> 1 | (uint64_t)s->carry << (s->bits - 1);
		s->carry = out;
	}
	s->overflow = shift_top(s) != (s->value >> (s->bits - 2) & 1);
}

static void shift_shl(struct shift *s)
{
	s->carry = s->count <= s->bits && (s->value >> (s->bits - s->count) & 1);
	s->value = s->count < s->bits ? shift_cut(s, s->value << s->count) : 0;
	s->overflow = shift_top(s) != s->carry;
}

static void shift_shr(struct shift *s)
{
	s->overflow = s->count == 1 ? shift_top(s) : false;
	s->carry = s->count <= s->bits && (s->value >> (s->count - 1) & 1);
	s->value = s->count < s->bits ? s->value >> s->count : 0;
}

static void shift_sar(struct shift *s)
{
	const int64_t value = gen_sign_extend(s->value, s->bits / 8);
	const unsigned by = s->count < s->bits ? s->count : s->bits - 1;

	s->carry = s->count > s->bits ? value < 0 : value >> (s->count - 1) & 1;
	s->value = shift_cut(s, (uint64_t)(value >> by));
	s->overflow = false;
}

static unsigned shift_count(struct x86_cpu *cpu, const struct x86_insn *in, unsigned operand, unsigned width)
{
	const struct gen_operand count = gen_operand_find(cpu, in, operand);

	return (unsigned)gen_read(cpu, &count) & (width == 8 ? 63 : 31);
}

/* Runs fn; rotates change CF and OF alone, shifts all status flags. */
static void shift_run(struct x86_cpu *cpu, const struct x86_insn *in, shift_fn *fn, bool rotate)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const unsigned count = shift_count(cpu, in, 1, dst.width);
	struct shift s = {.bits = dst.width * 8, .count = count, .carry = x86_eflags_get(cpu) & FLAG_CF};
	uint32_t flags;

	s.value = gen_update_begin(cpu, &dst);
	if (count)
		fn(&s);
	gen_write(cpu, &dst, s.value);
	if (!count)
		return;
	flags = (s.carry ? FLAG_CF : 0) | (s.overflow ? FLAG_OF : 0);
	if (rotate)
		x86_eflags_set(cpu, flags, FLAG_CF | FLAG_OF);
	else
		x86_eflags_set(cpu, flags | gen_flags_szp(s.value, dst.width), FLAGS_STATUS);
}

GEN(rol)
{
	shift_run(cpu, in, shift_rol, true);
}

GEN(ror)
{
	shift_run(cpu, in, shift_ror, true);
}

GEN(rcl)
{
	shift_run(cpu, in, shift_rcl, true);
}

GEN(rcr)
{
	shift_run(cpu, in, shift_rcr, true);
}

GEN(shl)
{
	shift_run(cpu, in, shift_shl, false);
}

GEN(shr)
{
	shift_run(cpu, in, shift_shr, false);
}

GEN(sar)
{
	shift_run(cpu, in, shift_sar, false);
}

/* Double shifts. A word's count may exceed 16: then the destination's own bits follow, as on the processors
 * of both makers. */
static void double_shift(struct x86_cpu *cpu, const struct x86_insn *in, bool left)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0), src = gen_operand_find(cpu, in, 1);
	const unsigned bits = dst.width * 8, count = shift_count(cpu, in, 2, dst.width);
	uint64_t value = gen_update_begin(cpu, &dst), filler = gen_read(cpu, &src);
	const uint64_t old = value;
	bool carry = false;

	for (unsigned i = 0; i < count; i++) {
		const unsigned out = left ? bits - 1 : 0;

		carry = value >> out & 1;
		if (left) {
			value = (value << 1 | (filler >> (bits - 1) & 1)) & gen_mask(dst.width);
			filler = (filler << 1 | carry) & gen_mask(dst.width);
		} else {
			value = value >> 1 | (filler & 1) << (bits - 1);
			filler = filler >> 1 | (uint64_t)carry << (bits - 1);
		}
	}
	gen_write(cpu, &dst, value);
	if (!count)
		return;
	x86_eflags_set(cpu,
		       gen_flags_szp(value, dst.width) | (carry ? FLAG_CF : 0) |
			       ((old ^ value) & gen_sign_bit(dst.width) ? FLAG_OF : 0),
		       FLAGS_STATUS);
}

GEN(shld)
{
	double_shift(cpu, in, true);
}

GEN(shrd)
{
	double_shift(cpu, in, false);
}

/* BMI2: no flags. */
static uint64_t source_value(struct x86_cpu *cpu, const struct x86_insn *in, unsigned operand)
{
	const struct gen_operand src = gen_operand_find(cpu, in, operand);

	return gen_read(cpu, &src);
}

GEN(shlx)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const unsigned by = (unsigned)source_value(cpu, in, 2) & (dst.width * 8 - 1);

	gen_write(cpu, &dst, source_value(cpu, in, 1) << by);
}

GEN(shrx)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const unsigned by = (unsigned)source_value(cpu, in, 2) & (dst.width * 8 - 1);

	gen_write(cpu, &dst, source_value(cpu, in, 1) >> by);
}

GEN(sarx)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	const unsigned by = (unsigned)source_value(cpu, in, 2) & (dst.width * 8 - 1);

	gen_write(cpu, &dst, (uint64_t)(gen_sign_extend(source_value(cpu, in, 1), dst.width) >> by));
}

GEN(rorx)
{
	const struct gen_operand dst = gen_operand_find(cpu, in, 0);
	struct shift s = {.bits = dst.width * 8, .count = (unsigned)in->imm & (dst.width * 8 - 1)};

	s.value = source_value(cpu, in, 1);
	if (s.count)
		shift_ror(&s);
	gen_write(cpu, &dst, s.value);
}
