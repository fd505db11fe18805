/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices of the board "microvm": which kinds there are, and where the transport of each lies. A
 * slot of virtio-mmio is a page and an interrupt. Knows no particular device: each kind has a file of its
 * own, virtio_*.c.
 */
#include <errno.h>
#include <string.h>

#include "devices/pci/host.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/pci.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"
#include "vmm/machine/parts.h"

#define VIRTIO_SLOTS 31

/* Pins that no device of the board has; the first are not known to the PIC, and first come the first eight
 * slots. */
static const unsigned virtio_gsis[] = {16, 17, 18, 19, 20, 21, 22, 23, 5, 10, 11, 7, 6, 15, 14};

/* In the order of their slots: the first disk of the command line is the guest's first. */
static int (*const virtio_kinds[])(struct machine *machine, struct err *err) = {
	machine_add_disks,    machine_add_nets,     machine_add_rngs,
	machine_add_shares,   machine_add_vsock,    machine_add_vhost_users,
	machine_add_consoles, machine_add_balloons, machine_add_pmems,
};

static int virtio_add_mmio(struct machine *machine, struct virtio_device *virtio, unsigned slot,
			   struct err *err)
{
	unsigned gsi = virtio_gsis[slot % (sizeof(virtio_gsis) / sizeof(virtio_gsis[0]))];
	struct device_env env = machine->device_env;
	struct virtio_mmio_config config = {
		.base = MACHINE_VIRTIO_MMIO_GPA +
			(slot + machine->config.boot_timer) * (uint64_t)VIRTIO_MMIO_SIZE,
		.gsi = (int)gsi,
	};
	int code = machine_irq_line(machine, gsi, &config.irq, err);

	if (code < 0)
		return code;
	return machine_keep_device(machine, virtio_mmio_create(&env, virtio, &config, err), err);
}

/* The bridge itself has the bus's slot 0. */
static int virtio_add_pci(struct machine *machine, struct virtio_device *virtio, unsigned slot,
			  struct err *err)
{
	struct virtio_pci_config config = {.bus = pci_host_bus(machine->pci_host), .slot = slot + 1};
	int code = machine_pci_line(machine, config.slot, &config.intx, err);

	if (code < 0)
		return code;
	return machine_keep_device(machine, virtio_pci_create(&machine->device_env, virtio, &config, err),
				   err);
}

int machine_add_virtio(struct machine *machine, struct device *device, struct err *err)
{
	struct virtio_device *virtio = (struct virtio_device *)device;
	unsigned slot = 0;
	int code = machine_keep_device(machine, device, err);

	if (code < 0)
		return code;
	while (slot < VIRTIO_SLOTS && (machine->virtio_slots >> slot & 1))
		slot++;
	if (slot == VIRTIO_SLOTS)
		return err_set(err, -ENOSPC, "the board has room for %d virtio devices", VIRTIO_SLOTS);
	machine->virtio_slots |= 1u << slot;
	machine->virtio_slot = slot;
	if (machine->config.virtio_ring == VIRTIO_RING_PACKED && !virtio->queues_elsewhere)
		virtio_offer(virtio, VIRTIO_BIT(VIRTIO_F_RING_PACKED));
	code = machine->pci_host ? virtio_add_pci(machine, virtio, slot, err)
				 : virtio_add_mmio(machine, virtio, slot, err);
	if (code < 0)
		machine->virtio_slots &= ~(1u << slot);
	return code;
}

/* The transport is kept right behind its device, and goes before it. */
void machine_remove_virtio(struct machine *machine, struct device *device, unsigned slot)
{
	size_t index = 0;
	size_t count = 1;

	while (index < machine->device_count && machine->device[index] != device)
		index++;
	if (index == machine->device_count)
		return;
	if (index + 1 < machine->device_count && machine->virtio_slots >> slot & 1) {
		machine->device[index + 1]->class->destroy(machine->device[index + 1]);
		count = 2;
	}
	device->class->destroy(device);
	machine->device_count -= count;
	memmove(&machine->device[index], &machine->device[index + count],
		(machine->device_count - index) * sizeof(machine->device[0]));
	machine->virtio_slots &= ~(1u << slot);
}

int machine_add_virtio_devices(struct machine *machine, struct err *err)
{
	int code = machine_add_pci(machine, err);

	for (size_t i = 0; i < sizeof(virtio_kinds) / sizeof(virtio_kinds[0]) && code == 0; i++)
		code = virtio_kinds[i](machine, err);
	return code;
}
