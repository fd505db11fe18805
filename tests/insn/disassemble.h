/* SPDX-License-Identifier: Apache-2.0 */
/* Prints an experiment's instructions, one a line, by capstone, whose names collide with the engine's. */
#pragma once

#include "tests/insn/oracle.h"

void disassemble_print(const struct oracle_case *test);
