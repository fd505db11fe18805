/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over MMIO: one device behind a page of registers, with one level-triggered interrupt.
 * virtio 1.2, 4.2. ACPI tells of it as LNRO0005.
 */
#pragma once

#include <stdint.h>

#include "vmm/core/irq.h"

struct device;
struct device_env;
struct err;
struct virtio_device;

#define VIRTIO_MMIO_SIZE 0x1000u /* a page: registers, and configuration from 0x100 on */

struct virtio_mmio_config {
	uint64_t base;
	struct irq_line irq; /* may be shared */
	int gsi;             /* of irq, for the tables */
};

/* Owns the range and the doorbells; virtio outlives it. */
struct device *virtio_mmio_create(const struct device_env *env, struct virtio_device *virtio,
				  const struct virtio_mmio_config *config, struct err *err);
