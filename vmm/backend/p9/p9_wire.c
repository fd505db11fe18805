/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of 9P messages and scattered buffers: checked reading and writing, nothing of what they mean. */
#include "vmm/backend/p9/p9_wire.h"

#include <errno.h>
#include <string.h>

static uint64_t p9_get(struct p9_reader *reader, size_t size)
{
	uint64_t value = 0;

	if ((size_t)(reader->end - reader->at) < size) {
		reader->at = reader->end;
		reader->bad = true;
		return 0;
	}
	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)reader->at[i] << (8 * i);
	reader->at += size;
	return value;
}

uint8_t p9_get_u8(struct p9_reader *reader)
{
	return (uint8_t)p9_get(reader, 1);
}

uint16_t p9_get_u16(struct p9_reader *reader)
{
	return (uint16_t)p9_get(reader, 2);
}

uint32_t p9_get_u32(struct p9_reader *reader)
{
	return (uint32_t)p9_get(reader, 4);
}

uint64_t p9_get_u64(struct p9_reader *reader)
{
	return p9_get(reader, 8);
}

int p9_get_string(struct p9_reader *reader, char *text, size_t size)
{
	size_t length = p9_get_u16(reader);
	const uint8_t *bytes = reader->at;

	text[0] = '\0';
	if ((size_t)(reader->end - reader->at) < length) {
		reader->at = reader->end;
		reader->bad = true;
		return 0;
	}
	reader->at += length;
	if (length >= size)
		return -ENAMETOOLONG;
	if (memchr(bytes, '\0', length))
		return -EINVAL;
	memcpy(text, bytes, length);
	text[length] = '\0';
	return 0;
}

int p9_get_name(struct p9_reader *reader, char name[P9_NAME_MAX + 1])
{
	int code = p9_get_string(reader, name, P9_NAME_MAX + 1);

	if (code < 0 || reader->bad)
		return code;
	return name[0] == '\0' || strchr(name, '/') ? -EINVAL : 0;
}

int p9_get_entry(struct p9_reader *reader, char name[P9_NAME_MAX + 1])
{
	int code = p9_get_name(reader, name);

	if (code < 0 || reader->bad)
		return code;
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? -EINVAL : 0;
}

static void p9_put(struct p9_writer *writer, uint64_t value, size_t size)
{
	if ((size_t)(writer->end - writer->at) < size) {
		writer->full = true;
		return;
	}
	for (size_t i = 0; i < size; i++)
		writer->at[i] = (uint8_t)(value >> (8 * i));
	writer->at += size;
}

void p9_put_u8(struct p9_writer *writer, uint8_t value)
{
	p9_put(writer, value, 1);
}

void p9_put_u16(struct p9_writer *writer, uint16_t value)
{
	p9_put(writer, value, 2);
}

void p9_put_u32(struct p9_writer *writer, uint32_t value)
{
	p9_put(writer, value, 4);
}

void p9_put_u64(struct p9_writer *writer, uint64_t value)
{
	p9_put(writer, value, 8);
}

void p9_put_string(struct p9_writer *writer, const char *text, size_t length)
{
	if (length > UINT16_MAX || (size_t)(writer->end - writer->at) < 2 + length) {
		writer->full = true;
		return;
	}
	p9_put_u16(writer, (uint16_t)length);
	memcpy(writer->at, text, length);
	writer->at += length;
}

void p9_put_qid(struct p9_writer *writer, const struct p9_qid *qid)
{
	p9_put_u8(writer, qid->type);
	p9_put_u32(writer, qid->version);
	p9_put_u64(writer, qid->path);
}

size_t p9_iov_size(const struct iovec *iov, size_t count)
{
	size_t size = 0;

	for (size_t i = 0; i < count; i++)
		size += iov[i].iov_len;
	return size;
}

size_t p9_iov_copy_out(const struct iovec *iov, size_t count, void *buffer, size_t length)
{
	uint8_t *to = buffer;
	size_t done = 0;

	for (size_t i = 0; i < count && done < length; i++) {
		size_t piece = iov[i].iov_len < length - done ? iov[i].iov_len : length - done;

		memcpy(to + done, iov[i].iov_base, piece);
		done += piece;
	}
	return done;
}

size_t p9_iov_copy_in(const struct iovec *iov, size_t count, const void *buffer, size_t length)
{
	const uint8_t *from = buffer;
	size_t done = 0;

	for (size_t i = 0; i < count && done < length; i++) {
		size_t piece = iov[i].iov_len < length - done ? iov[i].iov_len : length - done;

		memcpy(iov[i].iov_base, from + done, piece);
		done += piece;
	}
	return done;
}

size_t p9_iov_slice(const struct iovec *iov, size_t count, size_t skip, size_t length, struct iovec *pieces,
		    size_t max)
{
	size_t used = 0;

	for (size_t i = 0; i < count && length > 0 && used < max; i++) {
		size_t here = iov[i].iov_len;
		size_t piece;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		piece = here - skip < length ? here - skip : length;
		pieces[used++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, piece};
		skip = 0;
		length -= piece;
	}
	return used;
}
