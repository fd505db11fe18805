/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors, the hidden parts of segment registers, and loads of data segments. Knows no instruction's far
 * transfer. Intel SDM vol. 3, 3.4, 5.2-5.7; vol. 2, MOV.
 */
#include "tcg-fallback/x86/segment.h"

#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"

#define ATTR_ACCESSED_DATA 0x93u /* present, data, read and write, accessed */

bool x86_descriptor_read(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *desc)
{
	uint64_t base = cpu->gdtr.base;
	uint32_t limit = cpu->gdtr.limit, offset = selector & 0xfff8u;

	if (selector & 4) {
		if (!cpu->seg[SEG_LDTR].usable)
			return false;
		base = cpu->seg[SEG_LDTR].base;
		limit = cpu->seg[SEG_LDTR].limit;
	}
	if (offset + 7 > limit)
		return false;
	desc->selector = selector;
	desc->linear = base + offset;
	if (!cpu->long_mode)
		desc->linear = (uint32_t)desc->linear;
	desc->raw = x86_sys_ld(cpu, desc->linear, 8);
	return true;
}

void x86_descriptor_read_or(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *desc,
			    enum x86_vector vector, uint32_t ext)
{
	if (!x86_descriptor_read(cpu, selector, desc))
		x86_raise_code(cpu, vector, (selector & 0xfffcu) | ext);
}

uint64_t x86_descriptor_read_upper(struct x86_cpu *cpu, const struct x86_descriptor *desc)
{
	uint32_t limit = desc->selector & 4 ? cpu->seg[SEG_LDTR].limit : cpu->gdtr.limit;
	uint64_t upper;

	if ((desc->selector & 0xfff8u) + 15 > limit)
		x86_raise_code(cpu, VEC_GP, desc->selector & 0xfffcu);
	upper = x86_sys_ld(cpu, desc->linear + 8, 8);
	if (upper >> 40 & 0x1f)
		x86_raise_code(cpu, VEC_GP, desc->selector & 0xfffcu);
	return upper;
}

void x86_descriptor_touch(struct x86_cpu *cpu, struct x86_descriptor *desc)
{
	if (desc->raw >> 40 & 1)
		return;
	x86_sys_or8(cpu, desc->linear + 5, 1);
	desc->raw |= 1ull << 40;
}

struct x86_segment x86_segment_from(uint16_t selector, uint64_t raw)
{
	return (struct x86_segment){
		.base = x86_desc_base(raw),
		.limit = x86_desc_limit(raw),
		.selector = selector,
		.attributes = raw >> 40 & 0xf0ff,
		.usable = true,
	};
}

struct x86_segment x86_segment_flat(uint16_t selector, bool code, bool code64, unsigned dpl)
{
	uint16_t type = code ? 0x1b : 0x13; /* accessed; code execute/read, data read/write; S */

	return (struct x86_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.attributes = type | dpl << 5 | SEG_ATTR_P | SEG_ATTR_G | (code64 ? SEG_ATTR_L : SEG_ATTR_DB),
		.usable = true,
	};
}

/* Real mode keeps limit and granularity ("unreal mode"); virtual-8086 mode sets everything. Intel SDM vol.
 * 3, 20.1.1. */
void x86_segment_load_real(struct x86_cpu *cpu, unsigned seg, uint16_t selector)
{
	struct x86_segment *s = &cpu->seg[seg];

	s->selector = selector;
	s->base = (uint32_t)selector << 4;
	s->usable = true;
	if (x86_is_v86(cpu)) {
		s->limit = 0xffff;
		s->attributes = ATTR_ACCESSED_DATA | 3u << 5;
	} else {
		s->attributes = (s->attributes & 0xd000) | ATTR_ACCESSED_DATA;
	}
}

void x86_segments_load_v86(struct x86_cpu *cpu, const uint16_t selector[6])
{
	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
		cpu->seg[seg] = (struct x86_segment){
			.base = (uint32_t)selector[seg] << 4,
			.limit = 0xffff,
			.selector = selector[seg],
			.attributes = ATTR_ACCESSED_DATA | 3u << 5,
			.usable = true,
		};
}

/* AMD CPUs without NullSelectorClearsBase (CPUID 0x80000021 EAX bit 6) keep base and limit. AMD APM vol. 3,
 * appendix E. */
static bool null_clears_base(struct x86_cpu *cpu)
{
	uint32_t regs[4];

	if (x86_vendor_is_intel(cpu))
		return true;
	x86_cpuid_query(cpu, 0x80000000, 0, regs);
	if (regs[0] < 0x80000021)
		return false;
	x86_cpuid_query(cpu, 0x80000021, 0, regs);
	return regs[0] >> 6 & 1;
}

void x86_segment_load_null(struct x86_cpu *cpu, unsigned seg, uint16_t selector)
{
	struct x86_segment *s = &cpu->seg[seg];

	if (s->base && null_clears_base(cpu))
		s->base = 0;
	if (!s->base)
		s->limit = 0;
	s->selector = selector;
	s->attributes = seg == SEG_SS ? (selector & 3u) << 5 : 0; /* the DPL of a null SS is the CPL */
	s->usable = false;
}

static void load_stack_segment(struct x86_cpu *cpu, uint16_t selector)
{
	struct x86_descriptor desc;

	if (x86_selector_is_null(selector)) {
		if (!x86_is_64bit(cpu) || cpu->cpl == 3 || (selector & 3) != cpu->cpl)
			x86_raise_gp(cpu);
		x86_segment_load_null(cpu, SEG_SS, selector);
		return;
	}
	x86_stack_segment_check(cpu, selector, cpu->cpl, VEC_GP, 0, &desc);
	x86_descriptor_touch(cpu, &desc);
	cpu->seg[SEG_SS] = x86_segment_from(selector, desc.raw);
}

static void load_data_segment(struct x86_cpu *cpu, unsigned seg, uint16_t selector)
{
	struct x86_descriptor desc;
	uint32_t error = selector & 0xfffc;
	unsigned dpl;

	if (x86_selector_is_null(selector)) {
		x86_segment_load_null(cpu, seg, selector);
		return;
	}
	x86_descriptor_read_or(cpu, selector, &desc, VEC_GP, 0);
	dpl = x86_desc_dpl(desc.raw);
	if (!x86_desc_is_readable(desc.raw))
		x86_raise_code(cpu, VEC_GP, error);
	if (!(x86_desc_is_code(desc.raw) && x86_desc_is_conforming(desc.raw)) &&
	    ((selector & 3) > dpl || cpu->cpl > dpl))
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(desc.raw))
		x86_raise_code(cpu, VEC_NP, error);
	x86_descriptor_touch(cpu, &desc);
	cpu->seg[seg] = x86_segment_from(selector, desc.raw);
}

void x86_segment_load(struct x86_cpu *cpu, unsigned seg, uint16_t selector)
{
	if (!x86_is_protected(cpu))
		x86_segment_load_real(cpu, seg, selector);
	else if (seg == SEG_SS)
		load_stack_segment(cpu, selector);
	else
		load_data_segment(cpu, seg, selector);
}

void x86_segment_load_cs(struct x86_cpu *cpu, struct x86_descriptor *desc, unsigned cpl)
{
	x86_descriptor_touch(cpu, desc);
	cpu->seg[SEG_CS] = x86_segment_from((desc->selector & 0xfffc) | cpl, desc->raw);
	cpu->cpl = cpl;
	x86_mode_changed(cpu);
}

void x86_segments_drop_inner(struct x86_cpu *cpu)
{
	static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (size_t i = 0; i < sizeof(data); i++) {
		const struct x86_segment *s = &cpu->seg[data[i]];
		bool conforming_code = (s->attributes & 0x1c) == 0x1c;

		if (s->usable && SEG_ATTR_DPL(s->attributes) < cpu->cpl && !conforming_code)
			x86_segment_load_null(cpu, data[i], 0);
	}
}

void x86_stack_segment_check(struct x86_cpu *cpu, uint16_t selector, unsigned cpl, enum x86_vector vector,
			     uint32_t ext, struct x86_descriptor *desc)
{
	uint32_t error = (selector & 0xfffcu) | ext;

	x86_descriptor_read_or(cpu, selector, desc, vector, ext);
	if ((selector & 3) != cpl || x86_desc_dpl(desc->raw) != cpl || !x86_desc_is_writable(desc->raw))
		x86_raise_code(cpu, vector, error);
	if (!x86_desc_present(desc->raw))
		x86_raise_code(cpu, VEC_SS, error);
}
