/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a transport does with a virtio device: the registers of virtio-mmio and virtio-pci are spelled in
 * these calls. All are for vCPU threads (or a parked machine) unless they say otherwise. Devices do not
 * include this.
 */
#pragma once

#include "devices/virtio/virtio.h"

/* Embedded in a transport's own structure. Callbacks: any thread, no lock of the device's model held. */
struct virtio_transport {
	void (*queue_interrupt)(const struct virtio_transport *transport, unsigned queue);
	void (*config_interrupt)(const struct virtio_transport *transport);
	/* The driver has reset the device: forget selectors and vectors. vCPU thread, virtio.lock held. */
	void (*on_reset)(const struct virtio_transport *transport);
	/* The machine goes on, perhaps from a saved state: be ready for interrupts. Parked. May be NULL. */
	void (*on_resume)(const struct virtio_transport *transport);
};

enum virtio_isr { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

/* Gives the device its transport, once; line is where virtio_isr_raise's level goes (all zero: nowhere). */
void virtio_connect(struct virtio_device *virtio, const struct virtio_transport *transport,
		    const struct irq_line *line);
/* The transport goes away: no callback is made any more. */
void virtio_disconnect(struct virtio_device *virtio);

uint8_t virtio_status(const struct virtio_device *virtio);
/* 0 resets the device and returns when it is done; else bits are added, FEATURES_OK and DRIVER_OK if they may
 * be. */
void virtio_status_write(struct virtio_device *virtio, uint8_t value);

/* 32 of the feature bits, 0 beyond the second half. */
uint32_t virtio_features_half(uint64_t features, uint32_t half);
/* Ignored once FEATURES_OK is set. */
void virtio_driver_features_write(struct virtio_device *virtio, uint32_t half, uint32_t value);

/* A queue's set-up, unless it is enabled (or the driver is not that far): false, and nothing is changed. */
enum virtio_queue_field { VIRTIO_QUEUE_SIZE, VIRTIO_QUEUE_DESC, VIRTIO_QUEUE_DRIVER, VIRTIO_QUEUE_DEVICE };
/* mask: which bits of the field `value` has, for halves of addresses. */
bool virtio_queue_write(struct virtio_device *virtio, uint32_t index, enum virtio_queue_field field,
			uint64_t mask, uint64_t value);
uint64_t virtio_queue_read(struct virtio_device *virtio, uint32_t index, enum virtio_queue_field field);
/* Largest size of the queue, 0 when there is none of this index. */
uint16_t virtio_queue_size_max(const struct virtio_device *virtio, uint32_t index);
bool virtio_queue_is_enabled(struct virtio_device *virtio, uint32_t index);
void virtio_queue_enable(struct virtio_device *virtio, uint32_t index);
/* Stops one queue and puts it back into its reset state; returns when it is done (2.6.1). */
void virtio_queue_reset(struct virtio_device *virtio, uint32_t index);
/* The driver's notification, for a transport whose register was reached without a doorbell. Any thread. */
void virtio_queue_notify(struct virtio_device *virtio, uint32_t index);

/* Outside the space bytes read 0 and writes are dropped. */
void virtio_config_read(struct virtio_device *virtio, uint64_t offset, void *bytes, size_t len);
void virtio_config_write(struct virtio_device *virtio, uint64_t offset, const void *bytes, size_t len);
uint32_t virtio_config_generation(struct virtio_device *virtio);

/* Interrupt status, any thread: sets bits and raises the line; clears bits and lowers it when none is left.
 */
void virtio_isr_raise(struct virtio_device *virtio, uint32_t bits);
uint32_t virtio_isr_clear(struct virtio_device *virtio, uint32_t mask);
uint32_t virtio_isr(struct virtio_device *virtio);

/* The driver did what the specification forbids: counted, logged at a limited rate. Any thread. */
void virtio_driver_error(struct virtio_device *virtio, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
