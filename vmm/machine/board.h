/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A board: where memory lies, which devices there are, and how their lines are wired. The only place that
 * knows a device's own header. Adding a board is one file and one row of board_table.
 */
#pragma once

#include <stdbool.h>

struct boot_x86_config;
struct err;
struct machine;

struct board {
	const char *name;
	const char *summary;
	/* Adds guest memory of config.memory_bytes. */
	int (*add_memory)(struct machine *machine, struct err *err);
	/* Creates and wires the devices, in the order in which they are reset. */
	int (*add_devices)(struct machine *machine, struct err *err);
	/* What firmware tables say of the wiring. */
	void (*describe)(const struct machine *machine, struct boot_x86_config *boot);
	/* After a reset of the devices: what firmware leaves set up. Every vCPU is parked. */
	void (*act_as_firmware)(struct machine *machine);
	/* A GSI changes its level, and the devices are its controllers. The router's lock is held. */
	void (*gsi_set)(struct machine *machine, unsigned gsi, bool level);
	/* Somebody presses the power button. */
	void (*power_button)(struct machine *machine);
	/* Somebody presses Ctrl-Alt-Del on the keyboard. 0 or -errno. */
	int (*ctrl_alt_del)(struct machine *machine, struct err *err);
};

extern const struct board board_microvm;

/* The board of this name, or NULL with err naming the boards there are. */
const struct board *board_find(const char *name, struct err *err);
