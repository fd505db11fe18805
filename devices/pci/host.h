/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI host bridge: bus 0 with 32 slots of one function each, configuration space by ports 0xcf8/0xcfc and
 * by ECAM, and two windows of memory in which BARs are decoded. PCI Local Bus 3.0, 3.2.2.3; PCI Express
 * Base 4.0, 7.2.2.
 */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;
struct pci_bus;

#define PCI_HOST_ECAM_BYTES   (256ull << 20) /* 256 buses */
#define PCI_HOST_DATA_PORT    0xcfc
#define PCI_HOST_ADDRESS_PORT 0xcf8 /* belongs to the reset port's range: see pci_host_address_write */

struct pci_host_window {
	uint64_t base, size; /* size 0: none */
};

struct pci_host_config {
	uint64_t ecam_base;
	struct pci_host_window window[2]; /* below 4 GiB; above */
};

struct device *pci_host_create(const struct device_env *env, const struct pci_host_config *config,
			       struct err *err);

/* For functions: lives as long as the bridge. */
struct pci_bus *pci_host_bus(struct device *device);

/* CONFIG_ADDRESS, accessed as a double word at port 0xcf8. Any thread. */
uint32_t pci_host_address_read(struct device *device);
void pci_host_address_write(struct device *device, uint32_t value);

/*
 * What firmware does: gives every BAR a place and enables decoding. The window below 4 GiB is filled first,
 * which every guest reaches; BARs of 64 bits for which it has no room go to the other. After a reset, vCPUs
 * parked.
 */
void pci_host_assign_bars(struct device *device);
