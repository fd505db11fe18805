/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ground under every guest payload, 32- and 64-bit: descriptor tables, a serial line for the results,
 * traps that are caught and told, a way into ring 3, and the end through the debug-exit port. A payload is
 * one C file with main().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memset(void *dst, int value, size_t len);
void *memcpy(void *dst, const void *src, size_t len);

typedef unsigned long word; /* a register */

/* Selectors of the initial GDT; entries from FREE on are the payload's. */
#define KCODE       0x08
#define KDATA       0x10
#define UCODE       0x1b
#define UDATA       0x23
#define TSS         0x28 /* two entries in 64-bit payloads */
#define FREE        0x40
#define GDT_ENTRIES 64

#define RETURN_VECTOR 0x40 /* INT from ring 3 back to catch_user */

#define VM_FLAG 0x20000u
#define IF_FLAG 0x200u
#define TF_FLAG 0x100u
#define NT_FLAG 0x4000u
#define RF_FLAG 0x10000u
#define AC_FLAG 0x40000u

/* The last trap. */
struct trap {
	word vector, error;
	word ip, cs, flags, sp,
		ss; /* sp and ss: of the interrupted code when its privilege was lower (always in 64-bit) */
	word cr2;
	word ds, es;   /* 32-bit payloads */
	word frame_sp; /* where the CPU's frame began (lowest address, error code included) */
};
extern struct trap trap;
extern uint64_t gdt[GDT_ENTRIES];
extern uint64_t idt[512];
extern uint8_t tss[104 + 32 + 8192 + 1];
extern word user_flags; /* EFLAGS for ring 3 (bit 1 added) */
extern uint8_t user_stack[4096], kernel_stack[8192];
/* A handler that returns to the interrupted code instead of being caught; NULL: caught. */
extern void (*handler[256])(void);

/* Runs fn; the vector of the trap that ended it, or -1. After a trap all segments are the kernel's and EFLAGS
 * is 2. */
int catch (void (*fn)(void));
/* The same in ring 3; fn must end with int $RETURN_VECTOR (LEAVE). RETURN_VECTOR counts as -1. */
int catch_user(void (*fn)(void));
#define LEAVE __asm__ volatile("int $0x40")

void print(const char *format, ...); /* %s %x %d %c; x takes a word */
/* Prints "name: ok" or the exception with its error code. */
void report(const char *name, int vector);
/* Prints "name: value". */
void report_value(const char *name, word value);
_Noreturn void finish(void);

uint64_t descriptor(uint32_t base, uint32_t limit,
		    uint16_t attributes); /* attributes: bits 40-47 and 52-55 */
uint64_t gate(uint16_t selector, uint32_t offset, uint8_t access, unsigned count);
/* An interrupt gate in the IDT (32- or 64-bit by the payload). */
void idt_set(unsigned vector, word offset, uint8_t access);
void tables_load(void);

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

#define READ_CR(n)                                                                                           \
	({                                                                                                   \
		word value_;                                                                                 \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(value_));                                       \
		value_;                                                                                      \
	})
#define WRITE_CR(n, value) __asm__ volatile("mov %0, %%cr" #n : : "r"((word)(value)) : "memory")
#define READ_DR(n)                                                                                           \
	({                                                                                                   \
		word value_;                                                                                 \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(value_));                                       \
		value_;                                                                                      \
	})
#define WRITE_DR(n, value) __asm__ volatile("mov %0, %%dr" #n : : "r"((word)(value)) : "memory")

static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return low | (uint64_t)high << 32;
}

static inline void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index)
			 : "memory");
}

static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(subleaf));
}
