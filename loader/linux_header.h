/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The setup header of a Linux/x86 kernel, as it lies at offset 0x1f1 of a bzImage and of the zero page.
 * Protocols 2.00 to 2.15: kernel documentation, Documentation/arch/x86/boot.rst ("The Real-Mode Kernel
 * Header"). Little-endian, unpadded.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define LINUX_HEADER_OFFSET  0x1f1
#define LINUX_HEADER_MAGIC   0x53726448u /* "HdrS" */
#define LINUX_BOOT_FLAG      0xaa55
#define LINUX_LOADER_UNKNOWN 0xff /* type_of_loader: no number assigned */

/* loadflags */
#define LINUX_LOADED_HIGH  0x01
#define LINUX_KASLR        0x02 /* the decompressor's word to the kernel: addresses were chosen at random */
#define LINUX_CAN_USE_HEAP 0x80

/* xloadflags, protocol 2.12 */
#define LINUX_XLF_KERNEL_64              0x01
#define LINUX_XLF_CAN_BE_LOADED_ABOVE_4G 0x02

struct linux_header {
	uint8_t setup_sects;
	uint16_t root_flags;
	uint32_t syssize;
	uint16_t ram_size;
	uint16_t vid_mode;
	uint16_t root_dev;
	uint16_t boot_flag;
	uint16_t jump;
	uint32_t header;
	uint16_t version; /* 0x0206 = 2.06 */
	uint32_t realmode_swtch;
	uint16_t start_sys_seg;
	uint16_t kernel_version; /* file offset - 0x200 of a string, 0: none */
	uint8_t type_of_loader;
	uint8_t loadflags;
	uint16_t setup_move_size;
	uint32_t code32_start;
	uint32_t ramdisk_image;
	uint32_t ramdisk_size;
	uint32_t bootsect_kludge;
	uint16_t heap_end_ptr; /* 2.01 */
	uint8_t ext_loader_ver;
	uint8_t ext_loader_type;
	uint32_t cmd_line_ptr;     /* 2.02 */
	uint32_t initrd_addr_max;  /* 2.03: highest address of initrd's last byte */
	uint32_t kernel_alignment; /* 2.05 */
	uint8_t relocatable_kernel;
	uint8_t min_alignment;     /* 2.10: power of two */
	uint16_t xloadflags;       /* 2.12 */
	uint32_t cmdline_size;     /* 2.06: without the final zero */
	uint32_t hardware_subarch; /* 2.07 */
	uint64_t hardware_subarch_data;
	uint32_t payload_offset; /* 2.08 */
	uint32_t payload_length;
	uint64_t setup_data;   /* 2.09 */
	uint64_t pref_address; /* 2.10 */
	uint32_t init_size;
	uint32_t handover_offset;    /* 2.11 */
	uint32_t kernel_info_offset; /* 2.15 */
} __attribute__((packed));

static_assert(offsetof(struct linux_header, header) == 0x202 - LINUX_HEADER_OFFSET, "header magic");
static_assert(offsetof(struct linux_header, code32_start) == 0x214 - LINUX_HEADER_OFFSET, "code32_start");
static_assert(offsetof(struct linux_header, cmd_line_ptr) == 0x228 - LINUX_HEADER_OFFSET, "cmd_line_ptr");
static_assert(offsetof(struct linux_header, xloadflags) == 0x236 - LINUX_HEADER_OFFSET, "xloadflags");
static_assert(offsetof(struct linux_header, pref_address) == 0x258 - LINUX_HEADER_OFFSET, "pref_address");
static_assert(sizeof(struct linux_header) == 0x26c - LINUX_HEADER_OFFSET, "setup header");
