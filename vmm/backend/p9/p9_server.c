/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 9P2000.L server for one client: takes requests apart, finds the row that answers, puts replies together.
 * The session (version, attach, walk, clunk, flush) is here; what works on files is in the files beside.
 * Knows no rings.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vmm/backend/p9/p9.h"
#include "vmm/base/err.h"

#define P9_VERSION "9P2000.L"

/* What the caller of an answer sees to. */
#define P9_FID     0x01u /* the first field is a fid, which must exist: call->fid, locked */
#define P9_RESOLVE 0x02u /* names must not change meanwhile */
#define P9_RENAME  0x04u /* names change */
#define P9_CHANGE  0x08u /* not on a read-only share */

struct p9_row {
	p9_answer_fn *answer;
	unsigned needs;
};

static p9_answer_fn p9_version, p9_auth, p9_flush;

static const struct p9_row p9_rows[256] = {
	[P9_TVERSION] = {p9_version, 0},
	[P9_TAUTH] = {p9_auth, 0},
	[P9_TATTACH] = {p9_attach, P9_RESOLVE},
	[P9_TFLUSH] = {p9_flush, 0},
	[P9_TWALK] = {p9_walk, P9_FID | P9_RESOLVE},
	[P9_TCLUNK] = {p9_clunk, P9_FID | P9_RESOLVE},
	[P9_TLOPEN] = {p9_lopen, P9_FID | P9_RESOLVE},
	[P9_TLCREATE] = {p9_lcreate, P9_FID | P9_RESOLVE | P9_CHANGE},
	[P9_TREAD] = {p9_read, P9_FID},
	[P9_TWRITE] = {p9_write, P9_FID | P9_CHANGE},
	[P9_TFSYNC] = {p9_fsync, P9_FID},
	[P9_TLOCK] = {p9_lock, P9_FID},
	[P9_TGETLOCK] = {p9_getlock, P9_FID},
	[P9_TREADDIR] = {p9_readdir, P9_FID},
	[P9_TMKDIR] = {p9_mkdir, P9_FID | P9_RESOLVE | P9_CHANGE},
	[P9_TMKNOD] = {p9_mknod, P9_FID | P9_RESOLVE | P9_CHANGE},
	[P9_TSYMLINK] = {p9_symlink, P9_FID | P9_RESOLVE | P9_CHANGE},
	[P9_TLINK] = {p9_link, P9_FID | P9_RESOLVE | P9_CHANGE},
	[P9_TRENAME] = {p9_rename, P9_FID | P9_RENAME | P9_CHANGE},
	[P9_TRENAMEAT] = {p9_renameat, P9_FID | P9_RENAME | P9_CHANGE},
	[P9_TUNLINKAT] = {p9_unlinkat, P9_FID | P9_RENAME | P9_CHANGE},
	[P9_TREMOVE] = {p9_remove, P9_FID | P9_RENAME},
	[P9_TGETATTR] = {p9_getattr, P9_FID | P9_RESOLVE},
	[P9_TSETATTR] = {p9_setattr, P9_FID | P9_RESOLVE | P9_CHANGE},
	[P9_TSTATFS] = {p9_statfs, P9_FID | P9_RESOLVE},
	[P9_TREADLINK] = {p9_readlink, P9_FID | P9_RESOLVE},
	[P9_TXATTRWALK] = {p9_xattrwalk, P9_FID | P9_RESOLVE},
	[P9_TXATTRCREATE] = {p9_xattrcreate, P9_FID | P9_RESOLVE | P9_CHANGE},
};

/* Begins a session: what an earlier one had open is closed. */
static int p9_version(struct p9_call *call)
{
	char version[32];
	uint32_t msize = p9_get_u32(&call->body);
	int code = p9_get_string(&call->body, version, sizeof(version));
	bool known = code == 0 && strcmp(version, P9_VERSION) == 0 && msize >= P9_MSIZE_MIN;

	if (call->body.bad)
		return -EINVAL;
	p9_fid_remove_all(call->server);
	msize = msize < P9_MSIZE_MAX ? msize : P9_MSIZE_MAX;
	if (known)
		atomic_store(&call->server->msize, msize);
	p9_put_u32(&call->reply, msize);
	p9_put_string(&call->reply, known ? P9_VERSION : "unknown", strlen(known ? P9_VERSION : "unknown"));
	return 0;
}

/* Who may use the folder was decided where the machine was configured. */
static int p9_auth(struct p9_call *call)
{
	return -EOPNOTSUPP;
}

int p9_attach(struct p9_call *call)
{
	struct p9_server *server = call->server;
	char user[P9_NAME_MAX + 1], folder[P9_NAME_MAX + 1];
	uint32_t number = p9_get_u32(&call->body);
	uint32_t auth_number = p9_get_u32(&call->body);
	int user_code = p9_get_string(&call->body, user, sizeof(user));
	int code = p9_get_string(&call->body, folder, sizeof(folder));
	uint32_t uid = p9_get_u32(&call->body);
	struct p9_qid qid;
	struct stat info;

	if (user_code < 0 || code < 0 || call->body.bad)
		return -EINVAL;
	if (auth_number != P9_NO_ID)
		return -EBADF;
	if (folder[0] && strcmp(folder, "/") != 0)
		return -ENOENT; /* one tag, one folder */
	if (fstat(server->root_fd, &info) < 0)
		return -errno;
	code = p9_fid_add(server, number, p9_node_hold(server, server->root), uid);
	if (code < 0)
		return code;
	qid = p9_qid_of(server, &info);
	p9_put_qid(&call->reply, &qid);
	return 0;
}

/* A walk under way: the node reached, and its descriptor when the next step needs one. */
struct p9_step {
	struct p9_node *node; /* referenced */
	int folder_fd;        /* O_PATH of node, or -1: open it by its path */
};

static int p9_step_folder(struct p9_server *server, struct p9_step *step)
{
	if (step->folder_fd < 0)
		step->folder_fd = p9_open_folder(server, step->node);
	return step->folder_fd < 0 ? step->folder_fd : 0;
}

static void p9_step_to(struct p9_server *server, struct p9_step *step, struct p9_node *node)
{
	if (step->folder_fd >= 0)
		close(step->folder_fd);
	p9_node_release(server, step->node);
	*step = (struct p9_step){.node = node, .folder_fd = -1};
}

static int p9_step_stay(struct p9_server *server, struct p9_step *step, struct stat *info)
{
	int code = p9_step_folder(server, step);

	return code < 0 ? code : fstat(step->folder_fd, info) < 0 ? -errno : 0;
}

/* ".." is the node above, and of the root itself: it is never asked of the host. */
static int p9_step_up(struct p9_server *server, struct p9_step *step, struct stat *info)
{
	struct p9_node *above = step->node->parent ? step->node->parent : step->node;
	int code = p9_step_folder(server, step);

	if (code < 0)
		return code;
	p9_step_to(server, step, p9_node_hold(server, above));
	return p9_step_stay(server, step, info);
}

static int p9_step_down(struct p9_server *server, struct p9_step *step, const char *name, struct stat *info)
{
	struct p9_node *child;
	int code = p9_step_folder(server, step);

	if (code < 0)
		return code;
	if (fstatat(step->folder_fd, name, info, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	child = p9_node_child(server, step->node, name);
	if (!child)
		return -ENOMEM;
	p9_step_to(server, step, child);
	return 0;
}

/* Walks as far as it goes, at most count names; returns how many, or -errno when not even the first. */
static int p9_walk_names(struct p9_call *call, struct p9_step *step, const char (*names)[P9_NAME_MAX + 1],
			 unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct p9_qid qid;
		struct stat info;
		int code;

		if (strcmp(names[i], ".") == 0)
			code = p9_step_stay(call->server, step, &info);
		else if (strcmp(names[i], "..") == 0)
			code = p9_step_up(call->server, step, &info);
		else
			code = p9_step_down(call->server, step, names[i], &info);
		if (code < 0)
			return i > 0 ? (int)i : code;
		qid = p9_qid_of(call->server, &info);
		p9_put_qid(&call->reply, &qid);
	}
	return (int)count;
}

static int p9_walk_arrive(struct p9_call *call, uint32_t new_number, struct p9_node *node)
{
	if (new_number != call->fid->number)
		return p9_fid_add(call->server, new_number, node, call->fid->uid);
	p9_fid_move(call->server, call->fid, node);
	return 0;
}

static int p9_walk_along(struct p9_call *call, uint32_t new_number, const char (*names)[P9_NAME_MAX + 1],
			 unsigned count)
{
	struct p9_step step = {.node = p9_node_hold(call->server, call->fid->node), .folder_fd = -1};
	struct p9_writer count_field = call->reply;
	int walked, code = 0;

	p9_put_u16(&call->reply, 0);
	walked = p9_walk_names(call, &step, names, count);
	if (step.folder_fd >= 0)
		close(step.folder_fd);
	if (walked == (int)count) {
		code = p9_walk_arrive(call, new_number, step.node);
	} else {
		p9_node_release(call->server, step.node);
		code = walked < 0 ? walked : 0;
	}
	p9_put_u16(&count_field, (uint16_t)walked);
	return code;
}

int p9_walk(struct p9_call *call)
{
	char names[P9_WALK_MAX][P9_NAME_MAX + 1];
	uint32_t new_number = p9_get_u32(&call->body);
	unsigned count = p9_get_u16(&call->body);

	if (count > P9_WALK_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		int code = p9_get_name(&call->body, names[i]);

		/* A name that cannot be is one that is not there, which ends a walk where it got to. */
		if (code < 0)
			return code == -ENAMETOOLONG ? code : -ENOENT;
	}
	if (call->body.bad)
		return -EINVAL;
	/* What is open stays what it is, but other fids may start there. */
	if (call->fid->kind != P9_FID_NAME && new_number == call->fid->number)
		return -EBUSY;
	return p9_walk_along(call, new_number, (const char(*)[P9_NAME_MAX + 1]) names, count);
}

int p9_clunk(struct p9_call *call)
{
	int code = call->fid->kind == P9_FID_XATTR_WRITE ? p9_xattr_commit(call) : 0;

	return p9_fid_remove(call->server, call->fid) ? code : -EBADF;
}

/* The tag of a request as it arrives, or P9_NO_TAG. */
static uint16_t p9_tag_of(const struct share_request *request)
{
	uint8_t head[P9_HEADER_SIZE];

	if (p9_iov_copy_out(request->in, request->in_count, head, sizeof(head)) < sizeof(head))
		return P9_NO_TAG;
	return (uint16_t)(head[5] | head[6] << 8);
}

static void p9_begin(struct share *share, struct share_request *request)
{
	struct p9_server *server = (struct p9_server *)share;

	request->tag = p9_tag_of(request);
	pthread_mutex_lock(&server->lock);
	request->newer = NULL;
	request->older = server->newest;
	*(request->older ? &request->older->newer : &server->oldest) = request;
	server->newest = request;
	pthread_mutex_unlock(&server->lock);
}

static void p9_end(struct p9_server *server, struct share_request *request)
{
	pthread_mutex_lock(&server->lock);
	*(request->older ? &request->older->newer : &server->oldest) = request->newer;
	*(request->newer ? &request->newer->older : &server->newest) = request->older;
	if (server->flushers > 0)
		pthread_cond_broadcast(&server->ended);
	pthread_mutex_unlock(&server->lock);
}

/* server.lock is held. */
static bool p9_is_under_way(const struct share_request *flush, uint16_t tag)
{
	for (const struct share_request *request = flush->older; request; request = request->older) {
		if (request->tag == tag)
			return true;
	}
	return false;
}

/*
 * The old request's answer must come first. It waits only for requests that arrived before it, of which the
 * oldest is not a flush that waits: there is no circle, and as workers take requests in order, no dead end.
 */
static int p9_flush(struct p9_call *call)
{
	struct p9_server *server = call->server;
	uint16_t tag = p9_get_u16(&call->body);

	if (call->body.bad)
		return -EINVAL;
	pthread_mutex_lock(&server->lock);
	server->flushers++;
	while (p9_is_under_way(call->request, tag))
		pthread_cond_wait(&server->ended, &server->lock);
	server->flushers--;
	pthread_mutex_unlock(&server->lock);
	return 0;
}

static int p9_answer_locked(struct p9_call *call, const struct p9_row *row)
{
	struct p9_server *server = call->server;
	int code;

	if (row->needs & P9_RENAME)
		pthread_rwlock_wrlock(&server->names);
	else if (row->needs & P9_RESOLVE)
		pthread_rwlock_rdlock(&server->names);
	code = row->answer(call);
	if (row->needs & (P9_RENAME | P9_RESOLVE))
		pthread_rwlock_unlock(&server->names);
	return code;
}

static int p9_answer(struct p9_call *call)
{
	const struct p9_row *row = &p9_rows[call->type];
	uint32_t number;
	int code;

	if (!row->answer)
		return -EOPNOTSUPP;
	if (row->needs & P9_CHANGE && call->server->readonly)
		return -EROFS;
	if (!(row->needs & P9_FID))
		return p9_answer_locked(call, row);
	number = p9_get_u32(&call->body);
	if (call->body.bad)
		return -EINVAL;
	call->fid = p9_fid_take(call->server, number);
	if (!call->fid)
		return -EBADF;
	code = p9_answer_locked(call, row);
	p9_fid_drop(call->server, call->fid);
	return code;
}

/* Takes the header apart. 0, or -errno. */
static int p9_open_message(struct p9_call *call, uint8_t *body, size_t copied)
{
	struct p9_reader *reader = &call->body;
	size_t there = p9_iov_size(call->request->in, call->request->in_count);

	*reader = (struct p9_reader){.at = body, .end = body + copied};
	call->size = p9_get_u32(reader);
	call->type = p9_get_u8(reader);
	call->tag = p9_get_u16(reader);
	if (call->size < P9_HEADER_SIZE || call->size > there)
		return -EINVAL;
	if (call->size > atomic_load(&call->server->msize))
		return -EMSGSIZE;
	if (call->size < copied)
		reader->end = body + call->size;
	else if (call->size > copied && call->type != P9_TWRITE)
		return -EMSGSIZE;
	return 0;
}

/* Header, and where the answer failed the message that says so instead. */
static size_t p9_close_message(struct p9_call *call, uint8_t *reply, int code)
{
	struct p9_writer head = {.at = reply, .end = reply + P9_HEADER_SIZE};
	size_t local;

	if (code == 0 && call->reply.full)
		code = -EMSGSIZE;
	if (code < 0) {
		call->reply.at = reply + P9_HEADER_SIZE;
		call->reply_scattered = 0;
		call->reply.full = false;
		p9_put_u32(&call->reply, (uint32_t)-code);
		if (call->reply.full)
			return 0; /* not even room for an error */
	}
	local = (size_t)(call->reply.at - reply);
	p9_put_u32(&head, (uint32_t)(local + call->reply_scattered));
	p9_put_u8(&head, code < 0 ? P9_RLERROR : (uint8_t)(call->type + 1));
	p9_put_u16(&head, call->tag);
	p9_iov_copy_in(call->request->out, call->request->out_count, reply, local);
	return local + call->reply_scattered;
}

static size_t p9_handle(struct share *share, struct share_request *request)
{
	struct p9_server *server = (struct p9_server *)share;
	uint8_t body[P9_BODY_MAX], reply[P9_REPLY_MAX];
	struct p9_call call = {.server = server, .request = request};
	size_t msize = atomic_load(&server->msize), copied, size = 0;

	copied = p9_iov_copy_out(request->in, request->in_count, body, sizeof(body));
	call.room = p9_iov_size(request->out, request->out_count);
	call.room = call.room < msize ? call.room : msize;
	if (copied >= P9_HEADER_SIZE && call.room >= P9_HEADER_SIZE) {
		int code;

		call.reply.at = reply + P9_HEADER_SIZE;
		call.reply.end = reply + (call.room < sizeof(reply) ? call.room : sizeof(reply));
		code = p9_open_message(&call, body, copied);
		if (code == 0)
			code = p9_answer(&call);
		size = p9_close_message(&call, reply, code);
	}
	p9_end(server, request);
	return size;
}

/* The rest works on the page cache as a rule. */
static bool p9_may_wait(struct share *share, const struct share_request *request)
{
	uint8_t head[P9_HEADER_SIZE];

	return p9_iov_copy_out(request->in, request->in_count, head, sizeof(head)) == sizeof(head) &&
	       head[4] == P9_TFSYNC;
}

static void p9_reset(struct share *share)
{
	struct p9_server *server = (struct p9_server *)share;

	p9_fid_remove_all(server);
	atomic_store(&server->msize, P9_MSIZE_MAX);
}

static void p9_destroy(struct share *share)
{
	struct p9_server *server = (struct p9_server *)share;

	p9_fid_remove_all(server);
	free(server->root);
	if (server->root_fd >= 0)
		close(server->root_fd);
	if (server->proc_fd >= 0)
		close(server->proc_fd);
	pthread_cond_destroy(&server->ended);
	pthread_mutex_destroy(&server->lock);
	pthread_rwlock_destroy(&server->names);
	free(server);
}

static const struct share_ops p9_ops = {
	.begin = p9_begin,
	.handle = p9_handle,
	.may_wait = p9_may_wait,
	.reset = p9_reset,
	.destroy = p9_destroy,
};

/* Half of what the process may have, so that disks, sockets and other shares get theirs. */
static unsigned p9_fds_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / 2 < 16)
		return 16;
	return limit.rlim_cur / 2 < P9_FIDS_MAX ? (unsigned)(limit.rlim_cur / 2) : P9_FIDS_MAX;
}

static int p9_open_folders(struct p9_server *server, const char *path, struct err *err)
{
	struct stat info;
	int probe;

	server->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (server->proc_fd < 0)
		return err_set_errno(err, -errno, "a share needs /proc: /proc/self/fd");
	server->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (server->root_fd < 0 || fstat(server->root_fd, &info) < 0)
		return err_set_errno(err, -errno, "cannot share %s", path);
	server->root_dev = info.st_dev;
	probe = p9_open_entry(server->root_fd, ".", O_PATH, 0);
	if (probe < 0)
		return err_set_errno(err, probe, "cannot share %s: openat2", path);
	close(probe);
	return 0;
}

struct share *share_open_9p(const struct share_config *config, struct err *err)
{
	struct p9_server *server = calloc(1, sizeof(*server));

	if (!server) {
		err_set(err, -ENOMEM, "no memory for a share");
		return NULL;
	}
	server->share.ops = &p9_ops;
	server->readonly = config->readonly;
	server->is_root = geteuid() == 0;
	server->umask = umask(0);
	umask(server->umask);
	server->fds_max = p9_fds_limit();
	server->root_fd = server->proc_fd = -1;
	atomic_init(&server->msize, P9_MSIZE_MAX);
	pthread_rwlock_init(&server->names, NULL);
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->ended, NULL);
	server->root = calloc(1, sizeof(*server->root));
	if (server->root)
		server->root->refs = server->node_count = 1;
	else
		err_set(err, -ENOMEM, "no memory for a share");
	if (!server->root || p9_open_folders(server, config->path, err) < 0) {
		p9_destroy(&server->share);
		return NULL;
	}
	return &server->share;
}
