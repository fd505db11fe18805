/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and checks of shared folders and sockets. */
#include "vmm/machine/config_share.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/err.h"
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
	 .min = MACHINE_VSOCK_CID,
	 .max = UINT32_MAX - 1},
	{.path = NULL},
};

int config_check_vsock(const struct machine_config *config, struct err *err)
{
	const struct machine_vsock *vsock = config->vsock.item;

	if (config->vsock.count > 1)
		return err_set(err, -EINVAL, "a guest has one socket device at most");
	if (config->vsock.count == 1 && (!vsock->path || !vsock->path[0]))
		return err_set(err, -EINVAL, "the socket has no path: write PATH or cid=3,path=PATH");
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
