/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in engine's CPU as a runner. */
#pragma once

#include "tests/insn/oracle.h"

struct guest;

/* The guest CPU has the features of the host that the engine knows. */
struct guest *guest_open(void);
void guest_close(struct guest *guest);
void guest_run(struct guest *guest, const struct oracle_case *test, struct oracle_result *result);

extern const struct oracle_runner oracle_interpreter;
