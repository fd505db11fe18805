/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of plain system calls on a few threads, for kernels and containers that refuse io_uring. Reads
 * that the page cache can answer are made on the queue's own thread, without waiting (RWF_NOWAIT), and cost
 * no thread at all.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/backend/block_file.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

#define BLOCK_THREADS 4 /* as many requests wait for the medium at once; a flush holds one of them */

struct block_threads {
	struct block_file_queue *queue;
	struct loop_fd *watch;
	struct block_list batch; /* started, not handed over; queue's thread */
	struct block_list ready; /* done without a thread; queue's thread */
	bool no_nowait;          /* the file system cannot; queue's thread */

	pthread_mutex_t lock; /* guards what follows; a leaf */
	pthread_cond_t work;  /* todo or stopping */
	struct block_list todo;
	struct block_list finished;
	bool stopping;
	int event_fd; /* finished is not empty any more */
	unsigned thread_count;
	pthread_t thread[BLOCK_THREADS];
};

static void block_threads_report(struct block_threads *threads, struct block_request *request)
{
	const uint64_t one = 1;
	bool first = !threads->finished.head;
	ssize_t written;

	block_list_add(&threads->finished, request);
	if (first) {
		written = write(threads->event_fd, &one, sizeof(one));
		(void)written; /* it cannot overflow: the queue's thread resets it */
	}
}

static void *block_threads_work(void *opaque)
{
	struct block_threads *threads = opaque;
	struct block_request *request;

	pthread_mutex_lock(&threads->lock);
	for (;;) {
		request = block_list_take(&threads->todo);
		if (request) {
			pthread_mutex_unlock(&threads->lock);
			block_io_perform(block_request_io(request), 0);
			pthread_mutex_lock(&threads->lock);
			block_threads_report(threads, request);
		} else if (threads->stopping) {
			break;
		} else {
			pthread_cond_wait(&threads->work, &threads->lock);
		}
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

static bool block_threads_try_now(struct block_threads *threads, struct block_io *io)
{
	if (io->kind != BLOCK_IO_READ || threads->no_nowait || threads->queue->file->direct)
		return false;
	block_io_perform(io, RWF_NOWAIT);
	if (io->result == -EOPNOTSUPP)
		threads->no_nowait = true;
	return io->result > 0;
}

static void block_threads_start(struct block_file_queue *queue, struct block_io *io)
{
	struct block_threads *threads = queue->engine;
	bool ready = block_threads_try_now(threads, io);

	block_list_add(ready ? &threads->ready : &threads->batch, block_io_request(io));
}

static void block_threads_hand_over(struct block_threads *threads)
{
	struct block_request *request;

	if (!threads->batch.head)
		return;
	pthread_mutex_lock(&threads->lock);
	while ((request = block_list_take(&threads->batch))) {
		block_list_add(&threads->todo, request);
		pthread_cond_signal(&threads->work);
	}
	pthread_mutex_unlock(&threads->lock);
}

static void block_threads_commit(struct block_file_queue *queue)
{
	struct block_threads *threads = queue->engine;
	struct block_request *request;

	while ((request = block_list_take(&threads->ready)))
		block_io_step(block_request_io(request));
	block_threads_hand_over(threads);
}

static void block_threads_take_finished(struct block_threads *threads)
{
	struct block_request *request;
	struct block_list finished;
	uint64_t count;
	ssize_t got;

	pthread_mutex_lock(&threads->lock);
	got = read(threads->event_fd, &count, sizeof(count));
	(void)got; /* nothing to read: an earlier call took all */
	finished = threads->finished;
	threads->finished = (struct block_list){0};
	pthread_mutex_unlock(&threads->lock);
	while ((request = block_list_take(&finished)))
		block_io_step(block_request_io(request));
}

static void block_threads_wait(struct block_file_queue *queue)
{
	struct block_threads *threads = queue->engine;
	struct pollfd poll_fd = {.fd = threads->event_fd, .events = POLLIN};

	while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
		continue;
	block_threads_take_finished(threads);
}

static void block_threads_on_event(void *opaque, uint32_t epoll_events)
{
	struct block_threads *threads = opaque;

	block_file_plug(&threads->queue->queue);
	block_threads_take_finished(threads);
	block_file_unplug(&threads->queue->queue);
}

/* Signals are the main thread's. */
static int block_threads_start_workers(struct block_threads *threads)
{
	sigset_t all;
	sigset_t before;
	int code = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (threads->thread_count < BLOCK_THREADS && code == 0) {
		pthread_t *thread = &threads->thread[threads->thread_count];

		code = -pthread_create(thread, NULL, block_threads_work, threads);
		if (code == 0) {
			pthread_setname_np(*thread, "disk");
			threads->thread_count++;
		}
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

static void block_threads_free(struct block_threads *threads)
{
	pthread_mutex_lock(&threads->lock);
	threads->stopping = true;
	pthread_cond_broadcast(&threads->work);
	pthread_mutex_unlock(&threads->lock);
	while (threads->thread_count > 0)
		pthread_join(threads->thread[--threads->thread_count], NULL);
	if (threads->watch)
		loop_fd_remove(threads->watch);
	if (threads->event_fd >= 0)
		close(threads->event_fd);
	pthread_mutex_destroy(&threads->lock);
	pthread_cond_destroy(&threads->work);
	free(threads);
}

static int block_threads_fill(struct block_threads *threads, struct err *err)
{
	int code;

	threads->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (threads->event_fd < 0)
		return err_set_errno(err, -errno, "eventfd");
	threads->watch = loop_fd_add(threads->queue->queue.config.loop, threads->event_fd, EPOLLIN,
				     block_threads_on_event, threads, err);
	if (!threads->watch)
		return err ? err->code : -ENOMEM;
	code = block_threads_start_workers(threads);
	return code < 0 ? err_set_errno(err, code, "cannot start a disk's threads") : 0;
}

static int block_threads_create(struct block_file_queue *queue, struct err *err)
{
	struct block_threads *threads = calloc(1, sizeof(*threads));
	int code;

	if (!threads)
		return err_set(err, -ENOMEM, "no memory for a disk's threads");
	threads->queue = queue;
	threads->event_fd = -1;
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->work, NULL);
	code = block_threads_fill(threads, err);
	if (code < 0)
		block_threads_free(threads);
	else
		queue->engine = threads;
	return code;
}

static void block_threads_destroy(struct block_file_queue *queue)
{
	block_threads_free(queue->engine);
}

const struct block_engine_ops block_threads_engine = {
	.name = "threads",
	.create = block_threads_create,
	.destroy = block_threads_destroy,
	.start = block_threads_start,
	.commit = block_threads_commit,
	.wait = block_threads_wait,
};
