/* SPDX-License-Identifier: Apache-2.0 */
/* Folders: their entries, and making, linking, renaming and removing those. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/backend/p9/p9.h"

#define P9_ENTRIES_SIZE  (16u << 10)               /* read from the host at once */
#define P9_ENTRY_HEAD    (P9_QID_SIZE + 8 + 1 + 2) /* qid, offset, type, length of the name */
#define P9_REMOVE_FOLDER 0x200u                    /* of Tunlinkat: AT_REMOVEDIR */

static struct p9_qid p9_entry_qid(struct p9_call *call, const struct dirent64 *entry)
{
	const struct p9_fid *fid = call->fid;
	ino_t ino = entry->d_ino;

	/* What lies above the shared folder is not the guest's to know. */
	if (!fid->node->parent && strcmp(entry->d_name, "..") == 0)
		ino = fid->ino;
	return (struct p9_qid){
		.type = entry->d_type == DT_DIR   ? P9_QID_DIR
			: entry->d_type == DT_LNK ? P9_QID_SYMLINK
						  : P9_QID_FILE,
		.path = p9_qid_path(call->server, fid->dev, ino),
	};
}

/* false: there is no room for it. */
static bool p9_put_entry(struct p9_call *call, const struct dirent64 *entry, size_t *left)
{
	size_t length = strlen(entry->d_name);
	struct p9_qid qid = p9_entry_qid(call, entry);

	if (P9_ENTRY_HEAD + length > *left)
		return false;
	*left -= P9_ENTRY_HEAD + length;
	p9_put_qid(&call->reply, &qid);
	p9_put_u64(&call->reply, (uint64_t)entry->d_off);
	p9_put_u8(&call->reply, entry->d_type);
	p9_put_string(&call->reply, entry->d_name, length);
	return true;
}

/* Fills the reply with entries; what was read too far is read again by the next call, which says where. */
static int p9_put_entries(struct p9_call *call, size_t left)
{
	union {
		uint8_t bytes[P9_ENTRIES_SIZE];
		struct dirent64 align;
	} buffer;
	ssize_t got;
	bool any = false;

	while ((got = getdents64(call->fid->fd, &buffer, sizeof(buffer))) > 0) {
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *entry = (const void *)(buffer.bytes + at);

			if (!p9_put_entry(call, entry, &left))
				return any ? 0 : -EINVAL;
			any = true;
			at += entry->d_reclen;
		}
	}
	return got < 0 ? -errno : 0;
}

int p9_readdir(struct p9_call *call)
{
	uint64_t offset = p9_get_u64(&call->body);
	uint32_t count = p9_get_u32(&call->body);
	struct p9_writer *reply = &call->reply;
	struct p9_writer count_field = *reply;
	size_t room = (size_t)(reply->end - reply->at);
	int code;

	if (call->body.bad || room < 4)
		return -EINVAL;
	if (call->fid->kind != P9_FID_FOLDER)
		return call->fid->kind == P9_FID_FILE ? -ENOTDIR : -EBADF;
	if (lseek(call->fid->fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	p9_put_u32(reply, 0);
	code = p9_put_entries(call, count < room - 4 ? count : room - 4);
	p9_put_u32(&count_field, (uint32_t)(reply->at - count_field.at) - 4);
	return code;
}

/* Where the process's umask took away from the mode, or mkdir did not take all of it. */
static void p9_fix_mode(struct p9_server *server, int path_fd, uint32_t mode)
{
	char name[P9_PROC_NAME_SIZE];

	if (!(mode & (server->umask | S_ISUID | S_ISGID)))
		return;
	p9_proc_name(path_fd, name);
	fchmodat(server->proc_fd, name, mode & 07777, 0);
}

/* What is to be made; the type in mode says what it is. */
struct p9_new_entry {
	const char *name;
	const char *target; /* of a symbolic link */
	uint32_t mode, gid;
};

static int p9_make_at(int folder_fd, const struct p9_new_entry *entry)
{
	int code;

	if (S_ISDIR(entry->mode))
		code = mkdirat(folder_fd, entry->name, entry->mode & 07777);
	else if (S_ISLNK(entry->mode)) /* it may point anywhere: the guest follows it by itself, we never do
					*/
		code = symlinkat(entry->target, folder_fd, entry->name);
	else
		code = mknodat(folder_fd, entry->name, entry->mode & (S_IFMT | 07777), 0);
	return code < 0 ? -errno : 0;
}

/* The reply to what made an entry: owner, mode (a link has none) and its qid. */
static int p9_finish_entry(struct p9_call *call, int folder_fd, const struct p9_new_entry *entry)
{
	int path_fd = p9_open_entry(folder_fd, entry->name, O_PATH, 0);
	struct p9_qid qid;
	struct stat info;
	int code = 0;

	if (path_fd < 0)
		return path_fd;
	p9_give_away(call->server, path_fd, call->fid->uid, entry->gid);
	if (!S_ISLNK(entry->mode))
		p9_fix_mode(call->server, path_fd, entry->mode);
	if (fstat(path_fd, &info) < 0)
		code = -errno;
	close(path_fd);
	if (code < 0)
		return code;
	qid = p9_qid_of(call->server, &info);
	p9_put_qid(&call->reply, &qid);
	return 0;
}

static int p9_make_entry(struct p9_call *call, const struct p9_new_entry *entry)
{
	int folder_fd = p9_open_folder(call->server, call->fid->node), code;

	if (folder_fd < 0)
		return folder_fd;
	code = p9_make_at(folder_fd, entry);
	if (code == 0)
		code = p9_finish_entry(call, folder_fd, entry);
	close(folder_fd);
	return code;
}

int p9_mkdir(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1];
	int code = p9_get_entry(&call->body, name);
	struct p9_new_entry entry = {.name = name};

	entry.mode = S_IFDIR | (p9_get_u32(&call->body) & 07777);
	entry.gid = p9_get_u32(&call->body);
	if (code < 0 || call->body.bad)
		return code < 0 ? code : -EINVAL;
	return p9_make_entry(call, &entry);
}

/* Pipes and sockets are only names of the guest's. A device node would open the host's devices to its users.
 */
static int p9_check_node_mode(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK: return 0;
	case S_IFCHR:
	case S_IFBLK: return -EPERM;
	default: return -EINVAL;
	}
}

int p9_mknod(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1];
	int code = p9_get_entry(&call->body, name);
	struct p9_new_entry entry = {.name = name, .mode = p9_get_u32(&call->body)};

	p9_get_u64(&call->body); /* major and minor */
	entry.gid = p9_get_u32(&call->body);
	if (code == 0)
		code = call->body.bad ? -EINVAL : p9_check_node_mode(entry.mode);
	return code < 0 ? code : p9_make_entry(call, &entry);
}

int p9_symlink(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1], target[PATH_MAX];
	int code = p9_get_entry(&call->body, name);
	int target_code = p9_get_string(&call->body, target, sizeof(target));
	const struct p9_new_entry entry = {
		.name = name, .target = target, .mode = S_IFLNK, .gid = p9_get_u32(&call->body)};

	if (code < 0 || target_code < 0 || call->body.bad)
		return code < 0 ? code : target_code < 0 ? target_code : -EINVAL;
	return p9_make_entry(call, &entry);
}

static int p9_link_node(struct p9_call *call, const struct p9_node *node, const char *name)
{
	char proc_name[P9_PROC_NAME_SIZE];
	int path_fd = p9_open_path(call->server, node);
	int folder_fd = path_fd < 0 ? path_fd : p9_open_folder(call->server, call->fid->node);
	int code = folder_fd;

	if (folder_fd >= 0) {
		p9_proc_name(path_fd, proc_name);
		/* Follows the one link in /proc, to the inode itself. */
		code = linkat(call->server->proc_fd, proc_name, folder_fd, name, AT_SYMLINK_FOLLOW) < 0
			       ? -errno
			       : 0;
		close(folder_fd);
	}
	if (path_fd >= 0)
		close(path_fd);
	return code;
}

int p9_link(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1];
	uint32_t number = p9_get_u32(&call->body);
	int code = p9_get_entry(&call->body, name);
	struct p9_node *node;

	if (code < 0 || call->body.bad)
		return code < 0 ? code : -EINVAL;
	node = p9_fid_node(call->server, number);
	if (!node)
		return -EBADF;
	code = p9_link_node(call, node, name);
	p9_node_release(call->server, node);
	return code;
}

/* server.names is held for writing, so that node and host change as one. */
static int p9_rename_entry(struct p9_server *server, struct p9_node_move *move)
{
	int from_fd = p9_open_folder(server, move->from);
	int to_fd = from_fd < 0 ? from_fd : p9_open_folder(server, move->to);
	int code = to_fd;

	if (to_fd >= 0) {
		move->kept_name = strdup(move->to_name);
		if (!move->kept_name)
			code = -ENOMEM;
		else
			code = renameat(from_fd, move->from_name, to_fd, move->to_name) < 0 ? -errno : 0;
		if (code == 0)
			p9_node_moved(server, move);
		free(move->kept_name);
		close(to_fd);
	}
	if (from_fd >= 0)
		close(from_fd);
	return code;
}

/* The new folder is the fid of this number. */
static int p9_move(struct p9_call *call, struct p9_node_move *move, uint32_t number)
{
	int code;

	move->to = p9_fid_node(call->server, number);
	if (!move->to)
		return -EBADF;
	code = p9_rename_entry(call->server, move);
	p9_node_release(call->server, move->to);
	return code;
}

int p9_rename(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1];
	uint32_t number = p9_get_u32(&call->body);
	int code = p9_get_entry(&call->body, name);
	const struct p9_node *node = call->fid->node;
	struct p9_node_move move = {.from = node->parent, .from_name = node->name, .to_name = name};

	if (code < 0 || call->body.bad)
		return code < 0 ? code : -EINVAL;
	if (!node->parent || node->gone)
		return node->gone ? -ENOENT : -EBUSY;
	return p9_move(call, &move, number);
}

int p9_renameat(struct p9_call *call)
{
	char from_name[P9_NAME_MAX + 1], to_name[P9_NAME_MAX + 1];
	int from_code = p9_get_entry(&call->body, from_name);
	uint32_t number = p9_get_u32(&call->body);
	int code = p9_get_entry(&call->body, to_name);
	struct p9_node_move move = {.from = call->fid->node, .from_name = from_name, .to_name = to_name};

	if (from_code < 0 || code < 0 || call->body.bad)
		return from_code < 0 ? from_code : code < 0 ? code : -EINVAL;
	return p9_move(call, &move, number);
}

static int p9_unlink(struct p9_server *server, struct p9_node *folder, const char *name, int flags)
{
	int folder_fd = p9_open_folder(server, folder), code;

	if (folder_fd < 0)
		return folder_fd;
	code = unlinkat(folder_fd, name, flags) < 0 ? -errno : 0;
	close(folder_fd);
	if (code == 0)
		p9_node_forget(server, folder, name);
	return code;
}

int p9_unlinkat(struct p9_call *call)
{
	char name[P9_NAME_MAX + 1];
	int code = p9_get_entry(&call->body, name);
	uint32_t flags = p9_get_u32(&call->body);

	if (code < 0 || call->body.bad)
		return code < 0 ? code : -EINVAL;
	if (flags & ~P9_REMOVE_FOLDER)
		return -EINVAL;
	return p9_unlink(call->server, call->fid->node, name, flags ? AT_REMOVEDIR : 0);
}

static int p9_remove_node(struct p9_server *server, const struct p9_node *node)
{
	int code;

	if (!node->parent || node->gone)
		return node->gone ? -ENOENT : -EBUSY;
	code = p9_unlink(server, node->parent, node->name, 0);
	return code == -EISDIR ? p9_unlink(server, node->parent, node->name, AT_REMOVEDIR) : code;
}

/* The fid is gone in any case, even where the file could not be removed. */
int p9_remove(struct p9_call *call)
{
	int code = call->server->readonly ? -EROFS : p9_remove_node(call->server, call->fid->node);

	p9_fid_remove(call->server, call->fid);
	return code;
}
