/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset control register at port 0xcf9, which is also the ACPI reset register (value 0x06). Intel 82371SB, RC
 * register.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct device;
struct device_env;
struct err;

#define RESET_PORT_ADDRESS 0xcf9
#define RESET_PORT_VALUE   0x06 /* for FADT.RESET_VALUE */

struct reset_port_config {
	/* hard: the whole platform, else the CPUs only; board lock held; must not destroy devices. */
	void (*reset)(void *opaque, bool hard);
	void *reset_opaque;
	/* PCI's CONFADD: double words at 0xcf8. NULL: there is no PCI, they read as all ones and write
	 * nothing. */
	uint32_t (*confadd_read)(void *opaque);
	void (*confadd_write)(void *opaque, uint32_t value);
	void *confadd_opaque;
};

struct device *reset_port_create(const struct device_env *env, const struct reset_port_config *config,
				 struct err *err);
