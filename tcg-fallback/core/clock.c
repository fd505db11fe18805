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

/* Not before what the guest has read already: its LFENCE, or RDTSCP, orders nothing on this CPU. */
static uint64_t counter(void)
{
	_mm_lfence();
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

uint64_t x86_clock_counter(const struct x86_vm *vm)
{
	return vm->tsc_native ? counter() : monotonic_ns();
}

/*
 * A native counter is taken as it counts: CPUID tells the rate that was measured here, or that the host's
 * kernel knows.
 */
uint64_t x86_clock_tsc_at(const struct x86_cpu *cpu, uint64_t count)
{
	if (!cpu->vm->tsc_native && cpu->tsc_hz && cpu->tsc_hz != NS_PER_S)
		count = (uint64_t)((unsigned __int128)count * cpu->tsc_hz / NS_PER_S);
	return count + (uint64_t)cpu->tsc_offset;
}

uint64_t x86_tsc_read(struct x86_cpu *cpu)
{
	return x86_clock_tsc_at(cpu, x86_clock_counter(cpu->vm));
}

uint64_t x86_tsc_to_monotonic_ns(struct x86_cpu *cpu, uint64_t tsc)
{
	uint64_t now_ns = monotonic_ns(), now = x86_tsc_read(cpu);
	unsigned __int128 wait_ns;

	if (!cpu->tsc_hz || tsc <= now)
		return now_ns;
	wait_ns = (unsigned __int128)(tsc - now) * NS_PER_S / cpu->tsc_hz + 1; /* rather late than early */
	return wait_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + (uint64_t)wait_ns;
}

/* Nanoseconds of a span of counts. */
static uint64_t span_ns(const struct x86_cpu *cpu, uint64_t counts)
{
	if (!cpu->vm->tsc_native || !cpu->tsc_hz)
		return counts;
	return (uint64_t)((unsigned __int128)counts * NS_PER_S / cpu->tsc_hz);
}

/* The count that the VM uses is read first: a clock that goes on from the other one of the pair is then late
 * by what passed between, and never early, so that no guest sees it go back. */
void x86_clock_get(struct x86_cpu *cpu, struct x86_clock_point *point)
{
	uint64_t count = x86_clock_counter(cpu->vm);
	bool native = cpu->vm->tsc_native;

	*point = (struct x86_clock_point){
		.monotonic_ns = native ? monotonic_ns() : count,
		.host_tsc = native ? count : 0, /* CPUs of such a host may disagree */
		.tsc = x86_clock_tsc_at(cpu, count),
		.pvclock_ns = cpu->vm->pvclock_ns + span_ns(cpu, count - cpu->vm->pvclock_counter),
	};
}

void x86_clock_set(struct x86_cpu *cpu, const struct x86_clock_point *point, bool pvclock)
{
	struct x86_vm *vm = cpu->vm;
	uint64_t count = vm->tsc_native ? point->host_tsc : point->monotonic_ns, late_ns = 0;

	if (!count) { /* taken on another host, or by somebody who knows no counter */
		count = counter();
		late_ns = monotonic_ns() - point->monotonic_ns;
	}
	cpu->tsc_offset = 0;
	cpu->tsc_offset =
		(int64_t)(point->tsc + (uint64_t)((unsigned __int128)late_ns * cpu->tsc_hz / NS_PER_S) -
			  x86_clock_tsc_at(cpu, count));
	if (pvclock) {
		vm->pvclock_counter = count;
		vm->pvclock_ns = point->pvclock_ns + late_ns;
		x86_cpu_post(cpu, ATTENTION_CLOCK);
	}
}

bool x86_tsc_is_native(void)
{
	return tsc_is_invariant();
}
