/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that lie in pieces: lengths, copies, slices and Internet checksums (RFC 1071) of them. Knows no
 * protocol. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

size_t net_iov_size(const struct iovec *iov, unsigned count);

/* Copies [offset, offset + len) of the pieces to dst; returns the bytes there were. */
size_t net_iov_read(const struct iovec *iov, unsigned count, size_t offset, void *dst, size_t len);
/* Copies src into the pieces from offset on; returns the bytes that fitted. */
size_t net_iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *src, size_t len);

/* Puts [offset, offset + len) into out as pieces; returns how many, at most out_max, or 0 if that is too few.
 */
unsigned net_iov_slice(const struct iovec *iov, unsigned count, size_t offset, size_t len, struct iovec *out,
		       unsigned out_max);

/*
 * Sums: ones' complement sums of 16-bit words in the order of the network, not folded. A sum of bytes that
 * begin at an odd place of the whole is swapped by net_sum_swap.
 */
uint64_t net_sum(const void *data, size_t len);
uint64_t net_iov_sum(const struct iovec *iov, unsigned count, size_t offset, size_t len);
/* Folds to 16 bits, not complemented, as a number of the host. */
uint16_t net_sum_fold(uint64_t sum);
static inline uint64_t net_sum_swap(uint16_t folded)
{
	return (uint16_t)(folded << 8 | folded >> 8);
}

static inline uint16_t net_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void net_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline uint32_t net_get32(const uint8_t *at)
{
	return (uint32_t)net_get16(at) << 16 | net_get16(at + 2);
}

static inline void net_put32(uint8_t *at, uint32_t value)
{
	net_put16(at, (uint16_t)(value >> 16));
	net_put16(at + 2, (uint16_t)value);
}
