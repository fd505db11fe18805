/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device timers: a loop_timer whose callback runs with the device's lock held and only when still due, so
 * that a device sees none of the loop's races.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

struct err;
struct loop;
struct device_timer;

#define DEVICE_TIMER_OFF UINT64_MAX

typedef void device_timer_fn(void *opaque, uint64_t now_ns);

/* The callback runs on the loop's thread under `lock`. Returns owned, or NULL with err set. */
struct device_timer *device_timer_create(struct loop *loop, pthread_mutex_t *lock, device_timer_fn *fn,
					 void *opaque, struct err *err);
void device_timer_destroy(struct device_timer *timer);

/*
 * Now, on the clock that the timers of this loop count: CLOCK_MONOTONIC. Devices ask here and nowhere else,
 * so that a test that stands in for this file turns the time.
 */
uint64_t device_now_ns(struct loop *loop);

/* `lock` must be held. deadline_ns: CLOCK_MONOTONIC, or DEVICE_TIMER_OFF. Skips the system call if nothing
 * changes. */
void device_timer_arm(struct device_timer *timer, uint64_t deadline_ns);
/* The deadline armed, or DEVICE_TIMER_OFF. `lock` must be held. */
uint64_t device_timer_deadline(const struct device_timer *timer);
