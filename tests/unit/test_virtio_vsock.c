/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: connections both ways over real unix sockets, credit, half closes and the end. */
#include "tests/unit/vsock_rig.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
