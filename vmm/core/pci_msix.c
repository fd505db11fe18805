/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X of a PCI function. PCI Local Bus 3.0, 6.8.2. A vector that is raised while it or the function is
 * masked is noted in the pending bits, and its message is sent when both are unmasked.
 */
#include <assert.h>
#include <string.h>

#include "vmm/core/pci.h"

#define MSIX_CONTROL        2 /* offset of message control in the capability */
#define MSIX_CONTROL_ENABLE 0x8000u
#define MSIX_CONTROL_MASK   0x4000u
#define MSIX_VECTOR_MASKED  1u

void pci_msix_reset(struct pci_function *function)
{
	struct pci_msix *msix = &function->msix;

	pthread_mutex_lock(&msix->lock);
	msix->enabled = msix->masked = false;
	memset(msix->address, 0, sizeof(msix->address));
	memset(msix->data, 0, sizeof(msix->data));
	memset(msix->pending, 0, sizeof(msix->pending));
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		msix->control[i] = MSIX_VECTOR_MASKED; /* 6.8.2.9 */
	pthread_mutex_unlock(&msix->lock);
}

void pci_add_msix(struct pci_function *function, unsigned count, unsigned bar, uint32_t table_offset,
		  uint32_t pba_offset, const struct msi_sink *sink)
{
	uint16_t control = (uint16_t)(count - 1);
	uint32_t table = table_offset | bar, pba = pba_offset | bar;
	uint8_t bytes[12] = {0};

	assert(count > 0 && count <= PCI_MSIX_MAX && table_offset % 8 == 0 && pba_offset % 8 == 0 &&
	       bar < PCI_BARS);
	memcpy(bytes + MSIX_CONTROL, &control, sizeof(control));
	memcpy(bytes + 4, &table, sizeof(table));
	memcpy(bytes + 8, &pba, sizeof(pba));
	function->msix.count = (uint16_t)count;
	function->msix.sink = *sink;
	function->msix.capability =
		(uint8_t)pci_add_capability(function, PCI_CAPABILITY_MSIX, bytes, sizeof(bytes));
	function->write_mask[function->msix.capability + MSIX_CONTROL + 1] =
		(MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK) >> 8;
	pci_msix_reset(function);
}

static bool msix_is_pending(const struct pci_msix *msix, unsigned vector)
{
	return msix->pending[vector / 64] >> vector % 64 & 1;
}

static bool msix_is_masked(const struct pci_msix *msix, unsigned vector)
{
	return msix->masked || (msix->control[vector] & MSIX_VECTOR_MASKED);
}

/* Sends what is pending of a vector that can be sent. lock held. */
static void msix_flush(struct pci_msix *msix, unsigned vector)
{
	if (!msix->enabled || !msix_is_pending(msix, vector) || msix_is_masked(msix, vector))
		return;
	msix->pending[vector / 64] &= ~(1ull << vector % 64);
	msi_sink_send(&msix->sink, msix->address[vector], msix->data[vector]);
}

bool pci_msix_is_enabled(struct pci_function *function)
{
	struct pci_msix *msix = &function->msix;
	bool enabled;

	pthread_mutex_lock(&msix->lock);
	enabled = msix->enabled;
	pthread_mutex_unlock(&msix->lock);
	return enabled;
}

void pci_msix_notify(struct pci_function *function, unsigned vector)
{
	struct pci_msix *msix = &function->msix;

	if (vector >= msix->count)
		return;
	pthread_mutex_lock(&msix->lock);
	if (msix->enabled) {
		msix->pending[vector / 64] |= 1ull << vector % 64;
		msix_flush(msix, vector);
	}
	pthread_mutex_unlock(&msix->lock);
}

void pci_msix_control_written(struct pci_function *function)
{
	struct pci_msix *msix = &function->msix;
	uint16_t control = pci_get16(function, msix->capability + MSIX_CONTROL);

	pthread_mutex_lock(&msix->lock);
	msix->enabled = control & MSIX_CONTROL_ENABLE;
	msix->masked = control & MSIX_CONTROL_MASK;
	for (unsigned i = 0; i < msix->count; i++)
		msix_flush(msix, i);
	pthread_mutex_unlock(&msix->lock);
}

static bool msix_access_is_good(uint64_t offset, unsigned size_bytes, uint64_t bytes)
{
	return (size_bytes == 4 || size_bytes == 8) && offset % size_bytes == 0 && offset < bytes;
}

static uint32_t msix_word(const struct pci_msix *msix, unsigned vector, unsigned word)
{
	switch (word) {
	case 0: return (uint32_t)msix->address[vector];
	case 1: return (uint32_t)(msix->address[vector] >> 32);
	case 2: return msix->data[vector];
	default: return msix->control[vector];
	}
}

uint64_t pci_msix_table_read(struct pci_function *function, uint64_t offset, unsigned size_bytes)
{
	struct pci_msix *msix = &function->msix;
	unsigned vector = (unsigned)(offset / PCI_MSIX_ENTRY_BYTES);
	unsigned word = (unsigned)(offset % PCI_MSIX_ENTRY_BYTES) / 4;
	uint64_t value;

	if (!msix_access_is_good(offset, size_bytes, (uint64_t)msix->count * PCI_MSIX_ENTRY_BYTES))
		return 0;
	pthread_mutex_lock(&msix->lock);
	value = msix_word(msix, vector, word);
	if (size_bytes == 8)
		value |= (uint64_t)msix_word(msix, vector, word + 1) << 32;
	pthread_mutex_unlock(&msix->lock);
	return value;
}

static void msix_set_word(struct pci_msix *msix, unsigned vector, unsigned word, uint32_t value)
{
	uint64_t *address = &msix->address[vector];

	switch (word) {
	case 0: *address = (*address & ~0xffffffffull) | (value & ~3u); return;
	case 1: *address = (*address & 0xffffffffull) | (uint64_t)value << 32; return;
	case 2: msix->data[vector] = value; return;
	default: msix->control[vector] = value & MSIX_VECTOR_MASKED; return;
	}
}

void pci_msix_table_write(struct pci_function *function, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct pci_msix *msix = &function->msix;
	unsigned vector = (unsigned)(offset / PCI_MSIX_ENTRY_BYTES);
	unsigned word = (unsigned)(offset % PCI_MSIX_ENTRY_BYTES) / 4;

	if (!msix_access_is_good(offset, size_bytes, (uint64_t)msix->count * PCI_MSIX_ENTRY_BYTES))
		return;
	pthread_mutex_lock(&msix->lock);
	msix_set_word(msix, vector, word, (uint32_t)value);
	if (size_bytes == 8)
		msix_set_word(msix, vector, word + 1, (uint32_t)(value >> 32));
	msix_flush(msix, vector);
	pthread_mutex_unlock(&msix->lock);
}

uint64_t pci_msix_pba_read(struct pci_function *function, uint64_t offset, unsigned size_bytes)
{
	struct pci_msix *msix = &function->msix;
	uint64_t value;

	if (!msix_access_is_good(offset, size_bytes, sizeof(msix->pending)))
		return 0;
	pthread_mutex_lock(&msix->lock);
	value = msix->pending[offset / 8];
	pthread_mutex_unlock(&msix->lock);
	return size_bytes == 8 ? value : (uint32_t)(value >> 8 * (offset % 8));
}
