/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a kernel or initrd: a regular file read piece by piece straight into guest RAM, or a copy of
 * what a pipe or a test gave. Never a mapping: a file cut short under us is a read error, not a SIGBUS. Knows
 * no format beyond the few bytes that tell the formats apart.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;
struct gmem;

#define IMAGE_KERNEL_SIZE_MAX                                                                                \
	(2ull << 30) /* a vmlinux with debug information fits; keeps offsets far from wrapping */
#define IMAGE_INITRD_SIZE_MAX                                                                                \
	(4ull << 30) /* initrd fields of every boot protocol used here are 32 bits wide */
#define IMAGE_PIPE_SIZE_MAX                                                                                  \
	(1ull << 30) /* what is not a regular file is copied: an endless pipe stops here */

enum image_kind {
	IMAGE_LINUX,      /* bzImage: Linux/x86 boot protocol */
	IMAGE_ELF,        /* ELF32 or ELF64, by PVH note or by its entry */
	IMAGE_MULTIBOOT,  /* multiboot 1 header in the first 8 KiB, ELF or not */
	IMAGE_COMPRESSED, /* gzip, xz, zstd, bzip2, lz4 or lzma: not a kernel that can be entered */
	IMAGE_UNKNOWN,    /* only a flat binary can be this */
};

struct image {
	const char *name;    /* borrowed: the path, for messages */
	const uint8_t *data; /* all of it, or NULL: read from fd */
	uint8_t *copy;       /* owned when not NULL */
	int fd;              /* owned when >= 0 */
	uint64_t size_bytes;
};

/* Opens path for reading; size_max is the cap of its use. 0, or -errno with a message that names the path. */
int image_open(struct image *image, const char *path, uint64_t size_max, struct err *err);
/* An image over borrowed bytes. */
void image_from_memory(struct image *image, const char *name, const void *data, size_t size_bytes);
/* Releases what image_open took. Safe to call twice. */
void image_close(struct image *image);

/* Copies [offset, offset + len) to dst. -ENOEXEC ("truncated") when the image is shorter. */
int image_read(const struct image *image, uint64_t offset, void *dst, size_t len, struct err *err);
/* Copies [offset, offset + len) into guest memory at gpa, which must be RAM throughout (-ENOSPC). */
int image_load(const struct image *image, uint64_t offset, uint64_t len, struct gmem *gmem, uint64_t gpa,
	       struct err *err);

/* Tells the formats apart by their magic numbers; 0 or -errno. */
int image_detect(const struct image *image, enum image_kind *kind, struct err *err);
/* "gzip", "xz", ... for a compressed image, else NULL. */
const char *image_compression_name(const struct image *image);
