/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the kernel proper out of a bzImage and puts it where it runs. What the kernel's own decompressor
 * would do and this does not: choose a physical address (it runs where it was linked), switch to five levels
 * of page tables.
 *
 *     payload   compressed stream, then 32 bits: length of the unpacked bytes
 *     unpacked  ELF file | 0 | 64-bit places | 0 | [32-bit places that count down | 0 |] 32-bit places
 *
 * A place is the low half of a link-time virtual address. From Linux 6.15 there is no list in brackets; the
 * number of zeroes tells.
 */
#include "loader/vmlinux.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "loader/bzimage.h"
#include "loader/placement.h"
#include "loader/unpack.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define VMLINUX_MAP_GVA          0xffffffff80000000ull /* __START_KERNEL_map: physical 0 */
#define VMLINUX_LENGTH_SIZE      4u
#define VMLINUX_PROTOCOL_PAYLOAD 0x0208 /* brought payload_offset */

static int vmlinux_payload(const struct image *image, const struct bzimage *bzimage, uint8_t **payload,
			   uint64_t *size, struct err *err)
{
	const struct linux_header *header = &bzimage->header;

	*size = header->payload_length;
	if (header->version < VMLINUX_PROTOCOL_PAYLOAD || !bzimage->is_64bit ||
	    *size <= VMLINUX_LENGTH_SIZE || header->payload_offset > bzimage->payload_size ||
	    *size > bzimage->payload_size - header->payload_offset)
		return err_set(err, -ENOTSUP, "%s: its kernel can only unpack itself", image->name);
	*payload = malloc(*size);
	if (!*payload)
		return err_set(err, -ENOMEM, "%s: no memory for the packed kernel", image->name);
	return image_read(image, bzimage->setup_size + (uint64_t)header->payload_offset, *payload, *size,
			  err);
}

/* The kernel's length is the payload's last word: for gzip, part of the stream. */
static int vmlinux_unpack_payload(const struct image *image, const uint8_t *payload, uint64_t size,
				  struct vmlinux *vmlinux, struct err *err)
{
	uint32_t unpacked_size;
	int ret;

	memcpy(&unpacked_size, payload + size - VMLINUX_LENGTH_SIZE, sizeof(unpacked_size));
	if (!unpacked_size || unpacked_size > VMLINUX_SIZE_MAX)
		return err_set(err, -ENOTSUP, "%s: a kernel of %" PRIu32 " bytes, at most %llu are unpacked",
			       image->name, unpacked_size, VMLINUX_SIZE_MAX);
	vmlinux->bytes = malloc(unpacked_size);
	if (!vmlinux->bytes)
		return err_set(err, -ENOMEM, "%s: no memory for the unpacked kernel", image->name);
	ret = unpack(payload, size, vmlinux->bytes, unpacked_size, err);
	if (ret)
		return err_prefix(err, "%s", image->name);
	image_from_memory(&vmlinux->image, image->name, vmlinux->bytes, unpacked_size);
	return elf_parse(&vmlinux->image, &vmlinux->elf, err);
}

static uint32_t vmlinux_word(const struct vmlinux *vmlinux, size_t index)
{
	uint32_t word;

	memcpy(&word, vmlinux->bytes + vmlinux->table_offset + index * sizeof(word), sizeof(word));
	return word;
}

/* Splits the table at its zeroes. One that is not understood leaves the kernel where it was linked. */
static bool vmlinux_split_table(struct vmlinux *vmlinux, size_t words)
{
	struct vmlinux_list found[VMLINUX_RELOCATIONS_COUNT] = {{0}};
	size_t lists = 0;

	if (words == 0 || vmlinux_word(vmlinux, 0) != 0)
		return false;
	for (size_t i = 0; i < words; i++) {
		if (vmlinux_word(vmlinux, i) != 0) {
			found[lists - 1].count++;
			continue;
		}
		if (lists == VMLINUX_RELOCATIONS_COUNT)
			return false;
		found[lists++].first = i + 1;
	}
	if (lists < 2)
		return false;
	vmlinux->list[VMLINUX_ADD_64] = found[0];
	vmlinux->list[VMLINUX_SUBTRACT_32] = lists == 3 ? found[1] : (struct vmlinux_list){0};
	vmlinux->list[VMLINUX_ADD_32] = found[lists - 1];
	return true;
}

/* The table begins where the section headers, the last of the ELF file, end. */
static void vmlinux_find_table(struct vmlinux *vmlinux)
{
	uint64_t size = vmlinux->image.size_bytes, end;
	Elf64_Ehdr header;

	if (image_read(&vmlinux->image, 0, &header, sizeof(header), NULL) || header.e_shoff > size)
		return;
	end = (uint64_t)header.e_shnum * header.e_shentsize;
	if (end > size - header.e_shoff)
		return;
	end += header.e_shoff;
	if ((size - end) % sizeof(uint32_t))
		return;
	vmlinux->table_offset = end;
	if (!vmlinux_split_table(vmlinux, (size - end) / sizeof(uint32_t)))
		vmlinux->table_offset = 0;
}

int vmlinux_unpack(const struct image *image, const struct bzimage *bzimage, struct vmlinux *vmlinux,
		   struct err *err)
{
	uint8_t *payload = NULL;
	uint64_t size;
	int ret;

	*vmlinux = (struct vmlinux){.link_gpa = bzimage->header.pref_address,
				    .align = bzimage->header.kernel_alignment};
	ret = vmlinux_payload(image, bzimage, &payload, &size, err);
	if (!ret)
		ret = vmlinux_unpack_payload(image, payload, size, vmlinux, err);
	free(payload);
	if (ret)
		return ret;
	if (!vmlinux->elf.is_64bit || vmlinux->elf.low_gpa < vmlinux->link_gpa)
		return err_set(err, -ENOTSUP, "%s: its kernel can only unpack itself", image->name);
	vmlinux_find_table(vmlinux);
	return 0;
}

void vmlinux_release(struct vmlinux *vmlinux)
{
	free(vmlinux->bytes);
	*vmlinux = (struct vmlinux){0};
}

uint64_t vmlinux_slide(const struct vmlinux *vmlinux, uint64_t random)
{
	uint64_t end = vmlinux->elf.high_gpa;

	if (!vmlinux->table_offset || !vmlinux->align || end > VMLINUX_SIZE_MAX)
		return 0;
	return random % ((VMLINUX_SIZE_MAX - end) / vmlinux->align + 1) * vmlinux->align;
}

struct vmlinux_window {
	uint8_t *hva;
	uint64_t gpa, size_bytes; /* of the loaded kernel */
};

static int vmlinux_relocate(const struct vmlinux *vmlinux, enum vmlinux_relocations which, uint64_t slide,
			    const struct vmlinux_window *window)
{
	const struct vmlinux_list *list = &vmlinux->list[which];
	size_t width = which == VMLINUX_ADD_64 ? 8 : 4;

	for (size_t i = 0; i < list->count; i++) {
		uint64_t gva = 0xffffffff00000000ull | vmlinux_word(vmlinux, list->first + i);
		uint64_t at = gva - VMLINUX_MAP_GVA - window->gpa;
		uint64_t value = 0;

		if (gva < VMLINUX_MAP_GVA + window->gpa || at > window->size_bytes ||
		    width > window->size_bytes - at)
			return -ENOEXEC;
		memcpy(&value, window->hva + at, width);
		value += which == VMLINUX_SUBTRACT_32 ? -slide : slide;
		memcpy(window->hva + at, &value, width);
	}
	return 0;
}

static int vmlinux_move(const struct vmlinux *vmlinux, uint64_t slide, struct gmem *gmem, struct err *err)
{
	struct vmlinux_window window = {.gpa = vmlinux->elf.low_gpa,
					.size_bytes = vmlinux->elf.high_gpa - vmlinux->elf.low_gpa};
	int ret = 0;

	window.hva = gmem_span(gmem, window.gpa, window.size_bytes);
	if (!window.hva)
		return err_set(err, -ENOSPC, "%s: no guest RAM for the kernel", vmlinux->image.name);
	for (int which = 0; which < VMLINUX_RELOCATIONS_COUNT && !ret; which++)
		ret = vmlinux_relocate(vmlinux, (enum vmlinux_relocations)which, slide, &window);
	gmem_written(gmem, window.gpa, window.size_bytes);
	return ret ? err_set(err, ret, "%s: its relocation table points outside of it", vmlinux->image.name)
		   : 0;
}

int vmlinux_load(const struct vmlinux *vmlinux, uint64_t slide, struct gmem *gmem,
		 struct placement *placement, struct err *err)
{
	const struct elf_image *elf = &vmlinux->elf;
	int ret;

	if (!placement_is_free(placement, elf->low_gpa, elf->high_gpa - elf->low_gpa))
		return err_set(err, -ENOSPC, "%s: the place it was linked for is not free",
			       vmlinux->image.name);
	ret = elf_load(&vmlinux->image, elf, gmem, placement, err);
	return ret || !slide ? ret : vmlinux_move(vmlinux, slide, gmem, err);
}
