/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt vocabulary: lines given to devices, messages between interrupt controllers, and the pins of a
 * CPU. A device never learns which controller or accelerator is behind its line. Locks: a device may hold its
 * own lock when it calls irq_line_set; the controllers take the interrupt lock inside, and never call back
 * into a device while they hold it (except eoi_sink and cpu_pins, which take no lock).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One interrupt input of somebody. Copied freely; set may be NULL (not connected). */
struct irq_line {
	void (*set)(void *opaque, unsigned number, bool level);
	void *opaque;
	unsigned number; /* input pin or GSI */
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->opaque, line->number, level);
}

/* A rising edge and back, for edge-triggered sources. */
static inline void irq_line_pulse(const struct irq_line *line)
{
	irq_line_set(line, true);
	irq_line_set(line, false);
}

/* Delivery modes of the APIC. Intel SDM vol. 3, 11.6.1 (ICR) and 11.11 (MSI). */
enum intr_delivery {
	INTR_FIXED = 0,
	INTR_LOWEST = 1,
	INTR_SMI = 2,
	INTR_NMI = 4,
	INTR_INIT = 5,
	INTR_STARTUP = 6,
	INTR_EXTINT = 7,
};

/* A message on the APIC bus: from an I/O APIC, an MSI or a local APIC's ICR. */
struct intr_message {
	uint32_t destination; /* APIC id or logical set; 0xff / 0xffffffff broadcast by width */
	bool logical;         /* destination mode */
	bool x2apic;          /* destination is 32 bits wide (x2APIC ICR or remapped) */
	bool level_triggered; /* trigger mode */
	bool assert;          /* level of an INIT message; true for the rest */
	enum intr_delivery delivery;
	uint8_t vector;
};

/* Takes messages: the set of local APICs. Called with the interrupt lock held. */
struct intr_sink {
	void (*deliver)(void *opaque, const struct intr_message *message);
	void *opaque;
};

/* Told of an EOI of a level-triggered vector: the I/O APIC. Called with the interrupt lock held. */
struct eoi_sink {
	void (*eoi)(void *opaque, uint8_t vector);
	void *opaque;
};

/* Decodes an MSI write. Intel SDM vol. 3, 11.11. */
struct intr_message intr_message_from_msi(uint64_t address, uint32_t data);

/*
 * The pins of the CPUs, driven by local APIC and PIC. Implemented by the machine over the accelerator;
 * thread-safe, does not take the interrupt lock, wakes the vCPU. `intr` says "an interrupt may be waiting"
 * (level); the vCPU then asks.
 */
struct cpu_pins {
	void (*intr)(void *opaque, unsigned cpu, bool level);
	void (*nmi)(void *opaque, unsigned cpu);
	void (*smi)(void *opaque, unsigned cpu);
	void (*init)(void *opaque, unsigned cpu);
	void (*startup)(void *opaque, unsigned cpu, uint8_t vector);
	void *opaque;
};
