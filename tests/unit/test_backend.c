/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/backend: escapes, delivery at the device's pace, readers that stand still, sockets that come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/backend/char_gather.h"
#include "vmm/backend/char_input.h"
#include "vmm/backend/char_output.h"
#include "vmm/backend/escape.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/chardev.h"

static void test_escapes(void **state)
{
	struct escape escape = {0};
	static const struct {
		char second;
		enum escape_action action;
	} table[] = {
		{'h', ESCAPE_HELP},         {'?', ESCAPE_HELP},    {'x', ESCAPE_QUIT},
		{'b', ESCAPE_BREAK},        {'r', ESCAPE_RESET},   {'p', ESCAPE_POWER_BUTTON},
		{'k', ESCAPE_SWITCH_ACCEL}, {'z', ESCAPE_NOTHING},
	};
	uint8_t byte = 'x';

	assert_int_equal(escape_feed(&escape, &byte), ESCAPE_PASS);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		byte = 0x01;
		assert_int_equal(escape_feed(&escape, &byte), ESCAPE_NOTHING);
		byte = (uint8_t)table[i].second;
		assert_int_equal(escape_feed(&escape, &byte), table[i].action);
		byte = 'x';
		assert_int_equal(escape_feed(&escape, &byte), ESCAPE_PASS);
	}
}

static void test_escape_sends_itself(void **state)
{
	struct escape escape = {0};

	for (int i = 0; i < 2; i++) {
		uint8_t byte = 0x01;

		escape_feed(&escape, &byte);
		byte = i == 0 ? 'a' : 0x01;
		assert_int_equal(escape_feed(&escape, &byte), ESCAPE_PASS);
		assert_int_equal(byte, 0x01);
	}
}

/* A device that takes `room` bytes and no more until told. */
struct sink {
	struct chardev chardev;
	struct char_input input;
	struct loop *loop;
	size_t room;
	char text[8192];
	size_t len;
	size_t stop_at; /* stops the loop when this much has come */
	int last_event;
};

static size_t sink_can_receive(void *opaque)
{
	return ((struct sink *)opaque)->room;
}

static void sink_receive(void *opaque, const uint8_t *data, size_t len)
{
	struct sink *sink = opaque;

	assert_true(len <= sink->room);
	memcpy(sink->text + sink->len, data, len);
	sink->len += len;
	sink->room -= len;
	if (sink->len >= sink->stop_at)
		loop_stop(sink->loop, 0);
}

static void sink_event(void *opaque, int event)
{
	struct sink *sink = opaque;

	sink->last_event = event;
	if (event == CHARDEV_CLOSED)
		loop_stop(sink->loop, 0);
}

static void sink_init(struct sink *sink)
{
	const struct chardev_client client = {
		.can_receive = sink_can_receive,
		.receive = sink_receive,
		.event = sink_event,
		.opaque = sink,
	};

	memset(sink, 0, sizeof(*sink));
	sink->loop = loop_create(NULL);
	sink->input.chardev = &sink->chardev;
	sink->input.loop = sink->loop;
	chardev_attach(&sink->chardev, &client);
}

static void stop_loop(void *opaque)
{
	loop_stop(opaque, 1);
}

/* Runs the loop until it stops by itself (0), or 50 ms are over (1). */
static int run_a_while(struct loop *loop)
{
	struct loop_timer *timer = loop_timer_create(loop, stop_loop, loop, NULL);
	int value;

	loop_timer_arm(timer, clock_monotonic_ns() + 50 * NS_PER_MS);
	value = loop_run(loop);
	loop_timer_destroy(timer);
	return value;
}

static void test_input_waits_for_room(void **state)
{
	static struct sink sink;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	sink_init(&sink);
	sink.room = 3;
	sink.stop_at = 6;
	assert_int_equal(char_input_start(&sink.input, ends[0], NULL), 0);
	assert_int_equal(write(ends[1], "abcdef", 6), 6);
	assert_int_equal(run_a_while(sink.loop), 1);
	assert_int_equal(sink.len, 3);
	sink.room = 16;
	char_input_accept(&sink.input);
	assert_int_equal(run_a_while(sink.loop), 0);
	assert_string_equal(sink.text, "abcdef");
	char_input_stop(&sink.input);
	loop_destroy(sink.loop);
	close(ends[0]);
	close(ends[1]);
}

/* A full queue leaves the rest in the pipe, spins nowhere, and loses nothing. */
static void test_input_queue_is_bounded(void **state)
{
	static struct sink sink;
	static char data[6000];
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	sink_init(&sink);
	sink.stop_at = sizeof(data);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)('a' + i % 26);
	assert_int_equal(char_input_start(&sink.input, ends[0], NULL), 0);
	assert_int_equal(write(ends[1], data, sizeof(data)), sizeof(data));
	assert_int_equal(run_a_while(sink.loop), 1);
	assert_int_equal(sink.input.count, CHAR_INPUT_QUEUE_SIZE);
	assert_null(sink.input.watch);
	sink.room = sizeof(sink.text);
	char_input_accept(&sink.input);
	assert_int_equal(run_a_while(sink.loop), 0);
	assert_int_equal(sink.len, sizeof(data));
	assert_memory_equal(sink.text, data, sizeof(data));
	char_input_stop(&sink.input);
	loop_destroy(sink.loop);
	close(ends[0]);
	close(ends[1]);
}

static void test_input_from_a_file(void **state)
{
	static struct sink sink;
	char path[] = "/tmp/vmmctl-test-XXXXXX";
	int fd = mkstemp(path);

	assert_int_equal(write(fd, "from a file", 11), 11);
	lseek(fd, 0, SEEK_SET);
	sink_init(&sink);
	sink.room = sizeof(sink.text);
	sink.stop_at = 11;
	assert_int_equal(char_input_start(&sink.input, fd, NULL), 0); /* epoll refuses regular files */
	assert_int_equal(run_a_while(sink.loop), 0);
	assert_string_equal(sink.text, "from a file");
	assert_int_equal(run_a_while(sink.loop), 1); /* the end: quiet */
	char_input_stop(&sink.input);
	loop_destroy(sink.loop);
	close(fd);
	unlink(path);
}

#define STALLED_WRITES 60

static void test_output_gives_up_on_a_reader_that_stands_still(void **state)
{
	static uint8_t data[1 << 17];
	struct char_output output;
	uint64_t start_ns;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	output = (struct char_output){.fd = ends[1]};
	start_ns = clock_monotonic_ns();
	assert_int_equal(char_output_write(&output, data, sizeof(data)), sizeof(data));
	assert_true(output.stalled);
	assert_true(clock_monotonic_ns() - start_ns >= CHAR_OUTPUT_PATIENCE_MS * NS_PER_MS);
	/* It waits once, not at every byte: else these would take ten times as long as the busiest host does.
	 */
	start_ns = clock_monotonic_ns();
	for (unsigned i = 0; i < STALLED_WRITES; i++)
		char_output_write(&output, data, 1);
	assert_true(clock_monotonic_ns() - start_ns <
		    STALLED_WRITES * CHAR_OUTPUT_PATIENCE_MS * NS_PER_MS / 2);
	assert_true(read(ends[0], data, sizeof(data)) > 0);
	char_output_write(&output, data, 1);
	assert_false(output.stalled);
	close(ends[0]);
	close(ends[1]);
}

/* What stands in the pipe now. */
static const char *pipe_text(int fd)
{
	static char text[2 * CHAR_GATHER_SIZE];
	ssize_t got = read(fd, text, sizeof(text) - 1);

	text[got > 0 ? got : 0] = 0;
	return text;
}

static void test_output_is_gathered_by_lines(void **state)
{
	struct char_gather gather = {0};
	struct loop *loop = loop_create(NULL);
	uint8_t many[CHAR_GATHER_SIZE + 1];
	int ends[2];

	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	gather.output.fd = ends[1];
	assert_int_equal(char_gather_start(&gather, loop, NULL), 0);
	for (const char *at = "one\ntw"; *at; at++)
		assert_int_equal(char_gather_write(&gather, (const uint8_t *)at, 1), 1);
	assert_string_equal(pipe_text(ends[0]), "one\n");
	/* A line that does not end shows all the same. */
	while (gather.count)
		assert_true(loop_run_once(loop, 1000) >= 0);
	assert_string_equal(pipe_text(ends[0]), "tw");
	/* More than fits goes out behind what waits. */
	memset(many, 'x', sizeof(many));
	char_gather_write(&gather, (const uint8_t *)"o", 1);
	char_gather_write(&gather, many, sizeof(many));
	assert_int_equal(strlen(pipe_text(ends[0])), 1 + sizeof(many));
	char_gather_write(&gather, many, CHAR_GATHER_SIZE - 1);
	assert_string_equal(pipe_text(ends[0]), "");
	char_gather_write(&gather, many, 2);
	assert_int_equal(strlen(pipe_text(ends[0])), CHAR_GATHER_SIZE - 1);
	/* The rest goes out at the end. */
	char_gather_stop(&gather);
	assert_string_equal(pipe_text(ends[0]), "xx");
	char_gather_stop(&gather);
	loop_destroy(loop);
	close(ends[0]);
	close(ends[1]);
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void attach_sink(struct chardev *chardev, struct sink *sink)
{
	const struct chardev_client client = sink->chardev.client;

	chardev_attach(chardev, &client);
}

static void test_socket_clients_come_and_go(void **state)
{
	static struct sink sink;
	struct chardev_env env = {0};
	struct chardev *chardev;
	struct stat info;
	char text[8] = "";

	sink_init(&sink);
	sink.room = 100;
	env.loop = sink.loop;
	chardev = chardev_open("socket:/tmp/vmmctl-test-socket", &env, NULL);
	assert_non_null(chardev);
	attach_sink(chardev, &sink);
	assert_int_equal(chardev_write(chardev, (const uint8_t *)"lost", 4), 4);
	for (size_t i = 1; i <= 2; i++) {
		int fd = connect_to("/tmp/vmmctl-test-socket");

		sink.stop_at = 2 * i;
		assert_int_equal(write(fd, "hi", 2), 2);
		assert_int_equal(run_a_while(sink.loop), 0);
		assert_int_equal(sink.last_event, CHARDEV_OPENED);
		chardev_write(chardev, (const uint8_t *)"there", 5);
		assert_int_equal(read(fd, text, sizeof(text)), 5);
		close(fd);
		assert_int_equal(run_a_while(sink.loop), 0);
		assert_int_equal(sink.last_event, CHARDEV_CLOSED);
		chardev_write(chardev, (const uint8_t *)"gone", 4);
	}
	chardev_destroy(chardev);
	assert_int_equal(stat("/tmp/vmmctl-test-socket", &info), -1);
	loop_destroy(sink.loop);
}

static void test_socket_respects_what_is_there(void **state)
{
	struct loop *loop = loop_create(NULL);
	struct chardev_env env = {.loop = loop};
	struct chardev *first = chardev_open("socket:/tmp/vmmctl-test-socket", &env, NULL);
	struct err err = {0};

	assert_non_null(first);
	assert_null(chardev_open("socket:/tmp/vmmctl-test-socket", &env, &err)); /* in use */
	assert_int_equal(err.code, -EADDRINUSE);
	chardev_destroy(first);
	close(open("/tmp/vmmctl-test-socket", O_CREAT | O_WRONLY, 0600));
	assert_null(chardev_open("socket:/tmp/vmmctl-test-socket", &env,
				 NULL)); /* a file is nobody's to remove */
	unlink("/tmp/vmmctl-test-socket");
	loop_destroy(loop);
}

static void test_socket_replaces_a_stale_one(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/vmmctl-test-socket"};
	struct loop *loop = loop_create(NULL);
	struct chardev_env env = {.loop = loop};
	struct chardev *chardev;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	chardev = chardev_open("socket:/tmp/vmmctl-test-socket", &env, NULL);
	assert_non_null(chardev);
	chardev_destroy(chardev);
	loop_destroy(loop);
}

static void test_file_is_made_anew(void **state)
{
	struct loop *loop = loop_create(NULL);
	struct chardev_env env = {.loop = loop};
	char path[] = "/tmp/vmmctl-test-XXXXXX";
	char spec[64];
	char text[32] = "";
	struct chardev *chardev;
	int fd = mkstemp(path);

	assert_int_equal(write(fd, "old and longer", 14), 14);
	snprintf(spec, sizeof(spec), "file:%s", path);
	chardev = chardev_open(spec, &env, NULL);
	chardev_write(chardev, (const uint8_t *)"new", 3);
	chardev_destroy(chardev);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 3);
	close(fd);
	unlink(path);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_escape_sends_itself),
		cmocka_unit_test(test_input_waits_for_room),
		cmocka_unit_test(test_input_queue_is_bounded),
		cmocka_unit_test(test_input_from_a_file),
		cmocka_unit_test(test_output_is_gathered_by_lines),
		cmocka_unit_test(test_output_gives_up_on_a_reader_that_stands_still),
		cmocka_unit_test(test_socket_clients_come_and_go),
		cmocka_unit_test(test_socket_respects_what_is_there),
		cmocka_unit_test(test_socket_replaces_a_stale_one),
		cmocka_unit_test(test_file_is_made_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
