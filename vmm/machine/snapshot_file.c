/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container of a state file: a line, then a JSON text.
 *
 *     vmmctl-snapshot MAJOR.MINOR LENGTH CHECKSUM\n     LENGTH: bytes of the text; CHECKSUM: its CRC-64, 16
 * digits
 *
 * The checksum finds damage, not malice: whoever may write the file may write another one.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/json.h"
#include "vmm/machine/snapshot_parts.h"

/* A machine with 255 CPUs and all its devices has 6 MiB: bounds what a hostile file makes us read. */
#define SNAPSHOT_TEXT_MAX (64u << 20)
#define SNAPSHOT_HEAD_MAX 80

/* ECMA-182, reflected, as XZ has it. */
static uint64_t snapshot_crc64(const char *bytes, size_t len)
{
	uint64_t table[256];
	uint64_t crc = ~0ull;

	for (unsigned i = 0; i < 256; i++) {
		table[i] = i;
		for (unsigned bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xc96c5795d7870f42ull : 0);
	}
	for (size_t i = 0; i < len; i++)
		crc = crc >> 8 ^ table[(uint8_t)crc ^ (uint8_t)bytes[i]];
	return ~crc;
}

static int snapshot_write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t written = write(fd, bytes, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		len -= (size_t)written;
	}
	return 0;
}

static int snapshot_write_text(int fd, const char *text)
{
	size_t len = strlen(text);
	char head[SNAPSHOT_HEAD_MAX];
	int code;

	snprintf(head, sizeof(head), "vmmctl-snapshot %u.%u %zu %016" PRIx64 "\n", SNAPSHOT_MAJOR,
		 SNAPSHOT_MINOR, len, snapshot_crc64(text, len));
	code = snapshot_write_all(fd, head, strlen(head));
	if (code == 0)
		code = snapshot_write_all(fd, text, len);
	if (code == 0 && fsync(fd) < 0)
		code = -errno;
	return code;
}

/* Under another name first: nobody finds half a file. */
static int snapshot_write_file(const char *path, const char *text)
{
	char *temporary;
	int fd, code;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	code = fd < 0 ? -errno : snapshot_write_text(fd, text);
	if (fd >= 0)
		close(fd);
	if (code == 0 && rename(temporary, path) < 0)
		code = -errno;
	if (code < 0 && fd >= 0)
		unlink(temporary);
	free(temporary);
	return code;
}

int snapshot_file_write(const char *path, const json_t *root, struct err *err)
{
	char *text = json_dumps(root, JSON_INDENT(1));
	int code = text ? snapshot_write_file(path, text) : -ENOMEM;

	free(text);
	return code < 0 ? err_set_errno(err, code, "cannot write %s", path) : 0;
}

struct snapshot_head {
	unsigned major, minor;
	size_t text_len;
	uint64_t checksum;
	size_t len; /* of the line, with its end */
};

static int snapshot_parse_head(const char *bytes, size_t len, struct snapshot_head *head, struct err *err)
{
	const char *end = memchr(bytes, '\n', len < SNAPSHOT_HEAD_MAX ? len : SNAPSHOT_HEAD_MAX);
	char line[SNAPSHOT_HEAD_MAX + 1] = "";
	int parsed = -1;

	if (end) {
		memcpy(line, bytes, (size_t)(end - bytes));
		if (sscanf(line, "vmmctl-snapshot %5u.%5u %10zu %16" SCNx64 "%n", &head->major, &head->minor,
			   &head->text_len, &head->checksum, &parsed) != 4)
			parsed = -1;
	}
	if (!end || parsed != (int)strlen(line))
		return err_set(err, -EINVAL, "no state file of a vmmctl snapshot");
	head->len = (size_t)(end - bytes) + 1;
	if (head->major != SNAPSHOT_MAJOR || head->minor > SNAPSHOT_MINOR)
		return err_set(err, -EINVAL, "a snapshot of version %u.%u; this program reads %u.0 to %u.%u",
			       head->major, head->minor, SNAPSHOT_MAJOR, SNAPSHOT_MAJOR, SNAPSHOT_MINOR);
	return 0;
}

static json_t *snapshot_parse(const char *bytes, size_t len, struct err *err)
{
	struct snapshot_head head = {0};

	if (snapshot_parse_head(bytes, len, &head, err) < 0)
		return NULL;
	if (head.text_len != len - head.len) {
		err_set(err, -EBADMSG, "the file is damaged: %zu bytes of state where there should be %zu",
			len - head.len, head.text_len);
		return NULL;
	}
	if (snapshot_crc64(bytes + head.len, head.text_len) != head.checksum) {
		err_set(err, -EBADMSG, "the file is damaged: its checksum is another one");
		return NULL;
	}
	return json_read_text("state", bytes + head.len, head.text_len, err);
}

/* The whole file, which is to be no longer than its head says at most; owned. */
static char *snapshot_slurp(int fd, size_t *len, struct err *err)
{
	struct stat status;
	char *bytes;
	ssize_t got;

	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		err_set(err, -EINVAL, "no regular file");
		return NULL;
	}
	if (status.st_size > SNAPSHOT_TEXT_MAX) {
		err_set(err, -EFBIG, "a state file has at most %u bytes", SNAPSHOT_TEXT_MAX);
		return NULL;
	}
	bytes = malloc((size_t)status.st_size + 1);
	if (!bytes) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	for (*len = 0; *len < (size_t)status.st_size; *len += (size_t)got) {
		got = read(fd, bytes + *len, (size_t)status.st_size - *len);
		if (got <= 0)
			break;
	}
	return bytes;
}

json_t *snapshot_file_read(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	json_t *root = NULL;
	size_t len = 0;
	char *bytes;

	if (fd < 0) {
		err_set_errno(err, -errno, "cannot open %s", path);
		return NULL;
	}
	bytes = snapshot_slurp(fd, &len, err);
	if (bytes)
		root = snapshot_parse(bytes, len, err);
	free(bytes);
	close(fd);
	if (!root)
		err_prefix(err, "%s", path);
	return root;
}
