/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF executables for x86, 32 and 64 bit, by their program headers: segments go to their physical addresses.
 * Finds the PVH entry note. System V ABI, chapters 4 and 5; the note is Xen's (xen/include/public/elfnote.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct gmem;
struct image;
struct placement;

#define ELF_SEGMENTS_MAX  64          /* a vmlinux has five; bounds the work on a hostile header */
#define ELF_NOTE_SIZE_MAX (64u << 10) /* of one note segment */

struct elf_segment {
	uint64_t offset; /* in the file */
	uint64_t file_size;
	uint64_t gpa;         /* p_paddr */
	uint64_t gva;         /* p_vaddr */
	uint64_t memory_size; /* >= file_size, the rest is zero */
};

struct elf_image {
	bool is_64bit;
	bool has_pvh_entry;
	uint32_t pvh_entry_gpa;
	uint64_t entry;             /* e_entry as written */
	uint64_t entry_gpa;         /* e_entry, translated when it is a virtual address of a segment */
	uint64_t low_gpa, high_gpa; /* first byte, and one past the last, of all segments */
	struct elf_segment segment[ELF_SEGMENTS_MAX];
	size_t segment_count;
};

/* Reads headers and notes; touches no guest memory. -ENOEXEC with a message that says what is wrong. */
int elf_parse(const struct image *image, struct elf_image *elf, struct err *err);
/* Claims and loads every segment. */
int elf_load(const struct image *image, const struct elf_image *elf, struct gmem *gmem,
	     struct placement *placement, struct err *err);
