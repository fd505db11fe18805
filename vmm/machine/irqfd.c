/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Irqfds. One that the accelerator has taken is its own business until it is taken back; any other is a
 * watcher on the event loop, which raises the line or sends the message.
 *
 * A level line raised by a watcher falls when the guest has ended the interrupt: the I/O APIC tells of it
 * under the interrupt lock, where no line may be moved, so the pin is noted and the loop does the rest. An
 * interrupt taken between is one too many, which level-triggered handlers expect.
 */
#include "vmm/machine/irqfd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/core/irq_router.h"
#include "vmm/machine/parts.h"

struct irqfd {
	struct machine_irqfds *owner;
	struct irqfd *next;
	struct irqfd_config config;
	struct irq_line line;  /* unless a message */
	struct loop_fd *watch; /* NULL while the accelerator has it */
	unsigned accel_handle; /* valid while it has */
};

struct machine_irqfds {
	struct machine *machine; /* borrowed */
	struct irqfd *first;     /* main thread */
	int ended_fd;            /* eventfd: a bit was set in ended */
	struct loop_fd *ended_watch;
	_Atomic uint32_t resampled; /* bit n: GSI n has an irqfd with resample that the loop serves */
	_Atomic uint32_t ended;     /* bit n: an interrupt of GSI n was ended */
};

static void irqfd_signal(int fd)
{
	const uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));

	(void)written;
}

static bool irqfd_drain(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

static void irqfd_raise(struct irqfd *irqfd)
{
	const struct irqfd_config *config = &irqfd->config;

	if (config->is_msi)
		msi_sink_send(&irqfd->owner->machine->device_env.msi, config->msi_address, config->msi_data);
	else if (config->resample_fd >= 0)
		irq_line_set(&irqfd->line, true);
	else
		irq_line_pulse(&irqfd->line);
}

static void irqfd_on_signal(void *opaque, uint32_t epoll_events)
{
	struct irqfd *irqfd = opaque;

	if (irqfd_drain(irqfd->config.fd))
		irqfd_raise(irqfd);
}

static void irqfds_note_resampled(struct machine_irqfds *irqfds)
{
	uint32_t resampled = 0;

	for (const struct irqfd *irqfd = irqfds->first; irqfd; irqfd = irqfd->next) {
		if (irqfd->watch && !irqfd->config.is_msi && irqfd->config.resample_fd >= 0)
			resampled |= 1u << irqfd->config.line;
	}
	atomic_store(&irqfds->resampled, resampled);
}

static void irqfds_on_ended(void *opaque, uint32_t epoll_events)
{
	struct machine_irqfds *irqfds = opaque;
	uint32_t ended;

	irqfd_drain(irqfds->ended_fd);
	ended = atomic_exchange(&irqfds->ended, 0);
	for (struct irqfd *irqfd = irqfds->first; irqfd; irqfd = irqfd->next) {
		if (irqfd->config.is_msi || irqfd->config.resample_fd < 0 || !irqfd->watch ||
		    !(ended & (1u << irqfd->config.line)))
			continue;
		irq_line_set(&irqfd->line, false);
		irqfd_signal(irqfd->config.resample_fd);
	}
}

void machine_irqfds_ended(struct machine_irqfds *irqfds, unsigned gsi)
{
	if (gsi >= IRQ_ROUTER_PINS || !(atomic_load(&irqfds->resampled) & (1u << gsi)))
		return;
	atomic_fetch_or(&irqfds->ended, 1u << gsi);
	irqfd_signal(irqfds->ended_fd);
}

struct machine_irqfds *machine_irqfds_create(struct machine *machine, struct err *err)
{
	struct machine_irqfds *irqfds = calloc(1, sizeof(*irqfds));

	if (!irqfds) {
		err_set(err, -ENOMEM, "no memory for interrupts by eventfd");
		return NULL;
	}
	irqfds->machine = machine;
	irqfds->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (irqfds->ended_fd < 0)
		err_set_errno(err, -errno, "eventfd");
	else
		irqfds->ended_watch =
			loop_fd_add(machine->loop, irqfds->ended_fd, EPOLLIN, irqfds_on_ended, irqfds, err);
	if (!irqfds->ended_watch) {
		machine_irqfds_destroy(irqfds);
		return NULL;
	}
	return irqfds;
}

void machine_irqfds_destroy(struct machine_irqfds *irqfds)
{
	if (!irqfds)
		return;
	if (irqfds->ended_watch)
		loop_fd_remove(irqfds->ended_watch);
	if (irqfds->ended_fd >= 0)
		close(irqfds->ended_fd);
	free(irqfds);
}

/* False: the accelerator cannot have it. */
static bool irqfd_give(struct irqfd *irqfd)
{
	const struct machine *machine = irqfd->owner->machine;
	struct err err = {0};

	if (machine->irqchip == ACCEL_IRQCHIP_OFF || !machine->accel->irqfd_add)
		return false;
	return machine->accel->irqfd_add(machine->vm, &irqfd->config, &irqfd->accel_handle, &err) == 0;
}

static int irqfd_watch(struct irqfd *irqfd, struct err *err)
{
	irqfd->watch = loop_fd_add(irqfd->owner->machine->loop, irqfd->config.fd, EPOLLIN, irqfd_on_signal,
				   irqfd, err);
	return irqfd->watch ? 0 : err_prefix(err, "interrupt by eventfd");
}

static void irqfd_unlink(struct irqfd *irqfd)
{
	struct irqfd **at = &irqfd->owner->first;

	while (*at && *at != irqfd)
		at = &(*at)->next;
	if (*at)
		*at = irqfd->next;
}

static void irqfds_remove(void *opaque, struct irqfd *irqfd)
{
	struct machine_irqfds *irqfds = opaque;

	if (irqfd->watch)
		loop_fd_remove(irqfd->watch);
	else
		irqfds->machine->accel->irqfd_remove(irqfds->machine->vm, irqfd->accel_handle);
	irqfd_unlink(irqfd);
	irqfds_note_resampled(irqfds);
	irq_router_release(irqfds->machine->irq_router, &irqfd->line);
	free(irqfd);
}

static struct irqfd *irqfds_add(void *opaque, const struct irqfd_config *config, struct err *err)
{
	struct machine_irqfds *irqfds = opaque;
	struct irqfd *irqfd = calloc(1, sizeof(*irqfd));

	if (!irqfd) {
		err_set(err, -ENOMEM, "no memory for an interrupt by eventfd");
		return NULL;
	}
	irqfd->owner = irqfds;
	irqfd->config = *config;
	if (!config->is_msi) {
		irqfd->line = irq_router_line(irqfds->machine->irq_router, config->line, err);
		if (!irqfd->line.set) {
			free(irqfd);
			return NULL;
		}
	}
	if ((irqfds->machine->intr_home || !irqfd_give(irqfd)) && irqfd_watch(irqfd, err) < 0) {
		irq_router_release(irqfds->machine->irq_router, &irqfd->line);
		free(irqfd);
		return NULL;
	}
	irqfd->next = irqfds->first;
	irqfds->first = irqfd;
	irqfds_note_resampled(irqfds);
	return irqfd;
}

static int irqfds_update(void *opaque, struct irqfd *irqfd, uint64_t msi_address, uint32_t msi_data,
			 struct err *err)
{
	struct machine_irqfds *irqfds = opaque;

	irqfd->config.msi_address = msi_address;
	irqfd->config.msi_data = msi_data;
	if (irqfd->watch)
		return 0;
	return irqfds->machine->accel->irqfd_update(irqfds->machine->vm, irqfd->accel_handle, msi_address,
						    msi_data, err);
}

struct irqfd_maker machine_irqfds_maker(struct machine_irqfds *irqfds)
{
	return (struct irqfd_maker){
		.add = irqfds_add,
		.update = irqfds_update,
		.remove = irqfds_remove,
		.opaque = irqfds,
	};
}

/* A level is no one's during the change: its owner is asked to look again, and raises it at the new place. */
static void irqfd_resample(struct irqfd *irqfd)
{
	if (irqfd->config.is_msi || irqfd->config.resample_fd < 0)
		return;
	irq_line_set(&irqfd->line, false);
	irqfd_signal(irqfd->config.resample_fd);
}

void machine_irqfds_detach(struct machine_irqfds *irqfds)
{
	for (struct irqfd *irqfd = irqfds->first; irqfd; irqfd = irqfd->next) {
		struct err err = {0};

		if (irqfd->watch)
			continue;
		irqfds->machine->accel->irqfd_remove(irqfds->machine->vm, irqfd->accel_handle);
		if (irqfd_watch(irqfd, &err) < 0)
			log_error("%s", err.message);
		irqfd_resample(irqfd);
	}
	irqfds_note_resampled(irqfds);
}

void machine_irqfds_attach(struct machine_irqfds *irqfds)
{
	for (struct irqfd *irqfd = irqfds->first; irqfd; irqfd = irqfd->next) {
		if (!irqfd->watch || !irqfd_give(irqfd))
			continue;
		loop_fd_remove(irqfd->watch);
		irqfd->watch = NULL;
		irqfd_resample(irqfd);
	}
	irqfds_note_resampled(irqfds);
}
