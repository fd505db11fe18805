/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The i8042 keyboard controller (ports 0x60, 0x64) with a PS/2 keyboard and a PS/2 mouse: A20 gate and CPU
 * reset. IBM PS/2 Hardware Interface Technical Reference: keyboard and auxiliary device controller; keyboard;
 * mouse.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;

struct i8042_config {
	struct irq_line keyboard_irq; /* IRQ 1 */
	struct irq_line mouse_irq;    /* IRQ 12 */
	struct irq_line
		a20; /* level: address bit 20 passes; called only on a change by the guest or a reset */
	void (*reset)(void *opaque); /* the guest pulls the CPU's reset line; board lock held; must not
					destroy devices */
	void *reset_opaque;
};

struct device *i8042_create(const struct device_env *env, const struct i8042_config *config, struct err *err);

/*
 * A key by its set 1 make code (0x01-0x58; with 0xe000 for an extended key, e.g. 0xe053 is Delete) goes down
 * or up. -EINVAL: no such key; -EAGAIN: the keyboard's buffer is full or the keyboard is not scanning. Takes
 * the board lock.
 */
int i8042_key(struct device *device, uint16_t set1_code, bool down);

/* Presses and releases Ctrl-Alt-Del. Errors as of i8042_key. Takes the board lock. */
int i8042_ctrl_alt_del(struct device *device);

/* Movement in mouse counts (right and up are positive) and buttons (bit 0 left, 1 right, 2 middle). Takes the
 * board lock. */
void i8042_mouse_move(struct device *device, int dx, int dy, uint8_t buttons);
