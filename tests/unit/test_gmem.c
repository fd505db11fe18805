/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: regions, the checked door, copies across borders, listeners, and the seals of the memfd. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define PAGE 0x1000ull
#define GIB  (1ull << 30)

static int setup(void **state)
{
	struct gmem *gmem = gmem_create();

	*state = gmem;
	if (!gmem)
		return -1;
	/* Added out of order on purpose; the first two touch. */
	return gmem_add(gmem, 4 * GIB, 16 * PAGE, GMEM_RAM, NULL) ||
	       gmem_add(gmem, 4 * PAGE, 4 * PAGE, GMEM_RAM, NULL) ||
	       gmem_add(gmem, 0, 4 * PAGE, GMEM_RAM, NULL) || gmem_add(gmem, 0xf0000, PAGE, GMEM_ROM, NULL);
}

static int teardown(void **state)
{
	gmem_destroy(*state);
	return 0;
}

static void test_regions_are_sorted_and_found(void **state)
{
	struct gmem *gmem = *state;

	assert_int_equal(gmem_region_count(gmem), 4);
	for (size_t i = 1; i < 4; i++)
		assert_true(gmem_region_at(gmem, i - 1)->gpa < gmem_region_at(gmem, i)->gpa);
	assert_ptr_equal(gmem_region_find(gmem, 4 * PAGE - 1), gmem_region_at(gmem, 0));
	assert_ptr_equal(gmem_region_find(gmem, 4 * PAGE), gmem_region_at(gmem, 1));
	assert_null(gmem_region_find(gmem, 8 * PAGE));
	assert_ptr_equal(gmem_region_find(gmem, 4 * GIB + 16 * PAGE - 1), gmem_region_at(gmem, 3));
	assert_null(gmem_region_find(gmem, 4 * GIB + 16 * PAGE));
	assert_null(gmem_region_find(gmem, UINT64_MAX));
	assert_int_equal(gmem_ram_size_bytes(gmem), 24 * PAGE);
}

static void test_region_pointers_survive_additions(void **state)
{
	struct gmem *gmem = *state;
	const struct gmem_region *first = gmem_region_at(gmem, 0);
	uint8_t *hva = first->hva;

	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(gmem_add(gmem, GIB + 2 * i * PAGE, PAGE, GMEM_RAM, NULL), 0);
	assert_ptr_equal(gmem_region_at(gmem, 0), first);
	assert_ptr_equal(first->hva, hva);
}

static void test_bad_ranges_are_refused(void **state)
{
	static const struct {
		uint64_t gpa, size;
	} bad[] = {{GIB, 0},
		   {GIB + 1, PAGE},
		   {GIB, PAGE + 1},
		   {0, PAGE},
		   {7 * PAGE, 2 * PAGE},
		   {4 * GIB - PAGE, 2 * PAGE},
		   {2 * PAGE, 8 * GIB},
		   {0ull - PAGE, PAGE},
		   {0ull - PAGE, 2 * PAGE},
		   {1ull << 52, PAGE}};
	struct gmem *gmem = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};

		assert_int_equal(gmem_add(gmem, bad[i].gpa, bad[i].size, GMEM_RAM, &err), -EINVAL);
		assert_int_equal(err.code, -EINVAL);
		assert_true(strlen(err.message) > 0);
	}
	assert_int_equal(gmem_region_count(gmem), 4);
}

static void test_span_stays_in_one_region(void **state)
{
	struct gmem *gmem = *state;

	assert_non_null(gmem_span(gmem, 0, 4 * PAGE));
	assert_null(gmem_span(gmem, 0, 4 * PAGE + 1));
	assert_null(gmem_span(gmem, 4 * PAGE - 1, 2));
	assert_null(gmem_span(gmem, 8 * PAGE - 1, 2));
	assert_null(gmem_span(gmem, 0, 0));
	assert_null(gmem_span(gmem, 1, UINT64_MAX));
	assert_ptr_equal(gmem_span(gmem, 5 * PAGE, 1), gmem_region_at(gmem, 1)->hva + PAGE);
}

static void test_copies_cross_borders(void **state)
{
	struct gmem *gmem = *state;
	char out[8] = "";

	assert_int_equal(gmem_write(gmem, 4 * PAGE - 3, "abcdef", 7), 0);
	assert_int_equal(gmem_read(gmem, 4 * PAGE - 3, out, 7), 0);
	assert_string_equal(out, "abcdef");
	assert_int_equal(gmem_zero(gmem, 4 * PAGE - 1, 2), 0);
	assert_int_equal(gmem_read(gmem, 4 * PAGE - 3, out, 7), 0);
	assert_memory_equal(out, "ab\0\0ef", 7);
	assert_int_equal(gmem_write(gmem, 8 * PAGE - 1, "xy", 2), -EFAULT);
	assert_int_equal(gmem_read(gmem, 8 * PAGE - 1, out, 2), -EFAULT);
	assert_int_equal(gmem_zero(gmem, GIB, 1), -EFAULT);
	assert_int_equal(gmem_write(gmem, GIB, "", 0), 0);
}

struct seen {
	unsigned calls;
	uint64_t bytes, last_gpa;
};

static void count_write(void *opaque, uint64_t gpa, uint64_t len)
{
	struct seen *seen = opaque;

	seen->calls++;
	seen->bytes += len;
	seen->last_gpa = gpa;
}

static void test_listeners_hear_every_write(void **state)
{
	struct gmem *gmem = *state;
	struct seen seen = {0}, other = {0};

	assert_int_equal(gmem_listen(gmem, count_write, &seen), 0);
	assert_int_equal(gmem_listen(gmem, count_write, &other), 0);
	gmem_write(gmem, 4 * PAGE - 3, "abcdef", 7);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.bytes, 7);
	assert_int_equal(seen.last_gpa, 4 * PAGE);
	gmem_zero(gmem, 0x10, 16);
	gmem_written(gmem, 4 * GIB, 4);
	assert_int_equal(seen.bytes, 27);
	assert_int_equal(other.bytes, 27);
	while (!gmem_listen(gmem, count_write, &other))
		;
	assert_int_equal(gmem_listen(gmem, count_write, &other), -ENOSPC);
}

static void test_memfd_is_sealed_shared_and_named(void **state)
{
	const struct gmem_region *region = gmem_region_at(*state, 0);
	char path[64], link[64] = "", byte = 0;
	struct stat st;

	assert_int_equal(fcntl(region->fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_true(fcntl(region->fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(ftruncate(region->fd, 0), -1);
	assert_int_equal(fstat(region->fd, &st), 0);
	assert_int_equal(st.st_size, 4 * PAGE);
	region->hva[5] = 'v';
	assert_int_equal(pread(region->fd, &byte, 1, 5), 1);
	assert_int_equal(byte, 'v');
	snprintf(path, sizeof(path), "/proc/self/fd/%d", region->fd);
	assert_true(readlink(path, link, sizeof(link) - 1) > 0);
	assert_non_null(strstr(link, "guest-memory"));
}

static void test_memory_starts_as_zero(void **state)
{
	struct gmem *gmem = gmem_create();
	uint8_t page[PAGE];

	assert_int_equal(gmem_add(gmem, 0, PAGE, GMEM_RAM, NULL), 0);
	memset(page, 0xff, sizeof(page));
	assert_int_equal(gmem_read(gmem, 0, page, sizeof(page)), 0);
	for (size_t i = 0; i < sizeof(page); i++)
		assert_int_equal(page[i], 0);
	gmem_destroy(gmem);
	gmem_destroy(NULL);
}

#define HUGE (2ull << 20)

/* KiB of the mapping at hva that lie in huge pages. */
static unsigned long huge_kib(const uint8_t *hva)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	unsigned long start, kib, huge = 0;
	bool here = false;
	char line[512];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%*x %*s", &start) == 1 && strchr(line, '-'))
			here = start == (uintptr_t)hva;
		else if (here && sscanf(line, "ShmemPmdMapped: %lu kB", &kib) == 1)
			huge = kib;
	}
	fclose(smaps);
	return huge;
}

static void test_expected_use_keeps_bytes_and_takes_huge_pages(void **state)
{
	struct gmem *gmem = gmem_create();
	uint8_t *hva;

	assert_int_equal(gmem_add(gmem, 0, 8 * HUGE, GMEM_RAM, NULL), 0);
	hva = gmem_span(gmem, 0, 8 * HUGE);
	assert_int_equal((uintptr_t)hva % HUGE, 0);
	hva[HUGE] = 1;
	hva[HUGE + 4097] = 2;
	hva[3 * HUGE - 1] = 3;
	gmem_expect_use(gmem, HUGE - 5, 2 * HUGE + 10);
	assert_int_equal(hva[HUGE], 1);
	assert_int_equal(hva[HUGE + 4097], 2);
	assert_int_equal(hva[HUGE + 4096], 0);
	assert_int_equal(hva[3 * HUGE - 1], 3);
	/* What makes no sense, or lies elsewhere, does nothing. */
	gmem_expect_use(gmem, 4 * HUGE, 64 * HUGE);
	gmem_expect_use(gmem, UINT64_MAX - HUGE, HUGE + 100);
	gmem_expect_use(gmem, 0, 0);
	/* Kernels before 6.1, and those without huge pages, keep their small ones. */
	if (madvise(hva + HUGE, HUGE, 25 /* MADV_COLLAPSE */) == 0)
		assert_int_equal(huge_kib(hva), 4096);
	gmem_destroy(gmem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_regions_are_sorted_and_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_region_pointers_survive_additions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_ranges_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_span_stays_in_one_region, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies_cross_borders, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listeners_hear_every_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memfd_is_sealed_shared_and_named, setup, teardown),
		cmocka_unit_test(test_memory_starts_as_zero),
		cmocka_unit_test(test_expected_use_keeps_bytes_and_takes_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
