/* SPDX-License-Identifier: Apache-2.0 */
/* Claims of guest RAM: bounds, overlap, the highest and the lowest free place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loader/placement.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define MIB (1ull << 20)

struct fixture {
	struct gmem *gmem;
	struct placement placement;
	struct err err;
};

/* RAM 0-16 MiB and 32-40 MiB, ROM at 64 MiB. */
static int setup(void **state)
{
	struct fixture *fixture = test_calloc(1, sizeof(*fixture));

	fixture->gmem = gmem_create();
	assert_int_equal(gmem_add(fixture->gmem, 0, 16 * MIB, GMEM_RAM, NULL), 0);
	assert_int_equal(gmem_add(fixture->gmem, 32 * MIB, 8 * MIB, GMEM_RAM, NULL), 0);
	assert_int_equal(gmem_add(fixture->gmem, 64 * MIB, MIB, GMEM_ROM, NULL), 0);
	placement_init(&fixture->placement, fixture->gmem);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	gmem_destroy(fixture->gmem);
	test_free(fixture);
	return 0;
}

static void test_claims_must_be_ram(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(placement_claim(&f->placement, 15 * MIB, MIB, "a", &f->err), 0);
	assert_int_equal(placement_claim(&f->placement, 16 * MIB, 1, "b", &f->err), -ENOSPC);
	assert_non_null(strstr(f->err.message, "b needs 1 bytes at 0x1000000"));
	assert_int_equal(placement_claim(&f->placement, 64 * MIB, 1, "rom", &f->err), -ENOSPC);
	assert_int_equal(placement_claim(&f->placement, 0, UINT64_MAX, "c", &f->err), -ENOSPC);
	assert_int_equal(placement_claim(&f->placement, UINT64_MAX, 2, "d", &f->err), -ENOSPC);
	assert_int_equal(placement_low_ram_end(&f->placement), 16 * MIB);
}

static void test_overlap_names_both(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(placement_claim(&f->placement, MIB, MIB, "kernel", &f->err), 0);
	assert_int_equal(placement_claim(&f->placement, 2 * MIB - 1, 1, "initrd", &f->err), -EEXIST);
	assert_string_equal(f->err.message,
			    "initrd at 0x1fffff-0x1fffff overlaps kernel at 0x100000-0x1fffff");
	assert_int_equal(placement_claim(&f->placement, MIB - 1, 2, "initrd", &f->err), -EEXIST);
	assert_int_equal(placement_claim(&f->placement, 0, 4 * MIB, "initrd", &f->err), -EEXIST);
	assert_int_equal(placement_claim(&f->placement, 2 * MIB, 1, "initrd", &f->err), 0);
	assert_true(placement_is_free(&f->placement, 3 * MIB, MIB));
	assert_false(placement_is_free(&f->placement, MIB, 1));
}

static void test_highest_place_respects_limit_and_claims(void **state)
{
	struct fixture *f = *state;
	struct placement_request request = {
		.size_bytes = MIB + 1, .align = 4096, .floor = MIB, .limit = UINT32_MAX, .what = "initrd"};
	uint64_t gpa;

	assert_int_equal(placement_claim_high(&f->placement, &request, &gpa, &f->err), 0);
	assert_int_equal(gpa, 39 * MIB - 4096);
	request.limit = 12 * MIB;
	assert_int_equal(placement_claim(&f->placement, 10 * MIB, MIB, "hole", &f->err), 0);
	assert_int_equal(placement_claim_high(&f->placement, &request, &gpa, &f->err), 0);
	assert_int_equal(gpa, 9 * MIB - 4096);
	request.floor = 8 * MIB;
	assert_int_equal(placement_claim_high(&f->placement, &request, &gpa, &f->err), -ENOSPC);
	assert_non_null(strstr(f->err.message, "initrd"));
}

static void test_lowest_place_goes_above_claims(void **state)
{
	struct fixture *f = *state;
	struct placement_request request = {
		.size_bytes = 2 * MIB, .align = 2 * MIB, .floor = MIB, .limit = UINT32_MAX, .what = "kernel"};
	uint64_t gpa;

	assert_int_equal(placement_claim(&f->placement, 3 * MIB, MIB + 1, "other", &f->err), 0);
	assert_int_equal(placement_claim_low(&f->placement, &request, &gpa, &f->err), 0);
	assert_int_equal(gpa, 6 * MIB);
	request.size_bytes = 9 * MIB;
	assert_int_equal(placement_claim_low(&f->placement, &request, &gpa, &f->err), -ENOSPC);
	request.size_bytes = 8 * MIB;
	assert_int_equal(placement_claim_low(&f->placement, &request, &gpa, &f->err), 0);
	assert_int_equal(gpa, 8 * MIB);
	request.size_bytes = 6 * MIB;
	assert_int_equal(placement_claim_low(&f->placement, &request, &gpa, &f->err), 0);
	assert_int_equal(gpa, 32 * MIB);
}

static void test_absurd_sizes_find_nothing(void **state)
{
	struct fixture *f = *state;
	struct placement_request request = {.size_bytes = UINT64_MAX,
					    .align = 1ull << 63,
					    .floor = MIB,
					    .limit = UINT64_MAX,
					    .what = "x"};
	uint64_t gpa;

	assert_int_equal(placement_claim_low(&f->placement, &request, &gpa, &f->err), -ENOSPC);
	assert_int_equal(placement_claim_high(&f->placement, &request, &gpa, &f->err), -ENOSPC);
	request.size_bytes = 0;
	assert_int_equal(placement_claim_low(&f->placement, &request, &gpa, &f->err), -ENOSPC);
	assert_int_equal(placement_claim_high(&f->placement, &request, &gpa, &f->err), -ENOSPC);
}

static void test_the_list_has_an_end(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < PLACEMENT_RANGES_MAX; i++)
		assert_int_equal(placement_claim(&f->placement, i * 16, 16, "piece", &f->err), 0);
	assert_int_equal(placement_claim(&f->placement, MIB, 16, "piece", &f->err), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_claims_must_be_ram, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlap_names_both, setup, teardown),
		cmocka_unit_test_setup_teardown(test_highest_place_respects_limit_and_claims, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_lowest_place_goes_above_claims, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absurd_sizes_find_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_list_has_an_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
