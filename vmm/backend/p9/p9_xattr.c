/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes. A fid stands for one attribute while it is read (Txattrwalk, Tread) or written
 * (Txattrcreate, Twrite, and Tclunk sets it). Only "user." and POSIX ACLs: the rest of the name space would
 * let a guest give capabilities to programs of the host, or labels of its security modules.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vmm/backend/p9/p9.h"

static bool p9_xattr_is_allowed(const char *name)
{
	return strncmp(name, "user.", 5) == 0 || strcmp(name, "system.posix_acl_access") == 0 ||
	       strcmp(name, "system.posix_acl_default") == 0;
}

/* A descriptor that attributes can be read and set through, or -errno: O_PATH ones cannot. Links have none.
 */
static int p9_xattr_open(struct p9_server *server, const struct p9_node *node)
{
	int path_fd = p9_open_path(server, node), fd;

	if (path_fd < 0)
		return path_fd;
	fd = p9_reopen(server, path_fd, O_RDONLY);
	if (fd == -EACCES)
		fd = p9_reopen(server, path_fd, O_WRONLY);
	close(path_fd);
	return fd == -ELOOP || fd == -EPERM ? -ENODATA : fd;
}

/* Leaves of a list of names, each ended by NUL, those that are allowed; returns the new size. */
static size_t p9_xattr_filter(uint8_t *list, size_t size)
{
	size_t kept = 0;

	for (size_t at = 0; at < size;) {
		size_t length = strnlen((const char *)list + at, size - at - 1) + 1;

		if (p9_xattr_is_allowed((const char *)list + at)) {
			memmove(list + kept, list + at, length);
			kept += length;
		}
		at += length;
	}
	return kept;
}

/* The value, or with an empty name the list: its size, or -errno. */
static ssize_t p9_xattr_fetch(int fd, const char *name, uint8_t *value)
{
	ssize_t size;

	if (name[0]) {
		size = fgetxattr(fd, name, value, P9_XATTR_SIZE_MAX);
		return size < 0 ? -errno : size;
	}
	size = flistxattr(fd, (char *)value, P9_XATTR_SIZE_MAX);
	if (size == 0)
		return 0;
	return size < 0 ? -errno : (ssize_t)p9_xattr_filter(value, (size_t)size);
}

/* Makes the fid one of the few that hold a value; the buffer becomes its own. */
static int p9_xattr_attach(struct p9_server *server, struct p9_fid *fid, uint8_t *value, uint32_t size)
{
	bool full;

	pthread_mutex_lock(&server->lock);
	full = server->xattr_count == P9_XATTRS_MAX;
	server->xattr_count += !full;
	pthread_mutex_unlock(&server->lock);
	if (full) {
		free(value);
		return -EMFILE;
	}
	fid->xattr = value;
	fid->xattr_size = size;
	return 0;
}

static int p9_xattr_read_in(struct p9_call *call, const char *name, uint32_t new_number)
{
	struct p9_server *server = call->server;
	int fd = p9_xattr_open(server, call->fid->node), code;
	uint8_t *value = fd < 0 ? NULL : malloc(P9_XATTR_SIZE_MAX), *fitted;
	ssize_t size = value ? p9_xattr_fetch(fd, name, value) : fd < 0 ? fd : -ENOMEM;

	if (fd >= 0)
		close(fd);
	if (size < 0) {
		free(value);
		return (int)size;
	}
	fitted = realloc(value, size ? (size_t)size : 1);
	value = fitted ? fitted : value;
	code = p9_fid_add_xattr(server, call->fid, new_number, value, (uint32_t)size);
	p9_put_u64(&call->reply, (uint64_t)size);
	return code;
}

int p9_xattrwalk(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1];
	uint32_t new_number = p9_get_u32(&call->body);
	int code = p9_get_string(&call->body, name, sizeof(name));

	if (code < 0 || call->body.bad)
		return code < 0 ? code : -EINVAL;
	if (name[0] && !p9_xattr_is_allowed(name))
		return -EOPNOTSUPP;
	if (new_number == call->fid->number)
		return -EBADF;
	return p9_xattr_read_in(call, name, new_number);
}

int p9_xattrcreate(struct p9_call *call)
{
	struct p9_fid *fid = call->fid;
	char name[P9_NAME_MAX + 1];
	int code = p9_get_string(&call->body, name, sizeof(name));
	uint64_t size = p9_get_u64(&call->body);
	uint32_t flags = p9_get_u32(&call->body);
	uint8_t *value;

	if (code < 0 || call->body.bad)
		return code < 0 ? code : -EINVAL;
	if (fid->kind != P9_FID_NAME)
		return -EBUSY;
	if (!p9_xattr_is_allowed(name))
		return -EOPNOTSUPP;
	if (size > P9_XATTR_SIZE_MAX || flags & ~(unsigned)(XATTR_CREATE | XATTR_REPLACE))
		return size > P9_XATTR_SIZE_MAX ? -E2BIG : -EINVAL;
	value = calloc(1, size ? size : 1);
	if (!value)
		return -ENOMEM;
	code = p9_xattr_attach(call->server, fid, value, (uint32_t)size);
	if (code < 0)
		return code;
	fid->kind = P9_FID_XATTR_WRITE;
	fid->xattr_flags = (int)flags;
	memcpy(fid->xattr_name, name, sizeof(name));
	return 0;
}

/* An empty value removes the attribute: that is how Linux's client asks for it. */
int p9_xattr_commit(struct p9_call *call)
{
	const struct p9_fid *fid = call->fid;
	int fd, code;

	if (fid->xattr_used != fid->xattr_size)
		return -EINVAL;
	fd = p9_xattr_open(call->server, fid->node);
	if (fd < 0)
		return fd;
	if (fid->xattr_size == 0 && !(fid->xattr_flags & XATTR_CREATE))
		code = fremovexattr(fd, fid->xattr_name);
	else
		code = fsetxattr(fd, fid->xattr_name, fid->xattr, fid->xattr_size, fid->xattr_flags);
	code = code < 0 ? -errno : 0;
	close(fd);
	return code;
}
