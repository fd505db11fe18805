/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page walker: tables to translation, rights, accessed and dirty bits. It keeps nothing: caching is the
 * TLB's work. Intel SDM vol. 3: 4.3 (32-bit), 4.4 (PAE), 4.5 (4- and 5-level), 4.6 (rights), 4.7 (error
 * codes), 4.8 (A and D).
 *
 *   63 62  59 58  52 51            12 11  9  8   7   6   5   4   3   2   1   0
 *   NX  key  ignored  address           -    G   PS  D   A  PCD PWT U/S R/W  P
 */
#include "tcg-fallback/x86/mmu.h"

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/trace.h"

#define PTE_P  (1ull << 0)
#define PTE_W  (1ull << 1)
#define PTE_U  (1ull << 2)
#define PTE_A  (1ull << 5)
#define PTE_D  (1ull << 6)
#define PTE_PS (1ull << 7)
#define PTE_G  (1ull << 8)
#define PTE_NX (1ull << 63)

#define PTE_IGNORED (7ull << 9 | 0x7full << 52) /* bits 9-11 and 52-58 are software's */

#define LEVELS_MAX 5

/* How many neighbours of an entry are looked at, each way: a megabyte of small pages, a gigabyte of large
 * ones. */
#define NEIGHBOURS_4K 128u
#define NEIGHBOURS_2M 511u

struct walk {
	unsigned count;             /* entries visited */
	uint64_t entry[LEVELS_MAX]; /* as read */
	uint64_t at[LEVELS_MAX];    /* guest-physical address of each */
	unsigned entry_size;        /* 4 or 8 */
	unsigned page_bits;
	uint64_t page;   /* guest-physical base of the page */
	uint64_t rights; /* U and W of all levels, NX of any */
	unsigned key;
	bool present, reserved;
};

static uint64_t table_read(struct x86_cpu *cpu, uint64_t gpa, unsigned size)
{
	const struct x86_region *region;
	const uint8_t *p;

	gpa &= atomic_load_explicit(&cpu->a20_mask, memory_order_relaxed);
	region = x86_vm_region(cpu->vm, gpa);
	if (!region)
		return UINT64_MAX; /* nobody answers: all ones, which has reserved bits set */
	p = region->hva + (gpa - region->gpa);
	/* Whole, whoever writes it at the same time; on which of its values the walk goes is open. */
	return size == 8 ? __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED)
			 : __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
}

/* Sets bits in an entry; false when it is no longer what it was. */
static bool table_set(struct x86_cpu *cpu, uint64_t gpa, unsigned size, uint64_t old, uint64_t bits)
{
	const struct x86_region *region;
	uint32_t old32 = (uint32_t)old;
	uint8_t *p;
	bool done;

	gpa &= atomic_load_explicit(&cpu->a20_mask, memory_order_relaxed);
	region = x86_vm_region(cpu->vm, gpa);
	if (!region || region->read_only)
		return true;
	p = region->hva + (gpa - region->gpa);
	if (size == 8)
		done = __atomic_compare_exchange_n((uint64_t *)(void *)p, &old, old | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	else
		done = __atomic_compare_exchange_n((uint32_t *)(void *)p, &old32, old32 | (uint32_t)bits,
						   false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	if (done)
		x86_region_note_write(region, gpa);
	if (done && atomic_load_explicit(x86_region_lines(region, gpa), memory_order_relaxed))
		x86_vm_wrote(cpu, gpa, size);
	return done;
}

/* Bits of an 8-byte entry that must be zero. level 1 is the page table; large: PS is set at this level. */
static uint64_t reserved_bits(const struct x86_cpu *cpu, unsigned level, bool large)
{
	uint64_t bits = ~cpu->phys_mask & 0x000ffffffffff000ull;

	if (!(cpu->efer & EFER_NXE))
		bits |= PTE_NX;
	if (!cpu->long_mode)
		bits |= 0x7ff0000000000000ull; /* PAE: 62 to 52 */
	if (level > 3 || (level == 3 && !x86_has(cpu, X86_FEATURE_GBPAGES)))
		bits |= PTE_PS;
	if (large && level <= 3)
		bits |= level == 2 ? 0x1fe000ull : 0x3fffe000ull;
	return bits;
}

/* PAE, 4-level and 5-level from the given table and level down. */
static void walk_long(struct x86_cpu *cpu, uint64_t linear, uint64_t table, unsigned level, struct walk *walk)
{
	walk->entry_size = 8;
	walk->rights = PTE_U | PTE_W;
	for (;; level--) {
		unsigned shift = 12 + (level - 1) * 9;
		uint64_t at = table + ((linear >> shift) & 511) * 8;
		uint64_t entry = table_read(cpu, at, 8);
		bool large = level > 1 && (entry & PTE_PS);

		walk->at[walk->count] = at;
		walk->entry[walk->count++] = entry;
		walk->present = entry & PTE_P;
		if (!walk->present)
			return;
		walk->reserved = entry & reserved_bits(cpu, level, large);
		if (walk->reserved)
			return;
		walk->rights = ((walk->rights & entry) & (PTE_U | PTE_W)) | ((walk->rights | entry) & PTE_NX);
		if (level == 1 || large) {
			uint64_t mask = ((uint64_t)1 << shift) - 1;

			walk->page_bits = shift;
			walk->page = entry & cpu->phys_mask & 0x000ffffffffff000ull & ~mask;
			walk->key = entry >> 59 & 15;
			return;
		}
		table = entry & cpu->phys_mask & 0x000ffffffffff000ull;
	}
}

static void walk_32(struct x86_cpu *cpu, uint64_t linear, struct walk *walk)
{
	uint64_t table = cpu->cr3 & 0xfffff000u;

	walk->entry_size = 4;
	walk->rights = PTE_U | PTE_W;
	for (unsigned level = 2; level; level--) {
		unsigned shift = level == 2 ? 22 : 12;
		uint64_t at = table + ((linear >> shift) & 1023) * 4;
		uint64_t entry = table_read(cpu, at, 4);

		walk->at[walk->count] = at;
		walk->entry[walk->count++] = entry;
		walk->present = entry & PTE_P;
		if (!walk->present)
			return;
		walk->rights &= entry;
		if (level == 2 && (entry & PTE_PS) && (cpu->cr4 & CR4_PSE)) {
			walk->page_bits = 22;
			walk->page = (entry & 0xffc00000u) | (entry >> 13 & 0xff) << 32;
			walk->reserved = (entry & 1u << 21) || (walk->page & ~cpu->phys_mask);
			return;
		}
		walk->page_bits = 12;
		walk->page = table = entry & 0xfffff000u;
	}
}

static void walk_pae(struct x86_cpu *cpu, uint64_t linear, struct walk *walk)
{
	uint64_t pdpte = cpu->pdptr[linear >> 30 & 3];

	walk->present = pdpte & PTE_P; /* its reserved bits were checked when CR3 was loaded */
	if (walk->present)
		walk_long(cpu, linear, pdpte & cpu->phys_mask & 0x000ffffffffff000ull, 2, walk);
}

static void walk_tables(struct x86_cpu *cpu, uint64_t linear, struct walk *walk)
{
	*walk = (struct walk){.count = 0};
	if (cpu->long_mode)
		walk_long(cpu, linear, cpu->cr3 & cpu->phys_mask & 0x000ffffffffff000ull,
			  (cpu->cr4 & CR4_LA57) ? 5 : 4, walk);
	else if (cpu->cr4 & CR4_PAE)
		walk_pae(cpu, (uint32_t)linear, walk);
	else
		walk_32(cpu, (uint32_t)linear, walk);
}

/* Rights of a class on the page, dirty bit aside. Intel SDM vol. 3, 4.6.1 and 4.6.2. *key: PKU alone forbids
 * it. */
static bool allowed(const struct x86_cpu *cpu, const struct walk *walk, enum x86_access access,
		    enum x86_tlb_class class, bool *key)
{
	bool user_page = walk->rights & PTE_U, write_protect = cpu->cr0 & CR0_WP;
	uint32_t pkru = cpu->pkru >> (2 * walk->key);

	*key = false;
	if (class == TLB_USER && !user_page)
		return false;
	if (access == X86_EXECUTE)
		return !(walk->rights & PTE_NX) && !(class != TLB_USER && user_page && (cpu->cr4 & CR4_SMEP));
	if (class == TLB_SUPERVISOR && user_page && (cpu->cr4 & CR4_SMAP))
		return false;
	if (access == X86_WRITE && !(walk->rights & PTE_W) && (class == TLB_USER || write_protect))
		return false;
	if (user_page && cpu->long_mode && (cpu->cr4 & CR4_PKE) &&
	    ((pkru & 1) || (access == X86_WRITE && (pkru & 2) && (class == TLB_USER || write_protect)))) {
		*key = true;
		return false;
	}
	return true;
}

static uint32_t fault_code(const struct x86_cpu *cpu, const struct walk *walk, enum x86_access access,
			   enum x86_tlb_class class, bool key)
{
	bool tells_fetch = (cpu->cr4 & CR4_SMEP) || ((cpu->efer & EFER_NXE) && (cpu->cr4 & CR4_PAE));

	return (walk->present ? PF_PRESENT : 0) | (access == X86_WRITE ? PF_WRITE : 0) |
	       (class == TLB_USER ? PF_USER : 0) | (walk->reserved ? PF_RESERVED : 0) |
	       (access == X86_EXECUTE && tells_fetch ? PF_FETCH : 0) | (key ? PF_KEY : 0);
}

/* Accessed in every entry, dirty in the last for a write. False: an entry changed under us, walk again. */
static bool set_bits(struct x86_cpu *cpu, struct walk *walk, bool write)
{
	for (unsigned i = 0; i < walk->count; i++) {
		bool last = i + 1 == walk->count;
		uint64_t bits = PTE_A | (last && write ? PTE_D : 0);

		if ((walk->entry[i] & bits) == bits)
			continue;
		if (!table_set(cpu, walk->at[i], walk->entry_size, walk->entry[i], bits))
			return false;
		walk->entry[i] |= bits;
	}
	return true;
}

static void mapping_from_walk(const struct x86_cpu *cpu, const struct walk *walk, uint64_t linear,
			      enum x86_tlb_class class, struct x86_mapping *mapping)
{
	uint64_t leaf = walk->entry[walk->count - 1];
	uint64_t inside = linear & (((uint64_t)1 << walk->page_bits) - 1) & PAGE_MASK;
	bool key;

	*mapping = (struct x86_mapping){
		.gpa = (walk->page | inside) & cpu->a20_mask,
		.read = allowed(cpu, walk, X86_READ, class, &key),
		.write = (leaf & PTE_D) && allowed(cpu, walk, X86_WRITE, class, &key),
		.execute = allowed(cpu, walk, X86_EXECUTE, class, &key),
		.user = walk->rights & PTE_U,
		.global = (cpu->cr4 & CR4_PGE) && (leaf & PTE_G),
		.page_bits = (uint8_t)walk->page_bits,
	};
}

int x86_mmu_walk(struct x86_cpu *cpu, uint64_t linear, enum x86_access access, enum x86_tlb_class class,
		 struct x86_mapping *mapping, uint32_t *code)
{
	struct walk walk;
	bool key = false;

	cpu->tlb->walks++;
	if (!(cpu->cr0 & CR0_PG)) {
		*mapping = (struct x86_mapping){.gpa = linear & PAGE_MASK & cpu->phys_mask & cpu->a20_mask,
						.read = true,
						.write = true,
						.execute = true,
						.user = true,
						.page_bits = 12};
		return 0;
	}
	do {
		walk_tables(cpu, linear, &walk);
		if (!walk.present || walk.reserved || !allowed(cpu, &walk, access, class, &key)) {
			*code = fault_code(cpu, &walk, access, class, key);
			X86_TRACE(cpu, X86_TRACE_MMU, "mmu: walk of %#llx: fault, code %#x",
				  (unsigned long long)linear, *code);
			return -1;
		}
	} while (!set_bits(cpu, &walk, access == X86_WRITE));
	mapping_from_walk(cpu, &walk, linear, class, mapping);
	X86_TRACE(cpu, X86_TRACE_MMU, "mmu: walk of %#llx: physical %#llx, %u bits, %s%s%s%s",
		  (unsigned long long)linear, (unsigned long long)mapping->gpa, mapping->page_bits,
		  mapping->read ? "r" : "-", mapping->write ? "w" : "-", mapping->execute ? "x" : "-",
		  mapping->user ? "u" : "-");
	return 0;
}

int x86_mmu_look(struct x86_cpu *cpu, uint64_t linear, uint64_t *gpa)
{
	struct walk walk;

	if (!(cpu->cr0 & CR0_PG)) {
		*gpa = linear & cpu->phys_mask & cpu->a20_mask;
		return 0;
	}
	if (!x86_canonical(cpu, linear))
		return -1;
	walk_tables(cpu, linear, &walk);
	if (!walk.present || walk.reserved)
		return -1;
	*gpa = (walk.page | (linear & (((uint64_t)1 << walk.page_bits) - 1))) & cpu->a20_mask;
	return 0;
}

/* Do the entries map what follows one another, alike in all but dirty bits that do not matter? */
static bool entry_follows(uint64_t entry, uint64_t next, int64_t distance, bool write)
{
	uint64_t ignored = PTE_IGNORED | (write ? 0 : PTE_D);

	return (next & ~ignored) == ((entry + (uint64_t)distance) & ~ignored);
}

static uint64_t entry_load(const uint8_t *table, unsigned index, unsigned size)
{
	const uint8_t *p = table + index * size;

	return size == 8 ? __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED)
			 : __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
}

/* Widens the stretch by the last table's neighbours of the entry. */
static void stretch_widen(struct x86_cpu *cpu, const struct walk *walk, bool write,
			  struct x86_stretch *stretch)
{
	uint64_t at = walk->at[walk->count - 1], entry = walk->entry[walk->count - 1];
	uint64_t size = (uint64_t)1 << walk->page_bits;
	const struct x86_region *region = x86_vm_region(cpu->vm, at);
	unsigned entries = PAGE_SIZE / walk->entry_size, index = (at & ~PAGE_MASK) / walk->entry_size;
	unsigned most = walk->page_bits == 12 ? NEIGHBOURS_4K : NEIGHBOURS_2M;
	const uint8_t *table;

	if (!region)
		return;
	table = region->hva + ((at & PAGE_MASK) - region->gpa);
	for (unsigned i = 1; i <= most && index + i < entries; i++) {
		uint64_t next = entry_load(table, index + i, walk->entry_size);

		if (!entry_follows(entry, next, (int64_t)(i * size), write))
			break;
		stretch->last += size;
	}
	for (unsigned i = 1; i <= most && i <= index; i++) {
		uint64_t next = entry_load(table, index - i, walk->entry_size);

		if (!entry_follows(entry, next, -(int64_t)(i * size), write))
			break;
		stretch->first -= size;
		stretch->gpa -= size;
	}
}

/* Without paging, and with the A20 gate closed, a page is all. */
static bool stretch_unpaged(struct x86_cpu *cpu, uint64_t linear, struct x86_stretch *stretch)
{
	*stretch = (struct x86_stretch){.first = linear & PAGE_MASK,
					.last = linear | ~PAGE_MASK,
					.gpa = linear & PAGE_MASK & cpu->phys_mask & cpu->a20_mask,
					.user = cpu->tlb->class == TLB_USER};
	return true;
}

bool x86_mmu_stretch(struct x86_cpu *cpu, uint64_t linear, bool write, struct x86_stretch *stretch)
{
	uint64_t accessed = PTE_A, leaf, mask;
	struct walk walk;
	bool key;

	if (!(cpu->cr0 & CR0_PG))
		return stretch_unpaged(cpu, linear, stretch);
	walk_tables(cpu, linear, &walk);
	if (!walk.present || walk.reserved ||
	    !allowed(cpu, &walk, write ? X86_WRITE : X86_READ, cpu->tlb->class, &key))
		return false;
	for (unsigned i = 0; i < walk.count; i++)
		accessed &= walk.entry[i];
	leaf = walk.entry[walk.count - 1];
	if (!accessed || (write && !(leaf & PTE_D)) || ~cpu->a20_mask)
		return false;
	mask = ((uint64_t)1 << walk.page_bits) - 1;
	*stretch = (struct x86_stretch){
		.first = linear & ~mask,
		.last = linear | mask,
		.gpa = walk.page,
		.user = walk.rights & PTE_U,
		.global = (cpu->cr4 & CR4_PGE) && (leaf & PTE_G),
	};
	if (walk.page_bits == 12 || walk.page_bits == 21)
		stretch_widen(cpu, &walk, write, stretch);
	return true;
}
