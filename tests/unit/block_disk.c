/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of the block tests. Knows no test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/block_disk.h"
#include "vmm/backend/block_file.h"
#include "vmm/base/loop.h"

static void disk_batch_end(void *opaque)
{
	((struct disk *)opaque)->batches++;
}

void disk_complete(struct block_request *request, int result)
{
	struct disk_request *mine = (struct disk_request *)request;

	mine->result = result;
	mine->completed++;
	mine->disk->completions++;
}

void disk_make_file(struct disk *disk, size_t size)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	snprintf(disk->path, sizeof(disk->path), "%s/test-block-XXXXXX", folder ? folder : "/tmp");
	fd = mkstemp(disk->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static bool disk_can_direct(const struct disk *disk)
{
	int fd = open(disk->path, O_RDWR | O_DIRECT);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

struct blockdev *disk_reopen(struct disk *disk, const struct blockdev_config *config)
{
	struct blockdev_config named = *config;

	named.path = disk->path;
	disk->err = (struct err){0};
	return blockdev_open(&named, &disk->err);
}

void disk_add_queue(struct disk *disk, struct gmem *gmem)
{
	const struct block_queue_config queue = {
		.loop = disk->loop, .gmem = gmem, .batch_end = disk_batch_end, .opaque = disk};

	disk->queue = block_queue_create(disk->blockdev, &queue, &disk->err);
	assert_non_null(disk->queue);
}

void disk_open(struct disk *disk, const struct blockdev_config *config)
{
	memset(disk, 0, sizeof(*disk));
	if (config->engine == BLOCK_ENGINE_IO_URING && block_uring_check(NULL) < 0)
		skip();
	disk_make_file(disk, DISK_BYTES);
	if (config->cache == BLOCK_CACHE_DIRECT && !disk_can_direct(disk)) {
		unlink(disk->path);
		skip();
	}
	disk->model = calloc(1, DISK_BYTES);
	disk->loop = loop_create(NULL);
	disk->blockdev = disk_reopen(disk, config);
	assert_non_null(disk->blockdev);
	disk_add_queue(disk, NULL);
}

void disk_close(struct disk *disk)
{
	if (disk->queue)
		block_drain(disk->queue);
	block_queue_destroy(disk->queue);
	blockdev_close(disk->blockdev);
	loop_destroy(disk->loop);
	free(disk->model);
	unlink(disk->path);
}

/* Submits one and runs the loop until it is complete. */
int disk_do(struct disk *disk, struct disk_request *mine)
{
	mine->disk = disk;
	mine->completed = 0;
	mine->request.complete = disk_complete;
	block_plug(disk->queue);
	block_submit(disk->queue, &mine->request);
	assert_int_equal(mine->completed, 0);
	block_unplug(disk->queue);
	block_drain(disk->queue);
	assert_int_equal(mine->completed, 1);
	return mine->result;
}

int disk_simple(struct disk *disk, enum block_op op, uint64_t offset, void *bytes, uint64_t size)
{
	struct disk_request mine = {
		.request = {.op = op, .offset_bytes = offset, .size_bytes = size, .iov_count = bytes ? 1 : 0},
		.iov = {{.iov_base = bytes, .iov_len = size}},
	};

	mine.request.iov = mine.iov;
	return disk_do(disk, &mine);
}

void disk_check(struct disk *disk)
{
	uint8_t *bytes = aligned_alloc(4096, DISK_BYTES);

	assert_int_equal(disk_simple(disk, BLOCK_READ, 0, bytes, DISK_BYTES), 0);
	assert_memory_equal(bytes, disk->model, DISK_BYTES);
	free(bytes);
}
