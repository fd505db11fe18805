/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a boot, top to bottom: open the kernel, make the memory map, write what every protocol shares
 * (BIOS data area, ACPI, MP table), then hand over to the protocol that the image speaks.
 */
#include "boot/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "boot/acpi.h"
#include "boot/entry.h"
#include "boot/layout.h"
#include "boot/mptable.h"
#include "boot/plan.h"
#include "loader/elf.h"
#include "loader/flat.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define BOOT_BDA_SIZE              0x100u
#define BOOT_BDA_SERIAL_PORTS      4
#define BOOT_MSR_MTRR_DEF_TYPE     0x2ff
#define BOOT_MTRR_ENABLE_WRITEBACK 0x806 /* E (bit 11), no fixed ranges, default type 6 */

static const char *const boot_protocol_names[] = {
	[BOOT_AUTO] = "auto",           [BOOT_LINUX] = "linux", [BOOT_PVH] = "pvh",
	[BOOT_MULTIBOOT] = "multiboot", [BOOT_FLAT] = "flat",
};

int boot_protocol_from_name(const char *name, enum boot_protocol *protocol, struct err *err)
{
	for (unsigned i = BOOT_AUTO; i <= BOOT_FLAT; i++) {
		if (!strcasecmp(name, boot_protocol_names[i])) {
			*protocol = (enum boot_protocol)i;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "boot protocol \"%s\" is not one of auto, linux, pvh, multiboot, flat",
		       name);
}

const char *boot_protocol_name(enum boot_protocol protocol)
{
	return boot_protocol_names[protocol];
}

const char *boot_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int boot_write(struct boot_plan *plan, uint64_t gpa, const void *src, uint64_t len, const char *what,
	       struct err *err)
{
	if (gmem_write(plan->gmem, gpa, src, len))
		return err_set(err, -ENOSPC, "%s: no guest RAM at %#" PRIx64, what, gpa);
	return 0;
}

int boot_write_string(struct boot_plan *plan, uint64_t gpa, const char *text, uint64_t size_max,
		      const char *what, struct err *err)
{
	size_t len = strlen(text);

	if (len > size_max)
		return err_set(err, -E2BIG, "%s has %zu bytes, this kernel takes at most %" PRIu64, what, len,
			       size_max);
	return boot_write(plan, gpa, text, len + 1, what, err);
}

static int boot_check_config(const struct boot_x86_config *config, struct err *err)
{
	if (!config->cpu_count || config->cpu_count > BOOT_CPUS_MAX)
		return err_set(err, -EINVAL, "%u CPUs, 1 to %d are possible", config->cpu_count,
			       BOOT_CPUS_MAX);
	if (config->device_count > BOOT_DEVICES_MAX)
		return err_set(err, -EINVAL, "%zu devices, at most %d can be described", config->device_count,
			       BOOT_DEVICES_MAX);
	if (config->module_count > MODULE_COUNT_MAX)
		return err_set(err, -EINVAL, "%zu initrds and modules, at most %d are accepted",
			       config->module_count, MODULE_COUNT_MAX);
	return 0;
}

/* What lies in the same place whatever the protocol. */
static int boot_claim_fixed(struct boot_plan *plan, struct err *err)
{
	static const struct placement_range fixed[] = {
		{0, LAYOUT_BDA_GPA + BOOT_BDA_SIZE, "interrupt vectors and BIOS data"},
		{LAYOUT_GDT_GPA, 0x100, "GDT"},
		{LAYOUT_EBDA_GPA, LAYOUT_EBDA_SIZE, "extended BIOS data"},
		{LAYOUT_RSDP_GPA, LAYOUT_ACPI_SIZE, "ACPI tables"},
		{LAYOUT_MPTABLE_GPA, LAYOUT_MPTABLE_SIZE, "MP table"},
	};
	int ret = 0;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]) && !ret; i++)
		ret = placement_claim(&plan->placement, fixed[i].gpa, fixed[i].size_bytes, fixed[i].what,
				      err);
	return ret;
}

/* BIOS data area: serial ports, EBDA, base memory. Old kernels and memory testers look here first. */
static int boot_write_bios_data(struct boot_plan *plan, struct err *err)
{
	const struct boot_x86_config *config = plan->config;
	uint8_t bda[BOOT_BDA_SIZE] = {0}, ebda[LAYOUT_EBDA_SIZE] = {LAYOUT_EBDA_SIZE >> 10};
	uint16_t ebda_segment = LAYOUT_EBDA_GPA >> 4, base_kib = LAYOUT_EBDA_GPA >> 10,
		 equipment = 0x0002 /* FPU */;
	unsigned serials = 0;
	int ret;

	for (size_t i = 0; i < config->device_count && serials < BOOT_BDA_SERIAL_PORTS; i++) {
		const struct device_description *device = config->device[i];
		uint16_t port = (uint16_t)device->pio_base[0];

		if (device->acpi_hid && !strcmp(device->acpi_hid, "PNP0501"))
			memcpy(&bda[2 * serials++], &port, sizeof(port));
	}
	equipment |= (uint16_t)(serials << 9);
	memcpy(&bda[0x0e], &ebda_segment, sizeof(ebda_segment));
	memcpy(&bda[0x10], &equipment, sizeof(equipment));
	memcpy(&bda[0x13], &base_kib, sizeof(base_kib));
	ret = boot_write(plan, LAYOUT_BDA_GPA, bda, sizeof(bda), "BIOS data", err);
	return ret ? ret : boot_write(plan, LAYOUT_EBDA_GPA, ebda, sizeof(ebda), "extended BIOS data", err);
}

/* The whole areas are written: nothing of an earlier life of the machine may be found in them. */
static int boot_write_firmware_tables(struct boot_plan *plan, struct err *err)
{
	const struct boot_x86_config *config = plan->config;
	uint8_t *area = calloc(1, LAYOUT_ACPI_SIZE + LAYOUT_MPTABLE_SIZE);
	size_t len;
	int ret = 0;

	if (!area)
		return err_set(err, -ENOMEM, "no memory for the firmware tables");
	if (!config->no_acpi)
		ret = acpi_build(config, LAYOUT_RSDP_GPA, area, LAYOUT_ACPI_SIZE, &len, err);
	if (!ret && !config->no_mptable)
		ret = mptable_build(config, LAYOUT_MPTABLE_GPA, area + LAYOUT_ACPI_SIZE, LAYOUT_MPTABLE_SIZE,
				    &len, err);
	if (!ret)
		ret = boot_write(plan, LAYOUT_RSDP_GPA, area, LAYOUT_ACPI_SIZE + LAYOUT_MPTABLE_SIZE,
				 "firmware tables", err);
	free(area);
	plan->rsdp_gpa = config->no_acpi ? 0 : LAYOUT_RSDP_GPA;
	return ret;
}

int boot_prepare_flat(struct boot_plan *plan, struct err *err)
{
	const struct boot_x86_config *config = plan->config;
	struct flat_image flat;
	int ret = flat_parse(&plan->image, config->flat_gpa ? config->flat_gpa : LAYOUT_FLAT_GPA,
			     config->flat_entry_offset, &flat, err);

	if (!ret)
		ret = flat_load(&plan->image, &flat, plan->gmem, &plan->placement, err);
	if (ret)
		return ret;
	entry_set_real_mode(plan->bsp, (uint32_t)flat.entry_gpa);
	plan->summary.protocol = BOOT_FLAT;
	plan->summary.entry_gpa = flat.entry_gpa;
	return 0;
}

static int boot_prepare_elf(struct boot_plan *plan, struct err *err)
{
	struct elf_image elf;
	int ret = elf_parse(&plan->image, &elf, err);

	if (ret)
		return ret;
	return elf.has_pvh_entry ? boot_prepare_pvh(plan, err) : boot_prepare_linux_elf(plan, err);
}

static int boot_prepare_by_kind(struct boot_plan *plan, enum image_kind kind, struct err *err)
{
	switch (kind) {
	case IMAGE_LINUX: return boot_prepare_bzimage(plan, err);
	case IMAGE_ELF: return boot_prepare_elf(plan, err);
	case IMAGE_MULTIBOOT: return boot_prepare_multiboot(plan, err);
	case IMAGE_COMPRESSED:
		return err_set(err, -ENOEXEC, "%s: is compressed with %s: decompress it first",
			       plan->image.name, image_compression_name(&plan->image));
	case IMAGE_UNKNOWN: break;
	}
	return err_set(err, -ENOEXEC,
		       "%s: not a kernel that is known: bzImage, ELF and multiboot are; raw code needs "
		       "protocol flat",
		       plan->image.name);
}

static int boot_prepare_by_protocol(struct boot_plan *plan, struct err *err)
{
	enum image_kind kind;
	int ret = image_detect(&plan->image, &kind, err);

	if (ret)
		return ret;
	switch (plan->config->protocol) {
	case BOOT_AUTO: break;
	case BOOT_LINUX:
		return kind == IMAGE_LINUX ? boot_prepare_bzimage(plan, err)
					   : boot_prepare_linux_elf(plan, err);
	case BOOT_PVH: return boot_prepare_pvh(plan, err);
	case BOOT_MULTIBOOT: return boot_prepare_multiboot(plan, err);
	case BOOT_FLAT: return boot_prepare_flat(plan, err);
	}
	return boot_prepare_by_kind(plan, kind, err);
}

static int boot_prepare_opened(struct boot_plan *plan, struct err *err)
{
	const struct boot_x86_config *config = plan->config;
	int ret;

	placement_init(&plan->placement, plan->gmem);
	e820_build(plan->gmem, &plan->e820);
	ret = boot_claim_fixed(plan, err);
	if (!ret)
		ret = boot_write_bios_data(plan, err);
	if (!ret)
		ret = boot_write_firmware_tables(plan, err);
	if (!ret)
		ret = boot_prepare_by_protocol(plan, err);
	if (!ret && config->device_tree && plan->summary.protocol != BOOT_LINUX)
		return err_set(err, -ENOTSUP, "protocol %s has no place for a device tree, which linux has",
			       boot_protocol_name(plan->summary.protocol));
	return ret;
}

int boot_x86_prepare(struct gmem *gmem, const struct boot_x86_config *config, struct x86_cpu_state *bsp,
		     struct boot_x86_summary *summary, struct err *err)
{
	struct boot_plan plan = {.gmem = gmem,
				 .config = config,
				 .bsp = bsp,
				 .cmdline = config->cmdline ? config->cmdline : ""};
	int ret = boot_check_config(config, err);

	if (ret)
		return ret;
	ret = image_open(&plan.image, config->kernel_path, IMAGE_KERNEL_SIZE_MAX, err);
	if (ret)
		return ret;
	ret = boot_prepare_opened(&plan, err);
	image_close(&plan.image);
	if (!ret)
		boot_x86_firmware_msrs(bsp);
	if (!ret && summary)
		*summary = plan.summary;
	return ret;
}

void boot_x86_firmware_msrs(struct x86_cpu_state *cpu)
{
	for (uint32_t i = 0; i < cpu->msr_count && i < X86_STATE_MSR_MAX; i++)
		if (cpu->msr[i].index == BOOT_MSR_MTRR_DEF_TYPE)
			cpu->msr[i].value = BOOT_MTRR_ENABLE_WRITEBACK;
}
