/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's life beside its running: made, told of what it must look at, asleep while halted, its clock,
 * destroyed. */
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"

#define MSR_TSC               0x10
#define KVM_ANCHOR_MAX_AGE_NS (100 * NS_PER_MS) /* the two clocks part by some 100 ppm at worst: 10 us */

static int kvm_vcpu_open(struct accel_vcpu *vcpu, struct err *err)
{
	void *mapping;
	int tsc_khz;

	vcpu->fd = ioctl(vcpu->vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (vcpu->fd < 0)
		return err_set_errno(err, -errno, "kvm: KVM_CREATE_VCPU");
	mapping = mmap(NULL, vcpu->vm->run_size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (mapping == MAP_FAILED)
		return err_set_errno(err, -errno, "kvm: cannot map the vCPU");
	vcpu->run = mapping;
	tsc_khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	if (tsc_khz <= 0)
		return err_set(err, -ENOTSUP, "kvm: the rate of the host's TSC is unknown");
	vcpu->tsc_hz = (uint64_t)tsc_khz * 1000;
	return kvm_dirty_map_ring(vcpu, err);
}

struct accel_vcpu *kvm_vcpu_create(struct accel_vm *vm, const struct accel_vcpu_config *config,
				   struct err *err)
{
	struct accel_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	int code;

	if (!vcpu) {
		err_set(err, -ENOMEM, "kvm: no memory for CPU %u", config->index);
		return NULL;
	}
	vcpu->vm = vm;
	vcpu->index = config->index;
	vcpu->fd = -1;
	pthread_mutex_init(&vcpu->anchor_lock, NULL);
	code = kvm_vcpu_open(vcpu, err);
	if (code == 0)
		code = kvm_cpuid_set(vcpu, config->cpuid, err);
	if (code == 0)
		code = kvm_msr_find(vcpu, err);
	if (code == 0)
		code = kvm_reset(vcpu, err);
	if (code < 0) {
		kvm_vcpu_destroy(vcpu);
		return NULL;
	}
	if (config->index < vm->cpu_count)
		vm->vcpu[config->index] = vcpu;
	return vcpu;
}

void kvm_vcpu_destroy(struct accel_vcpu *vcpu)
{
	if (vcpu->index < vcpu->vm->cpu_count && vcpu->vm->vcpu[vcpu->index] == vcpu)
		vcpu->vm->vcpu[vcpu->index] = NULL;
	kvm_dirty_unmap_ring(vcpu);
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_size_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	pthread_mutex_destroy(&vcpu->anchor_lock);
	free(vcpu);
}

static void kvm_futex(struct accel_vcpu *vcpu, int operation, uint32_t value)
{
	syscall(SYS_futex, &vcpu->attention, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/*
 * The bit is set before in_guest is read; the vCPU's thread sets in_guest before it reads the bits
 * (kvm_vcpu_enter). So either it sees the bit and does not enter, or it is seen here and told: immediate_exit
 * catches it on its way into KVM_RUN, the signal when it is inside. Async-signal-safe.
 */
void kvm_vcpu_post(struct accel_vcpu *vcpu, uint32_t attention)
{
	uint32_t before = atomic_fetch_or(&vcpu->attention, attention);

	if ((before & attention) == attention && !(attention & KVM_ATTENTION_KICK))
		return;
	if (atomic_load(&vcpu->in_guest)) {
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		kvm_count(vcpu, KVM_COUNTER_SIGNALS);
		kvm_kick_signal_send(atomic_load(&vcpu->thread_id));
	}
	kvm_futex(vcpu, FUTEX_WAKE, 1);
}

static uint32_t kvm_vcpu_wake_reasons(const struct accel_vcpu *vcpu)
{
	uint32_t reasons = KVM_ATTENTION_KICK | KVM_ATTENTION_INIT;

	if (vcpu->mp_state == X86_MP_WAIT_FOR_SIPI)
		return reasons | KVM_ATTENTION_SIPI;
	reasons |= KVM_ATTENTION_NMI | KVM_ATTENTION_SMI;
	return vcpu->run->if_flag ? reasons | KVM_ATTENTION_INTR : reasons;
}

void kvm_vcpu_wait(struct accel_vcpu *vcpu)
{
	uint32_t reasons = kvm_vcpu_wake_reasons(vcpu);

	for (;;) {
		uint32_t attention = atomic_load(&vcpu->attention);

		if (attention & reasons)
			return;
		kvm_futex(vcpu, FUTEX_WAIT, attention);
	}
}

void kvm_vcpu_refresh_anchor(struct accel_vcpu *vcpu, bool now)
{
	uint64_t before_ns = clock_monotonic_ns();
	uint64_t tsc;

	if (!now && before_ns - vcpu->anchor_ns < KVM_ANCHOR_MAX_AGE_NS)
		return;
	if (!kvm_msr_get(vcpu, MSR_TSC, &tsc))
		return;
	pthread_mutex_lock(&vcpu->anchor_lock);
	vcpu->anchor_tsc = tsc;
	vcpu->anchor_ns = before_ns + (clock_monotonic_ns() - before_ns) / 2;
	pthread_mutex_unlock(&vcpu->anchor_lock);
}

uint64_t kvm_vcpu_tsc_to_monotonic_ns(struct accel_vcpu *vcpu, uint64_t tsc)
{
	uint64_t anchor_tsc;
	uint64_t anchor_ns;
	uint64_t delta_ns;

	pthread_mutex_lock(&vcpu->anchor_lock);
	anchor_tsc = vcpu->anchor_tsc;
	anchor_ns = vcpu->anchor_ns;
	pthread_mutex_unlock(&vcpu->anchor_lock);
	if (tsc <= anchor_tsc) {
		delta_ns = muldiv64(anchor_tsc - tsc, NS_PER_S, vcpu->tsc_hz);
		return delta_ns < anchor_ns ? anchor_ns - delta_ns : 0;
	}
	delta_ns = muldiv64(tsc - anchor_tsc, NS_PER_S, vcpu->tsc_hz);
	return delta_ns < UINT64_MAX - anchor_ns ? anchor_ns + delta_ns : UINT64_MAX;
}
