/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block backends as a device sees them: a disk of bytes that is read and written by asynchronous requests.
 * A format (raw, qcow2) is a row of blockdev_table; how it does its I/O is its own affair.
 *
 * A queue belongs to one loop: everything about it happens on that loop's thread, or while that thread is
 * known not to run. Requests are made by the device, are started between block_plug and block_unplug, and
 * come back by their callback: from the loop, or from the outermost block_unplug, never from block_submit.
 * Nothing is allocated from submission to completion.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct blockdev;
struct block_queue;
struct err;
struct gmem;
struct loop;

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,        /* what was complete before is on stable storage */
	BLOCK_DISCARD,      /* the contents are not needed any more; they may become anything */
	BLOCK_WRITE_ZEROES, /* reads as zeroes from now on */
};

#define BLOCK_REQUEST_BACKEND_WORDS 24 /* what the largest backend keeps for a request */

/* Borrowed by the backend from block_submit to complete. */
struct block_request {
	enum block_op op;
	bool durable; /* BLOCK_WRITE, BLOCK_WRITE_ZEROES: on stable storage before it completes */
	bool unmap;   /* BLOCK_WRITE_ZEROES: the space may be given back to the host */
	uint64_t offset_bytes;
	uint64_t size_bytes; /* reads and writes: the sum of iov */
	struct iovec *iov;   /* reads and writes; the backend may change the elements */
	unsigned iov_count;
	/* 0 or -errno. May submit further requests, this one included. */
	void (*complete)(struct block_request *request, int result);
	struct block_request *next; /* the backend's */
	uint64_t backend[BLOCK_REQUEST_BACKEND_WORDS];
};

/* What a disk is. Constant but for size_bytes, which block_size_bytes reads. */
struct block_limits {
	uint32_t logical_block_bytes;  /* offsets and sizes of requests are multiples: 512 or 4096 */
	uint32_t physical_block_bytes; /* smaller writes cost a read; a power of two times logical */
	uint32_t optimal_io_bytes;     /* 0: not known */
	uint32_t discard_granularity_bytes;
	bool readonly;
	bool can_discard;
	bool volatile_cache; /* completed writes may need a flush */
};

struct block_queue_config {
	struct loop *loop;
	struct gmem *gmem;               /* memory that requests point into, for registration; may be NULL */
	void (*batch_end)(void *opaque); /* after the last of some completions; may be NULL */
	void *opaque;
};

struct blockdev_ops {
	struct block_queue *(*queue_create)(struct blockdev *blockdev,
					    const struct block_queue_config *config, struct err *err);
	void (*queue_destroy)(struct block_queue *queue);
	void (*submit)(struct block_queue *queue, struct block_request *request);
	void (*plug)(struct block_queue *queue);
	void (*unplug)(struct block_queue *queue);
	void (*drain)(struct block_queue *queue);
	uint64_t (*size_bytes)(const struct blockdev *blockdev);
	int (*resize)(struct blockdev *blockdev, uint64_t size_bytes, struct err *err);
	void (*close)(struct blockdev *blockdev);
	const char *(*engine_name)(const struct blockdev *blockdev);
};

/* First members of each backend's structures. */
struct blockdev {
	const struct blockdev_ops *ops;
	struct block_limits limits;
};
struct block_queue {
	struct blockdev *blockdev;
	struct block_queue_config config;
};

/* Bounds are checked again by the backend: a request beyond the end fails with -EINVAL. */
static inline void block_submit(struct block_queue *queue, struct block_request *request)
{
	queue->blockdev->ops->submit(queue, request);
}

/* Brackets submissions, nestable: the outermost block_unplug hands all to the host at once. */
static inline void block_plug(struct block_queue *queue)
{
	queue->blockdev->ops->plug(queue);
}

static inline void block_unplug(struct block_queue *queue)
{
	queue->blockdev->ops->unplug(queue);
}

/* Blocks until every request of the queue is complete, their callbacks included. Not from a callback. */
static inline void block_drain(struct block_queue *queue)
{
	queue->blockdev->ops->drain(queue);
}

/* Returns owned, or NULL with err set. Not on the data path. */
static inline struct block_queue *block_queue_create(struct blockdev *blockdev,
						     const struct block_queue_config *config, struct err *err)
{
	return blockdev->ops->queue_create(blockdev, config, err);
}

/* The queue must be idle: drained, and nothing submitted since. NULL is nothing. */
static inline void block_queue_destroy(struct block_queue *queue)
{
	if (queue)
		queue->blockdev->ops->queue_destroy(queue);
}

/* Any thread. */
static inline uint64_t block_size_bytes(const struct blockdev *blockdev)
{
	return blockdev->ops->size_bytes(blockdev);
}

/*
 * Makes the disk this large, a multiple of the logical block; 0: as large as its file has become. Requests in
 * flight beyond a new end fail. Any thread. 0 or -errno.
 */
static inline int block_resize(struct blockdev *blockdev, uint64_t size_bytes, struct err *err)
{
	return blockdev->ops->resize(blockdev, size_bytes, err);
}

/* Every queue must have been destroyed. NULL is nothing. */
static inline void blockdev_close(struct blockdev *blockdev)
{
	if (blockdev)
		blockdev->ops->close(blockdev);
}

/* What does the I/O: "io_uring", "threads". */
static inline const char *blockdev_engine_name(const struct blockdev *blockdev)
{
	return blockdev->ops->engine_name(blockdev);
}

enum block_cache {
	BLOCK_CACHE_WRITEBACK, /* the host's page cache; a guest's flush reaches the medium */
	BLOCK_CACHE_UNSAFE,    /* flushes are ignored: what the host's crash leaves is unknown */
	BLOCK_CACHE_DIRECT,    /* past the page cache (O_DIRECT); flushes reach the medium */
};

enum block_engine { BLOCK_ENGINE_AUTO, BLOCK_ENGINE_IO_URING, BLOCK_ENGINE_THREADS };

struct blockdev_config {
	const char *path;
	const char *format; /* NULL or "auto": what the file is */
	bool readonly;
	enum block_cache cache;
	enum block_engine engine;
	bool pin; /* register guest memory with io_uring, which keeps all of it resident */
	uint32_t logical_block_bytes; /* 0: what suits the file, 512 if it can be */
	bool guard_format; /* set by blockdev_open: no write may make the file look like another format */
};

#define BLOCK_PROBE_BYTES 512 /* a format must show in the first sector, which is what a guard watches */

struct blockdev_class {
	const char *name;
	/* Whether a file that begins with these BLOCK_PROBE_BYTES is of this format; NULL: never by itself.
	 */
	bool (*probe)(const uint8_t *head);
	/* config->format is not looked at. Returns owned, or NULL with err set. */
	struct blockdev *(*open)(const struct blockdev_config *config, struct err *err);
};

/* The formats built in, ended by NULL. Generated by the build from the list in vmm/backend/meson.build. */
extern const struct blockdev_class *const blockdev_table[];

/* Checks a name of a format; "auto" and NULL are. */
int blockdev_format_check(const char *format, struct err *err);
/*
 * Opens by format. "auto" takes raw only where no known format shows, and then guards the file against
 * becoming one: a guest could otherwise make its disk into an image that names other files of the host.
 */
struct blockdev *blockdev_open(const struct blockdev_config *config, struct err *err);
/* The name of the format, of any that is known, whose image begins so; NULL: none. */
const char *blockdev_probe(const uint8_t head[BLOCK_PROBE_BYTES]);
