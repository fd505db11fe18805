/* SPDX-License-Identifier: Apache-2.0 */
/* The debug-exit port. Knows nothing of exit codes. Reads answer zero, as those of QEMU's isa-debug-exit do.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/debug_exit.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

struct debug_exit {
	struct device device;
	struct debug_exit_config config;
	struct bus *pio;
};

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct debug_exit *port = opaque;

	if (port->config.exit)
		port->config.exit(port->config.exit_opaque, (uint32_t)value);
}

static void debug_exit_reset(struct device *device)
{
}

static void debug_exit_destroy(struct device *device)
{
	struct debug_exit *port = (struct debug_exit *)device;

	bus_remove(port->pio, port->config.base_port);
	free(port);
}

static const struct device_class debug_exit_class = {
	.name = "debug-exit",
	.reset = debug_exit_reset,
	.destroy = debug_exit_destroy,
};

static const struct bus_ops debug_exit_ops = {
	.read = debug_exit_read, .write = debug_exit_write, .size_max = 4};

struct device *debug_exit_create(const struct device_env *env, const struct debug_exit_config *config,
				 struct err *err)
{
	struct debug_exit *port = calloc(1, sizeof(*port));

	if (!port) {
		err_set(err, -ENOMEM, "debug-exit: no memory");
		return NULL;
	}
	port->device.class = &debug_exit_class;
	snprintf(port->device.id, sizeof(port->device.id), "debug-exit");
	port->device.description = (struct device_description){
		.pio_base = {config->base_port},
		.pio_size = {DEBUG_EXIT_SIZE},
		.irq = {-1, -1},
	};
	port->config = *config;
	port->pio = env->pio;
	if (bus_add(env->pio,
		    &(struct bus_range){.name = "debug-exit",
					.base = config->base_port,
					.size = DEBUG_EXIT_SIZE,
					.ops = &debug_exit_ops,
					.opaque = port,
					.lock = env->lock},
		    err)) {
		free(port);
		return NULL;
	}
	return &port->device;
}
