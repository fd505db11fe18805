/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More CPUs in 64-bit payloads: start_cpus() brings the others from the start-up IPI into long mode with the
 * first one's tables; each then calls cpu_main(number) on a stack of its own. Intel SDM vol. 3, 8.4.4
 * and 9.8.5.
 */
#pragma once

#include "tests/guest/apic.h"

#define TRAMPOLINE 0x8000u
#define CPUS_MAX   4u

void cpu_main(unsigned number);

extern uint8_t trampoline[], trampoline_end[];
uint8_t cpu_stack[CPUS_MAX][8192] __attribute__((aligned(16)));
static volatile uint32_t cpus_started;

/* 16-bit entry at 0800:0000, at once to long mode with paging, then the 64-bit code below. */
__asm__(".code16\n"
	"trampoline: cli; mov %cs, %ax; mov %ax, %ds\n"
	"lgdtl trampoline_gdtr - trampoline\n"
	"mov $0x620, %eax; mov %eax, %cr4\n"
	"mov $boot_pml4, %eax; mov %eax, %cr3\n"
	"mov $0xc0000080, %ecx; rdmsr; or $0x901, %eax; wrmsr\n"
	"mov $0x80010033, %eax; mov %eax, %cr0\n"
	"ljmpl $8, $cpu_entry\n"
	".align 8\n"
	"trampoline_gdtr: .word 511; .long gdt\n"
	"trampoline_end:\n"
	".code64\n"
	"cpu_entry: mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss; mov %eax, %fs; mov %eax, "
	"%gs\n"
	"mov $1, %edi; lock xadd %edi, cpus_counted(%rip)\n"
	"mov %edi, %eax; inc %eax; shl $13, %eax; lea cpu_stack(%rip), %rsp; add %rax, %rsp\n"
	"and $-16, %rsp; call cpu_entry_c; 1: hlt; jmp 1b\n");
uint32_t cpus_counted = 1; /* numbers are given out from 1 */

void cpu_entry_c(unsigned number);
void cpu_entry_c(unsigned number)
{
	tables_load();
	apic_enable();
	__atomic_fetch_add(&cpus_started, 1, __ATOMIC_SEQ_CST);
	cpu_main(number);
}

/* Starts all others, and waits until there are `others` of them. */
static void start_cpus(unsigned others)
{
	memcpy((void *)(uintptr_t)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	apic_enable();
	apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | ICR_INIT);
	ipi_wait();
	for (unsigned i = 0; i < 100000; i++)
		inb(0x80);
	apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | ICR_STARTUP | TRAMPOLINE >> 12);
	ipi_wait();
	while (__atomic_load_n(&cpus_started, __ATOMIC_ACQUIRE) < others)
		__asm__ volatile("pause");
}

/* Everybody waits for everybody. */
static inline void cpu_barrier(volatile uint32_t *count, unsigned cpus)
{
	uint32_t round = *count / cpus;

	__atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST);
	while (*count / cpus == round)
		__asm__ volatile("pause");
}
