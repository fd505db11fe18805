/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flattened device tree, written from front to back with libfdt. Devicetree Specification 0.4; PCI: IEEE
 * 1275's PCI bus binding. Knows no device beyond its description.
 *
 *     / { chosen, cpus { cpu@N }, memory@GPA,
 *         soc { interrupt-controller@fec00000, interrupt-controller@fee00000, virtio_mmio@GPA ... },
 *         isa { serial@i3f8 ... }, pcie@GPA }
 *
 * Linux on x86 makes devices of what lies below nodes that are compatible with "intel,ce4100-cp", "isa" and
 * "pci" (arch/x86/kernel/devicetree.c), hence those names here.
 */
#include "boot/devtree.h"

#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "boot/plan.h"
#include "vmm/base/err.h"

#define DEVTREE_NAME_MAX   64
#define DEVTREE_CELLS_MAX  64
#define DEVTREE_PCI_PINS   4
#define DEVTREE_PCI_SLOTS  32
#define DEVTREE_PCI_MEM32  0x02000000u /* phys.hi: memory below 4 GiB */
#define DEVTREE_PCI_MEM64  0x03000000u
#define DEVTREE_IOAPIC     1u /* phandle of the only interrupt parent */
#define DEVTREE_EDGE_RISES 0u /* second cell of an interrupt, by the binding */
#define DEVTREE_LEVEL_HIGH 2u

/* The first error stays, and ends all that follows. */
struct devtree {
	void *blob;
	int code; /* 0 or -FDT_ERR_* */
};

/* Cells of a property, collected. */
struct devtree_cells {
	fdt32_t cell[DEVTREE_CELLS_MAX];
	unsigned count;
};

static void cells_add(struct devtree_cells *cells, uint32_t value)
{
	if (cells->count < DEVTREE_CELLS_MAX)
		cells->cell[cells->count++] = cpu_to_fdt32(value);
}

/* Addresses and sizes take two cells everywhere but in names of ports and of PCI. */
static void cells_add64(struct devtree_cells *cells, uint64_t value)
{
	cells_add(cells, (uint32_t)(value >> 32));
	cells_add(cells, (uint32_t)value);
}

__attribute__((format(printf, 2, 3))) static void devtree_begin(struct devtree *tree, const char *format, ...)
{
	char name[DEVTREE_NAME_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	if (tree->code == 0)
		tree->code = fdt_begin_node(tree->blob, name);
}

static void devtree_end(struct devtree *tree)
{
	if (tree->code == 0)
		tree->code = fdt_end_node(tree->blob);
}

static void devtree_bytes(struct devtree *tree, const char *name, const void *bytes, size_t len)
{
	if (tree->code == 0)
		tree->code = fdt_property(tree->blob, name, bytes, (int)len);
}

static void devtree_string(struct devtree *tree, const char *name, const char *text)
{
	devtree_bytes(tree, name, text, strlen(text) + 1);
}

static void devtree_flag(struct devtree *tree, const char *name)
{
	devtree_bytes(tree, name, NULL, 0);
}

static void devtree_u32(struct devtree *tree, const char *name, uint32_t value)
{
	const fdt32_t cell = cpu_to_fdt32(value);

	devtree_bytes(tree, name, &cell, sizeof(cell));
}

static void devtree_cells(struct devtree *tree, const char *name, const struct devtree_cells *cells)
{
	devtree_bytes(tree, name, cells->cell, cells->count * sizeof(cells->cell[0]));
}

static void devtree_reg(struct devtree *tree, uint64_t gpa, uint64_t size_bytes)
{
	struct devtree_cells cells = {.count = 0};

	cells_add64(&cells, gpa);
	cells_add64(&cells, size_bytes);
	devtree_cells(tree, "reg", &cells);
}

static void devtree_address_cells(struct devtree *tree, uint32_t address, uint32_t size)
{
	devtree_u32(tree, "#address-cells", address);
	devtree_u32(tree, "#size-cells", size);
}

static void devtree_interrupts(struct devtree *tree, const struct device_description *device)
{
	struct devtree_cells cells = {.count = 0};

	for (unsigned i = 0; i < sizeof(device->irq) / sizeof(device->irq[0]); i++) {
		if (device->irq[i] < 0)
			continue;
		cells_add(&cells, (uint32_t)device->irq[i]);
		cells_add(&cells, device->irq_is_level ? DEVTREE_LEVEL_HIGH : DEVTREE_EDGE_RISES);
	}
	if (cells.count > 0)
		devtree_cells(tree, "interrupts", &cells);
}

static void devtree_write_cpus(struct devtree *tree, const struct boot_x86_config *config)
{
	devtree_begin(tree, "cpus");
	devtree_address_cells(tree, 1, 0);
	for (unsigned id = 0; id < config->cpu_count; id++) {
		devtree_begin(tree, "cpu@%x", id);
		devtree_string(tree, "device_type", "cpu");
		devtree_u32(tree, "reg", id);
		devtree_end(tree);
	}
	devtree_end(tree);
}

static void devtree_write_memory(struct devtree *tree, const struct e820_map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		if (map->entry[i].type != E820_RAM)
			continue;
		devtree_begin(tree, "memory@%" PRIx64, map->entry[i].gpa);
		devtree_string(tree, "device_type", "memory");
		devtree_reg(tree, map->entry[i].gpa, map->entry[i].size_bytes);
		devtree_end(tree);
	}
}

static void devtree_write_apics(struct devtree *tree, const struct boot_x86_config *config)
{
	devtree_begin(tree, "interrupt-controller@%" PRIx64, config->ioapic_gpa);
	devtree_string(tree, "compatible", "intel,ce4100-ioapic");
	devtree_flag(tree, "interrupt-controller");
	devtree_u32(tree, "#interrupt-cells", 2);
	devtree_u32(tree, "#address-cells", 0);
	devtree_u32(tree, "phandle", DEVTREE_IOAPIC);
	devtree_reg(tree, config->ioapic_gpa, 0x1000);
	devtree_end(tree);
	devtree_begin(tree, "interrupt-controller@%" PRIx64, config->lapic_gpa);
	devtree_string(tree, "compatible", "intel,ce4100-lapic");
	devtree_reg(tree, config->lapic_gpa, 0x1000);
	devtree_end(tree);
}

/* The node's name says what it is: "virtio,mmio" -> virtio_mmio. Names may hold letters, digits and ,._+-. */
static void devtree_begin_device(struct devtree *tree, const struct device_description *device)
{
	char name[DEVTREE_NAME_MAX / 2];

	snprintf(name, sizeof(name), "%s", device->compatible);
	for (char *at = name; *at; at++)
		if (*at == ',')
			*at = '_';
	if (device->mmio_size)
		devtree_begin(tree, "%s@%" PRIx64, name, device->mmio_base);
	else
		devtree_begin(tree, "%s@i%" PRIx64, name, device->pio_base[0]);
	devtree_string(tree, "compatible", device->compatible);
}

static void devtree_write_soc(struct devtree *tree, const struct boot_x86_config *config)
{
	static const char compatible[] = "intel,ce4100-cp\0simple-bus";

	devtree_begin(tree, "soc");
	devtree_bytes(tree, "compatible", compatible, sizeof(compatible));
	devtree_address_cells(tree, 2, 2);
	devtree_flag(tree, "ranges");
	if (config->ioapic_gpa)
		devtree_write_apics(tree, config);
	for (size_t i = 0; i < config->device_count; i++) {
		const struct device_description *device = config->device[i];

		if (!device->compatible || !device->mmio_size)
			continue;
		devtree_begin_device(tree, device);
		devtree_reg(tree, device->mmio_base, device->mmio_size);
		devtree_interrupts(tree, device);
		devtree_end(tree);
	}
	devtree_end(tree);
}

/* Ports: the first cell of an address is 1. */
static void devtree_write_isa(struct devtree *tree, const struct boot_x86_config *config)
{
	devtree_begin(tree, "isa");
	devtree_string(tree, "compatible", "isa");
	devtree_string(tree, "device_type", "isa");
	devtree_address_cells(tree, 2, 1);
	devtree_flag(tree, "ranges");
	for (size_t i = 0; i < config->device_count; i++) {
		const struct device_description *device = config->device[i];
		struct devtree_cells cells = {.count = 0};

		if (!device->compatible || device->mmio_size || !device->pio_size[0])
			continue;
		devtree_begin_device(tree, device);
		for (unsigned port = 0; port < 2 && device->pio_size[port]; port++) {
			cells_add64(&cells, 1ull << 32 | device->pio_base[port]);
			cells_add(&cells, device->pio_size[port]);
		}
		devtree_cells(tree, "reg", &cells);
		devtree_interrupts(tree, device);
		devtree_end(tree);
	}
	devtree_end(tree);
}

/* A window at the same address on both sides. */
static void cells_add_window(struct devtree_cells *cells, uint32_t kind, uint64_t gpa, uint64_t size_bytes)
{
	if (size_bytes == 0)
		return;
	cells_add(cells, kind);
	cells_add64(cells, gpa);
	cells_add64(cells, gpa);
	cells_add64(cells, size_bytes);
}

/* Every slot's four pins: (device << 11, 0, 0), pin -> I/O APIC, GSI, level. */
static void devtree_write_interrupt_map(struct devtree *tree, const struct boot_pci *pci)
{
	fdt32_t map[DEVTREE_PCI_SLOTS * DEVTREE_PCI_PINS * 7];
	unsigned count = 0;

	for (unsigned slot = 0; slot < DEVTREE_PCI_SLOTS; slot++) {
		for (unsigned pin = 0; pin < DEVTREE_PCI_PINS; pin++) {
			const uint32_t row[] = {slot << 11,
						0,
						0,
						pin + 1,
						DEVTREE_IOAPIC,
						pci->gsi[(slot + pin) % pci->gsi_count],
						DEVTREE_LEVEL_HIGH};

			for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++)
				map[count++] = cpu_to_fdt32(row[i]);
		}
	}
	devtree_bytes(tree, "interrupt-map", map, sizeof(map));
}

static void devtree_write_pci(struct devtree *tree, const struct boot_pci *pci)
{
	static const char compatible[] = "pci-host-ecam-generic\0pci";
	struct devtree_cells buses = {.count = 0}, windows = {.count = 0}, mask = {.count = 0};

	devtree_begin(tree, "pcie@%" PRIx64, pci->ecam_gpa);
	devtree_bytes(tree, "compatible", compatible, sizeof(compatible));
	devtree_string(tree, "device_type", "pci");
	devtree_address_cells(tree, 3, 2);
	devtree_u32(tree, "#interrupt-cells", 1);
	devtree_reg(tree, pci->ecam_gpa, (pci->last_bus + 1ull) << 20);
	cells_add(&buses, 0);
	cells_add(&buses, pci->last_bus);
	devtree_cells(tree, "bus-range", &buses);
	cells_add_window(&windows, DEVTREE_PCI_MEM32, pci->low_gpa, pci->low_size);
	cells_add_window(&windows, DEVTREE_PCI_MEM64, pci->high_gpa, pci->high_size);
	devtree_cells(tree, "ranges", &windows);
	cells_add(&mask, (DEVTREE_PCI_SLOTS - 1) << 11);
	cells_add64(&mask, 0);
	cells_add(&mask, 7);
	devtree_cells(tree, "interrupt-map-mask", &mask);
	devtree_write_interrupt_map(tree, pci);
	devtree_end(tree);
}

static void devtree_write_root(struct devtree *tree, const struct boot_plan *plan)
{
	const struct boot_x86_config *config = plan->config;

	devtree_begin(tree, "%s", "");
	devtree_string(tree, "compatible", "vmmctl,microvm");
	devtree_string(tree, "model", "vmmctl microvm");
	devtree_address_cells(tree, 2, 2);
	if (config->ioapic_gpa)
		devtree_u32(tree, "interrupt-parent", DEVTREE_IOAPIC);
	devtree_begin(tree, "chosen");
	devtree_string(tree, "bootargs", plan->cmdline);
	devtree_end(tree);
	devtree_write_cpus(tree, config);
	devtree_write_memory(tree, &plan->e820);
	devtree_write_soc(tree, config);
	devtree_write_isa(tree, config);
	if (config->pci.ecam_gpa)
		devtree_write_pci(tree, &config->pci);
	devtree_end(tree);
}

int devtree_build(const struct boot_plan *plan, void *out, size_t room, size_t *len, struct err *err)
{
	struct devtree tree = {.blob = out, .code = fdt_create(out, (int)room)};

	if (tree.code == 0)
		tree.code = fdt_finish_reservemap(out);
	devtree_write_root(&tree, plan);
	if (tree.code == 0)
		tree.code = fdt_finish(out);
	if (tree.code != 0)
		return err_set(err, -ENOSPC, "device tree of %zu bytes: %s", room, fdt_strerror(tree.code));
	*len = fdt_totalsize(out);
	return 0;
}
