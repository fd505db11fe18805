/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for host code: one memfd mapped twice, once to write it and once to run it, so that no page is ever
 * writable and executable. It knows nothing of what is written there.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct code_memory {
	uint8_t *rw; /* where code is written */
	uint8_t *rx; /* the same bytes, where it runs */
	size_t size_bytes;
};

/* 0, or -errno when the host refuses executable memory; then nothing is left behind. */
int code_memory_create(struct code_memory *memory, size_t size_bytes);
void code_memory_destroy(struct code_memory *memory);

static inline const uint8_t *code_memory_run(const struct code_memory *memory, const uint8_t *rw)
{
	return memory->rx + (rw - memory->rw);
}
