/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor table registers and the instructions that ask about descriptors: LGDT to STR, LAR, LSL, VERR,
 * VERW, ARPL. Intel SDM vol. 2 of each; vol. 3, 2.4 and 5.10.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

static void check_umip(struct x86_cpu *cpu)
{
	if (cpu->cpl != 0 && (cpu->cr4 & CR4_UMIP))
		x86_raise_gp(cpu);
}

static uint16_t operand16(struct x86_cpu *cpu, const struct x86_insn *in)
{
	return x86_insn_is_mem(in) ? x86_ld16(cpu, in->seg, x86_insn_ea(cpu, in)) : cpu->r[in->rm];
}

/* A 16-bit operand size loads 24 bits of base. */
static void table_load(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t *base, uint16_t *limit)
{
	unsigned size = x86_is_64bit(cpu) ? 8 : 4;
	uint64_t ea = x86_insn_ea(cpu, in);
	uint16_t new_limit = x86_ld16(cpu, in->seg, ea);
	uint64_t new_base = x86_ld(cpu, in->seg, (ea + 2) & x86_size_mask(in->addrsize), size);

	if (size == 8 && !x86_is_canonical_base(cpu, new_base))
		x86_raise_gp(cpu);
	if (size == 4 && in->opsize == 2)
		new_base &= 0xffffff;
	*base = new_base;
	*limit = new_limit;
}

static void table_store(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t base, uint16_t limit)
{
	unsigned size = x86_is_64bit(cpu) ? 8 : 4;
	uint64_t ea = x86_insn_ea(cpu, in);

	check_umip(cpu);
	x86_probe_write(cpu, in->seg, ea, 2 + size);
	x86_st16(cpu, in->seg, ea, limit);
	x86_st(cpu, in->seg, (ea + 2) & x86_size_mask(in->addrsize), base, size);
}

void x86_slow_lgdt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	table_load(cpu, in, &cpu->gdtr.base, &cpu->gdtr.limit);
}

void x86_slow_lidt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	table_load(cpu, in, &cpu->idtr.base, &cpu->idtr.limit);
}

void x86_slow_sgdt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	table_store(cpu, in, cpu->gdtr.base, cpu->gdtr.limit);
}

void x86_slow_sidt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	table_store(cpu, in, cpu->idtr.base, cpu->idtr.limit);
}

/* A system descriptor of the GDT for LLDT and LTR; the second half in long mode. */
static struct x86_segment system_segment(struct x86_cpu *cpu, const struct x86_descriptor *desc)
{
	struct x86_segment seg = x86_segment_from(desc->selector, desc->raw);

	if (cpu->long_mode) {
		seg.base |= x86_descriptor_read_upper(cpu, desc) << 32;
		if (!x86_is_canonical_base(cpu, seg.base))
			x86_raise_code(cpu, VEC_GP, desc->selector & 0xfffc);
	}
	return seg;
}

void x86_slow_lldt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint16_t selector = operand16(cpu, in);
	struct x86_descriptor desc;
	uint32_t error = selector & 0xfffc;

	if (x86_selector_is_null(selector)) {
		cpu->seg[SEG_LDTR] = (struct x86_segment){.selector = selector, .attributes = X86_TYPE_LDT};
		return;
	}
	if (selector & 4)
		x86_raise_code(cpu, VEC_GP, error);
	x86_descriptor_read_or(cpu, selector, &desc, VEC_GP, 0);
	if (!x86_desc_is_system(desc.raw) || x86_desc_type(desc.raw) != X86_TYPE_LDT)
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(desc.raw))
		x86_raise_code(cpu, VEC_NP, error);
	cpu->seg[SEG_LDTR] = system_segment(cpu, &desc);
}

void x86_slow_ltr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint16_t selector = operand16(cpu, in);
	uint32_t error = selector & 0xfffc;
	struct x86_descriptor desc;
	struct x86_segment tr;
	unsigned type;

	if (x86_selector_is_null(selector))
		x86_raise_gp(cpu);
	if (selector & 4)
		x86_raise_code(cpu, VEC_GP, error);
	x86_descriptor_read_or(cpu, selector, &desc, VEC_GP, 0);
	type = x86_desc_type(desc.raw);
	if (!x86_desc_is_system(desc.raw) ||
	    !(type == X86_TYPE_TSS32 || (type == X86_TYPE_TSS16 && !cpu->long_mode)))
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(desc.raw))
		x86_raise_code(cpu, VEC_NP, error);
	tr = system_segment(cpu, &desc);
	x86_sys_or8(cpu, desc.linear + 5, 2);
	tr.attributes |= 2;
	cpu->seg[SEG_TR] = tr;
}

static void store_selector(struct x86_cpu *cpu, const struct x86_insn *in, uint16_t selector)
{
	check_umip(cpu);
	if (x86_insn_is_mem(in))
		x86_st16(cpu, in->seg, x86_insn_ea(cpu, in), selector);
	else
		x86_gpr_set(cpu, in->rm, selector, in->opsize);
}

void x86_slow_sldt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	store_selector(cpu, in, cpu->seg[SEG_LDTR].selector);
}

void x86_slow_str(struct x86_cpu *cpu, const struct x86_insn *in)
{
	store_selector(cpu, in, cpu->seg[SEG_TR].selector);
}

/* The descriptor of a selector whose privilege allows the present code to see it. */
static bool visible_descriptor(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *desc)
{
	unsigned dpl;

	if (x86_selector_is_null(selector) || !x86_descriptor_read(cpu, selector, desc))
		return false;
	dpl = x86_desc_dpl(desc->raw);
	if (x86_desc_is_code(desc->raw) && x86_desc_is_conforming(desc->raw))
		return true;
	return dpl >= cpu->cpl && dpl >= (selector & 3u);
}

/* Bit n: system type n is answered. Intel SDM vol. 2, tables 3-52 and 3-55; long mode has no 16-bit kinds. */
#define LAR_TYPES      0x1a3eu /* 1-5, 9, 11, 12 */
#define LAR_TYPES_LONG 0x1a04u /* 2, 9, 11, 12 */
#define LSL_TYPES      0x0a0eu /* 1, 2, 3, 9, 11 */
#define LSL_TYPES_LONG 0x0a04u /* 2, 9, 11 */

static bool system_type_in(const struct x86_descriptor *desc, uint16_t types)
{
	return !x86_desc_is_system(desc->raw) || (types >> x86_desc_type(desc->raw) & 1);
}

static void set_zf(struct x86_cpu *cpu, bool set)
{
	x86_eflags_set(cpu, set ? FLAG_ZF : 0, FLAG_ZF);
}

void x86_slow_lar(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_descriptor desc;
	bool ok = visible_descriptor(cpu, operand16(cpu, in), &desc) &&
		  system_type_in(&desc, cpu->long_mode ? LAR_TYPES_LONG : LAR_TYPES);

	if (ok)
		x86_gpr_set(cpu, in->reg, desc.raw >> 32 & (in->opsize == 2 ? 0xff00 : 0xffff00), in->opsize);
	set_zf(cpu, ok);
}

void x86_slow_lsl(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_descriptor desc;
	bool ok = visible_descriptor(cpu, operand16(cpu, in), &desc) &&
		  system_type_in(&desc, cpu->long_mode ? LSL_TYPES_LONG : LSL_TYPES);

	if (ok)
		x86_gpr_set(cpu, in->reg, x86_desc_limit(desc.raw), in->opsize);
	set_zf(cpu, ok);
}

void x86_slow_verr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_descriptor desc;

	set_zf(cpu, visible_descriptor(cpu, operand16(cpu, in), &desc) && x86_desc_is_readable(desc.raw));
}

void x86_slow_verw(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_descriptor desc;

	set_zf(cpu, visible_descriptor(cpu, operand16(cpu, in), &desc) && x86_desc_is_writable(desc.raw));
}

void x86_slow_arpl(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t ea = x86_insn_is_mem(in) ? x86_insn_ea(cpu, in) : 0;
	uint16_t dst, src = cpu->r[in->reg];
	bool raise_rpl;

	dst = operand16(cpu, in);
	raise_rpl = (dst & 3) < (src & 3);
	if (raise_rpl) {
		dst = (dst & 0xfffc) | (src & 3);
		if (x86_insn_is_mem(in))
			x86_st16(cpu, in->seg, ea, dst);
		else
			x86_gpr_set(cpu, in->rm, dst, 2);
	}
	set_zf(cpu, raise_rpl);
}
