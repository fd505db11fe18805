/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the I/O APIC, any lines and EOIs. The program of bytes is that of
 * legacy_fuzz.h. */
#include "devices/legacy/ioapic.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

static void ioapic_own(void *opaque, unsigned op, struct legacy_fuzz_input *input)
{
	struct irq_line line = ioapic_input(opaque, legacy_fuzz_take(input, 1) & 31);

	irq_line_set(&line, op == 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	struct ioapic_config config = {.base = 0xfec00000};
	struct device *device = ioapic_create(&board->env, &config, &board->err);
	struct eoi_sink sink = ioapic_eoi_sink(device);

	while (input.size > 4) {
		uint32_t op = legacy_fuzz_take(&input, 1);
		uint64_t gpa = 0xfec00000 + (legacy_fuzz_take(&input, 1) & 0x7f);

		if ((op & 7) < 2)
			bus_write(board->env.mmio, gpa, legacy_fuzz_take(&input, 4), 1u << (op >> 3 & 3));
		else if ((op & 7) == 2)
			bus_read(board->env.mmio, gpa, 1u << (op >> 3 & 3));
		else if ((op & 7) == 3)
			sink.eoi(sink.opaque, (uint8_t)gpa);
		else
			ioapic_own(device, op & 7, &input);
	}
	board_destroy(board, device);
	return 0;
}
