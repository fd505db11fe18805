/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The micro-kernels of the benchmarks: small loops, each of one kind of work, that run on a bare CPU as well
 * as in a process. They know no operating system and no library: what they need is in the room that their
 * caller gives them. The same objects run in the payload of `vmmctl bench`, in the Linux program of
 * tests/bench/micro.py, and on the host.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BENCH_DATA_BYTES (16u << 20)
#define BENCH_CODE_BYTES (16u << 20)

/* What a kernel works on. Nothing in it is kept from one kernel to the next. */
struct bench_room {
	uint8_t *data;       /* BENCH_DATA_BYTES, page-aligned, touched */
	uint8_t *code;       /* BENCH_CODE_BYTES, page-aligned, writable and executable */
	size_t code_used;    /* what of the code fresh blocks have taken */
	uint64_t sink;       /* results go here, so that no compiler leaves the work out */
	uint64_t generation; /* grows with every piece of code that is written: none is like another */
};

struct bench_kernel {
	const char *name;
	const char *unit;                         /* what one count of run's n is */
	void (*prepare)(struct bench_room *room); /* not timed; NULL: nothing to do */
	void (*run)(struct bench_room *room, uint64_t n);
};

extern const struct bench_kernel bench_kernels[];
extern const unsigned bench_kernel_count;

/* bench_int.c */
void bench_int_alu(struct bench_room *room, uint64_t n);
void bench_int_divide(struct bench_room *room, uint64_t n);
void bench_crc32_prepare(struct bench_room *room);
void bench_crc32(struct bench_room *room, uint64_t n);
void bench_sort(struct bench_room *room, uint64_t n);
void bench_hash(struct bench_room *room, uint64_t n);
void bench_chase_prepare(struct bench_room *room);
void bench_chase(struct bench_room *room, uint64_t n);
void bench_lz_prepare(struct bench_room *room);
void bench_lz(struct bench_room *room, uint64_t n);

/* bench_branch.c */
void bench_call(struct bench_room *room, uint64_t n);
void bench_call_deep(struct bench_room *room, uint64_t n);
void bench_call_indirect(struct bench_room *room, uint64_t n);
void bench_branch_indirect_prepare(struct bench_room *room);
void bench_branch_indirect(struct bench_room *room, uint64_t n);

/* bench_float.c */
void bench_fp_scalar(struct bench_room *room, uint64_t n);
void bench_fp_packed_prepare(struct bench_room *room);
void bench_fp_packed(struct bench_room *room, uint64_t n);
void bench_int_packed(struct bench_room *room, uint64_t n);
void bench_x87(struct bench_room *room, uint64_t n);

/* bench_memory.c */
void bench_rep_movs_1k(struct bench_room *room, uint64_t n);
void bench_rep_stos_1k(struct bench_room *room, uint64_t n);
void bench_rep_movs_64k(struct bench_room *room, uint64_t n);
void bench_rep_short(struct bench_room *room, uint64_t n);
void bench_copy_loop(struct bench_room *room, uint64_t n);
void bench_copy_aliased(struct bench_room *room, uint64_t n);
void bench_locked(struct bench_room *room, uint64_t n);

/* bench_code.c */
void bench_code_fresh(struct bench_room *room, uint64_t n);
void bench_code_warm(struct bench_room *room, uint64_t n);
void bench_code_modified_prepare(struct bench_room *room);
void bench_code_modified(struct bench_room *room, uint64_t n);
void bench_code_neighbour(struct bench_room *room, uint64_t n);
