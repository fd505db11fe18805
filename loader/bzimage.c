/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzImage loading. Every field of the setup header is used only from the protocol version that brought it,
 * and only as far as the header's own length (the jump over it at 0x200) reaches.
 * Documentation/arch/x86/boot.rst of the kernel.
 */
#include "loader/bzimage.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "loader/image.h"
#include "loader/placement.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define BZIMAGE_SECTOR_SIZE 512u
#define BZIMAGE_SETUP_SECTS_DEFAULT                                                                          \
	4u /* "for backwards compatibility, if the field is 0, the value is 4"                               \
	    */
#define BZIMAGE_HEADER_START        0x202u /* the jump's target is relative to here */
#define BZIMAGE_ENTRY64_OFFSET      0x200u
#define BZIMAGE_LOAD_GPA            0x100000ull  /* of kernels that cannot be relocated */
#define BZIMAGE_INITRD_MAX_DEFAULT  0x37ffffffu  /* before 2.03 */
#define BZIMAGE_CMDLINE_MAX_DEFAULT 255u         /* before 2.06 */
#define BZIMAGE_ALIGNMENT_MAX       (1u << 30)   /* larger is no kernel's wish; keeps sums from wrapping */
#define BZIMAGE_GPA_LIMIT           (1ull << 32) /* 32-bit entry, and our identity map for the 64-bit one */

static int bzimage_read_header(const struct image *image, struct bzimage *bzimage, struct err *err)
{
	uint8_t start[sizeof(struct linux_header)];
	size_t fixed = BZIMAGE_HEADER_START - LINUX_HEADER_OFFSET;
	uint64_t left = image->size_bytes - LINUX_HEADER_OFFSET;
	struct linux_header *header = &bzimage->header;
	size_t len;
	int ret = image_read(image, LINUX_HEADER_OFFSET, start, offsetof(struct linux_header, heap_end_ptr),
			     err);

	if (ret)
		return ret;
	memcpy(header, start, offsetof(struct linux_header, heap_end_ptr));
	if (header->boot_flag != LINUX_BOOT_FLAG || header->header != LINUX_HEADER_MAGIC)
		return err_set(err, -ENOEXEC, "%s: not a Linux kernel: no \"HdrS\" at offset 0x202",
			       image->name);
	len = fixed + (header->jump >> 8);
	if (len < offsetof(struct linux_header, heap_end_ptr))
		return err_set(err, -ENOEXEC, "%s: setup header of %zu bytes, protocol 2.00 has %zu",
			       image->name, len, offsetof(struct linux_header, heap_end_ptr));
	if (len > sizeof(start))
		len = sizeof(start);
	if (len > left)
		len = (size_t)left;
	ret = image_read(image, LINUX_HEADER_OFFSET, start, len, err);
	if (!ret)
		memcpy(header, start, len);
	return ret;
}

static int bzimage_check_sizes(const struct image *image, struct bzimage *bzimage, struct err *err)
{
	const struct linux_header *header = &bzimage->header;
	uint32_t sects = header->setup_sects ? header->setup_sects : BZIMAGE_SETUP_SECTS_DEFAULT;
	uint64_t code_size = header->syssize * 16ull;

	bzimage->setup_size = (sects + 1) * BZIMAGE_SECTOR_SIZE;
	if (bzimage->setup_size >= image->size_bytes)
		return err_set(err, -ENOEXEC,
			       "%s: truncated: the setup code alone has %" PRIu32 " bytes, the file %" PRIu64,
			       image->name, bzimage->setup_size, image->size_bytes);
	bzimage->payload_size = image->size_bytes - bzimage->setup_size;
	/* Before 2.04 the field had 16 bits and said little. */
	if (header->version >= 0x0204 && code_size > bzimage->payload_size + 15)
		return err_set(err, -ENOEXEC,
			       "%s: truncated: the header speaks of %" PRIu64
			       " bytes of code, the file has %" PRIu64,
			       image->name, code_size, bzimage->payload_size);
	return 0;
}

/* Puts what older protocols lack into the header's copy, so that the rest need not ask for versions. */
static int bzimage_apply_version(const struct image *image, struct bzimage *bzimage, struct err *err)
{
	struct linux_header *header = &bzimage->header;

	if (header->version < 0x0200)
		return err_set(err, -ENOTSUP, "%s: boot protocol %u.%02u, 2.00 or later is needed",
			       image->name, header->version >> 8, header->version & 0xff);
	if (!(header->loadflags & LINUX_LOADED_HIGH))
		return err_set(err, -ENOTSUP, "%s: is a zImage (loaded low), build a bzImage instead",
			       image->name);
	if (header->version < 0x0203 || !header->initrd_addr_max)
		header->initrd_addr_max = BZIMAGE_INITRD_MAX_DEFAULT;
	if (header->version < 0x0205)
		header->relocatable_kernel = 0;
	if (header->version < 0x0206)
		header->cmdline_size = BZIMAGE_CMDLINE_MAX_DEFAULT;
	if (header->version < 0x020a) {
		header->pref_address = BZIMAGE_LOAD_GPA;
		header->init_size = 0;
	}
	if (header->version < 0x020c)
		header->xloadflags = 0;
	return 0;
}

static int bzimage_check_placement(const struct image *image, struct bzimage *bzimage, struct err *err)
{
	struct linux_header *header = &bzimage->header;
	uint32_t align = header->kernel_alignment;

	bzimage->is_64bit = header->xloadflags & LINUX_XLF_KERNEL_64;
	if (bzimage->is_64bit && bzimage->payload_size <= BZIMAGE_ENTRY64_OFFSET)
		return err_set(err, -ENOEXEC, "%s: %" PRIu64 " bytes of code, the 64-bit entry lies at 512",
			       image->name, bzimage->payload_size);
	if (header->relocatable_kernel && (!align || (align & (align - 1)) || align > BZIMAGE_ALIGNMENT_MAX))
		return err_set(err, -ENOEXEC,
			       "%s: kernel_alignment %#" PRIx32 " is not a power of two up to 1 GiB",
			       image->name, align);
	if (header->pref_address < BZIMAGE_LOAD_GPA || header->pref_address >= BZIMAGE_GPA_LIMIT)
		return err_set(err, -ENOEXEC, "%s: pref_address %#" PRIx64 " is not between 1 MiB and 4 GiB",
			       image->name, header->pref_address);
	return 0;
}

/* The version string is the kernel's word: only printable characters reach our log. */
static void bzimage_read_version(const struct image *image, struct bzimage *bzimage)
{
	uint64_t offset = BZIMAGE_SECTOR_SIZE + (uint64_t)bzimage->header.kernel_version;
	size_t len = sizeof(bzimage->version) - 1;

	bzimage->version[0] = 0;
	if (!bzimage->header.kernel_version || offset >= bzimage->setup_size)
		return;
	if (len > bzimage->setup_size - offset)
		len = bzimage->setup_size - offset;
	if (image_read(image, offset, bzimage->version, len, NULL))
		len = 0;
	for (size_t i = 0; i < len; i++)
		if (bzimage->version[i] < ' ' || bzimage->version[i] > '~')
			len = i;
	bzimage->version[len] = 0;
}

int bzimage_parse(const struct image *image, struct bzimage *bzimage, struct err *err)
{
	int ret;

	*bzimage = (struct bzimage){0};
	ret = bzimage_read_header(image, bzimage, err);
	if (!ret)
		ret = bzimage_apply_version(image, bzimage, err);
	if (!ret)
		ret = bzimage_check_sizes(image, bzimage, err);
	if (!ret)
		ret = bzimage_check_placement(image, bzimage, err);
	if (ret)
		return ret;
	bzimage->cmdline_size_max = bzimage->header.cmdline_size;
	bzimage->initrd_limit = (uint64_t)bzimage->header.initrd_addr_max + 1;
	bzimage->run_size = bzimage->payload_size;
	if (bzimage->run_size < bzimage->header.init_size)
		bzimage->run_size = bzimage->header.init_size;
	bzimage_read_version(image, bzimage);
	return 0;
}

/*
 * A relocatable kernel runs where it is put unless that is below pref_address, to which it then moves: so
 * pref_address is the floor. One that is not relocatable must be put at 1 MiB, and moves itself to
 * pref_address when that differs.
 */
static int bzimage_place(struct bzimage *bzimage, struct placement *placement, struct err *err)
{
	const struct linux_header *header = &bzimage->header;
	struct placement_request request = {.size_bytes = bzimage->run_size,
					    .align = header->kernel_alignment,
					    .floor = header->pref_address,
					    .limit = BZIMAGE_GPA_LIMIT,
					    .what = "kernel"};
	uint64_t size = bzimage->run_size;

	if (header->relocatable_kernel)
		return placement_claim_low(placement, &request, &bzimage->load_gpa, err);
	bzimage->load_gpa = BZIMAGE_LOAD_GPA;
	if (header->pref_address > BZIMAGE_LOAD_GPA)
		size += header->pref_address - BZIMAGE_LOAD_GPA;
	return placement_claim(placement, bzimage->load_gpa, size, "kernel", err);
}

int bzimage_load(const struct image *image, struct bzimage *bzimage, struct gmem *gmem,
		 struct placement *placement, struct err *err)
{
	int ret = bzimage_place(bzimage, placement, err);

	if (!ret)
		gmem_expect_use(gmem, bzimage->load_gpa, bzimage->run_size);
	if (!ret)
		ret = image_load(image, bzimage->setup_size, bzimage->payload_size, gmem, bzimage->load_gpa,
				 err);
	if (ret)
		return ret;
	bzimage->entry_gpa = bzimage->load_gpa + (bzimage->is_64bit ? BZIMAGE_ENTRY64_OFFSET : 0);
	bzimage->header.code32_start = (uint32_t)bzimage->load_gpa;
	return 0;
}
