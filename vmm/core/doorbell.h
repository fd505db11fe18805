/* SPDX-License-Identifier: Apache-2.0 */
/* The doorbells of one bus, for bus.c: a table sorted by address. bus.h says what a doorbell is. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/core/bus.h"

/* The lock is a leaf: a ringing reader holds it over the eventfd's write, so that a removal waits for it. */
struct doorbells {
	pthread_rwlock_t lock;
	_Atomic unsigned count; /* read without the lock: most buses have none */
	_Atomic uint64_t rung;  /* by writes over the bus, not through an eventfd of an accelerator */
	struct bus_doorbell_listener listener;
	struct bus_doorbell table[BUS_DOORBELLS_MAX]; /* sorted by address */
};

struct doorbells *doorbells_create(void);
void doorbells_destroy(struct doorbells *doorbells);

/* Signals the doorbell for this write, if there is one. */
bool doorbells_ring(struct doorbells *doorbells, uint64_t address, uint64_t value, unsigned size_bytes);

/* As bus_doorbell_add, _remove and _listen. */
int doorbells_add(struct doorbells *doorbells, const struct bus_doorbell *doorbell, struct err *err);
void doorbells_remove(struct doorbells *doorbells, const struct bus_doorbell *doorbell);
void doorbells_listen(struct doorbells *doorbells, const struct bus_doorbell_listener *listener);
