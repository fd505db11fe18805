/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring between a vhost-user device and its back end: a split ring (virtio 1.2, 2.7) of our own, whose
 * driver is this file. Chains that were taken from the guest's ring are laid into it, and come back when the
 * peer has used them. So the peer never sees the guest's ring, which may be hostile and of any layout, and
 * whatever it writes to guest memory is announced (gmem_written) before the guest can know of it: the
 * built-in CPU drops its translations.
 *
 * The peer is believed nothing: a used entry that is none breaks the ring.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gmem;
struct virtq_chain;
struct virtqueue;

#define VHOST_RING_SIZE 256 /* descriptors; every back end takes as many */
/* Bytes of shared memory: descriptors, available ring, used ring, each from an address aligned enough. */
#define VHOST_RING_BYTES 8192u

struct vhost_ring {
	const struct gmem *gmem;
	unsigned index;               /* of the queue */
	uint8_t *memory;              /* VHOST_RING_BYTES, shared with the peer */
	uint16_t avail_idx, used_idx; /* the next entries to write and to read */
	uint16_t free_head, free_count;
	uint16_t next[VHOST_RING_SIZE]; /* of a chain's descriptor, or of a free one: ours, not the peer's */
	struct virtq_chain *chain[VHOST_RING_SIZE]; /* by head; NULL: not with the peer */
	uint16_t order[VHOST_RING_SIZE];            /* heads as they were made available, by avail_idx */
};

/* As before the first chain. */
void vhost_ring_reset(struct vhost_ring *ring);
uint8_t *vhost_ring_desc(const struct vhost_ring *ring);
uint8_t *vhost_ring_avail(const struct vhost_ring *ring);
uint8_t *vhost_ring_used(const struct vhost_ring *ring);

/* Whether the peer has all the memory of the chain: ROMs are not shared. */
bool vhost_ring_can_take(const struct vhost_ring *ring, const struct virtq_chain *chain);
/* Lays such a chain into the ring. false: there is no room at present. */
bool vhost_ring_put(struct vhost_ring *ring, struct virtq_chain *chain);
/* Whether the peer wants to be kicked for what was put. */
bool vhost_ring_wants_kick(const struct vhost_ring *ring);
/*
 * The next chain that the peer has used, and how much of it was written; NULL: none at present, or with
 * *broken set, never again.
 */
struct virtq_chain *vhost_ring_take(struct vhost_ring *ring, uint64_t *written, bool *broken);
/* The chain that was put last, from a peer that has stopped; NULL if it was used, or there is none. */
struct virtq_chain *vhost_ring_take_newest(struct vhost_ring *ring);
/* Any chain that the peer, which has stopped, has not used; NULL: there is none. */
struct virtq_chain *vhost_ring_take_back(struct vhost_ring *ring);
