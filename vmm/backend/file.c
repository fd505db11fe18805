/* SPDX-License-Identifier: Apache-2.0 */
/* The backend that writes output to a file, made anew, and never has input. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/backend/backend.h"
#include "vmm/backend/char_gather.h"
#include "vmm/base/err.h"

struct file_chardev {
	struct chardev chardev;
	struct char_gather gather;
};

static size_t file_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	return char_gather_write(&((struct file_chardev *)chardev)->gather, data, len);
}

static void file_destroy(struct chardev *chardev)
{
	struct file_chardev *file = (struct file_chardev *)chardev;

	char_gather_stop(&file->gather);
	close(file->gather.output.fd);
	free(file);
}

static const struct chardev_ops file_ops = {.write = file_write, .destroy = file_destroy};

static struct chardev *file_create(const struct chardev_env *env, const char *path, struct err *err)
{
	struct file_chardev *file = calloc(1, sizeof(*file));

	if (!file) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	file->chardev.ops = &file_ops;
	/* Non-blocking, so that a named pipe without a reader is an error (ENXIO) and not a wait. */
	file->gather.output.fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
	if (file->gather.output.fd < 0) {
		err_set_errno(err, -errno, "cannot open %s for writing", path);
		free(file);
		return NULL;
	}
	if (char_gather_start(&file->gather, env->loop, err) < 0) {
		file_destroy(&file->chardev);
		return NULL;
	}
	return &file->chardev;
}

const struct chardev_class file_chardev_class = {
	.name = "file",
	.argument = "PATH",
	.summary = "output is written to a file, which is made anew",
	.create = file_create,
};
