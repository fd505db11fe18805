/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What offloads need to know of a frame: where its IP and TCP or UDP headers lie. RFC 791, 8200, 9293, 768.
 * Knows nothing of where frames come from.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_HEADERS_MAX 512 /* Ethernet, VLAN tags, IP with options and TCP: what a frame's head may take */

#define NET_IP_TCP 6
#define NET_IP_UDP 17

#define NET_TCP_SEQ      4 /* offsets in the TCP header */
#define NET_TCP_ACK      8
#define NET_TCP_DATA_OFF 12
#define NET_TCP_FLAGS    13
#define NET_TCP_CSUM     16
#define NET_TCP_HEADER   20
#define NET_TCP_FIN      0x01
#define NET_TCP_PSH      0x08
#define NET_TCP_ACKED    0x10
#define NET_TCP_CWR      0x80
#define NET_UDP_LEN      4
#define NET_UDP_CSUM     6
#define NET_UDP_HEADER   8

struct net_packet {
	uint16_t l3;      /* offset of the IP header */
	uint16_t l4;      /* of the TCP or UDP header; 0: there is none */
	uint16_t payload; /* of what follows it */
	uint16_t csum;    /* of the checksum in the TCP or UDP header */
	uint32_t end;     /* of the IP packet: what follows in the frame is padding */
	uint8_t version;  /* 4 or 6 */
	uint8_t protocol; /* NET_IP_TCP, NET_IP_UDP or another */
};

/* Looks at the head of a frame: `head` bytes of it are at hand, `len` is its length. false: no IP, or
 * damaged. */
bool net_packet_parse(const uint8_t *frame, size_t head, size_t len, struct net_packet *packet);

/* Offset of the IP header behind Ethernet and VLAN tags, with its version; 0: there is none within head. */
size_t net_packet_find_ip(const uint8_t *frame, size_t head, unsigned *version);

/* The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1) for l4_len bytes. */
uint64_t net_packet_pseudo_sum(const uint8_t *frame, const struct net_packet *packet, size_t l4_len);

/* Computes the IPv4 header's checksum anew. */
void net_packet_set_ip_checksum(uint8_t *ip);
