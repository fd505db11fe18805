/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many guest instructions a second the built-in engine executes: small loops of known length, each the
 * best of a few runs. JSON on standard output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/engine_rig.h"

#define PAYLOAD(name_, text_)                                                                                \
	extern const uint8_t name_##_begin[], name_##_end[];                                                 \
	__asm__(".pushsection .rodata\n.code64\n.globl " #name_ "_begin, " #name_ "_end\n" #name_            \
		"_begin:\n" text_ "\nout %al, $0xf4\n" #name_ "_end:\n.popsection")

/* 10 instructions a round. */
PAYLOAD(alu, "mov $10000000, %ecx\n 1: add %rcx, %rax\n mov %rax, %rdx\n shr $7, %rdx\n xor %rdx, %rbx\n lea "
	     "3(%rbx,%rax,2), %rsi\n"
	     "and $0xffff, %esi\n sub %rsi, %rax\n imul %rsi, %rdx\n dec %ecx\n jnz 1b");
/* 9: a byte checksum with a table. */
PAYLOAD(table,
	"mov $10000000, %ecx\n mov $0x200000, %ebx\n xor %eax, %eax\n 1: mov %ecx, %edx\n and $0xfff, %edx\n"
	"movzbl (%rbx,%rdx), %esi\n xor %eax, %esi\n movzbl %sil, %esi\n shr $8, %eax\n xor "
	"0x1000(%rbx,%rsi,4), %eax\n"
	"sub $1, %ecx\n jnz 1b");
/* 11: calls, returns, stack. */
PAYLOAD(call,
	"mov $5000000, %ecx\n 1: mov %ecx, %edi\n call 2f\n add %eax, %ebx\n dec %ecx\n jnz 1b\n jmp 3f\n"
	"2: push %rbp\n mov %rsp, %rbp\n lea 1(%rdi), %eax\n pop %rbp\n test %eax, %eax\n ret\n 3:");
/* 8: stores, loads, a compare with memory, a conditional jump that alternates. */
PAYLOAD(memory, "mov $10000000, %ecx\n mov $0x200000, %ebx\n 1: mov %ecx, %edx\n and $0x3ff8, %edx\n mov "
		"%rcx, (%rbx,%rdx)\n"
		"add 8(%rbx,%rdx), %rax\n cmp %rax, 16(%rbx)\n ja 2f\n 2: dec %ecx\n jnz 1b");

static const struct {
	const char *name;
	const uint8_t *begin, *end;
	double instructions;
} loops[] = {
	{"alu", alu_begin, alu_end, 100e6},
	{"table", table_begin, table_end, 90e6},
	{"call", call_begin, call_end, 55e6},
	{"memory", memory_begin, memory_end, 80e6},
};

#define RUNS 3

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double best_of(struct rig *rig, const uint8_t *begin, const uint8_t *end)
{
	double best = 1e9;

	for (unsigned run = 0; run < RUNS; run++) {
		double start = seconds(), taken;

		rig_load(rig, 0, RIG_CODE, begin, end);
		rig_run(rig, 0);
		taken = seconds() - start;
		if (taken < best)
			best = taken;
	}
	return best;
}

int main(void)
{
	struct rig rig;
	double instructions = 0, taken = 0;

	if (rig_init(&rig, 1))
		return EXIT_FAILURE;
	printf("{\n");
	for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		double best = best_of(&rig, loops[i].begin, loops[i].end);

		printf("  \"%s_mips\": %.0f,\n", loops[i].name, loops[i].instructions / best / 1e6);
		instructions += loops[i].instructions;
		taken += best;
	}
	printf("  \"mixed_mips\": %.0f\n}\n", instructions / taken / 1e6);
	rig_free(&rig);
	return EXIT_SUCCESS;
}
