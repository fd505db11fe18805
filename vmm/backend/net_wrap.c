/* SPDX-License-Identifier: Apache-2.0 */
/* Handing on, for wrappers: what goes down to `lower` and what comes up from it. */
#include "vmm/backend/net_wrap.h"

static struct netdev *net_inner_lower(struct netdev *netdev)
{
	return ((struct net_inner *)netdev)->lower;
}

static void net_inner_on_readable(void *opaque, unsigned queue)
{
	netdev_tell_readable(opaque, queue);
}

static void net_inner_on_writable(void *opaque, unsigned queue)
{
	netdev_tell_writable(opaque, queue);
}

static void net_inner_on_link(void *opaque, bool up)
{
	netdev_set_link(opaque, up);
}

void net_inner_init(struct net_inner *inner, struct netdev *lower, const struct netdev_ops *ops)
{
	const struct netdev_client client = {
		.readable = net_inner_on_readable,
		.writable = net_inner_on_writable,
		.link = net_inner_on_link,
		.opaque = &inner->netdev,
	};

	inner->lower = lower;
	inner->netdev.ops = ops;
	inner->netdev.offloads = lower->offloads;
	inner->netdev.queue_pairs = lower->queue_pairs;
	inner->netdev.uncut_max = lower->uncut_max;
	inner->netdev.mtu = lower->mtu;
	inner->netdev.link_up = lower->link_up;
	netdev_attach(lower, &client);
}

void net_inner_release(struct net_inner *inner)
{
	netdev_attach(inner->lower, NULL);
	netdev_destroy(inner->lower);
}

void net_inner_flush(struct netdev *netdev, unsigned queue)
{
	netdev_flush(net_inner_lower(netdev), queue);
}

ssize_t net_inner_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			  const struct iovec *iov, unsigned iov_count)
{
	return netdev_receive(net_inner_lower(netdev), queue, header, iov, iov_count);
}

void net_inner_poll(struct netdev *netdev, unsigned queue, bool on)
{
	netdev_poll(net_inner_lower(netdev), queue, on);
}

void net_inner_reset(struct netdev *netdev, unsigned queue)
{
	netdev_reset(net_inner_lower(netdev), queue);
}

void net_inner_set_offloads(struct netdev *netdev, uint32_t offloads)
{
	netdev_set_offloads(net_inner_lower(netdev), offloads);
}

int net_inner_set_queue_pairs(struct netdev *netdev, unsigned pairs)
{
	return netdev_set_queue_pairs(net_inner_lower(netdev), pairs);
}
