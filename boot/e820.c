/* SPDX-License-Identifier: Apache-2.0 */
/* The memory map: RAM of gmem, cut by the fixed layout of the first MiB. */
#include "boot/e820.h"

#include "boot/layout.h"
#include "vmm/core/gmem.h"

static void e820_add(struct e820_map *map, uint64_t gpa, uint64_t end, enum e820_type type)
{
	if (gpa < end && map->count < E820_ENTRIES_MAX)
		map->entry[map->count++] =
			(struct e820_entry){.gpa = gpa, .size_bytes = end - gpa, .type = type};
}

static uint64_t e820_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t e820_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* 0xa0000-0xdffff is told as nothing at all: video memory and option ROMs of a PC, of which there are none.
 */
static void e820_add_region(struct e820_map *map, uint64_t gpa, uint64_t end)
{
	uint64_t hole = LAYOUT_EBDA_GPA + LAYOUT_EBDA_SIZE;

	e820_add(map, gpa, e820_min(end, LAYOUT_EBDA_GPA), E820_RAM);
	e820_add(map, e820_max(gpa, LAYOUT_EBDA_GPA), e820_min(end, hole), E820_RESERVED);
	e820_add(map, e820_max(gpa, LAYOUT_RSDP_GPA), e820_min(end, LAYOUT_HIGH_MEMORY_GPA), E820_RESERVED);
	e820_add(map, e820_max(gpa, LAYOUT_HIGH_MEMORY_GPA), end, E820_RAM);
}

void e820_build(const struct gmem *gmem, struct e820_map *map)
{
	map->count = 0;
	for (size_t i = 0; i < gmem_region_count(gmem); i++) {
		const struct gmem_region *region = gmem_region_at(gmem, i);

		if (region->kind == GMEM_RAM)
			e820_add_region(map, region->gpa, region->gpa + region->size_bytes);
		else
			e820_add(map, region->gpa, region->gpa + region->size_bytes, E820_RESERVED);
	}
}
