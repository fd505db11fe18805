/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a bzImage: parsed and loaded into a small guest, or refused with a message. */
#include <assert.h>
#include <string.h>

#include "loader/bzimage.h"
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
	struct bzimage bzimage;
	struct image image;
	struct err err = {0};
	int ret;

	assert(gmem && !gmem_add(gmem, 0, FUZZ_RAM_SIZE, GMEM_RAM, NULL));
	placement_init(&placement, gmem);
	image_from_memory(&image, "fuzz", data, size);
	ret = bzimage_parse(&image, &bzimage, &err);
	if (!ret) {
		assert(bzimage.run_size >= bzimage.payload_size);
		assert(strlen(bzimage.version) < sizeof(bzimage.version));
		ret = bzimage_load(&image, &bzimage, gmem, &placement, &err);
		assert(ret || bzimage.entry_gpa - bzimage.load_gpa < bzimage.run_size);
	}
	assert(!ret || (err.code == ret && err.message[0]));
	gmem_destroy(gmem);
	return 0;
}
