/* SPDX-License-Identifier: Apache-2.0 */
/* A PCI function's configuration space: identity, BARs, capabilities, INTx. PCI Local Bus 3.0, 6.1
 * - 6.2, 6.7. */
#include "vmm/core/pci.h"

#include <assert.h>
#include <string.h>

#define PCI_STATUS_INTERRUPT_BYTE PCI_STATUS /* bit 3 lies in the low one */
#define PCI_BAR_TYPE_64           0x4u
#define PCI_BAR_PREFETCHABLE      0x8u
#define PCI_BAR_FLAGS             0xfu

static void pci_put(uint8_t *bytes, unsigned offset, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		bytes[offset + i] = (uint8_t)(value >> 8 * i);
}

void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
		       const struct pci_function_ops *ops)
{
	const uint16_t command =
		PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;

	function->ops = ops;
	function->next_capability = PCI_HEADER_BYTES;
	for (unsigned i = 0; i < PCI_BARS; i++)
		function->bar[i].base = PCI_BAR_OFF;
	pci_put(function->config, PCI_VENDOR_ID, identity->vendor_id, 2);
	pci_put(function->config, PCI_DEVICE_ID, identity->device_id, 2);
	pci_put(function->config, PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor_id, 2);
	pci_put(function->config, PCI_SUBSYSTEM_ID, identity->subsystem_id, 2);
	pci_put(function->config, PCI_REVISION_ID, identity->revision, 1);
	pci_put(function->config, PCI_CLASS_CODE, identity->class_code, 3);
	pci_put(function->config, PCI_INTERRUPT_PIN, identity->has_intx, 1);
	pci_put(function->write_mask, PCI_COMMAND, command, 2);
	pci_put(function->write_mask, PCI_INTERRUPT_LINE, 0xff, 1);
	memcpy(function->initial, function->config, PCI_CONFIG_BYTES);
	pthread_mutex_init(&function->intx_lock, NULL);
	pthread_mutex_init(&function->msix.lock, NULL);
}

void pci_function_release(struct pci_function *function)
{
	pthread_mutex_destroy(&function->intx_lock);
	pthread_mutex_destroy(&function->msix.lock);
}

/* A byte of the function's own set-up: as it is now, and after each reset. */
static void pci_set(struct pci_function *function, unsigned offset, uint64_t value, unsigned len)
{
	pci_put(function->config, offset, value, len);
	pci_put(function->initial, offset, value, len);
}

void pci_set_writable(struct pci_function *function, unsigned offset, unsigned len)
{
	assert(offset + len <= PCI_CONFIG_BYTES);
	memset(function->write_mask + offset, 0xff, len);
}

/* 6.2.5.1: the address bits below the size read 0, by which the guest learns it. */
void pci_add_bar(struct pci_function *function, unsigned index, uint64_t size, bool is_64bit,
		 bool is_prefetchable)
{
	unsigned offset = PCI_BAR0 + 4 * index;
	uint32_t flags = (is_64bit ? PCI_BAR_TYPE_64 : 0) | (is_prefetchable ? PCI_BAR_PREFETCHABLE : 0);

	assert(index + is_64bit < PCI_BARS && size >= 16 && (size & (size - 1)) == 0);
	assert(is_64bit || size <= 1ull << 31);
	function->bar[index] = (struct pci_bar){.size = size, .base = PCI_BAR_OFF, .is_64bit = is_64bit};
	pci_set(function, offset, flags, 4);
	pci_put(function->write_mask, offset, ~(size - 1), is_64bit ? 8 : 4);
}

unsigned pci_add_capability(struct pci_function *function, enum pci_capability id, const void *bytes,
			    unsigned len)
{
	unsigned offset = function->next_capability;
	uint16_t status = pci_get16(function, PCI_STATUS);

	assert(len >= 2 && offset + len <= PCI_CONFIG_BYTES);
	memcpy(function->config + offset, bytes, len);
	memcpy(function->initial + offset, bytes, len);
	pci_set(function, offset, id, 1);
	pci_set(function, offset + 1, function->config[PCI_CAPABILITIES], 1);
	pci_set(function, PCI_CAPABILITIES, offset, 1);
	pci_set(function, PCI_STATUS, status | PCI_STATUS_CAPABILITIES, 2);
	function->next_capability = (offset + len + 3) & ~3u;
	return offset;
}

/* INTx, 6.2.2: the status bit shows the device's wish, the line what the command register leaves of it. */

static void pci_update_intx_locked(struct pci_function *function)
{
	bool raised = function->intx_level && !function->intx_disabled;

	if (raised == function->intx_raised)
		return;
	function->intx_raised = raised;
	irq_line_set(&function->intx, raised);
}

void pci_set_intx(struct pci_function *function, bool level)
{
	pthread_mutex_lock(&function->intx_lock);
	function->intx_level = level;
	pci_update_intx_locked(function);
	pthread_mutex_unlock(&function->intx_lock);
}

static void pci_update_intx(struct pci_function *function)
{
	bool disabled = (pci_get16(function, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE) ||
			pci_msix_is_enabled(function);

	pthread_mutex_lock(&function->intx_lock);
	function->intx_disabled = disabled;
	pci_update_intx_locked(function);
	pthread_mutex_unlock(&function->intx_lock);
}

static void pci_show_intx(struct pci_function *function)
{
	pthread_mutex_lock(&function->intx_lock);
	function->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	function->config[PCI_STATUS] |= function->intx_level ? PCI_STATUS_INTERRUPT : 0;
	pthread_mutex_unlock(&function->intx_lock);
}

/* Where a BAR is decoded now: nowhere unless memory is enabled and the bridge forwards all of it. */
static uint64_t pci_bar_place(const struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->bar[index];
	uint64_t base = pci_get32(function, PCI_BAR0 + 4 * index) & ~PCI_BAR_FLAGS;

	if (bar->is_64bit)
		base |= (uint64_t)pci_get32(function, PCI_BAR0 + 4 * index + 4) << 32;
	if (!(pci_get16(function, PCI_COMMAND) & PCI_COMMAND_MEMORY) || !function->bus ||
	    !function->bus->decodes(function->bus, base, bar->size))
		return PCI_BAR_OFF;
	return base;
}

/* The bridge learns first, so that a device that is told of its place can be reached there. */
static void pci_update_bars(struct pci_function *function)
{
	bool moved[PCI_BARS] = {false};
	bool any = false;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint64_t base = function->bar[i].size ? pci_bar_place(function, i) : PCI_BAR_OFF;

		moved[i] = base != function->bar[i].base;
		any |= moved[i];
		function->bar[i].base = base;
	}
	if (any && function->bus)
		function->bus->bars_changed(function->bus, function);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (moved[i] && function->ops->bar_moved)
			function->ops->bar_moved(function, i, function->bar[i].base);
	}
}

uint32_t pci_config_read(struct pci_function *function, unsigned offset, unsigned size_bytes)
{
	uint32_t value = 0;

	assert(offset + size_bytes <= PCI_CONFIG_BYTES);
	pci_show_intx(function);
	if (function->ops->config_read)
		function->ops->config_read(function, offset, size_bytes);
	for (unsigned i = 0; i < size_bytes; i++)
		value |= (uint32_t)function->config[offset + i] << 8 * i;
	return value;
}

static bool pci_overlaps(unsigned offset, unsigned size_bytes, unsigned start, unsigned len)
{
	return offset < start + len && start < offset + size_bytes;
}

void pci_config_write(struct pci_function *function, unsigned offset, uint32_t value, unsigned size_bytes)
{
	unsigned msix = function->msix.capability;

	assert(offset + size_bytes <= PCI_CONFIG_BYTES);
	for (unsigned i = 0; i < size_bytes; i++) {
		uint8_t mask = function->write_mask[offset + i];
		uint8_t *byte = &function->config[offset + i];

		*byte = (uint8_t)((*byte & ~mask) | ((value >> 8 * i) & mask));
	}
	if (msix && pci_overlaps(offset, size_bytes, msix + 2, 2))
		pci_msix_control_written(function);
	if (pci_overlaps(offset, size_bytes, PCI_COMMAND, 2) ||
	    (msix && pci_overlaps(offset, size_bytes, msix + 2, 2)))
		pci_update_intx(function);
	if (pci_overlaps(offset, size_bytes, PCI_COMMAND, 2) ||
	    pci_overlaps(offset, size_bytes, PCI_BAR0, 4 * PCI_BARS))
		pci_update_bars(function);
	if (function->ops->config_written)
		function->ops->config_written(function, offset, size_bytes);
}

void pci_function_reset(struct pci_function *function)
{
	pthread_mutex_lock(&function->bus->config_lock);
	memcpy(function->config, function->initial, PCI_CONFIG_BYTES);
	pci_msix_reset(function);
	pci_update_intx(function);
	pci_update_bars(function);
	pthread_mutex_unlock(&function->bus->config_lock);
}

void pci_function_loaded(struct pci_function *function)
{
	for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
		function->config[i] = (function->config[i] & function->write_mask[i]) |
				      (function->initial[i] & ~function->write_mask[i]);
}

void pci_function_resume(struct pci_function *function)
{
	pthread_mutex_lock(&function->bus->config_lock);
	if (function->msix.capability)
		pci_msix_control_written(function);
	pci_update_intx(function);
	pci_update_bars(function);
	pthread_mutex_unlock(&function->bus->config_lock);
}
