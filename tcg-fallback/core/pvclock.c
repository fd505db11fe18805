/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's paravirtual clock as the engine offers it: the page that tells a CPU the time at one count of its
 * TSC, and the date at which the clock began. The TSC is the same on all CPUs and never changes its rate, so
 * a page is written once, and again when the TSC is set. Linux, Documentation/virt/kvm/x86/msr.rst.
 *
 *   time   0 version, odd while it changes   8 TSC   16 ns   24 multiplier, 32.32   28 shift   29 flags
 *   wall   0 version                         4 s      8 ns
 */
#include <stdatomic.h>
#include <time.h>

#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"

#define NS_PER_S 1000000000ull

#define PVCLOCK_LEAF        0x40000001u
#define PVCLOCK_CLOCKSOURCE (1u << 3)
#define PVCLOCK_SIGNATURE   0x4b4d564bu /* "KVMK" */
#define PVCLOCK_ENABLED     1u
#define PVCLOCK_TSC_STABLE  1u /* CPUs need not be compared: they agree */

bool x86_pvclock_offered(const struct x86_cpu *cpu)
{
	bool is_kvm = false, offered = false;

	for (size_t i = 0; i < cpu->cpuid_count; i++) {
		if (cpu->cpuid[i].leaf == (PVCLOCK_LEAF & ~0xffu))
			is_kvm = cpu->cpuid[i].ebx == PVCLOCK_SIGNATURE;
		if (cpu->cpuid[i].leaf == PVCLOCK_LEAF)
			offered = cpu->cpuid[i].eax & PVCLOCK_CLOCKSOURCE;
	}
	return is_kvm && offered && cpu->tsc_hz;
}

/* ns = (ticks << shift) * multiplier / 2^32, the multiplier in the upper half of its 32 bits. */
static uint32_t pvclock_scale(uint64_t tsc_hz, int8_t *shift)
{
	unsigned __int128 scaled = (unsigned __int128)NS_PER_S << 32; /* at shift 0 */

	*shift = 0;
	while (scaled / tsc_hz < 1u << 31) {
		scaled <<= 1;
		--*shift;
	}
	while (scaled / tsc_hz > UINT32_MAX) {
		scaled >>= 1;
		++*shift;
	}
	return (uint32_t)(scaled / tsc_hz);
}

void x86_pvclock_write_time(struct x86_cpu *cpu)
{
	const struct x86_vm *vm = cpu->vm;
	uint64_t gpa = cpu->msr.kvm_system_time & ~(uint64_t)PVCLOCK_ENABLED, version, scale;
	int8_t shift;

	if (!(cpu->msr.kvm_system_time & PVCLOCK_ENABLED) || !x86_pvclock_offered(cpu))
		return;
	version = (x86_phys_ld64(cpu, gpa) & 0xfffffffeu) + 2;
	x86_phys_st64(cpu, gpa, (uint32_t)(version - 1));
	atomic_thread_fence(memory_order_seq_cst);
	x86_phys_st64(cpu, gpa + 8, x86_clock_tsc_at(cpu, vm->pvclock_counter));
	x86_phys_st64(cpu, gpa + 16, vm->pvclock_ns);
	scale = pvclock_scale(cpu->tsc_hz, &shift);
	x86_phys_st64(cpu, gpa + 24,
		      scale | (uint64_t)(uint8_t)shift << 32 | (uint64_t)PVCLOCK_TSC_STABLE << 40);
	atomic_thread_fence(memory_order_seq_cst);
	x86_phys_st64(cpu, gpa, (uint32_t)version);
}

void x86_pvclock_write_wall(struct x86_cpu *cpu)
{
	struct x86_clock_point now;
	struct timespec date;
	uint64_t began_ns, gpa = cpu->msr.kvm_wall_clock, version;

	x86_clock_get(cpu, &now);
	clock_gettime(CLOCK_REALTIME, &date);
	began_ns = (uint64_t)date.tv_sec * NS_PER_S + (uint64_t)date.tv_nsec - now.pvclock_ns;
	version = (x86_phys_ld64(cpu, gpa) & 0xfffffffeu) + 2;
	/* Twelve bytes, and not one of the guest's behind them. */
	x86_phys_st64(cpu, gpa + 4, began_ns / NS_PER_S | began_ns % NS_PER_S << 32);
	x86_phys_st64(cpu, gpa, (uint32_t)version | began_ns / NS_PER_S << 32);
}
