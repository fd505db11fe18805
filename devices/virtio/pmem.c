/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-pmem: says where the memory lies, and writes it back when the driver asks. virtio 1.2, 5.19. Writing
 * back takes as long as the host's disk does, so a thread of the device's own does it, for all requests that
 * have come by then at once.
 */
#include "devices/virtio/pmem.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

#define PMEM_QUEUE_SIZE   64
#define PMEM_CHAIN_MAX    8 /* iovecs: a request is two */
#define PMEM_REQUEST_SYNC 0 /* 5.19.6 */

struct pmem_space {
	uint64_t start, size;
};
_Static_assert(sizeof(struct pmem_space) == 16, "virtio 1.2, 5.19.4");

/* What a chain carries of ours: its place in a list. */
struct pmem_request {
	struct virtq_chain *next;
};

struct pmem {
	struct virtio_device virtio;
	struct pmem_config config;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;        /* guards all below; a leaf */
	pthread_cond_t changed;      /* waiting, done or is_ending */
	struct virtq_chain *waiting; /* for the next write-back */
	struct virtq_chain *done;    /* for the I/O loop to complete */
	int32_t done_status;
	bool is_ending;
	_Atomic uint64_t flushes, flush_errors, bad_requests;
};

static void pmem_answer(struct virtq_chain *chain, uint32_t status)
{
	bool is_written = virtq_chain_write(chain, 0, &status, sizeof(status));

	virtqueue_complete(chain, is_written ? sizeof(status) : 0);
}

static void pmem_on_done(void *opaque)
{
	struct pmem *pmem = opaque;
	struct virtq_chain *chain;
	uint32_t status;

	pthread_mutex_lock(&pmem->lock);
	chain = pmem->done;
	status = (uint32_t)pmem->done_status;
	pmem->done = NULL;
	pthread_cond_signal(&pmem->changed);
	pthread_mutex_unlock(&pmem->lock);
	while (chain) {
		struct pmem_request *request = chain->request;
		struct virtq_chain *next = request->next;

		pmem_answer(chain, status);
		chain = next;
	}
	virtqueue_publish(&pmem->virtio.queue[0]);
}

/* Waits for requests; the chains, or NULL at the end. */
static struct virtq_chain *pmem_wait(struct pmem *pmem)
{
	struct virtq_chain *chains;

	pthread_mutex_lock(&pmem->lock);
	/* One batch at a time: the last one must have been taken by the loop. */
	while (!pmem->is_ending && (!pmem->waiting || pmem->done))
		pthread_cond_wait(&pmem->changed, &pmem->lock);
	chains = pmem->is_ending ? NULL : pmem->waiting;
	if (chains)
		pmem->waiting = NULL;
	pthread_mutex_unlock(&pmem->lock);
	return chains;
}

static void *pmem_run(void *opaque)
{
	struct pmem *pmem = opaque;
	struct virtq_chain *chains;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while ((chains = pmem_wait(pmem)) != NULL) {
		int code = msync(pmem->config.hva, pmem->config.file_bytes, MS_SYNC);

		atomic_fetch_add(&pmem->flushes, 1);
		if (code < 0)
			atomic_fetch_add(&pmem->flush_errors, 1);
		pthread_mutex_lock(&pmem->lock);
		pmem->done = chains;
		pmem->done_status = code; /* 0, or -1: the guest reports an I/O error */
		pthread_mutex_unlock(&pmem->lock);
		while (loop_post(pmem->virtio.env.io_loop, pmem_on_done, pmem) < 0)
			sched_yield();
	}
	return NULL;
}

static void pmem_kick(struct virtio_device *virtio, unsigned index)
{
	struct pmem *pmem = (struct pmem *)virtio;
	struct virtqueue *queue = &virtio->queue[index];
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(queue)) != NULL) {
		struct pmem_request *request = chain->request;
		uint32_t type = UINT32_MAX;

		if (!virtq_chain_read(chain, 0, &type, sizeof(type)) || type != PMEM_REQUEST_SYNC ||
		    chain->write_bytes < sizeof(uint32_t)) {
			atomic_fetch_add(&pmem->bad_requests, 1);
			pmem_answer(chain, UINT32_MAX);
			continue;
		}
		pthread_mutex_lock(&pmem->lock);
		request->next = pmem->waiting;
		pmem->waiting = chain;
		pthread_cond_signal(&pmem->changed);
		pthread_mutex_unlock(&pmem->lock);
	}
	virtqueue_publish(queue);
}

static void pmem_release(struct pmem *pmem)
{
	pthread_mutex_lock(&pmem->lock);
	pmem->is_ending = true;
	pthread_cond_signal(&pmem->changed);
	pthread_mutex_unlock(&pmem->lock);
	if (pmem->has_thread)
		pthread_join(pmem->thread, NULL);
	pthread_cond_destroy(&pmem->changed);
	pthread_mutex_destroy(&pmem->lock);
}

static void pmem_destroy(struct device *device)
{
	struct pmem *pmem = (struct pmem *)device;

	virtio_release(&pmem->virtio); /* returns when no request is in flight */
	pmem_release(pmem);
	free(pmem);
}

static const struct state_field pmem_state[] = {
	VIRTIO_STATE_FIELDS,
	{.name = NULL},
};

static const struct metric_field pmem_metrics[] = {
	VIRTIO_METRIC_FIELDS,
	{.name = "flushes", .offset = offsetof(struct pmem, flushes)},
	{.name = "flush_errors", .offset = offsetof(struct pmem, flush_errors)},
	{.name = "bad_requests", .offset = offsetof(struct pmem, bad_requests)},
	{.name = NULL},
};

static const char *const pmem_syscalls[] = {"msync", "sched_yield", NULL};

static const struct device_class pmem_class = {
	.name = "virtio-pmem",
	.state = pmem_state,
	.metrics = pmem_metrics,
	.syscalls = pmem_syscalls,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.loaded = virtio_class_loaded,
	.destroy = pmem_destroy,
};

static const struct virtio_ops pmem_ops = {.queue_kick = pmem_kick};

struct device *pmem_create(const struct device_env *env, const struct pmem_config *config, struct err *err)
{
	static const struct virtio_queue_init queue = {
		.size_max = PMEM_QUEUE_SIZE,
		.iov_max = PMEM_CHAIN_MAX,
		.request_bytes = sizeof(struct pmem_request),
	};
	const struct pmem_space space = {.start = config->gpa, .size = config->size_bytes};
	const struct virtio_init init = {
		.class = &pmem_class,
		.ops = &pmem_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_PMEM,
		.queue_count = 1,
		.queue = &queue,
		.config = &space,
		.config_bytes = sizeof(space),
	};
	struct pmem *pmem = calloc(1, sizeof(*pmem));

	if (!pmem) {
		err_set(err, -ENOMEM, "no memory for persistent memory");
		return NULL;
	}
	pmem->config = *config;
	pthread_mutex_init(&pmem->lock, NULL);
	pthread_cond_init(&pmem->changed, NULL);
	if (virtio_init(&pmem->virtio, env, &init, err) == 0) {
		int code = pthread_create(&pmem->thread, NULL, pmem_run, pmem);

		pmem->has_thread = code == 0;
		if (code == 0)
			return &pmem->virtio.device;
		err_set_errno(err, -code, "%s: thread", config->id);
		virtio_release(&pmem->virtio);
	}
	pmem_release(pmem);
	free(pmem);
	return NULL;
}
