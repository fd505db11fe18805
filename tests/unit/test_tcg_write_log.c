/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages the built-in CPU says that a guest has written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/unit/tcg_rig.h"
#include "vmm/base/err.h"

#define LOGGED_PAGES 0x400

/* What the log says: a byte a page. */
static void on_dirty(void *opaque, uint64_t gpa, uint64_t size_bytes)
{
	uint8_t *pages = opaque;

	assert_true(size_bytes && gpa % 4096 == 0 && size_bytes % 4096 == 0);
	for (uint64_t page = gpa / 4096; page < (gpa + size_bytes) / 4096; page++) {
		assert_true(page < LOGGED_PAGES);
		pages[page]++;
	}
}

static unsigned fetch_dirty(struct rig *rig, uint8_t pages[LOGGED_PAGES])
{
	struct err err = {0};
	unsigned count = 0;

	memset(pages, 0, LOGGED_PAGES);
	assert_int_equal(OPS->dirty_log_fetch(rig->vm, on_dirty, pages, &err), 0);
	for (unsigned i = 0; i < LOGGED_PAGES; i++)
		count += pages[i] != 0;
	return count;
}

/* mov eax,[0xa000]; mov [0x9000],eax; mov eax,[0xb000]; mov [0xb000],eax; mov byte [0x1100],0; push eax; hlt
 */
static const uint8_t code_write[] = {0xa1, 0x00, 0xa0, 0x00, 0x00, 0xa3, 0x00, 0x90, 0x00, 0x00,
				     0xa1, 0x00, 0xb0, 0x00, 0x00, 0xa3, 0x00, 0xb0, 0x00, 0x00,
				     0xc6, 0x05, 0x00, 0x11, 0x00, 0x00, 0x00, 0x50, 0xf4};

/* Pages that are written are told, each time anew; those that are read are not, nor is what was before. */
static void test_written_pages_are_logged(void **state)
{
	struct rig *rig = *state;
	uint8_t pages[LOGGED_PAGES];
	struct err err = {0};

	enter_flat(rig, code_write, sizeof(code_write));
	load(rig);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	assert_int_equal(OPS->dirty_log_start(rig->vm, &err), 0);
	assert_int_equal(fetch_dirty(rig, pages), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(OPS->state_set(rig->vcpu[0], rig->state, &err), 0);
		assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
		assert_int_equal(fetch_dirty(rig, pages), 4);
		assert_true(pages[0x1] && pages[(STACK_GPA - 4) / 4096] && pages[0x9] && pages[0xb]);
		assert_int_equal(fetch_dirty(rig, pages), 0);
	}
	/* What is mapped meanwhile was never seen by whoever reads the log. */
	assert_int_equal(gmem_add(rig->gmem, 0x200000, 0x3000, GMEM_RAM, &err), 0);
	assert_int_equal(OPS->mem_map(rig->vm, gmem_region_at(rig->gmem, 1), &err), 0);
	assert_int_equal(fetch_dirty(rig, pages), 3);
	assert_true(pages[0x200] && pages[0x201] && pages[0x202]);
	OPS->dirty_log_stop(rig->vm);
	assert_int_equal(OPS->state_set(rig->vcpu[0], rig->state, &err), 0);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	assert_int_equal(fetch_dirty(rig, pages), 0);
}

/* With paging the CPU itself writes: accessed and dirty bits. One page table, at 0x20000, whose directory is
 * at 0x21000. */
static void test_what_the_walker_writes_is_logged(void **state)
{
	struct rig *rig = *state;
	uint8_t pages[LOGGED_PAGES];
	struct err err = {0};

	enter_flat(rig, code_write, sizeof(code_write));
	put32(rig, 0x21000, 0x20000 | 7);
	for (uint32_t i = 0; i < 256; i++)
		put32(rig, 0x20000 + 4 * i, i << 12 | 7);
	rig->state->cr0 |= 1u << 31;
	rig->state->cr3 = 0x21000;
	load(rig);
	assert_int_equal(OPS->dirty_log_start(rig->vm, &err), 0);
	assert_int_equal(run(rig), ACCEL_EXIT_HALTED);
	assert_int_equal(fetch_dirty(rig, pages), 6);
	assert_true(pages[0x20] && pages[0x21]);
	OPS->dirty_log_stop(rig->vm);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(written_pages_are_logged),
		T(what_the_walker_writes_is_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
