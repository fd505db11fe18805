/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reset control register. Knows nothing of what a reset does. Intel 82371SB data sheet, RC register
 * (0xcf9).
 *
 * The register shares its address with the second byte of PCI's CONFADD (0xcf8), and the access's size tells
 * them apart: the chipset takes double words at 0xcf8 as CONFADD and anything smaller as I/O ports. So the
 * range is all four bytes; double words go to the PCI host bridge, if there is one, and never reset the
 * machine.
 *
 *   7..4: 0      3: full reset (power cycle), kept      2: rising edge resets      1: hard, else CPU only 0:
 * 0
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/reset_port.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#define CONFADD_ADDRESS 0xcf8
#define CONFADD_SIZE    4
#define RESET_PORT_CPU  0x04
#define RESET_PORT_HARD 0x02
#define RESET_PORT_KEPT 0x0e

struct reset_port {
	struct device device;
	struct reset_port_config config;
	struct bus *pio;
	uint8_t value; /* board lock */
};

static uint64_t reset_port_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	const struct reset_port *port = opaque;
	const unsigned at = RESET_PORT_ADDRESS - CONFADD_ADDRESS;
	uint64_t value = UINT64_MAX;

	if (size_bytes == CONFADD_SIZE && port->config.confadd_read)
		return port->config.confadd_read(port->config.confadd_opaque);
	if (size_bytes < CONFADD_SIZE && at - offset < size_bytes)
		value ^= (uint64_t)(uint8_t)~port->value << 8 * (at - offset);
	return value;
}

static void reset_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct reset_port *port = opaque;
	const unsigned at = RESET_PORT_ADDRESS - CONFADD_ADDRESS;
	bool rises;

	if (size_bytes == CONFADD_SIZE && port->config.confadd_write)
		port->config.confadd_write(port->config.confadd_opaque, (uint32_t)value);
	if (size_bytes == CONFADD_SIZE || at - offset >= size_bytes)
		return;
	value >>= 8 * (at - offset);
	rises = (value & RESET_PORT_CPU) && !(port->value & RESET_PORT_CPU);
	port->value = value & RESET_PORT_KEPT;
	if (rises && port->config.reset)
		port->config.reset(port->config.reset_opaque, value & RESET_PORT_HARD);
}

static void reset_port_reset(struct device *device)
{
	((struct reset_port *)device)->value = 0;
}

static void reset_port_destroy(struct device *device)
{
	bus_remove(((struct reset_port *)device)->pio, CONFADD_ADDRESS);
	free(device);
}

static const struct state_field reset_port_state[] = {
	STATE_FIELD(STATE_U8, struct reset_port, value),
	{.name = NULL},
};

static const struct device_class reset_port_class = {
	.name = "reset-port",
	.state = reset_port_state,
	.reset = reset_port_reset,
	.destroy = reset_port_destroy,
};

static const struct bus_ops reset_port_ops = {
	.read = reset_port_read, .write = reset_port_write, .size_max = CONFADD_SIZE};

struct device *reset_port_create(const struct device_env *env, const struct reset_port_config *config,
				 struct err *err)
{
	struct reset_port *port = calloc(1, sizeof(*port));

	if (!port) {
		err_set(err, -ENOMEM, "reset-port: no memory");
		return NULL;
	}
	port->device.class = &reset_port_class;
	snprintf(port->device.id, sizeof(port->device.id), "reset-port");
	port->device.description = (struct device_description){
		.pio_base = {RESET_PORT_ADDRESS},
		.pio_size = {1},
		.irq = {-1, -1},
	};
	port->config = *config;
	port->pio = env->pio;
	if (bus_add(env->pio,
		    &(struct bus_range){.name = "reset-port",
					.base = CONFADD_ADDRESS,
					.size = CONFADD_SIZE,
					.ops = &reset_port_ops,
					.opaque = port,
					.lock = env->lock},
		    err)) {
		free(port);
		return NULL;
	}
	return &port->device;
}
