/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and checks of shared folders and sockets. */
#include "vmm/machine/config_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/config.h"

const struct option config_share_fields[] = {
	{.path = "path",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct machine_share, path),
	 .metavar = "DIR",
	 .help = "The folder; nothing outside of it can be reached, whatever links in it say"},
	{.path = "tag",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_share, tag),
	 .metavar = "TAG",
	 .help = "The name that the guest mounts",
	 .default_text = "share0 for the first, share1 for the second..."},
	{.path = "readonly",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_share, readonly),
	 .help = "The guest can change nothing in it"},
	{.path = NULL},
};

const struct option config_vsock_fields[] = {
	{.path = "path",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct machine_vsock, path),
	 .metavar = "PATH",
	 .help = "The unix socket that is made"},
	{.path = "cid",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_vsock, cid),
	 .metavar = "N",
	 .help = "The guest's address",
	 .default_text = "3",
	 .max = UINT32_MAX - 1},
	{.path = NULL},
};

#define VHOST_USER_ROW(path_, type_, member_, metavar_, ...)                                                 \
	{                                                                                                    \
		.path = path_, .type = type_, .offset = offsetof(struct machine_vhost_user, member_),        \
		.metavar = metavar_, __VA_ARGS__                                                             \
	}
#define VHOST_USER_SOCKET                                                                                    \
	VHOST_USER_ROW("socket", OPTION_PATH, socket, "SOCKET", .help = "The socket that it listens on")
#define VHOST_USER_QUEUES                                                                                    \
	VHOST_USER_ROW("queues", OPTION_UINT, queues, "N", .help = "The number of queues for requests",      \
		       .default_text = "1", .max = MACHINE_VHOST_QUEUES_MAX)

const struct option config_vhost_user_blk_fields[] = {VHOST_USER_SOCKET, VHOST_USER_QUEUES, {.path = NULL}};
const struct option config_vhost_user_net_fields[] = {
	VHOST_USER_SOCKET,
	VHOST_USER_ROW("mac", OPTION_STRING, mac, "MAC", .help = "The card's address",
		       .default_text = "by chance, locally administered; --print-config tells, and fixes it"),
	{.path = NULL},
};
const struct option config_vhost_user_fs_fields[] = {
	VHOST_USER_SOCKET,
	VHOST_USER_ROW("tag", OPTION_STRING, tag, "TAG", .help = "The name that the guest mounts"),
	VHOST_USER_QUEUES,
	{.path = NULL},
};

int config_check_vhost_users(const struct option_records *records, bool is_fs, struct err *err)
{
	const struct machine_vhost_user *users = records->item;
	uint8_t mac[NETDEV_MAC_SIZE];

	for (size_t i = 0; i < records->count; i++) {
		if (!users[i].socket || !users[i].socket[0])
			return err_set(err, -EINVAL, "there is no socket: write SOCKET or socket=SOCKET");
		if (is_fs && (!users[i].tag || !users[i].tag[0]))
			return err_set(err, -EINVAL, "there is no tag: write SOCKET,tag=TAG");
		if (users[i].mac && netdev_mac_parse(users[i].mac, mac, err) < 0)
			return -EINVAL;
	}
	return 0;
}

int config_check_vsock(const struct machine_config *config, struct err *err)
{
	const struct machine_vsock *vsock = config->vsock.item;

	if (config->vsock.count > 1)
		return err_set(err, -EINVAL, "a guest has one socket device at most");
	if (config->vsock.count == 1 && (!vsock->path || !vsock->path[0]))
		return err_set(err, -EINVAL, "the socket has no path: write PATH or cid=3,path=PATH");
	if (config->vsock.count == 1 && vsock->cid != 0 && vsock->cid < MACHINE_VSOCK_CID)
		return err_set(err, -EINVAL, "cid: %u is the host's or nobody's: guests have %d and above",
			       vsock->cid, MACHINE_VSOCK_CID);
	return 0;
}

int config_check_shares(const struct machine_config *config, struct err *err)
{
	const struct machine_share *shares = config->shares.item;

	for (size_t i = 0; i < config->shares.count; i++) {
		if (!shares[i].path || !shares[i].path[0])
			return err_set(err, -EINVAL, "share %zu has no folder: write DIR or DIR,tag=TAG",
				       i + 1);
		for (size_t j = 0; j < i; j++) {
			if (shares[i].tag && shares[j].tag && strcmp(shares[i].tag, shares[j].tag) == 0)
				return err_set(err, -EINVAL, "two shares have the tag %s", shares[i].tag);
		}
	}
	return 0;
}
