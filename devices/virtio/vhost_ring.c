/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of a split ring whose device is another process. virtio 1.2, 2.7. */
#include "devices/virtio/vhost_ring.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>

#include "devices/virtio/virtqueue.h"
#include "vmm/core/gmem.h"

#define VHOST_DESC_NEXT      1u
#define VHOST_DESC_WRITE     2u
#define VHOST_USED_NO_NOTIFY 1u

struct vhost_desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct vhost_avail {
	uint16_t flags;
	_Atomic uint16_t idx;
	uint16_t head[VHOST_RING_SIZE];
};

struct vhost_used_element {
	uint32_t id;
	uint32_t len;
};

struct vhost_used {
	_Atomic uint16_t flags;
	_Atomic uint16_t idx;
	struct vhost_used_element element[VHOST_RING_SIZE];
};

#define VHOST_AVAIL_AT (sizeof(struct vhost_desc) * VHOST_RING_SIZE)
#define VHOST_USED_AT  (VHOST_AVAIL_AT + 1024)
_Static_assert(sizeof(struct vhost_avail) + 2 <= VHOST_USED_AT - VHOST_AVAIL_AT &&
		       VHOST_USED_AT + sizeof(struct vhost_used) + 2 <= VHOST_RING_BYTES,
	       "the three parts lie one behind the other");

uint8_t *vhost_ring_desc(const struct vhost_ring *ring)
{
	return ring->memory;
}

uint8_t *vhost_ring_avail(const struct vhost_ring *ring)
{
	return ring->memory + VHOST_AVAIL_AT;
}

uint8_t *vhost_ring_used(const struct vhost_ring *ring)
{
	return ring->memory + VHOST_USED_AT;
}

static struct vhost_used *vhost_used(const struct vhost_ring *ring)
{
	return (struct vhost_used *)(void *)vhost_ring_used(ring);
}

void vhost_ring_reset(struct vhost_ring *ring)
{
	memset(ring->memory, 0, VHOST_RING_BYTES);
	memset(ring->chain, 0, sizeof(ring->chain));
	ring->avail_idx = ring->used_idx = 0;
	ring->free_head = 0;
	ring->free_count = VHOST_RING_SIZE;
	for (unsigned i = 0; i < VHOST_RING_SIZE; i++)
		ring->next[i] = (uint16_t)((i + 1) % VHOST_RING_SIZE);
}

/* The guest's name for memory of which we have a span, or UINT64_MAX: the peer does not have it. */
static uint64_t vhost_ring_gpa(const struct vhost_ring *ring, const void *hva)
{
	for (size_t i = 0; i < gmem_region_count(ring->gmem); i++) {
		const struct gmem_region *region = gmem_region_at(ring->gmem, i);
		uint64_t offset = (uint64_t)((uintptr_t)hva - (uintptr_t)region->hva);

		if (region->kind != GMEM_ROM && (uintptr_t)hva >= (uintptr_t)region->hva &&
		    offset < region->size_bytes)
			return region->gpa + offset;
	}
	return UINT64_MAX;
}

bool vhost_ring_can_take(const struct vhost_ring *ring, const struct virtq_chain *chain)
{
	bool can = true;

	for (unsigned i = 0; i < chain->read_count && can; i++)
		can = vhost_ring_gpa(ring, chain->read[i].iov_base) != UINT64_MAX;
	for (unsigned i = 0; i < chain->write_count && can; i++)
		can = vhost_ring_gpa(ring, chain->write[i].iov_base) != UINT64_MAX;
	return can;
}

static uint16_t vhost_ring_put_piece(struct vhost_ring *ring, const struct iovec *piece, uint16_t flags)
{
	struct vhost_desc *desc = (struct vhost_desc *)(void *)ring->memory;
	uint16_t at = ring->free_head;

	ring->free_head = ring->next[at];
	ring->free_count--;
	desc[at] = (struct vhost_desc){
		.gpa = vhost_ring_gpa(ring, piece->iov_base),
		.len = (uint32_t)piece->iov_len,
		.flags = flags,
		.next = ring->free_head,
	};
	return at;
}

bool vhost_ring_put(struct vhost_ring *ring, struct virtq_chain *chain)
{
	struct vhost_avail *avail = (struct vhost_avail *)(void *)vhost_ring_avail(ring);
	const unsigned count = chain->read_count + chain->write_count;
	uint16_t head = ring->free_head;

	if (count > ring->free_count)
		return false;
	for (unsigned i = 0; i < count; i++) {
		bool write = i >= chain->read_count;
		const struct iovec *piece = write ? &chain->write[i - chain->read_count] : &chain->read[i];

		vhost_ring_put_piece(
			ring, piece,
			(uint16_t)((write ? VHOST_DESC_WRITE : 0) | (i + 1 < count ? VHOST_DESC_NEXT : 0)));
	}
	ring->chain[head] = chain;
	ring->order[ring->avail_idx % VHOST_RING_SIZE] = head;
	avail->head[ring->avail_idx % VHOST_RING_SIZE] = head;
	ring->avail_idx++;
	atomic_store_explicit(&avail->idx, ring->avail_idx, memory_order_release);
	return true;
}

bool vhost_ring_wants_kick(const struct vhost_ring *ring)
{
	/* The peer sets the flag and looks at idx again; we set idx and look at the flag. */
	atomic_thread_fence(memory_order_seq_cst);
	return !(atomic_load_explicit(&vhost_used(ring)->flags, memory_order_relaxed) & VHOST_USED_NO_NOTIFY);
}

/* The descriptors of a chain become free again: as many as were laid, in the order that we remember. */
static void vhost_ring_free(struct vhost_ring *ring, uint16_t head, unsigned count)
{
	uint16_t last = head;

	for (unsigned i = 1; i < count; i++)
		last = ring->next[last];
	ring->next[last] = ring->free_head;
	ring->free_head = head;
	ring->free_count = (uint16_t)(ring->free_count + count);
}

static struct virtq_chain *vhost_ring_remove(struct vhost_ring *ring, uint16_t head)
{
	struct virtq_chain *chain = ring->chain[head];

	ring->chain[head] = NULL;
	vhost_ring_free(ring, head, chain->read_count + chain->write_count);
	return chain;
}

struct virtq_chain *vhost_ring_take(struct vhost_ring *ring, uint64_t *written, bool *broken)
{
	const struct vhost_used *used = vhost_used(ring);
	uint16_t idx = atomic_load_explicit(&used->idx, memory_order_acquire);
	struct vhost_used_element element;
	struct virtq_chain *chain;

	if (idx == ring->used_idx)
		return NULL;
	memcpy(&element, &used->element[ring->used_idx % VHOST_RING_SIZE], sizeof(element));
	if (element.id >= VHOST_RING_SIZE || !ring->chain[element.id]) {
		*broken = true;
		return NULL;
	}
	ring->used_idx++;
	chain = vhost_ring_remove(ring, (uint16_t)element.id);
	*written = element.len < chain->write_bytes ? element.len : chain->write_bytes;
	return chain;
}

struct virtq_chain *vhost_ring_take_newest(struct vhost_ring *ring)
{
	uint16_t head = ring->order[(uint16_t)(ring->avail_idx - 1) % VHOST_RING_SIZE];

	if (!ring->chain[head])
		return NULL;
	ring->avail_idx--;
	return vhost_ring_remove(ring, head);
}

struct virtq_chain *vhost_ring_take_back(struct vhost_ring *ring)
{
	for (uint16_t head = 0; head < VHOST_RING_SIZE; head++) {
		if (ring->chain[head])
			return vhost_ring_remove(ring, head);
	}
	return NULL;
}
