/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System control port A (0x92): fast A20 gate and fast CPU reset. IBM PS/2 Hardware Interface Technical
 * Reference, system board.
 */
#pragma once

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;

struct port92_config {
	struct irq_line
		a20; /* level: address bit 20 passes; called only on a change by the guest or a reset */
	void (*reset)(void *opaque); /* bit 0 rises; board lock held */
	void *reset_opaque;
};

struct device *port92_create(const struct device_env *env, const struct port92_config *config,
			     struct err *err);
