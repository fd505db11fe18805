/* SPDX-License-Identifier: Apache-2.0 */
/* Reading addresses of the user-mode network. What lies where in a network follows QEMU, so that guests set
 * up for its user network find the same here. */
#include "vmm/backend/net_user_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/size.h"
#include "vmm/core/netdev.h"

#define NET_USER_DEFAULT     "10.0.2.0/24"
#define NET_USER_DEFAULT6    "fec0::/64"
#define NET_USER_BITS_MIN    8  /* a class A network */
#define NET_USER_BITS_MAX    28 /* host, name server and the first DHCP address (15) fit */
#define NET_USER_BITS6_MAX   126
#define NET_USER_HOST        2
#define NET_USER_DNS         3
#define NET_USER_DHCP        15
#define NET_USER_ADDRESS_MAX 64 /* longer than any address */

/* Splits ADDRESS/BITS. */
static int net_user_split(const char *text, char address[NET_USER_ADDRESS_MAX], uint64_t *bits,
			  uint64_t bits_max, struct err *err)
{
	const char *slash = strchr(text, '/');

	if (!slash || (size_t)(slash - text) >= NET_USER_ADDRESS_MAX ||
	    number_parse(slash + 1, bits, NULL) < 0 || *bits < NET_USER_BITS_MIN || *bits > bits_max)
		return err_set(err, -EINVAL, "\"%s\" is no ADDRESS/BITS with %d to %d bits", text,
			       NET_USER_BITS_MIN, (int)bits_max);
	snprintf(address, NET_USER_ADDRESS_MAX, "%.*s", (int)(slash - text), text);
	return 0;
}

static int net_user_read_net(const char *text, struct net_user_config *read, struct err *err)
{
	char address[NET_USER_ADDRESS_MAX];
	uint64_t bits = 0;
	int code = net_user_split(text, address, &bits, NET_USER_BITS_MAX, err);

	if (code < 0)
		return code;
	if (inet_pton(AF_INET, address, &read->net) != 1)
		return err_set(err, -EINVAL, "\"%s\" is no IPv4 network", text);
	read->mask.s_addr = htonl((uint32_t)(UINT64_MAX << (32 - bits)));
	read->net.s_addr &= read->mask.s_addr;
	return 0;
}

static int net_user_read_net6(const char *text, struct net_user_config *read, struct err *err)
{
	char address[NET_USER_ADDRESS_MAX];
	uint64_t bits = 0;
	int code = net_user_split(text, address, &bits, NET_USER_BITS6_MAX, err);

	if (code < 0)
		return code;
	if (inet_pton(AF_INET6, address, &read->net6) != 1)
		return err_set(err, -EINVAL, "\"%s\" is no IPv6 network", text);
	read->prefix6 = (uint8_t)bits;
	return 0;
}

/* An address in the network: the text's, else the network's n-th. */
static int net_user_read_address(const char *key, const char *text, unsigned nth,
				 const struct net_user_config *read, struct in_addr *address, struct err *err)
{
	if (!text) {
		address->s_addr = read->net.s_addr | htonl(nth);
		return 0;
	}
	if (inet_pton(AF_INET, text, address) != 1)
		return err_set(err, -EINVAL, "%s: \"%s\" is no IPv4 address", key, text);
	if ((address->s_addr & read->mask.s_addr) != read->net.s_addr)
		return err_set(err, -EINVAL, "%s: %s is not in the guest's network", key, text);
	return 0;
}

static bool net_user_is_in_net6(const struct in6_addr *address, const struct net_user_config *read)
{
	unsigned bytes = read->prefix6 / 8;
	unsigned bits = read->prefix6 % 8;
	uint8_t mask = (uint8_t)(0xff00 >> bits);

	return memcmp(address, &read->net6, bytes) == 0 &&
	       (bits == 0 || ((address->s6_addr[bytes] ^ read->net6.s6_addr[bytes]) & mask) == 0);
}

static int net_user_read_address6(const char *key, const char *text, unsigned nth,
				  const struct net_user_config *read, struct in6_addr *address,
				  struct err *err)
{
	if (!text) {
		*address = read->net6;
		address->s6_addr[15] |= (uint8_t)nth;
		return 0;
	}
	if (inet_pton(AF_INET6, text, address) != 1)
		return err_set(err, -EINVAL, "%s: \"%s\" is no IPv6 address", key, text);
	if (!net_user_is_in_net6(address, read))
		return err_set(err, -EINVAL, "%s: %s is not in the guest's network", key, text);
	return 0;
}

static int net_user_check(const struct net_user_config *read, struct err *err)
{
	if (read->host.s_addr == read->dns.s_addr)
		return err_set(err, -EINVAL, "host and dns are the same address");
	if (read->dhcp_start.s_addr == read->host.s_addr || read->dhcp_start.s_addr == read->dns.s_addr)
		return err_set(err, -EINVAL, "dhcp_start is the address of host or dns");
	return 0;
}

int net_user_config_read(const struct netdev_config *config, struct net_user_config *read, struct err *err)
{
	int code = 0;

	*read = (struct net_user_config){0};
	if (config->no_ipv4 && config->no_ipv6)
		return err_set(err, -EINVAL, "no_ipv4 and no_ipv6 leave no network");
	if (net_user_read_net(config->net ? config->net : NET_USER_DEFAULT, read, err) < 0)
		return err_prefix(err, "net");
	if (net_user_read_net6(config->ipv6_net ? config->ipv6_net : NET_USER_DEFAULT6, read, err) < 0)
		return err_prefix(err, "ipv6_net");
	code = net_user_read_address("host", config->host, NET_USER_HOST, read, &read->host, err);
	if (code == 0)
		code = net_user_read_address("dns", config->dns, NET_USER_DNS, read, &read->dns, err);
	if (code == 0)
		code = net_user_read_address("dhcp_start", config->dhcp_start, NET_USER_DHCP, read,
					     &read->dhcp_start, err);
	if (code == 0)
		code = net_user_read_address6("ipv6_host", config->ipv6_host, NET_USER_HOST, read,
					      &read->host6, err);
	if (code == 0)
		code = net_user_read_address6("ipv6_dns", config->ipv6_dns, NET_USER_DNS, read, &read->dns6,
					      err);
	return code < 0 ? code : net_user_check(read, err);
}

/* ADDRESS:PORT up to `end`; the address may be missing. */
static int net_user_parse_end(const char *text, const char *end, struct sockaddr_storage *storage,
			      bool *has_address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
	char part[NET_USER_ADDRESS_MAX + 8];
	char *colon;
	uint64_t port = 0;

	*storage = (struct sockaddr_storage){0};
	if ((size_t)(end - text) >= sizeof(part))
		return -EINVAL;
	snprintf(part, sizeof(part), "%.*s", (int)(end - text), text);
	colon = strrchr(part, ':');
	if (!colon || number_parse(colon + 1, &port, NULL) < 0 || port < 1 || port > 65535)
		return -EINVAL;
	*colon = '\0';
	*has_address = part[0] != '\0';
	if (part[0] == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		return inet_pton(AF_INET6, part + 1, &v6->sin6_addr) == 1 ? 0 : -EINVAL;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	return !*has_address || inet_pton(AF_INET, part, &v4->sin_addr) == 1 ? 0 : -EINVAL;
}

int net_user_forward_parse(const char *text, struct net_user_forward *forward, struct err *err)
{
	const char *host = strchr(text, ':');
	const char *dash = strchr(text, '-');
	bool has_guest = false;

	*forward = (struct net_user_forward){0};
	if (!host || !dash || dash < host)
		goto bad;
	forward->udp = strncmp(text, "udp:", 4) == 0;
	if (!forward->udp && text[0] != ':' && strncmp(text, "tcp:", 4) != 0)
		goto bad;
	if (net_user_parse_end(host + 1, dash, &forward->host, &forward->has_host) < 0 ||
	    net_user_parse_end(dash + 1, dash + strlen(dash), &forward->guest, &has_guest) < 0)
		goto bad;
	if (forward->guest.ss_family != forward->host.ss_family)
		return err_set(err, -EINVAL, "hostfwd: %s: both ends must be IPv4 or both IPv6", text);
	return 0;
bad:
	return err_set(
		err, -EINVAL,
		"hostfwd: \"%s\" is not PROTOCOL:[ADDRESS]:PORT-[ADDRESS]:PORT, as in tcp:127.0.0.1:2222-:22",
		text);
}

int net_user_service_parse(const char *text, struct net_user_service *service, struct err *err)
{
	char address[INET_ADDRSTRLEN];
	const char *colon = strchr(text, ':');
	const char *equals = colon ? strchr(colon, '=') : NULL;
	char port[8];
	uint64_t number = 0;

	*service = (struct net_user_service){.path = equals ? equals + 1 : ""};
	if (equals && (size_t)(colon - text) < sizeof(address) &&
	    (size_t)(equals - colon - 1) < sizeof(port)) {
		snprintf(address, sizeof(address), "%.*s", (int)(colon - text), text);
		snprintf(port, sizeof(port), "%.*s", (int)(equals - colon - 1), colon + 1);
		if (inet_pton(AF_INET, address, &service->address) == 1 &&
		    number_parse(port, &number, NULL) == 0 && number >= 1 && number <= UINT16_MAX &&
		    *service->path) {
			service->port = (int)number;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "\"%s\" is not ADDRESS:PORT=PATH", text);
}
