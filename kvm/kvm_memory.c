/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory as KVM's slots: one a region, numbers used again. Every vCPU is parked while they change. */
#include <errno.h>
#include <inttypes.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

static int kvm_slot_free(const struct accel_vm *vm)
{
	for (int i = 0; i < KVM_SLOTS_MAX; i++) {
		if (!vm->slot[i].used)
			return i;
	}
	return -1;
}

int kvm_mem_map(struct accel_vm *vm, const struct gmem_region *region, struct err *err)
{
	int number = kvm_slot_free(vm);
	struct kvm_userspace_memory_region slot = {
		.slot = (uint32_t)number,
		.flags = region->kind == GMEM_ROM ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = region->gpa,
		.memory_size = region->size_bytes,
		.userspace_addr = (uint64_t)(uintptr_t)region->hva,
	};

	if (number < 0)
		return err_set(err, -ENOSPC, "kvm: more than %d memory regions", KVM_SLOTS_MAX);
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return err_set_errno(err, -errno, "kvm: cannot map %" PRIu64 " bytes at 0x%" PRIx64,
				     region->size_bytes, region->gpa);
	vm->slot[number] = (struct kvm_slot){.used = true, .gpa = region->gpa};
	return 0;
}

int kvm_mem_unmap(struct accel_vm *vm, uint64_t gpa, struct err *err)
{
	for (uint32_t i = 0; i < KVM_SLOTS_MAX; i++) {
		struct kvm_userspace_memory_region slot = {.slot = i, .guest_phys_addr = gpa};

		if (!vm->slot[i].used || vm->slot[i].gpa != gpa)
			continue;
		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return err_set_errno(err, -errno, "kvm: cannot unmap memory at 0x%" PRIx64, gpa);
		vm->slot[i].used = false;
		return 0;
	}
	return err_set(err, -ENOENT, "kvm: no memory is mapped at 0x%" PRIx64, gpa);
}
