/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FXSAVE, FXRSTOR and the XSAVE family, XCR0, MXCSR and PKRU. All memory that an instruction writes is probed
 * before the first byte is stored; all that it reads is read and checked before a register changes. Intel SDM
 * vol. 1, 13.7-13.12; vol. 2 of each.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/xsave_area.h"

#define COMPACTED    (1ull << 63)
#define HEADER       X86_XSAVE_LEGACY
#define HEADER_XCOMP (X86_XSAVE_LEGACY + 8)
#define IMAGE_MAX    4096
#define PIECES_MAX   12

/* Parts of an image that go to memory together. */
struct image {
	uint8_t area[IMAGE_MAX];
	struct {
		uint16_t offset, len;
	} piece[PIECES_MAX];
	unsigned pieces;
};

static void image_add(struct image *image, unsigned offset, unsigned len)
{
	image->piece[image->pieces].offset = offset;
	image->piece[image->pieces++].len = len;
}

static uint64_t area_address(const struct x86_insn *in, uint64_t ea, unsigned offset)
{
	return (ea + offset) & x86_size_mask(in->addrsize);
}

static void image_write(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t ea,
			const struct image *image)
{
	for (unsigned i = 0; i < image->pieces; i++)
		x86_probe_write(cpu, in->seg, area_address(in, ea, image->piece[i].offset),
				image->piece[i].len);
	for (unsigned i = 0; i < image->pieces; i++)
		x86_st_bytes(cpu, in->seg, area_address(in, ea, image->piece[i].offset),
			     image->area + image->piece[i].offset, image->piece[i].len);
}

static void image_read(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t ea, struct image *image,
		       unsigned offset, unsigned len)
{
	x86_ld_bytes(cpu, in->seg, area_address(in, ea, offset), image->area + offset, len);
}

static uint64_t image_u64(const struct image *image, unsigned offset)
{
	uint64_t value;

	memcpy(&value, image->area + offset, 8);
	return value;
}

static void image_set_u64(struct image *image, unsigned offset, uint64_t value)
{
	memcpy(image->area + offset, &value, 8);
}

static unsigned xmm_count(const struct x86_cpu *cpu)
{
	return x86_is_64bit(cpu) ? 16 : 8;
}

/* The offset of an operand that must be aligned. */
static uint64_t aligned_operand(struct x86_cpu *cpu, const struct x86_insn *in, unsigned alignment)
{
	uint64_t ea = x86_insn_ea(cpu, in);
	uint64_t linear = ea + (x86_is_64bit(cpu) && in->seg < SEG_FS ? 0 : cpu->seg[in->seg].base);

	if (linear & (alignment - 1)) {
		x86_linear(cpu, in->seg, ea, 1, false);          /* #SS, limits and #AC come first */
		x86_check_alignment(cpu, in->seg, ea, 4, false); /* by the first word of the image */
		x86_raise_gp(cpu);
	}
	return ea;
}

static void check_fx(struct x86_cpu *cpu)
{
	if (cpu->cr0 & CR0_EM)
		x86_raise_ud(cpu);
	if (cpu->cr0 & CR0_TS)
		x86_raise(cpu, VEC_NM);
}

static void check_xsave(struct x86_cpu *cpu)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		x86_raise_ud(cpu);
	if (cpu->cr0 & CR0_TS)
		x86_raise(cpu, VEC_NM);
}

/* Without CR4.OSFXSR the XMM registers and MXCSR are no part of the image. */
void x86_slow_fxsave(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct image image = {.pieces = 0};
	uint64_t ea;

	check_fx(cpu);
	ea = aligned_operand(cpu, in, 16);
	x86_fx_store_x87(cpu, image.area, in->opsize == 8);
	x86_fx_store_mxcsr(cpu, image.area);
	x86_fx_store_xmm(cpu, image.area, xmm_count(cpu));
	image_add(&image, 0, X86_FX_XMM + (cpu->cr4 & CR4_OSFXSR ? 16 * xmm_count(cpu) : 0));
	image_write(cpu, in, ea, &image);
}

void x86_slow_fxrstor(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct image image;
	uint64_t ea;

	check_fx(cpu);
	ea = aligned_operand(cpu, in, 16);
	image_read(cpu, in, ea, &image, 0, X86_XSAVE_LEGACY);
	if ((cpu->cr4 & CR4_OSFXSR) && (x86_fx_mxcsr(image.area) & ~X86_MXCSR_MASK))
		x86_raise_gp(cpu);
	x86_fx_load_x87(cpu, image.area, in->opsize == 8);
	if (cpu->cr4 & CR4_OSFXSR) {
		cpu->mxcsr = x86_fx_mxcsr(image.area);
		x86_fx_load_xmm(cpu, image.area, xmm_count(cpu));
	}
}

uint64_t x86_xsave_supported(const struct x86_cpu *cpu)
{
	uint64_t built = X86_XFEATURE_X87 | X86_XFEATURE_SSE, leaf = 0;

	for (size_t i = 0; i < cpu->cpuid_count; i++)
		if (cpu->cpuid[i].leaf == 0xd && cpu->cpuid[i].subleaf == 0)
			leaf = cpu->cpuid[i].eax | (uint64_t)cpu->cpuid[i].edx << 32;
	for (unsigned i = 0; i < x86_xcomponent_count; i++)
		built |= 1ull << x86_xcomponents[i].number;
	return cpu->lenient ? built : leaf & built;
}

static uint64_t requested(const struct x86_cpu *cpu)
{
	return cpu->xcr0 & ((uint32_t)cpu->r[REG_RAX] | cpu->r[REG_RDX] << 32);
}

/* MXCSR counts as part of the SSE component when it differs from its initial value. */
static uint64_t in_use_with_mxcsr(const struct x86_cpu *cpu)
{
	return x86_xsave_in_use(cpu) | (cpu->mxcsr != X86_MXCSR_RESET ? X86_XFEATURE_SSE : 0);
}

/* What an XSAVE of any kind writes. `saved`: components whose bytes are written; comp: those laid out, or 0:
 * standard. */
static void fill_image(const struct x86_cpu *cpu, const struct x86_insn *in, struct image *image,
		       uint64_t saved, uint64_t comp)
{
	if (saved & X86_XFEATURE_X87) {
		x86_fx_store_x87(cpu, image->area, in->opsize == 8);
		image_add(image, 0, X86_FX_MXCSR);
		image_add(image, X86_FX_ST, X86_FX_XMM - X86_FX_ST);
	}
	if (saved & X86_XFEATURE_SSE) {
		x86_fx_store_xmm(cpu, image->area, xmm_count(cpu));
		image_add(image, X86_FX_XMM, 16 * xmm_count(cpu));
	}
	for (unsigned i = 0; i < x86_xcomponent_count; i++) {
		const struct x86_xcomponent *c = &x86_xcomponents[i];
		unsigned offset = comp ? x86_xsave_compacted_offset(comp, c->number) : c->offset;

		if (!(saved >> c->number & 1))
			continue;
		c->store(cpu, image->area + offset);
		image_add(image, offset, c->size_bytes);
	}
}

/* XSAVE and XSAVEOPT: standard format; the latter leaves components in their initial state unwritten. */
static void save_standard(struct x86_cpu *cpu, const struct x86_insn *in, bool optimised)
{
	struct image image = {.pieces = 0};
	uint64_t rfbm, in_use, old, ea;

	check_xsave(cpu);
	ea = aligned_operand(cpu, in, 64);
	rfbm = requested(cpu);
	in_use = x86_xsave_in_use(cpu);
	old = x86_ld64(cpu, in->seg, area_address(in, ea, HEADER));
	fill_image(cpu, in, &image, optimised ? rfbm & in_use : rfbm, 0);
	if (rfbm & (X86_XFEATURE_SSE | X86_XFEATURE_AVX)) {
		x86_fx_store_mxcsr(cpu, image.area);
		image_add(&image, X86_FX_MXCSR, 8);
	}
	image_set_u64(&image, HEADER, (old & ~rfbm) | (in_use & rfbm));
	image_add(&image, HEADER, 8);
	image_write(cpu, in, ea, &image);
}

/* XSAVEC and XSAVES. */
static void save_compacted(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct image image = {.pieces = 0};
	uint64_t rfbm, saved, ea;

	check_xsave(cpu);
	ea = aligned_operand(cpu, in, 64);
	rfbm = requested(cpu);
	saved = rfbm & in_use_with_mxcsr(cpu);
	fill_image(cpu, in, &image, saved, rfbm | COMPACTED);
	if (saved & X86_XFEATURE_SSE) {
		x86_fx_store_mxcsr(cpu, image.area);
		image_add(&image, X86_FX_MXCSR, 8);
	}
	image_set_u64(&image, HEADER, saved);
	image_set_u64(&image, HEADER_XCOMP, rfbm | COMPACTED);
	image_add(&image, HEADER, 16);
	image_write(cpu, in, ea, &image);
}

void x86_slow_xsave(struct x86_cpu *cpu, const struct x86_insn *in)
{
	save_standard(cpu, in, false);
}

void x86_slow_xsaveopt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	save_standard(cpu, in, true);
}

void x86_slow_xsavec(struct x86_cpu *cpu, const struct x86_insn *in)
{
	save_compacted(cpu, in);
}

void x86_slow_xsaves(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		x86_raise_ud(cpu);
	if (cpu->cpl != 0)
		x86_raise_gp(cpu);
	save_compacted(cpu, in);
}

static bool header_zero(const struct image *image, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (image->area[HEADER + i])
			return false;
	return true;
}

/* The header's rules; anything else is #GP(0). Intel SDM vol. 1, 13.8.1 and 13.8.2. */
static bool header_valid(const struct x86_cpu *cpu, const struct image *image, bool must_be_compacted)
{
	uint64_t present = image_u64(image, HEADER), comp = image_u64(image, HEADER_XCOMP);

	if (!(comp & COMPACTED))
		return !must_be_compacted && !(present & ~cpu->xcr0) && header_zero(image, 8, 24);
	if (!x86_has(cpu, X86_FEATURE_XSAVEC))
		return false;
	return !(comp & ~COMPACTED & ~cpu->xcr0) && !(present & ~comp) &&
	       header_zero(image, 16, X86_XSAVE_HEADER);
}

/* Reads what XRSTOR will use of the components beyond the legacy area. */
static void read_components(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t ea, struct image *image,
			    uint64_t wanted, uint64_t comp)
{
	for (unsigned i = 0; i < x86_xcomponent_count; i++) {
		const struct x86_xcomponent *c = &x86_xcomponents[i];

		if (wanted >> c->number & 1)
			image_read(cpu, in, ea, image,
				   comp ? x86_xsave_compacted_offset(comp, c->number) : c->offset,
				   c->size_bytes);
	}
}

static void load_components(struct x86_cpu *cpu, const struct image *image, uint64_t rfbm, uint64_t present,
			    uint64_t comp)
{
	for (unsigned i = 0; i < x86_xcomponent_count; i++) {
		const struct x86_xcomponent *c = &x86_xcomponents[i];
		unsigned offset = comp ? x86_xsave_compacted_offset(comp, c->number) : c->offset;

		if (rfbm >> c->number & 1)
			c->load(cpu, present >> c->number & 1 ? image->area + offset : NULL);
	}
}

/* The standard format loads MXCSR whenever SSE or AVX is asked for; the compacted one as a part of SSE. */
static bool loads_mxcsr(uint64_t rfbm, uint64_t present, uint64_t comp)
{
	return comp ? rfbm & present & X86_XFEATURE_SSE : rfbm & (X86_XFEATURE_SSE | X86_XFEATURE_AVX);
}

static void load_legacy(struct x86_cpu *cpu, const struct x86_insn *in, const struct image *image,
			uint64_t rfbm, uint64_t present)
{
	if (rfbm & X86_XFEATURE_X87) {
		if (present & X86_XFEATURE_X87)
			x86_fx_load_x87(cpu, image->area, in->opsize == 8);
		else
			x86_fx_init_x87(cpu);
	}
	if (rfbm & X86_XFEATURE_SSE)
		x86_fx_load_xmm(cpu, present & X86_XFEATURE_SSE ? image->area : NULL, xmm_count(cpu));
}

static void restore(struct x86_cpu *cpu, const struct x86_insn *in, bool must_be_compacted)
{
	struct image image;
	uint64_t rfbm, present, comp, ea;

	check_xsave(cpu);
	ea = aligned_operand(cpu, in, 64);
	rfbm = requested(cpu);
	image_read(cpu, in, ea, &image, 0, X86_XSAVE_LEGACY + X86_XSAVE_HEADER);
	if (!header_valid(cpu, &image, must_be_compacted))
		x86_raise_gp(cpu);
	present = image_u64(&image, HEADER);
	comp = image_u64(&image, HEADER_XCOMP);
	read_components(cpu, in, ea, &image, rfbm & present, comp);
	if (loads_mxcsr(rfbm, present, comp)) {
		if (x86_fx_mxcsr(image.area) & ~X86_MXCSR_MASK)
			x86_raise_gp(cpu);
		cpu->mxcsr = x86_fx_mxcsr(image.area);
	} else if (comp && (rfbm & X86_XFEATURE_SSE)) {
		cpu->mxcsr = X86_MXCSR_RESET;
	}
	load_legacy(cpu, in, &image, rfbm, present);
	load_components(cpu, &image, rfbm, present, comp);
	if (rfbm & X86_XFEATURE_PKRU)
		x86_mode_changed(cpu);
}

void x86_slow_xrstor(struct x86_cpu *cpu, const struct x86_insn *in)
{
	restore(cpu, in, false);
}

void x86_slow_xrstors(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		x86_raise_ud(cpu);
	if (cpu->cpl != 0)
		x86_raise_gp(cpu);
	restore(cpu, in, true);
}

void x86_slow_xgetbv(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint32_t index = cpu->r[REG_RCX];
	uint64_t value = cpu->xcr0;

	if (!(cpu->cr4 & CR4_OSXSAVE))
		x86_raise_ud(cpu);
	if (index > 1 || (index == 1 && !x86_has(cpu, X86_FEATURE_XGETBV1)))
		x86_raise_gp(cpu);
	if (index == 1)
		value &= in_use_with_mxcsr(cpu);
	cpu->r[REG_RAX] = (uint32_t)value;
	cpu->r[REG_RDX] = value >> 32;
}

void x86_slow_xsetbv(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		x86_raise_ud(cpu);
	if (cpu->cpl != 0 || (uint32_t)cpu->r[REG_RCX] != 0)
		x86_raise_gp(cpu);
	x86_xcr0_write(cpu, cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX]);
}

/* The caller has checked #UD and #NM (X86_PROP_SSE). */
void x86_slow_ldmxcsr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint32_t value = x86_ld32(cpu, in->seg, x86_insn_ea(cpu, in));

	if (value & ~X86_MXCSR_MASK)
		x86_raise_gp(cpu);
	cpu->mxcsr = value;
}

void x86_slow_stmxcsr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_st32(cpu, in->seg, x86_insn_ea(cpu, in), cpu->mxcsr);
}

void x86_slow_rdpkru(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (!(cpu->cr4 & CR4_PKE))
		x86_raise_ud(cpu);
	if ((uint32_t)cpu->r[REG_RCX])
		x86_raise_gp(cpu);
	cpu->r[REG_RAX] = cpu->pkru;
	cpu->r[REG_RDX] = 0;
}

void x86_slow_wrpkru(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (!(cpu->cr4 & CR4_PKE))
		x86_raise_ud(cpu);
	if ((uint32_t)cpu->r[REG_RCX] || (uint32_t)cpu->r[REG_RDX])
		x86_raise_gp(cpu);
	cpu->pkru = cpu->r[REG_RAX];
	x86_mode_changed(cpu);
}
