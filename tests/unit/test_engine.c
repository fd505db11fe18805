/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in engine as a whole on small payloads: blocks and links, dispatch that does not grow the stack,
 * code that is overwritten by the CPU itself, by another one and by the host, accesses across pages, devices,
 * locked operations of two CPUs. The payloads are assembled with the test.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/phys.h"
#include "tests/unit/engine_rig.h"

#define PAYLOAD(name_, text_)                                                                                \
	extern const uint8_t name_##_begin[], name_##_end[];                                                 \
	__asm__(".pushsection .rodata\n.code64\n.globl " #name_ "_begin, " #name_ "_end\n" #name_            \
		"_begin:\n" text_ "\n" #name_ "_end:\n.popsection")
#define EXIT "out %al, $0xf4\n"

static void start(struct rig *rig, unsigned cpus)
{
	assert_int_equal(rig_init(rig, cpus), 0);
}

PAYLOAD(sum_loop, "xor %eax, %eax\n mov $1000000, %ecx\n 1: add %rcx, %rax\n dec %rcx\n jnz 1b\n" EXIT);

static void loops_and_flags(void **state)
{
	struct rig rig;

	start(&rig, 1);
	rig_load(&rig, 0, RIG_CODE, sum_loop_begin, sum_loop_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 500000500000ull);
	assert_int_equal(rig.cpu[0]->rip, RIG_CODE + (uint64_t)(sum_loop_end - sum_loop_begin));
	rig_free(&rig);
}

/* Calls, returns, indirect jumps and conditional ones, a million times, with the depth of the host's stack
 * taken twice. */
PAYLOAD(deep,
	"out %al, $0xf5\n mov $200000, %ecx\n lea 5f(%rip), %rdx\n"
	"1: call 3f\n call *%rdx\n jmp 2f\n nop\n 2: test $1, %cl\n jz 4f\n nop\n 4: dec %ecx\n jnz 1b\n"
	"mov $1, %eax\n out %al, $0xf5\n" EXIT "3: push %rbx\n pop %rbx\n ret\n 5: ret\n");

static void dispatch_keeps_the_stack(void **state)
{
	struct rig rig;
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	start(&rig, 1);
	rig_load(&rig, 0, RIG_CODE, deep_begin, deep_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_true(here - rig.mark < 4096);
	rig_free(&rig);
}

/* The store changes the immediate of the instruction right behind it, in the same block, on each of three
 * rounds. */
PAYLOAD(patch_self,
	"xor %ebx, %ebx\n mov $3, %ecx\n 1: mov %cl, 2f+1(%rip)\n 2: mov $0x7f, %al\n movzx %al, %eax\n"
	"add %eax, %ebx\n dec %ecx\n jnz 1b\n" EXIT);

static void own_code_changes_at_once(void **state)
{
	struct rig rig;

	start(&rig, 1);
	rig_load(&rig, 0, RIG_CODE, patch_self_begin, patch_self_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.cpu[0]->r[REG_RBX], 3 + 2 + 1);
	assert_true(rig.cpu[0]->code->drops >= 3);
	rig_free(&rig);
}

/* Data beside code: the page is slow to write, but nothing is decoded again. */
PAYLOAD(data_beside, "mov $100000, %ecx\n 1: incl 2f(%rip)\n dec %ecx\n jnz 1b\n mov 2f(%rip), %eax\n" EXIT
		     ".balign 64\n 2: .long 5\n");

static void data_in_a_code_page(void **state)
{
	struct rig rig;

	start(&rig, 1);
	rig_load(&rig, 0, RIG_CODE, data_beside_begin, data_beside_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 100005);
	assert_int_equal(rig.cpu[0]->code->drops, 0);
	rig_free(&rig);
}

PAYLOAD(constant, "mov $0x11, %eax\n" EXIT);

static void host_writes_are_seen(void **state)
{
	struct rig rig;

	start(&rig, 1);
	rig_load(&rig, 0, RIG_CODE, constant_begin, constant_end);
	rig_run(&rig, 0);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 0x11);
	rig.ram[RIG_CODE + 1] = 0x22;
	x86_vm_written(rig.vm, RIG_CODE + 1, 1);
	rig.cpu[0]->rip = RIG_CODE;
	rig_run(&rig, 0);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 0x22);
	rig_free(&rig);
}

/* A page that held code and holds none any more becomes writable without a detour. */
PAYLOAD(fill_page, "mov $0x300000, %rdi\n call *%rdi\n mov $0x300000, %rdi\n mov $512, %ecx\n xor %eax, "
		   "%eax\n rep stosq\n"
		   "movq $1, 0x300800\n movq $1, 0x300800\n" EXIT);

static void reused_pages_become_plain(void **state)
{
	struct rig rig;
	const struct x86_region *region;

	start(&rig, 1);
	rig.ram[0x300000] = 0xc3;
	rig_load(&rig, 0, RIG_CODE, fill_page_begin, fill_page_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	region = x86_vm_region(rig.vm, 0x300000);
	assert_int_equal(atomic_load(x86_region_lines(region, 0x300000)), 0);
	rig_free(&rig);
}

/* Loads and stores across a page, an instruction across a page. */
PAYLOAD(crossing, "mov $0x1122334455667788, %rax\n mov $0x200ffd, %rbx\n mov %rax, (%rbx)\n mov (%rbx), "
		  "%rcx\n addl $1, (%rbx)\n"
		  "lock incl (%rbx)\n mov (%rbx), %rdx\n" EXIT);

static void page_crossing(void **state)
{
	struct rig rig;

	start(&rig, 1);
	for (unsigned at = 0xff0; at < 0x1000; at++) { /* every instruction crosses once */
		rig_load(&rig, 0, RIG_CODE + at, crossing_begin, crossing_end);
		assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
		assert_int_equal(rig.cpu[0]->r[REG_RCX], 0x1122334455667788);
		assert_int_equal(rig.cpu[0]->r[REG_RDX], 0x112233445566778a);
		rig.cpu[0]->r[REG_RCX] = rig.cpu[0]->r[REG_RDX] = 0;
	}
	rig_free(&rig);
}

PAYLOAD(device, "mov $0x10000000, %rbx\n movl $0x12345678, 0x24(%rbx)\n mov 0x30(%rbx), %eax\n cmpl "
		"$0x12345678, (%rbx)\n sete %cl\n" EXIT);

static void devices_by_callback(void **state)
{
	struct rig rig;

	start(&rig, 1);
	rig_load(&rig, 0, RIG_CODE, device_begin, device_end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	assert_int_equal(rig.mmio_gpa, 0x10000000);
	assert_int_equal(rig.mmio_size, 4);
	assert_int_equal(rig.cpu[0]->r[REG_RAX], 0x12345678);
	assert_int_equal(rig.cpu[0]->r[REG_RCX] & 0xff,
			 1); /* flags of a comparison that no fast handler made */
	rig_free(&rig);
}

struct runner {
	struct rig *rig;
	unsigned cpu;
	enum x86_exit exit;
};

static void *run_thread(void *opaque)
{
	struct runner *runner = opaque;

	runner->exit = rig_run(runner->rig, runner->cpu);
	return NULL;
}

static void run_two(struct rig *rig)
{
	struct runner runner[2] = {{rig, 0, X86_EXIT_HALTED}, {rig, 1, X86_EXIT_HALTED}};
	pthread_t thread[2];

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_thread, &runner[i]), 0);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(runner[i].exit, X86_EXIT_KICKED);
	}
}

/* Aligned, and split between two pages: there the plain atomics of the host cannot serve. */
PAYLOAD(count_up, "mov $20000, %ecx\n 1: lock incq 0x200000\n lock addl $2, 0x200100\n dec %ecx\n jnz 1b\n"
		  "mov $300, %ecx\n 2: lock incq 0x201ffc\n dec %ecx\n jnz 2b\n" EXIT);

static void locked_operations(void **state)
{
	struct rig rig;
	uint64_t value;

	start(&rig, 2);
	rig_load(&rig, 0, RIG_CODE, count_up_begin, count_up_end);
	rig.cpu[1]->rip = RIG_CODE;
	run_two(&rig);
	memcpy(&value, rig.ram + 0x200000, 8);
	assert_int_equal(value, 40000);
	memcpy(&value, rig.ram + 0x200100, 8);
	assert_int_equal(value, 80000);
	memcpy(&value, rig.ram + 0x201ffc, 8);
	assert_int_equal(value, 600);
	rig_free(&rig);
}

/* CPU 0 rewrites the function that CPU 1 calls, then tells it by a flag; CPU 1 serialises and must run the
 * new code. */
PAYLOAD(writer, "mov $1, %ecx\n 1: mov %cl, 0x300001\n mov %ecx, 0x200000\n 2: cmp %ecx, 0x200040\n jne 2b\n"
		"inc %ecx\n cmp $100, %ecx\n jne 1b\n" EXIT);
PAYLOAD(reader, "xor %r12d, %r12d\n mov $1, %esi\n 1: cmp %esi, 0x200000\n jne 1b\n xor %eax, %eax\n cpuid\n "
		"mov $0x300000, %edi\n"
		"call *%rdi\n cmp %eax, %esi\n je 2f\n inc %r12d\n 2: mov %esi, 0x200040\n inc %esi\n cmp "
		"$100, %esi\n jne 1b\n" EXIT);

static void code_changed_by_another_cpu(void **state)
{
	static const uint8_t function[] = {0xb8, 0, 0, 0, 0, 0xc3}; /* mov $n, %eax; ret */
	struct rig rig;

	start(&rig, 2);
	memcpy(rig.ram + 0x300000, function, sizeof(function));
	rig_load(&rig, 0, RIG_CODE, writer_begin, writer_end);
	rig_load(&rig, 1, RIG_CODE + 0x1000, reader_begin, reader_end);
	run_two(&rig);
	assert_int_equal(rig.cpu[1]->r[REG_R12], 0);
	rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_and_flags),
		cmocka_unit_test(dispatch_keeps_the_stack),
		cmocka_unit_test(own_code_changes_at_once),
		cmocka_unit_test(data_in_a_code_page),
		cmocka_unit_test(host_writes_are_seen),
		cmocka_unit_test(reused_pages_become_plain),
		cmocka_unit_test(page_crossing),
		cmocka_unit_test(devices_by_callback),
		cmocka_unit_test(locked_operations),
		cmocka_unit_test(code_changed_by_another_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
