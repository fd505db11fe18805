/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio balloon: pages that the guest lends are given back to the host, until it takes them again; free
 * pages that it reports likewise; its statistics. virtio 1.2, 5.5. What is given back reads as zeros
 * afterwards: the driver is told to expect nothing of a page in the balloon.
 */
#include "devices/virtio/balloon.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/gmem.h"

/* 5.5.3 */
enum balloon_feature {
	BALLOON_F_MUST_TELL_HOST = 0,
	BALLOON_F_STATS_VQ = 1,
	BALLOON_F_DEFLATE_ON_OOM = 2,
	BALLOON_F_PAGE_REPORTING = 5,
};

#define BALLOON_SHIFT      12
#define BALLOON_PFNS_MAX   1024u /* page numbers copied at once; Linux sends 256 in a buffer */
#define BALLOON_QUEUE_SIZE 128
#define BALLOON_CHAIN_MAX  64u /* iovecs: Linux reports 32 ranges in a buffer */
#define BALLOON_STATS_MAX  32u /* entries of a statistics buffer that are looked at */
#define BALLOON_QUEUES     4   /* inflate, deflate, and up to two more in the order of their features */
#define BALLOON_PAGES_MAX  UINT32_MAX

struct balloon_space {
	uint32_t num_pages; /* target; ours */
	uint32_t actual;    /* the driver's */
};
_Static_assert(sizeof(struct balloon_space) == 8, "virtio 1.2, 5.5.4");

struct balloon_entry {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));
_Static_assert(sizeof(struct balloon_entry) == 10, "virtio 1.2, 5.5.6.3");

struct balloon {
	struct virtio_device virtio;
	struct balloon_config config;
	struct loop_timer *stats_timer; /* of the I/O loop */
	struct virtq_chain
		*stats_chain; /* lent by the driver until the next statistics are wanted; I/O loop */
	pthread_mutex_t lock; /* guards stat; a leaf */
	uint64_t stat[BALLOON_STATS_COUNT];
	_Atomic uint64_t inflated_pages, deflated_pages, reported_bytes, refused_pages, stats_updates;
	uint32_t pfn[BALLOON_PFNS_MAX];         /* I/O loop */
	uint32_t saved_num_pages, saved_actual; /* of the configuration space, at the last pause */
};

/* The queues after the first two exist only when their feature was chosen, and move up (5.5.2). */
static unsigned balloon_stats_queue(const struct balloon *balloon)
{
	return virtio_has_feature(&balloon->virtio, BALLOON_F_STATS_VQ) ? 2 : BALLOON_QUEUES;
}

static unsigned balloon_reporting_queue(const struct balloon *balloon)
{
	if (!virtio_has_feature(&balloon->virtio, BALLOON_F_PAGE_REPORTING))
		return BALLOON_QUEUES;
	return virtio_has_feature(&balloon->virtio, BALLOON_F_STATS_VQ) ? 3 : 2;
}

/* Pages in a row go back in one call. */
static void balloon_give_back(struct balloon *balloon, uint64_t first, uint64_t count)
{
	if (count == 0)
		return;
	if (gmem_discard(balloon->virtio.env.gmem, first << BALLOON_SHIFT, count << BALLOON_SHIFT) < 0)
		atomic_fetch_add(&balloon->refused_pages, count);
	else
		atomic_fetch_add(&balloon->inflated_pages, count);
}

static void balloon_inflate_pages(struct balloon *balloon, size_t count)
{
	uint64_t first = 0;
	uint64_t run = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t pfn = balloon->pfn[i];

		if (run > 0 && pfn == first + run) {
			run++;
		} else if (run > 0 && pfn + 1 == first) { /* Linux hands out pages from the top downwards */
			first = pfn;
			run++;
		} else {
			balloon_give_back(balloon, first, run);
			first = pfn;
			run = 1;
		}
	}
	balloon_give_back(balloon, first, run);
}

static void balloon_take_pages(struct balloon *balloon, unsigned index)
{
	struct virtqueue *queue = &balloon->virtio.queue[index];
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(queue)) != NULL) {
		uint64_t count = chain->read_bytes / sizeof(balloon->pfn[0]);

		for (uint64_t at = 0; at < count;) {
			size_t part = count - at < BALLOON_PFNS_MAX ? (size_t)(count - at) : BALLOON_PFNS_MAX;

			virtq_chain_read(chain, at * sizeof(balloon->pfn[0]), balloon->pfn,
					 part * sizeof(balloon->pfn[0]));
			if (index == 0)
				balloon_inflate_pages(balloon, part);
			else
				atomic_fetch_add(&balloon->deflated_pages, part);
			at += part;
		}
		virtqueue_complete(chain, 0);
	}
	virtqueue_publish(queue);
}

/* Each writable piece of a chain is free memory (5.5.6.7). */
static void balloon_take_report(struct balloon *balloon, unsigned index)
{
	struct virtqueue *queue = &balloon->virtio.queue[index];
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(queue)) != NULL) {
		for (unsigned i = 0; i < chain->write_count; i++) {
			const struct virtq_piece *piece = &chain->piece[i];
			uint64_t first = (piece->gpa + BALLOON_PAGE_SIZE - 1) >> BALLOON_SHIFT;
			uint64_t end = (piece->gpa + piece->len) >> BALLOON_SHIFT;

			if (first < end && gmem_discard(balloon->virtio.env.gmem, first << BALLOON_SHIFT,
							(end - first) << BALLOON_SHIFT) == 0)
				atomic_fetch_add(&balloon->reported_bytes, (end - first) << BALLOON_SHIFT);
		}
		virtqueue_complete(chain, chain->write_bytes);
	}
	virtqueue_publish(queue);
}

static void balloon_read_stats(struct balloon *balloon, const struct virtq_chain *chain)
{
	struct balloon_entry entry;
	uint64_t at = 0;

	pthread_mutex_lock(&balloon->lock);
	for (unsigned i = 0; i < BALLOON_STATS_MAX && virtq_chain_read(chain, at, &entry, sizeof(entry));
	     i++) {
		if (entry.tag < BALLOON_STATS_COUNT)
			balloon->stat[entry.tag] = entry.value;
		at += sizeof(entry);
	}
	pthread_mutex_unlock(&balloon->lock);
	atomic_fetch_add(&balloon->stats_updates, 1);
}

static void balloon_arm_stats(struct balloon *balloon)
{
	if (balloon->config.stats_interval_s)
		loop_timer_arm(balloon->stats_timer,
			       clock_monotonic_ns() + balloon->config.stats_interval_s * NS_PER_S);
}

/* A buffer with statistics; it is kept, and given back when the next ones are wanted. The first one is empty
 * news. */
static void balloon_take_stats(struct balloon *balloon, unsigned index)
{
	struct virtqueue *queue = &balloon->virtio.queue[index];
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(queue)) != NULL) {
		balloon_read_stats(balloon, chain);
		if (balloon->stats_chain) /* one too many: the driver gets the older one back */
			virtqueue_complete(balloon->stats_chain, 0);
		balloon->stats_chain = chain;
		balloon_arm_stats(balloon);
	}
	virtqueue_publish(queue);
}

static void balloon_on_stats_timer(void *opaque)
{
	struct balloon *balloon = opaque;
	struct virtq_chain *chain = balloon->stats_chain;

	if (!chain || !virtio_queue_is_up(&balloon->virtio, balloon_stats_queue(balloon)))
		return;
	balloon->stats_chain = NULL;
	virtqueue_complete_now(chain, 0);
}

static void balloon_kick(struct virtio_device *virtio, unsigned index)
{
	struct balloon *balloon = (struct balloon *)virtio;

	if (index < 2)
		balloon_take_pages(balloon, index);
	else if (index == balloon_stats_queue(balloon))
		balloon_take_stats(balloon, index);
	else if (index == balloon_reporting_queue(balloon))
		balloon_take_report(balloon, index);
}

static void balloon_queue_stop(struct virtio_device *virtio, unsigned index)
{
	struct balloon *balloon = (struct balloon *)virtio;

	if (index != balloon_stats_queue(balloon) || !balloon->stats_chain)
		return;
	/* A driver that goes on after a pause finds its buffer where it was. */
	virtqueue_return(balloon->stats_chain);
	balloon->stats_chain = NULL;
}

static void balloon_pause(struct virtio_device *virtio)
{
	loop_timer_arm(((struct balloon *)virtio)->stats_timer, UINT64_MAX);
}

static void balloon_resume(struct virtio_device *virtio)
{
	struct balloon *balloon = (struct balloon *)virtio;

	if (virtio_is_active(virtio))
		virtio_queue_poke(virtio, balloon_stats_queue(balloon));
}

static void balloon_reset(struct virtio_device *virtio)
{
	struct balloon *balloon = (struct balloon *)virtio;
	const uint32_t none = 0;

	balloon_pause(virtio);
	virtio_config_set(virtio, offsetof(struct balloon_space, actual), &none, sizeof(none));
	pthread_mutex_lock(&balloon->lock);
	memset(balloon->stat, 0xff, sizeof(balloon->stat));
	pthread_mutex_unlock(&balloon->lock);
}

static void balloon_config_write(struct virtio_device *virtio, size_t offset, const uint8_t *bytes,
				 size_t len)
{
	const size_t actual = offsetof(struct balloon_space, actual);

	if (offset >= actual && len <= sizeof(struct balloon_space) - offset)
		virtio_config_set(virtio, offset, bytes, len);
}

static void balloon_drop_timer(void *opaque)
{
	loop_timer_destroy(((struct balloon *)opaque)->stats_timer);
}

static void balloon_destroy(struct device *device)
{
	struct balloon *balloon = (struct balloon *)device;

	virtio_release(&balloon->virtio);
	loop_call(balloon->virtio.env.io_loop, balloon_drop_timer, balloon);
	pthread_mutex_destroy(&balloon->lock);
	free(balloon);
}

/* The two words of the configuration space that change, for the state's table. */
static void balloon_class_pause(struct device *device)
{
	struct balloon *balloon = (struct balloon *)device;
	struct balloon_space space;

	virtio_class_pause(device);
	virtio_config_get(&balloon->virtio, 0, &space, sizeof(space));
	balloon->saved_num_pages = space.num_pages;
	balloon->saved_actual = space.actual;
}

static int balloon_loaded(struct device *device, struct err *err)
{
	struct balloon *balloon = (struct balloon *)device;
	const struct balloon_space space = {.num_pages = balloon->saved_num_pages,
					    .actual = balloon->saved_actual};

	virtio_config_set(&balloon->virtio, 0, &space,
			  offsetof(struct balloon_space, actual) + sizeof(space.actual));
	return virtio_class_loaded(device, err);
}

static const struct state_field balloon_state[] = {
	VIRTIO_STATE_FIELDS,
	STATE_FIELD(STATE_U32, struct balloon, saved_num_pages),
	STATE_FIELD(STATE_U32, struct balloon, saved_actual),
	{.name = NULL},
};

static const struct metric_field balloon_metrics[] = {
	VIRTIO_METRIC_FIELDS,
	{.name = "inflated_pages", .offset = offsetof(struct balloon, inflated_pages)},
	{.name = "deflated_pages", .offset = offsetof(struct balloon, deflated_pages)},
	{.name = "reported_bytes", .offset = offsetof(struct balloon, reported_bytes)},
	{.name = "refused_pages", .offset = offsetof(struct balloon, refused_pages)},
	{.name = "stats_updates", .offset = offsetof(struct balloon, stats_updates)},
	{.name = NULL},
};

static const char *const balloon_syscalls[] = {"fallocate", NULL};

static const struct device_class balloon_class = {
	.name = "virtio-balloon",
	.state = balloon_state,
	.metrics = balloon_metrics,
	.syscalls = balloon_syscalls,
	.reset = virtio_class_reset,
	.pause = balloon_class_pause,
	.resume = virtio_class_resume,
	.loaded = balloon_loaded,
	.destroy = balloon_destroy,
};

static const struct virtio_ops balloon_ops = {
	.config_write = balloon_config_write,
	.queue_kick = balloon_kick,
	.queue_stop = balloon_queue_stop,
	.reset = balloon_reset,
	.pause = balloon_pause,
	.resume = balloon_resume,
};

static int balloon_check_size(uint64_t size_bytes, struct err *err)
{
	if (size_bytes % BALLOON_PAGE_SIZE == 0 && size_bytes >> BALLOON_SHIFT <= BALLOON_PAGES_MAX)
		return 0;
	return err_set(err, -EINVAL,
		       "a balloon of %" PRIu64 " bytes: whole 4 KiB pages, at most 16 TiB, are possible",
		       size_bytes);
}

struct device *balloon_create(const struct device_env *env, const struct balloon_config *config,
			      struct err *err)
{
	static const struct virtio_queue_init queues[BALLOON_QUEUES] = {
		{.size_max = BALLOON_QUEUE_SIZE, .iov_max = BALLOON_CHAIN_MAX},
		{.size_max = BALLOON_QUEUE_SIZE, .iov_max = BALLOON_CHAIN_MAX},
		{.size_max = BALLOON_QUEUE_SIZE, .iov_max = BALLOON_CHAIN_MAX},
		{.size_max = BALLOON_QUEUE_SIZE, .iov_max = BALLOON_CHAIN_MAX},
	};
	const struct balloon_space space = {.num_pages = (uint32_t)(config->size_bytes >> BALLOON_SHIFT)};
	const struct virtio_init init = {
		.class = &balloon_class,
		.ops = &balloon_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_BALLOON,
		.features = VIRTIO_BIT(BALLOON_F_MUST_TELL_HOST) |
			    (config->stats_interval_s ? VIRTIO_BIT(BALLOON_F_STATS_VQ) : 0) |
			    (config->deflate_on_oom ? VIRTIO_BIT(BALLOON_F_DEFLATE_ON_OOM) : 0) |
			    (config->page_reporting ? VIRTIO_BIT(BALLOON_F_PAGE_REPORTING) : 0),
		.queue_count = BALLOON_QUEUES,
		.queue = queues,
		.config = &space,
		.config_bytes = sizeof(space),
	};
	struct balloon *balloon =
		balloon_check_size(config->size_bytes, err) == 0 ? calloc(1, sizeof(*balloon)) : NULL;

	if (!balloon)
		return NULL;
	balloon->config = *config;
	memset(balloon->stat, 0xff, sizeof(balloon->stat));
	balloon->stats_timer = loop_timer_create(env->io_loop, balloon_on_stats_timer, balloon, err);
	if (!balloon->stats_timer || virtio_init(&balloon->virtio, env, &init, err) < 0) {
		if (balloon->stats_timer)
			loop_timer_destroy(balloon->stats_timer);
		free(balloon);
		return NULL;
	}
	pthread_mutex_init(&balloon->lock, NULL);
	return &balloon->virtio.device;
}

int balloon_set_target(struct device *device, uint64_t size_bytes, struct err *err)
{
	struct virtio_device *virtio = (struct virtio_device *)device;
	uint32_t pages = (uint32_t)(size_bytes >> BALLOON_SHIFT);
	int code = balloon_check_size(size_bytes, err);

	if (code == 0)
		virtio_config_change(virtio, offsetof(struct balloon_space, num_pages), &pages,
				     sizeof(pages));
	return code;
}

void balloon_get_status(struct device *device, struct balloon_status *status)
{
	struct balloon *balloon = (struct balloon *)device;
	struct balloon_space space;

	virtio_config_get(&balloon->virtio, 0, &space, sizeof(space));
	status->target_bytes = (uint64_t)space.num_pages << BALLOON_SHIFT;
	status->actual_bytes = (uint64_t)space.actual << BALLOON_SHIFT;
	pthread_mutex_lock(&balloon->lock);
	memcpy(status->stat, balloon->stat, sizeof(status->stat));
	pthread_mutex_unlock(&balloon->lock);
}

struct balloon_interval_call {
	struct balloon *balloon;
	uint32_t interval_s;
};

static void balloon_set_interval_on_loop(void *opaque)
{
	const struct balloon_interval_call *call = opaque;

	call->balloon->config.stats_interval_s = call->interval_s;
	balloon_arm_stats(call->balloon);
}

int balloon_set_interval(struct device *device, uint32_t interval_s, struct err *err)
{
	struct balloon_interval_call call = {(struct balloon *)device, interval_s};

	if (interval_s == 0 || !(call.balloon->virtio.features & VIRTIO_BIT(BALLOON_F_STATS_VQ)))
		return err_set(err, -EINVAL,
			       "statistics are switched on and off before the guest starts only");
	loop_call(call.balloon->virtio.env.io_loop, balloon_set_interval_on_loop, &call);
	return 0;
}
