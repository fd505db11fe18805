/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/base/rate_limit: bursts, refill, debts of large transfers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/base/clock.h"
#include "vmm/base/rate_limit.h"

#define START_NS (5 * NS_PER_S)

static void test_no_limit_never_waits(void **state)
{
	const struct rate_limit_config config = {.operations = {.size = 10}, .bytes = {.refill_time_ns = 1}};
	struct rate_limit limit;

	rate_limit_init(&limit, &config, START_NS);
	assert_false(rate_limit_is_set(&limit));
	for (int i = 0; i < 1000; i++)
		assert_int_equal(rate_limit_take(&limit, UINT32_MAX, START_NS), 0);
}

/* A full bucket, then one token every 10 ms. */
static void test_operations_refill(void **state)
{
	const struct rate_limit_config config = {.operations = {.size = 100, .refill_time_ns = NS_PER_S}};
	struct rate_limit limit;
	uint64_t now_ns = START_NS;

	rate_limit_init(&limit, &config, now_ns);
	assert_true(rate_limit_is_set(&limit));
	for (int i = 0; i < 100; i++)
		assert_int_equal(rate_limit_take(&limit, 0, now_ns), 0);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(rate_limit_take(&limit, 0, now_ns), 10 * NS_PER_MS);
		assert_true(rate_limit_take(&limit, 0, now_ns + 9 * NS_PER_MS) > 0);
		now_ns += 10 * NS_PER_MS;
		assert_int_equal(rate_limit_take(&limit, 0, now_ns), 0);
	}
	now_ns += 60 * NS_PER_S; /* a long rest fills the bucket, and no more */
	for (int i = 0; i < 100; i++)
		assert_int_equal(rate_limit_take(&limit, 0, now_ns), 0);
	assert_true(rate_limit_take(&limit, 0, now_ns) > 0);
}

static void test_burst_is_spent_once(void **state)
{
	const struct rate_limit_config config = {
		.operations = {.size = 10, .one_time_burst = 5, .refill_time_ns = NS_PER_S}};
	struct rate_limit limit;

	rate_limit_init(&limit, &config, START_NS);
	for (int i = 0; i < 15; i++)
		assert_int_equal(rate_limit_take(&limit, 0, START_NS), 0);
	assert_true(rate_limit_take(&limit, 0, START_NS) > 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(rate_limit_take(&limit, 0, START_NS + NS_PER_S), 0);
	assert_true(rate_limit_take(&limit, 0, START_NS + NS_PER_S) > 0);
}

/* 1000 bytes a second: a transfer of 5000 passes a full bucket and is paid for by 5 s of waiting. */
static void test_large_transfer_makes_a_debt(void **state)
{
	const struct rate_limit_config config = {.bytes = {.size = 1000, .refill_time_ns = NS_PER_S}};
	struct rate_limit limit;

	rate_limit_init(&limit, &config, START_NS);
	assert_int_equal(rate_limit_take(&limit, 5000, START_NS), 0);
	assert_true(rate_limit_take(&limit, 1, START_NS + 4 * NS_PER_S - 1) > 0);
	assert_int_equal(rate_limit_take(&limit, 1000, START_NS + 5 * NS_PER_S), 0);
	assert_int_equal(rate_limit_take(&limit, 0, START_NS), 0); /* no bytes: not counted */
	/* Not full: a large one waits until it is. */
	assert_int_equal(rate_limit_take(&limit, 5000, START_NS + 5 * NS_PER_S), NS_PER_S);
}

/* What it says to wait is enough, whatever the numbers; and in the long run the rate holds. */
static void test_rate_holds_for_odd_numbers(void **state)
{
	static const struct rate_bucket_config buckets[] = {
		{.size = 3, .refill_time_ns = 7},
		{.size = 7, .refill_time_ns = NS_PER_S},
		{.size = 999983, .refill_time_ns = 333 * NS_PER_MS},
		{.size = UINT64_MAX / 2, .refill_time_ns = 100},
	};

	for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
		const struct rate_limit_config config = {.bytes = buckets[i]};
		struct rate_limit limit;
		uint64_t now_ns = START_NS, taken = 0, size = buckets[i].size / 2 + 1;

		rate_limit_init(&limit, &config, now_ns);
		for (int j = 0; j < 200; j++) {
			uint64_t wait_ns = rate_limit_take(&limit, size, now_ns);

			now_ns += wait_ns;
			if (wait_ns > 0)
				assert_int_equal(rate_limit_take(&limit, size, now_ns), 0);
			taken++;
		}
		/* 200 times half a bucket and a bit: at least 99 refills after the first bucket. */
		assert_true(now_ns - START_NS >= 98 * buckets[i].refill_time_ns);
		assert_true(now_ns - START_NS <= 203 * (buckets[i].refill_time_ns + 1));
		assert_int_equal(taken, 200);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_limit_never_waits),
		cmocka_unit_test(test_operations_refill),
		cmocka_unit_test(test_burst_is_spent_once),
		cmocka_unit_test(test_large_transfer_makes_a_debt),
		cmocka_unit_test(test_rate_holds_for_odd_numbers),
	};

	return cmocka_run_group_tests_name("rate_limit", tests, NULL, NULL);
}
