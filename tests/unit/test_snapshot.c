/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/machine snapshots on a fake accelerator: round trips, memory by file and by page-fault handler, damage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/fake_accel.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/unix_socket.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot.h"

const struct accel_ops *const accel_table[] = {&fake_accel_ops, &other_accel_ops, NULL};

#define MARK_GPA    0x200000
#define MEMORY_SIZE (4u << 20)

struct files {
	char folder[32], kernel[64], state[64], memory[64];
};

static int files_setup(void **state)
{
	struct files *files = calloc(1, sizeof(*files));
	int fd;

	strcpy(files->folder, "/tmp/vmmctl-test-XXXXXX");
	assert_non_null(mkdtemp(files->folder));
	snprintf(files->kernel, sizeof(files->kernel), "%s/kernel", files->folder);
	snprintf(files->state, sizeof(files->state), "%s/state", files->folder);
	snprintf(files->memory, sizeof(files->memory), "%s/memory", files->folder);
	fd = open(files->kernel, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "l", 1), 1);
	close(fd);
	*state = files;
	return 0;
}

static int files_teardown(void **state)
{
	struct files *files = *state;

	unlink(files->kernel);
	unlink(files->state);
	unlink(files->memory);
	assert_int_equal(rmdir(files->folder), 0); /* nothing else was left there */
	free(files);
	return 0;
}

static void config_set(struct machine_config *config, const char *path, const char *text)
{
	for (const struct option *option = machine_options; option->path; option++) {
		if (strcmp(option->path, path) == 0)
			assert_int_equal(option_set_text(option, config, text, NULL), 0);
	}
}

/* The abort is not reached; the compiler does not know that fail_msg does not return. */
static void *made(void *what, const struct err *err)
{
	if (!what) {
		fail_msg("%s", err->message);
		abort();
	}
	return what;
}

static struct machine *machine_make(const struct files *files)
{
	struct machine_config config;
	struct machine *machine;
	struct err err = {0};

	assert_int_equal(machine_config_init(&config, NULL), 0);
	config_set(&config, "boot.kernel", files->kernel);
	config_set(&config, "boot.protocol", "flat");
	config_set(&config, "machine.memory", "4M");
	config_set(&config, "machine.cpus", "2");
	config_set(&config, "machine.accel", "fake");
	config_set(&config, "rng", "/dev/zero");
	config_set(&config, "virtio.transport", "pci");
	free(config.serial.item[0]);
	config.serial.item[0] = strdup("null");
	machine = made(machine_create(&config, &err), &err);
	machine_config_free(&config);
	return machine;
}

static void mark(struct machine *machine, uint64_t gpa, uint64_t value)
{
	assert_int_equal(gmem_write(machine->gmem, gpa, &value, sizeof(value)), 0);
}

static uint64_t marked(const struct machine *machine, uint64_t gpa)
{
	uint64_t value;

	assert_int_equal(gmem_read(machine->gmem, gpa, &value, sizeof(value)), 0);
	return value;
}

static void machine_save(struct machine *machine, const struct files *files, enum machine_snapshot_kind kind)
{
	const struct machine_snapshot_target target = {kind, files->state, files->memory};
	struct err err = {0};

	assert_int_equal(machine_pause(machine, &err), 0);
	if (machine_snapshot_create(machine, &target, &err) < 0)
		fail_msg("%s", err.message);
}

static struct machine *machine_open(const struct files *files, const struct machine_snapshot_memory *memory,
				    struct err *err)
{
	const struct machine_snapshot_memory file = {.path = files->memory};
	struct machine_snapshot *snapshot = machine_snapshot_open(files->state, err);
	struct machine *machine = NULL;

	if (snapshot)
		machine = machine_restore(snapshot, memory ? memory : &file, err);
	machine_snapshot_close(snapshot);
	return machine;
}

static void *quit_soon(void *machine)
{
	usleep(20000);
	machine_quit(machine);
	return NULL;
}

static void machine_run_a_little(struct machine *machine)
{
	struct machine_result result;
	pthread_t thread;

	pthread_create(&thread, NULL, quit_soon, machine);
	assert_int_equal(machine_run(machine, &result, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(result.end, MACHINE_QUIT);
}

static void test_a_running_machine_is_not_saved(void **state)
{
	const struct files *files = *state;
	const struct machine_snapshot_target target = {MACHINE_SNAPSHOT_FULL, files->state, files->memory};
	struct machine *machine = machine_make(files);
	struct err err = {0};

	assert_int_equal(machine_snapshot_create(machine, &target, &err), -EBUSY);
	assert_int_equal(access(files->state, F_OK), -1);
	machine_destroy(machine);
}

/* Registers, devices and memory; the copy is another machine's. */
static void test_a_machine_comes_back(void **state)
{
	const struct files *files = *state;
	struct machine *machine = machine_make(files);
	struct x86_cpu_state *before, *after;
	struct err err = {0};

	before = made(machine_new_cpu_state(), &err);
	after = made(machine_new_cpu_state(), &err);

	mark(machine, MARK_GPA, 0x1122334455667788);
	assert_int_equal(machine->accel->state_get(machine->vcpu[0].accel_vcpu, before, NULL), 0);
	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	machine = made(machine_open(files, NULL, &err), &err);
	assert_true(machine_is_paused(machine));
	assert_int_equal(marked(machine, MARK_GPA), 0x1122334455667788);
	assert_int_equal(machine->accel->state_get(machine->vcpu[0].accel_vcpu, after, NULL), 0);
	assert_int_equal(after->rip, before->rip);
	assert_memory_equal(after->gpr, before->gpr, sizeof(after->gpr));
	mark(machine, MARK_GPA, 1);
	assert_int_equal(machine_resume(machine, &err), 0);
	machine_run_a_little(machine);
	machine_destroy(machine);
	machine = made(machine_open(files, NULL, &err), &err);
	assert_int_equal(marked(machine, MARK_GPA), 0x1122334455667788);
	machine_destroy(machine);
	free(before);
	free(after);
}

static off_t file_blocks(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, MEMORY_SIZE);
	return status.st_blocks * 512;
}

/* What a DIFF holds is what has changed, and laid over its base it is the whole. */
static void test_a_diff(void **state)
{
	struct files files = *(struct files *)*state;
	struct files diff = files;
	struct machine *machine = machine_make(&files);
	struct err err = {0};

	for (uint64_t gpa = MARK_GPA; gpa < MARK_GPA + 0x100000; gpa += 4096)
		mark(machine, gpa, gpa + 1);
	machine_save(machine, &files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	machine = made(machine_open(&files, NULL, &err), &err);
	mark(machine, MARK_GPA + 8, 7);
	strcat(diff.memory, "-diff");
	machine_save(machine, &diff, MACHINE_SNAPSHOT_DIFF);
	assert_true(file_blocks(diff.memory) <= 64 << 10);
	machine_save(machine, &files, MACHINE_SNAPSHOT_DIFF);
	machine_destroy(machine);
	machine = made(machine_open(&files, NULL, &err), &err);
	assert_int_equal(marked(machine, MARK_GPA + 8), 7);
	assert_int_equal(marked(machine, MARK_GPA + 0x5000), MARK_GPA + 0x5001);
	machine_destroy(machine);
	unlink(diff.memory);
}

/* With a log a DIFF is small although the machine was never loaded, and one that failed loses nothing. */
static void test_a_diff_by_the_log(void **state)
{
	struct files files = *(struct files *)*state, diff = files;
	const struct machine_snapshot_target nowhere = {MACHINE_SNAPSHOT_DIFF, files.state,
							"/nonexistent/memory"};
	struct machine *machine = machine_make(&files);
	struct err err = {0};

	assert_int_equal(machine_snapshot_track(machine, &err), 0);
	for (uint64_t gpa = MARK_GPA; gpa < MARK_GPA + 0x100000; gpa += 4096)
		mark(machine, gpa, gpa + 1);
	strcat(diff.memory, "-diff");
	machine_save(machine, &diff, MACHINE_SNAPSHOT_DIFF); /* the first one, so it is whole */
	assert_true(file_blocks(diff.memory) >= 0x100000);
	unlink(diff.memory);
	machine_save(machine, &files, MACHINE_SNAPSHOT_FULL);
	mark(machine, MARK_GPA + 8, 7);
	assert_true(machine_snapshot_create(machine, &nowhere, &err) < 0);
	mark(machine, MARK_GPA + 0x2008, 8);
	assert_int_equal(gmem_discard(machine->gmem, MARK_GPA + 0x5000, 4096), 0);
	machine_save(machine, &diff, MACHINE_SNAPSHOT_DIFF);
	assert_true(file_blocks(diff.memory) <= 64 << 10);
	unlink(diff.memory);
	mark(machine, MARK_GPA + 8, 9);
	mark(machine, MARK_GPA + 0x2008, 10);
	assert_int_equal(gmem_zero(machine->gmem, MARK_GPA + 0x5000, 4096), 0);
	machine_save(machine, &files, MACHINE_SNAPSHOT_DIFF);
	machine_destroy(machine);
	machine = made(machine_open(&files, NULL, &err), &err);
	assert_int_equal(marked(machine, MARK_GPA + 8), 9);
	assert_int_equal(marked(machine, MARK_GPA + 0x2008), 10);
	assert_int_equal(marked(machine, MARK_GPA + 0x5000), 0);
	assert_int_equal(marked(machine, MARK_GPA + 0x6000), MARK_GPA + 0x6001);
	machine_destroy(machine);
}

/* Without one, what was given back to the host is zeros in a base that is written over. */
static void test_a_diff_forgets_what_was_given_back(void **state)
{
	const struct files *files = *state;
	struct machine *machine = machine_make(files);
	struct err err = {0};

	mark(machine, MARK_GPA, 1);
	mark(machine, MARK_GPA + 4096, 2);
	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	assert_int_equal(gmem_discard(machine->gmem, MARK_GPA, 4096), 0);
	machine_save(machine, files, MACHINE_SNAPSHOT_DIFF);
	machine_destroy(machine);
	machine = made(machine_open(files, NULL, &err), &err);
	assert_int_equal(marked(machine, MARK_GPA), 0);
	assert_int_equal(marked(machine, MARK_GPA + 4096), 2);
	machine_destroy(machine);
}

/* A full snapshot over the file that the machine's own pages come from. */
static void test_a_snapshot_over_its_own_memory(void **state)
{
	const struct files *files = *state;
	struct machine *machine = machine_make(files);
	struct err err = {0};

	mark(machine, MARK_GPA, 1);
	mark(machine, MARK_GPA + 4096, 2);
	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	machine = made(machine_open(files, NULL, &err), &err);
	mark(machine, MARK_GPA, 3);
	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	assert_int_equal(marked(machine, MARK_GPA + 4096), 2);
	machine_destroy(machine);
	machine = made(machine_open(files, NULL, &err), &err);
	assert_int_equal(marked(machine, MARK_GPA), 3);
	assert_int_equal(marked(machine, MARK_GPA + 4096), 2);
	machine_destroy(machine);
}

/* Any byte changed, any length cut: refused with a reason, and nothing is left of the machine. */
static void test_damage(void **state)
{
	const struct files *files = *state;
	struct machine *machine = machine_make(files);
	char *bytes;
	size_t len;
	FILE *file;

	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	file = fopen(files->state, "rb");
	bytes = malloc(1 << 20);
	len = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	assert_in_range(len, 1000, (1 << 20) - 1);
	for (size_t at = 0; at < len; at += at < 64 ? 1 : len / 97) {
		struct err err = {0};

		bytes[at] ^= 0x11;
		file = fopen(files->state, "wb");
		assert_int_equal(fwrite(bytes, 1, len, file), len);
		fclose(file);
		bytes[at] ^= 0x11;
		assert_null(machine_snapshot_open(files->state, &err));
		assert_int_not_equal(err.message[0], '\0');
		file = fopen(files->state, "wb");
		assert_int_equal(fwrite(bytes, 1, at, file), at);
		fclose(file);
		assert_null(machine_snapshot_open(files->state, &err));
	}
	free(bytes);
}

static void test_another_machine_is_refused(void **state)
{
	const struct files *files = *state;
	const struct machine_snapshot_memory memory = {.path = files->memory};
	struct machine *machine = machine_make(files);
	struct machine_snapshot *snapshot;
	struct err err = {0};

	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	snapshot = machine_snapshot_open(files->state, &err);
	config_set(machine_snapshot_config(snapshot), "rng", "/dev/zero");
	assert_null(machine_restore(snapshot, &memory, &err));
	assert_non_null(strstr(err.message, "devices"));
	machine_snapshot_close(snapshot);
	snapshot = machine_snapshot_open(files->state, &err);
	config_set(machine_snapshot_config(snapshot), "machine.memory", "8M");
	assert_null(machine_restore(snapshot, &memory, &err));
	assert_non_null(strstr(err.message, "8388608"));
	machine_snapshot_close(snapshot);
}

static void test_memory_files_that_do_not_fit(void **state)
{
	const struct files *files = *state;
	struct machine *machine = machine_make(files);
	struct err err = {0};

	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	assert_int_equal(truncate(files->memory, MEMORY_SIZE - 4096), 0);
	assert_null(machine_open(files, NULL, &err));
	assert_non_null(strstr(err.message, "bytes"));
	unlink(files->memory);
	assert_null(machine_open(files, NULL, &err));
	assert_non_null(strstr(err.message, files->memory));
}

/* Taken on one accelerator, loaded on the other. */
static void test_the_other_accelerator(void **state)
{
	const struct files *files = *state;
	const struct machine_snapshot_memory memory = {.path = files->memory};
	struct machine *machine = machine_make(files);
	struct machine_snapshot *snapshot;
	struct err err = {0};

	mark(machine, MARK_GPA, 99);
	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	snapshot = machine_snapshot_open(files->state, &err);
	free(machine_snapshot_config(snapshot)->accel);
	machine_snapshot_config(snapshot)->accel = strdup("other");
	machine = made(machine_restore(snapshot, &memory, &err), &err);
	assert_string_equal(machine->accel->name, "other");
	assert_int_equal(marked(machine, MARK_GPA), 99);
	machine_destroy(machine);
	machine_snapshot_close(snapshot);
}

/* A page-fault handler as Firecracker's are: gets the descriptor with the regions, copies pages in. */

struct handler {
	const struct files *files;
	int listener;
	pthread_t thread;
	unsigned faults;
};

static int handler_receive(int socket, json_t **regions)
{
	char text[4096], control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {text, sizeof(text)};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t len = recvmsg(socket, &message, 0);
	const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fd = -1;

	assert_true(len > 0);
	if (header)
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	*regions = json_loadb(text, (size_t)len, 0, NULL);
	return fd;
}

static void *handler_main(void *opaque)
{
	struct handler *handler = opaque;
	int memory = open(handler->files->memory, O_RDONLY);
	int socket = accept(handler->listener, NULL, NULL);
	json_t *regions = NULL;
	int fd = handler_receive(socket, &regions);
	uint64_t base = (uint64_t)json_integer_value(
		json_object_get(json_array_get(regions, 0), "base_host_virt_addr"));
	uint8_t page[4096];
	struct uffd_msg event;
	char byte;

	for (;;) {
		struct pollfd polled[2] = {{fd, POLLIN, 0}, {socket, POLLIN, 0}};

		poll(polled, 2, -1);
		if (polled[1].revents && read(socket, &byte, 1) == 0)
			break;
		if (!(polled[0].revents & POLLIN) || read(fd, &event, sizeof(event)) != sizeof(event))
			continue;
		if (event.event == UFFD_EVENT_PAGEFAULT) {
			uint64_t address = event.arg.pagefault.address & ~4095ull;
			struct uffdio_copy copy = {
				.dst = address, .src = (uintptr_t)page, .len = sizeof(page)};

			assert_int_equal(pread(memory, page, sizeof(page), (off_t)(address - base)), 4096);
			ioctl(fd, UFFDIO_COPY, &copy);
			handler->faults++;
		}
	}
	json_decref(regions);
	close(fd);
	close(socket);
	close(memory);
	return NULL;
}

static void test_a_page_fault_handler(void **state)
{
	const struct files *files = *state;
	char path[80];
	struct handler handler = {.files = files};
	const struct machine_snapshot_memory memory = {.uffd_socket = path};
	struct machine *machine = machine_make(files);
	struct err err = {0};

	mark(machine, MARK_GPA, 0x5566);
	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	snprintf(path, sizeof(path), "%s/uffd", files->folder);
	handler.listener = unix_socket_listen(path, 1, NULL);
	fcntl(handler.listener, F_SETFL, fcntl(handler.listener, F_GETFL) & ~O_NONBLOCK);
	pthread_create(&handler.thread, NULL, handler_main, &handler);
	machine = machine_open(files, &memory, &err);
	if (!machine && strstr(err.message, "userfaultfd")) {
		pthread_cancel(handler.thread);
		pthread_join(handler.thread, NULL);
		close(handler.listener);
		unlink(path);
		skip(); /* this host lets no ordinary user have one */
	}
	made(machine, &err);
	assert_int_equal(marked(machine, MARK_GPA), 0x5566);
	machine_destroy(machine);
	pthread_join(handler.thread, NULL);
	assert_true(handler.faults > 0);
	close(handler.listener);
	unlink(path);
}

/* A socket that is not there: an error, no hang. */
static void test_no_page_fault_handler(void **state)
{
	const struct files *files = *state;
	const struct machine_snapshot_memory memory = {.uffd_socket = "/nonexistent/uffd"};
	struct machine *machine = machine_make(files);
	struct err err = {0};

	machine_save(machine, files, MACHINE_SNAPSHOT_FULL);
	machine_destroy(machine);
	assert_null(machine_open(files, &memory, &err));
	assert_int_not_equal(err.message[0], '\0');
}

#define FILES_TEST(name_) cmocka_unit_test_setup_teardown(name_, files_setup, files_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILES_TEST(test_a_running_machine_is_not_saved),
		FILES_TEST(test_a_machine_comes_back),
		FILES_TEST(test_a_diff),
		FILES_TEST(test_a_diff_by_the_log),
		FILES_TEST(test_a_diff_forgets_what_was_given_back),
		FILES_TEST(test_a_snapshot_over_its_own_memory),
		FILES_TEST(test_damage),
		FILES_TEST(test_another_machine_is_refused),
		FILES_TEST(test_memory_files_that_do_not_fit),
		FILES_TEST(test_the_other_accelerator),
		FILES_TEST(test_a_page_fault_handler),
		FILES_TEST(test_no_page_fault_handler),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
