/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in pieces, and their checksums. The sums load words as the host has them and are put right once at
 * the end: ones' complement sums do not mind the order of bytes (RFC 1071, 2.B). */
#include "vmm/backend/net_iov.h"

#include <endian.h>
#include <string.h>

size_t net_iov_size(const struct iovec *iov, unsigned count)
{
	size_t size = 0;

	for (unsigned i = 0; i < count; i++)
		size += iov[i].iov_len;
	return size;
}

/* A place in the pieces. */
struct net_iov_place {
	unsigned index;
	size_t offset; /* in that piece */
};

static struct net_iov_place net_iov_find(const struct iovec *iov, unsigned count, size_t offset)
{
	struct net_iov_place place = {.offset = offset};

	while (place.index < count && place.offset >= iov[place.index].iov_len)
		place.offset -= iov[place.index++].iov_len;
	return place;
}

size_t net_iov_read(const struct iovec *iov, unsigned count, size_t offset, void *dst, size_t len)
{
	struct net_iov_place place = net_iov_find(iov, count, offset);
	size_t done = 0;

	for (unsigned i = place.index; i < count && done < len; i++, place.offset = 0) {
		size_t part = iov[i].iov_len - place.offset;

		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)dst + done, (const uint8_t *)iov[i].iov_base + place.offset, part);
		done += part;
	}
	return done;
}

size_t net_iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *src, size_t len)
{
	struct net_iov_place place = net_iov_find(iov, count, offset);
	size_t done = 0;

	for (unsigned i = place.index; i < count && done < len; i++, place.offset = 0) {
		size_t part = iov[i].iov_len - place.offset;

		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)iov[i].iov_base + place.offset, (const uint8_t *)src + done, part);
		done += part;
	}
	return done;
}

unsigned net_iov_slice(const struct iovec *iov, unsigned count, size_t offset, size_t len, struct iovec *out,
		       unsigned out_max)
{
	struct net_iov_place place = net_iov_find(iov, count, offset);
	unsigned pieces = 0;

	for (unsigned i = place.index; i < count && len > 0; i++, place.offset = 0) {
		size_t part = iov[i].iov_len - place.offset;

		if (pieces == out_max)
			return 0;
		if (part > len)
			part = len;
		out[pieces].iov_base = (uint8_t *)iov[i].iov_base + place.offset;
		out[pieces++].iov_len = part;
		len -= part;
	}
	return len == 0 ? pieces : 0;
}

/* The sum in the host's order of bytes; len odd: a zero is added. */
static uint64_t net_sum_host_order(const uint8_t *data, size_t len)
{
	uint64_t sum = 0;
	uint32_t word;
	uint16_t half;

	/* Four bytes at a time into 64 bits: no carry is lost below 16 GiB. */
	for (; len >= sizeof(word); data += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		sum += word;
	}
	if (len >= sizeof(half)) {
		memcpy(&half, data, sizeof(half));
		sum += half;
		data += sizeof(half);
		len -= sizeof(half);
	}
	if (len > 0) {
		half = 0;
		memcpy(&half, data, 1);
		sum += half;
	}
	return sum;
}

uint16_t net_sum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint64_t net_sum(const void *data, size_t len)
{
	return be16toh(net_sum_fold(net_sum_host_order(data, len)));
}

uint64_t net_iov_sum(const struct iovec *iov, unsigned count, size_t offset, size_t len)
{
	struct net_iov_place place = net_iov_find(iov, count, offset);
	uint64_t sum = 0;
	size_t done = 0;

	for (unsigned i = place.index; i < count && done < len; i++, place.offset = 0) {
		size_t part = iov[i].iov_len - place.offset;
		uint64_t piece;

		if (part > len - done)
			part = len - done;
		piece = net_sum((const uint8_t *)iov[i].iov_base + place.offset, part);
		sum += done % 2 ? net_sum_swap((uint16_t)piece) : piece;
		done += part;
	}
	return sum;
}
