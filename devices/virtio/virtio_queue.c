/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues of a device: kicks by eventfd on the I/O loop, start and stop from a vCPU's thread.
 * virtio 1.2, 2.6.
 *
 * A stop has two halves on the I/O loop with a wait between them: the queues fall quiet and the device lets
 * go of what it can; the vCPU sleeps until the last chain is back; then the rings are unmapped. The loop goes
 * on meanwhile, since it is what completes those chains.
 */
#include "devices/virtio/virtio_queue.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/virtio_transport.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

#define VIRTIO_QUEUE_SIZE_DEFAULT 256

/* A call on the I/O loop. */
struct virtio_queue_call {
	struct virtio_device *virtio;
	unsigned first, count;
};

static void virtio_on_broken(void *opaque, unsigned index, const char *why)
{
	struct virtio_device *virtio = opaque;

	atomic_fetch_add_explicit(&virtio->ring_errors, 1, memory_order_relaxed);
	virtio_needs_reset(virtio, "queue %u: %s", index, why);
}

static void virtio_on_interrupt(void *opaque, unsigned index)
{
	virtio_queue_interrupt(opaque, index);
}

static void virtio_on_drained(void *opaque, unsigned index)
{
	struct virtio_device *virtio = opaque;

	pthread_mutex_lock(&virtio->leaf);
	if (virtio->queue_drains[index]) {
		virtio->queue_drains[index] = false;
		virtio->draining--;
		pthread_cond_broadcast(&virtio->drained);
	}
	pthread_mutex_unlock(&virtio->leaf);
}

static void virtio_queue_serve(struct virtio_device *virtio, unsigned index)
{
	if (!virtio->queues_elsewhere && virtio_is_active(virtio) && virtio_queue_is_up(virtio, index) &&
	    virtio->ops->queue_kick)
		virtio->ops->queue_kick(virtio, index);
}

/* The watch's opaque is the queue, whose config leads back to the device. */
static void virtio_on_kick(void *opaque, uint32_t epoll_events)
{
	struct virtqueue *queue = opaque;
	struct virtio_device *virtio = queue->config.opaque;
	uint64_t count;

	if (read(virtio->kick_fd[queue->config.index], &count, sizeof(count)) != sizeof(count))
		return;
	atomic_fetch_add_explicit(&virtio->kicks, 1, memory_order_relaxed);
	virtio_queue_serve(virtio, queue->config.index);
}

void virtio_queue_poke(struct virtio_device *virtio, unsigned index)
{
	const uint64_t one = 1;
	ssize_t written = write(virtio->kick_fd[index], &one, sizeof(one));

	(void)written; /* EAGAIN: it has been kicked often enough */
}

void virtio_queue_notify(struct virtio_device *virtio, uint32_t index)
{
	if (index < virtio->queue_count)
		virtio_queue_poke(virtio, index);
}

/* Creation. */

static int virtio_queue_create(struct virtio_device *virtio, const struct virtio_queue_init *init,
			       struct err *err)
{
	unsigned index = virtio->queue_count;
	const struct virtqueue_config config = {
		.gmem = virtio->env.gmem,
		.size_max = init && init->size_max ? init->size_max : VIRTIO_QUEUE_SIZE_DEFAULT,
		.iov_max = init ? init->iov_max : 0,
		.request_bytes = init ? init->request_bytes : 0,
		.broken = virtio_on_broken,
		.interrupt = virtio_on_interrupt,
		.drained = virtio_on_drained,
		.opaque = virtio,
		.index = index,
	};
	int code = virtqueue_init(&virtio->queue[index], &config, err);

	if (code < 0)
		return code;
	virtio->kick_fd[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (virtio->kick_fd[index] < 0) {
		virtqueue_destroy(&virtio->queue[index]);
		return err_set_errno(err, -errno, "eventfd");
	}
	virtio->queue_count++;
	return 0;
}

struct virtio_watch_call {
	struct virtio_device *virtio;
	struct err *err;
	int code;
};

static void virtio_watch_on_loop(void *opaque)
{
	struct virtio_watch_call *call = opaque;
	struct virtio_device *virtio = call->virtio;

	for (unsigned i = 0; i < virtio->queue_count && call->code == 0; i++) {
		virtio->kick_watch[i] = loop_fd_add(virtio->env.io_loop, virtio->kick_fd[i], EPOLLIN,
						    virtio_on_kick, &virtio->queue[i], call->err);
		if (!virtio->kick_watch[i])
			call->code = call->err && call->err->code ? call->err->code : -ENOMEM;
	}
}

int virtio_queues_create(struct virtio_device *virtio, const struct virtio_init *init, struct err *err)
{
	struct virtio_watch_call call = {.virtio = virtio, .err = err};
	int code = 0;

	for (unsigned i = 0; i < init->queue_count && code == 0; i++)
		code = virtio_queue_create(virtio, init->queue ? &init->queue[i] : NULL, err);
	if (code < 0 || virtio->queues_elsewhere)
		return code;
	loop_call(virtio->env.io_loop, virtio_watch_on_loop, &call);
	return call.code;
}

static void virtio_unwatch_on_loop(void *opaque)
{
	struct virtio_device *virtio = opaque;

	for (unsigned i = 0; i < virtio->queue_count; i++) {
		if (virtio->kick_watch[i])
			loop_fd_remove(virtio->kick_watch[i]);
		virtio->kick_watch[i] = NULL;
	}
}

void virtio_queues_destroy(struct virtio_device *virtio)
{
	loop_call(virtio->env.io_loop, virtio_unwatch_on_loop, virtio);
	while (virtio->queue_count > 0) {
		unsigned last = --virtio->queue_count;

		close(virtio->kick_fd[last]);
		virtqueue_destroy(&virtio->queue[last]);
	}
}

/* Start. I/O loop. */

static void virtio_queue_start(struct virtio_device *virtio, unsigned index)
{
	struct virtqueue *queue = &virtio->queue[index];
	const struct virtqueue_features features = {
		.packed = virtio_has_feature(virtio, VIRTIO_F_RING_PACKED),
		.indirect = virtio_has_feature(virtio, VIRTIO_F_INDIRECT_DESC),
		.event_idx = virtio_has_feature(virtio, VIRTIO_F_EVENT_IDX),
	};
	struct err err = {0};

	if (!queue->enabled || queue->started)
		return;
	if (virtio->queues_elsewhere) {
		queue->started = true;
		queue->quiet = false;
		return;
	}
	if (virtqueue_start(queue, &features, &err) == 0)
		return;
	atomic_fetch_add_explicit(&virtio->ring_errors, 1, memory_order_relaxed);
	virtio_needs_reset(virtio, "%s", err.message);
}

static void virtio_queues_start_all(struct virtio_device *virtio)
{
	for (unsigned i = 0; i < virtio->queue_count; i++)
		virtio_queue_start(virtio, i);
}

/* Buffers may be there from before, and kicks may have been missed. */
static void virtio_queues_serve_all(struct virtio_device *virtio)
{
	for (unsigned i = 0; i < virtio->queue_count; i++)
		virtio_queue_serve(virtio, i);
}

static void virtio_activate_on_loop(void *opaque)
{
	struct virtio_device *virtio = opaque;
	struct err err = {0};

	virtio->active = true;
	virtio_queues_start_all(virtio);
	if (virtio->ops->activate && virtio->ops->activate(virtio, &err) < 0)
		virtio_needs_reset(virtio, "cannot start: %s", err.message);
	virtio_queues_serve_all(virtio);
}

void virtio_queues_activate(struct virtio_device *virtio)
{
	loop_call(virtio->env.io_loop, virtio_activate_on_loop, virtio);
}

static void virtio_resume_on_loop(void *opaque)
{
	struct virtio_device *virtio = opaque;

	if (!virtio_is_active(virtio))
		return;
	virtio_queues_start_all(virtio);
	if (virtio->ops->resume)
		virtio->ops->resume(virtio);
	virtio_queues_serve_all(virtio);
}

void virtio_queues_resume(struct virtio_device *virtio)
{
	loop_call(virtio->env.io_loop, virtio_resume_on_loop, virtio);
}

static void virtio_start_one_on_loop(void *opaque)
{
	struct virtio_queue_call *call = opaque;
	struct virtio_device *virtio = call->virtio;

	virtio_queue_start(virtio, call->first);
	if (!virtio->queue[call->first].started)
		return;
	if (virtio->ops->queue_start)
		virtio->ops->queue_start(virtio, call->first);
	virtio_queue_serve(virtio, call->first);
}

void virtio_queues_start_one(struct virtio_device *virtio, unsigned index)
{
	struct virtio_queue_call call = {.virtio = virtio, .first = index};

	loop_call(virtio->env.io_loop, virtio_start_one_on_loop, &call);
}

/* Stop. */

static void virtio_quiesce_on_loop(void *opaque)
{
	struct virtio_queue_call *call = opaque;
	struct virtio_device *virtio = call->virtio;

	for (unsigned i = call->first; i < call->first + call->count; i++) {
		struct virtqueue *queue = &virtio->queue[i];

		if (!queue->started)
			continue;
		virtqueue_set_quiet(queue, true);
		if (virtio->ops->queue_stop)
			virtio->ops->queue_stop(virtio, i);
		pthread_mutex_lock(&virtio->leaf);
		virtio->queue_drains[i] = queue->in_flight > 0;
		virtio->draining += virtio->queue_drains[i];
		pthread_mutex_unlock(&virtio->leaf);
	}
}

static void virtio_unmap_on_loop(void *opaque)
{
	struct virtio_queue_call *call = opaque;

	for (unsigned i = call->first; i < call->first + call->count; i++)
		virtqueue_stop(&call->virtio->queue[i]);
}

static bool virtio_is_draining(struct virtio_device *virtio)
{
	bool draining;

	pthread_mutex_lock(&virtio->leaf);
	draining = virtio->draining > 0;
	pthread_mutex_unlock(&virtio->leaf);
	return draining;
}

/* Without a thread that runs the loop, the caller does. */
static void virtio_wait_drained(struct virtio_device *virtio)
{
	if (loop_is_mine(virtio->env.io_loop)) {
		while (virtio_is_draining(virtio) && loop_run_once(virtio->env.io_loop, -1) == 0)
			;
		return;
	}
	pthread_mutex_lock(&virtio->leaf);
	while (virtio->draining > 0)
		pthread_cond_wait(&virtio->drained, &virtio->leaf);
	pthread_mutex_unlock(&virtio->leaf);
}

void virtio_queues_stop(struct virtio_device *virtio, unsigned first, unsigned count)
{
	struct virtio_queue_call call = {.virtio = virtio, .first = first, .count = count};

	loop_call(virtio->env.io_loop, virtio_quiesce_on_loop, &call);
	virtio_wait_drained(virtio);
	loop_call(virtio->env.io_loop, virtio_unmap_on_loop, &call);
}

/* The transport's side. */

uint16_t virtio_queue_size_max(const struct virtio_device *virtio, uint32_t index)
{
	return index < virtio->queue_count ? virtio->queue[index].config.size_max : 0;
}

uint64_t virtio_queue_read(struct virtio_device *virtio, uint32_t index, enum virtio_queue_field field)
{
	const struct virtqueue *queue;
	uint64_t value = 0;

	if (index >= virtio->queue_count)
		return 0;
	queue = &virtio->queue[index];
	pthread_mutex_lock(&virtio->lock);
	switch (field) {
	case VIRTIO_QUEUE_SIZE: value = queue->size; break;
	case VIRTIO_QUEUE_DESC: value = queue->desc_gpa; break;
	case VIRTIO_QUEUE_DRIVER: value = queue->driver_gpa; break;
	case VIRTIO_QUEUE_DEVICE: value = queue->device_gpa; break;
	}
	pthread_mutex_unlock(&virtio->lock);
	return value;
}

static uint64_t virtio_merge(uint64_t before, uint64_t mask, uint64_t value)
{
	return (before & ~mask) | (value & mask);
}

/* What is wrong with a size or an address is said when the queue starts. */
static void virtio_queue_set(struct virtqueue *queue, enum virtio_queue_field field, uint64_t mask,
			     uint64_t value)
{
	switch (field) {
	case VIRTIO_QUEUE_SIZE: queue->size = value <= queue->config.size_max ? (uint16_t)value : 0; return;
	case VIRTIO_QUEUE_DESC: queue->desc_gpa = virtio_merge(queue->desc_gpa, mask, value); return;
	case VIRTIO_QUEUE_DRIVER: queue->driver_gpa = virtio_merge(queue->driver_gpa, mask, value); return;
	case VIRTIO_QUEUE_DEVICE: queue->device_gpa = virtio_merge(queue->device_gpa, mask, value); return;
	}
}

bool virtio_queue_write(struct virtio_device *virtio, uint32_t index, enum virtio_queue_field field,
			uint64_t mask, uint64_t value)
{
	bool allowed;

	if (index >= virtio->queue_count)
		return false;
	pthread_mutex_lock(&virtio->lock);
	allowed = !virtio->queue[index].enabled;
	if (allowed)
		virtio_queue_set(&virtio->queue[index], field, mask, value);
	pthread_mutex_unlock(&virtio->lock);
	if (!allowed)
		virtio_driver_error(virtio, "queue %u is changed while it is enabled", index);
	return allowed;
}

bool virtio_queue_is_enabled(struct virtio_device *virtio, uint32_t index)
{
	bool enabled;

	if (index >= virtio->queue_count)
		return false;
	pthread_mutex_lock(&virtio->lock);
	enabled = virtio->queue[index].enabled;
	pthread_mutex_unlock(&virtio->lock);
	return enabled;
}

/* 3.1.1: queues are set up after the features; a queue before that has no layout. */
void virtio_queue_enable(struct virtio_device *virtio, uint32_t index)
{
	if (index >= virtio->queue_count)
		return;
	pthread_mutex_lock(&virtio->lock);
	if (!(virtio->status & VIRTIO_STATUS_FEATURES_OK)) {
		virtio_driver_error(virtio, "queue %u is enabled before the features are agreed on", index);
	} else if (!virtio->queue[index].enabled) {
		virtio->queue[index].enabled = true;
		if (virtio_is_active(virtio))
			virtio_queues_start_one(virtio, index);
	}
	pthread_mutex_unlock(&virtio->lock);
}

static void virtio_queue_reset_on_loop(void *opaque)
{
	struct virtio_queue_call *call = opaque;

	virtqueue_reset(&call->virtio->queue[call->first]);
}

void virtio_queue_reset(struct virtio_device *virtio, uint32_t index)
{
	struct virtio_queue_call call = {.virtio = virtio, .first = index, .count = 1};

	if (index >= virtio->queue_count)
		return;
	pthread_mutex_lock(&virtio->lock);
	virtio_queues_stop(virtio, index, 1);
	loop_call(virtio->env.io_loop, virtio_queue_reset_on_loop, &call);
	pthread_mutex_unlock(&virtio->lock);
}
