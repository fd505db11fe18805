/* SPDX-License-Identifier: Apache-2.0 */
/* devices/virtio/blk: requests right and wrong, over a disk in memory and over real files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/blk_layout.h"
#include "tests/unit/memory_disk.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/base/clock.h"
#include "vmm/base/loop.h"

#define DISK_BYTES   (256u << 10)
#define DISK_SECTORS (DISK_BYTES / 512)
#define ALL_FEATURES                                                                                         \
	(VIRTIO_BIT(BLK_F_FLUSH) | VIRTIO_BIT(BLK_F_CONFIG_WCE) | VIRTIO_BIT(BLK_F_DISCARD) |                \
	 VIRTIO_BIT(BLK_F_WRITE_ZEROES))

struct rig {
	struct virtio_guest *guest;
	struct memory_disk *disk;
	struct device *device;
	unsigned queue; /* that requests go to */
};

static struct rig rig_make(const struct virtio_blk_config *config, uint32_t block, bool readonly)
{
	struct virtio_blk_config full = *config;
	struct rig rig = {.guest = virtio_guest_create(),
			  .disk = memory_disk_create(DISK_BYTES, block, readonly)};

	full.id = "disk0";
	full.blockdev = &rig.disk->blockdev;
	full.queues = config->queues ? config->queues : 1;
	rig.device = virtio_blk_create(&rig.guest->env, &full, &rig.guest->err);
	assert_non_null(rig.device);
	return rig;
}

static struct rig rig_start(unsigned ring, uint64_t features)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){0}, 512, false);

	virtio_guest_start(rig.guest, rig.device, ring, features);
	return rig;
}

static void rig_end(struct rig *rig)
{
	virtio_guest_destroy(rig->guest);
	memory_disk_destroy(rig->disk);
}

/* Sends a request; returns its status. data goes out after the header, or comes in before the status. */
static int rig_request(struct rig *rig, uint32_t type, uint64_t sector, void *data, size_t len, bool in)
{
	const struct blk_header header = {.type = type, .sector = sector};
	static uint8_t out[70000], back[70000];
	size_t out_len = sizeof(header) + (in ? 0 : len);
	size_t in_len = 1 + (in ? len : 0);
	uint32_t used;

	memcpy(out, &header, sizeof(header));
	if (!in && len > 0)
		memcpy(out + sizeof(header), data, len);
	memset(back, 0xaa, in_len);
	used = virtio_guest_request(rig->guest, rig->queue, out, out_len, back, in_len);
	assert_int_equal(used, in_len);
	if (in && len > 0)
		memcpy(data, back, len);
	return back[in_len - 1];
}

static void fill(uint8_t *bytes, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)((i * 7 + seed) >> (i % 3));
}

static void test_reads_and_writes_on_every_ring(void **state)
{
	static uint8_t bytes[65536], back[65536];

	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct rig rig = rig_start(ring, ALL_FEATURES);

		for (unsigned i = 1; i < 60; i++) {
			size_t len = (i % 20 ? i % 20 : 128) * 512;

			fill(bytes, len, i);
			assert_int_equal(rig_request(&rig, BLK_T_OUT, i * 3, bytes, len, false), BLK_S_OK);
			assert_memory_equal(rig.disk->bytes + i * 3 * 512, bytes, len);
			assert_int_equal(rig_request(&rig, BLK_T_IN, i * 3, back, len, true), BLK_S_OK);
			assert_memory_equal(back, bytes, len);
		}
		assert_int_equal(rig_request(&rig, BLK_T_FLUSH, 0, NULL, 0, false), BLK_S_OK);
		assert_int_equal(rig.disk->flushes, 1);
		assert_int_equal(rig.disk->durable, 0);
		assert_true(rig.guest->queue[0].interrupts > 0);
		rig_end(&rig);
	}
}

/* Header, data and status scattered, over the border of two regions of memory. */
static void test_scattered_buffers(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, 0);
	const struct blk_header header = {.type = BLK_T_IN, .sector = 2};
	uint64_t header_gpa = virtio_guest_alloc(rig.guest, 32, 16);
	uint64_t border = VIRTIO_GUEST_MORE_GPA - 500;
	const struct virtio_guest_buffer buffers[] = {
		{.gpa = header_gpa, .len = 5},
		{.gpa = header_gpa + 5, .len = 11},
		{.gpa = border, .len = 1000, .write = true},
		{.gpa = border + 1001, .len = 20, .write = true},
		{.gpa = border + 2000, .len = 5, .write = true},
	};
	uint8_t *status;
	uint16_t id;
	uint32_t len;

	fill(rig.disk->bytes, DISK_BYTES, 9);
	memcpy(virtio_guest_at(rig.guest, header_gpa, 16), &header, sizeof(header));
	virtio_guest_add(rig.guest, 0, buffers, 5);
	virtio_guest_watch_writes(rig.guest);
	virtio_guest_kick(rig.guest, 0);
	virtio_guest_wait(rig.guest, 0, &id, &len);
	assert_int_equal(len, 1025);
	status = virtio_guest_at(rig.guest, border + 2004, 1);
	assert_int_equal(*status, BLK_S_OK);
	assert_memory_equal(virtio_guest_at(rig.guest, border, 500), rig.disk->bytes + 1024, 500);
	assert_memory_equal(virtio_guest_at(rig.guest, border + 500, 500), rig.disk->bytes + 1524, 500);
	assert_memory_equal(virtio_guest_at(rig.guest, border + 1001, 20), rig.disk->bytes + 2024, 20);
	assert_memory_equal(virtio_guest_at(rig.guest, border + 2000, 4), rig.disk->bytes + 2044, 4);
	virtio_guest_check_writes(rig.guest);
	rig_end(&rig);
}

static void test_wrong_requests_get_a_status(void **state)
{
	static uint8_t bytes[2048];
	static const struct {
		uint32_t type;
		uint64_t sector;
		size_t len;
		bool in;
		int status;
	} table[] = {
		{BLK_T_IN, DISK_SECTORS, 512, true, BLK_S_IOERR},
		{BLK_T_IN, DISK_SECTORS - 1, 1024, true, BLK_S_IOERR},
		{BLK_T_OUT, UINT64_MAX, 512, false, BLK_S_IOERR},
		{BLK_T_OUT, UINT64_MAX / 512 + 1, 512, false, BLK_S_IOERR},
		{BLK_T_IN, 0, 511, true, BLK_S_IOERR},
		{BLK_T_OUT, 0, 513, false, BLK_S_IOERR},
		{BLK_T_IN, 0, 0, true, BLK_S_OK},
		{BLK_T_OUT, DISK_SECTORS, 0, false, BLK_S_OK},
		{2, 0, 512, true, BLK_S_UNSUPP},             /* SCSI */
		{14, 0, 16, false, BLK_S_UNSUPP},            /* secure erase, not offered */
		{0x80000000, 0, 512, true, BLK_S_UNSUPP},    /* legacy barrier */
		{BLK_T_DISCARD, 0, 16, false, BLK_S_UNSUPP}, /* not negotiated */
		{BLK_T_WRITE_ZEROES, 0, 16, false, BLK_S_UNSUPP},
	};
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, VIRTIO_BIT(BLK_F_FLUSH));

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(
			rig_request(&rig, table[i].type, table[i].sector, bytes, table[i].len, table[i].in),
			table[i].status);
	assert_int_equal(rig.disk->submitted, 2); /* the two of no length */
	rig_end(&rig);
}

static void test_without_header_or_status_needs_reset(void **state)
{
	for (int what = 0; what < 2; what++) {
		struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, 0);
		uint64_t gpa = virtio_guest_alloc(rig.guest, 64, 16);
		const struct virtio_guest_buffer buffers[] = {
			{.gpa = gpa, .len = what == 0 ? 16 : 15},
			{.gpa = gpa + 32, .len = 1, .write = true},
		};
		uint16_t id;
		uint32_t len;

		virtio_guest_add(rig.guest, 0, buffers, what == 0 ? 1 : 2);
		virtio_guest_kick(rig.guest, 0);
		virtio_guest_wait(rig.guest, 0, &id, &len);
		assert_int_equal(len, 0);
		assert_true(virtio_status(rig.guest->virtio) & VIRTIO_STATUS_NEEDS_RESET);
		assert_int_equal(rig.guest->config_interrupts, 1);
		rig_end(&rig);
	}
}

static void test_blocks_of_4096(void **state)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){0}, 4096, false);
	static uint8_t bytes[8192];
	uint32_t block = 0;

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, VIRTIO_BIT(BLK_F_BLK_SIZE));
	virtio_config_read(rig.guest->virtio, offsetof(struct blk_config_space, blk_size), &block, 4);
	assert_int_equal(block, 4096);
	assert_int_equal(rig_request(&rig, BLK_T_OUT, 8, bytes, 8192, false), BLK_S_OK);
	assert_int_equal(rig_request(&rig, BLK_T_OUT, 8, bytes, 512, false), BLK_S_IOERR);
	assert_int_equal(rig_request(&rig, BLK_T_IN, 4, bytes, 4096, true), BLK_S_IOERR);
	rig_end(&rig);
}

static void test_readonly(void **state)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){0}, 512, true);
	static uint8_t bytes[512];

	assert_true(((struct virtio_device *)rig.device)->features & VIRTIO_BIT(BLK_F_RO));
	assert_false(((struct virtio_device *)rig.device)->features & VIRTIO_BIT(BLK_F_DISCARD));
	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, VIRTIO_BIT(BLK_F_RO));
	assert_int_equal(rig_request(&rig, BLK_T_IN, 0, bytes, 512, true), BLK_S_OK);
	assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_IOERR);
	assert_int_equal(rig_request(&rig, BLK_T_FLUSH, 0, NULL, 0, false), BLK_S_OK);
	rig_end(&rig);
}

static void test_identity(void **state)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){.serial = "S12345678901234567-Z"}, 512, false);
	char id[40] = "";

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, 0);
	assert_int_equal(rig_request(&rig, BLK_T_GET_ID, 0, id, 20, true), BLK_S_OK);
	assert_memory_equal(id, "S12345678901234567-Z", 20);
	assert_int_equal(rig_request(&rig, BLK_T_GET_ID, 0, id, 3, true), BLK_S_OK);
	assert_int_equal(rig_request(&rig, BLK_T_GET_ID, 0, NULL, 0, true), BLK_S_OK);
	rig_end(&rig);
}

static void test_creation_mistakes(void **state)
{
	static const struct {
		unsigned queues;
		const char *serial, *message;
	} table[] = {
		{17, NULL, "17 queues: 1 to 16 are possible"},
		{1, "123456789012345678901",
		 "the serial \"123456789012345678901\" is longer than 20 characters"},
	};
	struct memory_disk *disk = memory_disk_create(DISK_BYTES, 512, false);
	struct virtio_guest *guest = virtio_guest_create();

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct virtio_blk_config config = {.id = "disk0",
							 .blockdev = &disk->blockdev,
							 .queues = table[i].queues,
							 .serial = table[i].serial};

		assert_null(virtio_blk_create(&guest->env, &config, &guest->err));
		assert_string_equal(guest->err.message, table[i].message);
	}
	virtio_guest_destroy(guest);
	memory_disk_destroy(disk);
}

static void test_discard_and_zeroes(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, ALL_FEATURES);
	struct blk_range ranges[BLK_RANGES_MAX + 1];

	memset(rig.disk->bytes, 0xff, DISK_BYTES);
	for (unsigned i = 0; i <= BLK_RANGES_MAX; i++)
		ranges[i] = (struct blk_range){.sector = i * 8, .sectors = 4};
	assert_int_equal(rig_request(&rig, BLK_T_DISCARD, 0, ranges, 16 * BLK_RANGES_MAX, false), BLK_S_OK);
	assert_int_equal(rig.disk->discards, BLK_RANGES_MAX);
	for (unsigned sector = 0; sector < 8 * BLK_RANGES_MAX + 8; sector++)
		assert_int_equal(rig.disk->bytes[sector * 512],
				 sector % 8 < 4 && sector < 8 * BLK_RANGES_MAX ? 0 : 0xff);
	assert_int_equal(rig_request(&rig, BLK_T_DISCARD, 0, ranges, 16 * BLK_RANGES_MAX + 16, false),
			 BLK_S_IOERR);
	assert_int_equal(rig_request(&rig, BLK_T_DISCARD, 0, ranges, 8, false), BLK_S_IOERR);
	assert_int_equal(rig_request(&rig, BLK_T_DISCARD, 0, NULL, 0, false), BLK_S_IOERR);
	ranges[0].flags = BLK_RANGE_UNMAP;
	assert_int_equal(rig_request(&rig, BLK_T_DISCARD, 0, ranges, 16, false), BLK_S_UNSUPP);
	assert_int_equal(rig_request(&rig, BLK_T_WRITE_ZEROES, 0, ranges, 32, false), BLK_S_OK);
	assert_int_equal(rig.disk->zeroes, 2);
	assert_int_equal(rig.disk->unmapped, 1);
	ranges[0].flags = 2;
	assert_int_equal(rig_request(&rig, BLK_T_WRITE_ZEROES, 0, ranges, 16, false), BLK_S_UNSUPP);
	/* The second range is wrong: the first is left alone. */
	memset(rig.disk->bytes, 0xff, DISK_BYTES);
	ranges[0].flags = 0;
	ranges[1] = (struct blk_range){.sector = DISK_SECTORS, .sectors = 1};
	assert_int_equal(rig_request(&rig, BLK_T_WRITE_ZEROES, 0, ranges, 32, false), BLK_S_IOERR);
	assert_int_equal(rig.disk->bytes[0], 0xff);
	ranges[1] = (struct blk_range){.sector = 0, .sectors = UINT32_MAX};
	assert_int_equal(rig_request(&rig, BLK_T_DISCARD, 0, ranges, 32, false), BLK_S_IOERR);
	rig_end(&rig);
}

static uint8_t rig_writeback(const struct rig *rig)
{
	uint8_t value = 0xff;

	virtio_config_read(rig->guest->virtio, offsetof(struct blk_config_space, writeback), &value, 1);
	return value;
}

static void test_cache_modes(void **state)
{
	static const struct {
		uint64_t features;
		uint8_t writeback;
	} table[] = {
		{ALL_FEATURES, 1},
		{VIRTIO_BIT(BLK_F_FLUSH), 1},
		{VIRTIO_BIT(BLK_F_CONFIG_WCE), 0},
		{0, 0},
	};
	const uint8_t off = 0, on = 1, two = 2;
	static uint8_t bytes[512];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		bool toggles = table[i].features & VIRTIO_BIT(BLK_F_CONFIG_WCE);
		struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, table[i].features);

		assert_int_equal(rig_writeback(&rig), table[i].writeback);
		assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_OK);
		assert_int_equal(rig.disk->durable, table[i].writeback ? 0 : 1);
		virtio_config_write(rig.guest->virtio, offsetof(struct blk_config_space, writeback), &on, 1);
		assert_int_equal(rig_writeback(&rig), toggles ? 1 : table[i].writeback);
		virtio_config_write(rig.guest->virtio, offsetof(struct blk_config_space, writeback), &two, 1);
		virtio_config_write(rig.guest->virtio, 0, &two, 1);
		assert_int_equal(rig_writeback(&rig), toggles ? 1 : table[i].writeback);
		virtio_config_write(rig.guest->virtio, offsetof(struct blk_config_space, writeback), &off, 1);
		rig.disk->durable = 0;
		assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_OK);
		assert_int_equal(rig.disk->durable, toggles || !table[i].writeback ? 1 : 0);
		virtio_status_write(rig.guest->virtio, 0);
		assert_int_equal(rig_writeback(&rig), 1);
		rig_end(&rig);
	}
}

static void test_backend_errors(void **state)
{
	static const struct {
		int fail, status;
	} table[] = {{-EIO, BLK_S_IOERR}, {-ENOSPC, BLK_S_IOERR}, {-EOPNOTSUPP, BLK_S_UNSUPP}};
	struct blk_range ranges[2] = {{.sectors = 1}, {.sectors = 1}};
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, ALL_FEATURES);
	static uint8_t bytes[512];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		rig.disk->fail = table[i].fail;
		assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), table[i].status);
		assert_int_equal(rig_request(&rig, BLK_T_IN, 0, bytes, 512, true), table[i].status);
		assert_int_equal(rig_request(&rig, BLK_T_FLUSH, 0, NULL, 0, false), table[i].status);
		assert_int_equal(rig_request(&rig, BLK_T_DISCARD, 0, ranges, 32, false), table[i].status);
	}
	rig_end(&rig);
}

static void test_resize_tells_the_driver(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, 0);
	static uint8_t bytes[512];
	uint32_t generation = virtio_config_generation(rig.guest->virtio);
	uint64_t capacity = 0;

	assert_int_equal(rig_request(&rig, BLK_T_OUT, DISK_SECTORS, bytes, 512, false), BLK_S_IOERR);
	assert_int_equal(virtio_blk_resize(rig.device, 2 * DISK_BYTES, &rig.guest->err), 0);
	assert_int_equal(rig.guest->config_interrupts, 1);
	assert_int_not_equal(virtio_config_generation(rig.guest->virtio), generation);
	virtio_config_read(rig.guest->virtio, 0, &capacity, 8);
	assert_int_equal(capacity, 2 * DISK_SECTORS);
	assert_int_equal(rig_request(&rig, BLK_T_OUT, DISK_SECTORS, bytes, 512, false), BLK_S_OK);
	assert_true(virtio_blk_resize(rig.device, 0, &rig.guest->err) < 0);
	assert_string_equal(rig.guest->err.message, "disk0: no such size");
	assert_int_equal(rig.guest->config_interrupts, 1);
	rig_end(&rig);
}

/* Ten requests pass, the eleventh after 20 ms: by itself, without a kick. */
static void test_limit(void **state)
{
	const struct virtio_blk_config config = {
		.limit.operations = {.size = 10, .refill_time_ns = 200 * NS_PER_MS}};
	struct rig rig = rig_make(&config, 512, false);
	uint64_t start_ns = clock_monotonic_ns();
	static uint8_t bytes[512];

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, 0);
	for (int i = 0; i < 15; i++)
		assert_int_equal(rig_request(&rig, BLK_T_IN, 0, bytes, 512, true), BLK_S_OK);
	assert_true(clock_monotonic_ns() - start_ns >= 90 * NS_PER_MS);
	rig_end(&rig);
}

/* The same with a reset while requests wait for the limit. */
static void test_reset_while_throttled(void **state)
{
	const struct virtio_blk_config config = {
		.limit.bytes = {.size = 512, .refill_time_ns = 3600 * NS_PER_S}};
	struct rig rig = rig_make(&config, 512, false);
	const struct blk_header header = {.type = BLK_T_IN};
	static uint8_t bytes[512];
	uint64_t gpa;

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, 0);
	assert_int_equal(rig_request(&rig, BLK_T_IN, 0, bytes, 512, true), BLK_S_OK);
	gpa = virtio_guest_alloc(rig.guest, 1024, 16);
	memcpy(virtio_guest_at(rig.guest, gpa, 16), &header, sizeof(header));
	virtio_guest_add(rig.guest, 0,
			 (struct virtio_guest_buffer[]){{.gpa = gpa, .len = 16},
							{.gpa = gpa + 16, .len = 513, .write = true}},
			 2);
	virtio_guest_kick(rig.guest, 0);
	assert_int_equal(rig.disk->submitted, 1);
	virtio_status_write(rig.guest->virtio, 0);
	assert_int_equal(rig.guest->virtio->queue[0].in_flight, 0);
	rig_end(&rig);
}

static void release_held(void *opaque)
{
	memory_disk_release(opaque);
}

/* A reset returns when the backend has given everything back, and not before. */
static void test_reset_waits_for_the_backend(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_SPLIT, 0);
	struct loop_timer *timer =
		loop_timer_create(rig.guest->env.loop, release_held, rig.disk, &rig.guest->err);
	uint64_t gpa = virtio_guest_alloc(rig.guest, 1024, 16);
	const struct blk_header header = {.type = BLK_T_IN};

	memcpy(virtio_guest_at(rig.guest, gpa, 16), &header, sizeof(header));
	rig.disk->hold = true;
	virtio_guest_add(rig.guest, 0,
			 (struct virtio_guest_buffer[]){{.gpa = gpa, .len = 16},
							{.gpa = gpa + 16, .len = 513, .write = true}},
			 2);
	virtio_guest_kick(rig.guest, 0);
	assert_int_equal(rig.disk->submitted, 1);
	assert_int_equal(rig.disk->completed, 0);
	loop_timer_arm(timer, clock_monotonic_ns() + 20 * NS_PER_MS);
	virtio_status_write(rig.guest->virtio, 0);
	assert_int_equal(rig.disk->completed, 1);
	loop_timer_destroy(timer);
	rig_end(&rig);
}

/* While many requests are under way the driver is told of some at a time; of the last ones at once. */
static void test_completions_are_gathered(void **state)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){0}, 512, false);
	const struct blk_header header = {.type = BLK_T_IN};
	uint64_t start_ns = clock_monotonic_ns();
	unsigned *interrupts;
	uint64_t gpa;

	virtio_guest_attach(rig.guest, rig.device);
	assert_true(virtio_guest_negotiate(rig.guest, VIRTIO_GUEST_SPLIT, 0));
	virtio_guest_set_up_queue(rig.guest, 0, 64);
	virtio_guest_driver_ok(rig.guest);
	interrupts = &rig.guest->queue[0].interrupts;
	gpa = virtio_guest_alloc(rig.guest, 1024, 16);
	memcpy(virtio_guest_at(rig.guest, gpa, 16), &header, sizeof(header));
	rig.disk->hold = true;
	for (int i = 0; i < 24; i++)
		virtio_guest_add(rig.guest, 0,
				 (struct virtio_guest_buffer[]){{.gpa = gpa, .len = 16},
								{.gpa = gpa + 16, .len = 513, .write = true}},
				 2);
	virtio_guest_kick(rig.guest, 0);
	assert_int_equal(rig.disk->submitted, 24);
	memory_disk_release_some(rig.disk, 1); /* 23 are missing */
	assert_int_equal(*interrupts, 0);
	while (*interrupts == 0)
		assert_int_equal(loop_run_once(rig.guest->env.loop, 1000), 0);
	assert_true(clock_monotonic_ns() - start_ns < NS_PER_S);
	memory_disk_release_some(rig.disk, 9); /* 14 are missing */
	assert_int_equal(*interrupts, 2);
	memory_disk_release_some(rig.disk, 13);
	assert_int_equal(*interrupts, 3);
	memory_disk_release_some(rig.disk, 1); /* none is */
	assert_int_equal(*interrupts, 4);
	rig_end(&rig);
}

static void test_queues(void **state)
{
	struct rig rig = rig_make(&(struct virtio_blk_config){.queues = 4}, 512, false);
	static uint8_t bytes[512], back[512];
	uint16_t queues = 0;

	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, VIRTIO_BIT(BLK_F_MQ));
	virtio_config_read(rig.guest->virtio, offsetof(struct blk_config_space, num_queues), &queues, 2);
	assert_int_equal(queues, 4);
	for (unsigned i = 0; i < 4; i++) {
		fill(bytes, 512, i);
		rig.queue = i;
		assert_int_equal(rig_request(&rig, BLK_T_OUT, i, bytes, 512, false), BLK_S_OK);
		rig.queue = 3 - i;
		assert_int_equal(rig_request(&rig, BLK_T_IN, i, back, 512, true), BLK_S_OK);
		assert_memory_equal(back, bytes, 512);
	}
	rig_end(&rig);
}

static void test_moves_to_another_device(void **state)
{
	struct rig rig = rig_start(VIRTIO_GUEST_PACKED, ALL_FEATURES);
	struct memory_disk *first = rig.disk;
	const uint8_t off = 0;
	static uint8_t bytes[512];
	struct virtio_blk_config config = {.id = "disk0", .queues = 1};

	virtio_config_write(rig.guest->virtio, offsetof(struct blk_config_space, writeback), &off, 1);
	assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_OK);
	rig.disk = memory_disk_create(DISK_BYTES, 512, false);
	config.blockdev = &rig.disk->blockdev;
	rig.device = virtio_blk_create(&rig.guest->env, &config, &rig.guest->err);
	virtio_guest_move(rig.guest, rig.device);
	assert_int_equal(rig_writeback(&rig), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_OK);
	assert_int_equal(rig.disk->durable, 20);
	rig_end(&rig);
	memory_disk_destroy(first);
}

static void over_a_file(enum block_engine engine, enum block_cache cache)
{
	char path[] = "/tmp/test-virtio-blk-XXXXXX";
	const struct blockdev_config disk = {.path = path, .engine = engine, .cache = cache};
	struct virtio_blk_config config = {.id = "disk0", .queues = 1};
	static uint8_t bytes[65536], back[65536];
	struct rig rig = {.guest = virtio_guest_create()};
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	config.blockdev = blockdev_open(&disk, &rig.guest->err);
	if (!config.blockdev) { /* no io_uring, or no O_DIRECT, here */
		unlink(path);
		close(fd);
		virtio_guest_destroy(rig.guest);
		skip();
	}
	rig.device = virtio_blk_create(&rig.guest->env, &config, &rig.guest->err);
	virtio_guest_start(rig.guest, rig.device, VIRTIO_GUEST_SPLIT, ALL_FEATURES);
	for (unsigned i = 1; i < 40; i++) {
		size_t len = (i % 5 ? i : 128) * 512;

		fill(bytes, len, i);
		assert_int_equal(rig_request(&rig, BLK_T_OUT, i * 5, bytes, len, false), BLK_S_OK);
		assert_int_equal(rig_request(&rig, BLK_T_FLUSH, 0, NULL, 0, false), BLK_S_OK);
		assert_int_equal(rig_request(&rig, BLK_T_IN, i * 5, back, len, true), BLK_S_OK);
		assert_memory_equal(back, bytes, len);
		assert_int_equal(pread(fd, back, len, (off_t)i * 5 * 512), (ssize_t)len);
		assert_memory_equal(back, bytes, len);
	}
	virtio_guest_destroy(rig.guest);
	blockdev_close(config.blockdev);
	close(fd);
	unlink(path);
}

static void test_over_io_uring(void **state)
{
	over_a_file(BLOCK_ENGINE_IO_URING, BLOCK_CACHE_WRITEBACK);
}

static void test_over_threads(void **state)
{
	over_a_file(BLOCK_ENGINE_THREADS, BLOCK_CACHE_WRITEBACK);
}

static void test_over_direct(void **state)
{
	over_a_file(BLOCK_ENGINE_AUTO, BLOCK_CACHE_DIRECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_and_writes_on_every_ring),
		cmocka_unit_test(test_scattered_buffers),
		cmocka_unit_test(test_wrong_requests_get_a_status),
		cmocka_unit_test(test_without_header_or_status_needs_reset),
		cmocka_unit_test(test_blocks_of_4096),
		cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_creation_mistakes),
		cmocka_unit_test(test_discard_and_zeroes),
		cmocka_unit_test(test_cache_modes),
		cmocka_unit_test(test_backend_errors),
		cmocka_unit_test(test_resize_tells_the_driver),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_reset_while_throttled),
		cmocka_unit_test(test_reset_waits_for_the_backend),
		cmocka_unit_test(test_completions_are_gathered),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_moves_to_another_device),
		cmocka_unit_test(test_over_io_uring),
		cmocka_unit_test(test_over_threads),
		cmocka_unit_test(test_over_direct),
	};

	return cmocka_run_group_tests_name("virtio_blk", tests, NULL, NULL);
}
