/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast system calls: SYSCALL, SYSRET, SYSENTER, SYSEXIT, and the bases that go with them: SWAPGS, FSGSBASE.
 * Where the vendors differ, the vendor of CPUID leaf 0 decides. Intel SDM vol. 2; AMD APM vol. 2, 6.1 and
 * vol. 3.
 */
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

/* Flags that SYSRET can load from R11; RF and VM are cleared. */
#define SYSRET_FLAGS (X86_FLAGS_ALL & ~(FLAG_RF | FLAG_VM))

static void set_flat_cs(struct x86_cpu *cpu, uint16_t selector, bool code64, unsigned cpl)
{
	cpu->seg[SEG_CS] = x86_segment_flat(selector, true, code64, cpl);
	cpu->cpl = cpl;
}

/* Legacy and compatibility mode, AMD only. */
static bool syscall_is_defined(const struct x86_cpu *cpu)
{
	return (cpu->efer & EFER_SCE) &&
	       (x86_is_64bit(cpu) || (!x86_vendor_is_intel(cpu) && x86_is_protected(cpu)));
}

static void syscall_long(struct x86_cpu *cpu, uint64_t next)
{
	bool from64 = x86_is_64bit(cpu);

	cpu->r[REG_RCX] = next;
	cpu->r[REG_R11] = x86_eflags_get(cpu) & ~FLAG_RF;
	x86_eflags_set(cpu, 0, (uint32_t)cpu->msr.sfmask & X86_FLAGS_ALL);
	cpu->rip = from64 ? cpu->msr.lstar : cpu->msr.cstar;
}

void x86_slow_syscall(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint16_t selector = cpu->msr.star >> 32 & 0xfffc;

	if (!syscall_is_defined(cpu))
		x86_raise_ud(cpu);
	if (cpu->long_mode) {
		syscall_long(cpu, x86_next_rip(cpu, in));
	} else {
		cpu->r[REG_RCX] = (uint32_t)x86_next_rip(cpu, in);
		x86_eflags_set(cpu, 0, FLAG_IF | FLAG_VM);
		cpu->rip = (uint32_t)cpu->msr.star;
	}
	cpu->eflags &= ~FLAG_RF;
	cpu->seg[SEG_SS] = x86_segment_flat(selector + 8, false, false, 0);
	set_flat_cs(cpu, selector, cpu->long_mode, 0);
	cpu->step_late = true;
	x86_mode_changed(cpu);
}

/*
 * Intel faults at the SYSRET, still at CPL 0, when RCX is not canonical; AMD returns and faults on the fetch.
 * AMD loads SS's selector only and leaves its hidden part.
 */
static void sysret_checks(struct x86_cpu *cpu, const struct x86_insn *in)
{
	bool intel = x86_vendor_is_intel(cpu);

	if (!(cpu->efer & EFER_SCE) || (intel && !x86_is_64bit(cpu)))
		x86_raise_ud(cpu);
	if (!x86_is_protected(cpu))
		x86_raise_ud(cpu);
	if (cpu->cpl != 0)
		x86_raise_gp(cpu);
	if (intel && in->opsize == 8 && !x86_is_canonical(cpu, cpu->r[REG_RCX]))
		x86_raise_gp(cpu);
}

void x86_slow_sysret(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint16_t selector = (cpu->msr.star >> 48 & 0xfffc) | 3;
	bool to64 = x86_is_64bit(cpu) && in->opsize == 8;

	sysret_checks(cpu, in);
	if (cpu->long_mode && x86_is_64bit(cpu))
		x86_eflags_set(cpu, (uint32_t)cpu->r[REG_R11], X86_FLAGS_ALL & (SYSRET_FLAGS | FLAG_RF));
	else
		x86_eflags_set(cpu, FLAG_IF, FLAG_IF);
	cpu->eflags &= ~(FLAG_RF | FLAG_VM);
	cpu->rip = to64 ? cpu->r[REG_RCX] : (uint32_t)cpu->r[REG_RCX];
	if (x86_vendor_is_intel(cpu)) {
		cpu->seg[SEG_SS] = x86_segment_flat(selector + 8, false, false, 3);
	} else {
		cpu->seg[SEG_SS].selector = selector + 8;
		cpu->seg[SEG_SS].attributes |= 3u << 5;
	}
	set_flat_cs(cpu, to64 ? selector + 16 : selector, to64, 3);
	cpu->step_late = true;
	x86_mode_changed(cpu);
}

void x86_slow_sysenter(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint16_t selector = cpu->msr.sysenter_cs & 0xfffc;

	if (cpu->long_mode && !x86_vendor_is_intel(cpu))
		x86_raise_ud(cpu);
	if (!selector)
		x86_raise_gp(cpu);
	x86_eflags_set(cpu, 0, FLAG_VM | FLAG_IF | FLAG_RF);
	cpu->r[REG_RSP] = cpu->long_mode ? cpu->msr.sysenter_esp : (uint32_t)cpu->msr.sysenter_esp;
	cpu->rip = cpu->long_mode ? cpu->msr.sysenter_eip : (uint32_t)cpu->msr.sysenter_eip;
	cpu->seg[SEG_SS] = x86_segment_flat(selector + 8, false, false, 0);
	set_flat_cs(cpu, selector, cpu->long_mode, 0);
	x86_mode_changed(cpu);
}

void x86_slow_sysexit(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint16_t selector = (cpu->msr.sysenter_cs & 0xfffc) | 3;
	bool to64 = in->opsize == 8;

	if (cpu->long_mode && !x86_vendor_is_intel(cpu))
		x86_raise_ud(cpu);
	if (!(selector & 0xfffc) || cpu->cpl != 0)
		x86_raise_gp(cpu);
	if (to64 && (!x86_is_canonical(cpu, cpu->r[REG_RCX]) || !x86_is_canonical(cpu, cpu->r[REG_RDX])))
		x86_raise_gp(cpu);
	cpu->r[REG_RSP] = to64 ? cpu->r[REG_RCX] : (uint32_t)cpu->r[REG_RCX];
	cpu->rip = to64 ? cpu->r[REG_RDX] : (uint32_t)cpu->r[REG_RDX];
	selector += to64 ? 32 : 16;
	cpu->seg[SEG_SS] = x86_segment_flat(selector + 8, false, false, 3);
	set_flat_cs(cpu, selector, to64, 3);
	x86_mode_changed(cpu);
}

void x86_slow_swapgs(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t base = cpu->seg[SEG_GS].base;

	cpu->seg[SEG_GS].base = cpu->msr.kernel_gs_base;
	cpu->msr.kernel_gs_base = base;
}

static void base_read(struct x86_cpu *cpu, const struct x86_insn *in, unsigned seg)
{
	if (!(cpu->cr4 & CR4_FSGSBASE))
		x86_raise_ud(cpu);
	x86_gpr_set(cpu, in->rm, cpu->seg[seg].base, in->opsize == 8 ? 8 : 4);
}

static void base_write(struct x86_cpu *cpu, const struct x86_insn *in, unsigned seg)
{
	uint64_t base = in->opsize == 8 ? cpu->r[in->rm] : (uint32_t)cpu->r[in->rm];

	if (!(cpu->cr4 & CR4_FSGSBASE))
		x86_raise_ud(cpu);
	if (!x86_is_canonical_base(cpu, base))
		x86_raise_gp(cpu);
	cpu->seg[seg].base = base;
}

void x86_slow_rdfsbase(struct x86_cpu *cpu, const struct x86_insn *in)
{
	base_read(cpu, in, SEG_FS);
}

void x86_slow_rdgsbase(struct x86_cpu *cpu, const struct x86_insn *in)
{
	base_read(cpu, in, SEG_GS);
}

void x86_slow_wrfsbase(struct x86_cpu *cpu, const struct x86_insn *in)
{
	base_write(cpu, in, SEG_FS);
}

void x86_slow_wrgsbase(struct x86_cpu *cpu, const struct x86_insn *in)
{
	base_write(cpu, in, SEG_GS);
}
