/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device: requests of the driver become requests of a blockdev. virtio 1.2, 5.2.
 *
 *     readable                                   writable
 *     | type 4 | 0 4 | sector 8 | data ... |     | data ... | status 1 |
 *
 * The header is copied once and the copy is used; data goes between guest memory and the backend without a
 * copy. Everything but creation, the configuration space and virtio_blk_resize runs on the I/O loop. A
 * request that is wrong is answered in its status byte; one without room for header or status cannot be
 * answered, and the device needs a reset.
 *
 * Secure erase, lifetime and zones are not offered: a file has none of them.
 */
#include "devices/virtio/blk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/blk_device.h"
#include "devices/virtio/blk_layout.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/blockdev.h"

/* Lies in virtq_chain.request. */
struct blk_request {
	struct block_request block;
	struct virtio_blk *blk;
	struct virtq_chain *chain;
	uint8_t *status; /* in guest memory */
	struct blk_header header;
	unsigned ranges, next_range;
	struct blk_range range[BLK_RANGES_MAX];
};

static void blk_count(_Atomic uint64_t *counter, uint64_t amount)
{
	atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

/* --- the end of a request */

/*
 * An interrupt costs the guest more than the request that it tells of. So while many requests are under way
 * completions are gathered, up to half of those still missing, and no longer than BLK_GATHER_NS; a driver
 * that waits for each request, or for the last ones, is told at once.
 */
#define BLK_GATHER_NS (200 * NS_PER_US)

static void blk_finish(struct blk_request *request, enum blk_status status)
{
	if (status != BLK_S_OK)
		blk_count(&request->blk->errors, 1);
	*request->status = status;
	request->blk->unpublished++;
	/* The status is the last writable byte, so all before it counts as written. */
	virtqueue_complete(request->chain, request->chain->write_bytes);
}

static enum blk_status blk_status_of(int result)
{
	if (result == 0)
		return BLK_S_OK;
	return result == -EOPNOTSUPP ? BLK_S_UNSUPP : BLK_S_IOERR;
}

static void blk_submit_range(struct blk_request *request);
static void blk_submit(struct blk_request *request, enum block_op op, uint64_t sector, uint64_t bytes);

/* The first durable write since the cache was switched off takes along what the cache still holds. */
static bool blk_owes_flush(struct blk_request *request)
{
	enum block_op op = request->block.op;

	return request->block.durable && (op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES) &&
	       atomic_exchange(&request->blk->flush_due, false);
}

static void blk_on_complete(struct block_request *block, int result)
{
	struct blk_request *request = (struct blk_request *)block;

	request->blk->in_flight--;
	if (result == 0 && request->next_range < request->ranges)
		blk_submit_range(request);
	else if (result == 0 && blk_owes_flush(request))
		blk_submit(request, BLOCK_FLUSH, 0, 0);
	else
		blk_finish(request, blk_status_of(result));
}

static void blk_publish(struct virtio_blk *blk)
{
	blk->unpublished = 0;
	blk->gathering = false;
	for (unsigned i = 0; i < blk->virtio.queue_count; i++) {
		if (blk->virtio.queue[i].started)
			virtqueue_publish(&blk->virtio.queue[i]);
	}
}

static void blk_on_gather_timer(void *opaque)
{
	blk_publish(opaque);
}

void blk_on_batch_end(void *opaque)
{
	struct virtio_blk *blk = opaque;

	if (blk->unpublished >= blk->in_flight / 2) {
		blk_publish(blk);
	} else if (blk->unpublished > 0 && !blk->gathering) {
		blk->gathering = true;
		loop_timer_arm(blk->gather_timer, clock_monotonic_ns() + BLK_GATHER_NS);
	}
}

/* --- reads and writes */

/* Whether [sector, sector + bytes) lies on the disk in whole blocks. */
static bool blk_is_on_disk(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = block_size_bytes(blk->blockdev) >> BLK_SECTOR_SHIFT;
	uint32_t block = blk->blockdev->limits.logical_block_bytes;

	if (sector > sectors || bytes > (sectors - sector) << BLK_SECTOR_SHIFT)
		return false;
	return ((sector << BLK_SECTOR_SHIFT) | bytes) % block == 0;
}

static void blk_submit(struct blk_request *request, enum block_op op, uint64_t sector, uint64_t bytes)
{
	request->block.op = op;
	request->block.durable = !atomic_load(&request->blk->writeback);
	request->block.offset_bytes = sector << BLK_SECTOR_SHIFT;
	request->block.size_bytes = bytes;
	request->block.complete = blk_on_complete;
	request->blk->in_flight++;
	block_submit(request->blk->block_queue, &request->block);
}

static void blk_read(struct blk_request *request)
{
	struct virtq_chain *chain = request->chain;
	uint64_t bytes = chain->write_bytes - 1;

	if (!blk_is_on_disk(request->blk, request->header.sector, bytes)) {
		blk_finish(request, BLK_S_IOERR);
		return;
	}
	request->block.iov = chain->write;
	request->block.iov_count = virtq_iov_cut(&request->block.iov, chain->write_count, 0, bytes);
	blk_count(&request->blk->reads, 1);
	blk_count(&request->blk->read_bytes, bytes);
	blk_submit(request, BLOCK_READ, request->header.sector, bytes);
}

static void blk_write(struct blk_request *request)
{
	struct virtq_chain *chain = request->chain;
	uint64_t bytes = chain->read_bytes - sizeof(struct blk_header);

	if (request->blk->blockdev->limits.readonly ||
	    !blk_is_on_disk(request->blk, request->header.sector, bytes)) {
		blk_finish(request, BLK_S_IOERR);
		return;
	}
	request->block.iov = chain->read;
	request->block.iov_count =
		virtq_iov_cut(&request->block.iov, chain->read_count, sizeof(struct blk_header), bytes);
	blk_count(&request->blk->writes, 1);
	blk_count(&request->blk->written_bytes, bytes);
	blk_submit(request, BLOCK_WRITE, request->header.sector, bytes);
}

/* --- discard and zeroes */

static void blk_submit_range(struct blk_request *request)
{
	const struct blk_range *range = &request->range[request->next_range++];
	enum block_op op = request->header.type == BLK_T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;

	request->block.unmap = range->flags & BLK_RANGE_UNMAP;
	blk_submit(request, op, range->sector, (uint64_t)range->sectors << BLK_SECTOR_SHIFT);
}

/* 5.2.6.2: all ranges are looked at before the first is touched. */
static enum blk_status blk_check_range(const struct blk_request *request, const struct blk_range *range)
{
	bool discard = request->header.type == BLK_T_DISCARD;
	uint32_t allowed = discard ? 0 : BLK_RANGE_UNMAP;
	uint32_t most = discard ? BLK_DISCARD_SECTORS_MAX : BLK_ZEROES_SECTORS_MAX;

	if (range->flags & ~allowed)
		return BLK_S_UNSUPP;
	if (range->sectors > most ||
	    !blk_is_on_disk(request->blk, range->sector, (uint64_t)range->sectors << BLK_SECTOR_SHIFT))
		return BLK_S_IOERR;
	return BLK_S_OK;
}

static enum blk_status blk_take_ranges(struct blk_request *request)
{
	uint64_t bytes = request->chain->read_bytes - sizeof(struct blk_header);
	enum blk_status status = BLK_S_OK;

	if (bytes == 0 || bytes % sizeof(struct blk_range) != 0 || bytes > sizeof(request->range))
		return BLK_S_IOERR;
	if (request->blk->blockdev->limits.readonly)
		return BLK_S_IOERR;
	if (!virtq_chain_read(request->chain, sizeof(struct blk_header), request->range, bytes))
		return BLK_S_IOERR;
	request->ranges = (unsigned)(bytes / sizeof(struct blk_range));
	for (unsigned i = 0; i < request->ranges && status == BLK_S_OK; i++)
		status = blk_check_range(request, &request->range[i]);
	return status;
}

static void blk_discard_or_zero(struct blk_request *request)
{
	struct virtio_blk *blk = request->blk;
	bool discard = request->header.type == BLK_T_DISCARD;
	enum blk_status status = BLK_S_UNSUPP;

	if (virtio_has_feature(&blk->virtio, discard ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES))
		status = blk_take_ranges(request);
	if (status != BLK_S_OK) {
		blk_finish(request, status);
		return;
	}
	blk_count(discard ? &blk->discards : &blk->write_zeroes, 1);
	blk_submit_range(request);
}

/* --- the rest */

static void blk_get_id(struct blk_request *request)
{
	size_t room = (size_t)request->chain->write_bytes - 1;
	size_t len = room < VIRTIO_BLK_SERIAL_MAX ? room : VIRTIO_BLK_SERIAL_MAX;
	bool written = len == 0 || virtq_chain_write(request->chain, 0, request->blk->serial, len);

	blk_finish(request, written ? BLK_S_OK : BLK_S_IOERR);
}

static void blk_flush(struct blk_request *request)
{
	blk_count(&request->blk->flushes, 1);
	blk_submit(request, BLOCK_FLUSH, 0, 0);
}

static void blk_dispatch(struct blk_request *request)
{
	switch (request->header.type) {
	case BLK_T_IN: blk_read(request); return;
	case BLK_T_OUT: blk_write(request); return;
	case BLK_T_FLUSH: blk_flush(request); return;
	case BLK_T_GET_ID: blk_get_id(request); return;
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES: blk_discard_or_zero(request); return;
	default: blk_finish(request, BLK_S_UNSUPP); return;
	}
}

/* --- from the ring */

/* What the limit counts: the data that moves. */
static uint64_t blk_chain_bytes(const struct virtq_chain *chain, uint32_t type)
{
	if (type == BLK_T_IN)
		return chain->write_bytes - 1;
	return type == BLK_T_OUT ? chain->read_bytes - sizeof(struct blk_header) : 0;
}

/* Whether the limit lets it pass; else the timer goes on with the queues. */
static bool blk_is_within_limit(struct virtio_blk *blk, const struct virtq_chain *chain, uint32_t type)
{
	uint64_t now_ns;
	uint64_t wait_ns;

	if (!rate_limit_is_set(&blk->limit))
		return true;
	now_ns = clock_monotonic_ns();
	wait_ns = rate_limit_take(&blk->limit, blk_chain_bytes(chain, type), now_ns);
	if (wait_ns == 0)
		return true;
	blk_count(&blk->throttled, 1);
	loop_timer_arm(blk->limit_timer, now_ns + wait_ns);
	return false;
}

/* False: the limit is reached, and the chain was put back. */
static bool blk_take_chain(struct virtio_blk *blk, struct virtq_chain *chain)
{
	struct blk_request *request = chain->request;
	const struct iovec *last;

	memset(request, 0, offsetof(struct blk_request, range));
	request->blk = blk;
	request->chain = chain;
	if (chain->write_bytes == 0 ||
	    !virtq_chain_read(chain, 0, &request->header, sizeof(request->header))) {
		virtqueue_complete(chain, 0);
		blk->unpublished++;
		virtio_needs_reset(&blk->virtio, "a request without a header or a status byte");
		return true;
	}
	if (!blk_is_within_limit(blk, chain, request->header.type)) {
		virtqueue_return(chain);
		return false;
	}
	last = &chain->write[chain->write_count - 1];
	request->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	blk_dispatch(request);
	return true;
}

/*
 * Takes at most a ring's worth, so that a driver that refills it from another CPU cannot keep the loop for
 * itself: requests that are answered at once never leave the ring empty.
 */
static void blk_queue_kick(struct virtio_device *virtio, unsigned index)
{
	struct virtio_blk *blk = (struct virtio_blk *)virtio;
	struct virtqueue *queue = &virtio->queue[index];
	struct virtq_chain *chain = NULL;
	unsigned taken = 0;

	block_plug(blk->block_queue);
	while (taken < BLK_QUEUE_SIZE && (chain = virtqueue_pop(queue)) && blk_take_chain(blk, chain))
		taken++;
	block_unplug(blk->block_queue);
	blk_on_batch_end(blk);
	if (taken == BLK_QUEUE_SIZE)
		virtio_queue_poke(virtio, index);
}

static void blk_on_limit_timer(void *opaque)
{
	struct virtio_blk *blk = opaque;

	for (unsigned i = 0; i < blk->virtio.queue_count && virtio_is_active(&blk->virtio); i++) {
		if (virtio_queue_is_up(&blk->virtio, i))
			blk_queue_kick(&blk->virtio, i);
	}
}

/* --- configuration */

/* 5.2.5: without a flush command the driver relies on writes being durable. */
static bool blk_accepts_features(struct virtio_device *virtio, uint64_t features)
{
	struct virtio_blk *blk = (struct virtio_blk *)virtio;
	uint8_t writeback = features >> BLK_F_FLUSH & 1;

	atomic_store(&blk->writeback, writeback);
	virtio_config_set(virtio, offsetof(struct blk_config_space, writeback), &writeback, 1);
	return true;
}

/* 5.2.4: the one field that a driver may write, where it chose the feature. */
static void blk_config_write(struct virtio_device *virtio, size_t offset, const uint8_t *bytes, size_t len)
{
	struct virtio_blk *blk = (struct virtio_blk *)virtio;
	uint8_t writeback;

	if (offset != offsetof(struct blk_config_space, writeback) || len != 1 ||
	    !virtio_has_feature(virtio, BLK_F_CONFIG_WCE) || bytes[0] > 1)
		return;
	writeback = bytes[0];
	if (!writeback)
		atomic_store(&blk->flush_due, true);
	atomic_store(&blk->writeback, writeback);
	virtio_config_set(virtio, offset, &writeback, 1);
}

static void blk_disarm(struct virtio_blk *blk)
{
	loop_timer_arm(blk->limit_timer, UINT64_MAX);
	loop_timer_arm(blk->gather_timer, UINT64_MAX);
	blk->gathering = false;
}

static void blk_reset(struct virtio_device *virtio)
{
	struct virtio_blk *blk = (struct virtio_blk *)virtio;
	uint8_t writeback = 1;

	blk_disarm(blk);
	blk->unpublished = 0;
	atomic_store(&blk->flush_due, false);
	atomic_store(&blk->writeback, true);
	virtio_config_set(virtio, offsetof(struct blk_config_space, writeback), &writeback, 1);
}

static void blk_pause(struct virtio_device *virtio)
{
	blk_disarm((struct virtio_blk *)virtio);
}

static void blk_resume(struct virtio_device *virtio)
{
	struct virtio_blk *blk = (struct virtio_blk *)virtio;
	uint8_t writeback = atomic_load(&blk->writeback);

	virtio_config_set(virtio, offsetof(struct blk_config_space, writeback), &writeback, 1);
}

static const struct virtio_ops blk_ops = {
	.accepts_features = blk_accepts_features,
	.config_write = blk_config_write,
	.queue_kick = blk_queue_kick,
	.reset = blk_reset,
	.pause = blk_pause,
	.resume = blk_resume,
};

/* --- life */

static void blk_close_on_loop(void *opaque)
{
	struct virtio_blk *blk = opaque;

	loop_timer_destroy(blk->limit_timer);
	loop_timer_destroy(blk->gather_timer);
	block_queue_destroy(blk->block_queue);
}

static void blk_destroy(struct device *device)
{
	struct virtio_blk *blk = (struct virtio_blk *)device;
	struct loop *loop = blk->virtio.env.io_loop;

	virtio_release(&blk->virtio); /* the last chain is back when it returns */
	loop_call(loop, blk_close_on_loop, blk);
	free(blk);
}

static const struct state_field blk_state[] = {
	VIRTIO_STATE_FIELDS,
	STATE_FIELD(STATE_BOOL, struct virtio_blk, writeback),
	{.name = NULL},
};

#define BLK_METRIC(member_)                                                                                  \
	{                                                                                                    \
		.name = #member_, .offset = offsetof(struct virtio_blk, member_)                             \
	}
static const struct metric_field blk_metrics[] = {
	VIRTIO_METRIC_FIELDS,      BLK_METRIC(reads),     BLK_METRIC(read_bytes), BLK_METRIC(writes),
	BLK_METRIC(written_bytes), BLK_METRIC(flushes),   BLK_METRIC(discards),   BLK_METRIC(write_zeroes),
	BLK_METRIC(errors),        BLK_METRIC(throttled), {.name = NULL},
};

static const char *const blk_syscalls[] = {
	"io_uring_enter", "preadv2", "pwritev2", "fdatasync",       "fallocate", "ftruncate",
	"fstat",          "fcntl",   "ioctl",    "timerfd_settime", NULL,
};

static const struct device_class blk_class = {
	.name = "virtio-blk",
	.state = blk_state,
	.metrics = blk_metrics,
	.syscalls = blk_syscalls,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.loaded = virtio_class_loaded,
	.destroy = blk_destroy,
};

struct blk_open_call {
	struct virtio_blk *blk;
	struct err *err;
	bool opened;
};

static void blk_open_on_loop(void *opaque)
{
	struct blk_open_call *call = opaque;
	struct virtio_blk *blk = call->blk;
	const struct block_queue_config config = {
		.loop = blk->virtio.env.io_loop,
		.gmem = blk->virtio.env.gmem,
		.batch_end = blk_on_batch_end,
		.opaque = blk,
	};

	blk->block_queue = block_queue_create(blk->blockdev, &config, call->err);
	if (blk->block_queue)
		blk->limit_timer = loop_timer_create(config.loop, blk_on_limit_timer, blk, call->err);
	if (blk->limit_timer)
		blk->gather_timer = loop_timer_create(config.loop, blk_on_gather_timer, blk, call->err);
	call->opened = blk->gather_timer != NULL;
	if (!call->opened)
		blk_close_on_loop(blk);
}

static int blk_init_model(struct virtio_blk *blk, const struct device_env *env,
			  const struct virtio_blk_config *config, struct err *err)
{
	struct blk_config_space space = blk_layout_config(config->blockdev, config->queues);
	struct virtio_queue_init queue[VIRTIO_BLK_QUEUES_MAX];
	const struct virtio_init init = {
		.class = &blk_class,
		.ops = &blk_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_BLOCK,
		.features = blk_layout_features(config->blockdev, config->queues),
		.queue_count = config->queues,
		.queue = queue,
		.config = &space,
		.config_bytes = BLK_CONFIG_BYTES,
	};

	for (unsigned i = 0; i < config->queues; i++)
		queue[i] = (struct virtio_queue_init){.size_max = BLK_QUEUE_SIZE,
						      .iov_max = BLK_IOV_MAX,
						      .request_bytes = sizeof(struct blk_request)};
	return virtio_init(&blk->virtio, env, &init, err);
}

static int blk_check_config(const struct virtio_blk_config *config, struct err *err)
{
	if (config->queues < 1 || config->queues > VIRTIO_BLK_QUEUES_MAX)
		return err_set(err, -EINVAL, "%u queues: 1 to %d are possible", config->queues,
			       VIRTIO_BLK_QUEUES_MAX);
	if (config->serial && strlen(config->serial) > VIRTIO_BLK_SERIAL_MAX)
		return err_set(err, -EINVAL, "the serial \"%s\" is longer than %d characters", config->serial,
			       VIRTIO_BLK_SERIAL_MAX);
	return 0;
}

struct device *virtio_blk_create(const struct device_env *env, const struct virtio_blk_config *config,
				 struct err *err)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	struct blk_open_call call = {.blk = blk, .err = err};
	const char *serial = config->serial ? config->serial : config->id;

	if (!blk)
		err_set(err, -ENOMEM, "%s: no memory", config->id);
	if (!blk || blk_check_config(config, err) < 0 || blk_init_model(blk, env, config, err) < 0) {
		free(blk);
		return NULL;
	}
	blk->blockdev = config->blockdev;
	blk->writeback = true;
	memcpy(blk->serial, serial, strnlen(serial, VIRTIO_BLK_SERIAL_MAX));
	rate_limit_init(&blk->limit, &config->limit, clock_monotonic_ns());
	loop_call(env->io_loop, blk_open_on_loop, &call);
	if (call.opened)
		return &blk->virtio.device;
	virtio_release(&blk->virtio);
	free(blk);
	return NULL;
}
