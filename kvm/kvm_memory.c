/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as KVM's slots: one a region, or several where a part of it is read-only; numbers used again.
 * Every vCPU is parked while they change; the dirty log's lock is held over a change, as a reader of the log
 * may be under way.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

static struct kvm_slot *kvm_slot_free(struct accel_vm *vm)
{
	for (unsigned i = 0; i < KVM_SLOTS_MAX; i++) {
		if (!vm->slot[i].used)
			return &vm->slot[i];
	}
	return NULL;
}

int kvm_slot_apply(struct accel_vm *vm, const struct kvm_slot *slot, struct err *err)
{
	struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)(slot - vm->slot),
		.flags = (slot->read_only ? KVM_MEM_READONLY : 0) |
			 (slot->dirty ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->used ? slot->size_bytes : 0,
		.userspace_addr = (uint64_t)(uintptr_t)slot->hva,
	};

	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return err_set_errno(err, -errno, "kvm: cannot %s %" PRIu64 " bytes at 0x%" PRIx64,
				     slot->used ? "map" : "unmap", slot->size_bytes, slot->gpa);
	return 0;
}

/* A new slot like *model; its pages count as dirty while there is a log, for nobody has seen them in it. */
static int kvm_slot_add(struct accel_vm *vm, const struct kvm_slot *model, struct err *err)
{
	struct kvm_slot *slot = kvm_slot_free(vm);
	int code;

	if (!slot)
		return err_set(err, -ENOSPC, "kvm: more than %d pieces of memory", KVM_SLOTS_MAX);
	*slot = *model;
	slot->used = true;
	slot->dirty = NULL;
	code = vm->dirty_logging ? kvm_dirty_slot_start(slot, true, err) : 0;
	if (code == 0)
		code = kvm_slot_apply(vm, slot, err);
	if (code < 0) {
		free(slot->dirty);
		slot->dirty = NULL;
		slot->used = false;
	}
	return code;
}

static int kvm_slot_remove(struct accel_vm *vm, struct kvm_slot *slot, struct err *err)
{
	int code;

	slot->used = false;
	code = kvm_slot_apply(vm, slot, err);
	slot->used = code < 0;
	if (code < 0)
		return code;
	free(slot->dirty);
	slot->dirty = NULL;
	return 0;
}

/* A KVM that cannot protect memory runs the guest all the same: a board's ROM is not needed to stay intact.
 */
static bool kvm_can_protect(struct accel_vm *vm)
{
	if (vm->has_read_only)
		return true;
	kvm_say_once(vm, KVM_SAID_READ_ONLY,
		     "ROM can be written by the guest: this KVM has no read-only memory");
	return false;
}

int kvm_mem_map(struct accel_vm *vm, const struct gmem_region *region, struct err *err)
{
	const struct kvm_slot model = {
		.region_gpa = region->gpa,
		.gpa = region->gpa,
		.size_bytes = region->size_bytes,
		.hva = region->hva,
		.read_only = region->kind == GMEM_ROM && kvm_can_protect(vm),
	};
	int code;

	pthread_mutex_lock(&vm->dirty_lock);
	code = kvm_slot_add(vm, &model, err);
	pthread_mutex_unlock(&vm->dirty_lock);
	return code;
}

int kvm_mem_unmap(struct accel_vm *vm, uint64_t gpa, struct err *err)
{
	int code = 0;
	unsigned found = 0;

	pthread_mutex_lock(&vm->dirty_lock);
	for (unsigned i = 0; i < KVM_SLOTS_MAX && code == 0; i++) {
		if (!vm->slot[i].used || vm->slot[i].region_gpa != gpa)
			continue;
		found++;
		code = kvm_slot_remove(vm, &vm->slot[i], err);
	}
	pthread_mutex_unlock(&vm->dirty_lock);
	return code < 0 || found ? code
				 : err_set(err, -ENOENT, "kvm: no memory is mapped at 0x%" PRIx64, gpa);
}

/* The slot that holds all of [gpa, gpa + size_bytes), or NULL. */
static struct kvm_slot *kvm_slot_holding(struct accel_vm *vm, uint64_t gpa, uint64_t size_bytes)
{
	for (unsigned i = 0; i < KVM_SLOTS_MAX; i++) {
		struct kvm_slot *slot = &vm->slot[i];

		if (slot->used && gpa >= slot->gpa && gpa - slot->gpa < slot->size_bytes &&
		    size_bytes <= slot->size_bytes - (gpa - slot->gpa))
			return slot;
	}
	return NULL;
}

static struct kvm_slot kvm_slot_piece(const struct kvm_slot *slot, uint64_t gpa, uint64_t end, bool read_only)
{
	struct kvm_slot piece = *slot;

	piece.gpa = gpa;
	piece.size_bytes = end - gpa;
	piece.hva = slot->hva + (gpa - slot->gpa);
	piece.read_only = read_only;
	return piece;
}

/* Slots cannot be cut: the old one goes, up to three come. What KVM refuses puts the old one back. */
static int kvm_slot_split(struct accel_vm *vm, struct kvm_slot *slot, struct kvm_slot middle, struct err *err)
{
	const struct kvm_slot old = *slot;
	const uint64_t end = old.gpa + old.size_bytes, middle_end = middle.gpa + middle.size_bytes;
	const struct kvm_slot pieces[] = {
		kvm_slot_piece(&old, old.gpa, middle.gpa, old.read_only),
		middle,
		kvm_slot_piece(&old, middle_end, end, old.read_only),
	};
	int code = kvm_slot_remove(vm, slot, err);

	for (unsigned i = 0; i < 3 && code == 0; i++) {
		if (pieces[i].size_bytes)
			code = kvm_slot_add(vm, &pieces[i], err);
	}
	if (code == 0)
		return 0;
	for (unsigned i = 0; i < 3; i++) {
		struct kvm_slot *piece = kvm_slot_holding(vm, pieces[i].gpa, pieces[i].size_bytes);

		if (pieces[i].size_bytes && piece)
			kvm_slot_remove(vm, piece, NULL);
	}
	kvm_slot_add(vm, &old, NULL);
	return code;
}

int kvm_mem_protect(struct accel_vm *vm, uint64_t gpa, uint64_t size_bytes, bool read_only, struct err *err)
{
	struct kvm_slot *slot;
	int code = 0;

	if (!vm->has_read_only)
		return err_set(err, -ENOTSUP, "this KVM has no read-only memory");
	if (!size_bytes || (gpa | size_bytes) % KVM_PAGE_SIZE)
		return err_set(err, -EINVAL, "0x%" PRIx64 " bytes at 0x%" PRIx64 " are not whole pages",
			       size_bytes, gpa);
	pthread_mutex_lock(&vm->dirty_lock);
	slot = kvm_slot_holding(vm, gpa, size_bytes);
	if (!slot)
		code = err_set(err, -ENOENT, "no one piece of memory holds 0x%" PRIx64 " bytes at 0x%" PRIx64,
			       size_bytes, gpa);
	else if (slot->read_only != read_only)
		code = kvm_slot_split(vm, slot, kvm_slot_piece(slot, gpa, gpa + size_bytes, read_only), err);
	pthread_mutex_unlock(&vm->dirty_lock);
	return code;
}

bool kvm_mem_is_shadowed(const struct accel_vm *vm)
{
	return vm->is_shadowed;
}

static bool kvm_parameter_is_on(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = 0;
	bool is_on = fd >= 0 && read(fd, &value, 1) == 1 && (value == 'Y' || value == '1');

	if (fd >= 0)
		close(fd);
	return is_on;
}

/* Where the hardware walks the guest's page tables, KVM keeps no copy of them. */
bool kvm_mem_find_shadows(void)
{
	return !kvm_parameter_is_on("/sys/module/kvm_amd/parameters/npt") &&
	       !kvm_parameter_is_on("/sys/module/kvm_intel/parameters/ept");
}

/* What KVM had in its log of the slot goes as well: every page counts as written. */
static int kvm_slot_renew(struct accel_vm *vm, struct kvm_slot *slot, struct err *err)
{
	int code;

	slot->used = false;
	code = kvm_slot_apply(vm, slot, err);
	slot->used = true;
	if (code == 0 && slot->dirty) {
		free(slot->dirty);
		code = kvm_dirty_slot_start(slot, true, err);
	}
	return code < 0 ? code : kvm_slot_apply(vm, slot, err);
}

/*
 * Without two-dimensional paging KVM holds shadows of the guest's page tables, and learns of changes by
 * write-protecting these against the guest, not against this process. A slot that is taken away takes its
 * shadows along. Between the two calls there is a hole in the guest's memory: no CPU of it may run.
 */
int kvm_mem_forget(struct accel_vm *vm, struct err *err)
{
	int code = 0;

	if (!vm->is_shadowed)
		return 0;
	pthread_mutex_lock(&vm->dirty_lock);
	for (unsigned i = 0; i < KVM_SLOTS_MAX && code == 0; i++) {
		if (vm->slot[i].used)
			code = kvm_slot_renew(vm, &vm->slot[i], err);
	}
	pthread_mutex_unlock(&vm->dirty_lock);
	return code;
}
