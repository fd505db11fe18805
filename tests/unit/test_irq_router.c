/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/core/irq_router: pins are the OR of their lines, and only changes are passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vmm/base/err.h"
#include "vmm/core/irq_router.h"

struct record {
	unsigned changes;
	unsigned pin;
	bool level;
};

static void on_pin(void *opaque, unsigned pin, bool level)
{
	struct record *record = opaque;

	record->changes++;
	record->pin = pin;
	record->level = level;
}

static void test_a_shared_pin_is_high_while_one_is(void **state)
{
	struct irq_router *router = irq_router_create();
	struct record record = {0};
	const struct irq_line output = {.set = on_pin, .opaque = &record};
	struct irq_line a, b;

	irq_router_connect(router, &output);
	a = irq_router_line(router, 5, NULL);
	b = irq_router_line(router, 5, NULL);
	irq_line_set(&a, true);
	irq_line_set(&a, true);
	irq_line_set(&b, true);
	assert_int_equal(record.changes, 1);
	assert_int_equal(record.pin, 5);
	assert_true(record.level);
	irq_line_set(&a, false);
	assert_int_equal(record.changes, 1);
	assert_int_equal(irq_router_levels(router), 1u << 5);
	irq_router_release(router, &b);
	assert_int_equal(record.changes, 2);
	assert_false(record.level);
	assert_int_equal(irq_router_levels(router), 0);
	irq_router_destroy(router);
}

static void test_there_are_so_many(void **state)
{
	struct irq_router *router = irq_router_create();
	struct irq_line line = irq_router_line(router, 0, NULL);
	struct err err = {0};

	assert_null(irq_router_line(router, IRQ_ROUTER_PINS, &err).set);
	assert_int_equal(err.code, -EINVAL);
	for (unsigned i = 1; i < IRQ_ROUTER_SOURCES; i++)
		assert_non_null(irq_router_line(router, 0, NULL).set);
	assert_null(irq_router_line(router, 0, &err).set);
	assert_int_equal(err.code, -ENOSPC);
	irq_router_release(router, &line);
	assert_non_null(irq_router_line(router, 0, NULL).set);
	irq_router_destroy(router);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_shared_pin_is_high_while_one_is),
		cmocka_unit_test(test_there_are_so_many),
	};

	return cmocka_run_group_tests_name("irq_router", tests, NULL, NULL);
}
