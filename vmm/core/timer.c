/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device timers over loop timers. Knows nothing of devices.
 *
 * A tickless guest arms a timer thousands of times a second, mostly to push a deadline away or to cancel it,
 * so the loop's timer is only ever brought forward: when it fires before the device's deadline, it is armed
 * again for the rest.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/timer.h"

struct device_timer {
	struct loop *loop;
	struct loop_timer *loop_timer;
	pthread_mutex_t *lock; /* protects the deadlines; held during fn */
	device_timer_fn *fn;
	void *opaque;
	uint64_t deadline_ns; /* what the device wants */
	uint64_t armed_ns;    /* what the loop's timer is armed for: <= deadline_ns */
};

static void device_timer_fire(void *opaque)
{
	struct device_timer *timer = opaque;
	uint64_t now_ns;

	pthread_mutex_lock(timer->lock);
	now_ns = device_now_ns(timer->loop);
	timer->armed_ns = DEVICE_TIMER_OFF;
	if (timer->deadline_ns <= now_ns) {
		timer->deadline_ns = DEVICE_TIMER_OFF;
		timer->fn(timer->opaque, now_ns);
	} else if (timer->deadline_ns != DEVICE_TIMER_OFF) {
		timer->armed_ns = timer->deadline_ns;
		loop_timer_arm(timer->loop_timer, timer->armed_ns);
	}
	pthread_mutex_unlock(timer->lock);
}

struct device_timer *device_timer_create(struct loop *loop, pthread_mutex_t *lock, device_timer_fn *fn,
					 void *opaque, struct err *err)
{
	struct device_timer *timer = calloc(1, sizeof(*timer));

	if (!timer) {
		err_set(err, -ENOMEM, "no memory for a device timer");
		return NULL;
	}
	*timer = (struct device_timer){
		.loop = loop,
		.lock = lock,
		.fn = fn,
		.opaque = opaque,
		.deadline_ns = DEVICE_TIMER_OFF,
		.armed_ns = DEVICE_TIMER_OFF,
	};
	timer->loop_timer = loop_timer_create(loop, device_timer_fire, timer, err);
	if (!timer->loop_timer) {
		free(timer);
		return NULL;
	}
	return timer;
}

void device_timer_destroy(struct device_timer *timer)
{
	if (!timer)
		return;
	loop_timer_destroy(timer->loop_timer);
	free(timer);
}

void device_timer_arm(struct device_timer *timer, uint64_t deadline_ns)
{
	timer->deadline_ns = deadline_ns;
	if (deadline_ns >= timer->armed_ns)
		return;
	timer->armed_ns = deadline_ns;
	loop_timer_arm(timer->loop_timer, deadline_ns);
}

uint64_t device_timer_deadline(const struct device_timer *timer)
{
	return timer->deadline_ns;
}

uint64_t device_now_ns(struct loop *loop)
{
	(void)loop;
	return clock_monotonic_ns();
}
