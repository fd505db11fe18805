/* SPDX-License-Identifier: Apache-2.0 */
/* JSON files over jansson. */
#include "vmm/base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/err.h"

/* Fills buffer until the file ends; more than the limit is -EFBIG. Returns the length or -errno. */
static ssize_t json_read_all(int fd, char *buffer, size_t size)
{
	size_t used = 0;

	for (;;) {
		ssize_t got = read(fd, buffer + used, size - used);

		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == 0)
			return (ssize_t)used;
		used += got > 0 ? (size_t)got : 0;
		if (used == size)
			return -EFBIG;
	}
}

struct json_t *json_read_text(const char *name, const char *text, size_t len, struct err *err)
{
	json_error_t problem;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);

	if (!json)
		err_set(err, -EINVAL, "%s:%d:%d: %s", name, problem.line, problem.column, problem.text);
	return json;
}

static struct json_t *json_read_fd(const char *name, int fd, struct err *err)
{
	char *buffer = malloc(JSON_FILE_SIZE_MAX + 1);
	json_t *json = NULL;
	ssize_t len;

	if (!buffer) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	len = json_read_all(fd, buffer, JSON_FILE_SIZE_MAX + 1);
	if (len < 0)
		err_set_errno(err, (int)len, "cannot read %s", name);
	else
		json = json_read_text(name, buffer, (size_t)len, err);
	free(buffer);
	return json;
}

struct json_t *json_read_file(const char *path, struct err *err)
{
	json_t *json;
	int fd;

	if (strcmp(path, "-") == 0)
		return json_read_fd("standard input", STDIN_FILENO, err);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_set_errno(err, -errno, "cannot open %s", path);
		return NULL;
	}
	json = json_read_fd(path, fd, err);
	close(fd);
	return json;
}
