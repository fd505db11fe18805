/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's root is: a folder, or an image of a file system that is told by its bytes. */
#pragma once

#include <stdbool.h>

struct err;

struct rootfs {
	bool is_folder;
	const char *kind;   /* file system of an image: "ext4" */
	const char *module; /* that mounts it; NULL for a folder */
};

/* Looks at the path. -EBADMSG when the image holds no file system that is known, -errno. */
int rootfs_look(struct rootfs *rootfs, const char *path, struct err *err);
