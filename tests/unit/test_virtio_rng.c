/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng: bytes of a source that the test holds, rates, sources that have nothing or end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/rng.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/base/clock.h"

static struct device *create(struct virtio_guest *guest, const char *source, uint64_t bytes_per_s,
			     uint64_t requests_per_s)
{
	const struct rng_config config = {
		.id = "rng0", .source = source, .bytes_per_s = bytes_per_s, .requests_per_s = requests_per_s};

	return rng_create(&guest->env, &config, &guest->err);
}

static uint64_t metric(const struct virtio_guest *guest, const char *name)
{
	const struct metric_field *field = guest->virtio->device.class->metrics;
	uint64_t value = 0;

	while (field->name && strcmp(field->name, name) != 0)
		field++;
	assert_non_null(field->name);
	memcpy(&value, (const uint8_t *)guest->virtio + field->offset, sizeof(value));
	return value;
}

static void bytes_come_from_the_source(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct virtio_guest *guest = virtio_guest_create();
		char path[] = "/tmp/vmmctl-rng-XXXXXX";
		uint8_t bytes[10];
		int fd = mkstemp(path);

		assert_true(fd >= 0);
		assert_int_equal(write(fd, "abcdefghijklmnopqrst", 20), 20);
		virtio_guest_start(guest, create(guest, path, 0, 0), ring, 0);
		virtio_guest_watch_writes(guest);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(virtio_guest_request(guest, 0, NULL, 0, bytes, 10), 10);
			assert_memory_equal(bytes, i ? "klmnopqrst" : "abcdefghij", 10);
		}
		assert_int_equal(metric(guest, "bytes"), 20);
		virtio_guest_destroy(guest);
		close(fd);
		unlink(path);
	}
	(void)state;
}

static void the_default_source(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	uint8_t first[32], second[32];

	virtio_guest_start(guest, create(guest, NULL, 0, 0), 0, 0);
	assert_int_equal(virtio_guest_request(guest, 0, NULL, 0, first, 32), 32);
	assert_int_equal(virtio_guest_request(guest, 0, NULL, 0, second, 32), 32);
	assert_memory_not_equal(first, second, 32);
	virtio_guest_destroy(guest);
	(void)state;
}

/* A buffer beyond the cap is used short; one with nothing to write comes back empty. */
static void odd_buffers(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	uint64_t gpa = virtio_guest_alloc(guest, 1 << 18, 16);
	const struct virtio_guest_buffer large = {gpa, 1 << 18, true}, readable = {gpa, 16, false};
	uint16_t id;
	uint32_t len;

	virtio_guest_start(guest, create(guest, NULL, 0, 0), 0, 0);
	virtio_guest_add(guest, 0, &large, 1);
	virtio_guest_add(guest, 0, &readable, 1);
	virtio_guest_kick(guest, 0);
	virtio_guest_wait(guest, 0, &id, &len);
	assert_in_range(len, 1, 1 << 16);
	virtio_guest_wait(guest, 0, &id, &len);
	assert_int_equal(len, 0);
	virtio_guest_destroy(guest);
	(void)state;
}

/* More buffers than one turn serves, all of them in the end. */
static void many_buffers(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	const struct virtio_guest_buffer buffer = {4096, 4, true};
	uint16_t id;
	uint32_t len;

	virtio_guest_attach(guest, create(guest, NULL, 0, 0));
	assert_true(virtio_guest_negotiate(guest, 0, 0));
	virtio_guest_set_up_queue(guest, 0, 64);
	virtio_guest_driver_ok(guest);
	for (unsigned i = 0; i < 64; i++)
		virtio_guest_add(guest, 0, &buffer, 1);
	virtio_guest_kick(guest, 0);
	for (unsigned i = 0; i < 64; i++)
		virtio_guest_wait(guest, 0, &id, &len);
	virtio_guest_destroy(guest);
	(void)state;
}

/* A pipe without bytes is waited for; with its end closed it is no source any more, and the buffer waits. */
static void a_source_without_bytes(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	char path[64];
	const struct virtio_guest_buffer buffer = {4096, 64, true};
	uint16_t id;
	uint32_t len;
	int fd;

	snprintf(path, sizeof(path), "/tmp/vmmctl-rng-%d.fifo", getpid());
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	virtio_guest_start(guest, create(guest, path, 0, 0), 0, 0);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	virtio_guest_add(guest, 0, &buffer, 1);
	virtio_guest_kick(guest, 0);
	assert_false(virtio_guest_take(guest, 0, &id, &len));
	assert_int_equal(guest->virtio->queue[0].in_flight, 0); /* a reset need not wait for it */
	assert_int_equal(write(fd, "xyz", 3), 3);
	virtio_guest_wait(guest, 0, &id, &len);
	assert_int_equal(len, 3);
	close(fd);
	virtio_guest_add(guest, 0, &buffer, 1);
	virtio_guest_kick(guest, 0);
	virtio_guest_kick(guest, 0);
	assert_false(virtio_guest_take(guest, 0, &id, &len));
	assert_int_equal(metric(guest, "source_errors"), 1);
	virtio_status_write(guest->virtio, 0);
	virtio_guest_destroy(guest);
	unlink(path);
	(void)state;
}

/* Ten requests at twenty a second, of which some pass at once: they take their time, and none is lost. */
static void the_rate_is_kept(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	uint64_t start_ns = clock_monotonic_ns();
	uint8_t bytes[100];

	virtio_guest_start(guest, create(guest, NULL, 0, 20), VIRTIO_GUEST_EVENT_IDX, 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(virtio_guest_request(guest, 0, NULL, 0, bytes, 100), 100);
	assert_true(clock_monotonic_ns() - start_ns > 250 * NS_PER_MS);
	assert_true(metric(guest, "throttled") >= 5);
	/* A reset in the middle of a wait. */
	virtio_status_write(guest->virtio, 0);
	virtio_guest_destroy(guest);
	(void)state;
}

static void the_rate_of_bytes_is_kept(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	uint64_t start_ns = clock_monotonic_ns();
	uint8_t bytes[1000];

	virtio_guest_start(guest, create(guest, NULL, 10000, 0), 0, 0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(virtio_guest_request(guest, 0, NULL, 0, bytes, 1000), 1000);
	assert_true(clock_monotonic_ns() - start_ns > 250 * NS_PER_MS);
	virtio_guest_destroy(guest);
	(void)state;
}

static void it_moves(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	uint8_t bytes[16];

	virtio_guest_start(guest, create(guest, NULL, 0, 0), VIRTIO_GUEST_PACKED, 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(virtio_guest_request(guest, 0, NULL, 0, bytes, 16), 16);
		virtio_guest_move(guest, create(guest, NULL, 0, 0));
	}
	virtio_guest_destroy(guest);
	(void)state;
}

static void sources_that_are_none(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();

	assert_null(create(guest, "/nonexistent/random", 0, 0));
	assert_non_null(strstr(guest->err.message, "/nonexistent/random"));
	assert_null(create(guest, "/tmp", 0, 0));
	virtio_guest_destroy(guest);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_come_from_the_source),
		cmocka_unit_test(the_default_source),
		cmocka_unit_test(odd_buffers),
		cmocka_unit_test(many_buffers),
		cmocka_unit_test(a_source_without_bytes),
		cmocka_unit_test(the_rate_is_kept),
		cmocka_unit_test(the_rate_of_bytes_is_kept),
		cmocka_unit_test(it_moves),
		cmocka_unit_test(sources_that_are_none),
	};

	return cmocka_run_group_tests_name("virtio_rng", tests, NULL, NULL);
}
