/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration leaves to chance: addresses of network cards. Decided once for a machine, and then
 * part of its configuration, so that it keeps them when it is printed, saved or made again. */
#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/config_parts.h"

static int config_choose_mac(char **mac, struct err *err)
{
	uint8_t bytes[NETDEV_MAC_SIZE];
	char text[NETDEV_MAC_TEXT_SIZE];
	int code;

	if (*mac)
		return 0;
	code = netdev_mac_random(bytes, err);
	if (code < 0)
		return code;
	netdev_mac_print(bytes, text);
	*mac = strdup(text);
	return *mac ? 0 : err_set(err, -ENOMEM, "no memory");
}

int machine_config_complete(struct machine_config *config, struct err *err)
{
	struct netdev_config *cards = config->net.item;
	struct machine_vhost_user *vhosts = config->vhost_user_net.item;
	int code = 0;

	for (size_t i = 0; i < config->net.count && code == 0; i++)
		code = config_choose_mac(&cards[i].mac, err);
	for (size_t i = 0; i < config->vhost_user_net.count && code == 0; i++)
		code = config_choose_mac(&vhosts[i].mac, err);
	return code;
}
