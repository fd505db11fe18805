/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine over io_uring(7): one ring a queue, the file registered, guest memory registered where it was
 * asked for, one io_uring_enter for all that a batch of requests started. The ring's descriptor is readable
 * while completions wait, so the loop watches the ring itself.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "vmm/backend/block_file.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/core/gmem.h"

#define BLOCK_URING_ENTRIES    256          /* started in one call */
#define BLOCK_URING_UNDER_WAY  512          /* what the completion ring holds: it never overflows */
#define BLOCK_URING_BUFFER_MAX (1ull << 30) /* the kernel's limit of one registered buffer */
#define BLOCK_URING_BUFFERS    64 /* registered buffers: 64 GiB; what lies beyond goes unregistered */

struct block_uring {
	struct io_uring ring;
	struct block_file_queue *queue;
	struct loop_fd *watch;
	struct block_list pending; /* started, no entry of the ring yet */
	unsigned under_way;        /* entries that have not completed */
	struct iovec buffer[BLOCK_URING_BUFFERS];
	unsigned buffer_count;
};

static int block_uring_setup(struct io_uring *ring, struct err *err)
{
	struct io_uring_probe *probe;
	int code = io_uring_queue_init(BLOCK_URING_ENTRIES, ring, 0);
	bool complete;

	if (code < 0)
		return err_set_errno(err, code, "io_uring");
	probe = io_uring_get_probe_ring(ring);
	complete = probe && io_uring_opcode_supported(probe, IORING_OP_FALLOCATE) &&
		   ring->features & IORING_FEAT_NODROP;
	io_uring_free_probe(probe);
	if (complete)
		return 0;
	io_uring_queue_exit(ring);
	return err_set(err, -ENOSYS, "io_uring: the kernel's is too old");
}

int block_uring_check(struct err *err)
{
	struct io_uring ring;
	int code = block_uring_setup(&ring, err);

	if (code == 0)
		io_uring_queue_exit(&ring);
	return code;
}

/* The registered buffer that holds all of an iovec; -1: none. */
static int block_uring_find_buffer(const struct block_uring *uring, const struct iovec *iov)
{
	for (unsigned i = 0; i < uring->buffer_count; i++) {
		const struct iovec *buffer = &uring->buffer[i];
		size_t offset = (size_t)((const char *)iov->iov_base - (const char *)buffer->iov_base);

		if (iov->iov_base >= buffer->iov_base && offset < buffer->iov_len &&
		    iov->iov_len <= buffer->iov_len - offset)
			return (int)i;
	}
	return -1;
}

static void block_uring_prepare_transfer(const struct block_uring *uring, struct io_uring_sqe *sqe,
					 const struct block_io *io)
{
	int buffer = io->iov_count == 1 ? block_uring_find_buffer(uring, io->iov) : -1;
	void *bytes = io->iov[0].iov_base;
	unsigned size = (unsigned)io->iov[0].iov_len;

	if (io->kind == BLOCK_IO_READ && buffer >= 0)
		io_uring_prep_read_fixed(sqe, 0, bytes, size, io->offset_bytes, buffer);
	else if (io->kind == BLOCK_IO_READ)
		io_uring_prep_readv(sqe, 0, io->iov, io->iov_count, io->offset_bytes);
	else if (buffer >= 0)
		io_uring_prep_write_fixed(sqe, 0, bytes, size, io->offset_bytes, buffer);
	else
		io_uring_prep_writev(sqe, 0, io->iov, io->iov_count, io->offset_bytes);
	if (io->kind == BLOCK_IO_WRITE)
		sqe->rw_flags = io->mode;
}

static void block_uring_prepare(struct block_uring *uring, struct io_uring_sqe *sqe, struct block_io *io)
{
	switch (io->kind) {
	case BLOCK_IO_READ:
	case BLOCK_IO_WRITE: block_uring_prepare_transfer(uring, sqe, io); break;
	case BLOCK_IO_SYNC: io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC); break;
	case BLOCK_IO_ALLOCATE:
		io_uring_prep_fallocate(sqe, 0, io->mode, (off_t)io->offset_bytes, (off_t)io->size_bytes);
		break;
	}
	sqe->flags |= IOSQE_FIXED_FILE; /* descriptor 0 of the registered ones */
	io_uring_sqe_set_data(sqe, io);
}

static void block_uring_start(struct block_file_queue *queue, struct block_io *io)
{
	struct block_uring *uring = queue->engine;

	block_list_add(&uring->pending, block_io_request(io));
}

static void block_uring_fill(struct block_uring *uring)
{
	while (uring->pending.head && uring->under_way < BLOCK_URING_UNDER_WAY) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

		if (!sqe)
			return;
		block_uring_prepare(uring, sqe, block_request_io(block_list_take(&uring->pending)));
		uring->under_way++;
	}
}

static bool block_uring_reap(struct block_uring *uring)
{
	struct io_uring_cqe *cqe;
	bool any = false;

	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct block_io *io = io_uring_cqe_get_data(cqe);

		io->result = cqe->res;
		io_uring_cqe_seen(&uring->ring, cqe);
		uring->under_way--;
		any = true;
		block_io_step(io);
	}
	return any;
}

/* Memory short, or completions not taken yet: neither lasts. Anything else would be a mistake of ours. */
static void block_uring_enter(struct block_uring *uring)
{
	int code;

	while (io_uring_sq_ready(&uring->ring) > 0) {
		code = io_uring_submit(&uring->ring);
		assert(code >= 0 || code == -EINTR || code == -EBUSY || code == -EAGAIN);
		if (code < 0)
			block_uring_reap(uring);
	}
}

static void block_uring_commit(struct block_file_queue *queue)
{
	struct block_uring *uring = queue->engine;
	bool any;

	do {
		block_uring_fill(uring);
		block_uring_enter(uring);
		any = block_uring_reap(uring);
	} while (uring->pending.head && (any || io_uring_sq_space_left(&uring->ring) > 0) &&
		 uring->under_way < BLOCK_URING_UNDER_WAY);
}

static void block_uring_wait(struct block_file_queue *queue)
{
	struct block_uring *uring = queue->engine;
	struct io_uring_cqe *cqe;

	while (io_uring_wait_cqe(&uring->ring, &cqe) == -EINTR)
		continue;
	block_uring_reap(uring);
}

static void block_uring_on_ready(void *opaque, uint32_t epoll_events)
{
	struct block_uring *uring = opaque;

	block_file_plug(&uring->queue->queue);
	block_file_unplug(&uring->queue->queue);
}

/* Guest memory in pieces that the kernel takes; a region beyond the table is used unregistered. */
static void block_uring_list_buffers(struct block_uring *uring, const struct gmem *gmem)
{
	for (size_t i = 0; i < gmem_region_count(gmem); i++) {
		const struct gmem_region *region = gmem_region_at(gmem, i);

		for (uint64_t at = 0; at < region->size_bytes; at += BLOCK_URING_BUFFER_MAX) {
			uint64_t left = region->size_bytes - at;

			if (uring->buffer_count == BLOCK_URING_BUFFERS) {
				log_info("guest memory beyond %u GiB is not registered with io_uring",
					 BLOCK_URING_BUFFERS);
				return;
			}
			uring->buffer[uring->buffer_count++] = (struct iovec){
				.iov_base = region->hva + at,
				.iov_len = left < BLOCK_URING_BUFFER_MAX ? left : BLOCK_URING_BUFFER_MAX,
			};
		}
	}
}

static int block_uring_register(struct block_uring *uring, struct err *err)
{
	struct gmem *gmem = uring->queue->queue.config.gmem;
	int code = io_uring_register_files(&uring->ring, &uring->queue->file->fd, 1);

	if (code < 0)
		return err_set_errno(err, code, "io_uring: cannot register the file");
	if (!uring->queue->file->pin || !gmem)
		return 0;
	block_uring_list_buffers(uring, gmem);
	code = io_uring_register_buffers(&uring->ring, uring->buffer, uring->buffer_count);
	if (code < 0)
		return err_set_errno(
			err, code,
			"io_uring: cannot register the guest's memory (the limit of locked memory, "
			"ulimit -l, may be too low)");
	return 0;
}

static int block_uring_create(struct block_file_queue *queue, struct err *err)
{
	struct block_uring *uring = calloc(1, sizeof(*uring));
	int code;

	if (!uring)
		return err_set(err, -ENOMEM, "no memory for io_uring");
	uring->queue = queue;
	code = block_uring_setup(&uring->ring, err);
	if (code < 0) {
		free(uring);
		return code;
	}
	code = block_uring_register(uring, err);
	if (code == 0) {
		uring->watch = loop_fd_add(queue->queue.config.loop, uring->ring.ring_fd, EPOLLIN,
					   block_uring_on_ready, uring, err);
		code = uring->watch ? 0 : -ENOMEM;
	}
	if (code < 0) {
		io_uring_queue_exit(&uring->ring);
		free(uring);
		return code;
	}
	if (uring->buffer_count > 0)
		gmem_pin(queue->queue.config.gmem);
	queue->engine = uring;
	return 0;
}

static void block_uring_destroy(struct block_file_queue *queue)
{
	struct block_uring *uring = queue->engine;

	loop_fd_remove(uring->watch);
	io_uring_queue_exit(&uring->ring);
	if (uring->buffer_count > 0)
		gmem_unpin(queue->queue.config.gmem);
	free(uring);
}

const struct block_engine_ops block_uring_engine = {
	.name = "io_uring",
	.create = block_uring_create,
	.destroy = block_uring_destroy,
	.start = block_uring_start,
	.commit = block_uring_commit,
	.wait = block_uring_wait,
};
