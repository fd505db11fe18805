/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames over a stream. One recv brings many frames into the fifo; reading stops while it is more than half
 * full, so that a fast peer waits and is not dropped. What the socket does not take of a frame is kept in
 * `rest`, and nothing else is sent before it: a stream must not lose its step.
 */
#include "vmm/backend/net_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/backend/net_iov.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define NET_STREAM_FIFO_SIZE (512u << 10)
#define NET_STREAM_REST_SIZE (NETDEV_FRAME_MAX + NET_FIFO_LENGTH_SIZE)

static void net_stream_on_event(void *opaque, uint32_t epoll_events);

static void net_stream_watch(struct net_stream *stream)
{
	uint32_t events = (net_fifo_bytes(&stream->fifo) < NET_STREAM_FIFO_SIZE / 2 ? EPOLLIN : 0u) |
			  (stream->rest_len > 0 ? EPOLLOUT : 0u);

	if (!stream->watch || events == stream->events)
		return;
	stream->events = events;
	loop_fd_modify(stream->watch, events);
}

static void net_stream_close(struct net_stream *stream)
{
	if (stream->watch)
		loop_fd_remove(stream->watch);
	stream->watch = NULL;
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
	stream->rest_len = 0;
	stream->fifo.head = stream->fifo.tail = 0;
}

static void net_stream_lose(struct net_stream *stream)
{
	net_stream_close(stream);
	netdev_set_link(&stream->netdev, false);
	if (stream->lost)
		stream->lost(stream);
}

int net_stream_init(struct net_stream *stream, struct loop *loop, const struct netdev_ops *ops,
		    struct err *err)
{
	stream->fd = -1;
	stream->loop = loop;
	stream->netdev.ops = ops;
	stream->netdev.queue_pairs = 1;
	stream->netdev.offloads = NETDEV_RX_CSUM | NETDEV_RX_TSO4 | NETDEV_RX_TSO6;
	stream->rest = malloc(NET_STREAM_REST_SIZE);
	if (!stream->rest)
		return err_set(err, -ENOMEM, "no memory for frames");
	return net_fifo_init(&stream->fifo, NET_STREAM_FIFO_SIZE, err);
}

void net_stream_release(struct net_stream *stream)
{
	net_stream_close(stream);
	net_fifo_free(&stream->fifo);
	free(stream->rest);
}

int net_stream_connected(struct net_stream *stream, int fd, struct err *err)
{
	stream->fd = fd;
	stream->events = EPOLLIN;
	stream->watch = loop_fd_add(stream->loop, fd, EPOLLIN, net_stream_on_event, stream, err);
	if (!stream->watch) {
		net_stream_close(stream);
		return err ? err->code : -EIO;
	}
	netdev_set_link(&stream->netdev, true);
	return 0;
}

/* Sends the rest. false: it is not gone yet, or the connection is. */
static bool net_stream_send_rest(struct net_stream *stream)
{
	while (stream->rest_len > 0) {
		ssize_t sent = send(stream->fd, stream->rest + stream->rest_at, stream->rest_len,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			return false;
		if (sent < 0) {
			net_stream_lose(stream);
			return false;
		}
		stream->rest_at += (size_t)sent;
		stream->rest_len -= (size_t)sent;
	}
	return true;
}

static void net_stream_on_writable(struct net_stream *stream)
{
	if (!net_stream_send_rest(stream) && stream->fd >= 0)
		return;
	net_stream_watch(stream);
	netdev_tell_writable(&stream->netdev, 0);
}

static void net_stream_on_readable(struct net_stream *stream)
{
	size_t room = net_fifo_room(&stream->fifo, NET_STREAM_FIFO_SIZE / 2);
	ssize_t got = recv(stream->fd, stream->fifo.data + stream->fifo.tail, room, MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		net_stream_lose(stream);
		return;
	}
	stream->fifo.tail += (size_t)got;
	if (stream->polled && net_fifo_state(&stream->fifo) == NET_FIFO_FRAME)
		netdev_tell_readable(&stream->netdev, 0);
	if (net_fifo_state(&stream->fifo) == NET_FIFO_BAD) {
		log_error("network stream: the peer sent a length that no frame has");
		net_stream_lose(stream);
		return;
	}
	net_stream_watch(stream);
}

static void net_stream_on_event(void *opaque, uint32_t epoll_events)
{
	struct net_stream *stream = opaque;

	if (epoll_events & EPOLLOUT)
		net_stream_on_writable(stream);
	if (stream->fd < 0 || !(epoll_events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	net_stream_on_readable(stream);
	/* What the guest still wants to send is dropped by a link that is down, and not kept for ever. */
	if (stream->fd < 0)
		netdev_tell_writable(&stream->netdev, 0);
}

/* Keeps what the socket left of the length and the frame. */
static void net_stream_keep_rest(struct net_stream *stream, unsigned count, size_t sent, size_t total)
{
	stream->rest_at = 0;
	stream->rest_len = net_iov_read(stream->piece, count, sent, stream->rest, total - sent);
	net_stream_watch(stream);
}

int net_stream_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
		    const struct iovec *iov, unsigned iov_count)
{
	struct net_stream *stream = (struct net_stream *)netdev;
	size_t len = net_iov_size(iov, iov_count);
	struct msghdr message = {.msg_iov = stream->piece, .msg_iovlen = iov_count + 1};
	uint8_t length[NET_FIFO_LENGTH_SIZE];
	ssize_t sent;

	if (stream->rest_len > 0)
		return -EAGAIN;
	if (stream->fd < 0 || len == 0 || len > NETDEV_FRAME_MAX || iov_count >= NETDEV_IOV_MAX) {
		netdev->tx_dropped++;
		return 0;
	}
	net_put32(length, (uint32_t)len);
	stream->piece[0] = (struct iovec){.iov_base = length, .iov_len = sizeof(length)};
	memcpy(stream->piece + 1, iov, iov_count * sizeof(*iov));
	sent = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) {
		net_stream_lose(stream);
		netdev->tx_dropped++;
		return 0;
	}
	if (sent < (ssize_t)(sizeof(length) + len))
		net_stream_keep_rest(stream, iov_count + 1, sent < 0 ? 0 : (size_t)sent,
				     sizeof(length) + len);
	return 0;
}

ssize_t net_stream_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			   const struct iovec *iov, unsigned iov_count)
{
	struct net_stream *stream = (struct net_stream *)netdev;
	const struct net_fifo_taking taking = {.offloads = stream->rx_offloads, .trusted = netdev->trusted};
	ssize_t got = net_fifo_receive(&stream->fifo, &taking, header, iov, iov_count);

	if (!(stream->events & EPOLLIN))
		net_stream_watch(stream);
	return got;
}

void net_stream_poll(struct netdev *netdev, unsigned queue, bool on)
{
	((struct net_stream *)netdev)->polled = on;
}

void net_stream_reset(struct netdev *netdev, unsigned queue)
{
	struct net_stream *stream = (struct net_stream *)netdev;

	net_fifo_drop(&stream->fifo);
	net_stream_watch(stream);
}

void net_stream_set_offloads(struct netdev *netdev, uint32_t offloads)
{
	((struct net_stream *)netdev)->rx_offloads = offloads;
}
