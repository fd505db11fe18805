/* SPDX-License-Identifier: Apache-2.0 */
/* Flat binaries: bytes at an address. */
#include "loader/flat.h"

#include <errno.h>
#include <inttypes.h>

#include "loader/image.h"
#include "loader/placement.h"
#include "vmm/base/err.h"

int flat_parse(const struct image *image, uint64_t gpa, uint64_t entry_offset, struct flat_image *flat,
	       struct err *err)
{
	if (gpa >= FLAT_GPA_LIMIT || image->size_bytes > FLAT_GPA_LIMIT - gpa)
		return err_set(err, -ENOEXEC,
			       "%s: %" PRIu64 " bytes at %#" PRIx64
			       " do not end below %#llx, where real mode's memory ends",
			       image->name, image->size_bytes, gpa, FLAT_GPA_LIMIT);
	if (entry_offset >= image->size_bytes)
		return err_set(err, -ENOEXEC,
			       "%s: entry offset %#" PRIx64 " lies outside the file's %" PRIu64 " bytes",
			       image->name, entry_offset, image->size_bytes);
	*flat = (struct flat_image){.load_gpa = gpa, .entry_gpa = gpa + entry_offset};
	return 0;
}

int flat_load(const struct image *image, const struct flat_image *flat, struct gmem *gmem,
	      struct placement *placement, struct err *err)
{
	int ret = placement_claim(placement, flat->load_gpa, image->size_bytes, "kernel", err);

	return ret ? ret : image_load(image, 0, image->size_bytes, gmem, flat->load_gpa, err);
}
