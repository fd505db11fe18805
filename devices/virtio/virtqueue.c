/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtqueues: storage, chains, starting and stopping; the two layouts of rings are virtqueue_split.c and
 * virtqueue_packed.c. virtio 1.2, 2.6.
 */
#include "devices/virtio/virtqueue.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtqueue_ring.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define VIRTQ_REQUEST_ALIGN 16u
#define VIRTQ_NO_CHAIN      UINT16_MAX

static const struct virtq_layout *virtqueue_layout(const struct virtqueue *queue)
{
	return queue->features.packed ? &virtq_packed : &virtq_split;
}

static uint32_t virtqueue_request_stride(const struct virtqueue *queue)
{
	return (queue->config.request_bytes + VIRTQ_REQUEST_ALIGN - 1) & ~(VIRTQ_REQUEST_ALIGN - 1);
}

/* calloc leaves pages alone until they are touched, and chains are reused last first: what lies idle costs
 * nothing. */
static int virtqueue_allocate(struct virtqueue *queue, struct err *err)
{
	size_t count = queue->config.size_max;
	size_t iovs = count * queue->config.iov_max;

	queue->chain = calloc(count, sizeof(*queue->chain));
	queue->iov = calloc(iovs, sizeof(*queue->iov));
	queue->piece = calloc(iovs, sizeof(*queue->piece));
	queue->head_busy = calloc((count + 7) / 8, 1);
	if (queue->config.request_bytes)
		queue->request = calloc(count, virtqueue_request_stride(queue));
	if (queue->chain && queue->iov && queue->piece && queue->head_busy &&
	    (queue->request || !queue->config.request_bytes))
		return 0;
	virtqueue_destroy(queue);
	return err_set(err, -ENOMEM, "no memory for a queue of %zu descriptors", count);
}

static void virtqueue_link_chains(struct virtqueue *queue)
{
	unsigned count = queue->config.size_max;

	for (unsigned i = 0; i < count; i++) {
		queue->chain[i].queue = queue;
		queue->chain[i].next_free = (uint16_t)(i + 1 < count ? i + 1 : VIRTQ_NO_CHAIN);
		if (queue->request)
			queue->chain[i].request =
				queue->request + (size_t)i * virtqueue_request_stride(queue);
	}
	queue->free_chain = 0;
}

int virtqueue_init(struct virtqueue *queue, const struct virtqueue_config *config, struct err *err)
{
	unsigned size = config->size_max;
	int code;

	if (size == 0 || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1)) != 0)
		return err_set(err, -EINVAL, "a queue has a power of two of descriptors up to %u, not %u",
			       VIRTQUEUE_SIZE_MAX, size);
	*queue = (struct virtqueue){.config = *config};
	if (queue->config.iov_max == 0)
		queue->config.iov_max = queue->config.size_max;
	code = virtqueue_allocate(queue, err);
	if (code < 0)
		return code;
	virtqueue_link_chains(queue);
	virtqueue_reset(queue);
	return 0;
}

void virtqueue_destroy(struct virtqueue *queue)
{
	free(queue->chain);
	free(queue->iov);
	free(queue->piece);
	free(queue->request);
	free(queue->head_busy);
	queue->chain = NULL;
	queue->iov = NULL;
	queue->piece = NULL;
	queue->request = NULL;
	queue->head_busy = NULL;
}

void virtqueue_reset(struct virtqueue *queue)
{
	assert(!queue->started);
	queue->size = queue->config.size_max;
	queue->enabled = false;
	queue->desc_gpa = queue->driver_gpa = queue->device_gpa = 0;
	queue->next_avail = queue->next_used = 0;
	queue->avail_wrap = queue->used_wrap = true; /* 2.8.1 */
	queue->signalled = 0;
	queue->signalled_valid = false;
	queue->broken = false;
}

/* Maps one area of the ring: all of it in one piece of RAM, as memory that a driver allocates is. */
static uint8_t *virtqueue_map(const struct virtqueue *queue, uint64_t gpa, uint64_t bytes, uint64_t align,
			      struct err *err)
{
	const struct gmem_region *region = gmem_region_find(queue->config.gmem, gpa);
	uint8_t *hva = gmem_span(queue->config.gmem, gpa, bytes);

	if (gpa % align == 0 && hva && region && region->kind == GMEM_RAM)
		return hva;
	err_set(err, -EINVAL,
		"queue %u: its %" PRIu64 " bytes at 0x%" PRIx64 " are not aligned to %" PRIu64
		" or not in RAM",
		queue->config.index, bytes, gpa, align);
	return NULL;
}

/* Positions come from a saved state as well, so they are looked at here. */
static int virtqueue_check(const struct virtqueue *queue, struct err *err)
{
	bool is_power = (queue->size & (queue->size - 1)) == 0;

	if (queue->size == 0 || queue->size > queue->config.size_max ||
	    (!queue->features.packed && !is_power))
		return err_set(err, -EINVAL, "queue %u: a size of %u is not possible", queue->config.index,
			       queue->size);
	if (queue->features.packed && (queue->next_avail >= queue->size || queue->next_used >= queue->size))
		return err_set(err, -EINVAL, "queue %u: its position lies outside the ring",
			       queue->config.index);
	return 0;
}

int virtqueue_start(struct virtqueue *queue, const struct virtqueue_features *features, struct err *err)
{
	uint64_t bytes[3], align[3];
	int code;

	assert(!queue->started && queue->in_flight == 0);
	queue->features = *features;
	code = virtqueue_check(queue, err);
	if (code < 0)
		return code;
	virtqueue_layout(queue)->areas(queue, bytes, align);
	queue->desc = virtqueue_map(queue, queue->desc_gpa, bytes[0], align[0], err);
	queue->driver = virtqueue_map(queue, queue->driver_gpa, bytes[1], align[1], err);
	queue->device = virtqueue_map(queue, queue->device_gpa, bytes[2], align[2], err);
	if (!queue->desc || !queue->driver || !queue->device)
		return -EINVAL;
	memset(queue->head_busy, 0, (queue->config.size_max + 7u) / 8);
	queue->staged = 0;
	queue->kicks_off = false;
	queue->broken = false;
	queue->quiet = false;
	queue->started = true;
	return 0;
}

void virtqueue_stop(struct virtqueue *queue)
{
	assert(queue->in_flight == 0);
	if (queue->started)
		virtqueue_publish(queue);
	queue->started = false;
	queue->desc = queue->driver = queue->device = NULL;
}

void virtqueue_set_quiet(struct virtqueue *queue, bool quiet)
{
	queue->quiet = quiet;
}

void virtqueue_break(struct virtqueue *queue, const char *why)
{
	if (queue->broken)
		return;
	queue->broken = true;
	if (queue->config.broken)
		queue->config.broken(queue->config.opaque, queue->config.index, why);
}

void virtqueue_announce(struct virtqueue *queue, uint64_t gpa, uint64_t len)
{
	gmem_written(queue->config.gmem, gpa, len);
}

struct virtq_chain *virtqueue_take_chain(struct virtqueue *queue)
{
	struct virtq_chain *chain;
	size_t index = queue->free_chain;

	assert(index != VIRTQ_NO_CHAIN);
	chain = &queue->chain[index];
	queue->free_chain = chain->next_free;
	chain->read = chain->write = queue->iov + index * queue->config.iov_max;
	chain->piece = queue->piece + index * queue->config.iov_max;
	chain->read_count = chain->write_count = 0;
	chain->read_bytes = chain->write_bytes = 0;
	chain->slots = 0;
	return chain;
}

void virtqueue_free_chain(struct virtq_chain *chain)
{
	struct virtqueue *queue = chain->queue;

	chain->next_free = queue->free_chain;
	queue->free_chain = (uint16_t)(chain - queue->chain);
}

/* One contiguous piece of memory. */
static bool virtq_chain_add_piece(struct virtq_chain *chain, uint64_t gpa, uint8_t *hva, uint64_t len,
				  bool is_write)
{
	struct virtqueue *queue = chain->queue;
	struct iovec iov = {.iov_base = hva, .iov_len = len};

	if (chain->read_count + chain->write_count == queue->config.iov_max) {
		virtqueue_break(queue, "a chain has more pieces than the device takes");
		return false;
	}
	if (!is_write) {
		chain->read[chain->read_count++] = iov;
		chain->write++; /* `write` follows `read` in the same array */
		return true;
	}
	chain->piece[chain->write_count] = (struct virtq_piece){.gpa = gpa, .len = len};
	chain->write[chain->write_count++] = iov;
	return true;
}

static bool virtq_chain_add_memory(struct virtq_chain *chain, uint64_t gpa, uint64_t len, bool is_write)
{
	struct virtqueue *queue = chain->queue;

	while (len > 0) {
		const struct gmem_region *region = gmem_region_find(queue->config.gmem, gpa);
		uint64_t here;

		if (!region || (is_write && region->kind == GMEM_ROM)) {
			virtqueue_break(queue, "a descriptor points outside memory");
			return false;
		}
		here = region->size_bytes - (gpa - region->gpa);
		if (here > len)
			here = len;
		if (!virtq_chain_add_piece(chain, gpa, region->hva + (gpa - region->gpa), here, is_write))
			return false;
		gpa += here; /* regions end below 2^52: no wrap */
		len -= here;
	}
	return true;
}

/* 2.7.4.2: readable descriptors come first; 2.7.5: at most 2^32 bytes; an empty descriptor means nothing. */
bool virtq_chain_add(struct virtq_chain *chain, uint64_t gpa, uint32_t len, bool is_write)
{
	const char *why = NULL;

	if (len == 0)
		why = "a descriptor is empty";
	else if (len > UINT32_MAX - (chain->read_bytes + chain->write_bytes))
		why = "a chain has more than 4 GiB";
	else if (!is_write && chain->write_count > 0)
		why = "a readable descriptor follows a writable one";
	if (why) {
		virtqueue_break(chain->queue, why);
		return false;
	}
	if (!virtq_chain_add_memory(chain, gpa, len, is_write))
		return false;
	if (is_write)
		chain->write_bytes += len;
	else
		chain->read_bytes += len;
	return true;
}

/* The table may be longer than what the chain uses of it; its length only bounds the indices. */
uint32_t virtq_indirect_count(struct virtqueue *queue, const struct virtq_desc *desc)
{
	const char *why = NULL;

	if (!queue->features.indirect)
		why = "an indirect descriptor was not negotiated";
	else if (desc->len == 0 || desc->len % VIRTQ_DESC_SIZE != 0)
		why = "an indirect table is not whole descriptors";
	if (!why)
		return desc->len / VIRTQ_DESC_SIZE;
	virtqueue_break(queue, why);
	return 0;
}

bool virtq_indirect_load(struct virtqueue *queue, uint64_t table_gpa, uint32_t index, struct virtq_desc *desc)
{
	uint64_t offset = (uint64_t)index * VIRTQ_DESC_SIZE;
	uint8_t *hva;

	if (offset > UINT64_MAX - table_gpa) {
		virtqueue_break(queue, "an indirect table lies outside memory");
		return false;
	}
	hva = gmem_span(queue->config.gmem, table_gpa + offset, VIRTQ_DESC_SIZE);
	if (hva && (uintptr_t)hva % sizeof(uint64_t) == 0) {
		*desc = virtq_load_desc(hva);
		return true;
	}
	if (gmem_read(queue->config.gmem, table_gpa + offset, desc, sizeof(*desc)) == 0)
		return true;
	virtqueue_break(queue, "an indirect table lies outside memory");
	return false;
}

/* Where the next chain will be looked for, as one number. */
static uint16_t virtqueue_position(const struct virtqueue *queue)
{
	if (!queue->features.packed)
		return queue->next_avail;
	return (uint16_t)(queue->next_avail | (queue->avail_wrap ? 0x8000u : 0));
}

static bool virtqueue_is_usable(const struct virtqueue *queue)
{
	return queue->started && !queue->broken && !queue->quiet;
}

bool virtqueue_has_buffers(struct virtqueue *queue)
{
	return virtqueue_is_usable(queue) && virtqueue_layout(queue)->has_buffers(queue);
}

struct virtq_chain *virtqueue_pop(struct virtqueue *queue)
{
	struct virtq_chain *chain;

	if (!virtqueue_has_buffers(queue))
		return NULL;
	chain = virtqueue_layout(queue)->pop(queue);
	if (!chain)
		return NULL;
	chain->in_flight = true;
	chain->position = virtqueue_position(queue);
	queue->in_flight++;
	queue->slots_in_flight += chain->slots;
	queue->chains_popped++;
	return chain;
}

/* Before the chain is shown as used: a listener must know of the bytes before the guest can look at them. */
static void virtq_chain_announce(const struct virtq_chain *chain, uint64_t written)
{
	for (unsigned i = 0; i < chain->write_count && written > 0; i++) {
		uint64_t here = written < chain->piece[i].len ? written : chain->piece[i].len;

		virtqueue_announce(chain->queue, chain->piece[i].gpa, here);
		written -= here;
	}
}

static void virtqueue_take_back(struct virtq_chain *chain)
{
	struct virtqueue *queue = chain->queue;

	assert(chain->in_flight);
	chain->in_flight = false;
	queue->in_flight--;
	queue->slots_in_flight -= chain->slots;
	if (!queue->features.packed)
		queue->head_busy[chain->id / 8] &= (uint8_t) ~(1u << chain->id % 8);
	virtqueue_free_chain(chain);
	if (queue->in_flight == 0 && queue->quiet && queue->config.drained)
		queue->config.drained(queue->config.opaque, queue->config.index);
}

void virtqueue_complete(struct virtq_chain *chain, uint64_t written)
{
	struct virtqueue *queue = chain->queue;

	assert(written <= chain->write_bytes);
	virtq_chain_announce(chain, written);
	if (queue->started && !queue->broken)
		virtqueue_layout(queue)->complete(queue, chain, (uint32_t)written);
	virtqueue_take_back(chain);
}

void virtqueue_publish(struct virtqueue *queue)
{
	if (queue->staged == 0 || !queue->started || queue->broken)
		return;
	if (!virtqueue_layout(queue)->publish(queue)) {
		queue->interrupts_saved++;
		return;
	}
	queue->interrupts_raised++;
	if (queue->config.interrupt)
		queue->config.interrupt(queue->config.opaque, queue->config.index);
}

void virtqueue_complete_now(struct virtq_chain *chain, uint64_t written)
{
	struct virtqueue *queue = chain->queue;

	virtqueue_complete(chain, written);
	virtqueue_publish(queue);
}

void virtqueue_return(struct virtq_chain *chain)
{
	struct virtqueue *queue = chain->queue;

	assert(chain->position == virtqueue_position(queue)); /* it was popped last */
	if (queue->started)
		virtqueue_layout(queue)->give_back(queue, chain);
	virtqueue_take_back(chain);
}

void virtqueue_discard(struct virtq_chain *chain)
{
	virtq_chain_announce(chain, chain->write_bytes);
	virtqueue_take_back(chain);
}
