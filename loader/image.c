/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads kernels and initrds: regular files piece by piece with pread, anything else as one capped copy. Knows
 * the magic numbers of the formats and nothing more of them.
 */
#include "loader/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/linux_header.h"
#include "loader/multiboot.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define IMAGE_PIPE_FIRST_SIZE (1u << 20) /* first guess at a pipe's length, doubled as needed */

/* read() until len bytes or the end; bytes read or -errno. */
static ssize_t image_read_fully(int fd, uint8_t *dst, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = read(fd, dst + done, len - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* Copies what cannot be read twice. Takes ownership of the bytes only on success. */
static int image_slurp(struct image *image, uint64_t size_max, struct err *err)
{
	size_t limit = size_max < IMAGE_PIPE_SIZE_MAX ? (size_t)size_max : (size_t)IMAGE_PIPE_SIZE_MAX;
	size_t room = IMAGE_PIPE_FIRST_SIZE, used = 0;
	uint8_t *copy = malloc(room);

	while (copy) {
		ssize_t got = image_read_fully(image->fd, copy + used, room - used);
		uint8_t *grown;

		if (got < 0) {
			free(copy);
			return err_set_errno(err, (int)got, "%s: cannot read", image->name);
		}
		used += (size_t)got;
		if (used < room)
			break;
		if (room >= limit) {
			free(copy);
			return err_set(err, -EFBIG, "%s: longer than the %zu bytes that are read from a pipe",
				       image->name, limit);
		}
		room *= 2;
		grown = realloc(copy, room);
		if (!grown)
			free(copy);
		copy = grown;
	}
	if (!copy)
		return err_set(err, -ENOMEM, "%s: no memory for a copy", image->name);
	image->copy = copy;
	image->data = copy;
	image->size_bytes = used;
	return 0;
}

static int image_examine(struct image *image, uint64_t size_max, struct err *err)
{
	struct stat st;

	if (fstat(image->fd, &st))
		return err_set_errno(err, -errno, "%s: cannot examine", image->name);
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "%s: is a directory, a file is needed", image->name);
	if (!S_ISREG(st.st_mode))
		return image_slurp(image, size_max, err);
	image->size_bytes = (uint64_t)st.st_size;
	if (image->size_bytes > size_max)
		return err_set(err, -EFBIG, "%s: %" PRIu64 " bytes long, at most %" PRIu64 " are accepted",
			       image->name, image->size_bytes, size_max);
	return 0;
}

int image_open(struct image *image, const char *path, uint64_t size_max, struct err *err)
{
	int ret;

	*image = (struct image){.name = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (image->fd < 0)
		return err_set_errno(err, -errno, "%s: cannot open", path);
	ret = image_examine(image, size_max, err);
	if (!ret && !image->size_bytes)
		ret = err_set(err, -ENOEXEC, "%s: is empty", path);
	if (ret)
		image_close(image);
	return ret;
}

void image_from_memory(struct image *image, const char *name, const void *data, size_t size_bytes)
{
	*image = (struct image){.name = name, .data = data, .fd = -1, .size_bytes = size_bytes};
}

void image_close(struct image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	free(image->copy);
	*image = (struct image){.name = image->name, .fd = -1};
}

static int image_check_range(const struct image *image, uint64_t offset, uint64_t len, struct err *err)
{
	if (offset <= image->size_bytes && len <= image->size_bytes - offset)
		return 0;
	return err_set(err, -ENOEXEC,
		       "%s: truncated: needs %" PRIu64 " bytes at offset %" PRIu64
		       ", the file ends at %" PRIu64,
		       image->name, len, offset, image->size_bytes);
}

/* A file that shrinks after its size was taken ends early here. */
static int image_pread(const struct image *image, uint64_t offset, uint8_t *dst, uint64_t len,
		       struct err *err)
{
	while (len) {
		ssize_t got = pread(image->fd, dst, len, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set_errno(err, -errno, "%s: cannot read", image->name);
		if (got == 0)
			return err_set(err, -ENOEXEC, "%s: became shorter while it was read", image->name);
		dst += got;
		offset += (uint64_t)got;
		len -= (uint64_t)got;
	}
	return 0;
}

int image_read(const struct image *image, uint64_t offset, void *dst, size_t len, struct err *err)
{
	int ret = image_check_range(image, offset, len, err);

	if (ret || !len)
		return ret;
	if (!image->data)
		return image_pread(image, offset, dst, len, err);
	memcpy(dst, image->data + offset, len);
	return 0;
}

int image_load(const struct image *image, uint64_t offset, uint64_t len, struct gmem *gmem, uint64_t gpa,
	       struct err *err)
{
	int ret = image_check_range(image, offset, len, err);
	uint8_t *hva;

	if (ret || !len)
		return ret;
	hva = gmem_span(gmem, gpa, len);
	if (!hva)
		return err_set(err, -ENOSPC, "%s: no guest RAM for %" PRIu64 " bytes at %#" PRIx64,
			       image->name, len, gpa);
	ret = image_read(image, offset, hva, len, err);
	gmem_written(gmem, gpa, len);
	return ret;
}

struct image_magic {
	const char *name;
	const char *bytes;
	size_t len;
};

static const struct image_magic image_compressions[] = {
	{"gzip", "\x1f\x8b\x08", 3},
	{"xz",
	 "\xfd"
	 "7zXZ",
	 5},
	{"zstd", "\x28\xb5\x2f\xfd", 4},
	{"bzip2", "BZh", 3},
	{"lzma", "\x5d\x00\x00", 3},
	{"lz4", "\x04\x22\x4d\x18", 4},
	{"lz4 (legacy)", "\x02\x21\x4c\x18", 4},
	{"lzop", "\x89LZO", 4},
};

const char *image_compression_name(const struct image *image)
{
	uint8_t start[8];

	if (image_read(image, 0, start, sizeof(start), NULL))
		return NULL;
	for (size_t i = 0; i < sizeof(image_compressions) / sizeof(image_compressions[0]); i++)
		if (!memcmp(start, image_compressions[i].bytes, image_compressions[i].len))
			return image_compressions[i].name;
	return NULL;
}

static bool image_is_linux(const struct image *image)
{
	struct linux_header header;

	return !image_read(image, LINUX_HEADER_OFFSET, &header, offsetof(struct linux_header, realmode_swtch),
			   NULL) &&
	       header.boot_flag == LINUX_BOOT_FLAG && header.header == LINUX_HEADER_MAGIC;
}

int image_detect(const struct image *image, enum image_kind *kind, struct err *err)
{
	uint8_t start[4] = {0};
	uint32_t offset;
	size_t len = image->size_bytes < sizeof(start) ? (size_t)image->size_bytes : sizeof(start);
	int ret = image_read(image, 0, start, len, err);

	if (ret)
		return ret;
	*kind = IMAGE_UNKNOWN;
	ret = multiboot_find_header(image, &offset, err);
	if (ret && ret != -ENOENT)
		return ret;
	if (image_is_linux(image))
		*kind = IMAGE_LINUX;
	else if (!ret)
		*kind = IMAGE_MULTIBOOT;
	else if (!memcmp(start, "\177ELF", sizeof(start)))
		*kind = IMAGE_ELF;
	else if (image_compression_name(image))
		*kind = IMAGE_COMPRESSED;
	return 0;
}
