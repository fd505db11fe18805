/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand-over. Every vCPU is parked, the interrupt controllers' state is brought home (intr_x86.c), the
 * CPUs' states are carried from one side to the other, the clocks go on from one reading of CPU 0's, and the
 * side that did not run becomes the one that does. Nothing is torn down: the way back is as short.
 *
 * A state is set before its clock, because the TSC is among its MSRs; what the pins have latched goes last,
 * with the interrupt lock held, as they may be driven at any time.
 */
#include "vmm/machine/accel_switch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/machine/accel_side.h"
#include "vmm/machine/assist.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot.h"

/* A machine that is lent to the built-in CPU stays there for the least time, and twice as long each time that
 * it is needed again within that time. */
#define SWITCH_LEND_MIN_NS (1 * NS_PER_MS)
#define SWITCH_LEND_MAX_NS (500 * NS_PER_MS)

struct accel_switching {
	bool prepared; /* the guest's CPU is one that both sides have */
	struct loop_timer *timer;
	bool is_lent;                  /* to the built-in CPU; the timer ends it */
	uint64_t lend_ns;              /* how long the last time */
	uint64_t lend_ended_ns;        /* when it ended */
	uint64_t count, lends;         /* hand-overs, those of them for an instruction */
	uint64_t failed;               /* those that did not come about */
	uint64_t total_ns, longest_ns; /* from the order to park to the order to run */
};

int accel_switch_prepare(struct machine *machine, struct err *err)
{
	struct x86_cpu_capabilities other = {0};
	const struct accel_ops *ops;

	machine->switching = calloc(1, sizeof(*machine->switching));
	if (!machine->switching)
		return err_set(err, -ENOMEM, "no memory");
	if (!machine->config.accel_switch && !machine->config.accel_switch_every_ms)
		return 0;
	ops = accel_other(machine->accel, err);
	if (!ops || ops->capabilities(&other, err) < 0 ||
	    x86_cpu_capabilities_meet(&machine->capabilities, &other, err) < 0)
		return err_prefix(err, "--accel-switch (machine.accel_switch)");
	machine->switching->prepared = true;
	return 0;
}

bool accel_switch_is_prepared(const struct machine *machine)
{
	return machine->switching->prepared;
}

static int switch_clocks(const struct machine *machine, const struct machine_side *from,
			 const struct machine_side *to, struct err *err)
{
	struct accel_clock *clock = calloc(machine->vcpu_count, sizeof(*clock));
	int code = clock ? machine_clocks_get(machine, from, clock, err) : err_set(err, -ENOMEM, "no memory");

	if (code == 0)
		code = machine_clocks_set(machine, to, clock, err);
	free(clock);
	return code;
}

static int switch_states(struct machine *machine, const struct machine_side *from,
			 const struct machine_side *to, struct err *err)
{
	int code = 0;

	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++)
		code = from->ops->state_get(from->vcpu[i], &to->state[i], err);
	if (code == 0 && to->ops->mem_forget)
		code = to->ops->mem_forget(to->vm, err);
	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++) {
		code = to->ops->state_set(to->vcpu[i], &to->state[i], err);
		if (code < 0)
			err_prefix(err, "CPU %u", i);
	}
	return code;
}

/* The level of INTR is told by machine_intr_enter. */
static void switch_pins(const struct machine_side *from, const struct machine_side *to, unsigned cpu)
{
	struct accel_pins pins;
	struct accel_pins stale;

	from->ops->vcpu_pins_take(from->vcpu[cpu], &pins);
	to->ops->vcpu_pins_take(to->vcpu[cpu], &stale);
	to->ops->vcpu_intr(to->vcpu[cpu], false);
	machine_drive_pins(to->ops, to->vcpu[cpu], &pins);
}

static void switch_flip(struct machine *machine, const struct machine_side *from,
			const struct machine_side *to)
{
	pthread_mutex_lock(&machine->intr_lock);
	machine->accel = to->ops;
	machine->vm = to->vm;
	machine->irqchip = to->irqchip;
	machine->active_side = 1 - machine->active_side;
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		machine->vcpu[i].accel_vcpu = to->vcpu[i];
		switch_pins(from, to, i);
	}
	pthread_mutex_unlock(&machine->intr_lock);
	if (to->ops->set_a20)
		to->ops->set_a20(to->vm, atomic_load(&machine->a20_gates) != 0);
}

/* Every vCPU is parked. When it fails, the guest is where it was. */
static int switch_sides(struct machine *machine, struct err *err)
{
	const struct machine_side *from = &machine->side[machine->active_side];
	const struct machine_side *to = accel_side_other(machine, err);
	int code = to ? machine_intr_leave(machine, err) : -ENODEV;

	if (code < 0)
		return code;
	code = switch_states(machine, from, to, err);
	/* Those of a paused machine stand still, and go on when it does. */
	if (code == 0 && !machine_is_paused(machine))
		code = switch_clocks(machine, from, to, err);
	if (code == 0)
		switch_flip(machine, from, to);
	if (machine_is_paused(machine))
		return code;
	if (code == 0)
		return machine_intr_enter(machine, err);
	return machine_intr_enter(machine, NULL) < 0 ? -EIO : code;
}

/* Parks, switches, counts, runs on. */
static int switch_over(struct machine *machine, struct err *err)
{
	struct accel_switching *switching = machine->switching;
	uint64_t start_ns = clock_monotonic_ns();
	bool was_running = machine_run_pause(machine);
	int code = switch_sides(machine, err);
	uint64_t duration_ns;

	/* A machine whose controllers have no place any more cannot go on. */
	if (code < 0 && machine->intr_home)
		machine_run_request(machine, REQUEST_FAIL, 0);
	if (was_running)
		machine_run_resume(machine);
	duration_ns = clock_monotonic_ns() - start_ns;
	if (code < 0) {
		switching->failed++;
		return code;
	}
	switching->count++;
	switching->total_ns += duration_ns;
	if (duration_ns > switching->longest_ns)
		switching->longest_ns = duration_ns;
	log_debug("the guest runs on %s, after %" PRIu64 " ns", machine->accel->name, duration_ns);
	return 0;
}

int accel_switch(struct machine *machine, const char *name, struct err *err)
{
	const struct accel_ops *other;

	if (name && strcmp(name, machine->accel->name) == 0)
		return 0;
	if (!machine->switching->prepared)
		return err_set(err, -EBUSY,
			       "the machine was not made for another accelerator: --accel-switch is needed");
	other = accel_other(machine->accel, err);
	if (!other)
		return -ENODEV;
	if (name && strcmp(name, other->name) != 0)
		return err_set(err, -EINVAL, "no accelerator \"%s\" beside %s: there is %s", name,
			       machine->accel->name, other->name);
	machine->switching->is_lent = false;
	return switch_over(machine, err);
}

int accel_switch_lend(struct machine *machine, struct err *err)
{
	struct accel_switching *switching = machine->switching;
	uint64_t now_ns = clock_monotonic_ns();

	if (switching->is_lent) {
		switching->is_lent = false; /* and there it can go no further */
		loop_timer_arm(switching->timer, UINT64_MAX);
		return switch_over(machine, err);
	}
	if (machine->config.accel_switch_every_ms)
		switching->lend_ns = machine->config.accel_switch_every_ms * NS_PER_MS;
	else if (now_ns - switching->lend_ended_ns > switching->lend_ns)
		switching->lend_ns = SWITCH_LEND_MIN_NS;
	else if (switching->lend_ns < SWITCH_LEND_MAX_NS)
		switching->lend_ns *= 2;
	/* On an interpreter, at least as long as it took to come here. */
	if (assist_host_interprets(machine) && switching->lend_ns < now_ns - switching->lend_ended_ns)
		switching->lend_ns = now_ns - switching->lend_ended_ns;
	if (switching->lend_ns > SWITCH_LEND_MAX_NS)
		switching->lend_ns = SWITCH_LEND_MAX_NS;
	if (switch_over(machine, err) < 0)
		return err->code;
	switching->lends++;
	switching->is_lent = true;
	loop_timer_arm(switching->timer, clock_monotonic_ns() + switching->lend_ns);
	return 0;
}

static void switch_arm(struct machine *machine)
{
	uint32_t every_ms = machine->config.accel_switch_every_ms;

	if (every_ms)
		loop_timer_arm(machine->switching->timer, clock_monotonic_ns() + every_ms * NS_PER_MS);
}

static void switch_on_timer(void *opaque)
{
	struct machine *machine = opaque;
	struct accel_switching *switching = machine->switching;
	struct err err = {0};

	if (machine->run.result.end != MACHINE_RUNNING)
		return;
	if (switch_over(machine, &err) < 0)
		log_error("the guest stays with %s: %s", machine->accel->name, err.message);
	if (switching->is_lent)
		switching->lend_ended_ns = clock_monotonic_ns();
	switching->is_lent = false;
	switch_arm(machine);
}

int accel_switch_start(struct machine *machine, struct err *err)
{
	machine->switching->timer = loop_timer_create(machine->loop, switch_on_timer, machine, err);
	if (!machine->switching->timer)
		return err_prefix(err, "hand-over");
	switch_arm(machine);
	return 0;
}

void accel_switch_end(struct machine *machine)
{
	struct accel_switching *switching = machine->switching;
	const char *names[8];
	uint64_t values[8];
	size_t count = accel_switch_counters(machine, names, values, 8);

	if (!switching)
		return;
	for (size_t i = 0; i < count && i < 8; i++) {
		if (values[i])
			log_info("%s: %" PRIu64, names[i], values[i]);
	}
	loop_timer_destroy(switching->timer);
	switching->timer = NULL;
}

size_t accel_switch_counters(const struct machine *machine, const char **names, uint64_t *values,
			     size_t count)
{
	static const char *const counter_names[] = {
		"accel.switches", "accel.switches_failed", "accel.switch_total_us", "accel.switch_longest_us",
		"accel.lends",    "accel.assists",         "accel.assist_total_us",
	};
	const struct accel_switching *switching = machine->switching;
	uint64_t all[sizeof(counter_names) / sizeof(counter_names[0])] = {0};

	if (switching) {
		all[0] = switching->count;
		all[1] = switching->failed;
		all[2] = switching->total_ns / NS_PER_US;
		all[3] = switching->longest_ns / NS_PER_US;
		all[4] = switching->lends;
	}
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		all[5] += atomic_load_explicit(&machine->vcpu[i].assist.count, memory_order_relaxed);
		all[6] += atomic_load_explicit(&machine->vcpu[i].assist.total_ns, memory_order_relaxed) /
			  NS_PER_US;
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && i < count; i++) {
		names[i] = counter_names[i];
		values[i] = all[i];
	}
	return sizeof(all) / sizeof(all[0]);
}
