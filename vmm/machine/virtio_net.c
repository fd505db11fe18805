/* SPDX-License-Identifier: Apache-2.0 */
/* The network cards that a configuration asks for. Backends are made on the loop that serves them. */
#include <errno.h>
#include <stdio.h>

#include "devices/virtio/net.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/control.h"
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
	machine->net[index] = (struct machine_net_part){.netdev = call.netdev, .loop = env.io_loop};
	return machine_add_virtio(machine, net_create(&env, &config, err), err);
}

struct net_limit_call {
	struct netdev *netdev;
	const struct machine_limits *rx, *tx;
	int code;
};

static void net_limit_on_loop(void *opaque)
{
	struct net_limit_call *call = opaque;

	call->code = netdev_limit(call->netdev, true, call->rx->operations, call->rx->bytes);
	if (call->code == 0)
		call->code = netdev_limit(call->netdev, false, call->tx->operations, call->tx->bytes);
}

int machine_limit_net(struct machine *machine, size_t index, const struct machine_limits *rx,
		      const struct machine_limits *tx, struct err *err)
{
	struct net_limit_call call = {.rx = rx, .tx = tx};

	if (index >= machine->config.net.count)
		return err_set(err, -ENOENT, "there is no network card %zu", index);
	call.netdev = machine->net[index].netdev;
	loop_call(machine->net[index].loop, net_limit_on_loop, &call);
	return call.code < 0 ? err_set_errno(err, call.code, "network card %zu", index) : 0;
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
