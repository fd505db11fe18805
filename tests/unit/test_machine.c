/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/machine: the life of machines on a fake accelerator: ends, resets, requests, two at once, failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/fake_accel.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/config.h"
#include "vmm/machine/machine.h"

const struct accel_ops *const accel_table[] = {&absent_accel_ops, &fake_accel_ops, NULL};

#define EXIT_WITH(value) "b\x01\x05" value
#define POWER_OFF        "w\x04\x06\x00\x34" /* S5: SLP_TYP 5, SLP_EN */
#define RESET            "b\xf9\x0c\x06"

/* A program in a file of its own, and a configuration that boots it. */
struct guest {
	char path[32];
	struct machine_config config;
};

static void guest_set(struct guest *guest, const char *path, const char *text)
{
	struct err err = {0};

	for (const struct option *option = machine_options; option->path; option++) {
		if (strcmp(option->path, path) == 0)
			assert_int_equal(option_set_text(option, &guest->config, text, &err), 0);
	}
}

static void guest_make(struct guest *guest, const char *program, size_t len)
{
	int fd;

	strcpy(guest->path, "/tmp/vmmctl-test-XXXXXX");
	fd = mkstemp(guest->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, program, len), len);
	close(fd);
	assert_int_equal(machine_config_init(&guest->config, NULL), 0);
	guest_set(guest, "boot.kernel", guest->path);
	guest_set(guest, "boot.protocol", "flat");
	guest_set(guest, "machine.memory", "4M");
	guest_set(guest, "machine.cpus", "2");
	guest_set(guest, "exit_code_port", "0x501");
	free(guest->config.serial.item[0]);
	guest->config.serial.item[0] = strdup("null");
}
#define GUEST(guest, program) guest_make(guest, program, sizeof(program) - 1)

static void guest_unmake(struct guest *guest)
{
	unlink(guest->path);
	machine_config_free(&guest->config);
}

static struct machine_result guest_run(struct guest *guest)
{
	struct machine_result result = {0};
	struct err err = {0};
	struct machine *machine = machine_create(&guest->config, &err);

	if (!machine)
		fail_msg("%s", err.message);
	assert_int_equal(machine_run(machine, &result, &err), 0);
	machine_destroy(machine);
	return result;
}

/* Devices, transports and I/O threads come and go with the machine, whatever the combination. */
static void test_virtio_devices(void **state)
{
	static const char *const transports[] = {"mmio", "pci"};

	for (unsigned i = 0; i < 4; i++) {
		struct guest guest;

		GUEST(&guest, POWER_OFF);
		guest_set(&guest, "virtio.transport", transports[i % 2]);
		guest_set(&guest, "virtio.ring", i < 2 ? "split" : "packed");
		guest_set(&guest, "machine.io_threads", i < 2 ? "1" : "3");
		for (unsigned device = 0; device < 5; device++)
			guest_set(&guest, "rng", "/dev/zero,iops=5");
		assert_int_equal(guest_run(&guest).end, MACHINE_POWERED_OFF);
		guest_unmake(&guest);
	}
	(void)state;
}

/* More than there are slots, and a source that is not there: an error that says so, and nothing is left
 * behind. */
static void test_virtio_devices_that_cannot_be(void **state)
{
	struct guest guest;
	struct err err = {0};

	GUEST(&guest, POWER_OFF);
	for (unsigned device = 0; device < 32; device++)
		guest_set(&guest, "rng", "/dev/zero");
	assert_null(machine_create(&guest.config, &err));
	assert_non_null(strstr(err.message, "--rng"));
	assert_non_null(strstr(err.message, "31"));
	guest_unmake(&guest);
	GUEST(&guest, POWER_OFF);
	guest_set(&guest, "rng", "/nonexistent");
	assert_null(machine_create(&guest.config, &err));
	assert_non_null(strstr(err.message, "/nonexistent"));
	guest_unmake(&guest);
	(void)state;
}

static void test_power_off(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, POWER_OFF "l");
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_POWERED_OFF);
	assert_int_equal(machine_exit_status(&result), 0);
	guest_unmake(&guest);
}

static void test_exit_code_port(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, EXIT_WITH("\x17") "l");
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_EXITED);
	assert_int_equal(machine_exit_status(&result), 0x17);
	guest_unmake(&guest);
	result.value = 0x100;
	assert_int_equal(machine_exit_status(&result), 255);
}

/* No instruction after the one that asked is executed: the second request would win. */
static void test_a_cpu_stops_when_it_asked(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, EXIT_WITH("\x05") "f");
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_EXITED);
	guest_unmake(&guest);
}

/* Each pass overwrites itself with an instruction that fails: the kernel must be loaded anew, registers set
 * anew. */
static void test_reset_starts_again(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, "si"
		      "c\x03\x05" RESET "l" EXIT_WITH("\x2a") "l");
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_EXITED);
	assert_int_equal(result.value, 0x2a);
	guest_unmake(&guest);
}

static void test_reset_ends_with_no_reboot(void **state)
{
	struct guest guest;
	struct machine_result result;

	GUEST(&guest, RESET "l");
	guest.config.no_reboot = true;
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_RESET);
	assert_int_equal(machine_exit_status(&result), 0);
	guest_unmake(&guest);
}

static void test_triple_fault_resets_then_ends(void **state)
{
	struct guest guest;
	struct machine_result result;

	log_set_level(LOG_OFF);
	GUEST(&guest, "i"
		      "c\x02\x01"
		      "t" EXIT_WITH("\x07") "l");
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_EXITED); /* the second start went on */
	guest_unmake(&guest);

	GUEST(&guest, "i"
		      "c\x09\x01"
		      "t" EXIT_WITH("\x07") "l");
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_TRIPLE_FAULT); /* again and again: not nine times */
	assert_int_equal(machine_exit_status(&result), 3);

	guest.config.no_reboot = true;
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_TRIPLE_FAULT);
	guest_unmake(&guest);
	log_set_level(LOG_WARNING);
}

static void test_accelerator_failure_ends(void **state)
{
	struct guest guest;
	struct machine_result result;

	log_set_level(LOG_OFF);
	GUEST(&guest, "f");
	result = guest_run(&guest);
	assert_int_equal(result.end, MACHINE_FAILED);
	assert_int_equal(machine_exit_status(&result), 1);
	guest_unmake(&guest);
	log_set_level(LOG_WARNING);
}

static void *quit_soon(void *opaque)
{
	usleep(20000);
	machine_quit(opaque);
	return NULL;
}

/* Both a guest that spins and one that sleeps must be stopped from outside. */
static void test_quit_from_another_thread(void **state)
{
	static const char *const programs[] = {"l", "h"};

	for (size_t i = 0; i < 2; i++) {
		struct machine_result result;
		struct machine *machine;
		struct guest guest;
		pthread_t thread;

		guest_make(&guest, programs[i], 1);
		machine = machine_create(&guest.config, NULL);
		pthread_create(&thread, NULL, quit_soon, machine);
		assert_int_equal(machine_run(machine, &result, NULL), 0);
		pthread_join(thread, NULL);
		assert_int_equal(result.end, MACHINE_QUIT);
		machine_destroy(machine);
		guest_unmake(&guest);
	}
}

static void test_serial_output_reaches_the_file(void **state)
{
	char output[] = "/tmp/vmmctl-test-out-XXXXXX";
	char spec[64];
	char text[8] = "";
	struct guest guest;
	int fd = mkstemp(output);

	GUEST(&guest, "b\xf8\x03Hb\xf8\x03i" POWER_OFF "l");
	snprintf(spec, sizeof(spec), "file:%s", output);
	free(guest.config.serial.item[0]);
	guest.config.serial.item[0] = strdup(spec);
	guest_run(&guest);
	assert_int_equal(read(fd, text, sizeof(text)), 2);
	assert_string_equal(text, "Hi");
	close(fd);
	unlink(output);
	guest_unmake(&guest);
}

static void *run_in_thread(void *opaque)
{
	struct machine_result *result = calloc(1, sizeof(*result));

	*result = guest_run(opaque);
	return result;
}

static void test_two_machines_at_once(void **state)
{
	struct machine_result *results[2];
	pthread_t threads[2];
	struct guest guests[2];

	GUEST(&guests[0], "i"
			  "c\x20\x05" RESET "l" EXIT_WITH("\x0b") "l");
	GUEST(&guests[1], "i"
			  "c\x30\x05" RESET "l" EXIT_WITH("\x16") "l");
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, run_in_thread, &guests[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], (void **)&results[i]);
	assert_int_equal(results[0]->value, 0x0b);
	assert_int_equal(results[1]->value, 0x16);
	for (int i = 0; i < 2; i++) {
		guest_unmake(&guests[i]);
		free(results[i]);
	}
}

static unsigned open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void test_failures_leave_nothing_behind(void **state)
{
	static const struct {
		const char *path, *text, *message;
	} wrong[] = {
		{"boot.kernel", "/nonexistent", "/nonexistent"},
		{"machine.accel", "absent", "no such hardware"},
		{"machine.accel", "kvm",
		 "--accel (machine.accel): this build of vmmctl has no accelerator kvm: it has auto, "
		 "absent, fake"},
		{"machine.cpu", "z80", "--cpu (machine.cpu): no CPU model \"z80\""},
		{"machine.board", "amiga", "--machine (machine.board): no board \"amiga\""},
		{"serial", "file:/nonexistent/x", "--serial file:/nonexistent/x: cannot open"},
		{"exit_code_port", "0x3f8", "--exit-code-port (exit_code_port)"},
	};
	unsigned before = open_descriptors();

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct guest guest;
		struct err err = {0};

		GUEST(&guest, "l");
		if (strcmp(wrong[i].path, "exit_code_port") == 0)
			guest_set(&guest, "serial", "null"); /* COM1 and COM2 are taken */
		guest_set(&guest, wrong[i].path, wrong[i].text);
		assert_null(machine_create(&guest.config, &err));
		if (!strstr(err.message, wrong[i].message))
			fail_msg("\"%s\" does not say \"%s\"", err.message, wrong[i].message);
		guest_unmake(&guest);
	}
	assert_int_equal(open_descriptors(), before);
}

static void test_runs_leave_nothing_behind(void **state)
{
	unsigned before = open_descriptors();
	struct guest guest;

	GUEST(&guest, "i"
		      "c\x02\x05" RESET "l" POWER_OFF "l");
	guest_run(&guest);
	guest_unmake(&guest);
	assert_int_equal(open_descriptors(), before);
}

static void test_auto_says_why(void **state)
{
	char reason[600];

	assert_ptr_equal(accel_choice_make("auto", reason, sizeof(reason), NULL), &fake_accel_ops);
	assert_string_equal(reason,
			    "fake, because it is the best that works here (absent: no such hardware)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_off),
		cmocka_unit_test(test_virtio_devices),
		cmocka_unit_test(test_virtio_devices_that_cannot_be),
		cmocka_unit_test(test_exit_code_port),
		cmocka_unit_test(test_a_cpu_stops_when_it_asked),
		cmocka_unit_test(test_reset_starts_again),
		cmocka_unit_test(test_reset_ends_with_no_reboot),
		cmocka_unit_test(test_triple_fault_resets_then_ends),
		cmocka_unit_test(test_accelerator_failure_ends),
		cmocka_unit_test(test_quit_from_another_thread),
		cmocka_unit_test(test_serial_output_reaches_the_file),
		cmocka_unit_test(test_two_machines_at_once),
		cmocka_unit_test(test_failures_leave_nothing_behind),
		cmocka_unit_test(test_runs_leave_nothing_behind),
		cmocka_unit_test(test_auto_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
