/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MC146818 real-time clock with 128 bytes of CMOS memory at ports 0x70-0x71. Follows the host's clock with an
 * offset that changes only when the guest sets the time. Motorola MC146818 data sheet; century byte as in
 * ACPI's FADT (0x32).
 */
#pragma once

#include <stdint.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;

#define RTC_CENTURY_INDEX 0x32 /* for FADT.CENTURY */

struct rtc_config {
	struct irq_line irq;                   /* IRQ 8 */
	uint64_t ram_below_4g_bytes;           /* RAM from address 0, for the CMOS memory-size bytes */
	uint64_t ram_above_4g_bytes;           /* RAM from 4 GiB */
	int64_t utc_offset_s;                  /* what the clock shows beyond UTC at power-on */
	uint64_t (*realtime_ns)(void *opaque); /* ns since 1970; NULL: the host's CLOCK_REALTIME */
	void *realtime_opaque;
};

struct device *rtc_create(const struct device_env *env, const struct rtc_config *config, struct err *err);
