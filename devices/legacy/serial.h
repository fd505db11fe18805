/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550A serial port at eight I/O ports, over a chardev. Knows nothing of what is behind the chardev or the
 * line. National Semiconductor PC16550D data sheet.
 */
#pragma once

#include <stdint.h>

#include "vmm/core/irq.h"

struct chardev;
struct device;
struct device_env;
struct err;

struct serial_config {
	const char *id;     /* device id; NULL: "serial" */
	uint16_t base_port; /* 0x3f8 for COM1 */
	struct irq_line irq;
	int gsi; /* for the firmware tables; -1: none */
	struct chardev
		*chardev; /* borrowed, outlives the device; NULL: output is swallowed, no input comes */
};

/*
 * Registers the port range with the board lock and attaches to the chardev (whose callbacks take the board
 * lock). A device may be destroyed only when the loop's thread is in none of the chardev's callbacks.
 */
struct device *serial_create(const struct device_env *env, const struct serial_config *config,
			     struct err *err);
