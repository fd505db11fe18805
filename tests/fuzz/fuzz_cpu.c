/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any code in any mode on the built-in engine. One or two CPUs of a guest with 512 KiB of RAM, a
 * ROM and devices that answer everything execute the input in turn on one thread. RAM stands between pages
 * that nobody may touch.
 *
 * A program that ends within the limit of steps is executed twice, instruction by instruction in general
 * forms and in blocks of lowered code, and must leave the same registers and memory. Others are stopped by a
 * timer.
 *
 * Input: struct header, then code. Bytes are used as they are; nothing of the input can make the target
 * itself fail.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tcg-fallback/core/vm.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/jit_env.h"

#define GUARD_SIZE 0x10000u
#define RAM_SIZE   0x80000u
#define ROM_SIZE   0x10000u
#define TABLES     0x70000u /* page tables; not mapped by themselves */
#define CODE_GPA   0x1f80u  /* so that code soon crosses a page */
#define STEPS_MAX  2000u
#define STOP_NS    3000000
#define PTE_BITS   0x67u /* present, writable, user, accessed, dirty */

enum mode { MODE_REAL, MODE_FLAT, MODE_PAGED, MODE_PAE, MODE_LONG, MODES };

enum {
	FLAG_TWO_CPUS = 1,
	FLAG_ANY_TABLE = 2,    /* page-table entries from the input */
	FLAG_ALL_FEATURES = 4, /* also those whose results differ from run to run */
	FLAG_USER = 8,
	FLAG_SPLIT_PAGES = 16, /* neighbours in linear addresses are none in memory */
};

struct header {
	uint8_t mode, flags, count, spare;
	uint32_t eflags;
	uint64_t seed;
	uint64_t entry[2];
};

struct run {
	struct x86_host host;
	struct x86_vm *vm;
	struct x86_cpu *cpu[2];
	unsigned cpu_count;
	uint8_t *mapping, *ram;
	struct header header;
};

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 33) * 0xff51afd7ed558ccdull;
	return value ^ value >> 29;
}

static uint64_t mmio_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	return mix(gpa) >> (64 - 8 * size_bytes);
}

static void mmio_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
}

static uint64_t pio_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	return mix(port) & 0xffffffff;
}

/* The A20 gate is where a PC has it. */
static void pio_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
	struct run *run = opaque;

	if (port == 0x92)
		x86_vm_set_a20(run->vm, value & 2);
}

static int intr_acknowledge(void *opaque, unsigned cpu)
{
	return -1;
}

static bool apic_msr_read(void *opaque, unsigned cpu, uint32_t index, uint64_t *value)
{
	*value = 0;
	return index < 0x900;
}

static bool apic_msr_write(void *opaque, unsigned cpu, uint32_t index, uint64_t value)
{
	return index < 0x900;
}

static uint64_t cr8_read(void *opaque, unsigned cpu)
{
	return 0;
}

static void cr8_write(void *opaque, unsigned cpu, uint64_t value)
{
}

static void ferr(void *opaque, unsigned cpu, bool level)
{
}

static const struct x86_host host_functions = {
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.pio_read = pio_read,
	.pio_write = pio_write,
	.intr_acknowledge = intr_acknowledge,
	.apic_msr_read = apic_msr_read,
	.apic_msr_write = apic_msr_write,
	.cr8_read = cr8_read,
	.cr8_write = cr8_write,
	.ferr = ferr,
};

#define BIT(feature) (1u << ((feature)&31))

/* Without AVX; and, unless asked for, without what depends on time or chance. */
static size_t make_leaves(const struct run *run, struct x86_cpuid_leaf leaf[6])
{
	bool all = run->header.flags & FLAG_ALL_FEATURES;
	uint32_t no_1c = BIT(X86_FEATURE_AVX) | BIT(X86_FEATURE_FMA) | BIT(X86_FEATURE_F16C) |
			 BIT(X86_FEATURE_MONITOR);

	leaf[0] = (struct x86_cpuid_leaf){.leaf = 1,
					  .ecx = ~(no_1c | (all ? 0 : BIT(X86_FEATURE_RDRAND))),
					  .edx = all ? ~0u : ~(BIT(X86_FEATURE_TSC) | BIT(X86_FEATURE_MSR))};
	leaf[1] = (struct x86_cpuid_leaf){.leaf = 7,
					  .ebx = all ? ~BIT(X86_FEATURE_AVX2)
						     : ~(BIT(X86_FEATURE_AVX2) | 1u << 18 /* RDSEED */),
					  .ecx = ~0u};
	leaf[2] = (struct x86_cpuid_leaf){
		.leaf = 0x80000001, .ecx = ~0u, .edx = all ? ~0u : ~(1u << 27) /* RDTSCP */};
	leaf[3] = (struct x86_cpuid_leaf){.leaf = 0x80000008, .eax = 0x3028};
	leaf[4] = (struct x86_cpuid_leaf){
		.leaf = 0xd, .subleaf_matters = true, .eax = 0x203, .ebx = 2696, .ecx = 2696};
	leaf[5] = (struct x86_cpuid_leaf){.leaf = 0xd, .subleaf_matters = true, .subleaf = 1, .eax = 0xf};
	return 6;
}

static void put(struct run *run, uint32_t gpa, uint64_t value, unsigned size)
{
	memcpy(run->ram + gpa, &value, size);
}

static uint64_t page_entry(const struct run *run, unsigned number)
{
	uint64_t gpa = (uint64_t)(run->header.flags & FLAG_SPLIT_PAGES ? number ^ 1 : number) << 12;

	if ((run->header.flags & FLAG_ANY_TABLE) && number < 64 && number % 3 == 2)
		return run->header.entry[number & 1] ^ mix(run->header.seed + number) % (RAM_SIZE >> 12)
							       << 12;
	return gpa | PTE_BITS;
}

/* Linear addresses from 0 are RAM up to the tables, ROM, and beyond it nothing. */
static void make_tables(struct run *run)
{
	unsigned size = run->header.mode == MODE_PAGED ? 4 : 8;

	for (unsigned i = 0; i < TABLES >> 12; i++)
		put(run, TABLES + i * size, page_entry(run, i), size);
	for (unsigned i = RAM_SIZE >> 12; i < (RAM_SIZE + ROM_SIZE + 0x8000) >> 12; i++)
		put(run, TABLES + i * size, (uint64_t)i << 12 | PTE_BITS, size);
	put(run, TABLES + 0x1000, TABLES | PTE_BITS, size);
	put(run, TABLES + 0x2000, (TABLES + 0x1000) | (run->header.mode == MODE_PAE ? 1 : PTE_BITS), 8);
	put(run, TABLES + 0x3000, (TABLES + 0x2000) | PTE_BITS, 8);
}

/* Flat descriptors 8 (code) and 16 (data), and every vector a gate to a HLT. */
static void make_descriptors(struct run *run)
{
	bool wide = run->header.mode == MODE_LONG;

	put(run, 0x608, wide ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull, 8);
	put(run, 0x610, 0x00cf93000000ffffull, 8);
	for (unsigned vector = 0; vector < 32; vector++) {
		put(run, 0x400 + vector * (wide ? 16 : 8), 0x00008e0000080000ull | (0x700 + vector), 8);
		run->ram[0x700 + vector] = 0xf4;
	}
}

static void enter_protected(struct run *run, struct x86_cpu *cpu)
{
	static const uint32_t cr0[MODES] = {
		[MODE_FLAT] = 0, [MODE_PAGED] = CR0_PG, [MODE_PAE] = CR0_PG, [MODE_LONG] = CR0_PG};
	enum mode mode = run->header.mode;
	unsigned dpl = run->header.flags & FLAG_USER ? 0x60 : 0;

	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
		cpu->seg[seg] = (struct x86_segment){.limit = UINT32_MAX,
						     .selector = 0x10,
						     .attributes = (uint16_t)(0xc093 | dpl),
						     .usable = true};
	cpu->seg[SEG_CS].attributes = (uint16_t)((mode == MODE_LONG ? 0xa09b : 0xc09b) | dpl);
	cpu->seg[SEG_CS].selector = 8;
	cpu->cpl = dpl ? 3 : 0;
	cpu->cr0 |= CR0_PE | cr0[mode];
	cpu->cr4 = (mode >= MODE_PAE ? CR4_PAE : CR4_PSE) | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	cpu->cr3 = mode == MODE_LONG ? TABLES + 0x3000 : mode == MODE_PAE ? TABLES + 0x2000 : TABLES + 0x1000;
	cpu->xcr0 = 3;
	if (mode == MODE_PAE)
		cpu->pdptr[0] = (TABLES + 0x1000) | 1;
	if (mode == MODE_LONG)
		cpu->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	cpu->gdtr.base = 0x600;
	cpu->gdtr.limit = 0x17;
	cpu->idtr.base = 0x400;
	cpu->idtr.limit = 0x1ff;
}

static void start_cpu(struct run *run, struct x86_cpu *cpu)
{
	x86_cpu_reset(cpu, false);
	cpu->wait_for_sipi = false;
	cpu->cr0 &= ~(uint64_t)(CR0_CD | CR0_NW);
	cpu->seg[SEG_CS].base = cpu->seg[SEG_CS].selector = 0;
	cpu->rip = CODE_GPA;
	for (unsigned i = 0; i < 16; i++) {
		uint64_t random = mix(run->header.seed + i);

		cpu->r[i] = random % 3 ? random % RAM_SIZE : random;
	}
	cpu->r[REG_RSP] = 0x6ff0;
	if (run->header.mode != MODE_REAL)
		enter_protected(run, cpu);
	x86_eflags_set(cpu, run->header.eflags, FLAGS_STATUS | FLAG_DF | FLAG_AC | FLAG_TF);
	x86_mode_changed(cpu);
	x86_tlb_flush_all(cpu);
}

/* What lies before RAM, between RAM and ROM, and after, is no memory. */
static void map_memory(struct run *run)
{
	run->mapping = mmap(NULL, 3 * GUARD_SIZE + RAM_SIZE + ROM_SIZE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	run->ram = run->mapping + GUARD_SIZE;
	if (run->mapping == MAP_FAILED || mprotect(run->ram, RAM_SIZE, PROT_READ | PROT_WRITE) ||
	    mprotect(run->ram + RAM_SIZE + GUARD_SIZE, ROM_SIZE, PROT_READ) ||
	    x86_vm_map(run->vm, 0, RAM_SIZE, run->ram, false) ||
	    x86_vm_map(run->vm, RAM_SIZE, ROM_SIZE, run->ram + RAM_SIZE + GUARD_SIZE, true))
		abort();
}

static void run_create(struct run *run, const struct header *header, const uint8_t *code, size_t len)
{
	struct x86_cpuid_leaf leaf[6];
	size_t leaves;

	*run = (struct run){.header = *header,
			    .host = host_functions,
			    .cpu_count = header->flags & FLAG_TWO_CPUS ? 2 : 1};
	run->host.opaque = run;
	run->header.mode %= MODES;
	run->vm = x86_vm_create(run->cpu_count, &run->host);
	jit_from_environment(run->vm);
	map_memory(run);
	make_tables(run);
	make_descriptors(run);
	memcpy(run->ram + CODE_GPA, code, len < 0x4000 ? len : 0x4000);
	leaves = make_leaves(run, leaf);
	for (unsigned i = 0; i < run->cpu_count; i++) {
		run->cpu[i] = x86_cpu_create(run->vm, i, leaf, leaves);
		start_cpu(run, run->cpu[i]);
	}
}

static void run_destroy(struct run *run)
{
	for (unsigned i = 0; i < run->cpu_count; i++)
		x86_cpu_destroy(run->cpu[i]);
	x86_vm_destroy(run->vm);
	munmap(run->mapping, 3 * GUARD_SIZE + RAM_SIZE + ROM_SIZE);
}

/* Stops a CPU that would go on for ever, be it in one instruction. */
struct stopper {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool over;
	_Atomic bool fired;
	struct x86_cpu *cpu;
	pthread_t thread;
};

static void *stopper_main(void *opaque)
{
	struct stopper *stopper = opaque;
	struct timespec when;
	int waited = 0;

	clock_gettime(CLOCK_REALTIME, &when);
	when.tv_nsec += STOP_NS;
	when.tv_sec += when.tv_nsec / 1000000000;
	when.tv_nsec %= 1000000000;
	pthread_mutex_lock(&stopper->lock);
	while (!stopper->over && !waited)
		waited = pthread_cond_timedwait(&stopper->changed, &stopper->lock, &when);
	if (!stopper->over) {
		atomic_store(&stopper->fired, true);
		x86_cpu_post(stopper->cpu, ATTENTION_KICK);
	}
	pthread_mutex_unlock(&stopper->lock);
	return NULL;
}

static void stopper_start(struct stopper *stopper, struct x86_cpu *cpu)
{
	*stopper = (struct stopper){.cpu = cpu};
	pthread_mutex_init(&stopper->lock, NULL);
	pthread_cond_init(&stopper->changed, NULL);
	if (pthread_create(&stopper->thread, NULL, stopper_main, stopper))
		abort();
}

static void stopper_end(struct stopper *stopper)
{
	pthread_mutex_lock(&stopper->lock);
	stopper->over = true;
	pthread_cond_signal(&stopper->changed);
	pthread_mutex_unlock(&stopper->lock);
	pthread_join(stopper->thread, NULL);
	pthread_cond_destroy(&stopper->changed);
	pthread_mutex_destroy(&stopper->lock);
}

/* True: the CPU has come to an end (HLT or triple fault). */
static bool cpu_steps(struct x86_cpu *cpu)
{
	struct stopper stopper;
	bool ended = false;

	stopper_start(&stopper, cpu);
	for (unsigned step = 0; step < STEPS_MAX && !ended && !atomic_load(&stopper.fired); step++)
		ended = x86_cpu_step(cpu) != X86_EXIT_KICKED;
	stopper_end(&stopper);
	return ended && !atomic_load(&stopper.fired);
}

static bool run_steps(struct run *run)
{
	bool ended = true;

	for (unsigned i = 0; i < run->cpu_count; i++)
		ended &= cpu_steps(run->cpu[i]);
	return ended;
}

static void run_blocks(struct run *run, bool ends)
{
	for (unsigned i = 0; i < run->cpu_count; i++) {
		struct stopper stopper;

		if (!ends)
			stopper_start(&stopper, run->cpu[i]);
		x86_cpu_run(run->cpu[i]);
		if (!ends)
			stopper_end(&stopper);
	}
}

static void differ(const char *what, unsigned number, uint64_t stepped, uint64_t blocks)
{
	fprintf(stderr, "%s %u: %#llx stepped, %#llx in blocks\n", what, number, (unsigned long long)stepped,
		(unsigned long long)blocks);
	abort();
}

static void compare(const struct run *stepped, const struct run *blocks)
{
	struct x86_cpu *a = stepped->cpu[0], *b = blocks->cpu[0];

	if (a->rip != b->rip)
		differ("RIP", 0, a->rip, b->rip);
	for (unsigned i = 0; i < 16; i++)
		if (a->r[i] != b->r[i])
			differ("register", i, a->r[i], b->r[i]);
	if (x86_eflags_get(a) != x86_eflags_get(b))
		differ("EFLAGS", 0, x86_eflags_get(a), x86_eflags_get(b));
	for (unsigned i = 0; i < 16; i++)
		if (memcmp(a->zmm[i].b, b->zmm[i].b, 16))
			differ("XMM", i, a->zmm[i].q[0], b->zmm[i].q[0]);
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		if (a->seg[i].base != b->seg[i].base)
			differ("segment base", i, a->seg[i].base, b->seg[i].base);
	for (unsigned i = 0; i < TABLES; i++)
		if (stepped->ram[i] != blocks->ram[i])
			differ("byte of RAM", i, stepped->ram[i], blocks->ram[i]);
}

/* Paging as it was at the start: tables that the guest makes itself may be cached differently. */
static bool comparable(const struct run *run)
{
	const struct x86_cpu *cpu = run->cpu[0];

	return run->cpu_count == 1 && !(run->header.flags & (FLAG_ALL_FEATURES | FLAG_ANY_TABLE)) &&
	       (run->header.mode >= MODE_PAGED || !(cpu->cr0 & CR0_PG)) &&
	       (run->header.mode < MODE_PAGED || ((cpu->cr0 & CR0_PG) && (cpu->cr3 & ~0xfffull) >= TABLES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run stepped, blocks;
	struct header header;
	bool ends;

	if (size <= sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	run_create(&stepped, &header, data + sizeof(header), size - sizeof(header));
	run_create(&blocks, &header, data + sizeof(header), size - sizeof(header));
	ends = run_steps(&stepped);
	run_blocks(&blocks, ends && comparable(&stepped));
	if (ends && comparable(&stepped))
		compare(&stepped, &blocks);
	run_destroy(&stepped);
	run_destroy(&blocks);
	return 0;
}
