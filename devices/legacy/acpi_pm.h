/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI fixed hardware: PM1a event and control blocks and the PM timer. Always in ACPI mode (SCI_EN is set; no
 * SMI command port). ACPI specification 6.4, 4.8.3.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;

#define ACPI_PM_TIMER_HZ       3579545u
#define ACPI_PM_EVENT_OFFSET   0 /* 4 bytes: status, enable */
#define ACPI_PM_CONTROL_OFFSET 4 /* 2 bytes */
#define ACPI_PM_TIMER_OFFSET   8 /* 4 bytes */
#define ACPI_PM_SIZE           12
#define ACPI_PM_S5_TYPE        5 /* SLP_TYPa of \_S5 in the DSDT */

struct acpi_pm_config {
	uint16_t base_port;              /* 0x600 */
	struct irq_line sci;             /* IRQ 9, level */
	bool timer_24bit;                /* the PM timer counts 24 bits (FADT: TMR_VAL_EXT clear), else 32 */
	void (*power_off)(void *opaque); /* the guest entered S5; board lock held; must not destroy devices */
	void *power_off_opaque;
};

struct device *acpi_pm_create(const struct device_env *env, const struct acpi_pm_config *config,
			      struct err *err);

/* Presses the power button. Takes the board lock. */
void acpi_pm_power_button(struct device *device);
