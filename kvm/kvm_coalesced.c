/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes that KVM gathers in a ring until the next exit of any vCPU: ports that a guest writes often and
 * whose effect nobody waits for. They are carried out before the exit that follows them is answered, in their
 * order. KVM's api.rst: KVM_REGISTER_COALESCED_MMIO.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

#define RING_ENTRIES                                                                                         \
	((KVM_PAGE_SIZE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

static bool kvm_coalesced_has(const struct accel_vm *vm, const struct accel_coalesced *range)
{
	for (unsigned i = 0; i < vm->coalesced_count; i++) {
		if (vm->coalesced[i].bus == range->bus && vm->coalesced[i].address == range->address)
			return true;
	}
	return false;
}

int kvm_coalesce(struct accel_vm *vm, const struct accel_coalesced *range, struct err *err)
{
	struct kvm_coalesced_mmio_zone zone = {
		.addr = range->address, .size = range->size, .pio = range->bus == ACCEL_BUS_PIO};

	if (!vm->coalesced_page || (zone.pio && !vm->has_coalesced_pio)) {
		kvm_say_once(vm, KVM_SAID_COALESCED,
			     "every port write is an exit: this KVM does not coalesce them");
		return err_set(err, -ENOTSUP, "kvm: no coalesced writes");
	}
	if (kvm_coalesced_has(vm, range))
		return 0;
	if (vm->coalesced_count == KVM_COALESCED_MAX)
		return err_set(err, -ENOSPC, "kvm: more than %d ranges of coalesced writes",
			       KVM_COALESCED_MAX);
	if (ioctl(vm->vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_REGISTER_COALESCED_MMIO");
	vm->coalesced[vm->coalesced_count++] = *range;
	return 0;
}

static void kvm_coalesced_carry_out(struct accel_vcpu *vcpu, const struct kvm_coalesced_mmio *entry)
{
	const struct accel_host *host = vcpu->vm->host;
	uint64_t value = 0;
	unsigned size_bytes = entry->len <= sizeof(value) ? entry->len : sizeof(value);

	memcpy(&value, entry->data, size_bytes);
	kvm_count(vcpu, KVM_COUNTER_COALESCED);
	if (entry->pio)
		host->pio_write(host->opaque, vcpu->index, (uint16_t)entry->phys_addr, value, size_bytes);
	else
		host->mmio_write(host->opaque, vcpu->index, entry->phys_addr, value, size_bytes);
}

/* The ring is the VM's, and every vCPU maps it. */
void kvm_coalesced_drain(struct accel_vcpu *vcpu)
{
	struct accel_vm *vm = vcpu->vm;
	struct kvm_coalesced_mmio_ring *ring;

	if (!vm->coalesced_page)
		return;
	ring = (struct kvm_coalesced_mmio_ring *)((char *)vcpu->run + vm->coalesced_page * KVM_PAGE_SIZE);
	if (__atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&vm->coalesced_lock);
	while (ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
		kvm_coalesced_carry_out(vcpu, &ring->coalesced_mmio[ring->first % RING_ENTRIES]);
		__atomic_store_n(&ring->first, (uint32_t)((ring->first + 1) % RING_ENTRIES),
				 __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&vm->coalesced_lock);
}

void kvm_coalesced_probe(struct accel_vm *vm)
{
	int page = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	if (page > 0 && ((size_t)page + 1) * KVM_PAGE_SIZE <= vm->run_size_bytes)
		vm->coalesced_page = (size_t)page;
	vm->has_coalesced_pio = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) > 0;
}
