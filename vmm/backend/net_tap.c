/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames through a tap (the kernel's Documentation/networking/tuntap.rst): the guest's frame and the
 * interface's are the same bytes, header included, so that sending is a writev from guest memory and
 * receiving a readv into it, and checksums and segments stay the kernel's business. A tap without the header
 * gets plain frames.
 */
#include "vmm/backend/net_tap.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_interface.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

/* Of newer kernels than the headers that this may be built with: UDP segments, Linux 6.2. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct net_tap_queue {
	struct net_tap *tap;
	unsigned index;
	int fd;                /* owned */
	struct loop_fd *watch; /* NULL while detached, and when the interface is gone */
	uint32_t events;       /* wanted, watched or not */
	bool attached;         /* the kernel gives it frames */
};

struct net_tap {
	struct netdev netdev;
	struct loop *loop;
	bool has_header;
	char ifname[IFNAMSIZ];
	char *downscript; /* owned; NULL: none */
	struct log_limit log_limit;
	struct net_tap_queue queue[NETDEV_QUEUES_MAX];
	struct iovec piece[NETDEV_IOV_MAX];
};

static const struct {
	uint32_t offload;
	unsigned tun;
} net_tap_offloads[] = {
	{NETDEV_RX_CSUM, TUN_F_CSUM},   {NETDEV_RX_TSO4, TUN_F_TSO4}, {NETDEV_RX_TSO6, TUN_F_TSO6},
	{NETDEV_RX_ECN, TUN_F_TSO_ECN}, {NETDEV_RX_USO4, TUN_F_USO4}, {NETDEV_RX_USO6, TUN_F_USO6},
};

static unsigned net_tap_tun_offloads(uint32_t offloads)
{
	unsigned tun = 0;

	for (size_t i = 0; i < sizeof(net_tap_offloads) / sizeof(net_tap_offloads[0]); i++) {
		if (offloads & net_tap_offloads[i].offload)
			tun |= net_tap_offloads[i].tun;
	}
	return tun;
}

static void net_tap_watch(struct net_tap_queue *queue, uint32_t events)
{
	if (events == queue->events)
		return;
	queue->events = events;
	if (queue->watch)
		loop_fd_modify(queue->watch, events);
}

static void net_tap_unwatch(struct net_tap_queue *queue)
{
	if (queue->watch)
		loop_fd_remove(queue->watch);
	queue->watch = NULL;
}

static void net_tap_on_event(void *opaque, uint32_t epoll_events)
{
	struct net_tap_queue *queue = opaque;

	if (epoll_events & EPOLLERR) {
		/* The interface was taken away (drivers/net/tun.c, tun_chr_poll), and would be reported for
		 * ever. */
		net_tap_unwatch(queue);
		netdev_set_link(&queue->tap->netdev, false);
		return;
	}
	if (epoll_events & EPOLLOUT) {
		net_tap_watch(queue, queue->events & ~(uint32_t)EPOLLOUT);
		netdev_tell_writable(&queue->tap->netdev, queue->index);
	}
	if (queue->events & EPOLLIN)
		netdev_tell_readable(&queue->tap->netdev, queue->index);
}

/* Puts the header before the pieces; returns their count, 0: too many. */
static unsigned net_tap_gather(struct net_tap *tap, struct netdev_header *header, const struct iovec *iov,
			       unsigned iov_count)
{
	unsigned first = tap->has_header ? 1 : 0;

	if (iov_count + first > NETDEV_IOV_MAX)
		return 0;
	tap->piece[0] = (struct iovec){.iov_base = header, .iov_len = sizeof(*header)};
	memcpy(tap->piece + first, iov, iov_count * sizeof(*iov));
	return iov_count + first;
}

static int net_tap_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			const struct iovec *iov, unsigned iov_count)
{
	struct net_tap *tap = (struct net_tap *)netdev;
	struct net_tap_queue *own = &tap->queue[queue];
	struct netdev_header copy = *header;
	unsigned count;

	copy.num_buffers = 0;
	copy.flags &= NETDEV_HDR_NEEDS_CSUM;
	count = net_tap_gather(tap, &copy, iov, iov_count);
	if (count > 0 && writev(own->fd, tap->piece, (int)count) >= 0)
		return 0;
	if (count > 0 && errno == EAGAIN) {
		net_tap_watch(own, own->events | EPOLLOUT);
		return -EAGAIN;
	}
	/* EIO: the interface is down; EINVAL: the kernel does not like the guest's header. */
	if (count > 0)
		log_limited(&tap->log_limit, LOG_DEBUG, "tap %s: a frame was refused: %s", tap->ifname,
			    strerror(errno));
	netdev->tx_dropped++;
	return 0;
}

static ssize_t net_tap_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			       const struct iovec *iov, unsigned iov_count)
{
	struct net_tap *tap = (struct net_tap *)netdev;
	size_t header_size = tap->has_header ? sizeof(*header) : 0;
	unsigned count = net_tap_gather(tap, header, iov, iov_count);
	uint8_t past_end;
	ssize_t got;

	*header = (struct netdev_header){0};
	if (count == 0 || count == NETDEV_IOV_MAX)
		return -EAGAIN;
	/* One byte more than there is room tells a frame that was cut off. */
	tap->piece[count] = (struct iovec){.iov_base = &past_end, .iov_len = 1};
	got = readv(tap->queue[queue].fd, tap->piece, (int)count + 1);
	if (got < (ssize_t)header_size)
		return -EAGAIN;
	return got - (ssize_t)header_size;
}

static void net_tap_poll(struct netdev *netdev, unsigned queue, bool on)
{
	struct net_tap_queue *own = &((struct net_tap *)netdev)->queue[queue];

	net_tap_watch(own, on ? own->events | EPOLLIN : own->events & ~(uint32_t)EPOLLIN);
}

static void net_tap_set_offloads(struct netdev *netdev, uint32_t offloads)
{
	struct net_tap *tap = (struct net_tap *)netdev;

	if (tap->has_header && ioctl(tap->queue[0].fd, TUNSETOFFLOAD, net_tap_tun_offloads(offloads)) < 0)
		log_warning("tap %s: cannot set offloads %#x: %s", tap->ifname, offloads, strerror(errno));
}

/* A detached descriptor reports an error for ever, so it is not watched. */
static int net_tap_attach(struct net_tap_queue *queue, bool attached)
{
	struct ifreq request = {.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

	if (queue->attached == attached)
		return 0;
	if (!attached)
		net_tap_unwatch(queue);
	if (ioctl(queue->fd, TUNSETQUEUE, &request) < 0)
		return -errno;
	queue->attached = attached;
	if (attached)
		queue->watch = loop_fd_add(queue->tap->loop, queue->fd, queue->events, net_tap_on_event,
					   queue, NULL);
	return !attached || queue->watch ? 0 : -ENOMEM;
}

static int net_tap_set_queue_pairs(struct netdev *netdev, unsigned pairs)
{
	struct net_tap *tap = (struct net_tap *)netdev;
	int code = 0;

	for (unsigned i = 0; i < netdev->queue_pairs && netdev->queue_pairs > 1; i++) {
		int one = net_tap_attach(&tap->queue[i], i < pairs);

		code = code ? code : one;
	}
	return code;
}

static void net_tap_close(struct net_tap_queue *queue)
{
	net_tap_unwatch(queue);
	if (queue->fd >= 0)
		close(queue->fd);
}

static void net_tap_destroy(struct netdev *netdev)
{
	struct net_tap *tap = (struct net_tap *)netdev;

	if (tap->downscript)
		net_interface_run(tap->downscript, tap->ifname, NULL);
	for (unsigned i = 0; i < netdev->queue_pairs; i++)
		net_tap_close(&tap->queue[i]);
	free(tap->downscript);
	free(tap);
}

static const struct netdev_ops net_tap_ops = {
	.send = net_tap_send,
	.receive = net_tap_receive,
	.poll = net_tap_poll,
	.set_offloads = net_tap_set_offloads,
	.set_queue_pairs = net_tap_set_queue_pairs,
	.destroy = net_tap_destroy,
};

/* What this kernel's taps can do, found by asking for it; leaves all off. */
static uint32_t net_tap_probe(int fd)
{
	uint32_t offloads = NETDEV_TX_CSUM | NETDEV_TX_TSO4 | NETDEV_TX_TSO6 | NETDEV_TX_ECN | NETDEV_RX_CSUM;
	const unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

	if (ioctl(fd, TUNSETOFFLOAD, tso | TUN_F_TSO_ECN) == 0)
		offloads |= NETDEV_RX_TSO4 | NETDEV_RX_TSO6 | NETDEV_RX_ECN;
	/* The kernel segments UDP that is sent to it (NETIF_F_GSO_UDP_L4) since it knows these flags. */
	if (ioctl(fd, TUNSETOFFLOAD, tso | TUN_F_USO4 | TUN_F_USO6) == 0)
		offloads |= NETDEV_RX_USO4 | NETDEV_RX_USO6 | NETDEV_TX_USO;
	ioctl(fd, TUNSETOFFLOAD, 0);
	return offloads;
}

/* Prepares one descriptor. */
static int net_tap_add_queue(struct net_tap *tap, unsigned index, struct err *err)
{
	struct net_tap_queue *queue = &tap->queue[index];
	int header_size = sizeof(struct netdev_header);

	if (tap->has_header && ioctl(queue->fd, TUNSETVNETHDRSZ, &header_size) < 0)
		return err_set_errno(err, -errno, "cannot set the header's size");
	queue->watch = loop_fd_add(tap->loop, queue->fd, 0, net_tap_on_event, queue, err);
	return queue->watch ? 0 : -ENOMEM;
}

static void net_tap_init(struct net_tap *tap, const struct netdev_env *env, const int *fd, unsigned count,
			 bool has_header)
{
	struct ifreq request = {0};

	tap->loop = env->loop;
	tap->has_header = has_header;
	tap->netdev = (struct netdev){
		.ops = &net_tap_ops,
		.queue_pairs = count,
		.uncut_max = NETDEV_FRAME_MAX,
		.link_up = true,
	};
	for (unsigned i = 0; i < count; i++)
		tap->queue[i] = (struct net_tap_queue){.tap = tap, .index = i, .fd = fd[i], .attached = true};
	if (ioctl(fd[0], TUNGETIFF, &request) == 0)
		snprintf(tap->ifname, sizeof(tap->ifname), "%s", request.ifr_name);
}

struct net_tap *net_tap_new(const struct netdev_env *env, const int *fd, unsigned count, bool has_header,
			    struct err *err)
{
	struct net_tap *tap = calloc(1, sizeof(*tap));
	int code = 0;

	if (!tap) {
		for (unsigned i = 0; i < count; i++)
			close(fd[i]);
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	net_tap_init(tap, env, fd, count, has_header);
	for (unsigned i = 0; i < count && code == 0; i++)
		code = net_tap_add_queue(tap, i, err);
	if (code < 0) {
		net_tap_destroy(&tap->netdev);
		return NULL;
	}
	if (has_header)
		tap->netdev.offloads = net_tap_probe(fd[0]);
	tap->netdev.mtu = net_interface_mtu(tap->ifname);
	return tap;
}

struct netdev *net_tap_netdev(struct net_tap *tap)
{
	return &tap->netdev;
}

const char *net_tap_ifname(const struct net_tap *tap)
{
	return tap->ifname;
}

int net_tap_set_downscript(struct net_tap *tap, const char *program, struct err *err)
{
	tap->downscript = strdup(program);
	return tap->downscript ? 0 : err_set(err, -ENOMEM, "no memory");
}
