/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX instructions that access memory element by element, each under its mask: VMASKMOV and the gathers. And
 * those that are about registers as a whole or MXCSR. Intel SDM vol. 2, VMASKMOV, VPMASKMOV, VGATHERDPS,
 * VZEROUPPER.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/native.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/xsave.h"

#define XCR0_YMM (X86_XFEATURE_SSE | X86_XFEATURE_AVX)

void x86_avx_check(struct x86_cpu *cpu, uint64_t needs)
{
	if (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->xcr0 & needs) != needs)
		x86_raise_ud(cpu);
	if (cpu->cr0 & CR0_TS)
		x86_raise(cpu, VEC_NM);
}

static unsigned vector_bytes(const struct x86_insn *in)
{
	return 16u << in->vex_l;
}

/* An element's most significant bit. */
static bool element_sign(const union x86_vec *vec, unsigned index, unsigned size)
{
	return vec->b[index * size + size - 1] >> 7;
}

/* VMASKMOVPS and PD differ by the opcode, VPMASKMOVD and Q by W. */
static unsigned mask_move_size(const struct x86_insn *in)
{
	return (in->opcode >= 0x80 ? in->vex_w : in->opcode & 1) ? 8 : 4;
}

/* Outside 64-bit mode addresses wrap, each element's for itself. */
static uint64_t element_offset(const struct x86_cpu *cpu, uint64_t offset, unsigned index, unsigned size)
{
	return (offset + (uint64_t)index * size) & x86_size_mask(x86_is_64bit(cpu) ? 8 : 4);
}

static void mask_move_load(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset, unsigned size)
{
	const union x86_vec *mask = &cpu->zmm[in->vex_vvvv];
	union x86_vec result = {.q = {0}};

	for (unsigned i = 0; i < vector_bytes(in) / size; i++) {
		if (element_sign(mask, i, size))
			x86_ld_bytes(cpu, in->seg, element_offset(cpu, offset, i, size), result.b + i * size,
				     size);
	}
	cpu->zmm[in->reg] = result;
}

static void mask_move_store(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset, unsigned size)
{
	const union x86_vec *mask = &cpu->zmm[in->vex_vvvv], *data = &cpu->zmm[in->reg];

	for (unsigned i = 0; i < vector_bytes(in) / size; i++)
		if (element_sign(mask, i, size))
			x86_probe_write_bytes(cpu, in->seg, element_offset(cpu, offset, i, size), size);
	for (unsigned i = 0; i < vector_bytes(in) / size; i++)
		if (element_sign(mask, i, size))
			x86_st_bytes(cpu, in->seg, element_offset(cpu, offset, i, size), data->b + i * size,
				     size);
}

void x86_slow_vmaskmov(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t offset;

	x86_avx_check(cpu, XCR0_YMM);
	offset = x86_insn_ea(cpu, in);
	if (x86_rows[in->row].mem_access & 2)
		mask_move_store(cpu, in, offset, mask_move_size(in));
	else
		mask_move_load(cpu, in, offset, mask_move_size(in));
}

/* The offset of element i: the index is a signed number of 32 or 64 bits. */
static uint64_t gather_offset(const struct x86_cpu *cpu, const struct x86_insn *in, uint64_t base, unsigned i)
{
	const union x86_vec *index = &cpu->zmm[in->vsib];
	const uint64_t value = in->opcode & 1 ? index->q[i] : (uint64_t)(int64_t)(int32_t)index->d[i];

	return (base + (value << in->scale)) & x86_size_mask(in->addrsize);
}

/*
 * Elements are loaded in order; each that is done is cleared in the mask, so that after a fault the
 * instruction goes on where it stopped.
 */
void x86_slow_vgather(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const unsigned size = in->vex_w ? 8 : 4, index_size = in->opcode & 1 ? 8 : 4;
	const unsigned count = vector_bytes(in) / (size > index_size ? size : index_size);
	union x86_vec *dst = &cpu->zmm[in->reg], *mask = &cpu->zmm[in->vex_vvvv];
	uint64_t base;

	x86_avx_check(cpu, XCR0_YMM);
	base = x86_insn_ea(cpu, in);
	for (unsigned i = 0; i < count; i++) {
		uint64_t value;

		if (element_sign(mask, i, size)) {
			x86_ld_bytes(cpu, in->seg, gather_offset(cpu, in, base, i), &value, size);
			memcpy(dst->b + i * size, &value, size);
		}
		memset(mask->b + i * size, 0, size);
	}
	memset(mask, 0, sizeof(*mask));
	memset(dst->b + count * size, 0, sizeof(*dst) - count * size);
}

static void zero_from(struct x86_cpu *cpu, unsigned byte)
{
	x86_avx_check(cpu, XCR0_YMM);
	for (unsigned i = 0; i < (x86_is_64bit(cpu) ? 16u : 8u); i++)
		memset(cpu->zmm[i].b + byte, 0, sizeof(cpu->zmm[i]) - byte);
}

void x86_slow_vzeroupper(struct x86_cpu *cpu, const struct x86_insn *in)
{
	zero_from(cpu, 16);
}

void x86_slow_vzeroall(struct x86_cpu *cpu, const struct x86_insn *in)
{
	zero_from(cpu, 0);
}

void x86_slow_vldmxcsr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_avx_check(cpu, XCR0_YMM);
	x86_slow_ldmxcsr(cpu, in);
}

void x86_slow_vstmxcsr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_avx_check(cpu, XCR0_YMM);
	x86_slow_stmxcsr(cpu, in);
}
