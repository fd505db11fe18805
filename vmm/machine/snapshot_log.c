/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages a DIFF holds: those that the machine's dirty log has named since the last snapshot that came
 * about. What was named stays until then, so that a snapshot that fails loses nothing. Pages are counted as
 * the memory file has them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/dirty_log.h"
#include "vmm/machine/snapshot_parts.h"

#define LOG_PAGE 4096u

struct snapshot_log {
	bool has_base;     /* there is a snapshot that pages have changed since */
	uint64_t pages;    /* of the memory file */
	uint64_t bitmap[]; /* a bit each */
};

int machine_snapshot_track(struct machine *machine, struct err *err)
{
	uint64_t pages = snapshot_memory_bytes(machine) / LOG_PAGE;
	int code;

	if (machine->snapshot_log)
		return 0;
	code = machine_dirty_start(machine, err);
	if (code < 0)
		return err_prefix(err, "tracking written pages");
	machine->snapshot_log = calloc(1, sizeof(struct snapshot_log) + (pages + 63) / 64 * sizeof(uint64_t));
	if (!machine->snapshot_log) {
		machine_dirty_stop(machine);
		return err_set(err, -ENOMEM, "no memory for a log of written pages");
	}
	machine->snapshot_log->pages = pages;
	machine->snapshot_log->has_base = machine_is_paused(machine) && machine->pausing.was_restored;
	return 0;
}

static void log_mark(void *opaque, uint64_t gpa, uint64_t size_bytes)
{
	struct machine *machine = opaque;
	struct snapshot_log *log = machine->snapshot_log;
	uint64_t offset = snapshot_memory_offset(machine, gpa);

	if (offset == UINT64_MAX)
		return; /* a ROM, a device's memory */
	for (uint64_t page = offset / LOG_PAGE, end = (offset + size_bytes + LOG_PAGE - 1) / LOG_PAGE;
	     page < end && page < log->pages; page++)
		log->bitmap[page / 64] |= 1ull << page % 64;
}

int snapshot_log_collect(struct machine *machine, const uint64_t **bitmap, struct err *err)
{
	struct snapshot_log *log = machine->snapshot_log;
	int code = log ? machine_dirty_fetch(machine, log_mark, machine, err) : 0;

	*bitmap = log && log->has_base ? log->bitmap : NULL;
	return code;
}

void snapshot_log_saved(struct machine *machine)
{
	struct snapshot_log *log = machine->snapshot_log;

	if (!log)
		return;
	log->has_base = true;
	memset(log->bitmap, 0, (log->pages + 63) / 64 * sizeof(uint64_t));
}
