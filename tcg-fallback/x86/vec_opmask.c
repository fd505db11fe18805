/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX-512 memory operands under a mask register: what is accessed element by element, and the gathers and
 * scatters. Intel SDM vol. 1, 15.6; vol. 2, 2.7.5 and 2.8 (fault suppression), VGATHERDPS, VSCATTERDPS.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/native.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/xsave.h"

#define XCR0_ZMM (X86_XFEATURE_SSE | X86_XFEATURE_AVX | X86_XFEATURE_AVX512)

/* How a mask divides a memory operand. */
struct elements {
	unsigned count, size; /* elements, bytes of each in memory */
	uint64_t mask;        /* of those that count */
};

/* A bit stands for mask_size bytes of the vector, or of a result in memory that does not grow with it. */
static struct elements elements_of(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	const unsigned operand = x86_insn_mem_size(in);
	const bool fixed = (row->mem_access & 2) && !(row->properties & X86_PROP_VL);
	struct elements e = {.count = (fixed ? operand : 16u << in->vex_l) / row->mask_size};

	if (row->mask_size == 16)
		e.count = 1;
	e.size = row->properties & X86_PROP_DENSE ? row->mask_size : operand / e.count;
	e.mask = cpu->k[in->evex_mask] & (e.count == 64 ? UINT64_MAX : (1ull << e.count) - 1);
	if (row->properties & X86_PROP_DENSE) {
		e.count = (unsigned)__builtin_popcountll(e.mask);
		e.mask = e.count == 64 ? UINT64_MAX : (1ull << e.count) - 1;
	}
	return e;
}

/* One access, or none: broadcasts of an element, and what hardware reads whole. */
static bool is_single(const struct x86_insn *in)
{
	return in->evex_b || (x86_rows[in->row].properties & X86_PROP_WHOLE);
}

/* What is broadcast from memory: an element there is wanted when any of its copies is. */
static struct elements elements_once(const struct x86_insn *in, struct elements e)
{
	const unsigned size = x86_rows[in->row].mask_size, operand = x86_insn_mem_size(in);
	struct elements once = {.count = operand / (size < operand ? size : operand)};

	once.size = operand / once.count;
	for (unsigned i = 0; i < e.count; i++)
		once.mask |= (e.mask >> i & 1) << i % once.count;
	return once;
}

static uint64_t element_offset(const struct x86_cpu *cpu, uint64_t offset, unsigned index, unsigned size)
{
	return (offset + (uint64_t)index * size) & x86_size_mask(x86_is_64bit(cpu) ? 8 : 4);
}

void x86_masked_load(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset, union x86_vec *value)
{
	struct elements e = elements_of(cpu, in);

	if (x86_rows[in->row].properties & X86_PROP_ONCE)
		e = elements_once(in, e);
	if (is_single(in)) {
		if (e.mask || (x86_rows[in->row].properties & X86_PROP_WHOLE))
			x86_ld_bytes(cpu, in->seg, offset, value, x86_insn_mem_size(in));
		return;
	}
	memset(value, 0, sizeof(*value));
	for (unsigned i = 0; i < e.count; i++)
		if (e.mask >> i & 1)
			x86_ld_bytes(cpu, in->seg, element_offset(cpu, offset, i, e.size),
				     value->b + i * e.size, e.size);
}

bool x86_masked_none(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	return in->evex_mask && !elements_of(cpu, in).mask;
}

void x86_masked_probe(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset)
{
	const struct elements e = elements_of(cpu, in);

	if (x86_rows[in->row].properties & X86_PROP_WHOLE) {
		x86_probe_write_bytes(cpu, in->seg, offset, x86_insn_mem_size(in));
		return;
	}

	for (unsigned i = 0; i < e.count; i++)
		if (e.mask >> i & 1)
			x86_probe_write_bytes(cpu, in->seg, element_offset(cpu, offset, i, e.size), e.size);
}

void x86_masked_store(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset,
		      const union x86_vec *value)
{
	const struct elements e = elements_of(cpu, in);

	x86_masked_probe(cpu, in, offset);
	for (unsigned i = 0; i < e.count; i++)
		if (e.mask >> i & 1)
			x86_st_bytes(cpu, in->seg, element_offset(cpu, offset, i, e.size),
				     value->b + i * e.size, e.size);
}

/* The offset of element i: the index is a signed number of 32 or 64 bits. */
static uint64_t indexed_offset(const struct x86_cpu *cpu, const struct x86_insn *in, uint64_t base,
			       const union x86_vec *index, unsigned i)
{
	const uint64_t value = in->opcode & 1 ? index->q[i] : (uint64_t)(int64_t)(int32_t)index->d[i];

	return (base + (value << in->scale)) & x86_size_mask(in->addrsize);
}

static unsigned indexed_count(const struct x86_insn *in)
{
	return (16u << in->vex_l) / (in->vex_w || (in->opcode & 1) ? 8 : 4);
}

/* A bit is cleared when its element is done, so that after a fault the rest is. */
void x86_slow_vgather_masked(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const unsigned size = in->vex_w ? 8 : 4, count = indexed_count(in);
	union x86_vec *dst = &cpu->zmm[in->reg];
	uint64_t base, value;

	x86_avx_check(cpu, XCR0_ZMM);
	base = x86_insn_ea(cpu, in);
	memset(dst->b + count * size, 0, sizeof(*dst) - count * size);
	for (unsigned i = 0; i < count; i++) {
		if (!(cpu->k[in->evex_mask] >> i & 1))
			continue;
		x86_ld_bytes(cpu, in->seg, indexed_offset(cpu, in, base, &cpu->zmm[in->vsib], i), &value,
			     size);
		memcpy(dst->b + i * size, &value, size);
		cpu->k[in->evex_mask] &= ~(1ull << i);
	}
	cpu->k[in->evex_mask] = 0;
}

void x86_slow_vscatter(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const unsigned size = in->vex_w ? 8 : 4, count = indexed_count(in);
	uint64_t base;

	x86_avx_check(cpu, XCR0_ZMM);
	base = x86_insn_ea(cpu, in);
	for (unsigned i = 0; i < count; i++) {
		if (!(cpu->k[in->evex_mask] >> i & 1))
			continue;
		x86_st_bytes(cpu, in->seg, indexed_offset(cpu, in, base, &cpu->zmm[in->vsib], i),
			     cpu->zmm[in->reg].b + i * size, size);
		cpu->k[in->evex_mask] &= ~(1ull << i);
	}
	cpu->k[in->evex_mask] = 0;
}
