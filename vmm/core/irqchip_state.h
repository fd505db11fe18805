/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The neutral state of a PC's interrupt controllers and its interval timer, as the
 * guest could observe it: what devices/legacy/{pic,ioapic,pit,lapic}.c and the controllers of an accelerator
 * (KVM's) both save and load. Registers are encoded as in the data sheets (8259A, 82093AA, 8254; Intel SDM
 * vol. 3, chapter 11); times are CLOCK_MONOTONIC in ns.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IRQCHIP_IOAPIC_PINS 24
#define IRQCHIP_LVTS        6 /* timer, thermal, performance, LINT0, LINT1, error */

/* What a write to a PIC's odd port is. */
enum pic_init_state { PIC_INIT_DONE, PIC_INIT_ICW2, PIC_INIT_ICW3, PIC_INIT_ICW4 };

/* One 8259A. Bit n stands for input n. */
struct pic_chip_state {
	uint8_t irr, isr, imr;
	uint8_t lines;       /* levels of the inputs, as last seen; an edge is a rise of one */
	uint8_t elcr;        /* level-triggered inputs */
	uint8_t lowest;      /* input of the lowest priority */
	uint8_t vector_base; /* ICW2 */
	uint8_t init_state;  /* enum pic_init_state */
	bool single;         /* ICW1 */
	bool needs_icw4;     /* ICW1 */
	bool read_isr;       /* OCW3 */
	bool poll;           /* OCW3 */
	bool special_mask;   /* OCW3 */
	bool auto_eoi;       /* ICW4 */
	bool rotate_on_auto_eoi;
	bool fully_nested; /* ICW4 */
};

struct pic_state {
	struct pic_chip_state chip[2];
};

struct ioapic_state {
	uint8_t select;
	uint8_t id;
	uint32_t lines;                      /* bit n: pin n is asserted */
	uint64_t entry[IRQCHIP_IOAPIC_PINS]; /* redirection entries, Remote IRR included */
};

struct pit_channel_state {
	uint8_t mode;   /* 0-5 */
	uint8_t access; /* 1: low byte, 2: high byte, 3: low then high */
	bool bcd;
	bool gate;
	bool running;       /* a count was loaded and counts */
	uint32_t count;     /* 1-65536: what the counting element was last loaded with */
	uint64_t loaded_ns; /* when */
	uint8_t write_low;  /* first byte of two */
	bool write_second;  /* the next write is the high byte */
	bool read_second;   /* the next read is the high byte */
	uint16_t latch;     /* valid while latched */
	bool latched;
	uint8_t status; /* valid while status_latched */
	bool status_latched;
};

struct pit_state {
	struct pit_channel_state channel[3];
	uint8_t control; /* port 0x61, bits 3-0: bit 0 gate of channel 2, bit 1 speaker */
};

/* One CPU's local APIC. */
struct lapic_state {
	uint64_t base; /* IA32_APIC_BASE */
	uint32_t id;   /* APIC id, not shifted */
	uint32_t tpr, ldr, dfr, svr;
	uint32_t irr[8], isr[8], tmr[8]; /* vector v: bit v % 32 of word v / 32 */
	uint32_t esr;
	uint32_t icr_low, icr_high;
	uint32_t lvt[IRQCHIP_LVTS];
	uint32_t timer_initial;
	uint32_t timer_current; /* counts left now; one-shot and periodic */
	uint32_t timer_divide;
	uint64_t tsc_deadline; /* 0: not armed */
};

/* Everything of a machine that is not a CPU's. */
struct irqchip_state {
	struct pic_state pic;
	struct ioapic_state ioapic;
	struct pit_state pit;
};
