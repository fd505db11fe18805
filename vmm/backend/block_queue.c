/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a file, taken apart into system calls, one at a time each: short transfers go on where they
 * stopped, unaligned ones pass through a bounce buffer, zeroes are written where the file system cannot
 * allocate them. Knows no system call's way: the engine makes them. Everything here is on the queue's thread
 * but block_io_perform.
 *
 *     submit -> begin -> engine.start ... engine: step -> (more: start again) -> done list -> complete
 *
 * Completions are delivered in batches: by the outermost unplug, for the engine has always something to hand
 * over at the same time.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/backend/block_file.h"
#include "vmm/base/err.h"

#define BLOCK_IOV_MAX 1024 /* what one system call takes; the rest of a request follows */

/* What zeroes are written from: never written to, so it costs no memory but the one zero page. */
#define BLOCK_ZERO_BYTES   BLOCK_BOUNCE_BYTES
#define BLOCK_MEMORY_BYTES ((size_t)BLOCK_BOUNCES * BLOCK_BOUNCE_BYTES + BLOCK_ZERO_BYTES)

static uint8_t *block_zeroes(struct block_file_queue *queue)
{
	return queue->memory + (size_t)BLOCK_BOUNCES * BLOCK_BOUNCE_BYTES;
}

static void block_io_finish(struct block_io *io, int64_t result)
{
	struct block_file_queue *queue = io->queue;
	struct block_bounce *bounce = io->bounce;

	if (bounce) {
		bounce->next_free = queue->free_bounce;
		queue->free_bounce = bounce;
		io->bounce = NULL;
	}
	io->result = result;
	block_list_add(&queue->done, block_io_request(io));
}

static void block_io_start(struct block_io *io)
{
	io->queue->file->engine->start(io->queue, io);
}

/* --- reads and writes straight from and to the request's memory */

static void block_iov_advance(struct block_request *request, uint64_t bytes)
{
	while (bytes > 0) {
		uint64_t step = request->iov->iov_len < bytes ? request->iov->iov_len : bytes;

		request->iov->iov_base = (char *)request->iov->iov_base + step;
		request->iov->iov_len -= step;
		bytes -= step;
		if (request->iov->iov_len == 0) {
			request->iov++;
			request->iov_count--;
		}
	}
}

static void block_io_straight(struct block_io *io)
{
	struct block_request *request = block_io_request(io);

	io->iov = request->iov;
	io->iov_count = request->iov_count < BLOCK_IOV_MAX ? request->iov_count : BLOCK_IOV_MAX;
	io->offset_bytes = request->offset_bytes + io->done_bytes;
	io->size_bytes = request->size_bytes - io->done_bytes;
	block_io_start(io);
}

/* --- through a bounce buffer */

static void block_iov_copy(struct block_request *request, uint8_t *bytes, uint64_t size_bytes, bool to_iov)
{
	while (size_bytes > 0) {
		uint64_t step = request->iov->iov_len < size_bytes ? request->iov->iov_len : size_bytes;

		if (to_iov)
			memcpy(request->iov->iov_base, bytes, step);
		else
			memcpy(bytes, request->iov->iov_base, step);
		block_iov_advance(request, step);
		bytes += step;
		size_bytes -= step;
	}
}

/* The bytes checked are the bytes written: the guest cannot change the copy. */
static bool block_io_is_guarded(struct block_io *io)
{
	struct block_file_queue *queue = io->queue;
	const char *format;

	if (!queue->file->guard_format || io->offset_bytes != 0 || io->kind != BLOCK_IO_WRITE)
		return false;
	assert(io->size_bytes >= BLOCK_PROBE_BYTES);
	format = blockdev_probe(io->bounce->bytes);
	if (format)
		log_limited(
			&queue->log_limit, LOG_WARNING,
			"%s: the guest may not make it a %s image, since auto took it for raw; format=raw "
			"would allow it",
			queue->file->path, format);
	return format != NULL;
}

/* The next piece: as much as the buffer holds. */
static void block_io_bounce(struct block_io *io)
{
	struct block_request *request = block_io_request(io);
	uint64_t left = request->size_bytes - io->done_bytes;

	io->offset_bytes = request->offset_bytes + io->done_bytes;
	io->size_bytes = left < BLOCK_BOUNCE_BYTES ? left : BLOCK_BOUNCE_BYTES;
	if (io->kind == BLOCK_IO_WRITE)
		block_iov_copy(request, io->bounce->bytes, io->size_bytes, false);
	if (block_io_is_guarded(io)) {
		block_io_finish(io, -EPERM);
		return;
	}
	io->piece = (struct iovec){.iov_base = io->bounce->bytes, .iov_len = io->size_bytes};
	io->iov = &io->piece;
	io->iov_count = 1;
	block_io_start(io);
}

static void block_io_want_bounce(struct block_io *io)
{
	struct block_file_queue *queue = io->queue;

	io->bounce = queue->free_bounce;
	if (!io->bounce) {
		block_list_add(&queue->waiting, block_io_request(io));
		return;
	}
	queue->free_bounce = io->bounce->next_free;
	block_io_bounce(io);
}

/* A part of the piece was transferred: the rest of it first, then the next. */
static void block_io_bounce_step(struct block_io *io, uint64_t bytes)
{
	struct block_request *request = block_io_request(io);

	if (io->kind == BLOCK_IO_READ)
		block_iov_copy(request, io->piece.iov_base, bytes, true);
	io->done_bytes += bytes;
	if (bytes < io->size_bytes) {
		io->piece.iov_base = (uint8_t *)io->piece.iov_base + bytes;
		io->piece.iov_len -= bytes;
		io->offset_bytes += bytes;
		io->size_bytes -= bytes;
		block_io_start(io);
	} else if (io->done_bytes < request->size_bytes) {
		block_io_bounce(io);
	} else {
		block_io_finish(io, 0);
	}
}

static void block_io_transfer_step(struct block_io *io)
{
	struct block_request *request = block_io_request(io);
	uint64_t bytes = (uint64_t)io->result;

	if (io->result == 0) { /* the file has become shorter */
		block_io_finish(io, -EIO);
	} else if (io->bounce) {
		block_io_bounce_step(io, bytes);
	} else {
		io->done_bytes += bytes;
		block_iov_advance(request, bytes);
		if (io->done_bytes < request->size_bytes)
			block_io_straight(io);
		else
			block_io_finish(io, 0);
	}
}

static bool block_is_aligned(const struct block_file *file, const struct block_request *request)
{
	uint64_t address_bits = 0;
	uint64_t len_bits = 0;

	if (!file->direct)
		return true;
	for (unsigned i = 0; i < request->iov_count; i++) {
		address_bits |= (uintptr_t)request->iov[i].iov_base;
		len_bits |= request->iov[i].iov_len;
	}
	return address_bits % file->memory_align == 0 && len_bits % file->offset_align == 0;
}

static bool block_needs_bounce(const struct block_file *file, const struct block_request *request)
{
	if (file->guard_format && request->op == BLOCK_WRITE && request->offset_bytes < BLOCK_PROBE_BYTES)
		return true;
	return !block_is_aligned(file, request);
}

static void block_io_transfer(struct block_io *io)
{
	struct block_request *request = block_io_request(io);

	io->kind = request->op == BLOCK_READ ? BLOCK_IO_READ : BLOCK_IO_WRITE;
	io->mode = request->durable && !io->queue->file->ignore_flush ? RWF_DSYNC : 0;
	if (block_needs_bounce(io->queue->file, request))
		block_io_want_bounce(io);
	else
		block_io_straight(io);
}

/* --- discard, zeroes, flush */

static void block_io_sync(struct block_io *io)
{
	if (io->queue->file->ignore_flush) {
		block_io_finish(io, 0);
		return;
	}
	io->kind = BLOCK_IO_SYNC;
	block_io_start(io);
}

static void block_io_write_zeroes(struct block_io *io)
{
	struct block_request *request = block_io_request(io);
	uint64_t left = request->size_bytes - io->done_bytes;

	io->kind = BLOCK_IO_WRITE;
	io->mode = 0;
	io->offset_bytes = request->offset_bytes + io->done_bytes;
	io->size_bytes = left < BLOCK_ZERO_BYTES ? left : BLOCK_ZERO_BYTES;
	io->piece = (struct iovec){.iov_base = block_zeroes(io->queue), .iov_len = io->size_bytes};
	io->iov = &io->piece;
	io->iov_count = 1;
	block_io_start(io);
}

static void block_io_zeroed(struct block_io *io)
{
	if (block_io_request(io)->durable)
		block_io_sync(io);
	else
		block_io_finish(io, 0);
}

static void block_io_zeroes_step(struct block_io *io)
{
	if (io->result == 0) {
		block_io_finish(io, -EIO);
		return;
	}
	io->done_bytes += (uint64_t)io->result;
	if (io->done_bytes < block_io_request(io)->size_bytes)
		block_io_write_zeroes(io);
	else
		block_io_zeroed(io);
}

/* The best way that the file system has not refused yet: a hole, allocated zeroes, zeroes written. */
static void block_io_allocate(struct block_io *io)
{
	struct block_request *request = block_io_request(io);
	struct block_file *file = io->queue->file;
	bool punch = request->op == BLOCK_DISCARD || request->unmap;

	io->kind = BLOCK_IO_ALLOCATE;
	io->offset_bytes = request->offset_bytes;
	io->size_bytes = request->size_bytes;
	if (punch && !atomic_load(&file->no_punch)) {
		io->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		block_io_start(io);
	} else if (request->op == BLOCK_DISCARD) {
		block_io_finish(io, 0); /* a hint that the host has no use for */
	} else if (!atomic_load(&file->no_zero_range)) {
		io->mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		block_io_start(io);
	} else {
		block_io_write_zeroes(io);
	}
}

static void block_io_allocate_step(struct block_io *io)
{
	struct block_file *file = io->queue->file;

	if (io->result == -EOPNOTSUPP) {
		atomic_store(io->mode & FALLOC_FL_PUNCH_HOLE ? &file->no_punch : &file->no_zero_range, true);
		block_io_allocate(io);
	} else if (io->result < 0) {
		block_io_finish(io, io->result);
	} else if (block_io_request(io)->op == BLOCK_WRITE_ZEROES) {
		block_io_zeroed(io);
	} else {
		block_io_finish(io, 0);
	}
}

void block_io_step(struct block_io *io)
{
	bool is_zeroes = block_io_request(io)->op == BLOCK_WRITE_ZEROES;

	if (io->result == -EAGAIN || io->result == -EINTR) {
		block_io_start(io);
		return;
	}
	if (io->result < 0 && io->kind != BLOCK_IO_ALLOCATE) {
		block_io_finish(io, io->result);
		return;
	}
	switch (io->kind) {
	case BLOCK_IO_READ: block_io_transfer_step(io); return;
	case BLOCK_IO_WRITE: is_zeroes ? block_io_zeroes_step(io) : block_io_transfer_step(io); return;
	case BLOCK_IO_SYNC: block_io_finish(io, 0); return;
	case BLOCK_IO_ALLOCATE: block_io_allocate_step(io); return;
	}
}

void block_io_perform(struct block_io *io, int extra_rw_flags)
{
	int fd = io->queue->file->fd;
	ssize_t done = 0;

	switch (io->kind) {
	case BLOCK_IO_READ:
		done = preadv2(fd, io->iov, (int)io->iov_count, (off_t)io->offset_bytes, extra_rw_flags);
		break;
	case BLOCK_IO_WRITE:
		done = pwritev2(fd, io->iov, (int)io->iov_count, (off_t)io->offset_bytes,
				io->mode | extra_rw_flags);
		break;
	case BLOCK_IO_SYNC: done = fdatasync(fd); break;
	case BLOCK_IO_ALLOCATE:
		done = fallocate(fd, io->mode, (off_t)io->offset_bytes, (off_t)io->size_bytes);
		break;
	}
	io->result = done < 0 ? -errno : done;
}

/* --- the queue */

/* A backend's own check: the device has its own, and knows which answer its specification wants. */
static int block_request_check(const struct block_file *file, const struct block_request *request)
{
	uint64_t size = atomic_load(&file->size_bytes);
	uint32_t block = file->blockdev.limits.logical_block_bytes;

	if (request->op == BLOCK_FLUSH)
		return 0;
	if (request->op != BLOCK_READ && file->blockdev.limits.readonly)
		return -EROFS;
	if ((request->offset_bytes | request->size_bytes) % block != 0 || request->offset_bytes > size ||
	    request->size_bytes > size - request->offset_bytes)
		return -EINVAL;
	return 0;
}

static void block_io_begin(struct block_io *io)
{
	struct block_request *request = block_io_request(io);
	int code = block_request_check(io->queue->file, request);

	if (code < 0 || (request->op != BLOCK_FLUSH && request->size_bytes == 0)) {
		block_io_finish(io, code);
		return;
	}
	switch (request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE: block_io_transfer(io); return;
	case BLOCK_FLUSH: block_io_sync(io); return;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES: block_io_allocate(io); return;
	}
}

void block_file_submit(struct block_queue *queue, struct block_request *request)
{
	struct block_file_queue *file_queue = (struct block_file_queue *)(void *)queue;
	struct block_io *io = block_request_io(request);

	assert(file_queue->plug_depth > 0);
	*io = (struct block_io){.queue = file_queue};
	file_queue->in_flight++;
	block_io_begin(io);
}

void block_file_plug(struct block_queue *queue)
{
	((struct block_file_queue *)(void *)queue)->plug_depth++;
}

static void block_queue_start_waiting(struct block_file_queue *queue)
{
	while (queue->free_bounce && queue->waiting.head)
		block_io_want_bounce(block_request_io(block_list_take(&queue->waiting)));
}

static bool block_queue_deliver(struct block_file_queue *queue)
{
	struct block_request *request;
	bool any = false;

	while ((request = block_list_take(&queue->done))) {
		any = true;
		queue->in_flight--;
		request->complete(request, (int)block_request_io(request)->result);
	}
	return any;
}

/* Completions may submit, which the engine may have done at once: until nothing is left. */
void block_file_unplug(struct block_queue *queue)
{
	struct block_file_queue *file_queue = (struct block_file_queue *)(void *)queue;
	bool more = file_queue->plug_depth == 1;
	bool any = false;

	assert(file_queue->plug_depth > 0);
	while (more) {
		block_queue_start_waiting(file_queue);
		file_queue->file->engine->commit(file_queue);
		more = block_queue_deliver(file_queue);
		any |= more;
	}
	file_queue->plug_depth--;
	if (any && queue->config.batch_end)
		queue->config.batch_end(queue->config.opaque);
}

void block_file_drain(struct block_queue *queue)
{
	struct block_file_queue *file_queue = (struct block_file_queue *)(void *)queue;

	assert(file_queue->plug_depth == 0);
	for (;;) {
		block_file_plug(queue);
		block_file_unplug(queue);
		if (file_queue->in_flight == 0)
			return;
		block_file_plug(queue);
		file_queue->file->engine->wait(file_queue);
		block_file_unplug(queue);
	}
}

static int block_queue_map(struct block_file_queue *queue, struct err *err)
{
	queue->memory = mmap(NULL, BLOCK_MEMORY_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (queue->memory == MAP_FAILED) {
		queue->memory = NULL;
		return err_set_errno(err, -errno, "no memory for a disk's buffers");
	}
	for (unsigned i = 0; i < BLOCK_BOUNCES; i++) {
		queue->bounce[i].bytes = queue->memory + (size_t)i * BLOCK_BOUNCE_BYTES;
		queue->bounce[i].next_free = queue->free_bounce;
		queue->free_bounce = &queue->bounce[i];
	}
	return 0;
}

static void block_queue_free(struct block_file_queue *queue)
{
	if (queue->memory)
		munmap(queue->memory, BLOCK_MEMORY_BYTES);
	free(queue);
}

struct block_queue *block_file_queue_create(struct blockdev *blockdev,
					    const struct block_queue_config *config, struct err *err)
{
	struct block_file *file = (struct block_file *)(void *)blockdev;
	struct block_file_queue *queue = calloc(1, sizeof(*queue));

	if (!queue) {
		err_set(err, -ENOMEM, "no memory for a disk's queue");
		return NULL;
	}
	queue->queue = (struct block_queue){.blockdev = blockdev, .config = *config};
	queue->file = file;
	if (block_queue_map(queue, err) < 0 || file->engine->create(queue, err) < 0) {
		block_queue_free(queue);
		return NULL;
	}
	return &queue->queue;
}

void block_file_queue_destroy(struct block_queue *queue)
{
	struct block_file_queue *file_queue = (struct block_file_queue *)(void *)queue;

	assert(file_queue->in_flight == 0);
	file_queue->file->engine->destroy(file_queue);
	block_queue_free(file_queue);
}
