/* SPDX-License-Identifier: Apache-2.0 */
/* The console: bytes both ways, and the control messages that Linux's driver exchanges. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio/console.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/core/chardev.h"
#include "vmm/core/device.h"

#define MULTIPORT (1ull << 1)

enum { RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1 };
enum { DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };

/* A backend that keeps what is written to it. */
struct recorder {
	struct chardev chardev;
	char text[4096];
	size_t len;
	unsigned accepts;
};

static size_t recorder_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	struct recorder *recorder = (struct recorder *)chardev;

	assert_true(len <= sizeof(recorder->text) - recorder->len);
	memcpy(recorder->text + recorder->len, data, len);
	recorder->len += len;
	return len;
}

static void recorder_accept(struct chardev *chardev)
{
	((struct recorder *)chardev)->accepts++;
}

static const struct chardev_ops recorder_ops = {.write = recorder_write, .accept_input = recorder_accept};

struct bench {
	struct recorder recorder[2];
	struct virtio_guest *guest;
	struct device *device;
};

static struct device *make_console(struct bench *bench)
{
	const struct console_port_config ports[] = {
		{.chardev = &bench->recorder[0].chardev, .is_console = true, .is_connected = true},
		{.chardev = &bench->recorder[1].chardev, .name = "org.example.agent", .is_connected = false},
	};
	const struct console_config config = {.id = "console0", .port = ports, .port_count = 2};

	return console_create(&bench->guest->env, &config, &bench->guest->err);
}

static void set_up(struct bench *bench, unsigned ring, uint64_t features)
{
	memset(bench, 0, sizeof(*bench));
	bench->recorder[0].chardev.ops = &recorder_ops;
	bench->recorder[1].chardev.ops = &recorder_ops;
	bench->guest = virtio_guest_create();
	bench->device = make_console(bench);
	assert_non_null(bench->device);
	virtio_guest_start(bench->guest, bench->device, ring, features);
}

static void type(struct recorder *recorder, const char *text)
{
	const struct chardev_client *client = &recorder->chardev.client;

	assert_true(client->can_receive(client->opaque) >= strlen(text));
	client->receive(client->opaque, (const uint8_t *)text, strlen(text));
}

/* Puts a buffer for the device into a queue; returns where it is. */
static uint64_t offer(struct virtio_guest *guest, unsigned queue, uint32_t len)
{
	const struct virtio_guest_buffer buffer = {
		.gpa = virtio_guest_alloc(guest, len, 16), .len = len, .write = true};

	virtio_guest_add(guest, queue, &buffer, 1);
	virtio_guest_kick(guest, queue);
	return buffer.gpa;
}

struct control {
	uint32_t port;
	uint16_t event, value;
	char name[32];
};

static void tell(struct bench *bench, uint32_t port, uint16_t event, uint16_t value)
{
	const struct control control = {.port = port, .event = event, .value = value};

	virtio_guest_request(bench->guest, CONTROL_TX, &control, 8, NULL, 0);
}

/* The next control message of the device. */
static void expect(struct bench *bench, uint64_t *gpa, uint32_t port, uint16_t event, uint16_t value,
		   const char *name)
{
	struct control control = {0};
	uint16_t id;
	uint32_t len;

	assert_true(virtio_guest_take(bench->guest, CONTROL_RX, &id, &len));
	assert_true(len >= 8 && len <= sizeof(control));
	memcpy(&control, virtio_guest_at(bench->guest, *gpa, len), len);
	assert_int_equal(control.port, port);
	assert_int_equal(control.event, event);
	assert_int_equal(control.value, value);
	assert_string_equal(control.name, name);
	*gpa += 64;
}

static void test_a_driver_without_control_has_one_port(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct bench bench;
		uint64_t gpa;
		uint16_t id;
		uint32_t len;

		set_up(&bench, ring, 0);
		virtio_guest_request(bench.guest, TX0, "hello ", 6, NULL, 0);
		virtio_guest_request(bench.guest, TX0, "world", 5, NULL, 0);
		assert_int_equal(bench.recorder[0].len, 11);
		assert_memory_equal(bench.recorder[0].text, "hello world", 11);

		type(&bench.recorder[0], "abcdef");
		gpa = virtio_guest_alloc(bench.guest, 4, 16);
		virtio_guest_add(bench.guest, RX0, &(struct virtio_guest_buffer){gpa, 4, true}, 1);
		virtio_guest_watch_writes(bench.guest);
		virtio_guest_kick(bench.guest, RX0);
		virtio_guest_check_writes(bench.guest);
		assert_true(virtio_guest_take(bench.guest, RX0, &id, &len));
		assert_int_equal(len, 4);
		assert_memory_equal(virtio_guest_at(bench.guest, gpa, 4), "abcd", 4);
		gpa = offer(bench.guest, RX0, 16);
		assert_true(virtio_guest_take(bench.guest, RX0, &id, &len));
		assert_int_equal(len, 2);
		assert_memory_equal(virtio_guest_at(bench.guest, gpa, 2), "ef", 2);
		assert_true(bench.recorder[0].accepts > 0);
		/* Nothing to say: the buffer waits. */
		offer(bench.guest, RX0, 16);
		assert_false(virtio_guest_take(bench.guest, RX0, &id, &len));
		type(&bench.recorder[0], "x");
		virtio_guest_run(bench.guest);
		assert_true(virtio_guest_take(bench.guest, RX0, &id, &len));
		virtio_guest_destroy(bench.guest);
	}
}

/* Eight buffers in a row, 64 bytes apart. */
static uint64_t offer_control(struct bench *bench)
{
	uint64_t gpa = virtio_guest_alloc(bench->guest, 8 * 64, 64);

	for (unsigned i = 0; i < 8; i++)
		virtio_guest_add(bench->guest, CONTROL_RX,
				 &(struct virtio_guest_buffer){.gpa = gpa + i * 64, .len = 64, .write = true},
				 1);
	virtio_guest_kick(bench->guest, CONTROL_RX);
	return gpa;
}

static void test_ports_are_announced(void **state)
{
	struct bench bench;
	uint64_t gpa;

	set_up(&bench, 0, MULTIPORT);
	gpa = offer_control(&bench);
	tell(&bench, UINT32_MAX, DEVICE_READY, 1);
	expect(&bench, &gpa, 0, PORT_ADD, 1, "");
	expect(&bench, &gpa, 1, PORT_ADD, 1, "");
	tell(&bench, 0, PORT_READY, 1);
	expect(&bench, &gpa, 0, CONSOLE_PORT, 1, "");
	expect(&bench, &gpa, 0, PORT_OPEN, 1, "");
	tell(&bench, 1, PORT_READY, 1);
	expect(&bench, &gpa, 1, PORT_NAME, 1, "org.example.agent");
	expect(&bench, &gpa, 1, PORT_OPEN, 0, "");
	/* Somebody connects to the second. */
	bench.recorder[1].chardev.client.event(bench.recorder[1].chardev.client.opaque, CHARDEV_OPENED);
	virtio_guest_run(bench.guest);
	expect(&bench, &gpa, 1, PORT_OPEN, 1, "");
	virtio_guest_destroy(bench.guest);
}

static void test_messages_wait_for_buffers(void **state)
{
	struct bench bench;
	uint64_t gpa;
	uint16_t id;
	uint32_t len;

	set_up(&bench, 0, MULTIPORT);
	tell(&bench, UINT32_MAX, DEVICE_READY, 1);
	assert_false(virtio_guest_take(bench.guest, CONTROL_RX, &id, &len));
	gpa = offer_control(&bench);
	expect(&bench, &gpa, 0, PORT_ADD, 1, "");
	expect(&bench, &gpa, 1, PORT_ADD, 1, "");
	virtio_guest_destroy(bench.guest);
}

static void test_a_closed_port_takes_no_input(void **state)
{
	struct bench bench;
	const struct chardev_client *client;
	uint64_t gpa;
	uint16_t id;
	uint32_t len;

	set_up(&bench, 0, MULTIPORT);
	client = &bench.recorder[1].chardev.client;
	assert_int_equal(client->can_receive(client->opaque), 0);
	tell(&bench, 1, PORT_OPEN, 1);
	assert_true(client->can_receive(client->opaque) > 0);
	assert_true(bench.recorder[1].accepts > 0);
	type(&bench.recorder[1], "ping");
	gpa = offer(bench.guest, RX1, 16);
	assert_true(virtio_guest_take(bench.guest, RX1, &id, &len));
	assert_int_equal(len, 4);
	assert_memory_equal(virtio_guest_at(bench.guest, gpa, 4), "ping", 4);
	virtio_guest_request(bench.guest, TX1, "pong", 4, NULL, 0);
	assert_memory_equal(bench.recorder[1].text, "pong", 4);
	type(&bench.recorder[1], "lost");
	tell(&bench, 1, PORT_OPEN, 0);
	assert_int_equal(client->can_receive(client->opaque), 0);
	offer(bench.guest, RX1, 16);
	assert_false(virtio_guest_take(bench.guest, RX1, &id, &len));
	virtio_guest_destroy(bench.guest);
}

static void test_hostile_control_messages(void **state)
{
	static const struct control messages[] = {
		{.port = 2, .event = PORT_READY, .value = 1},
		{.port = UINT32_MAX, .event = PORT_OPEN, .value = 1},
		{.port = 0, .event = 77, .value = 1},
		{.port = 0, .event = PORT_REMOVE, .value = 1},
	};
	struct bench bench;
	uint16_t id;
	uint32_t len;

	set_up(&bench, 0, MULTIPORT);
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
		virtio_guest_request(bench.guest, CONTROL_TX, &messages[i], 8, NULL, 0);
	virtio_guest_request(bench.guest, CONTROL_TX, &messages[0], 5, NULL, 0);
	/* A buffer too small for a message is given back empty. */
	offer(bench.guest, CONTROL_RX, 3);
	tell(&bench, 0, DEVICE_READY, 1);
	assert_true(virtio_guest_take(bench.guest, CONTROL_RX, &id, &len));
	assert_int_equal(len, 0);
	assert_true(virtio_is_active(bench.guest->virtio));
	virtio_guest_destroy(bench.guest);
}

static void test_the_emergency_register(void **state)
{
	const uint32_t letter = 'E';
	struct bench bench;
	uint32_t ports = 0;

	set_up(&bench, 0, 0);
	virtio_config_read(bench.guest->virtio, 4, &ports, sizeof(ports));
	assert_int_equal(ports, 2);
	virtio_config_write(bench.guest->virtio, 8, &letter, sizeof(letter));
	virtio_config_write(bench.guest->virtio, 4, &letter, sizeof(letter));
	assert_int_equal(bench.recorder[0].len, 1);
	assert_int_equal(bench.recorder[0].text[0], 'E');
	virtio_guest_destroy(bench.guest);
}

static void test_reset_closes_and_forgets(void **state)
{
	struct bench bench;
	const struct chardev_client *client;

	set_up(&bench, 0, 0);
	client = &bench.recorder[0].chardev.client;
	type(&bench.recorder[0], "stale");
	virtio_status_write(bench.guest->virtio, 0);
	assert_int_equal(client->can_receive(client->opaque), 0);
	virtio_guest_destroy(bench.guest);
	assert_null(client->receive);
}

static void test_a_moved_console_keeps_its_input(void **state)
{
	struct bench bench;
	struct device *other;
	uint64_t gpa;
	uint16_t id;
	uint32_t len;

	set_up(&bench, 0, 0);
	type(&bench.recorder[0], "kept");
	other = make_console(&bench);
	assert_non_null(other);
	virtio_guest_move(bench.guest, other);
	gpa = offer(bench.guest, RX0, 16);
	virtio_guest_wait(bench.guest, RX0, &id, &len);
	assert_int_equal(len, 4);
	assert_memory_equal(virtio_guest_at(bench.guest, gpa, 4), "kept", 4);
	virtio_guest_destroy(bench.guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_driver_without_control_has_one_port),
		cmocka_unit_test(test_ports_are_announced),
		cmocka_unit_test(test_messages_wait_for_buffers),
		cmocka_unit_test(test_a_closed_port_takes_no_input),
		cmocka_unit_test(test_hostile_control_messages),
		cmocka_unit_test(test_the_emergency_register),
		cmocka_unit_test(test_reset_closes_and_forgets),
		cmocka_unit_test(test_a_moved_console_keeps_its_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
