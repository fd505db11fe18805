/* SPDX-License-Identifier: Apache-2.0 */
/* devices/virtio/blk: what happens around requests: limits, resets, gathering, growing, moving; and real
 * files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/blk_rig.h"
#include "vmm/base/clock.h"
#include "vmm/base/loop.h"

static void test_resize_tells_the_driver(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, 0);
	static uint8_t bytes[512];
	uint32_t generation = virtio_config_generation(rig.guest->virtio);
	uint64_t capacity = 0;

	assert_int_equal(rig_request(&rig, BLK_T_OUT, DISK_SECTORS, bytes, 512, false), BLK_S_IOERR);
	assert_int_equal(virtio_blk_resize(rig.device, 2 * DISK_BYTES, &rig.guest->err), 0);
	assert_int_equal(rig.guest->config_interrupts, 1);
	assert_int_not_equal(virtio_config_generation(rig.guest->virtio), generation);
	virtio_config_read(rig.guest->virtio, 0, &capacity, 8);
	assert_int_equal(capacity, 2 * DISK_SECTORS);
	assert_int_equal(rig_request(&rig, BLK_T_OUT, DISK_SECTORS, bytes, 512, false), BLK_S_OK);
	assert_true(virtio_blk_resize(rig.device, 0, &rig.guest->err) < 0);
	assert_string_equal(rig.guest->err.message, "disk0: no such size");
	assert_int_equal(rig.guest->config_interrupts, 1);
	rig_end(&rig);
}

/* Ten requests pass, the eleventh after 20 ms: by itself, without a kick. */
static void test_limit(void **state)
{
	const struct virtio_blk_config config = {
		.limit.operations = {.size = 10, .refill_time_ns = 200 * NS_PER_MS}};
	struct rig rig = rig_make(&config, 512, false);
	uint64_t start_ns = clock_monotonic_ns();
	static uint8_t bytes[512];

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, 0);
	for (int i = 0; i < 15; i++)
		assert_int_equal(rig_request(&rig, BLK_T_IN, 0, bytes, 512, true), BLK_S_OK);
	assert_true(clock_monotonic_ns() - start_ns >= 90 * NS_PER_MS);
	rig_end(&rig);
}

/* The same with a reset while requests wait for the limit. */
static void test_reset_while_throttled(void **state)
{
	const struct virtio_blk_config config = {
		.limit.bytes = {.size = 512, .refill_time_ns = 3600 * NS_PER_S}};
	struct rig rig = rig_make(&config, 512, false);
	const struct blk_header header = {.type = BLK_T_IN};
	static uint8_t bytes[512];
	uint64_t gpa;

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, 0);
	assert_int_equal(rig_request(&rig, BLK_T_IN, 0, bytes, 512, true), BLK_S_OK);
	gpa = virtio_guest_alloc(rig.guest, 1024, 16);
	memcpy(virtio_guest_at(rig.guest, gpa, 16), &header, sizeof(header));
	virtio_guest_add(rig.guest, 0,
			 (struct virtio_guest_buffer[]){{.gpa = gpa, .len = 16},
							{.gpa = gpa + 16, .len = 513, .write = true}},
			 2);
	virtio_guest_kick(rig.guest, 0);
	assert_int_equal(rig.disk->submitted, 1);
	virtio_status_write(rig.guest->virtio, 0);
	assert_int_equal(rig.guest->virtio->queue[0].in_flight, 0);
	rig_end(&rig);
}

static void release_held(void *opaque)
{
	memory_disk_release(opaque);
}

/* A reset returns when the backend has given everything back, and not before. */
static void test_reset_waits_for_the_backend(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, 0);
	struct loop_timer *timer =
		loop_timer_create(rig.guest->env.loop, release_held, rig.disk, &rig.guest->err);
	uint64_t gpa = virtio_guest_alloc(rig.guest, 1024, 16);
	const struct blk_header header = {.type = BLK_T_IN};

	memcpy(virtio_guest_at(rig.guest, gpa, 16), &header, sizeof(header));
	rig.disk->hold = true;
	virtio_guest_add(rig.guest, 0,
			 (struct virtio_guest_buffer[]){{.gpa = gpa, .len = 16},
							{.gpa = gpa + 16, .len = 513, .write = true}},
			 2);
	virtio_guest_kick(rig.guest, 0);
	assert_int_equal(rig.disk->submitted, 1);
	assert_int_equal(rig.disk->completed, 0);
	loop_timer_arm(timer, clock_monotonic_ns() + 20 * NS_PER_MS);
	virtio_status_write(rig.guest->virtio, 0);
	assert_int_equal(rig.disk->completed, 1);
	loop_timer_destroy(timer);
	rig_end(&rig);
}

/* While many requests are under way the driver is told of some at a time; of the last ones at once. */
static void test_completions_are_gathered(void **state)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){0}, 512, false);
	const struct blk_header header = {.type = BLK_T_IN};
	unsigned *interrupts;
	uint64_t gpa;

	virtio_guest_attach(rig.guest, rig.device);
	assert_true(virtio_guest_negotiate(rig.guest, VIRTIO_GUEST_SPLIT, 0));
	virtio_guest_set_up_queue(rig.guest, 0, 64);
	virtio_guest_driver_ok(rig.guest);
	interrupts = &rig.guest->queue[0].interrupts;
	gpa = virtio_guest_alloc(rig.guest, 1024, 16);
	memcpy(virtio_guest_at(rig.guest, gpa, 16), &header, sizeof(header));
	rig.disk->hold = true;
	for (int i = 0; i < 24; i++)
		virtio_guest_add(rig.guest, 0,
				 (struct virtio_guest_buffer[]){{.gpa = gpa, .len = 16},
								{.gpa = gpa + 16, .len = 513, .write = true}},
				 2);
	virtio_guest_kick(rig.guest, 0);
	assert_int_equal(rig.disk->submitted, 24);
	memory_disk_release_some(rig.disk, 1); /* 23 are missing */
	assert_int_equal(*interrupts, 0);
	while (*interrupts == 0) /* until the time that one may wait is over */
		assert_int_equal(loop_run_once(rig.guest->env.loop, 1000), 0);
	memory_disk_release_some(rig.disk, 9); /* 14 are missing */
	assert_int_equal(*interrupts, 2);
	memory_disk_release_some(rig.disk, 13);
	assert_int_equal(*interrupts, 3);
	memory_disk_release_some(rig.disk, 1); /* none is */
	assert_int_equal(*interrupts, 4);
	rig_end(&rig);
}

static void test_queues(void **state)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){.queues = 4}, 512, false);
	static uint8_t bytes[512], back[512];
	uint16_t queues = 0;

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, VIRTIO_BIT(BLK_F_MQ));
	virtio_config_read(rig.guest->virtio, offsetof(struct blk_config_space, num_queues), &queues, 2);
	assert_int_equal(queues, 4);
	for (unsigned i = 0; i < 4; i++) {
		rig_fill(bytes, 512, i);
		rig.queue = i;
		assert_int_equal(rig_request(&rig, BLK_T_OUT, i, bytes, 512, false), BLK_S_OK);
		rig.queue = 3 - i;
		assert_int_equal(rig_request(&rig, BLK_T_IN, i, back, 512, true), BLK_S_OK);
		assert_memory_equal(back, bytes, 512);
	}
	rig_end(&rig);
}

static void test_moves_to_another_device(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_PACKED, ALL_FEATURES);
	struct memory_disk *first = rig.disk;
	const uint8_t off = 0;
	static uint8_t bytes[512];
	struct virtio_blk_config config = {.id = "disk0", .queues = 1};

	virtio_config_write(rig.guest->virtio, offsetof(struct blk_config_space, writeback), &off, 1);
	assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_OK);
	rig.disk = memory_disk_create(DISK_BYTES, 512, false);
	config.blockdev = &rig.disk->blockdev;
	rig.device = virtio_blk_create(&rig.guest->env, &config, &rig.guest->err);
	virtio_guest_move(rig.guest, rig.device);
	assert_int_equal(rig_writeback(&rig), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_OK);
	assert_int_equal(rig.disk->durable, 20);
	rig_end(&rig);
	memory_disk_destroy(first);
}

static void over_a_file(enum block_engine engine, enum block_cache cache)
{
	char path[] = "/tmp/test-virtio-blk-XXXXXX";
	const struct blockdev_config disk = {.path = path, .engine = engine, .cache = cache};
	struct virtio_blk_config config = {.id = "disk0", .queues = 1};
	static uint8_t bytes[65536], back[65536];
	struct rig rig = {.guest = virtio_guest_create()};
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	config.blockdev = blockdev_open(&disk, &rig.guest->err);
	if (!config.blockdev) { /* no io_uring, or no O_DIRECT, here */
		unlink(path);
		close(fd);
		virtio_guest_destroy(rig.guest);
		skip();
	}
	rig.device = virtio_blk_create(&rig.guest->env, &config, &rig.guest->err);
	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, ALL_FEATURES);
	for (unsigned i = 1; i < 40; i++) {
		size_t len = (i % 5 ? i : 128) * 512;

		rig_fill(bytes, len, i);
		assert_int_equal(rig_request(&rig, BLK_T_OUT, i * 5, bytes, len, false), BLK_S_OK);
		assert_int_equal(rig_request(&rig, BLK_T_FLUSH, 0, NULL, 0, false), BLK_S_OK);
		assert_int_equal(rig_request(&rig, BLK_T_IN, i * 5, back, len, true), BLK_S_OK);
		assert_memory_equal(back, bytes, len);
		assert_int_equal(pread(fd, back, len, (off_t)i * 5 * 512), (ssize_t)len);
		assert_memory_equal(back, bytes, len);
	}
	virtio_guest_destroy(rig.guest);
	blockdev_close(config.blockdev);
	close(fd);
	unlink(path);
}

static void test_over_io_uring(void **state)
{
	over_a_file(BLOCK_ENGINE_IO_URING, BLOCK_CACHE_WRITEBACK);
}

static void test_over_threads(void **state)
{
	over_a_file(BLOCK_ENGINE_THREADS, BLOCK_CACHE_WRITEBACK);
}

static void test_over_direct(void **state)
{
	over_a_file(BLOCK_ENGINE_AUTO, BLOCK_CACHE_DIRECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resize_tells_the_driver),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_reset_while_throttled),
		cmocka_unit_test(test_reset_waits_for_the_backend),
		cmocka_unit_test(test_completions_are_gathered),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_moves_to_another_device),
		cmocka_unit_test(test_over_io_uring),
		cmocka_unit_test(test_over_threads),
		cmocka_unit_test(test_over_direct),
	};

	return cmocka_run_group_tests_name("virtio_blk_flow", tests, NULL, NULL);
}
