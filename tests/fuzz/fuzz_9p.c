/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 9P server fed with messages of any content, on a folder of its own with links that lead out of it.
 * After each input what lies beside the folder must be untouched: a way out is a finding like a crash.
 *
 * Input: messages, each a length byte, a type byte and that many bytes of fields (0xff: 2 more bytes of
 * length). Half of them are given to the server in small pieces.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/backend/p9/p9_wire.h"
#include "vmm/core/share.h"

#define FUZZ_9P_MESSAGES 64 /* keeps one input short */
#define FUZZ_9P_BODY     2048

struct fuzz_9p_folder {
	char top[64], share[80], outside[80];
};

static int fuzz_9p_remove_entry(const char *path, const struct stat *info, int flag, struct FTW *where)
{
	return remove(path);
}

static void fuzz_9p_check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

static void fuzz_9p_write(const char *folder, const char *name, const char *text)
{
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	fuzz_9p_check(file && fputs(text, file) >= 0 && fclose(file) == 0, path);
}

static void fuzz_9p_make(struct fuzz_9p_folder *folder)
{
	const char *base = getenv("TMPDIR");
	char path[96];

	fuzz_9p_check(snprintf(folder->top, sizeof(folder->top), "%s/fuzz-9p-XXXXXX", base ? base : "/tmp") <
			      60,
		      "TMPDIR");
	fuzz_9p_check(mkdtemp(folder->top) != NULL, "mkdtemp");
	snprintf(folder->share, sizeof(folder->share), "%s/share", folder->top);
	snprintf(folder->outside, sizeof(folder->outside), "%s/outside", folder->top);
	fuzz_9p_check(mkdir(folder->share, 0755) == 0 && mkdir(folder->outside, 0755) == 0, "mkdir");
	fuzz_9p_write(folder->outside, "secret", "secret\n");
	fuzz_9p_write(folder->share, "f", "contents");
	snprintf(path, sizeof(path), "%s/d", folder->share);
	fuzz_9p_check(mkdir(path, 0755) == 0, path);
	snprintf(path, sizeof(path), "%s/l", folder->share);
	fuzz_9p_check(symlink("../outside", path) == 0, path);
	snprintf(path, sizeof(path), "%s/s", folder->share);
	fuzz_9p_check(symlink("../outside/secret", path) == 0, path);
}

/* Nothing beside the share has come, gone or changed. */
static void fuzz_9p_expect_untouched(const struct fuzz_9p_folder *folder)
{
	char path[96], text[16] = "";
	struct stat top, outside, info;
	FILE *file;

	fuzz_9p_check(stat(folder->top, &top) == 0 && stat(folder->outside, &outside) == 0, folder->outside);
	fuzz_9p_check(top.st_nlink == 4 && (top.st_mode & 07777) == 0700, "the folder above");
	fuzz_9p_check(outside.st_nlink == 2 && (outside.st_mode & 07777) == 0755, "the folder beside");
	snprintf(path, sizeof(path), "%s/secret", folder->outside);
	fuzz_9p_check(lstat(path, &info) == 0 && info.st_nlink == 1 && S_ISREG(info.st_mode), path);
	file = fopen(path, "r");
	fuzz_9p_check(file && fgets(text, sizeof(text), file) && strcmp(text, "secret\n") == 0, path);
	fclose(file);
}

static size_t fuzz_9p_cut(struct iovec iov[8], uint8_t *bytes, size_t size, size_t piece)
{
	size_t count = 0;

	while (size > 0) {
		size_t length = piece && piece < size && count < 7 ? piece : size;

		iov[count++] = (struct iovec){bytes, length};
		bytes += length;
		size -= length;
	}
	return count;
}

static void fuzz_9p_send(struct share *share, unsigned type, const uint8_t *fields, size_t length)
{
	uint8_t request[P9_HEADER_SIZE + FUZZ_9P_BODY], reply[4096];
	struct p9_writer head = {request, request + P9_HEADER_SIZE, false};
	struct iovec iov[2][8];
	struct share_request io = {.in = iov[0], .out = iov[1]};
	size_t piece = length & 1 ? 1 + length % 13 : 0, size;

	p9_put_u32(&head, (uint32_t)(P9_HEADER_SIZE + length));
	p9_put_u8(&head, (uint8_t)type);
	p9_put_u16(&head, (uint16_t)length);
	memcpy(request + P9_HEADER_SIZE, fields, length);
	io.in_count = fuzz_9p_cut(iov[0], request, P9_HEADER_SIZE + length, piece);
	io.out_count = fuzz_9p_cut(iov[1], reply, sizeof(reply) - length, piece);
	share_begin(share, &io);
	size = share_handle(share, &io);
	fuzz_9p_check(size <= sizeof(reply) - length, "a reply larger than its room");
	fuzz_9p_check(size >= P9_HEADER_SIZE && (reply[4] == P9_RLERROR || reply[4] == type + 1), "a reply");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_9p_folder folder;
	struct share_config config = {.path = folder.share, .readonly = size > 0 && data[0] == 0xfe};
	struct share *share;

	fuzz_9p_make(&folder);
	share = share_open_9p(&config, NULL);
	fuzz_9p_check(share != NULL, "share_open_9p");
	fuzz_9p_send(share, P9_TATTACH, (const uint8_t *)"\0\0\0\0\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff",
		     16);
	for (unsigned i = 0; i < FUZZ_9P_MESSAGES && size >= 2; i++) {
		size_t length = data[0];
		unsigned type = data[1];

		data += 2, size -= 2;
		if (length == 0xff && size >= 2) {
			length = (data[0] | data[1] << 8) % FUZZ_9P_BODY;
			data += 2, size -= 2;
		}
		length = length < size ? length : size;
		fuzz_9p_send(share, type, data, length);
		data += length, size -= length;
	}
	share_destroy(share);
	fuzz_9p_expect_untouched(&folder);
	nftw(folder.top, fuzz_9p_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
