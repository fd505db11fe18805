/* SPDX-License-Identifier: Apache-2.0 */
/* Which accelerator runs a machine: by name, or the best whose probe succeeds. Knows them only through
 * accel_table. */
#pragma once

#include "vmm/core/accel.h"

struct err;

/* 0 when name is "auto" or built in; else -EINVAL with a message that names what there is. */
int accel_choice_check(const char *name, struct err *err);

/*
 * Probes and chooses; NULL with err set when none works, saying why of each. reason (of size bytes) becomes
 * one line that says what was taken and why.
 */
const struct accel_ops *accel_choice_make(const char *name, char *reason, unsigned long size,
					  struct err *err);

/*
 * Whether this one is fit to be chosen by "auto": it works, and runs guest code as fast as it should. finding
 * (of size bytes) becomes a phrase about the latter, or empty. 0, or -errno with err saying what is wrong.
 */
int accel_choice_judge(const struct accel_ops *accel, char *finding, unsigned long size, struct err *err);

/*
 * Where the interrupt controllers are with this accelerator: config_irqchip is an enum machine_irqchip.
 * -ENOTSUP with a message that names --irqchip when what was asked for cannot be had.
 */
int accel_choice_irqchip(const struct accel_ops *accel, uint32_t config_irqchip, enum accel_irqchip *irqchip,
			 struct err *err);
/* "kernel", "split" or "off". */
const char *accel_choice_irqchip_name(enum accel_irqchip irqchip);
