/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend `socket`: another monitor at the other end, ours or QEMU (`-netdev stream`, `-netdev dgram`). A
 * stream is listened for or connected to; one peer at a time, and when it goes away the link is down until
 * the next comes, or until connecting again succeeds. Datagrams (net_dgram.c) are chosen by `local` and
 * `remote`.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/backend/net_address.h"
#include "vmm/backend/net_backend.h"
#include "vmm/backend/net_dgram.h"
#include "vmm/backend/net_stream.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define NET_SOCKET_CONNECT_MS 5000 /* how long the start waits for a peer that does not answer */
#define NET_SOCKET_RETRY_NS   NS_PER_S

struct net_socket {
	struct net_stream stream;
	struct net_address address;
	int listen_fd;                /* -1: this end connects */
	struct loop_fd *listen_watch; /* NULL while a peer is connected */
	int connecting_fd;            /* -1: none */
	struct loop_fd *connecting;   /* watch of connecting_fd */
	struct loop_timer *retry;     /* of an end that connects */
	bool bound;                   /* the file is ours to remove */
};

static void net_socket_on_connect(void *opaque, uint32_t epoll_events)
{
	struct net_socket *sock = opaque;
	int fd = accept4(sock->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 || net_stream_connected(&sock->stream, fd, NULL) < 0)
		return;
	loop_fd_remove(sock->listen_watch);
	sock->listen_watch = NULL;
}

static void net_socket_retry_later(struct net_socket *sock)
{
	loop_timer_arm(sock->retry, clock_monotonic_ns() + NET_SOCKET_RETRY_NS);
}

static void net_socket_on_lost(struct net_stream *stream)
{
	struct net_socket *sock = (struct net_socket *)stream;

	if (sock->listen_fd < 0)
		net_socket_retry_later(sock);
	else
		sock->listen_watch = loop_fd_add(stream->loop, sock->listen_fd, EPOLLIN,
						 net_socket_on_connect, sock, NULL);
}

/* The outcome of a connect that was under way: 0 or -errno. */
static int net_socket_outcome(int fd)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

static void net_socket_on_connecting(void *opaque, uint32_t epoll_events)
{
	struct net_socket *sock = opaque;
	int fd = sock->connecting_fd;

	loop_fd_remove(sock->connecting);
	sock->connecting = NULL;
	sock->connecting_fd = -1;
	if (net_socket_outcome(fd) == 0) {
		net_stream_connected(&sock->stream, fd, NULL);
		return;
	}
	close(fd);
	net_socket_retry_later(sock);
}

/* A socket that is connected or about to be; *pending says which. */
static int net_socket_begin(struct net_socket *sock, bool *pending, struct err *err)
{
	int fd = net_address_socket(&sock->address, SOCK_STREAM, err);
	int error;

	if (fd < 0)
		return fd;
	*pending = false;
	if (connect(fd, (const struct sockaddr *)&sock->address.storage, sock->address.len) == 0)
		return fd;
	*pending = errno == EINPROGRESS;
	if (*pending)
		return fd;
	error = -errno;
	close(fd);
	return err_set_errno(err, error, "cannot connect");
}

static void net_socket_on_retry(void *opaque)
{
	struct net_socket *sock = opaque;
	bool pending;
	int fd;

	if (sock->stream.fd >= 0 || sock->connecting)
		return;
	fd = net_socket_begin(sock, &pending, NULL);
	if (fd < 0) {
		net_socket_retry_later(sock);
		return;
	}
	if (!pending) {
		net_stream_connected(&sock->stream, fd, NULL);
		return;
	}
	sock->connecting_fd = fd;
	sock->connecting = loop_fd_add(sock->stream.loop, fd, EPOLLOUT, net_socket_on_connecting, sock, NULL);
	if (sock->connecting)
		return;
	close(fd);
	sock->connecting_fd = -1;
	net_socket_retry_later(sock);
}

static int net_socket_connect(struct net_socket *sock, const char *text, struct err *err)
{
	bool pending;
	int fd;

	if (net_address_parse(text, SOCK_STREAM, &sock->address, err) < 0)
		return err_prefix(err, "connect");
	sock->retry = loop_timer_create(sock->stream.loop, net_socket_on_retry, sock, err);
	if (!sock->retry)
		return -ENOMEM;
	fd = net_socket_begin(sock, &pending, err);
	if (fd < 0)
		return err_prefix(err, "connect: %s", text);
	if (pending) {
		struct pollfd wait = {.fd = fd, .events = POLLOUT};
		int code = poll(&wait, 1, NET_SOCKET_CONNECT_MS) == 1 ? net_socket_outcome(fd) : -ETIMEDOUT;

		if (code < 0) {
			close(fd);
			return err_set_errno(err, code, "connect: %s", text);
		}
	}
	return net_stream_connected(&sock->stream, fd, err);
}

static int net_socket_listen(struct net_socket *sock, const char *text, struct err *err)
{
	if (net_address_parse(text, SOCK_STREAM, &sock->address, err) < 0)
		return err_prefix(err, "listen");
	sock->listen_fd = net_address_socket(&sock->address, SOCK_STREAM, err);
	if (sock->listen_fd < 0 ||
	    net_address_bind(&sock->address, SOCK_STREAM, sock->listen_fd, text, err) < 0)
		return err_prefix(err, "listen");
	sock->bound = true;
	if (listen(sock->listen_fd, 1) < 0)
		return err_set_errno(err, -errno, "listen: %s", text);
	sock->listen_watch =
		loop_fd_add(sock->stream.loop, sock->listen_fd, EPOLLIN, net_socket_on_connect, sock, err);
	return sock->listen_watch ? 0 : -ENOMEM;
}

static void net_socket_destroy(struct netdev *netdev)
{
	struct net_socket *sock = (struct net_socket *)netdev;

	sock->stream.lost = NULL;
	net_stream_release(&sock->stream);
	if (sock->listen_watch)
		loop_fd_remove(sock->listen_watch);
	if (sock->connecting)
		loop_fd_remove(sock->connecting);
	loop_timer_destroy(sock->retry);
	if (sock->connecting_fd >= 0)
		close(sock->connecting_fd);
	if (sock->listen_fd >= 0)
		close(sock->listen_fd);
	if (sock->bound)
		net_address_unlink(&sock->address);
	free(sock);
}

static const struct netdev_ops net_socket_ops = {
	.send = net_stream_send,
	.receive = net_stream_receive,
	.poll = net_stream_poll,
	.reset = net_stream_reset,
	.set_offloads = net_stream_set_offloads,
	.destroy = net_socket_destroy,
};

static struct netdev *net_socket_create_stream(const struct netdev_env *env,
					       const struct netdev_config *config, struct err *err)
{
	struct net_socket *sock = calloc(1, sizeof(*sock));
	int code;

	if (!sock) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	sock->listen_fd = sock->connecting_fd = -1;
	code = net_stream_init(&sock->stream, env->loop, &net_socket_ops, err);
	if (code == 0)
		code = config->listen ? net_socket_listen(sock, config->listen, err)
				      : net_socket_connect(sock, config->connect, err);
	sock->stream.lost = net_socket_on_lost;
	if (code == 0)
		return &sock->stream.netdev;
	net_socket_destroy(&sock->stream.netdev);
	return NULL;
}

static struct netdev *net_socket_create(const struct netdev_env *env, const struct netdev_config *config,
					struct err *err)
{
	bool datagrams = config->local || config->remote;

	if (!!config->listen + !!config->connect + datagrams != 1) {
		err_set(err, -EINVAL,
			"socket needs one of listen=ADDRESS, connect=ADDRESS, or local= and remote=");
		return NULL;
	}
	return datagrams ? net_dgram_create(env, config, err) : net_socket_create_stream(env, config, err);
}

static const char *const net_socket_keys[] = {"listen", "connect", "local", "remote", NULL};

const struct netdev_class socket_netdev_class = {
	.name = "socket",
	.summary = "another monitor, over a stream or datagrams",
	.keys = net_socket_keys,
	.create = net_socket_create,
};
