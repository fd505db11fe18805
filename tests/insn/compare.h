/* SPDX-License-Identifier: Apache-2.0 */
/* What of two results must agree, by what the manual leaves undefined. */
#pragma once

#include <stdio.h>

#include "tcg-fallback/x86/insn.h"
#include "tests/insn/oracle.h"

/*
 * True when nothing defined differs. `in` is the instruction, or NULL for a sequence. With `out`, each
 * difference is printed there.
 */
bool compare_results(const struct oracle_case *test, const struct x86_insn *in,
		     const struct oracle_result *expected, const struct oracle_result *found, FILE *out);
