/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF loading by program headers, with every number of the file checked before it is used. Section headers
 * and relocations play no part: an executable that runs at its physical addresses needs neither.
 */
#include "loader/elf.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "loader/image.h"
#include "loader/placement.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define ELF_GPA_LIMIT       (1ull << 32) /* entered in 32-bit mode, or in 64-bit mode with 4 GiB mapped */
#define ELF_NOTE_XEN_PHYS32 18           /* XEN_ELFNOTE_PHYS32_ENTRY */

static int elf_read_header(const struct image *image, Elf64_Ehdr *header, struct err *err)
{
	Elf32_Ehdr narrow = {0};
	int ret = image_read(image, 0, header->e_ident, EI_NIDENT, err);

	if (ret)
		return ret;
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_ident[EI_DATA] != ELFDATA2LSB)
		return err_set(err, -ENOEXEC, "%s: not a little-endian ELF file", image->name);
	if (header->e_ident[EI_CLASS] == ELFCLASS64)
		return image_read(image, 0, header, sizeof(*header), err);
	if (header->e_ident[EI_CLASS] != ELFCLASS32)
		return err_set(err, -ENOEXEC, "%s: ELF class %u is neither 32 nor 64 bit", image->name,
			       header->e_ident[EI_CLASS]);
	ret = image_read(image, 0, &narrow, sizeof(narrow), err);
	header->e_type = narrow.e_type;
	header->e_machine = narrow.e_machine;
	header->e_entry = narrow.e_entry;
	header->e_phoff = narrow.e_phoff;
	header->e_phentsize = narrow.e_phentsize;
	header->e_phnum = narrow.e_phnum;
	return ret;
}

static int elf_check_header(const struct image *image, const Elf64_Ehdr *header, bool is_64bit,
			    struct err *err)
{
	size_t entry_size = is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

	if (header->e_machine != EM_386 && header->e_machine != EM_X86_64)
		return err_set(err, -ENOEXEC, "%s: ELF for machine %u, x86 (3 or 62) is needed", image->name,
			       header->e_machine);
	if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
		return err_set(err, -ENOEXEC, "%s: ELF type %u is not an executable", image->name,
			       header->e_type);
	if (!header->e_phnum)
		return err_set(err, -ENOEXEC, "%s: ELF file without program headers has nothing to load",
			       image->name);
	if (header->e_phentsize != entry_size)
		return err_set(err, -ENOEXEC, "%s: ELF program headers of %u bytes each, %zu expected",
			       image->name, header->e_phentsize, entry_size);
	if (header->e_phnum > ELF_SEGMENTS_MAX)
		return err_set(err, -ENOEXEC, "%s: %u ELF program headers, at most %d are accepted",
			       image->name, header->e_phnum, ELF_SEGMENTS_MAX);
	return 0;
}

static int elf_read_program_header(const struct image *image, const Elf64_Ehdr *header, unsigned index,
				   Elf64_Phdr *program, struct err *err)
{
	bool is_64bit = header->e_ident[EI_CLASS] == ELFCLASS64;
	uint64_t offset = header->e_phoff;
	Elf32_Phdr narrow;
	int ret;

	if (offset > image->size_bytes)
		return err_set(err, -ENOEXEC,
			       "%s: truncated: ELF program headers at %" PRIu64 ", the file ends at %" PRIu64,
			       image->name, offset, image->size_bytes);
	offset += (uint64_t)index * header->e_phentsize;
	if (is_64bit)
		return image_read(image, offset, program, sizeof(*program), err);
	ret = image_read(image, offset, &narrow, sizeof(narrow), err);
	if (!ret)
		*program = (Elf64_Phdr){.p_type = narrow.p_type,
					.p_offset = narrow.p_offset,
					.p_vaddr = narrow.p_vaddr,
					.p_paddr = narrow.p_paddr,
					.p_filesz = narrow.p_filesz,
					.p_memsz = narrow.p_memsz,
					.p_align = narrow.p_align};
	return ret;
}

static int elf_add_segment(const struct image *image, struct elf_image *elf, const Elf64_Phdr *program,
			   struct err *err)
{
	uint64_t end;

	if (!program->p_memsz)
		return 0;
	if (program->p_filesz > program->p_memsz)
		return err_set(err, -ENOEXEC,
			       "%s: ELF segment has %" PRIu64 " bytes in the file, more than the %" PRIu64
			       " in memory",
			       image->name, program->p_filesz, program->p_memsz);
	if (program->p_offset > image->size_bytes ||
	    program->p_filesz > image->size_bytes - program->p_offset)
		return err_set(err, -ENOEXEC, "%s: truncated: an ELF segment ends beyond the file",
			       image->name);
	if (program->p_paddr >= ELF_GPA_LIMIT || program->p_memsz > ELF_GPA_LIMIT - program->p_paddr)
		return err_set(err, -ENOEXEC,
			       "%s: ELF segment of %#" PRIx64 " bytes at physical %#" PRIx64
			       " does not end below 4 GiB",
			       image->name, program->p_memsz, program->p_paddr);
	end = program->p_paddr + program->p_memsz;
	if (!elf->segment_count || program->p_paddr < elf->low_gpa)
		elf->low_gpa = program->p_paddr;
	if (end > elf->high_gpa)
		elf->high_gpa = end;
	elf->segment[elf->segment_count++] = (struct elf_segment){.offset = program->p_offset,
								  .file_size = program->p_filesz,
								  .gpa = program->p_paddr,
								  .gva = program->p_vaddr,
								  .memory_size = program->p_memsz};
	return 0;
}

/*
 * Walks the notes of one segment with the given padding. Linkers pad to 4 even in 64-bit files, some to
 * p_align; both are tried by the caller. System V ABI, "Note Section".
 */
static bool elf_find_pvh_note(const uint8_t *note, size_t size, size_t align, uint32_t *entry)
{
	size_t at = 0;

	while (size - at >= sizeof(Elf32_Nhdr)) {
		Elf32_Nhdr header;
		uint64_t name = at + sizeof(header), desc, next;

		memcpy(&header, note + at, sizeof(header));
		desc = (name + header.n_namesz + (align - 1)) & ~(uint64_t)(align - 1);
		next = (desc + header.n_descsz + (align - 1)) & ~(uint64_t)(align - 1);
		if (desc > size || header.n_descsz > size - desc)
			return false;
		if (header.n_type == ELF_NOTE_XEN_PHYS32 && header.n_namesz == 4 &&
		    !memcmp(note + name, "Xen", 4) && (header.n_descsz == 4 || header.n_descsz == 8)) {
			memcpy(entry, note + desc, sizeof(*entry));
			return true;
		}
		if (next > size)
			return false;
		at = (size_t)next;
	}
	return false;
}

static int elf_read_notes(const struct image *image, struct elf_image *elf, const Elf64_Phdr *program,
			  struct err *err)
{
	size_t size = program->p_filesz < ELF_NOTE_SIZE_MAX ? program->p_filesz : ELF_NOTE_SIZE_MAX;
	uint8_t *note;
	int ret;

	if (!size || elf->has_pvh_entry)
		return 0;
	note = malloc(size);
	if (!note)
		return err_set(err, -ENOMEM, "%s: no memory for ELF notes", image->name);
	ret = image_read(image, program->p_offset, note, size, err);
	if (!ret)
		elf->has_pvh_entry = elf_find_pvh_note(note, size, 4, &elf->pvh_entry_gpa) ||
				     elf_find_pvh_note(note, size, 8, &elf->pvh_entry_gpa);
	free(note);
	return ret;
}

static bool elf_is_loaded(const struct elf_image *elf, uint64_t gpa)
{
	for (size_t i = 0; i < elf->segment_count; i++)
		if (gpa >= elf->segment[i].gpa && gpa - elf->segment[i].gpa < elf->segment[i].memory_size)
			return true;
	return false;
}

/* Linux writes a physical e_entry, others a virtual one. */
static int elf_find_entry(const struct image *image, struct elf_image *elf, struct err *err)
{
	if (elf->has_pvh_entry && !elf_is_loaded(elf, elf->pvh_entry_gpa))
		return err_set(err, -ENOEXEC, "%s: PVH entry %#" PRIx32 " lies in no ELF segment",
			       image->name, elf->pvh_entry_gpa);
	elf->entry_gpa = elf->entry;
	if (elf_is_loaded(elf, elf->entry))
		return 0;
	for (size_t i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *segment = &elf->segment[i];

		if (elf->entry >= segment->gva && elf->entry - segment->gva < segment->memory_size) {
			elf->entry_gpa = segment->gpa + (elf->entry - segment->gva);
			return 0;
		}
	}
	return err_set(err, -ENOEXEC, "%s: ELF entry %#" PRIx64 " lies in no segment", image->name,
		       elf->entry);
}

int elf_parse(const struct image *image, struct elf_image *elf, struct err *err)
{
	Elf64_Ehdr header = {0};
	Elf64_Phdr program = {0};
	int ret = elf_read_header(image, &header, err);

	*elf = (struct elf_image){.is_64bit = header.e_ident[EI_CLASS] == ELFCLASS64,
				  .entry = header.e_entry};
	if (!ret)
		ret = elf_check_header(image, &header, elf->is_64bit, err);
	for (unsigned i = 0; i < header.e_phnum && !ret; i++) {
		ret = elf_read_program_header(image, &header, i, &program, err);
		if (!ret && program.p_type == PT_LOAD)
			ret = elf_add_segment(image, elf, &program, err);
		else if (!ret && program.p_type == PT_NOTE)
			ret = elf_read_notes(image, elf, &program, err);
	}
	if (!ret && !elf->segment_count)
		ret = err_set(err, -ENOEXEC, "%s: ELF file without a segment to load", image->name);
	return ret ? ret : elf_find_entry(image, elf, err);
}

int elf_load(const struct image *image, const struct elf_image *elf, struct gmem *gmem,
	     struct placement *placement, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; i < elf->segment_count && !ret; i++)
		ret = placement_claim(placement, elf->segment[i].gpa, elf->segment[i].memory_size, "kernel",
				      err);
	for (size_t i = 0; i < elf->segment_count && !ret; i++) {
		const struct elf_segment *segment = &elf->segment[i];

		gmem_expect_use(gmem, segment->gpa, segment->memory_size);
		ret = image_load(image, segment->offset, segment->file_size, gmem, segment->gpa, err);
		if (!ret && gmem_zero(gmem, segment->gpa + segment->file_size,
				      segment->memory_size - segment->file_size))
			ret = err_set(err, -ENOSPC, "%s: no guest RAM at %#" PRIx64, image->name,
				      segment->gpa);
	}
	return ret;
}
