/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PC's wiring of the x87 error pin: FERR# raises IRQ 13, and a write to port 0xf0 takes it back. Used by
 * guests that leave CR0.NE clear. IBM AT Technical Reference, math coprocessor control.
 */
#pragma once

#include <stdbool.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;

struct ferr_config {
	struct irq_line irq; /* IRQ 13 */
};

struct device *ferr_create(const struct device_env *env, const struct ferr_config *config, struct err *err);

/* The level of FERR# (active: true) of any CPU, from accel_host.ferr. Takes the board lock. */
void ferr_set(struct device *device, bool level);
