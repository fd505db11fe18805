/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile guest may try against the engine's caches and its run loop: code at the borders of pages and
 * of memory, page tables that share a page with code, locked operations on devices, requests that outlive a
 * reset. Drives the engine by core/vm.h as the adapter does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tcg-fallback/core/vm.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"
#include "tests/unit/jit_env.h"

#define RAM_SIZE  0x100000u
#define MMIO_SIZE 64u
#define HLT       0xf4
#define PTE_PWU   7u

struct hostile {
	struct x86_host host;
	struct x86_vm *vm;
	struct x86_cpu *cpu;
	uint8_t *ram;
	uint8_t mmio[MMIO_SIZE]; /* just above RAM */
	unsigned reads;          /* of the device that counts, at 2 MiB */
	uint32_t written;        /* last value that it was given */
};

#define COUNTER_GPA  0x200000u
#define COUNTER_LAST 1000u /* it stands still then, so that a test that would not end fails instead */

static uint64_t mmio_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	struct hostile *hostile = opaque;
	uint64_t value = 0;

	if (gpa == COUNTER_GPA)
		return hostile->reads < COUNTER_LAST ? ++hostile->reads : COUNTER_LAST;
	if (gpa >= RAM_SIZE && gpa - RAM_SIZE <= MMIO_SIZE - size_bytes)
		memcpy(&value, hostile->mmio + (gpa - RAM_SIZE), size_bytes);
	return value;
}

static void mmio_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
	struct hostile *hostile = opaque;

	if (gpa == COUNTER_GPA)
		hostile->written = (uint32_t)value;
}

static uint64_t pio_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	return 0;
}

static void pio_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
}

static int intr_acknowledge(void *opaque, unsigned cpu)
{
	return -1;
}

/* A CPU in 32-bit protected mode with flat segments and no descriptor tables: any exception is a triple
 * fault. */
static void start_flat(struct hostile *hostile, uint32_t rip)
{
	struct x86_cpu *cpu = hostile->cpu;

	x86_cpu_reset(cpu, false);
	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
		cpu->seg[seg] = (struct x86_segment){
			.limit = UINT32_MAX, .selector = 8, .attributes = 0xc093, .usable = true};
	cpu->seg[SEG_CS].attributes = 0xc09b;
	cpu->cr0 |= CR0_PE;
	cpu->idtr.limit = 0;
	cpu->r[REG_RSP] = 0x8000;
	cpu->rip = rip;
	x86_mode_changed(cpu);
}

static int setup(void **state)
{
	struct hostile *hostile = calloc(1, sizeof(*hostile));

	hostile->host = (struct x86_host){.opaque = hostile,
					  .mmio_read = mmio_read,
					  .mmio_write = mmio_write,
					  .pio_read = pio_read,
					  .pio_write = pio_write,
					  .intr_acknowledge = intr_acknowledge};
	hostile->ram = aligned_alloc(4096, RAM_SIZE);
	memset(hostile->ram, 0, RAM_SIZE);
	hostile->vm = x86_vm_create(1, &hostile->host);
	jit_from_environment(hostile->vm);
	assert_int_equal(x86_vm_map(hostile->vm, 0, RAM_SIZE, hostile->ram, false), 0);
	hostile->cpu = x86_cpu_create(hostile->vm, 0, NULL, 0);
	*state = hostile;
	return 0;
}

static int teardown(void **state)
{
	struct hostile *hostile = *state;

	x86_cpu_destroy(hostile->cpu);
	x86_vm_destroy(hostile->vm);
	free(hostile->ram);
	free(hostile);
	return 0;
}

static void poke(struct hostile *hostile, uint32_t gpa, const void *bytes, size_t len)
{
	memcpy(hostile->ram + gpa, bytes, len);
	x86_vm_written(hostile->vm, gpa, len);
}

/* 0F 04 is undefined; its second byte lies on the next page and becomes that of CLTS. */
static void undefined_across_pages_follows_writes(void **state)
{
	struct hostile *hostile = *state;

	poke(hostile, 0x1fff, "\x0f\x04\xf4", 3);
	start_flat(hostile, 0x1fff);
	assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_SHUTDOWN);
	start_flat(hostile, 0x1fff);
	poke(hostile, 0x2000, "\x06", 1);
	assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_HALTED);
	assert_int_equal(hostile->cpu->rip, 0x2002);
}

/* MOV EAX, imm32 begins with the last byte of RAM and goes on in a device. */
static void code_runs_from_ram_into_a_device(void **state)
{
	struct hostile *hostile = *state;

	memcpy(hostile->mmio, "\x44\x33\x22\x11\xf4", 5);
	poke(hostile, RAM_SIZE - 1, "\xb8", 1);
	start_flat(hostile, RAM_SIZE - 1);
	assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_HALTED);
	assert_int_equal(hostile->cpu->r[REG_RAX], 0x11223344);
	assert_int_equal(hostile->cpu->rip, RAM_SIZE + 5);
}

static void put32(struct hostile *hostile, uint32_t gpa, uint32_t value)
{
	memcpy(hostile->ram + gpa, &value, sizeof(value));
}

/*
 * The page table stands in the code's page. Setting the accessed bit for the instruction's second half is a
 * write to the line that the first half has just been marked in, and makes the marks be counted anew before
 * the block is listed.
 */
static void marks_outlast_an_accessed_bit(void **state)
{
	struct hostile *hostile = *state;
	const uint32_t table = 0x3000, first = 1007u << 12, second = 1008u << 12;

	put32(hostile, 0x5000, table | PTE_PWU);
	put32(hostile, table + 1007 * 4, table | PTE_PWU);
	put32(hostile, table + 1008 * 4, 0x6000 | PTE_PWU);
	poke(hostile, table + 0xfff, "\xb8", 1);
	poke(hostile, 0x6000, "\x44\x33\x22\x11\xf4", 5);
	for (unsigned i = 0; i < 2; i++) {
		start_flat(hostile, first + 0xfff);
		hostile->cpu->cr3 = 0x5000;
		hostile->cpu->cr0 |= CR0_PG;
		x86_mode_changed(hostile->cpu);
		assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_HALTED);
		assert_int_equal(hostile->cpu->rip, second + 5);
		assert_int_equal(hostile->cpu->r[i ? REG_RBX : REG_RAX], 0x11223344);
		poke(hostile, table + 0xfff, "\xbb", 1);
	}
}

/* A register that counts is never the same twice: LOCK ADD must not wait for that. */
static void locked_operations_on_devices_end(void **state)
{
	static const char *const code[] = {
		"\xf0\x83\x05\x00\x00\x20\x00\x01\xf4",     /* lock add dword [0x200000], 1 */
		"\x87\x05\x00\x00\x20\x00\x90\x90\xf4",     /* xchg [0x200000], eax */
		"\xf0\x0f\xc1\x05\x00\x00\x20\x00\xf4",     /* lock xadd [0x200000], eax */
		"\xf0\x0f\xb1\x1d\x00\x00\x20\x00\xf4",     /* lock cmpxchg [0x200000], ebx */
		"\xf0\x0f\xba\x2d\x00\x00\x20\x00\x07\xf4", /* lock bts dword [0x200000], 7 */
	};
	struct hostile *hostile = *state;

	for (unsigned i = 0; i < sizeof(code) / sizeof(code[0]); i++) {
		poke(hostile, 0x1000, code[i], 10);
		hostile->reads = 0;
		start_flat(hostile, 0x1000);
		assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_HALTED);
		assert_in_range(hostile->reads, 1, 4);
		if (i == 0)
			assert_int_equal(hostile->written, hostile->reads + 1);
	}
}

static void reset_keeps_what_the_engine_needs(void **state)
{
	struct hostile *hostile = *state;
	const uint64_t page = hostile->cpu->r[REG_PAGE];

	assert_int_not_equal(page, 0);
	x86_cpu_reset(hostile->cpu, true);
	assert_int_equal(hostile->cpu->r[REG_PAGE], page);
}

/* An NMI that cannot be delivered is a triple fault, once. */
static void triple_fault_of_an_interrupt_does_not_return_after_reset(void **state)
{
	struct hostile *hostile = *state;

	poke(hostile, 0x1000, "\xf4", 1);
	start_flat(hostile, 0x1000);
	x86_cpu_post(hostile->cpu, ATTENTION_NMI);
	assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_SHUTDOWN);
	start_flat(hostile, 0x1000);
	assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_HALTED);
}

/* INIT, SIPI and NMI sent just before the machine was reset belong to the machine that was. */
static void requests_do_not_outlive_a_new_state(void **state)
{
	struct hostile *hostile = *state;
	uint8_t vector;

	poke(hostile, 0x1000, "\xf4", 1);
	x86_cpu_post(hostile->cpu, ATTENTION_INIT | ATTENTION_NMI);
	x86_cpu_startup(hostile->cpu, 0x12);
	start_flat(hostile, 0x1000);
	assert_int_equal(x86_cpu_take_requests(hostile->cpu, &vector),
			 ATTENTION_INIT | ATTENTION_NMI | ATTENTION_SIPI);
	assert_int_equal(vector, 0x12);
	assert_int_equal(x86_cpu_run(hostile->cpu), X86_EXIT_HALTED);
	assert_true(hostile->cpu->cr0 & CR0_PE);
	assert_int_equal(hostile->cpu->rip, 0x1001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(undefined_across_pages_follows_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(code_runs_from_ram_into_a_device, setup, teardown),
		cmocka_unit_test_setup_teardown(marks_outlast_an_accessed_bit, setup, teardown),
		cmocka_unit_test_setup_teardown(locked_operations_on_devices_end, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_keeps_what_the_engine_needs, setup, teardown),
		cmocka_unit_test_setup_teardown(triple_fault_of_an_interrupt_does_not_return_after_reset,
						setup, teardown),
		cmocka_unit_test_setup_teardown(requests_do_not_outlive_a_new_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
