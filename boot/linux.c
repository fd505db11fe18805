/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux: bzImage by the 64-bit or 32-bit boot protocol, and an uncompressed vmlinux entered the same way.
 * Kernel documentation, Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol".
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/devtree.h"
#include "boot/entry.h"
#include "boot/layout.h"
#include "boot/plan.h"
#include "boot/zero_page.h"
#include "loader/bzimage.h"
#include "loader/elf.h"
#include "loader/vmlinux.h"
#include "vmm/base/err.h"

#define LINUX_INITRD_LIMIT_64 0x80000000ull /* as bzImages of 64-bit kernels say */
#define LINUX_INITRD_LIMIT_32 0x38000000ull /* lowmem of a 3G/1G kernel less its vmalloc space */
#define LINUX_CMDLINE_MAX     2047u         /* COMMAND_LINE_SIZE of x86 less the zero */
#define LINUX_MODULE_ALIGN    4096u

/* A kernel as both image forms describe it. */
struct linux_kernel {
	struct linux_header header;
	bool is_64bit;
	uint64_t entry_gpa;
	uint64_t initrd_limit;
	uint64_t cmdline_size_max;
	uint64_t zero_page_gpa, cmdline_gpa;
};

static int linux_claim_tables(struct boot_plan *plan, const struct linux_kernel *kernel, struct err *err)
{
	struct placement *placement = &plan->placement;
	int ret = placement_claim(placement, kernel->zero_page_gpa, 4096, "zero page", err);

	if (!ret)
		ret = placement_claim(placement, kernel->cmdline_gpa, kernel->cmdline_size_max + 1,
				      "command line", err);
	if (!ret && kernel->is_64bit)
		ret = placement_claim(placement, LAYOUT_PML4_GPA, (2 + LAYOUT_PD_COUNT) * 4096ull,
				      "page tables", err);
	if (!ret && plan->config->device_tree)
		ret = placement_claim(placement, LAYOUT_DEVTREE_GPA, LAYOUT_DEVTREE_SIZE, "device tree", err);
	return ret;
}

/* KiB above 1 MiB in the entry that begins there, for kernels that do not read the e820 table. */
static uint32_t linux_alt_mem_k(const struct e820_map *map)
{
	for (size_t i = 0; i < map->count; i++)
		if (map->entry[i].gpa == LAYOUT_HIGH_MEMORY_GPA && map->entry[i].type == E820_RAM)
			return (uint32_t)(map->entry[i].size_bytes >> 10);
	return 0;
}

static int linux_write_zero_page(struct boot_plan *plan, const struct linux_kernel *kernel, struct err *err)
{
	struct boot_params params = {.hdr = kernel->header, .acpi_rsdp_addr = plan->rsdp_gpa};
	uint32_t alt_mem_k = linux_alt_mem_k(&plan->e820);

	params.hdr.type_of_loader = LINUX_LOADER_UNKNOWN;
	params.hdr.cmd_line_ptr = (uint32_t)kernel->cmdline_gpa;
	params.hdr.ramdisk_image = (uint32_t)plan->summary.initrd_gpa;
	params.hdr.ramdisk_size = (uint32_t)plan->summary.initrd_size;
	params.hdr.vid_mode = 0xffff; /* "normal" */
	params.hdr.setup_data = plan->config->device_tree ? LAYOUT_DEVTREE_GPA : 0;
	params.alt_mem_k = alt_mem_k;
	params.ext_mem_k = alt_mem_k < 0xfc00 ? (uint16_t)alt_mem_k : 0xfc00;
	params.e820_entries = (uint8_t)plan->e820.count;
	memcpy(params.e820_table, plan->e820.entry, plan->e820.count * sizeof(plan->e820.entry[0]));
	if (kernel->header.version < 0x0202) {
		params.hdr.cmd_line_ptr = 0;
		params.old_cmdline_magic = ZERO_PAGE_OLD_CMDLINE_MAGIC;
		params.old_cmdline_offset = (uint16_t)(kernel->cmdline_gpa - kernel->zero_page_gpa);
	}
	return boot_write(plan, kernel->zero_page_gpa, &params, sizeof(params), "zero page", err);
}

/* The kernel reserves what it finds in the list of setup_data by itself. */
static int linux_write_device_tree(struct boot_plan *plan, const struct linux_kernel *kernel, struct err *err)
{
	struct setup_data *data;
	size_t len;
	int ret;

	if (kernel->header.version < SETUP_DATA_VERSION)
		return err_set(err, -ENOTSUP, "this kernel's boot protocol has no place for a device tree");
	data = calloc(1, LAYOUT_DEVTREE_SIZE);
	if (!data)
		return err_set(err, -ENOMEM, "no memory for the device tree");
	ret = devtree_build(plan, data + 1, LAYOUT_DEVTREE_SIZE - sizeof(*data), &len, err);
	if (!ret) {
		*data = (struct setup_data){.type = SETUP_DATA_DEVICE_TREE, .len = (uint32_t)len};
		ret = boot_write(plan, LAYOUT_DEVTREE_GPA, data, sizeof(*data) + len, "device tree", err);
	}
	free(data);
	return ret;
}

static int linux_load_initrd(struct boot_plan *plan, uint64_t limit, struct err *err)
{
	struct module_bounds bounds = {
		.align = LINUX_MODULE_ALIGN, .floor = LAYOUT_HIGH_MEMORY_GPA, .limit = limit};
	struct module_range range;
	int ret = module_load_joined(plan->config->module, plan->config->module_count, &bounds,
				     &plan->placement, &range, err);

	plan->summary.initrd_gpa = range.gpa;
	plan->summary.initrd_size = range.size_bytes;
	return ret;
}

/* RSI holds the zero page in both protocols; the 32-bit one wants EBP, EDI and EBX zero, which they are. */
static int linux_enter(struct boot_plan *plan, const struct linux_kernel *kernel, struct err *err)
{
	int ret;

	if (kernel->is_64bit)
		ret = entry_set_long_mode(plan->gmem, plan->bsp, kernel->entry_gpa);
	else
		ret = entry_set_protected_mode(plan->gmem, plan->bsp, (uint32_t)kernel->entry_gpa);
	plan->bsp->gpr[X86_RSI] = kernel->zero_page_gpa;
	plan->summary.protocol = BOOT_LINUX;
	plan->summary.is_64bit_entry = kernel->is_64bit;
	plan->summary.entry_gpa = kernel->entry_gpa;
	return ret ? err_set(err, ret, "no guest RAM for the entry tables") : 0;
}

static int linux_finish(struct boot_plan *plan, const struct linux_kernel *kernel, struct err *err)
{
	int ret = linux_load_initrd(plan, kernel->initrd_limit, err);

	if (!ret)
		ret = boot_write_string(plan, kernel->cmdline_gpa, plan->cmdline, kernel->cmdline_size_max,
					"command line", err);
	if (!ret && plan->config->device_tree)
		ret = linux_write_device_tree(plan, kernel, err);
	if (!ret)
		ret = linux_write_zero_page(plan, kernel, err);
	return ret ? ret : linux_enter(plan, kernel, err);
}

/* Whether the command line has this word, as the kernel would find it. */
static bool linux_cmdline_has(const char *cmdline, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = cmdline; (at = strstr(at, word)); at += len) {
		bool begins = at == cmdline || at[-1] == ' ';

		if (begins && (at[len] == ' ' || at[len] == 0))
			return true;
	}
	return false;
}

/*
 * Unpacks the kernel here, many times faster than a guest on the built-in CPU would, and enters it. A kernel
 * for which that is not known to work (-ENOTSUP) or whose place is taken (-ENOSPC) unpacks itself.
 */
static int linux_load_unpacked(struct boot_plan *plan, const struct bzimage *bzimage,
			       struct linux_kernel *kernel)
{
	uint64_t random = linux_cmdline_has(plan->cmdline, "nokaslr") ? 0 : plan->config->random;
	struct vmlinux vmlinux;
	uint64_t slide;
	int ret = vmlinux_unpack(&plan->image, bzimage, &vmlinux, NULL);

	if (!ret) {
		slide = random ? vmlinux_slide(&vmlinux, random) : 0;
		ret = vmlinux_load(&vmlinux, slide, plan->gmem, &plan->placement, NULL);
		kernel->entry_gpa = vmlinux.elf.entry_gpa;
		/* With this flag the kernel chooses where its memory maps lie by itself. */
		if (random && vmlinux.table_offset)
			kernel->header.loadflags |= LINUX_KASLR;
		kernel->header.code32_start = (uint32_t)vmlinux.elf.low_gpa;
	}
	vmlinux_release(&vmlinux);
	return ret;
}

static int linux_load_bzimage(struct boot_plan *plan, struct bzimage *bzimage, struct linux_kernel *kernel,
			      struct err *err)
{
	struct placement before = plan->placement;
	int ret;

	plan->summary.is_unpacked = linux_load_unpacked(plan, bzimage, kernel) == 0;
	if (plan->summary.is_unpacked)
		return 0;
	plan->placement = before;
	ret = bzimage_load(&plan->image, bzimage, plan->gmem, &plan->placement, err);
	kernel->header = bzimage->header;
	kernel->entry_gpa = bzimage->entry_gpa;
	return ret;
}

int boot_prepare_bzimage(struct boot_plan *plan, struct err *err)
{
	struct bzimage bzimage;
	struct linux_kernel kernel;
	bool is_old;
	int ret = bzimage_parse(&plan->image, &bzimage, err);

	if (ret)
		return ret;
	is_old = bzimage.header.version < 0x0202;
	kernel = (struct linux_kernel){
		.is_64bit = bzimage.is_64bit,
		.initrd_limit = bzimage.initrd_limit,
		.cmdline_size_max = bzimage.cmdline_size_max,
		.zero_page_gpa = is_old ? LAYOUT_OLD_ZERO_PAGE_GPA : LAYOUT_ZERO_PAGE_GPA,
		.cmdline_gpa = is_old ? LAYOUT_OLD_CMDLINE_GPA : LAYOUT_CMDLINE_GPA,
	};
	if (kernel.cmdline_size_max > LAYOUT_CMDLINE_SIZE_MAX - 1)
		kernel.cmdline_size_max = LAYOUT_CMDLINE_SIZE_MAX - 1;
	kernel.header = bzimage.header;
	snprintf(plan->summary.kernel_version, sizeof(plan->summary.kernel_version), "%s", bzimage.version);
	ret = linux_claim_tables(plan, &kernel, err);
	if (!ret)
		ret = linux_load_bzimage(plan, &bzimage, &kernel, err);
	return ret ? ret : linux_finish(plan, &kernel, err);
}

/* A vmlinux has no setup header: one is made as a loader of the latest protocol would have left it. */
int boot_prepare_linux_elf(struct boot_plan *plan, struct err *err)
{
	struct elf_image elf;
	struct linux_kernel kernel;
	int ret = elf_parse(&plan->image, &elf, err);

	if (ret)
		return ret;
	kernel = (struct linux_kernel){
		.header = {.boot_flag = LINUX_BOOT_FLAG,
			   .header = LINUX_HEADER_MAGIC,
			   .version = 0x020f,
			   .loadflags = LINUX_LOADED_HIGH,
			   .kernel_alignment = 0x1000000},
		.is_64bit = elf.is_64bit,
		.entry_gpa = elf.entry_gpa,
		.initrd_limit = elf.is_64bit ? LINUX_INITRD_LIMIT_64 : LINUX_INITRD_LIMIT_32,
		.cmdline_size_max = LINUX_CMDLINE_MAX,
		.zero_page_gpa = LAYOUT_ZERO_PAGE_GPA,
		.cmdline_gpa = LAYOUT_CMDLINE_GPA,
	};
	ret = linux_claim_tables(plan, &kernel, err);
	if (!ret)
		ret = elf_load(&plan->image, &elf, plan->gmem, &plan->placement, err);
	return ret ? ret : linux_finish(plan, &kernel, err);
}
