/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flat binaries: the whole file at one address below 1 MiB, where real mode reaches it. No format, hence no
 * checks but those of size and place.
 */
#pragma once

#include <stdint.h>

struct err;
struct gmem;
struct image;
struct placement;

#define FLAT_GPA_LIMIT 0xa0000ull /* where video memory begins on a PC */

struct flat_image {
	uint64_t load_gpa;
	uint64_t entry_gpa;
};

/* Fills *flat: entry_offset is from gpa and must lie in the file. -ENOEXEC with a message otherwise. */
int flat_parse(const struct image *image, uint64_t gpa, uint64_t entry_offset, struct flat_image *flat,
	       struct err *err);
/* Claims and loads. */
int flat_load(const struct image *image, const struct flat_image *flat, struct gmem *gmem,
	      struct placement *placement, struct err *err);
