/* SPDX-License-Identifier: Apache-2.0 */
/* The MSRs of the saved state: which this host has, and both ways. Intel SDM vol. 4; AMD APM vol. 2, appendix
 * A. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

#define MSR_TSC 0x10

/* Runs of MSRs that a guest may have set. The local APIC's are the machine's; FS and GS base are in the
 * segments. */
static const struct {
	uint32_t first, count;
} kvm_msr_runs[] = {
	{0x3b, 1},                               /* TSC_ADJUST: before TSC, which a write to it would move */
	{MSR_TSC, 1},    {0x48, 1},              /* SPEC_CTRL */
	{0x174, 3},                              /* SYSENTER CS, ESP, EIP */
	{0x17a, 2},                              /* MCG_STATUS, MCG_CTL */
	{0x1a0, 1},                              /* MISC_ENABLE */
	{0x200, 16},                             /* variable MTRRs */
	{0x250, 1},      {0x258, 2}, {0x268, 8}, /* fixed MTRRs */
	{0x277, 1},                              /* PAT */
	{0x2ff, 1},                              /* MTRR_DEF_TYPE */
	{0x400, 4},                              /* machine check bank 0 */
	{0xda0, 1},                              /* XSS */
	{0xc0000081, 4},                         /* STAR, LSTAR, CSTAR, FMASK */
	{0xc0000102, 2},                         /* KERNEL_GS_BASE, TSC_AUX */
	{0xc001011f, 1},                         /* VIRT_SPEC_CTRL */
	{0x4b564d00, 2},                         /* KVM's wall clock and system time */
};

struct kvm_msr_buffer {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[X86_STATE_MSR_MAX];
};

_Static_assert(offsetof(struct kvm_msr_buffer, entry) == sizeof(struct kvm_msrs), "entries follow the head");

bool kvm_msr_get(struct accel_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct kvm_msr_buffer buffer = {.head.nmsrs = 1, .entry[0].index = index};

	if (ioctl(vcpu->fd, KVM_GET_MSRS, &buffer) != 1)
		return false;
	*value = buffer.entry[0].data;
	return true;
}

int kvm_msr_set(struct accel_vcpu *vcpu, uint32_t index, uint64_t value, struct err *err)
{
	struct kvm_msr_buffer buffer = {.head.nmsrs = 1, .entry[0] = {.index = index, .data = value}};

	return ioctl(vcpu->fd, KVM_SET_MSRS, &buffer) == 1
		       ? 0
		       : err_set(err, -EINVAL, "kvm: MSR 0x%x does not take 0x%" PRIx64, index, value);
}

/* Some MSRs can be read though the guest's CPUID does not have them; those do not even take their own value
 * back. */
static bool kvm_msr_exists(struct accel_vcpu *vcpu, uint32_t index)
{
	struct kvm_msr_buffer buffer = {.head.nmsrs = 1, .entry[0].index = index};

	if (ioctl(vcpu->fd, KVM_GET_MSRS, &buffer) != 1)
		return false;
	return index == MSR_TSC || ioctl(vcpu->fd, KVM_SET_MSRS, &buffer) == 1;
}

void kvm_msr_find(struct accel_vcpu *vcpu)
{
	for (size_t i = 0; i < sizeof(kvm_msr_runs) / sizeof(kvm_msr_runs[0]); i++) {
		for (uint32_t k = 0; k < kvm_msr_runs[i].count && vcpu->msr_count < X86_STATE_MSR_MAX; k++) {
			if (kvm_msr_exists(vcpu, kvm_msr_runs[i].first + k))
				vcpu->msr_index[vcpu->msr_count++] = kvm_msr_runs[i].first + k;
		}
	}
}

int kvm_msr_save(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err)
{
	struct kvm_msr_buffer buffer = {.head.nmsrs = vcpu->msr_count};
	int got;

	for (uint32_t i = 0; i < vcpu->msr_count; i++)
		buffer.entry[i].index = vcpu->msr_index[i];
	got = ioctl(vcpu->fd, KVM_GET_MSRS, &buffer);
	if (got < 0)
		return err_set_errno(err, -errno, "kvm: cannot read the MSRs");
	if ((uint32_t)got < vcpu->msr_count)
		return err_set(err, -EIO, "kvm: cannot read MSR 0x%x", vcpu->msr_index[got]);
	for (uint32_t i = 0; i < vcpu->msr_count; i++)
		state->msr[i] =
			(struct x86_msr_state){.index = buffer.entry[i].index, .value = buffer.entry[i].data};
	state->msr_count = vcpu->msr_count;
	for (uint32_t i = 0; i < vcpu->foreign_count && state->msr_count < X86_STATE_MSR_MAX; i++)
		state->msr[state->msr_count++] = vcpu->foreign[i];
	return 0;
}

static bool kvm_msr_is_own(const struct accel_vcpu *vcpu, uint32_t index)
{
	for (uint32_t i = 0; i < vcpu->msr_count; i++) {
		if (vcpu->msr_index[i] == index)
			return true;
	}
	return false;
}

/* A write of the wall clock's MSR is an order to write the date there: what is as it was stays so. */
static bool kvm_msr_is_as_it_was(const struct kvm_msr_buffer *now, const struct x86_msr_state *msr)
{
	for (uint32_t i = 0; i < now->head.nmsrs; i++) {
		if (now->entry[i].index == msr->index)
			return now->entry[i].data == msr->value;
	}
	return false;
}

int kvm_msr_load(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err)
{
	struct kvm_msr_buffer now = {.head.nmsrs = vcpu->msr_count};
	struct kvm_msr_buffer buffer = {.head.nmsrs = 0};
	int set;

	if (state->msr_count > X86_STATE_MSR_MAX)
		return err_set(err, -EINVAL, "CPU state: %u MSRs, at most %d fit", state->msr_count,
			       X86_STATE_MSR_MAX);
	for (uint32_t i = 0; i < vcpu->msr_count; i++)
		now.entry[i].index = vcpu->msr_index[i];
	if (ioctl(vcpu->fd, KVM_GET_MSRS, &now) != (int)vcpu->msr_count)
		return err_set(err, -EIO, "kvm: cannot read the MSRs");
	vcpu->foreign_count = 0;
	for (uint32_t i = 0; i < state->msr_count; i++) {
		const struct x86_msr_state *msr = &state->msr[i];

		if (!kvm_msr_is_own(vcpu, msr->index))
			vcpu->foreign[vcpu->foreign_count++] = *msr;
		else if (!kvm_msr_is_as_it_was(&now, msr))
			buffer.entry[buffer.head.nmsrs++] =
				(struct kvm_msr_entry){.index = msr->index, .data = msr->value};
	}
	set = ioctl(vcpu->fd, KVM_SET_MSRS, &buffer);
	if (set < 0)
		return err_set_errno(err, -errno, "kvm: cannot write the MSRs");
	if ((uint32_t)set < buffer.head.nmsrs)
		return err_set(err, -EINVAL, "kvm: MSR 0x%x does not take 0x%" PRIx64,
			       buffer.entry[set].index, (uint64_t)buffer.entry[set].data);
	return 0;
}
