/* SPDX-License-Identifier: Apache-2.0 */
/* Device timers over a loop that the test plays: what reaches the loop, and what the device sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/base/clock.h"
#include "vmm/base/loop.h"
#include "vmm/core/timer.h"

struct loop {
	loop_call_fn *fn;
	void *opaque;
	unsigned arms; /* system calls there would have been */
	uint64_t deadline_ns;
};

struct loop_timer *loop_timer_create(struct loop *loop, loop_call_fn *fn, void *opaque, struct err *err)
{
	(void)err;
	loop->fn = fn;
	loop->opaque = opaque;
	return (struct loop_timer *)loop;
}

void loop_timer_arm(struct loop_timer *timer, uint64_t deadline_ns)
{
	((struct loop *)timer)->arms++;
	((struct loop *)timer)->deadline_ns = deadline_ns;
}

void loop_timer_destroy(struct loop_timer *timer)
{
	((struct loop *)timer)->fn = NULL;
}

static void fired(void *opaque, uint64_t now_ns)
{
	assert_true(now_ns > 0);
	++*(unsigned *)opaque;
}

/* Later deadlines and cancels cost nothing; a timer fires only when due; the early wake-up arms the rest. */
static void lazy_arming(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct loop loop = {0};
	unsigned count = 0;
	struct device_timer *timer = device_timer_create(&loop, &lock, fired, &count, NULL);
	uint64_t future_ns = clock_monotonic_ns() + 3600 * NS_PER_S;

	assert_int_equal(device_timer_deadline(timer), DEVICE_TIMER_OFF);
	device_timer_arm(timer, 1);
	assert_int_equal(loop.arms, 1);
	device_timer_arm(timer, future_ns);
	device_timer_arm(timer, DEVICE_TIMER_OFF);
	device_timer_arm(timer, future_ns);
	assert_int_equal(loop.arms, 1);
	loop.fn(loop.opaque);
	assert_int_equal(count, 0);
	assert_int_equal(loop.arms, 2);
	assert_int_equal(loop.deadline_ns, future_ns);
	device_timer_arm(timer, 2);
	assert_int_equal(loop.arms, 3);
	loop.fn(loop.opaque);
	assert_int_equal(count, 1);
	assert_int_equal(device_timer_deadline(timer), DEVICE_TIMER_OFF);
	loop.fn(loop.opaque); /* a callback that was already due */
	assert_int_equal(count, 1);
	device_timer_destroy(timer);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(lazy_arming)};

	return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
