/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and stopping the queues of a device, for virtio*.c only. A vCPU's thread, virtio.lock held. */
#pragma once

#include "devices/virtio/virtio.h"

/* Queues, kick eventfds and their watches; what was made is undone by _destroy_. */
int virtio_queues_create(struct virtio_device *virtio, const struct virtio_init *init, struct err *err);
void virtio_queues_destroy(struct virtio_device *virtio);

/* Starts all enabled queues and calls ops->activate, resp. ops->resume. */
void virtio_queues_activate(struct virtio_device *virtio);
void virtio_queues_resume(struct virtio_device *virtio);
/* Starts one enabled queue of an active device. */
void virtio_queues_start_one(struct virtio_device *virtio, unsigned index);
/* Stops [first, first + count), waiting until no chain is in flight. */
void virtio_queues_stop(struct virtio_device *virtio, unsigned first, unsigned count);
