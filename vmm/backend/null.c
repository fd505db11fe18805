/* SPDX-License-Identifier: Apache-2.0 */
/* The backend that swallows output and never has input. */
#include <errno.h>
#include <stdlib.h>

#include "vmm/backend/backend.h"
#include "vmm/base/err.h"

static size_t null_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	return len;
}

static void null_destroy(struct chardev *chardev)
{
	free(chardev);
}

static const struct chardev_ops null_ops = {.write = null_write, .destroy = null_destroy};

static struct chardev *null_create(const struct chardev_env *env, const char *argument, struct err *err)
{
	struct chardev *chardev = calloc(1, sizeof(*chardev));

	if (!chardev) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	chardev->ops = &null_ops;
	return chardev;
}

const struct chardev_class null_chardev_class = {
	.name = "null",
	.summary = "output is swallowed, no input comes",
	.create = null_create,
};
