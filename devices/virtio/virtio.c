/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device model: creation, features, status, reset, interrupts. Queues start and stop in virtio_queue.c,
 * the configuration space is in virtio_config.c. virtio 1.2, 2.1 - 2.4, 3.1.
 */
#include "devices/virtio/virtio.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio_queue.h"
#include "devices/virtio/virtio_transport.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

/* What the rings and the model implement for every device. */
#define VIRTIO_MODEL_FEATURES                                                                                \
	(VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) | VIRTIO_BIT(VIRTIO_F_EVENT_IDX) |                               \
	 VIRTIO_BIT(VIRTIO_F_RING_RESET))

#define VIRTIO_STATUS_DRIVERS_BITS                                                                           \
	(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK |                        \
	 VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED)

#define VIRTIO_LOG_MESSAGE_SIZE 160

const struct state_group virtio_queue_group = {
	.count_offset = offsetof(struct virtio_device, queue_count),
	.stride = sizeof(struct virtqueue),
};

static void virtio_init_locks(struct virtio_device *virtio)
{
	pthread_mutex_init(&virtio->lock, NULL);
	pthread_mutex_init(&virtio->leaf, NULL);
	pthread_mutex_init(&virtio->isr_lock, NULL);
	pthread_cond_init(&virtio->drained, NULL);
}

static void virtio_describe(struct virtio_device *virtio, const struct virtio_init *init)
{
	virtio->device.class = init->class;
	virtio->device.description = (struct device_description){.irq = {-1, -1}};
	snprintf(virtio->device.id, sizeof(virtio->device.id), "%s", init->id);
	virtio->ops = init->ops;
	virtio->type = init->type;
	virtio->queues_elsewhere = init->queues_elsewhere;
	virtio->features = init->features | VIRTIO_BIT(VIRTIO_F_VERSION_1);
	if (!init->queues_elsewhere)
		virtio->features |= VIRTIO_MODEL_FEATURES;
}

int virtio_init(struct virtio_device *virtio, const struct device_env *env, const struct virtio_init *init,
		struct err *err)
{
	int code;

	assert(init->queue_count <= VIRTIO_QUEUES_MAX && init->config_bytes <= VIRTIO_CONFIG_MAX);
	virtio_describe(virtio, init);
	virtio->env = *env;
	virtio_init_locks(virtio);
	virtio->config_bytes = (uint32_t)init->config_bytes;
	virtio->config = calloc(1, init->config_bytes + 1);
	if (!virtio->config) {
		virtio_release(virtio);
		return err_set(err, -ENOMEM, "%s: no memory", init->id);
	}
	if (init->config)
		memcpy(virtio->config, init->config, init->config_bytes);
	code = virtio_queues_create(virtio, init, err);
	if (code == 0)
		return 0;
	virtio_release(virtio);
	return err_prefix(err, "%s", init->id);
}

void virtio_release(struct virtio_device *virtio)
{
	virtio->transport = NULL;
	if (virtio->active) {
		pthread_mutex_lock(&virtio->lock);
		virtio_queues_stop(virtio, 0, virtio->queue_count);
		pthread_mutex_unlock(&virtio->lock);
	}
	virtio_queues_destroy(virtio);
	free(virtio->config);
	virtio->config = NULL;
	pthread_mutex_destroy(&virtio->lock);
	pthread_mutex_destroy(&virtio->leaf);
	pthread_mutex_destroy(&virtio->isr_lock);
	pthread_cond_destroy(&virtio->drained);
}

void virtio_offer(struct virtio_device *virtio, uint64_t features)
{
	virtio->features |= features;
}

void virtio_connect(struct virtio_device *virtio, const struct virtio_transport *transport,
		    const struct irq_line *line)
{
	virtio->line = *line;
	virtio->transport = transport;
}

static void virtio_disconnect_on_loop(void *opaque)
{
	((struct virtio_device *)opaque)->transport = NULL;
}

void virtio_disconnect(struct virtio_device *virtio)
{
	loop_call(virtio->env.io_loop, virtio_disconnect_on_loop, virtio);
	virtio->line = (struct irq_line){.set = NULL};
}

/* Interrupts. */

void virtio_isr_raise(struct virtio_device *virtio, uint32_t bits)
{
	pthread_mutex_lock(&virtio->isr_lock);
	virtio->isr |= bits;
	irq_line_set(&virtio->line, true);
	pthread_mutex_unlock(&virtio->isr_lock);
}

uint32_t virtio_isr_clear(struct virtio_device *virtio, uint32_t mask)
{
	uint32_t before;

	pthread_mutex_lock(&virtio->isr_lock);
	before = virtio->isr;
	virtio->isr &= ~mask;
	irq_line_set(&virtio->line, virtio->isr != 0);
	pthread_mutex_unlock(&virtio->isr_lock);
	return before;
}

uint32_t virtio_isr(struct virtio_device *virtio)
{
	uint32_t isr;

	pthread_mutex_lock(&virtio->isr_lock);
	isr = virtio->isr;
	pthread_mutex_unlock(&virtio->isr_lock);
	return isr;
}

void virtio_queue_interrupt(struct virtio_device *virtio, unsigned index)
{
	const struct virtio_transport *transport = virtio->transport;

	if (!transport || !virtio_is_active(virtio))
		return;
	atomic_fetch_add_explicit(&virtio->interrupts, 1, memory_order_relaxed);
	transport->queue_interrupt(transport, index);
}

/* Also of a device that needs a reset: that is how the driver learns of it (2.1.2). */
static void virtio_config_interrupt(struct virtio_device *virtio)
{
	const struct virtio_transport *transport = virtio->transport;

	if (!transport || !atomic_load(&virtio->active))
		return;
	atomic_fetch_add_explicit(&virtio->config_interrupts, 1, memory_order_relaxed);
	transport->config_interrupt(transport);
}

/* Misbehaviour. */

static void virtio_complain(struct virtio_device *virtio, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

static void virtio_complain(struct virtio_device *virtio, const char *format, va_list args)
{
	char message[VIRTIO_LOG_MESSAGE_SIZE];

	vsnprintf(message, sizeof(message), format, args);
	pthread_mutex_lock(&virtio->leaf);
	log_limited(&virtio->log_limit, LOG_WARNING, "%s: %s", virtio->device.id, message);
	pthread_mutex_unlock(&virtio->leaf);
}

void virtio_driver_error(struct virtio_device *virtio, const char *format, ...)
{
	va_list args;

	atomic_fetch_add_explicit(&virtio->driver_errors, 1, memory_order_relaxed);
	va_start(args, format);
	virtio_complain(virtio, format, args);
	va_end(args);
}

void virtio_needs_reset(struct virtio_device *virtio, const char *format, ...)
{
	va_list args;
	uint8_t before = atomic_fetch_or(&virtio->status, VIRTIO_STATUS_NEEDS_RESET);

	va_start(args, format);
	virtio_complain(virtio, format, args);
	va_end(args);
	if (!(before & VIRTIO_STATUS_NEEDS_RESET))
		virtio_config_interrupt(virtio);
}

/* Features. */

uint32_t virtio_features_half(uint64_t features, uint32_t half)
{
	return half > 1 ? 0 : (uint32_t)(features >> (32 * half));
}

void virtio_driver_features_write(struct virtio_device *virtio, uint32_t half, uint32_t value)
{
	pthread_mutex_lock(&virtio->lock);
	if (half <= 1 && !(virtio->status & VIRTIO_STATUS_FEATURES_OK)) {
		virtio->driver_features &= ~(0xffffffffull << (32 * half));
		virtio->driver_features |= (uint64_t)value << (32 * half);
	}
	pthread_mutex_unlock(&virtio->lock);
}

/* 2.2.2, 6.1: a subset of what is offered, VERSION_1 among it, and a combination that the device can serve.
 */
static bool virtio_accepts_features(struct virtio_device *virtio)
{
	uint64_t features = virtio->driver_features;

	if ((features & ~virtio->features) != 0 || !virtio_has_feature(virtio, VIRTIO_F_VERSION_1))
		return false;
	return !virtio->ops->accepts_features || virtio->ops->accepts_features(virtio, features);
}

/* Status. */

uint8_t virtio_status(const struct virtio_device *virtio)
{
	return atomic_load(&virtio->status);
}

static void virtio_reset_on_loop(void *opaque)
{
	struct virtio_device *virtio = opaque;

	if (virtio->active && virtio->ops->reset)
		virtio->ops->reset(virtio);
	for (unsigned i = 0; i < virtio->queue_count; i++)
		virtqueue_reset(&virtio->queue[i]);
	virtio->active = false;
}

/* 2.4: when it returns the device holds nothing of the driver's and sends nothing. */
static void virtio_reset_locked(struct virtio_device *virtio)
{
	if (virtio->active)
		virtio_queues_stop(virtio, 0, virtio->queue_count);
	loop_call(virtio->env.io_loop, virtio_reset_on_loop, virtio);
	virtio->driver_features = 0;
	atomic_store(&virtio->status, 0);
	virtio_isr_clear(virtio, UINT32_MAX);
	if (virtio->transport && virtio->transport->on_reset)
		virtio->transport->on_reset(virtio->transport);
	atomic_fetch_add_explicit(&virtio->resets, 1, memory_order_relaxed);
}

/* Of the bits that the driver adds, those that it may add. 3.1.1. */
static uint8_t virtio_status_allowed(struct virtio_device *virtio, uint8_t added)
{
	uint8_t before = atomic_load(&virtio->status);

	if ((added & VIRTIO_STATUS_FEATURES_OK) && !virtio_accepts_features(virtio)) {
		virtio_driver_error(virtio, "the driver wants features 0x%llx of 0x%llx",
				    (unsigned long long)virtio->driver_features,
				    (unsigned long long)virtio->features);
		added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	}
	if ((added & VIRTIO_STATUS_DRIVER_OK) && !((before | added) & VIRTIO_STATUS_FEATURES_OK)) {
		virtio_driver_error(virtio, "the driver is ready without agreement on features");
		added &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	}
	return added;
}

static void virtio_status_add_locked(struct virtio_device *virtio, uint8_t value)
{
	uint8_t added = value & VIRTIO_STATUS_DRIVERS_BITS & (uint8_t)~atomic_load(&virtio->status);

	added = virtio_status_allowed(virtio, added);
	atomic_fetch_or(&virtio->status, added);
	if (added & VIRTIO_STATUS_DRIVER_OK)
		virtio_queues_activate(virtio);
}

void virtio_status_write(struct virtio_device *virtio, uint8_t value)
{
	pthread_mutex_lock(&virtio->lock);
	if (value == 0)
		virtio_reset_locked(virtio);
	else
		virtio_status_add_locked(virtio, value);
	pthread_mutex_unlock(&virtio->lock);
}

/* The machine's side. */

void virtio_class_reset(struct device *device)
{
	struct virtio_device *virtio = (struct virtio_device *)device;

	pthread_mutex_lock(&virtio->lock);
	virtio_reset_locked(virtio);
	pthread_mutex_unlock(&virtio->lock);
}

static void virtio_pause_on_loop(void *opaque)
{
	struct virtio_device *virtio = opaque;

	virtio->ops->pause(virtio);
}

void virtio_class_pause(struct device *device)
{
	struct virtio_device *virtio = (struct virtio_device *)device;

	pthread_mutex_lock(&virtio->lock);
	if (virtio->active) {
		virtio_queues_stop(virtio, 0, virtio->queue_count);
		if (virtio->ops->pause)
			loop_call(virtio->env.io_loop, virtio_pause_on_loop, virtio);
	}
	pthread_mutex_unlock(&virtio->lock);
}

void virtio_class_resume(struct device *device)
{
	struct virtio_device *virtio = (struct virtio_device *)device;

	if (virtio->transport && virtio->transport->on_resume)
		virtio->transport->on_resume(virtio->transport);
	pthread_mutex_lock(&virtio->lock);
	pthread_mutex_lock(&virtio->isr_lock);
	irq_line_set(&virtio->line, virtio->isr != 0);
	pthread_mutex_unlock(&virtio->isr_lock);
	if (virtio->active)
		virtio_queues_resume(virtio);
	pthread_mutex_unlock(&virtio->lock);
}

/* Sizes, addresses and positions of queues are looked at when they are started. */
int virtio_class_loaded(struct device *device, struct err *err)
{
	struct virtio_device *virtio = (struct virtio_device *)device;
	uint8_t status = atomic_load(&virtio->status);

	if ((status & (VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)) &&
	    !virtio_accepts_features(virtio))
		return err_set(err, -EINVAL, "driver_features: 0x%llx of 0x%llx is no set that it accepts",
			       (unsigned long long)virtio->driver_features,
			       (unsigned long long)virtio->features);
	if (virtio->active && !(status & VIRTIO_STATUS_DRIVER_OK))
		return err_set(err, -EINVAL, "active: without a driver that is ready");
	virtio->isr &= VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG;
	return 0;
}

/* Configuration space. */

void virtio_config_set(struct virtio_device *virtio, size_t offset, const void *bytes, size_t len)
{
	pthread_mutex_lock(&virtio->leaf);
	assert(offset <= virtio->config_bytes && len <= virtio->config_bytes - offset);
	memcpy(virtio->config + offset, bytes, len);
	pthread_mutex_unlock(&virtio->leaf);
}

void virtio_config_change(struct virtio_device *virtio, size_t offset, const void *bytes, size_t len)
{
	pthread_mutex_lock(&virtio->leaf);
	assert(offset <= virtio->config_bytes && len <= virtio->config_bytes - offset);
	memcpy(virtio->config + offset, bytes, len);
	virtio->generation++;
	pthread_mutex_unlock(&virtio->leaf);
	virtio_config_interrupt(virtio);
}

void virtio_config_get(struct virtio_device *virtio, size_t offset, void *bytes, size_t len)
{
	pthread_mutex_lock(&virtio->leaf);
	assert(offset <= virtio->config_bytes && len <= virtio->config_bytes - offset);
	memcpy(bytes, virtio->config + offset, len);
	pthread_mutex_unlock(&virtio->leaf);
}

void virtio_config_read(struct virtio_device *virtio, uint64_t offset, void *bytes, size_t len)
{
	memset(bytes, 0, len);
	pthread_mutex_lock(&virtio->leaf);
	if (offset < virtio->config_bytes) {
		size_t here = virtio->config_bytes - offset < len ? virtio->config_bytes - offset : len;

		memcpy(bytes, virtio->config + offset, here);
	}
	pthread_mutex_unlock(&virtio->leaf);
}

void virtio_config_write(struct virtio_device *virtio, uint64_t offset, const void *bytes, size_t len)
{
	if (!virtio->ops->config_write || offset > virtio->config_bytes ||
	    len > virtio->config_bytes - offset)
		return;
	pthread_mutex_lock(&virtio->lock);
	virtio->ops->config_write(virtio, offset, bytes, len);
	pthread_mutex_unlock(&virtio->lock);
}

uint32_t virtio_config_generation(struct virtio_device *virtio)
{
	uint32_t generation;

	pthread_mutex_lock(&virtio->leaf);
	generation = virtio->generation;
	pthread_mutex_unlock(&virtio->leaf);
	return generation;
}
