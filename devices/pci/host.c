/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host bridge. The windows are two ranges of the bus that never change; which BAR an address in them
 * belongs to is the bridge's own table, under a read-write lock, so that a guest may move BARs while others
 * are accessed. Knows functions by vmm/core/pci.h only.
 *
 * Locks, outermost first: bus.config_lock, map_lock. A function's bar_read and bar_write run under map_lock
 * (read), so they must not touch configuration space; a write of the map waits until they have returned.
 */
#include "devices/pci/host.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/pci.h"

#define HOST_VENDOR_ID      0x1b36 /* Red Hat, who lend these numbers to virtual machines: */
#define HOST_DEVICE_ID      0x0008 /* a host bridge without registers of its own */
#define HOST_CLASS_CODE     0x060000
#define HOST_ADDRESS_ENABLE 0x80000000u
#define HOST_MAP_MAX        (PCI_SLOTS * PCI_BARS)

struct host_mapping {
	uint64_t base, size;
	struct pci_function *function;
	unsigned bar;
};

struct host_window {
	struct pci_host *host;
	uint64_t base, size;
};

struct pci_host {
	struct device device;
	struct pci_bus bus;
	struct bus *pio, *mmio;
	struct pci_host_config config;
	struct host_window window[2];
	struct pci_function bridge;               /* slot 0 */
	struct pci_function *function[PCI_SLOTS]; /* bus.config_lock */
	uint32_t address;                         /* CONFIG_ADDRESS; bus.config_lock. Saved */
	pthread_rwlock_t map_lock;
	struct host_mapping map[HOST_MAP_MAX];
	unsigned map_count;
};

static struct pci_host *host_of(const struct pci_bus *bus)
{
	return (struct pci_host *)((uintptr_t)bus - offsetof(struct pci_host, bus));
}

/* Configuration space. */

/* What is not there reads as all ones, which is how a guest finds the end. Beyond 256 bytes there is nothing.
 */
static uint32_t host_config_read(struct pci_host *host, uint32_t slot, unsigned offset, unsigned size_bytes)
{
	uint32_t value = size_bytes == 4 ? UINT32_MAX : (1u << 8 * size_bytes) - 1;

	pthread_mutex_lock(&host->bus.config_lock);
	if (host->function[slot])
		value = offset < PCI_CONFIG_BYTES ? pci_config_read(host->function[slot], offset, size_bytes)
						  : 0;
	pthread_mutex_unlock(&host->bus.config_lock);
	return value;
}

static void host_config_write(struct pci_host *host, uint32_t slot, unsigned offset, uint32_t value,
			      unsigned size_bytes)
{
	pthread_mutex_lock(&host->bus.config_lock);
	if (host->function[slot] && offset < PCI_CONFIG_BYTES)
		pci_config_write(host->function[slot], offset, value, size_bytes);
	pthread_mutex_unlock(&host->bus.config_lock);
}

/*
 *   31 enable   23-16 bus   15-11 device   10-8 function   7-2 register
 */
static bool host_address_names(uint32_t address, uint32_t *slot, unsigned *offset)
{
	*slot = address >> 11 & 0x1f;
	*offset = address & 0xfc;
	return (address & HOST_ADDRESS_ENABLE) && (address & 0x00ff0700) == 0;
}

uint32_t pci_host_address_read(struct device *device)
{
	struct pci_host *host = (struct pci_host *)device;
	uint32_t address;

	pthread_mutex_lock(&host->bus.config_lock);
	address = host->address;
	pthread_mutex_unlock(&host->bus.config_lock);
	return address;
}

void pci_host_address_write(struct device *device, uint32_t value)
{
	struct pci_host *host = (struct pci_host *)device;

	pthread_mutex_lock(&host->bus.config_lock);
	host->address = value & 0x80fffffc; /* the rest reads 0 */
	pthread_mutex_unlock(&host->bus.config_lock);
}

/* An access of ports or ECAM that crosses a double word is no configuration access: the bus splits it by our
 * sizes. */
static bool host_is_aligned(uint64_t offset, unsigned size_bytes)
{
	return offset % 4 + size_bytes <= 4;
}

static uint64_t host_data_read(void *opaque, uint64_t at, unsigned size_bytes)
{
	struct pci_host *host = opaque;
	unsigned offset;
	uint32_t slot;

	if (!host_address_names(pci_host_address_read(&host->device), &slot, &offset))
		return UINT32_MAX;
	return host_config_read(host, slot, offset + (unsigned)at, size_bytes);
}

static void host_data_write(void *opaque, uint64_t at, uint64_t value, unsigned size_bytes)
{
	struct pci_host *host = opaque;
	unsigned offset;
	uint32_t slot;

	if (host_address_names(pci_host_address_read(&host->device), &slot, &offset))
		host_config_write(host, slot, offset + (unsigned)at, (uint32_t)value, size_bytes);
}

/*
 *   27-20 bus   19-15 device   14-12 function   11-0 register
 */
static bool host_ecam_names(uint64_t at, uint32_t *slot, unsigned *offset)
{
	*slot = (uint32_t)(at >> 15) & 0x1f;
	*offset = (unsigned)at & 0xfff;
	return (at & ~0xfffffull) == 0 && (at & 0x7000) == 0;
}

static uint64_t host_ecam_read(void *opaque, uint64_t at, unsigned size_bytes)
{
	unsigned offset;
	uint32_t slot;

	if (!host_is_aligned(at, size_bytes) || !host_ecam_names(at, &slot, &offset))
		return UINT32_MAX;
	return host_config_read(opaque, slot, offset, size_bytes);
}

static void host_ecam_write(void *opaque, uint64_t at, uint64_t value, unsigned size_bytes)
{
	unsigned offset;
	uint32_t slot;

	if (host_is_aligned(at, size_bytes) && host_ecam_names(at, &slot, &offset))
		host_config_write(opaque, slot, offset, (uint32_t)value, size_bytes);
}

/* Memory. */

/* The mapping that holds all of an access; of overlapping ones, the first slot's. map_lock held. */
static const struct host_mapping *host_map_find(const struct pci_host *host, uint64_t gpa,
						unsigned size_bytes)
{
	for (unsigned i = 0; i < host->map_count; i++) {
		const struct host_mapping *mapping = &host->map[i];

		if (gpa >= mapping->base && gpa - mapping->base < mapping->size &&
		    size_bytes <= mapping->size - (gpa - mapping->base))
			return mapping;
	}
	return NULL;
}

static uint64_t host_window_read(void *opaque, uint64_t at, unsigned size_bytes)
{
	struct host_window *window = opaque;
	struct pci_host *host = window->host;
	const struct host_mapping *mapping;
	uint64_t gpa = window->base + at, value = UINT64_MAX; /* nobody answers: master abort */

	pthread_rwlock_rdlock(&host->map_lock);
	mapping = host_map_find(host, gpa, size_bytes);
	if (mapping)
		value = mapping->function->ops->bar_read(mapping->function, mapping->bar, gpa - mapping->base,
							 size_bytes);
	pthread_rwlock_unlock(&host->map_lock);
	return value;
}

static void host_window_write(void *opaque, uint64_t at, uint64_t value, unsigned size_bytes)
{
	struct host_window *window = opaque;
	struct pci_host *host = window->host;
	const struct host_mapping *mapping;
	uint64_t gpa = window->base + at;

	pthread_rwlock_rdlock(&host->map_lock);
	mapping = host_map_find(host, gpa, size_bytes);
	if (mapping)
		mapping->function->ops->bar_write(mapping->function, mapping->bar, gpa - mapping->base, value,
						  size_bytes);
	pthread_rwlock_unlock(&host->map_lock);
}

static bool host_decodes(const struct pci_bus *bus, uint64_t base, uint64_t size)
{
	const struct pci_host *host = host_of(bus);

	for (unsigned i = 0; i < 2; i++) {
		const struct host_window *window = &host->window[i];

		if (base >= window->base && base - window->base < window->size &&
		    size <= window->size - (base - window->base))
			return true;
	}
	return false;
}

static void host_map_function(struct pci_host *host, struct pci_function *function)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (function->bar[i].size == 0 || function->bar[i].base == PCI_BAR_OFF)
			continue;
		host->map[host->map_count++] = (struct host_mapping){
			.base = function->bar[i].base,
			.size = function->bar[i].size,
			.function = function,
			.bar = i,
		};
	}
}

/* Moves are rare: the table is made anew. config_lock held. */
static void host_bars_changed(struct pci_bus *bus, struct pci_function *function)
{
	struct pci_host *host = host_of(bus);

	(void)function;
	pthread_rwlock_wrlock(&host->map_lock);
	host->map_count = 0;
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		if (host->function[i])
			host_map_function(host, host->function[i]);
	}
	pthread_rwlock_unlock(&host->map_lock);
}

static int host_attach(struct pci_bus *bus, struct pci_function *function, unsigned slot, struct err *err)
{
	struct pci_host *host = host_of(bus);
	int code = 0;

	pthread_mutex_lock(&bus->config_lock);
	if (slot >= PCI_SLOTS || host->function[slot]) {
		code = err_set(err, -EBUSY, "PCI slot %u is taken", slot);
	} else {
		host->function[slot] = function;
		function->bus = bus;
		function->slot = slot;
	}
	pthread_mutex_unlock(&bus->config_lock);
	return code;
}

static void host_detach(struct pci_bus *bus, struct pci_function *function)
{
	struct pci_host *host = host_of(bus);

	pthread_mutex_lock(&bus->config_lock);
	host->function[function->slot] = NULL;
	host_bars_changed(bus, function);
	function->bus = NULL;
	pthread_mutex_unlock(&bus->config_lock);
}

/* Firmware's work. */

/* Where a BAR of this size goes in a window whose first `used` bytes are given out; false when there is no
 * room. */
static bool host_place(const struct host_window *window, uint64_t *used, uint64_t size, uint64_t *base)
{
	uint64_t start = (window->base + *used + size - 1) & ~(size - 1);

	if (start - window->base > window->size || size > window->size - (start - window->base))
		return false;
	*base = start;
	*used = start + size - window->base;
	return true;
}

static void host_assign_function(struct pci_host *host, struct pci_function *function, uint64_t used[2])
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &function->bar[i];
		uint64_t base;

		if (bar->size == 0 ||
		    (!host_place(&host->window[0], &used[0], bar->size, &base) &&
		     !(bar->is_64bit && host_place(&host->window[1], &used[1], bar->size, &base))))
			continue;
		pci_config_write(function, PCI_BAR0 + 4 * i, (uint32_t)base, 4);
		if (bar->is_64bit)
			pci_config_write(function, PCI_BAR0 + 4 * i + 4, (uint32_t)(base >> 32), 4);
	}
	pci_config_write(function, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

void pci_host_assign_bars(struct device *device)
{
	struct pci_host *host = (struct pci_host *)device;
	uint64_t used[2] = {0};

	pthread_mutex_lock(&host->bus.config_lock);
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		if (host->function[i])
			host_assign_function(host, host->function[i], used);
	}
	pthread_mutex_unlock(&host->bus.config_lock);
}

/* Life. */

static void host_reset(struct device *device)
{
	struct pci_host *host = (struct pci_host *)device;

	pci_host_address_write(device, 0);
	pci_function_reset(&host->bridge);
}

static void host_resume(struct device *device)
{
	pci_function_resume(&((struct pci_host *)device)->bridge);
}

static void host_remove_ranges(struct pci_host *host)
{
	bus_remove(host->pio, PCI_HOST_DATA_PORT);
	bus_remove(host->mmio, host->config.ecam_base);
	for (unsigned i = 0; i < 2; i++) {
		if (host->window[i].size)
			bus_remove(host->mmio, host->window[i].base);
	}
}

static void host_free(struct pci_host *host)
{
	pci_function_release(&host->bridge);
	pthread_mutex_destroy(&host->bus.config_lock);
	pthread_rwlock_destroy(&host->map_lock);
	free(host);
}

static void host_destroy(struct device *device)
{
	struct pci_host *host = (struct pci_host *)device;

	host_remove_ranges(host);
	host_free(host);
}

static const struct state_field host_state[] = {
	STATE_FIELD(STATE_U32, struct pci_host, address),
	STATE_ARRAY(STATE_U8, struct pci_host, bridge.config, PCI_CONFIG_BYTES),
	{.name = NULL},
};

static int host_loaded(struct device *device, struct err *err)
{
	struct pci_host *host = (struct pci_host *)device;

	pci_host_address_write(device, host->address);
	pci_function_loaded(&host->bridge);
	return 0;
}

static const struct device_class host_class = {
	.name = "pci-host",
	.state = host_state,
	.reset = host_reset,
	.resume = host_resume,
	.loaded = host_loaded,
	.destroy = host_destroy,
};

static const struct bus_ops host_data_ops = {.read = host_data_read, .write = host_data_write, .size_max = 4};
static const struct bus_ops host_ecam_ops = {.read = host_ecam_read, .write = host_ecam_write, .size_max = 4};
static const struct bus_ops host_window_ops = {
	.read = host_window_read, .write = host_window_write, .size_max = 8};

static int host_add_windows(struct pci_host *host, struct err *err)
{
	int code = 0;

	for (unsigned i = 0; i < 2 && code == 0; i++) {
		host->window[i] =
			(struct host_window){host, host->config.window[i].base, host->config.window[i].size};
		if (host->window[i].size)
			code = bus_add(host->mmio,
				       &(struct bus_range){.name = "PCI memory",
							   .base = host->window[i].base,
							   .size = host->window[i].size,
							   .ops = &host_window_ops,
							   .opaque = &host->window[i]},
				       err);
		if (code < 0)
			host->window[i].size = 0;
	}
	return code;
}

/* The ranges take care of themselves: no lock of the board's. */
static int host_add_ranges(struct pci_host *host, struct err *err)
{
	const struct bus_range data = {.name = "PCI configuration",
				       .base = PCI_HOST_DATA_PORT,
				       .size = 4,
				       .ops = &host_data_ops,
				       .opaque = host};
	const struct bus_range ecam = {.name = "PCI ECAM",
				       .base = host->config.ecam_base,
				       .size = PCI_HOST_ECAM_BYTES,
				       .ops = &host_ecam_ops,
				       .opaque = host};
	int code = bus_add(host->pio, &data, err);

	if (code < 0)
		return code;
	code = bus_add(host->mmio, &ecam, err);
	if (code < 0) {
		bus_remove(host->pio, PCI_HOST_DATA_PORT);
		return code;
	}
	code = host_add_windows(host, err);
	if (code < 0)
		host_remove_ranges(host);
	return code;
}

static void host_init(struct pci_host *host)
{
	static const struct pci_function_ops no_bars = {.bar_read = NULL};
	const struct pci_identity identity = {
		.vendor_id = HOST_VENDOR_ID, .device_id = HOST_DEVICE_ID, .class_code = HOST_CLASS_CODE};

	host->device.class = &host_class;
	snprintf(host->device.id, sizeof(host->device.id), "pci-host");
	/* As a motherboard resource: a guest uses ECAM only where firmware has reserved it (PCI
	 * Firmware 3.3, 4.1.2). */
	host->device.description = (struct device_description){
		.acpi_hid = "PNP0C02",
		.mmio_base = host->config.ecam_base,
		.mmio_size = PCI_HOST_ECAM_BYTES,
		.irq = {-1, -1},
	};
	pthread_mutex_init(&host->bus.config_lock, NULL);
	pthread_rwlock_init(&host->map_lock, NULL);
	host->bus.attach = host_attach;
	host->bus.detach = host_detach;
	host->bus.decodes = host_decodes;
	host->bus.bars_changed = host_bars_changed;
	pci_function_init(&host->bridge, &identity, &no_bars);
	host_attach(&host->bus, &host->bridge, 0, NULL);
}

struct device *pci_host_create(const struct device_env *env, const struct pci_host_config *config,
			       struct err *err)
{
	struct pci_host *host = calloc(1, sizeof(*host));

	if (!host) {
		err_set(err, -ENOMEM, "no memory for a PCI host bridge");
		return NULL;
	}
	host->pio = env->pio;
	host->mmio = env->mmio;
	host->config = *config;
	host_init(host);
	if (host_add_ranges(host, err) < 0) {
		host_free(host);
		return NULL;
	}
	return &host->device;
}

struct pci_bus *pci_host_bus(struct device *device)
{
	return &((struct pci_host *)device)->bus;
}
