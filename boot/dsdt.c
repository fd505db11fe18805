/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT's contents: \_S5, one device a processor, and one node a device description.
 *
 *     Scope (\_SB) { Device (C000) { _HID ACPI0007, _UID 0 } ... Device (D000) { _HID PNP0501, _UID 0, _CRS }
 * ... } Name (\_S5, Package (4) { SLP_TYPa, SLP_TYPb, 0, 0 })
 */
#include <stdio.h>
#include <string.h>

#include "boot/acpi.h"
#include "boot/aml.h"
#include "boot/boot.h"

#define DSDT_KEYBOARD_HID   "PNP0303"
#define DSDT_MOUSE_HID      "PNP0F13"
#define DSDT_ISA_IRQS       16
#define DSDT_PCI_SLOTS      32
#define DSDT_PCI_PINS       4
#define DSDT_PCI_PORTS      0xcf8
#define DSDT_PCI_PORT_COUNT 8

static void dsdt_write_processors(const struct boot_x86_config *config, struct aml *aml)
{
	char name[8];

	for (unsigned i = 0; i < config->cpu_count; i++) {
		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		aml_begin_device(aml, name);
		aml_name(aml, "_HID");
		aml_string(aml, "ACPI0007");
		aml_name(aml, "_UID");
		aml_integer(aml, i);
		aml_end(aml);
	}
}

static void dsdt_write_irq(struct aml *aml, int irq, bool is_level)
{
	if (irq >= 0 && irq < DSDT_ISA_IRQS && !is_level)
		aml_isa_irq(aml, (unsigned)irq);
	else if (irq >= 0)
		aml_interrupt(aml, (uint32_t)irq, is_level);
}

static void dsdt_write_resources(const struct device_description *device, unsigned irq_count, struct aml *aml)
{
	aml_name(aml, "_CRS");
	aml_begin_resources(aml);
	for (unsigned i = 0; i < 2; i++)
		if (device->pio_size[i])
			aml_io_ports(aml, (uint16_t)device->pio_base[i], device->pio_size[i]);
	if (device->mmio_size && device->mmio_base + device->mmio_size <= UINT32_MAX)
		aml_memory32(aml, (uint32_t)device->mmio_base, (uint32_t)device->mmio_size);
	for (unsigned i = 0; i < irq_count; i++)
		dsdt_write_irq(aml, device->irq[i], device->irq_is_level);
	aml_end_resources(aml);
}

/* _UID tells devices of one _HID apart. */
static unsigned dsdt_uid(const struct boot_x86_config *config, size_t index)
{
	unsigned uid = 0;

	for (size_t i = 0; i < index; i++)
		if (config->device[i]->acpi_hid &&
		    !strcmp(config->device[i]->acpi_hid, config->device[index]->acpi_hid))
			uid++;
	return uid;
}

static void dsdt_begin_node(struct aml *aml, unsigned number, const char *hid, unsigned uid)
{
	char name[8];

	snprintf(name, sizeof(name), "D%03X", number & 0xfff);
	aml_begin_device(aml, name);
	aml_name(aml, "_HID");
	aml_hardware_id(aml, hid);
	aml_name(aml, "_UID");
	aml_integer(aml, uid);
}

/* The mouse side of an i8042 owns nothing but the controller's second interrupt. */
static void dsdt_write_mouse(const struct device_description *controller, unsigned number, unsigned uid,
			     struct aml *aml)
{
	dsdt_begin_node(aml, number, DSDT_MOUSE_HID, uid);
	aml_name(aml, "_CRS");
	aml_begin_resources(aml);
	dsdt_write_irq(aml, controller->irq[1], controller->irq_is_level);
	aml_end_resources(aml);
	aml_end(aml);
}

static void dsdt_write_devices(const struct boot_x86_config *config, struct aml *aml)
{
	unsigned number = 0;

	for (size_t i = 0; i < config->device_count; i++) {
		const struct device_description *device = config->device[i];
		unsigned uid;
		bool is_keyboard;

		if (!device->acpi_hid)
			continue;
		uid = dsdt_uid(config, i);
		is_keyboard = !strcmp(device->acpi_hid, DSDT_KEYBOARD_HID);
		dsdt_begin_node(aml, number++, device->acpi_hid, uid);
		dsdt_write_resources(device, is_keyboard ? 1 : 2, aml);
		aml_end(aml);
		if (is_keyboard && device->irq[1] >= 0)
			dsdt_write_mouse(device, number++, uid, aml);
	}
}

/* _PRT, 6.2.13: which interrupt each pin of each slot reaches. */
static void dsdt_write_pci_interrupts(const struct boot_pci *pci, struct aml *aml)
{
	aml_name(aml, "_PRT");
	aml_begin_package(aml, DSDT_PCI_SLOTS * DSDT_PCI_PINS);
	for (unsigned slot = 0; slot < DSDT_PCI_SLOTS; slot++) {
		for (unsigned pin = 0; pin < DSDT_PCI_PINS; pin++) {
			aml_begin_package(aml, 4);
			aml_integer(aml, slot << 16 | 0xffff);
			aml_integer(aml, pin);
			aml_integer(aml, 0);
			aml_integer(aml, pci->gsi[(slot + pin) % pci->gsi_count]);
			aml_end(aml);
		}
	}
	aml_end(aml);
}

/* PCI Firmware 3.3, 4.1: buses, CONFADD and CONFDATA, and the windows of memory. */
static void dsdt_write_pci(const struct boot_pci *pci, struct aml *aml)
{
	if (!pci->ecam_gpa)
		return;
	aml_begin_device(aml, "PCI0");
	aml_name(aml, "_HID");
	aml_hardware_id(aml, "PNP0A03");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_name(aml, "_BBN");
	aml_integer(aml, 0);
	aml_name(aml, "_SEG");
	aml_integer(aml, 0);
	aml_name(aml, "_CRS");
	aml_begin_resources(aml);
	aml_bus_numbers(aml, 0, pci->last_bus);
	aml_io_ports(aml, DSDT_PCI_PORTS, DSDT_PCI_PORT_COUNT);
	aml_memory_window(aml, pci->low_gpa, pci->low_size);
	if (pci->high_size)
		aml_memory_window(aml, pci->high_gpa, pci->high_size);
	aml_end_resources(aml);
	dsdt_write_pci_interrupts(pci, aml);
	aml_end(aml);
}

void acpi_write_dsdt_body(const struct boot_x86_config *config, struct aml *aml)
{
	aml_begin_scope(aml, "_SB_");
	dsdt_write_processors(config, aml);
	dsdt_write_devices(config, aml);
	dsdt_write_pci(&config->pci, aml);
	aml_end(aml);
	aml_name(aml, "_S5_");
	aml_begin_package(aml, 4);
	aml_integer(aml, config->acpi.sleep_type_s5);
	aml_integer(aml, config->acpi.sleep_type_s5);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_end(aml);
}
