/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's CPU to and from the neutral state. Only while the CPU does not run. */
#pragma once

#include "tcg-fallback/x86/cpu.h"
#include "vmm/core/cpu_state_x86.h"

struct err;

/* MSRs of a state that this CPU does not have: kept, so that the state is whole when it goes on to another.
 */
struct tcg_foreign_msrs {
	struct x86_msr_state msr[X86_STATE_MSR_MAX];
	uint32_t count;
};

/* Everything a guest could ever notice, but what the pins have latched. */
void tcg_state_save(struct x86_cpu *cpu, const struct tcg_foreign_msrs *foreign, struct x86_cpu_state *state);
/* 0, or -EINVAL: the state has more MSRs than fit. */
int tcg_state_load(struct x86_cpu *cpu, const struct x86_cpu_state *state, struct tcg_foreign_msrs *foreign,
		   struct err *err);
