/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's handles: a table by number, and the descriptors behind those that are open. Linux keeps files
 * open for as long as it caches them, many thousands at times, so a descriptor that is idle may be taken back
 * for another file and is opened again when it is wanted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/backend/p9/p9.h"

static struct p9_fid **p9_fid_bucket(struct p9_server *server, uint32_t number)
{
	return &server->fid[(number * 0x9e3779b1u) >> 18];
}
_Static_assert(P9_FID_BUCKETS == 1u << (32 - 18), "the hash gives 14 bits");

/* server.lock is held. */
static struct p9_fid *p9_fid_find(struct p9_server *server, uint32_t number)
{
	struct p9_fid *fid = *p9_fid_bucket(server, number);

	while (fid && fid->number != number)
		fid = fid->next;
	return fid;
}

/* server.lock is held for the next four. */
static bool p9_fid_is_listed(const struct p9_server *server, const struct p9_fid *fid)
{
	return fid->older || fid->newer || server->oldest_file == fid;
}

static void p9_fid_unlist(struct p9_server *server, struct p9_fid *fid)
{
	if (!p9_fid_is_listed(server, fid))
		return;
	*(fid->older ? &fid->older->newer : &server->oldest_file) = fid->newer;
	*(fid->newer ? &fid->newer->older : &server->newest_file) = fid->older;
	fid->older = fid->newer = NULL;
}

static void p9_fid_list(struct p9_server *server, struct p9_fid *fid)
{
	fid->older = server->newest_file;
	*(fid->older ? &fid->older->newer : &server->oldest_file) = fid;
	server->newest_file = fid;
}

static void p9_fid_close(struct p9_server *server, struct p9_fid *fid)
{
	p9_fid_unlist(server, fid);
	if (fid->fd < 0)
		return;
	close(fid->fd);
	fid->fd = -1;
	server->fd_count--;
}

/* Nobody else knows the fid any more. server.lock is held. */
static void p9_fid_free(struct p9_server *server, struct p9_fid *fid)
{
	p9_fid_close(server, fid);
	if (fid->kind == P9_FID_XATTR_READ || fid->kind == P9_FID_XATTR_WRITE)
		server->xattr_count--;
	server->fid_count--;
	pthread_mutex_destroy(&fid->lock);
	free(fid->xattr);
	free(fid);
}

static void p9_fid_unref(struct p9_server *server, struct p9_fid *fid)
{
	struct p9_node *node = NULL;

	pthread_mutex_lock(&server->lock);
	if (--fid->refs == 0) {
		node = fid->node;
		p9_fid_free(server, fid);
	}
	pthread_mutex_unlock(&server->lock);
	if (node)
		p9_node_release(server, node);
}

struct p9_fid *p9_fid_take(struct p9_server *server, uint32_t number)
{
	struct p9_fid *fid;

	pthread_mutex_lock(&server->lock);
	fid = p9_fid_find(server, number);
	if (fid)
		fid->refs++;
	pthread_mutex_unlock(&server->lock);
	if (fid)
		pthread_mutex_lock(&fid->lock);
	return fid;
}

void p9_fid_drop(struct p9_server *server, struct p9_fid *fid)
{
	pthread_mutex_unlock(&fid->lock);
	p9_fid_unref(server, fid);
}

/* server.lock is held. */
static int p9_fid_insert(struct p9_server *server, const struct p9_fid *template)
{
	struct p9_fid **bucket = p9_fid_bucket(server, template->number), *fid;

	if (template->number == P9_NO_ID || p9_fid_find(server, template->number))
		return -EBADF;
	if (server->fid_count == P9_FIDS_MAX)
		return -EMFILE;
	fid = malloc(sizeof(*fid));
	if (!fid)
		return -ENOMEM;
	*fid = *template;
	pthread_mutex_init(&fid->lock, NULL);
	fid->next = *bucket;
	*bucket = fid;
	server->fid_count++;
	return 0;
}

int p9_fid_add(struct p9_server *server, uint32_t number, struct p9_node *node, uint32_t uid)
{
	const struct p9_fid template = {.number = number, .uid = uid, .node = node, .fd = -1, .refs = 1};
	int code;

	pthread_mutex_lock(&server->lock);
	code = p9_fid_insert(server, &template);
	pthread_mutex_unlock(&server->lock);
	if (code < 0)
		p9_node_release(server, node);
	return code;
}

int p9_fid_add_xattr(struct p9_server *server, const struct p9_fid *of, uint32_t number, uint8_t *value,
		     uint32_t size)
{
	const struct p9_fid template = {
		.number = number,
		.uid = of->uid,
		.node = p9_node_hold(server, of->node),
		.fd = -1,
		.refs = 1,
		.kind = P9_FID_XATTR_READ,
		.xattr = value,
		.xattr_size = size,
	};
	int code = -EMFILE;

	pthread_mutex_lock(&server->lock);
	if (server->xattr_count < P9_XATTRS_MAX)
		code = p9_fid_insert(server, &template);
	server->xattr_count += code == 0;
	pthread_mutex_unlock(&server->lock);
	if (code < 0) {
		p9_node_release(server, template.node);
		free(value);
	}
	return code;
}

bool p9_fid_remove(struct p9_server *server, struct p9_fid *fid)
{
	struct p9_fid **link = p9_fid_bucket(server, fid->number);
	bool found;

	pthread_mutex_lock(&server->lock);
	while (*link && *link != fid)
		link = &(*link)->next;
	found = *link == fid;
	if (found) {
		*link = fid->next;
		fid->refs--; /* the caller's keeps it */
	}
	pthread_mutex_unlock(&server->lock);
	return found;
}

void p9_fid_remove_all(struct p9_server *server)
{
	for (size_t i = 0; i < P9_FID_BUCKETS; i++) {
		struct p9_fid *fid;

		pthread_mutex_lock(&server->lock);
		fid = server->fid[i];
		server->fid[i] = NULL;
		pthread_mutex_unlock(&server->lock);
		while (fid) {
			struct p9_fid *next = fid->next;

			p9_fid_unref(server, fid);
			fid = next;
		}
	}
}

struct p9_node *p9_fid_node(struct p9_server *server, uint32_t number)
{
	struct p9_node *node = NULL;
	struct p9_fid *fid;

	pthread_mutex_lock(&server->lock);
	fid = p9_fid_find(server, number);
	if (fid) {
		node = fid->node;
		node->refs++;
	}
	pthread_mutex_unlock(&server->lock);
	return node;
}

void p9_fid_move(struct p9_server *server, struct p9_fid *fid, struct p9_node *node)
{
	struct p9_node *old;

	pthread_mutex_lock(&server->lock);
	old = fid->node;
	fid->node = node;
	pthread_mutex_unlock(&server->lock);
	p9_node_release(server, old);
}

/*
 * Takes the descriptor of the file that was idle longest, if one can spare it. The lock of another fid may
 * only be tried here: its owner may wait for server.lock, which is held.
 */
static bool p9_fid_reclaim(struct p9_server *server)
{
	for (struct p9_fid *fid = server->oldest_file; fid; fid = fid->newer) {
		if (pthread_mutex_trylock(&fid->lock) != 0)
			continue;
		if (!fid->keeps_fd && !fid->node->gone) {
			p9_fid_close(server, fid);
			pthread_mutex_unlock(&fid->lock);
			return true;
		}
		pthread_mutex_unlock(&fid->lock);
	}
	return false;
}

int p9_fid_set_fd(struct p9_server *server, struct p9_fid *fid, int fd, int flags)
{
	struct stat info;
	int code = fstat(fd, &info) < 0 ? -errno : 0;

	pthread_mutex_lock(&server->lock);
	if (code == 0 && server->fd_count >= server->fds_max && !p9_fid_reclaim(server))
		code = -EMFILE;
	if (code == 0) {
		server->fd_count++;
		fid->fd = fd;
		fid->kind = S_ISDIR(info.st_mode) ? P9_FID_FOLDER : P9_FID_FILE;
		fid->open_flags = flags & ~(O_CREAT | O_EXCL | O_TRUNC);
		fid->dev = info.st_dev;
		fid->ino = info.st_ino;
		/* Where a folder's descriptor stands in its entries would be lost. */
		if (fid->kind == P9_FID_FILE)
			p9_fid_list(server, fid);
	}
	pthread_mutex_unlock(&server->lock);
	if (code < 0)
		close(fd);
	return code;
}

/* The file had its descriptor taken back: the same file again, or none. */
static int p9_fid_reopen(struct p9_server *server, struct p9_fid *fid)
{
	struct stat info;
	int path_fd, fd, code;

	pthread_rwlock_rdlock(&server->names);
	path_fd = p9_open_path(server, fid->node);
	pthread_rwlock_unlock(&server->names);
	if (path_fd < 0)
		return path_fd;
	fd = p9_reopen(server, path_fd, fid->open_flags);
	close(path_fd);
	if (fd < 0)
		return fd;
	if (fstat(fd, &info) < 0 || info.st_dev != fid->dev || info.st_ino != fid->ino) {
		close(fd);
		return -ESTALE;
	}
	code = p9_fid_set_fd(server, fid, fd, fid->open_flags);
	return code < 0 ? code : fd;
}

int p9_fid_file(struct p9_server *server, struct p9_fid *fid)
{
	if (!p9_fid_is_open(fid))
		return -EBADF;
	if (fid->fd < 0)
		return p9_fid_reopen(server, fid);
	if (fid->kind == P9_FID_FILE) {
		pthread_mutex_lock(&server->lock);
		p9_fid_unlist(server, fid);
		p9_fid_list(server, fid);
		pthread_mutex_unlock(&server->lock);
	}
	return fid->fd;
}
