/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The micro classes as a Linux program: runs every kernel until it has lasted long enough, and prints a line
 * for each, `NAME<tab>NANOSECONDS PER UNIT<tab>UNIT`. The same static program runs in the guests and on the
 * host, on one CPU in either, so that the two can be compared.
 *
 *     micro [--ms N] [NAME...]
 */
#include "tests/bench/guest/micro.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MIB     (1u << 20)
#define REPEATS 5u /* of which the best is told: whatever else the host does only ever adds */

static void micro_libm(struct bench_room *room, uint64_t n)
{
	volatile double start = 0.7;
	double value = start;

	for (uint64_t i = 0; i < n; i++)
		value = sin(value) + exp(value * 0.25) * 0.125 + pow(value + 1.5, 0.75) * 0.25;
	room->sink += (uint64_t)(value * 1000);
}

static void micro_memcpy(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		memcpy(room->data, room->data + 8 * MIB + 37 * 4096, MIB);
		__asm__ volatile("" : : : "memory");
	}
}

static void micro_memset(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		memset(room->data, (int)i, MIB);
		__asm__ volatile("" : : : "memory");
	}
}

static void micro_snprintf(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		room->sink += (uint64_t)snprintf((char *)room->data, 128, "%s %llu %x", "value",
						 (unsigned long long)i, (unsigned)i);
}

const struct bench_kernel linux_kernels[] = {
	{"libm", "sin, exp, pow", NULL, micro_libm},
	{"memcpy-1m", "1 MiB", NULL, micro_memcpy},
	{"memset-1m", "1 MiB", NULL, micro_memset},
	{"snprintf", "call", NULL, micro_snprintf},
	{"syscall", "getppid", NULL, micro_syscall},
	{"clock-gettime", "call", NULL, micro_clock_gettime},
	{"read-write-4k", "pair", NULL, micro_read_write},
	{"create-unlink", "file", NULL, micro_create_unlink},
	{"page-fault", "page", NULL, micro_page_fault},
	{"mmap-touch", "16 pages", NULL, micro_mmap_touch},
	{"signal", "signal", NULL, micro_signal},
	{"segv-longjmp", "fault", NULL, micro_segv_longjmp},
	{"pipe-ping-pong", "round trip", micro_pipe_prepare, micro_pipe},
	{"fork-wait", "process", NULL, micro_fork_wait},
	{"exec", "process", NULL, micro_exec},
	{"thread", "thread", NULL, micro_thread},
};
const unsigned linux_kernel_count = sizeof(linux_kernels) / sizeof(linux_kernels[0]);

static uint64_t micro_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t micro_time_ns(const struct bench_kernel *kernel, struct bench_room *room, uint64_t n)
{
	uint64_t start = micro_now_ns();

	kernel->run(room, n);
	return micro_now_ns() - start;
}

/* Grows n until a run lasts an eighth of the time wanted, which warms caches and translators as well. */
static void micro_measure(const struct bench_kernel *kernel, struct bench_room *room, uint64_t wanted_ns)
{
	uint64_t n = 1, took, best = UINT64_MAX;

	if (kernel->prepare)
		kernel->prepare(room);
	while ((took = micro_time_ns(kernel, room, n)) < wanted_ns / 8)
		n *= took < wanted_ns / 80 ? 8 : 2;
	n = (uint64_t)((double)n * (double)wanted_ns / REPEATS / (double)took) + 1;
	for (unsigned i = 0; i < REPEATS; i++) {
		took = micro_time_ns(kernel, room, n);
		best = took < best ? took : best;
	}
	printf("%s\t%.3f\t%s\n", kernel->name, (double)best / (double)n, kernel->unit);
	fflush(stdout);
}

static bool micro_wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

static void micro_measure_all(const struct bench_kernel *kernels, unsigned count, struct bench_room *room,
			      uint64_t ns, char **names)
{
	for (unsigned i = 0; i < count; i++)
		if (micro_wanted(kernels[i].name, names))
			micro_measure(&kernels[i], room, ns);
}

static void micro_stay_on_one_cpu(void)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	if (sched_setaffinity(0, sizeof(here), &here))
		perror("sched_setaffinity");
}

static void *micro_map(size_t size, int protection)
{
	void *map = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (map == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return map;
}

int main(int argc, char **argv)
{
	struct bench_room room = {0};
	uint64_t ms = 100;

	if (argc > 1 && !strcmp(argv[1], MICRO_LEAVE))
		return 0;
	argv++;
	if (argc > 2 && !strcmp(argv[0], "--ms")) {
		ms = strtoull(argv[1], NULL, 10);
		argv += 2;
	}
	micro_stay_on_one_cpu();
	room.data = micro_map(BENCH_DATA_BYTES, PROT_READ | PROT_WRITE);
	room.code = micro_map(BENCH_CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
	micro_measure_all(bench_kernels, bench_kernel_count, &room, ms * 1000000, argv);
	micro_measure_all(linux_kernels, linux_kernel_count, &room, ms * 1000000, argv);
	return 0;
}
