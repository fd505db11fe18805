/* SPDX-License-Identifier: Apache-2.0 */
/* One file over HTTP, bounded, with progress for a person and its SHA-256 for the caller. Knows nothing of
 * Debian. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;

#define DOWNLOAD_SHA256_HEX 65 /* 64 digits and the end */

struct download {
	const char *url;      /* http, https or file */
	const char *path;     /* written anew; removed again when anything fails */
	const char *label;    /* what the progress line calls it; NULL: no progress */
	uint64_t size_max;    /* bytes: a mirror cannot fill the disk */
	const char *expected; /* SHA-256 in lower-case hex, or NULL: not checked */
};

/* 0; -EIO (network, with curl's message), -EFBIG, -EBADMSG (another checksum), or the file's -errno. */
int download_file(const struct download *download, struct err *err);

/* Once before the first download and after the last. */
int download_begin(struct err *err);
void download_end(void);
