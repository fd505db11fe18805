/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/core/doorbell: which writes signal, which reach the range, and what a listener is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/core/bus.h"

#define NOTIFY 0x1050u

struct rig {
	struct bus *bus;
	int fd[2];
	unsigned writes;         /* that reached the device */
	unsigned added, removed; /* that the listener was told of */
};

static void device_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	((struct rig *)opaque)->writes++;
}

static uint64_t device_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return 0x5a;
}

static const struct bus_ops device_ops = {.read = device_read, .write = device_write};

static struct rig *rig_of(void **state)
{
	return *state;
}

static int setup(void **state)
{
	static struct rig rig;
	struct bus_range range = {
		.name = "device", .base = 0x1000, .size = 0x100, .ops = &device_ops, .opaque = &rig};

	rig = (struct rig){.bus = bus_create("memory", 40)};
	for (unsigned i = 0; i < 2; i++)
		rig.fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	*state = &rig;
	return bus_add(rig.bus, &range, NULL);
}

static int teardown(void **state)
{
	close(rig_of(state)->fd[0]);
	close(rig_of(state)->fd[1]);
	bus_destroy(rig_of(state)->bus);
	return 0;
}

/* How often fd was signalled since it was last asked. */
static uint64_t rings(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void test_a_write_of_the_size_rings(void **state)
{
	struct rig *rig = rig_of(state);
	const struct bus_doorbell doorbell = {.address = NOTIFY, .size_bytes = 4, .fd = rig->fd[0]};

	assert_int_equal(bus_doorbell_add(rig->bus, &doorbell, NULL), 0);
	bus_write(rig->bus, NOTIFY, 7, 4);
	bus_write(rig->bus, NOTIFY, 8, 4);
	assert_int_equal(rings(rig->fd[0]), 2);
	assert_int_equal(bus_doorbells_rung(rig->bus), 2);
	assert_int_equal(rig->writes, 0);
	bus_write(rig->bus, NOTIFY, 7, 2);
	bus_write(rig->bus, NOTIFY + 4, 7, 4);
	assert_int_equal(rings(rig->fd[0]), 0);
	assert_int_equal(rig->writes, 2);
	assert_int_equal(bus_read(rig->bus, NOTIFY, 4), 0x5a);
	bus_doorbell_remove(rig->bus, &doorbell);
	bus_write(rig->bus, NOTIFY, 7, 4);
	assert_int_equal(rings(rig->fd[0]), 0);
	assert_int_equal(rig->writes, 3);
}

/* virtio-mmio: one register, the value is the queue. */
static void test_values_have_their_own(void **state)
{
	struct rig *rig = rig_of(state);

	for (unsigned queue = 0; queue < 2; queue++) {
		const struct bus_doorbell doorbell = {.address = NOTIFY,
						      .size_bytes = 4,
						      .match = true,
						      .value = queue,
						      .fd = rig->fd[queue]};

		assert_int_equal(bus_doorbell_add(rig->bus, &doorbell, NULL), 0);
	}
	bus_write(rig->bus, NOTIFY, 1, 4);
	assert_int_equal(rings(rig->fd[0]), 0);
	assert_int_equal(rings(rig->fd[1]), 1);
	bus_write(rig->bus, NOTIFY, 2, 4);
	assert_int_equal(rig->writes, 1);
	/* Bits beyond the access are not the guest's. */
	bus_write(rig->bus, NOTIFY, 0xabc00000000ull, 4);
	assert_int_equal(rings(rig->fd[0]), 1);
}

static void test_any_size_and_the_more_exact_first(void **state)
{
	struct rig *rig = rig_of(state);
	const struct bus_doorbell any = {.address = NOTIFY, .fd = rig->fd[0]};
	const struct bus_doorbell exact = {
		.address = NOTIFY, .size_bytes = 2, .match = true, .value = 3, .fd = rig->fd[1]};

	assert_int_equal(bus_doorbell_add(rig->bus, &any, NULL), 0);
	assert_int_equal(bus_doorbell_add(rig->bus, &exact, NULL), 0);
	bus_write(rig->bus, NOTIFY, 3, 1);
	bus_write(rig->bus, NOTIFY, 4, 2);
	assert_int_equal(rings(rig->fd[0]), 2);
	bus_write(rig->bus, NOTIFY, 3, 2);
	assert_int_equal(rings(rig->fd[0]), 0);
	assert_int_equal(rings(rig->fd[1]), 1);
}

static void test_mistakes_are_refused(void **state)
{
	struct rig *rig = rig_of(state);
	const struct bus_doorbell odd = {.address = NOTIFY, .size_bytes = 3};
	const struct bus_doorbell sizeless = {.address = NOTIFY, .match = true};
	const struct bus_doorbell too_big = {.address = NOTIFY, .size_bytes = 1, .match = true, .value = 256};
	const struct bus_doorbell good = {.address = NOTIFY, .size_bytes = 4, .fd = rig->fd[0]};

	assert_int_equal(bus_doorbell_add(rig->bus, &odd, NULL), -EINVAL);
	assert_int_equal(bus_doorbell_add(rig->bus, &sizeless, NULL), -EINVAL);
	assert_int_equal(bus_doorbell_add(rig->bus, &too_big, NULL), -EINVAL);
	assert_int_equal(bus_doorbell_add(rig->bus, &good, NULL), 0);
	assert_int_equal(bus_doorbell_add(rig->bus, &good, NULL), -EEXIST);
}

static void test_the_table_has_an_end(void **state)
{
	struct rig *rig = rig_of(state);
	struct bus_doorbell doorbell = {.size_bytes = 4, .fd = rig->fd[0]};

	/* From the highest address down: each goes to the front. */
	for (unsigned i = 0; i < BUS_DOORBELLS_MAX; i++) {
		doorbell.address = 0x10000 - i * 4;
		assert_int_equal(bus_doorbell_add(rig->bus, &doorbell, NULL), 0);
	}
	doorbell.address = 0x20000;
	assert_int_equal(bus_doorbell_add(rig->bus, &doorbell, NULL), -ENOSPC);
	for (unsigned i = 0; i < BUS_DOORBELLS_MAX; i++)
		bus_write(rig->bus, 0x10000 - i * 4, i, 4);
	assert_int_equal(rings(rig->fd[0]), BUS_DOORBELLS_MAX);
}

static void on_added(void *opaque, const struct bus_doorbell *doorbell)
{
	assert_int_equal(doorbell->address, NOTIFY);
	((struct rig *)opaque)->added++;
}

static void on_removed(void *opaque, const struct bus_doorbell *doorbell)
{
	assert_int_equal(doorbell->address, NOTIFY);
	((struct rig *)opaque)->removed++;
}

static void test_listeners_see_all_that_is_there(void **state)
{
	struct rig *rig = rig_of(state);
	const struct bus_doorbell_listener listener = {on_added, on_removed, rig};
	struct bus_doorbell first = {.address = NOTIFY, .size_bytes = 4, .fd = rig->fd[0]};
	struct bus_doorbell second = {.address = NOTIFY, .size_bytes = 2, .fd = rig->fd[0]};

	bus_doorbell_add(rig->bus, &first, NULL);
	bus_doorbell_listen(rig->bus, &listener);
	assert_int_equal(rig->added, 1);
	bus_doorbell_add(rig->bus, &second, NULL);
	assert_int_equal(rig->added, 2);
	bus_doorbell_remove(rig->bus, &second);
	bus_doorbell_remove(rig->bus, &second);
	assert_int_equal(rig->removed, 1);
	bus_doorbell_listen(rig->bus, NULL);
	assert_int_equal(rig->removed, 2);
	bus_doorbell_remove(rig->bus, &first);
	assert_int_equal(rig->removed, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_write_of_the_size_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values_have_their_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_size_and_the_more_exact_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mistakes_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_table_has_an_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listeners_see_all_that_is_there, setup, teardown),
	};

	return cmocka_run_group_tests_name("doorbell", tests, NULL, NULL);
}
