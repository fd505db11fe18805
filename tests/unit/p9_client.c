/* SPDX-License-Identifier: Apache-2.0 */
/* A 9P2000.L client for tests. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/p9_client.h"
#include "vmm/base/err.h"

struct p9_client *p9_client_open(const char *folder, bool readonly)
{
	const struct share_config config = {.path = folder, .readonly = readonly};
	struct p9_client *client = calloc(1, sizeof(*client));
	struct err err = {0};

	assert_non_null(client);
	client->share = share_open_9p(&config, &err);
	if (!client->share)
		fail_msg("%s", err.message);
	client->reply_room = sizeof(client->reply);
	return client;
}

void p9_client_close(struct p9_client *client)
{
	share_destroy(client->share);
	free(client);
}

void p9_client_write(struct p9_client *client, unsigned type, const char *fields, ...)
{
	struct p9_writer writer = {client->request + 4, client->request + sizeof(client->request), false};
	struct p9_writer size = {client->request, client->request + 4, false};
	va_list list;

	p9_put_u8(&writer, (uint8_t)type);
	p9_put_u16(&writer, (uint16_t)type);
	va_start(list, fields);
	for (; *fields; fields++) {
		if (*fields == 'b')
			p9_put_u8(&writer, (uint8_t)va_arg(list, unsigned));
		else if (*fields == 'w')
			p9_put_u16(&writer, (uint16_t)va_arg(list, unsigned));
		else if (*fields == 'd')
			p9_put_u32(&writer, va_arg(list, uint32_t));
		else if (*fields == 'q')
			p9_put_u64(&writer, va_arg(list, uint64_t));
		else {
			const char *text = va_arg(list, const char *);

			p9_put_string(&writer, text, strlen(text));
		}
	}
	va_end(list);
	client->request_size = (size_t)(writer.at - client->request);
	p9_put_u32(&size, (uint32_t)client->request_size);
}

static size_t p9_client_cut(struct p9_client *client, struct iovec *iov, uint8_t *bytes, size_t size)
{
	size_t count = 0;

	while (size > 0) {
		size_t piece = client->piece && client->piece < size && count < 63 ? client->piece : size;

		iov[count++] = (struct iovec){bytes, piece};
		bytes += piece;
		size -= piece;
	}
	return count;
}

int p9_client_send(struct p9_client *client)
{
	struct share_request *io = &client->io;
	unsigned type, tag;

	memset(client->reply, 0xa5, sizeof(client->reply));
	*io = (struct share_request){.in = client->iov[0], .out = client->iov[1]};
	io->in_count = p9_client_cut(client, client->iov[0], client->request, client->request_size);
	io->out_count = p9_client_cut(client, client->iov[1], client->reply, client->reply_room);
	share_begin(client->share, io);
	client->reply_size = share_handle(client->share, io);
	client->body = (struct p9_reader){client->reply, client->reply + client->reply_size, false};
	assert_int_equal(p9_get_u32(&client->body), client->reply_size);
	type = p9_get_u8(&client->body);
	tag = p9_get_u16(&client->body);
	assert_int_equal(tag, client->request[5] | client->request[6] << 8);
	/* Behind its reply a server writes nothing. */
	for (size_t i = client->reply_size; i < sizeof(client->reply) && i < client->reply_size + 64; i++)
		assert_int_equal(client->reply[i], 0xa5);
	if (type == P9_RLERROR)
		return -(int)p9_get_u32(&client->body);
	assert_int_equal(type, client->request[4] + 1);
	return 0;
}

void p9_client_start(struct p9_client *client)
{
	assert_int_equal(p9_rpc(client, P9_TVERSION, "ds", 65536, "9P2000.L"), 0);
	assert_int_equal(p9_rpc(client, P9_TATTACH, "ddssd", 0, P9_NO_ID, "", "", P9_NO_ID), 0);
}

int p9_client_walk(struct p9_client *client, uint32_t fid, uint32_t new_fid, const char *path)
{
	struct p9_writer writer, size = {client->request, client->request + 4, false};
	uint8_t *count_at;
	unsigned count = 0;
	int code;

	p9_client_write(client, P9_TWALK, "ddw", fid, new_fid, 0);
	count_at = client->request + client->request_size - 2;
	writer = (struct p9_writer){count_at + 2, client->request + sizeof(client->request), false};
	while (*path) {
		size_t length = strcspn(path, "/");

		p9_put_string(&writer, path, length);
		path += length + (path[length] == '/');
		count++;
	}
	*count_at = (uint8_t)count;
	client->request_size = (size_t)(writer.at - client->request);
	p9_put_u32(&size, (uint32_t)client->request_size);
	code = p9_client_send(client);
	return code < 0 ? code : p9_get_u16(&client->body) == count ? 0 : -ENOENT;
}
