/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI, modern: a function with one BAR, which has the common configuration, notifications,
 * interrupt status, the device's configuration and the MSI-X table. virtio 1.2, 4.1.
 */
#pragma once

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;
struct pci_bus;
struct virtio_device;

struct virtio_pci_config {
	struct pci_bus *bus;
	unsigned slot;
	struct irq_line intx; /* may be shared */
};

/* Takes a slot of the bus; virtio outlives it. */
struct device *virtio_pci_create(const struct device_env *env, struct virtio_device *virtio,
				 const struct virtio_pci_config *config, struct err *err);
