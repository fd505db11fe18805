/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several CPUs: INIT and start-up IPIs, what a started CPU finds, locked operations on shared memory,
 * interrupts from one to another, and translations that change under it. Run with two CPUs. Intel SDM vol.
 * 3, 8.4 and 8.1.
 */
#include "tests/guest/apic.h"

#define TRAMPOLINE 0x8000u
#define ROUNDS     20000u

/* 16-bit entry at 0800:0000; notes its state, then goes to 32 bits with the tables of the first CPU. */
extern uint8_t trampoline[], trampoline_end[];
__asm__(".code16\n"
	"trampoline: cli; mov %cs, %ax; mov %ax, %ds\n"
	"mov %cs, %es:0x7000; smsw %es:0x7002; sidtw %es:0x7008\n"
	"lgdtl trampoline_gdtr - trampoline\n"
	"mov %cr0, %eax; or $1, %al; and $0x9fffffff, %eax; mov %eax, %cr0\n"
	"ljmpl $8, $ap_entry\n"
	".align 8\n"
	"trampoline_gdtr: .word 511; .long gdt\n"
	"trampoline_end:\n"
	".code32\n"
	"ap_entry: mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %fs; mov %eax, %gs; mov %eax, "
	"%ss\n"
	"mov $ap_stack + 8192, %esp\n"
	"call ap_main\n");

uint8_t ap_stack[8192] __attribute__((aligned(16)));
static volatile uint32_t started, command, done, received, counter_plain, counter_locked;
static volatile uint64_t wide_counter;
static volatile uint32_t spin;

static void on_ipi(void)
{
	received++;
	apic_write(APIC_EOI, 0);
}

static void count(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		__asm__ volatile("lock incl %0" : "+m"(counter_locked));
		while (__sync_lock_test_and_set(&spin, 1))
			__asm__ volatile("pause");
		counter_plain++;
		spin = 0;
		for (;;) {
			uint64_t old = wide_counter;

			if (__sync_bool_compare_and_swap(&wide_counter, old, old + 0x100000001ull))
				break;
		}
	}
}

void ap_main(void);
void ap_main(void)
{
	tables_load();
	apic_enable();
	started++;
	for (;;) {
		while (!command)
			__asm__ volatile("pause");
		if (command == 1) {
			command = 0;
			count();
			done++;
		} else {
			command = 0;
			while (!received)
				__asm__ volatile("sti; hlt; cli" : : : "memory");
			done++;
		}
	}
}

static void wait_for(volatile uint32_t *value, uint32_t wanted)
{
	for (unsigned i = 0; *value != wanted && i < 400000000; i++)
		__asm__ volatile("pause");
}

static void start(void)
{
	apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | ICR_INIT);
	ipi_wait();
	for (unsigned i = 0; i < 100000; i++)
		inb(0x80);
	apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | ICR_STARTUP | TRAMPOLINE >> 12);
	ipi_wait();
}

int main(void)
{
	handler[0x51] = on_ipi;
	memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	apic_enable();
	start();
	wait_for(&started, 1);
	print("started: %d cs %x msw %x idt limit %x\n", (word)started, (word) * (volatile uint16_t *)0x7000,
	      (word) * (volatile uint16_t *)0x7002 & 1, (word) * (volatile uint16_t *)0x7008);
	command = 1;
	count();
	wait_for(&done, 1);
	print("locked: %d plain under a lock: %d wide: %x %x\n", (word)counter_locked, (word)counter_plain,
	      (word)(uint32_t)wide_counter, (word)(wide_counter >> 32));
	command = 2;
	wait_for(&command, 0);
	apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | 0x51);
	ipi_wait();
	wait_for(&done, 2);
	print("interrupt from another CPU: %d\n", (word)received);
	start(); /* INIT ends what the CPU did; it begins anew */
	wait_for(&started, 2);
	print("started again: %d\n", (word)started);
	return 0;
}
