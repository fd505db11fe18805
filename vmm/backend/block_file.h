/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of block backends that work on one file: the open file, its queues, and the engines that do the
 * system calls. block_file.c opens, block_lock.c locks, block_queue.c takes requests apart into system calls,
 * block_uring.c and block_threads.c make those.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/log.h"
#include "vmm/core/blockdev.h"

struct block_bounce;
struct block_file_queue;
struct block_io;

/* An open image file. Begins with struct blockdev, so that a format that maps 1:1 is nothing more. */
struct block_file {
	struct blockdev blockdev;
	const struct block_engine_ops *engine;
	int fd;
	char *path; /* owned */
	_Atomic uint64_t size_bytes;
	bool is_device; /* a block device of the host */
	bool direct;    /* O_DIRECT */
	bool ignore_flush;
	bool guard_format; /* see struct blockdev_config */
	bool pin;
	uint32_t memory_align;      /* O_DIRECT: of buffers; else 1 */
	uint32_t offset_align;      /* O_DIRECT: of offsets and lengths; else 1 */
	_Atomic bool no_punch;      /* fallocate said that the file system cannot */
	_Atomic bool no_zero_range; /* the same */
};

/* Opens and locks; *file is zeroed and then filled. 0 or -errno; on failure nothing is left behind. */
int block_file_open(struct block_file *file, const struct blockdev_config *config, struct err *err);
void block_file_close(struct block_file *file);
int block_file_resize(struct block_file *file, uint64_t size_bytes, struct err *err);

/*
 * Locks the whole file against other writers (shared = false), or against any writer (true). The lock belongs
 * to the open file: it ends with the last descriptor, however the process ends. -EAGAIN with a message that
 * names the file, and the process where it can be found.
 */
int block_lock(int fd, const char *path, bool shared, struct err *err);
/* Before the close: io_uring lets go of a file only some time after. */
void block_unlock(int fd);

enum block_io_kind {
	BLOCK_IO_READ,
	BLOCK_IO_WRITE,
	BLOCK_IO_SYNC,
	BLOCK_IO_ALLOCATE, /* fallocate */
};

/* One system call of a request, and how far the request has got. Lies in block_request.backend. */
struct block_io {
	struct block_file_queue *queue;
	enum block_io_kind kind;
	int mode;          /* ALLOCATE: FALLOC_FL_*; WRITE: RWF_* */
	struct iovec *iov; /* READ, WRITE */
	unsigned iov_count;
	uint64_t offset_bytes;
	uint64_t size_bytes;
	int64_t result;      /* bytes, 0, or -errno */
	uint64_t done_bytes; /* of the request */
	struct block_bounce *bounce;
	struct iovec piece; /* of the bounce buffer, or of zeroes */
};

static_assert(sizeof(struct block_io) <= BLOCK_REQUEST_BACKEND_WORDS * sizeof(uint64_t),
	      "a request has room for the backend's part");

static inline struct block_io *block_request_io(struct block_request *request)
{
	return (struct block_io *)(void *)request->backend;
}

static inline struct block_request *block_io_request(struct block_io *io)
{
	return (struct block_request *)(void *)((char *)io - offsetof(struct block_request, backend));
}

/* Requests in order; linked by block_request.next. */
struct block_list {
	struct block_request *head;
	struct block_request *tail;
};

static inline void block_list_add(struct block_list *list, struct block_request *request)
{
	request->next = NULL;
	if (list->tail)
		list->tail->next = request;
	else
		list->head = request;
	list->tail = request;
}

static inline struct block_request *block_list_take(struct block_list *list)
{
	struct block_request *request = list->head;

	if (request) {
		list->head = request->next;
		if (!list->head)
			list->tail = NULL;
	}
	return request;
}

/*
 * Buffers for what cannot go from or to guest memory straight: unaligned O_DIRECT, and the guarded first
 * sector. Larger requests pass through one in pieces; when all are taken, requests wait.
 */
#define BLOCK_BOUNCE_BYTES (256u << 10)
#define BLOCK_BOUNCES      4

struct block_bounce {
	struct block_bounce *next_free;
	uint8_t *bytes; /* BLOCK_BOUNCE_BYTES, page-aligned */
};

struct block_file_queue {
	struct block_queue queue;
	struct block_file *file;
	unsigned plug_depth;
	unsigned in_flight;        /* submitted, complete not called */
	struct block_list done;    /* complete is to be called with io.result */
	struct block_list waiting; /* for a bounce buffer */
	struct block_bounce bounce[BLOCK_BOUNCES];
	struct block_bounce *free_bounce;
	struct log_limit log_limit; /* of what a guest can cause */
	uint8_t *memory;            /* one mapping: the bounce buffers */
	void *engine;               /* the engine's own, per queue */
};

/* How system calls are made. All on the queue's thread. */
struct block_engine_ops {
	const char *name;
	/* Sets queue->engine, watches descriptors on queue->queue.config.loop. */
	int (*create)(struct block_file_queue *queue, struct err *err);
	void (*destroy)(struct block_file_queue *queue);
	/* Accepts one system call; it is made at the next commit or before. Never reports from within. */
	void (*start)(struct block_file_queue *queue, struct block_io *io);
	/* Hands over what was started, and reports by block_io_step what is already done. */
	void (*commit)(struct block_file_queue *queue);
	/* Blocks until something started is done, and reports it. Something must be under way. */
	void (*wait)(struct block_file_queue *queue);
};

extern const struct block_engine_ops block_uring_engine;
extern const struct block_engine_ops block_threads_engine;
/* Whether the kernel lets us have io_uring: 0, or -errno with err set. */
int block_uring_check(struct err *err);

/* block_queue.c, for the engines: io->result is set; goes on with the request. Between plug and unplug. */
void block_io_step(struct block_io *io);
/* block_queue.c: makes one system call on the calling thread and sets io->result. Any thread. */
void block_io_perform(struct block_io *io, int extra_rw_flags);

/* block_queue.c: struct blockdev_ops of a file. */
struct block_queue *block_file_queue_create(struct blockdev *blockdev,
					    const struct block_queue_config *config, struct err *err);
void block_file_queue_destroy(struct block_queue *queue);
void block_file_submit(struct block_queue *queue, struct block_request *request);
void block_file_plug(struct block_queue *queue);
void block_file_unplug(struct block_queue *queue);
void block_file_drain(struct block_queue *queue);
