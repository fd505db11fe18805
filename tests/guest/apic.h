/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC as payloads use it: flat MMIO page, vectors of the interrupt payloads. Intel SDM vol. 3,
 * chapter 10. */
#pragma once

#include "tests/guest/runtime.h"

#define APIC          0xfee00000ul
#define APIC_ID       0x20
#define APIC_VERSION  0x30
#define APIC_TPR      0x80
#define APIC_PPR      0xa0
#define APIC_EOI      0xb0
#define APIC_SVR      0xf0
#define APIC_ISR      0x100
#define APIC_IRR      0x200
#define APIC_ICR_LOW  0x300
#define APIC_ICR_HIGH 0x310
#define APIC_TIMER    0x320
#define APIC_INITIAL  0x380
#define APIC_CURRENT  0x390
#define APIC_DIVIDE   0x3e0
#define ICR_INIT      0x500u
#define ICR_STARTUP   0x600u
#define ICR_ASSERT    0x4000u
#define ICR_SELF      0x40000u
#define ICR_OTHERS    0xc0000u

static inline uint32_t apic_read(unsigned reg)
{
	return *(volatile uint32_t *)(APIC + reg);
}

static inline void apic_write(unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)(APIC + reg) = value;
}

static inline void apic_enable(void)
{
	apic_write(APIC_SVR, 0x1ff);
}

static inline void ipi_wait(void)
{
	while (apic_read(APIC_ICR_LOW) & 0x1000)
		__asm__ volatile("pause");
}
