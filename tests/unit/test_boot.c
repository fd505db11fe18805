/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest finds at its entry: structures in memory and registers, one protocol after the other. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "boot/boot.h"
#include "boot/e820.h"
#include "boot/layout.h"
#include "boot/zero_page.h"
#include "tests/unit/loader_images.h"
#include "vmm/base/err.h"

#define MIB (1ull << 20)

struct fixture {
	struct gmem *gmem;
	struct err err;
	struct boot_x86_config config;
	struct boot_x86_summary summary;
	struct x86_cpu_state bsp;
	char *kernel, *initrd;
	struct module module[2];
	uint8_t bytes[0x2000] __attribute__((aligned(16)));
};

static const struct device_description serial_description = {
	.acpi_hid = "PNP0501", .pio_base = {0x3f8}, .pio_size = {8}, .irq = {4, -1}};
static const struct device_description *const device_list[] = {&serial_description};

static int setup(void **state)
{
	struct fixture *f =
		aligned_alloc(_Alignof(struct fixture), sizeof(*f)); /* the XSAVE area asks for 64 */

	if (!f)
		return -1;
	memset(f, 0, sizeof(*f));
	f->gmem = test_ram_create();
	f->initrd = test_file_create("initrd!", 7);
	f->module[0].path = f->initrd;
	f->config = (struct boot_x86_config){.cmdline = "console=ttyS0",
					     .module = f->module,
					     .module_count = 1,
					     .cpu_count = 2,
					     .lapic_gpa = 0xfee00000,
					     .ioapic_gpa = 0xfec00000,
					     .device = device_list,
					     .device_count = 1,
					     .acpi = {.pm1a_event_port = 0x600,
						      .pm1a_control_port = 0x604,
						      .pm_timer_port = 0x608,
						      .sci_irq = 9,
						      .sleep_type_s5 = 5}};
	/* Dirt that an entry state must not keep, and an MSR that it must set. */
	memset(f->bsp.gpr, 0xee, sizeof(f->bsp.gpr));
	f->bsp.cr0 = 0x60000010;
	f->bsp.cr4 = 0xffff;
	f->bsp.msr[0] = (struct x86_msr_state){.index = 0x10, .value = 77};
	f->bsp.msr[1] = (struct x86_msr_state){.index = 0x2ff, .value = 0};
	f->bsp.msr_count = 2;
	*state = f;
	return f->gmem ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	gmem_destroy(f->gmem);
	test_file_remove(f->initrd);
	if (f->kernel)
		test_file_remove(f->kernel);
	free(f);
	return 0;
}

static int prepare(struct fixture *f, size_t kernel_size)
{
	if (f->kernel)
		test_file_remove(f->kernel);
	f->kernel = test_file_create(f->bytes, kernel_size);
	f->config.kernel_path = f->kernel;
	f->err = (struct err){0};
	return boot_x86_prepare(f->gmem, &f->config, &f->bsp, &f->summary, &f->err);
}

static void prepare_well(struct fixture *f, size_t kernel_size)
{
	if (prepare(f, kernel_size))
		fail_msg("%s", f->err.message);
}

static void expect_bytes(struct fixture *f, uint64_t gpa, const void *bytes, size_t len)
{
	char got[256];

	assert_true(len <= sizeof(got));
	assert_int_equal(gmem_read(f->gmem, gpa, got, len), 0);
	assert_memory_equal(got, bytes, len);
}

static uint64_t guest_word(struct fixture *f, uint64_t gpa, size_t size)
{
	uint64_t value = 0;

	assert_int_equal(gmem_read(f->gmem, gpa, &value, size), 0);
	return value;
}

static void read_zero_page(struct fixture *f, uint64_t gpa, struct boot_params *params)
{
	assert_int_equal(gmem_read(f->gmem, gpa, params, sizeof(*params)), 0);
}

static void test_bzimage_64bit_zero_page(void **state)
{
	struct fixture *f = *state;
	struct boot_params params;

	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	read_zero_page(f, f->bsp.gpr[X86_RSI], &params);
	assert_int_equal(params.sentinel, 0);
	assert_int_equal(params.hdr.header, LINUX_HEADER_MAGIC);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(params.hdr.init_size, 0x200000);
	assert_int_equal(params.hdr.ramdisk_size, 7);
	expect_bytes(f, params.hdr.ramdisk_image, "initrd!", 7);
	assert_int_equal(params.hdr.ramdisk_image, TEST_RAM_SIZE - 4096);
	expect_bytes(f, params.hdr.cmd_line_ptr, "console=ttyS0", 14);
	assert_int_equal(params.acpi_rsdp_addr, LAYOUT_RSDP_GPA);
	assert_int_equal(params.alt_mem_k, (TEST_RAM_SIZE - MIB) >> 10);
	assert_int_equal(params.e820_entries, 4);
	assert_int_equal(params.e820_table[3].gpa, MIB);
	assert_int_equal(params.e820_table[3].size_bytes, TEST_RAM_SIZE - MIB);
	assert_int_equal(f->summary.protocol, BOOT_LINUX);
	assert_true(f->summary.is_64bit_entry);
	assert_string_equal(f->summary.kernel_version, "9.9.9-test (me)");
}

/* Walks the page tables as the CPU would. */
static uint64_t translate(struct fixture *f, uint64_t gva)
{
	uint64_t entry = f->bsp.cr3;

	for (int level = 3; level >= 1; level--) {
		entry = guest_word(f, (entry & ~0xfffull) + (gva >> (12 + 9 * level) & 511) * 8, 8);
		assert_int_equal(entry & 3, 3);
	}
	assert_int_equal(entry & 0x80, 0x80);
	return (entry & ~0x1fffffull & ~(1ull << 63)) + (gva & 0x1fffff);
}

static void test_bzimage_64bit_registers(void **state)
{
	struct fixture *f = *state;
	const struct x86_segment_state *cs = &f->bsp.segment[X86_CS];

	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	assert_int_equal(f->bsp.rip, 0x1000200);
	assert_int_equal(f->bsp.rflags, 2);
	assert_int_equal(f->bsp.cr0, 0x80000011);
	assert_int_equal(f->bsp.cr4, 0x20);
	assert_int_equal(f->bsp.efer, 0x500);
	assert_int_equal(f->bsp.gpr[X86_RBX] | f->bsp.gpr[X86_RDI] | f->bsp.gpr[X86_RBP], 0);
	assert_int_equal(cs->selector, 0x10);
	assert_int_equal(cs->attributes, 0xa09b);
	assert_int_equal(f->bsp.segment[X86_DS].selector, 0x18);
	assert_int_equal(guest_word(f, f->bsp.gdtr.base + 0x10, 8), 0x00af9b000000ffff);
	assert_int_equal(guest_word(f, f->bsp.gdtr.base + 0x18, 8), 0x00cf93000000ffff);
	assert_int_equal(guest_word(f, f->bsp.gdtr.base + 0x20, 8), 0x00008b0000000067);
	assert_int_equal(translate(f, 0x1000200), 0x1000200);
	assert_int_equal(translate(f, 0xfee00123), 0xfee00123);
	assert_int_equal(translate(f, 0), 0);
	assert_int_equal(f->bsp.msr[0].value, 77);
	assert_int_equal(f->bsp.msr[1].value, 0x806);
}

static void test_bzimage_32bit_registers(void **state)
{
	struct fixture *f = *state;

	test_bzimage_make(f->bytes);
	test_bzimage_header(f->bytes)->xloadflags = 0;
	prepare_well(f, TEST_BZIMAGE_SIZE);
	assert_int_equal(f->bsp.rip, 0x1000000);
	assert_int_equal(f->bsp.cr0, 0x11);
	assert_int_equal(f->bsp.cr4, 0);
	assert_int_equal(f->bsp.efer, 0);
	assert_int_equal(f->bsp.gpr[X86_RSI], LAYOUT_ZERO_PAGE_GPA);
	assert_int_equal(f->bsp.segment[X86_CS].attributes, 0xc09b);
	assert_int_equal(f->bsp.segment[X86_CS].limit, 0xffffffff);
	assert_int_equal(guest_word(f, f->bsp.gdtr.base + 0x10, 8), 0x00cf9b000000ffff);
}

static void test_ancient_kernels_find_all_at_0x90000(void **state)
{
	struct fixture *f = *state;
	struct boot_params params;

	test_bzimage_make(f->bytes);
	test_bzimage_header(f->bytes)->version = 0x0201;
	prepare_well(f, TEST_BZIMAGE_SIZE);
	assert_int_equal(f->bsp.gpr[X86_RSI], 0x90000);
	read_zero_page(f, 0x90000, &params);
	assert_int_equal(params.old_cmdline_magic, 0xa33f);
	expect_bytes(f, 0x90000 + params.old_cmdline_offset, "console=ttyS0", 14);
	assert_int_equal(f->bsp.rip, 0x100000);
}

static void test_command_line_length_is_the_kernels(void **state)
{
	struct fixture *f = *state;
	char cmdline[65];

	memset(cmdline, 'x', 64);
	cmdline[64] = 0;
	f->config.cmdline = cmdline;
	test_bzimage_make(f->bytes);
	test_bzimage_header(f->bytes)->cmdline_size = 64;
	prepare_well(f, TEST_BZIMAGE_SIZE);
	test_bzimage_header(f->bytes)->cmdline_size = 63;
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -E2BIG);
	assert_non_null(strstr(f->err.message, "command line has 64 bytes, this kernel takes at most 63"));
}

static void test_initrd_stays_below_the_kernels_limit(void **state)
{
	struct fixture *f = *state;

	test_bzimage_make(f->bytes);
	test_bzimage_header(f->bytes)->initrd_addr_max = 0x2ffffff;
	prepare_well(f, TEST_BZIMAGE_SIZE);
	assert_int_equal(f->summary.initrd_gpa, 0x2fff000);
}

static void test_vmlinux_by_its_entry(void **state)
{
	struct fixture *f = *state;
	struct boot_params params;

	test_elf64_make(f->bytes, 0);
	prepare_well(f, TEST_ELF_SIZE);
	assert_int_equal(f->bsp.rip, TEST_ELF_GPA + 0x10);
	assert_int_equal(f->bsp.efer, 0x500);
	read_zero_page(f, f->bsp.gpr[X86_RSI], &params);
	assert_int_equal(params.hdr.boot_flag, LINUX_BOOT_FLAG);
	assert_int_equal(params.hdr.ramdisk_size, 7);
	test_elf32_make(f->bytes);
	prepare_well(f, TEST_ELF_SIZE);
	assert_int_equal(f->bsp.rip, TEST_ELF_GPA + 0x10);
	assert_int_equal(f->bsp.cr0, 0x11);
	test_elf64_make(f->bytes, 1);
	f->config.protocol = BOOT_LINUX;
	prepare_well(f, TEST_ELF_SIZE);
	assert_int_equal(f->bsp.rip, TEST_ELF_GPA + 0x10);
}

static void test_pvh_start_info(void **state)
{
	struct fixture *f = *state;
	uint64_t info, modules, memmap;

	test_elf64_make(f->bytes, 1);
	prepare_well(f, TEST_ELF_SIZE);
	assert_int_equal(f->summary.protocol, BOOT_PVH);
	assert_int_equal(f->bsp.rip, TEST_ELF_GPA + 0x20);
	assert_int_equal(f->bsp.cr0, 0x11);
	assert_int_equal(f->bsp.segment[X86_TR].limit, 0x67);
	info = f->bsp.gpr[X86_RBX];
	assert_int_equal(guest_word(f, info, 4), 0x336ec578);
	assert_int_equal(guest_word(f, info + 4, 4), 1);
	assert_int_equal(guest_word(f, info + 12, 4), 1);
	modules = guest_word(f, info + 16, 8);
	expect_bytes(f, guest_word(f, info + 24, 8), "console=ttyS0", 14);
	assert_int_equal(guest_word(f, info + 32, 8), LAYOUT_RSDP_GPA);
	memmap = guest_word(f, info + 40, 8);
	assert_int_equal(guest_word(f, info + 48, 4), 4);
	expect_bytes(f, guest_word(f, modules, 8), "initrd!", 7);
	assert_int_equal(guest_word(f, modules + 8, 8), 7);
	assert_int_equal(guest_word(f, memmap + 3 * 24, 8), MIB);
	assert_int_equal(guest_word(f, memmap + 3 * 24 + 16, 4), 1);
	assert_int_equal(guest_word(f, memmap + 1 * 24 + 16, 4), 2);
}

static void test_pvh_modules_join_unless_they_have_arguments(void **state)
{
	struct fixture *f = *state;
	uint64_t modules;

	f->module[1].path = f->initrd;
	f->config.module_count = 2;
	test_elf64_make(f->bytes, 1);
	prepare_well(f, TEST_ELF_SIZE);
	assert_int_equal(guest_word(f, LAYOUT_PVH_INFO_GPA + 12, 4), 1);
	assert_int_equal(f->summary.initrd_size, 15);
	f->module[1].cmdline = "root=/dev/ram";
	prepare_well(f, TEST_ELF_SIZE);
	assert_int_equal(guest_word(f, LAYOUT_PVH_INFO_GPA + 12, 4), 2);
	modules = guest_word(f, LAYOUT_PVH_INFO_GPA + 16, 8);
	assert_int_equal(guest_word(f, modules + 16, 8), 0);
	expect_bytes(f, guest_word(f, modules + 32 + 16, 8), "root=/dev/ram", 14);
}

static void test_multiboot_information(void **state)
{
	struct fixture *f = *state;
	uint64_t info, module, memmap, name;
	const char *base = strrchr(f->initrd, '/') + 1;

	f->module[0].cmdline = "one two";
	test_multiboot_make(f->bytes);
	prepare_well(f, TEST_MULTIBOOT_SIZE);
	assert_int_equal(f->bsp.gpr[X86_RAX], 0x2badb002);
	assert_int_equal(f->bsp.rip, 0x100080);
	assert_int_equal(f->bsp.cr0, 0x11);
	info = f->bsp.gpr[X86_RBX];
	assert_int_equal(guest_word(f, info, 4), 0x24d);
	assert_int_equal(guest_word(f, info + 4, 4), 639);
	assert_int_equal(guest_word(f, info + 8, 4), (TEST_RAM_SIZE - MIB) >> 10);
	name = guest_word(f, info + 16, 4);
	expect_bytes(f, name, strrchr(f->kernel, '/') + 1, 5);
	expect_bytes(f, name + strlen(strrchr(f->kernel, '/') + 1), " console=ttyS0", 15);
	assert_int_equal(guest_word(f, info + 20, 4), 1);
	module = guest_word(f, info + 24, 4);
	assert_int_equal(guest_word(f, module, 4) % 4096, 0);
	assert_int_equal(guest_word(f, module, 4), 0x101000);
	assert_int_equal(guest_word(f, module + 4, 4) - guest_word(f, module, 4), 7);
	expect_bytes(f, guest_word(f, module, 4), "initrd!", 7);
	expect_bytes(f, guest_word(f, module + 8, 4), base, strlen(base));
	expect_bytes(f, guest_word(f, module + 8, 4) + strlen(base), " one two", 9);
	assert_int_equal(guest_word(f, info + 44, 4), 4 * 24);
	memmap = guest_word(f, info + 48, 4);
	assert_int_equal(guest_word(f, memmap, 4), 20);
	assert_int_equal(guest_word(f, memmap + 4 + 8, 8), LAYOUT_EBDA_GPA);
	assert_int_equal(guest_word(f, memmap + 4 + 16, 4), 1);
	expect_bytes(f, guest_word(f, info + 64, 4), "vmmctl", 7);
}

static void test_flat_is_entered_as_by_a_bios(void **state)
{
	struct fixture *f = *state;

	memcpy(f->bytes, "\xfa\xf4", 2);
	assert_int_equal(prepare(f, 2), -ENOEXEC);
	assert_non_null(strstr(f->err.message, "protocol flat"));
	f->config.protocol = BOOT_FLAT;
	prepare_well(f, 2);
	assert_int_equal(f->bsp.rip, 0x7c00);
	assert_int_equal(f->bsp.segment[X86_CS].selector, 0);
	assert_int_equal(f->bsp.segment[X86_CS].limit, 0xffff);
	assert_int_equal(f->bsp.cr0, 0x10);
	assert_int_equal(f->bsp.gpr[X86_RDX], 0x80);
	expect_bytes(f, 0x7c00, "\xfa\xf4", 2);
	f->config.flat_gpa = 0x20000;
	f->config.flat_entry_offset = 1;
	prepare_well(f, 2);
	assert_int_equal(f->bsp.segment[X86_CS].base + f->bsp.rip, 0x20001);
	assert_int_equal(f->bsp.segment[X86_CS].selector * 16, f->bsp.segment[X86_CS].base);
}

static void test_bios_data_area(void **state)
{
	struct fixture *f = *state;

	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	assert_int_equal(guest_word(f, 0x400, 2), 0x3f8);
	assert_int_equal(guest_word(f, 0x40e, 2), 0x9fc0);
	assert_int_equal(guest_word(f, 0x410, 2) >> 9 & 7, 1);
	assert_int_equal(guest_word(f, 0x413, 2), 639);
	assert_int_equal(guest_word(f, 0x9fc00, 1), 1);
}

static void test_tables_can_be_left_out_and_leave_nothing(void **state)
{
	struct fixture *f = *state;
	struct boot_params params;

	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	expect_bytes(f, LAYOUT_RSDP_GPA, "RSD PTR ", 8);
	expect_bytes(f, LAYOUT_MPTABLE_GPA, "_MP_", 4);
	f->config.no_acpi = f->config.no_mptable = true;
	prepare_well(f, TEST_BZIMAGE_SIZE);
	assert_int_equal(guest_word(f, LAYOUT_RSDP_GPA, 8), 0);
	assert_int_equal(guest_word(f, LAYOUT_MPTABLE_GPA, 4), 0);
	read_zero_page(f, LAYOUT_ZERO_PAGE_GPA, &params);
	assert_int_equal(params.acpi_rsdp_addr, 0);
}

static void test_images_cannot_lie_over_our_tables(void **state)
{
	struct fixture *f = *state;
	Elf64_Phdr *load = test_elf_program(f->bytes, 0);
	static const uint64_t place[] = {0,
					 0x500,
					 LAYOUT_PVH_INFO_GPA,
					 LAYOUT_ZERO_PAGE_GPA,
					 LAYOUT_CMDLINE_GPA,
					 LAYOUT_EBDA_GPA,
					 LAYOUT_RSDP_GPA,
					 LAYOUT_MPTABLE_GPA};

	for (size_t i = 0; i < sizeof(place) / sizeof(place[0]); i++) {
		test_elf64_make(f->bytes, 1);
		load->p_paddr = place[i];
		load->p_memsz = 0x100;
		test_elf_header(f->bytes)->e_entry = place[i];
		test_elf_write_note(f->bytes, 18, (uint32_t)place[i]);
		assert_int_equal(prepare(f, TEST_ELF_SIZE), -EEXIST);
		assert_non_null(strstr(f->err.message, "overlaps"));
	}
}

static void test_bad_requests(void **state)
{
	struct fixture *f = *state;

	test_bzimage_make(f->bytes);
	f->config.cpu_count = 0;
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -EINVAL);
	f->config.cpu_count = BOOT_CPUS_MAX + 1;
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -EINVAL);
	f->config.cpu_count = 1;
	f->config.protocol = BOOT_PVH;
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -ENOEXEC);
	f->config.protocol = BOOT_MULTIBOOT;
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -ENOEXEC);
	f->config.protocol = BOOT_AUTO;
	f->module[0].path = "/nonexistent/initrd";
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -ENOENT);
	assert_non_null(strstr(f->err.message, "/nonexistent/initrd"));
	memcpy(f->bytes, "\x1f\x8b\x08\0\0\0\0\0", 8);
	assert_int_equal(prepare(f, 8), -ENOEXEC);
	assert_non_null(strstr(f->err.message, "compressed with gzip"));
}

static void test_little_ram_is_said(void **state)
{
	struct fixture *f = *state;
	struct gmem *small = gmem_create();
	struct gmem *large = f->gmem;

	assert_int_equal(gmem_add(small, 0, 0xf0000, GMEM_RAM, NULL), 0);
	test_bzimage_make(f->bytes);
	f->gmem = small;
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -ENOSPC);
	assert_non_null(strstr(f->err.message, "more memory"));
	f->gmem = large;
	gmem_destroy(small);
}

static void test_e820_of_split_ram(void **state)
{
	struct gmem *gmem = gmem_create();
	struct e820_map map;

	(void)state;
	assert_int_equal(gmem_add(gmem, 0, 16 * MIB, GMEM_RAM, NULL), 0);
	assert_int_equal(gmem_add(gmem, 4096 * MIB, 16 * MIB, GMEM_RAM, NULL), 0);
	assert_int_equal(gmem_add(gmem, 4095 * MIB, MIB, GMEM_ROM, NULL), 0);
	e820_build(gmem, &map);
	assert_int_equal(map.count, 6);
	assert_int_equal(map.entry[0].size_bytes, 0x9fc00);
	assert_int_equal(map.entry[1].gpa, 0x9fc00);
	assert_int_equal(map.entry[1].size_bytes, 0x400);
	assert_int_equal(map.entry[2].gpa, 0xe0000);
	assert_int_equal(map.entry[2].type, E820_RESERVED);
	assert_int_equal(map.entry[3].size_bytes, 15 * MIB);
	assert_int_equal(map.entry[4].type, E820_RESERVED);
	assert_int_equal(map.entry[5].gpa, 4096 * MIB);
	assert_int_equal(map.entry[5].size_bytes, 16 * MIB);
	gmem_destroy(gmem);
}

static void test_protocol_names(void **state)
{
	enum boot_protocol protocol;
	struct err err = {0};

	(void)state;
	for (unsigned i = BOOT_AUTO; i <= BOOT_FLAT; i++) {
		assert_int_equal(
			boot_protocol_from_name(boot_protocol_name((enum boot_protocol)i), &protocol, &err),
			0);
		assert_int_equal(protocol, i);
	}
	assert_int_equal(boot_protocol_from_name("uefi", &protocol, &err), -EINVAL);
	assert_non_null(strstr(err.message, "multiboot"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_bzimage_64bit_zero_page),
		CASE(test_bzimage_64bit_registers),
		CASE(test_bzimage_32bit_registers),
		CASE(test_ancient_kernels_find_all_at_0x90000),
		CASE(test_command_line_length_is_the_kernels),
		CASE(test_initrd_stays_below_the_kernels_limit),
		CASE(test_vmlinux_by_its_entry),
		CASE(test_pvh_start_info),
		CASE(test_pvh_modules_join_unless_they_have_arguments),
		CASE(test_multiboot_information),
		CASE(test_flat_is_entered_as_by_a_bios),
		CASE(test_bios_data_area),
		CASE(test_tables_can_be_left_out_and_leave_nothing),
		CASE(test_images_cannot_lie_over_our_tables),
		CASE(test_bad_requests),
		CASE(test_little_ram_is_said),
		cmocka_unit_test(test_e820_of_split_ram),
		cmocka_unit_test(test_protocol_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
