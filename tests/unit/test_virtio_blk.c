/* SPDX-License-Identifier: Apache-2.0 */
/* devices/virtio/blk: requests right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "tests/unit/blk_rig.h"

static void test_reads_and_writes_on_every_ring(void **state)
{
	static uint8_t bytes[65536], back[65536];

	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct rig rig = rig_start(ring, ALL_FEATURES);

		for (unsigned i = 1; i < 60; i++) {
			size_t len = (i % 20 ? i % 20 : 128) * 512;

			rig_fill(bytes, len, i);
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

	rig_fill(rig.disk->bytes, DISK_BYTES, 9);
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
		assert_int_equal(rig.disk->durable, (toggles ? 2 : 0) + (!table[i].writeback && !toggles));
		assert_int_equal(rig.disk->flushes, toggles ? 1 : 0); /* what was written before, once */
		assert_int_equal(rig_request(&rig, BLK_T_OUT, 0, bytes, 512, false), BLK_S_OK);
		assert_int_equal(rig.disk->flushes, toggles ? 1 : 0);
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
	};

	return cmocka_run_group_tests_name("virtio_blk", tests, NULL, NULL);
}
