/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses of four CPUs to their APICs by memory and MSR, messages, pins and time. The
 * program of bytes is that of legacy_fuzz.h. */
#include "devices/legacy/lapic.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/legacy_fuzz.h"

static void pin_intr(void *opaque, unsigned cpu, bool level)
{
	((bool *)opaque)[cpu] = level;
}

static void pin_edge(void *opaque, unsigned cpu)
{
	(void)opaque;
	(void)cpu;
}

static void pin_startup(void *opaque, unsigned cpu, uint8_t vector)
{
	(void)opaque;
	(void)cpu;
	(void)vector;
}

static uint64_t tsc_to_ns(void *opaque, unsigned cpu, uint64_t tsc)
{
	(void)opaque;
	(void)cpu;
	return tsc;
}

static void lapic_step(struct board *board, struct device *device, struct legacy_fuzz_input *input)
{
	uint32_t op = legacy_fuzz_take(input, 1), cpu = op >> 3 & 3, where = legacy_fuzz_take(input, 1);
	uint64_t value;

	switch (op & 7) {
	case 0: lapic_mmio_write(device, cpu, where << 4, legacy_fuzz_take(input, 4), 4); break;
	case 1: lapic_mmio_read(device, cpu, where << 4 | op >> 6, 1u << (op >> 5 & 3)); break;
	case 2:
		value = (uint64_t)(op >> 5) << 32 | legacy_fuzz_take(input, 4);
		lapic_msr_write(device, cpu, op & 0x20 ? 0x1b : op & 0x40 ? 0x6e0 : 0x800 + where, value);
		break;
	case 3: lapic_msr_read(device, cpu, 0x800 + where, &value); break;
	case 4: lapic_msi(device, 0xfee00000 | legacy_fuzz_take(input, 3), legacy_fuzz_take(input, 2)); break;
	case 5: lapic_acknowledge(device, cpu); break;
	case 6: lapic_cr8_write(device, cpu, where); break;
	default: board_advance(board, legacy_fuzz_take(input, 3)); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct legacy_fuzz_input input = {data, size};
	struct board *board = board_create();
	bool intr[4] = {false};
	struct lapic_config config = {
		.cpu_count = 4,
		.x2apic = true,
		.phys_bits = 36,
		.tsc_to_monotonic_ns = tsc_to_ns,
		.pins = {pin_intr, pin_edge, pin_edge, pin_edge, pin_startup, intr},
	};
	struct device *device = lapic_create(&board->env, &config, &board->err);

	for (unsigned step = 0; step < LEGACY_FUZZ_STEPS && input.size; step++)
		lapic_step(board, device, &input);
	board_destroy(board, device);
	return 0;
}
