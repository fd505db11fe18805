/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages the guest has written: by KVM's bitmaps (cleared by hand where KVM can, so that a page is
 * protected anew only when it is reported), or by rings of the vCPUs, when the VM was made so. Both end in
 * one bitmap a slot, and one way to ask. KVM's api.rst: KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG,
 * KVM_CAP_DIRTY_LOG_RING.
 *
 * A page is protected anew, or its ring entry given back, before it is reported: a write after the report is
 * in the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

#define WORD_PAGES 64

static uint64_t kvm_slot_pages(const struct kvm_slot *slot)
{
	return slot->size_bytes / KVM_PAGE_SIZE;
}

static uint64_t kvm_slot_words(const struct kvm_slot *slot)
{
	return (kvm_slot_pages(slot) + WORD_PAGES - 1) / WORD_PAGES;
}

int kvm_dirty_slot_start(struct kvm_slot *slot, bool all, struct err *err)
{
	uint64_t tail = kvm_slot_pages(slot) % WORD_PAGES;
	uint64_t words = kvm_slot_words(slot);

	/* One for what was found, one for what KVM is asked to fill in. */
	slot->dirty = calloc(2 * words, sizeof(*slot->dirty));
	if (!slot->dirty)
		return err_set(err, -ENOMEM, "no memory for the dirty log");
	if (!all)
		return 0;
	memset(slot->dirty, 0xff, words * sizeof(*slot->dirty));
	if (tail)
		slot->dirty[words - 1] = (1ull << tail) - 1;
	return 0;
}

/* Sets the slot's bits from KVM's bitmap, protecting these pages again. */
static int kvm_dirty_collect_bitmap(struct accel_vm *vm, struct kvm_slot *slot, struct err *err)
{
	uint64_t words = kvm_slot_words(slot);
	uint64_t *fresh = slot->dirty + words;
	struct kvm_dirty_log log = {.slot = (uint32_t)(slot - vm->slot), .dirty_bitmap = fresh};
	struct kvm_clear_dirty_log clear = {
		.slot = log.slot, .num_pages = (uint32_t)kvm_slot_pages(slot), .dirty_bitmap = fresh};

	memset(fresh, 0, words * sizeof(*fresh));
	if (ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_DIRTY_LOG");
	if (vm->has_manual_dirty && ioctl(vm->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_CLEAR_DIRTY_LOG");
	for (uint64_t i = 0; i < words; i++)
		slot->dirty[i] |= fresh[i];
	return 0;
}

static void kvm_dirty_take_entry(struct accel_vm *vm, uint32_t number, uint64_t page)
{
	struct kvm_slot *slot = number < KVM_SLOTS_MAX ? &vm->slot[number] : NULL;

	/* An entry of a slot that is gone. */
	if (!slot || !slot->used || !slot->dirty || page >= kvm_slot_pages(slot))
		return;
	slot->dirty[page / WORD_PAGES] |= 1ull << (page % WORD_PAGES);
}

/* Entries that KVM has filled, up to one round. */
static unsigned kvm_dirty_drain_ring(struct accel_vcpu *vcpu)
{
	unsigned taken = 0;

	while (taken < KVM_DIRTY_RING_ENTRIES) {
		struct kvm_dirty_gfn *entry =
			&vcpu->dirty_ring[vcpu->dirty_ring_next % KVM_DIRTY_RING_ENTRIES];

		if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
			break;
		kvm_dirty_take_entry(vcpu->vm, entry->slot & 0xffff, entry->offset);
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		vcpu->dirty_ring_next++;
		taken++;
	}
	return taken;
}

/* Under the lock. */
static int kvm_dirty_drain_rings(struct accel_vm *vm, struct err *err)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < vm->cpu_count; i++) {
		if (vm->vcpu[i] && vm->vcpu[i]->dirty_ring)
			taken += kvm_dirty_drain_ring(vm->vcpu[i]);
	}
	if (taken && ioctl(vm->vm_fd, KVM_RESET_DIRTY_RINGS, 0) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_RESET_DIRTY_RINGS");
	return 0;
}

int kvm_dirty_ring_full(struct accel_vm *vm, struct err *err)
{
	int code;

	pthread_mutex_lock(&vm->dirty_lock);
	code = kvm_dirty_drain_rings(vm, err);
	pthread_mutex_unlock(&vm->dirty_lock);
	return code;
}

static int kvm_dirty_collect(struct accel_vm *vm, struct err *err)
{
	int code = 0;

	if (vm->has_dirty_ring)
		return kvm_dirty_drain_rings(vm, err);
	for (unsigned i = 0; i < KVM_SLOTS_MAX && code == 0; i++) {
		if (vm->slot[i].used && vm->slot[i].dirty)
			code = kvm_dirty_collect_bitmap(vm, &vm->slot[i], err);
	}
	return code;
}

/* The first page from `page` on whose bit is (or is not) set, or the number of pages. */
static uint64_t kvm_dirty_next(const struct kvm_slot *slot, uint64_t page, bool set)
{
	uint64_t pages = kvm_slot_pages(slot);

	while (page < pages) {
		uint64_t word = slot->dirty[page / WORD_PAGES];

		word = (set ? word : ~word) >> (page % WORD_PAGES);
		if (word) {
			page += (uint64_t)__builtin_ctzll(word);
			return page < pages ? page : pages;
		}
		page = (page / WORD_PAGES + 1) * WORD_PAGES;
	}
	return pages;
}

static void kvm_dirty_report(struct kvm_slot *slot, accel_dirty_fn *fn, void *opaque)
{
	uint64_t pages = kvm_slot_pages(slot);
	uint64_t from = kvm_dirty_next(slot, 0, true);

	while (from < pages) {
		uint64_t to = kvm_dirty_next(slot, from, false);

		fn(opaque, slot->gpa + from * KVM_PAGE_SIZE, (to - from) * KVM_PAGE_SIZE);
		from = kvm_dirty_next(slot, to, true);
	}
	memset(slot->dirty, 0, kvm_slot_words(slot) * sizeof(*slot->dirty));
}

int kvm_dirty_fetch(struct accel_vm *vm, accel_dirty_fn *fn, void *opaque, struct err *err)
{
	int code;

	pthread_mutex_lock(&vm->dirty_lock);
	code = kvm_dirty_collect(vm, err);
	for (unsigned i = 0; i < KVM_SLOTS_MAX && code == 0; i++) {
		if (vm->slot[i].used && vm->slot[i].dirty)
			kvm_dirty_report(&vm->slot[i], fn, opaque);
	}
	pthread_mutex_unlock(&vm->dirty_lock);
	return code;
}

/* Under the lock. KVM's own record of a slot ends with its flag. */
static void kvm_dirty_end(struct accel_vm *vm)
{
	vm->dirty_logging = false;
	for (unsigned i = 0; i < KVM_SLOTS_MAX; i++) {
		struct kvm_slot *slot = &vm->slot[i];
		uint64_t *dirty = slot->dirty;

		if (!slot->used || !dirty)
			continue;
		slot->dirty = NULL;
		kvm_slot_apply(vm, slot, NULL);
		free(dirty);
	}
}

int kvm_dirty_start(struct accel_vm *vm, struct err *err)
{
	int code = 0;

	pthread_mutex_lock(&vm->dirty_lock);
	kvm_dirty_end(vm);
	for (unsigned i = 0; i < KVM_SLOTS_MAX && code == 0; i++) {
		struct kvm_slot *slot = &vm->slot[i];

		if (!slot->used || slot->read_only)
			continue;
		code = kvm_dirty_slot_start(slot, false, err);
		if (code == 0)
			code = kvm_slot_apply(vm, slot, err);
	}
	vm->dirty_logging = true;
	/* Rings may still hold what was written under an earlier log. */
	if (code == 0 && vm->has_dirty_ring)
		code = kvm_dirty_drain_rings(vm, err);
	if (code < 0)
		kvm_dirty_end(vm);
	pthread_mutex_unlock(&vm->dirty_lock);
	return code;
}

void kvm_dirty_stop(struct accel_vm *vm)
{
	pthread_mutex_lock(&vm->dirty_lock);
	kvm_dirty_end(vm);
	pthread_mutex_unlock(&vm->dirty_lock);
}

/* Before the first vCPU is made. Without a ring, bitmaps; without clearing by hand, KVM clears as it reports.
 */
void kvm_dirty_prepare(struct accel_vm *vm, bool want_ring)
{
	struct kvm_enable_cap ring = {
		.cap = KVM_CAP_DIRTY_LOG_RING,
		.args = {KVM_DIRTY_RING_ENTRIES * sizeof(struct kvm_dirty_gfn)},
	};
	struct kvm_enable_cap manual = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE},
	};

	if (want_ring) {
		vm->has_dirty_ring = ioctl(vm->vm_fd, KVM_ENABLE_CAP, &ring) == 0;
		kvm_say_once(vm, KVM_SAID_DIRTY_RING,
			     vm->has_dirty_ring
				     ? "written pages are found by rings"
				     : "written pages are found by bitmaps: this KVM has no dirty rings");
	}
	if (vm->has_dirty_ring)
		return;
	vm->has_manual_dirty = ioctl(vm->vm_fd, KVM_ENABLE_CAP, &manual) == 0;
}

int kvm_dirty_map_ring(struct accel_vcpu *vcpu, struct err *err)
{
	void *ring;

	if (!vcpu->vm->has_dirty_ring)
		return 0;
	ring = mmap(NULL, KVM_DIRTY_RING_ENTRIES * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE,
		    MAP_SHARED, vcpu->fd, (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * KVM_PAGE_SIZE);
	if (ring == MAP_FAILED)
		return err_set_errno(err, -errno, "kvm: cannot map the dirty ring");
	vcpu->dirty_ring = ring;
	return 0;
}

void kvm_dirty_unmap_ring(struct accel_vcpu *vcpu)
{
	if (vcpu->dirty_ring)
		munmap(vcpu->dirty_ring, KVM_DIRTY_RING_ENTRIES * sizeof(struct kvm_dirty_gfn));
}
