/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of claimed ranges of guest RAM. Few ranges and a handful of requests: a plain list, searched
 * whole.
 */
#include "loader/placement.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

void placement_init(struct placement *placement, struct gmem *gmem)
{
	*placement = (struct placement){.gmem = gmem};
}

uint64_t placement_low_ram_end(const struct placement *placement)
{
	const struct gmem_region *region;
	uint64_t end = 0;

	while ((region = gmem_region_find(placement->gmem, end)) && region->kind == GMEM_RAM)
		end = region->gpa + region->size_bytes;
	return end;
}

static bool placement_is_ram(const struct placement *placement, uint64_t gpa, uint64_t size_bytes)
{
	const struct gmem_region *region = gmem_region_find(placement->gmem, gpa);

	return region && region->kind == GMEM_RAM && gmem_span(placement->gmem, gpa, size_bytes);
}

/* The first claimed range that shares a byte with [gpa, gpa + size_bytes), which lies in RAM. */
static const struct placement_range *placement_overlap(const struct placement *placement, uint64_t gpa,
						       uint64_t size_bytes)
{
	for (size_t i = 0; i < placement->count; i++) {
		const struct placement_range *range = &placement->range[i];

		if (gpa < range->gpa + range->size_bytes && range->gpa < gpa + size_bytes)
			return range;
	}
	return NULL;
}

bool placement_is_free(const struct placement *placement, uint64_t gpa, uint64_t size_bytes)
{
	return placement_is_ram(placement, gpa, size_bytes) && !placement_overlap(placement, gpa, size_bytes);
}

int placement_claim(struct placement *placement, uint64_t gpa, uint64_t size_bytes, const char *what,
		    struct err *err)
{
	const struct placement_range *other;

	if (!placement_is_ram(placement, gpa, size_bytes))
		return err_set(err, -ENOSPC,
			       "%s needs %" PRIu64 " bytes at %#" PRIx64 ", guest RAM there ends at %#" PRIx64
			       ": give the guest more memory",
			       what, size_bytes, gpa, placement_low_ram_end(placement));
	other = placement_overlap(placement, gpa, size_bytes);
	if (other)
		return err_set(err, -EEXIST,
			       "%s at %#" PRIx64 "-%#" PRIx64 " overlaps %s at %#" PRIx64 "-%#" PRIx64, what,
			       gpa, gpa + size_bytes - 1, other->what, other->gpa,
			       other->gpa + other->size_bytes - 1);
	if (placement->count == PLACEMENT_RANGES_MAX)
		return err_set(err, -ENOSPC, "%s: more than %d pieces to load", what, PLACEMENT_RANGES_MAX);
	placement->range[placement->count++] =
		(struct placement_range){.gpa = gpa, .size_bytes = size_bytes, .what = what};
	return 0;
}

static int placement_no_room(const struct placement_request *request, struct err *err)
{
	return err_set(err, -ENOSPC,
		       "%s: no free %" PRIu64 " bytes of guest RAM between %#" PRIx64 " and %#" PRIx64
		       ": give the guest more memory",
		       request->what, request->size_bytes, request->floor, request->limit);
}

/*
 * Highest aligned start in [floor, limit - size_bytes] of one region that overlaps nothing. Each turn goes
 * below the range that was in the way, so it ends after at most count + 1 turns.
 */
static bool placement_search_high(const struct placement *placement, const struct gmem_region *region,
				  const struct placement_request *request, uint64_t *gpa)
{
	uint64_t low = request->floor > region->gpa ? request->floor : region->gpa;
	uint64_t end = region->gpa + region->size_bytes;

	if (end > request->limit)
		end = request->limit;
	while (end > low && request->size_bytes <= end - low) {
		uint64_t start = (end - request->size_bytes) & ~(request->align - 1);
		const struct placement_range *other;

		if (start < low)
			return false;
		other = placement_overlap(placement, start, request->size_bytes);
		if (!other) {
			*gpa = start;
			return true;
		}
		end = other->gpa;
	}
	return false;
}

int placement_claim_high(struct placement *placement, const struct placement_request *request, uint64_t *gpa,
			 struct err *err)
{
	assert(request->align && !(request->align & (request->align - 1)));
	for (size_t i = gmem_region_count(placement->gmem); i-- > 0 && request->size_bytes;) {
		const struct gmem_region *region = gmem_region_at(placement->gmem, i);

		if (region->kind == GMEM_RAM && placement_search_high(placement, region, request, gpa))
			return placement_claim(placement, *gpa, request->size_bytes, request->what, err);
	}
	return placement_no_room(request, err);
}

/* The mirror image: each turn goes above the range that was in the way. */
static bool placement_search_low(const struct placement *placement, const struct gmem_region *region,
				 const struct placement_request *request, uint64_t *gpa)
{
	uint64_t low = request->floor > region->gpa ? request->floor : region->gpa;
	uint64_t end = region->gpa + region->size_bytes;

	if (end > request->limit)
		end = request->limit;
	for (;;) {
		uint64_t start = (low + (request->align - 1)) & ~(request->align - 1);
		const struct placement_range *other;

		if (start < low || start > end || request->size_bytes > end - start)
			return false;
		other = placement_overlap(placement, start, request->size_bytes);
		if (!other) {
			*gpa = start;
			return true;
		}
		low = other->gpa + other->size_bytes;
	}
}

int placement_claim_low(struct placement *placement, const struct placement_request *request, uint64_t *gpa,
			struct err *err)
{
	assert(request->align && !(request->align & (request->align - 1)));
	for (size_t i = 0; i < gmem_region_count(placement->gmem) && request->size_bytes; i++) {
		const struct gmem_region *region = gmem_region_at(placement->gmem, i);

		if (region->kind == GMEM_RAM && placement_search_low(placement, region, request, gpa))
			return placement_claim(placement, *gpa, request->size_bytes, request->what, err);
	}
	return placement_no_room(request, err);
}
