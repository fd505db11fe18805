/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker's boot timer: a page of registers whose first byte a guest sets to 123 when it has booted; the
 * time since the machine was made goes to the log, once a start.
 */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;

#define BOOT_TIMER_SIZE 0x1000

/* At this address of the memory bus. Owned by its device class's destroy; NULL with err set. */
struct device *boot_timer_create(const struct device_env *env, uint64_t gpa, struct err *err);
