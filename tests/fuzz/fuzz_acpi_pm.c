/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the PM blocks, and any time. The program of bytes is that of legacy_fuzz.h. */
#include "devices/legacy/acpi_pm.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x608, 0x60b};
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	struct acpi_pm_config config = {
		.base_port = 0x600, .sci = board_line(board, 9), .timer_24bit = size & 1};
	struct device *device = acpi_pm_create(&board->env, &config, &board->err);

	legacy_fuzz_run(board, &input, ports, sizeof(ports) / sizeof(ports[0]), NULL, NULL);
	if (device->class->reset && size & 1)
		device->class->reset(device);
	board_destroy(board, device);
	return 0;
}
