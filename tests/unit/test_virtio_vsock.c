/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: connections both ways over real unix sockets, credit, half closes, the end, and packets that
 * lie. */
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

static struct device *make_device(struct rig *rig, uint64_t cid)
{
	const struct vsock_config config = {.id = "vsock0", .cid = cid, .path = rig->path};

	return vsock_create(&rig->guest->env, &config, &rig->guest->err);
}

static int setup(void **state)
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

static int start(void **state)
{
	struct rig *rig;

	if (setup(state) != 0)
		return -1;
	rig = *state;
	virtio_guest_start(rig->guest, make_device(rig, CID), VIRTIO_GUEST_SPLIT, 1);
	rig->rx_gpa = virtio_guest_alloc(rig->guest, RX_BYTES, 4096);
	return 0;
}

static int teardown(void **state)
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
static bool receive_room(struct rig *rig, uint32_t room)
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
static void expect_op(struct rig *rig, enum vsock_op op)
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

static void expect_nothing(struct rig *rig)
{
	if (receive_room(rig, RX_BYTES))
		fail_msg("a packet of operation %d came, expected none", rig->got.op);
}

static struct vsock_header packet(const struct rig *rig, enum vsock_op op, uint32_t host_port, uint32_t len)
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

static void send_packet(struct rig *rig, const struct vsock_header *header, const void *data, size_t len)
{
	static uint8_t bytes[128 << 10];

	memcpy(bytes, header, sizeof(*header));
	if (len > 0)
		memcpy(bytes + sizeof(*header), data, len);
	assert_int_equal(virtio_guest_request(rig->guest, 1, bytes, sizeof(*header) + len, NULL, 0), 0);
}

static void send_op(struct rig *rig, enum vsock_op op, uint32_t host_port)
{
	const struct vsock_header header = packet(rig, op, host_port, 0);

	send_packet(rig, &header, NULL, 0);
}

static void send_shutdown(struct rig *rig, uint32_t host_port, uint32_t flags)
{
	struct vsock_header header = packet(rig, VSOCK_OP_SHUTDOWN, host_port, 0);

	header.flags = flags;
	send_packet(rig, &header, NULL, 0);
}

static void send_data(struct rig *rig, uint32_t host_port, const void *data, uint32_t len)
{
	const struct vsock_header header = packet(rig, VSOCK_OP_RW, host_port, len);

	send_packet(rig, &header, data, len);
}

/* The guest connects to HOST_PORT; the descriptor of the program that accepts. */
static int connect_out(struct rig *rig)
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

static void expect_host_reads(int fd, const char *text)
{
	char bytes[256];
	ssize_t got = recv(fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);

	assert_int_equal(got, strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static void expect_host_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
}

static void test_configuration(void **state)
{
	struct rig *rig = *state;
	const uint64_t bad[] = {0, 1, 2, 0xffffffff, 1ull << 40};
	struct rig other = *rig;
	uint64_t cid;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(make_device(rig, bad[i]));
	strcpy(other.path, "/proc/none/v");
	assert_null(make_device(&other, CID));
	virtio_guest_start(rig->guest, make_device(rig, 0xfffffffe), VIRTIO_GUEST_SPLIT, 1);
	virtio_config_get(rig->guest->virtio, 0, &cid, 8);
	assert_int_equal(cid, 0xfffffffe);
	assert_null(make_device(rig, CID)); /* the path is in use */
	assert_int_equal(rig->guest->err.code, -EADDRINUSE);
}

static void test_guest_connects(void **state)
{
	struct rig *rig = *state;
	int fd = connect_out(rig);

	send_data(rig, HOST_PORT, "from the guest", 14);
	expect_host_reads(fd, "from the guest");
	assert_int_equal(send(fd, "from the host", 13, 0), 13);
	expect_op(rig, VSOCK_OP_RW);
	assert_int_equal(rig->got.len, 13);
	assert_memory_equal(rig->data, "from the host", 13);
	assert_int_equal(rig->got.fwd_cnt, 14);
	send_shutdown(rig, HOST_PORT, VSOCK_SHUTDOWN_BOTH);
	expect_op(rig, VSOCK_OP_RST);
	expect_host_end(fd);
	/* the port can be used again */
	close(connect_out(rig));
	expect_op(rig, VSOCK_OP_SHUTDOWN);
	assert_int_equal(rig->got.flags, VSOCK_SHUTDOWN_BOTH);
	send_op(rig, VSOCK_OP_RST, HOST_PORT);
	expect_nothing(rig);
}

static void test_nobody_listens(void **state)
{
	struct rig *rig = *state;

	send_op(rig, VSOCK_OP_REQUEST, HOST_PORT + 1);
	expect_op(rig, VSOCK_OP_RST);
	assert_int_equal(rig->got.src_port, HOST_PORT + 1);
	assert_int_equal(rig->got.dst_port, GUEST_PORT);
	send_op(rig, VSOCK_OP_RST, 7); /* no answer to a reset */
	expect_nothing(rig);
}

static int greet(struct rig *rig, const char *line)
{
	int fd = unix_socket_connect(rig->path, NULL);

	assert_true(fd >= 0);
	assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
	virtio_guest_run(rig->guest);
	return fd;
}

static void test_host_connects(void **state)
{
	struct rig *rig = *state;
	char ok[32];
	uint32_t port;
	int fd = greet(rig, "CONN");

	expect_nothing(rig);
	assert_int_equal(send(fd, "ECT 4000\nhello", 14, 0), 14);
	expect_op(rig, VSOCK_OP_REQUEST);
	assert_int_equal(rig->got.dst_port, GUEST_PORT);
	port = rig->got.src_port;
	assert_true(port >= 1u << 30);
	expect_nothing(rig); /* data waits for the answer */
	send_op(rig, VSOCK_OP_RESPONSE, port);
	snprintf(ok, sizeof(ok), "OK %u\n", port);
	expect_host_reads(fd, ok);
	expect_op(rig, VSOCK_OP_RW);
	assert_int_equal(rig->got.len, 5);
	assert_memory_equal(rig->data, "hello", 5);
	send_data(rig, port, "hi", 2);
	expect_host_reads(fd, "hi");
	/* a second one gets another port */
	close(greet(rig, "connect 4000\n"));
	expect_op(rig, VSOCK_OP_REQUEST);
	assert_true(rig->got.src_port != port);
	send_op(rig, VSOCK_OP_RST, port);
	expect_host_end(fd);
}

static void test_greetings_that_are_none(void **state)
{
	static const char *const lines[] = {
		"HELLO 4000\n",
		"CONNECT \n",
		"CONNECT 4000x\n",
		"CONNECT -1\n",
		"CONNECT 4294967296\n",
		"CONNECT  4000\n",
		"CONNECT4000\n",
		"\n",
		"CONNECT 99999999999999999999\n",
		"CONNECT 40000000000000000000000000000000000000000000",
	};
	struct rig *rig = *state;
	int fd;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char byte;

		fd = greet(rig, lines[i]);
		assert_true(recv(fd, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
		close(fd);
		expect_nothing(rig);
	}
	/* the guest refuses: closed, and no text */
	fd = greet(rig, "CONNECT 4000\n");
	expect_op(rig, VSOCK_OP_REQUEST);
	send_op(rig, VSOCK_OP_RST, rig->got.src_port);
	expect_host_end(fd);
	/* data instead of an answer */
	fd = greet(rig, "CONNECT 4000\n");
	expect_op(rig, VSOCK_OP_REQUEST);
	send_data(rig, rig->got.src_port, "x", 1);
	expect_op(rig, VSOCK_OP_RST);
	expect_host_end(fd);
}

static void test_credit_of_the_guest(void **state)
{
	struct rig *rig = *state;
	char bytes[1000];
	int fd;

	memset(bytes, 'x', sizeof(bytes));
	rig->guest_buf_alloc = 100;
	fd = connect_out(rig);
	assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	expect_op(rig, VSOCK_OP_RW);
	assert_int_equal(rig->got.len, 100);
	expect_op(rig, VSOCK_OP_CREDIT_REQUEST);
	expect_nothing(rig);
	rig->guest_fwd_cnt = 30;
	send_op(rig, VSOCK_OP_CREDIT_UPDATE, HOST_PORT);
	expect_op(rig, VSOCK_OP_RW);
	assert_int_equal(rig->got.len, 30);
	rig->guest_fwd_cnt = 130;
	rig->guest_buf_alloc = 1 << 20;
	send_op(rig, VSOCK_OP_CREDIT_REQUEST, HOST_PORT);
	expect_op(rig, VSOCK_OP_CREDIT_REQUEST);
	expect_op(rig, VSOCK_OP_RW);
	assert_int_equal(rig->got.len, 870);
	/* a guest that says it has taken more than it got */
	rig->guest_fwd_cnt = 5000;
	send_op(rig, VSOCK_OP_CREDIT_UPDATE, HOST_PORT);
	assert_int_equal(send(fd, bytes, 10, 0), 10);
	expect_op(rig, VSOCK_OP_CREDIT_REQUEST);
	expect_nothing(rig);
	close(fd);
}

/* The host does not read: the guest's bytes wait within its credit; behind that it is cut off. */
static void test_credit_of_the_device(void **state)
{
	struct rig *rig = *state;
	static uint8_t bytes[64 << 10];
	int fd = connect_out(rig), small = 1;
	uint64_t sent = 0, got = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	/* as long as the guest has credit by what it was told */
	while (sent - rig->got.fwd_cnt + sizeof(bytes) <= BUFFER) {
		send_data(rig, HOST_PORT, bytes, sizeof(bytes));
		sent += sizeof(bytes);
		if (receive_room(rig, RX_BYTES))
			assert_int_equal(rig->got.op, VSOCK_OP_CREDIT_UPDATE);
	}
	assert_true(sent >= BUFFER);
	/* the guest closes; all of it still arrives, and the guest's port is free at once */
	send_shutdown(rig, HOST_PORT, VSOCK_SHUTDOWN_BOTH);
	expect_op(rig, VSOCK_OP_RST);
	for (;;) {
		uint8_t read[5000];
		ssize_t now = recv(fd, read, sizeof(read), MSG_DONTWAIT);

		if (now == 0)
			break;
		if (now < 0) {
			assert_int_equal(errno, EAGAIN);
			virtio_guest_run(rig->guest);
			continue;
		}
		for (ssize_t i = 0; i < now; i++, got++)
			assert_int_equal(read[i], bytes[got % sizeof(bytes)]);
	}
	assert_int_equal(got, sent);
	close(fd);
	/* more than its credit */
	fd = connect_out(rig);
	for (unsigned i = 0; i < 64; i++)
		send_data(rig, HOST_PORT, bytes, sizeof(bytes));
	do
		assert_true(receive_room(rig, RX_BYTES));
	while (rig->got.op == VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(rig->got.op, VSOCK_OP_RST);
	close(fd);
}

static void test_half_closes(void **state)
{
	struct rig *rig = *state;
	int fd = connect_out(rig);

	/* the host's: its last bytes first, and the guest may go on sending */
	assert_int_equal(send(fd, "end", 3, 0), 3);
	shutdown(fd, SHUT_WR);
	expect_op(rig, VSOCK_OP_RW);
	expect_op(rig, VSOCK_OP_SHUTDOWN);
	assert_int_equal(rig->got.flags, VSOCK_SHUTDOWN_SEND);
	send_data(rig, HOST_PORT, "still here", 10);
	expect_host_reads(fd, "still here");
	close(fd);
	expect_op(rig, VSOCK_OP_SHUTDOWN);
	assert_int_equal(rig->got.flags, VSOCK_SHUTDOWN_BOTH);
	send_data(rig, HOST_PORT, "nobody", 6);
	expect_op(rig, VSOCK_OP_RST);
	/* the guest's */
	fd = connect_out(rig);
	send_data(rig, HOST_PORT, "last", 4);
	send_shutdown(rig, HOST_PORT, VSOCK_SHUTDOWN_SEND);
	expect_host_reads(fd, "last");
	assert_int_equal(send(fd, "answer", 6, 0), 6);
	expect_op(rig, VSOCK_OP_RW);
	assert_int_equal(rig->got.len, 6);
	send_shutdown(rig, HOST_PORT, VSOCK_SHUTDOWN_RECEIVE);
	expect_op(rig, VSOCK_OP_RST);
	expect_host_end(fd);
	/* data behind its end */
	fd = connect_out(rig);
	send_shutdown(rig, HOST_PORT, VSOCK_SHUTDOWN_SEND);
	send_data(rig, HOST_PORT, "x", 1);
	expect_op(rig, VSOCK_OP_RST);
	expect_host_end(fd);
}

static void test_packets_that_lie(void **state)
{
	struct rig *rig = *state;
	struct vsock_header header = packet(rig, VSOCK_OP_REQUEST, HOST_PORT, 0);
	int fd;

	virtio_guest_request(rig->guest, 1, &header, sizeof(header) - 1, NULL, 0);
	header.len = 1; /* and has no data */
	send_packet(rig, &header, NULL, 0);
	header = packet(rig, VSOCK_OP_REQUEST, HOST_PORT, 0);
	header.src_cid = CID + 1;
	send_packet(rig, &header, NULL, 0);
	expect_nothing(rig);
	assert_int_equal(rig->guest->virtio->driver_errors, 3);
	header = packet(rig, VSOCK_OP_REQUEST, HOST_PORT, 0);
	header.type = 2;
	send_packet(rig, &header, NULL, 0);
	expect_op(rig, VSOCK_OP_RST);
	assert_int_equal(rig->got.type, 2);
	header = packet(rig, VSOCK_OP_REQUEST, HOST_PORT, 0);
	header.dst_cid = 99;
	send_packet(rig, &header, NULL, 0);
	assert_true(receive_room(rig, RX_BYTES));
	assert_int_equal(rig->got.op, VSOCK_OP_RST);
	assert_int_equal(rig->got.src_cid, 99);
	/* a second request, and operations that there are not, end what they are sent to */
	for (unsigned op = 0; op < 20; op++) {
		if (op >= VSOCK_OP_RST && op <= VSOCK_OP_CREDIT_REQUEST)
			continue;
		fd = connect_out(rig);
		send_op(rig, (enum vsock_op)op, HOST_PORT);
		expect_op(rig, VSOCK_OP_RST);
		expect_host_end(fd);
	}
	/* buffers too small for a header are given back empty */
	send_op(rig, VSOCK_OP_CREDIT_UPDATE, HOST_PORT);
	{
		const struct virtio_guest_buffer small = {rig->rx_gpa, 43, true};
		uint16_t id;
		uint32_t len;

		virtio_guest_add(rig->guest, 0, &small, 1);
		virtio_guest_kick(rig->guest, 0);
		virtio_guest_wait(rig->guest, 0, &id, &len);
		assert_int_equal(len, 0);
	}
	expect_op(rig, VSOCK_OP_RST);
}

/* Resets are owed and the guest gives no buffers: its packets wait, none is lost, nothing grows. */
static void test_guest_takes_no_resets(void **state)
{
	struct rig *rig = *state;
	const struct vsock_header header = packet(rig, VSOCK_OP_CREDIT_UPDATE, 9999, 0);
	uint64_t gpa = virtio_guest_alloc(rig->guest, sizeof(header), 16);
	const struct virtio_guest_buffer buffer = {gpa, sizeof(header), false};
	unsigned used = 0, resets = 0;
	uint16_t id;
	uint32_t len;

	memcpy(virtio_guest_at(rig->guest, gpa, sizeof(header)), &header, sizeof(header));
	for (unsigned i = 0; i < 1100; i++) {
		virtio_guest_add(rig->guest, 1, &buffer, 1);
		virtio_guest_kick(rig->guest, 1);
		if (!virtio_guest_take(rig->guest, 1, &id, &len))
			break;
		used++;
	}
	assert_int_equal(used, 1024);
	while (receive_room(rig, RX_BYTES)) {
		assert_int_equal(rig->got.op, VSOCK_OP_RST);
		resets++;
	}
	assert_true(virtio_guest_take(rig->guest, 1, &id, &len));
	assert_int_equal(resets, 1025);
}

static void test_reset(void **state)
{
	struct rig *rig = *state;
	struct device *device = &rig->guest->virtio->device;
	int fd = connect_out(rig);

	device->class->reset(device);
	expect_host_end(fd);
	fd = greet(rig, "CONNECT 4000\n"); /* no driver */
	{
		char byte;

		assert_true(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
	}
	close(fd);
}

/* A guest that goes on elsewhere is told that its connections are gone; one that had none, not. */
static void test_transport_reset(void **state)
{
	struct rig *rig = *state;
	struct rig other = *rig;
	const struct virtio_guest_buffer event = {virtio_guest_alloc(rig->guest, 8, 8), 8, true};
	uint16_t id;
	uint32_t len;
	int fd = connect_out(rig);

	snprintf(other.path, sizeof(other.path), "%s/w", rig->folder);
	virtio_guest_move(rig->guest, make_device(&other, CID));
	virtio_guest_add(rig->guest, 2, &event, 1);
	virtio_guest_kick(rig->guest, 2);
	virtio_guest_wait(rig->guest, 2, &id, &len);
	assert_int_equal(len, 4);
	assert_int_equal(*(uint32_t *)virtio_guest_at(rig->guest, event.gpa, 4), VSOCK_EVENT_TRANSPORT_RESET);
	send_data(rig, HOST_PORT, "x", 1);
	expect_op(rig, VSOCK_OP_RST);
	close(fd);
	snprintf(other.path, sizeof(other.path), "%s/x", rig->folder);
	virtio_guest_move(rig->guest, make_device(&other, CID));
	virtio_guest_add(rig->guest, 2, &event, 1);
	virtio_guest_kick(rig->guest, 2);
	assert_false(virtio_guest_take(rig->guest, 2, &id, &len));
}

/* One more than there may be is refused, and does not disturb the others. */
static void test_too_many(void **state)
{
	struct rig *rig = *state;
	struct rlimit limit;
	static int fds[1024];
	unsigned count = 0;
	char byte;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < 4096)
		skip();
	limit.rlim_cur = 4096;
	setrlimit(RLIMIT_NOFILE, &limit);
	while (count < 1024) {
		fds[count++] = unix_socket_connect(rig->path, NULL);
		assert_true(fds[count - 1] >= 0);
		virtio_guest_run(rig->guest);
	}
	assert_int_equal(recv(fds[1023], &byte, 1, MSG_DONTWAIT), 0);
	assert_int_equal(recv(fds[1022], &byte, 1, MSG_DONTWAIT), -1);
	send_op(rig, VSOCK_OP_REQUEST, HOST_PORT);
	expect_op(rig, VSOCK_OP_RST);
	while (count > 0)
		close(fds[--count]);
	virtio_guest_run(rig->guest);
	close(accept(rig->listen_fd, NULL, NULL)); /* of the refused one */
	close(connect_out(rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guest_connects, start, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_listens, start, teardown),
		cmocka_unit_test_setup_teardown(test_host_connects, start, teardown),
		cmocka_unit_test_setup_teardown(test_greetings_that_are_none, start, teardown),
		cmocka_unit_test_setup_teardown(test_credit_of_the_guest, start, teardown),
		cmocka_unit_test_setup_teardown(test_credit_of_the_device, start, teardown),
		cmocka_unit_test_setup_teardown(test_half_closes, start, teardown),
		cmocka_unit_test_setup_teardown(test_packets_that_lie, start, teardown),
		cmocka_unit_test_setup_teardown(test_guest_takes_no_resets, start, teardown),
		cmocka_unit_test_setup_teardown(test_reset, start, teardown),
		cmocka_unit_test_setup_teardown(test_transport_reset, start, teardown),
		cmocka_unit_test_setup_teardown(test_too_many, start, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
