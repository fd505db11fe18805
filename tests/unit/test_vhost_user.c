/* SPDX-License-Identifier: Apache-2.0 */
/* The vhost-user front end against a back end on a thread: requests on every ring, its end, its lies, its
 * return. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "devices/virtio/vhost_user.h"
#include "tests/unit/vhost_peer.h"
#include "tests/unit/virtio_guest.h"

#define F_PROTOCOL (1ull << 30)
#define F_VERSION  (1ull << 32)
#define BLK_FLUSH  (1ull << 9)
#define BLK_WCE    (1ull << 11) /* which needs a configuration that can be written */

struct rig {
	struct virtio_guest *guest;
	struct vhost_peer *peer;
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	rig->guest = virtio_guest_create();
	rig->peer = vhost_peer_start(F_PROTOCOL | F_VERSION | BLK_FLUSH | BLK_WCE | 1ull << 28);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	virtio_guest_destroy(rig->guest);
	vhost_peer_destroy(rig->peer);
	free(rig);
	return 0;
}

static struct device *make(struct rig *rig, enum vhost_user_kind kind)
{
	const struct vhost_user_config config = {
		.id = "vhost0",
		.kind = kind,
		.socket = rig->peer->path,
		.queues = 1,
		.tag = "files",
		.mac = {2, 3, 4, 5, 6, 7},
	};

	return vhost_user_create(&rig->guest->env, &config, &rig->guest->err);
}

static void start(struct rig *rig, enum vhost_user_kind kind, unsigned ring)
{
	struct device *device = make(rig, kind);

	if (!device)
		fail_msg("%s", rig->guest->err.message);
	virtio_guest_start(rig->guest, device, ring, kind == VHOST_USER_BLOCK ? BLK_FLUSH : 0);
}

/* A request with an answer: what was sent comes back. */
static void exchange(struct rig *rig, unsigned queue, const char *text)
{
	char in[64] = "";
	size_t length = strlen(text);

	assert_int_equal(virtio_guest_request(rig->guest, queue, text, length, in, sizeof(in)), length);
	assert_memory_equal(in, text, length);
}

/* Runs the loop until the device wants a reset. */
static void expect_needs_reset(struct rig *rig)
{
	for (unsigned i = 0; i < 1000; i++) {
		virtio_guest_run(rig->guest);
		if (virtio_status(rig->guest->virtio) & VIRTIO_STATUS_NEEDS_RESET)
			return;
		usleep(10000);
	}
	fail_msg("the device does not want a reset");
}

static void test_what_is_offered(void **state)
{
	struct rig *rig = *state;
	uint8_t bytes[60];

	start(rig, VHOST_USER_BLOCK, VIRTIO_GUEST_SPLIT);
	assert_true(rig->guest->virtio->features & BLK_FLUSH);
	assert_false(rig->guest->virtio->features & BLK_WCE);
	virtio_config_get(rig->guest->virtio, 0, bytes, sizeof(bytes));
	for (unsigned i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], i == 34 ? 1 : i == 35 ? 0 : i);
	/* The rings' features are between guest and device model, whatever the back end can. */
	assert_int_equal(atomic_load(&rig->peer->acked), F_PROTOCOL | F_VERSION | BLK_FLUSH);
	assert_int_equal(atomic_load(&rig->peer->memory_tables), 1);
}

static void test_requests_on_every_ring(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct rig *rig;

		if (ring > 0) {
			teardown(state);
			setup(state);
		}
		rig = *state;
		start(rig, VHOST_USER_BLOCK, ring);
		for (unsigned i = 0; i < 600; i++) /* the rings go round */
			exchange(rig, 0, "some bytes");
		assert_int_equal(atomic_load(&rig->peer->requests), 600);
	}
}

static void test_writes_are_announced(void **state)
{
	struct rig *rig = *state;
	uint64_t gpa = VIRTIO_GUEST_MORE_GPA - 100; /* the buffers cross two regions of memory */
	const struct virtio_guest_buffer buffers[2] = {{0x1000, 200, false}, {gpa, 300, true}};
	uint16_t id;
	uint32_t len;

	start(rig, VHOST_USER_BLOCK, VIRTIO_GUEST_SPLIT);
	memset(virtio_guest_at(rig->guest, 0x1000, 200), 0x5a, 200);
	virtio_guest_add(rig->guest, 0, buffers, 2);
	virtio_guest_watch_writes(rig->guest);
	virtio_guest_kick(rig->guest, 0);
	virtio_guest_wait(rig->guest, 0, &id, &len);
	virtio_guest_check_writes(rig->guest);
	assert_int_equal(len, 200);
	assert_int_equal(*(uint8_t *)virtio_guest_at(rig->guest, VIRTIO_GUEST_MORE_GPA, 1), 0x5a);
}

static void test_many_in_flight(void **state)
{
	struct rig *rig = *state;
	const struct virtio_guest_buffer buffers[2] = {{0x1000, 16, false}, {0x2000, 16, true}};
	unsigned done = 0;

	start(rig, VHOST_USER_BLOCK, VIRTIO_GUEST_SPLIT | VIRTIO_GUEST_INDIRECT);
	for (unsigned round = 0; round < 50; round++) {
		uint16_t id;
		uint32_t len;

		for (unsigned i = 0; i < 8; i++)
			virtio_guest_add(rig->guest, 0, buffers, 2);
		virtio_guest_kick(rig->guest, 0);
		for (unsigned i = 0; i < 8; i++, done++)
			virtio_guest_wait(rig->guest, 0, &id, &len);
	}
	assert_int_equal(atomic_load(&rig->peer->requests), done);
}

static void test_kinds(void **state)
{
	struct rig *rig = *state;
	uint8_t bytes[40];

	start(rig, VHOST_USER_FS, VIRTIO_GUEST_SPLIT);
	assert_int_equal(rig->guest->virtio->queue_count, 2);
	virtio_config_get(rig->guest->virtio, 0, bytes, sizeof(bytes));
	assert_memory_equal(bytes, "files\0\0\0", 8);
	assert_int_equal(bytes[36], 1);
	exchange(rig, 0, "urgent");
	exchange(rig, 1, "request");
	teardown(state);
	setup(state);
	rig = *state;
	start(rig, VHOST_USER_NET, VIRTIO_GUEST_SPLIT);
	virtio_config_get(rig->guest->virtio, 0, bytes, 8);
	assert_memory_equal(bytes, "\2\3\4\5\6\7\1\0", 8);
	exchange(rig, 1, "a packet");
}

/* Messages that are wrong before there is a device: none is made, and why is said. */
static void test_refused_at_creation(void **state)
{
	static const enum vhost_peer_fault faults[] = {PEER_ANSWERS_OTHER_REQUEST, PEER_ANSWERS_SHORT,
						       PEER_ANSWERS_WITHOUT_FLAG, PEER_CLOSES,
						       PEER_HAS_NO_CONFIG};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		atomic_store(&rig->peer->fault, faults[i]);
		assert_null(make(rig, VHOST_USER_BLOCK));
		assert_non_null(strstr(rig->guest->err.message, rig->peer->path));
	}
	atomic_store(&rig->peer->fault, PEER_HONEST);
	rig->peer->queue_count = 0;
	assert_null(make(rig, VHOST_USER_BLOCK));
	vhost_peer_end(rig->peer);
	assert_null(make(rig, VHOST_USER_BLOCK)); /* nobody is there */
	vhost_peer_restart(rig->peer);
	rig->peer->queue_count = 1;
	virtio_guest_attach(rig->guest, make(rig, VHOST_USER_BLOCK));
}

static void test_faults_while_it_runs(void **state)
{
	static const enum vhost_peer_fault faults[] = {PEER_USES_UNKNOWN_ID, PEER_USES_TWICE,
						       PEER_SPEAKS_UNASKED};
	const struct virtio_guest_buffer buffers[2] = {{0x1000, 16, false}, {0x2000, 16, true}};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct rig *rig;

		if (i > 0) {
			teardown(state);
			setup(state);
		}
		rig = *state;
		start(rig, VHOST_USER_BLOCK, VIRTIO_GUEST_SPLIT);
		exchange(rig, 0, "well");
		atomic_store(&rig->peer->fault, faults[i]);
		virtio_guest_add(rig->guest, 0, buffers, 2);
		virtio_guest_kick(rig->guest, 0);
		expect_needs_reset(rig);
	}
}

static void test_memory_is_refused(void **state)
{
	struct rig *rig = *state;

	atomic_store(&rig->peer->fault, PEER_REFUSES_MEMORY);
	virtio_guest_attach(rig->guest, make(rig, VHOST_USER_BLOCK));
	assert_true(virtio_guest_negotiate(rig->guest, VIRTIO_GUEST_SPLIT, 0));
	virtio_guest_set_up_queue(rig->guest, 0, 16);
	virtio_guest_driver_ok(rig->guest);
	expect_needs_reset(rig);
}

/* The peer does not have ROMs: it is not told of what it could not find. */
static void test_a_buffer_in_rom(void **state)
{
	struct rig *rig = *state;
	const struct virtio_guest_buffer buffers[2] = {{VIRTIO_GUEST_ROM_GPA, 16, false}, {0x2000, 16, true}};

	start(rig, VHOST_USER_BLOCK, VIRTIO_GUEST_SPLIT);
	virtio_guest_add(rig->guest, 0, buffers, 2);
	virtio_guest_kick(rig->guest, 0);
	expect_needs_reset(rig);
	assert_int_equal(atomic_load(&rig->peer->requests), 0);
}

static void test_written_length_is_cut(void **state)
{
	struct rig *rig = *state;
	char in[16];

	start(rig, VHOST_USER_BLOCK, VIRTIO_GUEST_SPLIT);
	atomic_store(&rig->peer->fault, PEER_WRITES_TOO_MUCH);
	assert_int_equal(virtio_guest_request(rig->guest, 0, "x", 1, in, sizeof(in)), sizeof(in));
}

static void reset_and_start(struct rig *rig)
{
	struct device *device = &rig->guest->virtio->device;

	device->class->reset(device);
	assert_true(virtio_guest_negotiate(rig->guest, VIRTIO_GUEST_SPLIT, 0));
	for (unsigned i = 0; i < rig->guest->virtio->queue_count; i++)
		virtio_guest_set_up_queue(rig->guest, i, 16);
	virtio_guest_driver_ok(rig->guest);
}

/* The process dies with a request in its hands, comes back, and a driver that resets the device goes on. */
static void test_death_and_return(void **state)
{
	struct rig *rig = *state;
	const struct virtio_guest_buffer buffers[2] = {{0x1000, 16, false}, {0x2000, 16, true}};
	time_t deadline;

	start(rig, VHOST_USER_BLOCK, VIRTIO_GUEST_SPLIT);
	exchange(rig, 0, "before");
	atomic_store(&rig->peer->fault, PEER_KEEPS_REQUESTS);
	virtio_guest_add(rig->guest, 0, buffers, 2);
	virtio_guest_kick(rig->guest, 0);
	vhost_peer_end(rig->peer);
	expect_needs_reset(rig);
	/* as long as it is away, the device does not work */
	reset_and_start(rig);
	expect_needs_reset(rig);
	atomic_store(&rig->peer->fault, PEER_HONEST);
	vhost_peer_restart(rig->peer);
	for (deadline = time(NULL) + 60; time(NULL) < deadline; usleep(20000)) {
		virtio_guest_run(rig->guest);
		reset_and_start(rig);
		if (virtio_is_active(rig->guest->virtio))
			break;
	}
	exchange(rig, 0, "after");
}

/* A reset stops the rings; buffers that wait for packets do not hold it up. */
static void test_reset(void **state)
{
	struct rig *rig = *state;
	const struct virtio_guest_buffer buffer = {0x2000, 64, true};

	start(rig, VHOST_USER_NET, VIRTIO_GUEST_SPLIT);
	atomic_store(&rig->peer->fault, PEER_KEEPS_REQUESTS);
	for (unsigned i = 0; i < 5; i++)
		virtio_guest_add(rig->guest, 0, &buffer, 1);
	virtio_guest_kick(rig->guest, 0);
	reset_and_start(rig);
	assert_int_equal(atomic_load(&rig->peer->stops), 2);
	atomic_store(&rig->peer->fault, PEER_HONEST);
	exchange(rig, 1, "again");
}

/* Buffers that wait survive a pause. */
static void test_pause(void **state)
{
	struct rig *rig = *state;
	struct device *device;
	const struct virtio_guest_buffer buffer = {0x2000, 64, true};
	uint16_t id;
	uint32_t len;

	start(rig, VHOST_USER_NET, VIRTIO_GUEST_SPLIT);
	device = &rig->guest->virtio->device;
	atomic_store(&rig->peer->fault, PEER_KEEPS_REQUESTS);
	for (unsigned i = 0; i < 3; i++)
		virtio_guest_add(rig->guest, 0, &buffer, 1);
	virtio_guest_kick(rig->guest, 0);
	device->class->pause(device);
	atomic_store(&rig->peer->fault, PEER_HONEST);
	device->class->resume(device);
	for (unsigned i = 0; i < 3; i++)
		virtio_guest_wait(rig->guest, 0, &id, &len);
	exchange(rig, 1, "and on");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_offered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests_on_every_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writes_are_announced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused_at_creation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults_while_it_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_buffer_in_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_written_length_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_death_and_return, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pause, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
