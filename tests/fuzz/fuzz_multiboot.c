/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a multiboot kernel: parsed and loaded into a small guest, or refused with a message. */
#include <assert.h>

#include "loader/image.h"
#include "loader/multiboot.h"
#include "loader/placement.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define FUZZ_RAM_SIZE (32u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gmem *gmem = gmem_create();
	struct multiboot_image multiboot;
	struct placement placement;
	struct image image;
	struct err err = {0};
	int ret;

	assert(gmem && !gmem_add(gmem, 0, FUZZ_RAM_SIZE, GMEM_RAM, NULL));
	placement_init(&placement, gmem);
	image_from_memory(&image, "fuzz", data, size);
	ret = multiboot_parse(&image, &multiboot, &err);
	if (!ret) {
		assert(multiboot.header_offset + 12 <= size);
		assert(!multiboot.has_addresses || multiboot.load_size <= size - multiboot.file_offset);
		ret = multiboot_load(&image, &multiboot, gmem, &placement, &err);
	}
	assert(!ret || (err.code == ret && err.message[0]));
	gmem_destroy(gmem);
	return 0;
}
