/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH entry: struct hvm_start_info version 1 and the 32-bit state at entry. Xen documentation,
 * docs/misc/pvh.pandoc, and xen/include/public/arch-x86/hvm/start_info.h.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "boot/entry.h"
#include "boot/layout.h"
#include "boot/plan.h"
#include "loader/elf.h"
#include "vmm/base/err.h"

#define PVH_START_MAGIC   0x336ec578u
#define PVH_START_VERSION 1
#define PVH_MODULE_ALIGN  4096u
#define PVH_MODULE_LIMIT  0x80000000ull /* Linux: initrd_addr_max of its 64-bit kernels */
#define PVH_CMDLINE_MAX   (LAYOUT_CMDLINE_SIZE_MAX - 1)

struct pvh_start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
	uint32_t memmap_entries, reserved;
};

struct pvh_module {
	uint64_t gpa, size_bytes, cmdline_gpa, reserved;
};

struct pvh_memmap_entry {
	uint64_t gpa, size_bytes;
	uint32_t type, reserved;
};

static_assert(sizeof(struct pvh_start_info) == 56, "hvm_start_info");
static_assert(sizeof(struct pvh_module) == 32, "hvm_modlist_entry");
static_assert(sizeof(struct pvh_memmap_entry) == 24, "hvm_memmap_table_entry");

#define PVH_MODULES_GPA (LAYOUT_PVH_INFO_GPA + 0x40)

static_assert(0x40 + MODULE_COUNT_MAX * sizeof(struct pvh_module) <= LAYOUT_PVH_INFO_SIZE, "module list");
static_assert(E820_ENTRIES_MAX * sizeof(struct pvh_memmap_entry) <= LAYOUT_PVH_MEMMAP_SIZE, "memory map");

static int pvh_claim_tables(struct boot_plan *plan, struct err *err)
{
	struct placement *placement = &plan->placement;
	int ret =
		placement_claim(placement, LAYOUT_PVH_INFO_GPA, LAYOUT_PVH_INFO_SIZE, "PVH start info", err);

	if (!ret)
		ret = placement_claim(placement, LAYOUT_PVH_MEMMAP_GPA, LAYOUT_PVH_MEMMAP_SIZE,
				      "PVH memory map", err);
	if (!ret)
		ret = placement_claim(placement, LAYOUT_CMDLINE_GPA, LAYOUT_CMDLINE_SIZE_MAX, "command line",
				      err);
	if (!ret)
		ret = placement_claim(placement, LAYOUT_MULTIBOOT_INFO_GPA, LAYOUT_MULTIBOOT_INFO_SIZE,
				      "module strings", err);
	return ret;
}

static int pvh_write_memmap(struct boot_plan *plan, struct err *err)
{
	struct pvh_memmap_entry entry[E820_ENTRIES_MAX] = {0};

	for (size_t i = 0; i < plan->e820.count; i++)
		entry[i] = (struct pvh_memmap_entry){.gpa = plan->e820.entry[i].gpa,
						     .size_bytes = plan->e820.entry[i].size_bytes,
						     .type = plan->e820.entry[i].type};
	return boot_write(plan, LAYOUT_PVH_MEMMAP_GPA, entry, plan->e820.count * sizeof(entry[0]),
			  "PVH memory map", err);
}

/* Files without command lines are one initrd in pieces; with any, each is a module of its own (a
 * hypervisor's). */
static bool pvh_has_separate_modules(const struct boot_x86_config *config)
{
	for (size_t i = 0; i < config->module_count; i++)
		if (config->module[i].cmdline)
			return true;
	return false;
}

static int pvh_load_module(struct boot_plan *plan, const struct module *module, size_t count,
			   struct pvh_module *entry, struct err *err)
{
	struct module_bounds bounds = {
		.align = PVH_MODULE_ALIGN, .floor = LAYOUT_HIGH_MEMORY_GPA, .limit = PVH_MODULE_LIMIT};
	struct module_range range;
	int ret = module_load_joined(module, count, &bounds, &plan->placement, &range, err);

	*entry = (struct pvh_module){.gpa = range.gpa, .size_bytes = range.size_bytes};
	return ret;
}

static int pvh_write_module_string(struct boot_plan *plan, const struct module *module, uint64_t *string_gpa,
				   struct pvh_module *entry, struct err *err)
{
	uint64_t end = LAYOUT_MULTIBOOT_INFO_GPA + LAYOUT_MULTIBOOT_INFO_SIZE;
	int ret;

	if (!module->cmdline)
		return 0;
	entry->cmdline_gpa = *string_gpa;
	ret = boot_write_string(plan, *string_gpa, module->cmdline, end - *string_gpa - 1,
				"module command lines", err);
	*string_gpa += strlen(module->cmdline) + 1;
	return ret;
}

static int pvh_load_modules(struct boot_plan *plan, uint32_t *count, struct err *err)
{
	const struct boot_x86_config *config = plan->config;
	struct pvh_module entry[MODULE_COUNT_MAX] = {0};
	uint64_t string_gpa = LAYOUT_MULTIBOOT_INFO_GPA;
	int ret = 0;

	*count = 0;
	if (!config->module_count)
		return 0;
	if (!pvh_has_separate_modules(config)) {
		*count = 1;
		ret = pvh_load_module(plan, config->module, config->module_count, &entry[0], err);
	}
	for (; *count < config->module_count && pvh_has_separate_modules(config) && !ret; (*count)++) {
		ret = pvh_load_module(plan, &config->module[*count], 1, &entry[*count], err);
		if (!ret)
			ret = pvh_write_module_string(plan, &config->module[*count], &string_gpa,
						      &entry[*count], err);
	}
	plan->summary.initrd_gpa = entry[0].gpa;
	plan->summary.initrd_size = entry[0].size_bytes;
	return ret ? ret
		   : boot_write(plan, PVH_MODULES_GPA, entry, *count * sizeof(entry[0]), "PVH modules", err);
}

static int pvh_write_start_info(struct boot_plan *plan, uint32_t module_count, struct err *err)
{
	struct pvh_start_info info = {.magic = PVH_START_MAGIC,
				      .version = PVH_START_VERSION,
				      .module_count = module_count,
				      .modules_gpa = module_count ? PVH_MODULES_GPA : 0,
				      .cmdline_gpa = LAYOUT_CMDLINE_GPA,
				      .rsdp_gpa = plan->rsdp_gpa,
				      .memmap_gpa = LAYOUT_PVH_MEMMAP_GPA,
				      .memmap_entries = (uint32_t)plan->e820.count};

	return boot_write(plan, LAYOUT_PVH_INFO_GPA, &info, sizeof(info), "PVH start info", err);
}

static int pvh_enter(struct boot_plan *plan, uint32_t entry_gpa, struct err *err)
{
	int ret = entry_set_protected_mode(plan->gmem, plan->bsp, entry_gpa);

	plan->bsp->gpr[X86_RBX] = LAYOUT_PVH_INFO_GPA;
	plan->summary.protocol = BOOT_PVH;
	plan->summary.entry_gpa = entry_gpa;
	return ret ? err_set(err, ret, "no guest RAM for the entry tables") : 0;
}

int boot_prepare_pvh(struct boot_plan *plan, struct err *err)
{
	struct elf_image elf;
	uint32_t module_count;
	int ret = elf_parse(&plan->image, &elf, err);

	if (ret)
		return ret;
	if (!elf.has_pvh_entry)
		return err_set(err, -ENOEXEC,
			       "%s: no PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY), use protocol linux",
			       plan->image.name);
	ret = pvh_claim_tables(plan, err);
	if (!ret)
		ret = elf_load(&plan->image, &elf, plan->gmem, &plan->placement, err);
	if (!ret)
		ret = pvh_load_modules(plan, &module_count, err);
	if (!ret)
		ret = pvh_write_memmap(plan, err);
	if (!ret)
		ret = boot_write_string(plan, LAYOUT_CMDLINE_GPA, plan->cmdline, PVH_CMDLINE_MAX,
					"command line", err);
	if (!ret)
		ret = pvh_write_start_info(plan, module_count, err);
	return ret ? ret : pvh_enter(plan, elf.pvh_entry_gpa, err);
}
