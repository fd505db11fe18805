/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory as KVM's slots: one a region, numbers used again. Every vCPU is parked while they change. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

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
	vm->slot[number] = (struct kvm_slot){.used = true, .gpa = region->gpa, .region = slot};
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

bool kvm_mem_is_shadowed(const struct accel_vm *vm)
{
	return vm->is_shadowed;
}

/* Whether this module walks guest page tables by hardware: then it keeps no copy of them. */
static bool kvm_parameter_is_on(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = 0;
	bool is_on = fd >= 0 && read(fd, &value, 1) == 1 && (value == 'Y' || value == '1');

	if (fd >= 0)
		close(fd);
	return is_on;
}

bool kvm_mem_find_shadows(void)
{
	return !kvm_parameter_is_on("/sys/module/kvm_amd/parameters/npt") &&
	       !kvm_parameter_is_on("/sys/module/kvm_intel/parameters/ept");
}

static int kvm_slot_remap(struct accel_vm *vm, const struct kvm_slot *slot, struct err *err)
{
	struct kvm_userspace_memory_region none = slot->region;

	none.memory_size = 0;
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &none) < 0 ||
	    ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot->region) < 0)
		return err_set_errno(err, -errno, "kvm: cannot map the memory at 0x%" PRIx64 " anew", slot->gpa);
	return 0;
}

/*
 * Without two-dimensional paging KVM holds shadows of the guest's page tables, and learns of changes by
 * write-protecting these against the guest, not against this process. A slot that is taken away takes its
 * shadows along.
 */
int kvm_mem_forget(struct accel_vm *vm, struct err *err)
{
	int code = 0;

	if (!vm->is_shadowed)
		return 0;
	for (unsigned i = 0; i < KVM_SLOTS_MAX && code == 0; i++) {
		if (vm->slot[i].used)
			code = kvm_slot_remap(vm, &vm->slot[i], err);
	}
	return code;
}
