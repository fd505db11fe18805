/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model-specific registers: one table of rows; what is in no row raises #GP(0). Registers of the local APIC
 * go to the host, except that the CPU knows none of them. Intel SDM vol. 4; AMD APM vol. 2, appendix A.
 */
#include <stddef.h>

#include "tcg-fallback/x86/mem.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

#define EFER_FFXSR    (1u << 14)
#define EFER_AUTOIBRS (1u << 21)

#define MTRRCAP                  0x508u /* 8 variable ranges, fixed ranges, write combining */
#define MTRR_DEF_RESERVED        0xfffffffffffff300ull
#define FEATURE_CONTROL_LOCK     1u
#define MICROCODE_REVISION_INTEL (1ull << 32)
#define MICROCODE_REVISION_AMD   0x01000065u
/*
 * Nothing speculates here: RDCL_NO, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO,
 * FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO.
 */
#define ARCH_CAPABILITIES 0x0d10e179u

enum msr_vendor { MSR_ANY, MSR_INTEL, MSR_AMD, MSR_KVM /* not a vendor: with the paravirtual clock */ };

typedef bool msr_read_fn(struct x86_cpu *cpu, uint32_t index, uint64_t *value);
typedef bool msr_write_fn(struct x86_cpu *cpu, uint32_t index, uint64_t value);

/* Rows without functions: a plain field at `field`, writes that set a `reserved` bit raise #GP. */
struct msr_row {
	uint32_t index, count;
	const char *name;
	msr_read_fn *read;
	msr_write_fn *write;
	size_t field; /* offset in struct x86_cpu; 0: none, reads as `constant` */
	uint64_t reserved;
	uint64_t constant;
	uint16_t feature; /* X86_FEATURE_*, or ALWAYS */
	uint8_t vendor;   /* enum msr_vendor */
	bool saved;       /* part of a CPU's state */
	bool canonical;   /* a linear address: others raise #GP */
};

static uint64_t *msr_field(struct x86_cpu *cpu, const struct msr_row *row, uint32_t index)
{
	return (uint64_t *)(void *)((char *)cpu + row->field) + (index - row->index);
}

static bool read_apic(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return cpu->host->apic_msr_read &&
	       cpu->host->apic_msr_read(cpu->host->opaque, cpu->index, index, value);
}

static bool write_apic(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return cpu->host->apic_msr_write &&
	       cpu->host->apic_msr_write(cpu->host->opaque, cpu->index, index, value);
}

static bool read_tsc(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = x86_tsc_read(cpu);
	return true;
}

/* A write to the counter shows in IA32_TSC_ADJUST, and the other way round. Intel SDM vol. 3, 17.17.3. */
static bool write_tsc(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	uint64_t delta = value - x86_tsc_read(cpu);

	cpu->tsc_offset += (int64_t)delta;
	cpu->msr.tsc_adjust += delta;
	return true;
}

static bool write_tsc_adjust(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	cpu->tsc_offset += (int64_t)(value - cpu->msr.tsc_adjust);
	cpu->msr.tsc_adjust = value;
	return true;
}

static bool write_ignored(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return true;
}

static bool write_refused(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return false;
}

static bool write_zero(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return value == 0;
}

static bool read_efer(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->efer;
	return true;
}

static uint64_t efer_defined(struct x86_cpu *cpu)
{
	uint64_t bits = 0;
	uint32_t regs[4];

	if (x86_has(cpu, X86_FEATURE_SYSCALL))
		bits |= EFER_SCE;
	if (x86_has(cpu, X86_FEATURE_LM))
		bits |= EFER_LME | EFER_LMA;
	if (x86_has(cpu, X86_FEATURE_NX))
		bits |= EFER_NXE;
	if (x86_has(cpu, X86_FEATURE_FFXSR))
		bits |= EFER_FFXSR;
	x86_cpuid_query(cpu, 0x80000000, 0, regs);
	if (regs[0] >= 0x80000021) {
		x86_cpuid_query(cpu, 0x80000021, 0, regs);
		if (regs[0] >> 8 & 1)
			bits |= EFER_AUTOIBRS;
	}
	return bits;
}

/* LME must not change while paging is on; LMA is read-only. */
static bool write_efer(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	uint64_t changed = value ^ cpu->efer;

	if (value & ~efer_defined(cpu))
		return false;
	if ((changed & EFER_LME) && (cpu->cr0 & CR0_PG))
		return false;
	cpu->efer = (value & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
	x86_mode_changed(cpu);
	if (changed & EFER_NXE)
		x86_tlb_flush_all(cpu);
	return true;
}

static bool read_segment_base(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->seg[index == 0xc0000100 ? SEG_FS : SEG_GS].base;
	return true;
}

static bool write_segment_base(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	if (!x86_is_canonical_base(cpu, value))
		return false;
	cpu->seg[index == 0xc0000100 ? SEG_FS : SEG_GS].base = value;
	return true;
}

/* UC, WC, WT, WP, WB; a PAT knows UC- too. */
static bool memory_type_valid(unsigned type, bool pat)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool memory_types_valid(uint64_t value, bool pat)
{
	for (unsigned i = 0; i < 8; i++)
		if (!memory_type_valid(value >> (8 * i) & 0xff, pat))
			return false;
	return true;
}

static bool write_pat(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	if (!memory_types_valid(value, true))
		return false;
	cpu->msr.pat = value;
	return true;
}

static bool write_mtrr_def_type(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	if ((value & MTRR_DEF_RESERVED) || !memory_type_valid(value & 0xff, false))
		return false;
	cpu->msr.mtrr_def_type = value;
	return true;
}

/* Base registers carry a type in their low byte, masks the valid bit 11. */
static bool write_mtrr_phys(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	bool mask = index & 1;

	if (value & ~cpu->phys_mask)
		return false;
	if (mask ? value & 0x7ff : (value & 0xf00) || !memory_type_valid(value & 0xff, false))
		return false;
	cpu->msr.mtrr_phys[index - 0x200] = value;
	return true;
}

/* 64K at 0x250, 16K at 0x258 and 0x259, 4K from 0x268 to 0x26f. */
static uint64_t *mtrr_fixed(struct x86_cpu *cpu, uint32_t index)
{
	if (index == 0x250)
		return &cpu->msr.mtrr_fixed[0];
	return index < 0x260 ? &cpu->msr.mtrr_fixed[1 + index - 0x258]
			     : &cpu->msr.mtrr_fixed[3 + index - 0x268];
}

static bool read_mtrr_fixed(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = *mtrr_fixed(cpu, index);
	return true;
}

static bool write_mtrr_fixed(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	if (!memory_types_valid(value, false))
		return false;
	*mtrr_fixed(cpu, index) = value;
	return true;
}

#define FIELD(name) offsetof(struct x86_cpu, msr.name)
#define ANY         .feature = X86_FEATURE_ALWAYS
#define UPPER32     0xffffffff00000000ull

/* 32 bits: there is no SYSENTER in long mode. AMD APM vol. 2, 6.1.2. */
static bool write_sysenter(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	*(index == 0x175 ? &cpu->msr.sysenter_esp : &cpu->msr.sysenter_eip) = (uint32_t)value;
	return true;
}

static bool write_wall_clock(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	cpu->msr.kvm_wall_clock = value;
	x86_pvclock_write_wall(cpu);
	return true;
}

static bool write_system_time(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	cpu->msr.kvm_system_time = value;
	x86_pvclock_write_time(cpu);
	return true;
}

static const struct msr_row msr_rows[] = {
	{0x10, 1, "IA32_TIME_STAMP_COUNTER", read_tsc, write_tsc, .feature = X86_FEATURE_TSC, .saved = true},
	{0x17, 1, "IA32_PLATFORM_ID", .write = write_refused, ANY, .vendor = MSR_INTEL},
	{0x1b, 1, "IA32_APIC_BASE", read_apic, write_apic, .feature = X86_FEATURE_APIC},
	{0x3a, 1, "IA32_FEATURE_CONTROL", .write = write_refused, .constant = FEATURE_CONTROL_LOCK, ANY,
	 .vendor = MSR_INTEL},
	{0x3b, 1, "IA32_TSC_ADJUST", .write = write_tsc_adjust, .field = FIELD(tsc_adjust),
	 .feature = X86_FEATURE_TSC_ADJUST, .saved = true},
	{0x8b, 1, "IA32_BIOS_SIGN_ID", .write = write_ignored, .constant = MICROCODE_REVISION_INTEL, ANY,
	 .vendor = MSR_INTEL},
	{0x8b, 1, "PATCH_LEVEL", .write = write_refused, .constant = MICROCODE_REVISION_AMD, ANY,
	 .vendor = MSR_AMD},
	{0xfe, 1, "IA32_MTRRCAP", .write = write_refused, .constant = MTRRCAP, .feature = X86_FEATURE_MTRR},
	{0x10a, 1, "IA32_ARCH_CAPABILITIES", .write = write_refused, .constant = ARCH_CAPABILITIES,
	 .feature = X86_FEATURE_ARCH_CAPABILITIES},
	{0x174, 1, "IA32_SYSENTER_CS", .field = FIELD(sysenter_cs), .feature = X86_FEATURE_SEP,
	 .saved = true},
	{0x175, 2, "IA32_SYSENTER_ESP, _EIP", .canonical = true, .field = FIELD(sysenter_esp),
	 .feature = X86_FEATURE_SEP, .vendor = MSR_INTEL, .saved = true},
	{0x175, 2, "SYSENTER_ESP, _EIP", .write = write_sysenter, .field = FIELD(sysenter_esp),
	 .feature = X86_FEATURE_SEP, .vendor = MSR_AMD, .saved = true},
	{0x179, 1, "IA32_MCG_CAP", .write = write_refused, .feature = X86_FEATURE_MCA},
	{0x17a, 1, "IA32_MCG_STATUS", .field = FIELD(mcg_status), .reserved = ~7ull,
	 .feature = X86_FEATURE_MCA, .saved = true},
	{0x198, 1, "IA32_PERF_STATUS", .write = write_refused, ANY, .vendor = MSR_INTEL},
	{0x1a0, 1, "IA32_MISC_ENABLE", .field = FIELD(misc_enable), ANY, .vendor = MSR_INTEL, .saved = true},
	{0x1d9, 1, "IA32_DEBUGCTL", .field = FIELD(debugctl), .reserved = ~3ull, ANY, .saved = true},
	{0x1db, 4, "LAST_BRANCH, LAST_EXCEPTION", .write = write_refused, ANY},
	{0x200, 16, "IA32_MTRR_PHYS", .write = write_mtrr_phys, .field = FIELD(mtrr_phys),
	 .feature = X86_FEATURE_MTRR, .saved = true},
	{0x250, 1, "IA32_MTRR_FIX64K", read_mtrr_fixed, write_mtrr_fixed, .feature = X86_FEATURE_MTRR,
	 .saved = true},
	{0x258, 2, "IA32_MTRR_FIX16K", read_mtrr_fixed, write_mtrr_fixed, .feature = X86_FEATURE_MTRR,
	 .saved = true},
	{0x268, 8, "IA32_MTRR_FIX4K", read_mtrr_fixed, write_mtrr_fixed, .feature = X86_FEATURE_MTRR,
	 .saved = true},
	{0x277, 1, "IA32_PAT", .write = write_pat, .field = FIELD(pat), .feature = X86_FEATURE_PAT,
	 .saved = true},
	{0x2ff, 1, "IA32_MTRR_DEF_TYPE", .write = write_mtrr_def_type, .field = FIELD(mtrr_def_type),
	 .feature = X86_FEATURE_MTRR, .saved = true},
	{0x6e0, 1, "IA32_TSC_DEADLINE", read_apic, write_apic, .feature = X86_FEATURE_TSC_DEADLINE},
	{0x800, 256, "x2APIC", read_apic, write_apic, .feature = X86_FEATURE_X2APIC},
	{0xda0, 1, "IA32_XSS", .write = write_zero, .feature = X86_FEATURE_XSAVES},
	{0x4b564d00, 1, "KVM_WALL_CLOCK_NEW", .write = write_wall_clock, .field = FIELD(kvm_wall_clock), ANY,
	 .vendor = MSR_KVM, .saved = true},
	{0x4b564d01, 1, "KVM_SYSTEM_TIME_NEW", .write = write_system_time, .field = FIELD(kvm_system_time),
	 ANY, .vendor = MSR_KVM, .saved = true},
	{0xc0000080, 1, "EFER", read_efer, write_efer, ANY},
	{0xc0000081, 1, "STAR", .field = FIELD(star), .feature = X86_FEATURE_SYSCALL, .saved = true},
	{0xc0000082, 2, "LSTAR, CSTAR", .canonical = true, .field = FIELD(lstar), .feature = X86_FEATURE_LM,
	 .saved = true},
	{0xc0000084, 1, "SFMASK", .field = FIELD(sfmask), .reserved = UPPER32, .feature = X86_FEATURE_LM,
	 .saved = true},
	{0xc0000100, 2, "FS_BASE, GS_BASE", read_segment_base, write_segment_base, .feature = X86_FEATURE_LM},
	{0xc0000102, 1, "KERNEL_GS_BASE", .canonical = true, .field = FIELD(kernel_gs_base),
	 .feature = X86_FEATURE_LM, .saved = true},
	{0xc0000103, 1, "TSC_AUX", .field = FIELD(tsc_aux), .reserved = UPPER32,
	 .feature = X86_FEATURE_RDTSCP, .saved = true},
	{0xc0010010, 1, "SYSCFG", .write = write_ignored, ANY, .vendor = MSR_AMD},
	{0xc0010015, 1, "HWCR", .write = write_ignored,
	 .constant = 1u << 24 /* the TSC counts at P0's rate */, ANY, .vendor = MSR_AMD},
	{0xc001001f, 1, "NB_CFG", .write = write_ignored, ANY, .vendor = MSR_AMD},
	{0xc0010055, 1, "INT_PENDING", .write = write_ignored, ANY, .vendor = MSR_AMD},
	{0xc0010058, 1, "MMIO_CONFIG_BASE", .write = write_ignored, ANY, .vendor = MSR_AMD},
	{0xc0010114, 1, "VM_CR", .write = write_ignored, ANY, .vendor = MSR_AMD},
	{0xc0011022, 1, "DC_CFG", .write = write_ignored, ANY, .vendor = MSR_AMD},
	{0xc0011029, 1, "DE_CFG", .write = write_ignored, .constant = 2 /* LFENCE serialises */, ANY,
	 .vendor = MSR_AMD},
};

static bool row_exists(const struct x86_cpu *cpu, const struct msr_row *row)
{
	if (row->feature != X86_FEATURE_ALWAYS && !x86_has(cpu, row->feature))
		return false;
	if (row->vendor == MSR_KVM)
		return x86_pvclock_offered(cpu);
	return row->vendor == MSR_ANY || (row->vendor == MSR_INTEL) == x86_vendor_is_intel(cpu);
}

static const struct msr_row *row_find(const struct x86_cpu *cpu, uint32_t index)
{
	for (size_t i = 0; i < sizeof(msr_rows) / sizeof(msr_rows[0]); i++)
		if (index - msr_rows[i].index < msr_rows[i].count && row_exists(cpu, &msr_rows[i]))
			return &msr_rows[i];
	return NULL;
}

bool x86_msr_read(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	const struct msr_row *row = row_find(cpu, index);

	if (!row)
		return false;
	if (row->read)
		return row->read(cpu, index, value);
	*value = row->field ? *msr_field(cpu, row, index) : row->constant;
	return true;
}

bool x86_msr_write(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	const struct msr_row *row = row_find(cpu, index);

	if (!row || (value & row->reserved) || (row->canonical && !x86_is_canonical_base(cpu, value)))
		return false;
	if (row->write)
		return row->write(cpu, index, value);
	*msr_field(cpu, row, index) = value;
	return true;
}

size_t x86_msr_saved(const struct x86_cpu *cpu, uint32_t *index, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(msr_rows) / sizeof(msr_rows[0]); i++)
		for (uint32_t k = 0; msr_rows[i].saved && k < msr_rows[i].count && n < count; k++)
			if (row_exists(cpu, &msr_rows[i]))
				index[n++] = msr_rows[i].index + k;
	return n;
}

/* The counter and its adjustment are independent in a saved state. */
bool x86_msr_restore(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	const struct msr_row *row = row_find(cpu, index);

	if (!row || !row->saved)
		return false;
	if (row->write == write_tsc)
		cpu->tsc_offset += (int64_t)(value - x86_tsc_read(cpu));
	else if (row->field)
		*msr_field(cpu, row, index) = value;
	else
		return row->write(cpu, index, value);
	return true;
}

void x86_slow_rdmsr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t value = 0;

	if (!row_find(cpu, (uint32_t)cpu->r[REG_RCX]))
		x86_raise_unknown(cpu, VEC_GP);
	if (!x86_msr_read(cpu, (uint32_t)cpu->r[REG_RCX], &value))
		x86_raise_gp(cpu);
	cpu->r[REG_RAX] = (uint32_t)value;
	cpu->r[REG_RDX] = value >> 32;
}

void x86_slow_wrmsr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t value = cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX];

	if (!row_find(cpu, (uint32_t)cpu->r[REG_RCX]))
		x86_raise_unknown(cpu, VEC_GP);
	if (!x86_msr_write(cpu, (uint32_t)cpu->r[REG_RCX], value))
		x86_raise_gp(cpu);
}
