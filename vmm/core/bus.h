/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus: sorted, non-overlapping address ranges -> device. Port I/O and MMIO are two instances. Ranges
 * change only while every vCPU is parked, so look-ups take no lock; each range names the lock under which its
 * device is called.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct bus;

/*
 * offset: from the start of the range. size_bytes: 1, 2, 4 or 8; the access lies wholly inside the range.
 * Reads return the value zero-extended. A device answers every access: what it does not implement reads as
 * all ones (ISA) or zero (MMIO), as its specification says.
 */
struct bus_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned size_bytes);
	void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes);
	uint8_t size_min; /* smaller and larger accesses are split or widened by the bus; 0 = 1 */
	uint8_t size_max; /* 0 = 4: a larger access becomes several of this size, lowest address first */
};

struct bus_range {
	const char *name; /* for the log and the monitor */
	uint64_t base;    /* first address */
	uint64_t size;    /* addresses; base + size does not wrap */
	const struct bus_ops *ops;
	void *opaque;
	pthread_mutex_t *lock; /* held during ops; NULL: the device takes care of itself */
	bool late_writes; /* nobody waits for a write's effect: an accelerator may hold it back for a while */
};

struct bus *bus_create(const char *name, unsigned address_bits);
void bus_destroy(struct bus *bus);

/* Copies *range. 0, -EEXIST on overlap (the message names both), -EINVAL, -ENOMEM. */
int bus_add(struct bus *bus, const struct bus_range *range, struct err *err);
void bus_remove(struct bus *bus, uint64_t base);

/* The range that holds address, or NULL. */
const struct bus_range *bus_find(const struct bus *bus, uint64_t address);

/* Unclaimed addresses read as all ones and swallow writes. An access that crosses a range's end is split by
 * bytes. */
uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size_bytes);
void bus_write(struct bus *bus, uint64_t address, uint64_t value, unsigned size_bytes);

/*
 * A doorbell: a write here signals an eventfd and reaches no device. Takes precedence over ranges. Under an
 * accelerator that can, the signal does not leave the kernel and the vCPU runs on at once; else bus_write
 * makes it.
 */
struct bus_doorbell {
	uint64_t address;
	uint8_t size_bytes; /* of the write: 1, 2, 4 or 8; 0: any size (then no value is compared) */
	bool match;         /* only a write of `value`; others go to the range as ever */
	uint64_t value;
	int fd; /* eventfd, borrowed until the doorbell is removed */
};

#define BUS_DOORBELLS_MAX                                                                                    \
	512 /* 32 devices of 16 queues; bounds the table, which never moves under a look-up                  \
	     */

/*
 * Adds and removes doorbells; any thread, at any time, the guest may run. After a removal has returned
 * nobody signals it any more. -EEXIST: one for the same writes is there; -EINVAL; -ENOSPC; an accelerator
 * that cannot have it is no error. Removes what equals in address, size, match and value.
 */
int bus_doorbell_add(struct bus *bus, const struct bus_doorbell *doorbell, struct err *err);
void bus_doorbell_remove(struct bus *bus, const struct bus_doorbell *doorbell);

/* Who wants to know of doorbells: the machine, for its accelerator. Called under the table's lock. */
struct bus_doorbell_listener {
	void (*added)(void *opaque, const struct bus_doorbell *doorbell);
	void (*removed)(void *opaque, const struct bus_doorbell *doorbell);
	void *opaque;
};

/* One listener; NULL: none from now on. A new one is told of those that are there, the old of their end. */
void bus_doorbell_listen(struct bus *bus, const struct bus_doorbell_listener *listener);

/* How many writes rang a doorbell through bus_write, where an accelerator could have done it. Any thread. */
uint64_t bus_doorbells_rung(const struct bus *bus);

/* Calls fn for each range in order of address. */
void bus_for_each(const struct bus *bus, void (*fn)(void *opaque, const struct bus_range *range),
		  void *opaque);
