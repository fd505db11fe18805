/* SPDX-License-Identifier: Apache-2.0 */
/* Frames through descriptors of a tap, one a queue pair. For net_tap, which opens them, and net_fd, which is
 * given them. */
#pragma once

#include "vmm/core/netdev.h"

struct net_tap;

/*
 * A netdev over `count` descriptors of one interface, owned from here on, closed on failure too. With
 * has_header each frame has a header of 12 bytes there (IFF_VNET_HDR). Takes no interface up or down.
 */
struct net_tap *net_tap_new(const struct netdev_env *env, const int *fd, unsigned count, bool has_header,
			    struct err *err);
struct netdev *net_tap_netdev(struct net_tap *tap);
const char *net_tap_ifname(const struct net_tap *tap);
/* Runs `program interface` when the netdev is destroyed; copied. 0 or -ENOMEM. */
int net_tap_set_downscript(struct net_tap *tap, const char *program, struct err *err);
