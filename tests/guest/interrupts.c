/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts as the CPU takes them: IF and its shadows, priorities of the local APIC, TPR, EOI, NMI and its
 * masking, HLT, the three modes of the APIC timer, the PIC with its timer. Intel SDM vol. 3, chapters 6
 * and 10.
 */
#include "tests/guest/apic.h"

#define NMI          0x400u
#define TSC_DEADLINE 0x6e0

static struct {
	word vector, ip;
} seen[16];
static unsigned count;
static bool eoi_now = true;

static void note(void)
{
	if (count < 16) {
		seen[count].vector = trap.vector;
		seen[count].ip = trap.ip;
	}
	count++;
	if (eoi_now && trap.vector != 2)
		apic_write(APIC_EOI, 0);
}

static void self(unsigned vector)
{
	apic_write(APIC_ICR_LOW, ICR_SELF | ICR_ASSERT | vector);
	ipi_wait();
}

static void show(const char *name, word base)
{
	print("%s:", name);
	for (unsigned i = 0; i < count && i < 16; i++) {
		print(" %x", seen[i].vector);
		if (base)
			print("@+%x", seen[i].ip - base);
	}
	print("\n");
	count = 0;
}

#define CODE(name, text)                                                                                     \
	extern uint8_t name[];                                                                               \
	__asm__(#name ": " text "; ret")
#define CALL(name) __asm__ volatile("call " #name : : : "eax", "ecx", "edx", "memory", "cc")

CODE(sti_nops, "sti; nop; nop; nop; cli");
CODE(sti_sti, "sti; sti; nop; nop; cli");
CODE(sti_cli, "sti; cli; nop");
CODE(popf_nops, "pushf; orl $0x200, (%esp); popf; nop; nop; cli");
CODE(sti_hlt, "sti; hlt; nop; cli");
CODE(iret_nops, "pushf; orl $0x200, (%esp); push %cs; push $1f; iret; 1: nop; nop; cli");

static void shadows(void)
{
	self(0x50);
	CALL(sti_nops);
	show("sti", (word)sti_nops);
	self(0x50);
	CALL(sti_sti);
	show("sti sti", (word)sti_sti);
	self(0x50);
	CALL(sti_cli);
	show("sti cli", (word)sti_cli);
	CALL(popf_nops);
	show("popf", (word)popf_nops);
	self(0x50);
	CALL(iret_nops);
	show("iret", (word)iret_nops);
	self(0x50);
	CALL(sti_hlt);
	show("sti hlt", (word)sti_hlt);
}

static void allow(void)
{
	__asm__ volatile("sti; nop; nop; nop; cli" : : : "memory");
}

static void priorities(void)
{
	self(0x50);
	self(0x85);
	self(0x84);
	self(0x61);
	allow();
	show("four at once", 0);
	apic_write(APIC_TPR, 0x60);
	self(0x50);
	self(0x65);
	self(0x71);
	allow();
	show("tpr 60", 0);
	report_value("  ppr", apic_read(APIC_PPR));
	report_value("  irr 40-5f", apic_read(APIC_IRR + 0x20));
	report_value("  irr 60-7f", apic_read(APIC_IRR + 0x30));
	apic_write(APIC_TPR, 0);
	allow();
	show("tpr 0", 0);
	eoi_now = false;
	self(0x71);
	allow();
	self(0x65);
	self(0x75);
	allow();
	show("71 in service, same and lower classes wait", 0);
	report_value("  ppr", apic_read(APIC_PPR));
	self(0x81);
	allow();
	show("a higher class does not", 0);
	report_value("  ppr", apic_read(APIC_PPR));
	eoi_now = true;
	apic_write(APIC_EOI, 0);
	apic_write(APIC_EOI, 0);
	allow();
	show("after two ends", 0);
}

static void send_nmi(void)
{
	apic_write(APIC_ICR_HIGH, apic_read(APIC_ID));
	apic_write(APIC_ICR_LOW, ICR_ASSERT | NMI);
	ipi_wait();
	__asm__ volatile("nop; nop; nop");
}

static void nmis(void)
{
	handler[2] = note;
	send_nmi();
	show("nmi with IF clear", 0);
	handler[2] = NULL;
}

static void timer(void)
{
	uint32_t out[4], first, later;
	unsigned before;

	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, 0x90);
	apic_write(APIC_INITIAL, 100000);
	first = apic_read(APIC_CURRENT);
	__asm__ volatile("sti; hlt; cli" : : : "memory");
	later = apic_read(APIC_CURRENT);
	show("one-shot timer wakes hlt", 0);
	print("  counted down %d ends at 0 %d\n", (word)(first <= 100000), (word)(later == 0));
	apic_write(APIC_TIMER, 0x20091);
	apic_write(APIC_INITIAL, 100000);
	for (unsigned i = 0; i < 3; i++)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	apic_write(APIC_INITIAL, 0);
	before = count;
	count = 3;
	show("periodic timer", 0);
	print("  at least three %d\n", (word)(before >= 3));
	apic_write(APIC_TIMER, 0x10092);
	allow();
	count = 0;
	cpuid(1, 0, out);
	if (!(out[2] >> 24 & 1)) {
		print("tsc deadline: none\n  none\n");
		return;
	}
	apic_write(APIC_TIMER, 0x40092);
	{
		uint32_t low, high;

		__asm__ volatile("mfence; rdtsc" : "=a"(low), "=d"(high));
		wrmsr(TSC_DEADLINE, (low | (uint64_t)high << 32) + 1000000);
	}
	__asm__ volatile("sti; hlt; cli" : : : "memory");
	show("tsc deadline", 0);
	print("  disarmed %d\n", (word)(rdmsr(TSC_DEADLINE) == 0));
}

static unsigned ticks;

static void on_tick(void)
{
	ticks++;
	outb(0x20, 0x20);
}

static void pic(void)
{
	outb(0x20, 0x11);
	outb(0x21, 0x20);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0xa0, 0x11);
	outb(0xa1, 0x28);
	outb(0xa1, 2);
	outb(0xa1, 1);
	outb(0x21, 0xfe);
	outb(0xa1, 0xff);
	apic_write(0x350, 0x700); /* LINT0: ExtINT */
	handler[0x20] = on_tick;
	outb(0x43, 0x34);
	outb(0x40, 0x00);
	outb(0x40, 0x10);
	while (ticks < 3)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	outb(0x21, 0xff);
	print("pic timer ticks: ok\n");
}

int main(void)
{
	for (unsigned i = 0x50; i < 0xa0; i++)
		handler[i] = note;
	apic_enable();
	shadows();
	priorities();
	nmis();
	timer();
	pic();
	return 0;
}
