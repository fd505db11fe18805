/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Micro-kernels of code that appears and changes: what a translator pays for code that runs once, for code
 * that gets hot, for code that is written again, and for data beside code. They write x86-64 machine code
 * themselves.
 */
#include "guest/bench/bench.h"

#define BLOCK_BYTES 64u
#define WARM_CALLS  256u

typedef uint64_t bench_code_fn(uint64_t value);

/* mov %rdi, %rax; nine additions of a constant; ret: ten instructions and the return, unlike any before. */
static void bench_block_write(uint8_t *code, uint64_t generation)
{
	*code++ = 0x48;
	*code++ = 0x89;
	*code++ = 0xf8;
	for (unsigned i = 0; i < 9; i++) {
		uint32_t constant = (uint32_t)(generation * 9 + i);

		*code++ = 0x48;
		*code++ = 0x05;
		for (unsigned byte = 0; byte < 4; byte++)
			*code++ = (uint8_t)(constant >> 8 * byte);
	}
	*code = 0xc3;
}

static bench_code_fn *bench_block_at(uint8_t *code)
{
	return (bench_code_fn *)(uintptr_t)code;
}

/*
 * Blocks that run `calls` times each, in memory that no block has lain in before (until all of it is used
 * up): what a monitor pays for writing over translated code is another kernel's matter.
 */
static void bench_blocks_run(struct bench_room *room, uint64_t n, unsigned calls)
{
	while (n) {
		uint64_t count = (BENCH_CODE_BYTES - room->code_used) / BLOCK_BYTES;
		uint8_t *code = room->code + room->code_used;

		if (count > n)
			count = n;
		for (uint64_t i = 0; i < count; i++)
			bench_block_write(code + i * BLOCK_BYTES, room->generation++);
		for (uint64_t i = 0; i < count; i++)
			for (unsigned call = 0; call < calls; call++)
				room->sink = bench_block_at(code + i * BLOCK_BYTES)(room->sink);
		n -= count;
		room->code_used += count * BLOCK_BYTES;
		if (room->code_used == BENCH_CODE_BYTES)
			room->code_used = 0;
	}
}

void bench_code_fresh(struct bench_room *room, uint64_t n)
{
	bench_blocks_run(room, n, 1);
}

void bench_code_warm(struct bench_room *room, uint64_t n)
{
	bench_blocks_run(room, n, WARM_CALLS);
}

void bench_code_modified_prepare(struct bench_room *room)
{
	bench_block_write(room->code, room->generation++);
}

/* A constant of the code is written, then the code is called. */
void bench_code_modified(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		*(volatile uint32_t *)(void *)(room->code + 5) = (uint32_t)i;
		room->sink = bench_block_at(room->code)(room->sink);
	}
}

/* Data in the page of the code is written, then the code is called. */
void bench_code_neighbour(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		*(volatile uint32_t *)(void *)(room->code + 2048) = (uint32_t)i;
		room->sink = bench_block_at(room->code)(room->sink);
	}
}
