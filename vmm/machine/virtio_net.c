/* SPDX-License-Identifier: Apache-2.0 */
/* The network cards that a configuration asks for. Backends are made on the loop that serves them. */
#include <errno.h>
#include <stdio.h>

#include "devices/virtio/net.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/parts.h"

struct net_open_call {
	const struct netdev_env env;
	const struct netdev_config *config;
	struct netdev *netdev;
	struct err *err;
};

static void net_open_on_loop(void *opaque)
{
	struct net_open_call *call = opaque;

	call->netdev = netdev_open(&call->env, call->config, call->err);
}

static int net_add(struct machine *machine, size_t index, struct err *err)
{
	const struct netdev_config *card = (const struct netdev_config *)machine->config.net.item + index;
	struct device_env env = machine_io_env(machine);
	struct net_open_call call = {
		.env = {.loop = env.io_loop, .slot = (unsigned)index}, .config = card, .err = err};
	char id[32];
	struct net_config config = {.id = id, .mtu = (uint16_t)card->mtu};

	snprintf(id, sizeof(id), "net%zu", index);
	if (netdev_mac_parse(card->mac, config.mac, err) < 0)
		return -EINVAL;
	loop_call(env.io_loop, net_open_on_loop, &call);
	if (!call.netdev)
		return err && err->code ? err->code : -EIO;
	config.netdev = call.netdev;
	return machine_add_virtio(machine, net_create(&env, &config, err), err);
}

int machine_add_nets(struct machine *machine, struct err *err)
{
	const struct netdev_config *cards = machine->config.net.item;

	for (size_t i = 0; i < machine->config.net.count; i++) {
		if (net_add(machine, i, err) < 0)
			return err_prefix(err, "--net %s (net)", cards[i].backend);
	}
	return 0;
}
