/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timers of the local APICs: one-shot, periodic and TSC-deadline. Knows nothing of messages beyond the
 * timer's own interrupt. Intel SDM vol. 3, 11.5.4.
 *
 * Nothing is armed for a count that could not interrupt (masked or stopped): its value is computed when it is
 * read. A count that has run out is noticed by whoever comes first, the host's timer or the guest's next
 * access to the timer. A periodic timer that is late, because the host was busy, interrupts once for all
 * periods missed.
 */
#include "devices/legacy/lapic_cpu.h"
#include "vmm/base/clock.h"
#include "vmm/core/timer.h"

/* Bounds what a guest with a period of a few ns costs the host's event loop. */
#define LAPIC_PERIOD_MIN_NS (20 * NS_PER_US)

static uint32_t lapic_timer_mode(const struct lapic_cpu *cpu)
{
	return cpu->lvt[LAPIC_LVT_TIMER] & LAPIC_LVT_TIMER_MODE;
}

/* ns in 2^7 divided clocks at most: timer_hz >= 1 keeps muldiv64 within 64 bits for 32-bit counts. */
static uint64_t lapic_timer_clock_ns(const struct lapic_cpu *cpu)
{
	unsigned code = (cpu->timer_divide & 3) | ((cpu->timer_divide >> 1) & 4);

	return NS_PER_S << ((code + 1) & 7);
}

static uint64_t lapic_timer_count_to_ns(const struct lapic_cpu *cpu, uint32_t count)
{
	uint64_t ns = muldiv64(count, lapic_timer_clock_ns(cpu), cpu->lapic->config.timer_hz);

	return ns ? ns : 1;
}

static uint64_t lapic_timer_expiry_ns(const struct lapic_cpu *cpu)
{
	return cpu->timer_start_ns + lapic_timer_count_to_ns(cpu, cpu->timer_start_count);
}

static void lapic_timer_interrupt(struct lapic_cpu *cpu)
{
	if (cpu->lvt[LAPIC_LVT_TIMER] & LAPIC_LVT_MASKED)
		return;
	cpu->lapic->metric_timer_interrupts++;
	lapic_cpu_lvt_fixed(cpu, LAPIC_LVT_TIMER);
}

static void lapic_timer_sync_deadline(struct lapic_cpu *cpu, uint64_t now_ns)
{
	if (!cpu->tsc_deadline || cpu->tsc_deadline_ns > now_ns)
		return;
	cpu->tsc_deadline = 0;
	lapic_timer_interrupt(cpu);
}

/* Brings the state to now_ns: interrupts if the count has reached 0 since. */
void lapic_timer_sync(struct lapic_cpu *cpu, uint64_t now_ns)
{
	uint64_t expiry_ns, period_ns;

	if (lapic_timer_mode(cpu) == LAPIC_TIMER_DEADLINE) {
		lapic_timer_sync_deadline(cpu, now_ns);
		return;
	}
	if (!cpu->timer_running)
		return;
	expiry_ns = lapic_timer_expiry_ns(cpu);
	if (expiry_ns > now_ns)
		return;
	if (lapic_timer_mode(cpu) == LAPIC_TIMER_PERIODIC) {
		period_ns = lapic_timer_count_to_ns(cpu, cpu->timer_initial);
		cpu->timer_start_ns = now_ns - (now_ns - expiry_ns) % period_ns;
		cpu->timer_start_count = cpu->timer_initial;
	} else {
		cpu->timer_running = false;
	}
	lapic_timer_interrupt(cpu);
}

/* Arms the host's timer for the next interrupt; lapic_timer_sync must have run for now_ns. */
void lapic_timer_arm(struct lapic_cpu *cpu, uint64_t now_ns)
{
	uint64_t deadline_ns = DEVICE_TIMER_OFF;

	if (cpu->lvt[LAPIC_LVT_TIMER] & LAPIC_LVT_MASKED) {
		device_timer_arm(cpu->timer, DEVICE_TIMER_OFF);
		return;
	}
	if (lapic_timer_mode(cpu) == LAPIC_TIMER_DEADLINE) {
		if (cpu->tsc_deadline)
			deadline_ns = cpu->tsc_deadline_ns;
	} else if (cpu->timer_running) {
		deadline_ns = lapic_timer_expiry_ns(cpu);
		if (lapic_timer_mode(cpu) == LAPIC_TIMER_PERIODIC &&
		    deadline_ns < now_ns + LAPIC_PERIOD_MIN_NS)
			deadline_ns = now_ns + LAPIC_PERIOD_MIN_NS;
	}
	device_timer_arm(cpu->timer, deadline_ns);
}

void lapic_timer_fire(void *opaque, uint64_t now_ns)
{
	struct lapic_cpu *cpu = opaque;

	lapic_timer_sync(cpu, now_ns);
	lapic_timer_arm(cpu, now_ns);
}

static uint32_t lapic_timer_count_at(const struct lapic_cpu *cpu, uint64_t now_ns)
{
	uint64_t elapsed;

	if (!cpu->timer_running || lapic_timer_mode(cpu) == LAPIC_TIMER_DEADLINE)
		return 0;
	elapsed = muldiv64(now_ns - cpu->timer_start_ns, cpu->lapic->config.timer_hz,
			   lapic_timer_clock_ns(cpu));
	return elapsed < cpu->timer_start_count ? cpu->timer_start_count - (uint32_t)elapsed : 0;
}

uint32_t lapic_timer_current(struct lapic_cpu *cpu)
{
	uint64_t now_ns = device_now_ns(cpu->lapic->loop);

	lapic_timer_sync(cpu, now_ns);
	return lapic_timer_count_at(cpu, now_ns);
}

void lapic_timer_write_lvt(struct lapic_cpu *cpu, uint32_t value)
{
	uint64_t now_ns = device_now_ns(cpu->lapic->loop);
	uint32_t old_mode = lapic_timer_mode(cpu);

	lapic_timer_sync(cpu, now_ns);
	cpu->lvt[LAPIC_LVT_TIMER] = value;
	/* "Switching between TSC-deadline and the other modes disarms the timer" (11.5.4.1). */
	if ((old_mode == LAPIC_TIMER_DEADLINE) != (lapic_timer_mode(cpu) == LAPIC_TIMER_DEADLINE)) {
		cpu->timer_running = false;
		cpu->tsc_deadline = 0;
	}
	lapic_timer_arm(cpu, now_ns);
}

void lapic_timer_write_initial(struct lapic_cpu *cpu, uint32_t value)
{
	uint64_t now_ns = device_now_ns(cpu->lapic->loop);

	if (lapic_timer_mode(cpu) == LAPIC_TIMER_DEADLINE)
		return;
	lapic_timer_sync(cpu, now_ns);
	cpu->timer_initial = value;
	cpu->timer_start_count = value;
	cpu->timer_start_ns = now_ns;
	cpu->timer_running = value != 0;
	lapic_timer_arm(cpu, now_ns);
}

void lapic_timer_write_divide(struct lapic_cpu *cpu, uint32_t value)
{
	uint64_t now_ns = device_now_ns(cpu->lapic->loop);

	lapic_timer_sync(cpu, now_ns);
	cpu->timer_start_count = lapic_timer_count_at(cpu, now_ns);
	cpu->timer_start_ns = now_ns;
	cpu->timer_divide = value;
	lapic_timer_arm(cpu, now_ns);
}

void lapic_timer_write_deadline(struct lapic_cpu *cpu, uint64_t tsc)
{
	uint64_t now_ns;

	if (lapic_timer_mode(cpu) != LAPIC_TIMER_DEADLINE)
		return;
	now_ns = device_now_ns(cpu->lapic->loop);
	lapic_timer_sync(cpu, now_ns);
	cpu->tsc_deadline = tsc;
	if (tsc)
		cpu->tsc_deadline_ns = cpu->lapic->config.tsc_to_monotonic_ns(cpu->lapic->config.tsc_opaque,
									      cpu->index, tsc);
	lapic_timer_sync(cpu, now_ns);
	lapic_timer_arm(cpu, now_ns);
}

void lapic_timer_pause(struct lapic_cpu *cpu)
{
	device_timer_arm(cpu->timer, DEVICE_TIMER_OFF);
}

/* Device time stood still for shift_ns; a TSC deadline follows the TSC, which the machine has set again by
 * now. */
void lapic_timer_resume(struct lapic_cpu *cpu, uint64_t shift_ns)
{
	uint64_t now_ns = device_now_ns(cpu->lapic->loop);

	cpu->timer_start_ns += shift_ns;
	if (cpu->timer_start_ns > now_ns)
		cpu->timer_start_ns = now_ns;
	if (cpu->tsc_deadline && cpu->lapic->config.tsc_to_monotonic_ns)
		cpu->tsc_deadline_ns = cpu->lapic->config.tsc_to_monotonic_ns(cpu->lapic->config.tsc_opaque,
									      cpu->index, cpu->tsc_deadline);
	lapic_timer_sync(cpu, now_ns);
	lapic_timer_arm(cpu, now_ns);
}
