/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an ELF kernel: parsed and loaded into a small guest, or refused with a message. */
#include <assert.h>

#include "loader/elf.h"
#include "loader/image.h"
#include "loader/placement.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define FUZZ_RAM_SIZE (32u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gmem *gmem = gmem_create();
	struct placement placement;
	struct elf_image elf;
	struct image image;
	struct err err = {0};
	int ret;

	assert(gmem && !gmem_add(gmem, 0, FUZZ_RAM_SIZE, GMEM_RAM, NULL));
	placement_init(&placement, gmem);
	image_from_memory(&image, "fuzz", data, size);
	ret = elf_parse(&image, &elf, &err);
	if (!ret) {
		assert(elf.segment_count && elf.low_gpa < elf.high_gpa);
		assert(elf.entry_gpa >= elf.low_gpa && elf.entry_gpa < elf.high_gpa);
		ret = elf_load(&image, &elf, gmem, &placement, &err);
	}
	assert(!ret || (err.code == ret && err.message[0]));
	gmem_destroy(gmem);
	return 0;
}
