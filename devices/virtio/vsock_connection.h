/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the socket device, for vsock*.c only: vsock.c has the queues and takes the guest's packets,
 * vsock_send.c fills the guest's buffers, vsock_connection.c is the life of a connection, vsock_host.c where
 * unix sockets come from. Everything runs on the I/O loop, and there are no locks.
 *
 *     guest --- transmit queue --> [buffer, when the socket is full] --> unix socket
 *     guest <-- receive queue ---- as far as the guest's credit goes --- unix socket
 *
 * Of what goes to the guest nothing is kept here: it stays in the socket until the guest has a buffer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "devices/virtio/virtio.h"
#include "devices/virtio/vsock_packet.h"

struct loop_fd;
struct loop_timer;

enum vsock_queue { VSOCK_RECEIVE, VSOCK_TRANSMIT, VSOCK_EVENT, VSOCK_QUEUES };

/* Bounds descriptors and memory; as many as Firecracker has. */
#define VSOCK_CONNECTIONS_MAX 1023
/* Of each connection, for what the guest sends faster than the host takes it: what the guest is told as
 * credit. */
#define VSOCK_BUFFER_SIZE (256u << 10)
/* Answers to packets that belong to nothing, when the guest gives no buffers. Above the first the guest's
 * packets wait, above the second an answer is lost. */
#define VSOCK_RESETS_WAIT 1024
#define VSOCK_RESETS_MAX  2048
/* "CONNECT 4294967295\n" fits; as Firecracker. */
#define VSOCK_GREETING_MAX 32
/* For a greeting, for the guest's answer to a request, and for its answer to the end; guests can be slow. */
#define VSOCK_TIMEOUT_NS      10000000000ull
#define VSOCK_FIRST_HOST_PORT (1u << 30) /* of the ports given to host programs */
#define VSOCK_BUCKETS         256
#define VSOCK_IOV_MAX         64 /* pieces of guest memory in one read or write */

enum vsock_state {
	VSOCK_FREE,
	VSOCK_GREETING, /* a program of the host has connected and not yet said to what */
	VSOCK_ASKED,    /* the guest is asked whether it takes the connection */
	VSOCK_OPEN,
	VSOCK_CLOSING,   /* the guest was told that the host is gone; it answers with a reset */
	VSOCK_LINGERING, /* over for the guest, which may use its port again; its last bytes go to the host */
};

struct vsock_connection {
	enum vsock_state state;
	unsigned index; /* in vsock.connection: also says which buffer it has */
	struct vsock_connection
		*next; /* in the bucket, while ASKED, OPEN or CLOSING; in the list of free ones */
	struct vsock_connection *next_ready;
	bool in_ready;
	uint32_t host_port, guest_port;
	int fd;
	struct loop_fd
		*watch; /* edge-triggered: readable and writable hold until the socket says otherwise */
	bool readable, writable;
	bool host_ended;     /* everything the host sent was read */
	bool host_gone;      /* nobody is at the other end any more */
	bool write_shut;     /* the host was told that the guest sends no more */
	bool credit_asked;   /* the guest was asked for credit and has not given any */
	uint8_t guest_ended; /* VSOCK_SHUTDOWN_* that the guest sent */
	uint8_t told_ended;  /* and that it was told */
	uint16_t pending;    /* packets to send: a bit for each enum vsock_op */

	uint32_t guest_buf_alloc, guest_fwd_cnt; /* the guest's credit */
	uint32_t sent;                           /* bytes to the guest */
	uint32_t fwd_cnt;                        /* bytes that have left for the host */
	uint32_t told_fwd_cnt;                   /* as the guest was last told */
	uint32_t buffered, buffer_at;            /* of the ring buffer: bytes, and where the first is */
	uint64_t deadline_ns;                    /* UINT64_MAX: none */
};

struct vsock_reset {
	uint64_t cid; /* whom the packet came from, and went to */
	uint64_t peer_cid;
	uint32_t port, peer_port; /* the guest's first */
	uint16_t type;
};

struct vsock {
	struct virtio_device virtio;
	uint64_t cid;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int listen_fd;
	struct loop_fd *listen_watch;
	struct loop_timer *timer; /* looks at deadlines once a second while there are any */
	bool timer_armed;
	uint8_t *buffers; /* VSOCK_BUFFER_SIZE for each connection; pages come when they are used */
	struct vsock_connection connection[VSOCK_CONNECTIONS_MAX];
	struct vsock_connection *free;
	struct vsock_connection *bucket[VSOCK_BUCKETS];
	struct vsock_connection *ready, **ready_end; /* have something for the guest, served in turn */
	struct vsock_reset reset[VSOCK_RESETS_MAX];
	unsigned reset_at, reset_count;
	uint32_t next_host_port;
	uint32_t open_count;      /* connections that the guest knows of; saved */
	bool transport_was_reset; /* the guest is to be told, when it gives a buffer */
	uint64_t packets_in, packets_out, bytes_in, bytes_out, connections, refused,
		resets_lost; /* metrics */
};

/* vsock_connection.c */
/* A free one in this state, on fd (taken, also on failure); NULL when there is none. */
struct vsock_connection *vsock_connection_new(struct vsock *vsock, int fd, enum vsock_state state);
/* Gives it ports and makes it known under them. */
void vsock_connection_name(struct vsock *vsock, struct vsock_connection *connection, uint32_t host_port,
			   uint32_t guest_port);
struct vsock_connection *vsock_connection_find(struct vsock *vsock, uint32_t host_port, uint32_t guest_port);
/* Closes the socket and frees it; the guest is not told. */
void vsock_connection_remove(struct vsock *vsock, struct vsock_connection *connection);
/* The same, and tells the guest. */
void vsock_connection_reset(struct vsock *vsock, struct vsock_connection *connection);
void vsock_connection_remove_all(struct vsock *vsock);
/* A packet for it has arrived. */
void vsock_connection_receive(struct vsock *vsock, struct vsock_connection *connection,
			      const struct vsock_header *header, const struct virtq_chain *chain);
/* Puts it in the row of those that are served, if it has something for the guest. */
void vsock_connection_check_ready(struct vsock *vsock, struct vsock_connection *connection);
void vsock_connection_set_deadline(struct vsock *vsock, struct vsock_connection *connection, uint64_t in_ns);
void vsock_connection_on_timer(void *opaque);
uint32_t vsock_connection_credit(const struct vsock_connection *connection);
/* The pieces of [skip, skip + length) of iov; returns how many. */
unsigned vsock_slice(const struct iovec *iov, unsigned count, size_t skip, size_t length,
		     struct iovec pieces[VSOCK_IOV_MAX]);

/* vsock_send.c */
/* Fills the guest's buffers as long as there are any and something is to send. */
void vsock_send(struct vsock *vsock);
/* Answers a packet with a reset. */
void vsock_send_reset(struct vsock *vsock, const struct vsock_header *header);

/* vsock_host.c */
int vsock_host_listen(struct vsock *vsock, struct err *err);
void vsock_host_close(struct vsock *vsock);
/* A program of the host sends its greeting. */
void vsock_host_greet(struct vsock *vsock, struct vsock_connection *connection);
/* The guest has taken the connection. */
void vsock_host_accepted(struct vsock *vsock, struct vsock_connection *connection);
/* The guest wants to connect to a port of the host. */
void vsock_host_connect(struct vsock *vsock, const struct vsock_header *header);

/* vsock.c: goes on with packets that waited for room among the resets. */
void vsock_take_packets(struct vsock *vsock);

static inline uint8_t *vsock_buffer(const struct vsock *vsock, const struct vsock_connection *connection)
{
	return vsock->buffers + (size_t)connection->index * VSOCK_BUFFER_SIZE;
}
