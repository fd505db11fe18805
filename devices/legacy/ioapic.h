/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 82093AA I/O APIC with 24 pins, version 0x11 (without EOI register). Guarded by the interrupt lock.
 * Intel 82093AA data sheet.
 */
#pragma once

#include <stdint.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;
struct ioapic_state;

#define IOAPIC_PINS 24

struct ioapic_config {
	uint64_t base;         /* 0xfec00000 */
	uint8_t apic_id;       /* at reset; the guest may change it */
	struct intr_sink sink; /* the local APICs */
	/* A level-triggered interrupt of a pin was ended (EOI). Interrupt lock held; may be NULL. */
	void (*ended)(void *opaque, unsigned pin);
	/* A redirection entry has got another value. Interrupt lock held; may be NULL. */
	void (*routed)(void *opaque, unsigned pin, uint64_t entry);
	void *opaque; /* of both */
};

struct device *ioapic_create(const struct device_env *env, const struct ioapic_config *config,
			     struct err *err);

/* Input pin, 0-23. Its set takes the interrupt lock. */
struct irq_line ioapic_input(struct device *device, unsigned pin);

/* Where the local APICs broadcast their EOIs. */
struct eoi_sink ioapic_eoi_sink(struct device *device);

/* The chip as another can take it over; set sends the levels that wait. Take the interrupt lock. */
void ioapic_state_get(struct device *device, struct ioapic_state *state);
void ioapic_state_set(struct device *device, const struct ioapic_state *state);
