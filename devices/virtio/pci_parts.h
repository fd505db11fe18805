/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of virtio-pci, for pci.c and pci_registers.c only.
 *
 *     BAR 0, 32 KiB, 64 bits     0x0000 common configuration   0x1000 interrupt status    0x2000 device
 * configuration 0x3000 notifications, 4 bytes a queue      0x4000 MSI-X table   0x4800 pending bits
 */
#pragma once

#include "devices/virtio/virtio_transport.h"
#include "vmm/core/pci.h"

#define VIRTIO_PCI_BAR          0u
#define VIRTIO_PCI_BAR_BYTES    0x8000u
#define VIRTIO_PCI_COMMON       0x0000u
#define VIRTIO_PCI_COMMON_BYTES 0x3cu
#define VIRTIO_PCI_ISR          0x1000u
#define VIRTIO_PCI_DEVICE       0x2000u
#define VIRTIO_PCI_NOTIFY       0x3000u
#define VIRTIO_PCI_NOTIFY_STEP  4u
#define VIRTIO_PCI_MSIX_TABLE   0x4000u
#define VIRTIO_PCI_MSIX_PBA     0x4800u
#define VIRTIO_PCI_REGION_BYTES 0x1000u
#define VIRTIO_PCI_NO_VECTOR    0xffffu

struct bus;

struct virtio_pci {
	struct device device;
	struct pci_function function;
	struct virtio_transport transport;
	struct virtio_device *virtio;
	struct bus *mmio;
	uint64_t notify_gpa; /* of the doorbells, or PCI_BAR_OFF; the bus's config_lock */
	unsigned doorbell_count;
	unsigned window_capability; /* offset of the access capability in the configuration space */

	pthread_mutex_t lock; /* guards the selectors; a leaf */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	_Atomic uint16_t config_vector;
	_Atomic uint16_t queue_vector[VIRTIO_QUEUES_MAX];
};

/* pci_registers.c: the common configuration structure, 4.1.4.3. */
uint64_t virtio_pci_common_read(struct virtio_pci *pci, uint64_t offset, unsigned size_bytes);
void virtio_pci_common_write(struct virtio_pci *pci, uint64_t offset, uint64_t value, unsigned size_bytes);
/* After a reset of the device. */
void virtio_pci_common_reset(struct virtio_pci *pci);
