/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-9p: the mount tag, messages through the ring to a real server, many at once, flush, reset in the
 * middle. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/9p.h"
#include "tests/unit/p9_folder.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/backend/p9/p9_wire.h"
#include "vmm/core/share.h"

struct rig {
	struct p9_folder *folder;
	struct virtio_guest *guest;
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	void *folder = NULL;

	if (!rig || p9_folder_setup(&folder) != 0)
		return -1;
	rig->folder = folder;
	rig->guest = virtio_guest_create();
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	void *folder = rig->folder;

	virtio_guest_destroy(rig->guest);
	free(rig);
	return p9_folder_teardown(&folder);
}

static struct device *make_with(struct rig *rig, const char *tag, bool own_thread)
{
	const struct share_config share = {.path = rig->folder->share};
	const struct virtio_9p_config config = {.id = "share0",
						.tag = tag,
						.own_thread = own_thread,
						.share = share_open_9p(&share, &rig->guest->err)};

	assert_non_null(config.share);
	return virtio_9p_create(&rig->guest->env, &config, &rig->guest->err);
}

static struct device *make(struct rig *rig, const char *tag)
{
	return make_with(rig, tag, false);
}

/* A message: header and fields, which the caller has put in wire order. */
static size_t message(uint8_t *bytes, unsigned type, unsigned tag, const void *fields, size_t length)
{
	struct p9_writer head = {bytes, bytes + P9_HEADER_SIZE, false};

	p9_put_u32(&head, (uint32_t)(P9_HEADER_SIZE + length));
	p9_put_u8(&head, (uint8_t)type);
	p9_put_u16(&head, (uint16_t)tag);
	memcpy(bytes + P9_HEADER_SIZE, fields, length);
	return P9_HEADER_SIZE + length;
}

static const char version_fields[] = "\0\0\1\0\10\0"
				     "9P2000.L";
static const char attach_fields[] = "\0\0\0\0\377\377\377\377\0\0\0\0\377\377\377\377";

static void start_session(struct virtio_guest *guest)
{
	uint8_t out[64], in[64];
	size_t size = message(out, P9_TVERSION, P9_NO_TAG, version_fields, sizeof(version_fields) - 1);

	assert_int_equal(virtio_guest_request(guest, 0, out, size, in, sizeof(in)), 21);
	size = message(out, P9_TATTACH, 1, attach_fields, sizeof(attach_fields) - 1);
	assert_int_equal(virtio_guest_request(guest, 0, out, size, in, sizeof(in)),
			 P9_HEADER_SIZE + P9_QID_SIZE);
	assert_int_equal(in[4], P9_TATTACH + 1);
}

static void test_tag(void **state)
{
	struct rig *rig = *state;
	char long_tag[300], bytes[8];

	memset(long_tag, 'x', sizeof(long_tag));
	long_tag[256] = '\0';
	assert_null(make(rig, ""));
	assert_null(make(rig, long_tag));
	virtio_guest_start(rig->guest, make(rig, "source"), VIRTIO_GUEST_SPLIT, 1);
	virtio_config_get(rig->guest->virtio, 0, bytes, 8);
	assert_memory_equal(bytes, "\6\0source", 8);
	assert_true(rig->guest->virtio->features & 1);
}

static void check_writes_are_announced(struct virtio_guest *guest, const uint8_t *out, size_t size)
{
	uint64_t gpa = virtio_guest_alloc(guest, 512, 16);
	const struct virtio_guest_buffer buffers[2] = {{gpa, (uint32_t)size, false}, {gpa + 256, 256, true}};
	uint16_t id;
	uint32_t len;

	memcpy(virtio_guest_at(guest, gpa, size), out, size);
	virtio_guest_add(guest, 0, buffers, 2);
	virtio_guest_watch_writes(guest);
	virtio_guest_kick(guest, 0);
	virtio_guest_wait(guest, 0, &id, &len);
	virtio_guest_check_writes(guest);
}

static void test_every_ring(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct rig *rig;
		uint8_t out[64], in[256];
		size_t size;

		if (ring > 0) {
			teardown(state);
			assert_int_equal(setup(state), 0);
		}
		rig = *state;
		virtio_guest_start(rig->guest, make(rig, "t"), ring, 1);
		start_session(rig->guest);
		size = message(out, P9_TGETATTR, 2, "\0\0\0\0\377\7\0\0\0\0\0\0", 12);
		assert_int_equal(virtio_guest_request(rig->guest, 0, out, size, in, sizeof(in)), 160);
		/* no room for an answer, and nothing to answer to */
		assert_int_equal(virtio_guest_request(rig->guest, 0, out, size, NULL, 0), 0);
		assert_int_equal(virtio_guest_request(rig->guest, 0, out, 3, in, sizeof(in)), 0);
		assert_int_equal(virtio_guest_request(rig->guest, 0, NULL, 0, in, sizeof(in)), 0);
		check_writes_are_announced(rig->guest, out, size);
		assert_true(virtio_is_active(rig->guest->virtio));
	}
}

/* Many messages at once and flushes among them: every one is answered (who waits for whom, the server's test
 * knows). */
static void test_many_at_once(void **state)
{
	struct rig *rig = *state;
	uint16_t ids[8];
	unsigned answered = 0;

	virtio_guest_start(rig->guest, make(rig, "t"), VIRTIO_GUEST_SPLIT | VIRTIO_GUEST_EVENT_IDX, 1);
	start_session(rig->guest);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t gpa = virtio_guest_alloc(rig->guest, 512, 16);
		uint8_t *bytes = virtio_guest_at(rig->guest, gpa, 512);
		size_t size =
			i % 2 == 0 ? message(bytes, P9_TGETATTR, 10 + i, "\0\0\0\0\377\7\0\0\0\0\0\0", 12)
				   : message(bytes, P9_TFLUSH, 10 + i, (uint8_t[]){(uint8_t)(9 + i), 0}, 2);
		const struct virtio_guest_buffer buffers[2] = {{gpa, (uint32_t)size, false},
							       {gpa + 256, 256, true}};

		ids[i] = virtio_guest_add(rig->guest, 0, buffers, 2);
	}
	virtio_guest_kick(rig->guest, 0);
	while (answered < 8) {
		uint16_t id;
		uint32_t len;

		virtio_guest_wait(rig->guest, 0, &id, &len);
		for (unsigned i = 0; i < 8; i++) {
			if (ids[i] != id)
				continue;
			assert_int_equal(len, i % 2 == 0 ? 160 : P9_HEADER_SIZE);
		}
		answered++;
	}
}

/* A reset ends the session: what was open is closed, and a new driver begins from the start. */
static void test_reset(void **state)
{
	struct rig *rig = *state;
	uint8_t out[64], in[64];
	struct device *device = make(rig, "t");
	size_t size;

	virtio_guest_start(rig->guest, device, VIRTIO_GUEST_SPLIT, 1);
	start_session(rig->guest);
	device->class->reset(device);
	assert_true(virtio_guest_negotiate(rig->guest, VIRTIO_GUEST_SPLIT, 1));
	virtio_guest_set_up_queue(rig->guest, 0, 16);
	virtio_guest_driver_ok(rig->guest);
	size = message(out, P9_TCLUNK, 1, "\0\0\0\0", 4);
	assert_int_equal(virtio_guest_request(rig->guest, 0, out, size, in, sizeof(in)), 11);
	assert_int_equal(in[4], P9_RLERROR);
	start_session(rig->guest);
}

/* The device's own thread serves it, and a sync, which goes to another one, is answered too. */
static void test_own_thread(void **state)
{
	struct rig *rig = *state;
	uint8_t out[64], in[256];
	struct device *device = make_with(rig, "t", true);
	size_t size;

	virtio_guest_start(rig->guest, device, VIRTIO_GUEST_SPLIT, 1);
	start_session(rig->guest);
	size = message(out, P9_TLOPEN, 1, "\0\0\0\0\0\0\2\0", 8);
	assert_int_equal(virtio_guest_request(rig->guest, 0, out, size, in, sizeof(in)), 24);
	size = message(out, P9_TFSYNC, 2, "\0\0\0\0\0\0\0\0", 8);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(virtio_guest_request(rig->guest, 0, out, size, in, sizeof(in)),
				 P9_HEADER_SIZE);
		assert_int_equal(in[4], P9_TFSYNC + 1);
	}
	device->class->reset(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tag, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_thread, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
