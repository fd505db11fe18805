/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug-exit port: a guest's write ends the machine with the value written. The port is that of QEMU's
 * isa-debug-exit (four ports); the meaning of the value is the machine's.
 */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;

#define DEBUG_EXIT_PORT 0x501 /* by default */
#define DEBUG_EXIT_SIZE 4

struct debug_exit_config {
	uint16_t base_port;
	void (*exit)(void *opaque, uint32_t value); /* board lock held; must not destroy devices */
	void *exit_opaque;
};

struct device *debug_exit_create(const struct device_env *env, const struct debug_exit_config *config,
				 struct err *err);
