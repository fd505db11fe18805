/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wires between devices and interrupt controllers: each pin is the OR of the lines that were given out
 * for it, and somebody takes the pins' levels. Remembers every level, so that controllers that come later (a
 * kernel's, after a hand-over) can be told. Knows no controller.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/core/irq.h"

struct err;
struct irq_router;

#define IRQ_ROUTER_PINS    24 /* GSIs of one I/O APIC */
#define IRQ_ROUTER_SOURCES 32 /* lines a pin; a board shares one among a handful of devices */

struct irq_router *irq_router_create(void);
void irq_router_destroy(struct irq_router *router);

/*
 * A new line to this pin, or one whose set is NULL with err set (-EINVAL, -ENOSPC). Its set may be called by
 * any thread with the board lock held, not the interrupt lock.
 */
struct irq_line irq_router_line(struct irq_router *router, unsigned pin, struct err *err);
/* Gives the line back, low. */
void irq_router_release(struct irq_router *router, const struct irq_line *line);

/*
 * Who takes the pins: output->set(opaque, pin, level), called in the order of the changes under the router's
 * lock (between board lock and interrupt lock). Nothing is told of the levels as they are.
 */
void irq_router_connect(struct irq_router *router, const struct irq_line *output);

/* Bit n: pin n is high. */
uint32_t irq_router_levels(struct irq_router *router);

/* Calls fn with the levels while no line moves: for controllers that take over from others. */
void irq_router_hold(struct irq_router *router, void (*fn)(void *opaque, uint32_t levels), void *opaque);
