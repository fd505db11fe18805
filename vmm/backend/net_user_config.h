/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of the user-mode network, and forwardings of ports: text into what libslirp and passt want.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct err;
struct netdev_config;

struct net_user_config {
	struct in_addr net, mask, host, dhcp_start, dns;
	struct in6_addr net6, host6, dns6;
	uint8_t prefix6;
};

/* Defaults are QEMU's: 10.0.2.0/24 and fec0::/64. Messages name the key. 0 or -EINVAL. */
int net_user_config_read(const struct netdev_config *config, struct net_user_config *read, struct err *err);

/* One hostfwd. Addresses are zero where the text has none. */
struct net_user_forward {
	bool udp;
	bool has_host;
	struct sockaddr_storage host, guest;
};

/* PROTOCOL:[ADDRESS]:PORT-[ADDRESS]:PORT; IPv6 addresses in brackets. The message names the key. */
int net_user_forward_parse(const char *text, struct net_user_forward *forward, struct err *err);

/* One unixfwd or service: "ADDRESS:PORT=PATH", an IPv4 address. The message says what is wrong with it. */
struct net_user_service {
	struct in_addr address;
	int port;
	const char *path; /* in text */
};
int net_user_service_parse(const char *text, struct net_user_service *service, struct err *err);
