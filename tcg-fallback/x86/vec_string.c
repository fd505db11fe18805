/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SSE4.2's string comparisons PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. The steps follow Intel SDM vol.
 * 2, 4.1: a matrix of comparisons, its aggregation, polarity, and the index or mask.
 */
#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

enum { AGGREGATE_ANY, AGGREGATE_RANGES, AGGREGATE_EACH, AGGREGATE_ORDERED };

/* One comparison in progress. */
struct string_compare {
	const union x86_vec *first, *second; /* destination and source operand */
	unsigned lanes;                      /* 16 bytes or 8 words */
	unsigned first_len, second_len;      /* valid lanes */
	unsigned imm;
};

static int32_t lane_get(const union x86_vec *vec, unsigned lane, unsigned imm)
{
	switch (imm & 3) {
	case 0: return vec->b[lane];
	case 1: return vec->w[lane];
	case 2: return (int8_t)vec->b[lane];
	}
	return (int16_t)vec->w[lane];
}

static unsigned implicit_length(const union x86_vec *vec, unsigned imm, unsigned lanes)
{
	unsigned len = 0;

	while (len < lanes && lane_get(vec, len, imm))
		len++;
	return len;
}

/* The absolute value of the length register, at most `lanes`. */
static unsigned explicit_length(uint64_t value, bool wide, unsigned lanes)
{
	const int64_t signed_value = wide ? (int64_t)value : (int32_t)(uint32_t)value;
	const uint64_t magnitude = signed_value < 0 ? 0 - (uint64_t)signed_value : (uint64_t)signed_value;

	return magnitude > lanes ? lanes : (unsigned)magnitude;
}

static bool match_any(const struct string_compare *c, unsigned second)
{
	if (second >= c->second_len)
		return false;
	for (unsigned i = 0; i < c->first_len; i++)
		if (lane_get(c->first, i, c->imm) == lane_get(c->second, second, c->imm))
			return true;
	return false;
}

/* Pairs of bounds; an odd last bound has no partner and matches nothing. */
static bool match_ranges(const struct string_compare *c, unsigned second)
{
	const int32_t value = lane_get(c->second, second, c->imm);

	if (second >= c->second_len)
		return false;
	for (unsigned i = 0; i + 1 < c->first_len; i += 2)
		if (lane_get(c->first, i, c->imm) <= value && value <= lane_get(c->first, i + 1, c->imm))
			return true;
	return false;
}

static bool match_each(const struct string_compare *c, unsigned lane)
{
	if (lane >= c->first_len || lane >= c->second_len)
		return lane >= c->first_len && lane >= c->second_len;
	return lane_get(c->first, lane, c->imm) == lane_get(c->second, lane, c->imm);
}

/* Does the first string begin at `start` of the second (as far as the register reaches)? */
static bool match_ordered(const struct string_compare *c, unsigned start)
{
	for (unsigned i = 0; i < c->first_len && start + i < c->lanes; i++)
		if (start + i >= c->second_len ||
		    lane_get(c->first, i, c->imm) != lane_get(c->second, start + i, c->imm))
			return false;
	return true;
}

static bool match(const struct string_compare *c, unsigned lane)
{
	switch (c->imm >> 2 & 3) {
	case AGGREGATE_ANY: return match_any(c, lane);
	case AGGREGATE_RANGES: return match_ranges(c, lane);
	case AGGREGATE_EACH: return match_each(c, lane);
	}
	return match_ordered(c, lane);
}

/* IntRes2, and the flags from it. */
static uint32_t string_compare_run(struct x86_cpu *cpu, const struct string_compare *c)
{
	uint32_t result = 0, flags = 0;

	for (unsigned i = 0; i < c->lanes; i++) {
		bool bit = match(c, i);

		if ((c->imm & 0x10) && (!(c->imm & 0x20) || i < c->second_len))
			bit = !bit;
		result |= (uint32_t)bit << i;
	}
	flags |= result ? FLAG_CF : 0;
	flags |= c->second_len < c->lanes ? FLAG_ZF : 0;
	flags |= c->first_len < c->lanes ? FLAG_SF : 0;
	flags |= result & 1 ? FLAG_OF : 0;
	x86_eflags_set(cpu, flags, FLAGS_STATUS);
	return result;
}

static void store_index(struct x86_cpu *cpu, const struct string_compare *c, uint32_t result)
{
	if (!result)
		cpu->r[REG_RCX] = c->lanes;
	else if (c->imm & 0x40)
		cpu->r[REG_RCX] = 31 - (unsigned)__builtin_clz(result);
	else
		cpu->r[REG_RCX] = (unsigned)__builtin_ctz(result);
}

static void store_mask(struct x86_cpu *cpu, const struct string_compare *c, uint32_t result)
{
	union x86_vec *out = &cpu->zmm[0];
	const bool words = c->imm & 1;

	if (!(c->imm & 0x40)) {
		out->q[0] = result;
		out->q[1] = 0;
		return;
	}
	for (unsigned i = 0; i < 16; i++)
		out->b[i] = result >> (words ? i / 2 : i) & 1 ? 0xff : 0;
}

static struct string_compare string_compare_make(const union x86_vec *dst, const union x86_vec *src,
						 unsigned imm)
{
	return (struct string_compare){.first = dst, .second = src, .lanes = imm & 1 ? 8 : 16, .imm = imm};
}

/* The _64 forms (REX.W) take their lengths from the whole of RAX and RDX. */
#define STRING_COMPARE(name_, first_len_, second_len_, store_)                                               \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src,              \
			     unsigned imm)                                                                   \
	{                                                                                                    \
		const union x86_vec first = *dst, second = *src;                                             \
		struct string_compare c = string_compare_make(&first, &second, imm);                         \
		c.first_len = (first_len_);                                                                  \
		c.second_len = (second_len_);                                                                \
		store_(cpu, &c, string_compare_run(cpu, &c));                                                \
	}
#define IMPLICIT(vec_)        implicit_length(vec_, imm, c.lanes)
#define EXPLICIT(reg_, wide_) explicit_length(cpu->r[reg_], wide_, c.lanes)

STRING_COMPARE(pcmpistri, IMPLICIT(&first), IMPLICIT(&second), store_index)
STRING_COMPARE(pcmpistrm, IMPLICIT(&first), IMPLICIT(&second), store_mask)
STRING_COMPARE(pcmpestri_32, EXPLICIT(REG_RAX, false), EXPLICIT(REG_RDX, false), store_index)
STRING_COMPARE(pcmpestri_64, EXPLICIT(REG_RAX, true), EXPLICIT(REG_RDX, true), store_index)
STRING_COMPARE(pcmpestrm_32, EXPLICIT(REG_RAX, false), EXPLICIT(REG_RDX, false), store_mask)
STRING_COMPARE(pcmpestrm_64, EXPLICIT(REG_RAX, true), EXPLICIT(REG_RDX, true), store_mask)
