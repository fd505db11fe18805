/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the serial port, any input, breaks and a backend that refuses. The program of
 * bytes is that of legacy_fuzz.h. */
#include "devices/legacy/serial.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

static void serial_own(void *opaque, unsigned op, struct legacy_fuzz_input *input)
{
	struct board_chardev *chardev = opaque;
	const struct chardev_client *client = &chardev->chardev.client;
	uint8_t bytes[16] = {0};
	size_t len = legacy_fuzz_take(input, 1) & 15, room;

	if (op == 5) {
		chardev->refuse = !chardev->refuse;
	} else if (op == 6) {
		client->event(client->opaque, (int)len & 3);
	} else {
		room = client->can_receive(client->opaque);
		client->receive(client->opaque, bytes, len < room ? len : room);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff};
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	struct board_chardev chardev;
	struct serial_config config = {
		.base_port = 0x3f8, .irq = board_line(board, 4), .chardev = &chardev.chardev};
	struct device *device;

	board_chardev_init(&chardev);
	device = serial_create(&board->env, &config, &board->err);
	legacy_fuzz_run(board, &input, ports, 8, serial_own, &chardev);
	board_destroy(board, device);
	return 0;
}
