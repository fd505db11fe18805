/* SPDX-License-Identifier: Apache-2.0 */
/* What is needed out of archives: the files of a Debian package that match, and a compressed file's text. */
#pragma once

#include <stdint.h>

struct err;

/*
 * Writes the regular files of a .deb whose paths begin with one of the prefixes (ended by NULL;
 * "boot/vmlinuz-") below `folder`, with their folders, mode 0644. Paths that would leave the folder, and
 * files beyond ARCHIVE_BYTES_MAX in sum, are errors. 0, -EBADMSG (not such an archive), -EFBIG, -errno.
 */
#define ARCHIVE_BYTES_MAX (2ull << 30) /* a Debian kernel package unpacks to 0.1-0.4 GiB */
int archive_unpack_deb(const char *deb, const char *folder, const char *const *prefixes, struct err *err);

/* The unpacked content of a compressed file, ended by NUL; owned (free), or NULL with err set. */
#define ARCHIVE_TEXT_MAX (256ull << 20) /* Debian's whole package list has 50 MiB */
char *archive_read_text(const char *path, struct err *err);
