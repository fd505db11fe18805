/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model check of page walker and TLB: random 4-level tables, rights, control bits, accesses and changes, each
 * access compared with a walker that is written here from the manual's words and remembers nothing. A missed
 * invalidation, a right too many or a missing accessed bit shows as a difference. Intel SDM vol. 3, 4.5
 * to 4.10.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tcg-fallback/core/range.h"
#include "tcg-fallback/x86/access.h"
#include "tests/unit/engine_rig.h"

/* The tables are a tree: 2 x 2 x 4 x 4 slots in use, each table at one place only, so a change has known
 * addresses. */
#define TABLES  0xc00000u
#define DATA    0x800000u
#define FAN_TOP 2
#define FAN_LOW 4

#define P  1ull
#define W  2ull
#define U  4ull
#define A  0x20ull
#define D  0x40ull
#define PS 0x80ull
#define G  0x100ull
#define NX (1ull << 63)

struct model {
	struct rig rig;
	struct x86_cpu *cpu;
	uint64_t seed;
	unsigned range_hits;
};

static uint32_t next(struct model *m)
{
	m->seed = m->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(m->seed >> 33);
}

static bool chance(struct model *m, unsigned in)
{
	return next(m) % in == 0;
}

static uint64_t *entry_at(struct model *m, uint64_t gpa)
{
	return (uint64_t *)(void *)(m->rig.ram + gpa);
}

/* Tables in the order of the tree: 1 of level 4, 2 of level 3, 4 of level 2, 16 of level 1. */
static uint64_t table_of(unsigned level, unsigned a, unsigned b, unsigned c)
{
	unsigned number = 0;

	if (level == 3)
		number = 1 + a;
	else if (level == 2)
		number = 3 + a * FAN_TOP + b;
	else if (level == 1)
		number = 7 + (a * FAN_TOP + b) * FAN_LOW + c;
	return TABLES + number * PAGE_SIZE;
}

static uint64_t slot_of(unsigned level, const unsigned index[4])
{
	return table_of(level, index[0], index[1], index[2]) + 8 * index[4 - level];
}

static uint64_t linear_of(const unsigned index[4])
{
	return (uint64_t)index[0] << 39 | (uint64_t)index[1] << 30 | (uint64_t)index[2] << 21 |
	       (uint64_t)index[3] << 12;
}

static uint64_t random_flags(struct model *m)
{
	uint64_t flags = (chance(m, 8) ? 0 : P) | (chance(m, 4) ? 0 : W) | (chance(m, 3) ? 0 : U);

	flags |= (chance(m, 2) ? A : 0) | (chance(m, 6) ? NX : 0);
	return flags | (chance(m, 40) ? 1ull << 51 : 0); /* beyond the 40 bits of the rig's CPU: reserved */
}

static uint64_t random_leaf(struct model *m, unsigned level)
{
	uint64_t flags = random_flags(m) | (chance(m, 2) ? D : 0) | (chance(m, 3) ? G : 0) |
			 (uint64_t)(next(m) & 3) << 59;

	if (level == 3)
		return flags | PS;
	if (level == 2)
		return flags | PS | (DATA + (next(m) & 1) * 0x200000u) | (chance(m, 30) ? 1u << 13 : 0);
	return flags | (DATA + next(m) % 1024 * PAGE_SIZE);
}

static void fill_slot(struct model *m, unsigned level, const unsigned index[4])
{
	bool leaf = level == 1 || (level == 2 && chance(m, 4)) || (level == 3 && chance(m, 6));
	uint64_t below = level > 1 ? table_of(level - 1, index[0], index[1], index[2]) : 0;

	/* Neighbours that follow one another and are alike: what a range is made of. */
	if (level == 1 && chance(m, 2)) {
		*entry_at(m, slot_of(level, index)) = (DATA + (index[2] * FAN_LOW + index[3]) * PAGE_SIZE) |
						      P | W | A | (chance(m, 4) ? 0 : D) |
						      (chance(m, 3) ? 0 : U) | (chance(m, 2) ? G : 0);
		return;
	}
	*entry_at(m, slot_of(level, index)) = leaf ? random_leaf(m, level) : random_flags(m) | below;
}

static void random_index(struct model *m, unsigned index[4])
{
	index[0] = next(m) % FAN_TOP;
	index[1] = next(m) % FAN_TOP;
	index[2] = next(m) % FAN_LOW;
	index[3] = next(m) % FAN_LOW;
}

static void fill_tree(struct model *m)
{
	for (unsigned i = 0; i < FAN_TOP * FAN_TOP * FAN_LOW * FAN_LOW; i++) {
		unsigned index[4] = {i / 32, i / 16 % 2, i / 4 % 4, i % 4};

		for (unsigned level = 4; level; level--)
			fill_slot(m, level, index);
	}
}

/* The naive walker. Returns the error code, or UINT32_MAX and *gpa; sets A and D when the access is allowed.
 */
static uint32_t naive(struct model *m, uint64_t linear, enum x86_access access, uint64_t *gpa)
{
	struct x86_cpu *cpu = m->cpu;
	bool user = cpu->cpl == 3, write = access == X86_WRITE, fetch = access == X86_EXECUTE;
	bool nxe = cpu->efer & EFER_NXE, writable = true, user_page = true, executable = true,
	     key_fault = false, ok = true;
	uint32_t code = (write ? 2 : 0) | (user ? 4 : 0) | (fetch && (nxe || (cpu->cr4 & CR4_SMEP)) ? 16 : 0);
	uint64_t table = cpu->cr3, slots[4], entry = 0;
	unsigned count = 0, level, key;

	for (level = 4; level; level--) {
		slots[count] = table + 8 * (linear >> (3 + 9 * level) & 511);
		entry = *entry_at(m, slots[count++]);
		if (!(entry & P))
			return code;
		if ((entry & 0xfff0000000000ull) || ((entry & NX) && !nxe) || (level == 4 && (entry & PS)) ||
		    (level == 2 && (entry & PS) && (entry & 0x1fe000)) ||
		    (level == 3 && (entry & PS) && (entry & 0x3fffe000)))
			return code | 1 | 8;
		writable = writable && (entry & W);
		user_page = user_page && (entry & U);
		executable = executable && !(entry & NX);
		if (level == 1 || (entry & PS))
			break;
		table = entry & 0xfffffff000ull;
	}
	key = entry >> 59 & 15;
	if (user && !user_page)
		ok = false;
	if (fetch && (!executable || (!user && user_page && (cpu->cr4 & CR4_SMEP))))
		ok = false;
	if (!fetch && !user && user_page && (cpu->cr4 & CR4_SMAP) && !(cpu->eflags & FLAG_AC))
		ok = false;
	if (write && !writable && (user || (cpu->cr0 & CR0_WP)))
		ok = false;
	if (ok && !fetch && user_page && (cpu->cr4 & CR4_PKE)) {
		key_fault = (cpu->pkru >> (2 * key) & 1) ||
			    (write && (cpu->pkru >> (2 * key + 1) & 1) && (user || (cpu->cr0 & CR0_WP)));
		ok = !key_fault;
	}
	if (!ok)
		return code | 1 | (key_fault ? 32 : 0);
	for (unsigned i = 0; i < count; i++)
		*entry_at(m, slots[i]) |= A | (write && i + 1 == count ? D : 0);
	*gpa = (entry & 0xfffffff000ull & ~((1ull << (3 + 9 * level)) - 1)) |
	       (linear & ((1ull << (3 + 9 * level)) - 1));
	return UINT32_MAX;
}

/* The engine's access. Returns the error code of its #PF, or UINT32_MAX and what was read. */
static uint32_t engine(struct model *m, uint64_t linear, enum x86_access access, uint8_t *value)
{
	struct x86_cpu *cpu = m->cpu;
	sigjmp_buf unwind;
	uint32_t code = UINT32_MAX;

	cpu->unwind = &unwind;
	if (sigsetjmp(unwind, 0)) {
		assert_int_equal(cpu->fault.vector, VEC_PF);
		assert_int_equal(cpu->fault.cr2, linear);
		return cpu->fault.code;
	}
	switch (access) {
	case X86_READ: *value = x86_ld8(cpu, SEG_FLAT, linear); break;
	case X86_WRITE: x86_st8(cpu, SEG_FLAT, linear, *value); break;
	case X86_EXECUTE: *value = *x86_locate(cpu, linear, X86_EXECUTE, x86_tlb_class_now(cpu)).hva; break;
	}
	return code;
}

static void snapshot(struct model *m, uint8_t *copy)
{
	memcpy(copy, m->rig.ram + TABLES, 23 * PAGE_SIZE);
}

/* A few slots, so that each is found with old contents. */
static unsigned random_slot(struct model *m, bool write)
{
	return x86_range_slot(m->cpu->cpl == 3, write, next(m) % 4);
}

/* What translated code would do by a slot: allowed by the walker too, to the same byte, with nothing else to
 * be done. */
static void check_range(struct model *m, unsigned slot, uint64_t linear, uint32_t want, uint64_t gpa,
			bool tables_touched)
{
	const struct x86_range *range = &m->cpu->range.slot[slot];
	const struct x86_region *region = x86_vm_region(m->rig.vm, gpa);

	if (linear + range->neg_low >= range->limit[0])
		return;
	m->range_hits++;
	assert_int_equal(want, UINT32_MAX);
	assert_false(tables_touched);
	assert_ptr_equal((uint8_t *)(uintptr_t)(linear + range->delta), m->rig.ram + gpa);
	if (slot / RANGE_SET % 2)
		assert_int_equal(atomic_load(x86_region_lines(region, gpa)), 0);
}

/* One access by both, with the same tables before and compared after. */
static void compare_access(struct model *m)
{
	static uint8_t before[23 * PAGE_SIZE], expected[23 * PAGE_SIZE]; /* too big for a stack */
	enum x86_access access = next(m) % 3;
	unsigned index[4];
	uint64_t linear, gpa = 0;
	uint32_t want, got;
	uint8_t value = (uint8_t)next(m), old;
	const struct x86_range *near;
	unsigned slot;

	random_index(m, index);
	linear = linear_of(index) + next(m) % PAGE_SIZE;
	slot = random_slot(m, access == X86_WRITE);
	near = &m->cpu->range.slot[slot];
	if (chance(m, 2) && near->limit[0])
		linear = -near->neg_low + next(m) % (near->limit[0] < 0x4000 ? near->limit[0] : 0x4000);
	snapshot(m, before);
	want = naive(m, linear, access, &gpa);
	snapshot(m, expected);
	if (access != X86_EXECUTE)
		check_range(m, slot, linear, want, gpa, memcmp(before, expected, sizeof(before)) != 0);
	memcpy(m->rig.ram + TABLES, before, sizeof(before));
	old = want == UINT32_MAX ? m->rig.ram[gpa] : 0;
	got = engine(m, linear, access, &value);
	assert_int_equal(got, want);
	if (want == UINT32_MAX && access != X86_WRITE)
		assert_int_equal(value, old);
	if (want == UINT32_MAX && access == X86_WRITE)
		assert_int_equal(m->rig.ram[gpa], value);
	/* Bits that a cached translation had set before may have been cleared behind its back only by a
	 * flushed change. */
	assert_memory_equal(m->rig.ram + TABLES, expected, sizeof(expected));
	if (got == UINT32_MAX && access != X86_EXECUTE && chance(m, 2))
		x86_range_fill(m->cpu, slot, linear, access == X86_WRITE);
}

static void change_slot(struct model *m)
{
	unsigned index[4], level = 1 + next(m) % 4;

	random_index(m, index);
	fill_slot(m, level, index);
	if (level == 1) {
		x86_tlb_flush_page(m->cpu, linear_of(index), -1);
		return;
	}
	if (level > 2 || chance(m, 2)) {
		x86_tlb_flush_all(m->cpu);
		return;
	}
	for (index[3] = 0; index[3] < FAN_LOW; index[3]++)
		x86_tlb_flush_page(m->cpu, linear_of(index), -1);
}

static void change_mode(struct model *m)
{
	struct x86_cpu *cpu = m->cpu;

	cpu->cpl = chance(m, 2) ? 3 : 0;
	cpu->seg[SEG_CS].attributes = (uint16_t)(0xa09b | cpu->cpl << 5);
	cpu->seg[SEG_SS].attributes = (uint16_t)(0xc093 | cpu->cpl << 5);
	cpu->eflags = FLAG_ONE | (chance(m, 2) ? FLAG_AC : 0);
	if (chance(m, 4)) {
		cpu->cr0 = (cpu->cr0 & ~CR0_WP) | (chance(m, 3) ? 0 : CR0_WP);
		cpu->cr4 = CR4_PAE | CR4_PGE | (chance(m, 2) ? CR4_SMEP : 0) | (chance(m, 2) ? CR4_SMAP : 0) |
			   (chance(m, 2) ? CR4_PKE : 0);
		cpu->efer = (cpu->efer & ~EFER_NXE) | (chance(m, 4) ? 0 : EFER_NXE);
		cpu->pkru = next(m) & 0xff;
	}
	x86_mode_changed(cpu);
	assert_int_equal(cpu->cpl, cpu->seg[SEG_CS].attributes >> 5 & 3);
}

static void random_tables(void **state)
{
	static struct model m; /* the rig's address is kept by its CPU */

	m = (struct model){.seed = 1};
	assert_int_equal(rig_init(&m.rig, 1), 0);
	m.cpu = m.rig.cpu[0];
	fill_tree(&m);
	for (unsigned i = 0; i < 0x400000; i++)
		m.rig.ram[DATA + i] = (uint8_t)next(&m);
	m.cpu->cr3 = TABLES;
	x86_tlb_flush_all(m.cpu);
	for (unsigned i = 0; i < 60000; i++) {
		if (chance(&m, 10))
			change_mode(&m);
		if (chance(&m, 6))
			change_slot(&m);
		if (chance(&m, 100))
			x86_vm_mark_code(m.cpu, DATA + next(&m) % 16 * PAGE_SIZE, 64);
		compare_access(&m);
	}
	assert_in_range(m.range_hits, 300, 60000); /* else nothing was shown */
	rig_free(&m.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
