/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzImage: the Linux/x86 boot protocol 2.00 to 2.15, protected-mode part. Kernel documentation,
 * Documentation/arch/x86/boot.rst. Loads and says where to enter; the zero page and the registers are
 * boot/'s.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loader/linux_header.h"

struct err;
struct gmem;
struct image;
struct placement;

#define BZIMAGE_VERSION_SIZE 128 /* of the version string kept for the log; longer ones are cut */

struct bzimage {
	struct linux_header header; /* what the file says, cut to the length that the file says */
	uint32_t setup_size;        /* bytes before the protected-mode code */
	uint64_t payload_size;      /* bytes of protected-mode code in the file */
	bool is_64bit;              /* has the 64-bit entry at +0x200 */
	uint64_t load_gpa;          /* where the protected-mode code went (bzimage_load) */
	uint64_t run_size;          /* bytes from load_gpa that the kernel needs until it has a memory map */
	uint64_t entry_gpa;         /* +0x200 for the 64-bit entry */
	uint32_t cmdline_size_max;  /* without the final zero */
	uint64_t initrd_limit;      /* first address too high for initrd */
	char version[BZIMAGE_VERSION_SIZE]; /* the kernel's own version string, "" if it has none */
};

/* Checks the header; touches no guest memory. -ENOEXEC with a message that says what is wrong. */
int bzimage_parse(const struct image *image, struct bzimage *bzimage, struct err *err);

/* Chooses the address, claims and loads. Fills load_gpa, run_size and entry_gpa. */
int bzimage_load(const struct image *image, struct bzimage *bzimage, struct gmem *gmem,
		 struct placement *placement, struct err *err);
