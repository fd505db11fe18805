/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory access for the engine's own handlers: unaligned host accesses that are never torn when aligned,
 * places (a guest address resolved to host memory or a device), and read-modify-write, locked or not.
 */
#pragma once

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/mmu.h"

/* Guest values at any address: one host instruction each, in the order of the program. */
typedef uint8_t guest8;
typedef uint16_t guest16 __attribute__((aligned(1), may_alias));
typedef uint32_t guest32 __attribute__((aligned(1), may_alias));
typedef uint64_t guest64 __attribute__((aligned(1), may_alias));
#define GUEST_LD(type, p)        (*(const volatile type *)(p))
#define GUEST_ST(type, p, value) (*(volatile type *)(p) = (value))

/* Where a linear address leads for one access within a page. */
struct x86_place {
	uint8_t *hva; /* NULL: no memory, a device or nothing */
	uint64_t gpa;
	bool read_only;
};

/* Translates; raises #PF. The address is canonical. */
struct x86_place x86_locate(struct x86_cpu *cpu, uint64_t linear, enum x86_access access,
			    enum x86_tlb_class class);

/* Reads from or writes to a place, devices included; len stays within the page. */
void x86_place_copy(struct x86_cpu *cpu, const struct x86_place *place, void *value, size_t len, bool write);

/* Raises #GP(0) or, for the stack segment, #SS(0) unless the bytes are canonical. */
void x86_check_canonical(struct x86_cpu *cpu, unsigned seg, uint64_t linear, size_t len);

/* The whole of an access by linear address: canonical form, pages, alignment, data breakpoints, devices. */
uint64_t x86_linear_ld(struct x86_cpu *cpu, unsigned seg, uint64_t linear, unsigned size);
void x86_linear_st(struct x86_cpu *cpu, unsigned seg, uint64_t linear, uint64_t value, unsigned size);

/* Segment checks of protected, real and virtual-8086 mode; returns the linear address. */
uint64_t x86_segment_check(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len, bool write);

/* Linear address of seg:offset. In 64-bit mode only FS and GS have a base, and nothing is checked here. */
static inline uint64_t x86_linear_of(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len,
				     bool write)
{
	if (cpu->mode_bits != 64)
		return x86_segment_check(cpu, seg, offset, len, write);
	return (seg == SEG_FS || seg == SEG_GS) ? offset + cpu->seg[seg].base : offset;
}

/*
 * Fills the inline lookup for the page of a linear address. False: accesses to it cannot be inlined (device,
 * code page to write, breakpoints, alignment checking). Raises #PF.
 */
bool x86_mem_fill(struct x86_cpu *cpu, uint64_t linear, bool write);
