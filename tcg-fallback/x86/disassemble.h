/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions as text, for a person. */
#pragma once

#include <stddef.h>

#include "tcg-fallback/x86/insn.h"

/* The instruction in Intel's order, destination first; a branch names its target. rip: of the instruction. */
void x86_insn_text(const struct x86_insn *in, unsigned bits, uint64_t rip, char *text, size_t size);

/* The instruction at the CPU's RIP, its bytes in front; "?" where there is none. Raises nothing and changes
 * nothing. While the CPU does not run. */
void x86_cpu_insn_text(struct x86_cpu *cpu, char *text, size_t size);
