/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two layouts of rings share, for virtqueue*.c only: descriptors, building of chains, access to ring
 * memory. Ring memory is the guest's: each field is read once, by a load that the compiler cannot repeat.
 */
#pragma once

#include <assert.h>

#include "devices/virtio/virtqueue.h"

enum virtq_desc_flag {
	VIRTQ_DESC_NEXT = 1,
	VIRTQ_DESC_WRITE = 2,
	VIRTQ_DESC_INDIRECT = 4,
	VIRTQ_DESC_AVAIL = 1 << 7, /* packed */
	VIRTQ_DESC_USED = 1 << 15, /* packed */
};

/* A descriptor as both layouts have it, but for the last four bytes. */
struct virtq_desc {
	uint64_t gpa;
	uint32_t len;
	union {
		struct {
			uint16_t flags, next;
		} split;
		struct {
			uint16_t id, flags;
		} packed;
	};
};
#define VIRTQ_DESC_SIZE 16
static_assert(sizeof(struct virtq_desc) == VIRTQ_DESC_SIZE, "virtio 1.2, 2.7.5 and 2.8.13");

static inline uint16_t virtq_load16(const uint8_t *hva)
{
	return __atomic_load_n((const uint16_t *)(const void *)hva, __ATOMIC_ACQUIRE);
}

static inline void virtq_store16(uint8_t *hva, uint16_t value)
{
	__atomic_store_n((uint16_t *)(void *)hva, value, __ATOMIC_RELEASE);
}

static inline void virtq_store32(uint8_t *hva, uint32_t value)
{
	__atomic_store_n((uint32_t *)(void *)hva, value, __ATOMIC_RELAXED);
}

/* Orders our write before our next read, against the driver's write and read in the other
 * order: 2.7.7.2, 2.7.10. */
static inline void virtq_full_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* hva is aligned to 8 at least. */
static inline struct virtq_desc virtq_load_desc(const uint8_t *hva)
{
	union {
		uint64_t word[2];
		struct virtq_desc desc;
	} copy;

	copy.word[0] = __atomic_load_n((const uint64_t *)(const void *)hva, __ATOMIC_RELAXED);
	copy.word[1] = __atomic_load_n((const uint64_t *)(const void *)(hva + 8), __ATOMIC_RELAXED);
	return copy.desc;
}

/* 2.7.10: whether a move from `before` to `after` passes `event`. */
static inline bool virtq_passes(uint16_t event, uint16_t after, uint16_t before)
{
	return (uint16_t)(after - event - 1) < (uint16_t)(after - before);
}

/* virtqueue.c */
/* An empty chain from the free ones; there is one for each descriptor of the largest ring. */
struct virtq_chain *virtqueue_take_chain(struct virtqueue *queue);
void virtqueue_free_chain(struct virtq_chain *chain);
/* Appends one descriptor's memory; false when the queue has been broken. */
bool virtq_chain_add(struct virtq_chain *chain, uint64_t gpa, uint32_t len, bool is_write);
/* Length of an indirect table in descriptors; 0 when the queue has been broken. */
uint32_t virtq_indirect_count(struct virtqueue *queue, const struct virtq_desc *desc);
/* Copies descriptor `index` of an indirect table; false when the queue has been broken. */
bool virtq_indirect_load(struct virtqueue *queue, uint64_t table_gpa, uint32_t index,
			 struct virtq_desc *desc);
/* Tells the listeners of guest memory. */
void virtqueue_announce(struct virtqueue *queue, uint64_t gpa, uint64_t len);

/* One layout. All are called for a started queue that is not broken; complete and publish not for an empty
 * one. */
struct virtq_layout {
	/* Bytes of the three areas, and what their addresses are multiples of. */
	void (*areas)(const struct virtqueue *queue, uint64_t bytes[3], uint64_t align[3]);
	bool (*has_buffers)(struct virtqueue *queue);
	struct virtq_chain *(*pop)(struct virtqueue *queue);
	void (*give_back)(struct virtqueue *queue, const struct virtq_chain *chain);
	void (*complete)(struct virtqueue *queue, const struct virtq_chain *chain, uint32_t written);
	/* Shows the completed ones; returns whether the driver wants an interrupt. */
	bool (*publish)(struct virtqueue *queue);
};

extern const struct virtq_layout virtq_split;
extern const struct virtq_layout virtq_packed;
