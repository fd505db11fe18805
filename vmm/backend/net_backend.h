/* SPDX-License-Identifier: Apache-2.0 */
/* The host side of network cards. One file a kind; each exports its class, and the build makes netdev_table
 * of them. */
#pragma once

#include "vmm/core/netdev.h"

extern const struct netdev_class user_netdev_class;
extern const struct netdev_class tap_netdev_class;
extern const struct netdev_class passt_netdev_class;
extern const struct netdev_class socket_netdev_class;
extern const struct netdev_class fd_netdev_class;
