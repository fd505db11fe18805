/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of guest memory were written since a moment, by whomever: by the guest on either side (a vCPU
 * that is helped out or handed over meanwhile writes on both), by devices, and by the monitor. What a
 * differential snapshot holds.
 */
#pragma once

#include "vmm/core/accel.h"

struct err;
struct machine;
struct machine_dirty;
struct machine_side;

/* builder.c: before the first vCPU runs; 0 or -errno. destroy: when nobody writes any more. */
int machine_dirty_init(struct machine *machine, struct err *err);
void machine_dirty_destroy(struct machine *machine);

/*
 * start: none is dirty from now on; -ENOTSUP where an accelerator keeps no log. fetch: fn for each piece that
 * was written since start or the last fetch, on the calling thread; a page may be named more than once. Main
 * thread, every vCPU parked. A page that another thread writes during a fetch is in it or in the next one.
 */
int machine_dirty_start(struct machine *machine, struct err *err);
int machine_dirty_fetch(struct machine *machine, accel_dirty_fn *fn, void *opaque, struct err *err);
void machine_dirty_stop(struct machine *machine);

/* accel_side.c: a side that is made while there is a log keeps one, too. Before a CPU of it runs. */
int machine_dirty_join(struct machine *machine, const struct machine_side *side, struct err *err);
