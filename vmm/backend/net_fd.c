/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend `fd`: descriptors that whoever started this program has opened: a tap's (several are its
 * queues), or a connected socket's. What it is, the kernel tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/backend/net_backend.h"
#include "vmm/backend/net_dgram.h"
#include "vmm/backend/net_stream.h"
#include "vmm/backend/net_tap.h"
#include "vmm/base/err.h"

/* A stream that was handed in; when it ends, the link is down for good. */
static void net_fd_stream_destroy(struct netdev *netdev)
{
	net_stream_release((struct net_stream *)netdev);
	free(netdev);
}

static const struct netdev_ops net_fd_stream_ops = {
	.send = net_stream_send,
	.receive = net_stream_receive,
	.poll = net_stream_poll,
	.reset = net_stream_reset,
	.set_offloads = net_stream_set_offloads,
	.destroy = net_fd_stream_destroy,
};

static struct netdev *net_fd_create_stream(const struct netdev_env *env, int fd, struct err *err)
{
	struct net_stream *stream = calloc(1, sizeof(*stream));
	int code = stream ? net_stream_init(stream, env->loop, &net_fd_stream_ops, err)
			  : err_set(err, -ENOMEM, "no memory");

	if (code < 0)
		close(fd);
	else
		code = net_stream_connected(stream, fd, err);
	if (code == 0)
		return &stream->netdev;
	if (stream)
		net_fd_stream_destroy(&stream->netdev);
	return NULL;
}

static struct netdev *net_fd_create_tap(const struct netdev_env *env, const int *fd, unsigned count,
					int flags, struct err *err)
{
	struct net_tap *tap;

	if (!(flags & IFF_TAP) || !(flags & IFF_NO_PI)) {
		err_set(err, -EINVAL,
			"fd: the descriptor is no tap without packet information (IFF_TAP | IFF_NO_PI)");
		for (unsigned i = 0; i < count; i++)
			close(fd[i]);
		return NULL;
	}
	tap = net_tap_new(env, fd, count, flags & IFF_VNET_HDR, err);
	return tap ? net_tap_netdev(tap) : NULL;
}

static struct netdev *net_fd_create_socket(const struct netdev_env *env, int fd, struct err *err)
{
	socklen_t len = sizeof(int);
	int type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
		err_set(err, -EINVAL, "fd: descriptor %d is neither a tap nor a socket", fd);
		close(fd);
		return NULL;
	}
	return type == SOCK_STREAM ? net_fd_create_stream(env, fd, err) : net_dgram_create_fd(env, fd, err);
}

/* Reads "N[:N...]"; each must be open. From here on no program that we start inherits them. */
static int net_fd_parse(const char *text, int *fd, unsigned *count, struct err *err)
{
	const char *at = text;

	for (*count = 0; *count < NETDEV_QUEUES_MAX; at++) {
		char *end;
		long number = strtol(at, &end, 10);

		if (end == at || at[0] == '-' || at[0] == '+' || number < 0 || number > 0xffff ||
		    (*end && *end != ':'))
			return err_set(err, -EINVAL,
				       "fd: \"%s\" is no descriptor, or several with colons between", text);
		if (fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
			return err_set(err, -EBADF, "fd: descriptor %ld is not open", number);
		if (fcntl((int)number, F_SETFL, fcntl((int)number, F_GETFL) | O_NONBLOCK) < 0)
			return err_set_errno(err, -errno, "fd: descriptor %ld", number);
		fd[(*count)++] = (int)number;
		at = end;
		if (!*at)
			return 0;
	}
	return err_set(err, -E2BIG, "fd: more than %d descriptors", NETDEV_QUEUES_MAX);
}

static struct netdev *net_fd_create(const struct netdev_env *env, const struct netdev_config *config,
				    struct err *err)
{
	int fd[NETDEV_QUEUES_MAX];
	struct ifreq request = {0};
	unsigned count;

	if (!config->fd) {
		err_set(err, -EINVAL, "fd: which descriptor? write fd,fd=N");
		return NULL;
	}
	if (net_fd_parse(config->fd, fd, &count, err) < 0)
		return NULL;
	if (config->queues > count) {
		err_set(err, -EINVAL, "queues: %u pairs need as many descriptors", config->queues);
		return NULL;
	}
	if (ioctl(fd[0], TUNGETIFF, &request) == 0)
		return net_fd_create_tap(env, fd, count, request.ifr_flags, err);
	if (count > 1) {
		err_set(err, -EINVAL, "fd: several descriptors are for the queues of a tap");
		return NULL;
	}
	return net_fd_create_socket(env, fd[0], err);
}

static const char *const net_fd_keys[] = {"queues", "fd", NULL};

const struct netdev_class fd_netdev_class = {
	.name = "fd",
	.summary = "a descriptor handed in",
	.keys = net_fd_keys,
	.create = net_fd_create,
};
