/* SPDX-License-Identifier: Apache-2.0 */
/* The shared folders and sockets that a configuration asks for. */
#include <stdio.h>

#include "devices/virtio/9p.h"
#include "devices/virtio/vhost_user.h"
#include "devices/virtio/vsock.h"
#include "vmm/base/err.h"
#include "vmm/core/netdev.h"
#include "vmm/core/share.h"
#include "vmm/machine/parts.h"

static int machine_add_share(struct machine *machine, size_t index, struct err *err)
{
	const struct machine_share *asked = (const struct machine_share *)machine->config.shares.item + index;
	const struct share_config share_config = {.path = asked->path, .readonly = asked->readonly};
	struct device_env env = machine_io_env(machine);
	char id[32];
	struct virtio_9p_config config = {.id = id, .tag = asked->tag ? asked->tag : id, .own_thread = true};

	snprintf(id, sizeof(id), "share%zu", index);
	config.share = share_open_9p(&share_config, err);
	if (!config.share)
		return err->code;
	return machine_add_virtio(machine, virtio_9p_create(&env, &config, err), err);
}

int machine_add_shares(struct machine *machine, struct err *err)
{
	for (size_t i = 0; i < machine->config.shares.count; i++) {
		if (machine_add_share(machine, i, err) < 0)
			return err_prefix(err, "--share (shares)");
	}
	return 0;
}

int machine_add_vsock(struct machine *machine, struct err *err)
{
	const struct machine_vsock *asked = machine->config.vsock.item;
	struct device_env env = machine_io_env(machine);
	struct vsock_config config = {.id = "vsock0"};

	if (machine->config.vsock.count == 0)
		return 0;
	config.path = asked->path;
	config.cid = asked->cid ? asked->cid : MACHINE_VSOCK_CID;
	if (machine_add_virtio(machine, vsock_create(&env, &config, err), err) < 0)
		return err_prefix(err, "--vsock (vsock)");
	return 0;
}

static int machine_add_vhost_user(struct machine *machine, enum vhost_user_kind kind, const char *name,
				  const struct option_records *records, struct err *err)
{
	const struct machine_vhost_user *asked = records->item;

	for (size_t i = 0; i < records->count; i++) {
		struct device_env env = machine_io_env(machine);
		char id[32];
		struct vhost_user_config config = {
			.id = id,
			.kind = kind,
			.socket = asked[i].socket,
			.queues = asked[i].queues ? asked[i].queues : 1,
			.tag = asked[i].tag,
		};

		snprintf(id, sizeof(id), "%s%zu", name, i);
		if (asked[i].mac)
			netdev_mac_parse(asked[i].mac, config.mac, NULL);
		if (machine_add_virtio(machine, vhost_user_create(&env, &config, err), err) < 0)
			return err_prefix(err, "--%s", name);
	}
	return 0;
}

int machine_add_vhost_users(struct machine *machine, struct err *err)
{
	const struct machine_config *config = &machine->config;
	int code = machine_add_vhost_user(machine, VHOST_USER_BLOCK, "vhost-user-blk",
					  &config->vhost_user_blk, err);

	if (code == 0)
		code = machine_add_vhost_user(machine, VHOST_USER_NET, "vhost-user-net",
					      &config->vhost_user_net, err);
	if (code == 0)
		code = machine_add_vhost_user(machine, VHOST_USER_FS, "vhost-user-fs", &config->vhost_user_fs,
					      err);
	return code;
}
