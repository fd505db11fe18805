/* SPDX-License-Identifier: Apache-2.0 */
/* Frames as datagrams, one each: over UDP or unix sockets, or a socket that was handed in. */
#pragma once

#include "vmm/core/netdev.h"

/* From config.local and config.remote. */
struct netdev *net_dgram_create(const struct netdev_env *env, const struct netdev_config *config,
				struct err *err);
/* Over a connected datagram or packet socket, which it owns from here on (closed on failure too). */
struct netdev *net_dgram_create_fd(const struct netdev_env *env, int fd, struct err *err);
