/* SPDX-License-Identifier: Apache-2.0 */
/* Open files: opening, creating, reading, writing, syncing, and the locks of the host's other users. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmm/backend/p9/p9.h"

/*
 * Flags of Tlopen and Tlcreate have the numbers of Linux on x86; these mean something for a file of the host.
 * No O_DIRECT: the guest's buffers lie as they lie. Of those, O_DIRECTORY alone has another number elsewhere.
 */
#define P9_OPEN_FLAGS  (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC)
#define P9_O_DIRECTORY 0200000u
_Static_assert(O_TRUNC == 01000 && O_APPEND == 02000 && O_DSYNC == 010000 && O_EXCL == 0200 &&
		       O_SYNC == 04010000,
	       "the protocol's open flags are this host's");

static int p9_host_flags(uint32_t asked)
{
	return (int)(asked & P9_OPEN_FLAGS) | (asked & P9_O_DIRECTORY ? O_DIRECTORY : 0);
}

#define P9_READ_HEAD  (P9_HEADER_SIZE + 4)      /* count */
#define P9_WRITE_HEAD (P9_HEADER_SIZE + 4 + 12) /* fid, offset, count */

/* Of Tlock and Tgetlock. */
enum p9_lock_type { P9_LOCK_READ, P9_LOCK_WRITE, P9_LOCK_NONE };
enum p9_lock_status { P9_LOCK_SUCCESS, P9_LOCK_BLOCKED, P9_LOCK_ERROR };

static bool p9_flags_change(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static void p9_put_opened(struct p9_call *call, const struct stat *info)
{
	struct p9_qid qid = p9_qid_of(call->server, info);

	p9_put_qid(&call->reply, &qid);
	p9_put_u32(&call->reply, 0); /* iounit: as much as a message holds */
}

int p9_lopen(struct p9_call *call)
{
	int flags = p9_host_flags(p9_get_u32(&call->body));
	struct stat info;
	int path_fd, fd;

	if (call->body.bad)
		return -EINVAL;
	if (call->fid->kind != P9_FID_NAME)
		return -EBUSY;
	if (call->server->readonly && p9_flags_change(flags))
		return -EROFS;
	path_fd = p9_open_path(call->server, call->fid->node);
	if (path_fd < 0)
		return path_fd;
	fd = p9_reopen(call->server, path_fd, flags);
	close(path_fd);
	if (fd < 0)
		return fd;
	if (fstat(fd, &info) < 0) {
		close(fd);
		return -EIO;
	}
	p9_put_opened(call, &info);
	return p9_fid_set_fd(call->server, call->fid, fd, flags);
}

/* Makes the file, or opens the one that is there unless the guest wants it to be new. */
static int p9_create_in(struct p9_call *call, int folder_fd, const char *name, uint32_t asked, uint32_t mode,
			bool *created)
{
	int flags = p9_host_flags(asked & ~P9_O_DIRECTORY);
	int fd = p9_open_entry(folder_fd, name, flags | O_CREAT | O_EXCL | O_NONBLOCK | O_NOCTTY,
			       mode & 07777);
	int path_fd;

	*created = fd >= 0;
	if (fd != -EEXIST || asked & O_EXCL)
		return fd;
	path_fd = p9_open_entry(folder_fd, name, O_PATH, 0);
	if (path_fd < 0)
		return path_fd;
	fd = p9_reopen(call->server, path_fd, flags);
	close(path_fd);
	return fd;
}

static int p9_lcreate_named(struct p9_call *call, const char *name, uint32_t asked, uint32_t mode,
			    uint32_t gid)
{
	struct p9_server *server = call->server;
	int folder_fd = p9_open_folder(server, call->fid->node);
	struct p9_node *node;
	struct stat info;
	bool created;
	int fd;

	if (folder_fd < 0)
		return folder_fd;
	fd = p9_create_in(call, folder_fd, name, asked, mode, &created);
	close(folder_fd);
	if (fd < 0)
		return fd;
	if (created)
		p9_give_away(server, fd, call->fid->uid, gid);
	if (created && mode & (server->umask | S_ISUID | S_ISGID))
		fchmod(fd, mode & 07777);
	node = p9_node_child(server, call->fid->node, name);
	if (!node || fstat(fd, &info) < 0) {
		close(fd);
		if (node)
			p9_node_release(server, node);
		return -ENOMEM;
	}
	p9_fid_move(server, call->fid, node);
	p9_put_opened(call, &info);
	return p9_fid_set_fd(server, call->fid, fd, p9_host_flags(asked & ~P9_O_DIRECTORY));
}

int p9_lcreate(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1];
	int code = p9_get_entry(&call->body, name);
	uint32_t flags = p9_get_u32(&call->body);
	uint32_t mode = p9_get_u32(&call->body);
	uint32_t gid = p9_get_u32(&call->body);

	if (code < 0 || call->body.bad)
		return code < 0 ? code : -EINVAL;
	if (call->fid->kind != P9_FID_NAME)
		return -EBUSY;
	return p9_lcreate_named(call, name, flags, mode, gid);
}

/* An extended attribute's value, or the list of them. */
static int p9_read_xattr(struct p9_call *call, uint64_t offset, uint32_t count)
{
	const struct p9_fid *fid = call->fid;
	uint32_t left = offset < fid->xattr_size ? fid->xattr_size - (uint32_t)offset : 0;
	uint32_t room = (uint32_t)(call->reply.end - call->reply.at) - 4;

	count = count < left ? count : left;
	count = count < room ? count : room;
	p9_put_u32(&call->reply, count);
	for (uint32_t i = 0; i < count; i++)
		p9_put_u8(&call->reply, fid->xattr[offset + i]);
	return 0;
}

int p9_read(struct p9_call *call)
{
	uint64_t offset = p9_get_u64(&call->body);
	uint32_t count = p9_get_u32(&call->body);
	struct iovec pieces[P9_PIECES_MAX];
	size_t room = call->room - P9_READ_HEAD, piece_count;
	ssize_t got = 0;
	int fd;

	if (call->body.bad || call->room < P9_READ_HEAD)
		return -EINVAL;
	if (call->fid->kind == P9_FID_XATTR_READ)
		return p9_read_xattr(call, offset, count);
	fd = p9_fid_file(call->server, call->fid);
	if (fd < 0)
		return fd;
	if (call->fid->kind == P9_FID_FOLDER)
		return -EISDIR;
	piece_count = p9_iov_slice(call->request->out, call->request->out_count, P9_READ_HEAD,
				   count < room ? count : room, pieces, P9_PIECES_MAX);
	if (piece_count > 0)
		got = preadv(fd, pieces, (int)piece_count, (off_t)offset);
	if (got < 0)
		return -errno;
	p9_put_u32(&call->reply, (uint32_t)got);
	call->reply_scattered = (size_t)got;
	return 0;
}

static int p9_write_xattr(struct p9_call *call, uint64_t offset, uint32_t count)
{
	struct p9_fid *fid = call->fid;
	struct iovec piece;
	size_t at = offset, pieces;

	if (offset > fid->xattr_size || count > fid->xattr_size - offset)
		return -ENOSPC;
	for (size_t done = 0; done < count; done += piece.iov_len) {
		pieces = p9_iov_slice(call->request->in, call->request->in_count, P9_WRITE_HEAD + done,
				      count - done, &piece, 1);
		if (pieces == 0)
			return -EINVAL;
		p9_iov_copy_out(&piece, 1, fid->xattr + at + done, piece.iov_len);
	}
	if (at + count > fid->xattr_used)
		fid->xattr_used = (uint32_t)(at + count);
	p9_put_u32(&call->reply, count);
	return 0;
}

int p9_write(struct p9_call *call)
{
	uint64_t offset = p9_get_u64(&call->body);
	uint32_t count = p9_get_u32(&call->body);
	struct iovec pieces[P9_PIECES_MAX];
	size_t piece_count;
	ssize_t put = 0;
	int fd;

	if (call->body.bad || count > call->size - P9_WRITE_HEAD)
		return -EINVAL;
	if (call->fid->kind == P9_FID_XATTR_WRITE)
		return p9_write_xattr(call, offset, count);
	fd = p9_fid_file(call->server, call->fid);
	if (fd < 0)
		return fd;
	piece_count = p9_iov_slice(call->request->in, call->request->in_count, P9_WRITE_HEAD, count, pieces,
				   P9_PIECES_MAX);
	if (piece_count > 0)
		put = pwritev(fd, pieces, (int)piece_count, (off_t)offset);
	if (put < 0)
		return -errno;
	p9_put_u32(&call->reply, (uint32_t)put);
	return 0;
}

int p9_fsync(struct p9_call *call)
{
	/* Older clients do not send the field. */
	bool data_only = call->body.at < call->body.end && p9_get_u32(&call->body) != 0;
	int fd;

	if (call->body.bad)
		return -EINVAL;
	fd = p9_fid_file(call->server, call->fid);
	if (fd < 0)
		return fd;
	return (data_only ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
}

static int p9_get_flock(struct p9_call *call, uint8_t type, struct flock *lock)
{
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	uint64_t start = p9_get_u64(&call->body);
	uint64_t length = p9_get_u64(&call->body);

	if (type > P9_LOCK_NONE || start > INT64_MAX || length > INT64_MAX)
		return -EINVAL;
	*lock = (struct flock){
		.l_type = types[type], .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)length};
	return 0;
}

/*
 * The guest's kernel settles its own processes' locks before it asks; here they meet those of the host and of
 * other guests. They belong to the open file (OFD locks, fcntl(2)), as a fid is one open file of the guest.
 */
int p9_lock(struct p9_call *call)
{
	char client[P9_NAME_MAX + 1];
	uint8_t type = p9_get_u8(&call->body);
	enum p9_lock_status status = P9_LOCK_SUCCESS;
	struct flock lock;
	int code, fd;

	p9_get_u32(&call->body); /* whether the guest would wait: it asks again, here nobody waits */
	code = p9_get_flock(call, type, &lock);
	p9_get_u32(&call->body); /* process, of the guest's own use */
	if (p9_get_string(&call->body, client, sizeof(client)) < 0 || call->body.bad || code < 0)
		return -EINVAL;
	fd = p9_fid_file(call->server, call->fid);
	if (fd < 0)
		return fd;
	call->fid->keeps_fd = true;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno == EAGAIN || errno == EACCES)
			status = P9_LOCK_BLOCKED;
		else if (errno !=
			 EBADF) /* flock(2) on a file not open for writing: a lock within the guest */
			status = P9_LOCK_ERROR;
	}
	p9_put_u8(&call->reply, status);
	return 0;
}

int p9_getlock(struct p9_call *call)
{
	char client[P9_NAME_MAX + 1];
	uint8_t type = p9_get_u8(&call->body);
	struct flock lock;
	uint32_t process;
	int code = p9_get_flock(call, type, &lock), fd;

	process = p9_get_u32(&call->body);
	if (p9_get_string(&call->body, client, sizeof(client)) < 0 || call->body.bad || code < 0)
		return -EINVAL;
	fd = p9_fid_file(call->server, call->fid);
	if (fd < 0)
		return fd;
	if (lock.l_type == F_UNLCK || fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		type = P9_LOCK_NONE;
	else
		type = lock.l_type == F_RDLCK ? P9_LOCK_READ : P9_LOCK_WRITE;
	p9_put_u8(&call->reply, type);
	p9_put_u64(&call->reply, (uint64_t)lock.l_start);
	p9_put_u64(&call->reply, (uint64_t)lock.l_len);
	p9_put_u32(&call->reply, process);
	p9_put_string(&call->reply, client, strlen(client));
	return 0;
}
