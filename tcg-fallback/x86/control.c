/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CR0, CR3, CR4, EFER and XCR0: which values raise #GP, what a change does to paging, the TLB and the mode;
 * and the instructions that move them. Intel SDM vol. 3, 2.5, 4.1, 4.10.4 and 9.8.5; vol. 2, MOV (control
 * registers).
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/xsave.h"

#define CR0_DEFINED                                                                                          \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR0_LMSW       (CR0_PE | CR0_MP | CR0_EM | CR0_TS)
#define CR3_NO_FLUSH   (1ull << 63)
#define CR3_PCID       0xfffull
#define PDPTE_P        1ull
#define PDPTE_RESERVED 0x1e6ull /* bits 1, 2, 5-8 */
#define EFER_FFXSR     (1u << 14)

/* A CR4 bit exists when its feature does. */
static const struct {
	uint32_t bit;
	uint16_t feature;
} cr4_bits[] = {
	{CR4_VME | CR4_PVI, X86_FEATURE_VME},
	{CR4_TSD, X86_FEATURE_TSC},
	{CR4_DE, X86_FEATURE_DE},
	{CR4_PSE, X86_FEATURE_PSE},
	{CR4_PAE, X86_FEATURE_PAE},
	{CR4_MCE, X86_FEATURE_MCE},
	{CR4_PGE, X86_FEATURE_PGE},
	{CR4_OSFXSR, X86_FEATURE_FXSR},
	{CR4_OSXMMEXCPT, X86_FEATURE_SSE},
	{CR4_UMIP, X86_FEATURE_UMIP},
	{CR4_LA57, X86_FEATURE_LA57},
	{CR4_FSGSBASE, X86_FEATURE_FSGSBASE},
	{CR4_PCIDE, X86_FEATURE_PCID},
	{CR4_OSXSAVE, X86_FEATURE_XSAVE},
	{CR4_SMEP, X86_FEATURE_SMEP},
	{CR4_SMAP, X86_FEATURE_SMAP},
	{CR4_PKE, X86_FEATURE_PKU},
};

/* Paging structures of a CR3 in PAE mode: read at once, kept in registers. */
bool x86_pdptrs_read(struct x86_cpu *cpu, uint64_t cr3, uint64_t pdptr[4])
{
	uint64_t reserved = PDPTE_RESERVED | ~cpu->phys_mask;

	for (unsigned i = 0; i < 4; i++) {
		pdptr[i] = x86_phys_ld64(cpu, (cr3 & 0xffffffe0) + 8 * i);
		if ((pdptr[i] & PDPTE_P) && (pdptr[i] & reserved))
			return false;
	}
	return true;
}

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LME);
}

/* Loads the PDPTEs, or raises #GP(0) before anything has changed. */
static void pdptrs_load(struct x86_cpu *cpu, uint64_t cr3)
{
	uint64_t pdptr[4];

	if (!x86_pdptrs_read(cpu, cr3, pdptr))
		x86_raise_gp(cpu);
	for (unsigned i = 0; i < 4; i++)
		cpu->pdptr[i] = pdptr[i];
}

/*
 * Entering long mode: PAE must be on, CS must not be 64-bit, and on Intel's CPUs TR must not hold a 16-bit
 * TSS. Intel SDM vol. 3, 9.8.5; AMD APM vol. 2, 14.6.1. AMD's hold one after an INIT, which KVM tells when it
 * hands a CPU over.
 */
static void check_paging_on(struct x86_cpu *cpu)
{
	if (!(cpu->efer & EFER_LME))
		return;
	if (!(cpu->cr4 & CR4_PAE) || (cpu->seg[SEG_CS].attributes & SEG_ATTR_L) ||
	    (x86_vendor_is_intel(cpu) && SEG_ATTR_TYPE(cpu->seg[SEG_TR].attributes) == X86_TYPE_TSS16_BUSY))
		x86_raise_gp(cpu);
}

static void check_cr0(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = value ^ cpu->cr0;

	if (value >> 32)
		x86_raise_gp(cpu);
	if ((value & CR0_PG) && !(value & CR0_PE))
		x86_raise_gp(cpu);
	if ((value & CR0_NW) && !(value & CR0_CD))
		x86_raise_gp(cpu);
	if (!(changed & CR0_PG))
		return;
	if (value & CR0_PG)
		check_paging_on(cpu);
	else if (x86_is_64bit(cpu) || (cpu->cr4 & CR4_PCIDE))
		x86_raise_gp(cpu);
}

void x86_cr0_write(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed;

	check_cr0(cpu, value);
	value = (value & CR0_DEFINED) | CR0_ET;
	changed = value ^ cpu->cr0;
	if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(value, cpu->cr4, cpu->efer))
		pdptrs_load(cpu, cpu->cr3);
	cpu->cr0 = value;
	if (changed & CR0_PG) {
		cpu->efer &= ~(uint64_t)EFER_LMA;
		if ((value & CR0_PG) && (cpu->efer & EFER_LME))
			cpu->efer |= EFER_LMA;
	}
	x86_mode_changed(cpu);
	if (changed & (CR0_PG | CR0_WP | CR0_PE))
		x86_tlb_flush_all(cpu);
}

/*
 * With PCIDs bit 63 keeps the TLB entries of the new PCID. Bits above the physical width are reserved in long
 * mode, and do not exist elsewhere.
 */
void x86_cr3_write(struct x86_cpu *cpu, uint64_t value)
{
	bool pcids = cpu->cr4 & CR4_PCIDE;
	bool keep = pcids && (value & CR3_NO_FLUSH);

	if (pcids)
		value &= ~CR3_NO_FLUSH;
	if (cpu->long_mode && (value & ~cpu->phys_mask & ~CR3_PCID))
		x86_raise_gp(cpu);
	if (pae_paging(cpu->cr0, cpu->cr4, cpu->efer))
		pdptrs_load(cpu, value);
	cpu->cr3 = value;
	x86_tlb_context_changed(cpu);
	if (!keep)
		x86_tlb_flush_pcid(cpu, pcids ? (int)(value & CR3_PCID) : -1);
}

static uint32_t cr4_defined(const struct x86_cpu *cpu)
{
	uint32_t bits = CR4_PCE;

	for (size_t i = 0; i < sizeof(cr4_bits) / sizeof(cr4_bits[0]); i++)
		if (x86_has(cpu, cr4_bits[i].feature))
			bits |= cr4_bits[i].bit;
	return bits;
}

static void check_cr4(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = value ^ cpu->cr4;

	if (value & ~(uint64_t)cr4_defined(cpu))
		x86_raise_gp(cpu);
	if (cpu->long_mode && (!(value & CR4_PAE) || (changed & CR4_LA57)))
		x86_raise_gp(cpu);
	if ((changed & value & CR4_PCIDE) && (!cpu->long_mode || (cpu->cr3 & CR3_PCID)))
		x86_raise_gp(cpu);
}

void x86_cr4_write(struct x86_cpu *cpu, uint64_t value)
{
	const uint32_t paging =
		CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE;
	uint64_t changed = value ^ cpu->cr4;

	check_cr4(cpu, value);
	if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && pae_paging(cpu->cr0, value, cpu->efer))
		pdptrs_load(cpu, cpu->cr3);
	cpu->cr4 = value;
	x86_mode_changed(cpu);
	if (changed & paging)
		x86_tlb_flush_all(cpu);
}

void x86_xcr0_write(struct x86_cpu *cpu, uint64_t value)
{
	bool avx512 = value & X86_XFEATURE_AVX512;

	if (value & ~x86_xsave_supported(cpu))
		x86_raise_gp(cpu);
	if (!(value & X86_XFEATURE_X87))
		x86_raise_gp(cpu);
	if ((value & X86_XFEATURE_AVX) && !(value & X86_XFEATURE_SSE))
		x86_raise_gp(cpu);
	if (avx512 && ((value & X86_XFEATURE_AVX512) != X86_XFEATURE_AVX512 || !(value & X86_XFEATURE_AVX)))
		x86_raise_gp(cpu);
	cpu->xcr0 = value;
	x86_mode_changed(cpu);
}

static uint64_t cr8_read(struct x86_cpu *cpu)
{
	return cpu->host->cr8_read ? cpu->host->cr8_read(cpu->host->opaque, cpu->index) : 0;
}

static void cr8_write(struct x86_cpu *cpu, uint64_t value)
{
	if (value >> 4)
		x86_raise_gp(cpu);
	if (cpu->host->cr8_write)
		cpu->host->cr8_write(cpu->host->opaque, cpu->index, value);
}

void x86_slow_mov_from_cr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t value;

	switch (in->reg) {
	case 0: value = cpu->cr0; break;
	case 2: value = cpu->cr2; break;
	case 3: value = cpu->cr3; break;
	case 4: value = cpu->cr4; break;
	case 8: value = cr8_read(cpu); break;
	default: x86_raise_ud(cpu);
	}
	x86_gpr_set(cpu, in->rm, value, x86_is_64bit(cpu) ? 8 : 4);
}

void x86_slow_mov_to_cr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t value = x86_is_64bit(cpu) ? cpu->r[in->rm] : (uint32_t)cpu->r[in->rm];

	switch (in->reg) {
	case 0: x86_cr0_write(cpu, value); break;
	case 2: cpu->cr2 = value; break;
	case 3: x86_cr3_write(cpu, value); break;
	case 4: x86_cr4_write(cpu, value); break;
	case 8: cr8_write(cpu, value); break;
	default: x86_raise_ud(cpu);
	}
}

void x86_slow_clts(struct x86_cpu *cpu, const struct x86_insn *in)
{
	cpu->cr0 &= ~(uint64_t)CR0_TS;
	x86_mode_changed(cpu);
}

/* LMSW can set PE but not clear it. */
void x86_slow_lmsw(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint16_t value = x86_insn_is_mem(in) ? x86_ld16(cpu, in->seg, x86_insn_ea(cpu, in)) : cpu->r[in->rm];

	x86_cr0_write(cpu, (cpu->cr0 & ~(uint64_t)(CR0_LMSW & ~CR0_PE)) | (value & CR0_LMSW));
}

void x86_slow_smsw(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (cpu->cpl != 0 && (cpu->cr4 & CR4_UMIP))
		x86_raise_gp(cpu);
	if (x86_insn_is_mem(in))
		x86_st16(cpu, in->seg, x86_insn_ea(cpu, in), cpu->cr0);
	else
		x86_gpr_set(cpu, in->rm, cpu->cr0, in->opsize);
}

void x86_slow_invlpg(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t linear = cpu->seg[in->seg].base + x86_insn_ea(cpu, in);

	if (!cpu->long_mode)
		linear = (uint32_t)linear;
	if (x86_is_canonical(cpu, linear))
		x86_tlb_flush_page(cpu, linear, -1);
}

void x86_slow_invpcid(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t type = x86_is_64bit(cpu) ? cpu->r[in->reg] : (uint32_t)cpu->r[in->reg];
	uint64_t desc[2];

	x86_ld_bytes(cpu, in->seg, x86_insn_ea(cpu, in), desc, sizeof(desc));
	if (type > 3 || (desc[0] >> 12) || (type < 2 && desc[0] && !(cpu->cr4 & CR4_PCIDE)) ||
	    (type == 0 && !x86_is_canonical(cpu, desc[1])))
		x86_raise_gp(cpu);
	switch (type) {
	case 0: x86_tlb_flush_page(cpu, desc[1], (int)desc[0]); break;
	case 1: x86_tlb_flush_pcid(cpu, (int)desc[0]); break;
	case 2: x86_tlb_flush_all(cpu); break;
	default: x86_tlb_flush_nonglobal(cpu); break;
	}
}

/* No caches are modelled. */
void x86_slow_invd(struct x86_cpu *cpu, const struct x86_insn *in)
{
}

void x86_slow_wbinvd(struct x86_cpu *cpu, const struct x86_insn *in)
{
}
