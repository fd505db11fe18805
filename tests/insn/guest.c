/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs an experiment on the built-in engine: a guest without a kernel, whose page tables put the experiment's
 * pages where the host has them, whose selectors are Linux's, and whose interrupt gates lead to one HLT a
 * vector. The exception that ends the experiment is delivered like any other; its frame on the ring-0 stack
 * is read as the result.
 */
#include "tests/insn/guest.h"

#include <stdio.h>
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tcg-fallback/core/vm.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/xsave.h"
#include "tests/unit/jit_env.h"

/* Guest-physical layout. */
#define GPA_PML4     0x1000u
#define GPA_PDPT     0x2000u
#define GPA_PD       0x3000u
#define GPA_PT       0x4000u /* data and read-only page */
#define GPA_PT_CODE  0x5000u
#define GPA_PDPT_SYS 0x6000u
#define GPA_PD_SYS   0x7000u
#define GPA_PT_SYS   0x8000u
#define GPA_SYSTEM   0x9000u /* 4 pages: GDT and TSS, IDT, handlers, stack */
#define GPA_DATA     0x10000u
#define GPA_RO       0x20000u
#define GPA_CODE     0x30000u
#define RAM_SIZE     0x40000u

/* The supervisor's pages, in the upper half as a kernel's. */
#define SYSTEM   0xffff800000000000u
#define GDT      SYSTEM
#define TSS      (SYSTEM + 0x800)
#define IDT      (SYSTEM + 0x1000)
#define HANDLERS (SYSTEM + 0x2000)
#define STACK    (SYSTEM + 0x4000)

#define PTE_P  1u
#define PTE_W  2u
#define PTE_U  4u
#define PTE_A  0x20u
#define PTE_D  0x40u
#define PTE_NX (1ull << 63)

#define KERNEL_CS    0x10u
#define USER_CS_32   0x23u
#define USER_DS      0x2bu
#define USER_CS      0x33u
#define CPU_NUMBER   0x78u
#define TSS_SELECTOR 0x40u
#define TSS_SIZE     0x68u
#define TSS_IO_BASE  0x66u

#define MXCSR_MASK_OFFSET 28u
#define XSTATE_BV_OFFSET  512u
#define XSTATE_FP_SSE     3u
#define CPUID_LEAVES_MAX  64u

struct guest {
	struct x86_host host;
	struct x86_vm *vm;
	struct x86_cpu *cpu;
	uint8_t *ram;
	uint8_t xsave[X86_XSAVE_MAX] __attribute__((aligned(64)));
	struct x86_cpuid_leaf leaf[CPUID_LEAVES_MAX];
	size_t leaf_count;
};

static void put64(struct guest *guest, uint32_t gpa, uint64_t value)
{
	memcpy(guest->ram + gpa, &value, sizeof(value));
}

static void map_page(struct guest *guest, uint32_t table, uint64_t gva, uint32_t gpa, uint64_t bits)
{
	put64(guest, table + 8 * (gva >> 12 & 511), gpa | bits | PTE_P | PTE_A | PTE_D);
}

static void make_page_tables(struct guest *guest)
{
	const uint64_t table = PTE_P | PTE_W | PTE_U | PTE_A;

	put64(guest, GPA_PML4, GPA_PDPT | table);
	put64(guest, GPA_PML4 + 8 * 256, GPA_PDPT_SYS | table);
	put64(guest, GPA_PDPT, GPA_PD | table);
	put64(guest, GPA_PD + 8 * (ORACLE_DATA >> 21), GPA_PT | table);
	put64(guest, GPA_PD + 8 * (ORACLE_CODE >> 21), GPA_PT_CODE | table);
	put64(guest, GPA_PDPT_SYS, GPA_PD_SYS | table);
	put64(guest, GPA_PD_SYS, GPA_PT_SYS | table);
	for (uint32_t at = 0; at < ORACLE_DATA_SIZE; at += ORACLE_PAGE)
		map_page(guest, GPA_PT, ORACLE_DATA + at, GPA_DATA + at, PTE_W | PTE_U | PTE_NX);
	map_page(guest, GPA_PT, ORACLE_RO, GPA_RO, PTE_U | PTE_NX);
	/* Writable as on the host, where the experiment's bytes are put into the page in place. */
	for (uint32_t at = 0; at < ORACLE_CODE_SIZE; at += ORACLE_PAGE)
		map_page(guest, GPA_PT_CODE, ORACLE_CODE + at, GPA_CODE + at, PTE_W | PTE_U);
	for (uint32_t at = 0; at < 4 * ORACLE_PAGE; at += ORACLE_PAGE)
		map_page(guest, GPA_PT_SYS, SYSTEM + at, GPA_SYSTEM + at, PTE_W);
}

static void make_descriptors(struct guest *guest)
{
	const uint64_t tss = TSS;
	uint8_t *rsp0 = guest->ram + GPA_SYSTEM + 0x800 + 4;
	const uint64_t stack = STACK;

	put64(guest, GPA_SYSTEM + KERNEL_CS, 0x00af9b000000ffffull);
	put64(guest, GPA_SYSTEM + (USER_CS_32 & ~7u), 0x00cffb000000ffffull);
	put64(guest, GPA_SYSTEM + (USER_DS & ~7u), 0x00cff3000000ffffull);
	put64(guest, GPA_SYSTEM + (USER_CS & ~7u), 0x00affb000000ffffull);
	put64(guest, GPA_SYSTEM + CPU_NUMBER,
	      0x0040f50000000000ull); /* Linux keeps the CPU's number in its limit */
	put64(guest, GPA_SYSTEM + TSS_SELECTOR,
	      0x00008b0000000000ull | (TSS_SIZE - 1) | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56);
	put64(guest, GPA_SYSTEM + TSS_SELECTOR + 8, tss >> 32);
	memcpy(rsp0, &stack, sizeof(stack));
	guest->ram[GPA_SYSTEM + 0x800 + TSS_IO_BASE] = TSS_SIZE; /* no ports */
	for (unsigned vector = 0; vector < 256; vector++) {
		const uint64_t handler = HANDLERS + vector;
		const uint64_t type = vector == 3 || vector == 4 ? 0xee00 : 0x8e00;

		put64(guest, GPA_SYSTEM + 0x1000 + 16 * vector,
		      (handler & 0xffff) | KERNEL_CS << 16 | type << 32 | (handler >> 16 & 0xffff) << 48);
		put64(guest, GPA_SYSTEM + 0x1000 + 16 * vector + 8, handler >> 32);
		guest->ram[GPA_SYSTEM + 0x2000 + vector] = 0xf4;
	}
}

static struct x86_segment flat_segment(uint16_t selector, uint16_t attributes)
{
	return (struct x86_segment){
		.limit = 0xffffffff, .selector = selector, .attributes = attributes, .usable = true};
}

static void load_system_registers(struct x86_cpu *cpu)
{
	cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE;
	cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	cpu->cr3 = GPA_PML4;
	cpu->xcr0 = x86_has(cpu, X86_FEATURE_AVX512F) ? 0xe7 : x86_has(cpu, X86_FEATURE_AVX) ? 7 : 3;
	cpu->gdtr.base = GDT;
	cpu->gdtr.limit = 0x7f;
	cpu->idtr.base = IDT;
	cpu->idtr.limit = 0xfff;
	cpu->seg[SEG_LDTR] = (struct x86_segment){.usable = false};
	cpu->seg[SEG_TR] = (struct x86_segment){
		.base = TSS,
		.limit = TSS_SIZE - 1,
		.selector = TSS_SELECTOR,
		.attributes = 0x8b,
		.usable = true,
	};
}

/* User mode with Linux's selectors. */
static void load_user_segments(struct x86_cpu *cpu, const struct oracle_case *test)
{
	const bool wide = test->bits == 64;

	cpu->seg[SEG_CS] = wide ? flat_segment(USER_CS, 0xa0fb) : flat_segment(USER_CS_32, 0xc0fb);
	cpu->seg[SEG_SS] = cpu->seg[SEG_DS] = cpu->seg[SEG_ES] = flat_segment(USER_DS, 0xc0f3);
	cpu->seg[SEG_FS] = cpu->seg[SEG_GS] = (struct x86_segment){.usable = false};
	cpu->seg[SEG_FS].base = wide ? test->state.fs_base : 0;
	cpu->seg[SEG_GS].base = wide ? test->state.gs_base : 0;
	cpu->cpl = 3;
}

/* Instructions are only looked at again when they changed: that is what the code cache is for. */
static void place_code(struct guest *guest, const struct oracle_case *test)
{
	const uint32_t gpa = GPA_CODE + (uint32_t)(test->state.rip - ORACLE_CODE);

	if (!memcmp(guest->ram + gpa, test->code, test->code_size))
		return;
	memcpy(guest->ram + gpa, test->code, test->code_size);
	x86_vm_written(guest->vm, gpa, test->code_size);
}

static void load_state(struct guest *guest, const struct oracle_case *test)
{
	struct x86_cpu *cpu = guest->cpu;
	const uint64_t components = XSTATE_FP_SSE;

	memcpy(cpu->r, test->state.r, 16 * sizeof(cpu->r[0]));
	cpu->rip = test->state.rip;
	load_user_segments(cpu, test);
	memcpy(guest->xsave, &test->state.fx, offsetof(struct oracle_fx, rest));
	memcpy(guest->xsave + XSTATE_BV_OFFSET, &components, sizeof(components));
	x86_xsave_load(cpu, guest->xsave);
	for (unsigned i = 0; i < 16; i++)
		memcpy(cpu->zmm[i].b + 16, test->state.ymm[i], 16);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(cpu->zmm[i].b + 32, test->state.zmm_high[i], 32);
		memcpy(cpu->zmm[16 + i].b, test->state.zmm_more[i], 64);
	}
	memcpy(cpu->k, test->state.k, sizeof(cpu->k));
	x86_eflags_set(cpu, (uint32_t)test->state.rflags | FLAG_ONE | (test->step ? FLAG_TF : 0), UINT32_MAX);
	cpu->halted = false;
	cpu->cr2 = 0;
	x86_mode_changed(cpu);
}

static bool has_error_code(uint8_t vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

static void store_result(struct guest *guest, const struct oracle_case *test, struct oracle_result *result)
{
	struct x86_cpu *cpu = guest->cpu;
	uint64_t frame[6];
	const unsigned words = has_error_code(result->vector) ? 6 : 5;
	const uint64_t *rip = frame + words - 5;

	memcpy(frame, guest->ram + GPA_SYSTEM + 4 * ORACLE_PAGE - 8 * words, 8 * words);
	memcpy(result->state.r, cpu->r, 16 * sizeof(cpu->r[0]));
	result->error = words == 6 ? (uint32_t)frame[0] : 0;
	result->state.rip = rip[0];
	result->state.rflags = rip[2] & ~(uint64_t)(test->step ? FLAG_TF : 0);
	result->state.r[REG_RSP] = rip[3];
	result->cr2 = result->vector == ORACLE_VECTOR_PF ? cpu->cr2 : 0;
	result->state.fs_base = cpu->seg[SEG_FS].base;
	result->state.gs_base = cpu->seg[SEG_GS].base;
	x86_xsave_store(cpu, guest->xsave);
	memcpy(&result->state.fx, guest->xsave, offsetof(struct oracle_fx, rest));
	for (unsigned i = 0; i < 16; i++)
		memcpy(result->state.ymm[i], cpu->zmm[i].b + 16, 16);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(result->state.zmm_high[i], cpu->zmm[i].b + 32, 32);
		memcpy(result->state.zmm_more[i], cpu->zmm[16 + i].b, 64);
	}
	memcpy(result->state.k, cpu->k, sizeof(cpu->k));
	memcpy(result->data, guest->ram + GPA_DATA, ORACLE_DATA_SIZE);
}

void guest_run(struct guest *guest, const struct oracle_case *test, struct oracle_result *result)
{
	enum x86_exit exit;

	memcpy(guest->ram + GPA_DATA, test->data, ORACLE_DATA_SIZE);
	place_code(guest, test);
	load_state(guest, test);
	do
		exit = x86_cpu_run(guest->cpu);
	while (exit == X86_EXIT_KICKED);
	result->vector = (uint8_t)(guest->cpu->rip - HANDLERS - 1);
	if (exit != X86_EXIT_HALTED || guest->cpu->rip - HANDLERS - 1 > 255)
		result->vector = ORACLE_VECTOR_HANG;
	store_result(guest, test, result);
}

static void add_leaf(struct guest *guest, uint32_t leaf, uint32_t subleaf, bool subleaf_matters)
{
	struct x86_cpuid_leaf *to = &guest->leaf[guest->leaf_count];

	*to = (struct x86_cpuid_leaf){.leaf = leaf, .subleaf = subleaf, .subleaf_matters = subleaf_matters};
	if (__get_cpuid_count(leaf, subleaf, &to->eax, &to->ebx, &to->ecx, &to->edx) &&
	    guest->leaf_count + 1 < CPUID_LEAVES_MAX)
		guest->leaf_count++;
}

static void copy_host_leaves(struct guest *guest)
{
	add_leaf(guest, 0, 0, false);
	add_leaf(guest, 1, 0, false);
	add_leaf(guest, 7, 0, true);
	add_leaf(guest, 7, 1, true);
	for (unsigned i = 0; i < 3; i++)
		add_leaf(guest, 0xd, i, true);
	for (uint32_t leaf = 0x80000000; leaf <= 0x80000008; leaf++)
		add_leaf(guest, leaf, 0, false);
}

static uint64_t no_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	return UINT64_MAX;
}

static void no_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
}

static uint64_t no_port_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	return UINT64_MAX;
}

static void no_port_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
}

static int no_interrupt(void *opaque, unsigned cpu)
{
	return -1;
}

static bool no_msr_read(void *opaque, unsigned cpu, uint32_t index, uint64_t *value)
{
	return false;
}

static bool no_msr_write(void *opaque, unsigned cpu, uint32_t index, uint64_t value)
{
	return false;
}

static uint64_t no_cr8_read(void *opaque, unsigned cpu)
{
	return 0;
}

static void no_cr8_write(void *opaque, unsigned cpu, uint64_t value)
{
}

static void no_ferr(void *opaque, unsigned cpu, bool level)
{
}

static const struct x86_host no_host = {
	.mmio_read = no_read,
	.mmio_write = no_write,
	.pio_read = no_port_read,
	.pio_write = no_port_write,
	.intr_acknowledge = no_interrupt,
	.apic_msr_read = no_msr_read,
	.apic_msr_write = no_msr_write,
	.cr8_read = no_cr8_read,
	.cr8_write = no_cr8_write,
	.ferr = no_ferr,
};

struct guest *guest_open(void)
{
	struct guest *guest = aligned_alloc(64, (sizeof(*guest) + 63) & ~(size_t)63);

	if (!guest)
		return NULL;
	memset(guest, 0, sizeof(*guest));
	guest->host = no_host;
	guest->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest->vm = x86_vm_create(1, &guest->host);
	if (guest->ram == MAP_FAILED || !guest->vm || x86_vm_map(guest->vm, 0, RAM_SIZE, guest->ram, false))
		return NULL;
	jit_from_environment(guest->vm);
	copy_host_leaves(guest);
	guest->cpu = x86_cpu_create(guest->vm, 0, guest->leaf, guest->leaf_count);
	if (!guest->cpu)
		return NULL;
	oracle_fill_ro(guest->ram + GPA_RO);
	make_page_tables(guest);
	make_descriptors(guest);
	load_system_registers(guest->cpu);
	return guest;
}

void guest_close(struct guest *guest)
{
	if (getenv("VMMCTL_TEST_JIT"))
		printf("%llu blocks translated, %llu instructions interpreted in them\n",
		       (unsigned long long)jit_counter(guest->vm, "jit_blocks"),
		       (unsigned long long)jit_counter(guest->vm, "jit_calls"));
	x86_cpu_destroy(guest->cpu);
	x86_vm_destroy(guest->vm);
	munmap(guest->ram, RAM_SIZE);
	free(guest);
}

static void *runner_open(void)
{
	return guest_open();
}

static void runner_run(void *self, const struct oracle_case *test, struct oracle_result *result)
{
	guest_run(self, test, result);
}

static void runner_close(void *self)
{
	guest_close(self);
}

const struct oracle_runner oracle_interpreter = {
	.name = "interpreter",
	.open = runner_open,
	.run = runner_run,
	.close = runner_close,
};
