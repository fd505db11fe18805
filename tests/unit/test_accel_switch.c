/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/machine: hand-over and assist on two fake accelerators, of which one cannot execute everything. What
 * the guest does shows who ran it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/fake_accel.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/accel_switch.h"
#include "vmm/machine/config.h"
#include "vmm/machine/dirty_log.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/parts.h"

const struct accel_ops *const accel_table[] = {&fake_accel_ops, &other_accel_ops, NULL};

#define EXIT_WITH(value) "b\x01\x05" value

struct guest {
	char path[32];
	struct machine_config config;
	struct machine *machine;
	struct loop_timer *timer;
	void (*act)(struct guest *guest); /* on the main thread, again and again */
	unsigned acts;
};

static void guest_make(struct guest *guest, const char *program, size_t len)
{
	int fd;

	*guest = (struct guest){.path = "/tmp/vmmctl-test-XXXXXX"};
	fd = mkstemp(guest->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, program, len), len);
	close(fd);
	assert_int_equal(machine_config_init(&guest->config, NULL), 0);
	guest->config.kernel = strdup(guest->path);
	guest->config.protocol = 4; /* flat */
	guest->config.memory_bytes = 4 << 20;
	guest->config.cpus = 2;
	guest->config.exit_code_port = 0x501;
	guest->config.accel_switch = true;
	free(guest->config.serial.item[0]);
	guest->config.serial.item[0] = strdup("null");
}
#define GUEST(guest, program) guest_make(guest, program, sizeof(program) - 1)

static void guest_on_timer(void *opaque)
{
	struct guest *guest = opaque;

	guest->acts++;
	guest->act(guest);
	loop_timer_arm(guest->timer, clock_monotonic_ns() + NS_PER_MS);
}

static struct machine_result guest_run(struct guest *guest, void (*act)(struct guest *guest))
{
	struct machine_result result = {0};
	struct err err = {0};

	guest->machine = machine_create(&guest->config, &err);
	if (!guest->machine)
		fail_msg("%s", err.message);
	guest->act = act;
	if (act) {
		guest->timer = loop_timer_create(machine_loop(guest->machine), guest_on_timer, guest, &err);
		loop_timer_arm(guest->timer, clock_monotonic_ns() + NS_PER_MS);
	}
	assert_int_equal(machine_run(guest->machine, &result, &err), 0);
	return result;
}

static void guest_end(struct guest *guest)
{
	if (guest->timer)
		loop_timer_destroy(guest->timer);
	machine_destroy(guest->machine);
	unlink(guest->path);
	machine_config_free(&guest->config);
}

static uint64_t counter(const struct guest *guest, const char *name)
{
	const char *names[16];
	uint64_t values[16];
	size_t count = accel_switch_counters(guest->machine, names, values, 16);

	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return values[i];
	fail_msg("no counter %s", name);
	return 0;
}

static void switch_to_the_other(struct guest *guest)
{
	struct err err = {0};

	if (accel_switch(guest->machine, NULL, &err) < 0)
		fail_msg("%s", err.message);
}

/* "a" passes on "other" only, and RAX, which only x changes, is carried along, there and back. */
static void test_a_running_guest_moves(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, "axxn\x02"
		      "axn\x03" EXIT_WITH("\x2a") "l");
	result = guest_run(&guest, switch_to_the_other);
	assert_int_equal(result.end, MACHINE_EXITED);
	assert_int_equal(result.value, 0x2a);
	assert_true(counter(&guest, "accel.switches") >= 1);
	assert_int_equal(counter(&guest, "accel.switches_failed"), 0);
	guest_end(&guest);
}

static void switch_by_name(struct guest *guest)
{
	struct err err = {0};

	assert_int_equal(accel_switch(guest->machine, "fake", &err), 0); /* it is there */
	assert_int_equal(accel_switch(guest->machine, "third", &err), -EINVAL);
	assert_non_null(strstr(err.message, "third"));
	assert_int_equal(accel_switch(guest->machine, "other", &err), 0);
	assert_int_equal(accel_switch(guest->machine, "other", &err), 0);
	assert_int_equal(counter(guest, "accel.switches"), 1);
	machine_quit(guest->machine);
}

static void test_accelerators_are_named(void **state)
{
	struct guest guest;

	GUEST(&guest, "l");
	assert_int_equal(guest_run(&guest, switch_by_name).end, MACHINE_QUIT);
	guest_end(&guest);
}

static void switch_unprepared(struct guest *guest)
{
	struct err err = {0};

	assert_int_equal(accel_switch(guest->machine, NULL, &err), -EBUSY);
	assert_non_null(strstr(err.message, "--accel-switch"));
	machine_quit(guest->machine);
}

/* Its CPU may have what the other accelerator lacks. */
static void test_a_machine_not_made_for_it_stays(void **state)
{
	struct guest guest;

	GUEST(&guest, "l");
	guest.config.accel_switch = false;
	assert_int_equal(guest_run(&guest, switch_unprepared).end, MACHINE_QUIT);
	guest_end(&guest);
}

static void switch_refused_once(struct guest *guest)
{
	struct err err = {0};

	if (guest->acts > 1)
		return;
	atomic_store(&fake_other_refuses, -EIO);
	assert_int_equal(accel_switch(guest->machine, NULL, &err), -EIO);
	assert_non_null(strstr(err.message, "other refuses"));
	assert_int_equal(counter(guest, "accel.switches_failed"), 1);
	machine_press_power_button(guest->machine); /* the machine still takes orders */
	machine_quit(guest->machine);
}

static void test_a_hand_over_that_fails_changes_nothing(void **state)
{
	struct guest guest;

	GUEST(&guest, "l");
	assert_int_equal(guest_run(&guest, switch_refused_once).end, MACHINE_QUIT);
	guest_end(&guest);
}

/* By itself, with --accel-switch-every, which implies --accel-switch; "a" needs the other one each time. */
static void test_periodic_hand_overs(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, "i"
		      "a"
		      "c\x06\x05"
		      "b\xf9\x0c\x06"
		      "l" EXIT_WITH("\x11") "l");
	guest.config.accel_switch = false;
	guest.config.accel_switch_every_ms = 1;
	result = guest_run(&guest, NULL);
	assert_int_equal(result.end, MACHINE_EXITED);
	assert_int_equal(result.value, 0x11); /* after five resets, some of them on the other side */
	guest_end(&guest);
}

static void test_the_other_one_helps_out(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, "xxxxn\x04" EXIT_WITH("\x07") "l");
	guest.config.accel_switch = false; /* it does not take that */
	log_set_level(LOG_OFF);
	result = guest_run(&guest, NULL);
	log_set_level(LOG_WARNING);
	assert_int_equal(result.end, MACHINE_EXITED);
	assert_int_equal(result.value, 7);
	/* One block, two, four: frequent failures take more at a time. */
	assert_in_range(counter(&guest, "accel.assists"), 1, 4);
	assert_int_equal(counter(&guest, "accel.switches"), 0);
	guest_end(&guest);
}

static void test_what_nobody_can_execute_ends_the_machine(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, "xy");
	log_set_level(LOG_OFF);
	result = guest_run(&guest, NULL);
	log_set_level(LOG_WARNING);
	assert_int_equal(result.end, MACHINE_FAILED);
	guest_end(&guest);
}

/* The accelerator that failed cannot tell the instruction: the other one can. */
static void test_a_failure_is_reported_with_its_instruction(void **state)
{
	char log[4096] = "";
	struct guest guest;
	int standard_error = dup(STDERR_FILENO);
	int pipe_fd[2];

	GUEST(&guest, "xf");
	assert_int_equal(pipe(pipe_fd), 0);
	dup2(pipe_fd[1], STDERR_FILENO);
	assert_int_equal(guest_run(&guest, NULL).end, MACHINE_FAILED);
	dup2(standard_error, STDERR_FILENO);
	close(standard_error);
	close(pipe_fd[1]);
	assert_true(read(pipe_fd[0], log, sizeof(log) - 1) > 0);
	close(pipe_fd[0]);
	assert_non_null(strstr(log, "registers of CPU 0"));
	assert_non_null(strstr(log, "at rip: a letter at "));
	guest_end(&guest);
}

static void helped_and_switched(struct guest *guest)
{
	switch_to_the_other(guest);
}

/* The side that helps is the one that takes over: neither may disturb the other. */
static void test_assists_between_hand_overs(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, "xaxaxaxn\x04" EXIT_WITH("\x09") "l");
	log_set_level(LOG_OFF);
	result = guest_run(&guest, helped_and_switched);
	log_set_level(LOG_WARNING);
	assert_int_equal(result.end, MACHINE_EXITED);
	assert_int_equal(result.value, 9);
	guest_end(&guest);
}

/* How often each of some pages was told. */
struct told {
	unsigned counter, host, none;
};

#define HOST_GPA 0x20000
#define NONE_GPA 0x50000

static bool holds(uint64_t gpa, uint64_t size_bytes, uint64_t page)
{
	return page - gpa < size_bytes;
}

static void on_dirty(void *opaque, uint64_t gpa, uint64_t size_bytes)
{
	struct told *told = opaque;

	told->counter += holds(gpa, size_bytes, FAKE_COUNTER_GPA);
	told->host += holds(gpa, size_bytes, HOST_GPA);
	told->none += holds(gpa, size_bytes, NONE_GPA);
}

static struct told fetch(struct guest *guest)
{
	struct told told = {0};
	struct err err = {0};

	if (machine_dirty_fetch(guest->machine, on_dirty, &told, &err) < 0)
		fail_msg("%s", err.message);
	return told;
}

/* One log tells what the guest wrote, on the side that had it, and what the host wrote; each once. */
static void log_a_run(const char *program, size_t size)
{
	struct machine_result result;
	struct err err = {0};
	struct guest guest;
	struct told told;

	guest_make(&guest, program, size);
	guest.machine = machine_create(&guest.config, &err);
	if (!guest.machine)
		fail_msg("%s", err.message);
	assert_int_equal(machine_dirty_fetch(guest.machine, on_dirty, &told, &err), -EINVAL);
	assert_int_equal(machine_dirty_start(guest.machine, &err), 0);
	told = fetch(&guest);
	assert_int_equal(told.counter + told.host + told.none, 0);
	assert_int_equal(machine_run(guest.machine, &result, &err), 0);
	assert_int_equal(result.end, MACHINE_EXITED);
	gmem_written(guest.machine->gmem, HOST_GPA + 4094, 1);
	told = fetch(&guest);
	assert_true(told.counter >= 1 && told.host == 1 && told.none == 0);
	told = fetch(&guest);
	assert_int_equal(told.counter + told.host + told.none, 0);
	machine_dirty_stop(guest.machine);
	gmem_written(guest.machine->gmem, HOST_GPA, 1);
	assert_int_equal(machine_dirty_start(guest.machine, &err), 0);
	assert_int_equal(fetch(&guest).host, 0);
	guest_end(&guest);
}

static void test_written_pages_are_told(void **state)
{
	static const char program[] = "i" EXIT_WITH("\x2a") "l";

	log_a_run(program, sizeof(program) - 1);
}

static void test_what_a_helper_writes_is_told(void **state)
{
	static const char program[] = "m" EXIT_WITH("\x2a") "l";

	log_a_run(program, sizeof(program) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_running_guest_moves),
		cmocka_unit_test(test_accelerators_are_named),
		cmocka_unit_test(test_a_machine_not_made_for_it_stays),
		cmocka_unit_test(test_a_hand_over_that_fails_changes_nothing),
		cmocka_unit_test(test_periodic_hand_overs),
		cmocka_unit_test(test_the_other_one_helps_out),
		cmocka_unit_test(test_what_nobody_can_execute_ends_the_machine),
		cmocka_unit_test(test_a_failure_is_reported_with_its_instruction),
		cmocka_unit_test(test_assists_between_hand_overs),
		cmocka_unit_test(test_written_pages_are_told),
		cmocka_unit_test(test_what_a_helper_writes_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
