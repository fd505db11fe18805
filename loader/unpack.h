/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression of what kernels are packed with: gzip (RFC 1952), xz, zstd (RFC 8878), lz4's legacy frame.
 * Each is there when the build found its library. Knows bytes and no kernel.
 */
#pragma once

#include <stdint.h>

struct err;

/*
 * Unpacks the one stream that src begins with into dst, which it must fill exactly. Bytes after the stream's
 * end are left alone. -ENOTSUP: a format that this build does not know; -EBADMSG: broken, or another length.
 */
int unpack(const uint8_t *src, uint64_t src_size, uint8_t *dst, uint64_t dst_size, struct err *err);
