/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct boot_params, the "zero page" of Linux/x86: kernel documentation,
 * Documentation/arch/x86/zero-page.rst and arch/x86/include/uapi/asm/bootparam.h for the layout. Only fields
 * that a loader fills in have names.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/e820.h"
#include "loader/linux_header.h"

/* Further data for the kernel, from hdr.setup_data on; 2.09. Its bytes follow. */
struct setup_data {
	uint64_t next; /* gpa of the next one, or 0 */
	uint32_t type;
	uint32_t len; /* of the bytes */
};

#define SETUP_DATA_DEVICE_TREE 2
#define SETUP_DATA_VERSION     0x0209 /* of the boot protocol */

#define ZERO_PAGE_OLD_CMDLINE_MAGIC 0xa33f /* protocols before 2.02 */

struct boot_params {
	uint8_t screen_info_start[2];
	uint16_t ext_mem_k; /* KiB above 1 MiB, at most 64 MiB: kernels without e820 */
	uint8_t screen_info_middle[0x1c];
	uint16_t old_cmdline_magic;
	uint16_t old_cmdline_offset; /* from the start of this page */
	uint8_t screen_info_end[0x4c];
	uint64_t acpi_rsdp_addr; /* 2.14 */
	uint8_t unused1[0x48];
	uint32_t ext_ramdisk_image;
	uint32_t ext_ramdisk_size;
	uint32_t ext_cmd_line_ptr;
	uint8_t unused2[0x114];
	uint32_t alt_mem_k; /* KiB above 1 MiB */
	uint32_t scratch;
	uint8_t e820_entries;
	uint8_t unused3[6];
	uint8_t sentinel; /* 0: this page was cleared before it was filled */
	uint8_t unused4;
	struct linux_header hdr;
	uint8_t unused5[0x2d0 - 0x26c];
	struct e820_entry e820_table[E820_ENTRIES_MAX];
	uint8_t unused6[0x330];
} __attribute__((packed));

static_assert(offsetof(struct boot_params, old_cmdline_magic) == 0x020, "old_cmdline_magic");
static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x070, "acpi_rsdp_addr");
static_assert(offsetof(struct boot_params, ext_ramdisk_image) == 0x0c0, "ext_ramdisk_image");
static_assert(offsetof(struct boot_params, alt_mem_k) == 0x1e0, "alt_mem_k");
static_assert(offsetof(struct boot_params, e820_entries) == 0x1e8, "e820_entries");
static_assert(offsetof(struct boot_params, sentinel) == 0x1ef, "sentinel");
static_assert(offsetof(struct boot_params, hdr) == LINUX_HEADER_OFFSET, "hdr");
static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "e820_table");
static_assert(sizeof(struct setup_data) == 16, "setup_data");
static_assert(sizeof(struct boot_params) == 4096, "zero page");
