/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page walker. Intel SDM vol. 3, chapter 4: 32-bit, PAE, 4-level and 5-level paging.
 */
#pragma once

#include "tcg-fallback/core/tlb.h"

enum x86_access { X86_READ = 0, X86_WRITE = 1, X86_EXECUTE = 2 };

/* Page-fault error code. */
#define PF_PRESENT  0x01u
#define PF_WRITE    0x02u
#define PF_USER     0x04u
#define PF_RESERVED 0x08u
#define PF_FETCH    0x10u
#define PF_KEY      0x20u

struct x86_mapping {
	uint64_t gpa; /* of the 4 KiB page that holds the address, A20 applied */
	bool read, write,
		execute; /* allowed to the class that asked; write: only once the dirty bit is set */
	bool user, global;
	uint8_t page_bits; /* 12, 21, 22 or 30 */
};

/*
 * Translates for an access of this class and sets accessed and dirty bits. 0, or -1 with *code the error code
 * of the #PF. The address is canonical (the caller has checked).
 */
int x86_mmu_walk(struct x86_cpu *cpu, uint64_t linear, enum x86_access access, enum x86_tlb_class class,
		 struct x86_mapping *mapping, uint32_t *code);

/* The same for a debugger: no bits are set, no rights asked. -1: not mapped. */
int x86_mmu_look(struct x86_cpu *cpu, uint64_t linear, uint64_t *gpa);

/* Pages around an address that lie in one piece, with the same rights. */
struct x86_stretch {
	uint64_t first, last; /* linear: whole pages */
	uint64_t gpa;         /* of `first` */
	bool user, global;
	uint64_t low, high; /* of them, what may be used (range.c) */
	uintptr_t delta;    /* linear + delta = host address (range.c) */
};

/*
 * The present tables' stretch around an address that this class of access may use without a further walk:
 * every accessed bit is set, for a write every dirty bit. False: there is none. Sets no bits; the address is
 * canonical.
 */
bool x86_mmu_stretch(struct x86_cpu *cpu, uint64_t linear, bool write, struct x86_stretch *stretch);

/* Is the linear address canonical in the present mode (always, outside long mode)? */
static inline bool x86_canonical(const struct x86_cpu *cpu, uint64_t linear)
{
	unsigned bits = (cpu->cr4 & CR4_LA57) ? 57 : 48;

	return !cpu->long_mode || (uint64_t)((int64_t)(linear << (64 - bits)) >> (64 - bits)) == linear;
}
