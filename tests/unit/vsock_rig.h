/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket device with a guest's driver on one side and a folder of unix sockets on the other: packets to
 * send, packets to expect, programs of the host that connect. For the tests of virtio-vsock.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/vsock.h"
#include "devices/virtio/vsock_packet.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/base/unix_socket.h"

#define CID        3
#define BUFFER     (256u << 10) /* what the device gives the guest as credit */
#define GUEST_PORT 4000
#define HOST_PORT  52
#define RX_BYTES   4096

struct rig {
	struct virtio_guest *guest;
	char folder[32], path[64], port_path[80];
	int listen_fd;           /* on HOST_PORT */
	struct vsock_header got; /* the last packet to the guest */
	uint8_t data[RX_BYTES];
	uint64_t rx_gpa;
	uint32_t guest_buf_alloc, guest_fwd_cnt;
};

static inline struct device *make_device(struct rig *rig, uint64_t cid)
{
	const struct vsock_config config = {.id = "vsock0", .cid = cid, .path = rig->path};

	return vsock_create(&rig->guest->env, &config, &rig->guest->err);
}

static inline int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	strcpy(rig->folder, "/tmp/vsock-test-XXXXXX");
	if (!mkdtemp(rig->folder))
		return -1;
	snprintf(rig->path, sizeof(rig->path), "%s/v", rig->folder);
	snprintf(rig->port_path, sizeof(rig->port_path), "%s_%d", rig->path, HOST_PORT);
	rig->listen_fd = unix_socket_listen(rig->port_path, 8, NULL);
	rig->guest = virtio_guest_create();
	rig->guest_buf_alloc = 1 << 20;
	*state = rig;
	return rig->listen_fd < 0 ? -1 : 0;
}

static inline int start(void **state)
{
	struct rig *rig;

	if (setup(state) != 0)
		return -1;
	rig = *state;
	virtio_guest_start(rig->guest, make_device(rig, CID), VIRTIO_GUEST_SPLIT, 1);
	rig->rx_gpa = virtio_guest_alloc(rig->guest, RX_BYTES, 4096);
	return 0;
}

static inline int teardown(void **state)
{
	struct rig *rig = *state;

	virtio_guest_destroy(rig->guest);
	close(rig->listen_fd);
	unlink(rig->port_path);
	assert_int_equal(rmdir(rig->folder), 0); /* the device has removed its socket */
	free(rig);
	return 0;
}

/* The guest gives a buffer of `room` bytes and takes the next packet; false when none comes. */
static inline bool receive_room(struct rig *rig, uint32_t room)
{
	const struct virtio_guest_buffer buffer = {rig->rx_gpa, room, true};
	uint16_t id;
	uint32_t len;

	virtio_guest_run(rig->guest);
	if (!virtio_guest_take(rig->guest, 0, &id, &len)) {
		virtio_guest_add(rig->guest, 0, &buffer, 1);
		virtio_guest_kick(rig->guest, 0);
		virtio_guest_run(rig->guest);
		if (!virtio_guest_take(rig->guest, 0, &id, &len))
			return false;
	}
	assert_true(len >= sizeof(rig->got));
	memcpy(&rig->got, virtio_guest_at(rig->guest, rig->rx_gpa, len), sizeof(rig->got));
	assert_int_equal(len, sizeof(rig->got) + rig->got.len);
	memcpy(rig->data, virtio_guest_at(rig->guest, rig->rx_gpa + sizeof(rig->got), RX_BYTES - 44),
	       rig->got.len);
	return true;
}

/* Packets that a test is not about may come at any time. */
static inline void expect_op(struct rig *rig, enum vsock_op op)
{
	do {
		if (!receive_room(rig, RX_BYTES))
			fail_msg("no packet came, expected operation %d", op);
	} while (op != VSOCK_OP_CREDIT_UPDATE && rig->got.op == VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(rig->got.op, op);
	assert_int_equal(rig->got.dst_cid, CID);
	assert_int_equal(rig->got.src_cid, VSOCK_HOST_CID);
	assert_int_equal(rig->got.buf_alloc, op == VSOCK_OP_RST ? 0 : BUFFER);
}

static inline void expect_nothing(struct rig *rig)
{
	if (receive_room(rig, RX_BYTES))
		fail_msg("a packet of operation %d came, expected none", rig->got.op);
}

static inline struct vsock_header packet(const struct rig *rig, enum vsock_op op, uint32_t host_port,
					 uint32_t len)
{
	return (struct vsock_header){
		.src_cid = CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = GUEST_PORT,
		.dst_port = host_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = rig->guest_buf_alloc,
		.fwd_cnt = rig->guest_fwd_cnt,
	};
}

static inline void send_packet(struct rig *rig, const struct vsock_header *header, const void *data,
			       size_t len)
{
	static uint8_t bytes[128 << 10];

	memcpy(bytes, header, sizeof(*header));
	if (len > 0)
		memcpy(bytes + sizeof(*header), data, len);
	assert_int_equal(virtio_guest_request(rig->guest, 1, bytes, sizeof(*header) + len, NULL, 0), 0);
}

static inline void send_op(struct rig *rig, enum vsock_op op, uint32_t host_port)
{
	const struct vsock_header header = packet(rig, op, host_port, 0);

	send_packet(rig, &header, NULL, 0);
}

static inline void send_shutdown(struct rig *rig, uint32_t host_port, uint32_t flags)
{
	struct vsock_header header = packet(rig, VSOCK_OP_SHUTDOWN, host_port, 0);

	header.flags = flags;
	send_packet(rig, &header, NULL, 0);
}

static inline void send_data(struct rig *rig, uint32_t host_port, const void *data, uint32_t len)
{
	const struct vsock_header header = packet(rig, VSOCK_OP_RW, host_port, len);

	send_packet(rig, &header, data, len);
}

/* The guest connects to HOST_PORT; the descriptor of the program that accepts. */
static inline int connect_out(struct rig *rig)
{
	int fd;

	send_op(rig, VSOCK_OP_REQUEST, HOST_PORT);
	expect_op(rig, VSOCK_OP_RESPONSE);
	assert_int_equal(rig->got.dst_port, GUEST_PORT);
	assert_int_equal(rig->got.src_port, HOST_PORT);
	fd = accept4(rig->listen_fd, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	return fd;
}

static inline void expect_host_reads(int fd, const char *text)
{
	char bytes[256];
	ssize_t got = recv(fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);

	assert_int_equal(got, strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static inline void expect_host_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
}

/* A program of the host connects and greets. */
static inline int greet(struct rig *rig, const char *line)
{
	int fd = unix_socket_connect(rig->path, NULL);

	assert_true(fd >= 0);
	assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
	virtio_guest_run(rig->guest);
	return fd;
}
