/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net: a network card. virtio 1.2, 5.1. */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;
struct netdev;

struct net_config {
	const char *id;        /* "net0" */
	struct netdev *netdev; /* on env->io_loop; the device owns it from here on, also on failure */
	uint8_t mac[6];
	uint16_t mtu; /* what the guest is told; 0: what the netdev wants, if it has an opinion */
};

/* NULL with err set. */
struct device *net_create(const struct device_env *env, const struct net_config *config, struct err *err);
