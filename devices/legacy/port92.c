/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System control port A. Knows nothing of the keyboard controller, which has an A20 gate of its own: whoever
 * holds the line joins the two. IBM PS/2 Hardware Interface Technical Reference, system board, port 0x92.
 *
 *   7..2: not implemented, read as written      1: A20 gate      0: a rising edge resets the CPU
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/port92.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#define PORT92_ADDRESS 0x92
#define PORT92_RESET   0x01
#define PORT92_A20     0x02

struct port92 {
	struct device device;
	struct port92_config config;
	struct bus *pio;
	uint8_t value; /* board lock */
};

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return ((struct port92 *)opaque)->value;
}

static void port92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct port92 *port = opaque;
	uint8_t changed = port->value ^ (uint8_t)value;

	port->value = (uint8_t)value;
	if (changed & PORT92_A20)
		irq_line_set(&port->config.a20, value & PORT92_A20);
	if ((changed & PORT92_RESET) && (value & PORT92_RESET) && port->config.reset)
		port->config.reset(port->config.reset_opaque);
}

/* The boot protocols of kernels expect A20 open, and no firmware runs here that would open it. */
static void port92_reset(struct device *device)
{
	struct port92 *port = (struct port92 *)device;

	port->value = PORT92_A20;
	irq_line_set(&port->config.a20, true);
}

static void port92_destroy(struct device *device)
{
	bus_remove(((struct port92 *)device)->pio, PORT92_ADDRESS);
	free(device);
}

static const struct state_field port92_state[] = {
	STATE_FIELD(STATE_U8, struct port92, value),
	{.name = NULL},
};

static int port92_loaded(struct device *device, struct err *err)
{
	struct port92 *port = (struct port92 *)device;

	irq_line_set(&port->config.a20, port->value & PORT92_A20);
	return 0;
}

static const struct device_class port92_class = {
	.name = "port92",
	.state = port92_state,
	.reset = port92_reset,
	.loaded = port92_loaded,
	.destroy = port92_destroy,
};

static const struct bus_ops port92_ops = {.read = port92_read, .write = port92_write, .size_max = 1};

struct device *port92_create(const struct device_env *env, const struct port92_config *config,
			     struct err *err)
{
	struct port92 *port = calloc(1, sizeof(*port));

	if (!port) {
		err_set(err, -ENOMEM, "port92: no memory");
		return NULL;
	}
	port->device.class = &port92_class;
	snprintf(port->device.id, sizeof(port->device.id), "port92");
	port->device.description = (struct device_description){
		.pio_base = {PORT92_ADDRESS},
		.pio_size = {1},
		.irq = {-1, -1},
	};
	port->config = *config;
	port->pio = env->pio;
	port->value = PORT92_A20;
	if (bus_add(env->pio,
		    &(struct bus_range){.name = "port92",
					.base = PORT92_ADDRESS,
					.size = 1,
					.ops = &port92_ops,
					.opaque = port,
					.lock = env->lock},
		    err)) {
		free(port);
		return NULL;
	}
	return &port->device;
}
