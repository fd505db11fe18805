/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands between a device and its backend: netdevs over a netdev, each of which does one thing and hands
 * on the rest. The build makes netdev_wrappers of them. net_inner holds what they have in common.
 */
#pragma once

#include "vmm/core/netdev.h"

/* From the backend outwards. */
netdev_wrap_fn net_soft_wrap, net_service_wrap, net_pcap_wrap, net_limit_wrap;

/* First member of a wrapper: what it hands on goes to `lower`, and what comes from there to its own client.
 */
struct net_inner {
	struct netdev netdev;
	struct netdev *lower; /* owned */
};

/* Takes over lower's properties and its calls; lower is owned from here on. ops: see net_inner_*. */
void net_inner_init(struct net_inner *inner, struct netdev *lower, const struct netdev_ops *ops);
/* Destroys lower; the wrapper frees itself. */
void net_inner_release(struct net_inner *inner);

/* For the ops of wrappers that only hand on. */
void net_inner_flush(struct netdev *netdev, unsigned queue);
ssize_t net_inner_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			  const struct iovec *iov, unsigned iov_count);
void net_inner_poll(struct netdev *netdev, unsigned queue, bool on);
void net_inner_reset(struct netdev *netdev, unsigned queue);
void net_inner_set_offloads(struct netdev *netdev, uint32_t offloads);
int net_inner_set_queue_pairs(struct netdev *netdev, unsigned pairs);
