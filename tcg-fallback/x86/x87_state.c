/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87's status, control and tag words, its pending exception and the pointers to the last instruction.
 * Knows no instruction. Intel SDM vol. 1, 8.1.
 */
#include "tcg-fallback/x86/x87_state.h"

/* Drives FERR#: the PC's chipset turns it into IRQ 13. Only without CR0.NE is the pin asserted. */
static void x87_drive_ferr(struct x86_cpu *cpu, bool level)
{
	if (cpu->host && cpu->host->ferr && (!level || !(cpu->cr0 & CR0_NE)))
		cpu->host->ferr(cpu->host->opaque, cpu->index, level);
}

/* ES and B follow from the flags and the masks at any time. */
static void x87_summary_update(struct x86_cpu *cpu)
{
	bool was_pending = cpu->fpu.status & X87_STATUS_ES;
	bool pending = cpu->fpu.status & ~cpu->fpu.control & SF_ALL;

	cpu->fpu.status &= (uint16_t) ~(X87_STATUS_ES | X87_STATUS_B);
	if (pending)
		cpu->fpu.status |= X87_STATUS_ES | X87_STATUS_B;
	if (pending != was_pending)
		x87_drive_ferr(cpu, pending);
}

uint16_t x87_status_get(const struct x86_cpu *cpu)
{
	return (uint16_t)((cpu->fpu.status & ~X87_STATUS_TOP) | (cpu->fpu.top & 7) << 11);
}

void x87_status_set(struct x86_cpu *cpu, uint16_t status)
{
	uint16_t summary = cpu->fpu.status & (X87_STATUS_ES | X87_STATUS_B);

	cpu->fpu.top = status >> 11 & 7;
	cpu->fpu.status = (uint16_t)((status & ~(X87_STATUS_TOP | X87_STATUS_ES | X87_STATUS_B)) | summary);
	x87_summary_update(cpu);
}

void x87_control_set(struct x86_cpu *cpu, uint16_t control)
{
	cpu->fpu.control = (control & X87_CONTROL_WRITABLE) | X87_CONTROL_ONE;
	x87_summary_update(cpu);
}

static unsigned int x87_tag(struct f80 value)
{
	unsigned int exp = value.sexp & 0x7fff;

	if (exp == 0 && value.mant == 0)
		return 1;
	return exp == 0 || exp == 0x7fff || !(value.mant >> 63) ? 2 : 0;
}

uint16_t x87_tag_word_get(const struct x86_cpu *cpu)
{
	unsigned int tags = 0;

	for (unsigned int n = 0; n < 8; n++)
		tags |= (cpu->fpu.empty[n] ? 3 : x87_tag(cpu->fpu.reg[n])) << (2 * n);
	return (uint16_t)tags;
}

void x87_tag_word_set(struct x86_cpu *cpu, uint16_t tags)
{
	for (unsigned int n = 0; n < 8; n++)
		cpu->fpu.empty[n] = (tags >> (2 * n) & 3) == 3;
}

void x87_init(struct x86_cpu *cpu)
{
	struct x86_fpu *fpu = &cpu->fpu;

	fpu->opcode = 0;
	fpu->fip = fpu->fdp = 0;
	fpu->fcs = fpu->fds = 0;
	x87_tag_word_set(cpu, 0xffff);
	x87_status_set(cpu, 0);
	x87_control_set(cpu, X87_CONTROL_INIT);
}

void x87_check_pending(struct x86_cpu *cpu)
{
	if (!(cpu->fpu.status & X87_STATUS_ES))
		return;
	if (cpu->cr0 & CR0_NE)
		x86_raise(cpu, VEC_MF);
	x87_drive_ferr(cpu, true);
}

/* In 64-bit mode a memory operand without FS or GS counts as one in DS. */
static uint16_t x87_data_selector(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	return cpu->seg[in->seg == SEG_FLAT ? SEG_DS : in->seg].selector;
}

void x87_record(struct x86_cpu *cpu, const struct x86_insn *in)
{
	bool selectors = !x86_has(cpu, X86_FEATURE_ZERO_FCS_FDS);
	struct x86_fpu *fpu = &cpu->fpu;

	fpu->opcode = (uint16_t)((in->opcode & 7) << 8 | in->mod << 6 | (in->reg & 7) << 3 | (in->rm & 7));
	fpu->fip = cpu->rip;
	fpu->fcs = selectors ? cpu->seg[SEG_CS].selector : 0;
	if (x86_insn_is_mem(in)) {
		fpu->fdp = x86_insn_ea(cpu, in);
		fpu->fds = selectors ? x87_data_selector(cpu, in) : 0;
	}
}

bool x87_commit(struct x86_cpu *cpu, const struct x86_insn *in, const struct sf_env *env)
{
	x87_record(cpu, in);
	cpu->fpu.status &= (uint16_t)~X87_STATUS_C1;
	if (env->rounded_up)
		cpu->fpu.status |= X87_STATUS_C1;
	if (env->flags) {
		cpu->fpu.status |= env->flags;
		x87_summary_update(cpu);
	}
	return !(env->flags & env->unmasked & SF_PRECOMPUTE);
}

void x87_commit_quiet(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_record(cpu, in);
	cpu->fpu.status &= (uint16_t)~X87_STATUS_C1;
}
