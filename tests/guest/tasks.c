/* SPDX-License-Identifier: Apache-2.0 */
/* Task switches: CALL and JMP to a TSS, task gates, IRET, exceptions as tasks, every check's fault. Intel SDM
 * vol. 3, ch. 7. */
#include "tests/guest/runtime.h"

#define TSS_MAIN       0x40
#define TSS_NEW        0x48
#define GATE_NEW       0x50
#define S_ABSENT       0x58
#define S_ABSENT_STACK 0x60
#define TSS_16         0x68
#define TSS_GP         0x70
#define S_RO           0x78
#define TSS_FAULT      0xa0 /* three */

struct tss32 {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi,
		edi;
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, map;
};
struct tss16 {
	uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss,
		ds, ldt;
};

static struct tss32 main_tss, new_tss, gp_tss;
static struct tss16 small_tss;
static uint8_t stack[4096] __attribute__((aligned(16)));
uint32_t seen_flags, seen_ebx;
static uint32_t seen_link, seen_busy_old, seen_busy_new, seen_cr0, seen_error;
static void (*body)(void);

static unsigned access_of(uint16_t selector)
{
	return gdt[selector >> 3] >> 40 & 0xff;
}

/* What the new task sees; then it returns, and starts here again when called a second time. */
static void task_c(void)
{
	seen_link = new_tss.link;
	seen_busy_old = access_of(TSS_MAIN);
	seen_busy_new = access_of(TSS_NEW);
	seen_cr0 = READ_CR(0) & 8;
}

void task_body(void);
void task_body(void)
{
	task_c();
	if (body)
		body();
}

extern uint8_t task_entry[];
__asm__("task_entry: pushf; pop seen_flags; mov %ebx, seen_ebx; call task_body; iret; jmp task_entry");

static void reset_task(void)
{
	new_tss = (struct tss32){.eip = (uint32_t)task_entry,
				 .eflags = 2,
				 .esp = (uint32_t)stack + sizeof(stack),
				 .ebx = 0x1234,
				 .es = KDATA,
				 .cs = KCODE,
				 .ss = KDATA,
				 .ds = KDATA,
				 .fs = KDATA,
				 .gs = KDATA,
				 .map = 104};
	gdt[TSS_NEW >> 3] = descriptor((uint32_t)&new_tss, 103, 0x89);
	gdt[TSS_MAIN >> 3] = descriptor((uint32_t)&main_tss, 103, 0x89);
	gdt[GATE_NEW >> 3] = gate(TSS_NEW, 0, 0x85, 0);
	__asm__ volatile("ltr %w0" : : "r"(TSS_MAIN));
	body = NULL;
}

static void call_tss(void)
{
	__asm__ volatile("lcall %0, $0" : : "i"(TSS_NEW) : "memory");
}

static void jump_tss(void)
{
	__asm__ volatile("ljmp %0, $0" : : "i"(TSS_NEW) : "memory");
}

static void call_gate(void)
{
	__asm__ volatile("lcall %0, $0" : : "i"(GATE_NEW) : "memory");
}

static void user_call_gate(void)
{
	__asm__ volatile("lcall %0, $0; int $0x40" : : "i"(GATE_NEW | 3) : "memory");
}

static void call_self(void)
{
	__asm__ volatile("lcall %0, $0" : : "i"(TSS_MAIN) : "memory");
}

static void show(const char *name)
{
	print("%s: flags %x link %x old %x new %x ebx %x ts %x\n", name, (word)seen_flags, (word)seen_link,
	      (word)seen_busy_old, (word)seen_busy_new, (word)seen_ebx, (word)seen_cr0);
	print("  after: old %x new %x tr %x\n", (word)access_of(TSS_MAIN), (word)access_of(TSS_NEW), ({
		      word tr;
		      __asm__ volatile("str %0" : "=r"(tr));
		      tr;
	      }));
}

static void jump_back(void)
{
	__asm__ volatile("ljmp %0, $0" : : "i"(TSS_MAIN) : "memory");
}

static void good(void)
{
	reset_task();
	report("call a tss", catch (call_tss));
	show("  seen");
	__asm__ volatile("clts");
	reset_task();
	body = jump_back;
	report("jmp to a tss and back", catch (jump_tss));
	show("  seen");
	reset_task();
	report("call a task gate", catch (call_gate));
	reset_task();
	report("user call of a kernel task gate", catch_user(user_call_gate));
	gdt[GATE_NEW >> 3] = gate(TSS_NEW, 0, 0xe5, 0);
	report("user call of a task gate", catch_user(user_call_gate));
	reset_task();
	report("call the busy task", catch (call_self));
}

/*
 * A fault in the new task may find no valid stack there, so #TS, #NP and #SS are tasks of their own. They
 * note what they were given, and jump back to the main task, which goes on after its CALL.
 */
static struct tss32 fault_tss[3];
static uint8_t fault_stack[4096];
uint32_t fault_vector, fault_error;
static uint32_t fault_link;

void fault_c(void);
void fault_c(void)
{
	fault_link = fault_tss[fault_vector - 10].link;
	if (fault_link == TSS_MAIN)
		main_tss.eip += 7; /* the fault came before the switch: past the CALL */
	gdt[TSS_MAIN >> 3] = descriptor((uint32_t)&main_tss, 103, 0x89);
	__asm__ volatile("ljmp %0, $0" : : "i"(TSS_MAIN) : "memory");
}

extern uint8_t fault_entry[];
__asm__("fault_entry: pop fault_error; mov %ebx, fault_vector; call fault_c");

static void fault_tasks(void)
{
	for (unsigned i = 0; i < 3; i++) {
		fault_tss[i] = (struct tss32){.eip = (uint32_t)fault_entry,
					      .eflags = 2,
					      .ebx = 10 + i,
					      .esp = (uint32_t)fault_stack + sizeof(fault_stack),
					      .es = KDATA,
					      .cs = KCODE,
					      .ss = KDATA,
					      .ds = KDATA,
					      .map = 104};
		gdt[TSS_FAULT / 8 + i] = descriptor((uint32_t)&fault_tss[i], 103, 0x89);
		idt[10 + i] = gate((uint16_t)(TSS_FAULT + 8 * i), 0, 0x85, 0);
	}
}

static void with(const char *name, void (*change)(void))
{
	reset_task();
	fault_tasks();
	change();
	fault_vector = 0;
	call_tss();
	print("%s: vector %d error %x in task %x\n", name, (word)fault_vector, (word)fault_error,
	      (word)fault_link);
}

#define CHANGE(name, ...)                                                                                    \
	static void name(void)                                                                               \
	{                                                                                                    \
		__VA_ARGS__;                                                                                 \
	}

CHANGE(short_limit, gdt[TSS_NEW >> 3] = descriptor((uint32_t)&new_tss, 102, 0x89))
CHANGE(absent_tss, gdt[TSS_NEW >> 3] = descriptor((uint32_t)&new_tss, 103, 0x09))
CHANGE(cs_null, new_tss.cs = 0)
CHANGE(cs_data, new_tss.cs = KDATA)
CHANGE(cs_rpl, new_tss.cs = KCODE | 3)
CHANGE(cs_absent, new_tss.cs = S_ABSENT)
CHANGE(cs_outside, new_tss.cs = 0x3f8)
CHANGE(ss_null, new_tss.ss = 0)
CHANGE(ss_rpl, new_tss.ss = KDATA | 3)
CHANGE(ss_read_only, new_tss.ss = S_RO)
CHANGE(ss_absent, new_tss.ss = S_ABSENT_STACK)
CHANGE(ds_outside, new_tss.ds = 0x3f8)
CHANGE(ds_system, new_tss.ds = TSS_MAIN)
CHANGE(ds_absent, new_tss.ds = S_ABSENT_STACK)
CHANGE(ldt_data, new_tss.ldt = KDATA)
CHANGE(ldt_local, new_tss.ldt = 0x44)

static void checks(void)
{
	uint64_t old[3] = {idt[10], idt[11], idt[12]};

	with("tss limit", short_limit);
	with("tss absent", absent_tss);
	with("cs null", cs_null);
	with("cs data", cs_data);
	with("cs rpl", cs_rpl);
	with("cs absent", cs_absent);
	with("cs outside", cs_outside);
	with("ss null", ss_null);
	with("ss rpl", ss_rpl);
	with("ss read-only", ss_read_only);
	with("ss absent", ss_absent);
	with("ds outside", ds_outside);
	with("ds system", ds_system);
	with("ds absent", ds_absent);
	with("ldt data", ldt_data);
	with("ldt local", ldt_local);
	memcpy(&idt[10], old, sizeof(old));
}

static void iret_nested(void)
{
	__asm__ volatile("pushf; orl %0, (%%esp); popf; iret" : : "i"(NT_FLAG));
}

static void back_links(void)
{
	reset_task();
	main_tss.link = 0;
	report("iret nt link null", catch (iret_nested));
	main_tss.link = TSS_NEW;
	report("iret nt to an available task", catch (iret_nested));
	main_tss.link = 0x3f8;
	report("iret nt link outside", catch (iret_nested));
	main_tss.link = KDATA;
	report("iret nt link data", catch (iret_nested));
}

/* #GP handled by a task: the error code is on its stack. */
static void gp_entry(void)
{
	for (;;) {
		__asm__ volatile("pop %0" : "=r"(seen_error));
		main_tss.eip += 2; /* past the instruction */
		__asm__ volatile("iret");
	}
}

static void load_bad_ds(void)
{
	__asm__ volatile("mov %0, %%ds" : : "a"(0x3f8));
}

static void exception_task(void)
{
	uint64_t old = idt[13];

	reset_task();
	gp_tss = (struct tss32){.eip = (uint32_t)gp_entry,
				.eflags = 2,
				.esp = (uint32_t)stack + sizeof(stack),
				.es = KDATA,
				.cs = KCODE,
				.ss = KDATA,
				.ds = KDATA,
				.map = 104};
	gdt[TSS_GP >> 3] = descriptor((uint32_t)&gp_tss, 103, 0x89);
	idt[13] = gate(TSS_GP, 0, 0x85, 0);
	report("#GP as a task", catch (load_bad_ds));
	report_value("  error code", seen_error);
	idt[13] = old;
}

static void small_entry(void)
{
	for (;;)
		__asm__ volatile("mov %%ebx, %0; iret" : "=m"(seen_ebx));
}

static void call_small(void)
{
	__asm__ volatile("lcall %0, $0" : : "i"(TSS_16) : "memory");
}

/* A 16-bit TSS holds 16-bit registers, so its code and stack lie in segments with a base. */
static void small_task(void)
{
	uint32_t code = (uint32_t)small_entry, top = (uint32_t)stack;

	reset_task();
	gdt[0x80 >> 3] = descriptor(code, 0xffff, 0x409b);
	gdt[0x88 >> 3] = descriptor(top, 0xffff, 0x4093);
	small_tss = (struct tss16){.ip = 0,
				   .flags = 2,
				   .bx = 0x5678,
				   .sp = sizeof(stack),
				   .es = KDATA,
				   .cs = 0x80,
				   .ss = 0x88,
				   .ds = KDATA};
	gdt[TSS_16 >> 3] = descriptor((uint32_t)&small_tss, 43, 0x81);
	seen_ebx = 0;
	report("call a 16-bit tss", catch (call_small));
	report_value("  bx", seen_ebx & 0xffff);
	report_value("  link", small_tss.link);
	report_value("  its flags", small_tss.flags);
}

static unsigned traps;
static word trap_dr6;

static void on_debug(void)
{
	traps++;
	trap_dr6 = READ_DR(6) & 0xe00f;
	WRITE_DR(6, 0xffff0ff0);
	new_tss.trap = 0;
}

static void debug_trap(void)
{
	reset_task();
	new_tss.trap = 1;
	handler[1] = on_debug;
	report("call a tss with T set", catch (call_tss));
	handler[1] = NULL;
	print("  traps %d dr6 %x at entry %d\n", (word)traps, trap_dr6, (word)(trap.ip == (word)task_entry));
}

int main(void)
{
	gdt[S_ABSENT >> 3] = descriptor(0, 0xfffff, 0xc01b);
	gdt[S_ABSENT_STACK >> 3] = descriptor(0, 0xfffff, 0xc013);
	gdt[S_RO >> 3] = descriptor(0, 0xfffff, 0xc091);
	main_tss.esp0 = (uint32_t)kernel_stack + sizeof(kernel_stack);
	main_tss.ss0 = KDATA;
	good();
	checks();
	back_links();
	exception_task();
	small_task();
	debug_trap();
	return 0;
}
