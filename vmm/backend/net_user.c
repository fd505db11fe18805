/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend `user`: a TCP/IP stack inside this program (libslirp) that ends the guest's connections and
 * makes the same from sockets of ours, so that the guest reaches what this user reaches, and no privilege is
 * needed.
 *
 * libslirp wants its descriptors and what they wait for to be asked anew before each wait. They are kept in
 * an epoll descriptor of their own, which the loop watches as one: a wake-up gathers what is ready, lets
 * libslirp work, asks anew (net_user_refresh) and changes only what differs. The index that libslirp knows a
 * descriptor by is its number.
 *
 * Its frames go through a fifo. While that is well filled, no socket is read, so that it does not overflow;
 * what does not fit in spite of that is lost, and TCP sends it again.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vmm/backend/net_backend.h"
#include "vmm/backend/net_fifo.h"
#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_slirp.h"
#include "vmm/backend/net_user_config.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define NET_USER_FIFO_SIZE  (2u << 20)
#define NET_USER_FIFO_HIGH  (512u << 10) /* from here on no socket is read */
#define NET_USER_FDS_MAX    65536        /* descriptor numbers: bounds what a guest's connections can take */
#define NET_USER_EVENTS_MAX 64

/* A descriptor of libslirp's. */
struct net_user_fd {
	uint32_t watched; /* EPOLL* events that the epoll descriptor has for it; 0: none */
	int ready;        /* SLIRP_POLL_*, since the last wait */
	uint32_t round;   /* of the last refresh that named it */
};

struct net_user {
	struct netdev netdev;
	struct net_slirp lib;
	Slirp *slirp;
	struct loop *loop;
	int epoll_fd;
	struct loop_fd *watch;
	struct loop_timer *timer;  /* when libslirp wants to be called without an event */
	struct net_user_fd *fd;    /* by number; owned */
	int *named, *named_before; /* descriptors of this and the last refresh; owned */
	size_t fd_count;           /* of the three arrays */
	size_t named_count, named_before_count;
	uint32_t round;
	bool crowded; /* sockets are not read */
	bool polled;
	uint32_t rx_offloads;
	struct net_fifo fifo;
	struct log_limit log_limit;
	uint8_t frame[NETDEV_FRAME_MAX]; /* a frame of the guest's in one piece */
};

/* A timer of libslirp's. */
struct net_user_timer {
	struct loop_timer *timer;
	SlirpTimerCb fn;
	void *opaque;
};

static void net_user_refresh(struct net_user *user);

/* --- what libslirp calls */

static ssize_t net_user_on_frame(const void *frame, size_t len, void *opaque)
{
	struct net_user *user = opaque;

	if (!net_fifo_put(&user->fifo, frame, len))
		user->netdev.rx_dropped++;
	return (ssize_t)len;
}

static void net_user_on_guest_error(const char *message, void *opaque)
{
	struct net_user *user = opaque;

	log_limited(&user->log_limit, LOG_DEBUG, "user network: the guest: %s", message);
}

static int64_t net_user_now_ns(void *opaque)
{
	return (int64_t)clock_monotonic_ns();
}

static void net_user_on_timer(void *opaque)
{
	struct net_user_timer *timer = opaque;

	timer->fn(timer->opaque);
}

static void *net_user_timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct net_user *user = opaque;
	struct net_user_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	timer->fn = fn;
	timer->opaque = fn_opaque;
	timer->timer = loop_timer_create(user->loop, net_user_on_timer, timer, NULL);
	return timer;
}

static void net_user_timer_free(void *opaque, void *user)
{
	struct net_user_timer *timer = opaque;

	if (timer)
		loop_timer_destroy(timer->timer);
	free(timer);
}

static void net_user_timer_mod(void *opaque, int64_t expire_ms, void *user)
{
	struct net_user_timer *timer = opaque;

	if (timer && timer->timer)
		loop_timer_arm(timer->timer, (uint64_t)expire_ms * NS_PER_MS);
}

/* Its descriptors are asked for at each refresh; one that is closed leaves epoll by itself. */
static void net_user_on_fd_opened(int fd, void *opaque)
{
}

static void net_user_on_fd_closed(int fd, void *opaque)
{
	struct net_user *user = opaque;

	if (fd < 0 || (size_t)fd >= user->fd_count || !user->fd[fd].watched)
		return;
	epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	user->fd[fd].watched = 0;
}

static void net_user_on_notify(void *opaque)
{
	loop_timer_arm(((struct net_user *)opaque)->timer, 0);
}

static const SlirpCb net_user_callbacks = {
	.send_packet = net_user_on_frame,
	.guest_error = net_user_on_guest_error,
	.clock_get_ns = net_user_now_ns,
	.timer_new = net_user_timer_new,
	.timer_free = net_user_timer_free,
	.timer_mod = net_user_timer_mod,
	.register_poll_fd = net_user_on_fd_opened,
	.unregister_poll_fd = net_user_on_fd_closed,
	.notify = net_user_on_notify,
};

/* --- descriptors */

/* Makes room for this descriptor's number: at a connection's beginning, not at each frame. */
static bool net_user_grow(struct net_user *user, int fd)
{
	size_t count = user->fd_count ? user->fd_count : 64;
	struct net_user_fd *fds;
	int *named, *before;

	while (count <= (size_t)fd)
		count *= 2;
	if (fd >= NET_USER_FDS_MAX)
		return false;
	fds = reallocarray(user->fd, count, sizeof(*fds));
	user->fd = fds ? fds : user->fd;
	named = reallocarray(user->named, count, sizeof(*named));
	user->named = named ? named : user->named;
	before = reallocarray(user->named_before, count, sizeof(*before));
	user->named_before = before ? before : user->named_before;
	if (!fds || !named || !before)
		return false;
	memset(fds + user->fd_count, 0, (count - user->fd_count) * sizeof(*fds));
	user->fd_count = count;
	return true;
}

static void net_user_set_watched(struct net_user *user, int fd, uint32_t events)
{
	struct net_user_fd *own = &user->fd[fd];
	struct epoll_event event = {.events = events, .data.fd = fd};
	int op = own->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (own->watched == events)
		return;
	if (events == 0)
		op = EPOLL_CTL_DEL;
	/* The number may be another socket's by now, or the same one may be known still. */
	if (epoll_ctl(user->epoll_fd, op, fd, &event) < 0 && op != EPOLL_CTL_DEL)
		epoll_ctl(user->epoll_fd, op == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
	own->watched = events;
}

static int net_user_on_add_poll(int fd, int events, void *opaque)
{
	struct net_user *user = opaque;
	uint32_t wanted = 0;

	if (fd < 0 || ((size_t)fd >= user->fd_count && !net_user_grow(user, fd)))
		return -1;
	if ((events & (SLIRP_POLL_IN | SLIRP_POLL_HUP)) && !user->crowded)
		wanted |= EPOLLIN;
	if ((events & SLIRP_POLL_PRI) && !user->crowded)
		wanted |= EPOLLPRI;
	if (events & SLIRP_POLL_OUT)
		wanted |= EPOLLOUT;
	if (user->fd[fd].round != user->round && user->named_count < user->fd_count)
		user->named[user->named_count++] = fd;
	user->fd[fd].round = user->round;
	net_user_set_watched(user, fd, wanted);
	return fd;
}

static int net_user_on_get_ready(int index, void *opaque)
{
	struct net_user *user = opaque;

	return index >= 0 && (size_t)index < user->fd_count ? user->fd[index].ready : 0;
}

/* Asks libslirp what it waits for, and how long. */
static void net_user_refresh(struct net_user *user)
{
	uint32_t timeout_ms = UINT32_MAX;
	int *before = user->named_before;

	user->named_before = user->named;
	user->named_before_count = user->named_count;
	user->named = before;
	user->named_count = 0;
	user->round++;
	user->crowded = net_fifo_bytes(&user->fifo) >= NET_USER_FIFO_HIGH;
	user->lib.slirp_pollfds_fill(user->slirp, &timeout_ms, net_user_on_add_poll, user);
	for (size_t i = 0; i < user->named_before_count; i++) {
		int fd = user->named_before[i];

		if (user->fd[fd].round != user->round)
			net_user_set_watched(user, fd, 0);
	}
	loop_timer_arm(user->timer,
		       timeout_ms == UINT32_MAX ? UINT64_MAX : clock_monotonic_ns() + timeout_ms * NS_PER_MS);
}

static int net_user_ready_bits(uint32_t epoll_events)
{
	return (epoll_events & EPOLLIN ? SLIRP_POLL_IN : 0) | (epoll_events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (epoll_events & EPOLLPRI ? SLIRP_POLL_PRI : 0) |
	       (epoll_events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (epoll_events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Lets libslirp work on what is ready, if anything is, and on what time has come for. */
static void net_user_turn(struct net_user *user)
{
	struct epoll_event events[NET_USER_EVENTS_MAX];
	int count = epoll_wait(user->epoll_fd, events, NET_USER_EVENTS_MAX, 0);

	for (int i = 0; i < count; i++)
		user->fd[events[i].data.fd].ready = net_user_ready_bits(events[i].events);
	user->lib.slirp_pollfds_poll(user->slirp, count < 0, net_user_on_get_ready, user);
	for (int i = 0; i < count; i++)
		user->fd[events[i].data.fd].ready = 0;
	net_user_refresh(user);
	if (user->polled && net_fifo_bytes(&user->fifo) > 0)
		netdev_tell_readable(&user->netdev, 0);
}

static void net_user_on_event(void *opaque, uint32_t epoll_events)
{
	net_user_turn(opaque);
}

static void net_user_on_deadline(void *opaque)
{
	net_user_turn(opaque);
}

/* --- what the device calls */

static int net_user_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			 const struct iovec *iov, unsigned iov_count)
{
	struct net_user *user = (struct net_user *)netdev;
	size_t len = net_iov_size(iov, iov_count);

	if (len < NETDEV_FRAME_MIN || len > sizeof(user->frame)) {
		netdev->tx_dropped++;
		return 0;
	}
	net_iov_read(iov, iov_count, 0, user->frame, len);
	user->lib.slirp_input(user->slirp, user->frame, (int)len);
	return 0;
}

static void net_user_flush(struct netdev *netdev, unsigned queue)
{
	struct net_user *user = (struct net_user *)netdev;

	net_user_refresh(user);
	if (user->polled && net_fifo_bytes(&user->fifo) > 0)
		netdev_tell_readable(netdev, 0);
}

static ssize_t net_user_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
				const struct iovec *iov, unsigned iov_count)
{
	struct net_user *user = (struct net_user *)netdev;
	const struct net_fifo_taking taking = {.offloads = user->rx_offloads, .trusted = true};
	ssize_t got = net_fifo_receive(&user->fifo, &taking, header, iov, iov_count);

	if (user->crowded && net_fifo_bytes(&user->fifo) < NET_USER_FIFO_HIGH / 2)
		net_user_refresh(user);
	return got;
}

static void net_user_poll(struct netdev *netdev, unsigned queue, bool on)
{
	((struct net_user *)netdev)->polled = on;
}

static void net_user_reset(struct netdev *netdev, unsigned queue)
{
	struct net_user *user = (struct net_user *)netdev;

	net_fifo_drop(&user->fifo);
	net_user_refresh(user);
}

static void net_user_set_offloads(struct netdev *netdev, uint32_t offloads)
{
	((struct net_user *)netdev)->rx_offloads = offloads;
}

static void net_user_destroy(struct netdev *netdev)
{
	struct net_user *user = (struct net_user *)netdev;

	if (user->slirp)
		user->lib.slirp_cleanup(user->slirp);
	if (user->watch)
		loop_fd_remove(user->watch);
	loop_timer_destroy(user->timer);
	if (user->epoll_fd >= 0)
		close(user->epoll_fd);
	net_slirp_unload(&user->lib);
	net_fifo_free(&user->fifo);
	free(user->fd);
	free(user->named);
	free(user->named_before);
	free(user);
}

static const struct netdev_ops net_user_ops = {
	.send = net_user_send,
	.flush = net_user_flush,
	.receive = net_user_receive,
	.poll = net_user_poll,
	.reset = net_user_reset,
	.set_offloads = net_user_set_offloads,
	.destroy = net_user_destroy,
};

/* --- making one */

static int net_user_start(struct net_user *user, const struct netdev_config *config,
			  const struct net_user_config *read, struct err *err)
{
	const SlirpConfig slirp_config = {
		.version = 3, /* of libslirp 4.3; 4 has nothing that we use */
		.restricted = config->restricted,
		.in_enabled = !config->no_ipv4,
		.vnetwork = read->net,
		.vnetmask = read->mask,
		.vhost = read->host,
		.in6_enabled = !config->no_ipv6,
		.vprefix_addr6 = read->net6,
		.vprefix_len = read->prefix6,
		.vhost6 = read->host6,
		.vhostname = config->hostname,
		.vdhcp_start = read->dhcp_start,
		.vnameserver = read->dns,
		.vnameserver6 = read->dns6,
		.vdomainname = config->domain,
		.if_mtu = config->mtu,
		.if_mru = config->mtu,
	};

	user->slirp = user->lib.slirp_new(&slirp_config, &net_user_callbacks, user);
	return user->slirp ? 0 : err_set(err, -EINVAL, "libslirp does not accept these settings");
}

static int net_user_add_forward(struct net_user *user, const char *text, struct err *err)
{
	struct net_user_forward forward;
	socklen_t len;
	int code = net_user_forward_parse(text, &forward, err);

	if (code < 0)
		return code;
	len = forward.host.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	errno = 0;
	if (user->lib.slirp_add_hostxfwd(user->slirp, (const struct sockaddr *)&forward.host, len,
					 (const struct sockaddr *)&forward.guest, len,
					 forward.udp ? SLIRP_HOSTFWD_UDP : 0) == 0)
		return 0;
	return err_set_errno(err, errno ? -errno : -EINVAL, "hostfwd: %s", text);
}

static int net_user_add_unix(struct net_user *user, const char *text, struct err *err)
{
	struct net_user_service service;
	int code = net_user_service_parse(text, &service, err);

	if (code < 0)
		return code;
	if (user->lib.slirp_add_unix(user->slirp, service.path, &service.address, service.port) == 0)
		return 0;
	return err_set(err, -EINVAL, "unixfwd: %s: the address is not the guest's network's, or is taken",
		       text);
}

static int net_user_init(struct net_user *user, const struct netdev_config *config, struct err *err)
{
	struct net_user_config read;
	int code = net_user_config_read(config, &read, err);

	if (code == 0)
		code = net_slirp_load(&user->lib, err);
	if (code == 0)
		code = net_fifo_init(&user->fifo, NET_USER_FIFO_SIZE, err);
	if (code < 0)
		return code;
	user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (user->epoll_fd < 0)
		return err_set_errno(err, -errno, "epoll_create1");
	user->timer = loop_timer_create(user->loop, net_user_on_deadline, user, err);
	if (!user->timer)
		return -ENOMEM;
	user->watch = loop_fd_add(user->loop, user->epoll_fd, EPOLLIN, net_user_on_event, user, err);
	if (!user->watch)
		return -ENOMEM;
	code = net_user_start(user, config, &read, err);
	for (size_t i = 0; i < config->hostfwd.count && code == 0; i++)
		code = net_user_add_forward(user, config->hostfwd.item[i], err);
	if (code == 0 && config->unixfwd)
		code = net_user_add_unix(user, config->unixfwd, err);
	if (code == 0)
		net_user_refresh(user);
	return code;
}

static struct netdev *net_user_create(const struct netdev_env *env, const struct netdev_config *config,
				      struct err *err)
{
	struct net_user *user = calloc(1, sizeof(*user));

	if (!user) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	user->loop = env->loop;
	user->epoll_fd = -1;
	user->netdev = (struct netdev){
		.ops = &net_user_ops,
		.offloads = NETDEV_RX_CSUM | NETDEV_RX_TSO4 | NETDEV_RX_TSO6,
		.queue_pairs = 1,
		.uncut_max = NETDEV_FRAME_MAX, /* it grows its buffers to what comes, and TCP ends there */
		.link_up = true,
		.trusted = true,
	};
	if (net_user_init(user, config, err) == 0)
		return &user->netdev;
	net_user_destroy(&user->netdev);
	return NULL;
}

static const char *const net_user_keys[] = {"unixfwd", "hostfwd",  "net",       "host",     "dhcp_start",
					    "dns",     "ipv6_net", "ipv6_host", "ipv6_dns", "hostname",
					    "domain",  "restrict", "no_ipv4",   "no_ipv6",  NULL};

const struct netdev_class user_netdev_class = {
	.name = "user",
	.summary = "a network stack inside vmmctl, which needs no privilege",
	.keys = net_user_keys,
	.create = net_user_create,
};
