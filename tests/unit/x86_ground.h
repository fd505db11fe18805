/* SPDX-License-Identifier: Apache-2.0 */
/* A GDT, two TSSs and stacks on flat memory, and CPUs that run on them: the ground of the tests of transfers
 * and events. */
#pragma once

#include "tests/unit/x86_flat.h"

/* Selectors. */
enum {
	CODE0 = 0x08,
	DATA0 = 0x10,
	CODE3 = 0x1b,
	DATA3 = 0x23,
	TSS_A = 0x28,
	TSS_B = 0x30,
	ABSENT = 0x38,
	READONLY = 0x40,
	CONFORMING = 0x48,
	GATE = 0x53,
	STACK_ABSENT = 0x58,
	LDT = 0x60,
	CODE64 = 0x68,
	DATA1 = 0x71,
	EXECONLY = 0x78,
	TASK_GATE = 0x80,
	TSS64 = 0x90,
	LAST = 0xa8,
};
#define GDT_AT   0x1000
#define IDT_AT   0x2000
#define TSS_A_AT 0x3000
#define TSS_B_AT 0x3100
#define STACK0   0x8000
#define STACK3   0x9000
#define OUTSIDE  0x400

extern const struct x86_insn iret32;

void set_gdt(struct flat *flat, uint16_t selector, uint64_t raw);
/* Loads a hidden part without checks. */
void load(struct flat *flat, unsigned seg, uint16_t selector);
/* 32-bit protected mode at a privilege level. */
struct flat *protected_cpu(unsigned cpl);
/* 64-bit mode. */
struct flat *long_cpu(unsigned cpl);
/* fn raises this, and the CPU is as it was. */
void assert_fault(struct flat *flat, x86_slow_fn *fn, const struct x86_insn *in, int vector, uint32_t code);
/* A direct far jump or call to selector:5678; vector < 0: it succeeds. */
void assert_jump(struct flat *flat, bool call, uint16_t selector, int vector, uint32_t code);
void push(struct flat *flat, uint64_t value, unsigned size);
