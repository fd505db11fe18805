/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-9p: carries 9P messages between a ring and a server of files. virtio 1.2 reserves device number 9
 * for it; what the driver expects is in Linux's net/9p/trans_virtio.c: one queue, a chain a message (request
 * readable, reply writable), and the mount tag in the configuration space. Knows neither the messages nor
 * files.
 *
 * Work on files may wait for a disk, so the device has an event loop and a thread for itself, which answers
 * messages as they come: no other thread has to wake up for one. Messages that are known to take long (a
 * sync) go to further threads, in order, and come back when they are answered: requests may wait for earlier
 * ones (struct share_ops), never for later ones.
 */
#include "devices/virtio/9p.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/share.h"

#define VIRTIO_9P_F_MOUNT_TAG 0

/* Linux's driver puts up to 128 messages into the ring, and up to 128 pieces into one. */
#define VIRTIO_9P_QUEUE_SIZE 128
#define VIRTIO_9P_IOV_MAX    160 /* pieces may cross regions of memory */
/* Syncs that may be under way at the same time. */
#define VIRTIO_9P_THREADS 3

struct virtio_9p_message {
	struct share_request io;
	struct virtq_chain *chain;
	size_t reply_bytes;
	struct virtio_9p_message *next;
};

struct virtio_9p {
	struct virtio_device virtio;
	struct share *share; /* owned */
	struct loop *loop;   /* its own, or env->io_loop */
	pthread_t loop_thread;
	bool owns_loop;
	int done_fd; /* eventfd: `done` is not empty */
	struct loop_fd *done_watch;
	pthread_t thread[VIRTIO_9P_THREADS];
	unsigned thread_count;
	pthread_mutex_t lock; /* a leaf; guards the lists and stopping */
	pthread_cond_t wake;  /* todo or stopping */
	struct virtio_9p_message *todo, **todo_end;
	struct virtio_9p_message *done;
	bool stopping;
	uint64_t messages; /* metric; I/O loop */
};

static struct virtio_9p_message *virtio_9p_take(struct virtio_9p *p9)
{
	struct virtio_9p_message *message;

	pthread_mutex_lock(&p9->lock);
	while (!p9->todo && !p9->stopping)
		pthread_cond_wait(&p9->wake, &p9->lock);
	message = p9->todo;
	if (message) {
		p9->todo = message->next;
		if (!p9->todo)
			p9->todo_end = &p9->todo;
	}
	pthread_mutex_unlock(&p9->lock);
	return message;
}

static void virtio_9p_signal_done(struct virtio_9p *p9)
{
	const uint64_t one = 1;
	ssize_t written = write(p9->done_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: the counter is full, so the loop will look anyway */
}

static void *virtio_9p_thread(void *opaque)
{
	struct virtio_9p *p9 = opaque;
	struct virtio_9p_message *message;

	while ((message = virtio_9p_take(p9)) != NULL) {
		bool first;

		message->reply_bytes = share_handle(p9->share, &message->io);
		pthread_mutex_lock(&p9->lock);
		first = !p9->done;
		message->next = p9->done;
		p9->done = message;
		pthread_mutex_unlock(&p9->lock);
		if (first)
			virtio_9p_signal_done(p9);
	}
	return NULL;
}

static void virtio_9p_on_done(void *opaque, uint32_t epoll_events)
{
	struct virtio_9p *p9 = opaque;
	struct virtio_9p_message *message;
	uint64_t count;
	ssize_t got = read(p9->done_fd, &count, sizeof(count));

	(void)got;
	pthread_mutex_lock(&p9->lock);
	message = p9->done;
	p9->done = NULL;
	pthread_mutex_unlock(&p9->lock);
	while (message) {
		/* The next use of the chain's storage may begin at once. */
		struct virtio_9p_message *next = message->next;

		virtqueue_complete(message->chain, message->reply_bytes);
		message = next;
	}
	virtqueue_publish(&p9->virtio.queue[0]);
}

static void virtio_9p_kick(struct virtio_device *virtio, unsigned index)
{
	struct virtio_9p *p9 = (struct virtio_9p *)virtio;
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(&virtio->queue[index])) != NULL) {
		struct virtio_9p_message *message = chain->request;

		*message = (struct virtio_9p_message){
			.io = {.in = chain->read,
			       .in_count = chain->read_count,
			       .out = chain->write,
			       .out_count = chain->write_count},
			.chain = chain,
		};
		p9->messages++;
		share_begin(p9->share, &message->io);
		if (!share_may_wait(p9->share, &message->io)) {
			virtqueue_complete_now(chain, share_handle(p9->share, &message->io));
			continue;
		}
		pthread_mutex_lock(&p9->lock);
		*p9->todo_end = message;
		p9->todo_end = &message->next;
		pthread_cond_signal(&p9->wake);
		pthread_mutex_unlock(&p9->lock);
	}
}

/* Every queue is stopped, so that no thread has a message. */
static void virtio_9p_reset(struct virtio_device *virtio)
{
	share_reset(((struct virtio_9p *)virtio)->share);
}

static const struct virtio_ops virtio_9p_ops = {
	.queue_kick = virtio_9p_kick,
	.reset = virtio_9p_reset,
};

static void virtio_9p_stop_threads(struct virtio_9p *p9)
{
	pthread_mutex_lock(&p9->lock);
	p9->stopping = true;
	pthread_cond_broadcast(&p9->wake);
	pthread_mutex_unlock(&p9->lock);
	while (p9->thread_count > 0)
		pthread_join(p9->thread[--p9->thread_count], NULL);
}

static void virtio_9p_unwatch(void *opaque)
{
	loop_fd_remove(((struct virtio_9p *)opaque)->done_watch);
}

/* What is left to free when virtio_init failed or virtio_release is done: no message is under way. */
static void virtio_9p_free(struct virtio_9p *p9)
{
	virtio_9p_stop_threads(p9);
	if (p9->done_watch)
		loop_call(p9->loop, virtio_9p_unwatch, p9);
	if (p9->owns_loop) {
		loop_stop(p9->loop, 0);
		pthread_join(p9->loop_thread, NULL);
		loop_destroy(p9->loop);
	}
	if (p9->done_fd >= 0)
		close(p9->done_fd);
	share_destroy(p9->share);
	pthread_cond_destroy(&p9->wake);
	pthread_mutex_destroy(&p9->lock);
	free(p9);
}

static void virtio_9p_destroy(struct device *device)
{
	struct virtio_9p *p9 = (struct virtio_9p *)device;

	/* Waits for messages under way, for which threads and watch are needed. */
	virtio_release(&p9->virtio);
	virtio_9p_free(p9);
}

static const struct state_field virtio_9p_state[] = {VIRTIO_STATE_FIELDS, {.name = NULL}};

static const struct metric_field virtio_9p_metrics[] = {
	VIRTIO_METRIC_FIELDS,
	{.name = "messages", .offset = offsetof(struct virtio_9p, messages)},
	{.name = NULL},
};

/* Of the server of files, too. */
static const char *const virtio_9p_syscalls[] = {
	"openat2",      "openat",   "close",     "fstat",   "newfstatat", "readlinkat", "getdents64",
	"lseek",        "preadv",   "pwritev",   "fsync",   "fdatasync",  "ftruncate",  "fallocate",
	"fchmod",       "fchmodat", "fchownat",  "mkdirat", "mknodat",    "symlinkat",  "linkat",
	"renameat",     "unlinkat", "utimensat", "fstatfs", "fgetxattr",  "fsetxattr",  "flistxattr",
	"fremovexattr", "fcntl",    "futex",     NULL,
};

static const char *virtio_9p_unsaved(const struct device *device)
{
	return virtio_is_active((const struct virtio_device *)device)
		       ? "files that the guest has open in it are this process's; it is to be unmounted and "
			 "its "
			 "driver unbound first"
		       : NULL;
}

static const struct device_class virtio_9p_class = {
	.name = "virtio-9p",
	.state = virtio_9p_state,
	.metrics = virtio_9p_metrics,
	.syscalls = virtio_9p_syscalls,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.loaded = virtio_class_loaded,
	.unsaved = virtio_9p_unsaved,
	.destroy = virtio_9p_destroy,
};

static void *virtio_9p_loop_thread(void *opaque)
{
	loop_run(((struct virtio_9p *)opaque)->loop);
	return NULL;
}

static int virtio_9p_start_loop(struct virtio_9p *p9, struct err *err)
{
	int code;

	p9->loop = loop_create(err);
	if (!p9->loop)
		return -EIO;
	code = pthread_create(&p9->loop_thread, NULL, virtio_9p_loop_thread, p9);
	if (code == 0) {
		pthread_setname_np(p9->loop_thread, "share");
		p9->owns_loop = true;
		return 0;
	}
	loop_destroy(p9->loop);
	return err_set_errno(err, -code, "cannot start a thread");
}

static int virtio_9p_start_threads(struct virtio_9p *p9, struct err *err)
{
	while (p9->thread_count < VIRTIO_9P_THREADS) {
		int code = pthread_create(&p9->thread[p9->thread_count], NULL, virtio_9p_thread, p9);

		if (code != 0)
			return err_set_errno(err, -code, "cannot start a thread");
		p9->thread_count++;
	}
	return 0;
}

static int virtio_9p_prepare(struct virtio_9p *p9, const struct virtio_9p_config *config, struct err *err)
{
	sigset_t all, before;
	int code;

	p9->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p9->done_fd < 0)
		return err_set_errno(err, -errno, "eventfd");
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = config->own_thread ? virtio_9p_start_loop(p9, err) : 0;
	if (code == 0)
		code = virtio_9p_start_threads(p9, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code < 0)
		return code;
	p9->done_watch = loop_fd_add(p9->loop, p9->done_fd, EPOLLIN, virtio_9p_on_done, p9, err);
	return p9->done_watch ? 0 : -EIO;
}

static int virtio_9p_set_up(struct virtio_9p *p9, const struct device_env *env,
			    const struct virtio_9p_config *config, struct err *err)
{
	static const struct virtio_queue_init queue = {
		.size_max = VIRTIO_9P_QUEUE_SIZE,
		.iov_max = VIRTIO_9P_IOV_MAX,
		.request_bytes = sizeof(struct virtio_9p_message),
	};
	struct device_env own_env = *env;
	const size_t length = strlen(config->tag);
	uint8_t space[2 + VIRTIO_9P_TAG_MAX]; /* tag_len, tag */
	const struct virtio_init init = {
		.class = &virtio_9p_class,
		.ops = &virtio_9p_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_9P,
		.features = VIRTIO_BIT(VIRTIO_9P_F_MOUNT_TAG),
		.queue_count = 1,
		.queue = &queue,
		.config = space,
		.config_bytes = 2 + length,
	};

	if (length == 0 || length > VIRTIO_9P_TAG_MAX)
		return err_set(err, -EINVAL, "a share's tag has 1 to %d characters", VIRTIO_9P_TAG_MAX);
	space[0] = (uint8_t)length;
	space[1] = 0;
	memcpy(space + 2, config->tag, length);
	own_env.io_loop = p9->loop;
	return virtio_init(&p9->virtio, &own_env, &init, err);
}

struct device *virtio_9p_create(const struct device_env *env, const struct virtio_9p_config *config,
				struct err *err)
{
	struct virtio_9p *p9 = calloc(1, sizeof(*p9));

	if (!p9) {
		share_destroy(config->share);
		err_set(err, -ENOMEM, "no memory for a share");
		return NULL;
	}
	p9->share = config->share;
	p9->loop = env->io_loop;
	p9->done_fd = -1;
	p9->todo_end = &p9->todo;
	pthread_mutex_init(&p9->lock, NULL);
	pthread_cond_init(&p9->wake, NULL);
	if (virtio_9p_prepare(p9, config, err) < 0 || virtio_9p_set_up(p9, env, config, err) < 0) {
		virtio_9p_free(p9);
		return NULL;
	}
	return &p9->virtio.device;
}
