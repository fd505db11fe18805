/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs in a guest while it is handed over: does time ever go back, on one CPU or between two, and does every
 * sleep end? A thread a CPU reads CLOCK_MONOTONIC and the TSC as fast as it can, against its own last reading
 * and the greatest of all threads; another sleeps a millisecond at a time.
 *
 *     clock_check SECONDS
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define CPUS_MAX     16
#define NS_PER_S     1000000000ull
#define SLEEP_NS     1000000
#define SLEEP_MAX_NS (20 * NS_PER_S) /* an interpreter on a busy host is slow; a lost timer is for ever */

struct clock_check {
	uint64_t (*read)(void);
	const char *name;
	_Atomic uint64_t greatest; /* of all CPUs */
	_Atomic uint64_t reads, steps_back, furthest_back;
};

static uint64_t read_monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t read_tsc(void)
{
	uint64_t tsc;

	_mm_lfence(); /* neither before what came before it, nor after what follows */
	tsc = __rdtsc();
	_mm_lfence();
	return tsc;
}

static struct clock_check checks[] = {
	{.read = read_monotonic, .name = "monotonic"},
	{.read = read_tsc, .name = "tsc"},
};
static uint64_t end_ns;

static void went_back(struct clock_check *check, uint64_t by)
{
	uint64_t furthest = atomic_load(&check->furthest_back);

	atomic_fetch_add(&check->steps_back, 1);
	while (by > furthest && !atomic_compare_exchange_weak(&check->furthest_back, &furthest, by))
		;
}

/* What another CPU had read before this one began to read must not be later. */
static void check_once(struct clock_check *check)
{
	uint64_t before = atomic_load(&check->greatest);
	uint64_t now = check->read();

	atomic_fetch_add_explicit(&check->reads, 1, memory_order_relaxed);
	if (now < before)
		went_back(check, before - now);
	while (now > before && !atomic_compare_exchange_weak(&check->greatest, &before, now))
		;
}

static void *reader(void *opaque)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((size_t)(uintptr_t)opaque, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	while (read_monotonic() < end_ns)
		for (unsigned i = 0; i < 100; i++)
			for (size_t k = 0; k < sizeof(checks) / sizeof(checks[0]); k++)
				check_once(&checks[k]);
	return NULL;
}

/* The longest sleep of a millisecond. */
static void *sleeper(void *opaque)
{
	const struct timespec nap = {.tv_nsec = SLEEP_NS};
	uint64_t longest = 0, start;

	while ((start = read_monotonic()) < end_ns) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
		if (read_monotonic() - start > longest)
			longest = read_monotonic() - start;
	}
	*(uint64_t *)opaque = longest;
	return NULL;
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t start_ns = read_monotonic(), longest_ns = 0;
	pthread_t threads[CPUS_MAX], sleeping;
	int failed = 0;

	end_ns = start_ns + (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) * NS_PER_S;
	if (cpus > CPUS_MAX)
		cpus = CPUS_MAX;
	for (long i = 0; i < cpus; i++)
		pthread_create(&threads[i], NULL, reader, (void *)(uintptr_t)i);
	pthread_create(&sleeping, NULL, sleeper, &longest_ns);
	for (long i = 0; i < cpus; i++)
		pthread_join(threads[i], NULL);
	pthread_join(sleeping, NULL);
	for (size_t k = 0; k < sizeof(checks) / sizeof(checks[0]); k++) {
		const struct clock_check *check = &checks[k];

		printf("clock_check: %s: %llu reads on %ld CPUs, %llu steps back, at most by %llu\n",
		       check->name, (unsigned long long)check->reads, cpus,
		       (unsigned long long)check->steps_back, (unsigned long long)check->furthest_back);
		failed |= check->steps_back != 0;
	}
	printf("clock_check: longest sleep of 1 ms: %llu us\n", (unsigned long long)longest_ns / 1000);
	failed |= longest_ns > SLEEP_MAX_NS;
	printf("clock_check: %s\n", failed ? "FAILED" : "ok");
	return failed;
}
