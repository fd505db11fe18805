/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest-physical memory as the CPUs share it: the map, the marks on decoded code, and exclusive sections.
 * Knows no instruction and no page table. phys.h tells the protocol.
 */
#include "tcg-fallback/core/phys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/tlb.h"

const struct x86_region *x86_vm_region(const struct x86_vm *vm, uint64_t gpa)
{
	for (unsigned i = 0; i < vm->region_count; i++) {
		const struct x86_region *region = &vm->region[i];

		if (gpa - region->gpa < region->size_bytes)
			return region;
	}
	return NULL;
}

#define CUT_LOOKS   128u /* pages looked at one by one: a stretch need not be the longest */
#define GROUP_PAGES 512u /* pages that one count of code_pages is for */

/* A word a page, and a count for each group of pages. */
static size_t lines_size(uint64_t size_bytes)
{
	size_t pages = (size_t)(size_bytes >> 12);

	return pages * sizeof(uint64_t) + (pages + GROUP_PAGES - 1) / GROUP_PAGES * sizeof(uint32_t);
}

static uint32_t *group_of(const struct x86_region *region, uint64_t gpa)
{
	return &region->code_pages[(gpa - region->gpa) / (GROUP_PAGES * PAGE_SIZE)];
}

static bool page_has_code(const struct x86_region *region, uint64_t page)
{
	return atomic_load_explicit(&region->code_lines[page], memory_order_relaxed);
}

bool x86_region_cut_at_code(const struct x86_region *region, uint64_t gpa, uint64_t *first, uint64_t *last)
{
	uint64_t page = (gpa - region->gpa) >> PAGE_BITS;
	uint64_t low = (*first - region->gpa) >> PAGE_BITS, high = (*last - region->gpa) >> PAGE_BITS;
	uint64_t down = page, up = page;
	unsigned looks = 0;

	if (page_has_code(region, page))
		return false;
	while (down > low && looks++ < CUT_LOOKS && !page_has_code(region, down - 1)) {
		down--;
		while (down % GROUP_PAGES == 0 && down >= low + GROUP_PAGES &&
		       !region->code_pages[down / GROUP_PAGES - 1])
			down -= GROUP_PAGES;
	}
	while (up < high && looks++ < 2 * CUT_LOOKS && !page_has_code(region, up + 1)) {
		up++;
		while ((up + 1) % GROUP_PAGES == 0 && up + GROUP_PAGES <= high &&
		       !region->code_pages[(up + 1) / GROUP_PAGES])
			up += GROUP_PAGES;
	}
	if (down > low)
		*first = region->gpa + (down << PAGE_BITS);
	if (up < high)
		*last = region->gpa + (up << PAGE_BITS) + PAGE_SIZE - 1;
	return true;
}

static bool region_overlaps(const struct x86_vm *vm, uint64_t gpa, uint64_t size_bytes)
{
	for (unsigned i = 0; i < vm->region_count; i++)
		if (gpa < vm->region[i].gpa + vm->region[i].size_bytes &&
		    vm->region[i].gpa < gpa + size_bytes)
			return true;
	return false;
}

int x86_vm_map(struct x86_vm *vm, uint64_t gpa, uint64_t size_bytes, uint8_t *hva, bool read_only)
{
	unsigned at = 0;
	void *lines;

	if (!size_bytes || ((gpa | size_bytes) & 0xfff) || gpa + size_bytes < gpa || ((uintptr_t)hva & 0xfff))
		return -EINVAL;
	if (region_overlaps(vm, gpa, size_bytes))
		return -EINVAL;
	if (vm->region_count == X86_VM_REGIONS_MAX)
		return -ENOSPC;
	/* Touched only around code: mmap gives zeroes that cost nothing until then. */
	lines = mmap(NULL, lines_size(size_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (lines == MAP_FAILED)
		return -ENOMEM;
	while (at < vm->region_count && vm->region[at].gpa < gpa)
		at++;
	memmove(&vm->region[at + 1], &vm->region[at], (vm->region_count - at) * sizeof(vm->region[0]));
	vm->region[at] = (struct x86_region){.gpa = gpa,
					     .size_bytes = size_bytes,
					     .hva = hva,
					     .read_only = read_only,
					     .code_lines = lines,
					     .code_pages = (uint32_t *)lines + 2 * (size_bytes >> 12)};
	if (vm->logs_writes && x86_region_log_start(&vm->region[at]) < 0) {
		munmap(lines, lines_size(size_bytes));
		memmove(&vm->region[at], &vm->region[at + 1],
			(vm->region_count - at) * sizeof(vm->region[0]));
		return -ENOMEM;
	}
	x86_region_log_all(&vm->region[at]);
	vm->region_count++;
	for (unsigned i = 0; i < vm->cpu_count; i++)
		if (vm->cpu[i])
			x86_cpu_post(vm->cpu[i], ATTENTION_TLB);
	return 0;
}

int x86_vm_unmap(struct x86_vm *vm, uint64_t gpa)
{
	for (unsigned i = 0; i < vm->region_count; i++) {
		struct x86_region *region = &vm->region[i];

		if (region->gpa != gpa)
			continue;
		munmap((void *)(uintptr_t)region->code_lines, lines_size(region->size_bytes));
		x86_region_log_stop(region);
		memmove(region, region + 1, (vm->region_count - i - 1) * sizeof(*region));
		vm->region_count--;
		for (unsigned c = 0; c < vm->cpu_count; c++)
			if (vm->cpu[c])
				x86_cpu_post(vm->cpu[c], ATTENTION_TLB);
		return 0;
	}
	return -ENOENT;
}

static void mail_to(struct x86_vm *vm, struct x86_cpu *cpu, uint64_t gpa, uint64_t len)
{
	struct x86_mailbox *box = &vm->mailbox[cpu->index];

	pthread_mutex_lock(&box->lock);
	if (box->count < X86_MAILBOX_MAX)
		box->mail[box->count++] = (struct x86_mail){.gpa = gpa, .len = len};
	else
		box->overflow = true;
	pthread_mutex_unlock(&box->lock);
	atomic_fetch_or(&cpu->attention, ATTENTION_CODE);
}

void x86_vm_read_mail(struct x86_cpu *cpu)
{
	struct x86_mailbox *box = &cpu->vm->mailbox[cpu->index];
	struct x86_mail mail[X86_MAILBOX_MAX];
	unsigned count;
	bool overflow;

	atomic_fetch_and(&cpu->attention, ~(uint32_t)ATTENTION_CODE);
	pthread_mutex_lock(&box->lock);
	count = box->count;
	overflow = box->overflow;
	memcpy(mail, box->mail, count * sizeof(mail[0]));
	box->count = 0;
	box->overflow = false;
	pthread_mutex_unlock(&box->lock);
	if (overflow) {
		x86_code_flush(cpu);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		x86_code_drop(cpu, mail[i].gpa, mail[i].len);
}

bool x86_vm_mark_code(struct x86_cpu *cpu, uint64_t gpa, unsigned len)
{
	const struct x86_region *region = x86_vm_region(cpu->vm, gpa);
	uint64_t bits = x86_line_bits(gpa & 0xfff, len);
	_Atomic uint64_t *lines;

	if (!region)
		return false;
	lines = x86_region_lines(region, gpa);
	if ((atomic_load(lines) & bits) == bits)
		return false;
	if (atomic_load(lines) == 0) {
		const uint8_t *hva = region->hva + ((gpa - region->gpa) & PAGE_MASK);

		x86_vm_exclusive_begin(cpu);
		if (!atomic_fetch_or(lines, bits))
			++*group_of(region, gpa);
		for (unsigned i = 0; i < cpu->vm->cpu_count; i++)
			if (cpu->vm->cpu[i])
				x86_tlb_revoke_write(cpu->vm->cpu[i], hva);
		x86_vm_exclusive_end(cpu);
		return true;
	}
	atomic_fetch_or(lines, bits);
	return false;
}

/*
 * Marks outlive the code they stand for (another process's page, a flushed cache). Stores that keep hitting
 * marks without dropping anything make us count anew what the CPUs really hold, so that reused pages become
 * fast again.
 */
static void recount_lines(struct x86_cpu *cpu, const struct x86_region *region, uint64_t gpa)
{
	struct x86_vm *vm = cpu->vm;
	uint64_t bits = 0;

	x86_vm_exclusive_begin(cpu);
	for (unsigned i = 0; i < vm->cpu_count; i++)
		if (vm->cpu[i])
			bits |= x86_code_lines(vm->cpu[i], gpa & PAGE_MASK);
	if (atomic_exchange(x86_region_lines(region, gpa), bits) && !bits)
		--*group_of(region, gpa);
	x86_vm_exclusive_end(cpu);
}

#define FRUITLESS_MAX 16 /* with several CPUs each count stops them all */

void x86_vm_wrote(struct x86_cpu *cpu, uint64_t gpa, unsigned len)
{
	struct x86_vm *vm = cpu->vm;
	const struct x86_region *region = x86_vm_region(vm, gpa);
	bool fruitful;

	if (!region)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	if (!(atomic_load(x86_region_lines(region, gpa)) & x86_line_bits(gpa & 0xfff, len)))
		return;
	fruitful = x86_code_drop(cpu, gpa, len);
	for (unsigned i = 0; vm->cpu_count > 1 && i < vm->cpu_count; i++)
		if (vm->cpu[i] && vm->cpu[i] != cpu)
			mail_to(vm, vm->cpu[i], gpa, len);
	if (fruitful)
		cpu->code->fruitless = 0;
	else if (++cpu->code->fruitless >= (vm->cpu_count == 1 ? 1 : FRUITLESS_MAX)) {
		cpu->code->fruitless = 0;
		recount_lines(cpu, region, gpa);
	}
}

void x86_vm_written(struct x86_vm *vm, uint64_t gpa, uint64_t len)
{
	atomic_thread_fence(memory_order_seq_cst);
	while (len) {
		const struct x86_region *region = x86_vm_region(vm, gpa);
		uint64_t piece = PAGE_SIZE - (gpa & 0xfff);

		if (piece > len)
			piece = len;
		if (region && (atomic_load(x86_region_lines(region, gpa)) &
			       x86_line_bits(gpa & 0xfff, (unsigned)piece)))
			for (unsigned i = 0; i < vm->cpu_count; i++)
				if (vm->cpu[i])
					mail_to(vm, vm->cpu[i], gpa, piece);
		gpa += piece;
		len -= piece;
	}
}

void x86_vm_enter(struct x86_cpu *cpu)
{
	struct x86_vm *vm = cpu->vm;

	pthread_mutex_lock(&vm->lock);
	while (vm->exclusive)
		pthread_cond_wait(&vm->changed, &vm->lock);
	vm->running++;
	pthread_mutex_unlock(&vm->lock);
}

void x86_vm_leave(struct x86_cpu *cpu)
{
	struct x86_vm *vm = cpu->vm;

	pthread_mutex_lock(&vm->lock);
	vm->running--;
	if (vm->exclusive)
		pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

void x86_vm_park(struct x86_cpu *cpu)
{
	atomic_fetch_and(&cpu->attention, ~(uint32_t)ATTENTION_PARK);
	x86_vm_leave(cpu);
	x86_vm_enter(cpu);
}

void x86_vm_exclusive_begin(struct x86_cpu *cpu)
{
	struct x86_vm *vm = cpu->vm;

	if (vm->cpu_count == 1)
		return;
	pthread_mutex_lock(&vm->lock);
	vm->running--; /* as good as parked while another one is alone */
	while (vm->exclusive) {
		pthread_cond_broadcast(&vm->changed);
		pthread_cond_wait(&vm->changed, &vm->lock);
	}
	vm->exclusive = true;
	for (unsigned i = 0; i < vm->cpu_count; i++)
		if (vm->cpu[i] && vm->cpu[i] != cpu)
			atomic_fetch_or(&vm->cpu[i]->attention, ATTENTION_PARK);
	while (vm->running)
		pthread_cond_wait(&vm->changed, &vm->lock);
	vm->running = 1;
	pthread_mutex_unlock(&vm->lock);
}

void x86_vm_exclusive_end(struct x86_cpu *cpu)
{
	struct x86_vm *vm = cpu->vm;

	if (vm->cpu_count == 1)
		return;
	pthread_mutex_lock(&vm->lock);
	vm->exclusive = false;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}
