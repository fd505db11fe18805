/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transmission: 5.1.6.2. The header is copied and checked; the frame is sent from guest memory as it lies, so
 * what a guest changes meanwhile harms nobody but itself.
 */
#include "devices/virtio/net_device.h"

#include <errno.h>

#define NET_TX_BATCH 256 /* frames before others on the loop have their turn */

/* 5.1.6.2.1: only what was negotiated, and within the frame. */
static bool net_tx_header_is_good(const struct net *net, const struct netdev_header *header, uint64_t len)
{
	const struct virtio_device *virtio = &net->virtio;

	if (header->flags & ~NETDEV_HDR_NEEDS_CSUM)
		return false;
	if (header->flags & NETDEV_HDR_NEEDS_CSUM) {
		if (!virtio_has_feature(virtio, NET_F_CSUM) || header->csum_start > len ||
		    len - header->csum_start < (uint64_t)header->csum_offset + 2)
			return false;
	}
	if (header->gso_type == NETDEV_GSO_NONE)
		return true;
	if (!(header->flags & NETDEV_HDR_NEEDS_CSUM) || header->gso_size == 0)
		return false;
	if ((header->gso_type & NETDEV_GSO_ECN) && !virtio_has_feature(virtio, NET_F_HOST_ECN))
		return false;
	switch (header->gso_type & ~NETDEV_GSO_ECN) {
	case NETDEV_GSO_TCPV4: return virtio_has_feature(virtio, NET_F_HOST_TSO4);
	case NETDEV_GSO_TCPV6: return virtio_has_feature(virtio, NET_F_HOST_TSO6);
	case NETDEV_GSO_UDP_L4:
		return header->gso_type == NETDEV_GSO_UDP_L4 && virtio_has_feature(virtio, NET_F_HOST_USO);
	}
	return false;
}

/* 0: the chain is done with; -EAGAIN: it must be sent later. */
static int net_tx_send(struct net *net, unsigned pair, struct virtq_chain *chain)
{
	struct netdev_header header;
	struct iovec *iov = chain->read;
	uint64_t len = chain->read_bytes - sizeof(header);
	unsigned count;
	int code;

	if (!virtq_chain_read(chain, 0, &header, sizeof(header)) || len < NETDEV_FRAME_MIN ||
	    len > NETDEV_FRAME_MAX) {
		net_count(&net->tx_errors, 1);
		return 0;
	}
	header.num_buffers = 0;
	if (!net_tx_header_is_good(net, &header, len)) {
		net_count(&net->tx_errors, 1);
		return 0;
	}
	count = virtq_iov_cut(&iov, chain->read_count, sizeof(header), len);
	code = netdev_send(net->netdev, pair, &header, iov, count);
	if (code == -EAGAIN)
		return code;
	net_count(&net->tx_frames, 1);
	net_count(&net->tx_bytes, len);
	return 0;
}

void net_tx_run(struct net *net, unsigned pair)
{
	struct virtqueue *queue = &net->virtio.queue[net_tx_index(pair)];
	struct virtq_chain *chain;
	unsigned frames = 0;

	if (net->pair[pair].tx_blocked || pair >= net->active_pairs)
		return;
	while ((chain = virtqueue_pop(queue)) != NULL) {
		if (net_tx_send(net, pair, chain) == -EAGAIN) {
			net->pair[pair].tx_blocked = true;
			virtqueue_return(chain);
			break;
		}
		virtqueue_complete(chain, 0);
		if (++frames == NET_TX_BATCH) {
			virtio_queue_poke(&net->virtio, net_tx_index(pair));
			break;
		}
	}
	virtqueue_publish(queue);
	if (frames > 0)
		netdev_flush(net->netdev, pair);
}
