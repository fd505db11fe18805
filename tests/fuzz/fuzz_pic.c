/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the interrupt controllers, any lines and acknowledges. The program of bytes is
 * that of legacy_fuzz.h. */
#include "devices/legacy/pic.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

static void pic_own(void *opaque, unsigned op, struct legacy_fuzz_input *input)
{
	struct irq_line line = pic_input(opaque, legacy_fuzz_take(input, 1) & 31);

	if (op == 5)
		pic_acknowledge(opaque);
	else
		irq_line_set(&line, op == 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	struct pic_config config = {.output = board_line(board, 0)};
	struct device *device = pic_create(&board->env, &config, &board->err);

	legacy_fuzz_run(board, &input, ports, sizeof(ports) / sizeof(ports[0]), pic_own, device);
	if (device->class->reset && size & 1)
		device->class->reset(device);
	board_destroy(board, device);
	return 0;
}
