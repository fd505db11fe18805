/* SPDX-License-Identifier: Apache-2.0 */
/* The boot timer: one byte that means something, and a log line. */
#include "devices/legacy/boot_timer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#define BOOT_TIMER_DONE 123

struct boot_timer {
	struct device device;
	struct bus *mmio;
	uint64_t gpa;
	uint64_t start_ns, start_cpu_ns; /* board lock, as all below */
	struct log_limit limit;
};

static uint64_t boot_timer_cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static void boot_timer_reset(struct device *device)
{
	struct boot_timer *timer = (struct boot_timer *)device;

	timer->start_ns = clock_monotonic_ns();
	timer->start_cpu_ns = boot_timer_cpu_ns();
}

static uint64_t boot_timer_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return 0;
}

static void boot_timer_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct boot_timer *timer = opaque;
	uint64_t us, cpu_us;

	if (offset != 0 || (value & 0xff) != BOOT_TIMER_DONE)
		return;
	us = (clock_monotonic_ns() - timer->start_ns) / NS_PER_US;
	cpu_us = (boot_timer_cpu_ns() - timer->start_cpu_ns) / NS_PER_US;
	log_limited(&timer->limit, LOG_INFO,
		    "Guest-boot-time = %6" PRIu64 " us %" PRIu64 " ms, %6" PRIu64 " CPU us %" PRIu64
		    " CPU ms",
		    us, us / 1000, cpu_us, cpu_us / 1000);
}

static void boot_timer_destroy(struct device *device)
{
	struct boot_timer *timer = (struct boot_timer *)device;

	bus_remove(timer->mmio, timer->gpa);
	free(timer);
}

static const struct bus_ops boot_timer_ops = {.read = boot_timer_read, .write = boot_timer_write};

static const struct device_class boot_timer_class = {
	.name = "boot-timer",
	.reset = boot_timer_reset,
	.destroy = boot_timer_destroy,
};

struct device *boot_timer_create(const struct device_env *env, uint64_t gpa, struct err *err)
{
	struct boot_timer *timer = calloc(1, sizeof(*timer));
	const struct bus_range range = {
		.name = "boot-timer",
		.base = gpa,
		.size = BOOT_TIMER_SIZE,
		.ops = &boot_timer_ops,
		.opaque = timer,
		.lock = env->lock,
	};

	if (!timer) {
		err_set(err, -ENOMEM, "boot-timer: no memory");
		return NULL;
	}
	timer->device.class = &boot_timer_class;
	snprintf(timer->device.id, sizeof(timer->device.id), "boot-timer");
	timer->device.description = (struct device_description){.irq = {-1, -1}};
	timer->mmio = env->mmio;
	timer->gpa = gpa;
	boot_timer_reset(&timer->device);
	if (bus_add(env->mmio, &range, err) == 0)
		return &timer->device;
	free(timer);
	return NULL;
}
