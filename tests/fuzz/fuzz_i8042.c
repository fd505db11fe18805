/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the keyboard controller, any keys and movements. The program of bytes is that
 * of legacy_fuzz.h. */
#include "devices/legacy/i8042.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {0x60, 0x64};
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	struct i8042_config config = {.keyboard_irq = board_line(board, 1),
				      .mouse_irq = board_line(board, 12)};
	struct device *device = i8042_create(&board->env, &config, &board->err);

	legacy_fuzz_run(board, &input, ports, sizeof(ports) / sizeof(ports[0]), NULL, NULL);
	if (device->class->reset && size & 1)
		device->class->reset(device);
	board_destroy(board, device);
	return 0;
}
