/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLB: direct-mapped tables of translations to host memory, one for each (address space, privilege class)
 * lately used, so that neither a change of privilege nor a CR3 write that keeps its PCID throws anything
 * away. Kernel pages that are global stand in a table of their own too, from which every space refills
 * without a page walk.
 *
 *   linear  63            21 20       12 11      0       entry: rd | wr | ex | addend
 *          [ compared with a tag      ][ offset   ]              each tag is the page's address when that
 * kind of access [  index   ]                          is allowed right now, else TLB_EMPTY
 *
 * A write tag also says "the dirty bit is set, it is RAM, nothing of the page has been decoded", so that a
 * store that hits needs no other check. Debugging and alignment checking point tlb_hot at a table that always
 * misses; the slow path (mem.c) then looks into the true one. Links between blocks hold one of the two link
 * keys and are valid while it is the CPU's.
 */
#pragma once

#include "tcg-fallback/x86/cpu.h"

#define PAGE_BITS 12
#define PAGE_SIZE 4096u
#define PAGE_MASK (~(uint64_t)(PAGE_SIZE - 1))

#define TLB_BITS    10 /* 4 MiB of reach in 4 KiB pages; 40 KiB a table */
#define TLB_ENTRIES (1u << TLB_BITS)
#define TLB_SPACES  8 /* Linux uses 6 PCIDs a CPU */
#define TLB_EMPTY   UINT64_MAX

#define TLB_GLOBAL_ENTRIES 1024u /* the kernel's own pages, all spaces together */

struct x86_tlb_entry {
	uint64_t rd, wr, ex; /* page-aligned linear address, or TLB_EMPTY */
	uintptr_t addend;    /* linear + addend = host address */
};

/* What the fast path need not know: guest-physical page | TLB_INFO_*. */
enum {
	TLB_INFO_GLOBAL = 1u << 0,
	TLB_INFO_WRITABLE =
		1u << 1,       /* rights and dirty bit would allow a write (RAM that holds code, or ROM) */
	TLB_INFO_2M = 1u << 2, /* part of a 2 or 4 MiB page */
	TLB_INFO_1G = 1u << 3,
	TLB_INFO_READ_ONLY = 1u << 4, /* ROM */
	TLB_INFO_USER = 1u << 5,      /* a user page */
};

enum x86_tlb_class {
	TLB_SUPERVISOR, /* CPL 0-2, and implicit accesses at any CPL: SMAP counts */
	TLB_USER,
	TLB_SUPERVISOR_AC, /* CPL 0-2 with EFLAGS.AC: SMAP does not count */
	TLB_CLASSES
};

struct x86_tlb_table {
	struct x86_tlb_entry entry[TLB_ENTRIES];
	uint64_t info[TLB_ENTRIES];
};

/* Numbers of pages, with few false hits: a hit makes links to all code of the space worthless, and Linux
 * flushes single pages by the hundred at each fork and exec. The kernel executes some 2000 pages. */
#define TLB_FILTER_BITS 14
struct x86_tlb_filter {
	uint64_t bits[1u << (TLB_FILTER_BITS - 6)];
};

struct x86_tlb_space {
	int32_t pcid;        /* -1: free */
	uint64_t used;       /* for replacement */
	uint64_t generation; /* part of the link key; fresh at each flush that may touch code */
	struct x86_tlb_table *table[TLB_CLASSES]; /* made when first needed */
	bool filled[TLB_CLASSES];                 /* something was entered since the last flush */
	struct x86_tlb_filter executed;           /* pages that links or the jump cache may rest on */
	struct x86_tlb_filter large;              /* 2 MiB regions that hold entries of large pages */
	bool has_1g;
};

struct x86_tlb {
	struct x86_tlb_space space[TLB_SPACES];
	struct x86_tlb_space *current;
	enum x86_tlb_class class;
	struct x86_tlb_table *table; /* of current and class: the truth, whatever tlb_hot is */
	uint64_t clock;              /* for `used` */
	uint64_t next_generation;
	uint64_t global_generation;
	struct x86_tlb_filter global_executed, global_large;
	bool global_has_1g;
	uint64_t paging_key; /* control bits at the last look: a change flushes everything */
	uint64_t flushes, page_flushes, walks, refills;
	struct x86_tlb_entry global[TLB_GLOBAL_ENTRIES];
	uint64_t global_info[TLB_GLOBAL_ENTRIES];
	struct x86_tlb_entry none[TLB_ENTRIES]; /* always misses */
};

struct x86_tlb *x86_tlb_create(void);
void x86_tlb_destroy(struct x86_tlb *tlb);

static inline unsigned x86_tlb_index(uint64_t linear)
{
	return (unsigned)(linear >> PAGE_BITS) & (TLB_ENTRIES - 1);
}

/* The class of the CPU's own accesses now. */
static inline enum x86_tlb_class x86_tlb_class_now(const struct x86_cpu *cpu)
{
	if (cpu->cpl == 3)
		return TLB_USER;
	return (cpu->eflags & FLAG_AC) ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
}

/* The table of a class in the current space. */
struct x86_tlb_table *x86_tlb_table_of(struct x86_cpu *cpu, enum x86_tlb_class class);

/* What a store to a page must mind, beyond the rights of the mapping. */
enum x86_tlb_store {
	TLB_STORE_INLINE, /* nothing */
	TLB_STORE_SLOW,   /* the page holds decoded code */
	TLB_STORE_ROM,
};

/* Enters a translation as the walker found it: what is allowed to this class now (struct x86_mapping of
 * mmu.h). */
struct x86_mapping;
void x86_tlb_enter(struct x86_cpu *cpu, enum x86_tlb_class class, uint64_t linear,
		   const struct x86_mapping *mapping, uint8_t *hva, enum x86_tlb_store store);
/* Copies a global kernel page's entry into the class's table; false: there is none. */
bool x86_tlb_refill_global(struct x86_cpu *cpu, enum x86_tlb_class class, uint64_t linear);

/* The page at hva now holds decoded code: no store may bypass the slow path any more. The CPU is the caller's
 * or parked. */
void x86_tlb_revoke_write(struct x86_cpu *cpu, const uint8_t *hva);

/* A block was made reachable through this page: flushing the page must change the link key. */
void x86_tlb_note_executed(struct x86_cpu *cpu, uint64_t linear, bool global);

/* Host pointer for an access of size bytes that the inline lookup allows, or NULL. Pages are never crossed.
 */
static inline void *x86_tlb_read(const struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	const struct x86_tlb_entry *entry = &cpu->tlb_hot[x86_tlb_index(linear)];

	if (__builtin_expect(entry->rd != ((linear + size - 1) & PAGE_MASK), 0))
		return NULL;
	return (void *)(uintptr_t)(linear + entry->addend);
}

static inline void *x86_tlb_write(const struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	const struct x86_tlb_entry *entry = &cpu->tlb_hot[x86_tlb_index(linear)];

	if (__builtin_expect(entry->wr != ((linear + size - 1) & PAGE_MASK), 0))
		return NULL;
	return (void *)(uintptr_t)(linear + entry->addend);
}
