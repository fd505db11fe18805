/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of split and packed rings, for tests. virtio 1.2, 2.7 and 2.8. */
#include "tests/unit/virtio_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_AVAIL = 0x80, DESC_USED = 0x8000 };

static void ring_put16(struct virtio_guest *guest, uint64_t gpa, uint16_t value)
{
	memcpy(virtio_guest_at(guest, gpa, sizeof(value)), &value, sizeof(value));
}

static uint16_t ring_get16(struct virtio_guest *guest, uint64_t gpa)
{
	uint16_t value;

	memcpy(&value, virtio_guest_at(guest, gpa, sizeof(value)), sizeof(value));
	return value;
}

static uint32_t ring_get32(struct virtio_guest *guest, uint64_t gpa)
{
	uint32_t value;

	memcpy(&value, virtio_guest_at(guest, gpa, sizeof(value)), sizeof(value));
	return value;
}

/* A descriptor; `third` and `fourth` are flags and next (split) or id and flags (packed). */
static void ring_put_desc(struct virtio_guest *guest, uint64_t gpa, const struct virtio_guest_buffer *buffer,
			  uint16_t third, uint16_t fourth)
{
	uint8_t *at = virtio_guest_at(guest, gpa, 16);

	memcpy(at, &buffer->gpa, 8);
	memcpy(at + 8, &buffer->len, 4);
	memcpy(at + 12, &third, 2);
	memcpy(at + 14, &fourth, 2);
}

/* Split. */

static uint16_t split_add(struct virtio_guest *guest, struct virtio_guest_queue *queue,
			  const struct virtio_guest_buffer *buffers, unsigned count, uint16_t flags)
{
	uint16_t head = queue->free_head;

	for (unsigned i = 0; i < count; i++) {
		uint16_t next = (uint16_t)((queue->free_head + 1) % queue->size);

		ring_put_desc(guest, queue->desc_gpa + 16u * queue->free_head, &buffers[i],
			      (uint16_t)(flags | (buffers[i].write ? DESC_WRITE : 0) |
					 (i + 1 < count ? DESC_NEXT : 0)),
			      i + 1 < count ? next : 0);
		queue->free_head = next;
	}
	ring_put16(guest, queue->driver_gpa + 4 + 2u * (queue->next_avail % queue->size), head);
	queue->next_avail++;
	ring_put16(guest, queue->driver_gpa + 2, queue->next_avail);
	return head;
}

static bool split_take(struct virtio_guest *guest, struct virtio_guest_queue *queue, uint16_t *id,
		       uint32_t *len)
{
	uint64_t entry = queue->device_gpa + 4 + 8u * (queue->next_used % queue->size);

	if (ring_get16(guest, queue->device_gpa + 2) == queue->next_used)
		return false;
	*id = (uint16_t)ring_get32(guest, entry);
	*len = ring_get32(guest, entry + 4);
	queue->next_used++;
	return true;
}

/* Packed. */

static uint16_t packed_flags(bool wrap)
{
	return wrap ? DESC_AVAIL : DESC_USED;
}

static uint16_t packed_add(struct virtio_guest *guest, struct virtio_guest_queue *queue,
			   const struct virtio_guest_buffer *buffers, unsigned count, uint16_t flags)
{
	uint16_t id = queue->next_id;

	queue->next_id = (uint16_t)((queue->next_id + 1) % queue->size);
	queue->slots[id] = (uint16_t)count;
	for (unsigned i = 0; i < count; i++) {
		ring_put_desc(guest, queue->desc_gpa + 16u * queue->next_avail, &buffers[i], id,
			      (uint16_t)(flags | packed_flags(queue->avail_wrap) |
					 (buffers[i].write ? DESC_WRITE : 0) |
					 (i + 1 < count ? DESC_NEXT : 0)));
		if (++queue->next_avail == queue->size) {
			queue->next_avail = 0;
			queue->avail_wrap = !queue->avail_wrap;
		}
	}
	return id;
}

static bool packed_take(struct virtio_guest *guest, struct virtio_guest_queue *queue, uint16_t *id,
			uint32_t *len)
{
	uint64_t gpa = queue->desc_gpa + 16u * queue->next_used;
	uint16_t flags = ring_get16(guest, gpa + 14);

	if (!!(flags & DESC_AVAIL) != queue->used_wrap || !!(flags & DESC_USED) != queue->used_wrap)
		return false;
	*id = ring_get16(guest, gpa + 12);
	*len = flags & DESC_WRITE ? ring_get32(guest, gpa + 8) : 0;
	assert_true(*id < queue->size);
	queue->next_used = (uint16_t)(queue->next_used + queue->slots[*id]);
	if (queue->next_used >= queue->size) {
		queue->next_used = (uint16_t)(queue->next_used - queue->size);
		queue->used_wrap = !queue->used_wrap;
	}
	return true;
}

/* Both. */

static uint16_t ring_add(struct virtio_guest *guest, unsigned index,
			 const struct virtio_guest_buffer *buffers, unsigned count, uint16_t flags)
{
	struct virtio_guest_queue *queue = &guest->queue[index];

	if (guest->ring & VIRTIO_GUEST_PACKED)
		return packed_add(guest, queue, buffers, count, flags);
	return split_add(guest, queue, buffers, count, flags);
}

uint16_t virtio_guest_add_direct(struct virtio_guest *guest, unsigned queue,
				 const struct virtio_guest_buffer *buffers, unsigned count)
{
	return ring_add(guest, queue, buffers, count, 0);
}

uint16_t virtio_guest_add(struct virtio_guest *guest, unsigned queue,
			  const struct virtio_guest_buffer *buffers, unsigned count)
{
	struct virtio_guest_buffer table = {.len = 16 * count};
	bool packed = guest->ring & VIRTIO_GUEST_PACKED;

	if (!(guest->ring & VIRTIO_GUEST_INDIRECT))
		return ring_add(guest, queue, buffers, count, 0);
	table.gpa = virtio_guest_alloc(guest, table.len, 16);
	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = buffers[i].write ? DESC_WRITE : 0;
		uint16_t next = i + 1 < count ? DESC_NEXT : 0;

		ring_put_desc(guest, table.gpa + 16 * i, &buffers[i], packed ? 0 : flags | next,
			      packed ? flags : (uint16_t)(i + 1));
	}
	return ring_add(guest, queue, &table, 1, DESC_INDIRECT);
}

bool virtio_guest_take(struct virtio_guest *guest, unsigned index, uint16_t *id, uint32_t *len)
{
	struct virtio_guest_queue *queue = &guest->queue[index];

	if (guest->ring & VIRTIO_GUEST_PACKED)
		return packed_take(guest, queue, id, len);
	return split_take(guest, queue, id, len);
}

/* A position of a packed ring as a number that grows for ever, from its wrap counter and one that is near it.
 */
static int packed_number(uint16_t position, bool wrap, bool our_wrap, uint16_t size)
{
	return wrap == our_wrap ? position : position - size;
}

static bool packed_kick_is_wanted(struct virtio_guest *guest, const struct virtio_guest_queue *queue,
				  unsigned slots)
{
	uint16_t off_wrap = ring_get16(guest, queue->device_gpa);
	uint16_t flags = ring_get16(guest, queue->device_gpa + 2);
	int event = packed_number(off_wrap & 0x7fff, off_wrap >> 15, queue->avail_wrap, queue->size);

	if (flags != 2)
		return flags == 0;
	return event >= queue->next_avail - (int)slots && event < queue->next_avail;
}

bool virtio_guest_kick_is_wanted(struct virtio_guest *guest, unsigned index, unsigned count)
{
	struct virtio_guest_queue *queue = &guest->queue[index];
	uint16_t event;

	if (guest->ring & VIRTIO_GUEST_PACKED)
		return packed_kick_is_wanted(guest, queue, count);
	if (!(guest->ring & VIRTIO_GUEST_EVENT_IDX))
		return !(ring_get16(guest, queue->device_gpa) & 1);
	event = ring_get16(guest, queue->device_gpa + 4 + 8u * queue->size);
	return (uint16_t)(queue->next_avail - event - 1) < count;
}

void virtio_guest_no_interrupts(struct virtio_guest *guest, unsigned index)
{
	struct virtio_guest_queue *queue = &guest->queue[index];

	if (guest->ring & VIRTIO_GUEST_PACKED)
		ring_put16(guest, queue->driver_gpa + 2, 1);
	else if (guest->ring & VIRTIO_GUEST_EVENT_IDX)
		ring_put16(guest, queue->driver_gpa + 4 + 2u * queue->size, (uint16_t)(queue->next_used - 1));
	else
		ring_put16(guest, queue->driver_gpa, 1);
}

void virtio_guest_want_interrupt(struct virtio_guest *guest, unsigned index, unsigned ahead)
{
	struct virtio_guest_queue *queue = &guest->queue[index];
	unsigned slot = queue->next_used + ahead;
	bool wrap = queue->used_wrap;

	if (slot >= queue->size) {
		slot -= queue->size;
		wrap = !wrap;
	}
	if (!(guest->ring & VIRTIO_GUEST_EVENT_IDX)) {
		ring_put16(guest, queue->driver_gpa + (guest->ring & VIRTIO_GUEST_PACKED ? 2 : 0), 0);
	} else if (guest->ring & VIRTIO_GUEST_PACKED) {
		ring_put16(guest, queue->driver_gpa, (uint16_t)(slot | (wrap ? 0x8000 : 0)));
		ring_put16(guest, queue->driver_gpa + 2, 2);
	} else {
		ring_put16(guest, queue->driver_gpa + 4 + 2u * queue->size,
			   (uint16_t)(queue->next_used + ahead));
	}
}
