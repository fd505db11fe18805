/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/backend/block_*: every operation under both engines and all cache modes, checked against a copy in
 * memory. Where the kernel refuses io_uring its tests are skipped, and so are those of O_DIRECT where the
 * file system has none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/block_disk.h"
#include "vmm/backend/block_file.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/blockdev.h"
#include "vmm/core/gmem.h"

#define REQUESTS_MAX 2000

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Cuts [bytes, bytes + size) into some iovecs at any place, odd ones included. */
static unsigned cut_iov(struct iovec *iov, uint8_t *bytes, size_t size, uint32_t *seed)
{
	unsigned count = 0;

	while (count < 7 && size > 1 && next_random(seed) % 4 != 0) {
		size_t step = 1 + next_random(seed) % (size - 1);

		iov[count++] = (struct iovec){.iov_base = bytes, .iov_len = step};
		bytes += step;
		size -= step;
	}
	iov[count++] = (struct iovec){.iov_base = bytes, .iov_len = size};
	return count;
}

static void random_step(struct disk *disk, uint8_t *buffer, uint32_t *seed)
{
	uint32_t block = disk->blockdev->limits.logical_block_bytes;
	uint64_t blocks = DISK_BYTES / block;
	uint64_t first = next_random(seed) % blocks;
	uint64_t count = 1 + next_random(seed) % (blocks - first);
	uint64_t offset = first * block;
	uint64_t size = (next_random(seed) % 2 ? count : 1) * block;
	uint8_t *bytes = buffer + next_random(seed) % 3 * 256;
	struct disk_request mine = {.request = {.offset_bytes = offset, .size_bytes = size}};

	mine.request.iov = mine.iov;
	mine.request.iov_count = cut_iov(mine.iov, bytes, size, seed);
	mine.request.durable = next_random(seed) % 8 == 0;
	mine.request.unmap = next_random(seed) % 2;
	switch (next_random(seed) % 5) {
	case 0:
	case 1:
		mine.request.op = BLOCK_WRITE;
		memset(bytes, (int)next_random(seed), size);
		bytes[size / 2] ^= 1;
		memcpy(disk->model + offset, bytes, size);
		assert_int_equal(disk_do(disk, &mine), 0);
		return;
	case 2:
		mine.request.op = BLOCK_WRITE_ZEROES;
		memset(disk->model + offset, 0, size);
		assert_int_equal(disk_do(disk, &mine), 0);
		return;
	case 3:
		mine.request.op = BLOCK_FLUSH;
		assert_int_equal(disk_do(disk, &mine), 0);
		return;
	default:
		mine.request.op = BLOCK_READ;
		memset(bytes, 0xee, size);
		assert_int_equal(disk_do(disk, &mine), 0);
		assert_memory_equal(bytes, disk->model + offset, size);
	}
}

static void random_run(const struct blockdev_config *config, bool no_fallocate)
{
	uint8_t *buffer = aligned_alloc(4096, DISK_BYTES + 4096);
	uint32_t seed = 1;
	struct disk disk;

	disk_open(&disk, config);
	atomic_store(&((struct block_file *)disk.blockdev)->no_zero_range, no_fallocate);
	atomic_store(&((struct block_file *)disk.blockdev)->no_punch, no_fallocate);
	for (int i = 0; i < 300; i++)
		random_step(&disk, buffer, &seed);
	disk_check(&disk);
	disk_close(&disk);
	free(buffer);
}

#define RANDOM_TEST(name_, ...)                                                                              \
	static void test_random_##name_(void **state)                                                        \
	{                                                                                                    \
		const struct blockdev_config config = {__VA_ARGS__};                                         \
                                                                                                             \
		random_run(&config, false);                                                                  \
	}

RANDOM_TEST(uring_writeback, .engine = BLOCK_ENGINE_IO_URING)
RANDOM_TEST(uring_direct, .engine = BLOCK_ENGINE_IO_URING, .cache = BLOCK_CACHE_DIRECT)
RANDOM_TEST(uring_4096, .engine = BLOCK_ENGINE_IO_URING, .logical_block_bytes = 4096)
RANDOM_TEST(threads_writeback, .engine = BLOCK_ENGINE_THREADS)
RANDOM_TEST(threads_direct, .engine = BLOCK_ENGINE_THREADS, .cache = BLOCK_CACHE_DIRECT)
RANDOM_TEST(threads_unsafe, .engine = BLOCK_ENGINE_THREADS, .cache = BLOCK_CACHE_UNSAFE)

static void test_zeroes_without_fallocate(void **state)
{
	const struct blockdev_config config = {.engine = BLOCK_ENGINE_THREADS};

	random_run(&config, true);
}

static void stop_loop(void *opaque)
{
	loop_stop(opaque, 1);
}

/* More than any ring holds at once, delivered by the loop. */
static void many_requests(enum block_engine engine)
{
	const struct blockdev_config config = {.engine = engine};
	struct disk_request *mine = calloc(REQUESTS_MAX, sizeof(*mine));
	uint8_t *bytes = malloc((size_t)REQUESTS_MAX * 512);
	struct loop_timer *timer;
	struct disk disk;

	disk_open(&disk, &config);
	block_plug(disk.queue);
	for (unsigned i = 0; i < REQUESTS_MAX; i++) {
		mine[i].iov[0] = (struct iovec){.iov_base = bytes + (size_t)i * 512, .iov_len = 512};
		memset(mine[i].iov[0].iov_base, (int)i, 512);
		memset(disk.model + (size_t)i * 512, (int)i, 512);
		mine[i].disk = &disk;
		mine[i].request = (struct block_request){.op = BLOCK_WRITE,
							 .offset_bytes = (uint64_t)i * 512,
							 .size_bytes = 512,
							 .iov = mine[i].iov,
							 .iov_count = 1,
							 .complete = disk_complete};
		block_submit(disk.queue, &mine[i].request);
	}
	assert_int_equal(disk.completions, 0);
	block_unplug(disk.queue);
	timer = loop_timer_create(disk.loop, stop_loop, disk.loop, NULL);
	for (int i = 0; i < 400 && disk.completions < REQUESTS_MAX; i++) {
		loop_timer_arm(timer, clock_monotonic_ns() + 20 * NS_PER_MS);
		loop_run(disk.loop);
	}
	loop_timer_destroy(timer);
	assert_int_equal(disk.completions, REQUESTS_MAX);
	assert_in_range(disk.batches, 1, REQUESTS_MAX);
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		assert_true(mine[i].completed == 1 && mine[i].result == 0);
	disk_check(&disk);
	disk_close(&disk);
	free(bytes);
	free(mine);
}

static void test_many_uring(void **state)
{
	many_requests(BLOCK_ENGINE_IO_URING);
}

static void test_many_threads(void **state)
{
	many_requests(BLOCK_ENGINE_THREADS);
}

/* A completion submits the next: all of it within the batch, none of it from within submit. */
static void complete_and_submit(struct block_request *request, int result)
{
	struct disk_request *mine = (struct disk_request *)request;

	assert_int_equal(result, 0);
	mine->disk->completions++;
	if (mine->disk->completions < 100)
		block_submit(mine->disk->queue, request);
}

static void test_completion_submits(void **state)
{
	const struct blockdev_config config = {.engine = BLOCK_ENGINE_THREADS, .cache = BLOCK_CACHE_UNSAFE};
	struct disk_request mine = {.request = {.op = BLOCK_FLUSH, .complete = complete_and_submit}};
	struct disk disk;

	disk_open(&disk, &config);
	mine.disk = &disk;
	block_plug(disk.queue);
	block_submit(disk.queue, &mine.request);
	assert_int_equal(disk.completions, 0);
	block_unplug(disk.queue);
	assert_int_equal(disk.completions, 100);
	assert_int_equal(disk.batches, 1);
	disk_close(&disk);
}

static void test_bounds(void **state)
{
	const struct blockdev_config config = {.engine = BLOCK_ENGINE_THREADS};
	static uint8_t bytes[4096];
	struct disk disk;

	disk_open(&disk, &config);
	assert_true(block_size_bytes(disk.blockdev) == DISK_BYTES);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, DISK_BYTES - 512, bytes, 512), 0);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, DISK_BYTES - 512, bytes, 1024), -EINVAL);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, DISK_BYTES, bytes, 512), -EINVAL);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, UINT64_MAX - 511, bytes, 1024), -EINVAL);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, 256, bytes, 512), -EINVAL);
	assert_int_equal(disk_simple(&disk, BLOCK_DISCARD, 0, NULL, DISK_BYTES + 512), -EINVAL);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, 0, NULL, 0), 0);
	disk_check(&disk);
	disk_close(&disk);
}

static void test_discard_gives_space_back(void **state)
{
	const struct blockdev_config config = {.engine = BLOCK_ENGINE_THREADS};
	uint8_t *bytes = malloc(DISK_BYTES);
	struct stat full, empty;
	struct disk disk;

	disk_open(&disk, &config);
	memset(bytes, 0x5a, DISK_BYTES);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 0, bytes, DISK_BYTES), 0);
	assert_int_equal(disk_simple(&disk, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(stat(disk.path, &full), 0);
	assert_int_equal(disk_simple(&disk, BLOCK_DISCARD, 0, NULL, DISK_BYTES), 0);
	assert_int_equal(stat(disk.path, &empty), 0);
	assert_int_equal(empty.st_size, DISK_BYTES);
	if (!atomic_load(&((struct block_file *)disk.blockdev)->no_punch))
		assert_true(empty.st_blocks < full.st_blocks);
	disk_close(&disk);
	free(bytes);
}

/* Registered guest memory: the same results, and the pages are held while the queue lives. */
static void test_pinned_memory(void **state)
{
	const struct blockdev_config config = {.engine = BLOCK_ENGINE_IO_URING, .pin = true};
	struct gmem *gmem = gmem_create();
	struct disk disk;
	uint8_t *ram;

	disk_open(&disk, &config);
	block_queue_destroy(disk.queue);
	assert_int_equal(gmem_add(gmem, 0, 1 << 20, GMEM_RAM, NULL), 0);
	assert_int_equal(gmem_add(gmem, 1ull << 32, 1 << 20, GMEM_RAM, NULL), 0);
	assert_false(gmem_is_pinned(gmem));
	disk_add_queue(&disk, gmem);
	assert_true(gmem_is_pinned(gmem));
	for (uint64_t gpa = 0; gpa <= 1ull << 32; gpa += 1ull << 32) {
		ram = gmem_span(gmem, gpa + 4096, 8192);
		memset(ram, 0x77, 8192);
		memcpy(disk.model + 8192, ram, 8192);
		assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 8192, ram, 8192), 0);
		memset(ram, 0, 8192);
		assert_int_equal(disk_simple(&disk, BLOCK_READ, 8192, ram, 8192), 0);
		assert_memory_equal(ram, disk.model + 8192, 8192);
	}
	disk_check(&disk);
	block_queue_destroy(disk.queue);
	disk.queue = NULL;
	assert_false(gmem_is_pinned(gmem));
	disk_close(&disk);
	gmem_destroy(gmem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_uring_writeback),
		cmocka_unit_test(test_random_uring_direct),
		cmocka_unit_test(test_random_uring_4096),
		cmocka_unit_test(test_random_threads_writeback),
		cmocka_unit_test(test_random_threads_direct),
		cmocka_unit_test(test_random_threads_unsafe),
		cmocka_unit_test(test_zeroes_without_fallocate),
		cmocka_unit_test(test_many_uring),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_completion_submits),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_discard_gives_space_back),
		cmocka_unit_test(test_pinned_memory),
	};

	return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
