/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long mode: system calls, bases, IST, IRETQ, non-canonical addresses, descriptor checks that differ from
 * protected mode, instructions that 64-bit mode does not have, CMPXCHG16B, control registers and MSRs. --cpu
 * max.
 */
#include "tests/guest/runtime.h"

#define EFER           0xc0000080
#define STAR           0xc0000081
#define LSTAR          0xc0000082
#define SFMASK         0xc0000084
#define FS_BASE        0xc0000100
#define GS_BASE        0xc0000101
#define KERNEL_GS_BASE 0xc0000102
#define CR4_FSGSBASE   (1u << 16)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_UMIP       (1u << 11)
#define SYSRET_BASE    0x80
#define NON_CANONICAL  0x8000000000000000ul

static word operand;

/* SYSCALL: the kernel side notes its registers and returns. */
extern uint8_t syscall_entry[];
uint64_t sys_rcx, sys_r11, sys_flags, sys_rsp, user_rip, user_rflags;
uint16_t sys_cs, sys_ss, user_cs, user_ss;
__asm__("syscall_entry:"
	"mov %rcx, sys_rcx; mov %r11, sys_r11; pushfq; pop sys_flags; mov %cs, sys_cs; mov %ss, sys_ss;"
	"mov %rsp, sys_rsp; sysretq");

static void user_syscall(void)
{
	__asm__ volatile(
		"lea 1f(%%rip), %%rax; mov %%rax, user_rip; syscall; 1: mov %%cs, user_cs; mov %%ss, user_ss;"
		"pushfq; pop user_rflags; int $0x40"
		:
		:
		: "rax", "rcx", "r11", "memory");
}

/* SYSENTER and SYSEXIT: the caller gives its own return address and stack. */
extern uint8_t sysenter_entry[];
__asm__("sysenter_entry:"
	"mov %cs, sys_cs; mov %ss, sys_ss; mov %rsp, sys_rsp; pushfq; pop sys_flags; rex.w sysexit");

static void user_sysenter(void)
{
	__asm__ volatile(
		"mov %%rsp, %%rcx; lea 1f(%%rip), %%rdx; sysenter; 1: mov %%cs, user_cs; mov %%ss, user_ss;"
		"int $0x40"
		:
		:
		: "rax", "rcx", "rdx", "memory");
}

static void sysexit_bad(void)
{
	__asm__ volatile("mov %0, %%rdx; xor %%ecx, %%ecx; rex.w sysexit"
			 :
			 : "r"(NON_CANONICAL)
			 : "rcx", "rdx");
}

static void user_sysexit(void)
{
	__asm__ volatile("rex.w sysexit");
}

static void sysenter_and_sysexit(void)
{
	word top = (word)kernel_stack + sizeof(kernel_stack);

	report("user sysenter with a null code selector", catch_user(user_sysenter));
	wrmsr(0x174, KCODE);
	wrmsr(0x175, top);
	wrmsr(0x176, (word)sysenter_entry);
	user_flags = IF_FLAG;
	report("sysenter and sysexit", catch_user(user_sysenter));
	print("  cs %x ss %x rsp ok %d if %x\n", (word)sys_cs, (word)sys_ss, (word)(sys_rsp == top),
	      sys_flags & IF_FLAG);
	print("  back: cs %x ss %x\n", (word)user_cs, (word)user_ss);
	user_flags = 0;
	report("sysexit to a non-canonical address", catch (sysexit_bad));
	report("user sysexit", catch_user(user_sysexit));
}

static void sysret_bad(void)
{
	__asm__ volatile("mov %0, %%rcx; mov $2, %%r11; sysretq" : : "r"(NON_CANONICAL) : "rcx", "r11");
}

static void syscall_plain(void)
{
	__asm__ volatile("syscall");
}

static void user_sysret(void)
{
	__asm__ volatile("sysretq");
}

static void system_calls(void)
{
	wrmsr(STAR, (uint64_t)SYSRET_BASE << 48 | (uint64_t)KCODE << 32);
	wrmsr(LSTAR, (word)syscall_entry);
	wrmsr(SFMASK, 0x4700);
	user_flags = 0x40;
	report("syscall and sysret", catch_user(user_syscall));
	print("  rcx ok %d r11 %x flags %x cs %x ss %x\n", (word)(sys_rcx == user_rip), sys_r11, sys_flags,
	      (word)sys_cs, (word)sys_ss);
	print("  back: cs %x ss %x flags %x\n", (word)user_cs, (word)user_ss, user_rflags);
	report("sysret to a non-canonical address", catch (sysret_bad));
	print("  at cpl %d\n", trap.cs & 3);
	report("user sysret", catch_user(user_sysret));
	wrmsr(EFER, rdmsr(EFER) & ~1ul);
	report("syscall without EFER.SCE", catch (syscall_plain));
	wrmsr(EFER, rdmsr(EFER) | 1);
	user_flags = 0;
}

static void read_low(void)
{
	__asm__ volatile("mov (%0), %%rax" : : "r"(operand) : "rax");
}

static void read_stack(void)
{
	__asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; pop %%rax; mov %%rbx, %%rsp"
			 :
			 : "r"(operand)
			 : "rax", "rbx");
}

static void read_rbp(void)
{
	__asm__ volatile("push %%rbp; mov %0, %%rbp; mov (%%rbp), %%rax; pop %%rbp" : : "r"(operand) : "rax");
}

static void jump_to(void)
{
	__asm__ volatile("jmp *%0" : : "r"(operand));
}

static void ret_to(void)
{
	__asm__ volatile("push %0; ret" : : "r"(operand));
}

static void iret_to(void)
{
	__asm__ volatile("push $0x10; push %%rsp; pushfq; push $8; push %0; iretq" : : "r"(operand));
}

static void try(const char *name, void (*fn)(void), word value)
{
	operand = value;
	report(name, catch (fn));
}

static uint8_t ist_stack[4096] __attribute__((aligned(16)));

static void addresses(void)
{
	try("read non-canonical", read_low, NON_CANONICAL);
	try("read across the canonical boundary", read_low, 0x7ffffffffffc);
	try("rbp-based non-canonical", read_rbp, NON_CANONICAL);
	try("jmp non-canonical", jump_to, NON_CANONICAL);
	print("  at the jump %d\n", (word)(trap.ip != NON_CANONICAL));
	try("ret non-canonical", ret_to, NON_CANONICAL);
	print("  at the ret %d\n", (word)(trap.ip != NON_CANONICAL));
	try("iretq non-canonical", iret_to, NON_CANONICAL);
	print("  at the iretq %d\n", (word)(trap.ip != NON_CANONICAL));
}

static void write_msr(void)
{
	wrmsr((uint32_t)operand, NON_CANONICAL);
}

static void wrfsbase(void)
{
	__asm__ volatile("wrfsbase %0" : : "r"(operand));
}

static void swapgs(void)
{
	__asm__ volatile("swapgs");
}

static void bases(void)
{
	uint64_t cell = 0x1122334455667788, fs;

	try("lstar non-canonical", write_msr, LSTAR);
	try("fs base non-canonical", write_msr, FS_BASE);
	try("kernel gs base non-canonical", write_msr, KERNEL_GS_BASE);
	try("sysenter eip non-canonical", write_msr, 0x176);
	try("no such msr", write_msr, 0x12345);
	try("wrfsbase without cr4", wrfsbase, 0);
	WRITE_CR(4, READ_CR(4) | CR4_FSGSBASE);
	try("wrfsbase", wrfsbase, (word)&cell);
	__asm__ volatile("mov %%fs:0, %0" : "=r"(fs));
	report_value("  read through fs", fs);
	try("wrfsbase non-canonical", wrfsbase, NON_CANONICAL);
	wrmsr(GS_BASE, 0x1000);
	wrmsr(KERNEL_GS_BASE, 0x2000);
	report("swapgs", catch (swapgs));
	print("  gs %x kernel gs %x\n", rdmsr(GS_BASE), rdmsr(KERNEL_GS_BASE));
	report("user swapgs", catch_user(swapgs));
	__asm__ volatile("mov %0, %%gs" : : "r"(0));
	print("  gs base after a null selector %x\n", rdmsr(GS_BASE));
}

static void int_80(void)
{
	__asm__ volatile("int $0x80");
}

static void gates(void)
{
	extern uint8_t trap_entries[];
	word top = (word)ist_stack + sizeof(ist_stack) - 7;

	memcpy(tss + 36, &top, 8);
	idt_set(0x80, (word)trap_entries + 16 * 0x80, 0xee);
	report("int", catch (int_80));
	print("  frame aligned %d ss %x\n", (word) !((trap.frame_sp + 40) & 15), trap.ss);
	idt[2 * 0x80] |= 1ul << 32;
	report("int with ist", catch (int_80));
	print("  on the ist stack %d\n",
	      (word)(trap.frame_sp + 40 == ((word)ist_stack + sizeof(ist_stack) - 16)));
	report("user int with ist", catch_user(int_80));
	top = NON_CANONICAL;
	memcpy(tss + 36, &top, 8);
	report("int with non-canonical ist", catch (int_80));
	idt_set(0x80, NON_CANONICAL, 0xee);
	report("int to a non-canonical handler", catch (int_80));
	idt[2 * 0x80] = gate(UDATA, 0, 0xee, 0);
	report("int to data", catch (int_80));
	gdt[FREE / 8 + 2] = descriptor(0, 0xfffff, 0xc09b);
	idt[2 * 0x80] = gate(FREE + 16, 0, 0xee, 0);
	report("int to 32-bit code", catch (int_80));
	idt[2 * 0x80] = gate(KCODE, 0, 0xe6, 0);
	report("int through a 16-bit gate", catch (int_80));
	idt[2 * 0x80] = gate(KCODE, 0, 0xe5, 0);
	report("int through a task gate", catch (int_80));
}

static void iretq_nt(void)
{
	__asm__ volatile("pushfq; orq $0x4000, (%rsp); popfq; iretq");
}

static void load_ss(void)
{
	__asm__ volatile("mov %0, %%ss" : : "r"(operand));
}

static void user_load_ss_null(void)
{
	__asm__ volatile("mov %0, %%ss; int $0x40" : : "r"(0));
}

static void lcall_tss(void)
{
	static struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) to = {0, FREE + 32};

	gdt[FREE / 8 + 4] = descriptor((uint32_t)(word)tss, 103, 0x89);
	gdt[FREE / 8 + 5] = 0;
	__asm__ volatile("lcall *%0" : : "m"(to));
}

static void ljmp_32_and_64(void)
{
	static struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) to = {0, FREE + 48};

	gdt[FREE / 8 + 6] = descriptor(0, 0xfffff, 0xe09b); /* L and D */
	__asm__ volatile("ljmp *%0" : : "m"(to));
}

static void segments(void)
{
	try("ss null at cpl 0", load_ss, 0);
	try("ss null with rpl 3 at cpl 0", load_ss, 3);
	report("user ss null", catch_user(user_load_ss_null));
	report("iretq with NT", catch (iretq_nt));
	report("far call to a tss", catch (lcall_tss));
	report("far jump to code with L and D", catch (ljmp_32_and_64));
}

#define BYTES(name, ...)                                                                                     \
	static void name(void)                                                                               \
	{                                                                                                    \
		__asm__ volatile(".byte " #__VA_ARGS__ : : : "rax", "rcx", "rdx", "memory");                 \
	}

BYTES(push_es, 0x06)
BYTES(daa, 0x27)
BYTES(into, 0xce)
BYTES(far_call, 0x9a, 0, 0, 0, 0, 8, 0)
BYTES(lds, 0xc5, 0x00)
BYTES(bound, 0x62, 0x00)
BYTES(salc, 0xd6)
BYTES(mov_cr1, 0x0f, 0x20, 0xc8)
BYTES(mov_cr9, 0x44, 0x0f, 0x20, 0xc8)
BYTES(lock_nop, 0xf0, 0x90)
BYTES(lock_mov, 0xf0, 0x89, 0x00)
BYTES(ud2, 0x0f, 0x0b)
BYTES(sixteen, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90)

static void invalid(void)
{
	report("push es", catch (push_es));
	report("daa", catch (daa));
	report("into", catch (into));
	report("far call", catch (far_call));
	report("lds", catch (lds));
	report("bound", catch (bound));
	report("salc", catch (salc));
	report("mov cr1", catch (mov_cr1));
	report("mov cr9", catch (mov_cr9));
	report("lock nop", catch (lock_nop));
	report("lock mov", catch (lock_mov));
	report("ud2", catch (ud2));
	report("16 bytes", catch (sixteen));
}

static uint64_t pair[4] __attribute__((aligned(16)));

static void cx16(void)
{
	__asm__ volatile("lock cmpxchg16b (%0)"
			 :
			 : "r"(operand), "a"(0ul), "b"(0ul), "c"(0ul), "d"(0ul)
			 : "memory");
}

static void write_cr0(void)
{
	WRITE_CR(0, operand);
}

static void write_cr3(void)
{
	WRITE_CR(3, operand);
}

static void write_cr4(void)
{
	WRITE_CR(4, operand);
}

static void write_cr8(void)
{
	__asm__ volatile("mov %0, %%cr8" : : "r"(operand));
}

static void write_efer(void)
{
	wrmsr(EFER, operand);
}

static void user_sgdt(void)
{
	__asm__ volatile("sgdt -16(%rsp); int $0x40");
}

static void user_smsw(void)
{
	__asm__ volatile("smsw %%eax; int $0x40" : : : "rax");
}

static void user_hlt(void)
{
	__asm__ volatile("hlt");
}

static void user_rdtsc(void)
{
	__asm__ volatile("rdtsc; int $0x40" : : : "rax", "rdx");
}

static void xsetbv(void)
{
	__asm__ volatile("xsetbv" : : "a"((uint32_t)operand), "d"(0), "c"(0));
}

static void control(void)
{
	try("cmpxchg16b aligned", cx16, (word)pair);
	try("cmpxchg16b misaligned", cx16, (word)pair + 8);
	WRITE_CR(3, READ_CR(3) | 0x18);
	try("cr4 PCIDE with a low cr3", write_cr4, READ_CR(4) | 1ul << 17);
	WRITE_CR(3, READ_CR(3) & ~0xffful);
	try("cr8 16", write_cr8, 16);
	try("cr8 15", write_cr8, 15);
	try("efer without LME", write_efer, rdmsr(EFER) & ~0x100ul);
	try("efer reserved bit", write_efer, rdmsr(EFER) | 2);
	try("xsetbv without OSXSAVE", xsetbv, 3);
	WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	try("xsetbv 0", xsetbv, 0);
	try("xsetbv x87 and sse", xsetbv, 3);
	report("user sgdt", catch_user(user_sgdt));
	report("user smsw", catch_user(user_smsw));
	WRITE_CR(4, READ_CR(4) | CR4_UMIP);
	report("user sgdt with UMIP", catch_user(user_sgdt));
	report("user smsw with UMIP", catch_user(user_smsw));
	report("user hlt", catch_user(user_hlt));
	report("user rdtsc", catch_user(user_rdtsc));
	WRITE_CR(4, READ_CR(4) | 4);
	report("user rdtsc with TSD", catch_user(user_rdtsc));
	try("cr0 without PE", write_cr0, READ_CR(0) & ~1ul);
	try("cr0 NW without CD", write_cr0, READ_CR(0) | 0x20000000);
	try("cr0 above 32 bits", write_cr0, READ_CR(0) | 1ul << 32);
	try("cr3 above the physical width", write_cr3, READ_CR(3) | 1ul << 51);
}

/* #SS needs a stack of its own then. Last: QEMU raises #GP instead, and resets for want of a stack. */
static void bad_stack(void)
{
	word top = (word)ist_stack + sizeof(ist_stack);

	memcpy(tss + 36, &top, 8);
	idt[2 * 12] |= 1ul << 32;
	try("pop non-canonical", read_stack, NON_CANONICAL);
	try("cr4 reserved bit", write_cr4, READ_CR(4) | 1ul << 15);
	try("cr4 LA57 in long mode", write_cr4, READ_CR(4) | 1ul << 12);
	try("cr4 without PAE", write_cr4, READ_CR(4) & ~0x20ul);
	try("cr0 without PG", write_cr0, READ_CR(0) & 0x7fffffff); /* QEMU lets it pass, into the void */
}

int main(void)
{
	/* where SYSRET with STAR[63:48] = SYSRET_BASE looks for data and code */
	gdt[(SYSRET_BASE + 8) / 8] = gdt[4];
	gdt[(SYSRET_BASE + 16) / 8] = gdt[3];
	system_calls();
	sysenter_and_sysexit();
	addresses();
	bases();
	gates();
	segments();
	invalid();
	control();
	bad_stack();
	return 0;
}
