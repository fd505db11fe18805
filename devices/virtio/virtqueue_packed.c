/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packed ring. virtio 1.2, 2.8. One ring of descriptors that both sides write; each side goes round it
 * with a wrap counter, and two flags of a descriptor say whose it is:
 *
 *     available: AVAIL = the driver's wrap counter, USED = its opposite      used: AVAIL = USED = the
 * device's
 *
 *     event suppression (both sides'): off_wrap (position, bit 15 wrap counter), flags (0 on, 1 off, 2 at
 * off_wrap)
 */
#include "devices/virtio/virtqueue_ring.h"

enum {
	PACKED_LEN = 8, /* offsets in a descriptor */
	PACKED_ID = 12,
	PACKED_FLAGS = 14,
	PACKED_EVENT_OFF_WRAP = 0,
	PACKED_EVENT_FLAGS = 2,
	PACKED_EVENT_SIZE = 4,
};

enum packed_event { PACKED_EVENT_ENABLE = 0, PACKED_EVENT_DISABLE = 1, PACKED_EVENT_AT = 2 };

#define PACKED_WRAP 0x8000u

static void packed_areas(const struct virtqueue *queue, uint64_t bytes[3], uint64_t align[3])
{
	bytes[0] = VIRTQ_DESC_SIZE * (uint64_t)queue->size;
	bytes[1] = bytes[2] = PACKED_EVENT_SIZE;
	align[0] = 16;
	align[1] = align[2] = 4;
}

/* Forward by slots, which are at most the ring's size. */
static void packed_advance(const struct virtqueue *queue, uint16_t *slot, bool *wrap, unsigned slots)
{
	unsigned at = *slot + slots;

	if (at >= queue->size) {
		at -= queue->size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)at;
}

static uint16_t packed_position(uint16_t slot, bool wrap)
{
	return (uint16_t)(slot | (wrap ? PACKED_WRAP : 0));
}

static bool packed_is_available(uint16_t flags, bool wrap)
{
	return !!(flags & VIRTQ_DESC_AVAIL) == wrap && !!(flags & VIRTQ_DESC_USED) != wrap;
}

/* The flags are read before the rest, and not again: what they allowed is what counts. */
static struct virtq_desc packed_load(const struct virtqueue *queue, uint16_t slot)
{
	const uint8_t *hva = queue->desc + VIRTQ_DESC_SIZE * (size_t)slot;
	uint16_t flags = virtq_load16(hva + PACKED_FLAGS);
	struct virtq_desc desc = virtq_load_desc(hva);

	desc.packed.flags = flags;
	return desc;
}

static void packed_store_event(struct virtqueue *queue, uint64_t offset, uint16_t value)
{
	virtq_store16(queue->device + offset, value);
	virtqueue_announce(queue, queue->device_gpa + offset, sizeof(value));
}

static void packed_want_kick(struct virtqueue *queue)
{
	if (queue->features.event_idx) {
		packed_store_event(queue, PACKED_EVENT_OFF_WRAP,
				   packed_position(queue->next_avail, queue->avail_wrap));
		packed_store_event(queue, PACKED_EVENT_FLAGS, PACKED_EVENT_AT);
	} else if (queue->kicks_off) {
		packed_store_event(queue, PACKED_EVENT_FLAGS, PACKED_EVENT_ENABLE);
	}
	queue->kicks_off = false;
	virtq_full_fence();
}

static void packed_refuse_kicks(struct virtqueue *queue)
{
	if (queue->features.event_idx || queue->kicks_off)
		return;
	packed_store_event(queue, PACKED_EVENT_FLAGS, PACKED_EVENT_DISABLE);
	queue->kicks_off = true;
}

static bool packed_next_is_available(const struct virtqueue *queue)
{
	const uint8_t *hva = queue->desc + VIRTQ_DESC_SIZE * (size_t)queue->next_avail;

	return packed_is_available(virtq_load16(hva + PACKED_FLAGS), queue->avail_wrap);
}

static bool packed_has_buffers(struct virtqueue *queue)
{
	if (packed_next_is_available(queue))
		return true;
	packed_want_kick(queue);
	return packed_next_is_available(queue);
}

/* 2.8.7: a table is used from its beginning to its end; of the flags only WRITE means something. */
static bool packed_walk_indirect(struct virtq_chain *chain, const struct virtq_desc *table)
{
	struct virtqueue *queue = chain->queue;
	uint32_t count = virtq_indirect_count(queue, table);

	for (uint32_t i = 0; i < count; i++) {
		struct virtq_desc desc;

		if (!virtq_indirect_load(queue, table->gpa, i, &desc))
			return false;
		if (desc.packed.flags & VIRTQ_DESC_INDIRECT) {
			virtqueue_break(queue, "an indirect descriptor is in an indirect table");
			return false;
		}
		if (!virtq_chain_add(chain, desc.gpa, desc.len, desc.packed.flags & VIRTQ_DESC_WRITE))
			return false;
	}
	return count > 0;
}

static bool packed_add(struct virtq_chain *chain, const struct virtq_desc *desc)
{
	bool is_alone = chain->slots == 1 && !(desc->packed.flags & VIRTQ_DESC_NEXT);

	if (!(desc->packed.flags & VIRTQ_DESC_INDIRECT))
		return virtq_chain_add(chain, desc->gpa, desc->len, desc->packed.flags & VIRTQ_DESC_WRITE);
	if (is_alone)
		return packed_walk_indirect(chain, desc);
	virtqueue_break(chain->queue, "an indirect descriptor is one of several");
	return false;
}

/* Descriptors follow one another in the ring; the last has the id. A chain cannot be longer than what is not
 * in use. */
static bool packed_walk(struct virtq_chain *chain, uint16_t slot, bool wrap)
{
	struct virtqueue *queue = chain->queue;
	struct virtq_desc desc;

	do {
		if (chain->slots + queue->slots_in_flight + queue->staged >= queue->size) {
			virtqueue_break(queue, "a chain reaches into descriptors that are in use");
			return false;
		}
		desc = packed_load(queue, slot);
		if (!packed_is_available(desc.packed.flags, wrap)) {
			virtqueue_break(queue, "a chain ends before its last descriptor");
			return false;
		}
		chain->slots++;
		packed_advance(queue, &slot, &wrap, 1);
		if (!packed_add(chain, &desc))
			return false;
	} while (desc.packed.flags & VIRTQ_DESC_NEXT);
	chain->id = desc.packed.id;
	return true;
}

static struct virtq_chain *packed_pop(struct virtqueue *queue)
{
	struct virtq_chain *chain;

	packed_refuse_kicks(queue);
	if (queue->slots_in_flight + queue->staged >= queue->size) {
		virtqueue_break(queue, "a chain that is in use is made available again");
		return NULL;
	}
	chain = virtqueue_take_chain(queue);
	if (!packed_walk(chain, queue->next_avail, queue->avail_wrap)) {
		virtqueue_free_chain(chain);
		return NULL;
	}
	packed_advance(queue, &queue->next_avail, &queue->avail_wrap, chain->slots);
	return chain;
}

static void packed_give_back(struct virtqueue *queue, const struct virtq_chain *chain)
{
	if (queue->next_avail < chain->slots) {
		queue->next_avail = (uint16_t)(queue->next_avail + queue->size);
		queue->avail_wrap = !queue->avail_wrap;
	}
	queue->next_avail = (uint16_t)(queue->next_avail - chain->slots);
}

/* 2.8.6: id and length, then the flags. Those of the first of a batch are held back until the others are
 * written. */
static void packed_complete(struct virtqueue *queue, const struct virtq_chain *chain, uint32_t written)
{
	uint8_t *hva = queue->desc + VIRTQ_DESC_SIZE * (size_t)queue->next_used;
	uint16_t flags = (uint16_t)((queue->used_wrap ? VIRTQ_DESC_AVAIL | VIRTQ_DESC_USED : 0) |
				    (written > 0 ? VIRTQ_DESC_WRITE : 0));

	virtq_store32(hva + PACKED_LEN, written);
	virtq_store16(hva + PACKED_ID, chain->id);
	if (queue->staged == 0) {
		queue->staged_slot = queue->next_used;
		queue->staged_flags = flags;
	} else {
		virtq_store16(hva + PACKED_FLAGS, flags);
	}
	virtqueue_announce(queue, queue->desc_gpa + VIRTQ_DESC_SIZE * (uint64_t)queue->next_used,
			   VIRTQ_DESC_SIZE);
	queue->staged = (uint16_t)(queue->staged + chain->slots);
	packed_advance(queue, &queue->next_used, &queue->used_wrap, chain->slots);
}

/*
 * 2.8.10. Positions are made comparable by counting those of the round before as negative: `before` when the
 * wrap counter has changed since, and the event when its wrap counter is not ours.
 */
static bool packed_passes_event(const struct virtqueue *queue, uint16_t off_wrap, uint16_t signalled)
{
	uint16_t ours = queue->used_wrap ? PACKED_WRAP : 0;
	uint16_t event = off_wrap & (PACKED_WRAP - 1);
	uint16_t before = signalled & (PACKED_WRAP - 1);

	if ((off_wrap & PACKED_WRAP) != ours)
		event = (uint16_t)(event - queue->size);
	if ((signalled & PACKED_WRAP) != ours)
		before = (uint16_t)(before - queue->size);
	return virtq_passes(event, queue->next_used, before);
}

static bool packed_wants_interrupt(struct virtqueue *queue)
{
	uint16_t before = queue->signalled;
	bool valid = queue->signalled_valid;
	uint16_t flags;

	virtq_full_fence();
	queue->signalled = packed_position(queue->next_used, queue->used_wrap);
	queue->signalled_valid = true;
	flags = virtq_load16(queue->driver + PACKED_EVENT_FLAGS);
	if (flags == PACKED_EVENT_DISABLE)
		return false;
	if (flags != PACKED_EVENT_AT || !queue->features.event_idx || !valid)
		return true;
	return packed_passes_event(queue, virtq_load16(queue->driver + PACKED_EVENT_OFF_WRAP), before);
}

static bool packed_publish(struct virtqueue *queue)
{
	uint64_t offset = VIRTQ_DESC_SIZE * (uint64_t)queue->staged_slot + PACKED_FLAGS;

	virtq_store16(queue->desc + offset, queue->staged_flags);
	virtqueue_announce(queue, queue->desc_gpa + offset, sizeof(uint16_t));
	queue->staged = 0;
	return packed_wants_interrupt(queue);
}

const struct virtq_layout virtq_packed = {
	.areas = packed_areas,
	.has_buffers = packed_has_buffers,
	.pop = packed_pop,
	.give_back = packed_give_back,
	.complete = packed_complete,
	.publish = packed_publish,
};
