/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the 9P server, for the files of this folder only: p9_server.c takes messages apart and calls,
 * p9_fid.c keeps what the guest has open, p9_node.c the names, p9_path.c turns them into descriptors, and
 * p9_file.c, p9_dir.c, p9_attr.c, p9_xattr.c answer.
 *
 * Confinement. The guest never gives a path: only names of one component, which hang as nodes in a tree below
 * the shared folder. p9_path.c alone makes paths of them, and opens them by openat2(2) with RESOLVE_BENEATH,
 * RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS from the folder's descriptor, always anew: neither a symbolic
 * link, nor "..", nor a rename under our feet leads out of the folder. All else works on the descriptor.
 *
 * Locks, outermost first: fid.lock (everything of one fid), server.names (a node's place in the tree against
 * its use), server.lock (tables, counts, references; a leaf).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "vmm/backend/p9/p9_wire.h"
#include "vmm/core/share.h"

/* Largest message: Linux asks for 500 KiB at most over virtio. Bounds what one read brings into the page
 * cache. */
#define P9_MSIZE_MAX (1u << 20)
/* Smallest: a reply to readlink or walk always fits. Linux refuses less, too. */
#define P9_MSIZE_MIN 4096u
/* Copied of a request: the longest but Twrite, a Tsymlink with name and target, has below 5 KiB. */
#define P9_BODY_MAX 8192u
/* Of a reply that is put together here; bounds the folder entries of one Treaddir. */
#define P9_REPLY_MAX (64u << 10)
/* What a guest may hold: Linux keeps a fid for every cached name, a kernel tree has 90 000. Some 100 bytes
 * each. */
#define P9_FIDS_MAX  (1u << 18)
#define P9_NODES_MAX (2 * P9_FIDS_MAX) /* and the folders above them; some 100 bytes and the name each */
/* Extended attributes under way, each with a value of 64 KiB (the host's own XATTR_SIZE_MAX). */
#define P9_XATTRS_MAX     64u
#define P9_XATTR_SIZE_MAX (64u << 10)
/* Pieces of guest memory in one read or write: 500 KiB in pages. More are served by a shorter answer. */
#define P9_PIECES_MAX 256

#define P9_FID_BUCKETS  (1u << 14)
#define P9_NODE_BUCKETS (1u << 16)

/* A name in a folder; the root has neither parent nor name. A reference for each fid, child and call. */
struct p9_node {
	struct p9_node *next;   /* in its bucket */
	struct p9_node *parent; /* referenced; changes under names (write) and lock */
	char *name;             /* owned; likewise */
	unsigned refs;          /* under lock */
	bool gone;              /* removed or replaced: in no bucket; changes under names (write) and lock */
};

enum p9_fid_kind {
	P9_FID_NAME, /* only walked to */
	P9_FID_FILE,
	P9_FID_FOLDER,
	P9_FID_XATTR_READ,
	P9_FID_XATTR_WRITE,
};

struct p9_fid {
	struct p9_fid *next; /* in its bucket; under server.lock */
	uint32_t number;
	uint32_t uid;         /* whose files it makes: n_uname of the attach; P9_NO_ID: the server's own */
	unsigned refs;        /* table and calls; under server.lock */
	struct p9_node *node; /* referenced; changes under lock and server.lock */
	pthread_mutex_t lock; /* guards all below, and is held while a call works with the fid */
	enum p9_fid_kind kind;
	int fd;         /* FILE, FOLDER; -1: none, or taken back for want of descriptors, see p9_fid_file */
	int open_flags; /* to open it again */
	dev_t dev;      /* what was opened */
	ino_t ino;
	bool keeps_fd; /* locks hang on the descriptor, or it has no name any more */
	uint8_t *xattr;
	uint32_t xattr_size, xattr_used;
	int xattr_flags;
	char xattr_name[P9_NAME_MAX + 1];
	struct p9_fid *older, *newer; /* files with a descriptor, by last use; under server.lock */
};

struct p9_server {
	struct share share;
	int root_fd; /* O_PATH */
	int proc_fd; /* /proc/self/fd: reaches the very inode that an O_PATH descriptor holds */
	bool readonly;
	bool is_root;     /* may give files away */
	mode_t umask;     /* the process's, which mkdir and the like would apply to the guest's mode */
	dev_t root_dev;   /* numbers of inodes elsewhere are mixed with their device's */
	unsigned fds_max; /* descriptors that this server keeps open for the guest */
	_Atomic uint32_t msize;

	pthread_rwlock_t names;
	pthread_mutex_t lock;
	pthread_cond_t ended;         /* with lock: a call has been answered and somebody flushes */
	struct share_request *oldest; /* begun and not yet answered, in order of arrival; under lock */
	struct share_request *newest;
	unsigned flushers;
	struct p9_node *root;
	struct p9_fid *oldest_file, *newest_file;
	unsigned fid_count, node_count, fd_count, xattr_count;
	struct p9_fid *fid[P9_FID_BUCKETS];
	struct p9_node *node[P9_NODE_BUCKETS];
};

/* One message being answered. */
struct p9_call {
	struct p9_server *server;
	struct share_request *request;
	uint8_t type;
	uint16_t tag;
	uint32_t size;          /* of the message, as it says itself; not more than there is */
	struct p9_reader body;  /* behind the header, or behind the fid of a row that takes one */
	struct p9_writer reply; /* behind the header */
	size_t reply_scattered; /* bytes of the reply already in the guest's buffers, behind `reply` */
	size_t room;            /* bytes that a reply may have, header included */
	struct p9_fid *fid;     /* of a row that takes one; its lock is held */
};

/* Answers: 0 with call->reply filled, or -errno. */
typedef int p9_answer_fn(struct p9_call *call);

p9_answer_fn p9_attach, p9_walk, p9_clunk;
p9_answer_fn p9_lopen, p9_lcreate, p9_read, p9_write, p9_fsync, p9_lock, p9_getlock;
p9_answer_fn p9_readdir, p9_mkdir, p9_mknod, p9_symlink, p9_link, p9_rename, p9_renameat, p9_unlinkat,
	p9_remove;
p9_answer_fn p9_getattr, p9_setattr, p9_statfs, p9_readlink;
p9_answer_fn p9_xattrwalk, p9_xattrcreate;
/* A fid that an attribute was written to is let go: sets the attribute. */
p9_answer_fn p9_xattr_commit;

/* p9_node.c. References are counted under server.lock, which these take themselves. */
struct p9_node *p9_node_hold(struct p9_server *server, struct p9_node *node);
void p9_node_release(struct p9_server *server, struct p9_node *node);
/* The entry `name` of `parent`, made when it is new: a reference, or NULL (no memory, or too many). */
struct p9_node *p9_node_child(struct p9_server *server, struct p9_node *parent, const char *name);
/* The entry has been removed, if there is a node for it. server.names is held for writing. */
void p9_node_forget(struct p9_server *server, struct p9_node *parent, const char *name);
/* What a rename will change, so that nothing can fail when it is done. */
struct p9_node_move {
	struct p9_node *from, *to; /* folders, borrowed */
	const char *from_name, *to_name;
	char *kept_name; /* owned, becomes the node's */
};
/* The entry has been renamed. server.names is held for writing. */
void p9_node_moved(struct p9_server *server, struct p9_node_move *move);

/* p9_path.c. server.names is held. All give a descriptor with O_CLOEXEC, or -errno. */
int p9_open_node(struct p9_server *server, const struct p9_node *node, int flags);
/* Any file: to look at, not to read. */
int p9_open_path(struct p9_server *server, const struct p9_node *node);
/* A folder to work in. */
int p9_open_folder(struct p9_server *server, const struct p9_node *node);
/* One name in an open folder. */
int p9_open_entry(int folder_fd, const char *name, int flags, mode_t mode);
/* Opens the inode of an O_PATH descriptor to work with its contents: regular files and folders only. */
int p9_reopen(struct p9_server *server, int path_fd, int flags);
/* Its name below server.proc_fd. */
void p9_proc_name(int fd, char name[16]);
#define P9_PROC_NAME_SIZE 16

/* p9_fid.c */
/* A reference to the fid with its lock held, or NULL. */
struct p9_fid *p9_fid_take(struct p9_server *server, uint32_t number);
void p9_fid_drop(struct p9_server *server, struct p9_fid *fid);
/* A new fid for node, whose reference it takes in any case: 0, -EBADF (in use), -EMFILE, -ENOMEM. */
int p9_fid_add(struct p9_server *server, uint32_t number, struct p9_node *node, uint32_t uid);
/* A new fid for an attribute's value of `of`, whose lock is held; takes the value in any case. */
int p9_fid_add_xattr(struct p9_server *server, const struct p9_fid *of, uint32_t number, uint8_t *value,
		     uint32_t size);
/* The guest lets go of it. The caller's reference stays; false if somebody else did before. */
bool p9_fid_remove(struct p9_server *server, struct p9_fid *fid);
/* The guest lets go of all. No call is under way but the caller's, or its session is over. */
void p9_fid_remove_all(struct p9_server *server);
/* The node of another fid of a message, referenced; NULL when there is no such fid. */
struct p9_node *p9_fid_node(struct p9_server *server, uint32_t number);
/* Points the fid elsewhere; takes the reference to node. fid.lock is held. */
void p9_fid_move(struct p9_server *server, struct p9_fid *fid, struct p9_node *node);
/* The fid has this descriptor now. fid.lock is held. 0, or -EMFILE or -errno with fd closed. */
int p9_fid_set_fd(struct p9_server *server, struct p9_fid *fid, int fd, int flags);
/* The descriptor of an open file or folder, opened again if it was taken back; or -errno. names not held. */
int p9_fid_file(struct p9_server *server, struct p9_fid *fid);

/* p9_attr.c */
struct p9_qid p9_qid_of(const struct p9_server *server, const struct stat *info);
uint64_t p9_qid_path(const struct p9_server *server, dev_t dev, ino_t ino);
/* Gives what was just made to the guest's user, where the server may. */
void p9_give_away(struct p9_server *server, int path_fd, uint32_t uid, uint32_t gid);

static inline bool p9_fid_is_open(const struct p9_fid *fid)
{
	return fid->kind == P9_FID_FILE || fid->kind == P9_FID_FOLDER;
}
