/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPU threads: run, wait, park. Parking is level-triggered: a thread parks while the target is not to
 * run or a request is pending, so that a kick that is lost in an exit costs nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/machine/accel_side.h"
#include "vmm/machine/assist.h"
#include "vmm/machine/parts.h"

void machine_vcpus_kick(struct machine *machine)
{
	for (unsigned i = 0; i < machine->vcpu_count; i++)
		accel_sides_kick(machine, i);
}

static bool vcpu_must_park(const struct machine_run *run)
{
	return run->target == TARGET_PAUSED ||
	       (run->target == TARGET_RUNNING && (run->request != REQUEST_NONE || run->lend));
}

bool machine_vcpu_must_park(struct machine *machine)
{
	bool must;

	pthread_mutex_lock(&machine->run.lock);
	must = machine->run.target != TARGET_RUNNING || vcpu_must_park(&machine->run);
	pthread_mutex_unlock(&machine->run.lock);
	return must;
}

/* Returns when the vCPU may run; false when its thread must end. */
static bool vcpu_park(struct machine_vcpu *vcpu)
{
	struct machine_run *run = &vcpu->machine->run;
	bool may_run;

	pthread_mutex_lock(&run->lock);
	if (vcpu_must_park(run)) {
		run->parked++;
		pthread_cond_broadcast(&run->changed);
		while (vcpu_must_park(run))
			pthread_cond_wait(&run->changed, &run->lock);
		run->parked--;
	}
	may_run = run->target == TARGET_RUNNING;
	pthread_mutex_unlock(&run->lock);
	return may_run;
}

void machine_vcpus_wait_parked(struct machine *machine)
{
	struct machine_run *run = &machine->run;

	pthread_mutex_lock(&run->lock);
	while (run->parked < machine->vcpu_count)
		pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
}

/*
 * The instruction at RIP as text. An accelerator that cannot say gives its state to the other side for the
 * question; the machine has failed, and nobody goes on with it.
 */
static void vcpu_report_instruction(struct machine_vcpu *vcpu, const struct x86_cpu_state *state)
{
	struct machine *machine = vcpu->machine;
	const struct machine_side *side = &machine->side[machine->active_side];
	char text[96] = "";

	if (!side->ops->vcpu_instruction)
		side = accel_side_other(machine, NULL);
	if (!side || !side->ops->vcpu_instruction)
		return;
	if (side->ops != machine->accel && side->ops->state_set(side->vcpu[vcpu->index], state, NULL) < 0)
		return;
	side->ops->vcpu_instruction(side->vcpu[vcpu->index], text, sizeof(text));
	log_error("  at rip: %s", text);
}

static void vcpu_report(struct machine_vcpu *vcpu, bool with_instruction)
{
	struct x86_cpu_state *state = machine_new_cpu_state();
	struct err err = {0};

	if (!state)
		return;
	if (vcpu->machine->accel->state_get(vcpu->accel_vcpu, state, &err) < 0) {
		log_error("cannot read the registers of CPU %u: %s", vcpu->index, err.message);
	} else {
		cpu_report_x86(vcpu->index, state);
		if (with_instruction)
			vcpu_report_instruction(vcpu, state);
	}
	free(state);
}

static void vcpu_fail(struct machine_vcpu *vcpu, const char *what, const char *why)
{
	log_error("CPU %u: %s%s%s", vcpu->index, what, why[0] ? ": " : "", why);
	vcpu_report(vcpu, true);
	machine_run_request(vcpu->machine, REQUEST_FAIL, 0);
}

static void vcpu_handle_exit(struct machine_vcpu *vcpu, enum accel_exit why, const struct err *err)
{
	switch (why) {
	case ACCEL_EXIT_KICKED: return;
	case ACCEL_EXIT_HALTED: vcpu->machine->accel->vcpu_wait(vcpu->accel_vcpu); return;
	case ACCEL_EXIT_RESET: machine_run_request(vcpu->machine, REQUEST_RESET, 0); return;
	case ACCEL_EXIT_SHUTDOWN:
		log_error("triple fault on CPU %u", vcpu->index);
		vcpu_report(vcpu, false);
		machine_run_request(vcpu->machine, REQUEST_TRIPLE_FAULT, 0);
		return;
	case ACCEL_EXIT_POWER_OFF: machine_run_request(vcpu->machine, REQUEST_POWER_OFF, 0); return;
	case ACCEL_EXIT_DEBUG:
		vcpu_fail(vcpu, "stopped at a breakpoint, and no debugger is attached", "");
		return;
	case ACCEL_EXIT_CANNOT_EXECUTE:
		vcpu_fail(vcpu, "no accelerator can execute an instruction", err->message);
		return;
	case ACCEL_EXIT_FAILED: vcpu_fail(vcpu, "the accelerator failed", err->message); return;
	}
}

static void *vcpu_main(void *opaque)
{
	struct machine_vcpu *vcpu = opaque;

	while (vcpu_park(vcpu)) {
		struct err err = {0};
		enum accel_exit why = vcpu->machine->accel->vcpu_run(vcpu->accel_vcpu, &err);

		if (why == ACCEL_EXIT_CANNOT_EXECUTE) {
			struct err cannot = err;

			why = assist_execute(vcpu, &cannot, &err);
		}
		vcpu_handle_exit(vcpu, why, &err);
	}
	return NULL;
}

static int vcpu_start(struct machine_vcpu *vcpu, struct err *err)
{
	char name[16];
	int code = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);

	if (code != 0)
		return err_set_errno(err, -code, "cannot start the thread of CPU %u", vcpu->index);
	vcpu->has_thread = true;
	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(vcpu->thread, name);
	return 0;
}

/* Signals to the process are the main thread's. Those of a crash stay open: blocked, they would kill without
 * a handler. */
static void vcpu_signal_mask(sigset_t *mask)
{
	static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP, SIGSYS};

	sigfillset(mask);
	for (size_t i = 0; i < sizeof(crash_signals) / sizeof(crash_signals[0]); i++)
		sigdelset(mask, crash_signals[i]);
}

int machine_vcpus_start(struct machine *machine, struct err *err)
{
	sigset_t mask;
	sigset_t before;
	int code = 0;

	vcpu_signal_mask(&mask);
	pthread_sigmask(SIG_SETMASK, &mask, &before);
	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++)
		code = vcpu_start(&machine->vcpu[i], err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code < 0)
		machine_vcpus_stop(machine);
	return code;
}

void machine_vcpus_stop(struct machine *machine)
{
	pthread_mutex_lock(&machine->run.lock);
	machine->run.target = TARGET_STOPPING;
	pthread_cond_broadcast(&machine->run.changed);
	pthread_mutex_unlock(&machine->run.lock);
	machine_vcpus_kick(machine);
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		if (machine->vcpu[i].has_thread)
			pthread_join(machine->vcpu[i].thread, NULL);
		machine->vcpu[i].has_thread = false;
	}
}
