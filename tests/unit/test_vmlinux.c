/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel proper out of a bzImage: packed in each format by the library that unpacks it, moved to other
 * virtual addresses, and refused (so that it unpacks itself) where anything about it is not as expected.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loader/bzimage.h"
#include "loader/placement.h"
#include "loader/unpack.h"
#include "loader/unpack_config.h"
#include "loader/vmlinux.h"
#include "tests/unit/loader_images.h"
#include "vmm/base/err.h"

#if UNPACK_HAS_GZIP
#include <zlib.h>
#endif
#if UNPACK_HAS_XZ
#include <lzma.h>
#endif
#if UNPACK_HAS_ZSTD
#include <zstd.h>
#endif
#if UNPACK_HAS_LZ4
#include <lz4.h>
#endif

#define PACKED_MAX 0x2000
#define SLIDE      0x600000u
/* Places in the kernel of test_elf64_make, by what the table's three lists do there. */
#define PLACE_64      0x10
#define PLACE_DOWN_32 0x20
#define PLACE_32      0x30
#define PLACE_GVA(at) ((uint32_t)(TEST_ELF_GVA + (at)))

struct fixture {
	struct gmem *gmem;
	struct placement placement;
	struct err err;
	struct bzimage bzimage;
	struct vmlinux vmlinux;
	struct image image;
	uint8_t kernel[TEST_ELF_SIZE + 64];
	size_t kernel_size;
	uint8_t bytes[TEST_BZIMAGE_SIZE + PACKED_MAX] __attribute__((aligned(16)));
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	f->gmem = test_ram_create();
	placement_init(&f->placement, f->gmem);
	*state = f;
	return f->gmem ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vmlinux_release(&f->vmlinux);
	gmem_destroy(f->gmem);
	test_free(f);
	return 0;
}

/* An ELF kernel and behind it a relocation table of these words. */
static void make_kernel(struct fixture *f, const uint32_t *table, size_t words)
{
	test_elf64_make(f->kernel, 0);
	test_elf_header(f->kernel)->e_shoff = TEST_ELF_SIZE;
	memcpy(f->kernel + TEST_ELF_SIZE, table, words * sizeof(*table));
	f->kernel_size = TEST_ELF_SIZE + words * sizeof(*table);
}

static void make_usual_kernel(struct fixture *f)
{
	static const uint32_t table[] = {0, PLACE_GVA(PLACE_64), 0, PLACE_GVA(PLACE_DOWN_32),
					 0, PLACE_GVA(PLACE_32)};

	make_kernel(f, table, sizeof(table) / sizeof(table[0]));
}

/* A bzImage with `packed` as its payload, behind which the unpacked length stands unless it ends with it
 * already. */
static void make_bzimage(struct fixture *f, const uint8_t *packed, size_t size)
{
	struct linux_header *header = test_bzimage_header(f->bytes);
	uint32_t unpacked_size = (uint32_t)f->kernel_size;

	test_bzimage_make(f->bytes);
	memcpy(f->bytes + TEST_BZIMAGE_SETUP + 0x400, packed, size);
	memcpy(f->bytes + TEST_BZIMAGE_SETUP + 0x400 + size, &unpacked_size, sizeof(unpacked_size));
	header->payload_offset = 0x400;
	header->payload_length = (uint32_t)size + 4;
	header->pref_address = TEST_ELF_GPA;
}

static int unpack_kernel(struct fixture *f)
{
	vmlinux_release(&f->vmlinux);
	image_from_memory(&f->image, "k", f->bytes, sizeof(f->bytes));
	assert_int_equal(bzimage_parse(&f->image, &f->bzimage, &f->err), 0);
	return vmlinux_unpack(&f->image, &f->bzimage, &f->vmlinux, &f->err);
}

static uint64_t guest_word(struct fixture *f, uint64_t at, size_t size)
{
	uint64_t value = 0;

	assert_int_equal(gmem_read(f->gmem, TEST_ELF_GPA + at, &value, size), 0);
	return value;
}

static void expect_kernel_unpacks(struct fixture *f, const uint8_t *packed, size_t size)
{
	make_bzimage(f, packed, size);
	assert_int_equal(unpack_kernel(f), 0);
	assert_int_equal(f->vmlinux.image.size_bytes, f->kernel_size);
	assert_memory_equal(f->vmlinux.bytes, f->kernel, f->kernel_size);
	/* One byte more or less than announced is another kernel. */
	f->kernel_size--;
	make_bzimage(f, packed, size);
	assert_true(unpack_kernel(f) < 0);
	f->kernel_size += 2;
	make_bzimage(f, packed, size);
	assert_true(unpack_kernel(f) < 0);
	/* A stream that is cut is an error, not a shorter kernel. */
	f->kernel_size--;
	make_bzimage(f, packed, size / 2);
	assert_true(unpack_kernel(f) < 0);
}

#if UNPACK_HAS_GZIP
static void test_gzip(void **state)
{
	struct fixture *f = *state;
	uint8_t packed[PACKED_MAX];
	z_stream stream = {.next_out = packed, .avail_out = sizeof(packed)};

	make_usual_kernel(f);
	assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	stream.next_in = f->kernel;
	stream.avail_in = (uInt)f->kernel_size;
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	/* gzip's own last word is the length: it stands there twice, and once is enough. */
	expect_kernel_unpacks(f, packed, stream.total_out - 4);
	deflateEnd(&stream);
}
#endif

#if UNPACK_HAS_XZ
static void test_xz(void **state)
{
	struct fixture *f = *state;
	uint8_t packed[PACKED_MAX];
	size_t size = 0;

	make_usual_kernel(f);
	assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, f->kernel, f->kernel_size, packed,
						 &size, sizeof(packed)),
			 LZMA_OK);
	expect_kernel_unpacks(f, packed, size);
}
#endif

#if UNPACK_HAS_ZSTD
static void test_zstd(void **state)
{
	struct fixture *f = *state;
	uint8_t packed[PACKED_MAX];

	make_usual_kernel(f);
	expect_kernel_unpacks(f, packed,
			      ZSTD_compress(packed, sizeof(packed), f->kernel, f->kernel_size, 19));
}
#endif

#if UNPACK_HAS_LZ4
static size_t pack_lz4(const struct fixture *f, uint8_t *packed)
{
	uint32_t size = (uint32_t)LZ4_compress_default((const char *)f->kernel, (char *)packed + 8,
						       (int)f->kernel_size, PACKED_MAX - 8);

	memcpy(packed, "\x02\x21\x4c\x18", 4);
	memcpy(packed + 4, &size, sizeof(size));
	return 8 + size;
}

static void test_lz4(void **state)
{
	struct fixture *f = *state;
	uint8_t packed[PACKED_MAX];

	make_usual_kernel(f);
	expect_kernel_unpacks(f, packed, pack_lz4(f, packed));
	/* A block that claims more than the stream has. */
	make_bzimage(f, packed, pack_lz4(f, packed));
	memset(f->bytes + TEST_BZIMAGE_SETUP + 0x400 + 4, 0xff, 4);
	assert_int_equal(unpack_kernel(f), -EBADMSG);
}

static void load_usual_kernel(struct fixture *f, uint64_t slide)
{
	uint8_t packed[PACKED_MAX];

	make_usual_kernel(f);
	make_bzimage(f, packed, pack_lz4(f, packed));
	assert_int_equal(unpack_kernel(f), 0);
	assert_int_equal(vmlinux_load(&f->vmlinux, slide, f->gmem, &f->placement, &f->err), 0);
}

static void test_kernel_stays_where_it_was_linked(void **state)
{
	struct fixture *f = *state;

	load_usual_kernel(f, 0);
	assert_int_equal(guest_word(f, PLACE_64, 8), 0x4545454545454545);
	assert_false(placement_is_free(&f->placement, TEST_ELF_GPA, 1));
	assert_int_equal(f->vmlinux.elf.entry_gpa, TEST_ELF_GPA + 0x10);
}

static void test_kernel_is_moved(void **state)
{
	struct fixture *f = *state;

	load_usual_kernel(f, SLIDE);
	assert_int_equal(guest_word(f, PLACE_64, 8), 0x4545454545454545 + SLIDE);
	assert_int_equal(guest_word(f, PLACE_DOWN_32, 4), 0x45454545 - SLIDE);
	assert_int_equal(guest_word(f, PLACE_DOWN_32 + 4, 4), 0x45454545);
	assert_int_equal(guest_word(f, PLACE_32, 4), 0x45454545 + SLIDE);
	assert_int_equal(guest_word(f, PLACE_32 + 4, 4), 0x45454545);
}

static void test_slides_are_aligned_and_keep_inside(void **state)
{
	struct fixture *f = *state;
	uint64_t highest = 0;

	load_usual_kernel(f, 0);
	for (uint64_t random = 0; random < 4096; random++) {
		uint64_t slide = vmlinux_slide(&f->vmlinux, random * 0x9e3779b97f4a7c15);

		assert_int_equal(slide % 0x200000, 0);
		assert_true(f->vmlinux.elf.high_gpa + slide <= VMLINUX_SIZE_MAX);
		highest = slide > highest ? slide : highest;
	}
	/* The last place is reached too: the range is not cut short. */
	assert_true(f->vmlinux.elf.high_gpa + highest + 0x200000 > VMLINUX_SIZE_MAX);
}

static void unpack_with_table(struct fixture *f, const uint32_t *table, size_t words)
{
	uint8_t packed[PACKED_MAX];

	make_kernel(f, table, words);
	make_bzimage(f, packed, pack_lz4(f, packed));
	assert_int_equal(unpack_kernel(f), 0);
}

static void test_tables(void **state)
{
	struct fixture *f = *state;
	static const uint32_t of_two_lists[] = {0, PLACE_GVA(PLACE_64), 0, PLACE_GVA(PLACE_32)};
	static const uint32_t no_zero_first[] = {PLACE_GVA(PLACE_64), 0, 0, PLACE_GVA(PLACE_32)};
	static const uint32_t of_four_lists[] = {0, 1, 0, 1, 0, 1, 0, 1};
	static const uint32_t outside[] = {0, PLACE_GVA(0xffc), 0, 0};
	static const uint32_t below[] = {0, 0, 0x80000000};

	unpack_with_table(f, of_two_lists, 4);
	assert_true(vmlinux_slide(&f->vmlinux, 1) != 0);
	assert_int_equal(vmlinux_load(&f->vmlinux, SLIDE, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(guest_word(f, PLACE_64, 8), 0x4545454545454545 + SLIDE);
	assert_int_equal(guest_word(f, PLACE_DOWN_32, 4), 0x45454545);
	assert_int_equal(guest_word(f, PLACE_32, 4), 0x45454545 + SLIDE);
	unpack_with_table(f, NULL, 0);
	assert_int_equal(vmlinux_slide(&f->vmlinux, 1), 0);
	unpack_with_table(f, no_zero_first, 4);
	assert_int_equal(vmlinux_slide(&f->vmlinux, 1), 0);
	unpack_with_table(f, of_four_lists, 8);
	assert_int_equal(vmlinux_slide(&f->vmlinux, 1), 0);
	placement_init(&f->placement, f->gmem);
	unpack_with_table(f, outside, 4);
	assert_int_equal(vmlinux_load(&f->vmlinux, SLIDE, f->gmem, &f->placement, &f->err), -ENOEXEC);
	placement_init(&f->placement, f->gmem);
	unpack_with_table(f, below, 3);
	assert_int_equal(vmlinux_load(&f->vmlinux, SLIDE, f->gmem, &f->placement, &f->err), -ENOEXEC);
}

static void test_kernels_that_unpack_themselves(void **state)
{
	struct fixture *f = *state;
	struct linux_header *header = test_bzimage_header(f->bytes);
	uint8_t packed[PACKED_MAX];
	size_t size;

	make_usual_kernel(f);
	size = pack_lz4(f, packed);
	make_bzimage(f, packed, size);
	header->xloadflags = 0;
	assert_int_equal(unpack_kernel(f), -ENOTSUP);
	make_bzimage(f, packed, size);
	header->version = 0x0207;
	assert_int_equal(unpack_kernel(f), -ENOTSUP);
	make_bzimage(f, packed, size);
	header->payload_length = UINT32_MAX;
	assert_int_equal(unpack_kernel(f), -ENOTSUP);
	make_bzimage(f, packed, size);
	header->payload_offset = UINT32_MAX - 8;
	assert_int_equal(unpack_kernel(f), -ENOTSUP);
	make_bzimage(f, (const uint8_t *)"LZMA?", 5);
	assert_int_equal(unpack_kernel(f), -ENOTSUP);
	/* A kernel below the address that the header prefers is none that was linked for it. */
	make_bzimage(f, packed, size);
	header->pref_address = TEST_ELF_GPA + 0x200000;
	assert_int_equal(unpack_kernel(f), -ENOTSUP);
}

static void test_taken_place_claims_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t packed[PACKED_MAX];

	make_usual_kernel(f);
	make_bzimage(f, packed, pack_lz4(f, packed));
	assert_int_equal(unpack_kernel(f), 0);
	assert_int_equal(placement_claim(&f->placement, TEST_ELF_GPA + 0xfff, 1, "other", &f->err), 0);
	assert_int_equal(vmlinux_load(&f->vmlinux, 0, f->gmem, &f->placement, &f->err), -ENOSPC);
	assert_int_equal(f->placement.count, 1);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#if UNPACK_HAS_GZIP
		cmocka_unit_test_setup_teardown(test_gzip, setup, teardown),
#endif
#if UNPACK_HAS_XZ
		cmocka_unit_test_setup_teardown(test_xz, setup, teardown),
#endif
#if UNPACK_HAS_ZSTD
		cmocka_unit_test_setup_teardown(test_zstd, setup, teardown),
#endif
#if UNPACK_HAS_LZ4
		cmocka_unit_test_setup_teardown(test_lz4, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kernel_stays_where_it_was_linked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kernel_is_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slides_are_aligned_and_keep_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kernels_that_unpack_themselves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_place_claims_nothing, setup, teardown),
#endif
	};

	return cmocka_run_group_tests_name("vmlinux", tests, NULL, NULL);
}
