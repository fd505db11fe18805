/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory map told to the guest, in the form of BIOS INT 15h, AX=E820h (ACPI 6.5, 15.1): Linux, PVH and
 * multiboot all use its types.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

struct gmem;

enum e820_type { E820_RAM = 1, E820_RESERVED = 2 };

struct e820_entry {
	uint64_t gpa;
	uint64_t size_bytes;
	uint32_t type;
} __attribute__((packed));

static_assert(sizeof(struct e820_entry) == 20, "e820 entry");

#define E820_ENTRIES_MAX 128 /* what the zero page holds; gmem has at most 64 regions, we cut one in four */

struct e820_map {
	struct e820_entry entry[E820_ENTRIES_MAX];
	size_t count;
};

/* RAM as gmem has it, less the reserved ranges of boot/layout.h and the hole for video memory and ROMs. */
void e820_build(const struct gmem *gmem, struct e820_map *map);
