/* SPDX-License-Identifier: Apache-2.0 */
/* File systems by their magic numbers. */
#include "vmm/run/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/err.h"

struct rootfs_magic {
	const char *kind, *module;
	off_t offset;
	const char *bytes;
	size_t len;
};

static const struct rootfs_magic rootfs_magics[] = {
	{"ext4", "ext4", 1080, "\x53\xef", 2},           {"xfs", "xfs", 0, "XFSB", 4},
	{"btrfs", "btrfs", 0x10040, "_BHRfS_M", 8},      {"squashfs", "squashfs", 0, "hsqs", 4},
	{"erofs", "erofs", 1024, "\xe2\xe1\xf5\xe0", 4}, {"iso9660", "isofs", 0x8001, "CD001", 5},
};

static int rootfs_look_inside(struct rootfs *rootfs, int fd, const char *path, struct err *err)
{
	char bytes[8];

	for (size_t i = 0; i < sizeof(rootfs_magics) / sizeof(rootfs_magics[0]); i++) {
		const struct rootfs_magic *magic = &rootfs_magics[i];

		if (pread(fd, bytes, magic->len, magic->offset) != (ssize_t)magic->len ||
		    memcmp(bytes, magic->bytes, magic->len) != 0)
			continue;
		rootfs->kind = magic->kind;
		rootfs->module = magic->module;
		return 0;
	}
	if (pread(fd, bytes, 2, 510) == 2 && memcmp(bytes, "\x55\xaa", 2) == 0)
		return err_set(err, -EBADMSG, "%s has a partition table: give an image of one file system",
			       path);
	return err_set(err, -EBADMSG,
		       "%s holds no file system that is known here: ext2-4, xfs, btrfs, squashfs, erofs and "
		       "iso9660 are",
		       path);
}

int rootfs_look(struct rootfs *rootfs, const char *path, struct err *err)
{
	struct stat status;
	int code = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*rootfs = (struct rootfs){0};
	if (fd < 0 || fstat(fd, &status) < 0)
		code = err_set_errno(err, -errno, "%s", path);
	else if (S_ISDIR(status.st_mode))
		rootfs->is_folder = true;
	else
		code = rootfs_look_inside(rootfs, fd, path, err);
	if (fd >= 0)
		close(fd);
	return code;
}
