/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A local APIC's registers to and from the neutral state, which another implementation can take over while
 * the machine runs on. Timers go over as what is left of their count, deadlines as values of the TSC.
 */
#include <string.h>

#include "devices/legacy/lapic_cpu.h"
#include "vmm/core/irqchip_state.h"
#include "vmm/core/timer.h"

_Static_assert((int)LAPIC_LVT_COUNT == IRQCHIP_LVTS, "the neutral state has as many LVT entries");

void lapic_state_get(struct device *device, unsigned index, struct lapic_state *state)
{
	struct lapic *lapic = (struct lapic *)device;
	struct lapic_cpu *cpu = &lapic->cpu[index];

	pthread_mutex_lock(lapic->lock);
	*state = (struct lapic_state){
		.timer_current = lapic_timer_current(cpu),
		.base = cpu->base,
		.id = cpu->index,
		.tpr = cpu->tpr,
		.ldr = lapic_cpu_ldr(cpu),
		.dfr = cpu->dfr,
		.svr = cpu->svr,
		.esr = cpu->esr,
		.icr_low = cpu->icr_low,
		.icr_high = cpu->icr_high,
		.timer_initial = cpu->timer_initial,
		.timer_divide = cpu->timer_divide,
		.tsc_deadline = cpu->tsc_deadline,
	};
	memcpy(state->irr, cpu->irr, sizeof(state->irr));
	memcpy(state->isr, cpu->isr, sizeof(state->isr));
	memcpy(state->tmr, cpu->tmr, sizeof(state->tmr));
	memcpy(state->lvt, cpu->lvt, sizeof(state->lvt));
	pthread_mutex_unlock(lapic->lock);
}

static void lapic_cpu_state_set(struct lapic_cpu *cpu, const struct lapic_state *state)
{
	__atomic_store_n(&cpu->base, state->base, __ATOMIC_RELAXED);
	__atomic_store_n(&cpu->tpr, state->tpr & 0xff, __ATOMIC_RELAXED);
	cpu->ldr = lapic_cpu_is_x2apic(cpu) ? 0 : state->ldr & 0xff000000;
	cpu->dfr = state->dfr | 0x0fffffff;
	cpu->svr = state->svr;
	memcpy(cpu->irr, state->irr, sizeof(cpu->irr));
	memcpy(cpu->isr, state->isr, sizeof(cpu->isr));
	memcpy(cpu->tmr, state->tmr, sizeof(cpu->tmr));
	memcpy(cpu->lvt, state->lvt, sizeof(cpu->lvt));
	cpu->esr = state->esr;
	cpu->esr_pending = 0;
	cpu->icr_low = state->icr_low;
	cpu->icr_high = state->icr_high;
	cpu->extint_pending = false;
	cpu->timer_initial = state->timer_initial;
	cpu->timer_divide = state->timer_divide;
	cpu->timer_start_count = state->timer_current;
	cpu->timer_start_ns = device_now_ns(cpu->lapic->loop);
	cpu->timer_running = state->timer_current != 0;
	cpu->tsc_deadline = state->tsc_deadline;
	/* Not due before resume has asked when this is. */
	cpu->tsc_deadline_ns = UINT64_MAX;
}

void lapic_state_set(struct device *device, unsigned index, const struct lapic_state *state)
{
	struct lapic *lapic = (struct lapic *)device;

	pthread_mutex_lock(lapic->lock);
	lapic->saved_now_ns = 0;
	lapic_cpu_state_set(&lapic->cpu[index], state);
	pthread_mutex_unlock(lapic->lock);
}

void lapic_rest(struct device *device)
{
	struct lapic *lapic = (struct lapic *)device;

	pthread_mutex_lock(lapic->lock);
	for (uint32_t i = 0; i < lapic->cpu_count; i++)
		lapic_timer_pause(&lapic->cpu[i]);
	pthread_mutex_unlock(lapic->lock);
}
