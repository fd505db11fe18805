/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a machine that is saved, destroyed and made again from what was saved, over and over, while its guest
 * works:
 *
 *     snapshot-cycle CONFIG.json FOLDER EVERY_MS COUNT [ACCEL,ACCEL...]
 *
 * Each life goes on in the next; with accelerators named, in turn on each. Exits as `vmmctl boot` would,
 * after the guest has ended by itself; 100 when it has not lived through COUNT snapshots by then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/machine/config.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/snapshot.h"

struct cycle {
	char state_path[512], memory_path[512];
	uint64_t every_ns;
	unsigned count; /* snapshots still to be taken */
	unsigned taken;
	struct machine *machine;
	struct loop_timer *timer;
	bool saved;
};

static void cycle_fail(const char *what, const struct err *err)
{
	fprintf(stderr, "snapshot-cycle: %s: %s\n", what, err->message);
	exit(99);
}

static void cycle_on_timer(void *opaque)
{
	struct cycle *cycle = opaque;
	const struct machine_snapshot_target target = {
		.kind = MACHINE_SNAPSHOT_FULL,
		.state_path = cycle->state_path,
		.memory_path = cycle->memory_path,
	};
	uint64_t start_ns = clock_monotonic_ns(), paused_ns;
	struct err err = {0};

	if (machine_pause(cycle->machine, &err) < 0)
		cycle_fail("pause", &err);
	paused_ns = clock_monotonic_ns();
	if (machine_snapshot_create(cycle->machine, &target, &err) < 0)
		cycle_fail("create", &err);
	fprintf(stderr, "snapshot-cycle: snapshot %u: paused after %llu us, saved after %llu us\n",
		++cycle->taken, (unsigned long long)(paused_ns - start_ns) / 1000,
		(unsigned long long)(clock_monotonic_ns() - start_ns) / 1000);
	cycle->saved = true;
	machine_quit(cycle->machine);
}

static struct machine *cycle_restore(const struct cycle *cycle, const char *accel)
{
	const struct machine_snapshot_memory memory = {.path = cycle->memory_path};
	struct err err = {0};
	uint64_t start_ns = clock_monotonic_ns();
	struct machine_snapshot *snapshot = machine_snapshot_open(cycle->state_path, &err);
	struct machine *machine;

	if (!snapshot)
		cycle_fail("open", &err);
	if (accel) {
		free(machine_snapshot_config(snapshot)->accel);
		machine_snapshot_config(snapshot)->accel = strdup(accel);
	}
	machine = machine_restore(snapshot, &memory, &err);
	if (!machine || machine_resume(machine, &err) < 0)
		cycle_fail("restore", &err);
	fprintf(stderr, "snapshot-cycle: restored after %llu us\n",
		(unsigned long long)(clock_monotonic_ns() - start_ns) / 1000);
	machine_snapshot_close(snapshot);
	return machine;
}

/* One life; whether the guest has ended. */
static bool cycle_live(struct cycle *cycle, struct machine_result *result)
{
	struct err err = {0};

	cycle->saved = false;
	cycle->timer = loop_timer_create(machine_loop(cycle->machine), cycle_on_timer, cycle, &err);
	if (!cycle->timer)
		cycle_fail("timer", &err);
	if (cycle->taken < cycle->count)
		loop_timer_arm(cycle->timer, clock_monotonic_ns() + cycle->every_ns);
	if (machine_run(cycle->machine, result, &err) < 0)
		cycle_fail("run", &err);
	loop_timer_destroy(cycle->timer);
	machine_destroy(cycle->machine);
	return !cycle->saved;
}

static struct machine *cycle_create(const char *config_path)
{
	struct machine_config config;
	struct machine *machine = NULL;
	struct err err = {0};

	if (machine_config_init(&config, &err) == 0 && machine_config_read(&config, config_path, &err) == 0)
		machine = machine_create(&config, &err);
	if (!machine)
		cycle_fail(config_path, &err);
	machine_config_free(&config);
	return machine;
}

int main(int argc, char **argv)
{
	char *names = argc > 5 ? strdup(argv[5]) : NULL, *rest = NULL;
	struct machine_result result = {0};
	struct cycle cycle = {0};

	if (argc < 5) {
		fprintf(stderr, "usage: snapshot-cycle CONFIG.json FOLDER EVERY_MS COUNT [ACCEL,ACCEL...]\n");
		return 98;
	}
	snprintf(cycle.state_path, sizeof(cycle.state_path), "%s/state", argv[2]);
	snprintf(cycle.memory_path, sizeof(cycle.memory_path), "%s/memory", argv[2]);
	cycle.every_ns = strtoull(argv[3], NULL, 10) * NS_PER_MS;
	cycle.count = (unsigned)strtoul(argv[4], NULL, 10);
	cycle.machine = cycle_create(argv[1]);
	while (!cycle_live(&cycle, &result)) {
		char *name = names ? strtok_r(rest ? NULL : names, ",", &rest) : NULL;

		if (names && !name) { /* from the first again */
			strcpy(names, argv[5]);
			rest = NULL;
			name = strtok_r(names, ",", &rest);
		}
		cycle.machine = cycle_restore(&cycle, name);
	}
	free(names);
	fprintf(stderr, "snapshot-cycle: the guest ended after %u snapshots\n", cycle.taken);
	return cycle.taken < cycle.count ? 100 : machine_exit_status(&result);
}
