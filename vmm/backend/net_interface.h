/* SPDX-License-Identifier: Apache-2.0 */
/* The host's network interfaces, by name: up, MTU, bridges, and programs that set one up. netdevice(7). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;

/* 0 when there is no such interface in this network namespace. */
uint16_t net_interface_mtu(const char *ifname);
/* Needs CAP_NET_ADMIN. 0 or -errno. */
int net_interface_set_up(const char *ifname);
int net_interface_join_bridge(const char *ifname, const char *bridge, struct err *err);
/* Runs `program ifname` and waits for its end. 0, or -errno with err saying how it ended. */
int net_interface_run(const char *program, const char *ifname, struct err *err);
