/* SPDX-License-Identifier: Apache-2.0 */
/* The packets of virtio sockets. virtio 1.2, 5.10.6. */
#pragma once

#include <stdint.h>

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* of the data behind it */
	uint16_t type;
	uint16_t op; /* enum vsock_op */
	uint32_t flags;
	uint32_t buf_alloc; /* the sender's buffer for this connection ... */
	uint32_t fwd_cnt;   /* ... and how many bytes have left it; both count freely and wrap */
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_header) == 44, "virtio 1.2, 5.10.6");

enum vsock_op {
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE = 2,
	VSOCK_OP_RST = 3,
	VSOCK_OP_SHUTDOWN = 4,
	VSOCK_OP_RW = 5,
	VSOCK_OP_CREDIT_UPDATE = 6,
	VSOCK_OP_CREDIT_REQUEST = 7,
};

#define VSOCK_TYPE_STREAM 1

/* Of VSOCK_OP_SHUTDOWN: what the sender will not do any more. */
#define VSOCK_SHUTDOWN_RECEIVE 1u
#define VSOCK_SHUTDOWN_SEND    2u
#define VSOCK_SHUTDOWN_BOTH    3u

#define VSOCK_HOST_CID 2

#define VSOCK_EVENT_TRANSPORT_RESET 0
