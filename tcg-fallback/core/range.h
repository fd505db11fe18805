/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Range caches: what translated code looks at before the TLB. A slot holds a stretch of linear addresses that
 * lies in one piece of host memory, however many pages it has, so that an access needs a subtraction, a
 * comparison and an addition, and no load that depends on its address:
 *
 *   low                          limit          low + length
 *    |-- an access may begin here --|-- may not ----|        host = linear + delta
 *
 * Which slot a piece of code uses is a matter of speed alone: there is a set of them for each (privilege,
 * read or write), each slot holds only what the TLB would allow to its privilege now, and nothing of a page
 * that an access must do more to than access it (accessed and dirty bits, code, ROM, devices). Supervisor
 * slots hold supervisor pages only, so SMAP and EFLAGS.AC do not matter to them; user slots belong to the
 * present address space, and so do supervisor slots whose pages are not global.
 *
 * An access that its slot does not serve goes to the TLB. After some of those at one place of the code the
 * slot is filled anew (x86_range_fill), which costs a page walk and a look at the neighbours.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct x86_cpu;

/* Slots of a set: for the segments with a base, for the stack by page of the code, for the rest by line of
 * the code and base register. Fewer of them were worse: docs/decisions/0016-ranges-before-the-tlb.md. */
#define RANGE_STACKS 8u
enum { RANGE_FS, RANGE_GS, RANGE_STACK, RANGE_HASHED = RANGE_STACK + RANGE_STACKS, RANGE_SET = 256 };

#define RANGE_SLOTS (4u * RANGE_SET)
#define RANGE_SHORT 16u /* bytes of an access that limit[0] is for */
#define RANGE_LONG  64u /* limit[1] */

/* What host code sees: in when linear + neg_low < limit, unsigned. A limit of 0 is an empty slot. */
struct x86_range {
	uint64_t neg_low, delta, limit[2];
};

struct x86_range_origin {
	uint64_t first, last; /* flushing one of these addresses empties the slot */
	bool global;
};

struct x86_ranges {
	struct x86_range slot[RANGE_SLOTS];
	struct x86_range_origin origin[RANGE_SLOTS];
	uint64_t filled[RANGE_SLOTS / 64]; /* a bit a slot */
	uint64_t fills;
};

static inline unsigned x86_range_slot(bool user, bool write, unsigned number)
{
	return ((user ? 2u : 0u) + (write ? 1u : 0u)) * RANGE_SET + number;
}

/* Empty all; or those of the present address space, which leaves supervisor slots of global pages. */
void x86_range_reset(struct x86_cpu *cpu);
void x86_range_reset_space(struct x86_cpu *cpu);
/* One page's translation is flushed. */
void x86_range_flush_page(struct x86_cpu *cpu, uint64_t linear);
/* The page at hva now holds decoded code. */
void x86_range_revoke_write(struct x86_cpu *cpu, const uint8_t *hva);
/* Fills a slot around a linear address that the TLB has for this kind of access; false: it may not hold that.
 */
bool x86_range_fill(struct x86_cpu *cpu, unsigned slot, uint64_t linear, bool write);
