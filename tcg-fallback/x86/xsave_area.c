/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory images of the x87, SSE and extended state, as FXSAVE and XSAVE lay them out. Touches no guest
 * memory. Intel SDM vol. 1, 10.5.1 and 13.4-13.6.
 */
#include "tcg-fallback/x86/xsave_area.h"

#include <string.h>

#define FCW_RESET   0x037fu
#define FCW_DEFINED 0x1f3fu
#define FCW_FIXED   0x0040u
#define FSW_TOP     0x3800u
#define FSW_ES_B    0x8080u

static void put(uint8_t *area, unsigned offset, uint64_t value, unsigned size_bytes)
{
	memcpy(area + offset, &value, size_bytes);
}

static uint64_t get(const uint8_t *area, unsigned offset, unsigned size_bytes)
{
	uint64_t value = 0;

	memcpy(&value, area + offset, size_bytes);
	return value;
}

static uint8_t tags_abridged(const struct x86_fpu *fpu)
{
	uint8_t tags = 0;

	for (unsigned i = 0; i < 8; i++)
		tags |= !fpu->empty[i] << i;
	return tags;
}

void x86_fx_store_x87(const struct x86_cpu *cpu, uint8_t *area, bool wide)
{
	const struct x86_fpu *fpu = &cpu->fpu;
	bool selectors = !wide && !x86_has(cpu, X86_FEATURE_ZERO_FCS_FDS);

	memset(area, 0, X86_FX_MXCSR);
	put(area, 0, fpu->control, 2);
	put(area, 2, (fpu->status & ~FSW_TOP) | (fpu->top & 7u) << 11, 2);
	put(area, 4, tags_abridged(fpu), 1);
	put(area, 6, fpu->opcode, 2);
	put(area, 8, fpu->fip, wide ? 8 : 4);
	put(area, 16, fpu->fdp, wide ? 8 : 4);
	if (selectors) {
		put(area, 12, fpu->fcs, 2);
		put(area, 20, fpu->fds, 2);
	}
	for (unsigned i = 0; i < 8; i++) {
		const struct f80 *st = &fpu->reg[(fpu->top + i) & 7];

		put(area, X86_FX_ST + 16 * i, st->mant, 8);
		put(area, X86_FX_ST + 16 * i + 8, st->sexp, 8);
	}
}

/* ES and B say whether an unmasked exception is pending, whatever the image says. */
static uint16_t status_consistent(uint16_t status, uint16_t control)
{
	status &= ~(FSW_TOP | FSW_ES_B);
	return status & ~control & 0x3f ? status | FSW_ES_B : status;
}

void x86_fx_load_x87(struct x86_cpu *cpu, const uint8_t *area, bool wide)
{
	struct x86_fpu *fpu = &cpu->fpu;
	uint16_t status = get(area, 2, 2);
	uint8_t tags = get(area, 4, 1);

	fpu->control = (get(area, 0, 2) & FCW_DEFINED) | FCW_FIXED;
	fpu->status = status_consistent(status, fpu->control);
	fpu->top = status >> 11 & 7;
	fpu->opcode = get(area, 6, 2) & 0x7ff;
	fpu->fip = get(area, 8, wide ? 8 : 4);
	fpu->fdp = get(area, 16, wide ? 8 : 4);
	fpu->fcs = wide ? 0 : get(area, 12, 2);
	fpu->fds = wide ? 0 : get(area, 20, 2);
	for (unsigned i = 0; i < 8; i++) {
		struct f80 *st = &fpu->reg[(fpu->top + i) & 7];

		fpu->empty[i] = !(tags >> i & 1);
		st->mant = get(area, X86_FX_ST + 16 * i, 8);
		st->sexp = get(area, X86_FX_ST + 16 * i + 8, 2);
	}
}

void x86_fx_init_x87(struct x86_cpu *cpu)
{
	memset(&cpu->fpu, 0, sizeof(cpu->fpu));
	cpu->fpu.control = FCW_RESET;
	memset(cpu->fpu.empty, 1, sizeof(cpu->fpu.empty));
}

void x86_fx_store_mxcsr(const struct x86_cpu *cpu, uint8_t *area)
{
	put(area, X86_FX_MXCSR, cpu->mxcsr, 4);
	put(area, X86_FX_MXCSR_MASK, X86_MXCSR_MASK, 4);
}

uint32_t x86_fx_mxcsr(const uint8_t *area)
{
	return get(area, X86_FX_MXCSR, 4);
}

void x86_fx_store_xmm(const struct x86_cpu *cpu, uint8_t *area, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		memcpy(area + X86_FX_XMM + 16 * i, cpu->zmm[i].b, 16);
}

void x86_fx_load_xmm(struct x86_cpu *cpu, const uint8_t *area, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (area)
			memcpy(cpu->zmm[i].b, area + X86_FX_XMM + 16 * i, 16);
		else
			memset(cpu->zmm[i].b, 0, 16);
	}
}

static void store_avx(const struct x86_cpu *cpu, uint8_t *area)
{
	for (unsigned i = 0; i < 16; i++)
		memcpy(area + 16 * i, cpu->zmm[i].b + 16, 16);
}

static void load_avx(struct x86_cpu *cpu, const uint8_t *area)
{
	for (unsigned i = 0; i < 16; i++) {
		if (area)
			memcpy(cpu->zmm[i].b + 16, area + 16 * i, 16);
		else
			memset(cpu->zmm[i].b + 16, 0, 16);
	}
}

static bool in_use_avx(const struct x86_cpu *cpu)
{
	for (unsigned i = 0; i < 16; i++)
		if (cpu->zmm[i].q[2] | cpu->zmm[i].q[3])
			return true;
	return false;
}

static void store_masks(const struct x86_cpu *cpu, uint8_t *area)
{
	memcpy(area, cpu->k, sizeof(cpu->k));
}

static void load_masks(struct x86_cpu *cpu, const uint8_t *area)
{
	if (area)
		memcpy(cpu->k, area, sizeof(cpu->k));
	else
		memset(cpu->k, 0, sizeof(cpu->k));
}

static bool in_use_masks(const struct x86_cpu *cpu)
{
	for (unsigned i = 0; i < 8; i++)
		if (cpu->k[i])
			return true;
	return false;
}

/* Bits 256 to 511 of ZMM0 to ZMM15. */
static void store_zmm_high(const struct x86_cpu *cpu, uint8_t *area)
{
	for (unsigned i = 0; i < 16; i++)
		memcpy(area + 32 * i, cpu->zmm[i].b + 32, 32);
}

static void load_zmm_high(struct x86_cpu *cpu, const uint8_t *area)
{
	for (unsigned i = 0; i < 16; i++) {
		if (area)
			memcpy(cpu->zmm[i].b + 32, area + 32 * i, 32);
		else
			memset(cpu->zmm[i].b + 32, 0, 32);
	}
}

static bool in_use_zmm_high(const struct x86_cpu *cpu)
{
	for (unsigned i = 0; i < 16; i++)
		if (cpu->zmm[i].q[4] | cpu->zmm[i].q[5] | cpu->zmm[i].q[6] | cpu->zmm[i].q[7])
			return true;
	return false;
}

static void store_zmm_more(const struct x86_cpu *cpu, uint8_t *area)
{
	memcpy(area, cpu->zmm + 16, 16 * sizeof(cpu->zmm[0]));
}

static void load_zmm_more(struct x86_cpu *cpu, const uint8_t *area)
{
	if (area)
		memcpy(cpu->zmm + 16, area, 16 * sizeof(cpu->zmm[0]));
	else
		memset(cpu->zmm + 16, 0, 16 * sizeof(cpu->zmm[0]));
}

static bool in_use_zmm_more(const struct x86_cpu *cpu)
{
	for (unsigned i = 16; i < 32; i++)
		for (unsigned j = 0; j < 8; j++)
			if (cpu->zmm[i].q[j])
				return true;
	return false;
}

static void store_pkru(const struct x86_cpu *cpu, uint8_t *area)
{
	put(area, 0, cpu->pkru, 8);
}

static void load_pkru(struct x86_cpu *cpu, const uint8_t *area)
{
	cpu->pkru = area ? get(area, 0, 4) : 0;
}

static bool in_use_pkru(const struct x86_cpu *cpu)
{
	return cpu->pkru;
}

const struct x86_xcomponent x86_xcomponents[] = {
	{2, 256, 576, false, store_avx, load_avx, in_use_avx},
	{5, 64, 1088, false, store_masks, load_masks, in_use_masks},
	{6, 512, 1152, false, store_zmm_high, load_zmm_high, in_use_zmm_high},
	{7, 1024, 1664, false, store_zmm_more, load_zmm_more, in_use_zmm_more},
	{9, 8, 2688, false, store_pkru, load_pkru, in_use_pkru},
};
const unsigned x86_xcomponent_count = sizeof(x86_xcomponents) / sizeof(x86_xcomponents[0]);

uint32_t x86_xsave_size_standard(const struct x86_cpu *cpu, uint64_t components)
{
	uint32_t size = X86_XSAVE_LEGACY + X86_XSAVE_HEADER;

	for (unsigned i = 0; i < x86_xcomponent_count; i++)
		if (components >> x86_xcomponents[i].number & 1)
			size = x86_xcomponents[i].offset + x86_xcomponents[i].size_bytes;
	return size;
}

uint32_t x86_xsave_compacted_offset(uint64_t components, unsigned number)
{
	uint32_t offset = X86_XSAVE_LEGACY + X86_XSAVE_HEADER;

	for (unsigned i = 0; i < x86_xcomponent_count; i++) {
		const struct x86_xcomponent *c = &x86_xcomponents[i];

		if (!(components >> c->number & 1) && c->number != number)
			continue;
		if (c->aligned)
			offset = (offset + 63) & ~63u;
		if (c->number >= number)
			break;
		offset += c->size_bytes;
	}
	return offset;
}

uint32_t x86_xsave_size_compacted(const struct x86_cpu *cpu, uint64_t components)
{
	return x86_xsave_compacted_offset(components, 64);
}

static bool in_use_x87(const struct x86_fpu *fpu)
{
	static const uint8_t all_empty[8] = {1, 1, 1, 1, 1, 1, 1, 1};

	if (fpu->control != FCW_RESET || fpu->status || fpu->top || fpu->opcode || fpu->fip || fpu->fdp ||
	    fpu->fcs || fpu->fds || memcmp(fpu->empty, all_empty, sizeof(all_empty)) != 0)
		return true;
	for (unsigned i = 0; i < 8; i++)
		if (fpu->reg[i].mant || fpu->reg[i].sexp)
			return true;
	return false;
}

uint64_t x86_xsave_in_use(const struct x86_cpu *cpu)
{
	uint64_t in_use = in_use_x87(&cpu->fpu) ? X86_XFEATURE_X87 : 0;

	for (unsigned i = 0; i < 16; i++)
		if (cpu->zmm[i].q[0] | cpu->zmm[i].q[1])
			in_use |= X86_XFEATURE_SSE;
	for (unsigned i = 0; i < x86_xcomponent_count; i++)
		if (x86_xcomponents[i].in_use(cpu))
			in_use |= 1ull << x86_xcomponents[i].number;
	return in_use;
}

void x86_xsave_store(struct x86_cpu *cpu, uint8_t area[X86_XSAVE_MAX])
{
	uint64_t in_use = x86_xsave_in_use(cpu) | X86_XFEATURE_X87 | X86_XFEATURE_SSE;

	memset(area, 0, X86_XSAVE_MAX);
	x86_fx_store_x87(cpu, area, true);
	put(area, 12, cpu->fpu.fip >> 32 ? get(area, 12, 4) : cpu->fpu.fcs, 4);
	put(area, 20, cpu->fpu.fdp >> 32 ? get(area, 20, 4) : cpu->fpu.fds, 4);
	x86_fx_store_mxcsr(cpu, area);
	x86_fx_store_xmm(cpu, area, 16);
	put(area, X86_XSAVE_LEGACY, in_use, 8);
	for (unsigned i = 0; i < x86_xcomponent_count; i++)
		x86_xcomponents[i].store(cpu, area + x86_xcomponents[i].offset);
}

void x86_xsave_load(struct x86_cpu *cpu, const uint8_t area[X86_XSAVE_MAX])
{
	uint64_t present = get(area, X86_XSAVE_LEGACY, 8);

	if (present & X86_XFEATURE_X87)
		x86_fx_load_x87(cpu, area, true);
	else
		x86_fx_init_x87(cpu);
	cpu->mxcsr = present & X86_XFEATURE_SSE ? x86_fx_mxcsr(area) & X86_MXCSR_MASK : X86_MXCSR_RESET;
	x86_fx_load_xmm(cpu, present & X86_XFEATURE_SSE ? area : NULL, 16);
	for (unsigned i = 0; i < x86_xcomponent_count; i++) {
		const struct x86_xcomponent *c = &x86_xcomponents[i];

		c->load(cpu, present >> c->number & 1 ? area + c->offset : NULL);
	}
}
