/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Software interrupts (INT n, INT3, INTO, INT1) with virtual-8086 mode's redirection, and the instructions
 * that move EFLAGS and IF by mode: PUSHF, POPF, CLI, STI, CLAC, STAC, HLT. Intel SDM vol. 2 of each; vol.
 * 3, 20.3.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

static struct x86_event software_event(struct x86_cpu *cpu, const struct x86_insn *in, uint8_t vector)
{
	return (struct x86_event){
		.vector = vector,
		.kind = X86_EVENT_SOFTWARE,
		.return_rip = x86_next_rip(cpu, in),
		.flags = x86_eflags_get(cpu) & ~FLAG_RF,
	};
}

static void deliver_software(struct x86_cpu *cpu, const struct x86_event *event)
{
	x86_event_deliver(cpu, event);
	cpu->step_late = true;
}

/* VME: is this vector served by the 8086 program's own table? A set bit means the IDT. The map lies below the
 * I/O map. */
static bool vme_redirects(struct x86_cpu *cpu, uint8_t vector)
{
	const struct x86_segment *tr = &cpu->seg[SEG_TR];
	uint32_t at;

	if (tr->limit < 0x67)
		x86_raise_gp(cpu);
	at = x86_sys_ld(cpu, (uint32_t)(tr->base + 0x66), 2);
	if (at < 32 || at - 32 + vector / 8 > tr->limit)
		x86_raise_gp(cpu);
	return !(x86_sys_ld(cpu, (uint32_t)(tr->base + at - 32 + vector / 8), 1) >> (vector & 7) & 1);
}

/* Methods 5 and 6 of the SDM's table 20-2: through the vector table at linear 0; IOPL < 3 works on VIF. */
static void deliver_vme(struct x86_cpu *cpu, struct x86_event *event)
{
	uint32_t clear = FLAG_TF | FLAG_RF;

	if (x86_iopl(cpu) == 3) {
		clear |= FLAG_IF;
	} else {
		event->flags =
			(event->flags & ~FLAG_IF) | FLAG_IOPL | (event->flags & FLAG_VIF ? FLAG_IF : 0);
		clear |= FLAG_VIF;
	}
	x86_event_deliver_real(cpu, event, 0, 0x3ff);
	x86_eflags_set(cpu, 0, clear);
	x86_mode_changed(cpu);
	cpu->step_late = true;
}

void x86_slow_int(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_event event = software_event(cpu, in, in->imm & 0xff);

	if (x86_is_v86(cpu)) {
		if ((cpu->cr4 & CR4_VME) && vme_redirects(cpu, event.vector)) {
			deliver_vme(cpu, &event);
			return;
		}
		if (x86_iopl(cpu) < 3)
			x86_raise_gp(cpu);
	}
	deliver_software(cpu, &event);
}

/* One-byte forms do not look at IOPL or the redirection map. */
void x86_slow_int3(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_event event = software_event(cpu, in, VEC_BP);

	deliver_software(cpu, &event);
}

void x86_slow_into(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_event event = software_event(cpu, in, VEC_OF);

	if (x86_eflags_get(cpu) & FLAG_OF)
		deliver_software(cpu, &event);
	else
		cpu->rip = event.return_rip;
}

/* ICEBP: a #DB trap without a DR6 bit; the gate's DPL does not count. */
void x86_slow_int1(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_event event = software_event(cpu, in, VEC_DB);

	event.kind = X86_EVENT_EXCEPTION;
	deliver_software(cpu, &event);
}

static void push_flags(struct x86_cpu *cpu, uint32_t image, unsigned size)
{
	struct x86_stack stack = x86_stack_current(cpu);

	x86_stack_push(cpu, &stack, image, size);
	x86_stack_commit(cpu, &stack);
}

void x86_slow_pushf(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint32_t image = x86_eflags_get(cpu) & ~(FLAG_VM | FLAG_RF);

	if (x86_is_v86(cpu) && x86_iopl(cpu) < 3) {
		if (!(cpu->cr4 & CR4_VME) || in->opsize != 2)
			x86_raise_gp(cpu);
		image = (image & ~FLAG_IF) | FLAG_IOPL | (image & FLAG_VIF ? FLAG_IF : 0);
	}
	push_flags(cpu, image, in->opsize);
}

/* POPF with VME and IOPL < 3: IF goes to VIF. */
static uint32_t popf_vme(struct x86_cpu *cpu, uint32_t *image)
{
	if ((*image & FLAG_TF) || ((*image & FLAG_IF) && (cpu->eflags & FLAG_VIP)))
		x86_raise_gp(cpu);
	*image = (*image & ~FLAG_VIF) | (*image & FLAG_IF ? FLAG_VIF : 0);
	return FLAG_VIF;
}

void x86_slow_popf(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_stack stack = x86_stack_current(cpu);
	uint32_t mask = FLAGS_STATUS | FLAG_TF | FLAG_DF | FLAG_NT, image;
	bool vme = x86_is_v86(cpu) && x86_iopl(cpu) < 3;

	if (vme && (!(cpu->cr4 & CR4_VME) || in->opsize != 2))
		x86_raise_gp(cpu);
	image = x86_stack_pop(cpu, &stack, in->opsize);
	if (in->opsize != 2)
		mask |= FLAG_AC | FLAG_ID | FLAG_RF;
	if (vme)
		mask |= popf_vme(cpu, &image);
	else if (cpu->cpl <= x86_iopl(cpu))
		mask |= FLAG_IF;
	if (cpu->cpl == 0)
		mask |= FLAG_IOPL;
	x86_stack_commit(cpu, &stack);
	x86_eflags_set(cpu, image & ~FLAG_RF, mask);
}

/* Whether CLI and STI act on VIF: virtual-8086 mode with VME, or CPL 3 with PVI, when IOPL denies IF. */
static bool uses_vif(struct x86_cpu *cpu)
{
	if (cpu->cpl <= x86_iopl(cpu))
		return false;
	if (x86_is_v86(cpu) ? cpu->cr4 & CR4_VME : cpu->cpl == 3 && (cpu->cr4 & CR4_PVI))
		return true;
	x86_raise_gp(cpu);
}

void x86_slow_cli(struct x86_cpu *cpu, const struct x86_insn *in)
{
	cpu->eflags &= ~(uses_vif(cpu) ? FLAG_VIF : FLAG_IF);
}

void x86_slow_sti(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (uses_vif(cpu)) {
		if (cpu->eflags & FLAG_VIP)
			x86_raise_gp(cpu);
		cpu->eflags |= FLAG_VIF;
		return;
	}
	if (!(cpu->eflags & FLAG_IF))
		cpu->intr_shadow = true;
	cpu->eflags |= FLAG_IF;
}

void x86_slow_clac(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (cpu->cpl != 0)
		x86_raise_ud(cpu);
	x86_eflags_set(cpu, 0, FLAG_AC);
}

void x86_slow_stac(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (cpu->cpl != 0)
		x86_raise_ud(cpu);
	x86_eflags_set(cpu, FLAG_AC, FLAG_AC);
}

void x86_slow_hlt(struct x86_cpu *cpu, const struct x86_insn *in)
{
	cpu->halted = true;
}

/* Outside of system-management mode, which these CPUs do not enter. */
void x86_slow_rsm(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_raise_ud(cpu);
}
