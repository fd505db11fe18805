/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI as devices and host bridges speak it: a function's configuration space with its write masks, base
 * address registers, capabilities, INTx and MSI-X. PCI Local Bus 3.0, chapter 6. A function is embedded in a
 * device; a bus is implemented by a host bridge, which decodes addresses. Knows no device and no bridge.
 *
 * Locks: the bus's config_lock guards configuration bytes and BARs; accesses to BARs run without it. MSI-X
 * has a leaf lock of its own, INTx too, so that interrupts may be raised by any thread whatever the guest is
 * writing.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/core/irq.h"

struct err;
struct pci_function;

#define PCI_CONFIG_BYTES 256 /* a conventional function's */
#define PCI_BARS         6
#define PCI_SLOTS        32
#define PCI_BAR_OFF      UINT64_MAX
#define PCI_MSIX_MAX     128 /* vectors of a function: 66 queues and the configuration, rounded up */

/* Offsets in the configuration space that have a name here. 6.1. */
enum pci_register {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION_ID = 0x08,
	PCI_CLASS_CODE = 0x09,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
	PCI_HEADER_BYTES = 0x40,
};

enum pci_command {
	PCI_COMMAND_IO = 1 << 0,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_INTX_DISABLE = 1 << 10,
};

enum pci_status_bit { PCI_STATUS_INTERRUPT = 1 << 3, PCI_STATUS_CAPABILITIES = 1 << 4 };
enum pci_capability { PCI_CAPABILITY_VENDOR = 0x09, PCI_CAPABILITY_MSIX = 0x11 };

/* What a device does when the guest reaches it. Sizes are 1, 2, 4, 8; an access lies inside the BAR. */
struct pci_function_ops {
	uint64_t (*bar_read)(struct pci_function *function, unsigned bar, uint64_t offset,
			     unsigned size_bytes);
	void (*bar_write)(struct pci_function *function, unsigned bar, uint64_t offset, uint64_t value,
			  unsigned size_bytes);
	/* The guest has put the BAR at base, or nowhere (PCI_BAR_OFF). config_lock held. May be NULL. */
	void (*bar_moved)(struct pci_function *function, unsigned bar, uint64_t base);
	/* Bytes are about to be read, resp. have been written by the guest. config_lock held. May be NULL. */
	void (*config_read)(struct pci_function *function, unsigned offset, unsigned size_bytes);
	void (*config_written)(struct pci_function *function, unsigned offset, unsigned size_bytes);
};

struct pci_bar {
	uint64_t size; /* a power of two, 0: none. Memory only */
	uint64_t base; /* where it is decoded, or PCI_BAR_OFF */
	bool is_64bit; /* then the next register is its upper half */
};

/* MSI-X, 6.8.2. */
struct pci_msix {
	pthread_mutex_t lock; /* a leaf but for the sink's own locks */
	struct msi_sink sink;
	uint16_t count;     /* vectors; 0: no MSI-X */
	uint8_t capability; /* offset */
	bool enabled;       /* of message control; lock */
	bool masked;        /* the function's mask; lock */
	uint64_t address[PCI_MSIX_MAX];
	uint32_t data[PCI_MSIX_MAX];
	uint32_t control[PCI_MSIX_MAX]; /* bit 0: masked */
	uint64_t pending[PCI_MSIX_MAX / 64];
};
#define PCI_MSIX_ENTRY_BYTES 16
#define PCI_MSIX_TABLE_BYTES (PCI_MSIX_MAX * PCI_MSIX_ENTRY_BYTES)
#define PCI_MSIX_PBA_BYTES   (PCI_MSIX_MAX / 8)

struct pci_function {
	const struct pci_function_ops *ops;
	struct pci_bus *bus; /* NULL while it is on none */
	unsigned slot;
	uint8_t config[PCI_CONFIG_BYTES]; /* saved */
	uint8_t initial[PCI_CONFIG_BYTES];
	uint8_t write_mask[PCI_CONFIG_BYTES]; /* bits that the guest can change */
	unsigned next_capability;             /* where the next one goes */
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	pthread_mutex_t intx_lock; /* guards the four below; the line's own locks are taken inside */
	struct irq_line intx;
	bool intx_level;    /* what the device wants. Saved */
	bool intx_disabled; /* by the command register or MSI-X */
	bool intx_raised;   /* what was told to the line */
};

/* A bus, implemented by its host bridge. */
struct pci_bus {
	pthread_mutex_t config_lock;
	/* The function takes a slot, at which it is found from now on; the machine is being built or its
	 * vCPUs parked.
	 */
	int (*attach)(struct pci_bus *bus, struct pci_function *function, unsigned slot, struct err *err);
	void (*detach)(struct pci_bus *bus, struct pci_function *function);
	/* Whether the bridge decodes [base, base + size) of memory. */
	bool (*decodes)(const struct pci_bus *bus, uint64_t base, uint64_t size);
	/* A base of some BAR of the function has changed. config_lock held. */
	void (*bars_changed)(struct pci_bus *bus, struct pci_function *function);
};

struct pci_identity {
	uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
	uint32_t class_code; /* 24 bits: class, subclass, programming interface */
	uint8_t revision;
	bool has_intx; /* INTA# */
};

/* Prepares a zeroed function; borrows ops. */
void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
		       const struct pci_function_ops *ops);
void pci_function_release(struct pci_function *function);

/* The function's own set-up, before it is attached. Mistakes are bugs of ours and assert. */
void pci_add_bar(struct pci_function *function, unsigned index, uint64_t size, bool is_64bit,
		 bool is_prefetchable);
/* Appends a capability of len bytes, its two bytes of header included, which are filled in; returns its
 * offset. */
unsigned pci_add_capability(struct pci_function *function, enum pci_capability id, const void *bytes,
			    unsigned len);
/* Makes bytes of the configuration space writable. */
void pci_set_writable(struct pci_function *function, unsigned offset, unsigned len);
/* Table and pending bits lie in `bar`, at offsets that are multiples of 8. */
void pci_add_msix(struct pci_function *function, unsigned count, unsigned bar, uint32_t table_offset,
		  uint32_t pba_offset, const struct msi_sink *sink);

/* The guest's accesses, as a bridge passes them on: size 1, 2 or 4, inside an aligned double word.
 * config_lock held. */
uint32_t pci_config_read(struct pci_function *function, unsigned offset, unsigned size_bytes);
void pci_config_write(struct pci_function *function, unsigned offset, uint32_t value, unsigned size_bytes);

/* Back to power-on: nothing decoded, MSI-X off. Takes the config_lock. */
void pci_function_reset(struct pci_function *function);
/* The saved configuration may be hostile: what the guest cannot write has its own value again. */
void pci_function_loaded(struct pci_function *function);
/* After a restore of config, msix and intx_level: decodes, masks and levels follow. Takes the config_lock. */
void pci_function_resume(struct pci_function *function);

/* The device's INTx level; reaches the line unless the guest has disabled it. Any thread. */
void pci_set_intx(struct pci_function *function, bool level);

/* MSI-X. Any thread. */
bool pci_msix_is_enabled(struct pci_function *function);
/* Sends the vector's message, or notes it pending while masked. Nothing while MSI-X is off. */
void pci_msix_notify(struct pci_function *function, unsigned vector);
/* Accesses of the table and the pending bits, offsets from their start; 4 or 8 bytes, aligned, others read 0.
 */
uint64_t pci_msix_table_read(struct pci_function *function, uint64_t offset, unsigned size_bytes);
void pci_msix_table_write(struct pci_function *function, uint64_t offset, uint64_t value,
			  unsigned size_bytes);
uint64_t pci_msix_pba_read(struct pci_function *function, uint64_t offset, unsigned size_bytes);
/* pci_msix.c, for pci.c: message control was written. */
void pci_msix_control_written(struct pci_function *function);
void pci_msix_reset(struct pci_function *function);

static inline uint16_t pci_get16(const struct pci_function *function, unsigned offset)
{
	return (uint16_t)(function->config[offset] | function->config[offset + 1] << 8);
}

static inline uint32_t pci_get32(const struct pci_function *function, unsigned offset)
{
	return pci_get16(function, offset) | (uint32_t)pci_get16(function, offset + 2) << 16;
}
