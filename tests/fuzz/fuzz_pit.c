/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the 8254 and port 0x61, and any time. The program of bytes is that of
 * legacy_fuzz.h. */
#include "devices/legacy/pit.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {0x40, 0x41, 0x42, 0x43, 0x61};
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	struct pit_config config = {.irq = board_line(board, 0)};
	struct device *device = pit_create(&board->env, &config, &board->err);

	legacy_fuzz_run(board, &input, ports, sizeof(ports) / sizeof(ports[0]), NULL, NULL);
	if (device->class->reset && size & 1)
		device->class->reset(device);
	board_destroy(board, device);
	return 0;
}
