/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors and the hidden parts of segment registers: reading a descriptor, what its bits say, loading.
 * The checks of a transfer belong to the instruction that makes it. Intel SDM vol. 3, 3.4 and 5.2.
 *
 *   63        56 55 54 53 52 51   48 47 46 45 44 43   40 39                       16 15         0
 *   | base 31:24 | G DB L AVL | lim  | P | DPL | S | type | base 23:0               | limit 15:0 |
 */
#pragma once

#include "tcg-fallback/x86/cpu.h"

struct x86_descriptor {
	uint64_t raw;
	uint64_t linear; /* of its first byte */
	uint16_t selector;
};

enum { /* system descriptor types */
       X86_TYPE_TSS16 = 1,
       X86_TYPE_LDT = 2,
       X86_TYPE_TSS16_BUSY = 3,
       X86_TYPE_CALL16 = 4,
       X86_TYPE_TASK_GATE = 5,
       X86_TYPE_INT16 = 6,
       X86_TYPE_TRAP16 = 7,
       X86_TYPE_TSS32 = 9,
       X86_TYPE_TSS32_BUSY = 11,
       X86_TYPE_CALL32 = 12,
       X86_TYPE_INT32 = 14,
       X86_TYPE_TRAP32 = 15,
};

static inline unsigned x86_desc_type(uint64_t raw)
{
	return raw >> 40 & 15;
}

static inline bool x86_desc_is_system(uint64_t raw)
{
	return !(raw >> 44 & 1);
}

static inline unsigned x86_desc_dpl(uint64_t raw)
{
	return raw >> 45 & 3;
}

static inline bool x86_desc_present(uint64_t raw)
{
	return raw >> 47 & 1;
}

static inline bool x86_desc_is_code(uint64_t raw)
{
	return (raw >> 43 & 3) == 3;
}

static inline bool x86_desc_is_conforming(uint64_t raw)
{
	return raw >> 42 & 1;
}

/* Data that may be written. */
static inline bool x86_desc_is_writable(uint64_t raw)
{
	return (raw >> 43 & 3) == 2 && (raw >> 41 & 1);
}

/* Data, or code that may be read. */
static inline bool x86_desc_is_readable(uint64_t raw)
{
	return (raw >> 43 & 3) == 2 || ((raw >> 43 & 3) == 3 && (raw >> 41 & 1));
}

static inline bool x86_desc_long(uint64_t raw)
{
	return raw >> 53 & 1;
}

static inline bool x86_desc_db(uint64_t raw)
{
	return raw >> 54 & 1;
}

static inline uint32_t x86_desc_base(uint64_t raw)
{
	return (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000);
}

static inline uint32_t x86_desc_limit(uint64_t raw)
{
	uint32_t limit = (raw & 0xffff) | (raw >> 32 & 0xf0000);

	return raw >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

/* A selector is null when only its RPL may be set. */
static inline bool x86_selector_is_null(uint16_t selector)
{
	return !(selector & 0xfffc);
}

/* Reads the selector's descriptor; false when it lies outside its table (or there is no LDT). */
bool x86_descriptor_read(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *desc);
/* As above; raises `vector` with the selector (and ext) as error code. */
void x86_descriptor_read_or(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *desc,
			    enum x86_vector vector, uint32_t ext);
/* Long mode's second half of a 16-byte system descriptor: raises #GP(selector) outside the table or with a
 * type set. */
uint64_t x86_descriptor_read_upper(struct x86_cpu *cpu, const struct x86_descriptor *desc);
/* Sets the accessed bit in memory (and in desc) when it is clear. */
void x86_descriptor_touch(struct x86_cpu *cpu, struct x86_descriptor *desc);

/* Hidden part from a descriptor. */
struct x86_segment x86_segment_from(uint16_t selector, uint64_t raw);
/* Flat hidden part as SYSCALL and its kin set it. code64: L instead of D. */
struct x86_segment x86_segment_flat(uint16_t selector, bool code, bool code64, unsigned dpl);

/* Loads a register in real or virtual-8086 mode: base = selector * 16. CS too. */
void x86_segment_load_real(struct x86_cpu *cpu, unsigned seg, uint16_t selector);
/* Loads ES, SS, DS, FS or GS as MOV, POP and LDS do, in any mode, with all checks. */
void x86_segment_load(struct x86_cpu *cpu, unsigned seg, uint16_t selector);
/* Makes a register null. */
void x86_segment_load_null(struct x86_cpu *cpu, unsigned seg, uint16_t selector);
/* Loads CS from a checked descriptor at a privilege; the mode follows. */
void x86_segment_load_cs(struct x86_cpu *cpu, struct x86_descriptor *desc, unsigned cpl);
/* The virtual-8086 hidden parts of all six, for the selectors given in order ES CS SS DS FS GS. */
void x86_segments_load_v86(struct x86_cpu *cpu, const uint16_t selector[6]);
/* After a return to an outer level: data segments that the new CPL must not use become null. */
void x86_segments_drop_inner(struct x86_cpu *cpu);
/* Checks of an SS for `cpl` in a transfer: raises `vector` (#SS when not present) with its selector | ext. */
void x86_stack_segment_check(struct x86_cpu *cpu, uint16_t selector, unsigned cpl, enum x86_vector vector,
			     uint32_t ext, struct x86_descriptor *desc);

/* A stack that is not (yet) SS:RSP of the CPU. */
struct x86_stack {
	struct x86_segment ss;
	uint64_t sp;
	bool flat;      /* 64-bit mode: no limit, canonical instead */
	bool user;      /* accessed with CPL 3 rights */
	uint32_t error; /* code of its #SS */
};

struct x86_stack x86_stack_current(const struct x86_cpu *cpu);
void x86_stack_push(struct x86_cpu *cpu, struct x86_stack *stack, uint64_t value, unsigned size_bytes);
uint64_t x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *stack, unsigned size_bytes);
/* Raises #SS unless `bytes` more can be pushed. */
void x86_stack_reserve(struct x86_cpu *cpu, const struct x86_stack *stack, unsigned bytes);
/* Adds to the stack pointer, cut to its width. */
void x86_stack_release(struct x86_stack *stack, uint64_t bytes);
/* Sets RSP from a stack whose SS is loaded. */
void x86_stack_commit(struct x86_cpu *cpu, const struct x86_stack *stack);
/* SS:SP of privilege cpl from a legacy TSS, checked: #TS, #SS. transfer.c */
void x86_tss_stack(struct x86_cpu *cpu, unsigned cpl, uint32_t ext, struct x86_stack *stack,
		   struct x86_descriptor *ss);
