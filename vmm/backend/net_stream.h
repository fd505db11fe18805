/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames over a connected stream socket, each behind its length as 32 bits in the order of the network: what
 * QEMU's
 * `-netdev stream` and passt speak. A netdev for those who make connections (net_socket, net_passt, net_fd);
 * it does not know how they are made.
 */
#pragma once

#include "vmm/backend/net_fifo.h"
#include "vmm/core/netdev.h"

struct loop_fd;

/* First member of the backends over it. */
struct net_stream {
	struct netdev netdev;
	struct loop *loop;
	int fd; /* owned; -1: not connected */
	struct loop_fd *watch;
	uint32_t events; /* watched */
	bool polled;     /* the client wants frames */
	struct net_fifo fifo;
	uint32_t rx_offloads;
	uint8_t *rest; /* of a frame that the socket did not take at once; owned */
	size_t rest_at, rest_len;
	void (*lost)(struct net_stream *stream); /* the connection ended, and is closed; may be NULL */
	struct iovec piece[NETDEV_IOV_MAX];
};

/* Fills a zeroed stream, not connected; ops->destroy is the owner's. 0 or -ENOMEM. */
int net_stream_init(struct net_stream *stream, struct loop *loop, const struct netdev_ops *ops,
		    struct err *err);
/* Closes and frees what it has, not itself. */
void net_stream_release(struct net_stream *stream);
/* Takes a connected socket over (closes it on failure too); the link is up then. */
int net_stream_connected(struct net_stream *stream, int fd, struct err *err);

/* For the owners' ops. */
int net_stream_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
		    const struct iovec *iov, unsigned iov_count);
ssize_t net_stream_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			   const struct iovec *iov, unsigned iov_count);
void net_stream_poll(struct netdev *netdev, unsigned queue, bool on);
void net_stream_reset(struct netdev *netdev, unsigned queue);
void net_stream_set_offloads(struct netdev *netdev, uint32_t offloads);
