/* SPDX-License-Identifier: Apache-2.0 */
/* Each image format of loader/: a good image goes where it should, each broken one is refused with a reason.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loader/bzimage.h"
#include "loader/elf.h"
#include "loader/flat.h"
#include "loader/image.h"
#include "loader/module.h"
#include "loader/multiboot.h"
#include "loader/placement.h"
#include "tests/unit/loader_images.h"
#include "vmm/base/err.h"

struct fixture {
	struct gmem *gmem;
	struct placement placement;
	struct err err;
	struct image image;
	uint8_t bytes[0x2000] __attribute__((aligned(16)));
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

	gmem_destroy(f->gmem);
	test_free(f);
	return 0;
}

static void expect_refused(struct fixture *f, int got, const char *reason)
{
	assert_true(got < 0);
	assert_int_equal(f->err.code, got);
	if (!strstr(f->err.message, reason))
		fail_msg("\"%s\" does not say \"%s\"", f->err.message, reason);
	f->err = (struct err){0};
}

static uint8_t guest_byte(struct fixture *f, uint64_t gpa)
{
	uint8_t value = 0;

	assert_int_equal(gmem_read(f->gmem, gpa, &value, 1), 0);
	return value;
}

static int parse_bzimage(struct fixture *f, size_t size, struct bzimage *bzimage)
{
	image_from_memory(&f->image, "k", f->bytes, size);
	return bzimage_parse(&f->image, bzimage, &f->err);
}

static void test_bzimage_loads_at_its_preferred_address(void **state)
{
	struct fixture *f = *state;
	struct bzimage bzimage;

	test_bzimage_make(f->bytes);
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	assert_true(bzimage.is_64bit);
	assert_string_equal(bzimage.version, "9.9.9-test (me)");
	assert_int_equal(bzimage.initrd_limit, 0x80000000);
	assert_int_equal(bzimage_load(&f->image, &bzimage, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(bzimage.load_gpa, 0x1000000);
	assert_int_equal(bzimage.entry_gpa, 0x1000200);
	assert_int_equal(guest_byte(f, 0x1000000), 'K');
	assert_int_equal(guest_byte(f, 0x1000000 + TEST_BZIMAGE_CODE - 1), 'K');
	assert_int_equal(guest_byte(f, 0x1000000 + TEST_BZIMAGE_CODE), 0);
	assert_false(placement_is_free(&f->placement, 0x1000000 + 0x200000 - 1, 1));
}

static void test_bzimage_moves_up_when_its_place_is_taken(void **state)
{
	struct fixture *f = *state;
	struct bzimage bzimage;

	test_bzimage_make(f->bytes);
	assert_int_equal(placement_claim(&f->placement, 0x1100000, 0x1000, "other", &f->err), 0);
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	assert_int_equal(bzimage_load(&f->image, &bzimage, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(bzimage.load_gpa, 0x1200000);
}

static void test_bzimage_needs_its_init_size_of_ram(void **state)
{
	struct fixture *f = *state;
	struct bzimage bzimage;

	test_bzimage_make(f->bytes);
	test_bzimage_header(f->bytes)->init_size = TEST_RAM_SIZE;
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	expect_refused(f, bzimage_load(&f->image, &bzimage, f->gmem, &f->placement, &f->err), "more memory");
}

static void test_bzimage_old_protocols(void **state)
{
	struct fixture *f = *state;
	struct bzimage bzimage;

	test_bzimage_make(f->bytes);
	test_bzimage_header(f->bytes)->version = 0x0204;
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	assert_false(bzimage.is_64bit);
	assert_int_equal(bzimage.cmdline_size_max, 255);
	assert_int_equal(bzimage_load(&f->image, &bzimage, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(bzimage.entry_gpa, 0x100000);
	test_bzimage_header(f->bytes)->version = 0x0202;
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	assert_int_equal(bzimage.initrd_limit, 0x38000000);
	test_bzimage_header(f->bytes)->version = 0x01ff;
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), "2.00 or later");
}

static void test_bzimage_header_is_cut_at_its_jump(void **state)
{
	struct fixture *f = *state;
	struct bzimage bzimage;

	test_bzimage_make(f->bytes);
	test_bzimage_header(f->bytes)->jump =
		0x30eb; /* up to 0x232: nothing from initrd_addr_max's successors on */
	test_bzimage_header(f->bytes)->version = 0x0203;
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	assert_int_equal(bzimage.header.xloadflags, 0);
	test_bzimage_header(f->bytes)->jump = 0x02eb;
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), "setup header of 19 bytes");
}

static void test_bzimage_broken_headers(void **state)
{
	struct fixture *f = *state;
	struct linux_header *header = test_bzimage_header(f->bytes);
	struct bzimage bzimage;

	test_bzimage_make(f->bytes);
	expect_refused(f, parse_bzimage(f, 0x200, &bzimage), "truncated");
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SETUP, &bzimage), "truncated: the setup code alone");
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SIZE - 16, &bzimage),
		       "truncated: the header speaks of 4096");
	header->loadflags = 0;
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), "zImage");
	test_bzimage_make(f->bytes);
	header->kernel_alignment = 0x300000;
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), "power of two");
	test_bzimage_make(f->bytes);
	header->pref_address = UINT64_MAX - 5;
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), "pref_address");
	test_bzimage_make(f->bytes);
	header->header = 0;
	expect_refused(f, parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), "HdrS");
}

static void test_bzimage_version_string_is_cleaned(void **state)
{
	struct fixture *f = *state;
	struct bzimage bzimage;

	test_bzimage_make(f->bytes);
	f->bytes[0x405] = 0x1b;
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	assert_string_equal(bzimage.version, "9.9.9");
	test_bzimage_header(f->bytes)->kernel_version = 0xfff0;
	assert_int_equal(parse_bzimage(f, TEST_BZIMAGE_SIZE, &bzimage), 0);
	assert_string_equal(bzimage.version, "");
}

static int parse_elf(struct fixture *f, struct elf_image *elf)
{
	image_from_memory(&f->image, "k", f->bytes, TEST_ELF_SIZE);
	return elf_parse(&f->image, elf, &f->err);
}

static void test_elf64_loads_and_clears_bss(void **state)
{
	struct fixture *f = *state;
	struct elf_image elf;

	test_elf64_make(f->bytes, 1);
	gmem_write(f->gmem, TEST_ELF_GPA + 0xfff, "x", 1);
	assert_int_equal(parse_elf(f, &elf), 0);
	assert_true(elf.is_64bit);
	assert_true(elf.has_pvh_entry);
	assert_int_equal(elf.pvh_entry_gpa, TEST_ELF_GPA + 0x20);
	assert_int_equal(elf.entry_gpa, TEST_ELF_GPA + 0x10);
	assert_int_equal(elf_load(&f->image, &elf, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(guest_byte(f, TEST_ELF_GPA + 0xff), 'E');
	assert_int_equal(guest_byte(f, TEST_ELF_GPA + 0x100), 0);
	assert_int_equal(guest_byte(f, TEST_ELF_GPA + 0xfff), 0);
}

static void test_elf_entries_may_be_virtual(void **state)
{
	struct fixture *f = *state;
	struct elf_image elf;

	test_elf64_make(f->bytes, 0);
	test_elf_header(f->bytes)->e_entry = TEST_ELF_GVA + 0x44;
	assert_int_equal(parse_elf(f, &elf), 0);
	assert_false(elf.has_pvh_entry);
	assert_int_equal(elf.entry_gpa, TEST_ELF_GPA + 0x44);
	test_elf32_make(f->bytes);
	assert_int_equal(parse_elf(f, &elf), 0);
	assert_false(elf.is_64bit);
	assert_int_equal(elf.entry_gpa, TEST_ELF_GPA + 0x10);
}

static void test_elf_notes_padded_to_eight(void **state)
{
	struct fixture *f = *state;
	struct elf_image elf;
	/* A property note of 8-byte padding first: walked in steps of four, it would end elsewhere. */
	const uint32_t notes[] = {4, 4, 5, 0x00554e47, 1, 0, 4, 4, 18, 0x006e6558, TEST_ELF_GPA + 0x30};

	test_elf64_make(f->bytes, 0);
	memcpy(f->bytes + TEST_ELF_NOTE_OFFSET, notes, sizeof(notes));
	test_elf_program(f->bytes, 1)->p_filesz = sizeof(notes);
	assert_int_equal(parse_elf(f, &elf), 0);
	assert_true(elf.has_pvh_entry);
	assert_int_equal(elf.pvh_entry_gpa, TEST_ELF_GPA + 0x30);
}

static void test_elf_broken_headers(void **state)
{
	struct fixture *f = *state;
	Elf64_Ehdr *header = test_elf_header(f->bytes);
	struct elf_image elf;

	test_elf64_make(f->bytes, 0);
	header->e_machine = EM_AARCH64;
	expect_refused(f, parse_elf(f, &elf), "machine 183");
	header->e_machine = EM_X86_64;
	header->e_type = ET_REL;
	expect_refused(f, parse_elf(f, &elf), "not an executable");
	header->e_type = ET_EXEC;
	header->e_phnum = 0;
	expect_refused(f, parse_elf(f, &elf), "without program headers");
	header->e_phnum = 65535;
	expect_refused(f, parse_elf(f, &elf), "at most 64");
	header->e_phnum = 2;
	header->e_phoff = UINT64_MAX - 8;
	expect_refused(f, parse_elf(f, &elf), "truncated");
	header->e_phoff = sizeof(*header);
	header->e_phentsize = 1;
	expect_refused(f, parse_elf(f, &elf), "56 expected");
	header->e_ident[EI_CLASS] = 7;
	expect_refused(f, parse_elf(f, &elf), "class 7");
}

static void test_elf_broken_segments(void **state)
{
	struct fixture *f = *state;
	Elf64_Phdr *load = test_elf_program(f->bytes, 0);
	struct elf_image elf;

	test_elf64_make(f->bytes, 0);
	load->p_filesz = 0x1001;
	expect_refused(f, parse_elf(f, &elf), "more than");
	load->p_filesz = 0x241;
	expect_refused(f, parse_elf(f, &elf), "beyond the file");
	load->p_filesz = 0x100;
	load->p_offset = UINT64_MAX - 0x10;
	expect_refused(f, parse_elf(f, &elf), "beyond the file");
	load->p_offset = TEST_ELF_LOAD_OFFSET;
	load->p_paddr = UINT64_MAX - 0x10;
	expect_refused(f, parse_elf(f, &elf), "below 4 GiB");
	load->p_paddr = TEST_ELF_GPA;
	load->p_memsz = UINT64_MAX;
	expect_refused(f, parse_elf(f, &elf), "below 4 GiB");
	load->p_memsz = load->p_filesz = 0;
	expect_refused(f, parse_elf(f, &elf), "without a segment");
	test_elf64_make(f->bytes, 0);
	test_elf_header(f->bytes)->e_entry = 0x42;
	expect_refused(f, parse_elf(f, &elf), "lies in no segment");
	test_elf64_make(f->bytes, 1);
	test_elf_write_note(f->bytes, 18, 0x42);
	expect_refused(f, parse_elf(f, &elf), "PVH entry 0x42");
}

static void test_elf_segments_must_not_overlap(void **state)
{
	struct fixture *f = *state;
	struct elf_image elf;

	test_elf64_make(f->bytes, 0);
	*test_elf_program(f->bytes, 1) = *test_elf_program(f->bytes, 0);
	assert_int_equal(parse_elf(f, &elf), 0);
	expect_refused(f, elf_load(&f->image, &elf, f->gmem, &f->placement, &f->err), "overlaps");
	assert_int_equal(guest_byte(f, TEST_ELF_GPA), 0);
}

static int parse_multiboot(struct fixture *f, struct multiboot_image *multiboot)
{
	image_from_memory(&f->image, "k", f->bytes, TEST_MULTIBOOT_SIZE);
	return multiboot_parse(&f->image, multiboot, &f->err);
}

static void test_multiboot_loads_by_addresses(void **state)
{
	struct fixture *f = *state;
	struct multiboot_image multiboot;

	test_multiboot_make(f->bytes);
	gmem_write(f->gmem, 0x100000 + TEST_MULTIBOOT_SIZE, "dirt", 4);
	assert_int_equal(parse_multiboot(f, &multiboot), 0);
	assert_int_equal(multiboot.entry_gpa, 0x100080);
	assert_int_equal(multiboot_load(&f->image, &multiboot, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(guest_byte(f, 0x100000), 'M');
	assert_int_equal(guest_byte(f, 0x100000 + TEST_MULTIBOOT_SIZE - 1), 'M');
	assert_int_equal(guest_byte(f, 0x100000 + TEST_MULTIBOOT_SIZE), 0);
	assert_false(placement_is_free(&f->placement, 0x100000 + TEST_MULTIBOOT_SIZE + 0x1ff, 1));
}

static void test_multiboot_elf(void **state)
{
	struct fixture *f = *state;
	const uint32_t header[] = {0x1badb002, 0, 0u - 0x1badb002};
	struct multiboot_image multiboot;

	test_elf32_make(f->bytes);
	memcpy(f->bytes + TEST_ELF_LOAD_OFFSET + 0x20, header, sizeof(header));
	image_from_memory(&f->image, "k", f->bytes, TEST_ELF_SIZE);
	assert_int_equal(multiboot_parse(&f->image, &multiboot, &f->err), 0);
	assert_false(multiboot.has_addresses);
	assert_int_equal(multiboot.entry_gpa, TEST_ELF_GPA + 0x10);
	assert_int_equal(multiboot_load(&f->image, &multiboot, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(guest_byte(f, TEST_ELF_GPA), 'E');
}

static void set_multiboot_word(struct fixture *f, unsigned index, uint32_t value)
{
	test_multiboot_make(f->bytes);
	memcpy(f->bytes + TEST_MULTIBOOT_HEADER + 4 * index, &value, sizeof(value));
}

static void test_multiboot_broken_headers(void **state)
{
	struct fixture *f = *state;
	struct multiboot_image multiboot;

	test_multiboot_make(f->bytes);
	test_multiboot_write_header(f->bytes, 0x10004);
	expect_refused(f, parse_multiboot(f, &multiboot), "video mode");
	test_multiboot_write_header(f->bytes, 0x10010);
	expect_refused(f, parse_multiboot(f, &multiboot), "not known");
	set_multiboot_word(f, 2, 1);
	expect_refused(f, parse_multiboot(f, &multiboot), "no multiboot header");
	set_multiboot_word(f, 3, 0);
	expect_refused(f, parse_multiboot(f, &multiboot), "load_addr");
	set_multiboot_word(f, 4, 0);
	expect_refused(f, parse_multiboot(f, &multiboot), "load_addr");
	set_multiboot_word(f, 5, 0x100000 + TEST_MULTIBOOT_SIZE + 1);
	expect_refused(f, parse_multiboot(f, &multiboot), "truncated");
	set_multiboot_word(f, 5, 1);
	expect_refused(f, parse_multiboot(f, &multiboot), "load_end_addr");
	set_multiboot_word(f, 6, 0x100001);
	expect_refused(f, parse_multiboot(f, &multiboot), "bss_end_addr");
	set_multiboot_word(f, 7, 0x90000);
	expect_refused(f, parse_multiboot(f, &multiboot), "entry_addr");
}

static void test_multiboot_zero_ends_mean_the_whole_file(void **state)
{
	struct fixture *f = *state;
	struct multiboot_image multiboot;
	const uint32_t zero = 0;

	set_multiboot_word(f, 5, 0);
	memcpy(f->bytes + TEST_MULTIBOOT_HEADER + 24, &zero, sizeof(zero));
	assert_int_equal(parse_multiboot(f, &multiboot), 0);
	assert_int_equal(multiboot.load_size, TEST_MULTIBOOT_SIZE);
	assert_int_equal(multiboot.bss_size, 0);
}

static void test_flat_stays_below_video_memory(void **state)
{
	struct fixture *f = *state;
	struct flat_image flat;

	image_from_memory(&f->image, "k", "flat", 4);
	assert_int_equal(flat_parse(&f->image, 0x7c00, 2, &flat, &f->err), 0);
	assert_int_equal(flat.entry_gpa, 0x7c02);
	assert_int_equal(flat_load(&f->image, &flat, f->gmem, &f->placement, &f->err), 0);
	assert_int_equal(guest_byte(f, 0x7c03), 't');
	expect_refused(f, flat_parse(&f->image, 0x9fffd, 0, &flat, &f->err), "real mode");
	expect_refused(f, flat_parse(&f->image, UINT64_MAX, 0, &flat, &f->err), "real mode");
	expect_refused(f, flat_parse(&f->image, 0x7c00, 4, &flat, &f->err), "entry offset");
}

static void test_modules_join_on_four_bytes(void **state)
{
	struct fixture *f = *state;
	struct module_bounds bounds = {.align = 4096, .floor = 1 << 20, .limit = 32 << 20};
	char *first = test_file_create("abcde", 5), *second = test_file_create("XYZ", 3);
	struct module module[] = {{.path = first}, {.path = second}};
	struct module_range range;
	char out[11];

	assert_int_equal(module_load_joined(module, 2, &bounds, &f->placement, &range, &f->err), 0);
	assert_int_equal(range.size_bytes, 11);
	assert_int_equal(range.gpa, (32 << 20) - 4096);
	assert_int_equal(gmem_read(f->gmem, range.gpa, out, sizeof(out)), 0);
	assert_memory_equal(out, "abcde\0\0\0XYZ", 11);
	bounds.lowest = true;
	assert_int_equal(module_load(&module[1], &bounds, &f->placement, &range, &f->err), 0);
	assert_int_equal(range.gpa, 1 << 20);
	bounds.limit = bounds.floor + 2;
	expect_refused(f, module_load(&module[1], &bounds, &f->placement, &range, &f->err), second);
	assert_int_equal(module_load_joined(NULL, 0, &bounds, &f->placement, &range, &f->err), 0);
	assert_int_equal(range.size_bytes, 0);
	test_file_remove(first);
	test_file_remove(second);
}

static void test_image_files(void **state)
{
	struct fixture *f = *state;
	char *path = test_file_create("0123456789", 10), *empty = test_file_create("", 0);
	struct image image;
	char out[4] = "";

	assert_int_equal(image_open(&image, path, 10, &f->err), 0);
	assert_int_equal(image_read(&image, 6, out, 4, &f->err), 0);
	assert_memory_equal(out, "6789", 4);
	expect_refused(f, image_read(&image, 7, out, 4, &f->err), "truncated");
	expect_refused(f, image_read(&image, UINT64_MAX, out, 4, &f->err), "truncated");
	expect_refused(f, image_load(&image, 0, 10, f->gmem, TEST_RAM_SIZE - 9, &f->err), "no guest RAM");
	assert_int_equal(truncate(path, 5), 0);
	expect_refused(f, image_read(&image, 4, out, 4, &f->err), "became shorter");
	image_close(&image);
	image_close(&image);
	expect_refused(f, image_open(&image, path, 4, &f->err), "at most 4");
	expect_refused(f, image_open(&image, empty, 4, &f->err), "is empty");
	expect_refused(f, image_open(&image, "/", 4, &f->err), "directory");
	expect_refused(f, image_open(&image, "/nonexistent", 4, &f->err), "/nonexistent");
	expect_refused(f, image_open(&image, "/dev/zero", 1 << 20, &f->err), "pipe");
	test_file_remove(path);
	test_file_remove(empty);
}

static void test_image_from_a_pipe(void **state)
{
	struct fixture *f = *state;
	struct image image;
	char path[32], out[3];
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "pipe", 4), 4);
	close(fds[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	assert_int_equal(image_open(&image, path, 100, &f->err), 0);
	assert_int_equal(image.size_bytes, 4);
	assert_int_equal(image_read(&image, 1, out, 3, &f->err), 0);
	assert_memory_equal(out, "ipe", 3);
	image_close(&image);
	close(fds[0]);
}

static void expect_kind(const void *bytes, size_t len, enum image_kind kind)
{
	struct image image;
	enum image_kind got;

	image_from_memory(&image, "k", bytes, len);
	assert_int_equal(image_detect(&image, &got, NULL), 0);
	assert_int_equal(got, kind);
}

static void test_kinds_are_told_apart(void **state)
{
	struct fixture *f = *state;

	test_bzimage_make(f->bytes);
	expect_kind(f->bytes, TEST_BZIMAGE_SIZE, IMAGE_LINUX);
	test_elf64_make(f->bytes, 0);
	expect_kind(f->bytes, TEST_ELF_SIZE, IMAGE_ELF);
	test_multiboot_make(f->bytes);
	expect_kind(f->bytes, TEST_MULTIBOOT_SIZE, IMAGE_MULTIBOOT);
	expect_kind("\x1f\x8b\x08\0\0\0\0\0", 8, IMAGE_COMPRESSED);
	expect_kind("\x28\xb5\x2f\xfd\0\0\0\0", 8, IMAGE_COMPRESSED);
	expect_kind("\xfa\xf4", 2, IMAGE_UNKNOWN);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_bzimage_loads_at_its_preferred_address),
		CASE(test_bzimage_moves_up_when_its_place_is_taken),
		CASE(test_bzimage_needs_its_init_size_of_ram),
		CASE(test_bzimage_old_protocols),
		CASE(test_bzimage_header_is_cut_at_its_jump),
		CASE(test_bzimage_broken_headers),
		CASE(test_bzimage_version_string_is_cleaned),
		CASE(test_elf64_loads_and_clears_bss),
		CASE(test_elf_entries_may_be_virtual),
		CASE(test_elf_notes_padded_to_eight),
		CASE(test_elf_broken_headers),
		CASE(test_elf_broken_segments),
		CASE(test_elf_segments_must_not_overlap),
		CASE(test_multiboot_loads_by_addresses),
		CASE(test_multiboot_elf),
		CASE(test_multiboot_broken_headers),
		CASE(test_multiboot_zero_ends_mean_the_whole_file),
		CASE(test_flat_stays_below_video_memory),
		CASE(test_modules_join_on_four_bytes),
		CASE(test_image_files),
		CASE(test_image_from_a_pipe),
		CASE(test_kinds_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
