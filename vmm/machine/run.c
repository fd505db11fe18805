/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run control. Every change of a machine's state happens on the main thread: whoever wants one records a
 * request, which also makes the vCPUs park, and wakes the main thread through an eventfd. So a reset finds
 * every vCPU parked, and no vCPU executes another block once it has asked for a power-off.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/machine/accel_switch.h"
#include "vmm/machine/board.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot.h"

/* A guest whose every start ends in a triple fault at once is broken, not rebooting: it would spin for ever.
 */
#define EARLY_TRIPLE_FAULT_NS   (10 * NS_PER_S)
#define EARLY_TRIPLE_FAULTS_MAX 3

static void run_wake(struct machine *machine)
{
	const uint64_t one = 1;
	ssize_t written = write(machine->run.request_fd, &one, sizeof(one));

	(void)written;
}

void machine_run_request(struct machine *machine, enum machine_request request, uint32_t value)
{
	struct machine_run *run = &machine->run;

	pthread_mutex_lock(&run->lock);
	if (request > run->request) {
		run->request = request;
		run->request_value = value;
	}
	pthread_mutex_unlock(&run->lock);
	machine_vcpus_kick(machine);
	run_wake(machine);
}

void machine_quit(struct machine *machine)
{
	machine_run_request(machine, REQUEST_QUIT, 0);
}

void machine_reset(struct machine *machine)
{
	machine_run_request(machine, REQUEST_RESET, 0);
}

void machine_restart(struct machine *machine)
{
	machine_run_request(machine, REQUEST_RESTART, 0);
}

void machine_press_power_button(struct machine *machine)
{
	pthread_mutex_lock(&machine->run.lock);
	machine->run.power_button = true;
	pthread_mutex_unlock(&machine->run.lock);
	run_wake(machine);
}

static void run_set_target(struct machine *machine, enum machine_target target)
{
	pthread_mutex_lock(&machine->run.lock);
	machine->run.target = target;
	pthread_cond_broadcast(&machine->run.changed);
	pthread_mutex_unlock(&machine->run.lock);
	if (target != TARGET_RUNNING)
		machine_vcpus_kick(machine);
}

bool machine_run_pause(struct machine *machine)
{
	bool was_running = machine->run.target == TARGET_RUNNING;

	run_set_target(machine, TARGET_PAUSED);
	if (machine->vcpu_count > 0 && machine->vcpu[0].has_thread)
		machine_vcpus_wait_parked(machine);
	return was_running;
}

void machine_run_resume(struct machine *machine)
{
	run_set_target(machine, TARGET_RUNNING);
}

void machine_run_lend(struct machine *machine)
{
	pthread_mutex_lock(&machine->run.lock);
	machine->run.lend = true;
	pthread_mutex_unlock(&machine->run.lock);
	machine_vcpus_kick(machine);
	run_wake(machine);
}

void accel_switch_request(struct machine *machine)
{
	pthread_mutex_lock(&machine->run.lock);
	machine->run.switch_accel = true;
	pthread_mutex_unlock(&machine->run.lock);
	run_wake(machine);
}

static void run_finish(struct machine *machine, enum machine_end end, uint32_t value)
{
	run_set_target(machine, TARGET_PAUSED);
	machine->run.result = (struct machine_result){.end = end, .value = value};
	loop_stop(machine->loop, 0);
}

static void run_reset_devices(struct machine *machine)
{
	pthread_mutex_lock(&machine->board_lock);
	for (size_t i = 0; i < machine->device_count; i++) {
		if (machine->device[i]->class->reset)
			machine->device[i]->class->reset(machine->device[i]);
	}
	pthread_mutex_unlock(&machine->board_lock);
}

static int run_reset_and_load(struct machine *machine, struct err *err)
{
	run_reset_devices(machine);
	return machine_load(machine, err);
}

static void run_restart(struct machine *machine)
{
	struct err err = {0};

	run_set_target(machine, TARGET_PAUSED);
	machine_vcpus_wait_parked(machine);
	/* Who resets a paused machine wants to see it start. */
	if (machine_resume(machine, &err) < 0 || machine_intr_leave(machine, &err) < 0 ||
	    run_reset_and_load(machine, &err) < 0 || machine_intr_enter(machine, &err) < 0) {
		log_error("cannot start the guest again: %s", err.message);
		run_finish(machine, MACHINE_FAILED, 0);
		return;
	}
	machine->run.started_ns = clock_monotonic_ns();
	run_set_target(machine, TARGET_RUNNING);
}

static void run_on_reset(struct machine *machine)
{
	if (machine->config.no_reboot) {
		log_info("the guest reset the machine");
		run_finish(machine, MACHINE_RESET, 0);
		return;
	}
	log_info("the guest resets the machine");
	run_restart(machine);
}

/* The registers have been reported by the vCPU's thread. A PC answers a triple fault with a reset. */
static void run_on_triple_fault(struct machine *machine)
{
	struct machine_run *run = &machine->run;

	if (clock_monotonic_ns() - run->started_ns < EARLY_TRIPLE_FAULT_NS)
		run->early_triple_faults++;
	else
		run->early_triple_faults = 1;
	if (machine->config.no_reboot || run->early_triple_faults >= EARLY_TRIPLE_FAULTS_MAX) {
		run_finish(machine, MACHINE_TRIPLE_FAULT, 0);
		return;
	}
	log_error("the machine is reset, as a PC is after a triple fault; --no-reboot ends here instead");
	run_restart(machine);
}

static void run_handle(struct machine *machine, enum machine_request request, uint32_t value)
{
	switch (request) {
	case REQUEST_NONE: return;
	case REQUEST_RESET: run_on_reset(machine); return;
	case REQUEST_RESTART: run_restart(machine); return;
	case REQUEST_TRIPLE_FAULT: run_on_triple_fault(machine); return;
	case REQUEST_POWER_OFF:
		log_info("the guest switched the machine off");
		run_finish(machine, MACHINE_POWERED_OFF, 0);
		return;
	case REQUEST_EXIT:
		log_info("the guest ended with status %u", value);
		run_finish(machine, MACHINE_EXITED, value);
		return;
	case REQUEST_FAIL: run_finish(machine, MACHINE_FAILED, 0); return;
	case REQUEST_QUIT: run_finish(machine, MACHINE_QUIT, 0); return;
	}
}

/* A vCPU stands at an instruction that the accelerator cannot execute, and nobody can for that vCPU alone. */
static void run_on_lend(struct machine *machine, bool was_running)
{
	struct err err = {0};

	if (accel_switch_lend(machine, &err) < 0) {
		log_error("nobody can execute an instruction of the guest: %s", err.message);
		run_finish(machine, MACHINE_FAILED, 0);
	} else if (was_running) {
		run_set_target(machine, TARGET_RUNNING);
	}
}

static void run_on_switch(struct machine *machine)
{
	struct err err = {0};

	if (accel_switch(machine, NULL, &err) < 0)
		log_error("the guest stays with %s: %s", machine->accel->name, err.message);
	else
		log_info("the guest runs on %s now", machine->accel->name);
}

/* A request arrived during the handling of another one is seen again: its sender has written to the eventfd,
 * too. */
static void run_on_request(void *opaque, uint32_t epoll_events)
{
	struct machine *machine = opaque;
	struct machine_run *run = &machine->run;
	enum machine_request request;
	uint32_t value;
	bool power_button, lend, switch_accel, was_running;
	uint64_t count;
	ssize_t got = read(run->request_fd, &count, sizeof(count));

	(void)got;
	if (run->result.end != MACHINE_RUNNING)
		return;
	pthread_mutex_lock(&run->lock);
	request = run->request;
	value = run->request_value;
	power_button = run->power_button;
	run->request = REQUEST_NONE;
	run->power_button = false;
	lend = run->lend;
	run->lend = false;
	switch_accel = run->switch_accel;
	run->switch_accel = false;
	/* From here on vCPUs park for the target's sake, or run on. */
	was_running = run->target == TARGET_RUNNING;
	if (request != REQUEST_NONE || lend)
		run->target = TARGET_PAUSED;
	pthread_mutex_unlock(&run->lock);
	if (power_button)
		machine->board->power_button(machine);
	if (lend && request == REQUEST_NONE)
		run_on_lend(machine, was_running);
	if (switch_accel)
		run_on_switch(machine);
	run_handle(machine, request, value);
}

int machine_run_init(struct machine *machine, struct err *err)
{
	struct machine_run *run = &machine->run;

	run->request_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (run->request_fd < 0)
		return err_set_errno(err, -errno, "eventfd");
	run->request_watch =
		loop_fd_add(machine->loop, run->request_fd, EPOLLIN, run_on_request, machine, err);
	return run->request_watch ? 0 : err_prefix(err, "run control");
}

void machine_run_destroy(struct machine *machine)
{
	struct machine_run *run = &machine->run;

	if (run->request_watch)
		loop_fd_remove(run->request_watch);
	if (run->request_fd >= 0)
		close(run->request_fd);
}

int machine_run(struct machine *machine, struct machine_result *result, struct err *err)
{
	int code = accel_switch_start(machine, err);

	if (code == 0)
		code = machine_vcpus_start(machine, err);
	if (code < 0)
		return code;
	machine->run.started_ns = clock_monotonic_ns();
	if (!machine_is_paused(machine))
		run_set_target(machine, TARGET_RUNNING);
	code = loop_run(machine->loop);
	machine_vcpus_stop(machine);
	accel_switch_end(machine);
	if (code < 0)
		return err_set_errno(err, code, "event loop");
	*result = machine->run.result;
	return 0;
}

/* An exit status has 8 bits: a failure must not become a success by losing the upper ones. */
static int run_guest_status(uint32_t value)
{
	int status = (int)(value & 0xff);

	return status == 0 && value != 0 ? 255 : status;
}

int machine_exit_status(const struct machine_result *result)
{
	switch (result->end) {
	case MACHINE_POWERED_OFF:
	case MACHINE_QUIT:
	case MACHINE_RESET: return 0;
	case MACHINE_TRIPLE_FAULT: return 3;
	case MACHINE_EXITED: return run_guest_status(result->value);
	case MACHINE_FAILED:
	case MACHINE_RUNNING: return 1;
	}
	return 1;
}
