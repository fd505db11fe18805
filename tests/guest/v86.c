/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual-8086 mode: entry and exit, IOPL, the instructions that it guards, VME's redirection and virtual
 * interrupt flag. The 8086 programs are the bytes below, copied to 0x10000. Intel SDM vol. 3, chapter 20.
 */
#include "tests/guest/runtime.h"

extern uint8_t trap_entries[];

#define CR4_VME   1u
#define VIF       0x80000u
#define VIP       0x100000u
#define PROGRAM   0x10000u
#define V86_STACK 0x20000u

static uint32_t entry_flags;

/* Enters the program at 1000:0000 with SS:SP = 2000:1000; it ends by a trap. */
static void enter(void)
{
	__asm__ volatile(
		"push $0x1004; push $0x1003; push $0x1001; push $0x1002; push $0x2000; push $0x1000; push %0;"
		"push $0x1000; push $0; xor %%eax, %%eax; iret"
		:
		: "r"(entry_flags)
		: "eax");
}

static void run(const char *name, const uint8_t *bytes, unsigned len, uint32_t flags)
{
	int vector;

	memcpy((void *)PROGRAM, bytes, len);
	entry_flags = flags | VM_FLAG | 2;
	vector = catch (enter);
	report(name, vector);
	print("  ip %x cs %x flags %x sp %x ss %x\n", trap.ip, trap.cs, trap.flags & ~(0xd5u | RF_FLAG),
	      trap.sp, trap.ss);
}

#define RUN(name, flags, ...)                                                                                \
	do {                                                                                                 \
		static const uint8_t code_[] = {__VA_ARGS__};                                                \
		run(name, code_, sizeof(code_), flags);                                                      \
	} while (0)

#define INT3  0xcc
#define UD2   0x0f, 0x0b
#define IOPL3 0x3000u

static uint16_t stack_word(unsigned offset)
{
	return *(volatile uint16_t *)(V86_STACK + 0x1000 - offset);
}

static void plain(void)
{
	RUN("int3", 0, INT3);
	RUN("ud2", IOPL3 | IF_FLAG, UD2);
	RUN("cli iopl 0", 0, 0xfa, UD2);
	RUN("cli iopl 3", IOPL3 | IF_FLAG, 0xfa, UD2);
	RUN("sti iopl 0", 0, 0xfb, UD2);
	RUN("pushf iopl 0", 0, 0x9c, UD2);
	RUN("pushf iopl 3", IOPL3, 0x9c, UD2);
	report_value("  pushed", stack_word(2));
	RUN("popf iopl 0", 0, 0x9d, UD2);
	RUN("popf iopl 3: if but not iopl", IOPL3, 0x68, 0x00, 0x02, 0x9d, UD2);
	RUN("iret iopl 0", 0, 0xcf, UD2);
	RUN("iret iopl 3", IOPL3, 0x68, 0x00, 0x02, 0x0e, 0x68, 0x08, 0x00, 0xcf, UD2);
	RUN("int n iopl 0", 0, 0xcd, 0x50, UD2);
	RUN("hlt", IOPL3, 0xf4);
	RUN("mov cr0", IOPL3, 0x0f, 0x20, 0xc0);
	RUN("lgdt", IOPL3, 0x0f, 0x01, 0x16, 0x00, 0x00);
	RUN("sldt", IOPL3, 0x0f, 0x00, 0xc0);
	RUN("lar", IOPL3, 0x0f, 0x02, 0xc0);
	RUN("arpl", IOPL3, 0x63, 0xc0);
	RUN("in denied by the map", IOPL3, 0xe4, 0x60);
	tss[104 + 32 + 0x60 / 8] = 0xfe;
	RUN("in allowed by the map", 0, 0xe4, 0x60, UD2);
	RUN("far jump", 0, 0xea, 0x15, 0x00, 0xff, 0x0f, UD2);
	RUN("load ds and read", 0, 0xb8, 0x34, 0x12, 0x8e, 0xd8, 0xa0, 0x00, 0x00, UD2);
	RUN("read at the end of a segment", 0, 0xa1, 0xff, 0xff, UD2);
	RUN("push at sp 1", 0, 0xbc, 0x01, 0x00, 0x50, UD2);
	RUN("syscall", 0, 0x0f, 0x05);
}

static void redirect(unsigned vector, bool to_program)
{
	if (to_program)
		tss[104 + vector / 8] &= (uint8_t) ~(1u << (vector & 7));
	else
		tss[104 + vector / 8] |= 1u << (vector & 7);
}

/* INT 0x21 through the 8086 program's own table: its handler at 1000:0040 is UD2. */
static void vme(void)
{
	volatile uint16_t *table = (volatile uint16_t *)(0x21 * 4);

	table[0] = 0x40;
	table[1] = 0x1000;
	memcpy((void *)(PROGRAM + 0x40), (const uint8_t[]){UD2}, 2);
	WRITE_CR(4, READ_CR(4) | CR4_VME);
	redirect(0x21, true);
	RUN("vme int redirected, iopl 0, vif 1", VIF | IF_FLAG, 0xcd, 0x21, UD2);
	print("  pushed flags %x cs %x ip %x\n", (word)stack_word(2), (word)stack_word(4),
	      (word)stack_word(6));
	RUN("vme int redirected, iopl 0, vif 0", IF_FLAG, 0xcd, 0x21, UD2);
	print("  pushed flags %x cs %x ip %x\n", (word)stack_word(2), (word)stack_word(4),
	      (word)stack_word(6));
	RUN("vme int redirected, iopl 3", IOPL3 | IF_FLAG, 0xcd, 0x21, UD2);
	print("  pushed flags %x cs %x ip %x\n", (word)stack_word(2), (word)stack_word(4),
	      (word)stack_word(6));
	redirect(0x21, false);
	RUN("vme int not redirected, iopl 0", 0, 0xcd, 0x21, UD2);
	idt_set(0x21, (word)trap_entries + 16 * 0x21, 0xee);
	RUN("vme int not redirected, iopl 3", IOPL3, 0xcd, 0x21, UD2);
	RUN("vme cli", VIF | IF_FLAG, 0xfa, UD2);
	RUN("vme sti", IF_FLAG, 0xfb, UD2);
	RUN("vme sti with vip", VIP | IF_FLAG, 0xfb, UD2);
	RUN("vme pushf", VIF, 0x9c, UD2);
	report_value("  pushed", stack_word(2));
	RUN("vme pushf 32 bits", VIF, 0x66, 0x9c, UD2);
	RUN("vme popf if", IF_FLAG, 0x68, 0x00, 0x02, 0x9d, UD2);
	RUN("vme popf if with vip", VIP | IF_FLAG, 0x68, 0x00, 0x02, 0x9d, UD2);
	RUN("vme popf tf", IF_FLAG, 0x68, 0x00, 0x01, 0x9d, UD2);
	RUN("vme iret", VIF | IF_FLAG, 0x68, 0x01, 0x00, 0x0e, 0x68, 0x08, 0x00, 0xcf, UD2);
}

int main(void)
{
	memset((void *)PROGRAM, 0x90, 0x100);
	plain();
	vme();
	return 0;
}
