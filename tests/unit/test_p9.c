/* SPDX-License-Identifier: Apache-2.0 */
/* The 9P server: sessions, files, folders, attributes, locks, limits; what hostile messages get is here too.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/p9_client.h"
#include "tests/unit/p9_folder.h"

#define MSIZE 65536u

static uint32_t open_file(struct p9_client *client, const char *path, uint32_t fid, uint32_t flags)
{
	assert_int_equal(p9_client_walk(client, 0, fid, path), 0);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", fid, flags), 0);
	return fid;
}

static void clunk(struct p9_client *client, uint32_t fid)
{
	assert_int_equal(p9_rpc(client, P9_TCLUNK, "d", fid), 0);
}

/* Reads at offset and compares. */
static void expect_bytes(struct p9_client *client, uint32_t fid, uint64_t offset, const char *bytes)
{
	assert_int_equal(p9_rpc(client, P9_TREAD, "dqd", fid, offset, 4096u), 0);
	assert_int_equal(p9_get_u32(&client->body), strlen(bytes));
	assert_memory_equal(client->body.at, bytes, strlen(bytes));
}

/* Twrite's data has no letter: a string's length field would stand before it. */
static int write_bytes(struct p9_client *client, uint32_t fid, uint64_t offset, const char *bytes)
{
	struct p9_writer size = {client->request, client->request + 4, false};

	p9_client_write(client, P9_TWRITE, "dqd", fid, offset, (uint32_t)strlen(bytes));
	memcpy(client->request + client->request_size, bytes, strlen(bytes));
	client->request_size += strlen(bytes);
	p9_put_u32(&size, (uint32_t)client->request_size);
	return p9_client_send(client);
}

static void test_version(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	char version[16];

	assert_int_equal(p9_rpc(client, P9_TVERSION, "ds", 1u << 30, "9P2000.L"), 0);
	assert_int_equal(p9_get_u32(&client->body), 1u << 20);
	assert_int_equal(p9_get_string(&client->body, version, sizeof(version)), 0);
	assert_string_equal(version, "9P2000.L");
	assert_int_equal(p9_rpc(client, P9_TVERSION, "ds", MSIZE, "9P2000.u"), 0);
	p9_get_u32(&client->body);
	p9_get_string(&client->body, version, sizeof(version));
	assert_string_equal(version, "unknown");
	assert_int_equal(p9_rpc(client, P9_TVERSION, "ds", 100, "9P2000.L"), 0);
	p9_get_u32(&client->body);
	p9_get_string(&client->body, version, sizeof(version));
	assert_string_equal(version, "unknown");
	/* A session ends the one before. */
	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 1, ""), 0);
	assert_int_equal(p9_rpc(client, P9_TVERSION, "ds", MSIZE, "9P2000.L"), 0);
	assert_int_equal(p9_rpc(client, P9_TCLUNK, "d", 1), -EBADF);
	p9_client_close(client);
}

static void test_attach(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);

	assert_int_equal(p9_rpc(client, P9_TAUTH, "dssd", 5, "u", "", 0), -EOPNOTSUPP);
	assert_int_equal(p9_rpc(client, P9_TATTACH, "ddssd", 0, 7, "", "", 0), -EBADF);
	assert_int_equal(p9_rpc(client, P9_TATTACH, "ddssd", 0, P9_NO_ID, "", "../..", 0), -ENOENT);
	assert_int_equal(p9_rpc(client, P9_TATTACH, "ddssd", P9_NO_ID, P9_NO_ID, "", "", 0), -EBADF);
	assert_int_equal(p9_rpc(client, P9_TATTACH, "ddssd", 0, P9_NO_ID, "", "/", 0), 0);
	assert_int_equal(p9_get_u8(&client->body), P9_QID_DIR);
	assert_int_equal(p9_rpc(client, P9_TATTACH, "ddssd", 0, P9_NO_ID, "", "", 0), -EBADF);
	p9_client_close(client);
}

static void test_read_and_write(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);

	p9_client_start(client);
	for (size_t piece = 0; piece < 24; piece += 5) {
		client->piece = piece;
		open_file(client, "sub/file", 1, O_RDWR);
		expect_bytes(client, 1, 0, "inside\n");
		expect_bytes(client, 1, 3, "ide\n");
		expect_bytes(client, 1, 100, "");
		assert_int_equal(write_bytes(client, 1, 2, "SIDE"), 0);
		assert_int_equal(p9_get_u32(&client->body), 4);
		expect_bytes(client, 1, 0, "inSIDE\n");
		assert_int_equal(write_bytes(client, 1, 2, "side"), 0);
		assert_int_equal(p9_rpc(client, P9_TFSYNC, "dd", 1, 1), 0);
		assert_int_equal(p9_rpc(client, P9_TFSYNC, "d", 1), 0);
		clunk(client, 1);
	}
	client->piece = 0;
	open_file(client, "sub/file", 1, O_RDONLY);
	assert_int_equal(write_bytes(client, 1, 0, "no"), -EBADF);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 1, O_RDONLY), -EBUSY);
	assert_int_equal(p9_client_walk(client, 1, 1, ""), -EBUSY);
	assert_int_equal(p9_rpc(client, P9_TREAD, "dqd", 0, (uint64_t)0, 10), -EBADF);
	/* More data promised than sent. */
	p9_client_write(client, P9_TWRITE, "dqd", 1, (uint64_t)0, 5);
	assert_int_equal(p9_client_send(client), -EINVAL);
	/* A read is cut to the room there is. */
	client->reply_room = 11 + 3;
	assert_int_equal(p9_rpc(client, P9_TREAD, "dqd", 1, (uint64_t)0, 100), 0);
	assert_int_equal(p9_get_u32(&client->body), 3);
	client->reply_room = 8; /* not even an error fits */
	p9_client_write(client, P9_TREAD, "dqd", 99, (uint64_t)0, 100);
	client->io.in = client->iov[0], client->io.in_count = 1, client->io.out_count = 1;
	client->iov[0][0] = (struct iovec){client->request, client->request_size};
	client->iov[1][0] = (struct iovec){client->reply, 8};
	share_begin(client->share, &client->io);
	assert_int_equal(share_handle(client->share, &client->io), 0);
	p9_client_close(client);
}

static void test_create_and_attributes(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	struct stat info;

	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 1, ""), 0);
	assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 1, "new", O_CREAT | O_WRONLY, 0666u, P9_NO_ID),
			 0);
	assert_int_equal(write_bytes(client, 1, 0, "0123456789"), 0);
	folder_stat(folder, "new", &info);
	assert_int_equal(info.st_mode & 07777, 0666); /* the monitor's umask is not the guest's */
	clunk(client, 1);
	assert_int_equal(p9_client_walk(client, 0, 1, ""), 0);
	assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 1, "new", O_RDWR | O_EXCL, 0666u, P9_NO_ID),
			 -EEXIST);
	assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 1, "new", O_RDWR, 0666u, P9_NO_ID), 0);
	expect_bytes(client, 1, 0, "0123456789");
	/* mode, size and times */
	assert_int_equal(p9_rpc(client, P9_TSETATTR,
				"ddddd"
				"qqqqq",
				1, 1u | 8u | 0x20u | 0x100u, 0600u, 0, 0, (uint64_t)4, (uint64_t)0,
				(uint64_t)0, (uint64_t)12345, (uint64_t)678),
			 0);
	folder_stat(folder, "new", &info);
	assert_int_equal(info.st_size, 4);
	assert_int_equal(info.st_mode & 07777, 0600);
	assert_int_equal(info.st_mtim.tv_sec, 12345);
	assert_int_equal(info.st_mtim.tv_nsec, 678);
	assert_int_equal(p9_rpc(client, P9_TSETATTR,
				"ddddd"
				"qqqqq",
				1, 0x120u, 0, 0, 0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)1,
				(uint64_t)1000000000),
			 -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TGETATTR, "dq", 1, (uint64_t)0x7ff), 0);
	assert_int_equal(p9_get_u64(&client->body), 0x7ff);
	client->body.at += P9_QID_SIZE;
	assert_int_equal(p9_get_u32(&client->body), S_IFREG | 0600);
	p9_get_u32(&client->body), p9_get_u32(&client->body), p9_get_u64(&client->body);
	p9_get_u64(&client->body);
	assert_int_equal(p9_get_u64(&client->body), 4);
	/* the same through a name alone */
	assert_int_equal(p9_client_walk(client, 0, 2, "new"), 0);
	assert_int_equal(p9_rpc(client, P9_TSETATTR,
				"ddddd"
				"qqqqq",
				2, 9u, 04711u, 0, 0, (uint64_t)2, (uint64_t)0, (uint64_t)0, (uint64_t)0,
				(uint64_t)0),
			 0);
	folder_stat(folder, "new", &info);
	assert_int_equal(info.st_size, 2);
	assert_int_equal(info.st_mode & 07777, 04711);
	assert_int_equal(p9_rpc(client, P9_TSTATFS, "d", 2), 0);
	p9_client_close(client);
}

/* Counts entries by reading with room for `count` bytes; every name must be new. */
static unsigned count_entries(struct p9_client *client, uint32_t fid, uint32_t count)
{
	uint64_t offset = 0;
	unsigned entries = 0;

	for (;;) {
		uint32_t size;
		const uint8_t *end;

		assert_int_equal(p9_rpc(client, P9_TREADDIR, "dqd", fid, offset, count), 0);
		size = p9_get_u32(&client->body);
		assert_true(size <= count);
		end = client->body.at + size;
		assert_ptr_equal(end, client->body.end);
		if (size == 0)
			return entries;
		while (client->body.at < end) {
			char name[P9_NAME_MAX + 1];

			client->body.at += P9_QID_SIZE;
			offset = p9_get_u64(&client->body);
			p9_get_u8(&client->body);
			assert_int_equal(p9_get_name(&client->body, name), 0);
			assert_false(client->body.bad);
			entries++;
		}
	}
}

static void test_folders(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	struct stat info;

	p9_client_start(client);
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 0, "dir", 01777u, P9_NO_ID), 0);
	assert_int_equal(p9_get_u8(&client->body), P9_QID_DIR);
	folder_stat(folder, "dir", &info);
	assert_int_equal(info.st_mode & 07777, 01777);
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 0, "dir", 0755u, P9_NO_ID), -EEXIST);
	for (unsigned i = 0; i < 300; i++) {
		char name[64];

		snprintf(name, sizeof(name), "a-name-of-some-length-%u", i);
		assert_int_equal(p9_client_walk(client, 0, 1, "dir"), 0);
		assert_int_equal(
			p9_rpc(client, P9_TLCREATE, "dsddd", 1, name, O_WRONLY | O_EXCL, 0644u, P9_NO_ID), 0);
		clunk(client, 1);
	}
	open_file(client, "dir", 1, O_RDONLY | O_DIRECTORY);
	assert_int_equal(count_entries(client, 1, 60000), 302);
	assert_int_equal(count_entries(client, 1, 100), 302);
	assert_int_equal(p9_rpc(client, P9_TREADDIR, "dqd", 1, (uint64_t)0, 20), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TREAD, "dqd", 1, (uint64_t)0, 20), -EISDIR);
	assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", 0, "dir", 0x200u), -ENOTEMPTY);
	assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", 0, "dir", 0), -EISDIR);
	assert_int_equal(p9_rpc(client, P9_TSYMLINK, "dssd", 0, "link", "sub/file", P9_NO_ID), 0);
	assert_int_equal(p9_get_u8(&client->body), P9_QID_SYMLINK);
	assert_int_equal(p9_client_walk(client, 0, 2, "link"), 0);
	assert_int_equal(p9_rpc(client, P9_TREADLINK, "d", 2), 0);
	assert_int_equal(p9_get_u16(&client->body), 8);
	assert_memory_equal(client->body.at, "sub/file", 8);
	assert_int_equal(p9_rpc(client, P9_TREADLINK, "d", 0), -EINVAL);
	assert_int_equal(p9_client_walk(client, 0, 3, "sub/file"), 0);
	assert_int_equal(p9_rpc(client, P9_TLINK, "dds", 0, 3, "second"), 0);
	folder_stat(folder, "second", &info);
	assert_int_equal(info.st_nlink, 2);
	assert_int_equal(p9_rpc(client, P9_TREMOVE, "d", 3), 0);
	assert_int_equal(p9_rpc(client, P9_TCLUNK, "d", 3), -EBADF);
	folder_stat(folder, "second", &info);
	assert_int_equal(info.st_nlink, 1);
	p9_client_close(client);
}

/* What is open or walked to below a folder follows the folder. */
static void test_rename(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	struct stat info;

	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 1, "sub/file"), 0);
	assert_int_equal(p9_client_walk(client, 0, 2, "sub"), 0);
	assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "sub", 0, "moved"), 0);
	assert_int_equal(p9_rpc(client, P9_TGETATTR, "dq", 1, (uint64_t)0x7ff), 0);
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 2, "deeper", 0755u, P9_NO_ID), 0);
	folder_stat(folder, "moved/deeper", &info);
	/* by fid, into another folder, under another name */
	assert_int_equal(p9_client_walk(client, 0, 3, "moved/deeper"), 0);
	assert_int_equal(p9_rpc(client, P9_TRENAME, "dds", 1, 3, "renamed"), 0);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 1, O_RDONLY), 0);
	expect_bytes(client, 1, 0, "inside\n");
	/* a folder does not go into itself */
	assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "moved", 3, "x"), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TRENAME, "dds", 0, 3, "x"), -EBUSY);
	/* the target of a rename is gone, though its file may be open */
	folder_write(folder, "other", "other");
	open_file(client, "other", 4, O_RDWR);
	assert_int_equal(p9_client_walk(client, 0, 5, "other"), 0);
	assert_int_equal(p9_rpc(client, P9_TRENAME, "dds", 1, 0, "other"), 0);
	expect_bytes(client, 4, 0, "other");
	assert_int_equal(p9_rpc(client, P9_TGETATTR, "dq", 4, (uint64_t)0x7ff), 0);
	assert_int_equal(p9_rpc(client, P9_TSETATTR,
				"ddddd"
				"qqqqq",
				4, 9u, 0600u, 0, 0, (uint64_t)2, (uint64_t)0, (uint64_t)0, (uint64_t)0,
				(uint64_t)0),
			 0);
	expect_bytes(client, 4, 0, "ot");
	assert_int_equal(p9_rpc(client, P9_TGETATTR, "dq", 5, (uint64_t)0x7ff), -ENOENT);
	expect_bytes(client, 1, 0, "inside\n");
	/* removed while open */
	assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", 0, "other", 0), 0);
	expect_bytes(client, 1, 0, "inside\n");
	folder_write(folder, "other", "newer");
	assert_int_equal(p9_client_walk(client, 0, 6, "other"), 0);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 6, O_RDONLY), 0);
	expect_bytes(client, 6, 0, "newer");
	expect_bytes(client, 1, 0, "inside\n");
	p9_client_close(client);
}

static int set_xattr(struct p9_client *client, uint32_t fid, const char *name, const char *value)
{
	int code;

	assert_int_equal(p9_client_walk(client, 0, fid, "sub/file"), 0);
	code = p9_rpc(client, P9_TXATTRCREATE, "dsqd", fid, name, (uint64_t)strlen(value), 0);
	if (code == 0 && value[0])
		code = write_bytes(client, fid, 0, value);
	return code < 0 ? (clunk(client, fid), code) : p9_rpc(client, P9_TCLUNK, "d", fid);
}

static void test_xattr(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);

	p9_client_start(client);
	assert_int_equal(set_xattr(client, 1, "security.capability", "x"), -EOPNOTSUPP);
	assert_int_equal(set_xattr(client, 1, "trusted.x", "x"), -EOPNOTSUPP);
	if (set_xattr(client, 1, "user.color", "green") == -EOPNOTSUPP) {
		p9_client_close(client);
		print_message("the file system here has no extended attributes\n");
		skip();
	}
	assert_int_equal(p9_client_walk(client, 0, 1, "sub/file"), 0);
	assert_int_equal(p9_rpc(client, P9_TXATTRWALK, "dds", 1, 2, "user.color"), 0);
	assert_int_equal(p9_get_u64(&client->body), 5);
	expect_bytes(client, 2, 0, "green");
	expect_bytes(client, 2, 3, "en");
	expect_bytes(client, 2, 9, "");
	assert_int_equal(write_bytes(client, 2, 0, "x"), -EBADF);
	clunk(client, 2);
	assert_int_equal(p9_rpc(client, P9_TXATTRWALK, "dds", 1, 2, ""), 0);
	assert_int_equal(p9_get_u64(&client->body), sizeof("user.color"));
	clunk(client, 2);
	assert_int_equal(p9_rpc(client, P9_TXATTRWALK, "dds", 1, 2, "security.selinux"), -EOPNOTSUPP);
	assert_int_equal(p9_rpc(client, P9_TXATTRWALK, "dds", 1, 2, "user.none"), -ENODATA);
	assert_int_equal(p9_rpc(client, P9_TXATTRCREATE, "dsqd", 1, "user.big", (uint64_t)1 << 40, 0),
			 -E2BIG);
	assert_int_equal(p9_rpc(client, P9_TXATTRCREATE, "dsqd", 1, "user.big", (uint64_t)4, 0), 0);
	assert_int_equal(write_bytes(client, 1, 2, "xyz"), -ENOSPC);
	assert_int_equal(p9_rpc(client, P9_TCLUNK, "d", 1), -EINVAL); /* not all of it was written */
	assert_int_equal(set_xattr(client, 1, "user.color", ""), 0);
	assert_int_equal(p9_client_walk(client, 0, 1, "sub/file"), 0);
	assert_int_equal(p9_rpc(client, P9_TXATTRWALK, "dds", 1, 2, "user.color"), -ENODATA);
	p9_client_close(client);
}

static unsigned lock_file(struct p9_client *client, uint32_t fid, unsigned type, uint64_t start,
			  uint64_t length)
{
	assert_int_equal(p9_rpc(client, P9_TLOCK, "dbdqqds", fid, type, 1u, start, length, 77u, "guest"), 0);
	return p9_get_u8(&client->body);
}

static void test_locks(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);

	p9_client_start(client);
	open_file(client, "sub/file", 1, O_RDWR);
	open_file(client, "sub/file", 2, O_RDWR);
	open_file(client, "sub/file", 3, O_RDONLY);
	assert_int_equal(lock_file(client, 1, 1, 0, 4), 0);
	assert_int_equal(lock_file(client, 2, 1, 2, 4), 1);
	assert_int_equal(lock_file(client, 2, 1, 4, 0), 0);
	assert_int_equal(p9_rpc(client, P9_TGETLOCK, "dbqqds", 2, 0, (uint64_t)0, (uint64_t)0, 5u, "guest"),
			 0);
	assert_int_equal(p9_get_u8(&client->body), 1);
	assert_int_equal(p9_get_u64(&client->body), 0);
	assert_int_equal(p9_get_u64(&client->body), 4);
	assert_int_equal(lock_file(client, 1, 2, 0, 0), 0);
	assert_int_equal(lock_file(client, 2, 1, 0, 0), 0);
	clunk(client, 2); /* which unlocks */
	assert_int_equal(lock_file(client, 1, 1, 0, 0), 0);
	assert_int_equal(p9_rpc(client, P9_TGETLOCK, "dbqqds", 1, 1, (uint64_t)0, (uint64_t)0, 5u, "guest"),
			 0);
	assert_int_equal(p9_get_u8(&client->body), 2);
	assert_int_equal(lock_file(client, 3, 0, 0, 0), 1);
	assert_int_equal(p9_rpc(client, P9_TLOCK, "dbdqqds", 1, 9, 0, (uint64_t)0, (uint64_t)0, 0, ""),
			 -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TLOCK, "dbdqqds", 1, 0, 0, UINT64_MAX, (uint64_t)0, 0, ""),
			 -EINVAL);
	p9_client_close(client);
}

static void test_readonly(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, true);

	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 1, "sub/file"), 0);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 1, O_WRONLY), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 1, O_RDONLY | O_TRUNC), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 0, "x", 0755u, 0), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TMKNOD, "dsdddd", 0, "x", S_IFREG | 0644u, 0, 0, 0), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TSYMLINK, "dssd", 0, "x", "y", 0), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TLINK, "dds", 0, 1, "x"), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TRENAME, "dds", 1, 0, "x"), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "sub", 0, "x"), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", 0, "sub", 0x200u), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TXATTRCREATE, "dsqd", 1, "user.x", (uint64_t)1, 0), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 0, "x", O_RDONLY, 0644u, 0), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TSETATTR,
				"ddddd"
				"qqqqq",
				1, 9u, 0, 0, 0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0,
				(uint64_t)0),
			 -EROFS);
	assert_int_equal(write_bytes(client, 1, 0, "x"), -EROFS);
	assert_int_equal(p9_client_walk(client, 0, 2, "sub/file"), 0);
	assert_int_equal(p9_rpc(client, P9_TREMOVE, "d", 2), -EROFS);
	assert_int_equal(p9_rpc(client, P9_TCLUNK, "d", 2), -EBADF);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 1, O_RDONLY), 0);
	expect_bytes(client, 1, 0, "inside\n");
	p9_client_close(client);
}

/* More files open than the server has descriptors for: it takes back those that are idle. */
static void test_descriptors_are_taken_back(void **state)
{
	struct p9_folder *folder = *state;
	struct rlimit limit, small;
	struct p9_client *client;

	getrlimit(RLIMIT_NOFILE, &limit);
	small = limit;
	small.rlim_cur = 64; /* of which the server takes half */
	setrlimit(RLIMIT_NOFILE, &small);
	client = p9_client_open(folder->share, false);
	p9_client_start(client);
	for (uint32_t i = 1; i <= 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(p9_client_walk(client, 0, i, ""), 0);
		assert_int_equal(
			p9_rpc(client, P9_TLCREATE, "dsddd", i, name, O_RDWR | O_TRUNC, 0644u, P9_NO_ID), 0);
		assert_int_equal(write_bytes(client, i, 0, name), 0);
	}
	for (uint32_t i = 1; i <= 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		expect_bytes(client, i, 0, name);
	}
	/* Those that have lost their names keep theirs, and then there are none left. */
	for (uint32_t i = 1; i <= 20; i++)
		open_file(client, "f1", 200 + i, O_RDONLY);
	assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", 0, "f1", 0), 0);
	for (uint32_t i = 1; i <= 20; i++)
		expect_bytes(client, 200 + i, 0, "f1");
	for (uint32_t i = 1; i <= 32; i++) {
		assert_int_equal(p9_client_walk(client, 0, 300 + i, "sub"), 0);
		if (p9_rpc(client, P9_TLOPEN, "dd", 300 + i, O_RDONLY | O_DIRECTORY) == -EMFILE)
			break;
		assert_true(i < 32);
	}
	p9_client_close(client);
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void *flush_thread(void *opaque)
{
	struct p9_client *flusher = opaque;

	share_handle(flusher->share, &flusher->io);
	flusher->share = NULL;
	return NULL;
}

/* The reply to a flush comes after that of the request. */
static void test_flush(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	struct p9_client *flusher = calloc(1, sizeof(*flusher));
	pthread_t thread;

	p9_client_start(client);
	assert_int_equal(p9_rpc(client, P9_TFLUSH, "w", 4711u), 0);               /* of nothing */
	assert_int_equal(p9_rpc(client, P9_TFLUSH, "w", (unsigned)P9_TFLUSH), 0); /* of itself */
	p9_client_write(client, P9_TGETATTR, "dq", 0, (uint64_t)0);
	client->iov[0][0] = (struct iovec){client->request, client->request_size};
	client->iov[1][0] = (struct iovec){client->reply, sizeof(client->reply)};
	client->io = (struct share_request){client->iov[0], 1, client->iov[1], 1, NULL, NULL, 0};
	share_begin(client->share, &client->io);
	p9_client_write(flusher, P9_TFLUSH, "w", (unsigned)P9_TGETATTR);
	flusher->share = client->share;
	flusher->iov[0][0] = (struct iovec){flusher->request, flusher->request_size};
	flusher->iov[1][0] = (struct iovec){flusher->reply, sizeof(flusher->reply)};
	flusher->io = (struct share_request){flusher->iov[0], 1, flusher->iov[1], 1, NULL, NULL, 0};
	share_begin(flusher->share, &flusher->io);
	assert_int_equal(pthread_create(&thread, NULL, flush_thread, flusher), 0);
	usleep(100000);
	assert_non_null(__atomic_load_n(&flusher->share, __ATOMIC_SEQ_CST));
	assert_true(share_handle(client->share, &client->io) > 0);
	pthread_join(thread, NULL);
	assert_null(flusher->share);
	assert_int_equal(flusher->reply[4], P9_TFLUSH + 1);
	free(flusher);
	p9_client_close(client);
}

static void test_broken_messages(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);

	p9_client_start(client);
	assert_int_equal(p9_rpc(client, 3, "d", 0), -EOPNOTSUPP);
	assert_int_equal(p9_rpc(client, P9_RLERROR, "d", 0), -EOPNOTSUPP);
	assert_int_equal(p9_rpc(client, P9_TGETATTR, "d", 0), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TGETATTR, ""), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TGETATTR, "dq", 1234, (uint64_t)0), -EBADF);
	assert_int_equal(p9_rpc(client, P9_TWALK, "ddw", 0, 1, 17u), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TWALK, "ddws", 0, 1, 2u, "sub"), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TWALK, "ddw", 0, 0, 0), 0);
	assert_int_equal(p9_rpc(client, P9_TWALK, "ddw", 0, P9_NO_ID, 0), -EBADF);
	p9_client_write(client, P9_TGETATTR, "dq", 0, (uint64_t)0);
	client->request[0]++; /* longer than it is */
	assert_int_equal(p9_client_send(client), -EINVAL);
	client->request[0] = 6;
	assert_int_equal(p9_client_send(client), -EINVAL);
	p9_client_write(client, P9_TMKDIR, "dsdd", 0, "x", 0, 0);
	client->request[11] = 0xff; /* the name's length */
	assert_int_equal(p9_client_send(client), -EINVAL);
	/* larger than msize, and larger than what a message other than Twrite can be */
	p9_client_write(client, P9_TMKDIR, "dsdd", 0, "x", 0, 0);
	client->request_size = 70000;
	memcpy(client->request, &(uint32_t){70000}, 4);
	assert_int_equal(p9_client_send(client), -EMSGSIZE);
	client->request_size = 10000;
	memcpy(client->request, &(uint32_t){10000}, 4);
	assert_int_equal(p9_client_send(client), -EMSGSIZE);
	assert_int_equal(p9_rpc(client, P9_TCLUNK, "d", 0), 0);
	p9_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		P9_FOLDER_TEST(test_version),        P9_FOLDER_TEST(test_attach),
		P9_FOLDER_TEST(test_read_and_write), P9_FOLDER_TEST(test_create_and_attributes),
		P9_FOLDER_TEST(test_folders),        P9_FOLDER_TEST(test_rename),
		P9_FOLDER_TEST(test_xattr),          P9_FOLDER_TEST(test_locks),
		P9_FOLDER_TEST(test_readonly),       P9_FOLDER_TEST(test_descriptors_are_taken_back),
		P9_FOLDER_TEST(test_flush),          P9_FOLDER_TEST(test_broken_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
