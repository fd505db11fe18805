/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed ACPI tables. ACPI 6.5, 5.2: RSDP (5.2.5), RSDT (5.2.7), XSDT (5.2.8), FADT (5.2.9), FACS
 * (5.2.10), MADT (5.2.12). In memory, in this order: RSDP, FACS, DSDT, FADT, MADT, MCFG where there is PCI,
 * RSDT, XSDT.
 */
#include "boot/acpi.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "boot/aml.h"
#include "boot/boot.h"
#include "vmm/base/err.h"

#define ACPI_OEM_ID       "VMMCTL"
#define ACPI_OEM_TABLE_ID "VMMCTL  "
#define ACPI_CREATOR_ID   "VMMC"
#define ACPI_TABLE_ALIGN  64 /* the FACS asks for it */

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_gpa, length;
	uint64_t xsdt_gpa;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

/* Generic address structure, 5.2.3.2. */
struct acpi_address {
	uint8_t space, bit_width, bit_offset, access_size;
	uint64_t address;
} __attribute__((packed));

struct acpi_fadt {
	struct acpi_header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved1, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk,
		gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len, gpe1_base,
		cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct acpi_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct acpi_address x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk,
		x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk, sleep_control_reg, sleep_status_reg;
	uint64_t hypervisor_vendor;
} __attribute__((packed));

struct acpi_facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[31];
} __attribute__((packed));

struct acpi_madt {
	struct acpi_header header;
	uint32_t lapic_gpa, flags;
} __attribute__((packed));

/* Interrupt controller structures of the MADT, 5.2.12.2 - 5.2.12.13. */
struct acpi_madt_lapic {
	uint8_t type, length, processor_uid, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct acpi_madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t gpa, gsi_base;
} __attribute__((packed));

struct acpi_madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

struct acpi_madt_lapic_nmi {
	uint8_t type, length, processor_uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

struct acpi_madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t apic_id, flags, processor_uid;
} __attribute__((packed));

struct acpi_madt_x2apic_nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t processor_uid;
	uint8_t lint, reserved[3];
} __attribute__((packed));

/* PCI Firmware 3.3, 4.1.2. */
struct acpi_mcfg {
	struct acpi_header header;
	uint8_t reserved1[8];
	uint64_t ecam_gpa;
	uint16_t segment;
	uint8_t first_bus, last_bus, reserved2[4];
} __attribute__((packed));

static_assert(sizeof(struct acpi_mcfg) == 60, "MCFG of one segment");
static_assert(sizeof(struct acpi_header) == ACPI_HEADER_SIZE, "ACPI header");
static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
static_assert(offsetof(struct acpi_fadt, flags) == 112, "FADT flags");
static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT X_DSDT");
static_assert(sizeof(struct acpi_fadt) == 276, "FADT revision 6");
static_assert(sizeof(struct acpi_facs) == 64, "FACS");
static_assert(sizeof(struct acpi_madt_lapic) == 8, "MADT local APIC");
static_assert(sizeof(struct acpi_madt_ioapic) == 12, "MADT I/O APIC");
static_assert(sizeof(struct acpi_madt_override) == 10, "MADT override");
static_assert(sizeof(struct acpi_madt_lapic_nmi) == 6, "MADT local APIC NMI");
static_assert(sizeof(struct acpi_madt_x2apic) == 16, "MADT x2APIC");
static_assert(sizeof(struct acpi_madt_x2apic_nmi) == 12, "MADT x2APIC NMI");

#define ACPI_SPACE_IO         1
#define ACPI_XAPIC_IDS        255 /* ids from here on need the x2APIC structures */
#define ACPI_INTI_LEVEL_HIGH  0x000d
#define ACPI_MADT_PCAT_COMPAT 1 /* there is a pair of 8259s */
#define ACPI_CMOS_CENTURY     0x32

/* FADT flags, 5.2.9 table 5.10 */
#define ACPI_FADT_WBINVD        (1u << 0)
#define ACPI_FADT_PROC_C1       (1u << 2)
#define ACPI_FADT_SLP_BUTTON    (1u << 5) /* none as fixed hardware */
#define ACPI_FADT_FIX_RTC       (1u << 6) /* RTC wake status is not fixed hardware */
#define ACPI_FADT_TMR_VAL_EXT   (1u << 8)
#define ACPI_FADT_RESET_REG_SUP (1u << 10)
/* FADT IA-PC boot architecture, table 5.11 */
#define ACPI_BOOT_LEGACY_DEVICES (1u << 0)
#define ACPI_BOOT_8042           (1u << 1)
#define ACPI_BOOT_NO_VGA         (1u << 2)
#define ACPI_BOOT_NO_CMOS_RTC    (1u << 5)

/* The area being filled: tables are appended, each on its alignment. */
struct acpi_area {
	uint8_t *data;
	size_t len, room;
	uint64_t gpa;
	bool is_full;
};

static void *acpi_append(struct acpi_area *area, const void *bytes, size_t len)
{
	uint8_t *at = area->data + area->len;

	if (area->is_full || len > area->room - area->len) {
		area->is_full = true;
		return NULL;
	}
	memcpy(at, bytes, len);
	area->len += len;
	return at;
}

static uint32_t acpi_align(struct acpi_area *area)
{
	static const uint8_t zero[ACPI_TABLE_ALIGN];

	acpi_append(area, zero, -(area->gpa + area->len) % ACPI_TABLE_ALIGN);
	return (uint32_t)(area->gpa + area->len);
}

static uint8_t acpi_checksum(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	while (len--)
		sum += *at++;
	return (uint8_t)-sum;
}

static struct acpi_header acpi_make_header(const char *signature, uint8_t revision, size_t length)
{
	struct acpi_header header = {
		.length = (uint32_t)length, .revision = revision, .oem_revision = 1, .creator_revision = 1};

	memcpy(header.signature, signature, sizeof(header.signature));
	memcpy(header.oem_id, ACPI_OEM_ID, sizeof(header.oem_id));
	memcpy(header.oem_table_id, ACPI_OEM_TABLE_ID, sizeof(header.oem_table_id));
	memcpy(header.creator_id, ACPI_CREATOR_ID, sizeof(header.creator_id));
	return header;
}

/* Length and checksum of the table that starts at gpa and ends where the area does now. */
static void acpi_seal(struct acpi_area *area, uint32_t gpa)
{
	uint8_t *start = area->data + (gpa - area->gpa);
	uint32_t length = (uint32_t)(area->data + area->len - start);

	if (area->is_full)
		return;
	memcpy(start + offsetof(struct acpi_header, length), &length, sizeof(length));
	start[offsetof(struct acpi_header, checksum)] = 0;
	start[offsetof(struct acpi_header, checksum)] = acpi_checksum(start, length);
}

static uint32_t acpi_write_facs(struct acpi_area *area)
{
	struct acpi_facs facs = {.signature = {'F', 'A', 'C', 'S'}, .length = sizeof(facs), .version = 2};
	uint32_t gpa = acpi_align(area);

	acpi_append(area, &facs, sizeof(facs));
	return gpa;
}

static uint32_t acpi_write_dsdt(const struct boot_x86_config *config, struct acpi_area *area)
{
	struct acpi_header header = acpi_make_header("DSDT", 2, 0);
	uint32_t gpa = acpi_align(area);
	struct aml aml;

	acpi_append(area, &header, sizeof(header));
	aml_init(&aml, area->data + area->len, area->room - area->len);
	acpi_write_dsdt_body(config, &aml);
	area->len += aml.len;
	area->is_full = area->is_full || aml.is_full;
	acpi_seal(area, gpa);
	return gpa;
}

static bool acpi_has_device(const struct boot_x86_config *config, const char *hid)
{
	for (size_t i = 0; i < config->device_count; i++)
		if (config->device[i]->acpi_hid && !strcmp(config->device[i]->acpi_hid, hid))
			return true;
	return false;
}

static struct acpi_address acpi_port(uint16_t port, uint8_t bytes)
{
	if (!port)
		return (struct acpi_address){0};
	return (struct acpi_address){.space = ACPI_SPACE_IO,
				     .bit_width = (uint8_t)(bytes * 8),
				     .access_size = bytes == 4 ? 3 : bytes,
				     .address = port};
}

static void acpi_fill_fadt_ports(const struct boot_acpi_hardware *acpi, struct acpi_fadt *fadt)
{
	fadt->sci_int = acpi->sci_irq;
	fadt->pm1a_evt_blk = acpi->pm1a_event_port;
	fadt->pm1a_cnt_blk = acpi->pm1a_control_port;
	fadt->pm1_evt_len = 4;
	fadt->pm1_cnt_len = 2;
	fadt->x_pm1a_evt_blk = acpi_port(acpi->pm1a_event_port, 4);
	fadt->x_pm1a_evt_blk.access_size = 2; /* a status and an enable word */
	fadt->x_pm1a_cnt_blk = acpi_port(acpi->pm1a_control_port, 2);
	fadt->pm_tmr_blk = acpi->pm_timer_port;
	fadt->pm_tmr_len = acpi->pm_timer_port ? 4 : 0;
	fadt->x_pm_tmr_blk = acpi_port(acpi->pm_timer_port, 4);
	fadt->reset_reg = acpi_port(acpi->reset_port, 1);
	fadt->reset_value = acpi->reset_value;
}

static uint32_t acpi_write_fadt(const struct boot_x86_config *config, uint32_t facs_gpa, uint32_t dsdt_gpa,
				struct acpi_area *area)
{
	bool has_rtc = acpi_has_device(config, "PNP0B00");
	struct acpi_fadt fadt = {
		.header = acpi_make_header("FACP", 6, sizeof(fadt)),
		.firmware_ctrl = facs_gpa,
		.x_firmware_ctrl = facs_gpa, /* both, as for the DSDT: readers compare them */
		.dsdt = dsdt_gpa,
		.x_dsdt = dsdt_gpa,
		.minor_version = 5,
		.p_lvl2_lat = 101,
		.p_lvl3_lat = 1001, /* greater than 100 and 1000: no C2, no C3 */
		.century = has_rtc ? ACPI_CMOS_CENTURY : 0,
		.iapc_boot_arch = (uint16_t)(ACPI_BOOT_LEGACY_DEVICES | ACPI_BOOT_NO_VGA |
					     (acpi_has_device(config, "PNP0303") ? ACPI_BOOT_8042 : 0) |
					     (has_rtc ? 0 : ACPI_BOOT_NO_CMOS_RTC)),
		.flags = ACPI_FADT_WBINVD | ACPI_FADT_PROC_C1 | ACPI_FADT_SLP_BUTTON | ACPI_FADT_FIX_RTC |
			 (config->acpi.pm_timer_is_32bit ? ACPI_FADT_TMR_VAL_EXT : 0) |
			 (config->acpi.reset_port ? ACPI_FADT_RESET_REG_SUP : 0),
	};
	uint32_t gpa = acpi_align(area);

	acpi_fill_fadt_ports(&config->acpi, &fadt);
	memcpy(&fadt.hypervisor_vendor, "vmmctl\0", sizeof(fadt.hypervisor_vendor));
	acpi_append(area, &fadt, sizeof(fadt));
	acpi_seal(area, gpa);
	return gpa;
}

static void acpi_write_madt_cpus(unsigned cpu_count, struct acpi_area *area)
{
	for (unsigned id = 0; id < cpu_count && id < ACPI_XAPIC_IDS; id++) {
		struct acpi_madt_lapic lapic = {.type = 0,
						.length = sizeof(lapic),
						.processor_uid = (uint8_t)id,
						.apic_id = (uint8_t)id,
						.flags = 1};

		acpi_append(area, &lapic, sizeof(lapic));
	}
	for (unsigned id = ACPI_XAPIC_IDS; id < cpu_count; id++) {
		struct acpi_madt_x2apic x2apic = {
			.type = 9, .length = sizeof(x2apic), .apic_id = id, .flags = 1, .processor_uid = id};

		acpi_append(area, &x2apic, sizeof(x2apic));
	}
}

/* The PIT's IRQ 0 arrives at pin 2, as on every PC with an I/O APIC; the SCI is level-triggered. 5.2.12.5. */
static void acpi_write_madt_ioapic(const struct boot_x86_config *config, struct acpi_area *area)
{
	struct acpi_madt_ioapic ioapic = {.type = 1,
					  .length = sizeof(ioapic),
					  .id = config->ioapic_id,
					  .gpa = (uint32_t)config->ioapic_gpa};
	struct acpi_madt_override timer = {.type = 2, .length = sizeof(timer), .source = 0, .gsi = 2};
	struct acpi_madt_override sci = {.type = 2,
					 .length = sizeof(sci),
					 .source = config->acpi.sci_irq,
					 .gsi = config->acpi.sci_irq,
					 .flags = ACPI_INTI_LEVEL_HIGH};

	if (!config->ioapic_gpa)
		return;
	acpi_append(area, &ioapic, sizeof(ioapic));
	acpi_append(area, &timer, sizeof(timer));
	acpi_append(area, &sci, sizeof(sci));
}

static uint32_t acpi_write_madt(const struct boot_x86_config *config, struct acpi_area *area)
{
	struct acpi_madt madt = {.header = acpi_make_header("APIC", 5, 0),
				 .lapic_gpa = (uint32_t)config->lapic_gpa,
				 .flags = ACPI_MADT_PCAT_COMPAT};
	struct acpi_madt_lapic_nmi nmi = {.type = 4, .length = sizeof(nmi), .processor_uid = 0xff, .lint = 1};
	struct acpi_madt_x2apic_nmi wide_nmi = {
		.type = 10, .length = sizeof(wide_nmi), .processor_uid = UINT32_MAX, .lint = 1};
	uint32_t gpa = acpi_align(area);

	acpi_append(area, &madt, sizeof(madt));
	acpi_write_madt_cpus(config->cpu_count, area);
	acpi_write_madt_ioapic(config, area);
	acpi_append(area, &nmi, sizeof(nmi));
	if (config->cpu_count > ACPI_XAPIC_IDS)
		acpi_append(area, &wide_nmi, sizeof(wide_nmi));
	acpi_seal(area, gpa);
	return gpa;
}

static uint32_t acpi_write_mcfg(const struct boot_pci *pci, struct acpi_area *area)
{
	struct acpi_mcfg mcfg = {
		.header = acpi_make_header("MCFG", 1, sizeof(mcfg)),
		.ecam_gpa = pci->ecam_gpa,
		.last_bus = pci->last_bus,
	};
	uint32_t gpa = acpi_align(area);

	acpi_append(area, &mcfg, sizeof(mcfg));
	acpi_seal(area, gpa);
	return gpa;
}

/* RSDT with 4-byte, XSDT with 8-byte pointers. */
static uint32_t acpi_write_root(const char *signature, const uint32_t *table_gpa, size_t count,
				size_t pointer_size, struct acpi_area *area)
{
	struct acpi_header header = acpi_make_header(signature, 1, 0);
	uint32_t gpa = acpi_align(area);

	acpi_append(area, &header, sizeof(header));
	for (size_t i = 0; i < count; i++) {
		uint64_t pointer = table_gpa[i];

		acpi_append(area, &pointer, pointer_size);
	}
	acpi_seal(area, gpa);
	return gpa;
}

static void acpi_fill_rsdp(struct acpi_rsdp *rsdp, uint32_t rsdt_gpa, uint32_t xsdt_gpa)
{
	*rsdp = (struct acpi_rsdp){
		.revision = 2, .rsdt_gpa = rsdt_gpa, .length = sizeof(*rsdp), .xsdt_gpa = xsdt_gpa};
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, ACPI_OEM_ID, sizeof(rsdp->oem_id));
	rsdp->checksum = acpi_checksum(rsdp, 20);
	rsdp->extended_checksum = acpi_checksum(rsdp, sizeof(*rsdp));
}

int acpi_build(const struct boot_x86_config *config, uint64_t gpa, uint8_t *out, size_t room, size_t *len,
	       struct err *err)
{
	struct acpi_area area = {.data = out, .room = room, .gpa = gpa};
	struct acpi_rsdp rsdp = {0};
	uint32_t facs, dsdt, table[3], rsdt, xsdt;
	size_t count = 2;

	acpi_append(&area, &rsdp, sizeof(rsdp));
	facs = acpi_write_facs(&area);
	dsdt = acpi_write_dsdt(config, &area);
	table[0] = acpi_write_fadt(config, facs, dsdt, &area);
	table[1] = acpi_write_madt(config, &area);
	if (config->pci.ecam_gpa)
		table[count++] = acpi_write_mcfg(&config->pci, &area);
	rsdt = acpi_write_root("RSDT", table, count, 4, &area);
	xsdt = acpi_write_root("XSDT", table, count, 8, &area);
	if (area.is_full)
		return err_set(err, -ENOSPC,
			       "ACPI tables of %u CPUs and %zu devices need more than %zu bytes",
			       config->cpu_count, config->device_count, room);
	acpi_fill_rsdp(&rsdp, rsdt, xsdt);
	memcpy(out, &rsdp, sizeof(rsdp));
	*len = area.len;
	return 0;
}
