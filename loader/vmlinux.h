/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel proper inside a 64-bit bzImage: an ELF file, and behind it the places to change when it is to
 * run at other virtual addresses than it was linked for. Unpacked here it can be entered at once, and the
 * guest need not unpack itself. Kernel: Documentation/arch/x86/boot.rst (payload_offset),
 * arch/x86/tools/relocs.c.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "loader/elf.h"
#include "loader/image.h"

struct bzimage;
struct err;
struct gmem;
struct placement;

#define VMLINUX_SIZE_MAX (1ull << 30) /* the kernel's own bound of its image, KERNEL_IMAGE_SIZE */

/* Three lists, each of addresses whose upper 32 bits are ones. */
enum vmlinux_relocations {
	VMLINUX_ADD_64,
	VMLINUX_SUBTRACT_32, /* kernels up to 6.14 */
	VMLINUX_ADD_32,
	VMLINUX_RELOCATIONS_COUNT,
};

struct vmlinux_list {
	size_t first, count; /* in 32-bit words of the table */
};

struct vmlinux {
	uint8_t *bytes;     /* owned: the ELF file, then the table */
	struct image image; /* over bytes */
	struct elf_image elf;
	uint64_t table_offset; /* of the relocation table in bytes; 0: there is none, the kernel cannot be
				  slid */
	struct vmlinux_list list[VMLINUX_RELOCATIONS_COUNT];
	uint64_t link_gpa; /* where it was linked to run: the bzImage's pref_address */
	uint64_t align;
};

/*
 * Unpacks the payload. -ENOTSUP for a kernel that must unpack itself: 32 bits wide, packed in a format that
 * is not known, or no ELF file that can be entered. vmlinux is to be released whatever the answer.
 */
int vmlinux_unpack(const struct image *image, const struct bzimage *bzimage, struct vmlinux *vmlinux,
		   struct err *err);
void vmlinux_release(struct vmlinux *vmlinux);

/*
 * The distance that the kernel's virtual addresses are moved up by, chosen by `random` as the kernel itself
 * would choose: any multiple of its alignment that leaves all of it in its gibibyte. 0 for a kernel that has
 * no table.
 */
uint64_t vmlinux_slide(const struct vmlinux *vmlinux, uint64_t random);

/* Claims, loads and moves by `slide`. -ENOSPC, with nothing claimed, where its place is not free. */
int vmlinux_load(const struct vmlinux *vmlinux, uint64_t slide, struct gmem *gmem,
		 struct placement *placement, struct err *err);
