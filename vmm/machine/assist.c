/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The assist: an accelerator cannot execute the instruction at RIP, so the vCPU's state goes to the side that
 * executes anything, for a block or a few, and comes back. A KVM that interprets its guests fails often;
 * the more often, the more blocks are taken at a time.
 *
 * Where the local APICs are the machine's own, the helper has the CPU's pins as well, and takes interrupts
 * like any other CPU. Where they are the accelerator's, it executes one block without them; should that reach
 * for the APIC, it is undone by not handing it back, and the whole machine is lent (accel_switch.c).
 */
#include "vmm/machine/assist.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/machine/accel_side.h"
#include "vmm/machine/parts.h"

/* Some milliseconds of the interpreter: no kick and no parking waits longer. */
#define ASSIST_BLOCKS_MAX 65536
/* Failures that come after less time than this on the accelerator are frequent. */
#define ASSIST_FREQUENT_NS (20 * NS_PER_MS)

/* And at most so long on an interpreter, looking for orders to park every ASSIST_BLOCKS_MAX. */
#define ASSIST_TIME_MAX_NS (1 * NS_PER_S)

/* One assist under way. */
struct assist {
	struct machine_vcpu *vcpu;
	const struct machine_side *host, *helper; /* who cannot, who can */
	const struct err *why;                    /* what the host said */
	struct x86_cpu_state *state;
	struct accel_clock clock; /* as it was handed over */
	uint64_t start_ns;
};

static bool assist_has_pins(const struct machine *machine)
{
	return machine->irqchip == ACCEL_IRQCHIP_OFF;
}

static void assist_drive_pins(const struct machine_side *side, unsigned cpu, const struct accel_pins *pins)
{
	side->ops->vcpu_intr(side->vcpu[cpu], pins->intr);
	if (pins->nmi)
		side->ops->vcpu_nmi(side->vcpu[cpu]);
	if (pins->smi)
		side->ops->vcpu_smi(side->vcpu[cpu]);
	if (pins->init)
		side->ops->vcpu_init(side->vcpu[cpu]);
	if (pins->startup)
		side->ops->vcpu_startup(side->vcpu[cpu], pins->startup_vector);
}

/* The pins are the helper's from now on, and what they have latched for the other. */
static void assist_lend_pins(struct assist *assist)
{
	struct machine_vcpu *vcpu = assist->vcpu;
	struct accel_pins pins;

	if (!assist_has_pins(vcpu->machine))
		return;
	pthread_mutex_lock(&vcpu->machine->intr_lock);
	assist->host->ops->vcpu_pins_take(assist->host->vcpu[vcpu->index], &pins);
	assist_drive_pins(assist->helper, vcpu->index, &pins);
	vcpu->pin_ops = assist->helper->ops;
	vcpu->pin_vcpu = assist->helper->vcpu[vcpu->index];
	pthread_mutex_unlock(&vcpu->machine->intr_lock);
}

/* Also without pins: an NMI that was pending in the state, and was not taken, is latched now. */
static void assist_return_pins(struct assist *assist)
{
	struct machine_vcpu *vcpu = assist->vcpu;
	const struct machine_side *host = assist->host;
	struct accel_pins pins;

	pthread_mutex_lock(&vcpu->machine->intr_lock);
	assist->helper->ops->vcpu_pins_take(assist->helper->vcpu[vcpu->index], &pins);
	if (assist_has_pins(vcpu->machine))
		assist_drive_pins(host, vcpu->index, &pins);
	else if (pins.nmi)
		host->ops->vcpu_nmi(host->vcpu[vcpu->index]);
	vcpu->pin_ops = NULL;
	pthread_mutex_unlock(&vcpu->machine->intr_lock);
}

/* Doubles while failures are frequent, starts again with one block when they are not. */
static unsigned assist_blocks(struct machine_vcpu *vcpu)
{
	struct machine_assist *assist = &vcpu->assist;

	if (!assist_has_pins(vcpu->machine))
		return 1;
	if (!assist->blocks || clock_monotonic_ns() - assist->last_ns > ASSIST_FREQUENT_NS)
		assist->blocks = 1;
	else if (assist->blocks < ASSIST_BLOCKS_MAX)
		assist->blocks *= 2;
	return assist->blocks;
}

bool assist_host_interprets(struct machine *machine)
{
	char finding[128];
	struct err err = {0};
	int known = atomic_load(&machine->accel_interprets);

	if (known)
		return known > 0;
	known = machine->accel->calibrate &&
				machine->accel->calibrate(finding, sizeof(finding), &err) == -ERANGE
			? 1
			: -1;
	atomic_store(&machine->accel_interprets, known);
	return known > 0;
}

/* How long the helper may go on after the first blocks: on an interpreter, as long as that took to come here.
 */
static uint64_t assist_time_ns(struct machine_vcpu *vcpu)
{
	uint64_t ran_ns = clock_monotonic_ns() - vcpu->assist.last_ns;

	if (!assist_has_pins(vcpu->machine) || !assist_host_interprets(vcpu->machine))
		return 0;
	return ran_ns < ASSIST_TIME_MAX_NS ? ran_ns : ASSIST_TIME_MAX_NS;
}

static void assist_log(struct assist *assist)
{
	struct machine_vcpu *vcpu = assist->vcpu;
	const struct x86_cpu_state *state = assist->state;
	char text[96] = "";

	if (assist->helper->ops->vcpu_instruction)
		assist->helper->ops->vcpu_instruction(assist->helper->vcpu[vcpu->index], text, sizeof(text));
	log_limited(&vcpu->assist.limit, atomic_load(&vcpu->assist.count) ? LOG_INFO : LOG_WARNING,
		    "CPU %u: %s; %s does it: rip=%04x:%016" PRIx64 " %s rflags=%" PRIx64 " cr0=%" PRIx64
		    " cr3=%" PRIx64 " cr4=%" PRIx64 " efer=%" PRIx64,
		    vcpu->index, assist->why->message, assist->helper->ops->name,
		    state->segment[X86_CS].selector, state->rip, text, state->rflags, state->cr0, state->cr3,
		    state->cr4, state->efer);
}

static int assist_give(struct assist *assist, struct err *err)
{
	const struct machine_side *host = assist->host;
	const struct machine_side *helper = assist->helper;
	const unsigned cpu = assist->vcpu->index;
	int code = host->ops->state_get(host->vcpu[cpu], assist->state, err);

	if (code == 0 && host->ops->clock_get)
		code = host->ops->clock_get(host->vcpu[cpu], &assist->clock, err);
	assist->clock.has_paravirtual = false; /* its pages stay as they are */
	if (helper->ops->set_a20)
		helper->ops->set_a20(helper->vm, atomic_load(&assist->vcpu->machine->a20_gates) != 0);
	if (code == 0 && helper->ops->vcpu_mem_forget)
		helper->ops->vcpu_mem_forget(helper->vcpu[cpu]);
	if (code == 0)
		code = helper->ops->state_set(helper->vcpu[cpu], assist->state, err);
	if (code == 0 && host->ops->clock_get && helper->ops->clock_set)
		code = helper->ops->clock_set(helper->vcpu[cpu], &assist->clock, err);
	if (code == 0)
		assist_log(assist);
	return code;
}

/* Whether the guest has set its TSC meanwhile: then the offsets to the host's clock differ. */
static bool assist_tsc_was_set(const struct accel_clock *before, const struct accel_clock *after,
			       uint64_t tsc_hz)
{
	uint64_t passed = muldiv64(after->monotonic_ns - before->monotonic_ns, tsc_hz, NS_PER_S);
	uint64_t off = after->tsc - before->tsc - passed;
	uint64_t slack = tsc_hz / 1000; /* 1 ms */

	return off > slack && -off > slack;
}

/* The accelerator has copies of the guest's page tables, and would not see a change that the helper makes. */
static bool assist_is_shadowed(const struct machine_side *host)
{
	return host->ops->mem_is_shadowed && host->ops->mem_is_shadowed(host->vm);
}

static int assist_take_back(struct assist *assist, struct err *err)
{
	const struct machine_side *host = assist->host;
	const struct machine_side *helper = assist->helper;
	const unsigned cpu = assist->vcpu->index;
	struct accel_clock clock = {0};
	int code = helper->ops->state_get(helper->vcpu[cpu], assist->state, err);

	if (code < 0)
		return code;
	/* The TSC goes on by itself where it is; only a guest that has set it makes it move. */
	x86_cpu_state_drop_msr(assist->state, X86_STATE_MSR_TSC);
	if (assist_is_shadowed(host))
		code = host->ops->mem_forget(host->vm, err);
	if (code == 0)
		code = host->ops->state_set(host->vcpu[cpu], assist->state, err);
	if (code < 0 || !helper->ops->clock_get || !host->ops->clock_set)
		return code;
	code = helper->ops->clock_get(helper->vcpu[cpu], &clock, err);
	clock.has_paravirtual = false;
	if (code == 0 &&
	    assist_tsc_was_set(&assist->clock, &clock, assist->vcpu->machine->capabilities.tsc_hz))
		code = host->ops->clock_set(host->vcpu[cpu], &clock, err);
	return code;
}

static void assist_count(struct assist *assist)
{
	struct machine_assist *counters = &assist->vcpu->assist;

	counters->last_ns = clock_monotonic_ns();
	atomic_fetch_add_explicit(&counters->count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&counters->total_ns, counters->last_ns - assist->start_ns,
				  memory_order_relaxed);
}

/* Between giving and taking back: the helper runs with the CPU's pins, if it may have them. */
static enum accel_exit assist_run(struct assist *assist, struct err *err)
{
	struct machine_vcpu *vcpu = assist->vcpu;
	const struct machine_side *helper = assist->helper;
	const uint64_t end_ns = clock_monotonic_ns() + assist_time_ns(vcpu);
	enum accel_exit why;

	vcpu->assist.reached_apic = false;
	atomic_store(&vcpu->assist.active, true);
	assist_lend_pins(assist);
	why = helper->ops->vcpu_run_blocks(helper->vcpu[vcpu->index], assist_blocks(vcpu), err);
	while (why == ACCEL_EXIT_KICKED && clock_monotonic_ns() < end_ns &&
	       !machine_vcpu_must_park(vcpu->machine))
		why = helper->ops->vcpu_run_blocks(helper->vcpu[vcpu->index], ASSIST_BLOCKS_MAX, err);
	assist_return_pins(assist);
	atomic_store(&vcpu->assist.active, false);
	return why;
}

/* The helper does not have the instruction either, and has executed none before it. */
static bool assist_stood_still(const struct assist *assist, uint64_t rip_before, uint64_t rcx_before)
{
	return assist->state->rip == rip_before && assist->state->gpr[X86_RCX] == rcx_before;
}

/* What the helper's exit means to the vCPU that it hands back. */
static enum accel_exit assist_end(struct assist *assist, enum accel_exit why, struct err *err)
{
	const uint64_t rip = assist->state->rip;
	const uint64_t rcx = assist->state->gpr[X86_RCX];
	struct machine_vcpu *vcpu = assist->vcpu;

	if (vcpu->assist.reached_apic) {
		machine_run_lend(vcpu->machine);
		return ACCEL_EXIT_KICKED;
	}
	if (why == ACCEL_EXIT_FAILED ||
	    assist_take_back(assist, why == ACCEL_EXIT_CANNOT_EXECUTE ? NULL : err) < 0)
		return ACCEL_EXIT_FAILED;
	assist_count(assist);
	if (why != ACCEL_EXIT_CANNOT_EXECUTE)
		return why;
	if (!assist_stood_still(assist, rip, rcx))
		return ACCEL_EXIT_KICKED;
	err_prefix(err, "%s, and %s cannot", assist->why->message, assist->helper->ops->name);
	return ACCEL_EXIT_CANNOT_EXECUTE;
}

enum accel_exit assist_execute(struct machine_vcpu *vcpu, const struct err *why, struct err *err)
{
	struct machine *machine = vcpu->machine;
	struct assist assist = {.vcpu = vcpu, .why = why, .start_ns = clock_monotonic_ns()};
	enum accel_exit exit;

	assist.host = &machine->side[machine->active_side];
	assist.helper = accel_side_other(machine, err);
	if (!assist.helper)
		return ACCEL_EXIT_CANNOT_EXECUTE;
	if (!assist.helper->ops->vcpu_run_blocks) {
		err_set(err, -ENOTSUP, "%s, and %s cannot help", why->message, assist.helper->ops->name);
		return ACCEL_EXIT_CANNOT_EXECUTE;
	}
	/* Copies of page tables can be dropped only while no CPU runs; and an interpreter that has the local
	 * APICs is helped for longer than one block without them could be. */
	if ((machine->vcpu_count > 1 && assist_is_shadowed(assist.host)) ||
	    (!assist_has_pins(machine) && assist_host_interprets(machine))) {
		log_limited(&vcpu->assist.limit, LOG_INFO, "CPU %u: %s; the machine is lent to %s",
			    vcpu->index, why->message, assist.helper->ops->name);
		machine_run_lend(machine);
		return ACCEL_EXIT_KICKED;
	}
	assist.state = &assist.helper->state[vcpu->index];
	if (assist_give(&assist, err) < 0)
		return ACCEL_EXIT_FAILED;
	exit = assist_run(&assist, err);
	return assist_end(&assist, exit, err);
}
