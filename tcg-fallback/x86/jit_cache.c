/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU's translations: memory for them, finding them, dropping them. It knows where code is, not what it
 * does. jit_cache.h has the conventions.
 */
#include "tcg-fallback/x86/jit_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/tlb.h"
#include "vmm/base/log.h"

static void *reserve(size_t size)
{
	void *at =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static void release(void *at, size_t size)
{
	if (at)
		munmap(at, size);
}

static void jit_free(struct x86_jit *jit)
{
	code_memory_destroy(&jit->memory);
	release(jit->pool, JIT_POOL_BYTES);
	release(jit->side, CODE_ARENA_SLOTS * sizeof(struct jit_side));
	jit_verify_destroy(jit);
	free(jit);
}

static int jit_reserve(struct x86_jit *jit)
{
	jit->pool = reserve(JIT_POOL_BYTES);
	jit->side = reserve(CODE_ARENA_SLOTS * sizeof(struct jit_side));
	if (!jit->pool || !jit->side || (jit->verify && !jit_verify_create(jit)))
		return -ENOMEM;
	return code_memory_create(&jit->memory, JIT_CODE_BYTES);
}

/* Said once, not by every CPU. */
static void tell_refusal(const struct x86_cpu *cpu, int code)
{
	if (cpu->index == 0)
		log_warning("tcg: no memory for translated code (%s): guest code is interpreted",
			    strerror(-code));
}

void x86_jit_create(struct x86_cpu *cpu)
{
	const struct x86_jit_config *config = &cpu->vm->jit;
	struct x86_jit *jit;
	int code;

	if (config->mode == X86_JIT_OFF)
		return;
	jit = calloc(1, sizeof(*jit));
	if (!jit)
		return;
	jit->ranges = config->mmu_ranges;
	jit->verify = config->mode == X86_JIT_VERIFY && cpu->vm->cpu_count == 1;
	jit->verify_every = config->verify_every ? config->verify_every : 1;
	jit->threshold = config->threshold ? config->threshold : jit->verify ? 2 : JIT_THRESHOLD;
	code = jit_reserve(jit);
	cpu->jit = jit;
	if (code == 0 && jit_thunks_make(cpu))
		return;
	if (code)
		tell_refusal(cpu, code);
	cpu->jit = NULL;
	jit_free(jit);
}

void x86_jit_destroy(struct x86_cpu *cpu)
{
	if (cpu->jit)
		jit_free(cpu->jit);
	cpu->jit = NULL;
}

void *jit_pool_take(struct x86_jit *jit, size_t size)
{
	void *at = jit->pool + jit->pool_used;

	size = (size + 7) & ~(size_t)7;
	if (size > JIT_POOL_BYTES - jit->pool_used)
		return NULL;
	jit->pool_used += size;
	return at;
}

static unsigned block_hash(uint64_t key)
{
	return (unsigned)((key * 0x9e3779b97f4a7c15ull) >> 50) & (JIT_HASH_SIZE - 1);
}

static unsigned page_hash(uint64_t gpa)
{
	return (unsigned)((gpa >> PAGE_BITS) * 0x9e3779b1u >> 20) & (JIT_PAGE_HASH - 1);
}

struct jit_block *jit_block_find(struct x86_jit *jit, uint64_t key)
{
	struct jit_block *block = jit->hash[block_hash(key)];

	while (block && (block->key != key || block->dropped))
		block = block->next;
	return block;
}

static struct jit_page *page_find(const struct x86_jit *jit, uint64_t gpa)
{
	struct jit_page *page = jit->page[page_hash(gpa)];

	while (page && page->gpa != gpa)
		page = page->next;
	return page;
}

static uint64_t block_page(const struct jit_block *block)
{
	return block->key & PAGE_MASK & ~((uint64_t)0xff << 56);
}

/* The jump is written where the code may be running, by the thread that runs it: it is not in these bytes. */
static void entry_close(uint8_t *entry, const uint8_t *target)
{
	*entry = 0xe9;
	asm_bind(entry + 1, target);
}

/* Whoever still goes to a dropped block of this address goes to this one. */
static void block_replace_dropped(struct x86_jit *jit, const struct jit_block *block)
{
	for (struct jit_block *old = jit->hash[block_hash(block->key)]; old; old = old->next) {
		if (old->key != block->key || !old->dropped)
			continue;
		entry_close(old->body, block->body);
		entry_close(old->poll, block->poll);
		entry_close(old->saved, block->saved);
	}
}

bool jit_block_enter(struct x86_jit *jit, struct jit_block *block)
{
	struct jit_page *page = page_find(jit, block_page(block));

	if (!page) {
		page = jit_pool_take(jit, sizeof(*page));
		if (!page)
			return false;
		*page = (struct jit_page){.gpa = block_page(block),
					  .next = jit->page[page_hash(block_page(block))]};
		jit->page[page_hash(block_page(block))] = page;
	}
	block_replace_dropped(jit, block);
	block->in_page = page->blocks;
	page->blocks = block;
	block->next = jit->hash[block_hash(block->key)];
	jit->hash[block_hash(block->key)] = block;
	return true;
}

void x86_jit_forget_ops(struct x86_cpu *cpu)
{
	memset(cpu->jit->side, 0, cpu->code->used * sizeof(cpu->jit->side[0]));
}

void x86_jit_flush(struct x86_cpu *cpu)
{
	struct x86_jit *jit = cpu->jit;

	memset(jit->hash, 0, sizeof(jit->hash));
	memset(jit->page, 0, sizeof(jit->page));
	jit->next = jit->first;
	jit->pool_used = 0;
	memset(cpu->jit_returns.key, 0, sizeof(cpu->jit_returns.key));
	jit->epoch++;
	jit->count[JIT_FLUSHES]++;
}

static void block_drop(struct x86_jit *jit, struct jit_block *block)
{
	block->dropped = true;
	entry_close(block->body, block->stale_native);
	entry_close(block->poll, block->stale_native);
	entry_close(block->saved, block->stale_saved);
	jit->epoch++;
	jit->count[JIT_DROPS]++;
}

bool x86_jit_drop(struct x86_cpu *cpu, uint64_t page_gpa, unsigned first, unsigned last)
{
	struct jit_page *page = page_find(cpu->jit, page_gpa);
	struct jit_block **at = page ? &page->blocks : NULL;
	bool dropped = false;

	while (at && *at) {
		struct jit_block *block = *at;

		if (first < block->end && last >= block->start) {
			block_drop(cpu->jit, block);
			*at = block->in_page;
			dropped = true;
		} else {
			at = &block->in_page;
		}
	}
	return dropped;
}

uint64_t x86_jit_lines(const struct x86_cpu *cpu, uint64_t page_gpa)
{
	const struct jit_page *page = page_find(cpu->jit, page_gpa);
	uint64_t lines = 0;

	for (const struct jit_block *block = page ? page->blocks : NULL; block; block = block->in_page)
		lines |= x86_line_bits(block->start, block->end - block->start);
	return lines;
}

uint64_t x86_jit_count(const struct x86_cpu *cpu, enum x86_jit_counter counter)
{
	return cpu->jit->count[counter];
}
