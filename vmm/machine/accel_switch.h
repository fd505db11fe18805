/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running machine goes from one accelerator to the other: CPUs, interrupt controllers, timers, clocks and
 * what is under way between them, the guest none the wiser.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct machine;

/* Narrows the CPU that the guest is offered to what both accelerators have; before the vCPUs are made. */
int accel_switch_prepare(struct machine *machine, struct err *err);

bool accel_switch_is_prepared(const struct machine *machine);

/*
 * Moves the machine to the accelerator of this name ("kvm", "tcg"; NULL: the other one). The main thread
 * only; waits until the vCPUs are parked, and they run again afterwards if they did before. 0, also when it
 * is there already; else -errno, and the machine is as before. -EBUSY: not prepared for it (--accel-switch).
 */
int accel_switch(struct machine *machine, const char *name, struct err *err);

/* As accel_switch to the built-in CPU, prepared for or not: for an instruction that the other one cannot
 * execute. The main thread goes back to it by itself, soon. */
int accel_switch_lend(struct machine *machine, struct err *err);

/* Asks the main thread for accel_switch to the other one; its failure is logged. Any thread. */
void accel_switch_request(struct machine *machine);

/* The periodic switching of --accel-switch-every, when the vCPUs start; and its end, with a line on how often
 * and how long. */
int accel_switch_start(struct machine *machine, struct err *err);
void accel_switch_end(struct machine *machine);

/* Counters of hand-overs and of assists: fills at most count names and values, returns how many there are. */
size_t accel_switch_counters(const struct machine *machine, const char **names, uint64_t *values,
			     size_t count);
