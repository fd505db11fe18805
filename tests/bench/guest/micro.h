/* SPDX-License-Identifier: Apache-2.0 */
/* The Linux side of the micro-kernels (guest/bench/bench.h): the same table for work that needs a kernel or a
 * C library. */
#pragma once

#include "guest/bench/bench.h"

extern const struct bench_kernel linux_kernels[];
extern const unsigned linux_kernel_count;

/* This program's path, for the class that executes it. */
#define MICRO_SELF  "/proc/self/exe"
#define MICRO_LEAVE "--leave" /* its argument there: end at once */

/* micro_system.c */
void micro_syscall(struct bench_room *room, uint64_t n);
void micro_clock_gettime(struct bench_room *room, uint64_t n);
void micro_read_write(struct bench_room *room, uint64_t n);
void micro_create_unlink(struct bench_room *room, uint64_t n);
void micro_page_fault(struct bench_room *room, uint64_t n);
void micro_mmap_touch(struct bench_room *room, uint64_t n);
void micro_signal(struct bench_room *room, uint64_t n);
void micro_segv_longjmp(struct bench_room *room, uint64_t n);

/* micro_process.c */
void micro_pipe_prepare(struct bench_room *room);
void micro_pipe(struct bench_room *room, uint64_t n);
void micro_fork_wait(struct bench_room *room, uint64_t n);
void micro_exec(struct bench_room *room, uint64_t n);
void micro_thread(struct bench_room *room, uint64_t n);
