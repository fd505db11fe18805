/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload of `vmmctl bench`, on a bare 64-bit CPU. Memory:
 *
 *     1 MiB   the program, its page tables and stacks
 *     4 MiB   the window: 512 pages of 4 KiB that come and go (the kernels of faults)
 *    16 MiB   BENCH_DATA_BYTES
 *    32 MiB   BENCH_CODE_BYTES
 */
#pragma once

#include "guest/bench/bench.h"

#define WINDOW       0x400000u
#define WINDOW_PAGES 512u
#define DATA         0x1000000u
#define CODE         0x2000000u

#define EXIT_PORT 0x501
#define POST_PORT 0x80
#define COM1      0x3f8
#define APIC_ID   0xfee00020u

extern const struct bench_kernel bare_kernels[];
extern const unsigned bare_kernel_count;

/* bare.c: descriptor tables, the window, SYSCALL. */
void bare_init(void);

_Noreturn void payload_main(void);
_Noreturn void payload_unexpected(uint64_t first, uint64_t second);

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index)
			 : "memory");
}
