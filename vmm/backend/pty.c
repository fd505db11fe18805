/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend on a pseudo-terminal, whose name is logged. The slave side is held open, too, so that readers
 * may come and go without hang-ups; what is written while nobody reads is dropped once the kernel's buffer is
 * full. See pty(7).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/backend/backend.h"
#include "vmm/backend/char_input.h"
#include "vmm/backend/char_output.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"

struct pty_chardev {
	struct chardev chardev;
	struct char_input input;
	struct char_output output;
	int master_fd, slave_fd;
};

static size_t pty_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	return char_output_write(&((struct pty_chardev *)chardev)->output, data, len);
}

static void pty_accept_input(struct chardev *chardev)
{
	char_input_accept(&((struct pty_chardev *)chardev)->input);
}

static void pty_destroy(struct chardev *chardev)
{
	struct pty_chardev *pty = (struct pty_chardev *)chardev;

	char_input_stop(&pty->input);
	if (pty->slave_fd >= 0)
		close(pty->slave_fd);
	if (pty->master_fd >= 0)
		close(pty->master_fd);
	free(pty);
}

static const struct chardev_ops pty_ops = {
	.write = pty_write,
	.accept_input = pty_accept_input,
	.destroy = pty_destroy,
};

static int pty_open(struct pty_chardev *pty, struct err *err)
{
	char name[64];
	struct termios settings;

	pty->master_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (pty->master_fd < 0 || grantpt(pty->master_fd) < 0 || unlockpt(pty->master_fd) < 0)
		return err_set_errno(err, -errno, "cannot make a pseudo-terminal");
	if (ptsname_r(pty->master_fd, name, sizeof(name)) != 0)
		return err_set_errno(err, -errno, "cannot name the pseudo-terminal");
	pty->slave_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->slave_fd < 0 || tcgetattr(pty->slave_fd, &settings) < 0)
		return err_set_errno(err, -errno, "cannot open %s", name);
	cfmakeraw(&settings);
	tcsetattr(pty->slave_fd, TCSANOW, &settings);
	/* A person needs the name to use the pty at all, hence no quieter level than the default shows. */
	log_warning("serial port is on %s", name);
	return 0;
}

static struct chardev *pty_create(const struct chardev_env *env, const char *argument, struct err *err)
{
	struct pty_chardev *pty = calloc(1, sizeof(*pty));

	if (!pty) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	pty->chardev.ops = &pty_ops;
	pty->master_fd = pty->slave_fd = -1;
	pty->input.chardev = &pty->chardev;
	pty->input.loop = env->loop;
	if (pty_open(pty, err) < 0 || char_input_start(&pty->input, pty->master_fd, err) < 0) {
		pty_destroy(&pty->chardev);
		return NULL;
	}
	pty->output = (struct char_output){.fd = pty->master_fd, .stalled = true};
	return &pty->chardev;
}

const struct chardev_class pty_chardev_class = {
	.name = "pty",
	.summary = "a new pseudo-terminal, whose name is printed",
	.create = pty_create,
};
