/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine stands still: vCPUs parked, the interrupt controllers' state at home, queues empty, timers off,
 * clocks noted. That is also the state in which it is saved and loaded. On the way back the devices go first,
 * while the controllers are still at home, so that the accelerator is told the lines as they are then.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/legacy/lapic.h"
#include "devices/legacy/pit.h"
#include "vmm/base/err.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot.h"

bool machine_is_paused(const struct machine *machine)
{
	return machine->pausing.paused;
}

/* Latest first: virtio devices interrupt when their last requests are done, and the controllers come before
 * them. */
static void pause_devices(struct machine *machine)
{
	pthread_mutex_lock(&machine->board_lock);
	for (size_t i = machine->device_count; i-- > 0;) {
		if (machine->device[i]->class->pause)
			machine->device[i]->class->pause(machine->device[i]);
	}
	pthread_mutex_unlock(&machine->board_lock);
}

static void resume_devices(struct machine *machine)
{
	pthread_mutex_lock(&machine->board_lock);
	for (size_t i = 0; i < machine->device_count; i++) {
		if (machine->device[i]->class->resume)
			machine->device[i]->class->resume(machine->device[i]);
	}
	/* Their timers are armed by machine_intr_enter, or the accelerator has its own. */
	pit_rest(machine->pit);
	lapic_rest(machine->lapic);
	pthread_mutex_unlock(&machine->board_lock);
}

static int pause_note_clocks(struct machine *machine, struct err *err)
{
	if (!machine->pausing.clock)
		machine->pausing.clock = calloc(machine->vcpu_count, sizeof(*machine->pausing.clock));
	if (!machine->pausing.clock)
		return err_set(err, -ENOMEM, "no memory for the clocks");
	return machine_clocks_get(machine, &machine->side[machine->active_side], machine->pausing.clock, err);
}

int machine_pause(struct machine *machine, struct err *err)
{
	bool was_running;
	int code;

	if (machine->pausing.paused)
		return 0;
	was_running = machine_run_pause(machine);
	code = pause_note_clocks(machine, err);
	if (code == 0)
		code = machine_intr_leave(machine, err);
	if (code < 0) {
		if (was_running)
			machine_run_resume(machine);
		return err_prefix(err, "cannot pause");
	}
	pause_devices(machine);
	machine->pausing.paused = true;
	return 0;
}

int machine_resume(struct machine *machine, struct err *err)
{
	int code;

	if (!machine->pausing.paused)
		return 0;
	code = machine_clocks_continue(machine, &machine->side[machine->active_side], machine->pausing.clock,
				       err);
	if (code == 0) {
		resume_devices(machine);
		code = machine_intr_enter(machine, err);
		/* It has gone on in part: what is at rest again can be resumed once more. */
		if (code < 0)
			pause_devices(machine);
	}
	if (code < 0)
		return err_prefix(err, "cannot resume");
	machine->pausing.paused = false;
	if (machine->vcpu_count > 0 && machine->vcpu[0].has_thread)
		machine_run_resume(machine);
	return 0;
}
