/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of the payload, run by this host. Those that write code are left out: no memory of this program
 * is writable and executable.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "guest/bench/bench.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/bench/bench_parts.h"

#define NATIVE_REPEATS 5 /* as the payload: of which the best is told */

static const struct bench_kernel *native_find(const char *name)
{
	for (unsigned i = 0; i < bench_kernel_count; i++) {
		if (strcmp(bench_kernels[i].name, name) == 0 && strncmp(name, "code-", 5) != 0)
			return &bench_kernels[i];
	}
	return NULL;
}

static uint64_t native_time_ns(const struct bench_kernel *kernel, struct bench_room *room, uint64_t n)
{
	uint64_t start = clock_monotonic_ns();

	kernel->run(room, n);
	return clock_monotonic_ns() - start;
}

/* As the payload has it: n grows until a run lasts long enough to tell how many there must be. */
static double native_measure(const struct bench_kernel *kernel, struct bench_room *room, uint64_t wanted_ns)
{
	uint64_t n = 1, took, best = UINT64_MAX;

	if (kernel->prepare)
		kernel->prepare(room);
	while ((took = native_time_ns(kernel, room, n)) < wanted_ns / 8)
		n *= took < wanted_ns / 80 ? 8 : 2;
	n = (uint64_t)((double)n * (double)wanted_ns / NATIVE_REPEATS / (double)took) + 1;
	for (int i = 0; i < NATIVE_REPEATS; i++) {
		took = native_time_ns(kernel, room, n);
		best = took < best ? took : best;
	}
	return (double)best / (double)n;
}

int bench_native(struct bench_report *report, struct err *err)
{
	struct bench_room room = {0};
	void *data = mmap(NULL, BENCH_DATA_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (data == MAP_FAILED)
		return err_set_errno(err, -errno, "memory for the host's figures");
	room.data = data;
	for (size_t i = 0; i < report->count; i++) {
		const struct bench_kernel *kernel = native_find(report->row[i].name);

		if (kernel)
			report->row[i].native_ns = native_measure(kernel, &room, report->ms * 1000000ull);
	}
	munmap(data, BENCH_DATA_BYTES);
	return 0;
}
