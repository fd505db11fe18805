/* SPDX-License-Identifier: Apache-2.0 */
/* The second VM of a machine, on the other accelerator: made when it is first needed. parts.h has the
 * structure. */
#pragma once

#include <stdbool.h>

struct accel_ops;
struct err;
struct machine;
struct machine_side;

/* The accelerator other than `accel` that works here, or NULL with err saying what there is. */
const struct accel_ops *accel_other(const struct accel_ops *accel, struct err *err);

/* Takes note of what the builder made. 0 or -ENOMEM. */
int accel_sides_init(struct machine *machine, struct err *err);
/* The side that does not run the guest, made if it is not there; NULL with err set. Any thread, no lock held.
 */
struct machine_side *accel_side_other(struct machine *machine, struct err *err);
/* Frees the side that does not run; the builder frees the other. Every vCPU thread has ended. */
void accel_sides_destroy(struct machine *machine);

/* Makes vcpu_run and vcpu_wait of this CPU return, whichever side has it. Any thread, any lock held. */
void accel_sides_kick(struct machine *machine, unsigned cpu);
