/* SPDX-License-Identifier: Apache-2.0 */
/* Socket addresses as people write them: a path, unix:PATH, or [tcp:|udp:]HOST:PORT. Knows no backend. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

struct err;

struct net_address {
	struct sockaddr_storage storage;
	socklen_t len;
};

/* Messages do not name the setting. 0; -EINVAL for a bad form; -ENOENT for a host that has no address. */
int net_address_parse(const char *text, int socket_type, struct net_address *address, struct err *err);
/* A non-blocking socket of the address's family; -errno. */
int net_address_socket(const struct net_address *address, int socket_type, struct err *err);
/* Binds; a unix socket that nobody uses any more is replaced. */
int net_address_bind(const struct net_address *address, int socket_type, int fd, const char *text,
		     struct err *err);
/* Removes a unix socket's file. */
void net_address_unlink(const struct net_address *address);
