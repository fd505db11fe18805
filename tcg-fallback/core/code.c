/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache of lowered code. code.h has the picture. It knows where code is, not what it does.
 */
#include "tcg-fallback/core/code.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/jit.h"

struct x86_code *x86_code_create(void)
{
	struct x86_code *code = calloc(1, sizeof(*code));

	if (!code)
		return NULL;
	code->arena = mmap(NULL, CODE_ARENA_SLOTS * sizeof(struct x86_op), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (code->arena == MAP_FAILED) {
		free(code);
		return NULL;
	}
	return code;
}

void x86_code_destroy(struct x86_code *code)
{
	if (!code)
		return;
	munmap(code->arena, CODE_ARENA_SLOTS * sizeof(struct x86_op));
	free(code);
}

struct x86_op *x86_code_reserve(struct x86_code *code, unsigned slots)
{
	struct x86_op *op = &code->arena[code->used];

	if (slots > CODE_ARENA_SLOTS - code->used)
		return NULL;
	code->used += slots;
	return op;
}

void x86_code_forget_links(struct x86_cpu *cpu)
{
	if (cpu->code)
		memset(cpu->code->jump, 0, sizeof(cpu->code->jump));
}

/* Translations do without the ops: a new op of their address finds them. */
static void ops_flush(struct x86_cpu *cpu)
{
	struct x86_code *code = cpu->code;

	if (cpu->jit)
		x86_jit_forget_ops(cpu);
	memset(code->entry, 0, sizeof(code->entry));
	memset(code->page, 0, sizeof(code->page));
	x86_code_forget_links(cpu);
	code->used = 0;
	code->flushes++;
}

void x86_code_flush(struct x86_cpu *cpu)
{
	ops_flush(cpu);
	if (cpu->jit)
		x86_jit_flush(cpu);
}

static unsigned entry_hash(uint64_t key)
{
	return (unsigned)((key * 0x9e3779b97f4a7c15ull) >> 48) & (CODE_ENTRY_HASH - 1);
}

static unsigned page_hash(uint64_t gpa)
{
	return (unsigned)((gpa >> PAGE_BITS) * 0x9e3779b1u >> 20) & (CODE_PAGE_HASH - 1);
}

static struct x86_entry *entry_find(struct x86_code *code, uint64_t key)
{
	for (struct x86_entry *entry = code->entry[entry_hash(key)]; entry; entry = entry->next)
		if (entry->key == key)
			return entry;
	return NULL;
}

/* An entry whose block was dropped is taken over by the new one. */
struct x86_entry *x86_code_enter(struct x86_code *code, uint64_t key, struct x86_op *op,
				 struct x86_block *block)
{
	struct x86_entry *entry = entry_find(code, key);

	if (!entry) {
		void *slot = x86_code_reserve(code, 1);

		if (!slot)
			return NULL;
		entry = slot;
		entry->next = code->entry[entry_hash(key)];
		entry->key = key;
		code->entry[entry_hash(key)] = entry;
	}
	entry->op = op;
	entry->block = block;
	return entry;
}

bool x86_code_has_entry(struct x86_code *code, uint64_t gpa, unsigned mode)
{
	const struct x86_entry *entry = entry_find(code, gpa | (uint64_t)mode << 56);

	return entry && !entry->block->dropped;
}

static struct x86_code_page *page_find(const struct x86_code *code, uint64_t gpa)
{
	for (struct x86_code_page *page = code->page[page_hash(gpa)]; page; page = page->next)
		if (page->gpa == gpa)
			return page;
	return NULL;
}

static struct x86_code_page *page_get(struct x86_code *code, uint64_t gpa)
{
	struct x86_code_page *page = page_find(code, gpa);

	if (page)
		return page;
	page = (void *)x86_code_reserve(code, 1);
	if (!page)
		return NULL;
	*page = (struct x86_code_page){.gpa = gpa, .next = code->page[page_hash(gpa)]};
	code->page[page_hash(gpa)] = page;
	return page;
}

bool x86_code_list(struct x86_code *code, struct x86_block *block)
{
	for (unsigned i = 0; i < 2 && block->page[i] != UINT64_MAX; i++) {
		struct x86_code_page *page = page_get(code, block->page[i]);

		if (!page)
			return false;
		block->next[i] = page->blocks;
		page->blocks = block;
	}
	return true;
}

static bool block_overlaps(const struct x86_block *block, uint64_t page, unsigned first, unsigned last)
{
	if (block->page[0] == page && first < block->end && last >= block->start)
		return true;
	return block->page[1] == page && first < block->end2;
}

/* Every op may be the target of a link, so each becomes stale. */
static void block_drop(struct x86_block *block)
{
	for (unsigned i = 0; i < block->slots; i += block->ops[i].slots)
		block->ops[i].fn = op_stale;
	block->dropped = true;
}

static struct x86_block **block_link(struct x86_block *block, uint64_t page)
{
	return &block->next[block->page[0] == page ? 0 : 1];
}

static bool drop_in_page(struct x86_code *code, uint64_t page_gpa, unsigned first, unsigned last)
{
	struct x86_code_page *page = page_find(code, page_gpa);
	struct x86_block **at = page ? &page->blocks : NULL;
	bool dropped = false;

	while (at && *at) {
		struct x86_block *block = *at;

		if (!block->dropped && block_overlaps(block, page_gpa, first, last)) {
			block_drop(block);
			code->drops++;
			dropped = true;
		}
		if (block->dropped)
			*at = *block_link(block, page_gpa);
		else
			at = block_link(block, page_gpa);
	}
	return dropped;
}

bool x86_code_drop(struct x86_cpu *cpu, uint64_t gpa, uint64_t len)
{
	bool dropped = false;

	while (len) {
		uint64_t piece = PAGE_SIZE - (gpa & ~PAGE_MASK);

		if (piece > len)
			piece = len;
		dropped |= drop_in_page(cpu->code, gpa & PAGE_MASK, gpa & ~PAGE_MASK,
					(unsigned)((gpa & ~PAGE_MASK) + piece - 1));
		if (cpu->jit)
			dropped |= x86_jit_drop(cpu, gpa & PAGE_MASK, gpa & ~PAGE_MASK,
						(unsigned)((gpa & ~PAGE_MASK) + piece - 1));
		gpa += piece;
		len -= piece;
	}
	return dropped;
}

uint64_t x86_code_lines(const struct x86_cpu *cpu, uint64_t page_gpa)
{
	const struct x86_code_page *page = page_find(cpu->code, page_gpa);
	uint64_t lines = cpu->jit ? x86_jit_lines(cpu, page_gpa) : 0;

	for (struct x86_block *block = page ? page->blocks : NULL; block;
	     block = *block_link(block, page_gpa)) {
		if (block->dropped)
			continue;
		if (block->page[0] == page_gpa)
			lines |= x86_line_bits(block->start, block->end - block->start);
		if (block->page[1] == page_gpa)
			lines |= x86_line_bits(0, block->end2);
	}
	return lines;
}

unsigned x86_code_mode(const struct x86_cpu *cpu)
{
	const struct x86_segment *cs = &cpu->seg[SEG_CS];
	bool protected_mode = (cpu->cr0 & CR0_PE) && !(cpu->eflags & FLAG_VM);

	if (cpu->mode_bits == 64)
		return 2 | CODE_MODE_PROTECTED;
	return (cpu->mode_bits == 32) |
	       ((cpu->seg[SEG_SS].attributes & SEG_ATTR_DB) ? CODE_MODE_STACK32 : 0) |
	       (protected_mode ? CODE_MODE_PROTECTED : 0) |
	       (cs->base || cs->limit != UINT32_MAX ? CODE_MODE_LIMITED : 0);
}

void x86_code_segments_changed(struct x86_cpu *cpu)
{
	unsigned flat = 1u << SEG_FLAT, mode;

	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		const struct x86_segment *s = &cpu->seg[i];

		bool base_counts = i == SEG_FS || i == SEG_GS; /* their fast forms add it */

		if (s->usable && (!s->base || base_counts) && s->limit == UINT32_MAX &&
		    (SEG_ATTR_TYPE(s->attributes) & 0xe) == 2)
			flat |= 1u << i;
	}
	cpu->flat_segments = (uint16_t)flat;
	mode = x86_code_mode(cpu);
	for (unsigned i = 0; i < 2; i++)
		cpu->link_key[i] = (cpu->link_key[i] & ~(uint64_t)0xff) | mode;
}

/* Is the second page of a crossing instruction still where it was? */
static bool second_page_holds(struct x86_cpu *cpu, const struct x86_block *block, uint64_t linear)
{
	uint64_t second = (linear & PAGE_MASK) + PAGE_SIZE;
	struct x86_place place;

	if (block->page[1] == UINT64_MAX)
		return true;
	if (cpu->mode_bits != 64)
		second = (uint32_t)second;
	x86_check_canonical(cpu, SEG_CS, second, 1);
	place = x86_locate(cpu, second, X86_EXECUTE, cpu->tlb->class);
	return place.hva && (place.gpa & PAGE_MASK) == block->page[1];
}

static void jump_remember(struct x86_cpu *cpu, uint64_t linear, const struct x86_block *block,
			  struct x86_op *op)
{
	const struct x86_tlb *tlb = cpu->tlb;
	bool global = tlb->table && tlb->table->entry[x86_tlb_index(linear)].ex == (linear & PAGE_MASK) &&
		      (tlb->table->info[x86_tlb_index(linear)] & TLB_INFO_GLOBAL) &&
		      block->page[1] == UINT64_MAX;

	x86_tlb_note_executed(cpu, linear, global);
	if (block->page[1] != UINT64_MAX)
		x86_tlb_note_executed(cpu, linear + PAGE_SIZE, false);
	cpu->code->jump[x86_jump_hash(cpu, linear)] =
		(struct x86_jump){.linear = linear,
				  .key = cpu->link_key[global],
				  .op = op,
				  .host = cpu->jit ? x86_jit_host(cpu, op) : NULL};
}

/* An op of a live block of this page that begins exactly at the address: blocks may be entered in their
 * middle. */
static struct x86_entry *enter_middle(struct x86_code *code, uint64_t key, uint64_t gpa, unsigned mode)
{
	struct x86_code_page *page = page_find(code, gpa & PAGE_MASK);
	unsigned off = gpa & ~PAGE_MASK;

	for (struct x86_block *block = page ? page->blocks : NULL; block;
	     block = *block_link(block, gpa & PAGE_MASK)) {
		if (block->dropped || block->mode != mode || block->page[0] != (gpa & PAGE_MASK) ||
		    off < block->start || off >= block->end || block->page[1] != UINT64_MAX)
			continue;
		for (unsigned i = 0; i < block->slots && block->ops[i].off <= off; i += block->ops[i].slots)
			if (block->ops[i].off == off && !(block->ops[i].kind & OP_NO_ENTRY))
				return x86_code_enter(code, key, &block->ops[i], block);
	}
	return NULL;
}

static struct x86_entry *entry_build(struct x86_cpu *cpu, uint64_t key, uint64_t linear, uint64_t gpa)
{
	for (unsigned attempt = 0; attempt < 2; attempt++) {
		struct x86_block *block = x86_lower_block(cpu, linear, gpa);
		struct x86_entry *entry = block ? x86_code_enter(cpu->code, key, block->ops, block) : NULL;

		if (entry)
			return entry;
		ops_flush(cpu);
	}
	return NULL;
}

/* CS.limit, and canonical RIP in 64-bit mode. Jumps have checked their targets; falling off the end has not.
 */
uint64_t x86_code_linear_rip(struct x86_cpu *cpu)
{
	if (cpu->mode_bits == 64) {
		x86_check_canonical(cpu, SEG_CS, cpu->rip, 1);
		return cpu->rip;
	}
	if (cpu->rip > cpu->seg[SEG_CS].limit)
		x86_raise_gp(cpu);
	return (uint32_t)(cpu->seg[SEG_CS].base + cpu->rip);
}

static struct x86_op *find_by_page(struct x86_cpu *cpu, uint64_t linear, unsigned mode)
{
	struct x86_place place = x86_locate(cpu, linear, X86_EXECUTE, cpu->tlb->class);
	uint64_t key = place.gpa | (uint64_t)mode << 56;
	struct x86_entry *entry;

	cpu->code->lookups++;
	if (!place.hva)
		return NULL;
	entry = entry_find(cpu->code, key);
	if (!entry || entry->block->dropped || !second_page_holds(cpu, entry->block, linear)) {
		entry = enter_middle(cpu->code, key, place.gpa, mode);
		if (!entry)
			entry = entry_build(cpu, key, linear, place.gpa);
		if (!entry)
			return NULL;
	}
	if ((mode & CODE_MODE_LIMITED) &&
	    cpu->rip + (entry->block->end - entry->op->off) + entry->block->end2 - 1 > cpu->seg[SEG_CS].limit)
		return NULL;
	if (cpu->jit && (mode & CODE_MODE_BITS_MASK) == 2)
		x86_jit_watch(cpu, entry->op);
	jump_remember(cpu, linear, entry->block, entry->op);
	return entry->op;
}

struct x86_op *x86_code_find(struct x86_cpu *cpu)
{
	uint64_t linear = x86_code_linear_rip(cpu);
	unsigned mode = cpu->link_key[0] & 0xff;
	struct x86_op *op = (mode & CODE_MODE_LIMITED) ? NULL : x86_jump_probe(cpu, cpu->code, linear);

	if (!op || op->fn == op_stale)
		op = find_by_page(cpu, linear, mode);
	if (op)
		cpu->r[REG_RIP] = cpu->rip - op->off;
	return op;
}
