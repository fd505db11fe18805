/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 82093AA I/O APIC. Knows nothing of local APICs beyond the sink of messages. Intel 82093AA data sheet,
 * chapter 3. Version 0x11, without an EOI register, as KVM's: a guest may move between the two.
 *
 *   redirection entry   63      56        16     15      14     13       12      11     10     8 7      0
 *                      | dest id |  ...  |mask|trigger|R.IRR|polarity|status|logical|delivery | vector |
 *
 * Lines carry "asserted", whatever the wire would do, so the polarity bit is kept for the guest and otherwise
 * unused. An edge at a masked pin is lost (3.2.4); a level is seen when the mask opens.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/ioapic.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/irqchip_state.h"

#define IOAPIC_SIZE    0x1000
#define IOAPIC_SELECT  0x00
#define IOAPIC_WINDOW  0x10
#define IOAPIC_VERSION (0x11u | (IOAPIC_PINS - 1) << 16)

#define IOAPIC_INDEX_ID      0x00
#define IOAPIC_INDEX_VERSION 0x01
#define IOAPIC_INDEX_ARB     0x02
#define IOAPIC_INDEX_ENTRY   0x10

#define ENTRY_LOGICAL    (1ull << 11)
#define ENTRY_STATUS     (1ull << 12)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL      (1ull << 15)
#define ENTRY_MASKED     (1ull << 16)
#define ENTRY_WRITABLE   (0xff0000000001ffffull & ~ENTRY_STATUS & ~ENTRY_REMOTE_IRR)

struct ioapic {
	struct device device;
	struct ioapic_config config;
	struct bus *mmio;
	pthread_mutex_t *lock; /* the interrupt lock, for all below */
	uint8_t select;
	uint8_t id;
	bool line[IOAPIC_PINS]; /* asserted */
	uint64_t entry[IOAPIC_PINS];
	uint64_t metric_interrupts;
};

/* Only fixed and lowest-priority interrupts have levels; the rest "must be edge" (3.2.4, delivery mode). */
static bool ioapic_entry_is_level(uint64_t entry)
{
	unsigned delivery = (entry >> 8) & 7;

	return (entry & ENTRY_LEVEL) && (delivery == INTR_FIXED || delivery == INTR_LOWEST);
}

static void ioapic_send(struct ioapic *ioapic, uint64_t entry)
{
	struct intr_message message = {
		.destination = (uint32_t)(entry >> 56),
		.logical = entry & ENTRY_LOGICAL,
		.level_triggered = ioapic_entry_is_level(entry),
		.assert = true,
		.delivery = (enum intr_delivery)((entry >> 8) & 7),
		.vector = entry & 0xff,
	};

	ioapic->metric_interrupts++;
	if (ioapic->config.sink.deliver)
		ioapic->config.sink.deliver(ioapic->config.sink.opaque, &message);
}

/* Sends a level that is asserted and not yet at a CPU. */
static void ioapic_service_level(struct ioapic *ioapic, unsigned pin)
{
	uint64_t entry = ioapic->entry[pin];

	if (!ioapic->line[pin] || (entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) ||
	    !ioapic_entry_is_level(entry))
		return;
	ioapic->entry[pin] |= ENTRY_REMOTE_IRR;
	ioapic_send(ioapic, entry);
}

static void ioapic_set(void *opaque, unsigned pin, bool level)
{
	struct ioapic *ioapic = opaque;
	bool rises;

	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(ioapic->lock);
	rises = level && !ioapic->line[pin];
	ioapic->line[pin] = level;
	if (ioapic_entry_is_level(ioapic->entry[pin]))
		ioapic_service_level(ioapic, pin);
	else if (rises && !(ioapic->entry[pin] & ENTRY_MASKED))
		ioapic_send(ioapic, ioapic->entry[pin]);
	pthread_mutex_unlock(ioapic->lock);
}

struct irq_line ioapic_input(struct device *device, unsigned pin)
{
	return (struct irq_line){.set = ioapic_set, .opaque = device, .number = pin};
}

static void ioapic_eoi(void *opaque, uint8_t vector)
{
	struct ioapic *ioapic = opaque;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = ioapic->entry[pin];

		if (!(entry & ENTRY_REMOTE_IRR) || (entry & 0xff) != vector)
			continue;
		ioapic->entry[pin] &= ~ENTRY_REMOTE_IRR;
		if (ioapic->config.ended)
			ioapic->config.ended(ioapic->config.opaque, pin);
		ioapic_service_level(ioapic, pin);
	}
}

struct eoi_sink ioapic_eoi_sink(struct device *device)
{
	return (struct eoi_sink){.eoi = ioapic_eoi, .opaque = device};
}

static uint32_t ioapic_read_window(const struct ioapic *ioapic)
{
	unsigned pin = (ioapic->select - IOAPIC_INDEX_ENTRY) / 2u;

	switch (ioapic->select) {
	case IOAPIC_INDEX_ID:
	case IOAPIC_INDEX_ARB: return (uint32_t)ioapic->id << 24;
	case IOAPIC_INDEX_VERSION: return IOAPIC_VERSION;
	default: break;
	}
	if (ioapic->select < IOAPIC_INDEX_ENTRY || pin >= IOAPIC_PINS)
		return 0;
	return (uint32_t)(ioapic->entry[pin] >> (ioapic->select & 1 ? 32 : 0));
}

static void ioapic_tell_route(struct ioapic *ioapic, unsigned pin)
{
	if (ioapic->config.routed)
		ioapic->config.routed(ioapic->config.opaque, pin, ioapic->entry[pin]);
}

static void ioapic_write_entry(struct ioapic *ioapic, unsigned pin, bool high, uint32_t value)
{
	uint64_t old = ioapic->entry[pin];
	uint64_t entry = high ? (old & 0xffffffff) | (uint64_t)value << 32 : (old & ~0xffffffffull) | value;

	entry = (entry & ENTRY_WRITABLE) | (old & ENTRY_REMOTE_IRR);
	/* Remote IRR has no meaning for an edge; operating systems clear a stuck one by way of the edge mode.
	 */
	if (!(entry & ENTRY_LEVEL))
		entry &= ~ENTRY_REMOTE_IRR;
	ioapic->entry[pin] = entry;
	ioapic_tell_route(ioapic, pin);
	ioapic_service_level(ioapic, pin);
}

static void ioapic_write_window(struct ioapic *ioapic, uint32_t value)
{
	unsigned pin = (ioapic->select - IOAPIC_INDEX_ENTRY) / 2u;

	if (ioapic->select == IOAPIC_INDEX_ID)
		ioapic->id = (value >> 24) & 0xf;
	else if (ioapic->select >= IOAPIC_INDEX_ENTRY && pin < IOAPIC_PINS)
		ioapic_write_entry(ioapic, pin, ioapic->select & 1, value);
}

/* The select register answers at any width, as its upper bits are reserved; the window has 32 bits. 3.0. */
static uint64_t ioapic_mmio_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	const struct ioapic *ioapic = opaque;
	uint64_t value = 0;

	if (offset == IOAPIC_SELECT)
		value = ioapic->select;
	else if (offset == IOAPIC_WINDOW)
		value = ioapic_read_window(ioapic);
	return size_bytes >= 4 ? value : value & ((1ull << 8 * size_bytes) - 1);
}

static void ioapic_mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct ioapic *ioapic = opaque;

	if (offset == IOAPIC_SELECT)
		ioapic->select = (uint8_t)value;
	else if (offset == IOAPIC_WINDOW && size_bytes == 4)
		ioapic_write_window(ioapic, (uint32_t)value);
}

/* Lines keep their level: they belong to the devices. */
static void ioapic_reset(struct device *device)
{
	struct ioapic *ioapic = (struct ioapic *)device;

	pthread_mutex_lock(ioapic->lock);
	ioapic->select = 0;
	ioapic->id = ioapic->config.apic_id & 0xf;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		ioapic->entry[pin] = ENTRY_MASKED;
		ioapic_tell_route(ioapic, pin);
	}
	pthread_mutex_unlock(ioapic->lock);
}

_Static_assert(IOAPIC_PINS == IRQCHIP_IOAPIC_PINS, "the neutral state has as many pins");

void ioapic_state_get(struct device *device, struct ioapic_state *state)
{
	struct ioapic *ioapic = (struct ioapic *)device;

	*state = (struct ioapic_state){.select = 0};
	pthread_mutex_lock(ioapic->lock);
	state->select = ioapic->select;
	state->id = ioapic->id;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		state->entry[pin] = ioapic->entry[pin];
		state->lines |= ioapic->line[pin] ? 1u << pin : 0;
	}
	pthread_mutex_unlock(ioapic->lock);
}

void ioapic_state_set(struct device *device, const struct ioapic_state *state)
{
	struct ioapic *ioapic = (struct ioapic *)device;

	pthread_mutex_lock(ioapic->lock);
	ioapic->select = state->select;
	ioapic->id = state->id & 0xf;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t kept = ENTRY_WRITABLE | (state->entry[pin] & ENTRY_LEVEL ? ENTRY_REMOTE_IRR : 0);

		ioapic->entry[pin] = state->entry[pin] & kept;
		ioapic->line[pin] = state->lines & (1u << pin);
		ioapic_tell_route(ioapic, pin);
	}
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic_service_level(ioapic, pin);
	pthread_mutex_unlock(ioapic->lock);
}

static void ioapic_destroy(struct device *device)
{
	struct ioapic *ioapic = (struct ioapic *)device;

	bus_remove(ioapic->mmio, ioapic->config.base);
	free(ioapic);
}

static const struct state_field ioapic_state[] = {
	STATE_FIELD(STATE_U8, struct ioapic, select),
	STATE_FIELD(STATE_U8, struct ioapic, id),
	STATE_ARRAY(STATE_BOOL, struct ioapic, line, IOAPIC_PINS),
	STATE_ARRAY(STATE_U64, struct ioapic, entry, IOAPIC_PINS),
	{.name = NULL},
};

static const struct metric_field ioapic_metrics[] = {
	{"interrupts", offsetof(struct ioapic, metric_interrupts)},
	{.name = NULL},
};

static const struct device_class ioapic_class = {
	.name = "ioapic",
	.state = ioapic_state,
	.metrics = ioapic_metrics,
	.reset = ioapic_reset,
	.destroy = ioapic_destroy,
};

static const struct bus_ops ioapic_ops = {
	.read = ioapic_mmio_read, .write = ioapic_mmio_write, .size_max = 4};

struct device *ioapic_create(const struct device_env *env, const struct ioapic_config *config,
			     struct err *err)
{
	struct ioapic *ioapic = calloc(1, sizeof(*ioapic));

	if (!ioapic) {
		err_set(err, -ENOMEM, "ioapic: no memory");
		return NULL;
	}
	ioapic->device.class = &ioapic_class;
	snprintf(ioapic->device.id, sizeof(ioapic->device.id), "ioapic");
	ioapic->device.description = (struct device_description){
		.acpi_hid = "PNP0003",
		.mmio_base = config->base,
		.mmio_size = IOAPIC_SIZE,
		.irq = {-1, -1},
	};
	ioapic->config = *config;
	ioapic->mmio = env->mmio;
	ioapic->lock = env->intr_lock;
	ioapic_reset(&ioapic->device);
	if (bus_add(env->mmio,
		    &(struct bus_range){.name = "ioapic",
					.base = config->base,
					.size = IOAPIC_SIZE,
					.ops = &ioapic_ops,
					.opaque = ioapic,
					.lock = env->intr_lock},
		    err)) {
		free(ioapic);
		return NULL;
	}
	return &ioapic->device;
}
