/* SPDX-License-Identifier: Apache-2.0 */
/* Archives by libarchive: ar in which lies a tar (deb(5)), and single compressed files. */
#include "fetch/archive_file.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/err.h"

#define ARCHIVE_BLOCK (64u << 10)

static int archive_wrong(struct archive *archive, const char *path, struct err *err)
{
	const char *reason = archive ? archive_error_string(archive) : NULL;

	return err_set(err, -EBADMSG, "%s: %s", path, reason ? reason : "no memory for an archive");
}

/* The inner tar of a deb, read from the outer ar's member as it is asked for. */
struct archive_member {
	struct archive *outer;
	char block[ARCHIVE_BLOCK];
};

static la_ssize_t archive_member_read(struct archive *inner, void *opaque, const void **buffer)
{
	struct archive_member *member = opaque;

	*buffer = member->block;
	return archive_read_data(member->outer, member->block, sizeof(member->block));
}

static bool archive_wants(const char *path, const char *const *prefixes)
{
	for (; *prefixes; prefixes++) {
		if (strncmp(path, *prefixes, strlen(*prefixes)) == 0)
			return true;
	}
	return false;
}

/* A path that stays below: no empty part, no dot part, not absolute. */
static bool archive_is_below(const char *path)
{
	while (true) {
		size_t len = strcspn(path, "/");

		if (len == 0 || (len <= 2 && strspn(path, ".") >= len))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
	}
}

static int archive_make_folders(char *path, size_t from, struct err *err)
{
	for (char *slash = strchr(path + from, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_set_errno(err, -errno, "%s", path);
		*slash = '/';
	}
	return 0;
}

static int archive_copy(struct archive *from, int fd, const char *path, uint64_t *left, struct err *err)
{
	char *block = malloc(ARCHIVE_BLOCK);
	la_ssize_t len = 1;
	int code = block ? 0 : err_set(err, -ENOMEM, "no memory");

	while (code == 0 && (len = archive_read_data(from, block, ARCHIVE_BLOCK)) > 0) {
		if ((uint64_t)len > *left)
			code = err_set(err, -EFBIG, "%s: the package unpacks to more than %llu MiB", path,
				       ARCHIVE_BYTES_MAX >> 20);
		else if (write(fd, block, (size_t)len) != len)
			code = err_set_errno(err, -errno, "%s", path);
		*left -= code == 0 ? (uint64_t)len : 0;
	}
	free(block);
	return code == 0 && len < 0 ? archive_wrong(from, path, err) : code;
}

static int archive_write_entry(struct archive *tar, const char *folder, const char *name, uint64_t *left,
			       struct err *err)
{
	char path[PATH_MAX];
	int code;
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "%s/%s", folder, name);
	code = archive_make_folders(path, strlen(folder) + 1, err);
	if (code < 0)
		return code;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set_errno(err, -errno, "%s", path);
	code = archive_copy(tar, fd, path, left, err);
	if (close(fd) < 0 && code == 0)
		code = err_set_errno(err, -errno, "%s", path);
	return code;
}

static int archive_unpack_tar(struct archive *tar, const char *deb, const char *folder,
			      const char *const *prefixes, struct err *err)
{
	uint64_t left = ARCHIVE_BYTES_MAX;
	struct archive_entry *entry;
	int result;
	int code = 0;

	while (code == 0 && (result = archive_read_next_header(tar, &entry)) != ARCHIVE_EOF) {
		const char *name = archive_entry_pathname(entry);

		if (result < ARCHIVE_WARN || !name)
			return archive_wrong(tar, deb, err);
		name += strncmp(name, "./", 2) == 0 ? 2 : 0;
		if (archive_entry_filetype(entry) != AE_IFREG || !archive_wants(name, prefixes))
			continue;
		if (!archive_is_below(name))
			return err_set(err, -EBADMSG, "%s: it holds the path \"%s\"", deb, name);
		code = archive_write_entry(tar, folder, name, &left, err);
	}
	return code;
}

static int archive_unpack_data(struct archive *outer, const char *deb, const char *folder,
			       const char *const *prefixes, struct err *err)
{
	struct archive_member *member = malloc(sizeof(*member));
	struct archive *tar = archive_read_new();
	int code;

	if (!member || !tar) {
		code = err_set(err, -ENOMEM, "no memory for an archive");
	} else {
		member->outer = outer;
		archive_read_support_filter_all(tar);
		archive_read_support_format_tar(tar);
		if (archive_read_open(tar, member, NULL, archive_member_read, NULL) != ARCHIVE_OK)
			code = archive_wrong(tar, deb, err);
		else
			code = archive_unpack_tar(tar, deb, folder, prefixes, err);
	}
	archive_read_free(tar);
	free(member);
	return code;
}

int archive_unpack_deb(const char *deb, const char *folder, const char *const *prefixes, struct err *err)
{
	struct archive *outer = archive_read_new();
	struct archive_entry *entry;
	int code = -ENOENT;

	if (!outer || archive_read_support_format_ar(outer) != ARCHIVE_OK ||
	    archive_read_open_filename(outer, deb, ARCHIVE_BLOCK) != ARCHIVE_OK) {
		code = archive_wrong(outer, deb, err);
		archive_read_free(outer);
		return code;
	}
	while (code == -ENOENT && archive_read_next_header(outer, &entry) == ARCHIVE_OK) {
		const char *name = archive_entry_pathname(entry);

		if (name && strncmp(name, "data.tar", 8) == 0)
			code = archive_unpack_data(outer, deb, folder, prefixes, err);
	}
	if (code == -ENOENT)
		err_set(err, -EBADMSG, "%s: this is not a Debian package", deb);
	archive_read_free(outer);
	return code == -ENOENT ? -EBADMSG : code;
}

static char *archive_read_rest(struct archive *archive, const char *path, struct err *err)
{
	size_t room = 1u << 20;
	size_t len = 0;
	char *text = malloc(room);
	la_ssize_t got = 1;

	while (text && (got = archive_read_data(archive, text + len, room - len - 1)) > 0) {
		char *larger = NULL;

		len += (size_t)got;
		if (room - len > 1)
			continue;
		if (room < ARCHIVE_TEXT_MAX)
			larger = realloc(text, room *= 2);
		if (!larger)
			free(text);
		text = larger;
	}
	if (text && got == 0) {
		text[len] = '\0';
		return text;
	}
	if (!text)
		err_set(err, -EFBIG, "%s unpacks to more than there is room for", path);
	else
		archive_wrong(archive, path, err);
	free(text);
	return NULL;
}

char *archive_read_text(const char *path, struct err *err)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	char *text = NULL;

	if (!archive || archive_read_support_filter_all(archive) < ARCHIVE_WARN ||
	    archive_read_support_format_raw(archive) < ARCHIVE_WARN ||
	    archive_read_open_filename(archive, path, ARCHIVE_BLOCK) != ARCHIVE_OK ||
	    archive_read_next_header(archive, &entry) < ARCHIVE_WARN)
		archive_wrong(archive, path, err);
	else
		text = archive_read_rest(archive, path, err);
	archive_read_free(archive);
	return text;
}
