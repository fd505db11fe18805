/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The multiboot information structure and machine state. Multiboot Specification 0.6.96, 3.2 and 3.3.
 *
 *     LAYOUT_MULTIBOOT_INFO_GPA   information, module list, memory map, then strings, each ended by a zero
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "boot/entry.h"
#include "boot/layout.h"
#include "boot/plan.h"
#include "loader/multiboot.h"
#include "vmm/base/err.h"

#define MULTIBOOT_LOADER_MAGIC 0x2badb002u
#define MULTIBOOT_INFO_MEMORY  0x001u
#define MULTIBOOT_INFO_CMDLINE 0x004u
#define MULTIBOOT_INFO_MODULES 0x008u
#define MULTIBOOT_INFO_MEMMAP  0x040u
#define MULTIBOOT_INFO_NAME    0x200u
#define MULTIBOOT_MODULE_ALIGN 4096u
#define MULTIBOOT_LOADER_NAME  "vmmctl"

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower_kib, mem_upper_kib;
	uint32_t boot_device;
	uint32_t cmdline_gpa;
	uint32_t module_count, modules_gpa;
	uint32_t symbols[4];
	uint32_t memmap_size, memmap_gpa;
	uint32_t drives_size, drives_gpa;
	uint32_t config_table;
	uint32_t boot_loader_name_gpa;
	uint32_t apm_table;
	uint32_t vbe[4];
	uint32_t framebuffer[7];
};

struct multiboot_module {
	uint32_t start_gpa, end_gpa, string_gpa, reserved;
};

struct multiboot_memmap_entry {
	uint32_t size; /* of the rest */
	struct e820_entry range;
};

static_assert(offsetof(struct multiboot_info, memmap_size) == 44, "multiboot mmap_length");
static_assert(offsetof(struct multiboot_info, boot_loader_name_gpa) == 64, "multiboot boot_loader_name");
static_assert(sizeof(struct multiboot_info) == 116, "multiboot information");
static_assert(sizeof(struct multiboot_module) == 16, "multiboot module");
static_assert(sizeof(struct multiboot_memmap_entry) == 24, "multiboot memory map");

#define MULTIBOOT_MODULES_GPA (LAYOUT_MULTIBOOT_INFO_GPA + 0x100)
#define MULTIBOOT_MEMMAP_GPA  (MULTIBOOT_MODULES_GPA + MODULE_COUNT_MAX * sizeof(struct multiboot_module))
#define MULTIBOOT_STRINGS_GPA                                                                                \
	(MULTIBOOT_MEMMAP_GPA + E820_ENTRIES_MAX * sizeof(struct multiboot_memmap_entry))
#define MULTIBOOT_STRINGS_END (LAYOUT_MULTIBOOT_INFO_GPA + LAYOUT_MULTIBOOT_INFO_SIZE)

/* "name arguments": kernels that follow GRUB's first version skip the first word. Only the file's own name is
 * told. */
static int multiboot_write_string(struct boot_plan *plan, const char *path, const char *arguments,
				  uint64_t *string_gpa, struct err *err)
{
	char text[LAYOUT_MULTIBOOT_INFO_SIZE];
	uint64_t room = MULTIBOOT_STRINGS_END - *string_gpa;
	int len = snprintf(text, sizeof(text), "%s%s%s", path ? boot_base_name(path) : "",
			   arguments ? " " : "", arguments ? arguments : "");

	if (len < 0 || (uint64_t)len >= room)
		return err_set(err, -E2BIG, "multiboot command lines have more than %llu bytes",
			       (unsigned long long)(MULTIBOOT_STRINGS_END - MULTIBOOT_STRINGS_GPA));
	*string_gpa += (uint64_t)len + 1;
	return boot_write(plan, *string_gpa - (uint64_t)len - 1, text, (uint64_t)len + 1, "multiboot strings",
			  err);
}

static int multiboot_load_modules(struct boot_plan *plan, struct multiboot_info *info, uint64_t *string_gpa,
				  struct err *err)
{
	const struct boot_x86_config *config = plan->config;
	struct module_bounds bounds = {.align = MULTIBOOT_MODULE_ALIGN,
				       .floor = LAYOUT_HIGH_MEMORY_GPA,
				       .limit = 1ull << 32,
				       .lowest = true};
	struct multiboot_module entry[MODULE_COUNT_MAX] = {0};
	int ret = 0;

	for (size_t i = 0; i < config->module_count && !ret; i++) {
		struct module_range range;

		ret = module_load(&config->module[i], &bounds, &plan->placement, &range, err);
		entry[i] = (struct multiboot_module){.start_gpa = (uint32_t)range.gpa,
						     .end_gpa = (uint32_t)(range.gpa + range.size_bytes),
						     .string_gpa = (uint32_t)*string_gpa};
		if (!ret)
			ret = multiboot_write_string(plan, config->module[i].path, config->module[i].cmdline,
						     string_gpa, err);
	}
	if (ret || !config->module_count)
		return ret;
	plan->summary.initrd_gpa = entry[0].start_gpa;
	plan->summary.initrd_size = entry[0].end_gpa - entry[0].start_gpa;
	info->flags |= MULTIBOOT_INFO_MODULES;
	info->module_count = (uint32_t)config->module_count;
	info->modules_gpa = MULTIBOOT_MODULES_GPA;
	return boot_write(plan, MULTIBOOT_MODULES_GPA, entry, config->module_count * sizeof(entry[0]),
			  "multiboot modules", err);
}

static int multiboot_write_memmap(struct boot_plan *plan, struct multiboot_info *info, struct err *err)
{
	struct multiboot_memmap_entry entry[E820_ENTRIES_MAX] = {0};
	const struct e820_map *map = &plan->e820;

	for (size_t i = 0; i < map->count; i++) {
		entry[i] = (struct multiboot_memmap_entry){.size = sizeof(entry[i].range),
							   .range = map->entry[i]};
		if (map->entry[i].type != E820_RAM)
			continue;
		if (map->entry[i].gpa == 0)
			info->mem_lower_kib = (uint32_t)(map->entry[i].size_bytes >> 10);
		if (map->entry[i].gpa == LAYOUT_HIGH_MEMORY_GPA)
			info->mem_upper_kib = (uint32_t)(map->entry[i].size_bytes >> 10);
	}
	info->flags |= MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_MEMMAP;
	info->memmap_size = (uint32_t)(map->count * sizeof(entry[0]));
	info->memmap_gpa = (uint32_t)MULTIBOOT_MEMMAP_GPA;
	return boot_write(plan, MULTIBOOT_MEMMAP_GPA, entry, info->memmap_size, "multiboot memory map", err);
}

static int multiboot_write_info(struct boot_plan *plan, struct err *err)
{
	const char *arguments = plan->cmdline[0] ? plan->cmdline : NULL;
	struct multiboot_info info = {.flags = MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_NAME};
	uint64_t string_gpa = MULTIBOOT_STRINGS_GPA;
	int ret;

	info.cmdline_gpa = (uint32_t)string_gpa;
	ret = multiboot_write_string(plan, plan->image.name, arguments, &string_gpa, err);
	info.boot_loader_name_gpa = (uint32_t)string_gpa;
	if (!ret)
		ret = multiboot_write_string(plan, MULTIBOOT_LOADER_NAME, NULL, &string_gpa, err);
	if (!ret)
		ret = multiboot_load_modules(plan, &info, &string_gpa, err);
	if (!ret)
		ret = multiboot_write_memmap(plan, &info, err);
	return ret ? ret
		   : boot_write(plan, LAYOUT_MULTIBOOT_INFO_GPA, &info, sizeof(info), "multiboot information",
				err);
}

int boot_prepare_multiboot(struct boot_plan *plan, struct err *err)
{
	struct multiboot_image multiboot;
	int ret = multiboot_parse(&plan->image, &multiboot, err);

	if (!ret)
		ret = placement_claim(&plan->placement, LAYOUT_MULTIBOOT_INFO_GPA, LAYOUT_MULTIBOOT_INFO_SIZE,
				      "multiboot information", err);
	if (!ret)
		ret = multiboot_load(&plan->image, &multiboot, plan->gmem, &plan->placement, err);
	if (!ret)
		ret = multiboot_write_info(plan, err);
	if (!ret && entry_set_protected_mode(plan->gmem, plan->bsp, multiboot.entry_gpa))
		ret = err_set(err, -EFAULT, "no guest RAM for the entry tables");
	if (ret)
		return ret;
	plan->bsp->gpr[X86_RAX] = MULTIBOOT_LOADER_MAGIC;
	plan->bsp->gpr[X86_RBX] = LAYOUT_MULTIBOOT_INFO_GPA;
	plan->summary.protocol = BOOT_MULTIBOOT;
	plan->summary.entry_gpa = multiboot.entry_gpa;
	return 0;
}
