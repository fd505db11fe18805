/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of guest memory the CPUs write: a bit a page, set when a store is given leave to go past the
 * slow path. Leave is taken back from every TLB whenever the log is begun or read, so the first store to a
 * page after that is seen. Knows no instruction.
 */
#include <errno.h>
#include <sys/mman.h>

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/vm.h"

#define WORD_PAGES 64

static uint64_t region_pages(const struct x86_region *region)
{
	return region->size_bytes >> 12;
}

static uint64_t log_words(const struct x86_region *region)
{
	return (region_pages(region) + WORD_PAGES - 1) / WORD_PAGES;
}

/* Touched only where something is written: mmap gives zeroes that cost nothing until then. */
int x86_region_log_start(struct x86_region *region)
{
	void *bits;

	if (region->read_only)
		return 0;
	bits = mmap(NULL, log_words(region) * sizeof(uint64_t), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bits == MAP_FAILED)
		return -ENOMEM;
	region->written = bits;
	return 0;
}

void x86_region_log_stop(struct x86_region *region)
{
	if (region->written)
		munmap((void *)(uintptr_t)region->written, log_words(region) * sizeof(uint64_t));
	region->written = NULL;
}

void x86_region_log_all(struct x86_region *region)
{
	for (uint64_t page = 0; region->written && page < region_pages(region); page++)
		x86_region_note_write(region, region->gpa + page * 4096);
}

int x86_vm_log_start(struct x86_vm *vm)
{
	int code = 0;

	x86_vm_log_stop(vm);
	for (unsigned i = 0; i < vm->region_count && code == 0; i++)
		code = x86_region_log_start(&vm->region[i]);
	vm->logs_writes = true;
	if (code < 0)
		x86_vm_log_stop(vm);
	x86_vm_forget_memory(vm);
	return code;
}

void x86_vm_log_stop(struct x86_vm *vm)
{
	vm->logs_writes = false;
	for (unsigned i = 0; i < vm->region_count; i++)
		x86_region_log_stop(&vm->region[i]);
}

/* The first page from `page` on that was (or was not) written, or the number of pages. */
static uint64_t log_next(const struct x86_region *region, uint64_t page, bool written)
{
	uint64_t pages = region_pages(region);

	while (page < pages) {
		uint64_t word =
			atomic_load_explicit(&region->written[page / WORD_PAGES], memory_order_relaxed);

		word = (written ? word : ~word) >> (page % WORD_PAGES);
		if (word) {
			page += (uint64_t)__builtin_ctzll(word);
			return page < pages ? page : pages;
		}
		page = (page / WORD_PAGES + 1) * WORD_PAGES;
	}
	return pages;
}

static void region_log_fetch(const struct x86_region *region, x86_written_fn *fn, void *opaque)
{
	uint64_t pages = region_pages(region);
	uint64_t from = log_next(region, 0, true);

	while (from < pages) {
		uint64_t to = log_next(region, from, false);

		fn(opaque, region->gpa + from * 4096, (to - from) * 4096);
		for (uint64_t page = from; page < to; page++)
			atomic_fetch_and_explicit(&region->written[page / WORD_PAGES],
						  ~(1ull << page % WORD_PAGES), memory_order_relaxed);
		from = log_next(region, to, true);
	}
}

void x86_vm_log_fetch(struct x86_vm *vm, x86_written_fn *fn, void *opaque)
{
	for (unsigned i = 0; i < vm->region_count; i++) {
		if (vm->region[i].written)
			region_log_fetch(&vm->region[i], fn, opaque);
	}
	x86_vm_forget_memory(vm);
}
