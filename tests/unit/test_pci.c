/* SPDX-License-Identifier: Apache-2.0 */
/* PCI: host bridge, configuration space, BARs that move, MSI-X; and virtio-pci behind all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "devices/pci/host.h"
#include "devices/virtio/pci.h"
#include "tests/unit/virtio_echo.h"
#include "vmm/core/bus.h"
#include "vmm/core/pci.h"

#define ECAM      0xe0000000ull
#define LOW       0xc1000000ull
#define LOW_SIZE  0x01000000ull
#define HIGH      (1ull << 40)
#define HIGH_SIZE (1ull << 32)
#define SLOT      3u

enum { NOTIFY = 0x3000, ISR = 0x1000, TABLE = 0x4000, PBA = 0x4800 }; /* in the BAR */

struct board {
	struct virtio_guest *guest;
	struct bus *pio, *mmio;
	struct device *host, *pci;
	bool line;
	unsigned messages;
	uint64_t address;
	uint32_t data;
};

static void set_line(void *opaque, unsigned number, bool level)
{
	*(bool *)opaque = level;
	(void)number;
}

static void send_message(void *opaque, uint64_t address, uint32_t data)
{
	struct board *board = opaque;

	board->messages++;
	board->address = address;
	board->data = data;
}

static void board_init_with(struct board *board, const struct pci_host_config *host)
{
	struct virtio_pci_config pci = {.slot = SLOT, .intx = {.set = set_line, .opaque = &board->line}};
	struct device_env *env;

	*board = (struct board){.guest = virtio_guest_create(),
				.pio = bus_create("port", 16),
				.mmio = bus_create("memory", 46)};
	env = &board->guest->env;
	env->pio = board->pio;
	env->mmio = board->mmio;
	env->msi = (struct msi_sink){.send = send_message, .opaque = board};
	board->host = pci_host_create(env, host, &board->guest->err);
	assert_non_null(board->host);
	board->guest->virtio = (struct virtio_device *)echo_create(board->guest);
	pci.bus = pci_host_bus(board->host);
	board->pci = virtio_pci_create(env, board->guest->virtio, &pci, &board->guest->err);
	assert_non_null(board->pci);
}

static void board_init(struct board *board)
{
	const struct pci_host_config host = {
		.ecam_base = ECAM,
		.window = {{.base = LOW, .size = LOW_SIZE}, {.base = HIGH, .size = HIGH_SIZE}}};

	board_init_with(board, &host);
}

static void board_release(struct board *board)
{
	board->pci->class->destroy(board->pci);
	virtio_guest_destroy(board->guest);
	board->host->class->destroy(board->host);
	assert_null(bus_find(board->mmio, ECAM));
	assert_null(bus_find(board->mmio, HIGH));
	bus_destroy(board->pio);
	bus_destroy(board->mmio);
}

static uint64_t ecam(unsigned slot, unsigned offset)
{
	return ECAM + ((uint64_t)slot << 15) + offset;
}

static uint32_t config_in(struct board *board, unsigned offset, unsigned size)
{
	return (uint32_t)bus_read(board->mmio, ecam(SLOT, offset), size);
}

static void config_out(struct board *board, unsigned offset, uint32_t value, unsigned size)
{
	bus_write(board->mmio, ecam(SLOT, offset), value, size);
}

static uint32_t port_in(struct board *board, uint32_t address, unsigned size)
{
	pci_host_address_write(board->host, address);
	return (uint32_t)bus_read(board->pio, 0xcfc + (address & 3), size);
}

/* Ports and ECAM lead to the same bytes; what is not there reads as ones. */
static void configuration_space(void **state)
{
	struct board board;

	board_init(&board);
	assert_int_equal(config_in(&board, 0, 4), 0x1af4 | (0x1040u + VIRTIO_TYPE_CONSOLE) << 16);
	assert_int_equal(config_in(&board, 2, 2), 0x1040 + VIRTIO_TYPE_CONSOLE);
	assert_int_equal(port_in(&board, 0x80000000 | SLOT << 11, 4), config_in(&board, 0, 4));
	assert_int_equal(port_in(&board, 0x80000000 | SLOT << 11 | 0x08, 4), config_in(&board, 8, 4));
	assert_int_equal(port_in(&board, 0x00000000 | SLOT << 11, 4), UINT32_MAX);           /* not enabled */
	assert_int_equal(port_in(&board, 0x80000000 | SLOT << 11 | 1 << 8, 4), UINT32_MAX);  /* function 1 */
	assert_int_equal(port_in(&board, 0x80000000 | 1 << 16 | SLOT << 11, 4), UINT32_MAX); /* bus 1 */
	assert_int_equal(port_in(&board, 0x80000000 | 9 << 11, 2), UINT16_MAX);              /* empty slot */
	assert_int_equal(pci_host_address_read(board.host), 0x80000000 | 9 << 11);
	assert_int_equal(bus_read(board.mmio, ecam(0, 8), 4) >> 16, 0x0600); /* the bridge */
	assert_int_equal(bus_read(board.mmio, ecam(9, 0), 4), UINT32_MAX);
	assert_int_equal(bus_read(board.mmio, ecam(SLOT, 0) + (1 << 12), 4), UINT32_MAX);
	assert_int_equal(bus_read(board.mmio, ECAM + (255ull << 20), 4), UINT32_MAX);
	assert_int_equal(config_in(&board, 0x100, 4), 0); /* no extended capabilities */
	assert_int_equal(config_in(&board, 0xffc, 4), 0);
	/* Identity does not change. */
	for (unsigned offset = 0; offset < 0x100; offset += 4) {
		if (offset != PCI_COMMAND && offset < 0x80)
			config_out(&board, offset, UINT32_MAX, 4);
	}
	assert_int_equal(config_in(&board, 0, 4), 0x1af4 | (0x1040u + VIRTIO_TYPE_CONSOLE) << 16);
	assert_int_equal(config_in(&board, PCI_INTERRUPT_PIN, 1), 1);
	board_release(&board);
	(void)state;
}

static unsigned find_capability(struct board *board, uint8_t id, uint8_t type)
{
	unsigned at = config_in(board, PCI_CAPABILITIES, 1);

	for (unsigned i = 0; at && i < 16; i++) {
		if (config_in(board, at, 1) == id &&
		    (id != PCI_CAPABILITY_VENDOR || config_in(board, at + 3, 1) == type))
			return at;
		at = config_in(board, at + 1, 1);
	}
	return 0;
}

/* 4.1.4: every region is there, and inside of the BAR. */
static void capabilities(void **state)
{
	static const uint32_t offset[] = {0, 0x0000, 0x3000, 0x1000};
	struct board board;
	unsigned at;

	board_init(&board);
	assert_true(config_in(&board, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES);
	for (uint8_t type = 1; type <= 3; type++) {
		at = find_capability(&board, PCI_CAPABILITY_VENDOR, type);
		assert_int_not_equal(at, 0);
		assert_int_equal(config_in(&board, at + 2, 1), type == 2 ? 20 : 16);
		assert_int_equal(config_in(&board, at + 4, 1), 0);
		assert_int_equal(config_in(&board, at + 8, 4), offset[type]);
	}
	assert_int_equal(find_capability(&board, PCI_CAPABILITY_VENDOR, 4),
			 0); /* no configuration of its own */
	assert_int_not_equal(find_capability(&board, PCI_CAPABILITY_VENDOR, 5), 0);
	at = find_capability(&board, PCI_CAPABILITY_MSIX, 0);
	assert_int_equal(config_in(&board, at + 2, 2), 1); /* two vectors */
	assert_int_equal(config_in(&board, at + 4, 4), TABLE);
	assert_int_equal(config_in(&board, at + 8, 4), PBA);
	board_release(&board);
	(void)state;
}

static void place_bar(struct board *board, uint64_t base)
{
	config_out(board, PCI_COMMAND, 0, 2);
	config_out(board, PCI_BAR0, (uint32_t)base, 4);
	config_out(board, PCI_BAR0 + 4, (uint32_t)(base >> 32), 4);
	config_out(board, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

/* num_queues, which is 1, tells where the BAR is decoded. */
static bool answers(struct board *board, uint64_t base)
{
	return bus_read(board->mmio, base + 0x12, 2) == 1;
}

static void bars_are_sized_and_moved(void **state)
{
	static const uint64_t outside[] = {0, LOW - 0x8000, LOW + LOW_SIZE, HIGH + HIGH_SIZE,
					   0xffffffffffff8000ull};
	struct board board;

	board_init(&board);
	config_out(&board, PCI_BAR0, UINT32_MAX, 4);
	config_out(&board, PCI_BAR0 + 4, UINT32_MAX, 4);
	assert_int_equal(config_in(&board, PCI_BAR0, 4),
			 0xffff8000 | 0xc); /* 32 KiB, 64 bits, prefetchable */
	assert_int_equal(config_in(&board, PCI_BAR0 + 4, 4), UINT32_MAX);
	config_out(&board, PCI_BAR0 + 8, UINT32_MAX, 4);
	assert_int_equal(config_in(&board, PCI_BAR0 + 8, 4), 0); /* there is no third */
	place_bar(&board, LOW + 0x10000);
	assert_true(answers(&board, LOW + 0x10000));
	place_bar(&board, HIGH + HIGH_SIZE - 0x8000);
	assert_false(answers(&board, LOW + 0x10000));
	assert_true(answers(&board, HIGH + HIGH_SIZE - 0x8000));
	config_out(&board, PCI_COMMAND, 0, 2);
	assert_false(answers(&board, HIGH + HIGH_SIZE - 0x8000));
	for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		place_bar(&board, outside[i]);
		assert_false(outside[i] < 1ull << 46 && answers(&board, outside[i]));
	}
	/* A reset takes the BAR away, firmware gives it a place again. */
	place_bar(&board, LOW);
	board.pci->class->reset(board.pci);
	assert_int_equal(config_in(&board, PCI_BAR0, 4), 0xc);
	assert_false(answers(&board, LOW));
	pci_host_assign_bars(board.host);
	assert_true(answers(&board, LOW));
	board_release(&board);
	(void)state;
}

/* Firmware fills the window below 4 GiB, then the other; what fits nowhere stays where it is not decoded. */
static void firmware_places_bars(void **state)
{
	static const struct {
		uint64_t low_size, high_size, base;
	} cases[] = {{0x10000, 0x10000, LOW}, {0x4000, 0x10000, HIGH}, {0x4000, 0x4000, 0}};

	for (unsigned i = 0; i < 3; i++) {
		struct board board;
		const struct pci_host_config host = {.ecam_base = ECAM,
						     .window = {{.base = LOW, .size = cases[i].low_size},
								{.base = HIGH, .size = cases[i].high_size}}};

		board_init_with(&board, &host);
		pci_host_assign_bars(board.host);
		assert_int_equal(answers(&board, LOW), cases[i].base == LOW);
		assert_int_equal(answers(&board, HIGH), cases[i].base == HIGH);
		board_release(&board);
	}
	(void)state;
}

static void out(struct board *board, unsigned offset, uint64_t value, unsigned size)
{
	bus_write(board->mmio, HIGH + offset, value, size);
}

static uint64_t in(struct board *board, unsigned offset, unsigned size)
{
	return bus_read(board->mmio, HIGH + offset, size);
}

/* A driver's way through the common configuration, 4.1.4.3, with the BAR at HIGH. */
static void drive(struct board *board)
{
	struct virtio_guest_queue *queue = &board->guest->queue[0];

	place_bar(board, HIGH);
	*queue = (struct virtio_guest_queue){.size = 16, .avail_wrap = true, .used_wrap = true};
	queue->desc_gpa = virtio_guest_alloc(board->guest, 256, 16);
	queue->driver_gpa = virtio_guest_alloc(board->guest, 64, 4);
	queue->device_gpa = virtio_guest_alloc(board->guest, 256, 4);
	out(board, 0x14, 0, 1);
	out(board, 0x14, 1, 1);
	out(board, 0x14, 3, 1);
	out(board, 0x00, 1, 4);
	assert_int_equal(in(board, 0x04, 4) & 1, 1);
	out(board, 0x08, 1, 4);
	out(board, 0x0c, 1 | 1u << (VIRTIO_F_RING_RESET - 32), 4);
	out(board, 0x14, 11, 1);
	assert_int_equal(in(board, 0x14, 1), 11);
	out(board, 0x16, 0, 2);
	assert_int_equal(in(board, 0x18, 2), 64);
	out(board, 0x18, 16, 2);
	assert_int_equal(in(board, 0x1e, 2), 0);
	out(board, 0x20, queue->desc_gpa, 8);
	out(board, 0x28, (uint32_t)queue->driver_gpa, 4);
	out(board, 0x2c, 0, 4);
	out(board, 0x30, queue->device_gpa, 8);
	assert_int_equal(in(board, 0x20, 8), queue->desc_gpa);
	assert_int_equal(in(board, 0x28, 8), queue->driver_gpa);
	out(board, 0x1a, 1, 2);
	assert_int_equal(in(board, 0x1a, 2), 1);
	out(board, 0x10, 7, 2); /* a vector that there is not */
	assert_int_equal(in(board, 0x10, 2), 0xffff);
	out(board, 0x10, 0, 2);
	out(board, 0x1c, 1, 2);
	assert_int_equal(in(board, 0x1c, 2), 1);
	out(board, 0x14, 15, 1);
	assert_int_equal(in(board, 0x14, 1), 15);
}

static void serve_one(struct board *board)
{
	const struct virtio_guest_buffer buffer = {4096, 16, true};
	uint16_t id;
	uint32_t len;

	virtio_guest_add(board->guest, 0, &buffer, 1);
	out(board, NOTIFY, 0, 2);
	virtio_guest_run(board->guest);
	assert_true(virtio_guest_take(board->guest, 0, &id, &len));
}

/* Without MSI-X: the status register, cleared by reading, and INTA# unless it is disabled. */
static void intx(void **state)
{
	struct board board;

	board_init(&board);
	drive(&board);
	serve_one(&board);
	assert_true(board.line);
	assert_true(config_in(&board, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	config_out(&board, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE, 2);
	assert_false(board.line);
	assert_true(config_in(&board, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	config_out(&board, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_true(board.line);
	assert_int_equal(in(&board, ISR, 1), VIRTIO_ISR_QUEUE);
	assert_false(board.line);
	assert_int_equal(in(&board, ISR, 1), 0);
	assert_int_equal(board.messages, 0);
	board_release(&board);
	(void)state;
}

static void enable_msix(struct board *board, uint16_t control)
{
	config_out(board, find_capability(board, PCI_CAPABILITY_MSIX, 0) + 2, control, 2);
}

static void msix(void **state)
{
	struct board board;

	board_init(&board);
	drive(&board);
	assert_int_equal(in(&board, TABLE + 16 + 12, 4), 1); /* masked after reset */
	out(&board, TABLE + 16, 0xfee00000 | 3ull << 12 | 1ull << 32, 8);
	out(&board, TABLE + 24, 0x4321, 4);
	enable_msix(&board, 0x8000);
	serve_one(&board);
	assert_int_equal(board.messages, 0);
	assert_int_equal(in(&board, PBA, 4), 2);
	out(&board, TABLE + 28, 0, 4);
	assert_int_equal(board.messages, 1);
	assert_int_equal(board.address, 0xfee03000 | 1ull << 32);
	assert_int_equal(board.data, 0x4321);
	assert_int_equal(in(&board, PBA, 8), 0);
	serve_one(&board);
	assert_int_equal(board.messages, 2);
	assert_false(board.line);
	assert_int_equal(virtio_isr(board.guest->virtio), 0);
	enable_msix(&board, 0xc000); /* the function's mask */
	serve_one(&board);
	serve_one(&board);
	assert_int_equal(board.messages, 2);
	enable_msix(&board, 0x8000);
	assert_int_equal(board.messages, 3); /* pending is one bit */
	out(&board, 0x1a, 0xffff, 2);        /* no vector: no interrupt */
	serve_one(&board);
	assert_int_equal(board.messages, 3);
	/* Outside of the table, and of odd widths. */
	assert_int_equal(in(&board, TABLE + 32, 4), 0);
	out(&board, TABLE + 0x7f8, UINT64_MAX, 8);
	out(&board, TABLE + 17, 0xff, 1);
	assert_int_equal(in(&board, TABLE + 16, 2), 0);
	out(&board, PBA, UINT32_MAX, 4);
	assert_int_equal(in(&board, PBA, 4), 0);
	board_release(&board);
	(void)state;
}

/* A device reset takes the vectors back. */
static void a_reset_forgets_vectors(void **state)
{
	struct board board;

	board_init(&board);
	drive(&board);
	out(&board, 0x14, 0, 1);
	assert_int_equal(in(&board, 0x14, 1), 0);
	assert_int_equal(in(&board, 0x10, 2), 0xffff);
	assert_int_equal(in(&board, 0x1a, 2), 0xffff);
	assert_int_equal(in(&board, 0x1c, 2), 0);
	board_release(&board);
	(void)state;
}

static void queue_reset(void **state)
{
	struct board board;

	board_init(&board);
	drive(&board);
	out(&board, 0x3a, 1, 2);
	assert_int_equal(in(&board, 0x3a, 2), 0);
	assert_int_equal(in(&board, 0x1c, 2), 0);
	assert_int_equal(in(&board, 0x14, 1), 15);
	board_release(&board);
	(void)state;
}

/* 4.1.4.9: registers through the configuration space; a window that lies wrong does nothing. */
static void access_through_configuration(void **state)
{
	static const struct {
		uint32_t bar, offset, len;
	} wrong[] = {{1, 0x12, 2},   {0, 0x13, 2},       {0, 0x12, 3}, {0, 0x12, 0},
		     {0, 0x8000, 4}, {0, UINT32_MAX, 1}, {0, 0x10, 8}};
	struct board board;
	unsigned at;

	board_init(&board);
	at = find_capability(&board, PCI_CAPABILITY_VENDOR, 5);
	config_out(&board, at + 4, 0, 1);
	config_out(&board, at + 8, 0x12, 4);
	config_out(&board, at + 12, 2, 4);
	assert_int_equal(config_in(&board, at + 16, 2), 1);
	config_out(&board, at + 8, 0x14, 4);
	config_out(&board, at + 12, 1, 4);
	config_out(&board, at + 16, 1, 1);
	assert_int_equal(virtio_status(board.guest->virtio), 1);
	assert_int_equal(config_in(&board, at + 16, 1), 1);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		config_out(&board, at + 4, wrong[i].bar, 1);
		config_out(&board, at + 8, wrong[i].offset, 4);
		config_out(&board, at + 12, wrong[i].len, 4);
		config_out(&board, at + 16, 0x5a5a5a5a, 4);
		assert_int_equal(config_in(&board, at + 16, 4), 0x5a5a5a5a);
	}
	assert_int_equal(virtio_status(board.guest->virtio), 1);
	board_release(&board);
	(void)state;
}

/* Doorbells follow the BAR; the handler answers what they do not. */
static void notifications_follow_the_bar(void **state)
{
	struct board board;
	struct bus_doorbell doorbell = {.address = LOW + NOTIFY, .size_bytes = 2};

	board_init(&board);
	place_bar(&board, LOW);
	assert_true(bus_doorbell_add(board.mmio, &doorbell, &board.guest->err) < 0); /* there is one */
	place_bar(&board, LOW + 0x8000);
	doorbell.fd = board.guest->virtio->kick_fd[0];
	assert_int_equal(bus_doorbell_add(board.mmio, &doorbell, &board.guest->err), 0);
	bus_doorbell_remove(board.mmio, &doorbell);
	bus_write(board.mmio, LOW + 0x8000 + NOTIFY, 0, 4); /* not a doorbell's width */
	virtio_guest_run(board.guest);
	assert_int_equal(board.guest->virtio->kicks, 1);
	board_release(&board);
	(void)state;
}

/* A paused device and its transport go on in others, with BAR, vectors and what was pending. */
static void the_state_moves(void **state)
{
	struct board board;
	struct device *device, *pci;
	struct virtio_pci_config config = {.slot = SLOT + 1};

	board_init(&board);
	drive(&board);
	out(&board, TABLE + 16, 0xfee01000, 8);
	out(&board, TABLE + 24, 0x77, 8); /* data, and unmasked */
	enable_msix(&board, 0xc000);
	serve_one(&board);
	assert_int_equal(board.messages, 0);
	device = &board.guest->virtio->device;
	device->class->pause(device);
	/* The other pair, in the next slot. */
	config.bus = pci_host_bus(board.host);
	board.guest->virtio = (struct virtio_device *)echo_create(board.guest);
	pci = virtio_pci_create(&board.guest->env, board.guest->virtio, &config, &board.guest->err);
	assert_non_null(pci);
	virtio_guest_copy_state(device, &board.guest->virtio->device);
	virtio_guest_copy_state(board.pci, pci);
	board.pci->class->destroy(board.pci);
	device->class->destroy(device);
	board.pci = pci;
	device = &board.guest->virtio->device;
	device->class->resume(device);
	assert_int_equal(in(&board, 0x14, 1), 15);
	assert_int_equal(in(&board, PBA, 4), 2);
	serve_one(&board);
	assert_int_equal(board.messages, 0);
	bus_write(board.mmio, ecam(SLOT + 1, 0x42), 0x8000, 2); /* message control: MSI-X comes first */
	assert_int_equal(board.messages, 1);
	assert_int_equal(board.address, 0xfee01000);
	serve_one(&board);
	assert_int_equal(board.messages, 2);
	assert_int_equal(board.data, 0x77);
	board_release(&board);
	(void)state;
}

/* Crooked accesses of the common configuration do nothing. */
static void crooked_accesses(void **state)
{
	struct board board;

	board_init(&board);
	place_bar(&board, HIGH);
	out(&board, 0x14, 3, 4);
	out(&board, 0x13, 3, 2);
	out(&board, 0x10, 0, 8);
	assert_int_equal(in(&board, 0x14, 1), 0);
	assert_int_equal(in(&board, 0x14, 2), 0);
	assert_int_equal(in(&board, 0x3c, 4), 0);
	for (unsigned offset = 0; offset < 0x8000; offset += 4) {
		in(&board, offset, 4);
		out(&board, offset, 0xfffffffb, 4);
		out(&board, offset, 0xfffb, 2);
	}
	assert_true(board.guest->virtio->driver_errors > 0);
	board_release(&board);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_space),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(bars_are_sized_and_moved),
		cmocka_unit_test(firmware_places_bars),
		cmocka_unit_test(intx),
		cmocka_unit_test(msix),
		cmocka_unit_test(a_reset_forgets_vectors),
		cmocka_unit_test(queue_reset),
		cmocka_unit_test(access_through_configuration),
		cmocka_unit_test(notifications_follow_the_bar),
		cmocka_unit_test(the_state_moves),
		cmocka_unit_test(crooked_accesses),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
