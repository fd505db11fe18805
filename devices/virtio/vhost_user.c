/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user front end: a virtio device whose requests another process answers. The device model here has the
 * guest's rings; chains go on through rings of our own (vhost_ring.h), so the process meets neither hostile
 * rings nor packed ones, and what it writes is announced to guest memory's listeners. Why not the guest's own
 * rings: docs/decisions/0011-vhost-user-rings.md.
 *
 * When the process goes away, or answers what the protocol does not allow, the device wants a reset
 * (NEEDS_RESET), its requests are over, and a connection is tried again and again. A driver that resets the
 * device then finds it whole.
 *
 * Everything runs on the I/O loop but creation. Messages wait for their answers there, for
 * VHOST_USER_TIMEOUT_MS at most: they are sent when a driver starts or stops the device, not in between.
 */
#include "devices/virtio/vhost_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/virtio/vhost_user_device.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/core/gmem.h"

#define VHOST_USER_TIMEOUT_MS 10000
#define VHOST_USER_RETRY_TIMEOUT_MS                                                                          \
	1000 /* of each answer when connecting again: the loop has others to serve */
#define VHOST_USER_RETRY_MIN_NS 1000000000ull
#define VHOST_USER_RETRY_MAX_NS 30000000000ull
#define VHOST_USER_STOP_NS      10000000000ull /* for the last requests when a queue is stopped */

static size_t vhost_user_memory_bytes(const struct vhost_user *user)
{
	return (size_t)user->queue_count * VHOST_RING_BYTES;
}

/* The chains of a queue that has no process any more. */
static void vhost_user_discard(struct vhost_user_queue *queue)
{
	struct virtq_chain *chain;

	while ((chain = vhost_ring_take_back(&queue->ring)) != NULL)
		virtqueue_discard(chain);
	queue->started = false;
}

static void vhost_user_disconnect(struct vhost_user *user)
{
	if (user->link_watch)
		loop_fd_remove(user->link_watch);
	user->link_watch = NULL;
	vhost_close(&user->link);
}

/* The process is gone, or of no use. */
static void vhost_user_lose(struct vhost_user *user, const char *why)
{
	if (user->link.fd < 0)
		return;
	vhost_user_disconnect(user);
	user->stop_deadline_ns = 0;
	if (virtio_is_active(&user->virtio))
		virtio_needs_reset(&user->virtio, "%s: %s", user->path, why);
	else
		log_warning("%s: %s: %s", user->virtio.device.id, user->path, why);
	for (unsigned i = 0; i < user->queue_count; i++)
		vhost_user_discard(&user->queue[i]);
	user->retry_ns = VHOST_USER_RETRY_MIN_NS;
	loop_timer_arm(user->timer, clock_monotonic_ns() + user->retry_ns);
}

static void vhost_user_on_link(void *opaque, uint32_t epoll_events)
{
	struct vhost_user *user = opaque;

	/* It never speaks unasked. */
	vhost_user_lose(user, epoll_events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR) ? "the process has gone away"
										: "an answer to nothing");
}

/* What both sides can do. On a first connection it becomes what is offered; later it must be as much. */
static int vhost_user_greet(struct vhost_user *user, struct err *err)
{
	const uint64_t wanted = 1ull << VHOST_PROTOCOL_F_REPLY_ACK | 1ull << VHOST_PROTOCOL_F_MQ |
				1ull << VHOST_PROTOCOL_F_CONFIG;
	struct vhost_link *link = &user->link;
	uint64_t features, protocol, queues = user->queue_count;
	int code = vhost_get_features(link, &features, err);

	if (code == 0 && features >> VHOST_F_PROTOCOL_FEATURES & 1) {
		code = vhost_get_protocol_features(link, &protocol, err);
		if (code == 0)
			code = vhost_set_protocol_features(link, protocol & wanted, err);
	}
	/* A network back end counts pairs, of which one is always there. */
	if (code == 0 && link->protocol_features >> VHOST_PROTOCOL_F_MQ & 1 && user->kind != VHOST_USER_NET)
		code = vhost_get_queue_count(link, &queues, err);
	if (code == 0)
		code = vhost_set_owner(link, err);
	if (code < 0)
		return code;
	if (queues < user->queue_count)
		return err_set(err, -EINVAL, "the back end has %llu queues, %u are asked for",
			       (unsigned long long)queues, user->queue_count);
	if (user->backend_features & ~features)
		return err_set(err, -EINVAL, "the back end can do less than the one before");
	user->backend_features = features;
	return 0;
}

static int vhost_user_connect(struct vhost_user *user, int timeout_ms, struct err *err)
{
	int code = vhost_connect(&user->link, user->path, err);

	user->link.timeout_ms = timeout_ms;
	if (code == 0)
		code = vhost_user_greet(user, err);
	user->link.timeout_ms = VHOST_USER_TIMEOUT_MS;
	if (code < 0)
		vhost_close(&user->link);
	return code < 0 ? err_prefix(err, "%s", user->path) : 0;
}

static int vhost_user_watch_link(struct vhost_user *user, struct err *err)
{
	user->link_watch = loop_fd_add(user->virtio.env.io_loop, user->link.fd, EPOLLIN | EPOLLRDHUP,
				       vhost_user_on_link, user, err);
	return user->link_watch ? 0 : -EIO;
}

static void vhost_user_retry(struct vhost_user *user)
{
	struct err err = {0};

	if (vhost_user_connect(user, VHOST_USER_RETRY_TIMEOUT_MS, &err) == 0 &&
	    vhost_user_watch_link(user, &err) == 0) {
		user->reconnects++;
		log_info("%s: connected to %s again", user->virtio.device.id, user->path);
		return;
	}
	vhost_close(&user->link);
	user->retry_ns =
		user->retry_ns < VHOST_USER_RETRY_MAX_NS / 2 ? 2 * user->retry_ns : VHOST_USER_RETRY_MAX_NS;
	loop_timer_arm(user->timer, clock_monotonic_ns() + user->retry_ns);
}

static void vhost_user_on_timer(void *opaque)
{
	struct vhost_user *user = opaque;

	if (user->link.fd < 0)
		vhost_user_retry(user);
	else if (user->stop_deadline_ns && clock_monotonic_ns() >= user->stop_deadline_ns)
		vhost_user_lose(user, "it does not finish the requests of a queue that is stopped");
}

/* From the guest's ring to the process's. */
static void vhost_user_pump(struct vhost_user *user, unsigned index)
{
	struct vhost_user_queue *queue = &user->queue[index];
	const uint64_t one = 1;
	struct virtq_chain *chain;
	bool any = false;

	while (queue->started && virtio_queue_is_up(&user->virtio, index) &&
	       (chain = virtqueue_pop(&user->virtio.queue[index])) != NULL) {
		bool can = vhost_ring_can_take(&queue->ring, chain);

		if (!can)
			virtio_needs_reset(&user->virtio, "queue %u: a buffer in a ROM", index);
		if (!can || !vhost_ring_put(&queue->ring, chain)) {
			virtqueue_return(chain);
			break;
		}
		user->requests++;
		any = true;
	}
	if (any && vhost_ring_wants_kick(&queue->ring) && write(queue->kick_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it has not yet taken note of 2^64 kicks */
}

/* And back. */
static void vhost_user_harvest(struct vhost_user *user, unsigned index)
{
	struct vhost_user_queue *queue = &user->queue[index];
	struct virtq_chain *chain;
	bool broken = false;
	uint64_t written;

	if (!queue->started)
		return;
	while ((chain = vhost_ring_take(&queue->ring, &written, &broken)) != NULL)
		virtqueue_complete(chain, written);
	virtqueue_publish(&user->virtio.queue[index]);
	if (broken)
		vhost_user_lose(user, "it used a request that it was not given");
}

static void vhost_user_kick(struct virtio_device *virtio, unsigned index)
{
	vhost_user_pump((struct vhost_user *)virtio, index);
}

static void vhost_user_on_call(void *opaque, uint32_t epoll_events)
{
	struct vhost_user_queue *queue = opaque;
	struct vhost_user *user;
	unsigned index = queue->ring.index;
	uintptr_t first = (uintptr_t)(queue - index);
	uint64_t count;
	ssize_t got = read(queue->call_fd, &count, sizeof(count));

	(void)got;
	user = (struct vhost_user *)(first - offsetof(struct vhost_user, queue));
	vhost_user_harvest(user, index);
	vhost_user_pump(user, index);
}

/* The process serves the ring no more; what it has used is taken. */
static void vhost_user_stop_ring(struct vhost_user *user, unsigned index)
{
	struct vhost_user_queue *queue = &user->queue[index];
	struct err err = {0};
	unsigned base;

	if (!queue->started || user->link.fd < 0)
		return;
	if (vhost_get_ring_base(&user->link, index, &base, &err) < 0) {
		vhost_user_lose(user, err.message);
		return;
	}
	vhost_user_harvest(user, index);
	queue->started = false;
}

/* All guest memory but ROM, and our rings behind it. */
static int vhost_user_share_memory(struct vhost_user *user, struct err *err)
{
	const struct gmem *gmem = user->virtio.env.gmem;
	struct vhost_region regions[VHOST_REGIONS_MAX];
	int fds[VHOST_REGIONS_MAX];
	size_t count = 0;
	uint64_t end = 0;

	for (size_t i = 0; i < gmem_region_count(gmem); i++) {
		const struct gmem_region *region = gmem_region_at(gmem, i);

		end = region->gpa + region->size_bytes;
		if (region->kind == GMEM_ROM)
			continue;
		if (region->backing != GMEM_SHARED)
			return err_set(err, -ENOTSUP,
				       "the memory of a machine that was loaded is its own: a process beside "
				       "it cannot have it");
		if (count + 1 == VHOST_REGIONS_MAX)
			return err_set(err, -ENOSPC, "the guest's memory has more than %d regions",
				       VHOST_REGIONS_MAX - 1);
		fds[count] = region->fd;
		regions[count++] = (struct vhost_region){.gpa = region->gpa,
							 .size_bytes = region->size_bytes,
							 .hva = (uint64_t)(uintptr_t)region->hva,
							 .fd_offset = region->fd_offset};
	}
	fds[count] = user->memory_fd;
	/* A place where the guest has nothing; descriptors never name it. */
	regions[count++] = (struct vhost_region){.gpa = (end + (1ull << 30)) & ~((1ull << 30) - 1),
						 .size_bytes = vhost_user_memory_bytes(user),
						 .hva = (uint64_t)(uintptr_t)user->memory};
	return vhost_set_memory(&user->link, regions, fds, count, err);
}

static int vhost_user_start_ring(struct vhost_user *user, unsigned index, struct err *err)
{
	struct vhost_user_queue *queue = &user->queue[index];
	const struct vhost_ring_address address = {
		.index = index,
		.desc = (uint64_t)(uintptr_t)vhost_ring_desc(&queue->ring),
		.used = (uint64_t)(uintptr_t)vhost_ring_used(&queue->ring),
		.avail = (uint64_t)(uintptr_t)vhost_ring_avail(&queue->ring),
	};
	struct vhost_link *link = &user->link;
	int code;

	vhost_ring_reset(&queue->ring);
	code = vhost_set_ring_size(link, index, VHOST_RING_SIZE, err);
	if (code == 0)
		code = vhost_set_ring_base(link, index, 0, err);
	if (code == 0)
		code = vhost_set_ring_address(link, &address, err);
	if (code == 0)
		code = vhost_set_ring_call(link, index, queue->call_fd, err);
	if (code == 0)
		code = vhost_set_ring_kick(link, index, queue->kick_fd, err);
	/* Else a ring is enabled when it gets its kick descriptor. */
	if (code == 0 && user->backend_features >> VHOST_F_PROTOCOL_FEATURES & 1)
		code = vhost_enable_ring(link, index, true, err);
	queue->started = code == 0;
	if (code == 0)
		vhost_user_pump(user, index);
	return code;
}

static int vhost_user_start(struct vhost_user *user, struct err *err)
{
	const uint64_t known =
		0xffffffull | VIRTIO_BIT(VHOST_F_PROTOCOL_FEATURES) | VIRTIO_BIT(VIRTIO_F_VERSION_1);
	const uint64_t chosen = user->virtio.driver_features | VIRTIO_BIT(VHOST_F_PROTOCOL_FEATURES);
	int code;

	if (user->link.fd < 0)
		return err_set(err, -ENOTCONN, "%s: no process is there", user->path);
	code = vhost_set_features(&user->link, chosen & user->backend_features & known, err);
	if (code == 0)
		code = vhost_user_share_memory(user, err);
	for (unsigned i = 0; i < user->queue_count && code == 0; i++) {
		if (virtio_queue_is_up(&user->virtio, i))
			code = vhost_user_start_ring(user, i, err);
	}
	if (code < 0)
		vhost_user_lose(user, err->message);
	return code;
}

static int vhost_user_activate(struct virtio_device *virtio, struct err *err)
{
	return vhost_user_start((struct vhost_user *)virtio, err);
}

static void vhost_user_queue_start(struct virtio_device *virtio, unsigned index)
{
	struct vhost_user *user = (struct vhost_user *)virtio;
	struct err err = {0};

	vhost_user_stop_ring(user, index);
	if (user->link.fd >= 0 && vhost_user_start_ring(user, index, &err) < 0)
		vhost_user_lose(user, err.message);
}

/*
 * Buffers that only wait for a packet go back as they were, the newest first, as long as none behind them was
 * used; then the rest is given up.
 */
static void vhost_user_take_back(struct vhost_user_queue *queue)
{
	struct virtq_chain *chain;

	while ((chain = vhost_ring_take_newest(&queue->ring)) != NULL)
		virtqueue_return(chain);
	vhost_user_discard(queue);
}

/* Requests of disks and file systems are finished by the process, for which it has some time. */
static void vhost_user_queue_stop(struct virtio_device *virtio, unsigned index)
{
	struct vhost_user *user = (struct vhost_user *)virtio;

	if (user->kind == VHOST_USER_NET) {
		vhost_user_stop_ring(user, index);
		vhost_user_take_back(&user->queue[index]);
		return;
	}
	if (!user->queue[index].started || user->link.fd < 0)
		return;
	user->stop_deadline_ns = clock_monotonic_ns() + VHOST_USER_STOP_NS;
	loop_timer_arm(user->timer, user->stop_deadline_ns);
}

/* Every queue is quiet. */
static void vhost_user_stop(struct virtio_device *virtio)
{
	struct vhost_user *user = (struct vhost_user *)virtio;

	user->stop_deadline_ns = 0;
	for (unsigned i = 0; i < user->queue_count; i++)
		vhost_user_stop_ring(user, i);
}

static void vhost_user_resume(struct virtio_device *virtio)
{
	struct vhost_user *user = (struct vhost_user *)virtio;
	struct err err = {0};

	if (vhost_user_start(user, &err) < 0)
		virtio_needs_reset(virtio, "%s", err.message);
}

static const struct virtio_ops vhost_user_ops = {
	.activate = vhost_user_activate,
	.queue_start = vhost_user_queue_start,
	.queue_kick = vhost_user_kick,
	.queue_stop = vhost_user_queue_stop,
	.reset = vhost_user_stop,
	.pause = vhost_user_stop,
	.resume = vhost_user_resume,
};

static void vhost_user_unwatch(void *opaque)
{
	struct vhost_user *user = opaque;

	vhost_user_disconnect(user);
	if (user->timer)
		loop_timer_destroy(user->timer);
	for (unsigned i = 0; i < user->queue_count; i++) {
		if (user->queue[i].call_watch)
			loop_fd_remove(user->queue[i].call_watch);
	}
}

static void vhost_user_free(struct vhost_user *user, struct loop *loop)
{
	loop_call(loop, vhost_user_unwatch, user);
	for (unsigned i = 0; i < user->queue_count; i++) {
		if (user->queue[i].kick_fd >= 0)
			close(user->queue[i].kick_fd);
		if (user->queue[i].call_fd >= 0)
			close(user->queue[i].call_fd);
	}
	if (user->memory)
		munmap(user->memory, vhost_user_memory_bytes(user));
	if (user->memory_fd >= 0)
		close(user->memory_fd);
	free(user->path);
	free(user);
}

static void vhost_user_destroy(struct device *device)
{
	struct vhost_user *user = (struct vhost_user *)device;
	struct loop *loop = user->virtio.env.io_loop;

	virtio_release(&user->virtio);
	vhost_user_free(user, loop);
}

static const struct state_field vhost_user_state[] = {VIRTIO_STATE_FIELDS, {.name = NULL}};

static const struct metric_field vhost_user_metrics[] = {
	VIRTIO_METRIC_FIELDS,
	{.name = "requests", .offset = offsetof(struct vhost_user, requests)},
	{.name = "reconnects", .offset = offsetof(struct vhost_user, reconnects)},
	{.name = NULL},
};

static const char *const vhost_user_syscalls[] = {
	"socket", "connect", "sendmsg", "recvfrom", "poll", "close", "epoll_ctl", "timerfd_settime", NULL,
};

static const char *vhost_user_unsaved(const struct device *device)
{
	return virtio_is_active((const struct virtio_device *)device)
		       ? "its queues are in another process's hands"
		       : NULL;
}

static const struct device_class vhost_user_class = {
	.name = "vhost-user",
	.state = vhost_user_state,
	.metrics = vhost_user_metrics,
	.syscalls = vhost_user_syscalls,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.loaded = virtio_class_loaded,
	.unsaved = vhost_user_unsaved,
	.destroy = vhost_user_destroy,
};

static int vhost_user_make_rings(struct vhost_user *user, const struct device_env *env, struct err *err)
{
	void *memory;

	user->memory_fd = memfd_create("vhost-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (user->memory_fd < 0 || ftruncate(user->memory_fd, (off_t)vhost_user_memory_bytes(user)) < 0)
		return err_set_errno(err, -errno, "no memory for rings");
	memory = mmap(NULL, vhost_user_memory_bytes(user), PROT_READ | PROT_WRITE, MAP_SHARED,
		      user->memory_fd, 0);
	if (memory == MAP_FAILED)
		return err_set_errno(err, -errno, "no memory for rings");
	user->memory = memory;
	for (unsigned i = 0; i < user->queue_count; i++) {
		struct vhost_user_queue *queue = &user->queue[i];

		queue->ring.gmem = env->gmem;
		queue->ring.index = i;
		queue->ring.memory = user->memory + (size_t)i * VHOST_RING_BYTES;
		vhost_ring_reset(&queue->ring);
		queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (queue->kick_fd < 0 || queue->call_fd < 0)
			return err_set_errno(err, -errno, "eventfd");
	}
	return 0;
}

static int vhost_user_watch(struct vhost_user *user, struct err *err)
{
	struct loop *loop = user->virtio.env.io_loop;

	user->timer = loop_timer_create(loop, vhost_user_on_timer, user, err);
	if (!user->timer)
		return -EIO;
	for (unsigned i = 0; i < user->queue_count; i++) {
		struct vhost_user_queue *queue = &user->queue[i];

		queue->call_watch =
			loop_fd_add(loop, queue->call_fd, EPOLLIN, vhost_user_on_call, queue, err);
		if (!queue->call_watch)
			return -EIO;
	}
	return vhost_user_watch_link(user, err);
}

static int vhost_user_init(struct vhost_user *user, const struct device_env *env,
			   const struct vhost_user_config *config, struct err *err)
{
	struct virtio_queue_init queues[VHOST_USER_RINGS_MAX];
	uint8_t space[VHOST_CONFIG_MAX] = {0};
	struct virtio_init init = {
		.class = &vhost_user_class,
		.ops = &vhost_user_ops,
		.id = config->id,
		.queue_count = user->queue_count,
		.queue = queues,
		.config = space,
	};
	int code = vhost_user_make_rings(user, env, err);

	/* A chain is never longer than a ring, so that it fits in when the ring is empty. */
	for (unsigned i = 0; i < user->queue_count; i++)
		queues[i] =
			(struct virtio_queue_init){.size_max = VHOST_RING_SIZE, .iov_max = VHOST_RING_SIZE};
	if (code == 0)
		code = vhost_user_connect(user, VHOST_USER_TIMEOUT_MS, err);
	if (code == 0)
		code = vhost_user_describe(user, config, &init, space, err);
	return code < 0 ? code : virtio_init(&user->virtio, env, &init, err);
}

struct device *vhost_user_create(const struct device_env *env, const struct vhost_user_config *config,
				 struct err *err)
{
	struct vhost_user *user = calloc(1, sizeof(*user));

	if (!user || config->queues > VHOST_USER_QUEUES_MAX || !(user->path = strdup(config->socket))) {
		free(user);
		err_set(err, -EINVAL, "no memory, or more than %d queues", VHOST_USER_QUEUES_MAX);
		return NULL;
	}
	user->kind = config->kind;
	user->queue_count = vhost_user_queue_count(config);
	user->link.fd = user->memory_fd = -1;
	for (unsigned i = 0; i < VHOST_USER_RINGS_MAX; i++)
		user->queue[i].kick_fd = user->queue[i].call_fd = -1;
	if (vhost_user_init(user, env, config, err) < 0) {
		vhost_user_free(user, env->io_loop);
		return NULL;
	}
	if (vhost_user_watch(user, err) < 0) {
		vhost_user_destroy(&user->virtio.device);
		return NULL;
	}
	return &user->virtio.device;
}
