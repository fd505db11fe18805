/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine tells those who debug it: guest and host code of translations, events delivered, page walks
 * and flushes, written to a file; and a map of translated code for perf(1). A VM that is told to trace
 * nothing has no struct x86_trace, and every place that could tell something asks for that first. Knows no
 * formats of guest or host code (x86/trace_code.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct x86_cpu;

enum x86_trace_kind {
	X86_TRACE_IN_ASM = 1u << 0,  /* guest code of each translation */
	X86_TRACE_OUT_ASM = 1u << 1, /* host code of each translation */
	X86_TRACE_OP = 1u << 2,      /* what each instruction became */
	X86_TRACE_INT = 1u << 3,     /* interrupts and exceptions, at delivery */
	X86_TRACE_MMU = 1u << 4,     /* page walks, flushes, changes of the address space */
};

struct x86_trace_config {
	uint32_t kinds; /* of X86_TRACE_* */
	int fd;         /* where they go; borrowed, duplicated */
	bool perf_map;  /* write /tmp/perf-PID.map */
};

struct x86_trace;

/* *trace is owned, or NULL when there is nothing to trace. 0, or -errno with err set. */
int x86_trace_create(struct x86_trace **trace, const struct x86_trace_config *config, struct err *err);
void x86_trace_destroy(struct x86_trace *trace);

/* Whether the CPU's VM traces this. */
bool x86_trace_wants(const struct x86_cpu *cpu, enum x86_trace_kind kind);
/* A record of several lines, which those of other CPUs do not come between: begin, lines, end. */
void x86_trace_begin(const struct x86_cpu *cpu);
void x86_trace_line(const struct x86_cpu *cpu, const char *format, ...) __attribute__((format(printf, 2, 3)));
void x86_trace_end(const struct x86_cpu *cpu);

/* A record of one line. */
#define X86_TRACE(cpu, kind, ...)                                                                            \
	do {                                                                                                 \
		if (__builtin_expect(x86_trace_wants(cpu, kind), 0)) {                                       \
			x86_trace_begin(cpu);                                                                \
			x86_trace_line(cpu, __VA_ARGS__);                                                    \
			x86_trace_end(cpu);                                                                  \
		}                                                                                            \
	} while (0)

/* Host code [start, start + size) is the translation of guest code at linear (guest-physical gpa), for perf.
 */
void x86_trace_symbol(const struct x86_cpu *cpu, const void *start, size_t size, uint64_t linear,
		      uint64_t gpa);

/* x86/trace_code.c: `count` bytes of host code as assembler, or as bytes where there is no disassembler. */
struct x86_trace_disassembler;
struct x86_trace_disassembler *x86_trace_disassembler_open(void);
void x86_trace_disassembler_close(struct x86_trace_disassembler *disassembler);
struct x86_trace_disassembler *x86_trace_disassembler_of(const struct x86_cpu *cpu);
void x86_trace_host_code(const struct x86_cpu *cpu, const uint8_t *code, size_t count, uint64_t address);
