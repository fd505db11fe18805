/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code that changes, in the ways of those who change it: Linux (text_poke with INT3, jump labels, ftrace,
 * alternatives through another mapping), LuaJIT (a buffer that is writable or executable, by turns), V8
 * (constants inside of code, code that moves), the JVM (entries and call sites that are written while others
 * run them), and plain self-modification. Every case runs often enough to be translated, and knows what each
 * call must return. Intel SDM vol. 3, 8.1.3 and 11.6.
 */
#ifdef ONE_CPU
#include "tests/guest/runtime.h"
#else
#include "tests/guest/smp64.h"
#endif

#define ROUNDS    300u
#define HOT       150u /* calls until a piece of code has surely been translated */
#define PAGE      4096u
#define ALIAS     0x40000000ul /* the code pages once more, writable, from here */
#define WINDOW    0x40200000ul /* pages whose mapping changes */
#define CODE_PAGE 8u

typedef uint64_t code_fn(uint64_t argument);

extern uint64_t boot_pd[2048];
static uint64_t alias_table[512] __attribute__((aligned(4096))),
	window_table[512] __attribute__((aligned(4096)));
static uint8_t code[CODE_PAGE * PAGE] __attribute__((aligned(4096)));

static void check(const char *name, unsigned bad)
{
	print("%s: %s\n", name, bad ? "WRONG" : "ok");
}

static code_fn *function_at(const void *at)
{
	return (code_fn *)(uintptr_t)at;
}

static uint8_t *alias_of(const uint8_t *at)
{
	return (uint8_t *)(ALIAS + (uintptr_t)(at - code));
}

static void serialize(void)
{
	uint32_t out[4];

	cpuid(0, 0, out);
}

static void put32(uint8_t *at, uint32_t value)
{
	*(volatile uint32_t *)(void *)at = value;
}

static void put8(uint8_t *at, uint8_t value)
{
	*(volatile uint8_t *)at = value;
}

/* mov $value, %eax; ret */
static void put_constant(uint8_t *at, uint32_t value)
{
	put8(at, 0xb8);
	put32(at + 1, value);
	put8(at + 5, 0xc3);
}

static void heat(const uint8_t *at)
{
	for (unsigned i = 0; i < HOT; i++)
		function_at(at)(0);
}

/* The constant of a hot function is written where it runs. */
static void same_page(void)
{
	unsigned bad = 0;

	put_constant(code, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		put32(code + 1, i);
		for (unsigned k = 0; k < 4; k++)
			bad += function_at(code)(0) != i;
	}
	heat(code);
	put32(code + 1, 77);
	check("constant", bad + (function_at(code)(0) != 77));
}

/* The same by way of another linear address. */
static void other_alias(void)
{
	unsigned bad = 0;

	put_constant(code, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		put32(alias_of(code) + 1, i);
		serialize();
		bad += function_at(code)(0) != i;
		if (i % 50 == 0)
			heat(code);
	}
	check("constant through another mapping", bad);
}

/* An instruction that begins in one page and ends in the next: each half is written. */
static void across_pages(void)
{
	uint8_t *at = code + PAGE - 3;
	unsigned bad = 0;

	put_constant(at, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t value = (i & 0xffff) | i << 20;

		put8(at + 1, (uint8_t)value);
		put8(at + 2, (uint8_t)(value >> 8));
		*(volatile uint16_t *)(void *)(at + 3) = (uint16_t)(value >> 16);
		bad += function_at(at)(0) != value;
		if (i % 50 == 0)
			heat(at);
	}
	put8(at + 4, 0x12);
	check("across two pages", bad + (function_at(at)(0) >> 24 != 0x12));
}

/* movb %dil, 1f(%rip); jmp 1f-1; mov $0, %al; ret: code writes the instruction that it jumps to. */
static const uint8_t writes_ahead[] = {0x31, 0xc0, 0x40, 0x88, 0x3d, 0x03, 0x00,
				       0x00, 0x00, 0xeb, 0x00, 0xb0, 0x00, 0xc3};
/* The same without the jump: the very next instruction. */
static const uint8_t writes_next[] = {0x31, 0xc0, 0x40, 0x88, 0x3d, 0x01, 0x00, 0x00, 0x00, 0xb0, 0x00, 0xc3};

static void own_block(const char *name, const uint8_t *bytes, size_t size)
{
	unsigned bad = 0;

	memcpy(code + 64, bytes, size);
	for (unsigned i = 0; i < ROUNDS; i++)
		bad += function_at(code + 64)(i & 0xff) != (i & 0xff);
	check(name, bad);
}

/* A loop that writes an instruction of itself at every turn: sum of 1..n. */
static const uint8_t writes_loop[] = {0x31, 0xc0,                         /*    xor %eax, %eax */
				      0x89, 0x3d, 0x01, 0x00, 0x00, 0x00, /* 1: mov %edi, imm(%rip) */
				      0x05, 0x00, 0x00, 0x00, 0x00,       /*    add $imm, %eax */
				      0xff, 0xcf,                         /*    dec %edi */
				      0x75, 0xf1,                         /*    jnz 1b */
				      0xc3};

static void own_loop(void)
{
	unsigned bad = 0;

	memcpy(code + 128, writes_loop, sizeof(writes_loop));
	for (unsigned i = 1; i < 60; i++)
		bad += function_at(code + 128)(i) != i * (i + 1) / 2;
	check("loop that writes itself", bad);
}

static uint8_t *patched_caller;

static uint64_t patch_caller(void)
{
	put32(patched_caller, *(uint32_t *)(void *)patched_caller + 1);
	return 0;
}

/* sub $8, %rsp; mov $patch_caller, %rax; call *%rax; mov $imm, %eax; add $8, %rsp; ret: the callee patches
 * its caller. */
static void return_to_patched(void)
{
	uint8_t *at = code + 256;
	unsigned bad = 0;
	uint64_t target = (uintptr_t)patch_caller;

	memcpy(at, (const uint8_t[]){0x48, 0x83, 0xec, 0x08, 0x48, 0xb8}, 6);
	memcpy(at + 6, &target, 8);
	memcpy(at + 14, (const uint8_t[]){0xff, 0xd0, 0xb8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 0x08, 0xc3}, 12);
	patched_caller = at + 17;
	for (unsigned i = 1; i <= ROUNDS; i++)
		bad += function_at(at)(0) != i;
	check("caller patched by its callee", bad);
}

/* REP MOVSB and REP STOSB over hot code, as memcpy does it. */
static void string_copies(void)
{
	uint8_t body[2][6], *from, *to;
	unsigned bad = 0;

	put_constant(body[0], 11);
	put_constant(body[1], 22);
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t count = 6;

		from = body[i & 1];
		to = code + PAGE + 100;
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		bad += function_at(code + PAGE + 100)(0) != (i & 1 ? 22 : 11);
		if (i % 60 == 0)
			heat(code + PAGE + 100);
	}
	check("string copy over code", bad);
}

/* V8: a 64-bit constant inside of hot code. */
static void wide_constant(void)
{
	uint8_t *at = code + 2 * PAGE + 6; /* the constant is aligned */
	unsigned bad = 0;

	put8(at, 0x48);
	put8(at + 1, 0xb8);
	put8(at + 10, 0xc3);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		*(volatile uint64_t *)(void *)(at + 2) = i * 0x0123456789abcdefull;
		bad += function_at(at)(0) != i * 0x0123456789abcdefull;
		if (i % 50 == 0)
			heat(at);
	}
	check("64-bit constant", bad);
}

/* V8: code moves to another place, where something else was, and its old place is filled with INT3. */
static void code_moves(void)
{
	uint8_t *place[2] = {code + 3 * PAGE, code + 3 * PAGE + 512};
	unsigned bad = 0;

	put_constant(place[0], 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint8_t *old = place[i & 1], *new = place[~i & 1];

		memcpy(new, old, 6);
		memset(old, 0xcc, 6);
		put32(new + 1, i);
		bad += function_at(new)(0) != i;
		if (i % 40 == 0)
			heat(new);
		bad += catch ((void (*)(void))(uintptr_t)old) != 3;
	}
	check("code that moves", bad);
}

/* Data beside code, and a trampoline on the stack. */
static void data_beside_code(void)
{
	uint8_t *at = code + 4 * PAGE + 40, trampoline_room[16];
	volatile uint64_t *data = (volatile uint64_t *)(void *)(code + 4 * PAGE);
	unsigned bad = 0;

	put_constant(at, 5);
	for (unsigned i = 0; i < 4 * ROUNDS; i++) {
		data[i & 3] += i;
		bad += function_at(at)(0) != 5;
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		put_constant(trampoline_room, i);
		bad += function_at(trampoline_room)(0) != i;
	}
	check("data beside code, code on the stack", bad);
}

static void map_window(unsigned page, const uint8_t *memory, uint64_t bits)
{
	window_table[page] = (uintptr_t)memory | bits;
	__asm__ volatile("invlpg %0" : : "m"(*(uint8_t *)(WINDOW + PAGE * page)) : "memory");
}

/* LuaJIT: the buffer is writable or executable, never both. */
static void writable_or_executable(void)
{
	const uint64_t present = 1, writable = 2, no_execute = 1ull << 63;
	uint8_t *at = (uint8_t *)WINDOW;
	unsigned bad = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		map_window(0, code + 5 * PAGE, present | writable | no_execute);
		put_constant(at + 16 * (i % 8), i);
		if (i % 8 == 0)
			bad += catch ((void (*)(void))(uintptr_t)at) != 14;
		map_window(0, code + 5 * PAGE, present);
		bad += function_at(at + 16 * (i % 8))(0) != i;
		if (i % 32 == 0)
			heat(at);
	}
	check("writable or executable by turns", bad);
}

/* Another page appears at the address of hot code. */
static void other_page(void)
{
	unsigned bad = 0;

	put_constant(code + 6 * PAGE, 1);
	put_constant(code + 7 * PAGE, 2);
	for (unsigned i = 0; i < ROUNDS; i++) {
		map_window(1, code + (6 + (i & 1)) * PAGE, 3);
		for (unsigned k = 0; k < 3; k++)
			bad += function_at((void *)(WINDOW + PAGE))(0) != 1 + (i & 1);
		if (i % 50 == 0)
			heat((void *)(WINDOW + PAGE));
	}
	check("another page at the address", bad);
}

#ifndef ONE_CPU
/* What the second CPU does, and what it saw. */
static volatile uint32_t order, finished, seen, seen_wrong;
static volatile uint64_t valid_old, valid_new;
static volatile uint32_t synced;

static void on_sync(void)
{
	serialize();
	__atomic_fetch_add(&synced, 1, __ATOMIC_SEQ_CST);
	apic_write(APIC_EOI, 0);
}

/* As Linux's text_poke_sync: the other CPU executes a serializing instruction. */
static void sync_other(void)
{
	uint32_t before = synced;

	apic_write(APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | 0x52);
	ipi_wait();
	while (synced == before)
		__asm__ volatile("pause");
}

static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

/* Runs what `code` is until told to stop, and counts what it must not return. */
static void run_until_told(void)
{
	while (order) {
		uint64_t value = function_at(code)(0);

		if (value < valid_old || value > valid_new)
			seen_wrong++;
		seen++;
	}
}

void cpu_main(unsigned number)
{
	(void)number;
	__asm__ volatile("sti");
	for (;;) {
		while (!order)
			__asm__ volatile("pause");
		run_until_told();
		finished++;
	}
}

/* It may return old to new, no matter which. */
static void other_begins(uint64_t old, uint64_t new)
{
	seen = seen_wrong = 0;
	valid_old = old;
	valid_new = new;
	order = 1;
	while (!seen)
		__asm__ volatile("pause");
}

static unsigned other_ends(void)
{
	uint32_t before = finished;

	order = 0;
	while (finished == before)
		__asm__ volatile("pause");
	return seen_wrong;
}

/* Waits until the other CPU has run the code some times more. */
static void let_it_run(void)
{
	uint32_t before = seen;

	while (seen - before < 100)
		__asm__ volatile("pause");
}

/* After a sync, and once what was under way has ended, nothing but the new value may be seen. Wrong ones are
 * counted. */
static void nothing_but(uint64_t new)
{
	uint64_t old_bound = valid_old, new_bound = valid_new;

	let_it_run();
	valid_old = valid_new = new;
	let_it_run();
	valid_old = old_bound;
	valid_new = new_bound;
}

/* The JVM: an aligned constant is written in one store while the other CPU runs it. */
static void cross_constant(void)
{
	put_constant(code + 3, 1000); /* the constant is aligned: nops before */
	memset(code, 0x90, 3);
	other_begins(1000, 1100);
	for (unsigned i = 1001; i < 1060; i++) {
		put32(i & 1 ? alias_of(code + 4) : code + 4, i);
		let_it_run();
		sync_other();
		nothing_but(i);
	}
	check("constant that another CPU runs", other_ends());
}

/* Five bytes that are NOP, or a jump over the first of two constants. */
static void put_site(void)
{
	memcpy(code, nop5, 5);                                           /* or jmp +6 */
	memcpy(code + 5, (const uint8_t[]){0xb8, 1, 0, 0, 0, 0xc3}, 6);  /* mov $1, %eax; ret */
	memcpy(code + 11, (const uint8_t[]){0xb8, 2, 0, 0, 0, 0xc3}, 6); /* mov $2, %eax; ret */
}

/* As Linux's text_poke_bp: INT3, the rest, the first byte, and between two the other CPU serializes. */
static void poke(const uint8_t bytes[5])
{
	put8(alias_of(code), 0xcc);
	sync_other();
	for (unsigned i = 1; i < 5; i++)
		put8(alias_of(code + i), bytes[i]);
	sync_other();
	put8(alias_of(code), bytes[0]);
	sync_other();
}

/* INT3 returns to the byte behind it; the other four are skipped, as if NOP stood there. */
__asm__("breakpoint_entry: addq $4, (%rsp); iretq");
extern uint8_t breakpoint_entry[];

static void jump_label(void)
{
	static const uint8_t jump[] = {0xe9, 6, 0, 0, 0};

	put_site();
	idt_set(3, (word)breakpoint_entry, 0x8e);
	other_begins(1, 2);
	for (unsigned i = 0; i < 40; i++) {
		let_it_run();
		poke(i & 1 ? nop5 : jump);
		nothing_but(i & 1 ? 1 : 2);
	}
	check("jump label by INT3", other_ends());
}

/* ftrace: NOP becomes a call of a function that returns to it. */
static void ftrace_call(void)
{
	uint8_t call[5] = {0xe8};
	uint32_t distance = 512 - 5;

	put_site();
	/* What is called returns 5 to the traced function's caller. */
	memcpy(code + 512, (const uint8_t[]){0x48, 0x83, 0xc4, 0x08, 0xb8, 5, 0, 0, 0, 0xc3}, 10);
	memcpy(call + 1, &distance, 4);
	other_begins(1, 5);
	for (unsigned i = 0; i < 40; i++) {
		poke(i & 1 ? nop5 : call);
		nothing_but(i & 1 ? 1 : 5);
	}
	check("ftrace: a call instead of a NOP", other_ends());
}

/* The JVM: an entry becomes a jump to itself (two aligned bytes), is written anew, and let go. */
static void entry_barrier(void)
{
	put_constant(code, 50);
	other_begins(50, 100);
	for (unsigned i = 51; i < 90; i++) {
		*(volatile uint16_t *)(void *)alias_of(code) = 0xfeeb;
		sync_other();
		put8(alias_of(code + 2), (uint8_t)(i >> 8));
		*(volatile uint16_t *)(void *)alias_of(code + 3) = 0;
		put8(alias_of(code + 5), 0xc3);
		*(volatile uint16_t *)(void *)alias_of(code) = (uint16_t)(0xb8 | (i & 0xff) << 8);
		let_it_run();
		sync_other();
		nothing_but(i);
	}
	check("entry closed by a jump to itself", other_ends());
}

#endif

int main(void)
{
	for (unsigned i = 0; i < CODE_PAGE; i++)
		alias_table[i] = ((uintptr_t)code + PAGE * i) | 3;
	boot_pd[ALIAS >> 21] = (uintptr_t)alias_table | 7;
	boot_pd[WINDOW >> 21] = (uintptr_t)window_table | 7;
	WRITE_CR(3, READ_CR(3));
	same_page();
	other_alias();
	across_pages();
	own_block("block that writes ahead and jumps", writes_ahead, sizeof(writes_ahead));
	own_block("block that writes its next instruction", writes_next, sizeof(writes_next));
	own_loop();
	return_to_patched();
	string_copies();
	wide_constant();
	code_moves();
	data_beside_code();
	writable_or_executable();
	other_page();
#ifndef ONE_CPU
	handler[0x52] = on_sync;
	start_cpus(1);
	cross_constant();
	jump_label();
	ftrace_call();
	entry_barrier();
#endif
	return 0;
}
