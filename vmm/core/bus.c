/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus: a sorted array of ranges and a binary search. Accesses are fitted to the sizes that a device takes
 * here, so that no device splits or widens. Knows no device.
 */
#include "vmm/core/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/doorbell.h"

#define BUS_RANGES_MAX                                                                                       \
	256 /* a PC has some thirty; bounds the table so that it never moves under a look-up                 \
	     */

struct bus {
	const char *name;
	uint64_t address_last; /* highest address */
	size_t count;
	struct bus_range range[BUS_RANGES_MAX]; /* sorted by base, disjoint */
	struct doorbells *doorbells;
};

struct bus *bus_create(const char *name, unsigned address_bits)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	bus->doorbells = doorbells_create();
	if (!bus->doorbells) {
		free(bus);
		return NULL;
	}
	bus->name = name;
	bus->address_last = address_bits >= 64 ? UINT64_MAX : (1ull << address_bits) - 1;
	return bus;
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	doorbells_destroy(bus->doorbells);
	free(bus);
}

static uint64_t bus_range_last(const struct bus_range *range)
{
	return range->base + (range->size - 1);
}

/* Index of the first range whose base lies above address. */
static size_t bus_upper_bound(const struct bus *bus, uint64_t address)
{
	size_t low = 0;
	size_t high = bus->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (bus->range[middle].base <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int bus_check_range(const struct bus *bus, const struct bus_range *range, struct err *err)
{
	if (range->size == 0 || range->base > bus->address_last ||
	    range->size - 1 > bus->address_last - range->base)
		return err_set(err, -EINVAL,
			       "%s: range %s at 0x%" PRIx64 ", 0x%" PRIx64 " long, does not fit the %s bus",
			       bus->name, range->name, range->base, range->size, bus->name);
	if (bus->count == BUS_RANGES_MAX)
		return err_set(err, -ENOMEM, "%s: no room for range %s: %d are in use", bus->name,
			       range->name, BUS_RANGES_MAX);
	return 0;
}

static int bus_check_overlap(const struct bus *bus, const struct bus_range *range, size_t index,
			     struct err *err)
{
	const struct bus_range *other = NULL;

	if (index > 0 && bus_range_last(&bus->range[index - 1]) >= range->base)
		other = &bus->range[index - 1];
	else if (index < bus->count && bus->range[index].base <= bus_range_last(range))
		other = &bus->range[index];
	if (!other)
		return 0;
	return err_set(err, -EEXIST,
		       "%s: %s at 0x%" PRIx64 "-0x%" PRIx64 " overlaps %s at 0x%" PRIx64 "-0x%" PRIx64,
		       bus->name, range->name, range->base, bus_range_last(range), other->name, other->base,
		       bus_range_last(other));
}

int bus_add(struct bus *bus, const struct bus_range *range, struct err *err)
{
	size_t index = bus_upper_bound(bus, range->base);
	int code = bus_check_range(bus, range, err);

	if (code == 0)
		code = bus_check_overlap(bus, range, index, err);
	if (code < 0)
		return code;
	memmove(&bus->range[index + 1], &bus->range[index], (bus->count - index) * sizeof(bus->range[0]));
	bus->range[index] = *range;
	bus->count++;
	return 0;
}

void bus_remove(struct bus *bus, uint64_t base)
{
	size_t index = bus_upper_bound(bus, base);

	if (index == 0 || bus->range[index - 1].base != base)
		return;
	index--;
	memmove(&bus->range[index], &bus->range[index + 1], (bus->count - index - 1) * sizeof(bus->range[0]));
	bus->count--;
}

const struct bus_range *bus_find(const struct bus *bus, uint64_t address)
{
	size_t index = bus_upper_bound(bus, address);

	if (index == 0 || bus_range_last(&bus->range[index - 1]) < address)
		return NULL;
	return &bus->range[index - 1];
}

static uint64_t bus_value_mask(unsigned size_bytes)
{
	return size_bytes >= 8 ? UINT64_MAX : (1ull << (size_bytes * 8)) - 1;
}

/* The range that holds all of an access, or NULL. */
static const struct bus_range *bus_find_whole(const struct bus *bus, uint64_t address, unsigned size_bytes)
{
	const struct bus_range *range = bus_find(bus, address);

	if (!range || size_bytes - 1 > bus_range_last(range) - address)
		return NULL;
	return range;
}

static unsigned bus_size_min(const struct bus_range *range)
{
	return range->ops->size_min ? range->ops->size_min : 1;
}

static unsigned bus_size_max(const struct bus_range *range)
{
	return range->ops->size_max ? range->ops->size_max : 4;
}

/* A read smaller than the device takes: reads the aligned unit around it and picks the bytes. */
static uint64_t bus_range_read_widened(const struct bus_range *range, uint64_t offset, unsigned size_bytes)
{
	unsigned unit = bus_size_min(range);
	uint64_t value = range->ops->read(range->opaque, offset & ~(uint64_t)(unit - 1), unit);

	return (value >> ((offset & (unit - 1)) * 8)) & bus_value_mask(size_bytes);
}

static uint64_t bus_range_read(const struct bus_range *range, uint64_t offset, unsigned size_bytes)
{
	unsigned unit = size_bytes < bus_size_max(range) ? size_bytes : bus_size_max(range);
	uint64_t value = 0;

	if (!range->ops->read)
		return bus_value_mask(size_bytes);
	if (size_bytes < bus_size_min(range))
		return bus_range_read_widened(range, offset, size_bytes);
	for (unsigned done = 0; done < size_bytes; done += unit)
		value |= (range->ops->read(range->opaque, offset + done, unit) & bus_value_mask(unit))
			 << (done * 8);
	return value;
}

/* A smaller write than the device takes is widened with zeros: registers of such devices are written whole.
 */
static void bus_range_write(const struct bus_range *range, uint64_t offset, uint64_t value,
			    unsigned size_bytes)
{
	unsigned unit = size_bytes < bus_size_max(range) ? size_bytes : bus_size_max(range);

	if (!range->ops->write)
		return;
	if (size_bytes < bus_size_min(range)) {
		unit = bus_size_min(range);
		range->ops->write(range->opaque, offset & ~(uint64_t)(unit - 1),
				  value << ((offset & (unit - 1)) * 8), unit);
		return;
	}
	for (unsigned done = 0; done < size_bytes; done += unit)
		range->ops->write(range->opaque, offset + done, (value >> (done * 8)) & bus_value_mask(unit),
				  unit);
}

static void bus_range_lock(const struct bus_range *range)
{
	if (range->lock)
		pthread_mutex_lock(range->lock);
}

static void bus_range_unlock(const struct bus_range *range)
{
	if (range->lock)
		pthread_mutex_unlock(range->lock);
}

/* An access that no single range holds: by bytes, addresses wrapping at the bus's width. */
static uint64_t bus_read_bytes(struct bus *bus, uint64_t address, unsigned size_bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size_bytes; i++)
		value |= bus_read(bus, (address + i) & bus->address_last, 1) << (i * 8);
	return value;
}

uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size_bytes)
{
	const struct bus_range *range = bus_find_whole(bus, address, size_bytes);
	uint64_t value;

	if (!range)
		return size_bytes > 1 ? bus_read_bytes(bus, address, size_bytes) : 0xff;
	bus_range_lock(range);
	value = bus_range_read(range, address - range->base, size_bytes);
	bus_range_unlock(range);
	return value;
}

void bus_write(struct bus *bus, uint64_t address, uint64_t value, unsigned size_bytes)
{
	const struct bus_range *range;

	if (doorbells_ring(bus->doorbells, address, value & bus_value_mask(size_bytes), size_bytes))
		return;
	range = bus_find_whole(bus, address, size_bytes);
	if (range) {
		bus_range_lock(range);
		bus_range_write(range, address - range->base, value & bus_value_mask(size_bytes), size_bytes);
		bus_range_unlock(range);
		return;
	}
	for (unsigned i = 0; size_bytes > 1 && i < size_bytes; i++)
		bus_write(bus, (address + i) & bus->address_last, (value >> (i * 8)) & 0xff, 1);
}

int bus_doorbell_add(struct bus *bus, const struct bus_doorbell *doorbell, struct err *err)
{
	int code = doorbells_add(bus->doorbells, doorbell, err);

	if (code < 0)
		err_prefix(err, "%s bus", bus->name);
	return code;
}

void bus_doorbell_remove(struct bus *bus, const struct bus_doorbell *doorbell)
{
	doorbells_remove(bus->doorbells, doorbell);
}

void bus_doorbell_listen(struct bus *bus, const struct bus_doorbell_listener *listener)
{
	doorbells_listen(bus->doorbells, listener);
}

uint64_t bus_doorbells_rung(const struct bus *bus)
{
	return atomic_load_explicit(&bus->doorbells->rung, memory_order_relaxed);
}

void bus_for_each(const struct bus *bus, void (*fn)(void *opaque, const struct bus_range *range),
		  void *opaque)
{
	for (size_t i = 0; i < bus->count; i++)
		fn(opaque, &bus->range[i]);
}
