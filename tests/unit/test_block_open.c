/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/core/blockdev and vmm/backend/block_file: formats and their guard, locks, sizes, files that shrink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/block_disk.h"
#include "vmm/backend/block_file.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/blockdev.h"

static void test_file_that_shrank(void **state)
{
	const struct blockdev_config config = {.engine = BLOCK_ENGINE_AUTO};
	static uint8_t bytes[8192];
	struct disk disk;

	disk_open(&disk, &config);
	assert_int_equal(truncate(disk.path, 4096), 0);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, 0, bytes, 4096), 0);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, 0, bytes, 8192), -EIO);
	assert_int_equal(block_resize(disk.blockdev, 0, &disk.err), 0);
	assert_true(block_size_bytes(disk.blockdev) == 4096);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, 0, bytes, 8192), -EINVAL);
	disk_close(&disk);
}

static void test_resize(void **state)
{
	const struct blockdev_config config = {.engine = BLOCK_ENGINE_AUTO};
	static uint8_t bytes[512] = {1};
	struct disk disk;
	struct stat st;

	disk_open(&disk, &config);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, DISK_BYTES, bytes, 512), -EINVAL);
	assert_int_equal(block_resize(disk.blockdev, 2 * DISK_BYTES, &disk.err), 0);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, DISK_BYTES, bytes, 512), 0);
	assert_int_equal(stat(disk.path, &st), 0);
	assert_int_equal(st.st_size, 2 * DISK_BYTES);
	assert_int_equal(block_resize(disk.blockdev, 1000, &disk.err), -EINVAL);
	assert_true(block_size_bytes(disk.blockdev) == 2 * DISK_BYTES);
	assert_int_equal(truncate(disk.path, 2 * DISK_BYTES + 700), 0);
	assert_int_equal(block_resize(disk.blockdev, 0, &disk.err), 0);
	assert_true(block_size_bytes(disk.blockdev) == 2 * DISK_BYTES + 512);
	disk_close(&disk);
}

static void test_locks(void **state)
{
	const struct blockdev_config writer = {.engine = BLOCK_ENGINE_THREADS, .format = "raw"};
	const struct blockdev_config reader = {
		.engine = BLOCK_ENGINE_THREADS, .format = "raw", .readonly = true};
	struct blockdev *other, *third;
	char expected[160];
	struct disk disk;

	disk_open(&disk, &writer);
	assert_null(disk_reopen(&disk, &writer));
	assert_int_equal(disk.err.code, -EAGAIN);
	snprintf(expected, sizeof(expected),
		 "%s is locked: another process uses it, process %d (test_block_open)", disk.path, getpid());
	assert_string_equal(disk.err.message, expected);
	assert_null(disk_reopen(&disk, &reader));
	assert_non_null(strstr(disk.err.message, "another process writes to it"));
	block_queue_destroy(disk.queue);
	blockdev_close(disk.blockdev);
	disk.queue = NULL;
	disk.blockdev = disk_reopen(&disk, &reader);
	other = disk_reopen(&disk, &reader);
	assert_non_null(disk.blockdev);
	assert_non_null(other);
	assert_null(disk_reopen(&disk, &writer));
	blockdev_close(other);
	assert_null(disk_reopen(&disk, &writer));
	blockdev_close(disk.blockdev);
	disk.blockdev = NULL;
	third = disk_reopen(&disk, &writer);
	assert_non_null(third);
	blockdev_close(third);
	disk_close(&disk);
}

static void test_readonly(void **state)
{
	const struct blockdev_config config = {.readonly = true};
	static uint8_t bytes[512];
	struct disk disk;

	disk_open(&disk, &config);
	assert_true(disk.blockdev->limits.readonly);
	assert_false(disk.blockdev->limits.can_discard);
	assert_int_equal(disk_simple(&disk, BLOCK_READ, 0, bytes, 512), 0);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 0, bytes, 512), -EROFS);
	assert_int_equal(disk_simple(&disk, BLOCK_DISCARD, 0, NULL, 512), -EROFS);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE_ZEROES, 0, NULL, 512), -EROFS);
	assert_int_equal(block_resize(disk.blockdev, 2 * DISK_BYTES, &disk.err), -EROFS);
	disk_close(&disk);
}

/* A disk taken for raw by itself cannot become an image that names other files. */
static void test_guard(void **state)
{
	const struct blockdev_config automatic = {.engine = BLOCK_ENGINE_AUTO};
	const struct blockdev_config raw = {.engine = BLOCK_ENGINE_AUTO, .format = "raw"};
	static uint8_t bytes[4096];
	struct disk disk;

	disk_open(&disk, &automatic);
	memcpy(bytes, "QFI\xfb", 4);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 0, bytes, 512), -EPERM);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 0, bytes, 4096), -EPERM);
	disk_check(&disk);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 512, bytes, 512), 0);
	memcpy(bytes, "EFI PART", 8);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 0, bytes, 4096), 0);
	block_queue_destroy(disk.queue);
	blockdev_close(disk.blockdev);
	disk.blockdev = disk_reopen(&disk, &raw);
	disk_add_queue(&disk, NULL);
	memcpy(bytes, "QFI\xfb", 4);
	assert_int_equal(disk_simple(&disk, BLOCK_WRITE, 0, bytes, 512), 0);
	block_queue_destroy(disk.queue);
	blockdev_close(disk.blockdev);
	disk.queue = NULL;
	disk.blockdev = disk_reopen(&disk, &automatic);
	assert_null(disk.blockdev);
	assert_non_null(
		strstr(disk.err.message, "is a qcow2 image, which cannot be opened here; format=raw"));
	disk_close(&disk);
}

static void test_probe(void **state)
{
	static const struct {
		size_t offset;
		const char *bytes, *format;
	} known[] = {
		{0, "QFI\xfb", "qcow2"},
		{0, "KDMV", "vmdk"},
		{0, "# Disk DescriptorFile", "vmdk"},
		{64, "\x7f\x10\xda\xbe", "vdi"},
		{0, "vhdxfile", "vhdx"},
		{0, "conectix", "vpc"},
		{0, "\xeb\x63\x90", NULL},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint8_t head[BLOCK_PROBE_BYTES] = {0};
		const char *format;

		memcpy(head + known[i].offset, known[i].bytes, strlen(known[i].bytes));
		format = blockdev_probe(head);
		assert_int_equal(!format, !known[i].format);
		if (format)
			assert_string_equal(format, known[i].format);
	}
}

static void test_open_mistakes(void **state)
{
	struct blockdev_config config = {.path = "/nonexistent/disk"};
	struct err err = {0};
	struct disk disk = {0};

	assert_null(blockdev_open(&config, &err));
	assert_string_equal(err.message, "cannot open /nonexistent/disk: No such file or directory");
	config.format = "floppy";
	assert_null(blockdev_open(&config, &err));
	assert_string_equal(err.message, "format \"floppy\" is not known: there are auto, raw");
	config = (struct blockdev_config){.path = "/dev/null", .format = "raw"};
	assert_null(blockdev_open(&config, &err));
	assert_string_equal(err.message, "/dev/null is neither a file nor a block device");
	disk_make_file(&disk, 100);
	config.format = NULL;
	assert_null(disk_reopen(&disk, &config));
	assert_non_null(strstr(disk.err.message, "has 100 bytes: a disk has at least one block of 512"));
	unlink(disk.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_that_shrank),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_open_mistakes),
	};

	return cmocka_run_group_tests_name("block_open", tests, NULL, NULL);
}
