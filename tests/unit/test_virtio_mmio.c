/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of virtio-mmio, reached over a bus as a guest does. virtio 1.2, 4.2.2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "devices/virtio/mmio.h"
#include "tests/unit/virtio_echo.h"
#include "vmm/core/bus.h"

#define BASE 0xc0000000ull

static void set_line(void *opaque, unsigned number, bool level)
{
	*(bool *)opaque = level;
	(void)number;
}

/* An echo device behind registers; its memory and rings are the guest fixture's. */
struct board {
	struct virtio_guest *guest;
	struct bus *bus;
	struct device *mmio;
	bool line;
};

static void board_init(struct board *board)
{
	struct virtio_mmio_config config = {
		.base = BASE, .irq = {.set = set_line, .opaque = &board->line}, .gsi = 17};

	*board = (struct board){.guest = virtio_guest_create(), .bus = bus_create("memory", 46)};
	board->guest->env.mmio = board->bus;
	board->guest->virtio = (struct virtio_device *)echo_create(board->guest);
	board->mmio =
		virtio_mmio_create(&board->guest->env, board->guest->virtio, &config, &board->guest->err);
	assert_non_null(board->mmio);
}

static void board_release(struct board *board)
{
	board->mmio->class->destroy(board->mmio);
	assert_null(bus_find(board->bus, BASE));
	virtio_guest_destroy(board->guest);
	bus_destroy(board->bus);
}

static uint32_t in(struct board *board, uint64_t offset)
{
	return (uint32_t)bus_read(board->bus, BASE + offset, 4);
}

static void out(struct board *board, uint64_t offset, uint32_t value)
{
	bus_write(board->bus, BASE + offset, value, 4);
}

static void identity(void **state)
{
	struct board board;

	board_init(&board);
	assert_int_equal(in(&board, 0x000), 0x74726976);
	assert_int_equal(in(&board, 0x004), 2);
	assert_int_equal(in(&board, 0x008), VIRTIO_TYPE_CONSOLE);
	assert_int_equal(in(&board, 0x034), 64);
	assert_int_equal(in(&board, 0x0b0), UINT32_MAX); /* no shared memory: 4.2.2.1 */
	assert_int_equal(in(&board, 0x0b4), UINT32_MAX);
	assert_int_equal(in(&board, 0x0b8), UINT32_MAX);
	assert_int_equal(in(&board, 0x0bc), UINT32_MAX);
	out(&board, 0x030, 1);
	assert_int_equal(in(&board, 0x034), 0);
	out(&board, 0x014, 1);
	assert_int_equal(in(&board, 0x010), 1 | 1u << (VIRTIO_F_RING_RESET - 32));
	out(&board, 0x014, 2);
	assert_int_equal(in(&board, 0x010), 0);
	assert_string_equal(board.mmio->description.acpi_hid, "LNRO0005");
	assert_int_equal(board.mmio->description.irq[0], 17);
	assert_true(board.mmio->description.irq_is_level);
	board_release(&board);
	(void)state;
}

/* A driver's whole way through the registers; the rings are then driven by the fixture. */
static void drive(struct board *board)
{
	struct virtio_guest_queue *queue = &board->guest->queue[0];

	*queue = (struct virtio_guest_queue){.size = 16, .avail_wrap = true, .used_wrap = true};
	queue->desc_gpa = virtio_guest_alloc(board->guest, 256, 16);
	queue->driver_gpa = virtio_guest_alloc(board->guest, 64, 4);
	queue->device_gpa = virtio_guest_alloc(board->guest, 256, 4);
	out(board, 0x070, 0);
	out(board, 0x070, 1);
	out(board, 0x070, 3);
	out(board, 0x024, 1);
	out(board, 0x020, 1 | 1u << (VIRTIO_F_RING_RESET - 32));
	out(board, 0x024, 0);
	out(board, 0x020, 0);
	out(board, 0x070, 11);
	assert_int_equal(in(board, 0x070), 11);
	out(board, 0x030, 0);
	out(board, 0x038, 16);
	out(board, 0x080, (uint32_t)queue->desc_gpa);
	out(board, 0x084, 0);
	out(board, 0x090, (uint32_t)queue->driver_gpa);
	out(board, 0x094, 0);
	out(board, 0x0a0, (uint32_t)queue->device_gpa);
	out(board, 0x0a4, 0);
	out(board, 0x044, 1);
	assert_int_equal(in(board, 0x044), 1);
	out(board, 0x070, 15);
	assert_int_equal(in(board, 0x070), 15);
}

static void a_driver_comes_up(void **state)
{
	struct board board;
	const struct virtio_guest_buffer buffer = {4096, 16, true};
	uint16_t id;
	uint32_t len;

	board_init(&board);
	drive(&board);
	virtio_guest_add(board.guest, 0, &buffer, 1);
	out(&board, 0x050, 0);
	virtio_guest_run(board.guest);
	assert_true(virtio_guest_take(board.guest, 0, &id, &len));
	assert_true(board.line);
	assert_int_equal(in(&board, 0x060), 1);
	out(&board, 0x064, 2); /* not this one */
	assert_true(board.line);
	out(&board, 0x064, 1);
	assert_false(board.line);
	assert_int_equal(in(&board, 0x060), 0);
	/* A queue that does not exist, then one more for the one that does, without a doorbell: other width,
	 * other value. */
	out(&board, 0x050, 77);
	virtio_guest_run(board.guest);
	assert_int_equal(echo_of(board.guest)->served, 1);
	board_release(&board);
	(void)state;
}

/* 4.2.2.2 and 2.6.1: QueueReset, and QueueReady 0, put a queue out of use. */
static void queues_are_reset(void **state)
{
	static const struct {
		uint64_t offset;
		uint32_t value;
	} ways[] = {{0x0c0, 1}, {0x044, 0}};

	for (unsigned i = 0; i < 2; i++) {
		struct board board;

		board_init(&board);
		drive(&board);
		out(&board, ways[i].offset, ways[i].value);
		assert_int_equal(in(&board, 0x044), 0);
		assert_int_equal(in(&board, 0x0c0), 0);
		assert_int_equal(in(&board, 0x070), 15);
		board_release(&board);
	}
	(void)state;
}

static void a_reset_clears_the_selectors(void **state)
{
	struct board board;

	board_init(&board);
	drive(&board);
	out(&board, 0x030, 5);
	out(&board, 0x070, 0);
	assert_int_equal(in(&board, 0x034), 64);
	assert_int_equal(in(&board, 0x044), 0);
	assert_int_equal(in(&board, 0x070), 0);
	board_release(&board);
	(void)state;
}

/* Registers are words; whatever else is done is counted and has no effect. */
static void crooked_accesses(void **state)
{
	struct board board;

	board_init(&board);
	assert_int_equal(bus_read(board.bus, BASE, 1), 0);
	assert_int_equal(bus_read(board.bus, BASE + 2, 4), 0);
	bus_write(board.bus, BASE + 0x070, 1, 1);
	bus_write(board.bus, BASE + 0x070, 1, 8);
	assert_int_equal(in(&board, 0x070), 0);
	assert_true(board.guest->virtio->driver_errors >= 4);
	for (uint64_t offset = 0; offset < VIRTIO_MMIO_SIZE; offset += 4) {
		in(&board, offset);
		out(&board, offset, 0xffffffff & ~4u);
	}
	board_release(&board);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity),         cmocka_unit_test(a_driver_comes_up),
		cmocka_unit_test(queues_are_reset), cmocka_unit_test(a_reset_clears_the_selectors),
		cmocka_unit_test(crooked_accesses),
	};

	return cmocka_run_group_tests_name("virtio_mmio", tests, NULL, NULL);
}
