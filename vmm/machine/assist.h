/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in CPU helps out where another accelerator gives up on an instruction. */
#pragma once

#include "vmm/core/accel.h"

struct machine;
struct machine_vcpu;

/*
 * vcpu_run has just returned CANNOT_EXECUTE, with `why`: the other side executes what comes next, and hands
 * the CPU back. KICKED: run on; HALTED, RESET, SHUTDOWN, FAILED (err says how) are as from vcpu_run. The
 * vCPU's thread.
 */
enum accel_exit assist_execute(struct machine_vcpu *vcpu, const struct err *why, struct err *err);

/* Whether the machine's accelerator interprets its guests, as accel_ops.calibrate finds: asked once. */
bool assist_host_interprets(struct machine *machine);
