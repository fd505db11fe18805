/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent memory: a file in guest memory, and what a flush answers. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/virtio/pmem.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/core/device.h"

#define PMEM_GPA  (1ull << 32)
#define FILE_SIZE 10000u
#define SIZE      (2u << 20)

struct bench {
	char path[32];
	struct virtio_guest *guest;
	struct device *device;
};

static int open_file(struct bench *bench)
{
	char bytes[FILE_SIZE];
	int fd;

	memset(bytes, 'f', sizeof(bytes));
	strcpy(bench->path, "/tmp/vmmctl-pmem-XXXXXX");
	fd = mkstemp(bench->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	return fd;
}

static void set_up(struct bench *bench, enum gmem_kind kind)
{
	const struct gmem_file file = {
		.fd = open_file(bench), .file_bytes = FILE_SIZE, .size_bytes = SIZE, .kind = kind};
	struct pmem_config config = {
		.id = "pmem0", .gpa = PMEM_GPA, .size_bytes = SIZE, .file_bytes = FILE_SIZE};

	bench->guest = virtio_guest_create();
	assert_int_equal(gmem_add_file(bench->guest->gmem, PMEM_GPA, &file, &bench->guest->err), 0);
	config.hva = gmem_span(bench->guest->gmem, PMEM_GPA, SIZE);
	assert_non_null(config.hva);
	bench->device = pmem_create(&bench->guest->env, &config, &bench->guest->err);
	assert_non_null(bench->device);
}

static void tear_down(struct bench *bench)
{
	virtio_guest_destroy(bench->guest);
	unlink(bench->path);
}

/* Sends a request of this type; its answer. */
static uint32_t flush(struct virtio_guest *guest, uint32_t type, uint32_t answer_len)
{
	struct virtio_guest_buffer buffers[] = {
		{.gpa = virtio_guest_alloc(guest, 4, 16), .len = 4},
		{.gpa = virtio_guest_alloc(guest, 4, 16), .len = answer_len, .write = true},
	};
	uint32_t answer = 77;
	uint16_t id;
	uint32_t len;

	memcpy(virtio_guest_at(guest, buffers[0].gpa, 4), &type, 4);
	virtio_guest_add(guest, 0, buffers, 2);
	virtio_guest_kick(guest, 0);
	virtio_guest_wait(guest, 0, &id, &len);
	if (len == 4)
		memcpy(&answer, virtio_guest_at(guest, buffers[1].gpa, 4), 4);
	return answer;
}

static void test_the_file_is_memory(void **state)
{
	struct bench bench;
	uint64_t space[2];
	char byte = 0;
	int fd;

	set_up(&bench, GMEM_DEVICE);
	virtio_guest_start(bench.guest, bench.device, VIRTIO_GUEST_PACKED, 0);
	virtio_config_read(bench.guest->virtio, 0, space, sizeof(space));
	assert_true(space[0] == PMEM_GPA && space[1] == SIZE);
	assert_int_equal(gmem_read(bench.guest->gmem, PMEM_GPA + FILE_SIZE - 1, &byte, 1), 0);
	assert_int_equal(byte, 'f');
	assert_int_equal(gmem_read(bench.guest->gmem, PMEM_GPA + SIZE - 1, &byte, 1), 0);
	assert_int_equal(byte, 0);
	assert_int_equal(gmem_write(bench.guest->gmem, PMEM_GPA + 100, "new", 3), 0);
	assert_int_equal(flush(bench.guest, 0, 4), 0);
	fd = open(bench.path, O_RDONLY);
	assert_int_equal(pread(fd, &byte, 1, 100), 1);
	assert_int_equal(byte, 'n');
	close(fd);
	tear_down(&bench);
}

static void test_it_is_no_ram(void **state)
{
	struct bench bench;
	uint64_t ram;

	set_up(&bench, GMEM_DEVICE);
	ram = gmem_ram_size_bytes(bench.guest->gmem);
	assert_int_equal(ram, VIRTIO_GUEST_RAM_BYTES + VIRTIO_GUEST_MORE_BYTES);
	assert_int_equal(gmem_discard(bench.guest->gmem, PMEM_GPA, 4096), -EFAULT);
	virtio_guest_attach(bench.guest, bench.device);
	tear_down(&bench);
}

static void test_requests_that_are_none(void **state)
{
	struct bench bench;
	const uint32_t type = 0;

	set_up(&bench, GMEM_DEVICE);
	virtio_guest_start(bench.guest, bench.device, 0, 0);
	assert_int_equal(flush(bench.guest, 1, 4), UINT32_MAX);
	assert_int_equal(flush(bench.guest, 0, 3), 77); /* no room for an answer */
	assert_int_equal(virtio_guest_request(bench.guest, 0, &type, 2, NULL, 0), 0);
	assert_int_equal(flush(bench.guest, 0, 4), 0);
	tear_down(&bench);
}

static void test_a_reset_waits_for_flushes(void **state)
{
	struct bench bench;
	struct virtio_guest_buffer buffers[2];

	set_up(&bench, GMEM_DEVICE);
	virtio_guest_start(bench.guest, bench.device, 0, 0);
	for (unsigned i = 0; i < 8; i++) {
		buffers[0] = (struct virtio_guest_buffer){virtio_guest_alloc(bench.guest, 4, 16), 4, false};
		buffers[1] = (struct virtio_guest_buffer){virtio_guest_alloc(bench.guest, 4, 16), 4, true};
		virtio_guest_add(bench.guest, 0, buffers, 2);
	}
	virtio_guest_kick(bench.guest, 0);
	virtio_status_write(bench.guest->virtio, 0);
	assert_int_equal(bench.guest->virtio->queue[0].in_flight, 0);
	tear_down(&bench);
}

static void test_a_read_only_file_is_not_written(void **state)
{
	struct bench bench;
	struct virtio_guest_buffer buffer = {.gpa = PMEM_GPA, .len = 16, .write = true};

	set_up(&bench, GMEM_ROM);
	virtio_guest_start(bench.guest, bench.device, 0, 0);
	/* A chain that would have the device write there breaks the ring, and nothing else. */
	virtio_guest_add_direct(bench.guest, 0, &buffer, 1);
	virtio_guest_kick(bench.guest, 0);
	assert_false(virtio_is_active(bench.guest->virtio));
	tear_down(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_file_is_memory),
		cmocka_unit_test(test_it_is_no_ram),
		cmocka_unit_test(test_requests_that_are_none),
		cmocka_unit_test(test_a_reset_waits_for_flushes),
		cmocka_unit_test(test_a_read_only_file_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
