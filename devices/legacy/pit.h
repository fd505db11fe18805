/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 8254 interval timer at ports 0x40-0x43 and the system control port 0x61 (gate and output of channel 2,
 * refresh toggle). Intel 8254 data sheet; port 0x61 as in the 82371SB. The head of pit.c says how late ticks
 * are caught up.
 */
#pragma once

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;
struct pit_state;

#define PIT_HZ 1193182u /* 14.31818 MHz / 12 */

struct pit_config {
	struct irq_line irq; /* OUT of channel 0: IRQ 0 (I/O APIC pin 2) */
};

struct device *pit_create(const struct device_env *env, const struct pit_config *config, struct err *err);

/*
 * The counters as another 8254 can take them over. rest: stops the host's timer while another one counts;
 * class->resume starts it again. The board lock must be held.
 */
void pit_state_get(struct device *device, struct pit_state *state);
void pit_state_set(struct device *device, const struct pit_state *state);
void pit_rest(struct device *device);
