/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service of the host at a link-local address, on any network: frames for that address go to a small
 * network of their own (the user-mode backend, shut off from everything but the one forwarding), all others
 * to the backend. What comes from both is the card's, the service's first. The address's ARP is the
 * service's, too. RFC 826, RFC 791.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_user_config.h"
#include "vmm/backend/net_wrap.h"
#include "vmm/base/err.h"

#define SERVICE_ETHERTYPE     12
#define SERVICE_ETHERTYPE_IP4 0x0800
#define SERVICE_ETHERTYPE_ARP 0x0806
#define SERVICE_IP4_TARGET    30 /* of the destination in an Ethernet frame with IPv4 */
#define SERVICE_ARP_TARGET    38 /* of the address asked for in one with ARP */
#define SERVICE_HEAD          42

struct net_service {
	struct net_inner inner;
	struct netdev *service; /* owned */
	uint8_t address[4];
};

static bool net_service_is_its(const struct net_service *service, const struct iovec *iov, unsigned iov_count)
{
	uint8_t head[SERVICE_HEAD] = {0};
	size_t len = net_iov_read(iov, iov_count, 0, head, sizeof(head));
	uint16_t type = net_get16(head + SERVICE_ETHERTYPE);

	if (type == SERVICE_ETHERTYPE_IP4 && len >= SERVICE_IP4_TARGET + 4)
		return memcmp(head + SERVICE_IP4_TARGET, service->address, 4) == 0;
	if (type == SERVICE_ETHERTYPE_ARP && len == SERVICE_HEAD)
		return memcmp(head + SERVICE_ARP_TARGET, service->address, 4) == 0;
	return false;
}

static int net_service_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			    const struct iovec *iov, unsigned iov_count)
{
	struct net_service *service = (struct net_service *)netdev;

	if (!net_service_is_its(service, iov, iov_count))
		return netdev_send(service->inner.lower, queue, header, iov, iov_count);
	return netdev_send(service->service, 0, header, iov, iov_count);
}

static void net_service_flush(struct netdev *netdev, unsigned queue)
{
	netdev_flush(((struct net_service *)netdev)->service, 0);
	net_inner_flush(netdev, queue);
}

static ssize_t net_service_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
				   const struct iovec *iov, unsigned iov_count)
{
	struct net_service *service = (struct net_service *)netdev;
	ssize_t got = queue == 0 ? netdev_receive(service->service, 0, header, iov, iov_count) : -EAGAIN;

	return got == -EAGAIN ? netdev_receive(service->inner.lower, queue, header, iov, iov_count) : got;
}

static void net_service_poll(struct netdev *netdev, unsigned queue, bool on)
{
	if (queue == 0)
		netdev_poll(((struct net_service *)netdev)->service, 0, on);
	net_inner_poll(netdev, queue, on);
}

static void net_service_reset(struct netdev *netdev, unsigned queue)
{
	if (queue == 0)
		netdev_reset(((struct net_service *)netdev)->service, 0);
	net_inner_reset(netdev, queue);
}

static void net_service_set_offloads(struct netdev *netdev, uint32_t offloads)
{
	struct netdev *service = ((struct net_service *)netdev)->service;

	netdev_set_offloads(service, offloads & service->offloads);
	net_inner_set_offloads(netdev, offloads);
}

static void net_service_destroy(struct netdev *netdev)
{
	struct net_service *service = (struct net_service *)netdev;

	netdev_destroy(service->service);
	net_inner_release(&service->inner);
	free(service);
}

static const struct netdev_ops net_service_ops = {
	.send = net_service_send,
	.flush = net_service_flush,
	.receive = net_service_receive,
	.poll = net_service_poll,
	.reset = net_service_reset,
	.set_offloads = net_service_set_offloads,
	.set_queue_pairs = net_inner_set_queue_pairs,
	.destroy = net_service_destroy,
};

static void net_service_on_readable(void *opaque, unsigned queue)
{
	netdev_tell_readable(opaque, 0);
}

static void net_service_on_writable(void *opaque, unsigned queue)
{
	netdev_tell_writable(opaque, 0);
}

/* The network around the address: its own addresses are where the service is not. */
static struct netdev *net_service_open(const struct netdev_env *env, const char *text,
				       const uint8_t address[4], struct err *err)
{
	unsigned low = address[3] < 128 ? 200 : 20;
	char net[32], host[32], dns[32], dhcp[32], copy[512];
	char backend[] = "user";
	struct netdev_config config = {
		.backend = backend,
		.net = net,
		.host = host,
		.dns = dns,
		.dhcp_start = dhcp,
		.unixfwd = copy,
		.restricted = true,
		.no_ipv6 = true,
	};

	snprintf(copy, sizeof(copy), "%s", text);
	snprintf(net, sizeof(net), "%u.%u.%u.0/24", address[0], address[1], address[2]);
	snprintf(host, sizeof(host), "%u.%u.%u.%u", address[0], address[1], address[2], low);
	snprintf(dns, sizeof(dns), "%u.%u.%u.%u", address[0], address[1], address[2], low + 1);
	snprintf(dhcp, sizeof(dhcp), "%u.%u.%u.%u", address[0], address[1], address[2], low + 2);
	return netdev_open(env, &config, err);
}

struct netdev *net_service_wrap(struct netdev *lower, const struct netdev_env *env,
				const struct netdev_config *config, struct err *err)
{
	struct net_user_service parsed;
	struct net_service *service;
	struct netdev_client client = {.readable = net_service_on_readable,
				       .writable = net_service_on_writable};

	if (!config->service)
		return lower;
	if (net_user_service_parse(config->service, &parsed, err) < 0)
		return NULL;
	service = calloc(1, sizeof(*service));
	if (!service) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	memcpy(service->address, &parsed.address, sizeof(service->address));
	service->service = net_service_open(env, config->service, service->address, err);
	if (!service->service) {
		free(service);
		err_prefix(err, "service");
		return NULL;
	}
	net_inner_init(&service->inner, lower, &net_service_ops);
	/* What both can do. A frame that only the backend takes uncut is cut before the service sees it. */
	service->inner.netdev.uncut_max = lower->uncut_max;
	client.opaque = &service->inner.netdev;
	netdev_attach(service->service, &client);
	return &service->inner.netdev;
}
