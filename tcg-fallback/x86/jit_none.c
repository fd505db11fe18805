/* SPDX-License-Identifier: Apache-2.0 */
/* No translator: hosts other than x86-64 have the interpreter alone. jit.h. */
#include "tcg-fallback/x86/jit.h"

void x86_jit_x87_away(struct x86_cpu *cpu)
{
}

void x86_jit_create(struct x86_cpu *cpu)
{
}

void x86_jit_destroy(struct x86_cpu *cpu)
{
}

void x86_jit_thread(struct x86_cpu *cpu)
{
}

void x86_jit_watch(struct x86_cpu *cpu, struct x86_op *op)
{
}

const void *x86_jit_host(const struct x86_cpu *cpu, const struct x86_op *op)
{
	return NULL;
}

void x86_jit_forget_ops(struct x86_cpu *cpu)
{
}

void x86_jit_flush(struct x86_cpu *cpu)
{
}

bool x86_jit_drop(struct x86_cpu *cpu, uint64_t page_gpa, unsigned first, unsigned last)
{
	return false;
}

uint64_t x86_jit_lines(const struct x86_cpu *cpu, uint64_t page_gpa)
{
	return 0;
}

uint64_t x86_jit_count(const struct x86_cpu *cpu, enum x86_jit_counter counter)
{
	return 0;
}
