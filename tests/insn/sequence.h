/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short runs of instructions, for what single steps do not show: blocks, flags between instructions, forward
 * jumps.
 */
#pragma once

#include "tests/insn/generate.h"

/* Fills the test's code, INT3 at the end, and a state for it. */
void sequence_generate(struct random *random, const struct x86_decode_mode *mode, struct oracle_case *test);
