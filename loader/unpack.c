/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression of what kernels are packed with. A row a format: its first bytes, and a function over one of
 * Debian's libraries. lz4's legacy frame, which the kernel uses, is blocks with their lengths before them
 * (lz4's doc/lz4_Frame_format.md, "Legacy frame"); the library knows only the blocks.
 */
#include "loader/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "loader/unpack_config.h"
#include "vmm/base/err.h"

#if UNPACK_HAS_GZIP
#define ZLIB_CONST
#include <zlib.h>
#endif
#if UNPACK_HAS_XZ
#include <lzma.h>
#endif
#if UNPACK_HAS_ZSTD
#include <zstd.h>
#endif
#if UNPACK_HAS_LZ4
#include <lz4.h>
#endif

#define UNPACK_XZ_MEMORY_MAX                                                                                 \
	(256ull << 20)                     /* a dictionary of 128 MiB, the kernel's largest, and its tables */
#define UNPACK_LZ4_BLOCK_MAX    (8u << 20) /* of the unpacked bytes: the legacy frame's own rule */
#define UNPACK_LZ4_MAGIC_LENGTH 4

/* Each returns the bytes that it wrote, or -1. */
struct unpack_format {
	const char *name;
	const char *magic;
	size_t magic_length;
	int64_t (*unpack)(const uint8_t *src, uint64_t src_size, uint8_t *dst, uint64_t dst_size);
};

#if UNPACK_HAS_GZIP
static int64_t unpack_gzip(const uint8_t *src, uint64_t src_size, uint8_t *dst, uint64_t dst_size)
{
	z_stream stream = {
		.next_in = src,
		.avail_in = src_size < UINT_MAX ? (uInt)src_size : UINT_MAX,
		.next_out = dst,
		.avail_out = dst_size < UINT_MAX ? (uInt)dst_size : UINT_MAX,
	};
	int result;

	if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
		return -1;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	return result == Z_STREAM_END ? (int64_t)stream.total_out : -1;
}
#endif

#if UNPACK_HAS_XZ
static int64_t unpack_xz(const uint8_t *src, uint64_t src_size, uint8_t *dst, uint64_t dst_size)
{
	uint64_t memory_max = UNPACK_XZ_MEMORY_MAX;
	size_t src_at = 0, dst_at = 0;

	if (lzma_stream_buffer_decode(&memory_max, 0, NULL, src, &src_at, src_size, dst, &dst_at, dst_size) !=
	    LZMA_OK)
		return -1;
	return (int64_t)dst_at;
}
#endif

#if UNPACK_HAS_ZSTD
static int64_t unpack_zstd(const uint8_t *src, uint64_t src_size, uint8_t *dst, uint64_t dst_size)
{
	size_t frame_size = ZSTD_findFrameCompressedSize(src, src_size);
	size_t got;

	if (ZSTD_isError(frame_size))
		return -1;
	got = ZSTD_decompress(dst, dst_size, src, frame_size);
	return ZSTD_isError(got) ? -1 : (int64_t)got;
}
#endif

#if UNPACK_HAS_LZ4
static int64_t unpack_lz4_legacy(const uint8_t *src, uint64_t src_size, uint8_t *dst, uint64_t dst_size)
{
	uint64_t at = UNPACK_LZ4_MAGIC_LENGTH, done = 0;

	while (done < dst_size) {
		uint64_t room =
			dst_size - done < UNPACK_LZ4_BLOCK_MAX ? dst_size - done : UNPACK_LZ4_BLOCK_MAX;
		uint32_t block_size;
		int got;

		if (src_size - at < sizeof(block_size))
			return -1;
		memcpy(&block_size, src + at, sizeof(block_size));
		at += sizeof(block_size);
		if (block_size > src_size - at || block_size > INT_MAX)
			return -1;
		got = LZ4_decompress_safe((const char *)src + at, (char *)dst + done, (int)block_size,
					  (int)room);
		if (got <= 0)
			return -1;
		at += block_size;
		done += (uint64_t)got;
	}
	return (int64_t)done;
}
#endif

static const struct unpack_format unpack_formats[] = {
#if UNPACK_HAS_GZIP
	{"gzip", "\x1f\x8b\x08", 3, unpack_gzip},
#endif
#if UNPACK_HAS_XZ
	{"xz", "\xfd\x37zXZ", 5, unpack_xz},
#endif
#if UNPACK_HAS_ZSTD
	{"zstd", "\x28\xb5\x2f\xfd", 4, unpack_zstd},
#endif
#if UNPACK_HAS_LZ4
	{"lz4", "\x02\x21\x4c\x18", 4, unpack_lz4_legacy},
#endif
	{NULL, NULL, 0, NULL},
};

int unpack(const uint8_t *src, uint64_t src_size, uint8_t *dst, uint64_t dst_size, struct err *err)
{
	const struct unpack_format *format = unpack_formats;
	int64_t got;

	while (format->name &&
	       (src_size < format->magic_length || memcmp(src, format->magic, format->magic_length) != 0))
		format++;
	if (!format->name)
		return err_set(err, -ENOTSUP, "packed in a format that this build does not unpack");
	got = format->unpack(src, src_size, dst, dst_size);
	if (got < 0 || (uint64_t)got != dst_size)
		return err_set(err, -EBADMSG, "the %s stream is broken, or does not hold %" PRIu64 " bytes",
			       format->name, dst_size);
	return 0;
}
