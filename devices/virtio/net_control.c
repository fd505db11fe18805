/* SPDX-License-Identifier: Apache-2.0 */
/* The control queue: 5.1.6.5. Each command is copied, checked, carried out, and acknowledged with one byte.
 */
#include "devices/virtio/net_device.h"

#include <string.h>

#define NET_CONTROL_OK    0
#define NET_CONTROL_ERROR 1

/* The longest command is that of the MAC tables; what is beyond our own tables is not read. */
#define NET_CONTROL_MACS_MAX 4096 /* a driver's table may be longer than ours, but not endless */

enum net_control_class {
	NET_CONTROL_RX = 0,
	NET_CONTROL_MAC = 1,
	NET_CONTROL_VLAN = 2,
	NET_CONTROL_ANNOUNCE = 3,
	NET_CONTROL_MQ = 4,
	NET_CONTROL_GUEST_OFFLOADS = 5,
};

struct net_control_header {
	uint8_t class;
	uint8_t command;
};

/* What is left of a command behind the header. */
struct net_control {
	struct net *net;
	const struct virtq_chain *chain;
	uint8_t command;
	uint64_t at; /* next byte to read */
};

static bool net_control_read(struct net_control *control, void *bytes, size_t len)
{
	if (!virtq_chain_read(control->chain, control->at, bytes, len))
		return false;
	control->at += len;
	return true;
}

static bool net_control_rx(struct net_control *control)
{
	struct net_filter *filter = &control->net->filter;
	bool *const modes[] = {&filter->promiscuous,  &filter->all_multicast, &filter->all_unicast,
			       &filter->no_multicast, &filter->no_unicast,    &filter->no_broadcast};
	bool extra = control->command >= 2;
	uint8_t on;

	if (!virtio_has_feature(&control->net->virtio, extra ? NET_F_CTRL_RX_EXTRA : NET_F_CTRL_RX) ||
	    control->command >= sizeof(modes) / sizeof(modes[0]) ||
	    !net_control_read(control, &on, sizeof(on)))
		return false;
	*modes[control->command] = on != 0;
	return true;
}

/* le32 count, then as many addresses. */
static bool net_control_read_table(struct net_control *control, struct net_filter_table *table)
{
	uint32_t count;

	*table = (struct net_filter_table){0};
	if (!net_control_read(control, &count, sizeof(count)) || count > NET_CONTROL_MACS_MAX)
		return false;
	if (control->at + (uint64_t)count * NETDEV_MAC_SIZE > control->chain->read_bytes)
		return false;
	if (count > NET_FILTER_MACS_MAX) {
		table->overflow = true;
		control->at += (uint64_t)count * NETDEV_MAC_SIZE;
		return true;
	}
	table->count = count;
	return count == 0 || net_control_read(control, table->mac, (size_t)count * NETDEV_MAC_SIZE);
}

static bool net_control_mac(struct net_control *control)
{
	struct net *net = control->net;
	struct net_filter_table unicast, multicast;
	uint8_t mac[NETDEV_MAC_SIZE];

	if (control->command == 0) {
		if (!virtio_has_feature(&net->virtio, NET_F_CTRL_RX) ||
		    !net_control_read_table(control, &unicast) ||
		    !net_control_read_table(control, &multicast))
			return false;
		net->filter.unicast = unicast;
		net->filter.multicast = multicast;
		return true;
	}
	if (control->command != 1 || !virtio_has_feature(&net->virtio, NET_F_CTRL_MAC_ADDR) ||
	    !net_control_read(control, mac, sizeof(mac)))
		return false;
	memcpy(net->filter.mac, mac, sizeof(mac));
	virtio_config_set(&net->virtio, offsetof(struct net_config_space, mac), mac, sizeof(mac));
	return true;
}

static bool net_control_vlan(struct net_control *control)
{
	uint16_t id;

	if (!virtio_has_feature(&control->net->virtio, NET_F_CTRL_VLAN) || control->command > 1 ||
	    !net_control_read(control, &id, sizeof(id)) || id >= NET_FILTER_VLANS)
		return false;
	net_filter_set_vlan(&control->net->filter, id, control->command == 0);
	return true;
}

static bool net_control_announce(struct net_control *control)
{
	if (!virtio_has_feature(&control->net->virtio, NET_F_GUEST_ANNOUNCE) || control->command != 0)
		return false;
	net_set_status(control->net, 0, NET_STATUS_ANNOUNCE, false);
	return true;
}

static bool net_control_mq(struct net_control *control)
{
	struct net *net = control->net;
	uint16_t pairs;

	if (!virtio_has_feature(&net->virtio, NET_F_MQ) || control->command != 0 ||
	    !net_control_read(control, &pairs, sizeof(pairs)) || pairs < 1 || pairs > net->max_pairs)
		return false;
	return net_apply_pairs(net, pairs);
}

/* 5.1.6.5.6: any of those that were negotiated, and no others. */
static bool net_control_offloads(struct net_control *control)
{
	const uint64_t known = VIRTIO_BIT(NET_F_GUEST_CSUM) | VIRTIO_BIT(NET_F_GUEST_TSO4) |
			       VIRTIO_BIT(NET_F_GUEST_TSO6) | VIRTIO_BIT(NET_F_GUEST_ECN) |
			       VIRTIO_BIT(NET_F_GUEST_USO4) | VIRTIO_BIT(NET_F_GUEST_USO6);
	struct net *net = control->net;
	uint64_t offloads;

	if (!virtio_has_feature(&net->virtio, NET_F_CTRL_GUEST_OFFLOADS) || control->command != 0 ||
	    !net_control_read(control, &offloads, sizeof(offloads)) ||
	    (offloads & ~(known & net->virtio.driver_features)) != 0)
		return false;
	net->guest_offloads = offloads;
	net_apply_offloads(net);
	return true;
}

static bool net_control_carry_out(struct net *net, const struct virtq_chain *chain)
{
	static bool (*const classes[])(struct net_control * control) = {
		[NET_CONTROL_RX] = net_control_rx,     [NET_CONTROL_MAC] = net_control_mac,
		[NET_CONTROL_VLAN] = net_control_vlan, [NET_CONTROL_ANNOUNCE] = net_control_announce,
		[NET_CONTROL_MQ] = net_control_mq,     [NET_CONTROL_GUEST_OFFLOADS] = net_control_offloads,
	};
	struct net_control control = {.net = net, .chain = chain};
	struct net_control_header header;

	if (!net_control_read(&control, &header, sizeof(header)) ||
	    header.class >= sizeof(classes) / sizeof(classes[0]))
		return false;
	control.command = header.command;
	return classes[header.class](&control);
}

void net_control_run(struct net *net, unsigned index)
{
	struct virtqueue *queue = &net->virtio.queue[index];
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(queue)) != NULL) {
		uint8_t status = NET_CONTROL_OK;

		if (!net_control_carry_out(net, chain)) {
			status = NET_CONTROL_ERROR;
			net_count(&net->control_errors, 1);
		}
		virtqueue_complete(chain, virtq_chain_write(chain, 0, &status, sizeof(status)) ? 1 : 0);
	}
	virtqueue_publish(queue);
}
