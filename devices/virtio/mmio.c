/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mmio, register layout version 2. virtio 1.2, 4.2.2. Registers are 32 bits wide and accessed whole;
 * from 0x100 on lies the device's configuration, accessed in any width. Knows the device model, no device.
 */
#include "devices/virtio/mmio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio_transport.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"

#define MMIO_MAGIC   0x74726976u /* "virt" */
#define MMIO_VERSION 2u
#define MMIO_VENDOR  0x434d4d56u /* "VMMC" */

enum mmio_register {
	MMIO_MAGIC_VALUE = 0x000,
	MMIO_VERSION_NUMBER = 0x004,
	MMIO_DEVICE_ID = 0x008,
	MMIO_VENDOR_ID = 0x00c,
	MMIO_DEVICE_FEATURES = 0x010,
	MMIO_DEVICE_FEATURES_SEL = 0x014,
	MMIO_DRIVER_FEATURES = 0x020,
	MMIO_DRIVER_FEATURES_SEL = 0x024,
	MMIO_QUEUE_SEL = 0x030,
	MMIO_QUEUE_SIZE_MAX = 0x034,
	MMIO_QUEUE_SIZE = 0x038,
	MMIO_QUEUE_READY = 0x044,
	MMIO_QUEUE_NOTIFY = 0x050,
	MMIO_INTERRUPT_STATUS = 0x060,
	MMIO_INTERRUPT_ACK = 0x064,
	MMIO_STATUS = 0x070,
	MMIO_QUEUE_DESC_LOW = 0x080,
	MMIO_QUEUE_DESC_HIGH = 0x084,
	MMIO_QUEUE_DRIVER_LOW = 0x090,
	MMIO_QUEUE_DRIVER_HIGH = 0x094,
	MMIO_QUEUE_DEVICE_LOW = 0x0a0,
	MMIO_QUEUE_DEVICE_HIGH = 0x0a4,
	MMIO_SHM_LEN_LOW = 0x0b0,
	MMIO_SHM_LEN_HIGH = 0x0b4,
	MMIO_SHM_BASE_LOW = 0x0b8,
	MMIO_SHM_BASE_HIGH = 0x0bc,
	MMIO_QUEUE_RESET = 0x0c0,
	MMIO_CONFIG_GENERATION = 0x0fc,
	MMIO_CONFIG = 0x100,
};

struct virtio_mmio {
	struct device device;
	struct virtio_transport transport;
	struct virtio_device *virtio;
	struct bus *bus;
	uint64_t base;
	unsigned doorbell_count;
	pthread_mutex_t lock; /* guards the selectors; a leaf */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
};

static struct virtio_mmio *mmio_of(const struct virtio_transport *transport)
{
	return (struct virtio_mmio *)((uintptr_t)transport - offsetof(struct virtio_mmio, transport));
}

static void mmio_on_queue_interrupt(const struct virtio_transport *transport, unsigned queue)
{
	virtio_isr_raise(mmio_of(transport)->virtio, VIRTIO_ISR_QUEUE);
}

static void mmio_on_config_interrupt(const struct virtio_transport *transport)
{
	virtio_isr_raise(mmio_of(transport)->virtio, VIRTIO_ISR_CONFIG);
}

static void mmio_select(struct virtio_mmio *mmio, uint32_t *selector, uint32_t value)
{
	pthread_mutex_lock(&mmio->lock);
	*selector = value;
	pthread_mutex_unlock(&mmio->lock);
}

static uint32_t mmio_selected(struct virtio_mmio *mmio, const uint32_t *selector)
{
	uint32_t value;

	pthread_mutex_lock(&mmio->lock);
	value = *selector;
	pthread_mutex_unlock(&mmio->lock);
	return value;
}

static void mmio_on_reset(const struct virtio_transport *transport)
{
	struct virtio_mmio *mmio = mmio_of(transport);

	mmio_select(mmio, &mmio->device_features_sel, 0);
	mmio_select(mmio, &mmio->driver_features_sel, 0);
	mmio_select(mmio, &mmio->queue_sel, 0);
}

static uint32_t mmio_queue_sel(struct virtio_mmio *mmio)
{
	return mmio_selected(mmio, &mmio->queue_sel);
}

static uint32_t mmio_read_register(struct virtio_mmio *mmio, uint64_t offset)
{
	struct virtio_device *virtio = mmio->virtio;

	switch (offset) {
	case MMIO_MAGIC_VALUE: return MMIO_MAGIC;
	case MMIO_VERSION_NUMBER: return MMIO_VERSION;
	case MMIO_DEVICE_ID: return virtio->type;
	case MMIO_VENDOR_ID: return MMIO_VENDOR;
	case MMIO_DEVICE_FEATURES:
		return virtio_features_half(virtio->features,
					    mmio_selected(mmio, &mmio->device_features_sel));
	case MMIO_QUEUE_SIZE_MAX: return virtio_queue_size_max(virtio, mmio_queue_sel(mmio));
	case MMIO_QUEUE_READY: return virtio_queue_is_enabled(virtio, mmio_queue_sel(mmio));
	case MMIO_INTERRUPT_STATUS: return virtio_isr(virtio);
	case MMIO_STATUS: return virtio_status(virtio);
	case MMIO_SHM_LEN_LOW:
	case MMIO_SHM_LEN_HIGH:
	case MMIO_SHM_BASE_LOW:
	case MMIO_SHM_BASE_HIGH: return UINT32_MAX; /* there is no such region */
	case MMIO_CONFIG_GENERATION: return virtio_config_generation(virtio);
	default: return 0; /* write-only, or none */
	}
}

static void mmio_write_address(struct virtio_mmio *mmio, enum virtio_queue_field field, bool high,
			       uint32_t value)
{
	unsigned shift = high ? 32 : 0;

	virtio_queue_write(mmio->virtio, mmio_queue_sel(mmio), field, 0xffffffffull << shift,
			   (uint64_t)value << shift);
}

/* 4.2.2.2: 0 takes a queue out of use, which a device that works needs to be told of as a reset of the queue.
 */
static void mmio_write_ready(struct virtio_mmio *mmio, uint32_t value)
{
	uint32_t index = mmio_queue_sel(mmio);

	if (value & 1)
		virtio_queue_enable(mmio->virtio, index);
	else if (virtio_queue_is_enabled(mmio->virtio, index))
		virtio_queue_reset(mmio->virtio, index);
}

static void mmio_write_queue_reset(struct virtio_mmio *mmio, uint32_t value)
{
	if (!(value & 1))
		return;
	if (virtio_has_feature(mmio->virtio, VIRTIO_F_RING_RESET))
		virtio_queue_reset(mmio->virtio, mmio_queue_sel(mmio));
	else
		virtio_driver_error(mmio->virtio, "a queue reset was not negotiated");
}

static void mmio_write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	struct virtio_device *virtio = mmio->virtio;

	switch (offset) {
	case MMIO_DEVICE_FEATURES_SEL: mmio_select(mmio, &mmio->device_features_sel, value); return;
	case MMIO_DRIVER_FEATURES_SEL: mmio_select(mmio, &mmio->driver_features_sel, value); return;
	case MMIO_DRIVER_FEATURES:
		virtio_driver_features_write(virtio, mmio_selected(mmio, &mmio->driver_features_sel), value);
		return;
	case MMIO_QUEUE_SEL: mmio_select(mmio, &mmio->queue_sel, value); return;
	case MMIO_QUEUE_SIZE:
		virtio_queue_write(virtio, mmio_queue_sel(mmio), VIRTIO_QUEUE_SIZE, UINT64_MAX, value);
		return;
	case MMIO_QUEUE_READY: mmio_write_ready(mmio, value); return;
	case MMIO_QUEUE_NOTIFY: virtio_queue_notify(virtio, value); return;
	case MMIO_INTERRUPT_ACK: virtio_isr_clear(virtio, value); return;
	case MMIO_STATUS: virtio_status_write(virtio, (uint8_t)value); return;
	case MMIO_QUEUE_DESC_LOW: mmio_write_address(mmio, VIRTIO_QUEUE_DESC, false, value); return;
	case MMIO_QUEUE_DESC_HIGH: mmio_write_address(mmio, VIRTIO_QUEUE_DESC, true, value); return;
	case MMIO_QUEUE_DRIVER_LOW: mmio_write_address(mmio, VIRTIO_QUEUE_DRIVER, false, value); return;
	case MMIO_QUEUE_DRIVER_HIGH: mmio_write_address(mmio, VIRTIO_QUEUE_DRIVER, true, value); return;
	case MMIO_QUEUE_DEVICE_LOW: mmio_write_address(mmio, VIRTIO_QUEUE_DEVICE, false, value); return;
	case MMIO_QUEUE_DEVICE_HIGH: mmio_write_address(mmio, VIRTIO_QUEUE_DEVICE, true, value); return;
	case MMIO_QUEUE_RESET: mmio_write_queue_reset(mmio, value); return;
	default: return; /* read-only, or none */
	}
}

/* 4.2.2.2: registers are accessed by aligned words; anything else is the driver's mistake. */
static bool mmio_is_word(struct virtio_mmio *mmio, uint64_t offset, unsigned size_bytes)
{
	if (size_bytes == 4 && offset % 4 == 0)
		return true;
	virtio_driver_error(mmio->virtio, "%u bytes of register 0x%llx are accessed", size_bytes,
			    (unsigned long long)offset);
	return false;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct virtio_mmio *mmio = opaque;
	uint64_t value = 0;

	if (offset >= MMIO_CONFIG)
		virtio_config_read(mmio->virtio, offset - MMIO_CONFIG, &value, size_bytes);
	else if (mmio_is_word(mmio, offset, size_bytes))
		value = mmio_read_register(mmio, offset);
	return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct virtio_mmio *mmio = opaque;

	if (offset >= MMIO_CONFIG)
		virtio_config_write(mmio->virtio, offset - MMIO_CONFIG, &value, size_bytes);
	else if (mmio_is_word(mmio, offset, size_bytes))
		mmio_write_register(mmio, offset, (uint32_t)value);
}

static struct bus_doorbell mmio_doorbell(const struct virtio_mmio *mmio, unsigned queue)
{
	return (struct bus_doorbell){
		.address = mmio->base + MMIO_QUEUE_NOTIFY,
		.size_bytes = 4,
		.match = true,
		.value = queue,
		.fd = mmio->virtio->kick_fd[queue],
	};
}

/* Without a doorbell the register does the same, more slowly. */
static void mmio_add_doorbells(struct virtio_mmio *mmio)
{
	for (unsigned i = 0; i < mmio->virtio->queue_count; i++) {
		struct bus_doorbell doorbell = mmio_doorbell(mmio, i);

		if (bus_doorbell_add(mmio->bus, &doorbell, NULL) < 0)
			return;
		mmio->doorbell_count++;
	}
}

static void mmio_destroy(struct device *device)
{
	struct virtio_mmio *mmio = (struct virtio_mmio *)device;

	while (mmio->doorbell_count > 0) {
		struct bus_doorbell doorbell = mmio_doorbell(mmio, --mmio->doorbell_count);

		bus_doorbell_remove(mmio->bus, &doorbell);
	}
	bus_remove(mmio->bus, mmio->base);
	virtio_disconnect(mmio->virtio);
	pthread_mutex_destroy(&mmio->lock);
	free(mmio);
}

static const struct state_field mmio_state[] = {
	STATE_FIELD(STATE_U32, struct virtio_mmio, device_features_sel),
	STATE_FIELD(STATE_U32, struct virtio_mmio, driver_features_sel),
	STATE_FIELD(STATE_U32, struct virtio_mmio, queue_sel),
	{.name = NULL},
};

/* The selectors are reset with the device behind them. */
static const struct device_class mmio_class = {
	.name = "virtio-mmio",
	.state = mmio_state,
	.destroy = mmio_destroy,
};

static const struct bus_ops mmio_ops = {.read = mmio_read, .write = mmio_write, .size_max = 8};

static void mmio_describe(struct virtio_mmio *mmio, const struct virtio_mmio_config *config)
{
	mmio->device.class = &mmio_class;
	snprintf(mmio->device.id, sizeof(mmio->device.id), "mmio-%.26s", mmio->virtio->device.id);
	mmio->device.description = (struct device_description){
		.acpi_hid = "LNRO0005",
		.compatible = "virtio,mmio",
		.mmio_base = config->base,
		.mmio_size = VIRTIO_MMIO_SIZE,
		.irq = {config->gsi, -1},
		.irq_is_level = true,
	};
}

struct device *virtio_mmio_create(const struct device_env *env, struct virtio_device *virtio,
				  const struct virtio_mmio_config *config, struct err *err)
{
	struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));
	const struct bus_range range = {
		.name = virtio->device.id,
		.base = config->base,
		.size = VIRTIO_MMIO_SIZE,
		.ops = &mmio_ops,
		.opaque = mmio,
	};

	if (!mmio || bus_add(env->mmio, &range, err) < 0) {
		free(mmio);
		return NULL;
	}
	mmio->virtio = virtio;
	mmio->bus = env->mmio;
	mmio->base = config->base;
	pthread_mutex_init(&mmio->lock, NULL);
	mmio->transport = (struct virtio_transport){
		.queue_interrupt = mmio_on_queue_interrupt,
		.config_interrupt = mmio_on_config_interrupt,
		.on_reset = mmio_on_reset,
	};
	mmio_describe(mmio, config);
	virtio_connect(virtio, &mmio->transport, &config->irq);
	mmio_add_doorbells(mmio);
	return &mmio->device;
}
