/* SPDX-License-Identifier: Apache-2.0 */
/* Pins that are the OR of their lines. Knows no interrupt controller. */
#include "vmm/core/irq_router.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vmm/base/err.h"

/* A line's number: the pin and which of its lines. */
#define LINE_PIN(number)         ((number) / IRQ_ROUTER_SOURCES)
#define LINE_SOURCE(number)      ((number) % IRQ_ROUTER_SOURCES)
#define LINE_NUMBER(pin, source) ((pin)*IRQ_ROUTER_SOURCES + (source))

struct irq_router_pin {
	uint32_t given;  /* bit n: line n was given out */
	uint32_t raised; /* bit n: line n is high */
};

struct irq_router {
	pthread_mutex_t lock; /* guards all; board lock -> this -> interrupt lock */
	struct irq_line output;
	struct irq_router_pin pin[IRQ_ROUTER_PINS];
};

struct irq_router *irq_router_create(void)
{
	struct irq_router *router = calloc(1, sizeof(*router));

	if (router)
		pthread_mutex_init(&router->lock, NULL);
	return router;
}

void irq_router_destroy(struct irq_router *router)
{
	if (!router)
		return;
	pthread_mutex_destroy(&router->lock);
	free(router);
}

static void irq_router_set(void *opaque, unsigned number, bool level)
{
	struct irq_router *router = opaque;
	struct irq_router_pin *pin = &router->pin[LINE_PIN(number)];
	uint32_t bit = 1u << LINE_SOURCE(number);
	uint32_t before;

	pthread_mutex_lock(&router->lock);
	before = pin->raised;
	pin->raised = level ? before | bit : before & ~bit;
	if ((before != 0) != (pin->raised != 0) && router->output.set)
		router->output.set(router->output.opaque, LINE_PIN(number), pin->raised != 0);
	pthread_mutex_unlock(&router->lock);
}

struct irq_line irq_router_line(struct irq_router *router, unsigned pin, struct err *err)
{
	struct irq_line line = {.set = irq_router_set, .opaque = router};
	uint32_t given;

	if (pin >= IRQ_ROUTER_PINS) {
		err_set(err, -EINVAL, "interrupt %u: there are 0 to %u", pin, IRQ_ROUTER_PINS - 1);
		return (struct irq_line){.set = NULL};
	}
	pthread_mutex_lock(&router->lock);
	given = router->pin[pin].given;
	if (given != UINT32_MAX) {
		line.number = LINE_NUMBER(pin, (unsigned)__builtin_ctz(~given));
		router->pin[pin].given |= 1u << LINE_SOURCE(line.number);
	}
	pthread_mutex_unlock(&router->lock);
	if (given != UINT32_MAX)
		return line;
	err_set(err, -ENOSPC, "interrupt %u has %u users already", pin, IRQ_ROUTER_SOURCES);
	return (struct irq_line){.set = NULL};
}

void irq_router_release(struct irq_router *router, const struct irq_line *line)
{
	if (line->set != irq_router_set)
		return;
	irq_line_set(line, false);
	pthread_mutex_lock(&router->lock);
	router->pin[LINE_PIN(line->number)].given &= ~(1u << LINE_SOURCE(line->number));
	pthread_mutex_unlock(&router->lock);
}

void irq_router_connect(struct irq_router *router, const struct irq_line *output)
{
	pthread_mutex_lock(&router->lock);
	router->output = *output;
	pthread_mutex_unlock(&router->lock);
}

static uint32_t irq_router_levels_held(const struct irq_router *router)
{
	uint32_t levels = 0;

	for (unsigned pin = 0; pin < IRQ_ROUTER_PINS; pin++)
		levels |= (router->pin[pin].raised != 0) ? 1u << pin : 0;
	return levels;
}

uint32_t irq_router_levels(struct irq_router *router)
{
	uint32_t levels;

	pthread_mutex_lock(&router->lock);
	levels = irq_router_levels_held(router);
	pthread_mutex_unlock(&router->lock);
	return levels;
}

void irq_router_hold(struct irq_router *router, void (*fn)(void *opaque, uint32_t levels), void *opaque)
{
	pthread_mutex_lock(&router->lock);
	fn(opaque, irq_router_levels_held(router));
	pthread_mutex_unlock(&router->lock);
}
