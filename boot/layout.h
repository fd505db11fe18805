/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where boot/ puts what it makes, in guest-physical addresses below 1 MiB. One map for every protocol: a
 * protocol uses the entries that it needs. Kernels are told of all of it by the memory map: what must outlive
 * the kernel's own memory manager lies in ranges marked reserved (*), the rest is read by the kernel before
 * it allocates.
 *
 *     0x00400  BIOS data area: EBDA segment (0x40e), base memory (0x413), COM1-COM4 ports (0x400)
 *     0x00500  GDT of the entry state
 *     0x06000  hvm_start_info, then the module list                             (PVH)
 *     0x07000  struct boot_params, "zero page"                                  (Linux); memory map (PVH)
 *     0x07c00  flat binaries, loaded and entered as a BIOS enters a boot sector (flat)
 *     0x08ff0  initial stack, growing down
 *     0x09000  PML4, 0x0a000 PDPT, 0x0b000-0x0efff four page directories: 4 GiB one to one in 2 MiB pages
 *     0x10000  multiboot information and its strings; module strings of PVH     (multiboot, PVH)
 *     0x20000  command line
 *     0x30000  struct setup_data with the device tree                           (Linux)
 *     0x90000  zero page and, at 0x91000, command line of protocols before 2.02 (Linux before 2.4)
 *     0x9fc00  extended BIOS data area (*)
 *     0xe0000  RSDP, then the ACPI tables (*)
 *     0xf0000  MP floating pointer and table (*)
 */
#pragma once

#define LAYOUT_BDA_GPA             0x00400ull
#define LAYOUT_GDT_GPA             0x00500ull
#define LAYOUT_PVH_INFO_GPA        0x06000ull
#define LAYOUT_PVH_INFO_SIZE       0x01000ull
#define LAYOUT_ZERO_PAGE_GPA       0x07000ull
#define LAYOUT_PVH_MEMMAP_GPA      0x07000ull
#define LAYOUT_PVH_MEMMAP_SIZE     0x00c00ull
#define LAYOUT_FLAT_GPA            0x07c00ull
#define LAYOUT_STACK_GPA           0x08ff0ull
#define LAYOUT_PML4_GPA            0x09000ull
#define LAYOUT_PDPT_GPA            0x0a000ull
#define LAYOUT_PD_GPA              0x0b000ull
#define LAYOUT_PD_COUNT            4
#define LAYOUT_MULTIBOOT_INFO_GPA  0x10000ull
#define LAYOUT_MULTIBOOT_INFO_SIZE 0x10000ull
#define LAYOUT_CMDLINE_GPA         0x20000ull
#define LAYOUT_CMDLINE_SIZE_MAX    0x10000ull /* with the final zero; Linux itself stops at 2048 */
#define LAYOUT_DEVTREE_GPA         0x30000ull
#define LAYOUT_DEVTREE_SIZE        0x20000ull /* of 1024 CPUs, 96 devices and the longest command line */
#define LAYOUT_OLD_ZERO_PAGE_GPA   0x90000ull
#define LAYOUT_OLD_CMDLINE_GPA     0x91000ull
#define LAYOUT_EBDA_GPA            0x9fc00ull
#define LAYOUT_EBDA_SIZE           0x00400ull
#define LAYOUT_RSDP_GPA            0xe0000ull
#define LAYOUT_ACPI_SIZE           0x10000ull
#define LAYOUT_MPTABLE_GPA         0xf0000ull
#define LAYOUT_MPTABLE_SIZE        0x10000ull
#define LAYOUT_HIGH_MEMORY_GPA     0x100000ull
