/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doorbells: which write signals which eventfd. Knows neither ranges nor accelerators; a listener is told of
 * what comes and goes. One table entry stands for one pattern of writes, so two entries never match one write
 * by size and value alike; a write that matches both a value and an any-value entry rings the one of the
 * value.
 */
#include "vmm/core/doorbell.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/err.h"

struct doorbells *doorbells_create(void)
{
	struct doorbells *doorbells = calloc(1, sizeof(*doorbells));

	if (doorbells)
		pthread_rwlock_init(&doorbells->lock, NULL);
	return doorbells;
}

void doorbells_destroy(struct doorbells *doorbells)
{
	if (!doorbells)
		return;
	pthread_rwlock_destroy(&doorbells->lock);
	free(doorbells);
}

/* Index of the first entry whose address is not below this one. */
static unsigned doorbells_lower_bound(const struct doorbells *doorbells, uint64_t address)
{
	unsigned low = 0, high = doorbells->count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (doorbells->table[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool doorbell_is_same(const struct bus_doorbell *a, const struct bus_doorbell *b)
{
	return a->address == b->address && a->size_bytes == b->size_bytes && a->match == b->match &&
	       (!a->match || a->value == b->value);
}

static bool doorbell_answers(const struct bus_doorbell *doorbell, uint64_t value, unsigned size_bytes)
{
	if (doorbell->size_bytes && doorbell->size_bytes != size_bytes)
		return false;
	return !doorbell->match || doorbell->value == value;
}

static const struct bus_doorbell *doorbells_find(const struct doorbells *doorbells, uint64_t address,
						 uint64_t value, unsigned size_bytes)
{
	const struct bus_doorbell *found = NULL;

	for (unsigned i = doorbells_lower_bound(doorbells, address);
	     i < doorbells->count && doorbells->table[i].address == address; i++) {
		const struct bus_doorbell *doorbell = &doorbells->table[i];

		if (doorbell_answers(doorbell, value, size_bytes) && (!found || doorbell->match))
			found = doorbell;
	}
	return found;
}

static void doorbell_signal(const struct bus_doorbell *doorbell)
{
	const uint64_t one = 1;
	/* The only failure is a counter at its end, and then the eventfd is signalled already. */
	ssize_t written = write(doorbell->fd, &one, sizeof(one));

	(void)written;
}

bool doorbells_ring(struct doorbells *doorbells, uint64_t address, uint64_t value, unsigned size_bytes)
{
	const struct bus_doorbell *doorbell;

	if (atomic_load_explicit(&doorbells->count, memory_order_relaxed) == 0)
		return false;
	pthread_rwlock_rdlock(&doorbells->lock);
	doorbell = doorbells_find(doorbells, address, value, size_bytes);
	if (doorbell) {
		atomic_fetch_add_explicit(&doorbells->rung, 1, memory_order_relaxed);
		doorbell_signal(doorbell);
	}
	pthread_rwlock_unlock(&doorbells->lock);
	return doorbell != NULL;
}

static int doorbell_check(const struct bus_doorbell *doorbell, struct err *err)
{
	unsigned size_bytes = doorbell->size_bytes;

	if (size_bytes > 8 || (size_bytes & (size_bytes - 1)))
		return err_set(err, -EINVAL, "a doorbell for writes of %u bytes", size_bytes);
	if (!size_bytes && doorbell->match)
		return err_set(err, -EINVAL, "a doorbell for a value must name the write's size");
	if (doorbell->match && size_bytes < 8 && doorbell->value >> (size_bytes * 8))
		return err_set(err, -EINVAL, "a doorbell's value 0x%" PRIx64 " does not fit %u bytes",
			       doorbell->value, size_bytes);
	return 0;
}

/* Under the lock. */
static int doorbells_insert(struct doorbells *doorbells, const struct bus_doorbell *doorbell, struct err *err)
{
	unsigned at = doorbells_lower_bound(doorbells, doorbell->address);

	for (unsigned i = at; i < doorbells->count && doorbells->table[i].address == doorbell->address; i++) {
		if (doorbell_is_same(&doorbells->table[i], doorbell))
			return err_set(err, -EEXIST, "there is a doorbell at 0x%" PRIx64 " already",
				       doorbell->address);
	}
	if (doorbells->count == BUS_DOORBELLS_MAX)
		return err_set(err, -ENOSPC, "more than %d doorbells", BUS_DOORBELLS_MAX);
	memmove(&doorbells->table[at + 1], &doorbells->table[at],
		(doorbells->count - at) * sizeof(doorbells->table[0]));
	doorbells->table[at] = *doorbell;
	doorbells->count++;
	if (doorbells->listener.added)
		doorbells->listener.added(doorbells->listener.opaque, doorbell);
	return 0;
}

int doorbells_add(struct doorbells *doorbells, const struct bus_doorbell *doorbell, struct err *err)
{
	int code = doorbell_check(doorbell, err);

	if (code < 0)
		return code;
	pthread_rwlock_wrlock(&doorbells->lock);
	code = doorbells_insert(doorbells, doorbell, err);
	pthread_rwlock_unlock(&doorbells->lock);
	return code;
}

void doorbells_remove(struct doorbells *doorbells, const struct bus_doorbell *doorbell)
{
	pthread_rwlock_wrlock(&doorbells->lock);
	for (unsigned i = doorbells_lower_bound(doorbells, doorbell->address); i < doorbells->count; i++) {
		if (!doorbell_is_same(&doorbells->table[i], doorbell))
			continue;
		if (doorbells->listener.removed)
			doorbells->listener.removed(doorbells->listener.opaque, &doorbells->table[i]);
		memmove(&doorbells->table[i], &doorbells->table[i + 1],
			(doorbells->count - i - 1) * sizeof(doorbells->table[0]));
		doorbells->count--;
		break;
	}
	pthread_rwlock_unlock(&doorbells->lock);
}

void doorbells_listen(struct doorbells *doorbells, const struct bus_doorbell_listener *listener)
{
	struct bus_doorbell_listener old = doorbells->listener;

	pthread_rwlock_wrlock(&doorbells->lock);
	for (unsigned i = 0; i < doorbells->count && old.removed; i++)
		old.removed(old.opaque, &doorbells->table[i]);
	doorbells->listener = listener ? *listener : (struct bus_doorbell_listener){.opaque = NULL};
	for (unsigned i = 0; i < doorbells->count && listener && listener->added; i++)
		listener->added(listener->opaque, &doorbells->table[i]);
	pthread_rwlock_unlock(&doorbells->lock);
}
