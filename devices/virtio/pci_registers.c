/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common configuration structure of virtio-pci. virtio 1.2, 4.1.4.3. Fields are accessed in their own
 * width, those of 64 bits also in halves (4.1.3.1); anything else is the driver's mistake and has no effect.
 */
#include "devices/virtio/pci_parts.h"

enum common_field {
	COMMON_DEVICE_FEATURE_SELECT = 0x00,
	COMMON_DEVICE_FEATURE = 0x04,
	COMMON_DRIVER_FEATURE_SELECT = 0x08,
	COMMON_DRIVER_FEATURE = 0x0c,
	COMMON_CONFIG_VECTOR = 0x10,
	COMMON_NUM_QUEUES = 0x12,
	COMMON_DEVICE_STATUS = 0x14,
	COMMON_CONFIG_GENERATION = 0x15,
	COMMON_QUEUE_SELECT = 0x16,
	COMMON_QUEUE_SIZE = 0x18,
	COMMON_QUEUE_VECTOR = 0x1a,
	COMMON_QUEUE_ENABLE = 0x1c,
	COMMON_QUEUE_NOTIFY_OFF = 0x1e,
	COMMON_QUEUE_DESC = 0x20,
	COMMON_QUEUE_DRIVER = 0x28,
	COMMON_QUEUE_DEVICE = 0x30,
	COMMON_QUEUE_NOTIFY_DATA = 0x38,
	COMMON_QUEUE_RESET = 0x3a,
};

static void common_select(struct virtio_pci *pci, uint32_t *selector, uint32_t value)
{
	pthread_mutex_lock(&pci->lock);
	*selector = value;
	pthread_mutex_unlock(&pci->lock);
}

static uint32_t common_selected(struct virtio_pci *pci, const uint32_t *selector)
{
	uint32_t value;

	pthread_mutex_lock(&pci->lock);
	value = *selector;
	pthread_mutex_unlock(&pci->lock);
	return value;
}

void virtio_pci_common_reset(struct virtio_pci *pci)
{
	common_select(pci, &pci->device_features_sel, 0);
	common_select(pci, &pci->driver_features_sel, 0);
	common_select(pci, &pci->queue_sel, 0);
	pci->config_vector = VIRTIO_PCI_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		pci->queue_vector[i] = VIRTIO_PCI_NO_VECTOR;
}

static uint32_t common_queue(struct virtio_pci *pci)
{
	return common_selected(pci, &pci->queue_sel);
}

/* Width of the field at this offset, 0 when none begins there. Addresses are two fields of 32 bits each. */
static unsigned common_width(uint64_t offset)
{
	if (offset < COMMON_CONFIG_VECTOR ||
	    (offset >= COMMON_QUEUE_DESC && offset < COMMON_QUEUE_NOTIFY_DATA))
		return offset % 4 == 0 ? 4 : 0;
	if (offset == COMMON_DEVICE_STATUS || offset == COMMON_CONFIG_GENERATION)
		return 1;
	return offset % 2 == 0 ? 2 : 0;
}

static uint64_t common_read_address(struct virtio_pci *pci, enum virtio_queue_field field, bool high)
{
	uint64_t address = virtio_queue_read(pci->virtio, common_queue(pci), field);

	return high ? address >> 32 : (uint32_t)address;
}

static uint16_t common_read_vector(struct virtio_pci *pci)
{
	uint32_t queue = common_queue(pci);

	return queue < pci->virtio->queue_count ? pci->queue_vector[queue] : VIRTIO_PCI_NO_VECTOR;
}

static uint16_t common_notify_off(struct virtio_pci *pci)
{
	uint32_t queue = common_queue(pci);

	return queue < pci->virtio->queue_count ? (uint16_t)queue : 0;
}

/* A size of 0 says that there is no such queue. */
static uint64_t common_read_queue(struct virtio_pci *pci, uint64_t offset)
{
	switch (offset) {
	case COMMON_QUEUE_SELECT: return common_queue(pci);
	case COMMON_QUEUE_SIZE: return virtio_queue_read(pci->virtio, common_queue(pci), VIRTIO_QUEUE_SIZE);
	case COMMON_QUEUE_VECTOR: return common_read_vector(pci);
	case COMMON_QUEUE_ENABLE: return virtio_queue_is_enabled(pci->virtio, common_queue(pci));
	case COMMON_QUEUE_NOTIFY_DATA:
	case COMMON_QUEUE_NOTIFY_OFF: return common_notify_off(pci);
	case COMMON_QUEUE_DESC: return common_read_address(pci, VIRTIO_QUEUE_DESC, false);
	case COMMON_QUEUE_DESC + 4: return common_read_address(pci, VIRTIO_QUEUE_DESC, true);
	case COMMON_QUEUE_DRIVER: return common_read_address(pci, VIRTIO_QUEUE_DRIVER, false);
	case COMMON_QUEUE_DRIVER + 4: return common_read_address(pci, VIRTIO_QUEUE_DRIVER, true);
	case COMMON_QUEUE_DEVICE: return common_read_address(pci, VIRTIO_QUEUE_DEVICE, false);
	case COMMON_QUEUE_DEVICE + 4: return common_read_address(pci, VIRTIO_QUEUE_DEVICE, true);
	default: return 0; /* a queue's reset is over when the write returns */
	}
}

static uint64_t common_read_field(struct virtio_pci *pci, uint64_t offset)
{
	struct virtio_device *virtio = pci->virtio;

	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT: return common_selected(pci, &pci->device_features_sel);
	case COMMON_DEVICE_FEATURE:
		return virtio_features_half(virtio->features,
					    common_selected(pci, &pci->device_features_sel));
	case COMMON_DRIVER_FEATURE_SELECT: return common_selected(pci, &pci->driver_features_sel);
	case COMMON_DRIVER_FEATURE:
		return virtio_features_half(virtio->driver_features,
					    common_selected(pci, &pci->driver_features_sel));
	case COMMON_CONFIG_VECTOR: return pci->config_vector;
	case COMMON_NUM_QUEUES: return virtio->queue_count;
	case COMMON_DEVICE_STATUS: return virtio_status(virtio);
	case COMMON_CONFIG_GENERATION: return (uint8_t)virtio_config_generation(virtio);
	default: return common_read_queue(pci, offset);
	}
}

static bool common_access_is_good(struct virtio_pci *pci, uint64_t offset, unsigned size_bytes)
{
	if (common_width(offset) == size_bytes && offset < VIRTIO_PCI_COMMON_BYTES)
		return true;
	virtio_driver_error(pci->virtio, "%u bytes at 0x%llx of the common configuration are accessed",
			    size_bytes, (unsigned long long)offset);
	return false;
}

static bool common_is_address(uint64_t offset, unsigned size_bytes)
{
	return size_bytes == 8 && offset >= COMMON_QUEUE_DESC && offset < COMMON_QUEUE_NOTIFY_DATA &&
	       offset % 8 == 0;
}

uint64_t virtio_pci_common_read(struct virtio_pci *pci, uint64_t offset, unsigned size_bytes)
{
	if (common_is_address(offset, size_bytes))
		return common_read_field(pci, offset) | common_read_field(pci, offset + 4) << 32;
	return common_access_is_good(pci, offset, size_bytes) ? common_read_field(pci, offset) : 0;
}

/* 4.1.5.1.2: a vector that does not exist cannot be had, and the driver reads so. */
static uint16_t common_vector(const struct virtio_pci *pci, uint64_t value)
{
	return value < pci->function.msix.count ? (uint16_t)value : VIRTIO_PCI_NO_VECTOR;
}

static void common_write_vector(struct virtio_pci *pci, uint64_t value)
{
	uint32_t queue = common_queue(pci);

	if (queue < pci->virtio->queue_count)
		pci->queue_vector[queue] = common_vector(pci, value);
}

static void common_write_address(struct virtio_pci *pci, enum virtio_queue_field field, bool high,
				 uint64_t value)
{
	unsigned shift = high ? 32 : 0;

	virtio_queue_write(pci->virtio, common_queue(pci), field, 0xffffffffull << shift, value << shift);
}

static void common_reset_queue(struct virtio_pci *pci, uint64_t value)
{
	if (value != 1)
		return;
	if (virtio_has_feature(pci->virtio, VIRTIO_F_RING_RESET))
		virtio_queue_reset(pci->virtio, common_queue(pci));
	else
		virtio_driver_error(pci->virtio, "a queue reset was not negotiated");
}

static void common_write_queue(struct virtio_pci *pci, uint64_t offset, uint64_t value)
{
	switch (offset) {
	case COMMON_QUEUE_SELECT: common_select(pci, &pci->queue_sel, (uint32_t)value); return;
	case COMMON_QUEUE_SIZE:
		virtio_queue_write(pci->virtio, common_queue(pci), VIRTIO_QUEUE_SIZE, UINT64_MAX, value);
		return;
	case COMMON_QUEUE_VECTOR: common_write_vector(pci, value); return;
	case COMMON_QUEUE_ENABLE:
		if (value == 1) /* 4.1.4.3.2: the driver writes nothing else */
			virtio_queue_enable(pci->virtio, common_queue(pci));
		return;
	case COMMON_QUEUE_RESET: common_reset_queue(pci, value); return;
	case COMMON_QUEUE_DESC: common_write_address(pci, VIRTIO_QUEUE_DESC, false, value); return;
	case COMMON_QUEUE_DESC + 4: common_write_address(pci, VIRTIO_QUEUE_DESC, true, value); return;
	case COMMON_QUEUE_DRIVER: common_write_address(pci, VIRTIO_QUEUE_DRIVER, false, value); return;
	case COMMON_QUEUE_DRIVER + 4: common_write_address(pci, VIRTIO_QUEUE_DRIVER, true, value); return;
	case COMMON_QUEUE_DEVICE: common_write_address(pci, VIRTIO_QUEUE_DEVICE, false, value); return;
	case COMMON_QUEUE_DEVICE + 4: common_write_address(pci, VIRTIO_QUEUE_DEVICE, true, value); return;
	default: return; /* read-only */
	}
}

static void common_write_field(struct virtio_pci *pci, uint64_t offset, uint64_t value)
{
	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT:
		common_select(pci, &pci->device_features_sel, (uint32_t)value);
		return;
	case COMMON_DRIVER_FEATURE_SELECT:
		common_select(pci, &pci->driver_features_sel, (uint32_t)value);
		return;
	case COMMON_DRIVER_FEATURE:
		virtio_driver_features_write(pci->virtio, common_selected(pci, &pci->driver_features_sel),
					     (uint32_t)value);
		return;
	case COMMON_CONFIG_VECTOR: pci->config_vector = common_vector(pci, value); return;
	case COMMON_DEVICE_STATUS: virtio_status_write(pci->virtio, (uint8_t)value); return;
	default: common_write_queue(pci, offset, value); return;
	}
}

void virtio_pci_common_write(struct virtio_pci *pci, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	if (common_is_address(offset, size_bytes)) {
		common_write_field(pci, offset, (uint32_t)value);
		common_write_field(pci, offset + 4, value >> 32);
	} else if (common_access_is_good(pci, offset, size_bytes)) {
		common_write_field(pci, offset, value);
	}
}
