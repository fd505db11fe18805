/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing and binding of addresses. */
#include "vmm/backend/net_address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/err.h"

#define NET_HOST_MAX 256 /* longer than any name that DNS has */

static const char *net_address_skip(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static int net_address_parse_unix(const char *path, struct net_address *address, struct err *err)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	if (!*path)
		return err_set(err, -EINVAL, "the socket's path is empty");
	if (strlen(path) >= sizeof(name.sun_path))
		return err_set(err, -ENAMETOOLONG, "socket path %s is longer than %zu characters", path,
			       sizeof(name.sun_path) - 1);
	strcpy(name.sun_path, path);
	memcpy(&address->storage, &name, sizeof(name));
	address->len = sizeof(name);
	return 0;
}

/* HOST:PORT or [HOST]:PORT; HOST may be empty: every address. */
static int net_address_parse_inet(const char *text, int socket_type, struct net_address *address,
				  struct err *err)
{
	const struct addrinfo hints = {.ai_socktype = socket_type, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	const char *colon = strrchr(text, ':');
	struct addrinfo *found = NULL;
	char host[NET_HOST_MAX];
	size_t len;
	int code;

	if (!colon || !colon[1])
		return err_set(err, -EINVAL, "\"%s\" is neither HOST:PORT nor a path with a slash", text);
	len = (size_t)(colon - text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= sizeof(host))
		return err_set(err, -EINVAL, "the host's name is too long");
	snprintf(host, sizeof(host), "%.*s", (int)len, text);
	code = getaddrinfo(host[0] ? host : NULL, colon + 1, &hints, &found);
	if (code != 0)
		return err_set(err, -ENOENT, "%s: %s", text, gai_strerror(code));
	memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
	address->len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int net_address_parse(const char *text, int socket_type, struct net_address *address, struct err *err)
{
	const char *rest = net_address_skip(text, "unix:");

	*address = (struct net_address){0};
	if (rest)
		return net_address_parse_unix(rest, address, err);
	rest = net_address_skip(text, socket_type == SOCK_STREAM ? "tcp:" : "udp:");
	if (rest)
		return net_address_parse_inet(rest, socket_type, address, err);
	if (strchr(text, '/'))
		return net_address_parse_unix(text, address, err);
	return net_address_parse_inet(text, socket_type, address, err);
}

int net_address_socket(const struct net_address *address, int socket_type, struct err *err)
{
	const int one = 1;
	int fd = socket(address->storage.ss_family, socket_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set_errno(err, -errno, "socket");
	if (address->storage.ss_family != AF_UNIX && socket_type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (address->storage.ss_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd;
}

/* A socket file that nobody has open is left over from a program that was killed: it may go. */
static bool net_address_is_stale(const struct net_address *address, int socket_type)
{
	const struct sockaddr_un *name = (const struct sockaddr_un *)&address->storage;
	struct stat info;
	bool refused;
	int fd;

	if (name->sun_family != AF_UNIX || lstat(name->sun_path, &info) < 0 || !S_ISSOCK(info.st_mode))
		return false;
	fd = socket(AF_UNIX, socket_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)name, address->len) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

void net_address_unlink(const struct net_address *address)
{
	const struct sockaddr_un *name = (const struct sockaddr_un *)&address->storage;

	if (name->sun_family == AF_UNIX && address->len > 0)
		unlink(name->sun_path);
}

int net_address_bind(const struct net_address *address, int socket_type, int fd, const char *text,
		     struct err *err)
{
	if (net_address_is_stale(address, socket_type))
		net_address_unlink(address);
	if (bind(fd, (const struct sockaddr *)&address->storage, address->len) < 0)
		return err_set_errno(err, -errno, "cannot bind to %s", text);
	return 0;
}
