/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's CPU to and from the neutral state. Only while the CPU does not run. */
#pragma once

#include "tcg-fallback/x86/cpu.h"
#include "vmm/core/cpu_state_x86.h"

struct err;

/* Everything a guest could ever notice. */
void tcg_state_save(struct x86_cpu *cpu, struct x86_cpu_state *state);
/* 0, or -EINVAL: the state names an MSR that this CPU does not have, or more MSRs than fit. */
int tcg_state_load(struct x86_cpu *cpu, const struct x86_cpu_state *state, struct err *err);
