/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net: virtio 1.2, 5.1. The device as a whole: features, configuration space, queues, what is saved.
 * Frames are net_tx.c's and net_rx.c's. What the card offers is what its netdev can do.
 */
#include "devices/virtio/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/net_device.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

#define NET_QUEUE_SIZE 256
/* Pieces of a chain: Linux's frames have at most 19, other systems' up to 64. */
#define NET_IOV_MAX            128
#define NET_CONTROL_QUEUE_SIZE 64
#define NET_CONTROL_IOV_MAX    16
#define NET_FRAME_LARGEST      65562 /* 5.1.6.3.1: header, Ethernet and 64 KiB */
#define NET_FRAME_SMALLEST     2048  /* what is expected of a netdev that says nothing of its MTU */
#define NET_FRAME_BEYOND_MTU   32    /* header, Ethernet, VLAN tags */

/* What a netdev's offload is as a feature of the card. */
static const struct {
	uint32_t offload;
	unsigned feature;
} net_offloads[] = {
	{NETDEV_TX_CSUM, NET_F_CSUM},       {NETDEV_TX_TSO4, NET_F_HOST_TSO4},
	{NETDEV_TX_TSO6, NET_F_HOST_TSO6},  {NETDEV_TX_ECN, NET_F_HOST_ECN},
	{NETDEV_TX_USO, NET_F_HOST_USO},    {NETDEV_RX_CSUM, NET_F_GUEST_CSUM},
	{NETDEV_RX_TSO4, NET_F_GUEST_TSO4}, {NETDEV_RX_TSO6, NET_F_GUEST_TSO6},
	{NETDEV_RX_ECN, NET_F_GUEST_ECN},   {NETDEV_RX_USO4, NET_F_GUEST_USO4},
	{NETDEV_RX_USO6, NET_F_GUEST_USO6},
};

/* 5.1.3.1: a feature, and those of which it needs one. */
static const struct {
	unsigned feature;
	uint64_t needs;
} net_needs[] = {
	{NET_F_GUEST_TSO4, VIRTIO_BIT(NET_F_GUEST_CSUM)},
	{NET_F_GUEST_TSO6, VIRTIO_BIT(NET_F_GUEST_CSUM)},
	{NET_F_GUEST_ECN, VIRTIO_BIT(NET_F_GUEST_TSO4) | VIRTIO_BIT(NET_F_GUEST_TSO6)},
	{NET_F_GUEST_USO4, VIRTIO_BIT(NET_F_GUEST_CSUM)},
	{NET_F_GUEST_USO6, VIRTIO_BIT(NET_F_GUEST_CSUM)},
	{NET_F_HOST_TSO4, VIRTIO_BIT(NET_F_CSUM)},
	{NET_F_HOST_TSO6, VIRTIO_BIT(NET_F_CSUM)},
	{NET_F_HOST_ECN, VIRTIO_BIT(NET_F_HOST_TSO4) | VIRTIO_BIT(NET_F_HOST_TSO6)},
	{NET_F_HOST_USO, VIRTIO_BIT(NET_F_CSUM)},
	{NET_F_CTRL_RX, VIRTIO_BIT(NET_F_CTRL_VQ)},
	{NET_F_CTRL_RX_EXTRA, VIRTIO_BIT(NET_F_CTRL_VQ)},
	{NET_F_CTRL_VLAN, VIRTIO_BIT(NET_F_CTRL_VQ)},
	{NET_F_GUEST_ANNOUNCE, VIRTIO_BIT(NET_F_CTRL_VQ)},
	{NET_F_MQ, VIRTIO_BIT(NET_F_CTRL_VQ)},
	{NET_F_CTRL_MAC_ADDR, VIRTIO_BIT(NET_F_CTRL_VQ)},
};

#define NET_COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))

static bool net_accepts_features(struct virtio_device *virtio, uint64_t features)
{
	for (size_t i = 0; i < NET_COUNT(net_needs); i++) {
		if ((features >> net_needs[i].feature & 1) && !(features & net_needs[i].needs))
			return false;
	}
	return true;
}

size_t net_rx_largest(const struct net *net)
{
	const uint64_t large = VIRTIO_BIT(NET_F_GUEST_TSO4) | VIRTIO_BIT(NET_F_GUEST_TSO6) |
			       VIRTIO_BIT(NET_F_GUEST_USO4) | VIRTIO_BIT(NET_F_GUEST_USO6);
	size_t frame = (size_t)net->mtu + NET_FRAME_BEYOND_MTU;

	if (net->guest_offloads & large)
		return NET_FRAME_LARGEST;
	return frame > NET_FRAME_SMALLEST ? frame : NET_FRAME_SMALLEST;
}

void net_apply_offloads(struct net *net)
{
	uint32_t offloads = 0;

	for (size_t i = 0; i < NET_COUNT(net_offloads); i++) {
		if ((net_offloads[i].offload & NETDEV_RX_ALL) &&
		    (net->guest_offloads >> net_offloads[i].feature & 1))
			offloads |= net_offloads[i].offload;
	}
	netdev_set_offloads(net->netdev, offloads);
}

bool net_apply_pairs(struct net *net, unsigned pairs)
{
	if (netdev_set_queue_pairs(net->netdev, pairs) < 0)
		return false;
	net->active_pairs = (uint16_t)pairs;
	for (unsigned i = 0; i < net->max_pairs; i++) {
		net->pair[i].rx_starved = false;
		netdev_poll(net->netdev, i, i < pairs && virtio_queue_is_up(&net->virtio, net_rx_index(i)));
		if (i >= pairs)
			continue;
		/* What came for the queue before it was active. */
		virtio_queue_poke(&net->virtio, net_rx_index(i));
		virtio_queue_poke(&net->virtio, net_tx_index(i));
	}
	return true;
}

void net_set_status(struct net *net, uint16_t set, uint16_t clear, bool tell)
{
	const size_t at = offsetof(struct net_config_space, status);
	uint16_t before, after;

	virtio_config_get(&net->virtio, at, &before, sizeof(before));
	after = (uint16_t)((before & ~clear) | set);
	if (after == before)
		return;
	if (tell)
		virtio_config_change(&net->virtio, at, &after, sizeof(after));
	else
		virtio_config_set(&net->virtio, at, &after, sizeof(after));
}

/* The netdev's side. */

static void net_on_readable(void *opaque, unsigned pair)
{
	struct net *net = opaque;

	if (virtio_is_active(&net->virtio))
		net_rx_run(net, pair);
}

static void net_on_writable(void *opaque, unsigned pair)
{
	struct net *net = opaque;

	net->pair[pair].tx_blocked = false;
	if (virtio_is_active(&net->virtio) && virtio_queue_is_up(&net->virtio, net_tx_index(pair)))
		net_tx_run(net, pair);
}

static void net_on_link(void *opaque, bool up)
{
	struct net *net = opaque;

	net_set_status(net, up ? NET_STATUS_LINK_UP : 0, up ? 0 : NET_STATUS_LINK_UP, true);
}

/* The driver's side. I/O loop. */

static int net_activate(struct virtio_device *virtio, struct err *err)
{
	struct net *net = (struct net *)virtio;

	net->guest_offloads = virtio->driver_features;
	net->filter.vlans_matter = virtio_has_feature(virtio, NET_F_CTRL_VLAN);
	net_apply_offloads(net);
	return net_apply_pairs(net, 1) ? 0 : err_set(err, -EIO, "the network backend does not start");
}

static void net_queue_kick(struct virtio_device *virtio, unsigned index)
{
	struct net *net = (struct net *)virtio;

	if (index == net_control_index(net)) {
		if (virtio_has_feature(virtio, NET_F_CTRL_VQ))
			net_control_run(net, index);
	} else if (index / 2 >= net->max_pairs) {
		return; /* where the control queue would be with more pairs */
	} else if (index % 2 == 0) {
		net_rx_run(net, index / 2);
	} else {
		net_tx_run(net, index / 2);
	}
}

static void net_queue_start(struct virtio_device *virtio, unsigned index)
{
	struct net *net = (struct net *)virtio;
	unsigned pair = index / 2;

	if (index == net_control_index(net) || pair >= net->max_pairs)
		return;
	if (index % 2 == 0) {
		net->pair[pair].rx_starved = false;
		netdev_poll(net->netdev, pair, pair < net->active_pairs);
	} else {
		/* The frame that was half sent is not in the ring any more. */
		netdev_reset(net->netdev, pair);
		net->pair[pair].tx_blocked = false;
	}
}

static void net_queue_stop(struct virtio_device *virtio, unsigned index)
{
	struct net *net = (struct net *)virtio;
	unsigned pair = index / 2;

	if (index == net_control_index(net) || pair >= net->max_pairs || index % 2 != 0)
		return;
	netdev_poll(net->netdev, pair, false);
	net_rx_release(net, pair);
}

static void net_reset(struct virtio_device *virtio)
{
	struct net *net = (struct net *)virtio;
	struct net_config_space space;

	virtio_config_get(virtio, 0, &space, sizeof(space));
	memcpy(space.mac, net->mac, sizeof(space.mac));
	space.status &= (uint16_t)~NET_STATUS_ANNOUNCE;
	virtio_config_set(virtio, 0, &space, sizeof(space));
	net_filter_reset(&net->filter, net->mac);
	net->guest_offloads = 0;
	net->active_pairs = 1;
	for (unsigned i = 0; i < net->max_pairs; i++) {
		netdev_reset(net->netdev, i);
		net->pair[i].tx_blocked = false;
		net->pair[i].rx_starved = false;
		net->pair[i].pending_len = 0;
	}
}

/* After a pause or with a state that was loaded. Switches may have forgotten where the guest is: 5.1.6.5.4.
 */
static void net_resume(struct virtio_device *virtio)
{
	struct net *net = (struct net *)virtio;

	/* A loaded state may be damaged: nothing of it is an index unseen. */
	if (net->active_pairs < 1 || net->active_pairs > net->max_pairs)
		net->active_pairs = 1;
	net->filter.unicast.overflow |= net->filter.unicast.count > NET_FILTER_MACS_MAX;
	net->filter.multicast.overflow |= net->filter.multicast.count > NET_FILTER_MACS_MAX;
	virtio_config_set(virtio, offsetof(struct net_config_space, mac), net->filter.mac, NETDEV_MAC_SIZE);
	net_apply_offloads(net);
	net_apply_pairs(net, net->active_pairs);
	for (unsigned i = 0; i < net->max_pairs; i++)
		net->pair[i].tx_blocked = false;
	if (virtio_has_feature(virtio, NET_F_GUEST_ANNOUNCE))
		net_set_status(net, NET_STATUS_ANNOUNCE, 0, true);
}

static const struct virtio_ops net_ops = {
	.accepts_features = net_accepts_features,
	.activate = net_activate,
	.queue_start = net_queue_start,
	.queue_kick = net_queue_kick,
	.queue_stop = net_queue_stop,
	.reset = net_reset,
	.resume = net_resume,
};

/* The class. */

#define NET_FILTER_STATE(type_, member_, count_)                                                             \
	{                                                                                                    \
		.name = "filter." #member_, .type = (type_), .offset = offsetof(struct net, filter.member_), \
		.count = (count_)                                                                            \
	}

static const struct state_field net_state[] = {
	VIRTIO_STATE_FIELDS,
	STATE_FIELD(STATE_U16, struct net, active_pairs),
	STATE_FIELD(STATE_U64, struct net, guest_offloads),
	NET_FILTER_STATE(STATE_U8, mac, NETDEV_MAC_SIZE),
	NET_FILTER_STATE(STATE_BOOL, promiscuous, 1),
	NET_FILTER_STATE(STATE_BOOL, all_multicast, 1),
	NET_FILTER_STATE(STATE_BOOL, all_unicast, 1),
	NET_FILTER_STATE(STATE_BOOL, no_multicast, 1),
	NET_FILTER_STATE(STATE_BOOL, no_unicast, 1),
	NET_FILTER_STATE(STATE_BOOL, no_broadcast, 1),
	NET_FILTER_STATE(STATE_BOOL, vlans_matter, 1),
	NET_FILTER_STATE(STATE_U32, unicast.count, 1),
	NET_FILTER_STATE(STATE_BOOL, unicast.overflow, 1),
	NET_FILTER_STATE(STATE_U8, unicast.mac, NET_FILTER_MACS_MAX * 6),
	NET_FILTER_STATE(STATE_U32, multicast.count, 1),
	NET_FILTER_STATE(STATE_BOOL, multicast.overflow, 1),
	NET_FILTER_STATE(STATE_U8, multicast.mac, NET_FILTER_MACS_MAX * 6),
	NET_FILTER_STATE(STATE_U8, vlan, NET_FILTER_VLANS / 8),
	{.name = NULL},
};

#define NET_METRIC(member_)                                                                                  \
	{                                                                                                    \
		.name = #member_, .offset = offsetof(struct net, member_)                                    \
	}

static const struct metric_field net_metrics[] = {
	VIRTIO_METRIC_FIELDS,   NET_METRIC(tx_frames),      NET_METRIC(tx_bytes),    NET_METRIC(tx_errors),
	NET_METRIC(rx_frames),  NET_METRIC(rx_bytes),       NET_METRIC(rx_filtered), NET_METRIC(rx_too_long),
	NET_METRIC(rx_starved), NET_METRIC(control_errors), {.name = NULL},
};

/* Of the device and of all netdevs: sockets of the user-mode network, taps, streams, the pcap file. */
static const char *const net_syscalls[] = {
	"accept4", "bind",       "connect",  "getpeername", "getsockname", "getsockopt", "ioctl",
	"listen",  "readv",      "recv",     "recvfrom",    "recvmsg",     "send",       "sendmsg",
	"sendto",  "setsockopt", "shutdown", "socket",      "writev",      "fcntl",      NULL,
};

static void net_close_on_loop(void *opaque)
{
	netdev_destroy(opaque);
}

static void net_free(struct net *net)
{
	for (unsigned i = 0; i < NETDEV_QUEUES_MAX; i++)
		free(net->pair[i].pending);
	free(net);
}

static void net_destroy(struct device *device)
{
	struct net *net = (struct net *)device;
	struct loop *loop = net->virtio.env.io_loop;

	virtio_release(&net->virtio);
	loop_call(loop, net_close_on_loop, net->netdev);
	net_free(net);
}

static const struct device_class net_class = {
	.name = "virtio-net",
	.state = net_state,
	.metrics = net_metrics,
	.syscalls = net_syscalls,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.loaded = virtio_class_loaded,
	.destroy = net_destroy,
};

static uint64_t net_features(const struct net *net)
{
	uint64_t features = VIRTIO_BIT(NET_F_MAC) | VIRTIO_BIT(NET_F_MRG_RXBUF) | VIRTIO_BIT(NET_F_STATUS) |
			    VIRTIO_BIT(NET_F_CTRL_VQ) | VIRTIO_BIT(NET_F_CTRL_RX) |
			    VIRTIO_BIT(NET_F_CTRL_VLAN) | VIRTIO_BIT(NET_F_CTRL_RX_EXTRA) |
			    VIRTIO_BIT(NET_F_GUEST_ANNOUNCE) | VIRTIO_BIT(NET_F_CTRL_MAC_ADDR);

	for (size_t i = 0; i < NET_COUNT(net_offloads); i++) {
		if (net->netdev->offloads & net_offloads[i].offload)
			features |= VIRTIO_BIT(net_offloads[i].feature);
	}
	if (net->netdev->offloads & NETDEV_RX_ALL)
		features |= VIRTIO_BIT(NET_F_CTRL_GUEST_OFFLOADS);
	if (net->max_pairs > 1)
		features |= VIRTIO_BIT(NET_F_MQ);
	if (net->mtu)
		features |= VIRTIO_BIT(NET_F_MTU);
	return features;
}

static int net_add_pending(struct net *net, struct err *err)
{
	for (unsigned i = 0; i < net->max_pairs; i++) {
		net->pair[i].pending = malloc(NETDEV_FRAME_MAX);
		if (!net->pair[i].pending)
			return err_set(err, -ENOMEM, "no memory for a network card");
	}
	return 0;
}

static int net_init(struct net *net, const struct device_env *env, const struct net_config *config,
		    struct err *err)
{
	struct virtio_queue_init queue[2 * NETDEV_QUEUES_MAX + 1];
	const struct net_config_space space = {
		.mac = {config->mac[0], config->mac[1], config->mac[2], config->mac[3], config->mac[4],
			config->mac[5]},
		.status = net->netdev->link_up ? NET_STATUS_LINK_UP : 0,
		.max_pairs = (uint16_t)net->max_pairs,
		.mtu = net->mtu,
	};
	const struct virtio_init init = {
		.class = &net_class,
		.ops = &net_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_NET,
		.features = net_features(net),
		.queue_count = 2 * net->max_pairs + 1,
		.queue = queue,
		.config = &space,
		.config_bytes = sizeof(space),
	};

	for (unsigned i = 0; i < init.queue_count; i++)
		queue[i] = (struct virtio_queue_init){.size_max = NET_QUEUE_SIZE, .iov_max = NET_IOV_MAX};
	queue[init.queue_count - 1] = (struct virtio_queue_init){.size_max = NET_CONTROL_QUEUE_SIZE,
								 .iov_max = NET_CONTROL_IOV_MAX};
	return virtio_init(&net->virtio, env, &init, err);
}

static void net_attach_on_loop(void *opaque)
{
	struct net *net = opaque;
	const struct netdev_client client = {
		.readable = net_on_readable,
		.writable = net_on_writable,
		.link = net_on_link,
		.opaque = net,
	};

	netdev_attach(net->netdev, &client);
	/* It may have come or gone since the configuration was made. */
	net_on_link(net, net->netdev->link_up);
}

struct device *net_create(const struct device_env *env, const struct net_config *config, struct err *err)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net) {
		err_set(err, -ENOMEM, "no memory for a network card");
		loop_call(env->io_loop, net_close_on_loop, config->netdev);
		return NULL;
	}
	net->netdev = config->netdev;
	net->max_pairs = net->netdev->queue_pairs;
	net->active_pairs = 1;
	net->mtu = config->mtu ? config->mtu : net->netdev->mtu;
	memcpy(net->mac, config->mac, sizeof(net->mac));
	net_filter_reset(&net->filter, config->mac);
	if (net_add_pending(net, err) < 0 || net_init(net, env, config, err) < 0) {
		loop_call(env->io_loop, net_close_on_loop, net->netdev);
		net_free(net);
		return NULL;
	}
	loop_call(env->io_loop, net_attach_on_loop, net);
	return &net->virtio.device;
}
