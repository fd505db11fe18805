/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon: what the guest lends leaves the host's memory, whatever page numbers it makes up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "devices/virtio/balloon.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/core/device.h"

#define STATS_VQ       (1ull << 1)
#define DEFLATE_ON_OOM (1ull << 2)
#define REPORTING      (1ull << 5)

enum { INFLATE, DEFLATE };

#define VICTIM_GPA 0x200000u /* far from what the fixture allocates */

static struct virtio_guest *start(const struct balloon_config *config, unsigned ring, uint64_t features,
				  struct device **device)
{
	struct virtio_guest *guest = virtio_guest_create();

	*device = balloon_create(&guest->env, config, &guest->err);
	assert_non_null(*device);
	virtio_guest_start(guest, *device, ring, features);
	return guest;
}

/* KiB of the region of low memory that the host holds. */
static uint64_t held_bytes(struct virtio_guest *guest)
{
	struct stat status;

	assert_int_equal(fstat(gmem_region_find(guest->gmem, 0)->fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

static void fill(struct virtio_guest *guest, unsigned pages)
{
	memset(virtio_guest_at(guest, VICTIM_GPA, pages * 4096), 0xa5, pages * 4096);
}

static void test_inflated_pages_leave_the_host(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		const struct balloon_config config = {.id = "balloon0", .size_bytes = 1 << 20};
		struct device *device;
		struct virtio_guest *guest = start(&config, ring, 0, &device);
		uint32_t pfn[64];
		struct virtio_guest_buffer buffer = {.len = sizeof(pfn)};
		uint64_t before;
		uint16_t id;
		uint32_t len;

		fill(guest, 66);
		for (unsigned i = 0; i < 64; i++) /* downwards, as Linux gives them */
			pfn[i] = VICTIM_GPA / 4096 + 63 - i;
		buffer.gpa = virtio_guest_alloc(guest, sizeof(pfn), 16);
		memcpy(virtio_guest_at(guest, buffer.gpa, sizeof(pfn)), pfn, sizeof(pfn));
		virtio_guest_add(guest, INFLATE, &buffer, 1);
		virtio_guest_watch_writes(guest);
		before = held_bytes(guest);
		virtio_guest_kick(guest, INFLATE);
		assert_true(held_bytes(guest) <= before - 60 * 4096);
		virtio_guest_check_writes(guest);
		assert_true(virtio_guest_take(guest, INFLATE, &id, &len));
		assert_int_equal(len, 0);
		assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA, 1), 0);
		assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA + 64 * 4096, 1), 0xa5);
		assert_int_equal(virtio_guest_request(guest, DEFLATE, pfn, sizeof(pfn), NULL, 0), 0);
		fill(guest, 64);
		assert_true(held_bytes(guest) >= before - 4096);
		virtio_guest_destroy(guest);
	}
}

static void test_invented_pages_are_refused(void **state)
{
	static const uint32_t pfn[] = {
		UINT32_MAX,        VIRTIO_GUEST_HOLE_GPA / 4096, VIRTIO_GUEST_ROM_GPA / 4096, 0xfffff,
		VICTIM_GPA / 4096,
	};
	const struct balloon_config config = {.id = "balloon0"};
	struct device *device;
	struct virtio_guest *guest = start(&config, 0, 0, &device);
	uint8_t *rom = virtio_guest_at(guest, VIRTIO_GUEST_ROM_GPA, 1);
	uint8_t odd[7] = {0};

	fill(guest, 1);
	*rom = 0x5a;
	virtio_guest_request(guest, INFLATE, pfn, sizeof(pfn), NULL, 0);
	assert_int_equal(*rom, 0x5a);
	assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA, 1), 0);
	/* Seven bytes are one page number and a rest: page 0. */
	virtio_guest_request(guest, INFLATE, odd, sizeof(odd), NULL, 0);
	assert_true(virtio_is_active(guest->virtio));
	virtio_guest_destroy(guest);
}

static void test_the_target_is_told(void **state)
{
	const struct balloon_config config = {.id = "balloon0", .size_bytes = 64 << 20};
	struct device *device;
	struct virtio_guest *guest = start(&config, 0, 0, &device);
	struct balloon_status status;
	uint32_t pages = 5;

	balloon_get_status(device, &status);
	assert_int_equal(status.target_bytes, 64 << 20);
	assert_int_equal(balloon_set_target(device, 3 << 20, &guest->err), 0);
	assert_int_equal(guest->config_interrupts, 1);
	virtio_config_read(guest->virtio, 0, &pages, sizeof(pages));
	assert_int_equal(pages, (3 << 20) / 4096);
	pages = 700;
	virtio_config_write(guest->virtio, 4, &pages, sizeof(pages));
	balloon_get_status(device, &status);
	assert_int_equal(status.actual_bytes, 700 * 4096);
	/* The target is ours: the driver's write does nothing. */
	virtio_config_write(guest->virtio, 0, &pages, sizeof(pages));
	balloon_get_status(device, &status);
	assert_int_equal(status.target_bytes, 3 << 20);
	assert_int_equal(balloon_set_target(device, 4097, &guest->err), -EINVAL);
	assert_int_equal(balloon_set_target(device, 1ull << 45, &guest->err), -EINVAL);
	virtio_guest_destroy(guest);
}

static void test_reported_ranges_leave_the_host(void **state)
{
	const struct balloon_config config = {
		.id = "balloon0", .page_reporting = true, .stats_interval_s = 1};
	const struct virtio_guest_buffer buffers[] = {
		{.gpa = VICTIM_GPA, .len = 16 * 4096, .write = true},
		{.gpa = VICTIM_GPA + 32 * 4096 + 100,
		 .len = 2 * 4096,
		 .write = true}, /* one whole page lies in it */
	};
	/* The queue moves up when the statistics are not chosen. */
	for (unsigned has_stats = 0; has_stats < 2; has_stats++) {
		struct device *device;
		struct virtio_guest *guest =
			start(&config, 0, REPORTING | (has_stats ? STATS_VQ : 0), &device);
		unsigned queue = 2 + has_stats;
		uint16_t id;
		uint32_t len;

		fill(guest, 40);
		virtio_guest_add(guest, queue, buffers, 2);
		virtio_guest_watch_writes(guest);
		virtio_guest_kick(guest, queue);
		virtio_guest_check_writes(guest);
		assert_true(virtio_guest_take(guest, queue, &id, &len));
		assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA + 15 * 4096, 1), 0);
		assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA + 16 * 4096, 1), 0xa5);
		assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA + 32 * 4096, 1), 0xa5);
		assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA + 33 * 4096, 1), 0);
		assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA + 34 * 4096, 1), 0xa5);
		virtio_guest_destroy(guest);
	}
}

static void test_pinned_memory_stays(void **state)
{
	const uint32_t pfn = VICTIM_GPA / 4096;
	const struct balloon_config config = {.id = "balloon0"};
	struct device *device;
	struct virtio_guest *guest = start(&config, 0, 0, &device);

	fill(guest, 1);
	gmem_pin(guest->gmem);
	virtio_guest_request(guest, INFLATE, &pfn, sizeof(pfn), NULL, 0);
	assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA, 1), 0xa5);
	gmem_unpin(guest->gmem);
	virtio_guest_request(guest, INFLATE, &pfn, sizeof(pfn), NULL, 0);
	assert_int_equal(*(uint8_t *)virtio_guest_at(guest, VICTIM_GPA, 1), 0);
	virtio_guest_destroy(guest);
}

struct entry {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

static void test_statistics_go_round(void **state)
{
	const struct balloon_config config = {.id = "balloon0", .stats_interval_s = 1};
	const struct entry entries[] = {{4, 123456}, {5, 777}, {99, 1}};
	struct device *device;
	struct virtio_guest *guest = start(&config, 0, STATS_VQ, &device);
	struct virtio_guest_buffer buffer = {.len = sizeof(entries)};
	struct balloon_status status;
	uint16_t id;
	uint32_t len;

	balloon_get_status(device, &status);
	assert_true(status.stat[BALLOON_STAT_FREE_MEMORY] == UINT64_MAX);
	buffer.gpa = virtio_guest_alloc(guest, sizeof(entries), 16);
	memcpy(virtio_guest_at(guest, buffer.gpa, sizeof(entries)), entries, sizeof(entries));
	virtio_guest_add(guest, 2, &buffer, 1);
	virtio_guest_kick(guest, 2);
	/* The buffer stays until the next ones are wanted. */
	assert_false(virtio_guest_take(guest, 2, &id, &len));
	balloon_get_status(device, &status);
	assert_int_equal(status.stat[BALLOON_STAT_FREE_MEMORY], 123456);
	assert_int_equal(status.stat[BALLOON_STAT_TOTAL_MEMORY], 777);
	virtio_guest_wait(guest, 2, &id, &len);
	/* And a reset with the buffer in hand is survived. */
	virtio_guest_add(guest, 2, &buffer, 1);
	virtio_guest_kick(guest, 2);
	virtio_status_write(guest->virtio, 0);
	balloon_get_status(device, &status);
	assert_true(status.stat[BALLOON_STAT_FREE_MEMORY] == UINT64_MAX);
	virtio_guest_destroy(guest);
}

static void test_a_moved_balloon_goes_on(void **state)
{
	const struct balloon_config config = {.id = "balloon0", .stats_interval_s = 1};
	const struct entry entry = {4, 42};
	struct device *device;
	struct virtio_guest *guest = start(&config, 0, STATS_VQ, &device);
	struct virtio_guest_buffer buffer = {.len = sizeof(entry)};
	struct device *other;
	uint16_t id;
	uint32_t len;

	buffer.gpa = virtio_guest_alloc(guest, sizeof(entry), 16);
	memcpy(virtio_guest_at(guest, buffer.gpa, sizeof(entry)), &entry, sizeof(entry));
	virtio_guest_add(guest, 2, &buffer, 1);
	virtio_guest_kick(guest, 2);
	other = balloon_create(&guest->env, &config, &guest->err);
	assert_non_null(other);
	virtio_guest_move(guest, other);
	/* The buffer that the first one held is found again, and given back in time. */
	virtio_guest_wait(guest, 2, &id, &len);
	virtio_guest_destroy(guest);
}

static void test_features_follow_the_configuration(void **state)
{
	const struct balloon_config plain = {.id = "balloon0"};
	const struct balloon_config rich = {
		.id = "balloon0", .deflate_on_oom = true, .page_reporting = true, .stats_interval_s = 5};
	struct virtio_guest *guest = virtio_guest_create();
	struct device *device = balloon_create(&guest->env, &plain, &guest->err);

	virtio_guest_attach(guest, device);
	assert_int_equal(guest->virtio->features & (STATS_VQ | DEFLATE_ON_OOM | REPORTING), 0);
	virtio_guest_destroy(guest);
	guest = virtio_guest_create();
	device = balloon_create(&guest->env, &rich, &guest->err);
	virtio_guest_attach(guest, device);
	assert_int_equal(guest->virtio->features & (STATS_VQ | DEFLATE_ON_OOM | REPORTING),
			 STATS_VQ | DEFLATE_ON_OOM | REPORTING);
	virtio_guest_destroy(guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inflated_pages_leave_the_host),
		cmocka_unit_test(test_invented_pages_are_refused),
		cmocka_unit_test(test_the_target_is_told),
		cmocka_unit_test(test_reported_ranges_leave_the_host),
		cmocka_unit_test(test_pinned_memory_stays),
		cmocka_unit_test(test_statistics_go_round),
		cmocka_unit_test(test_a_moved_balloon_goes_on),
		cmocka_unit_test(test_features_follow_the_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
