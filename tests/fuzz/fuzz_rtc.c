/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the clock and its memory, and any time. The program of bytes is that of
 * legacy_fuzz.h. */
#include "devices/legacy/rtc.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {0x70, 0x71};
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	struct rtc_config config = {
		.irq = board_line(board, 8), .realtime_ns = board_realtime_ns, .realtime_opaque = board};
	struct device *device = rtc_create(&board->env, &config, &board->err);

	legacy_fuzz_run(board, &input, ports, sizeof(ports) / sizeof(ports[0]), NULL, NULL);
	if (device->class->reset && size & 1)
		device->class->reset(device);
	board_destroy(board, device);
	return 0;
}
