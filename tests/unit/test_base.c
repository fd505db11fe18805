/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/base: errors, sizes, log levels, event loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/size.h"
#include "vmm/base/text.h"

static void test_err_set_and_prefix(void **state)
{
	struct err err = {0};

	assert_int_equal(err_set(&err, -EINVAL, "bad %d", 7), -EINVAL);
	assert_string_equal(err.message, "bad 7");
	assert_int_equal(err_prefix(&err, "file %s", "x"), -EINVAL);
	assert_string_equal(err.message, "file x: bad 7");
	assert_int_equal(err_set_errno(&err, -ENOENT, "open"), -ENOENT);
	assert_string_equal(err.message, "open: No such file or directory");
	assert_int_equal(err_set(NULL, -EIO, "lost"), -EIO);
	assert_int_equal(err_prefix(NULL, "lost"), -EIO);
}

static void test_err_cuts_long_messages(void **state)
{
	struct err err = {0};
	char text[2 * ERR_MESSAGE_SIZE];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.message), ERR_MESSAGE_SIZE - 1);
	err_prefix(&err, "%s", "p");
	assert_int_equal(strlen(err.message), ERR_MESSAGE_SIZE - 1);
	assert_memory_equal(err.message, "p: aaa", 6);
}

static void test_size_parse(void **state)
{
	static const struct {
		const char *text;
		uint64_t size_bytes;
	} good[] = {
		{"512", 512 * SIZE_MIB},
		{"512M", 512 * SIZE_MIB},
		{"2G", 2 * SIZE_GIB},
		{"1T", 1024 * SIZE_GIB},
		{"64k", 64 * SIZE_KIB},
		{"7B", 7},
		{"1MiB", SIZE_MIB},
		{"3gb", 3 * SIZE_GIB},
		{"0", 0},
		{"17179869183G", 17179869183ull << 30},
	};
	static const char *const bad[] = {"",    "M",  "-1M", "1.5G", "1X", "1MM",
					  "1Bi", " 1", "1 M", "0x10", "1BB"};
	uint64_t size_bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(size_parse(good[i].text, SIZE_MIB, &size_bytes, NULL), 0);
		assert_true(size_bytes == good[i].size_bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(size_parse(bad[i], SIZE_MIB, &size_bytes, NULL), -EINVAL);
	assert_int_equal(size_parse("17179869184G", SIZE_MIB, &size_bytes, NULL), -ERANGE);
	assert_int_equal(size_parse("99999999999999999999B", SIZE_MIB, &size_bytes, NULL), -ERANGE);
}

static void test_size_format_reads_back(void **state)
{
	static const uint64_t sizes[] = {
		0, 1, 1023, 1024, 1536, SIZE_MIB, 512 * SIZE_MIB, 3 * SIZE_GIB, SIZE_GIB + 1};
	char text[SIZE_TEXT_MAX];
	uint64_t size_bytes;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_format(sizes[i], text);
		assert_int_equal(size_parse(text, 1, &size_bytes, NULL), 0);
		assert_true(size_bytes == sizes[i]);
	}
	size_format(512 * SIZE_MIB, text);
	assert_string_equal(text, "512M");
}

static void test_number_parse(void **state)
{
	uint64_t value;

	assert_int_equal(number_parse("0x501", &value, NULL), 0);
	assert_int_equal(value, 0x501);
	assert_int_equal(number_parse("42", &value, NULL), 0);
	assert_int_equal(value, 42);
	assert_int_equal(number_parse("0x", &value, NULL), -EINVAL);
	assert_int_equal(number_parse("-1", &value, NULL), -EINVAL);
	assert_int_equal(number_parse("1a", &value, NULL), -EINVAL);
	assert_int_equal(number_parse("0x10000000000000000", &value, NULL), -ERANGE);
}

static void test_text_append_cuts(void **state)
{
	char text[8] = "";

	text_append(text, sizeof(text), "%s", "abcd");
	text_append(text, sizeof(text), "%s", "efghij");
	assert_string_equal(text, "abcdefg");
	text_append(text, sizeof(text), "x");
	assert_string_equal(text, "abcdefg");
}

static void test_muldiv_does_not_overflow(void **state)
{
	assert_true(muldiv64(UINT64_MAX, NS_PER_S, NS_PER_S) == UINT64_MAX);
	assert_true(muldiv64(3, 5, 2) == 7);
}

static void test_log_levels_and_lines(void **state)
{
	enum log_level level;
	char text[256] = "";
	int ends[2];

	assert_int_equal(log_level_from_name("Warn", &level), 0);
	assert_int_equal(level, LOG_WARNING);
	assert_int_equal(log_level_from_name("loud", &level), -EINVAL);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(log_set_fd(ends[1]), 0);
	log_set_level(LOG_INFO);
	log_debug("not seen");
	log_info("seen %d", 1);
	log_set_raw_tty(true);
	log_error("raw");
	log_set_raw_tty(false);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "vmmctl: info: seen 1\nvmmctl: error: raw\r\n");
	log_set_fd(STDERR_FILENO);
	close(ends[0]);
	close(ends[1]);
}

static void test_log_limit_counts_what_it_drops(void **state)
{
	struct log_limit limit = {0};
	char text[4096] = "";
	int ends[2];
	size_t lines = 0;

	assert_int_equal(pipe(ends), 0);
	log_set_fd(ends[1]);
	log_set_level(LOG_WARNING);
	for (int i = 0; i < 100; i++)
		log_limited(&limit, LOG_WARNING, "guest did %d", i);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, 10);
	assert_int_equal(limit.dropped, 90);
	log_set_fd(STDERR_FILENO);
	close(ends[0]);
	close(ends[1]);
}

struct loop_probe {
	struct loop *loop;
	struct loop_timer *timer;
	struct loop_fd *watch, *other;
	int fd;
	unsigned calls;
	uint64_t fired_ns;
};

static void probe_count(void *opaque)
{
	struct loop_probe *probe = opaque;

	if (++probe->calls == 3)
		loop_stop(probe->loop, 42);
}

static void *probe_post_thrice(void *opaque)
{
	for (int i = 0; i < 3; i++)
		loop_post(((struct loop_probe *)opaque)->loop, probe_count, opaque);
	return NULL;
}

static void test_loop_post_from_another_thread(void **state)
{
	struct loop_probe probe = {.loop = loop_create(NULL)};
	pthread_t thread;

	assert_non_null(probe.loop);
	pthread_create(&thread, NULL, probe_post_thrice, &probe);
	assert_int_equal(loop_run(probe.loop), 42);
	pthread_join(thread, NULL);
	assert_int_equal(probe.calls, 3);
	loop_destroy(probe.loop);
}

static void test_loop_post_is_bounded(void **state)
{
	struct loop_probe probe = {.loop = loop_create(NULL)};

	for (int i = 0; i < LOOP_POST_MAX; i++)
		assert_int_equal(loop_post(probe.loop, probe_count, &probe), 0);
	assert_int_equal(loop_post(probe.loop, probe_count, &probe), -EAGAIN);
	assert_int_equal(loop_run(probe.loop), 42);
	assert_int_equal(probe.calls, LOOP_POST_MAX);
	loop_destroy(probe.loop);
}

static void probe_add(void *opaque)
{
	struct loop_probe *probe = opaque;

	assert_true(loop_is_mine(probe->loop));
	probe->calls++;
}

static void *probe_run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

/* A call from outside is done when loop_call returns; from inside, or where nobody runs the loop, it is
 * direct. */
static void test_loop_call_waits(void **state)
{
	struct loop_probe probe = {.loop = loop_create(NULL)};
	pthread_t thread;

	loop_call(probe.loop, probe_add, &probe);
	assert_int_equal(probe.calls, 1);
	pthread_create(&thread, NULL, probe_run_loop, probe.loop);
	for (unsigned i = 2; i < 1000; i++) {
		loop_call(probe.loop, probe_add, &probe);
		assert_int_equal(probe.calls, i);
	}
	loop_stop(probe.loop, 0);
	loop_call(probe.loop, probe_add, &probe); /* whether the thread has gone or not */
	assert_int_equal(probe.calls, 1000);
	pthread_join(thread, NULL);
	assert_true(loop_is_mine(probe.loop));
	loop_destroy(probe.loop);
	(void)state;
}

static void test_loop_runs_once(void **state)
{
	struct loop_probe probe = {.loop = loop_create(NULL)};

	assert_int_equal(loop_run_once(probe.loop, 0), 0);
	loop_post(probe.loop, probe_add, &probe);
	assert_int_equal(loop_run_once(probe.loop, 1000), 0);
	assert_int_equal(probe.calls, 1);
	loop_destroy(probe.loop);
	(void)state;
}

static void probe_fired(void *opaque)
{
	struct loop_probe *probe = opaque;

	probe->fired_ns = clock_monotonic_ns();
	loop_stop(probe->loop, 0);
}

static void test_loop_timer_fires_at_its_time(void **state)
{
	struct loop_probe probe = {.loop = loop_create(NULL)};
	uint64_t deadline_ns = clock_monotonic_ns() + 20 * NS_PER_MS;

	probe.timer = loop_timer_create(probe.loop, probe_fired, &probe, NULL);
	loop_timer_arm(probe.timer, clock_monotonic_ns() + 3600 * NS_PER_S);
	loop_timer_arm(probe.timer, UINT64_MAX);
	loop_timer_arm(probe.timer, deadline_ns);
	loop_run(probe.loop);
	assert_true(probe.fired_ns >= deadline_ns);
	probe.fired_ns = 0;
	loop_timer_arm(probe.timer, 0); /* long past: at once, and not "disarm" */
	loop_run(probe.loop);
	assert_true(probe.fired_ns > 0);
	loop_timer_destroy(probe.timer);
	loop_destroy(probe.loop);
}

/* Whichever of two ready watches runs first removes both: the second must not be called. */
static void probe_remove_both(void *opaque, uint32_t events)
{
	struct loop_probe *probe = opaque;

	probe->calls++;
	loop_fd_remove(probe->watch);
	loop_fd_remove(probe->other);
	loop_stop(probe->loop, 0);
}

static void test_loop_watch_removed_in_its_batch(void **state)
{
	struct loop_probe probe = {.loop = loop_create(NULL)};
	int ends[2];
	int copy;

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	copy = dup(ends[0]);
	probe.watch = loop_fd_add(probe.loop, ends[0], EPOLLIN, probe_remove_both, &probe, NULL);
	probe.other = loop_fd_add(probe.loop, copy, EPOLLIN, probe_remove_both, &probe, NULL);
	loop_run(probe.loop);
	assert_int_equal(probe.calls, 1);
	loop_destroy(probe.loop);
	close(copy);
	close(ends[0]);
	close(ends[1]);
}

static void test_loop_refuses_a_closed_descriptor(void **state)
{
	struct loop *loop = loop_create(NULL);
	struct err err = {0};

	assert_null(loop_fd_add(loop, 1000, EPOLLIN, probe_remove_both, NULL, &err));
	assert_int_equal(err.code, -EBADF);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_set_and_prefix),
		cmocka_unit_test(test_err_cuts_long_messages),
		cmocka_unit_test(test_size_parse),
		cmocka_unit_test(test_size_format_reads_back),
		cmocka_unit_test(test_number_parse),
		cmocka_unit_test(test_text_append_cuts),
		cmocka_unit_test(test_muldiv_does_not_overflow),
		cmocka_unit_test(test_log_levels_and_lines),
		cmocka_unit_test(test_log_limit_counts_what_it_drops),
		cmocka_unit_test(test_loop_post_from_another_thread),
		cmocka_unit_test(test_loop_post_is_bounded),
		cmocka_unit_test(test_loop_call_waits),
		cmocka_unit_test(test_loop_runs_once),
		cmocka_unit_test(test_loop_timer_fires_at_its_time),
		cmocka_unit_test(test_loop_watch_removed_in_its_batch),
		cmocka_unit_test(test_loop_refuses_a_closed_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
