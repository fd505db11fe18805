/* SPDX-License-Identifier: Apache-2.0 */
/* Which accelerator runs a machine: by name, or the best whose probe succeeds. Knows them only through
 * accel_table. */
#pragma once

struct accel_ops;
struct err;

/* 0 when name is "auto" or built in; else -EINVAL with a message that names what there is. */
int accel_choice_check(const char *name, struct err *err);

/*
 * Probes and chooses; NULL with err set when none works, saying why of each. reason (of size bytes) becomes
 * one line that says what was taken and why.
 */
const struct accel_ops *accel_choice_make(const char *name, char *reason, unsigned long size,
					  struct err *err);
