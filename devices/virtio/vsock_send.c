/* SPDX-License-Identifier: Apache-2.0 */
/* Packets to the guest: resets first, then each connection in turn, from the socket into the guest's buffer.
 */
#include <errno.h>
#include <sys/socket.h>

#include "devices/virtio/vsock_connection.h"

void vsock_send_reset(struct vsock *vsock, const struct vsock_header *header)
{
	if (vsock->reset_count == VSOCK_RESETS_MAX) {
		vsock->resets_lost++;
		return;
	}
	vsock->reset[(vsock->reset_at + vsock->reset_count++) % VSOCK_RESETS_MAX] = (struct vsock_reset){
		.cid = header->src_cid,
		.peer_cid = header->dst_cid,
		.port = header->src_port,
		.peer_port = header->dst_port,
		.type = header->type,
	};
}

static size_t vsock_fill_reset(struct vsock *vsock, struct virtq_chain *chain)
{
	const struct vsock_reset *reset = &vsock->reset[vsock->reset_at];
	const struct vsock_header header = {
		.src_cid = reset->peer_cid,
		.dst_cid = reset->cid,
		.src_port = reset->peer_port,
		.dst_port = reset->port,
		.type = reset->type,
		.op = VSOCK_OP_RST,
	};

	vsock->reset_at = (vsock->reset_at + 1) % VSOCK_RESETS_MAX;
	vsock->reset_count--;
	virtq_chain_write(chain, 0, &header, sizeof(header));
	return sizeof(header);
}

/* A packet of the connection: header with len bytes of data, which are there already. */
static size_t vsock_fill(struct vsock *vsock, struct vsock_connection *connection, struct virtq_chain *chain,
			 enum vsock_op op, uint32_t len)
{
	const struct vsock_header header = {
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = vsock->cid,
		.src_port = connection->host_port,
		.dst_port = connection->guest_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.flags = op == VSOCK_OP_SHUTDOWN ? connection->told_ended : 0,
		.buf_alloc = VSOCK_BUFFER_SIZE,
		.fwd_cnt = connection->fwd_cnt,
	};

	connection->told_fwd_cnt = connection->fwd_cnt;
	connection->pending &= (uint16_t) ~(1 << op | 1 << VSOCK_OP_CREDIT_UPDATE);
	virtq_chain_write(chain, 0, &header, sizeof(header));
	return sizeof(header) + len;
}

static size_t vsock_fill_shutdown(struct vsock *vsock, struct vsock_connection *connection,
				  struct virtq_chain *chain)
{
	connection->told_ended = connection->host_gone ? VSOCK_SHUTDOWN_BOTH : VSOCK_SHUTDOWN_SEND;
	if (connection->told_ended == VSOCK_SHUTDOWN_BOTH) {
		connection->state = VSOCK_CLOSING;
		vsock_connection_set_deadline(vsock, connection, VSOCK_TIMEOUT_NS);
	}
	return vsock_fill(vsock, connection, chain, VSOCK_OP_SHUTDOWN, 0);
}

/* Reads from the socket into the buffer. 0: there was nothing. */
static size_t vsock_fill_data(struct vsock *vsock, struct vsock_connection *connection,
			      struct virtq_chain *chain)
{
	struct iovec pieces[VSOCK_IOV_MAX];
	struct msghdr message = {.msg_iov = pieces};
	uint64_t length = chain->write_bytes - sizeof(struct vsock_header);
	uint32_t credit = vsock_connection_credit(connection);
	ssize_t got;

	if (!connection->readable || connection->host_ended || connection->state != VSOCK_OPEN ||
	    connection->guest_ended & VSOCK_SHUTDOWN_RECEIVE || credit == 0)
		return 0;
	/* A buffer without room for data is used up by a packet that says nothing new. */
	if (length == 0)
		return vsock_fill(vsock, connection, chain, VSOCK_OP_CREDIT_UPDATE, 0);
	length = length < credit ? length : credit;
	message.msg_iovlen = vsock_slice(chain->write, chain->write_count, sizeof(struct vsock_header),
					 (size_t)length, pieces);
	got = recvmsg(connection->fd, &message, MSG_DONTWAIT);
	if (got > 0) {
		connection->sent += (uint32_t)got;
		vsock->bytes_in += (uint64_t)got;
		return vsock_fill(vsock, connection, chain, VSOCK_OP_RW, (uint32_t)got);
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		connection->readable = errno == EINTR;
		return 0;
	}
	connection->host_ended = true;
	connection->host_gone = connection->host_gone || got < 0;
	return vsock_fill_shutdown(vsock, connection, chain);
}

/* What must be said before data, in this order; then data; then the end. */
static size_t vsock_fill_next(struct vsock *vsock, struct vsock_connection *connection,
			      struct virtq_chain *chain)
{
	static const enum vsock_op first[] = {VSOCK_OP_REQUEST, VSOCK_OP_RESPONSE, VSOCK_OP_CREDIT_REQUEST};
	size_t written;

	for (unsigned i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		if (connection->pending & 1 << first[i])
			return vsock_fill(vsock, connection, chain, first[i], 0);
	}
	written = vsock_fill_data(vsock, connection, chain);
	if (written > 0)
		return written;
	if (connection->pending & 1 << VSOCK_OP_SHUTDOWN)
		return vsock_fill_shutdown(vsock, connection, chain);
	if (connection->pending & 1 << VSOCK_OP_CREDIT_UPDATE)
		return vsock_fill(vsock, connection, chain, VSOCK_OP_CREDIT_UPDATE, 0);
	return 0;
}

/* The first in the row, which goes to its end if it has more. */
static size_t vsock_fill_ready(struct vsock *vsock, struct virtq_chain *chain)
{
	struct vsock_connection *connection = vsock->ready;
	size_t written;

	vsock->ready = connection->next_ready;
	if (!vsock->ready)
		vsock->ready_end = &vsock->ready;
	connection->in_ready = false;
	written = vsock_fill_next(vsock, connection, chain);
	vsock_connection_check_ready(vsock, connection);
	return written;
}

void vsock_send(struct vsock *vsock)
{
	struct virtqueue *queue = &vsock->virtio.queue[VSOCK_RECEIVE];
	struct virtq_chain *chain;

	while ((vsock->reset_count > 0 || vsock->ready) &&
	       virtio_queue_is_up(&vsock->virtio, VSOCK_RECEIVE) && (chain = virtqueue_pop(queue)) != NULL) {
		size_t written = 0;

		if (chain->write_bytes < sizeof(struct vsock_header)) {
			virtqueue_complete(chain, 0);
			vsock->virtio.driver_errors++;
			continue;
		}
		while (written == 0 && (vsock->reset_count > 0 || vsock->ready))
			written = vsock->reset_count > 0 ? vsock_fill_reset(vsock, chain)
							 : vsock_fill_ready(vsock, chain);
		if (written == 0) {
			virtqueue_return(chain);
			break;
		}
		vsock->packets_in++;
		virtqueue_complete(chain, written);
	}
	virtqueue_publish(queue);
}
