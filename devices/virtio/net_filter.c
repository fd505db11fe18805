/* SPDX-License-Identifier: Apache-2.0 */
/* The receive filter. It spares the guest work; it is no wall between guests. */
#include "devices/virtio/net_filter.h"

#include <string.h>

#define TYPE_OFFSET 12
#define TYPE_VLAN   0x8100
#define VLAN_ID     0xfff

void net_filter_reset(struct net_filter *filter, const uint8_t mac[6])
{
	*filter = (struct net_filter){.promiscuous = true};
	memcpy(filter->mac, mac, sizeof(filter->mac));
}

static bool net_filter_has(const struct net_filter_table *table, const uint8_t mac[6])
{
	if (table->overflow)
		return true;
	for (uint32_t i = 0; i < table->count; i++) {
		if (memcmp(table->mac + 6 * i, mac, 6) == 0)
			return true;
	}
	return false;
}

static bool net_filter_passes_vlan(const struct net_filter *filter, const uint8_t *head, size_t len)
{
	unsigned id;

	if (!filter->vlans_matter || len < NET_FILTER_HEAD ||
	    (head[TYPE_OFFSET] << 8 | head[TYPE_OFFSET + 1]) != TYPE_VLAN)
		return true;
	id = (unsigned)(head[TYPE_OFFSET + 2] << 8 | head[TYPE_OFFSET + 3]) & VLAN_ID;
	return filter->vlan[id / 8] >> (id % 8) & 1;
}

static bool net_filter_passes_mac(const struct net_filter *filter, const uint8_t *target)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (filter->promiscuous)
		return true;
	if (memcmp(target, broadcast, 6) == 0)
		return !filter->no_broadcast;
	if (target[0] & 1)
		return !filter->no_multicast &&
		       (filter->all_multicast || net_filter_has(&filter->multicast, target));
	if (filter->no_unicast)
		return false;
	return filter->all_unicast || memcmp(target, filter->mac, 6) == 0 ||
	       net_filter_has(&filter->unicast, target);
}

bool net_filter_passes(const struct net_filter *filter, const uint8_t *head, size_t len)
{
	if (len < 6)
		return false;
	return net_filter_passes_vlan(filter, head, len) && net_filter_passes_mac(filter, head);
}

void net_filter_set_vlan(struct net_filter *filter, uint16_t id, bool pass)
{
	uint8_t bit = (uint8_t)(1u << (id % 8));

	if (pass)
		filter->vlan[id / 8 % sizeof(filter->vlan)] |= bit;
	else
		filter->vlan[id / 8 % sizeof(filter->vlan)] &= (uint8_t)~bit;
}
