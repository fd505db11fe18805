/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI and MP tables: structure and checksums by our own reading, and the whole by ACPICA's compiler (iasl),
 * which must disassemble and compile them again without a complaint. Skipped by name where iasl is not
 * installed.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot/acpi.h"
#include "boot/aml.h"
#include "boot/boot.h"
#include "boot/layout.h"
#include "boot/mptable.h"
#include "vmm/base/err.h"

static const struct device_description devices[] = {
	{.acpi_hid = "PNP0501", .pio_base = {0x3f8}, .pio_size = {8}, .irq = {4, -1}},
	{.acpi_hid = "PNP0501", .pio_base = {0x2f8}, .pio_size = {8}, .irq = {3, -1}},
	{.acpi_hid = "PNP0B00", .pio_base = {0x70}, .pio_size = {2}, .irq = {8, -1}},
	{.acpi_hid = "PNP0303", .pio_base = {0x60, 0x64}, .pio_size = {1, 1}, .irq = {1, 12}},
	{.acpi_hid = NULL, .pio_base = {0x80}, .pio_size = {1}, .irq = {-1, -1}},
	{.acpi_hid = "LNRO0005", .mmio_base = 0xd0000000, .mmio_size = 0x1000, .irq = {20, -1}},
	{.acpi_hid = "LNRO0005",
	 .mmio_base = 0xd0001000,
	 .mmio_size = 0x1000,
	 .irq = {10, -1},
	 .irq_is_level = true},
};

struct fixture {
	const struct device_description *list[7];
	struct boot_x86_config config;
	uint8_t area[LAYOUT_ACPI_SIZE];
	size_t len;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	for (unsigned i = 0; i < 7; i++)
		f->list[i] = &devices[i];
	f->config = (struct boot_x86_config){.cpu_count = 4,
					     .lapic_gpa = 0xfee00000,
					     .ioapic_gpa = 0xfec00000,
					     .ioapic_id = 4,
					     .device = f->list,
					     .device_count = 7,
					     .acpi = {.pm1a_event_port = 0x600,
						      .pm1a_control_port = 0x604,
						      .pm_timer_port = 0x608,
						      .pm_timer_is_32bit = true,
						      .reset_port = 0xcf9,
						      .reset_value = 6,
						      .sci_irq = 9,
						      .sleep_type_s5 = 5}};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	test_free(*state);
	return 0;
}

static void build(struct fixture *f)
{
	if (acpi_build(&f->config, LAYOUT_RSDP_GPA, f->area, sizeof(f->area), &f->len, &f->err))
		fail_msg("%s", f->err.message);
}

static uint64_t word(const uint8_t *at, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	return value;
}

static const uint8_t *at_gpa(struct fixture *f, uint64_t gpa)
{
	assert_in_range(gpa, LAYOUT_RSDP_GPA, LAYOUT_RSDP_GPA + f->len - 1);
	return f->area + (gpa - LAYOUT_RSDP_GPA);
}

static uint8_t sum(const uint8_t *at, size_t len)
{
	uint8_t total = 0;

	while (len--)
		total += *at++;
	return total;
}

/* The table that the XSDT points to under this signature, its checksum proven. */
static const uint8_t *find_table(struct fixture *f, const char *signature)
{
	const uint8_t *xsdt = at_gpa(f, word(f->area + 24, 8));
	size_t count = (word(xsdt + 4, 4) - ACPI_HEADER_SIZE) / 8;

	for (size_t i = 0; i < count; i++) {
		const uint8_t *table = at_gpa(f, word(xsdt + ACPI_HEADER_SIZE + 8 * i, 8));

		if (!memcmp(table, signature, 4)) {
			assert_int_equal(sum(table, word(table + 4, 4)), 0);
			return table;
		}
	}
	fail_msg("no %s", signature);
	return NULL;
}

static void test_root_tables(void **state)
{
	struct fixture *f = *state;
	const uint8_t *rsdt, *xsdt;

	build(f);
	assert_memory_equal(f->area, "RSD PTR ", 8);
	assert_int_equal(sum(f->area, 20), 0);
	assert_int_equal(sum(f->area, 36), 0);
	assert_int_equal(f->area[15], 2);
	rsdt = at_gpa(f, word(f->area + 16, 4));
	xsdt = at_gpa(f, word(f->area + 24, 8));
	assert_memory_equal(rsdt, "RSDT", 4);
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(rsdt, word(rsdt + 4, 4)), 0);
	assert_int_equal(sum(xsdt, word(xsdt + 4, 4)), 0);
	assert_int_equal(word(rsdt + 36, 4), word(xsdt + 36, 8));
	assert_int_equal(word(rsdt + 40, 4), word(xsdt + 44, 8));
}

static void test_fadt(void **state)
{
	struct fixture *f = *state;
	const uint8_t *fadt, *facs;

	build(f);
	fadt = find_table(f, "FACP");
	assert_int_equal(word(fadt + 4, 4), 276);
	assert_int_equal(word(fadt + 46, 2), 9);
	assert_int_equal(word(fadt + 48, 4), 0);
	assert_int_equal(word(fadt + 56, 4), 0x600);
	assert_int_equal(word(fadt + 64, 4), 0x604);
	assert_int_equal(word(fadt + 76, 4), 0x608);
	assert_int_equal(fadt[108], 0x32);
	assert_int_equal(word(fadt + 109, 2) & 3, 3);
	assert_int_equal(word(fadt + 112, 4) & (1u << 20), 0);
	assert_int_equal(word(fadt + 112, 4) & (1u << 8 | 1u << 10), 1u << 8 | 1u << 10);
	assert_int_equal(word(fadt + 120, 8), 0xcf9);
	assert_int_equal(fadt[128], 6);
	assert_int_equal(word(fadt + 40, 4), word(fadt + 140, 8));
	assert_int_equal(word(fadt + 36, 4), word(fadt + 132, 8));
	facs = at_gpa(f, word(fadt + 36, 4));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(word(fadt + 36, 4) % 64, 0);
}

static void test_fadt_follows_the_devices(void **state)
{
	struct fixture *f = *state;
	const uint8_t *fadt;

	f->config.device_count = 2; /* serial ports only */
	f->config.acpi.pm_timer_is_32bit = false;
	f->config.acpi.reset_port = 0;
	build(f);
	fadt = find_table(f, "FACP");
	assert_int_equal(fadt[108], 0);
	assert_int_equal(word(fadt + 109, 2) & 2, 0);
	assert_int_equal(word(fadt + 109, 2) & 0x20, 0x20);
	assert_int_equal(word(fadt + 112, 4) & (1u << 8 | 1u << 10), 0);
}

/* Counts entries of one type in a list of (type, length) records. */
static unsigned count_entries(const uint8_t *table, size_t start, uint8_t type)
{
	size_t len = word(table + 4, 4);
	unsigned found = 0;

	for (size_t at = start; at < len; at += table[at + 1]) {
		assert_true(table[at + 1] >= 2);
		found += table[at] == type;
	}
	return found;
}

static void test_madt(void **state)
{
	struct fixture *f = *state;
	const uint8_t *madt;

	build(f);
	madt = find_table(f, "APIC");
	assert_int_equal(word(madt + 36, 4), 0xfee00000);
	assert_int_equal(count_entries(madt, 44, 0), 4);
	assert_int_equal(count_entries(madt, 44, 1), 1);
	assert_int_equal(count_entries(madt, 44, 2), 2);
	assert_int_equal(count_entries(madt, 44, 4), 1);
	assert_int_equal(count_entries(madt, 44, 9), 0);
	assert_memory_equal(madt + 44 + 4 * 8 + 12, "\2\12\0\0\2\0\0\0\0\0\2\12\0\11\11\0\0\0\15\0", 20);
	f->config.cpu_count = BOOT_CPUS_MAX;
	build(f);
	madt = find_table(f, "APIC");
	assert_int_equal(count_entries(madt, 44, 0), 255);
	assert_int_equal(count_entries(madt, 44, 9), BOOT_CPUS_MAX - 255);
	assert_int_equal(count_entries(madt, 44, 10), 1);
}

static void test_too_little_room_is_an_error(void **state)
{
	struct fixture *f = *state;
	size_t whole;

	build(f);
	whole = f->len;
	assert_int_equal(acpi_build(&f->config, LAYOUT_RSDP_GPA, f->area, whole, &f->len, &f->err), 0);
	for (size_t room = 0; room < whole; room += 7)
		assert_int_equal(acpi_build(&f->config, LAYOUT_RSDP_GPA, f->area, room, &f->len, &f->err),
				 -ENOSPC);
}

static void test_aml_lengths(void **state)
{
	static const struct {
		size_t body;
		uint8_t want[4];
		size_t bytes;
	} cases[] = {{62, {0x3f}, 1},
		     {63, {0x41, 0x04}, 2},
		     {4093, {0x4f, 0xff}, 2},
		     {4094, {0x81, 0x00, 0x01}, 3}};
	uint8_t area[8192];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct aml aml;

		aml_init(&aml, area, sizeof(area));
		aml_begin_package(&aml, 0);
		for (size_t n = 1; n < cases[i].body; n++)
			aml_integer(&aml, 0);
		aml_end(&aml);
		assert_memory_equal(area + 1, cases[i].want, cases[i].bytes);
		assert_int_equal(aml.len, 1 + cases[i].bytes + cases[i].body);
	}
}

static void test_aml_objects(void **state)
{
	uint8_t area[64];
	struct aml aml;

	(void)state;
	aml_init(&aml, area, sizeof(area));
	aml_hardware_id(&aml, "PNP0501");
	assert_memory_equal(area, "\x0c\x41\xd0\x05\x01", 5);
	aml_integer(&aml, 1);
	aml_integer(&aml, 0x1234);
	aml_integer(&aml, 0x123456789ull);
	assert_memory_equal(area + 5, "\x01\x0b\x34\x12\x0e\x89\x67\x45\x23\x01\0\0\0", 13);
	aml_init(&aml, area, 4);
	aml_string(&aml, "too long");
	assert_true(aml.is_full);
	assert_true(aml.len <= 4);
}

static void test_mp_table(void **state)
{
	struct fixture *f = *state;
	const uint8_t *table = f->area + 16;

	assert_int_equal(mptable_build(&f->config, 0xf0000, f->area, sizeof(f->area), &f->len, &f->err), 0);
	assert_memory_equal(f->area, "_MP_", 4);
	assert_int_equal(sum(f->area, 16), 0);
	assert_int_equal(word(f->area + 4, 4), 0xf0010);
	assert_memory_equal(table, "PCMP", 4);
	assert_int_equal(word(table + 4, 2), f->len - 16);
	assert_int_equal(sum(table, f->len - 16), 0);
	assert_int_equal(word(table + 34, 2), 4 + 1 + 1 + 15 + 2);
	assert_int_equal(word(table + 36, 4), 0xfee00000);
	assert_int_equal(table[44 + 3], 3);
	assert_int_equal(table[44 + 20 + 3], 1);
	/* IRQ 0 to pin 2, IRQ 9 level */
	assert_memory_equal(table + 44 + 80 + 16, "\3\0\0\0\0\0\4\2", 8);
	assert_memory_equal(table + 44 + 80 + 16 + 8 * 8, "\3\0\15\0\0\11\4\11", 8);
	assert_int_equal(mptable_build(&f->config, 0xf0000, f->area, 100, &f->len, &f->err), -ENOSPC);
	f->config.cpu_count = 300;
	assert_int_equal(mptable_build(&f->config, 0xf0000, f->area, sizeof(f->area), &f->len, &f->err), 0);
	assert_int_equal(word(table + 34, 2), 255 + 1 + 1 + 15 + 2);
}

static void write_file(const char *folder, const char *name, const void *bytes, size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void expect_text(const char *folder, const char *file, const char *text)
{
	char command[256];

	snprintf(command, sizeof(command), "grep -qF '%s' %s/%s", text, folder, file);
	if (system(command))
		fail_msg("%s does not contain \"%s\"", file, text);
}

static void add_pci(struct fixture *f)
{
	static const uint8_t gsi[] = {16, 17, 18, 19, 20, 21, 22, 23};

	f->config.pci = (struct boot_pci){
		.ecam_gpa = 0xe0000000,
		.last_bus = 255,
		.low_gpa = 0xc1000000,
		.low_size = 0x1f000000,
		.high_gpa = 0x3fff00000000,
		.high_size = 1ull << 32,
		.gsi = gsi,
		.gsi_count = 8,
	};
}

/* Without PCI there is no MCFG; with it, one segment of the buses that there are. */
static void test_mcfg(void **state)
{
	struct fixture *f = *state;
	const uint8_t *mcfg;

	build(f);
	assert_int_equal(word(at_gpa(f, word(f->area + 24, 8)) + 4, 4), 36 + 2 * 8);
	add_pci(f);
	build(f);
	mcfg = find_table(f, "MCFG");
	assert_int_equal(word(mcfg + 4, 4), 60);
	assert_int_equal(word(mcfg + 44, 8), 0xe0000000);
	assert_int_equal(word(mcfg + 52, 2), 0);
	assert_int_equal(mcfg[54], 0);
	assert_int_equal(mcfg[55], 255);
}

static void test_iasl_accepts_every_table(void **state)
{
	struct fixture *f = *state;
	char folder[] = "/tmp/vmmctl-acpi-XXXXXX", command[512];
	const uint8_t *fadt;
	int status;

	if (system("command -v iasl >/dev/null 2>&1")) {
		print_message("iasl is not installed (package acpica-tools)\n");
		skip();
	}
	add_pci(f);
	build(f);
	assert_non_null(mkdtemp(folder));
	fadt = find_table(f, "FACP");
	write_file(folder, "fadt.aml", fadt, word(fadt + 4, 4));
	write_file(folder, "dsdt.aml", at_gpa(f, word(fadt + 40, 4)),
		   word(at_gpa(f, word(fadt + 40, 4)) + 4, 4));
	write_file(folder, "madt.aml", find_table(f, "APIC"), word(find_table(f, "APIC") + 4, 4));
	write_file(folder, "mcfg.aml", find_table(f, "MCFG"), word(find_table(f, "MCFG") + 4, 4));
	write_file(folder, "facs.aml", at_gpa(f, word(fadt + 36, 4)), 64);
	snprintf(command, sizeof(command),
		 "cd %s && for t in fadt dsdt madt mcfg facs; do iasl -d $t.aml >$t.log 2>&1 && iasl -p "
		 "again-$t "
		 "$t.dsl >>$t.log 2>&1 "
		 "|| { cat $t.log; exit 1; }; done && ! grep -iE 'invalid|incorrect|unknown' *.dsl && "
		 "grep -q '0 Errors, 0 Warnings' dsdt.log",
		 folder);
	status = system(command);
	expect_text(folder, "dsdt.dsl", "EisaId (\"PNP0501\")");
	expect_text(folder, "dsdt.dsl", "IO (Decode16,");
	expect_text(folder, "dsdt.dsl", "Name (_S5, Package (0x04)");
	expect_text(folder, "dsdt.dsl", "EisaId (\"PNP0F13\")");
	expect_text(folder, "dsdt.dsl", "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive");
	expect_text(folder, "dsdt.dsl", "Memory32Fixed (ReadWrite");
	expect_text(folder, "dsdt.dsl", "Interrupt (ResourceConsumer, Level, ActiveHigh, Shared");
	expect_text(folder, "dsdt.dsl", "Device (PCI0)");
	expect_text(folder, "dsdt.dsl", "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode");
	expect_text(folder, "dsdt.dsl",
		    "DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable");
	expect_text(folder, "dsdt.dsl",
		    "QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable");
	expect_text(folder, "dsdt.dsl", "Name (_PRT, Package (0x80)");
	expect_text(folder, "madt.dsl", "[I/O APIC]");
	expect_text(folder, "fadt.dsl", "FADT Minor Revision : 05");
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(status, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_root_tables),
		CASE(test_fadt),
		CASE(test_fadt_follows_the_devices),
		CASE(test_madt),
		CASE(test_too_little_room_is_an_error),
		cmocka_unit_test(test_aml_lengths),
		cmocka_unit_test(test_aml_objects),
		CASE(test_mp_table),
		CASE(test_mcfg),
		CASE(test_iasl_accepts_every_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
