/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets of queues and transports share: an input is a program of bytes, each step one byte of
 * operation and its operands.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/virtio_guest.h"

#define VIRTIO_FUZZ_STEPS 300 /* keeps one input below a few ms */

struct virtio_fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* Little-endian, 0 beyond the end. */
static inline uint64_t virtio_fuzz_take(struct virtio_fuzz_input *input, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && input->size; i++) {
		value |= (uint64_t)*input->data++ << 8 * i;
		input->size--;
	}
	return value;
}

/* Operands: 3 bytes of address, 1 of length (0-63), then so many bytes. They go wherever there is memory. */
static inline void virtio_fuzz_poke(struct gmem *gmem, struct virtio_fuzz_input *input)
{
	uint64_t gpa = virtio_fuzz_take(input, 3);
	size_t len = virtio_fuzz_take(input, 1) & 63;
	uint8_t *hva;

	if (len > input->size)
		len = input->size;
	hva = gmem_span(gmem, gpa, len);
	if (hva)
		memcpy(hva, input->data, len);
	input->data += len;
	input->size -= len;
}
