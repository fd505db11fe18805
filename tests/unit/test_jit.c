/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The translator beside the interpreter: random programs with loops, calls, faults and stores into their own
 * code must end alike under both, and in verify mode without a mismatch. And that hot code is translated at
 * all, linked, and dropped when it is overwritten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/engine_rig.h"
#include "tests/unit/jit_env.h"
#include "tests/unit/signal_timer.h"

#define PAYLOAD(name_, text_)                                                                                \
	extern const uint8_t name_##_begin[], name_##_end[];                                                 \
	__asm__(".pushsection .rodata\n.code64\n.globl " #name_ "_begin, " #name_ "_end\n" #name_            \
		"_begin:\n" text_ "\n" #name_ "_end:\n.popsection")
#define PROGRAMS 300

/* Tables and handler of the interrupts that disturb a program, where it has nothing. */
#define INTERRUPT_TABLES   0x10000u
#define INTERRUPT_HANDLER  0x12000u
#define INTERRUPT_VECTOR   0x40
#define INTERRUPT_EVERY_NS 60000

#define EXIT "out %al, $0xf4\n"

static void start(struct rig *rig, const char *mode)
{
	if (mode)
		setenv("VMMCTL_TEST_JIT", mode, 1);
	else
		unsetenv("VMMCTL_TEST_JIT");
	assert_int_equal(rig_init(rig, 1), 0);
}

PAYLOAD(sum_loop, "xor %eax, %eax\n mov $1000000, %ecx\n 1: add %rcx, %rax\n dec %rcx\n jnz 1b\n" EXIT);

static void hot_loop_stays_in_translated_code(void **state)
{
	struct rig rig;

	start(&rig, "on");
	rig_load(&rig, 0, RIG_CODE, sum_loop_begin, sum_loop_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 500000500000ull);
	assert_true(jit_counter(rig.vm, "jit_blocks") > 0);
	assert_true(jit_counter(rig.vm, "jit_links") > 0);
	assert_true(jit_counter(rig.vm, "jit_entries") < 100);
	rig_free(&rig);
}

/* A host that gives no code memory: the guest runs all the same. */
static void refused_memory_means_interpreter(void **state)
{
	struct rlimit limit, none;
	struct rig rig;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	start(&rig, "on");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_null(rig.cpu[0]->jit);
	rig_load(&rig, 0, RIG_CODE, sum_loop_begin, sum_loop_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 500000500000ull);
	rig_free(&rig);
}

/* The immediate of the ADD is counted up by the loop that holds it. */
PAYLOAD(patch_self, "lea 2f(%rip), %rbx\n mov $1000, %ecx\n xor %eax, %eax\n"
		    "1: incl 1(%rbx)\n 2: add $0x1000000, %eax\n dec %ecx\n jnz 1b\n" EXIT);

static void code_that_patches_itself(void **state)
{
	uint32_t sum = 0;
	struct rig rig;

	for (unsigned i = 1; i <= 1000; i++)
		sum += 0x1000000 + i;
	start(&rig, "on");
	rig_load(&rig, 0, RIG_CODE, patch_self_begin, patch_self_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], sum);
	rig_free(&rig);
}

/* Jumps to another page and back; the page tables then swap two pages with different code. */
PAYLOAD(cross_page, "mov $1000, %ecx\n xor %eax, %eax\n 1: jmp 2f\n .org cross_page_begin + 0x1010\n"
		    "2: add $3, %eax\n dec %ecx\n jz 3f\n jmp 1b\n 3: " EXIT);

static void jumps_between_pages(void **state)
{
	struct rig rig;

	start(&rig, "on");
	rig_load(&rig, 0, RIG_CODE, cross_page_begin, cross_page_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 3000);
	assert_true(jit_counter(rig.vm, "jit_entries") < 100);
	rig_free(&rig);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * 0x2545f4914f6cdd1dull;
}

struct program {
	uint8_t bytes[2048];
	size_t len;
};

static void put(struct program *program, unsigned count, const uint8_t *bytes)
{
	memcpy(program->bytes + program->len, bytes, count);
	program->len += count;
}

#define PUT(program_, ...)                                                                                   \
	put(program_, sizeof((const uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

/* Any register but rsp, and rbx and r13, which point at data, and rcx and r15, which count. */
static unsigned pick_register(uint64_t *seed)
{
	static const uint8_t usable[] = {0, 2, 5, 6, 7, 8, 9, 10, 11, 12, 14};

	return usable[next_random(seed) % sizeof(usable)];
}

static void put_alu(struct program *program, uint64_t *seed)
{
	static const uint8_t opcode[] = {0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39, 0x85, 0x89, 0x87};
	unsigned a = pick_register(seed), b = pick_register(seed);
	unsigned w = next_random(seed) & 8;

	if (next_random(seed) % 4 == 0)
		PUT(program, 0x66);
	PUT(program, (uint8_t)(0x40 | w | (a >> 3 << 2) | b >> 3), opcode[next_random(seed) % sizeof(opcode)],
	    (uint8_t)(0xc0 | (a & 7) << 3 | (b & 7)));
}

/* [rbx + disp32] or [r13 + disp32], within the data but now and then beyond a page's end. */
static void put_memory(struct program *program, uint64_t *seed)
{
	static const uint8_t opcode[] = {0x01, 0x03, 0x11, 0x13, 0x23, 0x29, 0x2b,
					 0x31, 0x39, 0x3b, 0x85, 0x87, 0x89, 0x8b};
	unsigned reg = pick_register(seed), base = next_random(seed) & 1;
	uint32_t disp = (uint32_t)(next_random(seed) % 0x1fe0);

	PUT(program, (uint8_t)(0x40 | (next_random(seed) & 8) | (reg >> 3 << 2) | base),
	    opcode[next_random(seed) % sizeof(opcode)], (uint8_t)(0x80 | (reg & 7) << 3 | (base ? 5 : 3)),
	    (uint8_t)disp, (uint8_t)(disp >> 8), 0, 0);
}

static void put_other(struct program *program, uint64_t *seed)
{
	unsigned reg = pick_register(seed), rex = 0x48 | reg >> 3;
	uint8_t imm = (uint8_t)next_random(seed);

	switch (next_random(seed) % 10) {
	/* Shifts leave flags undefined, which nobody may see. */
	case 0:
		PUT(program, (uint8_t)rex, 0xc1, (uint8_t)(0xc0 | (imm & 7) << 3 | (reg & 7)), imm);
		PUT(program, 0x48, 0x39, 0xd2);
		break;
	case 1: PUT(program, (uint8_t)rex, 0xd3, (uint8_t)(0xe0 | (reg & 7)), 0x48, 0x39, 0xd2); break;
	case 2:
		PUT(program, (uint8_t)(0x40 | reg >> 3), (uint8_t)(0x50 | (reg & 7))); /* push, pop */
		reg = pick_register(seed);
		PUT(program, (uint8_t)(0x40 | reg >> 3), (uint8_t)(0x58 | (reg & 7)));
		break;
	case 3:
		PUT(program, (uint8_t)(0x40 | reg >> 3), 0x0f, (uint8_t)(0x90 | (imm & 15)),
		    (uint8_t)(0xc0 | (reg & 7)));
		break;
	case 4:
		PUT(program, (uint8_t)(0x48 | reg >> 3), 0x0f, (uint8_t)(0x40 | (imm & 15)),
		    (uint8_t)(0xc0 | (reg & 7)));
		break;
	case 5: PUT(program, 0x0f, 0xc8); break;                                     /* bswap eax */
	case 6: PUT(program, 0x71 ^ (imm & 1), 0x01, 0x90); break;                   /* over a nop */
	case 7: PUT(program, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8); break;          /* call, add rsp */
	case 8: PUT(program, 0x66, 0x0f, 0x6e, 0xc2, 0x66, 0x0f, 0x7e, 0xc6); break; /* movd by xmm0 */
	default: PUT(program, (uint8_t)rex, 0x8d, (uint8_t)(0x44 | (imm & 1) << 3), 0x05, imm); break;
	}
}

/* A loop of 60 rounds, which now and then stores into itself. */
static void make_program(struct program *program, uint64_t *seed)
{
	unsigned count = 5 + (unsigned)(next_random(seed) % 40);
	uint32_t back;
	size_t loop;

	program->len = 0;
	PUT(program, 0xbb, 0, 0, 0x20, 0);                   /* mov ebx, DATA */
	PUT(program, 0x49, 0xc7, 0xc5, 0x08, 0x00, 0x30, 0); /* mov r13, DATA + 1 MiB + 8 */
	PUT(program, 0x41, 0xbf, 60, 0, 0, 0);               /* mov r15d, 60 */
	PUT(program, 0x48, 0xc7, 0xc1, 3, 0, 0, 0);          /* mov rcx, 3 */
	loop = program->len;
	for (unsigned i = 0; i < count; i++) {
		uint64_t kind = next_random(seed) % 8;

		if (kind < 3)
			put_alu(program, seed);
		else if (kind < 6)
			put_memory(program, seed);
		else
			put_other(program, seed);
	}
	if (next_random(seed) % 4 == 0) /* xor byte ptr [rip - some], 0: a store into this very code */
		PUT(program, 0x80, 0x35, (uint8_t) - (int)(next_random(seed) % 60), 0xff, 0xff, 0xff, 0x00);
	PUT(program, 0x41, 0xff, 0xcf); /* dec r15d; jnz loop */
	back = (uint32_t)(loop - (program->len + 6));
	PUT(program, 0x0f, 0x85, (uint8_t)back, (uint8_t)(back >> 8), (uint8_t)(back >> 16),
	    (uint8_t)(back >> 24));
	PUT(program, 0xe6, 0xf4);
}

struct outcome {
	enum x86_exit exit;
	uint64_t r[16], rip;
	uint8_t data[0x4000];
	uint64_t blocks, mismatches, verified;
};

/* The CPU that a timer's signal interrupts, wherever its code is just then; NULL: none. */
static struct x86_cpu *volatile interrupted;
static volatile unsigned interrupts_taken;

static void on_timer(void)
{
	struct x86_cpu *cpu = interrupted;

	if (cpu)
		x86_cpu_post(cpu, ATTENTION_INTR);
}

static int acknowledge(void *opaque, unsigned cpu)
{
	x86_cpu_unpost(interrupted, ATTENTION_INTR);
	interrupts_taken++;
	return INTERRUPT_VECTOR;
}

/* An IDT with the vector's gate, to IRETQ, and a GDT with what it loads. */
static void allow_interrupts(struct rig *rig)
{
	const uint64_t gate[2] = {0x00008e0000080000ull | (INTERRUPT_HANDLER & 0xffff) |
					  (uint64_t)(INTERRUPT_HANDLER >> 16) << 48,
				  0};
	const uint64_t gdt[3] = {0, 0x00af9b000000ffffull, 0x00cf93000000ffffull};
	struct x86_cpu *cpu = rig->cpu[0];

	memcpy(rig->ram + INTERRUPT_TABLES, gdt, sizeof(gdt));
	memcpy(rig->ram + INTERRUPT_TABLES + 0x1000 + 16 * INTERRUPT_VECTOR, gate, sizeof(gate));
	memcpy(rig->ram + INTERRUPT_HANDLER, "\x48\xcf", 2);
	cpu->gdtr.base = INTERRUPT_TABLES;
	cpu->gdtr.limit = sizeof(gdt) - 1;
	cpu->idtr.base = INTERRUPT_TABLES + 0x1000;
	cpu->idtr.limit = 0xfff;
	cpu->eflags |= FLAG_IF;
	rig->host.intr_acknowledge = acknowledge;
	interrupted = cpu;
}

static void run_program_with(const struct program *program, const char *mode, uint64_t code, bool interrupts,
			     struct outcome *outcome)
{
	struct rig rig;

	start(&rig, mode);
	if (interrupts)
		allow_interrupts(&rig);
	for (unsigned i = 0; i < 0x4000; i++)
		rig.ram[RIG_DATA + i] = rig.ram[RIG_DATA + 0x100000 + i] = (uint8_t)(i * 7 + (i >> 8));
	rig_load(&rig, 0, code, program->bytes, program->bytes + program->len);
	for (unsigned i = 0; i < 16; i++)
		if (i != REG_RSP)
			rig.cpu[0]->r[i] = 0x0123456789abcdefull * (i + 1);
	outcome->exit = rig_run(&rig, 0);
	interrupted = NULL;
	memcpy(outcome->r, rig.cpu[0]->r, sizeof(outcome->r));
	outcome->rip = rig.cpu[0]->rip;
	memcpy(outcome->data, rig.ram + RIG_DATA, 0x2000);
	memcpy(outcome->data + 0x2000, rig.ram + RIG_DATA + 0x100000, 0x2000);
	outcome->blocks = jit_counter(rig.vm, "jit_blocks");
	outcome->verified = jit_counter(rig.vm, "jit_verified");
	outcome->mismatches = jit_counter(rig.vm, "jit_mismatches");
	rig_free(&rig);
}

static void run_program(const struct program *program, const char *mode, uint64_t code,
			struct outcome *outcome)
{
	run_program_with(program, mode, code, false, outcome);
}

/* VMMCTL_RANDOM_PROGRAMS=N runs longer, with other programs than the few of each run of the tests. */
static unsigned program_count(uint64_t *seed)
{
	const char *wanted = getenv("VMMCTL_RANDOM_PROGRAMS");

	if (!wanted)
		return PROGRAMS;
	*seed ^= (uint64_t)time(NULL) << 16;
	print_message("seed %#llx\n", (unsigned long long)*seed);
	return (unsigned)strtoul(wanted, NULL, 10);
}

/* An interrupt now and then, at whatever boundary it finds: the program's outcome is the same. */
static void interrupts_change_nothing(void **state)
{
	static struct outcome plain, disturbed;
	uint64_t seed = 0x1e7;
	unsigned count = program_count(&seed);
	struct program program;

	interrupts_taken = 0;
	signal_timer_start(on_timer, INTERRUPT_EVERY_NS);
	for (unsigned i = 0; i < count; i++) {
		uint64_t code = RIG_CODE + (i % 3 ? 0 : 0xf80 + next_random(&seed) % 0x70);

		make_program(&program, &seed);
		run_program(&program, NULL, code, &plain);
		run_program_with(&program, i & 1 ? "on" : "verify", code, true, &disturbed);
		assert_int_equal(disturbed.mismatches, 0);
		disturbed.blocks = plain.blocks = 0;
		disturbed.verified = plain.verified = 0;
		assert_memory_equal(&plain, &disturbed, sizeof(plain));
	}
	signal_timer_stop();
	assert_true(interrupts_taken > 0);
}

static void random_programs_end_alike(void **state)
{
	static struct outcome plain, translated, verified;
	uint64_t seed = 0x5eed, blocks = 0;
	struct program program;
	unsigned count;

	count = program_count(&seed);
	for (unsigned i = 0; i < count; i++) {
		/* Near the end of a page an instruction crosses into the next. */
		uint64_t code = RIG_CODE + (i % 3 ? 0 : 0xf80 + next_random(&seed) % 0x70);

		make_program(&program, &seed);
		run_program(&program, NULL, code, &plain);
		run_program(&program, "on", code, &translated);
		run_program(&program, "verify", code, &verified);
		assert_int_equal(verified.mismatches, 0);
		assert_true(verified.verified > 0);
		verified.verified = 0;
		blocks += translated.blocks;
		plain.blocks = translated.blocks = verified.blocks = 0;
		assert_memory_equal(&plain, &translated, sizeof(plain));
		assert_memory_equal(&plain, &verified, sizeof(plain));
	}
	assert_true(blocks > count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hot_loop_stays_in_translated_code),
		cmocka_unit_test(refused_memory_means_interpreter),
		cmocka_unit_test(code_that_patches_itself),
		cmocka_unit_test(jumps_between_pages),
		cmocka_unit_test(random_programs_end_alike),
		cmocka_unit_test(interrupts_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
