/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: packets that lie, guests that take nothing, resets, too many connections. */
#include "tests/unit/vsock_rig.h"

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

/* Buffers for a header alone, while there is data: they are used up, and the data comes with the next real
 * one. */
static void test_buffers_without_room(void **state)
{
	struct rig *rig = *state;
	int fd = connect_out(rig);

	assert_int_equal(send(fd, "data", 4, 0), 4);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(receive_room(rig, sizeof(struct vsock_header)));
		assert_int_equal(rig->got.op, VSOCK_OP_CREDIT_UPDATE);
	}
	expect_op(rig, VSOCK_OP_RW);
	assert_int_equal(rig->got.len, 4);
	close(fd);
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
		cmocka_unit_test_setup_teardown(test_packets_that_lie, start, teardown),
		cmocka_unit_test_setup_teardown(test_buffers_without_room, start, teardown),
		cmocka_unit_test_setup_teardown(test_guest_takes_no_resets, start, teardown),
		cmocka_unit_test_setup_teardown(test_reset, start, teardown),
		cmocka_unit_test_setup_teardown(test_transport_reset, start, teardown),
		cmocka_unit_test_setup_teardown(test_too_many, start, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
