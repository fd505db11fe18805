/* SPDX-License-Identifier: Apache-2.0 */
/* A translation as text: guest code, what became of it, host code. Called once a translation, when somebody
 * asked. */
#include <inttypes.h>

#include "tcg-fallback/core/trace.h"
#include "tcg-fallback/x86/disassemble.h"
#include "tcg-fallback/x86/jit_emit.h"

#define INSN_TEXT_MAX 96

static const char *const kind_name[] = {
	[JIT_PLAIN] = "plain",   [JIT_STACK] = "stack",    [JIT_VECTOR] = "vector", [JIT_DIVIDE] = "divide",
	[JIT_BRANCH] = "branch", [JIT_CALL] = "call to C", [JIT_STOP] = "stop",
};

static const char *kind_text(unsigned kind)
{
	return kind < sizeof(kind_name) / sizeof(kind_name[0]) && kind_name[kind] ? kind_name[kind] : "other";
}

static void trace_guest(const struct jit_translation *t, uint64_t page)
{
	for (unsigned i = 0; i < t->count; i++) {
		char text[INSN_TEXT_MAX];

		x86_insn_text(&t->insn[i].in, 64, page + t->insn[i].off, text, sizeof(text));
		x86_trace_line(t->cpu, "  %#" PRIx64 "  %s", page + t->insn[i].off, text);
	}
}

static void trace_ops(const struct jit_translation *t, uint64_t page)
{
	for (unsigned i = 0; i < t->count; i++)
		x86_trace_line(t->cpu, "  %#" PRIx64 "  %s, flags wanted after it %#x, read %#x, written %#x",
			       page + t->insn[i].off, kind_text(t->insn[i].kind), t->insn[i].live,
			       t->insn[i].read, t->insn[i].may);
}

void jit_trace_block(const struct jit_translation *t, uint64_t gpa, uint64_t linear)
{
	const uint8_t *start = t->block->saved;
	size_t size = (size_t)(t->code.at - start);
	uint64_t page = linear & ~(uint64_t)4095, host = (uintptr_t)jit_run_address(t->jit, start);

	x86_trace_symbol(t->cpu, jit_run_address(t->jit, start), size, linear, gpa);
	if (x86_trace_wants(t->cpu, X86_TRACE_IN_ASM)) {
		x86_trace_begin(t->cpu);
		x86_trace_line(t->cpu, "in_asm: %u instructions at %#" PRIx64 ", physical %#" PRIx64,
			       t->count, linear, gpa);
		trace_guest(t, page);
		x86_trace_end(t->cpu);
	}
	if (x86_trace_wants(t->cpu, X86_TRACE_OP)) {
		x86_trace_begin(t->cpu);
		x86_trace_line(t->cpu, "op: %u instructions at %#" PRIx64, t->count, linear);
		trace_ops(t, page);
		x86_trace_end(t->cpu);
	}
	if (x86_trace_wants(t->cpu, X86_TRACE_OUT_ASM)) {
		x86_trace_begin(t->cpu);
		x86_trace_line(t->cpu, "out_asm: %zu bytes for %#" PRIx64, size, linear);
		x86_trace_host_code(t->cpu, start, size, host);
		x86_trace_end(t->cpu);
	}
}
