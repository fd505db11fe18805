/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of files: qids, attributes, the file system's figures, and where a symbolic link points. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/backend/p9/p9.h"

/* Bits of Tgetattr and Rgetattr: all that struct stat has. */
#define P9_GETATTR_BASIC 0x7ffull

/* Bits of Tsetattr. */
#define P9_SETATTR_MODE      0x001u
#define P9_SETATTR_UID       0x002u
#define P9_SETATTR_GID       0x004u
#define P9_SETATTR_SIZE      0x008u
#define P9_SETATTR_ATIME     0x010u
#define P9_SETATTR_MTIME     0x020u
#define P9_SETATTR_ATIME_SET 0x080u /* to the time given, not to now */
#define P9_SETATTR_MTIME_SET 0x100u
#define P9_SETATTR_TIMES     (P9_SETATTR_ATIME | P9_SETATTR_MTIME)
#define P9_SETATTR_OWNER     (P9_SETATTR_UID | P9_SETATTR_GID)

#define P9_MODE_BITS 07777u /* the rest of a mode is the kind of file */

uint64_t p9_qid_path(const struct p9_server *server, dev_t dev, ino_t ino)
{
	uint64_t hash;

	if (dev == server->root_dev)
		return ino;
	/* Below a mount in the folder: inode numbers of two file systems must not meet. */
	hash = ((uint64_t)dev ^ (uint64_t)ino * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;
	return (hash ^ hash >> 29) | 1ull << 63;
}

struct p9_qid p9_qid_of(const struct p9_server *server, const struct stat *info)
{
	uint8_t type = P9_QID_FILE;

	if (S_ISDIR(info->st_mode))
		type = P9_QID_DIR;
	else if (S_ISLNK(info->st_mode))
		type = P9_QID_SYMLINK;
	return (struct p9_qid){
		.type = type,
		/* A cache in the guest is valid while this is the same. */
		.version = (uint32_t)info->st_mtim.tv_sec ^ (uint32_t)info->st_mtim.tv_nsec ^
			   (uint32_t)info->st_size << 8,
		.path = p9_qid_path(server, info->st_dev, info->st_ino),
	};
}

void p9_give_away(struct p9_server *server, int path_fd, uint32_t uid, uint32_t gid)
{
	if (!server->is_root || (uid == P9_NO_ID && gid == P9_NO_ID))
		return;
	/* A file system that has no owners leaves it as it is, and so do we. */
	if (fchownat(path_fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return;
}

/* Looks at the file of call->fid: the open one, which may have no name any more, or that of its name. */
static int p9_stat_fid(struct p9_call *call, struct stat *info)
{
	int code, path_fd;

	if (call->fid->fd >= 0)
		return fstat(call->fid->fd, info) < 0 ? -errno : 0;
	path_fd = p9_open_path(call->server, call->fid->node);
	if (path_fd < 0)
		return path_fd;
	code = fstat(path_fd, info) < 0 ? -errno : 0;
	close(path_fd);
	return code;
}

/* As the Linux kernel packs a device number into 32 bits. */
static uint64_t p9_pack_dev(dev_t dev)
{
	return (minor(dev) & 0xff) | (uint64_t)major(dev) << 8 | (uint64_t)(minor(dev) & ~0xffu) << 12;
}

static void p9_put_time(struct p9_writer *writer, const struct timespec *time)
{
	p9_put_u64(writer, (uint64_t)time->tv_sec);
	p9_put_u64(writer, (uint64_t)time->tv_nsec);
}

int p9_getattr(struct p9_call *call)
{
	uint64_t wanted = p9_get_u64(&call->body);
	struct p9_writer *reply = &call->reply;
	struct p9_qid qid;
	struct stat info;
	int code;

	if (call->body.bad)
		return -EINVAL;
	code = p9_stat_fid(call, &info);
	if (code < 0)
		return code;
	qid = p9_qid_of(call->server, &info);
	p9_put_u64(reply, wanted & P9_GETATTR_BASIC);
	p9_put_qid(reply, &qid);
	p9_put_u32(reply, info.st_mode);
	p9_put_u32(reply, info.st_uid);
	p9_put_u32(reply, info.st_gid);
	p9_put_u64(reply, info.st_nlink);
	p9_put_u64(reply, p9_pack_dev(info.st_rdev));
	p9_put_u64(reply, (uint64_t)info.st_size);
	p9_put_u64(reply, (uint64_t)info.st_blksize);
	p9_put_u64(reply, (uint64_t)info.st_blocks);
	p9_put_time(reply, &info.st_atim);
	p9_put_time(reply, &info.st_mtim);
	p9_put_time(reply, &info.st_ctim);
	p9_put_time(reply, &(struct timespec){0}); /* btime: not asked for by anybody */
	p9_put_u64(reply, 0);                      /* generation */
	p9_put_u64(reply, 0);                      /* data version */
	return 0;
}

struct p9_setattr {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec times[2]; /* access, modification */
};

static struct timespec p9_get_time(struct p9_call *call, uint32_t valid, uint32_t asked, uint32_t given)
{
	struct timespec time;

	time.tv_sec = (time_t)p9_get_u64(&call->body);
	time.tv_nsec = (long)p9_get_u64(&call->body);
	if (!(valid & asked))
		time.tv_nsec = UTIME_OMIT;
	else if (!(valid & given))
		time.tv_nsec = UTIME_NOW;
	else if (time.tv_nsec < 0 || time.tv_nsec > 999999999)
		call->body.bad = true; /* among these are UTIME_OMIT and UTIME_NOW */
	return time;
}

static int p9_set_size(struct p9_call *call, int path_fd, uint64_t size)
{
	int code, fd;

	if (size > INT64_MAX)
		return -EFBIG;
	if (call->fid->fd >= 0 && (call->fid->open_flags & O_ACCMODE) != O_RDONLY)
		return ftruncate(call->fid->fd, (off_t)size) < 0 ? -errno : 0;
	fd = p9_reopen(call->server, path_fd, O_WRONLY);
	if (fd < 0)
		return fd;
	code = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
	close(fd);
	return code;
}

/*
 * Owners first: a change of owner clears the set-user-id bits. A monitor without privilege cannot give files
 * away; then they stay its own and the guest is told that it is done, so that tar and dpkg work there (what
 * QEMU calls security_model=none).
 */
static int p9_set_attributes(struct p9_call *call, int path_fd, const struct p9_setattr *attr)
{
	uint32_t uid = attr->valid & P9_SETATTR_UID ? attr->uid : P9_NO_ID;
	uint32_t gid = attr->valid & P9_SETATTR_GID ? attr->gid : P9_NO_ID;
	char name[P9_PROC_NAME_SIZE];
	int code = 0;

	p9_proc_name(path_fd, name);
	if (attr->valid & P9_SETATTR_OWNER &&
	    fchownat(path_fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 &&
	    (errno != EPERM || call->server->is_root))
		return -errno;
	if (attr->valid & P9_SETATTR_MODE &&
	    fchmodat(call->server->proc_fd, name, attr->mode & P9_MODE_BITS, 0) < 0)
		return -errno;
	if (attr->valid & P9_SETATTR_SIZE)
		code = p9_set_size(call, path_fd, attr->size);
	if (code == 0 && attr->valid & P9_SETATTR_TIMES &&
	    utimensat(call->server->proc_fd, name, attr->times, 0) < 0)
		code = -errno;
	return code;
}

int p9_setattr(struct p9_call *call)
{
	struct p9_setattr attr;
	int code, path_fd;

	attr.valid = p9_get_u32(&call->body);
	attr.mode = p9_get_u32(&call->body);
	attr.uid = p9_get_u32(&call->body);
	attr.gid = p9_get_u32(&call->body);
	attr.size = p9_get_u64(&call->body);
	attr.times[0] = p9_get_time(call, attr.valid, P9_SETATTR_ATIME, P9_SETATTR_ATIME_SET);
	attr.times[1] = p9_get_time(call, attr.valid, P9_SETATTR_MTIME, P9_SETATTR_MTIME_SET);
	if (call->body.bad)
		return -EINVAL;
	/* An open file may have lost its name; /proc reaches it all the same. */
	if (call->fid->fd >= 0)
		return p9_set_attributes(call, call->fid->fd, &attr);
	path_fd = p9_open_path(call->server, call->fid->node);
	if (path_fd < 0)
		return path_fd;
	code = p9_set_attributes(call, path_fd, &attr);
	close(path_fd);
	return code;
}

int p9_statfs(struct p9_call *call)
{
	struct p9_writer *reply = &call->reply;
	struct statfs info;
	int path_fd = p9_open_path(call->server, call->fid->node);
	int code;

	if (path_fd < 0)
		return path_fd;
	code = fstatfs(path_fd, &info) < 0 ? -errno : 0;
	close(path_fd);
	if (code < 0)
		return code;
	p9_put_u32(reply, (uint32_t)info.f_type);
	p9_put_u32(reply, (uint32_t)info.f_bsize);
	p9_put_u64(reply, info.f_blocks);
	p9_put_u64(reply, info.f_bfree);
	p9_put_u64(reply, info.f_bavail);
	p9_put_u64(reply, info.f_files);
	p9_put_u64(reply, info.f_ffree);
	p9_put_u64(reply,
		   (uint64_t)(unsigned)info.f_fsid.__val[0] | (uint64_t)(unsigned)info.f_fsid.__val[1] << 32);
	p9_put_u32(reply, P9_NAME_MAX);
	return 0;
}

int p9_readlink(struct p9_call *call)
{
	char target[PATH_MAX];
	int path_fd = p9_open_path(call->server, call->fid->node);
	ssize_t length;

	if (path_fd < 0)
		return path_fd;
	length = readlinkat(path_fd, "", target, sizeof(target));
	if (length < 0)
		length = errno == ENOENT ? -EINVAL
					 : -errno; /* what readlink(2) says of a file that is no link */
	close(path_fd);
	if (length < 0)
		return (int)length;
	p9_put_string(&call->reply, target, (size_t)length);
	return 0;
}
