/* SPDX-License-Identifier: Apache-2.0 */
/* The FIFOs of the serial port: bytes and the line errors that came with them. Only serial.c includes this.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SERIAL_FIFO_SIZE 16

/* A FIFO of bytes, or one byte in 16450 mode. flags: LSR_ERRORS that came with the byte. */
struct serial_fifo {
	uint8_t data[SERIAL_FIFO_SIZE];
	uint8_t flags[SERIAL_FIFO_SIZE];
	uint8_t head, count;
};

static inline bool serial_fifo_push(struct serial_fifo *fifo, unsigned size, uint8_t data, uint8_t flags)
{
	unsigned at = (fifo->head + fifo->count) % SERIAL_FIFO_SIZE;

	if (fifo->count >= size)
		return false;
	fifo->data[at] = data;
	fifo->flags[at] = flags;
	fifo->count++;
	return true;
}

static inline uint8_t serial_fifo_pop(struct serial_fifo *fifo)
{
	uint8_t data = fifo->data[fifo->head % SERIAL_FIFO_SIZE];

	fifo->head = (fifo->head + 1) % SERIAL_FIFO_SIZE;
	fifo->count--;
	return data;
}

static inline bool serial_fifo_has_error(const struct serial_fifo *fifo)
{
	for (unsigned i = 0; i < fifo->count; i++)
		if (fifo->flags[(fifo->head + i) % SERIAL_FIFO_SIZE])
			return true;
	return false;
}
