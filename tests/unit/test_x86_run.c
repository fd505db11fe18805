/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter's run loop, code cache and fast handlers on small pieces of code: corners of control flow
 * that random tests of single instructions do not reach. The guest is 32-bit and flat, without paging; HLT
 * ends it.
 */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/core/vm.h"
#include "tests/unit/jit_env.h"

#define RAM_SIZE  0x1000000u
#define CODE_GPA  0x10000u
#define STACK_GPA 0x7f800u
/* A place in the page that shares an entry of the TLB with the topmost of the stack. */
#define OPERAND (STACK_GPA + 0x600 + TLB_ENTRIES * 4096u)

struct rig {
	struct x86_host host;
	struct x86_vm *vm;
	struct x86_cpu *cpu;
	uint8_t *ram;
};

static uint64_t no_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	return UINT64_MAX;
}

static void no_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
}

static struct x86_segment flat_segment(uint16_t attributes)
{
	return (struct x86_segment){
		.limit = UINT32_MAX, .selector = 8, .attributes = attributes, .usable = true};
}

static int rig_setup(void **state)
{
	const struct x86_cpuid_leaf leaf[] = {{.leaf = 0, .eax = 1}, {.leaf = 1, .edx = 1u << 0 | 1u << 15}};
	struct rig *rig = calloc(1, sizeof(*rig));

	rig->host = (struct x86_host){.mmio_read = no_read, .mmio_write = no_write};
	rig->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rig->vm = x86_vm_create(1, &rig->host);
	jit_from_environment(rig->vm);
	assert_int_equal(x86_vm_map(rig->vm, 0, RAM_SIZE, rig->ram, false), 0);
	rig->cpu = x86_cpu_create(rig->vm, 0, leaf, 2);
	*state = rig;
	return 0;
}

static int rig_teardown(void **state)
{
	struct rig *rig = *state;

	x86_cpu_destroy(rig->cpu);
	x86_vm_destroy(rig->vm);
	munmap(rig->ram, RAM_SIZE);
	free(rig);
	return 0;
}

static void run(struct rig *rig, const uint8_t *code, size_t size)
{
	struct x86_cpu *cpu = rig->cpu;

	memcpy(rig->ram + CODE_GPA, code, size);
	x86_vm_written(rig->vm, CODE_GPA, size);
	cpu->cr0 |= CR0_PE;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		cpu->seg[i] = flat_segment(i == SEG_CS ? 0xc09b : 0xc093);
	cpu->r[REG_RSP] = STACK_GPA;
	cpu->rip = CODE_GPA;
	x86_mode_changed(cpu);
	assert_int_equal(x86_cpu_run(cpu), X86_EXIT_HALTED);
}

/* The first stack access misses the TLB, so the general form executes the call and arrives just behind it:
 * not in its block. */
static void test_call_of_the_next_instruction(void **state)
{
	static const uint8_t code[] = {
		0xe8, 0, 0, 0, 0, /* call +0 */
		0x58,             /* pop eax */
		0xf4,             /* hlt */
	};
	struct rig *rig = *state;

	run(rig, code, sizeof(code));
	assert_int_equal(rig->cpu->r[REG_RAX], CODE_GPA + 5);
	assert_int_equal(rig->cpu->r[REG_RSP], STACK_GPA);
	assert_int_equal(rig->cpu->rip, CODE_GPA + sizeof(code));
}

/* The operand and the stack evict each other from the TLB: no lookup of both succeeds, but the instructions
 * must. */
static void test_two_accesses_in_one_tlb_entry(void **state)
{
	static const uint8_t code[] = {
		0xbb, 0x00, 0xfe, 0x47, 0x00, /* mov ebx, OPERAND */
		0xff, 0x13,                   /* call [ebx] */
		0xff, 0x33,                   /* push dword [ebx] */
		0x8f, 0x43, 0x04,             /* pop dword [ebx + 4] */
		0xf4,                         /* hlt */
		0x40,                         /* inc eax (the function) */
		0xc3,                         /* ret */
	};
	static const uint32_t function = CODE_GPA + 13;
	struct rig *rig = *state;

	static_assert(OPERAND == 0x47fe00, "as in the code");
	memcpy(rig->ram + OPERAND, &function, sizeof(function));
	run(rig, code, sizeof(code));
	assert_int_equal(rig->cpu->r[REG_RAX], 1);
	assert_memory_equal(rig->ram + OPERAND + 4, &function, sizeof(function));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_call_of_the_next_instruction, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_two_accesses_in_one_tlb_entry, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
