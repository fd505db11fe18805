/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FERR# to IRQ 13. Knows nothing of the x87. A rising edge of FERR# latches the interrupt; a write to port
 * 0xf0 or 0xf1 clears the latch. IBM AT Technical Reference, math coprocessor control.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/ferr.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#define FERR_PORT 0xf0
#define FERR_SIZE 2

struct ferr {
	struct device device;
	struct ferr_config config;
	struct bus *pio;
	pthread_mutex_t *lock; /* the board lock, for the two below */
	bool level;            /* FERR# as last told */
	bool latched;          /* IRQ 13 raised */
};

static void ferr_latch(struct ferr *ferr, bool latched)
{
	ferr->latched = latched;
	irq_line_set(&ferr->config.irq, latched);
}

void ferr_set(struct device *device, bool level)
{
	struct ferr *ferr = (struct ferr *)device;

	pthread_mutex_lock(ferr->lock);
	if (level && !ferr->level)
		ferr_latch(ferr, true);
	ferr->level = level;
	pthread_mutex_unlock(ferr->lock);
}

static uint64_t ferr_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return 0xff;
}

static void ferr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	ferr_latch(opaque, false);
}

static void ferr_reset(struct device *device)
{
	struct ferr *ferr = (struct ferr *)device;

	ferr->level = false;
	ferr_latch(ferr, false);
}

static void ferr_destroy(struct device *device)
{
	bus_remove(((struct ferr *)device)->pio, FERR_PORT);
	free(device);
}

static const struct state_field ferr_state[] = {
	STATE_FIELD(STATE_BOOL, struct ferr, level),
	STATE_FIELD(STATE_BOOL, struct ferr, latched),
	{.name = NULL},
};

static int ferr_loaded(struct device *device, struct err *err)
{
	struct ferr *ferr = (struct ferr *)device;

	irq_line_set(&ferr->config.irq, ferr->latched);
	return 0;
}

static const struct device_class ferr_class = {
	.name = "ferr",
	.state = ferr_state,
	.reset = ferr_reset,
	.loaded = ferr_loaded,
	.destroy = ferr_destroy,
};

static const struct bus_ops ferr_ops = {.read = ferr_read, .write = ferr_write, .size_max = 1};

struct device *ferr_create(const struct device_env *env, const struct ferr_config *config, struct err *err)
{
	struct ferr *ferr = calloc(1, sizeof(*ferr));

	if (!ferr) {
		err_set(err, -ENOMEM, "ferr: no memory");
		return NULL;
	}
	ferr->device.class = &ferr_class;
	snprintf(ferr->device.id, sizeof(ferr->device.id), "ferr");
	ferr->device.description = (struct device_description){
		.acpi_hid = "PNP0C04",
		.pio_base = {FERR_PORT},
		.pio_size = {FERR_SIZE},
		.irq = {13, -1},
	};
	ferr->config = *config;
	ferr->pio = env->pio;
	ferr->lock = env->lock;
	if (bus_add(env->pio,
		    &(struct bus_range){.name = "ferr",
					.base = FERR_PORT,
					.size = FERR_SIZE,
					.ops = &ferr_ops,
					.opaque = ferr,
					.lock = env->lock},
		    err)) {
		free(ferr);
		return NULL;
	}
	return &ferr->device;
}
