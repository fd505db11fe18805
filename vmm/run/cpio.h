/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes an initramfs: cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
 * Every entry belongs to root and has time 0. Knows nothing of what is in it.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

struct err;

struct cpio {
	FILE *out; /* borrowed */
	uint32_t entries;
};

/* Errors show when the caller flushes `out`. Folders must come before what is in them. */
void cpio_add_folder(struct cpio *cpio, const char *path);
void cpio_add_device(struct cpio *cpio, const char *path, unsigned major, unsigned minor);
void cpio_add_program(struct cpio *cpio, const char *path, const void *data, size_t size_bytes);
/* Copies a file of the host; -errno, -EFBIG beyond CPIO_FILE_MAX. */
#define CPIO_FILE_MAX (256u << 20) /* a module has a few MiB at most; the format's sizes have 32 bits */
int cpio_add_file(struct cpio *cpio, const char *path, const char *source, struct err *err);
void cpio_finish(struct cpio *cpio);
