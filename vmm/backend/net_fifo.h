/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames on their way to the guest, in one buffer: each behind its length as 32 bits in the order of the
 * network, which is also how QEMU and passt put frames into a stream. Taking frames joins the segments of a
 * TCP connection that follow one another into one large one, if the guest can take that. Knows no backend.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct err;
struct netdev_header;

#define NET_FIFO_LENGTH_SIZE 4

struct net_fifo {
	uint8_t *data; /* owned */
	size_t size;
	size_t head; /* of the first frame */
	size_t tail; /* behind the last byte */
};

/* size: at least one frame of NETDEV_FRAME_MAX fits, else -EINVAL; -ENOMEM. */
int net_fifo_init(struct net_fifo *fifo, size_t size, struct err *err);
void net_fifo_free(struct net_fifo *fifo);

static inline size_t net_fifo_bytes(const struct net_fifo *fifo)
{
	return fifo->tail - fifo->head;
}

/* Makes what is free one piece behind tail, if it is less than `wanted`; returns its size. */
size_t net_fifo_room(struct net_fifo *fifo, size_t wanted);
/* Appends a frame. false: no room. */
bool net_fifo_put(struct net_fifo *fifo, const void *frame, size_t len);

enum net_fifo_state { NET_FIFO_EMPTY, NET_FIFO_FRAME, NET_FIFO_BAD };
/* What is at the head: no whole frame, a frame, or a length that no frame has. */
enum net_fifo_state net_fifo_state(const struct net_fifo *fifo);

struct net_fifo_taking {
	uint32_t offloads; /* NETDEV_RX_*: what the guest can take */
	bool trusted;      /* checksums are right */
};

/* As netdev_ops.receive. */
ssize_t net_fifo_receive(struct net_fifo *fifo, const struct net_fifo_taking *taking,
			 struct netdev_header *header, const struct iovec *iov, unsigned iov_count);
/* Throws away all whole frames. */
void net_fifo_drop(struct net_fifo *fifo);
