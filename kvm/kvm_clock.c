/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's clocks to and from another accelerator: its TSC as an offset to the host's, which two CPUs can
 * share exactly, and KVM's paravirtual clock. Where KVM knows no offset, values are written, and KVM itself
 * sees to it that CPUs which are written to within a second agree. Documentation/virt/kvm/devices/vcpu.rst,
 * 4, and api.rst, KVM_GET_CLOCK.
 */
#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "kvm/kvm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"

#define MSR_TSC 0x10

#define KVM_CLOCK_ATTEMPTS 5   /* reading two clocks together: the host may interrupt */
#define KVM_CLOCK_SLACK_US 200 /* what a TSC may be off before it is set once more */
/* What it may be off at last: a host that takes long to set it is late, one that ignores it is off by more.
 */
#define KVM_CLOCK_WRONG_US 10000

static int kvm_clock_offset(struct accel_vcpu *vcpu, unsigned long request, int64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)offset,
	};

	return ioctl(vcpu->fd, request, &attr) < 0 ? -errno : 0;
}

static uint64_t kvm_clock_ticks(const struct accel_vcpu *vcpu, unsigned us)
{
	return vcpu->tsc_hz / 1000000 * us;
}

/* Guest's TSC and host's at one moment: of some attempts the one with the shortest time between, and of that
 * the end. */
static int kvm_clock_pair(struct accel_vcpu *vcpu, uint64_t *tsc, uint64_t *host_tsc, struct err *err)
{
	uint64_t shortest = UINT64_MAX;

	for (int i = 0; i < KVM_CLOCK_ATTEMPTS; i++) {
		uint64_t before = __rdtsc();
		uint64_t after;
		uint64_t value;

		if (!kvm_msr_get(vcpu, MSR_TSC, &value))
			return err_set(err, -EIO, "kvm: cannot read the TSC");
		after = __rdtsc();
		if (after - before >= shortest)
			continue;
		shortest = after - before;
		*tsc = value;
		*host_tsc = after;
	}
	return 0;
}

/* The difference of two clocks, or its complement. */
static uint64_t kvm_clock_distance(uint64_t a, uint64_t b)
{
	return a - b < b - a ? a - b : b - a;
}

/* CPUID 80000007 EDX bit 8. */
static bool kvm_clock_host_is_invariant(void)
{
	unsigned eax, ebx, ecx, edx;

	return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & 1u << 8);
}

int kvm_clock_get(struct accel_vcpu *vcpu, struct accel_clock *clock, struct err *err)
{
	struct kvm_clock_data paravirtual = {0};
	int64_t offset;
	int code;

	if (ioctl(vcpu->vm->vm_fd, KVM_GET_CLOCK, &paravirtual) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_CLOCK");
	clock->has_paravirtual = true;
	clock->paravirtual_ns = paravirtual.clock;
	code = kvm_clock_pair(vcpu, &clock->tsc, &clock->host_tsc, err);
	if (code < 0)
		return code;
	/* The exact offset, from a KVM that tells the truth about it. */
	if (kvm_clock_offset(vcpu, KVM_GET_DEVICE_ATTR, &offset) == 0 &&
	    kvm_clock_distance(clock->host_tsc + (uint64_t)offset, clock->tsc) <
		    kvm_clock_ticks(vcpu, KVM_CLOCK_SLACK_US)) {
		clock->host_tsc = __rdtsc();
		clock->tsc = clock->host_tsc + (uint64_t)offset;
	}
	/* CPUs of a host without an invariant counter may disagree: then only its clock is common to all. */
	if (!kvm_clock_host_is_invariant())
		clock->host_tsc = 0;
	clock->monotonic_ns = clock_monotonic_ns();
	return 0;
}

/* What the TSC must be now. A clock of another host has no counter that means anything here. */
static uint64_t kvm_clock_tsc_now(const struct accel_vcpu *vcpu, const struct accel_clock *clock)
{
	if (clock->host_tsc)
		return clock->tsc + (__rdtsc() - clock->host_tsc);
	return clock->tsc + muldiv64(clock_monotonic_ns() - clock->monotonic_ns, vcpu->tsc_hz, NS_PER_S);
}

static bool kvm_clock_is_set(struct accel_vcpu *vcpu, const struct accel_clock *clock, unsigned slack_us)
{
	uint64_t tsc;

	return kvm_msr_get(vcpu, MSR_TSC, &tsc) &&
	       kvm_clock_distance(tsc, kvm_clock_tsc_now(vcpu, clock)) < kvm_clock_ticks(vcpu, slack_us);
}

static int kvm_clock_set_tsc(struct accel_vcpu *vcpu, const struct accel_clock *clock, struct err *err)
{
	int64_t offset = (int64_t)(clock->tsc - clock->host_tsc);

	if (clock->host_tsc && kvm_clock_offset(vcpu, KVM_SET_DEVICE_ATTR, &offset) == 0 &&
	    kvm_clock_is_set(vcpu, clock, KVM_CLOCK_SLACK_US))
		return 0;
	for (int i = 0; i < KVM_CLOCK_ATTEMPTS; i++) {
		if (kvm_clock_is_set(vcpu, clock, KVM_CLOCK_SLACK_US))
			return 0;
		kvm_msr_set(vcpu, MSR_TSC, kvm_clock_tsc_now(vcpu, clock), NULL);
	}
	return kvm_clock_is_set(vcpu, clock, KVM_CLOCK_WRONG_US)
		       ? 0
		       : err_set(err, -ENOTSUP, "kvm: the TSC of CPU %u cannot be set", vcpu->index);
}

int kvm_clock_set(struct accel_vcpu *vcpu, const struct accel_clock *clock, struct err *err)
{
	struct kvm_clock_data paravirtual = {0};
	int code = kvm_clock_set_tsc(vcpu, clock, err);

	if (code < 0)
		return code;
	kvm_vcpu_refresh_anchor(vcpu, true);
	if (!clock->has_paravirtual || vcpu->index != 0)
		return 0;
	paravirtual.clock = clock->paravirtual_ns + (clock_monotonic_ns() - clock->monotonic_ns);
	if (ioctl(vcpu->vm->vm_fd, KVM_SET_CLOCK, &paravirtual) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_CLOCK");
	return 0;
}
