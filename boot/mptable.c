/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP floating pointer structure (4.1) and configuration table (4.2, 4.3): processors, one ISA bus, one
 * I/O APIC, the ISA interrupts, and the local ones of virtual wire mode.
 */
#include "boot/mptable.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "boot/boot.h"
#include "vmm/base/err.h"

struct mp_floating {
	char signature[4];
	uint32_t table_gpa;
	uint8_t length_paragraphs, revision, checksum, feature[5];
};

struct mp_table {
	char signature[4];
	uint16_t length;
	uint8_t revision, checksum;
	char oem_id[8], product_id[12];
	uint32_t oem_table_gpa;
	uint16_t oem_table_size, entry_count;
	uint32_t lapic_gpa;
	uint16_t extended_length;
	uint8_t extended_checksum, reserved;
};

struct mp_processor {
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features, reserved[2];
};

struct mp_bus {
	uint8_t type, id;
	char name[6];
};

struct mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t gpa;
};

struct mp_interrupt {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, irq, apic_id, pin;
};

static_assert(sizeof(struct mp_floating) == 16, "MP floating pointer");
static_assert(sizeof(struct mp_table) == 44, "MP table header");
static_assert(sizeof(struct mp_processor) == 20, "MP processor");
static_assert(sizeof(struct mp_bus) == 8, "MP bus");
static_assert(sizeof(struct mp_ioapic) == 8, "MP I/O APIC");
static_assert(sizeof(struct mp_interrupt) == 8, "MP interrupt");

enum mp_type { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_IO_INTERRUPT, MP_LOCAL_INTERRUPT };
enum mp_interrupt_kind { MP_INT = 0, MP_NMI = 1, MP_EXTINT = 3 };

#define MP_REVISION       4
#define MP_APIC_IDS       255 /* eight-bit ids, 255 is broadcast */
#define MP_APIC_VERSION   0x14
#define MP_IOAPIC_VERSION 0x11
#define MP_CPU_ENABLED    1
#define MP_CPU_BOOT       2
#define MP_CPU_SIGNATURE  0x600 /* family 6 */
#define MP_CPU_FEATURES   0x201 /* FPU and APIC on chip */
#define MP_LEVEL_HIGH     0x000d
#define MP_ALL_APICS      0xff
#define MP_ISA_IRQS       16

struct mp_area {
	uint8_t *data;
	size_t len, room;
	uint16_t entries;
	bool is_full;
};

static void mp_append(struct mp_area *area, const void *bytes, size_t len)
{
	if (area->is_full || len > area->room - area->len) {
		area->is_full = true;
		return;
	}
	memcpy(area->data + area->len, bytes, len);
	area->len += len;
	area->entries++;
}

static uint8_t mp_checksum(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	while (len--)
		sum += *at++;
	return (uint8_t)-sum;
}

static void mp_write_processors(const struct boot_x86_config *config, struct mp_area *area)
{
	for (unsigned id = 0; id < config->cpu_count && id < MP_APIC_IDS; id++) {
		struct mp_processor processor = {.type = MP_PROCESSOR,
						 .apic_id = (uint8_t)id,
						 .apic_version = MP_APIC_VERSION,
						 .flags = MP_CPU_ENABLED | (id ? 0 : MP_CPU_BOOT),
						 .signature = MP_CPU_SIGNATURE,
						 .features = MP_CPU_FEATURES};

		mp_append(area, &processor, sizeof(processor));
	}
}

/* IRQ 2 is the second PIC's; its pin carries the PIT. */
static void mp_write_ioapic(const struct boot_x86_config *config, struct mp_area *area)
{
	struct mp_bus bus = {.type = MP_BUS, .name = {'I', 'S', 'A', ' ', ' ', ' '}};
	struct mp_ioapic ioapic = {.type = MP_IOAPIC,
				   .id = config->ioapic_id,
				   .version = MP_IOAPIC_VERSION,
				   .flags = 1,
				   .gpa = (uint32_t)config->ioapic_gpa};

	mp_append(area, &bus, sizeof(bus));
	if (!config->ioapic_gpa)
		return;
	mp_append(area, &ioapic, sizeof(ioapic));
	for (unsigned irq = 0; irq < MP_ISA_IRQS; irq++) {
		struct mp_interrupt interrupt = {
			.type = MP_IO_INTERRUPT,
			.kind = MP_INT,
			.irq = (uint8_t)irq,
			.apic_id = config->ioapic_id,
			.pin = irq ? (uint8_t)irq : 2,
			.flags = !config->no_acpi && irq == config->acpi.sci_irq ? MP_LEVEL_HIGH : 0};

		if (irq != 2)
			mp_append(area, &interrupt, sizeof(interrupt));
	}
}

static void mp_write_local_interrupts(struct mp_area *area)
{
	struct mp_interrupt extint = {.type = MP_LOCAL_INTERRUPT, .kind = MP_EXTINT, .apic_id = 0, .pin = 0};
	struct mp_interrupt nmi = {
		.type = MP_LOCAL_INTERRUPT, .kind = MP_NMI, .apic_id = MP_ALL_APICS, .pin = 1};

	mp_append(area, &extint, sizeof(extint));
	mp_append(area, &nmi, sizeof(nmi));
}

static void mp_fill_headers(const struct boot_x86_config *config, uint64_t gpa, struct mp_area *area)
{
	struct mp_floating floating = {.signature = {'_', 'M', 'P', '_'},
				       .table_gpa = (uint32_t)gpa + sizeof(floating),
				       .length_paragraphs = 1,
				       .revision = MP_REVISION};
	size_t length = area->len - sizeof(floating);
	struct mp_table table = {.signature = {'P', 'C', 'M', 'P'},
				 .length = (uint16_t)length,
				 .revision = MP_REVISION,
				 .entry_count = area->entries,
				 .lapic_gpa = (uint32_t)config->lapic_gpa};

	memcpy(table.oem_id, "VMMCTL  ", sizeof(table.oem_id));
	memcpy(table.product_id, "MICROVM     ", sizeof(table.product_id));
	floating.checksum = mp_checksum(&floating, sizeof(floating));
	memcpy(area->data, &floating, sizeof(floating));
	memcpy(area->data + sizeof(floating), &table, sizeof(table));
	table.checksum = mp_checksum(area->data + sizeof(floating), length);
	memcpy(area->data + sizeof(floating), &table, sizeof(table));
}

int mptable_build(const struct boot_x86_config *config, uint64_t gpa, uint8_t *out, size_t room, size_t *len,
		  struct err *err)
{
	struct mp_area area = {.data = out, .room = room};
	uint8_t headers[sizeof(struct mp_floating) + sizeof(struct mp_table)] = {0};

	mp_append(&area, headers, sizeof(headers));
	area.entries = 0;
	mp_write_processors(config, &area);
	mp_write_ioapic(config, &area);
	mp_write_local_interrupts(&area);
	if (area.is_full)
		return err_set(err, -ENOSPC, "the MP table of %u CPUs needs more than %zu bytes",
			       config->cpu_count, room);
	mp_fill_headers(config, gpa, &area);
	*len = area.len;
	return 0;
}
