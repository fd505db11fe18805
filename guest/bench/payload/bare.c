/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that time a CPU's system side: interrupts, faults, system calls, address spaces, and accesses that
 * leave the guest. */
#include "guest/bench/payload/payload.h"

#define MSR_STAR  0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_FMASK 0xc0000084u

#define TSS_SELECTOR 0x28u
#define GATE_KERNEL  0x8eu
#define GATE_USER    0xeeu

extern uint8_t entry_return[], entry_fault[], entry_syscall[], entry_leave_user[], entry_unexpected[];
extern uint8_t trap_stack_top[], other_pml4[], boot_pml4[];
extern uint64_t gdt[], window_pt[512], boot_pd[2048];
void user_run(uint64_t n);

static uint64_t idt[512] __attribute__((aligned(16)));
static uint8_t tss[104] __attribute__((aligned(128)));

static void bare_gate(unsigned vector, const uint8_t *entry, uint8_t access)
{
	uint64_t address = (uintptr_t)entry;

	idt[2 * vector] =
		(address & 0xffff) | 0x08u << 16 | (uint64_t)access << 40 | (address >> 16 & 0xffff) << 48;
	idt[2 * vector + 1] = address >> 32;
}

static void bare_load_tables(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) table = {sizeof(idt) - 1, (uintptr_t)idt};
	uint64_t base = (uintptr_t)tss, stack = (uintptr_t)trap_stack_top;

	__asm__ volatile("lidt %0" : : "m"(table));
	for (unsigned i = 0; i < 8; i++)
		tss[4 + i] = (uint8_t)(stack >> 8 * i);
	tss[102] = sizeof(tss); /* no I/O permission map */
	gdt[5] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	gdt[6] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
}

void bare_init(void)
{
	for (unsigned vector = 0; vector < 256; vector++)
		bare_gate(vector, entry_unexpected, GATE_KERNEL);
	bare_gate(14, entry_fault, GATE_KERNEL);
	bare_gate(0x41, entry_leave_user, GATE_USER);
	bare_gate(0x42, entry_return, GATE_KERNEL);
	bare_load_tables();
	wrmsr(MSR_STAR, 0x10ull << 48 | 0x08ull << 32);
	wrmsr(MSR_LSTAR, (uintptr_t)entry_syscall);
	wrmsr(MSR_FMASK, 0);
	for (unsigned i = 0; i < WINDOW_PAGES; i++)
		window_pt[i] = (WINDOW + 4096ull * i) | 7;
	boot_pd[WINDOW >> 21] = (uintptr_t)window_pt | 7;
}

static void bare_load_cr3(const uint8_t *pml4)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
}

static void bare_interrupt(struct bench_room *room, uint64_t n)
{
	(void)room;
	for (uint64_t i = 0; i < n; i++)
		__asm__ volatile("int $0x42" : : : "memory");
}

static void bare_syscall(struct bench_room *room, uint64_t n)
{
	(void)room;
	__asm__ volatile("call user_run"
			 : "+D"(n)
			 :
			 : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
}

/* Every page of the window is absent, faults, and is made present. */
static void bare_fault(struct bench_room *room, uint64_t n)
{
	while (n) {
		uint64_t pages = n < WINDOW_PAGES ? n : WINDOW_PAGES;

		for (uint64_t i = 0; i < pages; i++)
			window_pt[i] &= ~1ull;
		bare_load_cr3(boot_pml4);
		for (uint64_t i = 0; i < pages; i++)
			room->sink += *(volatile uint8_t *)(uintptr_t)(WINDOW + 4096 * i);
		n -= pages;
	}
}

/* Two address spaces in turn, and eight pages of each. */
static void bare_switch(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		bare_load_cr3(i & 1 ? boot_pml4 : other_pml4);
		for (unsigned page = 0; page < 8; page++)
			room->sink += *(volatile uint8_t *)(uintptr_t)(WINDOW + 4096 * page);
	}
	bare_load_cr3(boot_pml4);
}

static void bare_invlpg(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *page = (const uint8_t *)(uintptr_t)(WINDOW + 4096 * (i % WINDOW_PAGES));

		__asm__ volatile("invlpg %0" : : "m"(*page) : "memory");
		room->sink += *(const volatile uint8_t *)page;
	}
}

static void bare_cpuid(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint32_t eax = 0, ebx, ecx = 0, edx;

		__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
		room->sink += eax;
	}
}

static void bare_port(struct bench_room *room, uint64_t n)
{
	(void)room;
	for (uint64_t i = 0; i < n; i++)
		outb(POST_PORT, (uint8_t)i);
}

static void bare_mmio(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		room->sink += *(volatile uint32_t *)(uintptr_t)APIC_ID;
}

const struct bench_kernel bare_kernels[] = {
	{"cpu-interrupt", "INT and IRET", NULL, bare_interrupt},
	{"cpu-syscall", "SYSCALL and SYSRET", NULL, bare_syscall},
	{"cpu-fault", "fault", NULL, bare_fault},
	{"cpu-switch", "CR3 and 8 pages", NULL, bare_switch},
	{"cpu-invlpg", "page", NULL, bare_invlpg},
	{"cpu-cpuid", "CPUID", NULL, bare_cpuid},
	{"io-port", "write", NULL, bare_port},
	{"io-apic-read", "read", NULL, bare_mmio},
};
const unsigned bare_kernel_count = sizeof(bare_kernels) / sizeof(bare_kernels[0]);
