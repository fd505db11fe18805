/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the local APIC share: registers of one CPU's APIC and the functions between registers
 * (lapic.c), messages and priorities (lapic_deliver.c) and the timer (lapic_timer.c). Only those files
 * include this.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/legacy/lapic.h"
#include "vmm/core/device.h"

/* Register offsets in the page; an x2APIC MSR is 0x800 + offset / 16. Intel SDM vol. 3, table 11-1 and 11-6.
 */
enum lapic_register {
	LAPIC_ID = 0x020,
	LAPIC_VERSION = 0x030,
	LAPIC_TPR = 0x080,
	LAPIC_PPR = 0x0a0,
	LAPIC_EOI = 0x0b0,
	LAPIC_LDR = 0x0d0,
	LAPIC_DFR = 0x0e0,
	LAPIC_SVR = 0x0f0,
	LAPIC_ISR = 0x100,
	LAPIC_TMR = 0x180,
	LAPIC_IRR = 0x200,
	LAPIC_ESR = 0x280,
	LAPIC_ICR_LOW = 0x300,
	LAPIC_ICR_HIGH = 0x310,
	LAPIC_LVT_FIRST = 0x320,
	LAPIC_LVT_LAST = 0x370,
	LAPIC_TIMER_INITIAL = 0x380,
	LAPIC_TIMER_CURRENT = 0x390,
	LAPIC_TIMER_DIVIDE = 0x3e0,
	LAPIC_SELF_IPI = 0x3f0,
};

enum lapic_lvt {
	LAPIC_LVT_TIMER,
	LAPIC_LVT_THERMAL,
	LAPIC_LVT_PERF,
	LAPIC_LVT_LINT0,
	LAPIC_LVT_LINT1,
	LAPIC_LVT_ERROR,
	LAPIC_LVT_COUNT
};

#define LAPIC_LVT_DELIVERY   0x700u
#define LAPIC_LVT_REMOTE_IRR (1u << 14)
#define LAPIC_LVT_LEVEL      (1u << 15)
#define LAPIC_LVT_MASKED     (1u << 16)
#define LAPIC_LVT_TIMER_MODE (3u << 17)
#define LAPIC_TIMER_ONE_SHOT (0u << 17)
#define LAPIC_TIMER_PERIODIC (1u << 17)
#define LAPIC_TIMER_DEADLINE (2u << 17)

#define LAPIC_SVR_ENABLED      (1u << 8)

#define LAPIC_BASE_BSP    (1ull << 8)
#define LAPIC_BASE_X2APIC (1ull << 10)
#define LAPIC_BASE_ENABLE (1ull << 11)

#define LAPIC_ESR_SEND_VECTOR    (1u << 5)
#define LAPIC_ESR_RECEIVE_VECTOR (1u << 6)
#define LAPIC_ESR_REGISTER       (1u << 7)

struct lapic;
struct device_timer;

/* One CPU's APIC. Everything under the interrupt lock, except base and tpr, which the CPU's thread may read
 * without. */
struct lapic_cpu {
	struct lapic *lapic;
	struct device_timer *timer;
	uint32_t index; /* CPU and APIC id */
	uint64_t base;  /* IA32_APIC_BASE */
	uint32_t tpr;
	uint32_t ldr; /* xAPIC only: x2APIC derives it from the id */
	uint32_t dfr;
	uint32_t svr;
	uint32_t irr[8], isr[8], tmr[8]; /* vector v: bit v % 32 of word v / 32 */
	uint32_t esr;                    /* as last latched by a write */
	uint32_t esr_pending;            /* errors since */
	uint32_t icr_low, icr_high;
	uint32_t lvt[LAPIC_LVT_COUNT];
	bool lint[2];        /* levels of LINT0 and LINT1 */
	bool extint_pending; /* a message asked for an INTA cycle to the PIC */
	bool intr;           /* level last given to the CPU's pin */
	/* The timer counts start_count down to 0 from start_ns on, then stops or begins anew with the initial
	 * count. */
	bool timer_running;
	uint32_t timer_initial;
	uint32_t timer_divide;
	uint32_t timer_start_count;
	uint64_t timer_start_ns;
	uint64_t tsc_deadline; /* 0: not armed */
	uint64_t tsc_deadline_ns;
};

struct lapic {
	struct device device;
	struct lapic_config config;
	pthread_mutex_t *lock; /* the interrupt lock */
	struct loop *loop;
	uint32_t cpu_count;
	uint32_t lowest_last;  /* CPU that got the last lowest-priority message: ties go round from here */
	uint64_t saved_now_ns; /* device time at the last pause, 0: never paused */
	uint64_t metric_ipis, metric_messages, metric_eois, metric_timer_interrupts;
	struct lapic_cpu cpu[];
};

static inline bool lapic_cpu_is_enabled(const struct lapic_cpu *cpu)
{
	return cpu->base & LAPIC_BASE_ENABLE;
}

static inline bool lapic_cpu_is_x2apic(const struct lapic_cpu *cpu)
{
	return cpu->base & LAPIC_BASE_X2APIC;
}

/* lapic_deliver.c */
void lapic_cpu_update(struct lapic_cpu *cpu);
/* As lapic_cpu_update, and tells the CPU even if nothing has changed: it may be another one. */
void lapic_cpu_give_pin(struct lapic_cpu *cpu);
void lapic_cpu_accept(struct lapic_cpu *cpu, uint8_t vector, bool level_triggered);
void lapic_cpu_error(struct lapic_cpu *cpu, uint32_t esr_bit);
void lapic_cpu_eoi(struct lapic_cpu *cpu);
void lapic_cpu_lint(struct lapic_cpu *cpu, unsigned lint, bool level);
void lapic_cpu_lvt_fixed(struct lapic_cpu *cpu, enum lapic_lvt lvt);
void lapic_cpu_send(struct lapic_cpu *cpu, uint32_t icr_low, uint32_t destination);
uint32_t lapic_cpu_ppr(const struct lapic_cpu *cpu);
uint32_t lapic_cpu_ldr(const struct lapic_cpu *cpu);
int lapic_cpu_acknowledge(struct lapic_cpu *cpu);
void lapic_deliver(void *opaque, const struct intr_message *message);

/* lapic.c: what an INIT does to the APIC. */
void lapic_cpu_init(struct lapic_cpu *cpu);

/* lapic_timer.c; the *_write functions take register values already checked for reserved bits. */
void lapic_timer_fire(void *opaque, uint64_t now_ns);
void lapic_timer_sync(struct lapic_cpu *cpu, uint64_t now_ns);
void lapic_timer_arm(struct lapic_cpu *cpu, uint64_t now_ns);
void lapic_timer_write_lvt(struct lapic_cpu *cpu, uint32_t value);
void lapic_timer_write_initial(struct lapic_cpu *cpu, uint32_t value);
void lapic_timer_write_divide(struct lapic_cpu *cpu, uint32_t value);
void lapic_timer_write_deadline(struct lapic_cpu *cpu, uint64_t tsc);
uint32_t lapic_timer_current(struct lapic_cpu *cpu);
void lapic_timer_pause(struct lapic_cpu *cpu);
void lapic_timer_resume(struct lapic_cpu *cpu, uint64_t shift_ns);
