/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bzImage whose kernel is unpacked here. First byte even: the rest is the packed payload as it is. Odd: the
 * rest is the unpacked kernel and its relocation table, packed here, so that the fuzzer need not find out
 * how. Loaded, moved, or refused with a message.
 */
#include <assert.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "loader/bzimage.h"
#include "loader/image.h"
#include "loader/placement.h"
#include "loader/vmlinux.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define FUZZ_RAM_SIZE (16u << 20)
#define FUZZ_SETUP    0x400u /* one sector of setup code behind the boot sector */

static size_t fuzz_pack(const uint8_t *data, size_t size, uint8_t *packed, size_t room)
{
	int got = LZ4_compress_default((const char *)data, (char *)packed + 8, (int)size, (int)room - 8);
	uint32_t block = (uint32_t)got;

	memcpy(packed, "\x02\x21\x4c\x18", 4);
	memcpy(packed + 4, &block, sizeof(block));
	return 8 + block;
}

/* A bzImage around the payload, behind which stands the length that it has unpacked. */
static size_t fuzz_wrap(uint8_t *image, size_t payload_size, uint32_t unpacked_size)
{
	struct linux_header header = {.setup_sects = 1,
				      .boot_flag = LINUX_BOOT_FLAG,
				      .jump = 0x6aeb,
				      .header = LINUX_HEADER_MAGIC,
				      .version = 0x020f,
				      .loadflags = LINUX_LOADED_HIGH,
				      .kernel_alignment = 0x200000,
				      .relocatable_kernel = 1,
				      .xloadflags = LINUX_XLF_KERNEL_64,
				      .pref_address = 0x100000,
				      .payload_length = (uint32_t)payload_size + 4};

	memcpy(image + LINUX_HEADER_OFFSET, &header, sizeof(header));
	memcpy(image + FUZZ_SETUP + payload_size, &unpacked_size, sizeof(unpacked_size));
	return FUZZ_SETUP + payload_size + sizeof(unpacked_size);
}

static int fuzz_load(const struct image *image, struct gmem *gmem, struct err *err)
{
	struct placement placement;
	struct bzimage bzimage;
	struct vmlinux vmlinux;
	int ret = bzimage_parse(image, &bzimage, err);
	uint64_t slide;

	if (ret)
		return ret;
	placement_init(&placement, gmem);
	ret = vmlinux_unpack(image, &bzimage, &vmlinux, err);
	if (!ret) {
		slide = vmlinux_slide(&vmlinux, 77);
		assert(!slide || vmlinux.elf.high_gpa + slide <= VMLINUX_SIZE_MAX);
		ret = vmlinux_load(&vmlinux, slide, gmem, &placement, err);
	}
	vmlinux_release(&vmlinux);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t room = FUZZ_SETUP + 1024 + size * 2;
	struct err err = {0};
	struct image image;
	struct gmem *gmem;
	uint8_t *bytes;
	size_t packed;
	int ret;

	if (size < 2 || size > 1u << 20)
		return 0;
	bytes = calloc(1, room);
	gmem = gmem_create();
	assert(bytes && gmem && !gmem_add(gmem, 0, FUZZ_RAM_SIZE, GMEM_RAM, NULL));
	if (data[0] & 1) {
		packed = fuzz_pack(data + 1, size - 1, bytes + FUZZ_SETUP, room - FUZZ_SETUP - 4);
	} else {
		packed = size - 1;
		memcpy(bytes + FUZZ_SETUP, data + 1, packed);
	}
	image_from_memory(&image, "fuzz", bytes,
			  fuzz_wrap(bytes, packed, data[0] & 1 ? (uint32_t)size - 1 : 4096u + data[0]));
	ret = fuzz_load(&image, gmem, &err);
	assert(!ret || (err.code == ret && err.message[0]));
	gmem_destroy(gmem);
	free(bytes);
	return 0;
}
