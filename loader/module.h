/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files beside the kernel: the initrd of Linux (several are joined, each on a 4-byte boundary, as cpio wants
 * them) and the modules of multiboot and PVH. Bytes pass through unchanged, whatever they are compressed
 * with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct gmem;
struct placement;
struct placement_request;

#define MODULE_COUNT_MAX 64 /* bounds the tables made for them; Xen with every dom0 file needs four */

struct module {
	const char *path;    /* borrowed */
	const char *cmdline; /* borrowed; NULL: none */
};

struct module_range {
	uint64_t gpa;
	uint64_t size_bytes;
};

/* Where modules may lie. */
struct module_bounds {
	uint64_t align; /* power of two */
	uint64_t floor;
	uint64_t limit; /* first address too high */
	bool lowest;    /* as low as possible: kernels that map only what follows them */
};

/* Joins all files into one range where the bounds say. count 0 gives an empty range. */
int module_load_joined(const struct module *module, size_t count, const struct module_bounds *bounds,
		       struct placement *placement, struct module_range *range, struct err *err);

/* Loads one file where the bounds say. */
int module_load(const struct module *module, const struct module_bounds *bounds, struct placement *placement,
		struct module_range *range, struct err *err);
