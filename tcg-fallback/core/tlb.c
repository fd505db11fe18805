/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLB tables, address spaces and flushing. Knows nothing of page-table formats (mmu.c) nor of instructions.
 * What may be cached and what the flushing instructions must drop: Intel SDM vol. 3, 4.10.
 */
#include "tcg-fallback/core/tlb.h"

#include <stdlib.h>
#include <string.h>

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/range.h"
#include "tcg-fallback/core/trace.h"
#include "tcg-fallback/core/vm.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/mmu.h"

static void entries_clear(struct x86_tlb_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		entries[i].rd = entries[i].wr = entries[i].ex = TLB_EMPTY;
}

static unsigned filter_hash(uint64_t number)
{
	return (unsigned)(number * 0x9e3779b97f4a7c15ull >> (64 - TLB_FILTER_BITS));
}

static void filter_add(struct x86_tlb_filter *filter, uint64_t number)
{
	unsigned hash = filter_hash(number);

	filter->bits[hash >> 6] |= (uint64_t)1 << (hash & 63);
}

static bool filter_has(const struct x86_tlb_filter *filter, uint64_t number)
{
	unsigned hash = filter_hash(number);

	return filter->bits[hash >> 6] >> (hash & 63) & 1;
}

struct x86_tlb *x86_tlb_create(void)
{
	struct x86_tlb *tlb = calloc(1, sizeof(*tlb));

	if (!tlb)
		return NULL;
	entries_clear(tlb->none, TLB_ENTRIES);
	entries_clear(tlb->global, TLB_GLOBAL_ENTRIES);
	for (unsigned i = 0; i < TLB_SPACES; i++)
		tlb->space[i].pcid = -1;
	tlb->next_generation = 1;
	tlb->global_generation = tlb->next_generation++;
	return tlb;
}

void x86_tlb_destroy(struct x86_tlb *tlb)
{
	if (!tlb)
		return;
	for (unsigned i = 0; i < TLB_SPACES; i++)
		for (unsigned class = 0; class < TLB_CLASSES; class ++)
			free(tlb->space[i].table[class]);
	free(tlb);
}

static void space_clear(struct x86_tlb *tlb, struct x86_tlb_space *space)
{
	for (unsigned class = 0; class < TLB_CLASSES; class ++) {
		if (!space->filled[class])
			continue;
		entries_clear(space->table[class]->entry, TLB_ENTRIES);
		space->filled[class] = false;
	}
	memset(&space->executed, 0, sizeof(space->executed));
	memset(&space->large, 0, sizeof(space->large));
	space->has_1g = false;
	space->generation = tlb->next_generation++;
}

static void globals_clear(struct x86_tlb *tlb)
{
	entries_clear(tlb->global, TLB_GLOBAL_ENTRIES);
	memset(&tlb->global_executed, 0, sizeof(tlb->global_executed));
	memset(&tlb->global_large, 0, sizeof(tlb->global_large));
	tlb->global_has_1g = false;
	tlb->global_generation = tlb->next_generation++;
}

/* A table is needed at once by the inline lookups; out of memory, a table that always misses serves (slowly).
 */
static struct x86_tlb_table *table_get(struct x86_tlb_space *space, enum x86_tlb_class class)
{
	if (!space->table[class]) {
		space->table[class] = calloc(1, sizeof(*space->table[class]));
		if (!space->table[class])
			return NULL;
		entries_clear(space->table[class]->entry, TLB_ENTRIES);
	}
	return space->table[class];
}

struct x86_tlb_table *x86_tlb_table_of(struct x86_cpu *cpu, enum x86_tlb_class class)
{
	return table_get(cpu->tlb->current, class);
}

static struct x86_tlb_space *space_find(struct x86_tlb *tlb, int32_t pcid)
{
	struct x86_tlb_space *oldest = &tlb->space[0];

	for (unsigned i = 0; i < TLB_SPACES; i++) {
		if (tlb->space[i].pcid == pcid)
			return &tlb->space[i];
		if (tlb->space[i].used < oldest->used)
			oldest = &tlb->space[i];
	}
	space_clear(tlb, oldest);
	oldest->pcid = pcid;
	return oldest;
}

/* The control bits that decide what an entry allows: entries made under others are worthless. */
static uint64_t paging_key(const struct x86_cpu *cpu)
{
	const uint64_t cr4 =
		CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE;

	return (cpu->cr0 & (CR0_PG | CR0_WP)) | (cpu->cr4 & cr4) | (uint64_t) !!(cpu->efer & EFER_NXE) << 1 |
	       (uint64_t)cpu->long_mode << 2 | ((cpu->cr4 & CR4_PKE) ? (uint64_t)cpu->pkru << 32 : 0);
}

static void link_keys_set(struct x86_cpu *cpu)
{
	const struct x86_tlb *tlb = cpu->tlb;
	uint64_t low = (uint64_t)(tlb->class == TLB_USER) << 8 | x86_code_mode(cpu);

	cpu->link_key[0] = tlb->current->generation << 16 | low;
	if (tlb->global_generation != cpu->link_key[1] >> 16) /* returns to global pages have the other key */
		memset(cpu->jit_returns.key, 0, sizeof(cpu->jit_returns.key));
	cpu->link_key[1] = tlb->global_generation << 16 | low;
	/* The kernel's code is global: it stays where it is. */
	cpu->jump_salt = tlb->class == TLB_USER ? tlb->current->generation * CODE_JUMP_FACTOR : 0;
}

void x86_tlb_context_changed(struct x86_cpu *cpu)
{
	struct x86_tlb *tlb = cpu->tlb;
	uint64_t key = paging_key(cpu);
	int32_t pcid = (cpu->cr4 & CR4_PCIDE) ? (int32_t)(cpu->cr3 & 0xfff) : 0;

	if (key != tlb->paging_key) {
		tlb->paging_key = key;
		for (unsigned i = 0; i < TLB_SPACES; i++)
			space_clear(tlb, &tlb->space[i]);
		globals_clear(tlb);
		x86_range_reset(cpu);
		x86_code_forget_links(cpu);
	}
	if (!tlb->current || tlb->current->pcid != pcid) {
		X86_TRACE(cpu, X86_TRACE_MMU, "mmu: address space %d, CR3 %#llx", pcid,
			  (unsigned long long)cpu->cr3);
		for (unsigned i = 0; cpu->vm->jit.mmu_safe && i < TLB_SPACES; i++)
			space_clear(tlb, &tlb->space[i]);
		tlb->current = space_find(tlb, pcid);
		x86_range_reset_space(cpu);
	}
	tlb->current->used = ++tlb->clock;
	tlb->class = x86_tlb_class_now(cpu);
	tlb->table = table_get(tlb->current, tlb->class);
	cpu->tlb_hot = tlb->table ? tlb->table->entry : tlb->none;
	if (tlb->class == TLB_USER && (cpu->eflags & FLAG_AC) && (cpu->cr0 & CR0_AM)) {
		cpu->tlb_hot = tlb->none;
		x86_range_reset_space(cpu);
	}
	if (cpu->debug_active) /* no translated code runs then: its ranges may stay */
		cpu->tlb_hot = tlb->none;
	x86_code_segments_changed(cpu);
	link_keys_set(cpu);
}

void x86_tlb_flush_all(struct x86_cpu *cpu)
{
	struct x86_tlb *tlb = cpu->tlb;

	X86_TRACE(cpu, X86_TRACE_MMU, "mmu: flush of everything");
	tlb->flushes++;
	for (unsigned i = 0; i < TLB_SPACES; i++)
		space_clear(tlb, &tlb->space[i]);
	globals_clear(tlb);
	x86_range_reset(cpu);
	if (tlb->current)
		link_keys_set(cpu);
}

void x86_tlb_flush_nonglobal(struct x86_cpu *cpu)
{
	struct x86_tlb *tlb = cpu->tlb;

	X86_TRACE(cpu, X86_TRACE_MMU, "mmu: flush of all but global pages");
	tlb->flushes++;
	for (unsigned i = 0; i < TLB_SPACES; i++)
		space_clear(tlb, &tlb->space[i]);
	x86_range_reset_space(cpu);
	if (tlb->current)
		link_keys_set(cpu);
}

void x86_tlb_flush_pcid(struct x86_cpu *cpu, int pcid)
{
	struct x86_tlb *tlb = cpu->tlb;

	X86_TRACE(cpu, X86_TRACE_MMU, "mmu: flush of address space %d", pcid);
	tlb->flushes++;
	if (pcid < 0)
		pcid = tlb->current ? tlb->current->pcid : 0;
	for (unsigned i = 0; i < TLB_SPACES; i++)
		if (tlb->space[i].pcid == pcid)
			space_clear(tlb, &tlb->space[i]);
	if (tlb->current && tlb->current->pcid == pcid)
		x86_range_reset_space(cpu);
	if (tlb->current)
		link_keys_set(cpu);
}

static void entry_drop(struct x86_tlb_entry *entry)
{
	entry->rd = entry->wr = entry->ex = TLB_EMPTY;
}

/* Drops what belongs to the 2^bits bytes around linear, for entries that came from pages of that size. */
static void drop_large(struct x86_tlb_entry *entries, const uint64_t *info, size_t count, uint64_t linear,
		       unsigned bits)
{
	uint32_t flag = bits == 30 ? TLB_INFO_1G : TLB_INFO_2M;

	for (size_t i = 0; i < count; i++) {
		uint64_t page = entries[i].rd & entries[i].ex & entries[i].wr;

		/* Valid tags of an entry are equal; TLB_EMPTY is all ones and drops out of the conjunction.
		 */
		if (page != TLB_EMPTY && (info[i] & flag) && !((page ^ linear) >> bits))
			entry_drop(&entries[i]);
	}
}

static void space_drop_page(struct x86_tlb *tlb, struct x86_tlb_space *space, uint64_t linear)
{
	bool large = filter_has(&space->large, linear >> 21);

	for (unsigned class = 0; class < TLB_CLASSES; class ++) {
		struct x86_tlb_table *table = space->table[class];

		if (!space->filled[class])
			continue;
		entry_drop(&table->entry[x86_tlb_index(linear)]);
		if (large) /* 4 MiB pages are entered as both of their 2 MiB halves */
			drop_large(table->entry, table->info, TLB_ENTRIES, linear, 22);
		if (space->has_1g)
			drop_large(table->entry, table->info, TLB_ENTRIES, linear, 30);
	}
	if (large || space->has_1g || filter_has(&space->executed, linear >> PAGE_BITS))
		space->generation = tlb->next_generation++;
}

/* pcid only narrows what must go: dropping the page from every space is allowed, and global pages must go
 * from all. */
void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t linear, int pcid)
{
	struct x86_tlb *tlb = cpu->tlb;
	bool large = filter_has(&tlb->global_large, linear >> 21);

	X86_TRACE(cpu, X86_TRACE_MMU, "mmu: flush of %#llx in address space %d", (unsigned long long)linear,
		  pcid);
	tlb->page_flushes++;
	for (unsigned i = 0; i < TLB_SPACES; i++)
		if (tlb->space[i].pcid >= 0)
			space_drop_page(tlb, &tlb->space[i], linear);
	entry_drop(&tlb->global[linear >> PAGE_BITS & (TLB_GLOBAL_ENTRIES - 1)]);
	if (large)
		drop_large(tlb->global, tlb->global_info, TLB_GLOBAL_ENTRIES, linear, 22);
	if (tlb->global_has_1g)
		drop_large(tlb->global, tlb->global_info, TLB_GLOBAL_ENTRIES, linear, 30);
	if (large || tlb->global_has_1g || filter_has(&tlb->global_executed, linear >> PAGE_BITS))
		tlb->global_generation = tlb->next_generation++;
	x86_range_flush_page(cpu, linear);
	if (tlb->current)
		link_keys_set(cpu);
}

static void note_size(struct x86_tlb_filter *large, bool *has_1g, uint64_t linear, unsigned page_bits)
{
	if (page_bits == 30)
		*has_1g = true;
	if (page_bits == 21 || page_bits == 22)
		filter_add(large, linear >> 21);
	if (page_bits == 22)
		filter_add(large, linear >> 21 ^ 1);
}

static uint64_t mapping_info(const struct x86_mapping *mapping, bool read_only)
{
	return mapping->gpa | (mapping->global ? TLB_INFO_GLOBAL : 0) |
	       (mapping->write ? TLB_INFO_WRITABLE : 0) |
	       (mapping->page_bits == 21 || mapping->page_bits == 22 ? TLB_INFO_2M : 0) |
	       (mapping->page_bits == 30 ? TLB_INFO_1G : 0) | (read_only ? TLB_INFO_READ_ONLY : 0) |
	       (mapping->user ? TLB_INFO_USER : 0);
}

void x86_tlb_enter(struct x86_cpu *cpu, enum x86_tlb_class class, uint64_t linear,
		   const struct x86_mapping *mapping, uint8_t *hva, enum x86_tlb_store store)
{
	struct x86_tlb *tlb = cpu->tlb;
	struct x86_tlb_table *table = table_get(tlb->current, class);
	uint64_t page = linear & PAGE_MASK;
	uint64_t info = mapping_info(mapping, store == TLB_STORE_ROM);
	struct x86_tlb_entry entry = {
		.rd = mapping->read ? page : TLB_EMPTY,
		.wr = mapping->write && store == TLB_STORE_INLINE ? page : TLB_EMPTY,
		.ex = mapping->execute ? page : TLB_EMPTY,
		.addend = (uintptr_t)hva - (uintptr_t)page,
	};

	if (!table)
		return;
	table->entry[x86_tlb_index(linear)] = entry;
	table->info[x86_tlb_index(linear)] = info;
	tlb->current->filled[class] = true;
	note_size(&tlb->current->large, &tlb->current->has_1g, linear, mapping->page_bits);
	if (mapping->global && !mapping->user && class != TLB_USER) {
		unsigned at = linear >> PAGE_BITS & (TLB_GLOBAL_ENTRIES - 1);

		tlb->global[at] = entry;
		tlb->global_info[at] = info;
		note_size(&tlb->global_large, &tlb->global_has_1g, linear, mapping->page_bits);
	}
}

bool x86_tlb_refill_global(struct x86_cpu *cpu, enum x86_tlb_class class, uint64_t linear)
{
	struct x86_tlb *tlb = cpu->tlb;
	unsigned at = linear >> PAGE_BITS & (TLB_GLOBAL_ENTRIES - 1);
	const struct x86_tlb_entry *entry = &tlb->global[at];
	struct x86_tlb_table *table;
	uint64_t info = tlb->global_info[at];

	if (class == TLB_USER || entry->rd != (linear & PAGE_MASK))
		return false;
	table = table_get(tlb->current, class);
	if (!table)
		return false;
	table->entry[x86_tlb_index(linear)] = *entry;
	table->info[x86_tlb_index(linear)] = info;
	tlb->current->filled[class] = true;
	note_size(&tlb->current->large, &tlb->current->has_1g, linear,
		  (info & TLB_INFO_1G)   ? 30
		  : (info & TLB_INFO_2M) ? 22
					 : 12);
	tlb->refills++;
	return true;
}

static void revoke(struct x86_tlb_entry *entries, size_t count, const uint8_t *hva)
{
	for (size_t i = 0; i < count; i++)
		if (entries[i].wr != TLB_EMPTY && entries[i].wr + entries[i].addend == (uintptr_t)hva)
			entries[i].wr = TLB_EMPTY;
}

void x86_tlb_revoke_write(struct x86_cpu *cpu, const uint8_t *hva)
{
	struct x86_tlb *tlb = cpu->tlb;

	for (unsigned i = 0; i < TLB_SPACES; i++)
		for (unsigned class = 0; class < TLB_CLASSES; class ++)
			if (tlb->space[i].filled[class])
				revoke(tlb->space[i].table[class]->entry, TLB_ENTRIES, hva);
	revoke(tlb->global, TLB_GLOBAL_ENTRIES, hva);
	x86_range_revoke_write(cpu, hva);
}

void x86_tlb_note_executed(struct x86_cpu *cpu, uint64_t linear, bool global)
{
	filter_add(global ? &cpu->tlb->global_executed : &cpu->tlb->current->executed, linear >> PAGE_BITS);
}
