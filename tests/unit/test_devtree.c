/* SPDX-License-Identifier: Apache-2.0 */
/* The device tree that a Linux kernel finds in its list of setup_data: read back by libfdt. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <libfdt.h>

#include "boot/boot.h"
#include "boot/zero_page.h"
#include "tests/unit/loader_images.h"
#include "vmm/base/err.h"

#define MIB (1ull << 20)

struct fixture {
	struct gmem *gmem;
	struct err err;
	struct boot_x86_config config;
	struct x86_cpu_state bsp;
	uint8_t bytes[0x2000] __attribute__((aligned(16)));
};

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(_Alignof(struct fixture), sizeof(*f));

	if (!f)
		return -1;
	memset(f, 0, sizeof(*f));
	f->gmem = test_ram_create();
	f->config = (struct boot_x86_config){.cmdline = "console=ttyS0",
					     .cpu_count = 2,
					     .lapic_gpa = 0xfee00000,
					     .ioapic_gpa = 0xfec00000,
					     .acpi = {.pm1a_event_port = 0x600, .sci_irq = 9}};
	*state = f;
	return f->gmem ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	gmem_destroy(f->gmem);
	free(f);
	return 0;
}

static int prepare(struct fixture *f, size_t kernel_size)
{
	char *kernel = test_file_create(f->bytes, kernel_size);
	int code;

	f->config.kernel_path = kernel;
	f->err = (struct err){0};
	code = boot_x86_prepare(f->gmem, &f->config, &f->bsp, NULL, &f->err);
	test_file_remove(kernel);
	return code;
}

static void prepare_well(struct fixture *f, size_t kernel_size)
{
	if (prepare(f, kernel_size))
		fail_msg("%s", f->err.message);
}

static void read_zero_page(struct fixture *f, struct boot_params *params)
{
	assert_int_equal(gmem_read(f->gmem, f->bsp.gpr[X86_RSI], params, sizeof(*params)), 0);
}

static const struct device_description unnamed_description = {
	.acpi_hid = "PNP0501", .pio_base = {0x3f8}, .pio_size = {8}, .irq = {4, -1}};
static const struct device_description virtio_description = {.compatible = "virtio,mmio",
							     .mmio_base = 0xc0001000,
							     .mmio_size = 0x1000,
							     .irq = {17, -1},
							     .irq_is_level = true};
static const struct device_description com_description = {
	.compatible = "ns16550a", .pio_base = {0x2f8}, .pio_size = {8}, .irq = {3, -1}};
static const struct device_description *const tree_devices[] = {&unnamed_description, &virtio_description,
								&com_description};

/* The tree as the kernel would find it. */
static const void *read_device_tree(struct fixture *f)
{
	static uint64_t blob[0x4000];
	struct boot_params params;
	struct setup_data data;

	read_zero_page(f, &params);
	assert_int_equal(gmem_read(f->gmem, params.hdr.setup_data, &data, sizeof(data)), 0);
	assert_int_equal(data.next, 0);
	assert_int_equal(data.type, 2);
	assert_true(data.len <= sizeof(blob));
	assert_int_equal(gmem_read(f->gmem, params.hdr.setup_data + sizeof(data), blob, data.len), 0);
	assert_int_equal(fdt_check_full(blob, data.len), 0);
	return blob;
}

static void expect_cells(const void *tree, const char *path, const char *name, const uint32_t *cells,
			 int count)
{
	int len = 0, node = fdt_path_offset(tree, path);
	const fdt32_t *value = node < 0 ? NULL : fdt_getprop(tree, node, name, &len);

	if (!value)
		fail_msg("%s has no %s", path, name);
	assert_int_equal(len, count * 4);
	for (int i = 0; value && i < count; i++)
		assert_int_equal(fdt32_to_cpu(value[i]), cells[i]);
}
#define EXPECT_CELLS(tree_, path_, name_, ...)                                                               \
	expect_cells(tree_, path_, name_, (const uint32_t[]){__VA_ARGS__},                                   \
		     sizeof((const uint32_t[]){__VA_ARGS__}) / 4)

static void test_device_tree(void **state)
{
	struct fixture *f = *state;
	const void *tree;
	int len;

	f->config.device = tree_devices;
	f->config.device_count = 3;
	f->config.device_tree = true;
	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	tree = read_device_tree(f);
	EXPECT_CELLS(tree, "/soc/virtio_mmio@c0001000", "reg", 0, 0xc0001000, 0, 0x1000);
	EXPECT_CELLS(tree, "/soc/virtio_mmio@c0001000", "interrupts", 17, 2);
	EXPECT_CELLS(tree, "/soc/interrupt-controller@fec00000", "phandle", 1);
	EXPECT_CELLS(tree, "/isa/ns16550a@i2f8", "reg", 1, 0x2f8, 8);
	EXPECT_CELLS(tree, "/isa/ns16550a@i2f8", "interrupts", 3, 0);
	EXPECT_CELLS(tree, "/cpus/cpu@1", "reg", 1);
	EXPECT_CELLS(tree, "/memory@100000", "reg", 0, 0x100000, 0, TEST_RAM_SIZE - MIB);
	assert_string_equal(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "bootargs", &len),
			    "console=ttyS0");
	/* Not listed: it has no name for a device tree. */
	assert_true(fdt_path_offset(tree, "/isa/ns16550a@i3f8") < 0);
	assert_true(fdt_path_offset(tree, "/pcie@0") < 0);
}

static void test_device_tree_of_pci(void **state)
{
	static const uint8_t gsis[] = {16, 17, 18};
	static const uint32_t slot_5_pin_2[] = {5 << 11, 0, 0, 2, 1, 16, 2};
	struct fixture *f = *state;
	const fdt32_t *rows;
	const void *tree;
	int len;

	f->config.device_tree = true;
	f->config.pci = (struct boot_pci){.ecam_gpa = 0xe0000000,
					  .last_bus = 3,
					  .low_gpa = 0xc1000000,
					  .low_size = 0x1000000,
					  .high_gpa = 0x8000000000,
					  .high_size = 0x100000000,
					  .gsi = gsis,
					  .gsi_count = 3};
	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	tree = read_device_tree(f);
	EXPECT_CELLS(tree, "/pcie@e0000000", "reg", 0, 0xe0000000, 0, 0x400000);
	EXPECT_CELLS(tree, "/pcie@e0000000", "ranges", 0x02000000, 0, 0xc1000000, 0, 0xc1000000, 0, 0x1000000,
		     0x03000000, 0x80, 0, 0x80, 0, 1, 0);
	rows = fdt_getprop(tree, fdt_path_offset(tree, "/pcie@e0000000"), "interrupt-map", &len);
	assert_int_equal(len, 32 * 4 * 7 * 4);
	for (unsigned i = 0; rows && i < 7; i++)
		assert_int_equal(fdt32_to_cpu(rows[(5 * 4 + 1) * 7 + i]), slot_5_pin_2[i]);
}

static void test_device_tree_only_where_it_can_be(void **state)
{
	struct fixture *f = *state;
	struct boot_params params;

	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	read_zero_page(f, &params);
	assert_int_equal(params.hdr.setup_data, 0);
	f->config.device_tree = true;
	test_bzimage_header(f->bytes)->version = 0x0208;
	assert_int_equal(prepare(f, TEST_BZIMAGE_SIZE), -ENOTSUP);
	assert_non_null(strstr(f->err.message, "device tree"));
	test_elf64_make(f->bytes, 1);
	assert_int_equal(prepare(f, TEST_ELF_SIZE), -ENOTSUP);
	assert_non_null(strstr(f->err.message, "pvh"));
}

/* As much of everything as a configuration may have. */
static void test_device_tree_of_the_largest_machine(void **state)
{
	struct fixture *f = *state;
	const struct device_description *many[BOOT_DEVICES_MAX];
	struct device_description device[BOOT_DEVICES_MAX];

	for (unsigned i = 0; i < BOOT_DEVICES_MAX; i++) {
		device[i] = virtio_description;
		device[i].mmio_base += i * 0x1000ull;
		many[i] = &device[i];
	}
	f->config.device = many;
	f->config.device_count = BOOT_DEVICES_MAX;
	f->config.cpu_count = BOOT_CPUS_MAX;
	f->config.device_tree = true;
	f->config.no_acpi = f->config.no_mptable = true;
	test_bzimage_make(f->bytes);
	prepare_well(f, TEST_BZIMAGE_SIZE);
	EXPECT_CELLS(read_device_tree(f), "/cpus/cpu@3ff", "reg", 1023);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_device_tree),
		CASE(test_device_tree_of_pci),
		CASE(test_device_tree_only_where_it_can_be),
		CASE(test_device_tree_of_the_largest_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
