/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split ring. virtio 1.2, 2.7.
 *
 *     descriptor table   16 bytes each: address, length, flags, next
 *     available ring     flags, idx, ring[size] (heads), used_event          written by the driver
 *     used ring          flags, idx, ring[size] (head, length), avail_event  written by us
 */
#include "devices/virtio/virtqueue_ring.h"

enum {
	SPLIT_FLAGS = 0, /* of both rings: bit 0 asks the other side not to notify */
	SPLIT_IDX = 2,
	SPLIT_RING = 4,
	SPLIT_AVAIL_ENTRY = 2,
	SPLIT_USED_ENTRY = 8,
	SPLIT_EVENT = 2, /* bytes of used_event, avail_event */
};

static void split_areas(const struct virtqueue *queue, uint64_t bytes[3], uint64_t align[3])
{
	uint64_t size = queue->size;

	bytes[0] = VIRTQ_DESC_SIZE * size;
	bytes[1] = SPLIT_RING + SPLIT_AVAIL_ENTRY * size + SPLIT_EVENT;
	bytes[2] = SPLIT_RING + SPLIT_USED_ENTRY * size + SPLIT_EVENT;
	align[0] = 16;
	align[1] = 2;
	align[2] = 4;
}

/* Writes 16 bits of the used ring. */
static void split_store_used16(struct virtqueue *queue, uint64_t offset, uint16_t value)
{
	virtq_store16(queue->device + offset, value);
	virtqueue_announce(queue, queue->device_gpa + offset, sizeof(value));
}

static uint64_t split_avail_event_offset(const struct virtqueue *queue)
{
	return SPLIT_RING + SPLIT_USED_ENTRY * (uint64_t)queue->size;
}

/* The driver kicks at the entry that we look at next, resp. at all. 2.7.7.1, 2.7.10. */
static void split_want_kick(struct virtqueue *queue)
{
	if (queue->features.event_idx)
		split_store_used16(queue, split_avail_event_offset(queue), queue->next_avail);
	else if (queue->kicks_off)
		split_store_used16(queue, SPLIT_FLAGS, 0);
	queue->kicks_off = false;
	virtq_full_fence();
}

/* With event index, an event that lies behind us is refusal enough. */
static void split_refuse_kicks(struct virtqueue *queue)
{
	if (queue->features.event_idx || queue->kicks_off)
		return;
	split_store_used16(queue, SPLIT_FLAGS, 1);
	queue->kicks_off = true;
}

static uint16_t split_available(const struct virtqueue *queue)
{
	return (uint16_t)(virtq_load16(queue->driver + SPLIT_IDX) - queue->next_avail);
}

static bool split_has_buffers(struct virtqueue *queue)
{
	uint16_t count = split_available(queue);

	if (count == 0) {
		split_want_kick(queue);
		count = split_available(queue);
	}
	/* A descriptor is in one chain only, and one in flight is not available. */
	if (count + queue->in_flight > queue->size) {
		virtqueue_break(queue, "the available ring has more entries than it can");
		return false;
	}
	return count > 0;
}

/*
 * The chain in an indirect table, 2.7.5.3. There are at most iov_max descriptors, and each takes an iovec at
 * least, so a loop ends at that cap.
 */
static bool split_walk_indirect(struct virtq_chain *chain, const struct virtq_desc *table)
{
	struct virtqueue *queue = chain->queue;
	uint32_t count = virtq_indirect_count(queue, table);
	struct virtq_desc desc = {.split = {.flags = VIRTQ_DESC_NEXT, .next = 0}};

	while (count > 0 && (desc.split.flags & VIRTQ_DESC_NEXT)) {
		uint32_t index = desc.split.next;

		if (index >= count) {
			virtqueue_break(queue, "a descriptor's successor lies outside the indirect table");
			return false;
		}
		if (!virtq_indirect_load(queue, table->gpa, index, &desc))
			return false;
		if (desc.split.flags & VIRTQ_DESC_INDIRECT) {
			virtqueue_break(queue, "an indirect descriptor is in an indirect table");
			return false;
		}
		if (!virtq_chain_add(chain, desc.gpa, desc.len, desc.split.flags & VIRTQ_DESC_WRITE))
			return false;
	}
	return count > 0;
}

/* Normal descriptors, then perhaps one that is indirect and the last (2.7.5.3.2). */
static bool split_walk(struct virtq_chain *chain, uint16_t index)
{
	struct virtqueue *queue = chain->queue;
	const char *why = NULL;

	while (!why) {
		struct virtq_desc desc;

		if (index >= queue->size || chain->slots == queue->size)
			break;
		desc = virtq_load_desc(queue->desc + VIRTQ_DESC_SIZE * (size_t)index);
		chain->slots++;
		if ((desc.split.flags & VIRTQ_DESC_INDIRECT) && !(desc.split.flags & VIRTQ_DESC_NEXT))
			return split_walk_indirect(chain, &desc);
		if (desc.split.flags & VIRTQ_DESC_INDIRECT)
			why = "an indirect descriptor has a successor";
		else if (!virtq_chain_add(chain, desc.gpa, desc.len, desc.split.flags & VIRTQ_DESC_WRITE))
			return false;
		else if (!(desc.split.flags & VIRTQ_DESC_NEXT))
			return true;
		index = desc.split.next;
	}
	if (!why)
		why = index >= queue->size ? "a descriptor's index lies outside the table"
					   : "a chain is a loop";
	virtqueue_break(queue, why);
	return false;
}

static bool split_mark_busy(struct virtqueue *queue, uint16_t head)
{
	uint8_t bit = (uint8_t)(1u << head % 8);

	if (head < queue->size && !(queue->head_busy[head / 8] & bit)) {
		queue->head_busy[head / 8] |= bit;
		return true;
	}
	virtqueue_break(queue, head < queue->size ? "a chain that is in use is made available again"
						  : "a head lies outside the table");
	return false;
}

static struct virtq_chain *split_pop(struct virtqueue *queue)
{
	size_t entry = queue->next_avail & (queue->size - 1u);
	uint16_t head = virtq_load16(queue->driver + SPLIT_RING + SPLIT_AVAIL_ENTRY * entry);
	struct virtq_chain *chain;

	split_refuse_kicks(queue);
	if (!split_mark_busy(queue, head))
		return NULL;
	chain = virtqueue_take_chain(queue);
	chain->id = head;
	if (!split_walk(chain, head)) {
		virtqueue_free_chain(chain);
		return NULL;
	}
	queue->next_avail++;
	return chain;
}

static void split_give_back(struct virtqueue *queue, const struct virtq_chain *chain)
{
	queue->next_avail--;
}

static void split_complete(struct virtqueue *queue, const struct virtq_chain *chain, uint32_t written)
{
	size_t offset = SPLIT_RING + SPLIT_USED_ENTRY * (size_t)(queue->next_used & (queue->size - 1u));

	virtq_store32(queue->device + offset, chain->id);
	virtq_store32(queue->device + offset + 4, written);
	virtqueue_announce(queue, queue->device_gpa + offset, SPLIT_USED_ENTRY);
	queue->next_used++;
	queue->staged++;
}

/* 2.7.7.2: the driver's flag, or its event index if that was negotiated. */
static bool split_wants_interrupt(struct virtqueue *queue)
{
	uint16_t before = queue->signalled;
	bool valid = queue->signalled_valid;
	uint16_t event;

	virtq_full_fence();
	if (!queue->features.event_idx)
		return !(virtq_load16(queue->driver + SPLIT_FLAGS) & 1);
	queue->signalled = queue->next_used;
	queue->signalled_valid = true;
	event = virtq_load16(queue->driver + SPLIT_RING + SPLIT_AVAIL_ENTRY * (size_t)queue->size);
	return !valid || virtq_passes(event, queue->next_used, before);
}

static bool split_publish(struct virtqueue *queue)
{
	split_store_used16(queue, SPLIT_IDX, queue->next_used);
	queue->staged = 0;
	return split_wants_interrupt(queue);
}

const struct virtq_layout virtq_split = {
	.areas = split_areas,
	.has_buffers = split_has_buffers,
	.pop = split_pop,
	.give_back = split_give_back,
	.complete = split_complete,
	.publish = split_publish,
};
