/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APICs of all CPUs, one device: xAPIC and x2APIC, timers, inter-processor interrupts, and the way
 * of the PIC's interrupts to the CPU. Guarded by the interrupt lock. Intel SDM vol. 3, chapter 11 (APIC).
 *
 * The machine routes a CPU's accesses to its APIC page, its APIC MSRs and its CR8 here; what a CPU must take
 * comes back through struct cpu_pins and lapic_acknowledge.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;
struct lapic_state;

#define LAPIC_CPUS_MAX  255 /* xAPIC ids 0-254: 0xff is the broadcast */
#define LAPIC_MMIO_BASE 0xfee00000u
#define LAPIC_MMIO_SIZE 0x1000u
#define LAPIC_MMIO_NONE UINT64_MAX

struct lapic_config {
	unsigned cpu_count;   /* CPU n has APIC id n; CPU 0 is the bootstrap processor */
	bool x2apic;          /* CPUID offers it: IA32_APIC_BASE.EXTD may be set */
	uint8_t phys_bits;    /* guest-physical width, for the #GP rules of IA32_APIC_BASE */
	uint64_t timer_hz;    /* input clock of the timer's divider; 0: LAPIC_TIMER_HZ */
	struct cpu_pins pins; /* called with the interrupt lock held */
	/* INTA cycles towards the PIC; called with the interrupt lock held. NULL: there is no PIC. */
	int (*extint_acknowledge)(void *opaque);
	void *extint_opaque;
	struct eoi_sink eoi; /* set may be NULL and be given later by lapic_set_eoi_sink */
	/*
	 * When (CLOCK_MONOTONIC ns) the TSC of cpu reaches tsc; a time not after now for the past. Called on
	 * that CPU's thread by an MSR write, and by any thread after a resume; must not take the interrupt
	 * lock. NULL: no TSC-deadline mode.
	 */
	uint64_t (*tsc_to_monotonic_ns)(void *opaque, unsigned cpu, uint64_t tsc);
	void *tsc_opaque;
};

#define LAPIC_TIMER_HZ                                                                                       \
	1000000000ull /* 1 GHz, so that counts are ns; Linux calibrates it or reads CPUID 0x15 */

struct device *lapic_create(const struct device_env *env, const struct lapic_config *config, struct err *err);

/* The I/O APIC is made with the sink of the local APICs, so its own comes afterwards. Before vCPUs run. */
void lapic_set_eoi_sink(struct device *device, const struct eoi_sink *eoi);

/* Takes messages of I/O APIC and MSI. deliver expects the interrupt lock held. */
struct intr_sink lapic_sink(struct device *device);

/*
 * LINT0 (the PIC's INT output) or LINT1 (NMI) of every CPU, lint 0 or 1. Its set expects the interrupt lock
 * HELD. In virtual wire mode, and while a CPU's APIC is disabled, LINT0 reaches the CPU as ExtINT and LINT1
 * as NMI.
 */
struct irq_line lapic_lint_line(struct device *device, unsigned lint);

/* Address of this CPU's APIC page, or LAPIC_MMIO_NONE while disabled or in x2APIC mode. Takes no lock. */
uint64_t lapic_mmio_page(const struct device *device, unsigned cpu);

/* Accesses of a CPU to its page, offset 0-0xfff. Take the interrupt lock. */
uint64_t lapic_mmio_read(struct device *device, unsigned cpu, uint64_t offset, unsigned size_bytes);
void lapic_mmio_write(struct device *device, unsigned cpu, uint64_t offset, uint64_t value,
		      unsigned size_bytes);

/* IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0), x2APIC (0x800-0x8ff). False: #GP(0). Take the interrupt
 * lock. */
bool lapic_msr_read(struct device *device, unsigned cpu, uint32_t index, uint64_t *value);
bool lapic_msr_write(struct device *device, unsigned cpu, uint32_t index, uint64_t value);

/* CR8 is TPR[7:4]. The write takes the interrupt lock. */
uint64_t lapic_cr8_read(struct device *device, unsigned cpu);
void lapic_cr8_write(struct device *device, unsigned cpu, uint64_t value);

/*
 * The CPU takes an interrupt: the highest fixed one above the processor priority, else the PIC's; its vector,
 * or -1. Takes the interrupt lock.
 */
int lapic_acknowledge(struct device *device, unsigned cpu);

/* Delivers an MSI. Takes the interrupt lock. */
void lapic_msi(struct device *device, uint64_t address, uint32_t data);

/* Raises NMI at one CPU (monitor command, watchdog) as its NMI pin would. */
void lapic_nmi(struct device *device, unsigned cpu);

/*
 * One CPU's APIC as another's can be: an accelerator's own. LINT pins are not in it. rest: stops the host's
 * timers while others count; class->resume starts them again and gives the CPUs' pins anew. Take the
 * interrupt lock.
 */
void lapic_state_get(struct device *device, unsigned cpu, struct lapic_state *state);
void lapic_state_set(struct device *device, unsigned cpu, const struct lapic_state *state);
void lapic_rest(struct device *device);
