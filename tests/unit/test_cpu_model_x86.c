/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/core/cpu_model_x86: what the leaves say, and what they never say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/cpu_model_x86.h"

static struct x86_cpu_capabilities everything(void)
{
	struct x86_cpu_capabilities capabilities = {
		.xcr0 = 0x207,
		.phys_bits = 40,
		.virt_bits = 48,
		.tsc_hz = 2445123000,
		.hypervisor_signature = "VmmctlUnits!",
	};

	memset(capabilities.feature, 0xff, sizeof(capabilities.feature));
	return capabilities;
}

static const struct x86_cpuid_entry *find(const struct x86_cpuid_table *table, uint32_t number,
					  uint32_t subleaf)
{
	for (size_t i = 0; i < table->count; i++) {
		if (table->entry[i].leaf == number && table->entry[i].subleaf == subleaf)
			return &table->entry[i];
	}
	return NULL;
}

/* The leaf, which must be there. */
static const struct x86_cpuid_entry *leaf(const struct x86_cpuid_table *table, uint32_t number,
					  uint32_t subleaf)
{
	static const struct x86_cpuid_entry none;
	const struct x86_cpuid_entry *entry = find(table, number, subleaf);

	assert_non_null(entry);
	return entry ? entry : &none;
}

static struct x86_cpuid_table build(const char *model, const struct x86_cpu_capabilities *capabilities,
				    unsigned id, unsigned count)
{
	struct x86_cpuid_table table = {0};

	assert_int_equal(
		x86_cpu_model_build(x86_cpu_model_find(model, NULL), capabilities, id, count, &table, NULL),
		0);
	return table;
}

static void test_unknown_model_names_those_there_are(void **state)
{
	struct err err = {0};

	assert_null(x86_cpu_model_find("pentium", &err));
	assert_non_null(strstr(err.message, "auto, x86-64, x86-64-v2, x86-64-v3, max"));
	for (size_t i = 0; x86_cpu_model_at(i); i++)
		assert_ptr_equal(x86_cpu_model_find(x86_cpu_model_name(x86_cpu_model_at(i)), NULL),
				 x86_cpu_model_at(i));
}

static void test_missing_features_are_named(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct x86_cpuid_table table;
	struct err err = {0};

	capabilities.feature[X86_WORD_1_ECX] &= ~(1u << 20 | 1u << 23);
	assert_int_equal(
		x86_cpu_model_build(x86_cpu_model_find("x86-64-v2", NULL), &capabilities, 0, 1, &table, &err),
		-ENOTSUP);
	assert_non_null(strstr(err.message, "sse4.2 popcnt"));
	assert_int_equal(
		x86_cpu_model_build(x86_cpu_model_find("x86-64", NULL), &capabilities, 0, 1, &table, NULL),
		0);
}

static void test_models_differ_as_they_say(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct x86_cpuid_table table = build("x86-64", &capabilities, 0, 1);

	assert_false(leaf(&table, 1, 0)->ecx & 1u << 20); /* SSE4.2 */
	assert_true(leaf(&table, 1, 0)->edx & 1u << 26);  /* SSE2 */
	assert_null(find(&table, 0xd, 0));
	table = build("x86-64-v2", &capabilities, 0, 1);
	assert_true(leaf(&table, 1, 0)->ecx & 1u << 20);
	assert_false(leaf(&table, 1, 0)->ecx & 1u << 28); /* AVX */
	table = build("x86-64-v3", &capabilities, 0, 1);
	assert_true(leaf(&table, 1, 0)->ecx & 1u << 28);
	assert_true(leaf(&table, 7, 0)->ebx & 1u << 5);   /* AVX2 */
	assert_false(leaf(&table, 7, 0)->ebx & 1u << 16); /* AVX-512 */
	assert_int_equal(leaf(&table, 0xd, 0)->eax, 7);   /* neither its state nor PKRU's */
	assert_int_equal(leaf(&table, 0xd, 0)->ecx, 576 + 256);
	assert_int_equal(leaf(&table, 0xd, 1)->eax & 15, 15);
	table = build("max", &capabilities, 0, 1);
	assert_true(leaf(&table, 1, 0)->ecx & 1u << 28);
	assert_non_null(find(&table, 0xd, 0));
}

static void test_auto_is_the_best_level_that_fits(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct err err = {0};

	assert_string_equal(x86_cpu_model_name(x86_cpu_model_resolve("auto", &capabilities, &err)),
			    "x86-64-v3");
	capabilities.feature[X86_WORD_7_EBX] &= ~(1u << 5);
	assert_string_equal(x86_cpu_model_name(x86_cpu_model_resolve("auto", &capabilities, &err)),
			    "x86-64-v2");
	/* A name stays what it is: whether it can be had is said when it is built. */
	assert_string_equal(x86_cpu_model_name(x86_cpu_model_resolve("x86-64-v3", &capabilities, &err)),
			    "x86-64-v3");
	assert_null(x86_cpu_model_resolve("i486", &capabilities, &err));
}

/* What an accelerator cannot execute must not appear, whatever the model wants. */
static void test_capabilities_are_a_mask(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct x86_cpuid_table table;

	capabilities.feature[X86_WORD_7_EBX] = 0;
	capabilities.feature[X86_WORD_1_ECX] &= ~(1u << 26); /* no XSAVE */
	table = build("max", &capabilities, 0, 1);
	assert_int_equal(leaf(&table, 7, 0)->ebx, 0);
	assert_null(find(&table, 0xd, 0));
	assert_false(leaf(&table, 1, 0)->ecx & 1u << 27); /* OSXSAVE is the system's to set */
	assert_true(leaf(&table, 1, 0)->ecx & 1u << 31);  /* a hypervisor is present */
}

static void test_xsave_follows_the_features(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct x86_cpuid_table table = build("max", &capabilities, 0, 1);

	assert_int_equal(leaf(&table, 0xd, 0)->eax, 0x207);
	assert_int_equal(leaf(&table, 0xd, 0)->ecx, 2696);
	assert_int_equal(leaf(&table, 0xd, 9)->ebx, 2688);
	capabilities.feature[X86_WORD_7_ECX] &= ~(1u << 3);  /* no PKU */
	capabilities.feature[X86_WORD_1_ECX] &= ~(1u << 28); /* no AVX */
	table = build("max", &capabilities, 0, 1);
	assert_int_equal(leaf(&table, 0xd, 0)->eax, 3);
	assert_int_equal(leaf(&table, 0xd, 0)->ecx, 576);
}

static void test_topology(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct x86_cpuid_table table = build("max", &capabilities, 4, 5);

	assert_int_equal(leaf(&table, 1, 0)->ebx >> 24, 4);
	assert_int_equal(leaf(&table, 1, 0)->ebx >> 16 & 0xff, 8); /* 3 bits number 5 cores */
	assert_int_equal(leaf(&table, 0xb, 1)->eax, 3);
	assert_int_equal(leaf(&table, 0xb, 1)->ebx, 5);
	assert_int_equal(leaf(&table, 0xb, 0)->edx, 4);
	assert_int_equal(leaf(&table, 4, 0)->eax >> 26, 7);
	table = build("max", &capabilities, 0, 1);
	assert_false(leaf(&table, 1, 0)->edx & 1u << 28); /* HTT: one CPU alone in its package */
}

/* Linux: khz = crystal_khz * EBX / EAX in 32 bits. It must not wrap, and be right to a kHz. */
static void test_frequencies_survive_linux_arithmetic(void **state)
{
	static const uint64_t rates[] = {1000000000, 2445123000, 3999999000, 4200000000, 6100000000};
	struct x86_cpu_capabilities capabilities = everything();

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct x86_cpuid_table table;
		const struct x86_cpuid_entry *entry;
		uint32_t khz;

		capabilities.tsc_hz = rates[i];
		table = build("max", &capabilities, 0, 1);
		entry = leaf(&table, 0x15, 0);
		khz = entry->ecx / 1000 * entry->ebx / entry->eax;
		assert_true(khz <= rates[i] / 1000 && khz + 1 >= rates[i] / 1000);
		assert_int_equal(entry->ecx, x86_cpu_model_crystal_hz(&capabilities));
		assert_int_equal(leaf(&table, 0x16, 0)->eax, (rates[i] + 500000) / 1000000);
	}
}

/* A machine that runs on two accelerators by turns offers what both have: the leaves come out the same from
 * either side. */
static void test_two_accelerators_meet(void **state)
{
	struct x86_cpu_capabilities hardware = everything(), engine = everything(), met[2];
	struct x86_cpuid_table table[2];
	struct err err = {0};

	strcpy(hardware.vendor, "AuthenticAMD");
	hardware.signature = 0xa10f11;
	hardware.phys_bits = 48;
	hardware.tsc_hz = 2596138000;
	hardware.feature[X86_WORD_1_ECX] &= ~(1u << 30); /* RDRAND */
	engine.phys_bits = 46;
	engine.tsc_hz = 1000000000;
	engine.tsc_any_rate = true;
	engine.feature[X86_WORD_1_ECX] &= ~(1u << 28); /* AVX */
	met[0] = hardware;
	met[1] = engine;
	assert_int_equal(x86_cpu_capabilities_meet(&met[0], &engine, &err), 0);
	assert_int_equal(x86_cpu_capabilities_meet(&met[1], &hardware, &err), 0);
	for (unsigned i = 0; i < 2; i++)
		table[i] = build("max", &met[i], 0, 2);
	assert_int_equal(table[0].count, table[1].count);
	for (size_t i = 0; i < table[0].count; i++) {
		const struct x86_cpuid_entry *a = &table[0].entry[i], *b = &table[1].entry[i];

		assert_int_equal(a->leaf, b->leaf);
		assert_int_equal(a->subleaf, b->subleaf);
		assert_int_equal(a->eax, b->eax);
		assert_int_equal(a->ebx, b->ebx);
		assert_int_equal(a->ecx, b->ecx);
		assert_int_equal(a->edx, b->edx);
	}
	assert_int_equal(leaf(&table[0], 1, 0)->eax, 0xa10f11);
	assert_false(leaf(&table[0], 1, 0)->ecx & (1u << 30 | 1u << 28));
	assert_false(leaf(&table[0], 1, 0)->edx & (1u << 7 | 1u << 14)); /* banks are each one's own */
	assert_int_equal(leaf(&table[0], 0x80000008, 0)->eax & 0xff, 46);
	assert_int_equal(met[1].tsc_hz, 2596138000);

	engine.tsc_any_rate = false;
	assert_int_equal(x86_cpu_capabilities_meet(&engine, &hardware, &err), -ENOTSUP);
}

/* An accelerator's local APICs may count at a rate of their own: the TSC's is a fraction of it then. */
static void test_a_given_apic_timer_is_the_crystal(void **state)
{
	static const uint64_t rates[] = {1000000000, 2100000000, 2445123456,
					 2000300000, 3999999000, 800000000};
	struct x86_cpu_capabilities capabilities = everything();

	capabilities.apic_timer_hz = 1000000000;
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct x86_cpuid_table table;
		const struct x86_cpuid_entry *entry;
		uint64_t khz;

		capabilities.tsc_hz = rates[i];
		table = build("max", &capabilities, 0, 1);
		entry = leaf(&table, 0x15, 0);
		assert_int_equal(entry->ecx, 1000000000);
		assert_int_equal(leaf(&table, 0x40000010, 0)->ebx, 1000000);
		assert_true((uint64_t)entry->ecx / 1000 * entry->ebx <= UINT32_MAX);
		khz = entry->ecx / 1000 * entry->ebx / entry->eax;
		assert_in_range(khz, rates[i] / 1000 * 9999 / 10000, rates[i] / 1000 * 10001 / 10000);
		if (i == 1)
			assert_int_equal(khz, 2100000);
		if (i == 2)
			assert_in_range(khz, 2445120, 2445126);
	}
}

static void test_hypervisor_leaf(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct x86_cpuid_table table = build("max", &capabilities, 0, 1);
	const struct x86_cpuid_entry *entry = leaf(&table, 0x40000000, 0);
	char signature[13] = "";

	memcpy(signature, &entry->ebx, 4);
	memcpy(signature + 4, &entry->ecx, 4);
	memcpy(signature + 8, &entry->edx, 4);
	assert_string_equal(signature, "VmmctlUnits!");
	assert_int_equal(leaf(&table, 0x40000010, 0)->eax, 2445123);
	capabilities.hypervisor_signature[0] = '\0';
	table = build("max", &capabilities, 0, 1);
	assert_null(find(&table, 0x40000000, 0));
}

static void test_table_is_sorted_and_fits(void **state)
{
	struct x86_cpu_capabilities capabilities = everything();
	struct x86_cpuid_table table;

	capabilities.xcr0 = 0x2e7;
	capabilities.kvmclock = true;
	table = build("max", &capabilities, 0, 255);
	assert_true(table.count <= X86_CPUID_ENTRIES_MAX);
	for (size_t i = 1; i < table.count; i++) {
		const struct x86_cpuid_entry *a = &table.entry[i - 1];
		const struct x86_cpuid_entry *b = &table.entry[i];

		assert_true(a->leaf < b->leaf || (a->leaf == b->leaf && a->subleaf < b->subleaf));
	}
	assert_true(leaf(&table, 0, 0)->eax >= 0x16);
	assert_int_equal(leaf(&table, 0x80000008, 0)->eax, 40 | 48 << 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_model_names_those_there_are),
		cmocka_unit_test(test_missing_features_are_named),
		cmocka_unit_test(test_models_differ_as_they_say),
		cmocka_unit_test(test_auto_is_the_best_level_that_fits),
		cmocka_unit_test(test_capabilities_are_a_mask),
		cmocka_unit_test(test_xsave_follows_the_features),
		cmocka_unit_test(test_topology),
		cmocka_unit_test(test_frequencies_survive_linux_arithmetic),
		cmocka_unit_test(test_two_accelerators_meet),
		cmocka_unit_test(test_a_given_apic_timer_is_the_crystal),
		cmocka_unit_test(test_hypervisor_leaf),
		cmocka_unit_test(test_table_is_sorted_and_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
