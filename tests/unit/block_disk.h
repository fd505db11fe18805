/* SPDX-License-Identifier: Apache-2.0 */
/* A disk image of DISK_BYTES in a temporary file, its loop and queue, and a copy of what it must hold. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/err.h"
#include "vmm/core/blockdev.h"

struct gmem;

#define DISK_BYTES (1u << 20)

struct disk {
	char path[64];
	struct loop *loop;
	struct blockdev *blockdev;
	struct block_queue *queue;
	uint8_t *model; /* what the disk must hold */
	unsigned batches;
	unsigned completions;
	struct err err;
};

struct disk_request {
	struct block_request request;
	struct disk *disk;
	struct iovec iov[8];
	int result;
	unsigned completed;
};

/* For block_request.complete. */
void disk_complete(struct block_request *request, int result);
/* Only the file. */
void disk_make_file(struct disk *disk, size_t size);
/* All; skips the test where the kernel or the file system lacks what config asks for. */
void disk_open(struct disk *disk, const struct blockdev_config *config);
void disk_close(struct disk *disk);
/* Opens the same file once more; NULL with disk->err set. */
struct blockdev *disk_reopen(struct disk *disk, const struct blockdev_config *config);
void disk_add_queue(struct disk *disk, struct gmem *gmem);
/* Submits one, waits for it, returns its result. */
int disk_do(struct disk *disk, struct disk_request *mine);
int disk_simple(struct disk *disk, enum block_op op, uint64_t offset, void *bytes, uint64_t size);
/* Reads all and compares with the copy. */
void disk_check(struct disk *disk);
