/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a chain: copies in and out, cutting of iovec arrays. Knows no ring. */
#include <string.h>

#include "devices/virtio/virtqueue.h"

uint64_t virtq_iov_bytes(const struct iovec *iov, unsigned count)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* Index of the iovec that holds byte *offset, which becomes the offset in it; count when there is none. */
static unsigned virtq_iov_seek(const struct iovec *iov, unsigned count, uint64_t *offset)
{
	unsigned i = 0;

	while (i < count && *offset >= iov[i].iov_len)
		*offset -= iov[i++].iov_len;
	return i;
}

static bool virtq_iov_holds(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t len)
{
	uint64_t bytes = virtq_iov_bytes(iov, count);

	return offset <= bytes && len <= bytes - offset;
}

bool virtq_chain_read(const struct virtq_chain *chain, uint64_t offset, void *dst, size_t len)
{
	uint8_t *to = dst;

	if (!virtq_iov_holds(chain->read, chain->read_count, offset, len))
		return false;
	for (unsigned i = virtq_iov_seek(chain->read, chain->read_count, &offset); len > 0; i++) {
		size_t here = chain->read[i].iov_len - offset < len ? chain->read[i].iov_len - offset : len;

		memcpy(to, (const uint8_t *)chain->read[i].iov_base + offset, here);
		to += here;
		len -= here;
		offset = 0;
	}
	return true;
}

bool virtq_chain_write(const struct virtq_chain *chain, uint64_t offset, const void *src, size_t len)
{
	const uint8_t *from = src;

	if (!virtq_iov_holds(chain->write, chain->write_count, offset, len))
		return false;
	for (unsigned i = virtq_iov_seek(chain->write, chain->write_count, &offset); len > 0; i++) {
		size_t here = chain->write[i].iov_len - offset < len ? chain->write[i].iov_len - offset : len;

		memcpy((uint8_t *)chain->write[i].iov_base + offset, from, here);
		from += here;
		len -= here;
		offset = 0;
	}
	return true;
}

unsigned virtq_iov_cut(struct iovec **iov, unsigned count, uint64_t offset, uint64_t len)
{
	struct iovec *first;
	unsigned left = 0;

	if (len == 0 || !virtq_iov_holds(*iov, count, offset, len))
		return 0;
	first = *iov + virtq_iov_seek(*iov, count, &offset);
	first->iov_base = (uint8_t *)first->iov_base + offset;
	first->iov_len -= offset;
	*iov = first;
	while (len > 0) {
		if (first[left].iov_len > len)
			first[left].iov_len = len;
		len -= first[left++].iov_len;
	}
	return left;
}
