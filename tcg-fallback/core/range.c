/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling and emptying the slots of range.h. Knows the TLB and guest-physical memory; the page tables'
 * neighbours are mmu.c's to compare.
 */
#include "tcg-fallback/core/range.h"

#include <string.h>

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/mmu.h"

static void slot_empty(struct x86_ranges *ranges, unsigned slot)
{
	ranges->slot[slot].limit[0] = ranges->slot[slot].limit[1] = 0;
	ranges->filled[slot / 64] &= ~((uint64_t)1 << slot % 64);
}

/* For each filled slot of which `condition` is true; `slot` is its number, `origin` where it came from. */
#define EMPTY_WHERE(ranges_, first_, condition_)                                                             \
	for (unsigned word_ = (first_) / 64; word_ < RANGE_SLOTS / 64; word_++)                              \
		for (uint64_t bits_ = (ranges_)->filled[word_]; bits_; bits_ &= bits_ - 1) {                 \
			unsigned slot = word_ * 64 + (unsigned)__builtin_ctzll(bits_);                       \
			const struct x86_range_origin *origin = &(ranges_)->origin[slot];                    \
                                                                                                             \
			(void)origin;                                                                        \
			if (condition_)                                                                      \
				slot_empty(ranges_, slot);                                                   \
		}

void x86_range_reset(struct x86_cpu *cpu)
{
	EMPTY_WHERE(&cpu->range, 0, true)
}

void x86_range_reset_space(struct x86_cpu *cpu)
{
	EMPTY_WHERE(&cpu->range, 0, slot >= 2 * RANGE_SET || !origin->global)
}

void x86_range_flush_page(struct x86_cpu *cpu, uint64_t linear)
{
	EMPTY_WHERE(&cpu->range, 0, linear - origin->first <= origin->last - origin->first)
}

static bool holds_page(const struct x86_range *range, const uint8_t *hva)
{
	uint64_t length = range->limit[0] + RANGE_SHORT - 1;
	uint64_t offset = (uintptr_t)hva + PAGE_SIZE - 1 - range->delta + range->neg_low;

	return offset < length + PAGE_SIZE - 1;
}

void x86_range_revoke_write(struct x86_cpu *cpu, const uint8_t *hva)
{
	EMPTY_WHERE(&cpu->range, 0, slot / RANGE_SET % 2 && holds_page(&cpu->range.slot[slot], hva))
}

/* How far the pages around an address may be taken for one: linear addresses, first and last byte. */
static bool stretch_find(struct x86_cpu *cpu, uint64_t linear, bool write, struct x86_stretch *stretch)
{
	const struct x86_region *region;
	uint64_t low, high, gpa = 0;

	if (!x86_mmu_stretch(cpu, linear, write, stretch))
		return false;
	gpa = stretch->gpa + (linear - stretch->first);
	region = x86_vm_region(cpu->vm, gpa);
	if (!region || (write && region->read_only))
		return false;
	low = gpa - region->gpa < linear - stretch->first ? region->gpa : stretch->gpa;
	high = region->size_bytes - 1 - (gpa - region->gpa);
	high = gpa + (high < stretch->last - linear ? high : stretch->last - linear);
	if (write && !x86_region_cut_at_code(region, gpa, &low, &high))
		return false;
	if (write && region->written) { /* a page at a time, which is noted */
		low = gpa & PAGE_MASK;
		high = gpa | ~PAGE_MASK;
		x86_region_note_write(region, gpa);
	}
	stretch->low = linear - (gpa - low);
	stretch->high = linear + (high - gpa);
	stretch->delta = (uintptr_t)region->hva + (gpa - region->gpa) - linear;
	return true;
}

bool x86_range_fill(struct x86_cpu *cpu, unsigned slot, uint64_t linear, bool write)
{
	struct x86_ranges *ranges = &cpu->range;
	struct x86_stretch stretch;
	uint64_t length;

	slot_empty(ranges, slot);
	if (cpu->tlb_hot == cpu->tlb->none || !stretch_find(cpu, linear, write, &stretch) ||
	    stretch.user != (slot >= 2 * RANGE_SET))
		return false;
	length = stretch.high - stretch.low + 1;
	ranges->slot[slot] = (struct x86_range){
		.neg_low = -stretch.low,
		.delta = stretch.delta,
		.limit = {length - (RANGE_SHORT - 1), length - (RANGE_LONG - 1)},
	};
	ranges->origin[slot] = (struct x86_range_origin){
		.first = stretch.first, .last = stretch.last, .global = stretch.global};
	ranges->filled[slot / 64] |= (uint64_t)1 << slot % 64;
	ranges->fills++;
	return true;
}
