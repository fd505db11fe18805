/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pair of 8259A interrupt controllers of a PC: ports 0x20, 0xa0, edge/level registers 0x4d0. Guarded by
 * the interrupt lock. Intel 8259A data sheet; the ELCR of the 82371SB.
 */
#pragma once

#include <stdbool.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;
struct pic_state;

struct pic_config {
	/* INT of the first controller; set is called with the interrupt lock held (give it lapic_lint_line).
	 */
	struct irq_line output;
};

struct device *pic_create(const struct device_env *env, const struct pic_config *config, struct err *err);

/* Input irq, 0-15 but not 2 (the cascade). Its set takes the interrupt lock. */
struct irq_line pic_input(struct device *device, unsigned irq);

/* The CPU's INTA cycles: the vector, a spurious one if no request is left. The interrupt lock must be held.
 */
int pic_acknowledge(struct device *device);

/* Whether INT is raised. The interrupt lock must be held. */
bool pic_has_interrupt(const struct device *device);

/* The chips as another PIC can take them over; set gives INT anew to who takes it. Take the interrupt lock.
 */
void pic_state_get(struct device *device, struct pic_state *state);
void pic_state_set(struct device *device, const struct pic_state *state);
