/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's own interrupt controllers: what this host offers, making them, their inputs and the routing table.
 * kvm_chips.c and kvm_lapic.c move their state. KVM's api.rst: KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2,
 * KVM_CAP_SPLIT_IRQCHIP, KVM_SET_GSI_ROUTING, KVM_IRQ_LINE, KVM_SIGNAL_MSI.
 *
 *   GSI   0-15    PIC input n; I/O APIC pin n, but GSI 0 pin 2     kernel
 *         16-23   I/O APIC pin n                                   kernel
 *         0-23    the message of our I/O APIC's pin n              split
 *         24-     messages of irqfds                               both
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"
#include "vmm/core/irq.h"

#define GSI_TIMER        0
#define GSI_CASCADE      2
#define PIC_INPUTS       16
#define ENTRY_LOGICAL    (1ull << 11)
#define ENTRY_LEVEL      (1ull << 15)
#define ENTRY_MASKED     (1ull << 16)
#define ENTRY_ROUTE_BITS 0xff0000000000afffull /* destination, trigger, logical, delivery, vector */

static bool kvm_has(int fd, int capability)
{
	return ioctl(fd, KVM_CHECK_EXTENSION, capability) > 0;
}

unsigned kvm_irqchips(void)
{
	int fd = kvm_open(NULL);
	unsigned chips = 1u << ACCEL_IRQCHIP_OFF;

	if (fd < 0)
		return chips;
	if (kvm_has(fd, KVM_CAP_IRQ_ROUTING) && kvm_has(fd, KVM_CAP_SIGNAL_MSI) &&
	    kvm_has(fd, KVM_CAP_MP_STATE)) {
		if (kvm_has(fd, KVM_CAP_SPLIT_IRQCHIP))
			chips |= 1u << ACCEL_IRQCHIP_SPLIT;
		if (kvm_has(fd, KVM_CAP_IRQCHIP) && kvm_has(fd, KVM_CAP_PIT2) &&
		    kvm_has(fd, KVM_CAP_PIT_STATE2))
			chips |= 1u << ACCEL_IRQCHIP_KERNEL;
	}
	close(fd);
	return chips;
}

/* The whole table is given anew at each change, under the routes' lock. */
static int kvm_routes_apply(struct accel_vm *vm, struct err *err)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[PIC_INPUTS + KVM_ROUTES_MAX];
	} *table = calloc(1, sizeof(*table));
	int code = 0;

	if (!table)
		return err_set(err, -ENOMEM, "kvm: no memory for interrupt routes");
	for (uint32_t gsi = 0; gsi < KVM_IOAPIC_PINS_COUNT && vm->irqchip == ACCEL_IRQCHIP_KERNEL; gsi++) {
		if (gsi == GSI_CASCADE)
			continue;
		if (gsi < PIC_INPUTS)
			table->entry[table->head.nr++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {.irqchip = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER
								 : KVM_IRQCHIP_PIC_SLAVE,
					      .pin = gsi & 7}};
		table->entry[table->head.nr++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = gsi == GSI_TIMER ? 2 : gsi}};
	}
	for (uint32_t gsi = 0; gsi < KVM_ROUTES_MAX; gsi++) {
		const struct kvm_route *route = &vm->route[gsi];

		if (!route->used)
			continue;
		table->entry[table->head.nr++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)route->address,
				  .address_hi = (uint32_t)(route->address >> 32),
				  .data = route->data}};
	}
	if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, table) < 0)
		code = err_set_errno(err, -errno, "kvm: KVM_SET_GSI_ROUTING");
	free(table);
	return code;
}

int kvm_irqchip_create(struct accel_vm *vm, struct err *err)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {KVM_IOAPIC_PINS_COUNT}};

	switch (vm->irqchip) {
	case ACCEL_IRQCHIP_KERNEL:
		if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
			return err_set_errno(err, -errno, "kvm: KVM_CREATE_IRQCHIP");
		if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
			return err_set_errno(err, -errno, "kvm: KVM_CREATE_PIT2");
		return kvm_routes_apply(vm, err);
	case ACCEL_IRQCHIP_SPLIT:
		if (ioctl(vm->vm_fd, KVM_ENABLE_CAP, &split) < 0)
			return err_set_errno(err, -errno, "kvm: KVM_CAP_SPLIT_IRQCHIP");
		return 0;
	case ACCEL_IRQCHIP_OFF:
	case ACCEL_IRQCHIP_COUNT: break;
	}
	return 0;
}

void kvm_irq_line(struct accel_vm *vm, unsigned gsi, bool level)
{
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	/* It can fail for a GSI without a route, which no line has. */
	ioctl(vm->vm_fd, KVM_IRQ_LINE, &line);
}

void kvm_msi_send(struct accel_vm *vm, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};

	/* A message to a CPU that is not there, or whose APIC is off, is lost as on a bus. */
	ioctl(vm->vm_fd, KVM_SIGNAL_MSI, &msi);
}

/*
 * KVM wants the messages of level-triggered pins, because their EOI is to leave the kernel; edges need none.
 * A masked entry keeps the last one: the interrupt that it sent may still be ended.
 */
void kvm_ioapic_route(struct accel_vm *vm, unsigned pin, uint64_t entry)
{
	const struct intr_message message = {
		.destination = (uint32_t)(entry >> 56),
		.logical = entry & ENTRY_LOGICAL,
		.level_triggered = true,
		.assert = true,
		.delivery = (enum intr_delivery)((entry >> 8) & 7),
		.vector = entry & 0xff,
	};
	struct kvm_route *route = &vm->route[pin];
	struct err err = {0};

	if ((entry & ENTRY_MASKED) || !(entry & ENTRY_LEVEL))
		return;
	pthread_mutex_lock(&vm->route_lock);
	if (!route->used || route->entry != (entry & ENTRY_ROUTE_BITS)) {
		route->used = true;
		route->entry = entry & ENTRY_ROUTE_BITS;
		intr_message_to_msi(&message, &route->address, &route->data);
		if (kvm_routes_apply(vm, &err) < 0)
			kvm_say_once(vm, KVM_SAID_ROUTES, err.message);
	}
	pthread_mutex_unlock(&vm->route_lock);
}

int kvm_route_add(struct accel_vm *vm, uint64_t address, uint32_t data, struct err *err)
{
	int gsi = -1, code;

	pthread_mutex_lock(&vm->route_lock);
	for (int i = KVM_IOAPIC_PINS_COUNT; i < KVM_ROUTES_MAX && gsi < 0; i++)
		gsi = vm->route[i].used ? -1 : i;
	if (gsi < 0) {
		code = err_set(err, -ENOSPC, "kvm: more than %d interrupt routes", KVM_ROUTES_MAX);
	} else {
		vm->route[gsi] = (struct kvm_route){.used = true, .address = address, .data = data};
		code = kvm_routes_apply(vm, err);
		vm->route[gsi].used = code == 0;
	}
	pthread_mutex_unlock(&vm->route_lock);
	return code < 0 ? code : gsi;
}

int kvm_route_change(struct accel_vm *vm, unsigned gsi, uint64_t address, uint32_t data, struct err *err)
{
	int code = 0;

	pthread_mutex_lock(&vm->route_lock);
	if (vm->route[gsi].address != address || vm->route[gsi].data != data) {
		vm->route[gsi].address = address;
		vm->route[gsi].data = data;
		code = kvm_routes_apply(vm, err);
	}
	pthread_mutex_unlock(&vm->route_lock);
	return code;
}

void kvm_route_remove(struct accel_vm *vm, unsigned gsi)
{
	struct err err = {0};

	pthread_mutex_lock(&vm->route_lock);
	vm->route[gsi].used = false;
	kvm_routes_apply(vm, &err);
	pthread_mutex_unlock(&vm->route_lock);
}
