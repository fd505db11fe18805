/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent memory: a file of the host as guest memory, with a queue for flushes. virtio 1.2, 5.19. */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;

#define PMEM_ALIGNMENT (2ull << 20) /* of address and size: Linux maps it with huge pages */

struct pmem_config {
	const char *id;
	uint64_t gpa, size_bytes; /* of the guest's memory, which the machine has mapped */
	void *hva;                /* the file's part of it, borrowed: what a flush writes back */
	uint64_t file_bytes;
};

/* Owned by its device class's destroy; NULL with err set. */
struct device *pmem_create(const struct device_env *env, const struct pmem_config *config, struct err *err);
