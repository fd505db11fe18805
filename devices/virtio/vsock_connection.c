/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a connection between a port of the guest and a unix socket. virtio 1.2, 5.10.6. */
#include "devices/virtio/vsock_connection.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/loop.h"

#define VSOCK_TICK_NS 1000000000ull

static struct vsock_connection **vsock_bucket(struct vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	return &vsock->bucket[(host_port * 0x9e3779b1u ^ guest_port * 0x85ebca6bu) >> 24];
}
_Static_assert(VSOCK_BUCKETS == 256, "the hash gives 8 bits");

static bool vsock_is_named(const struct vsock_connection *connection)
{
	return connection->state == VSOCK_ASKED || connection->state == VSOCK_OPEN ||
	       connection->state == VSOCK_CLOSING;
}

struct vsock_connection *vsock_connection_find(struct vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_connection *connection = *vsock_bucket(vsock, host_port, guest_port);

	while (connection && (connection->host_port != host_port || connection->guest_port != guest_port))
		connection = connection->next;
	return connection;
}

void vsock_connection_name(struct vsock *vsock, struct vsock_connection *connection, uint32_t host_port,
			   uint32_t guest_port)
{
	struct vsock_connection **bucket = vsock_bucket(vsock, host_port, guest_port);

	connection->host_port = host_port;
	connection->guest_port = guest_port;
	connection->next = *bucket;
	*bucket = connection;
	vsock->open_count++;
}

static void vsock_connection_unname(struct vsock *vsock, struct vsock_connection *connection)
{
	struct vsock_connection **link = vsock_bucket(vsock, connection->host_port, connection->guest_port);

	while (*link != connection)
		link = &(*link)->next;
	*link = connection->next;
	connection->next = NULL;
	vsock->open_count--;
}

uint32_t vsock_connection_credit(const struct vsock_connection *connection)
{
	uint32_t in_guest = connection->sent - connection->guest_fwd_cnt;

	/* A guest that claims to have taken more than it got has no credit, and harms itself. */
	return in_guest < connection->guest_buf_alloc ? connection->guest_buf_alloc - in_guest : 0;
}

static bool vsock_may_read(const struct vsock_connection *connection)
{
	return connection->state == VSOCK_OPEN && connection->readable && !connection->host_ended &&
	       !(connection->guest_ended & VSOCK_SHUTDOWN_RECEIVE);
}

void vsock_connection_check_ready(struct vsock *vsock, struct vsock_connection *connection)
{
	bool reads = vsock_may_read(connection);

	if (connection->in_ready || !vsock_is_named(connection))
		return;
	if (reads && vsock_connection_credit(connection) == 0) {
		reads = false;
		if (!connection->credit_asked)
			connection->pending |= 1 << VSOCK_OP_CREDIT_REQUEST;
		connection->credit_asked = true;
	}
	if (!reads && !connection->pending)
		return;
	connection->in_ready = true;
	connection->next_ready = NULL;
	*vsock->ready_end = connection;
	vsock->ready_end = &connection->next_ready;
}

static void vsock_connection_unready(struct vsock *vsock, struct vsock_connection *connection)
{
	struct vsock_connection **link = &vsock->ready;

	if (!connection->in_ready)
		return;
	while (*link != connection)
		link = &(*link)->next_ready;
	*link = connection->next_ready;
	if (!*link)
		vsock->ready_end = link;
	connection->in_ready = false;
}

void vsock_connection_set_deadline(struct vsock *vsock, struct vsock_connection *connection, uint64_t in_ns)
{
	uint64_t now_ns = clock_monotonic_ns();

	connection->deadline_ns = in_ns == UINT64_MAX ? UINT64_MAX : now_ns + in_ns;
	if (in_ns == UINT64_MAX || vsock->timer_armed)
		return;
	vsock->timer_armed = true;
	loop_timer_arm(vsock->timer, now_ns + VSOCK_TICK_NS);
}

void vsock_connection_remove(struct vsock *vsock, struct vsock_connection *connection)
{
	if (vsock_is_named(connection))
		vsock_connection_unname(vsock, connection);
	vsock_connection_unready(vsock, connection);
	loop_fd_remove(connection->watch);
	close(connection->fd);
	/* The pages go back to the host. */
	if (connection->buffer_at || connection->buffered)
		madvise(vsock_buffer(vsock, connection), VSOCK_BUFFER_SIZE, MADV_DONTNEED);
	connection->state = VSOCK_FREE;
	connection->next = vsock->free;
	vsock->free = connection;
}

void vsock_connection_reset(struct vsock *vsock, struct vsock_connection *connection)
{
	const struct vsock_header last = {
		.src_cid = vsock->cid,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = connection->guest_port,
		.dst_port = connection->host_port,
		.type = VSOCK_TYPE_STREAM,
	};

	if (vsock_is_named(connection))
		vsock_send_reset(vsock, &last);
	vsock_connection_remove(vsock, connection);
}

void vsock_connection_remove_all(struct vsock *vsock)
{
	for (unsigned i = 0; i < VSOCK_CONNECTIONS_MAX; i++) {
		if (vsock->connection[i].state != VSOCK_FREE)
			vsock_connection_remove(vsock, &vsock->connection[i]);
	}
}

static bool vsock_has_expired(const struct vsock_connection *connection, uint64_t now_ns)
{
	return connection->state != VSOCK_FREE && connection->deadline_ns <= now_ns;
}

void vsock_connection_on_timer(void *opaque)
{
	struct vsock *vsock = opaque;
	uint64_t now_ns = clock_monotonic_ns();

	vsock->timer_armed = false;
	for (unsigned i = 0; i < VSOCK_CONNECTIONS_MAX; i++) {
		struct vsock_connection *connection = &vsock->connection[i];

		if (vsock_has_expired(connection, now_ns)) {
			vsock_connection_reset(vsock, connection);
		} else if (connection->state != VSOCK_FREE && connection->deadline_ns != UINT64_MAX &&
			   !vsock->timer_armed) {
			vsock->timer_armed = true;
			loop_timer_arm(vsock->timer, now_ns + VSOCK_TICK_NS);
		}
	}
	vsock_send(vsock);
}

/* After both sides are done with sending, or the guest with all. */
static void vsock_connection_check_end(struct vsock *vsock, struct vsock_connection *connection)
{
	struct vsock_header last = {
		.src_cid = vsock->cid,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = connection->guest_port,
		.dst_port = connection->host_port,
		.type = VSOCK_TYPE_STREAM,
	};

	if (connection->buffered == 0 && connection->guest_ended & VSOCK_SHUTDOWN_SEND &&
	    !connection->write_shut) {
		shutdown(connection->fd, SHUT_WR);
		connection->write_shut = true;
	}
	if (connection->state == VSOCK_LINGERING) {
		if (connection->buffered == 0)
			vsock_connection_remove(vsock, connection);
		return;
	}
	if (connection->guest_ended != VSOCK_SHUTDOWN_BOTH)
		return;
	/* The guest has closed its socket and waits for this, to use the port again. */
	vsock_send_reset(vsock, &last);
	if (connection->buffered == 0) {
		vsock_connection_remove(vsock, connection);
		return;
	}
	vsock_connection_unname(vsock, connection);
	vsock_connection_unready(vsock, connection);
	connection->state = VSOCK_LINGERING;
	connection->deadline_ns = UINT64_MAX;
}

/* Tells the guest of room before it has to wait for it. */
static void vsock_connection_check_room(struct vsock *vsock, struct vsock_connection *connection)
{
	uint32_t unknown = connection->fwd_cnt - connection->told_fwd_cnt;

	if (unknown + connection->buffered >= VSOCK_BUFFER_SIZE / 2 && unknown > 0)
		connection->pending |= 1 << VSOCK_OP_CREDIT_UPDATE;
	vsock_connection_check_ready(vsock, connection);
}

/*
 * Writes pieces to the socket; how many bytes it took. -EPIPE and the like when nobody will read any more.
 */
static ssize_t vsock_connection_write(struct vsock_connection *connection, struct iovec *pieces,
				      unsigned count)
{
	const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
	ssize_t written;

	if (!connection->writable || count == 0)
		return 0;
	written = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (written >= 0)
		return written;
	if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		return -errno;
	connection->writable = false;
	return 0;
}

/* Sends what is buffered. false: the connection is no more. */
static bool vsock_connection_flush(struct vsock *vsock, struct vsock_connection *connection)
{
	uint8_t *buffer = vsock_buffer(vsock, connection);

	while (connection->buffered > 0 && connection->writable) {
		uint32_t to_end = VSOCK_BUFFER_SIZE - connection->buffer_at;
		uint32_t first = connection->buffered < to_end ? connection->buffered : to_end;
		struct iovec pieces[2] = {{buffer + connection->buffer_at, first},
					  {buffer, connection->buffered - first}};
		ssize_t written = vsock_connection_write(connection, pieces, 2);

		if (written < 0) {
			vsock_connection_reset(vsock, connection);
			return false;
		}
		connection->buffer_at = (connection->buffer_at + (uint32_t)written) % VSOCK_BUFFER_SIZE;
		connection->buffered -= (uint32_t)written;
		connection->fwd_cnt += (uint32_t)written;
	}
	return true;
}

unsigned vsock_slice(const struct iovec *iov, unsigned count, size_t skip, size_t length,
		     struct iovec pieces[VSOCK_IOV_MAX])
{
	unsigned used = 0;

	for (unsigned i = 0; i < count && length > 0 && used < VSOCK_IOV_MAX; i++) {
		size_t here = iov[i].iov_len, piece;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		piece = here - skip < length ? here - skip : length;
		pieces[used++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, piece};
		skip = 0;
		length -= piece;
	}
	return used;
}

/* Keeps bytes [from, header->len) of a packet's data; there is room. */
static void vsock_connection_keep(struct vsock *vsock, struct vsock_connection *connection,
				  const struct virtq_chain *chain, uint32_t from, uint32_t len)
{
	uint8_t *buffer = vsock_buffer(vsock, connection);

	while (from < len) {
		uint32_t at = (connection->buffer_at + connection->buffered) % VSOCK_BUFFER_SIZE;
		uint32_t piece = VSOCK_BUFFER_SIZE - at;

		piece = piece < len - from ? piece : len - from;
		virtq_chain_read(chain, sizeof(struct vsock_header) + from, buffer + at, piece);
		connection->buffered += piece;
		from += piece;
	}
}

static void vsock_connection_take_data(struct vsock *vsock, struct vsock_connection *connection,
				       const struct vsock_header *header, const struct virtq_chain *chain)
{
	struct iovec pieces[VSOCK_IOV_MAX];
	ssize_t written = 0;
	unsigned count;

	/* More than it was given credit for, or after it said that it was done. */
	if (header->len > VSOCK_BUFFER_SIZE - connection->buffered ||
	    connection->guest_ended & VSOCK_SHUTDOWN_SEND) {
		vsock_connection_reset(vsock, connection);
		return;
	}
	vsock->bytes_out += header->len;
	if (connection->buffered == 0) {
		count = vsock_slice(chain->read, chain->read_count, sizeof(*header), header->len, pieces);
		written = vsock_connection_write(connection, pieces, count);
	}
	if (written < 0) {
		vsock_connection_reset(vsock, connection);
		return;
	}
	connection->fwd_cnt += (uint32_t)written;
	vsock_connection_keep(vsock, connection, chain, (uint32_t)written, header->len);
	vsock_connection_check_room(vsock, connection);
}

static void vsock_connection_take_shutdown(struct vsock *vsock, struct vsock_connection *connection,
					   uint32_t flags)
{
	if (flags & VSOCK_SHUTDOWN_RECEIVE && !(connection->guest_ended & VSOCK_SHUTDOWN_RECEIVE))
		shutdown(connection->fd, SHUT_RD);
	connection->guest_ended |= flags & VSOCK_SHUTDOWN_BOTH;
	vsock_connection_check_end(vsock, connection);
}

static void vsock_connection_take_response(struct vsock *vsock, struct vsock_connection *connection)
{
	if (connection->state != VSOCK_ASKED) {
		vsock_connection_reset(vsock, connection);
		return;
	}
	connection->state = VSOCK_OPEN;
	vsock_connection_set_deadline(vsock, connection, UINT64_MAX);
	vsock_host_accepted(vsock, connection);
}

void vsock_connection_receive(struct vsock *vsock, struct vsock_connection *connection,
			      const struct vsock_header *header, const struct virtq_chain *chain)
{
	connection->guest_buf_alloc = header->buf_alloc;
	connection->guest_fwd_cnt = header->fwd_cnt;
	connection->credit_asked = connection->credit_asked && vsock_connection_credit(connection) == 0;
	switch (header->op) {
	case VSOCK_OP_RST: vsock_connection_remove(vsock, connection); return;
	case VSOCK_OP_RESPONSE: vsock_connection_take_response(vsock, connection); return;
	case VSOCK_OP_SHUTDOWN: vsock_connection_take_shutdown(vsock, connection, header->flags); return;
	case VSOCK_OP_RW:
		if (connection->state == VSOCK_ASKED)
			break;
		vsock_connection_take_data(vsock, connection, header, chain);
		return;
	case VSOCK_OP_CREDIT_REQUEST: connection->pending |= 1 << VSOCK_OP_CREDIT_UPDATE; /* fall through */
	case VSOCK_OP_CREDIT_UPDATE: vsock_connection_check_ready(vsock, connection); return;
	default: break; /* a request for ports that are in use, or nothing that there is */
	}
	vsock_connection_reset(vsock, connection);
}

static void vsock_connection_on_socket(void *opaque, uint32_t epoll_events)
{
	struct vsock_connection *connection = opaque;
	struct vsock *vsock;
	uintptr_t first = (uintptr_t)(connection - connection->index);

	vsock = (struct vsock *)(first - offsetof(struct vsock, connection));
	if (epoll_events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		connection->readable = true;
	if (epoll_events & (EPOLLHUP | EPOLLERR))
		connection->host_gone = true;
	if (epoll_events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		connection->writable = true;
	if (connection->state == VSOCK_GREETING) {
		vsock_host_greet(vsock, connection);
	} else if (vsock_connection_flush(vsock, connection)) {
		/* It has half closed before; now it is wholly gone. */
		if (connection->host_ended && connection->host_gone &&
		    connection->told_ended != VSOCK_SHUTDOWN_BOTH)
			connection->pending |= 1 << VSOCK_OP_SHUTDOWN;
		vsock_connection_check_room(vsock, connection);
		vsock_connection_check_end(vsock, connection);
	}
	vsock_send(vsock);
}

struct vsock_connection *vsock_connection_new(struct vsock *vsock, int fd, enum vsock_state state)
{
	struct vsock_connection *connection = vsock->free;
	struct loop_fd *watch;

	if (!connection) {
		close(fd);
		return NULL;
	}
	watch = loop_fd_add(vsock->virtio.env.io_loop, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
			    vsock_connection_on_socket, connection, NULL);
	if (!watch) {
		close(fd);
		return NULL;
	}
	vsock->free = connection->next;
	*connection = (struct vsock_connection){
		.state = state,
		.index = (unsigned)(connection - vsock->connection),
		.fd = fd,
		.watch = watch,
		.writable = true,
		.deadline_ns = UINT64_MAX,
	};
	return connection;
}
