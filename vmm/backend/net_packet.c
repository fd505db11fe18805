/* SPDX-License-Identifier: Apache-2.0 */
/* Finding headers in frames that anybody may have made. */
#include "vmm/backend/net_packet.h"

#include "vmm/backend/net_iov.h"

#define ETHERNET_HEADER 14
#define ETHERNET_TYPE   12
#define VLAN_TAG        4
#define VLAN_TAGS_MAX   2
#define TYPE_IPV4       0x0800
#define TYPE_IPV6       0x86dd
#define TYPE_VLAN       0x8100
#define TYPE_QINQ       0x88a8

#define IPV4_HEADER   20
#define IPV4_LEN      2
#define IPV4_FRAGMENT 6
#define IPV4_PROTOCOL 9
#define IPV4_CSUM     10
#define IPV4_SOURCE   12
#define IPV6_HEADER   40
#define IPV6_LEN      4
#define IPV6_NEXT     6
#define IPV6_SOURCE   8

size_t net_packet_find_ip(const uint8_t *frame, size_t head, unsigned *version)
{
	size_t at = ETHERNET_HEADER;
	uint16_t type;

	if (head < ETHERNET_HEADER)
		return 0;
	type = net_get16(frame + ETHERNET_TYPE);
	for (int tags = 0; (type == TYPE_VLAN || type == TYPE_QINQ) && tags < VLAN_TAGS_MAX; tags++) {
		if (head - at < VLAN_TAG)
			return 0;
		type = net_get16(frame + at + 2);
		at += VLAN_TAG;
	}
	*version = type == TYPE_IPV4 ? 4 : 6;
	return type == TYPE_IPV4 || type == TYPE_IPV6 ? at : 0;
}

static bool net_packet_parse_v4(const uint8_t *ip, size_t head, struct net_packet *packet, size_t *header)
{
	if (head < IPV4_HEADER || ip[0] >> 4 != 4)
		return false;
	*header = (size_t)(ip[0] & 15) * 4;
	packet->end = packet->l3 + net_get16(ip + IPV4_LEN);
	packet->protocol = ip[IPV4_PROTOCOL];
	/* A fragment's checksum is that of the whole: more to come, or not the first. */
	if (net_get16(ip + IPV4_FRAGMENT) & 0x3fff)
		packet->protocol = 0;
	return *header >= IPV4_HEADER && *header <= head && net_get16(ip + IPV4_LEN) >= *header;
}

static bool net_packet_parse_v6(const uint8_t *ip, size_t head, struct net_packet *packet, size_t *header)
{
	if (head < IPV6_HEADER || ip[0] >> 4 != 6)
		return false;
	*header = IPV6_HEADER;
	packet->end = packet->l3 + IPV6_HEADER + net_get16(ip + IPV6_LEN);
	packet->protocol = ip[IPV6_NEXT]; /* an extension header's number is neither TCP's nor UDP's */
	return true;
}

/* The transport's header, where there is one that is whole; else the frame is IP and no more. */
static void net_packet_parse_l4(const uint8_t *frame, size_t head, struct net_packet *packet, size_t l4)
{
	size_t size = packet->protocol == NET_IP_UDP ? NET_UDP_HEADER : NET_TCP_HEADER;

	if ((packet->protocol != NET_IP_TCP && packet->protocol != NET_IP_UDP) || l4 + size > head ||
	    l4 + size > packet->end)
		return;
	if (packet->protocol == NET_IP_TCP) {
		size = (size_t)(frame[l4 + NET_TCP_DATA_OFF] >> 4) * 4;
		if (size < NET_TCP_HEADER || l4 + size > head || l4 + size > packet->end)
			return;
	}
	packet->l4 = (uint16_t)l4;
	packet->payload = (uint16_t)(l4 + size);
	packet->csum = (uint16_t)(l4 + (packet->protocol == NET_IP_UDP ? NET_UDP_CSUM : NET_TCP_CSUM));
}

bool net_packet_parse(const uint8_t *frame, size_t head, size_t len, struct net_packet *packet)
{
	unsigned version = 0;
	size_t header = 0;
	size_t l3;
	bool good;

	*packet = (struct net_packet){0};
	if (head > NET_HEADERS_MAX)
		head = NET_HEADERS_MAX;
	if (head > len)
		head = len;
	l3 = net_packet_find_ip(frame, head, &version);
	if (l3 == 0)
		return false;
	packet->l3 = (uint16_t)l3;
	packet->version = (uint8_t)version;
	good = version == 4 ? net_packet_parse_v4(frame + l3, head - l3, packet, &header)
			    : net_packet_parse_v6(frame + l3, head - l3, packet, &header);
	if (!good || packet->end > len)
		return false;
	net_packet_parse_l4(frame, head, packet, l3 + header);
	return true;
}

uint64_t net_packet_pseudo_sum(const uint8_t *frame, const struct net_packet *packet, size_t l4_len)
{
	const uint8_t *ip = frame + packet->l3;
	uint64_t sum = packet->protocol + (l4_len & 0xffff) + (l4_len >> 16);

	return sum + (packet->version == 4 ? net_sum(ip + IPV4_SOURCE, 8) : net_sum(ip + IPV6_SOURCE, 32));
}

void net_packet_set_ip_checksum(uint8_t *ip)
{
	net_put16(ip + IPV4_CSUM, 0);
	net_put16(ip + IPV4_CSUM, (uint16_t)~net_sum_fold(net_sum(ip, (size_t)(ip[0] & 15) * 4)));
}
