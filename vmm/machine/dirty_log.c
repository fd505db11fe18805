/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's dirty log: those of its accelerators, and a bit a page for what the host writes. dirty_log.h
 * says what for.
 */
#include "vmm/machine/dirty_log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "vmm/base/err.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/parts.h"

#define PAGE_BYTES 4096u
#define WORD_PAGES 64

struct machine_dirty {
	_Atomic bool active;
	_Atomic uint64_t
		*written; /* a bit a page from address 0 on; mapping, made once; writers of any thread */
	uint64_t pages;
};

static void dirty_on_written(void *opaque, uint64_t gpa, uint64_t len)
{
	struct machine_dirty *dirty = opaque;
	uint64_t page = gpa / PAGE_BYTES;
	uint64_t last = len ? (gpa + len - 1) / PAGE_BYTES : 0;

	if (!len || !atomic_load_explicit(&dirty->active, memory_order_acquire))
		return;
	for (; page <= last && page < dirty->pages; page++)
		atomic_fetch_or(&dirty->written[page / WORD_PAGES], 1ull << page % WORD_PAGES);
}

int machine_dirty_init(struct machine *machine, struct err *err)
{
	machine->dirty = calloc(1, sizeof(*machine->dirty));
	if (!machine->dirty || gmem_listen(machine->gmem, dirty_on_written, machine->dirty) < 0)
		return err_set(err, -ENOMEM, "no memory for the dirty log");
	return 0;
}

static size_t dirty_size_bytes(const struct machine_dirty *dirty)
{
	return (size_t)((dirty->pages + WORD_PAGES - 1) / WORD_PAGES * sizeof(uint64_t));
}

void machine_dirty_destroy(struct machine *machine)
{
	if (machine->dirty && machine->dirty->written)
		munmap((void *)(uintptr_t)machine->dirty->written, dirty_size_bytes(machine->dirty));
	free(machine->dirty);
}

/* Memory that comes later lies beyond, and counts as written. */
static int dirty_map(struct machine *machine, struct err *err)
{
	struct machine_dirty *dirty = machine->dirty;
	void *bits;

	if (dirty->written)
		return 0;
	for (size_t i = 0; i < gmem_region_count(machine->gmem); i++) {
		const struct gmem_region *region = gmem_region_at(machine->gmem, i);
		uint64_t end = (region->gpa + region->size_bytes) / PAGE_BYTES;

		dirty->pages = end > dirty->pages ? end : dirty->pages;
	}
	bits = mmap(NULL, dirty_size_bytes(dirty), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (bits == MAP_FAILED)
		return err_set_errno(err, -errno, "dirty log");
	dirty->written = bits;
	return 0;
}

static int dirty_side_start(const struct machine_side *side, struct err *err)
{
	if (!side->ops->dirty_log_start)
		return err_set(err, -ENOTSUP, "accelerator %s does not tell which pages are written",
			       side->ops->name);
	return side->ops->dirty_log_start(side->vm, err);
}

int machine_dirty_join(struct machine *machine, const struct machine_side *side, struct err *err)
{
	return atomic_load(&machine->dirty->active) ? dirty_side_start(side, err) : 0;
}

int machine_dirty_start(struct machine *machine, struct err *err)
{
	struct machine_dirty *dirty = machine->dirty;
	int code = dirty_map(machine, err);

	for (uint64_t word = 0; code == 0 && word < dirty_size_bytes(dirty) / sizeof(uint64_t); word++) {
		if (atomic_load_explicit(&dirty->written[word], memory_order_relaxed))
			atomic_store(&dirty->written[word], 0);
	}
	if (code == 0)
		atomic_store_explicit(&dirty->active, true, memory_order_release);
	for (unsigned i = 0; i < MACHINE_SIDES && code == 0; i++) {
		if (atomic_load(&machine->side[i].ready))
			code = dirty_side_start(&machine->side[i], err);
	}
	if (code < 0)
		machine_dirty_stop(machine);
	return code;
}

/* Takes each run of written pages of a region away before it is told: a write after that is in the next
 * fetch. */
static void dirty_report_host(const struct machine_dirty *dirty, const struct gmem_region *region,
			      accel_dirty_fn *fn, void *opaque)
{
	uint64_t end = (region->gpa + region->size_bytes) / PAGE_BYTES;
	uint64_t page = region->gpa / PAGE_BYTES;

	if (end > dirty->pages) {
		fn(opaque, region->gpa, region->size_bytes);
		return;
	}
	while (page < end) {
		uint64_t first = page;

		while (page < end &&
		       (atomic_load_explicit(&dirty->written[page / WORD_PAGES], memory_order_relaxed) &
			1ull << page % WORD_PAGES)) {
			atomic_fetch_and(&dirty->written[page / WORD_PAGES], ~(1ull << page % WORD_PAGES));
			page++;
		}
		if (page > first)
			fn(opaque, first * PAGE_BYTES, (page - first) * PAGE_BYTES);
		else
			page++;
	}
}

int machine_dirty_fetch(struct machine *machine, accel_dirty_fn *fn, void *opaque, struct err *err)
{
	int code = 0;

	if (!atomic_load(&machine->dirty->active))
		return err_set(err, -EINVAL, "there is no dirty log");
	for (unsigned i = 0; i < MACHINE_SIDES && code == 0; i++) {
		const struct machine_side *side = &machine->side[i];

		if (atomic_load(&side->ready))
			code = side->ops->dirty_log_fetch(side->vm, fn, opaque, err);
	}
	for (size_t i = 0; i < gmem_region_count(machine->gmem) && code == 0; i++)
		dirty_report_host(machine->dirty, gmem_region_at(machine->gmem, i), fn, opaque);
	return code;
}

void machine_dirty_stop(struct machine *machine)
{
	atomic_store(&machine->dirty->active, false);
	for (unsigned i = 0; i < MACHINE_SIDES; i++) {
		const struct machine_side *side = &machine->side[i];

		if (atomic_load(&side->ready) && side->ops->dirty_log_stop)
			side->ops->dirty_log_stop(side->vm);
	}
}
