/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clocks of all CPUs read as one and set as one: at a hand-over, and where a machine that has stood still
 * goes on. Intel SDM vol. 3, 18.17 (TSC); the paravirtual clock is the VM's and goes with CPU 0.
 */
#include <stdlib.h>

#include "vmm/base/clock.h"
#include "vmm/machine/parts.h"

/* TSCs nearer to that of CPU 0 than this are the same: a KVM that tells no offset is read with some noise. */
#define CLOCKS_TSC_NOISE_US 100

static int64_t clocks_smaller(int64_t a, int64_t b)
{
	return llabs(a) < llabs(b) ? a : b;
}

/*
 * CPUs whose TSCs agree shall agree to the tick afterwards. How far they are apart is taken from the host's
 * clock of the two that tells less: a reading that was interrupted between a pair's halves tells too much.
 */
static void clocks_align(struct accel_clock *clock, const struct accel_clock *first, uint64_t tsc_hz)
{
	int64_t noise = (int64_t)(tsc_hz / 1000000 * CLOCKS_TSC_NOISE_US);
	uint64_t passed = muldiv64(clock->monotonic_ns - first->monotonic_ns, tsc_hz, NS_PER_S);
	int64_t delta = (int64_t)(clock->tsc - first->tsc - passed);

	if (first->host_tsc && clock->host_tsc)
		delta = clocks_smaller(
			delta, (int64_t)(clock->tsc - first->tsc - (clock->host_tsc - first->host_tsc)));
	*clock = *first;
	if (delta > noise || delta < -noise)
		clock->tsc += (uint64_t)delta;
}

int machine_clocks_get(const struct machine *machine, const struct machine_side *side,
		       struct accel_clock *clock, struct err *err)
{
	int code = 0;

	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++) {
		clock[i] = (struct accel_clock){0};
		if (side->ops->clock_get)
			code = side->ops->clock_get(side->vcpu[i], &clock[i], err);
		clocks_align(&clock[i], &clock[0], machine->capabilities.tsc_hz);
	}
	return code;
}

int machine_clocks_set(const struct machine *machine, const struct machine_side *side,
		       const struct accel_clock *clock, struct err *err)
{
	int code = 0;

	for (unsigned i = 0; i < machine->vcpu_count && code == 0 && side->ops->clock_set; i++)
		code = side->ops->clock_set(side->vcpu[i], &clock[i], err);
	return code;
}

int machine_clocks_continue(const struct machine *machine, const struct machine_side *side,
			    const struct accel_clock *clock, struct err *err)
{
	struct accel_clock now = {0};
	int code = 0;

	if (!side->ops->clock_get || !side->ops->clock_set)
		return 0;
	code = side->ops->clock_get(side->vcpu[0], &now, err);
	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++) {
		now.tsc = clock[i].tsc;
		now.has_paravirtual = clock[i].has_paravirtual;
		now.paravirtual_ns = clock[i].paravirtual_ns;
		code = side->ops->clock_set(side->vcpu[i], &now, err);
	}
	return code;
}
