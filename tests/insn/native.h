/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host CPU as a runner, and what only it offers: unmapping the page after the code, to learn how far
 * instruction fetch reaches. Not thread-safe: signal handlers have one state a process.
 */
#pragma once

#include "tests/insn/oracle.h"

struct native;

struct native *native_open(void);
void native_close(struct native *native);
void native_run(struct native *native, const struct oracle_case *test, struct oracle_result *result);

/* Can the host execute 32-bit or 16-bit code segments in this process? */
bool native_has_bits(struct native *native, unsigned bits);
