/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the local APICs: who takes them, in which order a CPU sees its interrupts, and how they end.
 * Knows the registers but not how the guest reaches them. Intel SDM vol. 3, 11.6 (IPIs), 11.7 (system
 * messages), 11.8 (handling).
 *
 * An acknowledge that finds nothing answers -1 where a real CPU would take the spurious vector: here the CPU
 * asks and is answered in one step, so the race that makes spurious interrupts does not exist.
 */
#include <string.h>

#include "devices/legacy/lapic_cpu.h"

#define LAPIC_ICR_LOGICAL   (1u << 11)
#define LAPIC_ICR_ASSERT    (1u << 14)
#define LAPIC_ICR_LEVEL     (1u << 15)
#define LAPIC_ICR_SHORTHAND (3u << 18)

enum lapic_shorthand { LAPIC_TO_DESTINATION, LAPIC_TO_SELF, LAPIC_TO_ALL, LAPIC_TO_OTHERS };

static int lapic_vector_highest(const uint32_t bits[8])
{
	for (int word = 7; word >= 0; word--)
		if (bits[word])
			return word * 32 + 31 - __builtin_clz(bits[word]);
	return -1;
}

static void lapic_vector_set(uint32_t bits[8], uint8_t vector)
{
	bits[vector / 32] |= 1u << (vector % 32);
}

static void lapic_vector_clear(uint32_t bits[8], uint8_t vector)
{
	bits[vector / 32] &= ~(1u << (vector % 32));
}

static bool lapic_vector_test(const uint32_t bits[8], uint8_t vector)
{
	return bits[vector / 32] & (1u << (vector % 32));
}

static bool lapic_cpu_is_active(const struct lapic_cpu *cpu)
{
	return lapic_cpu_is_enabled(cpu) && (cpu->svr & LAPIC_SVR_ENABLED);
}

/* 11.8.3.1: the higher of the task's class and the class in service. */
uint32_t lapic_cpu_ppr(const struct lapic_cpu *cpu)
{
	int in_service = lapic_vector_highest(cpu->isr);
	uint32_t isr_class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

	return (cpu->tpr & 0xf0) >= isr_class ? cpu->tpr : isr_class;
}

/* The vector that the CPU would be given now, or -1. */
static int lapic_cpu_deliverable(const struct lapic_cpu *cpu)
{
	int vector;

	if (!lapic_cpu_is_active(cpu))
		return -1;
	vector = lapic_vector_highest(cpu->irr);
	if (vector < 0 || ((uint32_t)vector & 0xf0) <= (lapic_cpu_ppr(cpu) & 0xf0))
		return -1;
	return vector;
}

/* Does LINT0 carry the PIC's INT to the CPU? 11.5.1, and 11.4.3: a disabled APIC leaves the pin to be INTR.
 */
static bool lapic_cpu_wants_extint(const struct lapic_cpu *cpu)
{
	uint32_t lvt = cpu->lvt[LAPIC_LVT_LINT0];

	if (cpu->extint_pending)
		return true;
	if (!cpu->lint[0])
		return false;
	if (!lapic_cpu_is_enabled(cpu))
		return true;
	return !(lvt & LAPIC_LVT_MASKED) && (lvt & LAPIC_LVT_DELIVERY) >> 8 == INTR_EXTINT;
}

/* Gives the CPU's pin the level that the registers ask for. */
void lapic_cpu_update(struct lapic_cpu *cpu)
{
	const struct cpu_pins *pins = &cpu->lapic->config.pins;
	bool level = lapic_cpu_deliverable(cpu) >= 0 || lapic_cpu_wants_extint(cpu);

	if (level == cpu->intr)
		return;
	cpu->intr = level;
	pins->intr(pins->opaque, cpu->index, level);
}

void lapic_cpu_give_pin(struct lapic_cpu *cpu)
{
	const struct cpu_pins *pins = &cpu->lapic->config.pins;

	cpu->intr = lapic_cpu_deliverable(cpu) >= 0 || lapic_cpu_wants_extint(cpu);
	pins->intr(pins->opaque, cpu->index, cpu->intr);
}

static int lapic_cpu_acknowledge_extint(struct lapic_cpu *cpu)
{
	const struct lapic_config *config = &cpu->lapic->config;
	int vector = -1;

	cpu->extint_pending = false;
	if (config->extint_acknowledge)
		vector = config->extint_acknowledge(config->extint_opaque);
	lapic_cpu_update(cpu);
	return vector;
}

int lapic_cpu_acknowledge(struct lapic_cpu *cpu)
{
	int vector = lapic_cpu_deliverable(cpu);

	if (vector < 0)
		return lapic_cpu_wants_extint(cpu) ? lapic_cpu_acknowledge_extint(cpu) : -1;
	lapic_vector_clear(cpu->irr, (uint8_t)vector);
	lapic_vector_set(cpu->isr, (uint8_t)vector);
	lapic_cpu_update(cpu);
	return vector;
}

/* Records an error and interrupts once per new bit. 11.5.3. */
void lapic_cpu_error(struct lapic_cpu *cpu, uint32_t esr_bit)
{
	uint32_t lvt = cpu->lvt[LAPIC_LVT_ERROR];

	if (cpu->esr_pending & esr_bit)
		return;
	cpu->esr_pending |= esr_bit;
	if (lvt & LAPIC_LVT_MASKED)
		return;
	if ((lvt & 0xff) < 16)
		cpu->esr_pending |= LAPIC_ESR_RECEIVE_VECTOR;
	else
		lapic_cpu_accept(cpu, lvt & 0xff, false);
}

/* A fixed interrupt arrives. 11.8.4: a vector that is pending already swallows the second. */
void lapic_cpu_accept(struct lapic_cpu *cpu, uint8_t vector, bool level_triggered)
{
	if (!lapic_cpu_is_active(cpu))
		return;
	if (vector < 16) {
		lapic_cpu_error(cpu, LAPIC_ESR_RECEIVE_VECTOR);
		return;
	}
	lapic_vector_set(cpu->irr, vector);
	if (level_triggered)
		lapic_vector_set(cpu->tmr, vector);
	else
		lapic_vector_clear(cpu->tmr, vector);
	lapic_cpu_update(cpu);
}

void lapic_cpu_lvt_fixed(struct lapic_cpu *cpu, enum lapic_lvt lvt)
{
	lapic_cpu_accept(cpu, cpu->lvt[lvt] & 0xff, false);
}

/* LINT0 as a level-triggered fixed interrupt: Remote IRR holds further ones until the EOI. 11.5.1. */
static void lapic_cpu_lint0_level(struct lapic_cpu *cpu)
{
	uint32_t *lvt = &cpu->lvt[LAPIC_LVT_LINT0];

	if (!cpu->lint[0] || (*lvt & (LAPIC_LVT_REMOTE_IRR | LAPIC_LVT_MASKED)) || !lapic_cpu_is_active(cpu))
		return;
	if ((*lvt & LAPIC_LVT_DELIVERY) >> 8 != INTR_FIXED || !(*lvt & LAPIC_LVT_LEVEL))
		return;
	*lvt |= LAPIC_LVT_REMOTE_IRR;
	lapic_cpu_accept(cpu, *lvt & 0xff, true);
}

void lapic_cpu_eoi(struct lapic_cpu *cpu)
{
	const struct eoi_sink *sink = &cpu->lapic->config.eoi;
	int vector = lapic_vector_highest(cpu->isr);
	uint32_t *lvt = &cpu->lvt[LAPIC_LVT_LINT0];

	if (vector < 0)
		return;
	cpu->lapic->metric_eois++;
	lapic_vector_clear(cpu->isr, (uint8_t)vector);
	if (lapic_vector_test(cpu->tmr, (uint8_t)vector)) {
		if ((*lvt & 0xff) == (uint32_t)vector)
			*lvt &= ~LAPIC_LVT_REMOTE_IRR;
		if (sink->eoi)
			sink->eoi(sink->opaque, (uint8_t)vector);
		lapic_cpu_lint0_level(cpu);
	}
	lapic_cpu_update(cpu);
}

/* What a CPU does with a message that is not for its IRR; the same for LINT pins and the bus. */
static void lapic_cpu_signal(struct lapic_cpu *cpu, enum intr_delivery delivery, uint8_t vector)
{
	const struct cpu_pins *pins = &cpu->lapic->config.pins;

	switch (delivery) {
	case INTR_SMI: pins->smi(pins->opaque, cpu->index); break;
	case INTR_NMI: pins->nmi(pins->opaque, cpu->index); break;
	case INTR_INIT:
		lapic_cpu_init(cpu);
		pins->init(pins->opaque, cpu->index);
		break;
	case INTR_STARTUP: pins->startup(pins->opaque, cpu->index, vector); break;
	case INTR_EXTINT:
		cpu->extint_pending = true;
		lapic_cpu_update(cpu);
		break;
	case INTR_FIXED:
	case INTR_LOWEST: lapic_cpu_accept(cpu, vector, false); break;
	}
}

/* A LINT pin changes. LINT1 is edge-triggered whatever its LVT says (11.5.1). */
void lapic_cpu_lint(struct lapic_cpu *cpu, unsigned lint, bool level)
{
	uint32_t lvt = cpu->lvt[LAPIC_LVT_LINT0 + lint];
	enum intr_delivery delivery = (enum intr_delivery)((lvt & LAPIC_LVT_DELIVERY) >> 8);
	bool rises = level && !cpu->lint[lint];

	cpu->lint[lint] = level;
	if (!lapic_cpu_is_enabled(cpu)) {
		if (lint == 1 && rises)
			lapic_cpu_signal(cpu, INTR_NMI, 0);
		lapic_cpu_update(cpu);
		return;
	}
	if (delivery == INTR_EXTINT || (lvt & LAPIC_LVT_MASKED)) {
		lapic_cpu_update(cpu);
		return;
	}
	if (lint == 0 && delivery == INTR_FIXED && (lvt & LAPIC_LVT_LEVEL))
		lapic_cpu_lint0_level(cpu);
	else if (rises && delivery != INTR_STARTUP && delivery != INTR_LOWEST)
		lapic_cpu_signal(cpu, delivery, lvt & 0xff);
}

/* 11.12.10.2: cluster in the upper half, one bit for each of its 16 CPUs in the lower. */
uint32_t lapic_cpu_ldr(const struct lapic_cpu *cpu)
{
	if (lapic_cpu_is_x2apic(cpu))
		return (cpu->index >> 4) << 16 | 1u << (cpu->index & 15);
	return cpu->ldr;
}

static bool lapic_cpu_matches_logical(const struct lapic_cpu *cpu, uint32_t destination)
{
	uint32_t ldr = lapic_cpu_ldr(cpu);

	if (lapic_cpu_is_x2apic(cpu))
		return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff);
	destination &= 0xff;
	ldr >>= 24;
	if (destination == 0xff)
		return true;
	if (cpu->dfr >> 28 == 0xf)
		return destination & ldr;
	return destination >> 4 == ldr >> 4 && (destination & ldr & 0xf);
}

static bool lapic_cpu_matches(const struct lapic_cpu *cpu, const struct intr_message *message)
{
	if (!lapic_cpu_is_enabled(cpu))
		return false;
	if (message->destination == (message->x2apic ? 0xffffffff : 0xff) && !message->logical)
		return true;
	if (message->x2apic && message->destination == 0xffffffff)
		return true;
	return message->logical ? lapic_cpu_matches_logical(cpu, message->destination)
				: message->destination == cpu->index;
}

/* 11.6.2.4: the CPU of the lowest priority among the destinations; ties are broken by turns. */
static struct lapic_cpu *lapic_lowest(struct lapic *lapic, const struct intr_message *message)
{
	struct lapic_cpu *best = NULL;
	uint32_t best_priority = 0;

	for (uint32_t i = 1; i <= lapic->cpu_count; i++) {
		struct lapic_cpu *cpu = &lapic->cpu[(lapic->lowest_last + i) % lapic->cpu_count];
		uint32_t priority = lapic_cpu_ppr(cpu);

		if (!(cpu->svr & LAPIC_SVR_ENABLED) || !lapic_cpu_matches(cpu, message))
			continue;
		if (!best || priority < best_priority) {
			best = cpu;
			best_priority = priority;
		}
	}
	if (best)
		lapic->lowest_last = best->index;
	return best;
}

static void lapic_cpu_take(struct lapic_cpu *cpu, const struct intr_message *message)
{
	if (message->delivery == INTR_FIXED || message->delivery == INTR_LOWEST)
		lapic_cpu_accept(cpu, message->vector, message->level_triggered);
	else
		lapic_cpu_signal(cpu, message->delivery, message->vector);
}

/* A message that ends a level: INIT's de-assert is ignored since the Pentium 4 (table 11-3), so is that of an
 * MSI. */
static bool lapic_message_is_void(const struct intr_message *message)
{
	return message->level_triggered && !message->assert;
}

void lapic_deliver(void *opaque, const struct intr_message *message)
{
	struct lapic *lapic = opaque;
	struct lapic_cpu *lowest;

	lapic->metric_messages++;
	if (lapic_message_is_void(message))
		return;
	if (message->delivery == INTR_LOWEST) {
		lowest = lapic_lowest(lapic, message);
		if (lowest)
			lapic_cpu_take(lowest, message);
		return;
	}
	/* The common unicast needs no search: ids are indices. */
	if (!message->logical && message->destination < lapic->cpu_count && message->destination != 0xff) {
		if (lapic_cpu_matches(&lapic->cpu[message->destination], message))
			lapic_cpu_take(&lapic->cpu[message->destination], message);
		return;
	}
	for (uint32_t i = 0; i < lapic->cpu_count; i++)
		if (lapic_cpu_matches(&lapic->cpu[i], message))
			lapic_cpu_take(&lapic->cpu[i], message);
}

static void lapic_cpu_send_shorthand(struct lapic_cpu *cpu, enum lapic_shorthand shorthand,
				     const struct intr_message *message)
{
	struct lapic *lapic = cpu->lapic;

	for (uint32_t i = 0; i < lapic->cpu_count; i++) {
		bool self = i == cpu->index;

		if (!lapic_cpu_is_enabled(&lapic->cpu[i]))
			continue;
		if (shorthand == LAPIC_TO_ALL || self == (shorthand == LAPIC_TO_SELF))
			lapic_cpu_take(&lapic->cpu[i], message);
	}
}

/* An inter-processor interrupt by a write to the ICR. 11.6.1; fixed IPIs are edge-triggered whatever bit 15
 * says. */
void lapic_cpu_send(struct lapic_cpu *cpu, uint32_t icr_low, uint32_t destination)
{
	enum intr_delivery delivery = (enum intr_delivery)((icr_low >> 8) & 7);
	enum lapic_shorthand shorthand = (enum lapic_shorthand)((icr_low & LAPIC_ICR_SHORTHAND) >> 18);
	struct intr_message message = {
		.destination = destination,
		.logical = icr_low & LAPIC_ICR_LOGICAL,
		.x2apic = lapic_cpu_is_x2apic(cpu),
		.level_triggered = delivery == INTR_INIT && (icr_low & LAPIC_ICR_LEVEL),
		.assert = icr_low & LAPIC_ICR_ASSERT,
		.delivery = delivery,
		.vector = icr_low & 0xff,
	};

	cpu->lapic->metric_ipis++;
	if (delivery == INTR_EXTINT || delivery == 3)
		return;
	if ((delivery == INTR_FIXED || delivery == INTR_LOWEST) && message.vector < 16) {
		lapic_cpu_error(cpu, LAPIC_ESR_SEND_VECTOR);
		return;
	}
	if (shorthand == LAPIC_TO_DESTINATION)
		lapic_deliver(cpu->lapic, &message);
	else if (!lapic_message_is_void(&message))
		lapic_cpu_send_shorthand(cpu, shorthand, &message);
}

static void lapic_lint_set(void *opaque, unsigned lint, bool level)
{
	struct lapic *lapic = opaque;

	for (uint32_t i = 0; i < lapic->cpu_count; i++)
		lapic_cpu_lint(&lapic->cpu[i], lint, level);
}

struct irq_line lapic_lint_line(struct device *device, unsigned lint)
{
	return (struct irq_line){.set = lapic_lint_set, .opaque = device, .number = lint & 1};
}

struct intr_sink lapic_sink(struct device *device)
{
	return (struct intr_sink){.deliver = lapic_deliver, .opaque = device};
}
