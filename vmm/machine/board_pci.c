/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI on the board "microvm": where the host bridge decodes, and which interrupts its slots have.
 *
 *     0xc100_0000 - 0xdfff_ffff  BARs of 32 bits     0xe000_0000 - 0xefff_ffff  ECAM
 *     the uppermost 4 GiB of the CPU's addresses     BARs of 64 bits, unless memory lies there
 */
#include "boot/boot.h"
#include "devices/pci/host.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/parts.h"

#define BOARD_PCI_LOW_GPA   0xc1000000ull
#define BOARD_PCI_LOW_SIZE  0x1f000000ull
#define BOARD_PCI_ECAM_GPA  0xe0000000ull
#define BOARD_PCI_HIGH_SIZE (4ull << 30)
#define BOARD_PCI_LAST_BUS  255
#define BOARD_PCI_GSI_COUNT 8

/* Pins of the I/O APIC that no device of the board has. */
static const uint8_t board_pci_gsis[BOARD_PCI_GSI_COUNT] = {16, 17, 18, 19, 20, 21, 22, 23};

static uint64_t board_memory_end(const struct machine *machine)
{
	const struct gmem_region *last;
	size_t count = gmem_region_count(machine->gmem);

	if (count == 0)
		return 0;
	last = gmem_region_at(machine->gmem, count - 1);
	return last->gpa + last->size_bytes;
}

static struct pci_host_window board_high_window(const struct machine *machine)
{
	uint64_t limit = 1ull << machine->capabilities.phys_bits;
	struct pci_host_window window = {.base = limit - BOARD_PCI_HIGH_SIZE, .size = BOARD_PCI_HIGH_SIZE};

	if (limit < 4 * BOARD_PCI_HIGH_SIZE || board_memory_end(machine) > window.base)
		window.size = 0;
	return window;
}

int machine_add_pci(struct machine *machine, struct err *err)
{
	const struct pci_host_config config = {
		.ecam_base = BOARD_PCI_ECAM_GPA,
		.window = {{.base = BOARD_PCI_LOW_GPA, .size = BOARD_PCI_LOW_SIZE},
			   board_high_window(machine)},
	};

	if (machine->config.virtio_transport != VIRTIO_TRANSPORT_PCI)
		return 0;
	machine->pci_host = pci_host_create(&machine->device_env, &config, err);
	return machine_keep_device(machine, machine->pci_host, err);
}

void machine_describe_pci(const struct machine *machine, struct boot_x86_config *boot)
{
	struct pci_host_window high = board_high_window(machine);

	if (!machine->pci_host)
		return;
	boot->pci = (struct boot_pci){
		.ecam_gpa = BOARD_PCI_ECAM_GPA,
		.last_bus = BOARD_PCI_LAST_BUS,
		.low_gpa = BOARD_PCI_LOW_GPA,
		.low_size = BOARD_PCI_LOW_SIZE,
		.high_gpa = high.base,
		.high_size = high.size,
		.gsi = board_pci_gsis,
		.gsi_count = BOARD_PCI_GSI_COUNT,
	};
}

void machine_assign_pci(struct machine *machine)
{
	if (machine->pci_host)
		pci_host_assign_bars(machine->pci_host);
}

uint32_t machine_confadd_read(void *opaque)
{
	struct machine *machine = opaque;

	return machine->pci_host ? pci_host_address_read(machine->pci_host) : UINT32_MAX;
}

void machine_confadd_write(void *opaque, uint32_t value)
{
	struct machine *machine = opaque;

	if (machine->pci_host)
		pci_host_address_write(machine->pci_host, value);
}

/* A slot's line is made once, whatever comes and goes there. */
int machine_pci_line(struct machine *machine, unsigned slot, struct irq_line *line, struct err *err)
{
	struct irq_line *kept = &machine->pci_line[slot % MACHINE_PCI_SLOTS];
	int code = 0;

	if (!kept->set)
		code = machine_irq_line(machine, board_pci_gsis[slot % BOARD_PCI_GSI_COUNT], kept, err);
	*line = *kept;
	return code;
}
