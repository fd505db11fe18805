/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST code and delay ports. Knows nothing of who shows the code. On a PC both are write-only: reads float
 * high. IBM AT Technical Reference, power-on self-test.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/post_port.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#define POST_PORT_CODE  0x80
#define POST_PORT_DELAY 0xed

struct post_port {
	struct device device;
	struct bus *pio;
	pthread_mutex_t *lock;
	uint8_t code; /* board lock */
	uint64_t metric_codes;
};

static uint64_t post_port_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return 0xff;
}

static void post_port_write_code(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct post_port *port = opaque;

	port->code = (uint8_t)value;
	port->metric_codes++;
}

static void post_port_write_delay(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
}

uint8_t post_port_code(struct device *device)
{
	struct post_port *port = (struct post_port *)device;
	uint8_t code;

	pthread_mutex_lock(port->lock);
	code = port->code;
	pthread_mutex_unlock(port->lock);
	return code;
}

static void post_port_reset(struct device *device)
{
	((struct post_port *)device)->code = 0;
}

static void post_port_destroy(struct device *device)
{
	struct post_port *port = (struct post_port *)device;

	bus_remove(port->pio, POST_PORT_CODE);
	bus_remove(port->pio, POST_PORT_DELAY);
	free(port);
}

static const struct state_field post_port_state[] = {
	STATE_FIELD(STATE_U8, struct post_port, code),
	{.name = NULL},
};

static const struct metric_field post_port_metrics[] = {
	{"codes", offsetof(struct post_port, metric_codes)},
	{.name = NULL},
};

static const struct device_class post_port_class = {
	.name = "post-port",
	.state = post_port_state,
	.metrics = post_port_metrics,
	.reset = post_port_reset,
	.destroy = post_port_destroy,
};

static const struct bus_ops post_port_code_ops = {
	.read = post_port_read,
	.write = post_port_write_code,
	.size_max = 1,
};
static const struct bus_ops post_port_delay_ops = {
	.read = post_port_read,
	.write = post_port_write_delay,
	.size_max = 1,
};

struct device *post_port_create(const struct device_env *env, struct err *err)
{
	struct post_port *port = calloc(1, sizeof(*port));

	if (!port) {
		err_set(err, -ENOMEM, "post-port: no memory");
		return NULL;
	}
	port->device.class = &post_port_class;
	snprintf(port->device.id, sizeof(port->device.id), "post-port");
	port->device.description = (struct device_description){
		.pio_base = {POST_PORT_CODE, POST_PORT_DELAY},
		.pio_size = {1, 1},
		.irq = {-1, -1},
	};
	port->pio = env->pio;
	port->lock = env->lock;
	if (bus_add(env->pio,
		    &(struct bus_range){.name = "post",
					.base = POST_PORT_CODE,
					.size = 1,
					.ops = &post_port_code_ops,
					.opaque = port,
					.lock = env->lock,
					.late_writes = true},
		    err))
		goto fail;
	if (bus_add(env->pio,
		    &(struct bus_range){.name = "io-delay",
					.base = POST_PORT_DELAY,
					.size = 1,
					.ops = &post_port_delay_ops,
					.opaque = port,
					.late_writes = true},
		    err)) {
		bus_remove(env->pio, POST_PORT_CODE);
		goto fail;
	}
	return &port->device;
fail:
	free(port);
	return NULL;
}
