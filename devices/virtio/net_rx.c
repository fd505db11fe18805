/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reception: 5.1.6.3, 5.1.6.4. Frames are received straight into guest memory: buffers are held, as many as
 * the largest frame that may come takes, and what a frame leaves over serves the next. When the guest has too
 * few for the largest, a frame is first read into memory of ours, and waits until they are enough for it.
 *
 * Without merged buffers (VIRTIO_NET_F_MRG_RXBUF) each frame has one buffer, which the driver makes large
 * enough.
 */
#include "devices/virtio/net_device.h"

#include <errno.h>
#include <string.h>

#include "vmm/core/gmem.h"

#define NET_RX_BATCH    256 /* frames before others on the loop have their turn */
#define NET_HEADER_SIZE sizeof(struct netdev_header)

enum net_rx_step {
	NET_RX_DONE,    /* a frame was dealt with */
	NET_RX_EMPTY,   /* the netdev has none */
	NET_RX_STARVED, /* there is no buffer for it */
};

static struct virtqueue *net_rx_queue(struct net *net, unsigned pair)
{
	return &net->virtio.queue[net_rx_index(pair)];
}

/* Gives all held buffers back to the ring. */
void net_rx_release(struct net *net, unsigned pair)
{
	struct net_pair *own = &net->pair[pair];

	while (own->held_count > 0)
		virtqueue_return(own->held[--own->held_count]);
	own->held_bytes = 0;
}

/* The first `count` held buffers went back to the driver. */
static void net_rx_forget(struct net_pair *own, unsigned count)
{
	own->held_count -= count;
	memmove(own->held, own->held + count, own->held_count * sizeof(own->held[0]));
}

/*
 * A frame cannot begin in a buffer that has no room for the header. Only the first goes back: a buffer that
 * goes back behind one that is held would come twice, when the held one is returned to the ring.
 */
static void net_rx_skip_small(struct net_pair *own)
{
	while (own->held_count > 0 && own->held[0]->write_bytes < NET_HEADER_SIZE) {
		own->held_bytes -= own->held[0]->write_bytes;
		virtqueue_complete(own->held[0], 0);
		net_rx_forget(own, 1);
	}
}

/* Holds buffers for `wanted` bytes with the header, or one buffer when they are not merged. false: there is
 * none. */
static bool net_rx_hold(struct net *net, unsigned pair, uint64_t wanted)
{
	struct net_pair *own = &net->pair[pair];
	bool merged = virtio_has_feature(&net->virtio, NET_F_MRG_RXBUF);

	net_rx_skip_small(own);
	while (own->held_count < NET_HELD_MAX && (merged ? own->held_bytes < wanted : own->held_count == 0)) {
		struct virtq_chain *chain = virtqueue_pop(net_rx_queue(net, pair));

		if (!chain)
			break;
		own->held[own->held_count++] = chain;
		own->held_bytes += chain->write_bytes;
		net_rx_skip_small(own);
	}
	return own->held_count > 0;
}

/* Lists the memory behind the header in net->gather; returns its size. */
static uint64_t net_rx_gather(struct net *net, const struct net_pair *own)
{
	uint64_t skip = NET_HEADER_SIZE;
	uint64_t size = 0;

	net->gather_count = 0;
	for (unsigned i = 0; i < own->held_count; i++) {
		const struct virtq_chain *chain = own->held[i];

		/* Two are left for the header and the probe of a tap. */
		for (unsigned j = 0; j < chain->write_count && net->gather_count < NETDEV_IOV_MAX - 2; j++) {
			struct iovec iov = chain->write[j];
			size_t part = skip < iov.iov_len ? (size_t)skip : iov.iov_len;

			iov.iov_base = (uint8_t *)iov.iov_base + part;
			iov.iov_len -= part;
			skip -= part;
			size += iov.iov_len;
			if (iov.iov_len > 0)
				net->gather[net->gather_count++] = iov;
		}
	}
	return size;
}

static size_t net_rx_copy(struct net *net, uint64_t offset, void *bytes, size_t len, bool to_guest)
{
	size_t done = 0;

	for (unsigned i = 0; i < net->gather_count && done < len; i++) {
		struct iovec iov = net->gather[i];
		size_t part;

		if (offset >= iov.iov_len) {
			offset -= iov.iov_len;
			continue;
		}
		part = iov.iov_len - (size_t)offset < len - done ? iov.iov_len - (size_t)offset : len - done;
		if (to_guest)
			memcpy((uint8_t *)iov.iov_base + offset, (const uint8_t *)bytes + done, part);
		else
			memcpy((uint8_t *)bytes + done, (const uint8_t *)iov.iov_base + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

/* Bytes were written that no buffer will be completed with: guest memory's listeners must know all the same.
 */
static void net_rx_announce(struct net *net, const struct net_pair *own)
{
	for (unsigned i = 0; i < own->held_count; i++) {
		for (unsigned j = 0; j < own->held[i]->write_count; j++)
			gmem_written(net->virtio.env.gmem, own->held[i]->piece[j].gpa,
				     own->held[i]->piece[j].len);
	}
}

/* The frame, `len` bytes of it, is in the held buffers: completes those that it fills. */
static void net_rx_deliver(struct net *net, struct net_pair *own, struct netdev_header *header, size_t len)
{
	uint64_t left = len + NET_HEADER_SIZE;
	unsigned count = 0;

	for (uint64_t bytes = 0; bytes < left; count++)
		bytes += own->held[count]->write_bytes;
	header->num_buffers = (uint16_t)count;
	virtq_chain_write(own->held[0], 0, header, sizeof(*header));
	for (unsigned i = 0; i < count; i++) {
		uint64_t bytes = own->held[i]->write_bytes;
		uint64_t part = bytes < left ? bytes : left;

		own->held_bytes -= bytes;
		left -= part;
		virtqueue_complete(own->held[i], part);
	}
	net_rx_forget(own, count);
	net_count(&net->rx_frames, 1);
	net_count(&net->rx_bytes, len);
}

/* Makes the header what the driver has agreed to see (5.1.6.4.1). */
static void net_rx_trim_header(const struct net *net, struct netdev_header *header)
{
	if (!(net->guest_offloads & VIRTIO_BIT(NET_F_GUEST_CSUM)))
		header->flags = 0;
	header->flags &= NETDEV_HDR_NEEDS_CSUM | NETDEV_HDR_DATA_VALID;
}

static bool net_rx_is_wanted(const struct net *net, const uint8_t *head, size_t head_len)
{
	return net_filter_passes(&net->filter, head, head_len);
}

/* Straight into the held buffers, which hold the largest frame. */
static enum net_rx_step net_rx_direct(struct net *net, unsigned pair, uint64_t room)
{
	struct net_pair *own = &net->pair[pair];
	struct netdev_header header;
	uint8_t head[NET_FILTER_HEAD];
	ssize_t got = netdev_receive(net->netdev, pair, &header, net->gather, net->gather_count);

	if (got < 0)
		return NET_RX_EMPTY;
	if ((uint64_t)got > room) {
		net_count(&net->rx_too_long, 1);
		net_rx_announce(net, own);
		return NET_RX_DONE;
	}
	if (!net_rx_is_wanted(net, head,
			      net_rx_copy(net, 0, head,
					  (size_t)got < sizeof(head) ? (size_t)got : sizeof(head), false))) {
		net_count(&net->rx_filtered, 1);
		net_rx_announce(net, own);
		return NET_RX_DONE;
	}
	net_rx_trim_header(net, &header);
	net_rx_deliver(net, own, &header, (size_t)got);
	return NET_RX_DONE;
}

/* Reads a frame into our own memory, if none waits there. */
static enum net_rx_step net_rx_fetch(struct net *net, unsigned pair)
{
	struct net_pair *own = &net->pair[pair];
	const struct iovec iov = {.iov_base = own->pending, .iov_len = NETDEV_FRAME_MAX};
	ssize_t got;

	if (own->pending_len > 0)
		return NET_RX_DONE;
	got = netdev_receive(net->netdev, pair, &own->pending_header, &iov, 1);
	if (got < 0)
		return NET_RX_EMPTY;
	if ((size_t)got > NETDEV_FRAME_MAX) {
		net_count(&net->rx_too_long, 1);
		return NET_RX_DONE;
	}
	if (!net_rx_is_wanted(net, own->pending, (size_t)got)) {
		net_count(&net->rx_filtered, 1);
		return NET_RX_DONE;
	}
	own->pending_len = (size_t)got;
	return NET_RX_DONE;
}

/* No more buffers can be held than are: waiting for more would be for ever. */
static bool net_rx_is_all(struct net *net, unsigned pair)
{
	return net->pair[pair].held_count == NET_HELD_MAX ||
	       net->pair[pair].held_count >= net_rx_queue(net, pair)->size;
}

/* By way of our own memory. `room`: of the held buffers. */
static enum net_rx_step net_rx_pending(struct net *net, unsigned pair, uint64_t room)
{
	struct net_pair *own = &net->pair[pair];
	enum net_rx_step step = net_rx_fetch(net, pair);

	if (step != NET_RX_DONE || own->pending_len == 0)
		return step;
	if (own->pending_len > room && net_rx_is_all(net, pair)) {
		net_count(&net->rx_too_long, 1);
		own->pending_len = 0;
		return NET_RX_DONE;
	}
	if (own->pending_len > room)
		return NET_RX_STARVED;
	net_rx_copy(net, 0, own->pending, own->pending_len, true);
	net_rx_trim_header(net, &own->pending_header);
	net_rx_deliver(net, own, &own->pending_header, own->pending_len);
	own->pending_len = 0;
	return NET_RX_DONE;
}

static enum net_rx_step net_rx_one(struct net *net, unsigned pair)
{
	struct net_pair *own = &net->pair[pair];
	uint64_t largest = net_rx_largest(net);
	bool merged = virtio_has_feature(&net->virtio, NET_F_MRG_RXBUF);
	uint64_t room;

	if (!net_rx_hold(net, pair,
			 own->pending_len + NET_HEADER_SIZE > largest ? own->pending_len + NET_HEADER_SIZE
								      : largest))
		return NET_RX_STARVED;
	room = net_rx_gather(net, own);
	if (merged && (own->pending_len > 0 || room + NET_HEADER_SIZE < largest))
		return net_rx_pending(net, pair, room);
	return net_rx_direct(net, pair, room);
}

static void net_rx_set_starved(struct net *net, unsigned pair, bool starved)
{
	struct net_pair *own = &net->pair[pair];

	if (own->rx_starved == starved)
		return;
	own->rx_starved = starved;
	if (starved)
		net_count(&net->rx_starved, 1);
	netdev_poll(net->netdev, pair, !starved);
}

void net_rx_run(struct net *net, unsigned pair)
{
	enum net_rx_step step = NET_RX_DONE;
	unsigned frames = 0;

	if (pair >= net->active_pairs || !virtio_queue_is_up(&net->virtio, net_rx_index(pair)))
		return;
	while (step == NET_RX_DONE && frames++ < NET_RX_BATCH)
		step = net_rx_one(net, pair);
	net_rx_set_starved(net, pair, step == NET_RX_STARVED);
	virtqueue_publish(net_rx_queue(net, pair));
	if (step == NET_RX_DONE)
		virtio_queue_poke(&net->virtio, net_rx_index(pair));
}
