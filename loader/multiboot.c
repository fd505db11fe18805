/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot 1 headers and loading. Multiboot Specification 0.6.96, 3.1.1 (layout), 3.1.2 (magic
 * fields), 3.1.3 (address fields).
 */
#include "loader/multiboot.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "loader/image.h"
#include "loader/placement.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define MULTIBOOT_REQUIREMENTS 0x0000ffffu /* flags that a loader must understand or refuse */
#define MULTIBOOT_UNDERSTOOD   (MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO)

struct multiboot_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* if MULTIBOOT_ADDRESSES */
};

static_assert(sizeof(struct multiboot_header) == 32, "multiboot header");

int multiboot_find_header(const struct image *image, uint32_t *offset, struct err *err)
{
	uint8_t start[MULTIBOOT_SEARCH_SIZE];
	size_t len = image->size_bytes < sizeof(start) ? (size_t)image->size_bytes : sizeof(start);
	int ret = image_read(image, 0, start, len, err);

	if (ret)
		return ret;
	for (size_t at = 0; at + 12 <= len; at += 4) {
		uint32_t word[3];

		memcpy(word, start + at, sizeof(word));
		if (word[0] == MULTIBOOT_HEADER_MAGIC && word[0] + word[1] + word[2] == 0) {
			*offset = (uint32_t)at;
			return 0;
		}
	}
	return err_set(err, -ENOENT, "%s: no multiboot header in the first 8 KiB", image->name);
}

static int multiboot_check_flags(const struct image *image, uint32_t flags, struct err *err)
{
	if (flags & MULTIBOOT_VIDEO_MODE)
		return err_set(err, -ENOTSUP,
			       "%s: the multiboot header demands a video mode (flag 2), there is no display",
			       image->name);
	if (flags & MULTIBOOT_REQUIREMENTS & ~MULTIBOOT_UNDERSTOOD)
		return err_set(
			err, -ENOTSUP,
			"%s: the multiboot header demands features that are not known: flags %#" PRIx32,
			image->name, flags);
	return 0;
}

/* The "a.out kludge": the addresses say which bytes of the file go where. */
static int multiboot_use_addresses(const struct image *image, const struct multiboot_header *header,
				   struct multiboot_image *multiboot, struct err *err)
{
	uint32_t before = header->header_addr - header->load_addr, offset = multiboot->header_offset;
	uint64_t in_file, memory_end;

	if (header->load_addr > header->header_addr || before > offset)
		return err_set(err, -ENOEXEC,
			       "%s: multiboot load_addr %#" PRIx32 " does not fit header_addr %#" PRIx32
			       " at file offset %" PRIu32,
			       image->name, header->load_addr, header->header_addr, offset);
	multiboot->file_offset = offset - before;
	in_file = image->size_bytes - multiboot->file_offset;
	multiboot->load_gpa = header->load_addr;
	multiboot->load_size = in_file;
	if (header->load_end_addr && header->load_end_addr < header->load_addr)
		return err_set(err, -ENOEXEC,
			       "%s: multiboot load_end_addr %#" PRIx32 " lies below load_addr %#" PRIx32,
			       image->name, header->load_end_addr, header->load_addr);
	if (header->load_end_addr)
		multiboot->load_size = header->load_end_addr - header->load_addr;
	if (multiboot->load_size > in_file)
		return err_set(err, -ENOEXEC,
			       "%s: truncated: multiboot load_end_addr asks for %" PRIu64
			       " bytes, the file has %" PRIu64,
			       image->name, multiboot->load_size, in_file);
	memory_end = multiboot->load_gpa + multiboot->load_size;
	if (header->bss_end_addr && header->bss_end_addr < memory_end)
		return err_set(err, -ENOEXEC,
			       "%s: multiboot bss_end_addr %#" PRIx32 " lies below the end of data %#" PRIx64,
			       image->name, header->bss_end_addr, memory_end);
	if (header->bss_end_addr)
		multiboot->bss_size = header->bss_end_addr - memory_end;
	memory_end += multiboot->bss_size;
	if (header->entry_addr < multiboot->load_gpa || header->entry_addr >= memory_end)
		return err_set(err, -ENOEXEC,
			       "%s: multiboot entry_addr %#" PRIx32 " lies outside %#" PRIx64 "-%#" PRIx64,
			       image->name, header->entry_addr, multiboot->load_gpa, memory_end);
	multiboot->entry_gpa = header->entry_addr;
	return 0;
}

int multiboot_parse(const struct image *image, struct multiboot_image *multiboot, struct err *err)
{
	struct multiboot_header header = {0};
	int ret;

	*multiboot = (struct multiboot_image){0};
	ret = multiboot_find_header(image, &multiboot->header_offset, err);
	if (ret)
		return ret == -ENOENT ? err_set(err, -ENOEXEC, "%s: no multiboot header in the first 8 KiB",
						image->name)
				      : ret;
	ret = image_read(image, multiboot->header_offset, &header, 12, err);
	if (!ret)
		ret = multiboot_check_flags(image, header.flags, err);
	if (ret)
		return ret;
	multiboot->flags = header.flags;
	multiboot->has_addresses = header.flags & MULTIBOOT_ADDRESSES;
	if (multiboot->has_addresses) {
		ret = image_read(image, multiboot->header_offset, &header, sizeof(header), err);
		return ret ? ret : multiboot_use_addresses(image, &header, multiboot, err);
	}
	ret = elf_parse(image, &multiboot->elf, err);
	multiboot->entry_gpa = (uint32_t)multiboot->elf.entry_gpa;
	return ret;
}

int multiboot_load(const struct image *image, const struct multiboot_image *multiboot, struct gmem *gmem,
		   struct placement *placement, struct err *err)
{
	uint64_t bss_gpa = multiboot->load_gpa + multiboot->load_size;
	int ret;

	if (!multiboot->has_addresses)
		return elf_load(image, &multiboot->elf, gmem, placement, err);
	ret = placement_claim(placement, multiboot->load_gpa, multiboot->load_size + multiboot->bss_size,
			      "kernel", err);
	if (!ret)
		ret = image_load(image, multiboot->file_offset, multiboot->load_size, gmem,
				 multiboot->load_gpa, err);
	if (!ret && gmem_zero(gmem, bss_gpa, multiboot->bss_size))
		ret = err_set(err, -ENOSPC, "%s: no guest RAM at %#" PRIx64, image->name, bss_gpa);
	return ret;
}
