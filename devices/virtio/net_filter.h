/* SPDX-License-Identifier: Apache-2.0 */
/* Which frames a driver wants: receive modes, MAC addresses, VLANs. virtio 1.2, 5.1.6.5.1 - 5.1.6.5.3. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_FILTER_MACS_MAX 64 /* of each table: longer ones mean that all pass, as 5.1.6.5.2 allows */
#define NET_FILTER_VLANS    4096
#define NET_FILTER_HEAD     18 /* bytes of a frame that it looks at: Ethernet and a VLAN tag */

struct net_filter_table {
	uint32_t count;
	bool overflow; /* the driver has more than fit */
	uint8_t mac[NET_FILTER_MACS_MAX * 6];
};

/* Saved. */
struct net_filter {
	uint8_t mac[6]; /* the card's own */
	bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
	bool vlans_matter; /* the driver sets VLANs */
	struct net_filter_table unicast, multicast;
	uint8_t vlan[NET_FILTER_VLANS / 8];
};

/* As after a reset: everything passes until the driver says otherwise, like on QEMU's cards. */
void net_filter_reset(struct net_filter *filter, const uint8_t mac[6]);
/* head: the first bytes of a frame, len of them at hand. */
bool net_filter_passes(const struct net_filter *filter, const uint8_t *head, size_t len);
void net_filter_set_vlan(struct net_filter *filter, uint16_t id, bool pass);
