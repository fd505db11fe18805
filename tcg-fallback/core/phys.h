/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's inside of a VM: guest-physical memory, which lines of it hold decoded code, and how CPUs stop
 * one another.
 *
 * Code lines. Each page of RAM has a word with one bit for each 64-byte line of which some CPU holds decoded
 * code. A CPU that is about to decode sets the bits, then reads the bytes; a writer stores, then looks at the
 * bits. Both are sequentially consistent, so either the decoder sees the new bytes or the writer sees the bit
 * and posts ATTENTION_CODE. The first bit of a page is set while every other CPU is parked, since their
 * inline write tags for that page must go (x86_tlb_revoke_write). The posting follows the store: a CPU that
 * learns of the store through memory also sees the request.
 */
#pragma once

#include <pthread.h>

#include "tcg-fallback/core/vm.h"

struct x86_region {
	uint64_t gpa, size_bytes;
	uint8_t *hva;
	bool read_only;
	_Atomic uint64_t *code_lines; /* a word a page */
	_Atomic uint64_t *written;    /* a bit a page, while writes are logged; else NULL */
	uint32_t *code_pages;         /* for each 512 pages: how many words are not 0; changed when alone */
};

#define X86_MAILBOX_MAX 32 /* writes to code between two looks; more of them flush the whole cache */

struct x86_mail {
	uint64_t gpa, len;
};

/* What other threads leave for a CPU. */
struct x86_mailbox {
	pthread_mutex_t lock; /* innermost; protects the rest */
	struct x86_mail mail[X86_MAILBOX_MAX];
	unsigned count;
	bool overflow;
	_Atomic unsigned sipi; /* 0x100 | vector: a start-up request */
};

struct x86_vm {
	const struct x86_host *host;
	unsigned cpu_count;
	struct x86_jit_config jit;
	struct x86_trace *trace; /* owned; NULL: nothing is traced */
	_Atomic uint64_t a20_mask;
	bool tsc_native; /* the guest's TSC follows the host's, else the monotonic clock */
	uint64_t pvclock_counter,
		pvclock_ns; /* the paravirtual clock was pvclock_ns at that count (clock.c) */
	struct x86_region region[X86_VM_REGIONS_MAX]; /* sorted by gpa */
	unsigned region_count;
	bool logs_writes;     /* write_log.c; changes only while no CPU runs */
	pthread_mutex_t lock; /* protects what follows; taken before a mailbox's lock */
	pthread_cond_t changed;
	bool exclusive;   /* a CPU is alone, or waits until it is */
	unsigned running; /* CPUs inside x86_cpu_run that are not parked */
	struct x86_cpu *cpu[X86_VM_CPUS_MAX];
	struct x86_mailbox *mailbox; /* one a CPU */
};

/* The count that every CPU's TSC is made from: of the host's TSC, or of nanoseconds. clock.c */
uint64_t x86_clock_counter(const struct x86_vm *vm);
/* The CPU's TSC at such a count. */
uint64_t x86_clock_tsc_at(const struct x86_cpu *cpu, uint64_t count);

/* The region that holds gpa, or NULL. */
const struct x86_region *x86_vm_region(const struct x86_vm *vm, uint64_t gpa);

/* The word of code lines of a page of RAM or ROM. */
static inline _Atomic uint64_t *x86_region_lines(const struct x86_region *region, uint64_t gpa)
{
	return &region->code_lines[(gpa - region->gpa) >> 12];
}

/* The page is written, or may be from now on without the slow path. */
static inline void x86_region_note_write(const struct x86_region *region, uint64_t gpa)
{
	uint64_t page = (gpa - region->gpa) >> 12;

	if (region->written)
		atomic_fetch_or_explicit(&region->written[page / 64], 1ull << (page % 64),
					 memory_order_relaxed);
}

/* write_log.c: one region's log, for who maps it; all: as if every page had been written. */
int x86_region_log_start(struct x86_region *region);
void x86_region_log_stop(struct x86_region *region);
void x86_region_log_all(struct x86_region *region);

/*
 * Cuts [*first, *last], guest-physical and within the region, to the pages around gpa that hold no code;
 * false: its own page does. The CPU is running.
 */
bool x86_region_cut_at_code(const struct x86_region *region, uint64_t gpa, uint64_t *first, uint64_t *last);

/* Bits of the lines that [offset, offset + len) of a page touches; len >= 1, within the page. */
static inline uint64_t x86_line_bits(unsigned offset, unsigned len)
{
	unsigned first = offset >> 6, last = (offset + len - 1) >> 6;

	return (~(uint64_t)0 >> (63 - last)) & (~(uint64_t)0 << first);
}

/*
 * Marks [gpa, gpa + len) as about to be decoded by this CPU; within a page. Before the bytes are read. True
 * when other CPUs were stopped for it: while this one waited, marks that it had set on other pages, for code
 * that it has not listed yet, may have been taken away.
 */
bool x86_vm_mark_code(struct x86_cpu *cpu, uint64_t gpa, unsigned len);
/* A CPU has stored to [gpa, gpa + len), within a page of RAM: drops what was decoded of it, here and on other
 * CPUs. */
void x86_vm_wrote(struct x86_cpu *cpu, uint64_t gpa, unsigned len);

/* A CPU's part in the VM's clock: only running CPUs touch guest memory. */
void x86_vm_enter(struct x86_cpu *cpu);
void x86_vm_leave(struct x86_cpu *cpu);
/* ATTENTION_PARK: waits until the other one is done. */
void x86_vm_park(struct x86_cpu *cpu);
/* Alone: every other CPU is parked or not running. The CPU itself must be running. Does not nest, must not
 * raise inside. */
void x86_vm_exclusive_begin(struct x86_cpu *cpu);
void x86_vm_exclusive_end(struct x86_cpu *cpu);

/* Takes the CPU's mail and drops the code it names. */
void x86_vm_read_mail(struct x86_cpu *cpu);
