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

struct err;

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
/* The MSI that is this message (8-bit destinations). */
void intr_message_to_msi(const struct intr_message *message, uint64_t *address, uint32_t *data);

/*
 * Where devices send message-signalled interrupts. Any thread, any lock held but the interrupt lock: the
 * machine's local APICs or the accelerator's take the message.
 */
struct msi_sink {
	void (*send)(void *opaque, uint64_t address, uint32_t data);
	void *opaque;
};

static inline void msi_sink_send(const struct msi_sink *sink, uint64_t address, uint32_t data)
{
	if (sink->send)
		sink->send(sink->opaque, address, data);
}

/* What the signal of an eventfd raises: an edge or a level of an interrupt line, or a message. */
struct irqfd_config {
	int fd; /* eventfd, borrowed until the irqfd is removed */
	/*
	 * Level lines: a signal of fd raises the line; when the guest has ended the interrupt (EOI) the line
	 * falls and this eventfd is signalled, whereupon its owner looks whether to raise it again. -1: a
	 * signal of fd is an edge. Unused for messages.
	 */
	int resample_fd;
	bool is_msi;
	unsigned line; /* GSI, unless is_msi */
	uint64_t msi_address;
	uint32_t msi_data;
};

struct irqfd;

/*
 * Makes irqfds. With an accelerator that has interrupt controllers in the kernel the signal reaches the guest
 * without waking this process; else a watcher on the event loop does the same. add, update and remove: the
 * main thread, or any while the vCPUs and the signallers are at rest.
 */
struct irqfd_maker {
	/* Owned by the caller, removed before its eventfds are closed; NULL with err set. */
	struct irqfd *(*add)(void *opaque, const struct irqfd_config *config, struct err *err);
	/* The guest has given a message another address or data. */
	int (*update)(void *opaque, struct irqfd *irqfd, uint64_t msi_address, uint32_t msi_data,
		      struct err *err);
	void (*remove)(void *opaque, struct irqfd *irqfd);
	void *opaque;
};

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
