/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debug exceptions: breakpoints on instructions, data and ports, single step, RF, GD, ICEBP, shadows, and
 * what DR6 and the saved EFLAGS then say. Intel SDM vol. 3, chapter 17.
 */
#include "tests/guest/runtime.h"

#define CR4_DE 8u

static struct {
	word ip, flags, dr6;
} hit[8];
static unsigned hits;
static word clear_flags, set_flags;

/* Notes a #DB and goes on; the frame's flags are edited as the test asks. */
static void on_debug(void)
{
	word *frame = (word *)trap.frame_sp;

	if (hits < 8) {
		hit[hits].ip = trap.ip;
		hit[hits].flags = trap.flags;
		hit[hits].dr6 = READ_DR(6);
	}
	hits++;
	WRITE_DR(6, 0xffff0ff0);
	frame[2] = (frame[2] & ~clear_flags) | set_flags;
}

static word base;

static void start(word address)
{
	base = address;
	hits = 0;
	clear_flags = set_flags = 0;
	WRITE_DR(6, 0xffff0ff0);
	handler[1] = on_debug;
}

static void show(const char *name)
{
	WRITE_DR(7, 0x400);
	print("%s: %d", name, (word)hits);
	for (unsigned i = 0; i < hits && i < 8; i++)
		print(" [ip+%x dr6 %x rf %d tf %d]", hit[i].ip - base, hit[i].dr6 & 0xe00f,
		      hit[i].flags >> 16 & 1, hit[i].flags >> 8 & 1);
	print("\n");
	handler[1] = NULL;
}

/* Code whose address the tests know. */
#define CODE(name, text)                                                                                     \
	extern uint8_t name[];                                                                               \
	__asm__(#name ": " text "; ret")
#define CALL(name) __asm__ volatile("call " #name : : : "eax", "ecx", "edx", "memory", "cc")

uint32_t cell[4] __attribute__((aligned(16)));

CODE(two_nops, "nop; nop");
CODE(touch, "movl $1, cell; mov cell, %eax; movw %ax, cell + 3; nop");
CODE(fault_then_touch, "push cell; pop cell + 8; nop");
CODE(step_four, "pushf; orl $0x100, (%esp); popf; nop; inc %eax; pushf; andl $~0x100, (%esp); popf; nop");
CODE(step_ss, "pushf; orl $0x100, (%esp); popf; mov %ss, %eax; mov %eax, %ss; nop; pushf; andl $~0x100, "
	      "(%esp); popf; nop");
CODE(step_int, "pushf; orl $0x100, (%esp); popf; int $0x41; pushf; andl $~0x100, (%esp); popf; nop");
CODE(touch_ss, "mov %ss, cell; mov cell, %ss; nop; nop");
CODE(rep_stos, "mov $cell, %edi; mov $4, %ecx; xor %eax, %eax; rep stosl; nop");
CODE(icebp, ".byte 0xf1; nop");
CODE(read_dr, "mov %dr0, %eax; nop");
CODE(port, "in $0x80, %al; out %al, $0x81; nop");

static void on_int41(void)
{
}

static void instruction_breakpoints(void)
{
	start((word)two_nops);
	WRITE_DR(0, (word)two_nops + 1);
	WRITE_DR(7, 0x402);
	set_flags = RF_FLAG;
	CALL(two_nops);
	show("instruction breakpoint, rf set by the handler");
	start((word)two_nops);
	WRITE_DR(0, (word)two_nops);
	WRITE_DR(1, (word)two_nops);
	WRITE_DR(7, 0x40a);
	set_flags = RF_FLAG;
	CALL(two_nops);
	show("two on one instruction");
	start((word)two_nops);
	WRITE_DR(2, (word)two_nops + 1);
	WRITE_DR(7, 0x400);
	CALL(two_nops);
	show("not enabled");
}

static void data_breakpoints(void)
{
	start((word)touch);
	WRITE_DR(1, (word)cell);
	WRITE_DR(7, 0x400 | 8 | 0xd00000); /* G1, write, 4 bytes */
	CALL(touch);
	show("data write");
	start((word)touch);
	WRITE_DR(1, (word)cell);
	WRITE_DR(7, 0x400 | 8 | 0xf00000);
	CALL(touch);
	show("data access");
	start((word)touch);
	WRITE_DR(3, (word)cell + 4);
	WRITE_DR(7, 0x400 | 0x80 | 0x10000000); /* one byte, write */
	CALL(touch);
	show("data write, one byte");
	start((word)fault_then_touch);
	WRITE_DR(0, (word)cell + 8);
	WRITE_DR(7, 0x400 | 2 | 0xd0000);
	CALL(fault_then_touch);
	show("pop to memory");
	start((word)rep_stos);
	WRITE_DR(0, (word)cell + 4);
	WRITE_DR(7, 0x400 | 2 | 0xd0000);
	__asm__ volatile("call rep_stos" : : : "eax", "ecx", "edi", "memory", "cc");
	show("rep stos");
	start((word)touch_ss);
	WRITE_DR(0, (word)cell);
	WRITE_DR(7, 0x400 | 2 | 0xf0000);
	CALL(touch_ss);
	show("data access by mov ss");
}

static void single_steps(void)
{
	start((word)step_four);
	CALL(step_four);
	show("single step");
	start((word)step_ss);
	CALL(step_ss);
	show("single step over mov ss");
	start((word)step_int);
	handler[0x41] = on_int41;
	CALL(step_int);
	handler[0x41] = NULL;
	show("single step over int n");
}

static void others(void)
{
	start((word)read_dr);
	WRITE_DR(7, 0x2400);
	CALL(read_dr);
	report_value("  dr7 in the handler's time", READ_DR(7));
	show("general detect");
	start((word)port);
	WRITE_CR(4, READ_CR(4) | CR4_DE);
	WRITE_DR(0, 0x80);
	WRITE_DR(1, 0x81);
	WRITE_DR(7, 0x400 | 0xa | 0x220000);
	CALL(port);
	show("port breakpoints");
}

static void read_dr4(void)
{
	__asm__ volatile("mov %%dr4, %%eax" : : : "eax");
}

static void user_read_dr(void)
{
	__asm__ volatile("mov %%dr0, %%eax" : : : "eax");
}

static void user_int1(void)
{
	__asm__ volatile(".byte 0xf1; int $0x40");
}

static void user_int3(void)
{
	__asm__ volatile("int3");
}

static void ud2(void)
{
	__asm__ volatile("ud2");
}

static void registers(void)
{
	report("dr4 with CR4.DE", catch (read_dr4));
	WRITE_CR(4, READ_CR(4) & ~(word)CR4_DE);
	report("dr4 without CR4.DE", catch (read_dr4));
	report("user dr0", catch_user(user_read_dr));
	report("user int3 through a kernel gate", catch_user(user_int3));
	WRITE_DR(6, 0);
	report_value("dr6 after writing 0", READ_DR(6));
	WRITE_DR(7, 0);
	report_value("dr7 after writing 0", READ_DR(7));
	report("ud2", catch (ud2));
	report_value("  rf pushed by a fault", trap.flags >> 16 & 1);
}

int main(void)
{
	instruction_breakpoints();
	data_breakpoints();
	single_steps();
	others();
	registers();
	start((word)icebp);
	CALL(icebp); /* last: QEMU knows no INT1 */
	show("int1");
	report("user int1", catch_user(user_int1));
	return 0;
}
