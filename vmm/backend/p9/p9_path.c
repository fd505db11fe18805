/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From names to descriptors: the one place where paths exist, and the whole of the confinement (see p9.h).
 * What an O_PATH descriptor holds is opened through /proc/self/fd, which leads to that inode and no other.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/backend/p9/p9.h"

#define P9_RESOLVE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

/*
 * openat2 answers EAGAIN when a rename or mount somewhere on the host came between and it cannot tell that
 * the path stayed beneath; this often we ask again.
 */
#define P9_OPEN_TRIES 64

static int p9_openat2(int folder_fd, const char *path, int flags, mode_t mode)
{
	const struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = P9_RESOLVE,
	};
	long fd = -1;

	for (int tries = 0; tries < P9_OPEN_TRIES; tries++) {
		fd = syscall(SYS_openat2, folder_fd, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd >= 0 ? (int)fd : -errno;
}

/* The path from the shared folder, written from its end; returns where it begins in path, or NULL. */
static const char *p9_path_of(const struct p9_node *node, char path[PATH_MAX], int *code)
{
	char *at = path + PATH_MAX - 1;

	*at = '\0';
	*code = -ENAMETOOLONG;
	for (; node->parent; node = node->parent) {
		size_t length = strlen(node->name);

		if (node->gone) {
			*code = -ENOENT;
			return NULL;
		}
		if (length + 1 > (size_t)(at - path))
			return NULL;
		if (*at)
			*--at = '/';
		at -= length;
		memcpy(at, node->name, length);
	}
	return *at ? at : ".";
}

int p9_open_node(struct p9_server *server, const struct p9_node *node, int flags)
{
	char buffer[PATH_MAX];
	int code;
	const char *path = p9_path_of(node, buffer, &code);

	return path ? p9_openat2(server->root_fd, path, flags, 0) : code;
}

int p9_open_path(struct p9_server *server, const struct p9_node *node)
{
	return p9_open_node(server, node, O_PATH);
}

int p9_open_folder(struct p9_server *server, const struct p9_node *node)
{
	return p9_open_node(server, node, O_PATH | O_DIRECTORY);
}

int p9_open_entry(int folder_fd, const char *name, int flags, mode_t mode)
{
	return p9_openat2(folder_fd, name, flags, mode);
}

void p9_proc_name(int fd, char name[P9_PROC_NAME_SIZE])
{
	snprintf(name, P9_PROC_NAME_SIZE, "%d", fd);
}

int p9_reopen(struct p9_server *server, int path_fd, int flags)
{
	char name[P9_PROC_NAME_SIZE];
	struct stat info;
	int fd;

	if (fstat(path_fd, &info) < 0)
		return -errno;
	/* A link has no contents. Pipes would wait for a peer, devices are the host's: the guest has its own.
	 */
	if (S_ISLNK(info.st_mode))
		return -ELOOP;
	if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
		return -EPERM;
	p9_proc_name(path_fd, name);
	fd = openat(server->proc_fd, name, (flags & ~O_NOFOLLOW) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd >= 0 ? fd : -errno;
}
