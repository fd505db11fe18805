/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's time-stamp counter: the host's own where that counts at a constant rate through every sleep
 * state, else nanoseconds of the monotonic clock. All CPUs read the same clock. Intel SDM vol. 3, 17.17.
 */
#include <time.h>

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/x86/system.h"

#define NS_PER_S 1000000000ull

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

#ifdef __x86_64__
#include <cpuid.h>
#include <x86intrin.h>

/* CPUID 80000007 EDX bit 8: invariant TSC. */
static bool tsc_is_invariant(void)
{
	unsigned eax, ebx, ecx, edx;

	return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & 1u << 8);
}

static uint64_t counter(void)
{
	return __rdtsc();
}
#else
static bool tsc_is_invariant(void)
{
	return false;
}

static uint64_t counter(void)
{
	return monotonic_ns();
}
#endif

/* Counted against the monotonic clock for 10 ms: good to a few parts in a million. */
static uint64_t measure_hz(void)
{
	uint64_t start_ns = monotonic_ns(), start = counter(), elapsed_ns;

	do
		elapsed_ns = monotonic_ns() - start_ns;
	while (elapsed_ns < NS_PER_S / 100);
	return (uint64_t)((unsigned __int128)(counter() - start) * NS_PER_S / elapsed_ns);
}

uint64_t x86_tsc_hz(void)
{
	return tsc_is_invariant() ? measure_hz() : NS_PER_S;
}

uint64_t x86_tsc_read(struct x86_cpu *cpu)
{
	uint64_t now = cpu->vm->tsc_native ? counter() : monotonic_ns();

	return now + (uint64_t)cpu->tsc_offset;
}

/* The rate that the guest was told: leaf 0x15, crystal * numerator / denominator. 0: none. */
static uint64_t told_hz(struct x86_cpu *cpu)
{
	uint32_t out[4];

	x86_cpuid_query(cpu, 0x15, 0, out);
	return out[0] ? (uint64_t)out[2] * out[1] / out[0] : 0;
}

uint64_t x86_tsc_to_monotonic_ns(struct x86_cpu *cpu, uint64_t tsc)
{
	uint64_t hz = told_hz(cpu), now_ns = monotonic_ns(), now = x86_tsc_read(cpu);
	unsigned __int128 wait_ns;

	if (!hz || tsc <= now)
		return now_ns;
	wait_ns = (unsigned __int128)(tsc - now) * NS_PER_S / hz + 1; /* rather late than early */
	return wait_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + (uint64_t)wait_ns;
}

bool x86_tsc_is_native(void)
{
	return tsc_is_invariant();
}
