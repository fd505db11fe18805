/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames as datagrams: sent from the guest's memory and received into it, nothing in between. A peer that is
 * not there yet loses frames, as a network does.
 */
#include "vmm/backend/net_dgram.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/backend/net_address.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

struct net_dgram {
	struct netdev netdev;
	int fd;
	struct loop_fd *watch;
	uint32_t events;
	struct net_address local, remote; /* remote.len 0: the socket is connected */
	bool bound;                       /* the file is ours to remove */
};

static void net_dgram_watch(struct net_dgram *dgram, uint32_t events)
{
	if (events == dgram->events || !dgram->watch)
		return;
	dgram->events = events;
	loop_fd_modify(dgram->watch, events);
}

static void net_dgram_on_event(void *opaque, uint32_t epoll_events)
{
	struct net_dgram *dgram = opaque;
	socklen_t len = sizeof(int);
	int error;

	if (epoll_events & EPOLLHUP) {
		/* The other end of a pair is gone for good. */
		loop_fd_remove(dgram->watch);
		dgram->watch = NULL;
		netdev_set_link(&dgram->netdev, false);
		return;
	}
	if (epoll_events & EPOLLERR)
		getsockopt(dgram->fd, SOL_SOCKET, SO_ERROR, &error,
			   &len); /* a peer that is not there: read and gone */
	if (epoll_events & EPOLLOUT) {
		net_dgram_watch(dgram, dgram->events & ~(uint32_t)EPOLLOUT);
		netdev_tell_writable(&dgram->netdev, 0);
	}
	if (dgram->events & EPOLLIN)
		netdev_tell_readable(&dgram->netdev, 0);
}

static int net_dgram_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			  const struct iovec *iov, unsigned iov_count)
{
	struct net_dgram *dgram = (struct net_dgram *)netdev;
	struct msghdr message = {
		.msg_name = dgram->remote.len ? &dgram->remote.storage : NULL,
		.msg_namelen = dgram->remote.len,
		.msg_iov = (struct iovec *)(uintptr_t)iov, /* only read */
		.msg_iovlen = iov_count,
	};

	if (sendmsg(dgram->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == EAGAIN) {
		net_dgram_watch(dgram, dgram->events | EPOLLOUT);
		return -EAGAIN;
	}
	netdev->tx_dropped++;
	return 0;
}

static ssize_t net_dgram_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
				 const struct iovec *iov, unsigned iov_count)
{
	struct net_dgram *dgram = (struct net_dgram *)netdev;
	struct msghdr message = {
		.msg_iov = (struct iovec *)(uintptr_t)iov, /* only read */
		.msg_iovlen = iov_count,
	};
	ssize_t got = recvmsg(dgram->fd, &message, MSG_DONTWAIT | MSG_TRUNC);

	*header = (struct netdev_header){0};
	/* An error that an earlier datagram left (nobody listens there) is read and gone. */
	return got < 0 ? -EAGAIN : got;
}

static void net_dgram_poll(struct netdev *netdev, unsigned queue, bool on)
{
	struct net_dgram *dgram = (struct net_dgram *)netdev;

	net_dgram_watch(dgram, on ? dgram->events | EPOLLIN : dgram->events & ~(uint32_t)EPOLLIN);
}

static void net_dgram_destroy(struct netdev *netdev)
{
	struct net_dgram *dgram = (struct net_dgram *)netdev;

	if (dgram->watch)
		loop_fd_remove(dgram->watch);
	if (dgram->fd >= 0)
		close(dgram->fd);
	if (dgram->bound)
		net_address_unlink(&dgram->local);
	free(dgram);
}

static const struct netdev_ops net_dgram_ops = {
	.send = net_dgram_send,
	.receive = net_dgram_receive,
	.poll = net_dgram_poll,
	.destroy = net_dgram_destroy,
};

static struct net_dgram *net_dgram_new(int fd, struct err *err)
{
	struct net_dgram *dgram = calloc(1, sizeof(*dgram));

	if (!dgram) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	dgram->fd = fd;
	dgram->netdev.ops = &net_dgram_ops;
	dgram->netdev.queue_pairs = 1;
	dgram->netdev.link_up = true;
	return dgram;
}

static struct netdev *net_dgram_finish(struct net_dgram *dgram, const struct netdev_env *env, int code,
				       struct err *err)
{
	if (code == 0)
		dgram->watch = loop_fd_add(env->loop, dgram->fd, 0, net_dgram_on_event, dgram, err);
	if (dgram->watch)
		return &dgram->netdev;
	net_dgram_destroy(&dgram->netdev);
	return NULL;
}

static int net_dgram_bind(struct net_dgram *dgram, const struct netdev_config *config, struct err *err)
{
	if (!config->local || !config->remote)
		return err_set(err, -EINVAL, "datagrams need both local=ADDRESS and remote=ADDRESS");
	if (net_address_parse(config->local, SOCK_DGRAM, &dgram->local, err) < 0)
		return err_prefix(err, "local");
	if (net_address_parse(config->remote, SOCK_DGRAM, &dgram->remote, err) < 0)
		return err_prefix(err, "remote");
	if (dgram->local.storage.ss_family != dgram->remote.storage.ss_family)
		return err_set(err, -EINVAL, "local and remote are addresses of different kinds");
	dgram->fd = net_address_socket(&dgram->local, SOCK_DGRAM, err);
	if (dgram->fd < 0)
		return dgram->fd;
	if (net_address_bind(&dgram->local, SOCK_DGRAM, dgram->fd, config->local, err) < 0)
		return err_prefix(err, "local");
	dgram->bound = true;
	return 0;
}

struct netdev *net_dgram_create(const struct netdev_env *env, const struct netdev_config *config,
				struct err *err)
{
	struct net_dgram *dgram = net_dgram_new(-1, err);

	return dgram ? net_dgram_finish(dgram, env, net_dgram_bind(dgram, config, err), err) : NULL;
}

struct netdev *net_dgram_create_fd(const struct netdev_env *env, int fd, struct err *err)
{
	struct net_dgram *dgram = net_dgram_new(fd, err);

	if (!dgram) {
		close(fd);
		return NULL;
	}
	return net_dgram_finish(dgram, env, 0, err);
}
