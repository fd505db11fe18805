/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory, doorbells and late writes under KVM, through the accelerator's operations: read-only parts, written
 * pages by bitmap and by ring, ioeventfds, coalesced ports. Skipped by name where there is no usable
 * /dev/kvm.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kvm/kvm_rig.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"

#define PAGE       4096u
#define RANGES_MAX 16

/* Times that an eventfd was signalled. */
static uint64_t rings(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static uint64_t counter(struct rig *rig, const char *name)
{
	const char *names[32];
	uint64_t values[32];
	size_t count = kvm_accel_ops.counters(rig->vm, names, values, 32);

	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0)
			return values[i];
	}
	fail_msg("no counter %s", name);
	return 0;
}

static void test_doorbells_do_not_leave_the_kernel(void **state)
{
	/* mov al,1; out 0x50,al; out 0x50,al; mov al,2; out 0x50,al; mov eax,3; mov [dword 0x200050],eax;
	 * mov [dword 0x200050],ax; out 0x11,al; hlt */
	static const uint8_t code[] = {0xb0, 0x01, 0xe6, 0x50, 0xe6, 0x50, 0xb0, 0x02, 0xe6, 0x50, 0x66,
				       0xb8, 0x03, 0x00, 0x00, 0x00, 0x67, 0x66, 0xa3, 0x50, 0x00, 0x20,
				       0x00, 0x67, 0xa3, 0x50, 0x00, 0x20, 0x00, 0xe6, 0x11, 0xf4};
	struct bus_doorbell port = {.address = 0x50, .size_bytes = 1, .match = true, .value = 1};
	struct bus_doorbell mmio = {.address = HOLE_GPA + 0x50, .size_bytes = 4};
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	port.fd = eventfd(0, EFD_NONBLOCK);
	mmio.fd = eventfd(0, EFD_NONBLOCK);
	if (kvm_accel_ops.ioeventfd_add(rig->vm, ACCEL_BUS_PIO, &port, &err) == -ENOTSUP)
		skip();
	assert_int_equal(kvm_accel_ops.ioeventfd_add(rig->vm, ACCEL_BUS_MMIO, &mmio, &err), 0);
	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_enter(rig);
	rig_run(rig);
	assert_int_equal(rings(port.fd), 2);
	assert_int_equal(rings(mmio.fd), 1);
	/* The other value, the other size, and the end. */
	assert_int_equal(rig->log_count, 3);
	expect_access(rig, 0, (struct access){false, true, 0x50, 2, 1, 0});
	expect_access(rig, 1, (struct access){true, true, HOLE_GPA + 0x50, 3, 2, 0});
	kvm_accel_ops.ioeventfd_remove(rig->vm, ACCEL_BUS_PIO, &port);
	kvm_accel_ops.ioeventfd_remove(rig->vm, ACCEL_BUS_MMIO, &mmio);
	atomic_store(&rig->done, false);
	rig->log_count = 0;
	rig_enter(rig);
	rig_run(rig);
	assert_int_equal(rig->log_count, 6);
	assert_int_equal(rings(port.fd), 0);
	close(port.fd);
	close(mmio.fd);
	rig_destroy(rig);
}

static void test_late_writes_come_in_order(void **state)
{
	/* mov al,1; out 0x80,al; mov al,2; out 0x80,al; mov al,3; out 0x80,al; in al,0x10; out 0x11,al; hlt
	 */
	static const uint8_t code[] = {0xb0, 0x01, 0xe6, 0x80, 0xb0, 0x02, 0xe6, 0x80, 0xb0,
				       0x03, 0xe6, 0x80, 0xe4, 0x10, 0xe6, 0x11, 0xf4};
	const struct accel_coalesced range = {.bus = ACCEL_BUS_PIO, .address = 0x80, .size = 1};
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	if (kvm_accel_ops.coalesce(rig->vm, &range, &err) == -ENOTSUP)
		skip();
	assert_int_equal(kvm_accel_ops.coalesce(rig->vm, &range, &err), 0);
	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_enter(rig);
	rig_run(rig);
	assert_int_equal(rig->log_count, 5);
	for (unsigned i = 0; i < 3; i++)
		expect_access(rig, i, (struct access){false, true, 0x80, i + 1, 1, 0});
	expect_access(rig, 3, (struct access){.address = 0x10, .size_bytes = 1});
	assert_int_equal(counter(rig, "kvm.coalesced"), 3);
	assert_int_equal(counter(rig, "kvm.pio"), 2);
	rig_destroy(rig);
}

/* What a fetch named. */
struct dirty {
	unsigned count;
	struct {
		uint64_t gpa, size_bytes;
	} range[RANGES_MAX];
};

static void on_dirty(void *opaque, uint64_t gpa, uint64_t size_bytes)
{
	struct dirty *dirty = opaque;

	assert_true(dirty->count < RANGES_MAX);
	dirty->range[dirty->count].gpa = gpa;
	dirty->range[dirty->count++].size_bytes = size_bytes;
}

static struct dirty fetch(struct rig *rig)
{
	struct dirty dirty = {0};
	struct err err = {0};

	if (kvm_accel_ops.dirty_log_fetch(rig->vm, on_dirty, &dirty, &err) < 0)
		fail_msg("%s", err.message);
	return dirty;
}

static void run_again(struct rig *rig)
{
	atomic_store(&rig->done, false);
	rig_enter(rig);
	rig_run(rig);
}

/* mov [0x5000],ax; mov [0x6ffe],ax; mov [0x9000],ax; out 0x11,al; hlt */
static const uint8_t write_three_pages[] = {0xa3, 0x00, 0x50, 0xa3, 0xfe, 0x6f,
					    0xa3, 0x00, 0x90, 0xe6, 0x11, 0xf4};

static void check_dirty_log(struct rig *rig)
{
	struct err err = {0};
	struct dirty dirty;

	rig_code(rig, CODE_GPA, write_three_pages, sizeof(write_three_pages));
	run_again(rig);
	assert_int_equal(kvm_accel_ops.dirty_log_start(rig->vm, &err), 0);
	assert_int_equal(fetch(rig).count, 0);
	for (int i = 0; i < 3; i++) {
		run_again(rig);
		dirty = fetch(rig);
		assert_int_equal(dirty.count, 2);
		assert_int_equal(dirty.range[0].gpa, 0x5000);
		assert_int_equal(dirty.range[0].size_bytes, 2 * PAGE);
		assert_int_equal(dirty.range[1].gpa, 0x9000);
		assert_int_equal(dirty.range[1].size_bytes, PAGE);
		assert_int_equal(fetch(rig).count, 0);
	}
	/* Memory that comes under a log is all new to it. */
	assert_int_equal(gmem_add(rig->gmem, 4ull << 30, 3 * PAGE, GMEM_RAM, &err), 0);
	assert_int_equal(kvm_accel_ops.mem_map(rig->vm, gmem_region_at(rig->gmem, 1), &err), 0);
	dirty = fetch(rig);
	assert_int_equal(dirty.count, 1);
	assert_int_equal(dirty.range[0].gpa, 4ull << 30);
	assert_int_equal(dirty.range[0].size_bytes, 3 * PAGE);
	kvm_accel_ops.dirty_log_stop(rig->vm);
	run_again(rig);
	assert_int_equal(fetch(rig).count, 0);
}

static void test_written_pages_by_bitmap(void **state)
{
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	check_dirty_log(rig);
	rig_destroy(rig);
}

static void test_written_pages_by_ring(void **state)
{
	struct rig *rig;

	need_kvm();
	rig = rig_create_as(1, (struct accel_vm_config){.dirty_ring = true});
	check_dirty_log(rig);
	rig_destroy(rig);
}

/* More pages than the ring has entries. */
static void test_a_full_ring_makes_room(void **state)
{
	/* mov edi,0x4000000; mov ecx,5000: again: a32 mov [edi],eax; add edi,4096; dec ecx; jnz again; out
	 * 0x11,al */
	static const uint8_t code[] = {0x66, 0xbf, 0x00, 0x00, 0x00, 0x04, 0x66, 0xb9, 0x88, 0x13,
				       0x00, 0x00, 0x67, 0x66, 0x89, 0x07, 0x66, 0x81, 0xc7, 0x00,
				       0x10, 0x00, 0x00, 0x66, 0x49, 0x75, 0xf1, 0xe6, 0x11, 0xf4};
	const uint64_t gpa = 0x4000000;
	char finding[128];
	struct err err = {0};
	struct dirty dirty;
	struct rig *rig;

	need_kvm();
	/* A KVM that interprets has been seen to run on past the end of the ring, over entries not yet read.
	 */
	if (kvm_accel_ops.calibrate(finding, sizeof(finding), &err) < 0)
		skip();
	rig = rig_create_as(1, (struct accel_vm_config){.dirty_ring = true});
	assert_int_equal(gmem_add(rig->gmem, gpa, 5000 * PAGE, GMEM_RAM, &err), 0);
	assert_int_equal(kvm_accel_ops.mem_map(rig->vm, gmem_region_at(rig->gmem, 1), &err), 0);
	rig_code(rig, CODE_GPA, code, sizeof(code));
	/* KVM counts a page as written when it first maps it, be it for its code. */
	run_again(rig);
	assert_int_equal(kvm_accel_ops.dirty_log_start(rig->vm, &err), 0);
	run_again(rig);
	dirty = fetch(rig);
	assert_int_equal(dirty.count, 1);
	assert_int_equal(dirty.range[0].gpa, gpa);
	assert_int_equal(dirty.range[0].size_bytes, 5000 * PAGE);
	rig_destroy(rig);
}

/* A write to a protected page comes out as one to a device, and the page stays as it is. */
static void test_a_part_is_read_only(void **state)
{
	uint16_t value;
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	rig_code(rig, CODE_GPA, write_three_pages, sizeof(write_three_pages));
	if (kvm_accel_ops.mem_protect(rig->vm, 0x6000, PAGE, true, &err) == -ENOTSUP)
		skip();
	value = 0x5aa5;
	rig_code(rig, 0x6ffe, &value, sizeof(value));
	run_again(rig);
	assert_int_equal(rig->log_count, 2);
	expect_access(rig, 0, (struct access){true, true, 0x6ffe, 0, 2, 0});
	assert_int_equal(gmem_read(rig->gmem, 0x6ffe, &value, sizeof(value)), 0);
	assert_int_equal(value, 0x5aa5);
	assert_int_equal(kvm_accel_ops.mem_protect(rig->vm, 0x6000, PAGE, false, &err), 0);
	rig->log_count = 0;
	run_again(rig);
	assert_int_equal(rig->log_count, 1);
	assert_int_equal(gmem_read(rig->gmem, 0x6ffe, &value, sizeof(value)), 0);
	assert_int_equal(value, 0);
	assert_int_equal(kvm_accel_ops.mem_protect(rig->vm, RAM_BYTES - PAGE, 2 * PAGE, true, &err), -ENOENT);
	assert_int_equal(kvm_accel_ops.mem_protect(rig->vm, 0x6001, PAGE, true, &err), -EINVAL);
	/* All its pieces go with the region. */
	assert_int_equal(kvm_accel_ops.mem_unmap(rig->vm, 0, &err), 0);
	assert_int_equal(kvm_accel_ops.mem_map(rig->vm, gmem_region_at(rig->gmem, 0), &err), 0);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doorbells_do_not_leave_the_kernel),
		cmocka_unit_test(test_late_writes_come_in_order),
		cmocka_unit_test(test_written_pages_by_bitmap),
		cmocka_unit_test(test_written_pages_by_ring),
		cmocka_unit_test(test_a_full_ring_makes_room),
		cmocka_unit_test(test_a_part_is_read_only),
	};

	return cmocka_run_group_tests_name("kvm_memory", tests, NULL, NULL);
}
