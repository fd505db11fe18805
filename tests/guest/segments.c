/* SPDX-License-Identifier: Apache-2.0 */
/* Segment loads, limits and types, far transfers, call gates, interrupts through gates, LAR to ARPL. 32 bits.
 */
#include "tests/guest/runtime.h"

enum {
	S_ABSENT = FREE,
	S_READONLY = FREE + 8,
	S_EXECONLY = FREE + 16,
	S_SMALL = FREE + 24,
	S_DOWN = FREE + 32,
	S_CONFORM = FREE + 40,
	S_GATE = FREE + 48,
	S_GATE_KERNEL = FREE + 56,
	S_GATE_ABSENT = FREE + 64,
	S_GATE_DATA = FREE + 72,
	S_CODE_ABSENT = FREE + 80,
	S_LDT = FREE + 96,
	S_STACK_ABSENT = FREE + 104,
	S_SMALL_CODE = FREE + 112,
	S_CONFORM3 = FREE + 136,
};

static uint16_t selector;
static uint32_t far_offset;
static struct {
	uint32_t offset;
	uint16_t selector;
} __attribute__((packed)) far_pointer;

static void set(uint16_t where, uint64_t raw)
{
	gdt[where >> 3] = raw;
}

static void load_ds(void)
{
	__asm__ volatile("mov %0, %%ds" : : "r"(selector));
}

static void load_ss(void)
{
	__asm__ volatile("mov %0, %%ss" : : "r"(selector));
}

static void user_load_ds(void)
{
	__asm__ volatile("mov %0, %%ds; int $0x40" : : "r"(selector));
}

static void user_load_ss(void)
{
	__asm__ volatile("mov %0, %%ss; int $0x40" : : "r"(selector));
}

static void try(const char *name, void (*fn)(void), uint16_t value)
{
	selector = value;
	report(name, catch (fn));
}

static void try_user(const char *name, void (*fn)(void), uint16_t value)
{
	selector = value;
	report(name, catch_user(fn));
}

static void loads(void)
{
	try("ds null", load_ds, 0);
	try("ds null with rpl", load_ds, 3);
	try("ds beyond the gdt", load_ds, 0x3f8);
	try("ds of the missing ldt", load_ds, 4);
	try("ds system descriptor", load_ds, TSS);
	try("ds execute-only code", load_ds, S_EXECONLY);
	try("ds readable code", load_ds, KCODE);
	try("ds absent", load_ds, S_ABSENT);
	try("ds rpl above dpl", load_ds, KDATA | 3);
	try("ss null", load_ss, 0);
	try("ss rpl", load_ss, KDATA | 1);
	try("ss dpl", load_ss, UDATA);
	try("ss read-only", load_ss, S_READONLY);
	try("ss code", load_ss, KCODE);
	try("ss absent", load_ss, S_STACK_ABSENT);
	try_user("user ds kernel data", user_load_ds, KDATA);
	try_user("user ds kernel data rpl 3", user_load_ds, KDATA | 3);
	try_user("user ds own data rpl 0", user_load_ds, UDATA & ~3);
	try_user("user ds conforming code", user_load_ds, S_CONFORM);
	try_user("user ss rpl 0", user_load_ss, UDATA & ~3);
	try_user("user ss null", user_load_ss, 0);
}

static void read_at(void)
{
	__asm__ volatile("mov %0, %%fs; mov %%fs:(%1), %%al" : : "r"(selector), "r"(far_offset) : "eax");
}

static void read4_at(void)
{
	__asm__ volatile("mov %0, %%fs; mov %%fs:(%1), %%eax" : : "r"(selector), "r"(far_offset) : "eax");
}

static void write_at(void)
{
	__asm__ volatile("mov %0, %%fs; movb %%fs:(%1), %%al; movb %%al, %%fs:(%1)"
			 :
			 : "r"(selector), "r"(far_offset)
			 : "eax");
}

static void try_at(const char *name, void (*fn)(void), uint16_t value, uint32_t offset)
{
	far_offset = offset;
	try(name, fn, value);
}

static void limits(void)
{
	try_at("read the last byte", read_at, S_SMALL, 0xfff);
	try_at("read beyond the limit", read_at, S_SMALL, 0x1000);
	try_at("read across the limit", read4_at, S_SMALL, 0xffd);
	try_at("read up to the limit", read4_at, S_SMALL, 0xffc);
	try_at("expand-down below", read_at, S_DOWN, 0xfff);
	try_at("expand-down above", read_at, S_DOWN, 0x1000);
	try_at("expand-down beyond 64k", read_at, S_DOWN, 0x10000);
	try_at("write read-only", write_at, S_READONLY, 0);
	try_at("write code", write_at, KCODE, 0x100000);
	try_at("read code", read_at, KCODE, 0x100000);
	try_at("read through null", read_at, 0, 0x100000);
}

static void jump(void)
{
	far_pointer.selector = selector;
	__asm__ volatile("movl $1f, %0; ljmp *%0; 1:" : "=m"(far_pointer));
}

static void call(void)
{
	far_pointer.selector = selector;
	__asm__ volatile("movl $1f, %0; lcall *%0; jmp 2f; 1: lret; 2:" : "=m"(far_pointer));
}

static void user_jump(void)
{
	far_pointer.selector = selector;
	__asm__ volatile("movl $1f, %0; ljmp *%0; 1: mov $0x23, %%eax; mov %%eax, %%ds; int $0x40"
			 : "=m"(far_pointer)
			 :
			 : "eax");
}

static void user_call(void)
{
	far_pointer.selector = selector;
	__asm__ volatile("lcall *%0; int $0x40" : : "m"(far_pointer) : "memory");
}

/* What a call gate's target sees: 2 parameters, the outer stack. */
static uint32_t gate_seen[6];
void gate_c(const uint32_t *frame);
void gate_c(const uint32_t *frame)
{
	for (unsigned i = 0; i < 6; i++)
		gate_seen[i] = frame[i];
}

extern uint8_t gate_entry[];
__asm__("gate_entry: push %esp; call gate_c; add $4, %esp; lret $8");

static void user_call_parameters(void)
{
	__asm__ volatile(
		"push $0x2222; push $0x1111; lcall %0, $0; cmp $0x23, %%esp; mov %%esp, %%eax; int $0x40"
		:
		: "i"(S_GATE | 3)
		: "eax", "memory");
}

static void transfers(void)
{
	try("jmp null", jump, 0);
	try("jmp beyond the gdt", jump, 0x3f8);
	try("jmp data", jump, KDATA);
	try("jmp rpl 3", jump, KCODE | 3);
	try("jmp user code", jump, UCODE);
	try("jmp absent code", jump, S_CODE_ABSENT);
	try("jmp beyond the limit", jump, S_SMALL_CODE);
	try("jmp conforming", jump, S_CONFORM);
	try("jmp ldt descriptor", jump, S_LDT);
	try("call same level", call, KCODE);
	try("call data", call, KDATA);
	try("call gate to absent code", call, S_GATE_ABSENT);
	try_user("user jmp kernel code", user_jump, KCODE);
	try_user("user jmp conforming", user_jump, S_CONFORM);
	try_user("user jmp conforming dpl 3", user_jump, S_CONFORM3);
	try_user("user jmp gate to the kernel", user_jump, S_GATE | 3);
	try_user("user call kernel gate", user_call, S_GATE_KERNEL);
	try_user("user call gate to data", user_call, S_GATE_DATA | 3);
	try_user("user call absent gate", user_call, S_GATE_ABSENT | 3);
	report("user call gate with parameters", catch_user(user_call_parameters));
	report_value("  return selector", gate_seen[1]);
	report_value("  parameter 1", gate_seen[2]);
	report_value("  parameter 2", gate_seen[3]);
	report_value("  outer stack depth", (uint32_t)user_stack + 4096 - gate_seen[4]);
	report_value("  outer ss", gate_seen[5]);
}

static void lret_to(void)
{
	__asm__ volatile("push %0; push $0x12345678; push %1; push $1f; lret; 1:"
			 :
			 : "r"((uint32_t)UDATA), "r"((uint32_t)selector));
}

static void iret_to(void)
{
	__asm__ volatile("push %0; push $0x12345678; push $2; push %1; push $1f; iret; 1:"
			 :
			 : "r"(far_offset), "r"((uint32_t)selector));
}

static void try_iret(const char *name, uint16_t cs, uint16_t ss)
{
	far_offset = ss;
	try(name, iret_to, cs);
}

static void returns(void)
{
	try("lret to null", lret_to, 0);
	try("lret to data", lret_to, KDATA);
	try("lret beyond the gdt", lret_to, 0x3f8);
	try("lret rpl without dpl", lret_to, KCODE | 3);
	try("lret absent", lret_to, S_CODE_ABSENT);
	try_iret("iret to null", 0, UDATA);
	try_iret("iret with null ss", UCODE, 0);
	try_iret("iret with kernel ss", UCODE, KDATA);
	try_iret("iret with kernel ss rpl 3", UCODE, KDATA | 3);
	try_iret("iret with absent ss", UCODE, S_STACK_ABSENT | 3);
	try_iret("iret with code as ss", UCODE, UCODE);
}

static void int_80(void)
{
	__asm__ volatile("int $0x80");
}

static void interrupts(void)
{
	report("int without right, kernel", catch (int_80));
	report("int without right, user", catch_user(int_80));
	idt_set(0x80, far_offset, 0x6e);
	report("int absent gate", catch_user(int_80));
	idt[0x80] = gate(0, 0, 0xee, 0);
	report("int gate with null code", catch_user(int_80));
	idt[0x80] = gate(KDATA, 0, 0xee, 0);
	report("int gate with data", catch_user(int_80));
	idt[0x80] = gate(0x3f8, 0, 0xee, 0);
	report("int gate beyond the gdt", catch_user(int_80));
	idt[0x80] = gate(S_CODE_ABSENT, 0, 0xee, 0);
	report("int gate with absent code", catch_user(int_80));
	idt[0x80] = gate(KCODE, 0, 0xec, 0);
	report("int call gate in the idt", catch_user(int_80));
}

static uint32_t lar(uint16_t value, bool *ok)
{
	uint32_t result = 0xffffffff;

	__asm__ volatile("lar %2, %0; setz %1" : "+r"(result), "=q"(*ok) : "r"((uint32_t)value) : "cc");
	return result;
}

static void show_lar(const char *name, uint16_t value)
{
	bool ok, lsl_ok, r, w;
	uint32_t rights = lar(value, &ok), limit = 0xffffffff;

	__asm__ volatile("lsl %2, %0; setz %1" : "+r"(limit), "=q"(lsl_ok) : "r"((uint32_t)value) : "cc");
	__asm__ volatile("verr %1; setz %0" : "=q"(r) : "r"(value) : "cc");
	__asm__ volatile("verw %1; setz %0" : "=q"(w) : "r"(value) : "cc");
	print("%s: lar %d %x lsl %d %x verr %d verw %d\n", name, (word)ok, ok ? rights & 0xf0ff00 : 0,
	      (word)lsl_ok, lsl_ok ? limit : 0, (word)r, (word)w);
}

static void queries(void)
{
	uint32_t a = KDATA, b = 3;
	bool z;

	show_lar("null", 0);
	show_lar("kernel code", KCODE);
	show_lar("kernel data", KDATA);
	show_lar("kernel data rpl 3", KDATA | 3);
	show_lar("conforming rpl 3", S_CONFORM | 3);
	show_lar("execute-only", S_EXECONLY);
	show_lar("read-only", S_READONLY);
	show_lar("tss", TSS);
	show_lar("call gate", S_GATE);
	show_lar("ldt", S_LDT);
	show_lar("beyond", 0x3f8);
	__asm__ volatile("arpl %w2, %w0; setz %1" : "+r"(a), "=q"(z) : "r"(b) : "cc");
	print("arpl: %x zf %d\n", (word)a, (word)z);
	b = 0;
	__asm__ volatile("arpl %w2, %w0; setz %1" : "+r"(a), "=q"(z) : "r"(b) : "cc");
	print("arpl again: %x zf %d\n", (word)a, (word)z);
}

static void sldt_etc(void)
{
	__asm__ volatile("lldt %0" : : "r"(selector));
}

static void load_tr(void)
{
	__asm__ volatile("ltr %0" : : "r"(selector));
}

static void tables(void)
{
	try("lldt null", sldt_etc, 0);
	try("lldt", sldt_etc, S_LDT);
	try("ds from the ldt", load_ds, 4);
	try("ds beyond the ldt", load_ds, 0x14);
	try("lldt data", sldt_etc, KDATA);
	try("lldt from the ldt", sldt_etc, 4);
	try("ltr busy", load_tr, TSS);
	try("ltr data", load_tr, KDATA);
	try_user("user lldt", sldt_etc, S_LDT);
	try("ltr null", load_tr, 0); /* last: QEMU loads it, and is lost at the next change of privilege */
}

static uint64_t ldt[2];

int main(void)
{
	set(S_ABSENT, descriptor(0, 0xfffff, 0xc013));
	set(S_STACK_ABSENT, descriptor(0, 0xfffff, 0xc073));
	set(S_READONLY, descriptor(0, 0xfffff, 0xc091));
	set(S_EXECONLY, descriptor(0, 0xfffff, 0xc099));
	set(S_SMALL, descriptor(0x100000, 0xfff, 0x4093));
	set(S_DOWN, descriptor(0x100000, 0xfff, 0x0097));
	set(S_CONFORM, descriptor(0, 0xfffff, 0xc09f));
	set(S_CONFORM3, descriptor(0, 0xfffff, 0xc0ff));
	set(S_CODE_ABSENT, descriptor(0, 0xfffff, 0xc01b));
	set(S_SMALL_CODE, descriptor(0, 0xff, 0x409b));
	set(S_GATE, gate(KCODE, (uint32_t)gate_entry, 0xec, 2));
	set(S_GATE_KERNEL, gate(KCODE, (uint32_t)gate_entry, 0x8c, 0));
	set(S_GATE_DATA, gate(KDATA, (uint32_t)gate_entry, 0xec, 0));
	set(S_GATE_ABSENT, gate(S_CODE_ABSENT, (uint32_t)gate_entry, 0xec, 0));
	ldt[0] = descriptor(0, 0xfffff, 0xc093);
	ldt[1] = descriptor(0, 0xfffff, 0xc093);
	set(S_LDT, descriptor((uint32_t)ldt, sizeof(ldt) - 1, 0x82));
	loads();
	limits();
	transfers();
	returns();
	interrupts();
	queries();
	tables();
	return 0;
}
