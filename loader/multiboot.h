/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot 1 kernels: header, "a.out kludge" addresses or ELF. Multiboot Specification 0.6.96, chapter 3.1.
 * Loads and says where to enter; the information structure is boot/'s.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loader/elf.h"

struct err;
struct gmem;
struct image;
struct placement;

#define MULTIBOOT_SEARCH_SIZE  8192 /* the header lies wholly in the first 8 KiB, 4-byte aligned */
#define MULTIBOOT_HEADER_MAGIC 0x1badb002u
#define MULTIBOOT_PAGE_ALIGN   0x00000001u /* modules on page boundaries */
#define MULTIBOOT_MEMORY_INFO  0x00000002u
#define MULTIBOOT_VIDEO_MODE   0x00000004u
#define MULTIBOOT_ADDRESSES    0x00010000u /* the five address fields are valid */

struct multiboot_image {
	uint32_t header_offset;
	uint32_t flags;
	bool has_addresses;
	/* has_addresses: a flat run of the file */
	uint64_t file_offset;
	uint64_t load_gpa, load_size, bss_size;
	uint32_t entry_gpa;
	/* otherwise */
	struct elf_image elf;
};

/* Offset of a valid header in *offset; 0, or -ENOENT when there is none. */
int multiboot_find_header(const struct image *image, uint32_t *offset, struct err *err);
int multiboot_parse(const struct image *image, struct multiboot_image *multiboot, struct err *err);
int multiboot_load(const struct image *image, const struct multiboot_image *multiboot, struct gmem *gmem,
		   struct placement *placement, struct err *err);
