/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's irqfds: eventfds whose signal is an interrupt, done by the accelerator where it can, else by
 * watchers on the event loop. Knows no device and no interrupt controller.
 */
#pragma once

#include "vmm/core/irq.h"

struct err;
struct machine;
struct machine_irqfds;

/* Owned; NULL with err set. After the loop and the interrupt router. */
struct machine_irqfds *machine_irqfds_create(struct machine *machine, struct err *err);
/* Every irqfd has been removed. */
void machine_irqfds_destroy(struct machine_irqfds *irqfds);

/* What devices get as device_env.irqfds. */
struct irqfd_maker machine_irqfds_maker(struct machine_irqfds *irqfds);

/*
 * The accelerator is about to change, or has: takes all irqfds out of its hands, or gives those to it that it
 * can take. Main thread, vCPUs parked. Until an attach the loop serves them.
 */
void machine_irqfds_detach(struct machine_irqfds *irqfds);
void machine_irqfds_attach(struct machine_irqfds *irqfds);

/* The guest has ended a level-triggered interrupt of this I/O APIC pin. Any thread, any lock held. */
void machine_irqfds_ended(struct machine_irqfds *irqfds, unsigned gsi);
