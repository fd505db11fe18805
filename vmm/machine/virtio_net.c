/* SPDX-License-Identifier: Apache-2.0 */
/* The network cards that a configuration asks for. Backends are made on the loop that serves them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

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
	machine->net[index].device = net_create(&env, &config, err);
	if (machine_add_virtio(machine, machine->net[index].device, err) < 0)
		return err && err->code ? err->code : -EIO;
	machine->net[index].slot = machine->virtio_slot;
	return 0;
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

int machine_plug_net(struct machine *machine, const struct netdev_config *wish, struct err *err)
{
	size_t index = machine->config.net.count;
	bool was_running;
	int code;

	if (!machine->pci_host)
		return err_set(err, -ENOTSUP, "PCI is not enabled");
	code = machine_add_wish(machine, "net", wish, err);
	if (code < 0)
		return code;
	machine->net[index] = (struct machine_net_part){.netdev = NULL};
	code = machine_config_complete(&machine->config, err);
	was_running = machine_run_pause(machine);
	if (code == 0)
		code = net_add(machine, index, err);
	if (code < 0) {
		machine_remove_virtio(machine, machine->net[index].device, VIRTIO_NO_SLOT);
		machine_drop_wish(machine, "net", index);
	}
	if (was_running)
		machine_run_resume(machine);
	return code;
}

int machine_unplug_net(struct machine *machine, size_t index, struct err *err)
{
	bool was_running;

	if (!machine->pci_host)
		return err_set(err, -ENOTSUP, "PCI is not enabled");
	if (index >= machine->config.net.count)
		return err_set(err, -ENOENT, "Device not found");
	was_running = machine_run_pause(machine);
	machine_remove_virtio(machine, machine->net[index].device, machine->net[index].slot);
	machine_drop_wish(machine, "net", index);
	memmove(&machine->net[index], &machine->net[index + 1],
		(machine->config.net.count - index) * sizeof(machine->net[0]));
	if (was_running)
		machine_run_resume(machine);
	return 0;
}
