/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the unix sockets of a socket device come from: programs of the host that connect and greet, and names
 * that the guest's requests are connected to. The protocol is Firecracker's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/vsock_connection.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/base/unix_socket.h"

#define VSOCK_BACKLOG 128 /* connections at once that nobody has accepted yet */

static void vsock_host_on_connect(void *opaque, uint32_t epoll_events)
{
	struct vsock *vsock = opaque;
	int fd = accept4(vsock->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct vsock_connection *connection;

	if (fd < 0)
		return;
	connection = vsock_connection_new(vsock, fd, VSOCK_GREETING);
	if (connection)
		vsock_connection_set_deadline(vsock, connection, VSOCK_TIMEOUT_NS);
	else
		vsock->refused++;
}

/*
 * Takes the greeting's line, and nothing of what is behind it: that is for the guest. The port, or -EAGAIN
 * when the line is not whole, -EINVAL.
 */
static int64_t vsock_host_read_greeting(int fd)
{
	char line[VSOCK_GREETING_MAX + 1], *end, *newline;
	ssize_t got = recv(fd, line, VSOCK_GREETING_MAX, MSG_PEEK | MSG_DONTWAIT);
	unsigned long long port;

	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EINVAL;
	line[got] = '\0';
	newline = memchr(line, '\n', (size_t)got);
	if (!newline)
		return got == VSOCK_GREETING_MAX ? -EINVAL : -EAGAIN;
	*newline = '\0';
	if (recv(fd, line, (size_t)(newline - line) + 1, MSG_DONTWAIT) != newline - line + 1)
		return -EINVAL;
	*newline = '\0';
	if (strncasecmp(line, "connect ", 8) != 0 || line[8] < '0' || line[8] > '9')
		return -EINVAL;
	port = strtoull(line + 8, &end, 10);
	return *end == '\0' && port <= UINT32_MAX ? (int64_t)port : -EINVAL;
}

static uint32_t vsock_host_new_port(struct vsock *vsock, uint32_t guest_port)
{
	uint32_t port;

	/* One in a thousand is in use at most. */
	do {
		port = VSOCK_FIRST_HOST_PORT | (vsock->next_host_port++ & (VSOCK_FIRST_HOST_PORT - 1));
	} while (vsock_connection_find(vsock, port, guest_port));
	return port;
}

void vsock_host_greet(struct vsock *vsock, struct vsock_connection *connection)
{
	int64_t port = vsock_host_read_greeting(connection->fd);

	if (port == -EAGAIN)
		return;
	if (port < 0 || !virtio_is_active(&vsock->virtio)) {
		vsock->refused++;
		vsock_connection_remove(vsock, connection);
		return;
	}
	vsock_connection_name(vsock, connection, vsock_host_new_port(vsock, (uint32_t)port), (uint32_t)port);
	connection->state = VSOCK_ASKED;
	connection->pending = 1 << VSOCK_OP_REQUEST;
	vsock_connection_set_deadline(vsock, connection, VSOCK_TIMEOUT_NS);
	vsock_connection_check_ready(vsock, connection);
}

void vsock_host_accepted(struct vsock *vsock, struct vsock_connection *connection)
{
	char line[24];
	int length = snprintf(line, sizeof(line), "OK %u\n", connection->host_port);

	/* The socket is empty: all of it fits, unless the program is gone. */
	if (send(connection->fd, line, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) != length) {
		vsock_connection_reset(vsock, connection);
		return;
	}
	vsock->connections++;
	vsock_connection_check_ready(vsock, connection);
}

void vsock_host_connect(struct vsock *vsock, const struct vsock_header *header)
{
	char path[sizeof(vsock->path) + 12];
	struct vsock_connection *connection = NULL;
	int fd;

	snprintf(path, sizeof(path), "%s_%u", vsock->path, header->dst_port);
	fd = unix_socket_connect(path, NULL);
	if (fd >= 0)
		connection = vsock_connection_new(vsock, fd, VSOCK_OPEN);
	if (!connection) {
		vsock->refused++;
		vsock_send_reset(vsock, header);
		return;
	}
	vsock->connections++;
	connection->guest_buf_alloc = header->buf_alloc;
	connection->guest_fwd_cnt = header->fwd_cnt;
	connection->pending = 1 << VSOCK_OP_RESPONSE;
	vsock_connection_name(vsock, connection, header->dst_port, header->src_port);
	vsock_connection_check_ready(vsock, connection);
}

int vsock_host_listen(struct vsock *vsock, struct err *err)
{
	vsock->listen_fd = unix_socket_listen(vsock->path, VSOCK_BACKLOG, err);
	if (vsock->listen_fd < 0)
		return vsock->listen_fd;
	vsock->listen_watch = loop_fd_add(vsock->virtio.env.io_loop, vsock->listen_fd, EPOLLIN,
					  vsock_host_on_connect, vsock, err);
	return vsock->listen_watch ? 0 : -EIO;
}

void vsock_host_close(struct vsock *vsock)
{
	if (vsock->listen_watch)
		loop_fd_remove(vsock->listen_watch);
	if (vsock->listen_fd < 0)
		return;
	close(vsock->listen_fd);
	unlink(vsock->path);
}
