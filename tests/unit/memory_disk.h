/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blockdev in memory, for tests of what sits on one: it remembers what it was asked, fails when it is told
 * to, and completes at once (in unplug) or only when it is released.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/core/blockdev.h"

struct memory_disk {
	struct blockdev blockdev;
	uint8_t *bytes;
	uint64_t size_bytes;
	bool hold;                  /* keep requests until memory_disk_release */
	int fail;                   /* -errno that every request ends with; 0: none */
	struct block_request *head; /* submitted */
	struct block_request *tail;
	unsigned submitted, completed;
	unsigned flushes, discards, zeroes, durable, unmapped;
	unsigned queues, depth, batches;
	struct block_queue queue;
};

struct memory_disk *memory_disk_create(uint64_t size_bytes, uint32_t logical_block_bytes, bool readonly);
void memory_disk_destroy(struct memory_disk *disk);
/* Completes all that is held, as the loop would. */
void memory_disk_release(struct memory_disk *disk);
/* The first so many only. */
void memory_disk_release_some(struct memory_disk *disk, unsigned count);
