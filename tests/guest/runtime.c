/* SPDX-License-Identifier: Apache-2.0 */
/* The payloads' ground, for both widths; see runtime.h. */
#include "tests/guest/runtime.h"

#include <stdarg.h>

#define COM1      0x3f8
#define EXIT_PORT 0x501

struct trap trap;
uint64_t gdt[GDT_ENTRIES];
uint64_t idt[512];
uint8_t tss[104 + 32 + 8192 + 1] __attribute__((aligned(128)));
word user_flags;
uint8_t user_stack[4096] __attribute__((aligned(16))), kernel_stack[8192] __attribute__((aligned(16)));
void (*handler[256])(void);
void (*user_function)(void);

extern uint8_t trap_entries[];
extern word catch_sp;
_Noreturn void catch_trap(word vector);
void enter_user(void);
void runtime_init(void);
void trap_c(word *frame);

void *memset(void *dst, int value, size_t len)
{
	for (uint8_t *p = dst; len--;)
		*p++ = (uint8_t)value;
	return dst;
}

void *memcpy(void *dst, const void *src, size_t len)
{
	uint8_t *d = dst;

	for (const uint8_t *s = src; len--;)
		*d++ = *s++;
	return dst;
}

static void put(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, (uint8_t)c);
}

static void put_number(word value, unsigned base)
{
	char digit[24];
	unsigned n = 0;

	do
		digit[n++] = "0123456789abcdef"[value % base];
	while (value /= base);
	while (n)
		put(digit[--n]);
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	for (; *format; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		switch (*++format) {
		case 's':
			for (const char *s = va_arg(args, const char *); *s; s++)
				put(*s);
			break;
		case 'x': put_number(va_arg(args, word), 16); break;
		case 'd': put_number(va_arg(args, word), 10); break;
		case 'c': put((char)va_arg(args, int)); break;
		default: put('%');
		}
	}
	va_end(args);
}

static const char *const vector_name[] = {"DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM", "DF", "9",
					  "TS", "NP", "SS",  "GP", "PF", "15", "MF", "AC", "MC", "XM"};

static bool vector_has_code(int vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

void report(const char *name, int vector)
{
	print("%s: ", name);
	if (vector < 0)
		print("ok");
	else if (vector < 20)
		print("#%s", vector_name[vector]);
	else
		print("vector %x", (word)vector);
	if (vector_has_code(vector))
		print("(%x)", trap.error);
	print("\n");
}

void report_value(const char *name, word value)
{
	print("%s: %x\n", name, value);
}

_Noreturn void finish(void)
{
	print("end\n");
	outb(EXIT_PORT, 0);
	for (;;)
		__asm__ volatile("cli; hlt");
}

uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attributes)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attributes & 0xf0ff) << 40 |
	       (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

uint64_t gate(uint16_t selector, uint32_t offset, uint8_t access, unsigned count)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)count << 32 | (uint64_t)access << 40 |
	       (uint64_t)(offset >> 16) << 48;
}

void idt_set(unsigned vector, word offset, uint8_t access)
{
#ifdef __x86_64__
	idt[2 * vector] = gate(KCODE, (uint32_t)offset, access, 0);
	idt[2 * vector + 1] = offset >> 32;
#else
	idt[vector] = gate(KCODE, offset, access, 0);
#endif
}

static void frame_read(const word *frame)
{
#ifdef __x86_64__
	frame += 15;
#else
	trap.es = frame[0];
	trap.ds = frame[1];
	frame += 10;
#endif
	trap.vector = frame[0];
	trap.error = frame[1];
	trap.ip = frame[2];
	trap.cs = frame[3];
	trap.flags = frame[4];
	trap.sp = frame[5];
	trap.ss = frame[6];
	trap.frame_sp = (word)(frame + (vector_has_code((int)trap.vector) ? 1 : 2));
	trap.cr2 = READ_CR(2);
}

void trap_c(word *frame)
{
	frame_read(frame);
	if (handler[trap.vector]) {
		handler[trap.vector]();
		return;
	}
	if (catch_sp)
		catch_trap(trap.vector);
	print("unexpected trap %d error %x at %x\n", trap.vector, trap.error, trap.ip);
	outb(EXIT_PORT, 1);
	for (;;)
		__asm__ volatile("cli; hlt");
}

int catch_user(void (*fn)(void))
{
	int vector;

	user_function = fn;
	vector = catch (enter_user);
	return vector == RETURN_VECTOR ? -1 : vector;
}

void tables_load(void)
{
	struct {
		uint16_t limit;
		word base;
	} __attribute__((packed)) table = {sizeof(gdt) - 1, (word)gdt};

	__asm__ volatile("lgdt %0" : : "m"(table));
	table.limit = sizeof(word) * 2 * 256 - 1;
	table.base = (word)idt;
	__asm__ volatile("lidt %0" : : "m"(table));
#ifdef __x86_64__
	__asm__ volatile("push $0x08; push $1f; lretq; 1:" : : : "memory");
#else
	__asm__ volatile("ljmp $0x08, $1f; 1:" : : : "memory");
#endif
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; mov %0, %%ss"
			 :
			 : "r"((word)KDATA));
}

static void gdt_init(void)
{
	uint32_t flat = sizeof(word) == 8 ? 0xa000 : 0xc000;

	gdt[1] = descriptor(0, 0xfffff, flat | 0x9b);
	gdt[2] = descriptor(0, 0xfffff, 0xc093);
	gdt[3] = descriptor(0, 0xfffff, flat | 0xfb);
	gdt[4] = descriptor(0, 0xfffff, 0xc0f3);
	gdt[5] = descriptor((uint32_t)(word)tss, sizeof(tss) - 1, 0x89);
}

static void tss_init(void)
{
	word stack = (word)kernel_stack + sizeof(kernel_stack);

	memset(tss, 0xff, sizeof(tss)); /* the I/O map denies all */
	memset(tss, 0, 104);
	memcpy(tss + 4, &stack, sizeof(stack));
	if (sizeof(word) == 4)
		tss[8] = KDATA;
	tss[102] = 104 + 32; /* the interrupt redirection map lies before the I/O map */
	__asm__ volatile("ltr %w0" : : "r"(TSS));
}

void runtime_init(void)
{
	outb(0x21, 0xff); /* firmware may have left its timer running */
	outb(0xa1, 0xff);
	gdt_init();
	for (unsigned i = 0; i < 256; i++)
		idt_set(i, (word)trap_entries + 16 * i, i == RETURN_VECTOR ? 0xee : 0x8e);
	tables_load();
	__asm__ volatile("lldt %w0" : : "r"(0));
	tss_init();
}
