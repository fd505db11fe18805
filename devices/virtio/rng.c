/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng: each buffer is filled from a file of the host, at a limited rate if asked. virtio 1.2, 5.4. A
 * source that has nothing at the moment (a hardware generator) is waited for; one that ends or fails gives no
 * more, and the buffers wait, since the device has no way to say so and must not hand out bytes that are not
 * random.
 */
#include "devices/virtio/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"
#include "vmm/base/clock.h"
#include "vmm/base/loop.h"
#include "vmm/base/rate_limit.h"
#include "vmm/core/timer.h"

#define RNG_QUEUE      0
#define RNG_QUEUE_SIZE 64
#define RNG_IOV_MAX    16 /* drivers give one piece; a few more cost nothing */
#define RNG_BYTES_MAX                                                                                        \
	(1 << 16)              /* of one buffer: a longer one is used short, so none holds up the I/O loop   \
				*/
#define RNG_BUFFERS_PER_RUN 16 /* then others on the loop have their turn */

struct rng {
	struct virtio_device virtio;
	int fd;
	bool exhausted;           /* the source has ended or failed, which was said */
	struct loop_fd *watch;    /* while the source has nothing */
	struct loop_timer *timer; /* while the limit is exceeded */
	struct rate_limit limit;
	uint64_t owed_bytes; /* of the last request: known when it is done, paid before the next */
	bool owes;
	_Atomic uint64_t bytes, throttled, source_errors; /* metrics */
};

static void rng_unwatch(struct rng *rng)
{
	if (rng->watch)
		loop_fd_remove(rng->watch);
	rng->watch = NULL;
}

static void rng_on_readable(void *opaque, uint32_t epoll_events)
{
	struct rng *rng = opaque;

	rng_unwatch(rng);
	virtio_queue_poke(&rng->virtio, RNG_QUEUE);
}

static void rng_on_timer(void *opaque)
{
	virtio_queue_poke(opaque, RNG_QUEUE);
}

/* True when a request may be served now; else it will be tried again. */
static bool rng_limit_admits(struct rng *rng)
{
	uint64_t now_ns = device_now_ns(rng->virtio.env.io_loop);
	uint64_t delay_ns = rng->owes ? rate_limit_take(&rng->limit, rng->owed_bytes, now_ns) : 0;

	if (delay_ns == 0) {
		rng->owes = false;
		return true;
	}
	atomic_fetch_add_explicit(&rng->throttled, 1, memory_order_relaxed);
	loop_timer_arm(rng->timer, delay_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + delay_ns);
	return false;
}

static void rng_charge(struct rng *rng, uint64_t bytes)
{
	rng->owes = rate_limit_is_set(&rng->limit);
	rng->owed_bytes = bytes;
	atomic_fetch_add_explicit(&rng->bytes, bytes, memory_order_relaxed);
}

/* The source had nothing: waits for it, or says that it is no source any more. */
static void rng_on_no_bytes(struct rng *rng, ssize_t got, int error)
{
	if (got < 0 && error == EAGAIN) {
		rng->watch =
			loop_fd_add(rng->virtio.env.io_loop, rng->fd, EPOLLIN, rng_on_readable, rng, NULL);
		if (rng->watch)
			return;
	}
	atomic_fetch_add_explicit(&rng->source_errors, 1, memory_order_relaxed);
	if (!rng->exhausted)
		log_error("%s: the source of random bytes %s; the guest waits", rng->virtio.device.id,
			  got == 0 ? "has ended" : "cannot be read");
	rng->exhausted = true;
}

static ssize_t rng_read(struct rng *rng, struct virtq_chain *chain)
{
	struct iovec *iov = chain->write;
	unsigned count = chain->write_count;
	ssize_t got;

	if (chain->write_bytes > RNG_BYTES_MAX)
		count = virtq_iov_cut(&iov, count, 0, RNG_BYTES_MAX);
	do {
		got = readv(rng->fd, iov, (int)count);
	} while (got < 0 && errno == EINTR);
	return got;
}

/* False when the chain went back and no other can be served now. */
static bool rng_fill(struct rng *rng, struct virtq_chain *chain)
{
	ssize_t got;

	if (chain->write_count == 0) { /* 5.4.6.1 forbids it; there is nothing to fill */
		virtqueue_complete(chain, 0);
		return true;
	}
	got = rng_read(rng, chain);
	if (got > 0) {
		rng_charge(rng, (uint64_t)got);
		virtqueue_complete(chain, (uint64_t)got);
		return true;
	}
	rng_on_no_bytes(rng, got, errno);
	virtqueue_return(chain);
	return false;
}

static void rng_queue_kick(struct virtio_device *virtio, unsigned index)
{
	struct rng *rng = (struct rng *)virtio;
	struct virtqueue *queue = &virtio->queue[index];
	unsigned served = 0;

	while (!rng->watch && !rng->exhausted && virtqueue_has_buffers(queue) && rng_limit_admits(rng)) {
		struct virtq_chain *chain;

		if (served++ == RNG_BUFFERS_PER_RUN) {
			virtio_queue_poke(virtio, index);
			break;
		}
		chain = virtqueue_pop(queue);
		if (!chain || !rng_fill(rng, chain))
			break;
	}
	virtqueue_publish(queue);
}

static void rng_queue_stop(struct virtio_device *virtio, unsigned index)
{
	struct rng *rng = (struct rng *)virtio;

	rng_unwatch(rng);
	loop_timer_arm(rng->timer, UINT64_MAX);
}

struct rng_call {
	struct rng *rng;
	struct err *err;
};

static void rng_add_timer(void *opaque)
{
	struct rng_call *call = opaque;

	call->rng->timer =
		loop_timer_create(call->rng->virtio.env.io_loop, rng_on_timer, &call->rng->virtio, call->err);
}

static void rng_remove_from_loop(void *opaque)
{
	struct rng *rng = opaque;

	rng_unwatch(rng);
	loop_timer_destroy(rng->timer);
}

static void rng_destroy(struct device *device)
{
	struct rng *rng = (struct rng *)device;

	virtio_release(&rng->virtio);
	loop_call(rng->virtio.env.io_loop, rng_remove_from_loop, rng);
	close(rng->fd);
	free(rng);
}

static const struct state_field rng_state[] = {VIRTIO_STATE_FIELDS, {.name = NULL}};

static const struct metric_field rng_metrics[] = {
	VIRTIO_METRIC_FIELDS,
	{.name = "bytes", .offset = offsetof(struct rng, bytes)},
	{.name = "throttled", .offset = offsetof(struct rng, throttled)},
	{.name = "source_errors", .offset = offsetof(struct rng, source_errors)},
	{.name = NULL},
};

static const char *const rng_syscalls[] = {"readv", NULL};

static const struct device_class rng_class = {
	.name = "virtio-rng",
	.state = rng_state,
	.metrics = rng_metrics,
	.syscalls = rng_syscalls,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.loaded = virtio_class_loaded,
	.destroy = rng_destroy,
};

static const struct virtio_ops rng_ops = {.queue_kick = rng_queue_kick, .queue_stop = rng_queue_stop};

/* A regular file would hand out the same bytes again after a restart, but a test may want just that. */
static int rng_open(const char *source, struct err *err)
{
	int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;

	if (fd < 0)
		return err_set_errno(err, -errno, "cannot open %s", source);
	if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode))
		return fd;
	close(fd);
	return err_set(err, -EISDIR, "%s is not a source of random bytes", source);
}

static struct device *rng_init(struct rng *rng, const struct device_env *env, const struct rng_config *config,
			       struct err *err)
{
	const struct virtio_queue_init queue = {.size_max = RNG_QUEUE_SIZE, .iov_max = RNG_IOV_MAX};
	const struct virtio_init init = {
		.class = &rng_class,
		.ops = &rng_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_ENTROPY,
		.queue_count = 1,
		.queue = &queue,
	};
	/* A tenth of a second's worth at once. */
	const struct rate_limit_config limit = {
		.operations = {.size = (config->requests_per_s + 9) / 10, .refill_time_ns = NS_PER_S / 10},
		.bytes = {.size = (config->bytes_per_s + 9) / 10, .refill_time_ns = NS_PER_S / 10},
	};
	struct rng_call call = {.rng = rng, .err = err};

	rate_limit_init(&rng->limit, config->limit ? config->limit : &limit, device_now_ns(env->io_loop));
	if (virtio_init(&rng->virtio, env, &init, err) < 0)
		return NULL;
	loop_call(env->io_loop, rng_add_timer, &call);
	if (rng->timer)
		return &rng->virtio.device;
	virtio_release(&rng->virtio);
	return NULL;
}

struct device *rng_create(const struct device_env *env, const struct rng_config *config, struct err *err)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	struct device *device;

	if (!rng) {
		err_set(err, -ENOMEM, "no memory for %s", config->id);
		return NULL;
	}
	rng->fd = rng_open(config->source ? config->source : RNG_SOURCE_DEFAULT, err);
	device = rng->fd < 0 ? NULL : rng_init(rng, env, config, err);
	if (device)
		return device;
	if (rng->fd >= 0)
		close(rng->fd);
	free(rng);
	return NULL;
}
