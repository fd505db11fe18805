/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's CPU to and from the neutral state: the other half of the adapter. Registers are copied, MSRs
 * go by the list of msr.c, x87 to PKRU by the XSAVE image; derived state is computed anew. Intel SDM vol. 3,
 * chapters 2, 4 and 14.
 */
#include "tcg-fallback/tcg_state.h"

#include <errno.h>
#include <string.h>

#include "tcg-fallback/core/vm.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/xsave.h"
#include "vmm/base/err.h"

_Static_assert(X86_XSAVE_MAX <= X86_XSAVE_SIZE_MAX, "the neutral image holds the engine's");

static struct x86_segment_state segment_save(const struct x86_segment *segment)
{
	return (struct x86_segment_state){
		.base = segment->base,
		.limit = segment->limit,
		.selector = segment->selector,
		.attributes = (uint16_t)(segment->attributes | (segment->usable ? 0 : X86_SEGMENT_UNUSABLE)),
	};
}

static struct x86_segment segment_load(const struct x86_segment_state *state)
{
	return (struct x86_segment){
		.base = state->base,
		.limit = state->limit,
		.selector = state->selector,
		.attributes = (uint16_t)(state->attributes & ~X86_SEGMENT_UNUSABLE),
		.usable = !(state->attributes & X86_SEGMENT_UNUSABLE),
	};
}

static enum x86_mp_state mp_state_save(const struct x86_cpu *cpu)
{
	if (cpu->wait_for_sipi)
		return X86_MP_WAIT_FOR_SIPI;
	if (cpu->shutdown)
		return X86_MP_SHUTDOWN;
	return cpu->halted ? X86_MP_HALTED : X86_MP_RUNNABLE;
}

static void msrs_save(struct x86_cpu *cpu, struct x86_cpu_state *state)
{
	uint32_t index[X86_STATE_MSR_MAX];
	const size_t count = x86_msr_saved(cpu, index, X86_STATE_MSR_MAX);

	for (size_t i = 0; i < count && i < X86_STATE_MSR_MAX; i++) {
		struct x86_msr_state *msr = &state->msr[state->msr_count];

		msr->index = index[i];
		if (x86_msr_read(cpu, index[i], &msr->value))
			state->msr_count++;
	}
}

static struct x86_event_state event_save(const struct x86_cpu *cpu)
{
	if (!cpu->resumed.valid)
		return (struct x86_event_state){.injected = false};
	return (struct x86_event_state){
		.injected = true,
		.vector = cpu->resumed.vector,
		.is_interrupt = cpu->resumed.is_interrupt,
		.has_error_code = cpu->resumed.has_code,
		.error_code = cpu->resumed.code,
	};
}

/* SS.DPL is the CPL even where SS is null or was loaded by SYSRET (SDM vol. 3, 5.5). */
static void ss_save_cpl(const struct x86_cpu *cpu, struct x86_segment_state *ss)
{
	if (x86_is_protected(cpu))
		ss->attributes = (uint16_t)((ss->attributes & ~0x60u) | (unsigned)cpu->cpl << 5);
}

void tcg_state_save(struct x86_cpu *cpu, const struct tcg_foreign_msrs *foreign, struct x86_cpu_state *state)
{
	memset(state, 0, sizeof(*state));
	memcpy(state->gpr, cpu->r, sizeof(state->gpr));
	state->rip = cpu->rip;
	state->rflags = x86_eflags_get(cpu);
	for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
		state->segment[i] = segment_save(&cpu->seg[i]);
	ss_save_cpl(cpu, &state->segment[X86_SS]);
	state->gdtr = (struct x86_table_state){.base = cpu->gdtr.base, .limit = cpu->gdtr.limit};
	state->idtr = (struct x86_table_state){.base = cpu->idtr.base, .limit = cpu->idtr.limit};
	state->cr0 = cpu->cr0;
	state->cr2 = cpu->cr2;
	state->cr3 = cpu->cr3;
	state->cr4 = cpu->cr4;
	state->cr8 = cpu->host->cr8_read(cpu->host->opaque, cpu->index);
	state->efer = cpu->efer;
	memcpy(state->dr, cpu->dr, sizeof(state->dr));
	state->xcr0 = cpu->xcr0;
	x86_xsave_store(cpu, state->xsave);
	msrs_save(cpu, state);
	for (uint32_t i = 0; i < foreign->count && state->msr_count < X86_STATE_MSR_MAX; i++)
		state->msr[state->msr_count++] = foreign->msr[i];
	state->event = event_save(cpu);
	state->nmi_masked = cpu->nmi_masked;
	state->interrupt_shadow = cpu->intr_shadow;
	state->pending_debug = cpu->pending_db;
	state->smm = cpu->in_smm;
	state->mp_state = mp_state_save(cpu);
	state->sipi_vector = cpu->sipi_vector;
}

static void msrs_load(struct x86_cpu *cpu, const struct x86_cpu_state *state,
		      struct tcg_foreign_msrs *foreign)
{
	foreign->count = 0;
	for (uint32_t i = 0; i < state->msr_count; i++)
		if (!x86_msr_restore(cpu, state->msr[i].index, state->msr[i].value))
			foreign->msr[foreign->count++] = state->msr[i];
}

/* A software event's instruction is executed again. */
static void event_load(struct x86_cpu *cpu, const struct x86_event_state *event)
{
	cpu->fault.valid = false;
	cpu->resumed.valid = event->injected && !event->is_software;
	cpu->resumed.is_interrupt = event->is_interrupt;
	cpu->resumed.vector = event->vector;
	cpu->resumed.has_code = event->has_error_code;
	cpu->resumed.code = event->error_code;
	if (cpu->resumed.valid)
		x86_cpu_post(cpu, ATTENTION_EVENT);
	else
		x86_cpu_unpost(cpu, ATTENTION_EVENT);
}

static void control_load(struct x86_cpu *cpu, const struct x86_cpu_state *state)
{
	cpu->gdtr.base = state->gdtr.base;
	cpu->gdtr.limit = state->gdtr.limit;
	cpu->idtr.base = state->idtr.base;
	cpu->idtr.limit = state->idtr.limit;
	cpu->cr0 = state->cr0;
	cpu->cr2 = state->cr2;
	cpu->cr3 = state->cr3;
	cpu->cr4 = state->cr4;
	cpu->host->cr8_write(cpu->host->opaque, cpu->index, state->cr8);
	cpu->efer = state->efer;
	memcpy(cpu->dr, state->dr, sizeof(state->dr));
	cpu->xcr0 = state->xcr0;
	if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA))
		for (unsigned i = 0; i < 4; i++)
			cpu->pdptr[i] = x86_phys_ld64(cpu, (cpu->cr3 & 0xffffffe0) + 8 * i);
}

/*
 * Real mode runs at 0 and virtual-8086 mode at 3. In protected mode the CPL is the DPL of CS, unless that is
 * conforming, and of SS (SDM vol. 3, 5.5); of the two CS is asked, since a KVM has been seen that leaves SS
 * as it was at SYSCALL.
 */
static uint8_t cpl_load(const struct x86_cpu *cpu, const struct x86_cpu_state *state)
{
	const uint16_t cs = cpu->seg[SEG_CS].attributes;
	const bool is_conforming = (cs & SEG_ATTR_S) && (SEG_ATTR_TYPE(cs) & 12u) == 12;

	if (state->rflags & FLAG_VM)
		return 3;
	if (!(cpu->cr0 & CR0_PE))
		return 0;
	return SEG_ATTR_DPL(is_conforming ? cpu->seg[SEG_SS].attributes : cs);
}

int tcg_state_load(struct x86_cpu *cpu, const struct x86_cpu_state *state, struct tcg_foreign_msrs *foreign,
		   struct err *err)
{
	if (state->msr_count > X86_STATE_MSR_MAX)
		return err_set(err, -EINVAL, "CPU state: %u MSRs, at most %d fit", state->msr_count,
			       X86_STATE_MSR_MAX);
	msrs_load(cpu, state, foreign);
	memcpy(cpu->r, state->gpr, sizeof(state->gpr));
	cpu->rip = state->rip;
	for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
		cpu->seg[i] = segment_load(&state->segment[i]);
	control_load(cpu, state);
	cpu->cpl = cpl_load(cpu, state);
	x86_xsave_load(cpu, state->xsave);
	x86_eflags_set(cpu, (uint32_t)state->rflags, UINT32_MAX);
	event_load(cpu, &state->event);
	cpu->nmi_masked = state->nmi_masked;
	cpu->intr_shadow = state->interrupt_shadow;
	cpu->in_smm = state->smm;
	cpu->halted = state->mp_state == X86_MP_HALTED;
	cpu->wait_for_sipi = state->mp_state == X86_MP_WAIT_FOR_SIPI;
	cpu->shutdown = state->mp_state == X86_MP_SHUTDOWN;
	cpu->sipi_vector = state->sipi_vector;
	x86_tlb_flush_all(cpu);
	x86_mode_changed(cpu);
	cpu->pending_db = state->pending_debug;
	cpu->ss_shadow = state->pending_debug && state->interrupt_shadow;
	cpu->rf_loaded = cpu->step_late = cpu->leave = false;
	if (state->nmi_pending)
		x86_cpu_post(cpu, ATTENTION_NMI);
	return 0;
}
