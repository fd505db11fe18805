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

/*
 * Runs of MSRs that a guest may have set. The local APIC's are the machine's or in its state; FS and GS base
 * are in the segments. KVM lists the MSRs it keeps, but for some that every x86 has: those are asked for.
 */
static const struct {
	uint32_t first, count;
	bool unlisted;
} kvm_msr_runs[] = {
	{0x3b, 1, false},                         /* TSC_ADJUST: before TSC, which a write to it would move */
	{MSR_TSC, 1, true},     {0x48, 1, false}, /* SPEC_CTRL */
	{0x174, 3, true},                         /* SYSENTER CS, ESP, EIP */
	{0x17a, 2, true},                         /* MCG_STATUS, MCG_CTL */
	{0x1a0, 1, false},                        /* MISC_ENABLE */
	{0x200, 16, true},                        /* variable MTRRs */
	{0x250, 1, true},       {0x258, 2, true}, {0x268, 8, true}, /* fixed MTRRs */
	{0x277, 1, true},                                           /* PAT */
	{0x2ff, 1, true},                                           /* MTRR_DEF_TYPE */
	{0x400, 4, true},                                           /* machine check bank 0 */
	{0xda0, 1, false},                                          /* XSS */
	{0xc0000081, 4, true},                                      /* STAR, LSTAR, CSTAR, FMASK */
	{0xc0000102, 1, true},                                      /* KERNEL_GS_BASE */
	{0xc0000103, 1, false},                                     /* TSC_AUX */
	{0xc001011f, 1, false},                                     /* VIRT_SPEC_CTRL */
	{0x4b564d00, 2, false},                                     /* KVM's wall clock and system time */
};

#define KVM_MSR_LIST_MAX 1024 /* KVM lists some 150 */

struct kvm_msr_names {
	struct kvm_msr_list head;
	uint32_t index[KVM_MSR_LIST_MAX];
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
	int set = ioctl(vcpu->fd, KVM_SET_MSRS, &buffer);

	if (set == 1)
		return 0;
	return err_set(err, set < 0 ? -errno : -EINVAL, "kvm: MSR 0x%x does not take 0x%" PRIx64, index,
		       value);
}

static bool kvm_msr_is_listed(const struct kvm_msr_names *names, uint32_t index)
{
	for (uint32_t i = 0; i < names->head.nmsrs; i++) {
		if (names->index[i] == index)
			return true;
	}
	return false;
}

static void kvm_msr_collect(const struct kvm_msr_names *names, struct kvm_msr_buffer *buffer)
{
	for (size_t i = 0; i < sizeof(kvm_msr_runs) / sizeof(kvm_msr_runs[0]); i++) {
		for (uint32_t k = 0; k < kvm_msr_runs[i].count; k++) {
			uint32_t index = kvm_msr_runs[i].first + k;

			if (buffer->head.nmsrs < X86_STATE_MSR_MAX &&
			    (kvm_msr_runs[i].unlisted || kvm_msr_is_listed(names, index)))
				buffer->entry[buffer->head.nmsrs++].index = index;
		}
	}
}

/* KVM stops at the first MSR it refuses: that one goes, and the rest is asked again. */
static int kvm_msr_sift(struct accel_vcpu *vcpu, struct kvm_msr_buffer *buffer, unsigned long request)
{
	while (buffer->head.nmsrs) {
		int done = ioctl(vcpu->fd, request, buffer);

		if (done < 0)
			return -errno;
		if ((uint32_t)done >= buffer->head.nmsrs)
			return 0;
		buffer->head.nmsrs--;
		memmove(&buffer->entry[done], &buffer->entry[done + 1],
			(buffer->head.nmsrs - (uint32_t)done) * sizeof(buffer->entry[0]));
	}
	return 0;
}

/* Those that can be read, and take their own value back: some can be read though the guest's CPUID does not
 * have them. */
static int kvm_msr_find_locked(struct accel_vcpu *vcpu, struct err *err)
{
	struct accel_vm *vm = vcpu->vm;
	struct kvm_msr_names names = {.head.nmsrs = KVM_MSR_LIST_MAX};
	struct kvm_msr_buffer buffer = {.head.nmsrs = 0};
	int code;

	if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &names) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_MSR_INDEX_LIST");
	kvm_msr_collect(&names, &buffer);
	code = kvm_msr_sift(vcpu, &buffer, KVM_GET_MSRS);
	if (code == 0)
		code = kvm_msr_sift(vcpu, &buffer, KVM_SET_MSRS);
	if (code < 0)
		return err_set_errno(err, code, "kvm: cannot find out the MSRs");
	for (uint32_t i = 0; i < buffer.head.nmsrs; i++)
		vm->msr_index[i] = buffer.entry[i].index;
	vm->msr_count = buffer.head.nmsrs;
	vm->msr_known = true;
	return 0;
}

/* All vCPUs are alike: the first one's answer is everybody's. */
int kvm_msr_find(struct accel_vcpu *vcpu, struct err *err)
{
	int code = 0;

	pthread_mutex_lock(&vcpu->vm->msr_lock);
	if (!vcpu->vm->msr_known)
		code = kvm_msr_find_locked(vcpu, err);
	pthread_mutex_unlock(&vcpu->vm->msr_lock);
	return code;
}

int kvm_msr_save(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err)
{
	struct kvm_msr_buffer buffer = {.head.nmsrs = vcpu->vm->msr_count};
	int got;

	for (uint32_t i = 0; i < vcpu->vm->msr_count; i++)
		buffer.entry[i].index = vcpu->vm->msr_index[i];
	got = ioctl(vcpu->fd, KVM_GET_MSRS, &buffer);
	if (got < 0)
		return err_set_errno(err, -errno, "kvm: cannot read the MSRs");
	if ((uint32_t)got < vcpu->vm->msr_count)
		return err_set(err, -EIO, "kvm: cannot read MSR 0x%x", vcpu->vm->msr_index[got]);
	for (uint32_t i = 0; i < vcpu->vm->msr_count; i++)
		state->msr[i] =
			(struct x86_msr_state){.index = buffer.entry[i].index, .value = buffer.entry[i].data};
	state->msr_count = vcpu->vm->msr_count;
	for (uint32_t i = 0; i < vcpu->foreign_count && state->msr_count < X86_STATE_MSR_MAX; i++)
		state->msr[state->msr_count++] = vcpu->foreign[i];
	return 0;
}

static bool kvm_msr_is_own(const struct accel_vcpu *vcpu, uint32_t index)
{
	for (uint32_t i = 0; i < vcpu->vm->msr_count; i++) {
		if (vcpu->vm->msr_index[i] == index)
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
	struct kvm_msr_buffer now = {.head.nmsrs = vcpu->vm->msr_count};
	struct kvm_msr_buffer buffer = {.head.nmsrs = 0};
	int set;

	if (state->msr_count > X86_STATE_MSR_MAX)
		return err_set(err, -EINVAL, "CPU state: %u MSRs, at most %d fit", state->msr_count,
			       X86_STATE_MSR_MAX);
	for (uint32_t i = 0; i < vcpu->vm->msr_count; i++)
		now.entry[i].index = vcpu->vm->msr_index[i];
	if (ioctl(vcpu->fd, KVM_GET_MSRS, &now) != (int)vcpu->vm->msr_count)
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
