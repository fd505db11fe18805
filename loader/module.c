/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads initrds as high in guest RAM as their protocol allows, far from where kernels unpack themselves, and
 * modules as low as it allows, next to their kernel. The bytes are not looked at.
 */
#include "loader/module.h"

#include <errno.h>

#include "loader/image.h"
#include "loader/placement.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define MODULE_JOIN_ALIGN                                                                                    \
	4 /* a cpio archive in an initramfs buffer begins on 4 bytes: kernel initramfs buffer format */

static uint64_t module_align_up(uint64_t value)
{
	return (value + (MODULE_JOIN_ALIGN - 1)) & ~(uint64_t)(MODULE_JOIN_ALIGN - 1);
}

static int module_open_all(const struct module *module, size_t count, struct image *image, size_t *opened,
			   uint64_t *total, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		int ret = image_open(&image[i], module[i].path, IMAGE_INITRD_SIZE_MAX, err);

		if (ret)
			return ret;
		(*opened)++;
		*total = module_align_up(*total) + image[i].size_bytes;
	}
	return 0;
}

static int module_load_at(const struct image *image, size_t count, struct gmem *gmem, uint64_t gpa,
			  struct err *err)
{
	uint64_t at = 0;
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++) {
		uint64_t start = module_align_up(at);

		if (start > at && gmem_zero(gmem, gpa + at, start - at))
			return err_set(err, -EFAULT, "%s: no guest RAM for padding", image[i].name);
		ret = image_load(&image[i], 0, image[i].size_bytes, gmem, gpa + start, err);
		at = start + image[i].size_bytes;
	}
	return ret;
}

int module_load_joined(const struct module *module, size_t count, const struct module_bounds *bounds,
		       struct placement *placement, struct module_range *range, struct err *err)
{
	struct image image[MODULE_COUNT_MAX];
	struct placement_request request = {
		.align = bounds->align, .floor = bounds->floor, .limit = bounds->limit};
	size_t opened = 0;
	int ret;

	*range = (struct module_range){0};
	if (!count)
		return 0;
	if (count > MODULE_COUNT_MAX)
		return err_set(err, -E2BIG, "%zu initrds, at most %d are accepted", count, MODULE_COUNT_MAX);
	request.what = count == 1 ? module[0].path : "initrd";
	ret = module_open_all(module, count, image, &opened, &request.size_bytes, err);
	if (!ret && bounds->lowest)
		ret = placement_claim_low(placement, &request, &range->gpa, err);
	else if (!ret)
		ret = placement_claim_high(placement, &request, &range->gpa, err);
	if (!ret)
		ret = module_load_at(image, count, placement->gmem, range->gpa, err);
	range->size_bytes = request.size_bytes;
	while (opened)
		image_close(&image[--opened]);
	return ret;
}

int module_load(const struct module *module, const struct module_bounds *bounds, struct placement *placement,
		struct module_range *range, struct err *err)
{
	return module_load_joined(module, 1, bounds, placement, range, err);
}
