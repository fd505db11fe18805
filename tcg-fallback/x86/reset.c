/* SPDX-License-Identifier: Apache-2.0 */
/* The state after power-on, RESET and INIT. Intel SDM vol. 3, table 10-1 (9-1 in older editions). */
#include <string.h>

#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"

#define PAT_RESET         0x0007040600070406ull
#define MISC_ENABLE_RESET 0x1ull /* fast strings */
#define DR6_RESET         0xffff0ff0u
#define DR7_RESET         0x400u
#define MXCSR_RESET       0x1f80u
#define FCW_RESET         0x0040u
#define SEG_ATTR_DATA     0x93u
#define SEG_ATTR_LDT      0x82u
#define SEG_ATTR_BUSY_TSS 0x8bu
#define XCR0_X87          1u

/* What INIT leaves alone. */
static void reset_power_on_only(struct x86_cpu *cpu)
{
	memset(&cpu->fpu, 0, sizeof(cpu->fpu));
	cpu->fpu.control = FCW_RESET;
	cpu->mxcsr = MXCSR_RESET;
	memset(cpu->zmm, 0, sizeof(cpu->zmm));
	memset(cpu->k, 0, sizeof(cpu->k));
	cpu->xcr0 = XCR0_X87;
	cpu->pkru = 0;
	memset(&cpu->msr, 0, sizeof(cpu->msr));
	cpu->msr.pat = PAT_RESET;
	cpu->msr.misc_enable = MISC_ENABLE_RESET;
}

static void reset_segments(struct x86_cpu *cpu)
{
	for (unsigned seg = 0; seg < SEG_COUNT; seg++)
		cpu->seg[seg] =
			(struct x86_segment){.limit = 0xffff, .attributes = SEG_ATTR_DATA, .usable = true};
	cpu->seg[SEG_CS].selector = 0xf000;
	cpu->seg[SEG_CS].base = 0xffff0000;
	cpu->seg[SEG_LDTR].attributes = SEG_ATTR_LDT;
	cpu->seg[SEG_TR].attributes = SEG_ATTR_BUSY_TSS;
	cpu->seg[SEG_FLAT].limit = 0xffffffff;
	cpu->seg[SEG_FLAT].attributes = SEG_ATTR_DATA | SEG_ATTR_G | SEG_ATTR_DB;
	cpu->gdtr.base = cpu->idtr.base = 0;
	cpu->gdtr.limit = cpu->idtr.limit = 0xffff;
}

static void reset_events(struct x86_cpu *cpu)
{
	memset(&cpu->fault, 0, sizeof(cpu->fault));
	memset(&cpu->resumed, 0, sizeof(cpu->resumed));
	cpu->intr_shadow = false;
	cpu->nmi_masked = false;
	cpu->halted = false;
	cpu->shutdown = false;
	cpu->leave = false;
	cpu->in_smm = false;
	cpu->random.used = sizeof(cpu->random.bytes);
	cpu->pending_db = 0;
	cpu->ss_shadow = cpu->rf_loaded = cpu->step_late = false;
}

void x86_cpu_reset(struct x86_cpu *cpu, bool init)
{
	uint64_t cache_bits = init ? cpu->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;

	if (!init)
		reset_power_on_only(cpu);
	memset(cpu->r, 0, REG_ZERO * sizeof(cpu->r[0])); /* what follows is the engine's */
	cpu->r[REG_RDX] = x86_cpuid_signature(cpu);
	cpu->rip = 0xfff0;
	cpu->eflags = FLAG_ONE;
	x86_eflags_set(cpu, 0, X86_FLAGS_ALL);
	cpu->cpl = 0;
	reset_segments(cpu);
	cpu->cr0 = CR0_ET | cache_bits;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
	memset(cpu->pdptr, 0, sizeof(cpu->pdptr));
	memset(cpu->dr, 0, sizeof(cpu->dr));
	cpu->dr[6] = DR6_RESET;
	cpu->dr[7] = DR7_RESET;
	reset_events(cpu);
	x86_mode_changed(cpu);
	x86_tlb_flush_all(cpu);
}
