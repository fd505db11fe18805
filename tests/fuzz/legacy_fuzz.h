/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets of the legacy devices share: a byte program for ports, memory and time. Each step is
 * one byte of operation and its operands; the device's target gives the addresses and handles operations of
 * its own.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tests/unit/legacy_board.h"

struct legacy_fuzz_input {
	const uint8_t *data;
	size_t size;
};

static inline uint32_t legacy_fuzz_take(struct legacy_fuzz_input *input, unsigned bytes)
{
	uint32_t value = 0;

	while (bytes-- && input->size) {
		value = value << 8 | *input->data++;
		input->size--;
	}
	return value;
}

#define LEGACY_FUZZ_STEPS 400      /* keeps one input below a few ms */
#define LEGACY_FUZZ_NS    20000000 /* longest turn of the clock */

/* Operations 0-4 are here; 5-7 are the target's, called with the input behind them. */
static inline void legacy_fuzz_run(struct board *board, struct legacy_fuzz_input *input,
				   const uint16_t *ports, unsigned port_count,
				   void (*own)(void *opaque, unsigned op, struct legacy_fuzz_input *input),
				   void *opaque)
{
	for (unsigned step = 0; step < LEGACY_FUZZ_STEPS && input->size; step++) {
		uint32_t op = legacy_fuzz_take(input, 1);
		uint16_t port = port_count ? ports[(op >> 3) % port_count] : 0;

		switch (op & 7) {
		case 0:
		case 1:
			if (port_count)
				board_out(board, port, (uint8_t)legacy_fuzz_take(input, 1));
			break;
		case 2:
			if (port_count)
				bus_write(board->env.pio, port, legacy_fuzz_take(input, 4),
					  op & 0x80 ? 4 : 2);
			break;
		case 3:
			if (port_count)
				bus_read(board->env.pio, port, op & 0x80 ? 1 : 4);
			break;
		case 4:
			if (op & 0x80)
				board_oversleep(board, (uint64_t)legacy_fuzz_take(input, 4) << 10);
			else
				board_advance(board, legacy_fuzz_take(input, 4) % LEGACY_FUZZ_NS);
			break;
		default:
			if (own)
				own(opaque, op & 7, input);
			break;
		}
	}
}
