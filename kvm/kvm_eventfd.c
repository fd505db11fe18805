/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eventfds between guest and threads that no vCPU waits for: writes that signal one (ioeventfd), and signals
 * that are an interrupt (irqfd). KVM's api.rst: KVM_IOEVENTFD, KVM_IRQFD.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/irq.h"

static struct kvm_ioeventfd kvm_ioeventfd_of(enum accel_bus bus, const struct bus_doorbell *doorbell)
{
	return (struct kvm_ioeventfd){
		.addr = doorbell->address,
		.len = doorbell->size_bytes,
		.datamatch = doorbell->match ? doorbell->value : 0,
		.fd = doorbell->fd,
		.flags = (bus == ACCEL_BUS_PIO ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (doorbell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};
}

int kvm_ioeventfd_add(struct accel_vm *vm, enum accel_bus bus, const struct bus_doorbell *doorbell,
		      struct err *err)
{
	struct kvm_ioeventfd event = kvm_ioeventfd_of(bus, doorbell);

	if (!vm->has_ioeventfd || (!doorbell->size_bytes && !vm->has_ioeventfd_any_size)) {
		kvm_say_once(vm, KVM_SAID_IOEVENTFD,
			     "queue kicks leave the guest: this KVM has no ioeventfd");
		return err_set(err, -ENOTSUP, "kvm: no ioeventfd");
	}
	if (ioctl(vm->vm_fd, KVM_IOEVENTFD, &event) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_IOEVENTFD");
	return 0;
}

/* One that KVM did not take is not there, which is what is wanted. */
void kvm_ioeventfd_remove(struct accel_vm *vm, enum accel_bus bus, const struct bus_doorbell *doorbell)
{
	struct kvm_ioeventfd event = kvm_ioeventfd_of(bus, doorbell);

	event.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	if (vm->has_ioeventfd)
		ioctl(vm->vm_fd, KVM_IOEVENTFD, &event);
}

static int kvm_irqfd_assign(struct accel_vm *vm, const struct kvm_irqfd_slot *slot, struct err *err)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)slot->fd,
		.gsi = slot->gsi,
		.flags = slot->resample_fd >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0,
		.resamplefd = slot->resample_fd >= 0 ? (uint32_t)slot->resample_fd : 0,
	};

	if (ioctl(vm->vm_fd, KVM_IRQFD, &irqfd) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_IRQFD");
	return 0;
}

/* What this KVM, with these controllers, can do for it. */
static int kvm_irqfd_check(struct accel_vm *vm, const struct irqfd_config *config, struct err *err)
{
	if (vm->irqchip == ACCEL_IRQCHIP_OFF || !vm->has_irqfd) {
		if (!vm->has_irqfd)
			kvm_say_once(vm, KVM_SAID_IRQFD,
				     "interrupts by eventfd go through this process: "
				     "this KVM has no irqfd");
		return err_set(err, -ENOTSUP, "kvm: no irqfd");
	}
	if (!config->is_msi && vm->irqchip != ACCEL_IRQCHIP_KERNEL)
		return err_set(err, -ENOTSUP, "kvm: the I/O APIC is not in the kernel");
	if (!config->is_msi && config->resample_fd >= 0 && !vm->has_irqfd_resample)
		return err_set(err, -ENOTSUP, "kvm: no irqfd with resample");
	return 0;
}

static int kvm_irqfd_free(const struct accel_vm *vm)
{
	for (int i = 0; i < KVM_IRQFDS_MAX; i++) {
		if (!vm->irqfd[i].used)
			return i;
	}
	return -1;
}

int kvm_irqfd_add(struct accel_vm *vm, const struct irqfd_config *config, unsigned *handle, struct err *err)
{
	int number = kvm_irqfd_free(vm);
	int gsi = (int)config->line;
	int code = kvm_irqfd_check(vm, config, err);
	struct kvm_irqfd_slot *slot;

	if (code < 0)
		return code;
	if (number < 0)
		return err_set(err, -ENOSPC, "kvm: more than %d interrupts by eventfd", KVM_IRQFDS_MAX);
	if (config->is_msi)
		gsi = kvm_route_add(vm, config->msi_address, config->msi_data, err);
	if (gsi < 0)
		return gsi;
	slot = &vm->irqfd[number];
	*slot = (struct kvm_irqfd_slot){
		.used = true,
		.is_msi = config->is_msi,
		.fd = config->fd,
		.resample_fd = config->is_msi ? -1 : config->resample_fd,
		.gsi = (uint32_t)gsi,
	};
	code = kvm_irqfd_assign(vm, slot, err);
	if (code < 0) {
		if (slot->is_msi)
			kvm_route_remove(vm, slot->gsi);
		slot->used = false;
		return code;
	}
	*handle = (unsigned)number;
	return 0;
}

int kvm_irqfd_update(struct accel_vm *vm, unsigned handle, uint64_t msi_address, uint32_t msi_data,
		     struct err *err)
{
	return kvm_route_change(vm, vm->irqfd[handle].gsi, msi_address, msi_data, err);
}

void kvm_irqfd_remove(struct accel_vm *vm, unsigned handle)
{
	struct kvm_irqfd_slot *slot = &vm->irqfd[handle];
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)slot->fd, .gsi = slot->gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN};

	ioctl(vm->vm_fd, KVM_IRQFD, &irqfd);
	if (slot->is_msi)
		kvm_route_remove(vm, slot->gsi);
	slot->used = false;
}

void kvm_eventfd_probe(struct accel_vm *vm)
{
	vm->has_ioeventfd = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD) > 0;
	vm->has_ioeventfd_any_size = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
	vm->has_irqfd = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQFD) > 0;
	vm->has_irqfd_resample = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQFD_RESAMPLE) > 0;
}
