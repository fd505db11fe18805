/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/core/bus: order, overlap, and fitting accesses to what a device takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/bus.h"

/* A device that keeps a record of what it was asked. */
struct recorder {
	char log[256];
	struct err err;
	uint64_t answer;
};

static uint64_t recorder_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct recorder *recorder = opaque;
	size_t used = strlen(recorder->log);

	snprintf(recorder->log + used, sizeof(recorder->log) - used, "r%u@%u ", size_bytes, (unsigned)offset);
	return recorder->answer >> (offset * 8);
}

static void recorder_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct recorder *recorder = opaque;
	size_t used = strlen(recorder->log);

	snprintf(recorder->log + used, sizeof(recorder->log) - used, "w%u@%u=%llx ", size_bytes,
		 (unsigned)offset, (unsigned long long)value);
}

static const struct bus_ops bytes_only = {.read = recorder_read, .write = recorder_write, .size_max = 1};
static const struct bus_ops up_to_four = {.read = recorder_read, .write = recorder_write};
static const struct bus_ops only_four = {
	.read = recorder_read, .write = recorder_write, .size_min = 4, .size_max = 4};
static const struct bus_ops up_to_eight = {.read = recorder_read, .write = recorder_write, .size_max = 8};

/* Adds a range; the recorder's error says why not. */
static int add(struct bus *bus, const char *name, uint64_t base, uint64_t size, const struct bus_ops *ops,
	       struct recorder *recorder)
{
	const struct bus_range range = {
		.name = name, .base = base, .size = size, .ops = ops, .opaque = recorder};

	return bus_add(bus, &range, &recorder->err);
}

static void test_overlaps_are_refused(void **state)
{
	struct bus *bus = bus_create("port", 16);
	struct recorder recorder = {0};

	assert_int_equal(add(bus, "b", 0x20, 0x10, &up_to_four, &recorder), 0);
	assert_int_equal(add(bus, "c", 0x30, 0x10, &up_to_four, &recorder), 0);
	assert_int_equal(add(bus, "a", 0x10, 0x10, &up_to_four, &recorder), 0);
	assert_int_equal(add(bus, "d", 0x2f, 1, &up_to_four, &recorder), -EEXIST);
	assert_non_null(strstr(recorder.err.message, "d at 0x2f-0x2f overlaps b at 0x20-0x2f"));
	assert_int_equal(add(bus, "e", 0, 0x11, &up_to_four, &recorder), -EEXIST);
	assert_int_equal(add(bus, "f", 0, 0x100, &up_to_four, &recorder), -EEXIST);
	assert_int_equal(add(bus, "g", 0x50, 0, &up_to_four, &recorder), -EINVAL);
	assert_int_equal(add(bus, "h", 0xffff, 2, &up_to_four, &recorder), -EINVAL);
	assert_int_equal(add(bus, "i", 0xffff, 1, &up_to_four, &recorder), 0);
	assert_string_equal(bus_find(bus, 0x3f)->name, "c");
	assert_null(bus_find(bus, 0x40));
	bus_remove(bus, 0x20);
	assert_null(bus_find(bus, 0x2f));
	assert_string_equal(bus_find(bus, 0x1f)->name, "a");
	bus_destroy(bus);
}

static void test_nobody_answers_with_ones(void **state)
{
	struct bus *bus = bus_create("port", 16);

	assert_int_equal(bus_read(bus, 0x80, 1), 0xff);
	assert_int_equal(bus_read(bus, 0x80, 2), 0xffff);
	assert_true(bus_read(bus, 0x80, 4) == 0xffffffff);
	assert_true(bus_read(bus, 0x80, 8) == UINT64_MAX);
	bus_write(bus, 0x80, 1, 4);
	bus_destroy(bus);
}

static void test_large_accesses_are_split(void **state)
{
	struct bus *bus = bus_create("port", 16);
	struct recorder recorder = {.answer = 0x8877665544332211ull};

	add(bus, "bytes", 0, 8, &bytes_only, &recorder);
	assert_true(bus_read(bus, 0, 4) == 0x44332211);
	bus_write(bus, 2, 0xbbaa, 2);
	assert_string_equal(recorder.log, "r1@0 r1@1 r1@2 r1@3 w1@2=aa w1@3=bb ");
	bus_destroy(bus);
}

static void test_eight_bytes_by_four(void **state)
{
	struct bus *bus = bus_create("memory", 48);
	struct recorder recorder = {.answer = 0x8877665544332211ull};

	add(bus, "words", 0x1000, 8, &up_to_four, &recorder);
	add(bus, "wide", 0x2000, 8, &up_to_eight, &recorder);
	assert_true(bus_read(bus, 0x1000, 8) == recorder.answer);
	assert_true(bus_read(bus, 0x2000, 8) == recorder.answer);
	bus_write(bus, 0x1000, recorder.answer, 8);
	assert_string_equal(recorder.log, "r4@0 r4@4 r8@0 w4@0=44332211 w4@4=88776655 ");
	bus_destroy(bus);
}

static void test_small_accesses_are_widened(void **state)
{
	struct bus *bus = bus_create("memory", 48);
	struct recorder recorder = {.answer = 0x8877665544332211ull};

	add(bus, "words", 0, 8, &only_four, &recorder);
	assert_int_equal(bus_read(bus, 1, 1), 0x22);
	assert_int_equal(bus_read(bus, 6, 2), 0x8877);
	bus_write(bus, 5, 0xee, 1);
	assert_string_equal(recorder.log, "r4@0 r4@4 w4@4=ee00 ");
	bus_destroy(bus);
}

static void test_access_across_the_end(void **state)
{
	struct bus *bus = bus_create("port", 16);
	struct recorder first = {.answer = 0x11};
	struct recorder second = {.answer = 0x2222};

	add(bus, "first", 0x10, 1, &up_to_four, &first);
	add(bus, "second", 0x11, 2, &up_to_four, &second);
	assert_true(bus_read(bus, 0x10, 4) == 0xff222211);
	bus_write(bus, 0x10, 0xdcba, 2);
	assert_string_equal(first.log, "r1@0 w1@0=ba ");
	assert_string_equal(second.log, "r1@0 r1@1 w1@0=dc ");
	assert_int_equal(bus_read(bus, 0xffff, 2), 0xffff); /* wraps, as IN AX, 0xffff does */
	bus_destroy(bus);
}

static void locked_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	assert_int_equal(pthread_mutex_trylock(opaque), EBUSY);
}

static void test_the_lock_is_held(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static const struct bus_ops ops = {.write = locked_write};
	const struct bus_range range = {
		.name = "l", .base = 0, .size = 4, .ops = &ops, .opaque = &lock, .lock = &lock};
	struct bus *bus = bus_create("port", 16);

	assert_int_equal(bus_add(bus, &range, NULL), 0);
	bus_write(bus, 0, 1, 4);
	assert_int_equal(pthread_mutex_trylock(&lock), 0);
	pthread_mutex_unlock(&lock);
	assert_true(bus_read(bus, 0, 4) == 0xffffffff); /* no read function: all ones */
	bus_destroy(bus);
}

static void count_in_order(void *opaque, const struct bus_range *range)
{
	uint64_t *last = opaque;

	assert_true(range->base >= *last);
	*last = range->base + 1;
}

static void test_for_each_is_sorted(void **state)
{
	struct bus *bus = bus_create("port", 16);
	struct recorder recorder = {0};
	uint64_t last = 0;

	add(bus, "x", 0x300, 1, &up_to_four, &recorder);
	add(bus, "y", 0x100, 1, &up_to_four, &recorder);
	add(bus, "z", 0x200, 1, &up_to_four, &recorder);
	bus_for_each(bus, count_in_order, &last);
	assert_int_equal(last, 0x301);
	bus_destroy(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlaps_are_refused),
		cmocka_unit_test(test_nobody_answers_with_ones),
		cmocka_unit_test(test_large_accesses_are_split),
		cmocka_unit_test(test_eight_bytes_by_four),
		cmocka_unit_test(test_small_accesses_are_widened),
		cmocka_unit_test(test_access_across_the_end),
		cmocka_unit_test(test_the_lock_is_held),
		cmocka_unit_test(test_for_each_is_sorted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
