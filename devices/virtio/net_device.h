/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of virtio-net, for net.c (the device), net_tx.c, net_rx.c (the queues), net_control.c (the
 * control queue) and net_filter.c (which frames the guest wants). virtio 1.2, 5.1. Everything but the
 * configuration space belongs to the I/O loop.
 */
#pragma once

#include "devices/virtio/net_filter.h"
#include "devices/virtio/virtio.h"
#include "vmm/core/netdev.h"

enum net_feature {
	NET_F_CSUM = 0,
	NET_F_GUEST_CSUM = 1,
	NET_F_CTRL_GUEST_OFFLOADS = 2,
	NET_F_MTU = 3,
	NET_F_MAC = 5,
	NET_F_GUEST_TSO4 = 7,
	NET_F_GUEST_TSO6 = 8,
	NET_F_GUEST_ECN = 9,
	NET_F_HOST_TSO4 = 11,
	NET_F_HOST_TSO6 = 12,
	NET_F_HOST_ECN = 13,
	NET_F_MRG_RXBUF = 15,
	NET_F_STATUS = 16,
	NET_F_CTRL_VQ = 17,
	NET_F_CTRL_RX = 18,
	NET_F_CTRL_VLAN = 19,
	NET_F_CTRL_RX_EXTRA = 20,
	NET_F_GUEST_ANNOUNCE = 21,
	NET_F_MQ = 22,
	NET_F_CTRL_MAC_ADDR = 23,
	NET_F_GUEST_USO4 = 54, /* virtio 1.3 */
	NET_F_GUEST_USO6 = 55,
	NET_F_HOST_USO = 56,
};

#define NET_STATUS_LINK_UP  1
#define NET_STATUS_ANNOUNCE 2

/* Configuration space, 5.1.4. */
struct net_config_space {
	uint8_t mac[NETDEV_MAC_SIZE];
	uint16_t status;
	uint16_t max_pairs;
	uint16_t mtu;
};
_Static_assert(sizeof(struct net_config_space) == 12, "the layout is the specification's");

/* Receive buffers that are held for the next frames: a frame of 64 KiB takes 43 of Linux's. */
#define NET_HELD_MAX 256

/* A receive queue and the transmit queue beside it. */
struct net_pair {
	bool tx_blocked; /* the backend is full, or a limit is reached: it will tell */
	bool rx_starved; /* no buffers: the netdev is not polled */
	unsigned held_count;
	uint64_t held_bytes;
	struct virtq_chain *held[NET_HELD_MAX];
	/* A frame that was read before there was room for it. */
	size_t pending_len; /* 0: none */
	struct netdev_header pending_header;
	uint8_t *pending; /* NETDEV_FRAME_MAX bytes, owned */
};

struct net {
	struct virtio_device virtio;
	struct netdev *netdev; /* owned */
	unsigned max_pairs;
	uint8_t mac[NETDEV_MAC_SIZE]; /* as made: what a reset goes back to */
	uint16_t mtu;                 /* 0: not known */
	struct net_pair pair[NETDEV_QUEUES_MAX];
	struct iovec gather[NETDEV_IOV_MAX]; /* of the frame that is being received */
	unsigned gather_count;

	/* What the driver has set; saved. */
	uint16_t active_pairs;
	uint64_t guest_offloads; /* feature bits */
	struct net_filter filter;

	_Atomic uint64_t tx_frames, tx_bytes, tx_errors, rx_frames, rx_bytes, rx_filtered, rx_too_long,
		rx_starved, control_errors; /* metrics */
};

static inline unsigned net_rx_index(unsigned pair)
{
	return 2 * pair;
}

static inline unsigned net_tx_index(unsigned pair)
{
	return 2 * pair + 1;
}

/* 5.1.2: the control queue follows the pairs that the driver knows of. */
static inline unsigned net_control_index(const struct net *net)
{
	return virtio_has_feature(&net->virtio, NET_F_MQ) ? 2 * net->max_pairs : 2;
}

static inline void net_count(_Atomic uint64_t *counter, uint64_t amount)
{
	atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

/* net.c */
/* The largest frame that may come now, with the header. */
size_t net_rx_largest(const struct net *net);
/* Gives the netdev what the driver takes (guest_offloads), and how many pairs carry traffic. */
void net_apply_offloads(struct net *net);
bool net_apply_pairs(struct net *net, unsigned pairs);
/* Sets and clears bits of the configuration's status; tells the driver if asked to. */
void net_set_status(struct net *net, uint16_t set, uint16_t clear, bool tell);

/* net_tx.c */
void net_tx_run(struct net *net, unsigned pair);
/* net_rx.c */
void net_rx_run(struct net *net, unsigned pair);
void net_rx_release(struct net *net, unsigned pair);
/* net_control.c */
void net_control_run(struct net *net, unsigned index);
