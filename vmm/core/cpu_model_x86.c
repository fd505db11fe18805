/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86 CPU models and their CPUID leaves. A model is two sets of feature bits: what it promises (its psABI
 * level: an accelerator without it is refused) and what it takes when it can (platform features that do not
 * change what a compiler emits). Adding a model is one row of x86_cpu_models. Knows no accelerator.
 *
 * Intel SDM vol. 2, CPUID; psABI x86-64, "Micro-architecture levels"; docs/decisions/0002-cpu-identity.md
 * says why the processor calls itself what it does.
 */
#include "vmm/core/cpu_model_x86.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/text.h"

#define BIT(n) (1u << (n))

/* GenuineIntel, family 6, model 0x1c, stepping 10: an in-order core that does not speculate. See the
 * decision. */
#define CPU_SIGNATURE         0x000106cau
#define CPUID_CRYSTAL_HZ_MAX  4000000000u /* leaf 0x15 has 32 bits */
#define CPUID_HYPERVISOR_LAST 0x40000010u
#define XCR0_LEVEL_3          7ull /* x87, SSE, AVX */

/* What CPUID gives for each component of XSAVE in the standard format. SDM vol. 1, 13.5. */
static const struct {
	uint8_t component;
	uint32_t size_bytes, offset;
} x86_xsave_areas[] = {
	{2, 256, 576}, {5, 64, 1088}, {6, 512, 1152}, {7, 1024, 1664}, {9, 8, 2688},
};

struct x86_cpu_model {
	const char *name;
	const char *summary;
	uint32_t required[X86_WORD_COUNT]; /* an accelerator without one of these is refused */
	uint32_t wanted[X86_WORD_COUNT];   /* taken when the accelerator has them */
	uint64_t components;               /* of XCR0, taken likewise */
};

/* psABI levels. x86-64: FPU TSC MSR PAE CX8 APIC(platform) SEP PGE CMOV PAT CLFSH MMX FXSR SSE SSE2, SYSCALL
 * NX LM. */
#define LEVEL_1_EDX                                                                                          \
	(BIT(0) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(15) | BIT(23) | BIT(24) |       \
	 BIT(25) | BIT(26))
#define LEVEL_1_EXT1_EDX (BIT(11) | BIT(20) | BIT(29))
/* x86-64-v2: SSE3 SSSE3 CMPXCHG16B SSE4.1 SSE4.2 POPCNT, LAHF in 64-bit mode. */
#define LEVEL_2_ECX      (BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23))
#define LEVEL_2_EXT1_ECX BIT(0)
/* x86-64-v3: FMA MOVBE XSAVE (which OSXSAVE stands for) AVX F16C, BMI1 AVX2 BMI2, LZCNT. */
#define LEVEL_3_ECX      (BIT(12) | BIT(22) | BIT(26) | BIT(28) | BIT(29))
#define LEVEL_3_7_EBX    (BIT(3) | BIT(5) | BIT(8))
#define LEVEL_3_EXT1_ECX BIT(5)
/* Taken with level 3: what software looks for one by one where it finds AVX2. AES PCLMULQDQ, ADX SHA,
 * GFNI VAES VPCLMULQDQ, and the ways in which a kernel saves less: XSAVEOPT XSAVEC XGETBV1 XSAVES. */
#define WITH_LEVEL_3_ECX   (BIT(1) | BIT(25))
#define WITH_LEVEL_3_7_EBX (BIT(19) | BIT(29))
#define WITH_LEVEL_3_7_ECX (BIT(8) | BIT(9) | BIT(10))
#define WITH_LEVEL_3_D_1   (BIT(0) | BIT(1) | BIT(2) | BIT(3))

/*
 * Platform features of every model: what makes an operating system's own work cheaper, or what it expects of
 * any PC. SMAP, LA57 and PKU are left to `max`: each costs the kernel instructions or memory accesses that
 * buy nothing here. XSAVE comes with AVX.
 */
#define PLATFORM_1_ECX                                                                                       \
	(BIT(13) | BIT(17) | BIT(21) | BIT(24) | BIT(30)) /* CX16 PCID X2APIC TSC_DEADLINE RDRAND */
#define PLATFORM_1_EDX                                                                                       \
	(BIT(1) | BIT(2) | BIT(7) | BIT(9) | BIT(11) | BIT(12) | BIT(14) | BIT(16) | BIT(17) | BIT(19) |     \
	 BIT(27)) /* VME DE MCE APIC SEP MTRR MCA PAT PSE36 CLFSH SS */
#define PLATFORM_7_EBX                                                                                       \
	(BIT(0) | BIT(1) | BIT(7) | BIT(9) | BIT(10) |                                                       \
	 BIT(18))                             /* FSGSBASE TSC_ADJUST SMEP ERMS INVPCID RDSEED */
#define PLATFORM_7_ECX    BIT(2)              /* UMIP */
#define PLATFORM_7_EDX    (BIT(4) | BIT(29))  /* FSRM ARCH_CAPABILITIES */
#define PLATFORM_EXT1_EDX (BIT(26) | BIT(27)) /* 1 GiB pages, RDTSCP */
#define PLATFORM_EXT8_EBX 0

#define PLATFORM_WANTED                                                                                      \
	[X86_WORD_1_ECX] = PLATFORM_1_ECX, [X86_WORD_1_EDX] = PLATFORM_1_EDX,                                \
	[X86_WORD_7_EBX] = PLATFORM_7_EBX, [X86_WORD_7_ECX] = PLATFORM_7_ECX,                                \
	[X86_WORD_7_EDX] = PLATFORM_7_EDX, [X86_WORD_EXT1_EDX] = PLATFORM_EXT1_EDX

static const struct x86_cpu_model x86_cpu_models[] = {
	{
		.name = "x86-64",
		.summary = "the baseline: SSE2, and nothing that a compiler would use beyond it",
		.required = {[X86_WORD_1_EDX] = LEVEL_1_EDX, [X86_WORD_EXT1_EDX] = LEVEL_1_EXT1_EDX},
		.wanted = {PLATFORM_WANTED},
	},
	{
		.name = "x86-64-v2",
		.summary = "psABI level 2: SSE4.2, SSSE3, POPCNT, CMPXCHG16B",
		.required = {[X86_WORD_1_EDX] = LEVEL_1_EDX,
			     [X86_WORD_EXT1_EDX] = LEVEL_1_EXT1_EDX,
			     [X86_WORD_1_ECX] = LEVEL_2_ECX,
			     [X86_WORD_EXT1_ECX] = LEVEL_2_EXT1_ECX},
		.wanted = {PLATFORM_WANTED},
	},
	{
		.name = "x86-64-v3",
		.summary = "psABI level 3: AVX2, FMA, F16C, BMI2, and AES, SHA, GFNI where they are",
		.required = {[X86_WORD_1_EDX] = LEVEL_1_EDX,
			     [X86_WORD_EXT1_EDX] = LEVEL_1_EXT1_EDX,
			     [X86_WORD_1_ECX] = LEVEL_2_ECX | LEVEL_3_ECX,
			     [X86_WORD_7_EBX] = LEVEL_3_7_EBX,
			     [X86_WORD_EXT1_ECX] = LEVEL_2_EXT1_ECX | LEVEL_3_EXT1_ECX},
		.wanted = {[X86_WORD_1_ECX] = PLATFORM_1_ECX | WITH_LEVEL_3_ECX,
			   [X86_WORD_1_EDX] = PLATFORM_1_EDX,
			   [X86_WORD_7_EBX] = PLATFORM_7_EBX | WITH_LEVEL_3_7_EBX,
			   [X86_WORD_7_ECX] = PLATFORM_7_ECX | WITH_LEVEL_3_7_ECX,
			   [X86_WORD_7_EDX] = PLATFORM_7_EDX,
			   [X86_WORD_D_1_EAX] = WITH_LEVEL_3_D_1,
			   [X86_WORD_EXT1_EDX] = PLATFORM_EXT1_EDX},
		.components = XCR0_LEVEL_3,
	},
	{
		.name = "max",
		.summary = "everything that the accelerator can execute",
		.required = {[X86_WORD_1_EDX] = LEVEL_1_EDX, [X86_WORD_EXT1_EDX] = LEVEL_1_EXT1_EDX},
		.wanted = {[X86_WORD_1_ECX] = ~0u,
			   [X86_WORD_1_EDX] = ~0u,
			   [X86_WORD_7_EBX] = ~0u,
			   [X86_WORD_7_ECX] = ~0u,
			   [X86_WORD_7_EDX] = ~0u,
			   [X86_WORD_7_1_EAX] = ~0u,
			   [X86_WORD_D_1_EAX] = ~0u,
			   [X86_WORD_EXT1_ECX] = ~0u,
			   [X86_WORD_EXT1_EDX] = ~0u,
			   [X86_WORD_EXT7_EDX] = ~0u,
			   [X86_WORD_EXT8_EBX] = ~0u,
			   [X86_WORD_EXT21_EAX] = ~0u},
		.components = ~0ull,
	},
};

#define MODEL_COUNT (sizeof(x86_cpu_models) / sizeof(x86_cpu_models[0]))

const struct x86_cpu_model *x86_cpu_model_at(size_t index)
{
	return index < MODEL_COUNT ? &x86_cpu_models[index] : NULL;
}

const char *x86_cpu_model_name(const struct x86_cpu_model *model)
{
	return model->name;
}

const char *x86_cpu_model_summary(const struct x86_cpu_model *model)
{
	return model->summary;
}

const struct x86_cpu_model *x86_cpu_model_find(const char *name, struct err *err)
{
	char names[128] = X86_CPU_MODEL_AUTO;

	for (size_t i = 0; i < MODEL_COUNT; i++) {
		if (strcmp(name, x86_cpu_models[i].name) == 0)
			return &x86_cpu_models[i];
		text_append(names, sizeof(names), ", %s", x86_cpu_models[i].name);
	}
	err_set(err, -EINVAL, "no CPU model \"%s\": there are %s", name, names);
	return NULL;
}

/* Names of the bits that a psABI level needs, for the message of a refusal. */
static const struct {
	enum x86_feature_word word;
	uint8_t bit;
	const char *name;
} x86_feature_names[] = {
	{X86_WORD_1_EDX, 0, "fpu"},      {X86_WORD_1_EDX, 3, "pse"},         {X86_WORD_1_EDX, 4, "tsc"},
	{X86_WORD_1_EDX, 5, "msr"},      {X86_WORD_1_EDX, 6, "pae"},         {X86_WORD_1_EDX, 8, "cx8"},
	{X86_WORD_1_EDX, 13, "pge"},     {X86_WORD_1_EDX, 15, "cmov"},       {X86_WORD_1_EDX, 23, "mmx"},
	{X86_WORD_1_EDX, 24, "fxsr"},    {X86_WORD_1_EDX, 25, "sse"},        {X86_WORD_1_EDX, 26, "sse2"},
	{X86_WORD_1_ECX, 0, "sse3"},     {X86_WORD_1_ECX, 9, "ssse3"},       {X86_WORD_1_ECX, 13, "cx16"},
	{X86_WORD_1_ECX, 19, "sse4.1"},  {X86_WORD_1_ECX, 20, "sse4.2"},     {X86_WORD_1_ECX, 23, "popcnt"},
	{X86_WORD_EXT1_ECX, 0, "lahf"},  {X86_WORD_EXT1_EDX, 11, "syscall"}, {X86_WORD_EXT1_EDX, 20, "nx"},
	{X86_WORD_EXT1_EDX, 29, "lm"},   {X86_WORD_1_ECX, 12, "fma"},        {X86_WORD_1_ECX, 22, "movbe"},
	{X86_WORD_1_ECX, 26, "xsave"},   {X86_WORD_1_ECX, 28, "avx"},        {X86_WORD_1_ECX, 29, "f16c"},
	{X86_WORD_7_EBX, 3, "bmi1"},     {X86_WORD_7_EBX, 5, "avx2"},        {X86_WORD_7_EBX, 8, "bmi2"},
	{X86_WORD_EXT1_ECX, 5, "lzcnt"},
};

static int x86_model_check(const struct x86_cpu_model *model, const struct x86_cpu_capabilities *capabilities,
			   struct err *err)
{
	char missing[256] = "";

	for (size_t i = 0; i < sizeof(x86_feature_names) / sizeof(x86_feature_names[0]); i++) {
		enum x86_feature_word word = x86_feature_names[i].word;
		uint32_t bit = BIT(x86_feature_names[i].bit);

		if (!(model->required[word] & bit) || (capabilities->feature[word] & bit))
			continue;
		text_append(missing, sizeof(missing), " %s", x86_feature_names[i].name);
	}
	if (missing[0])
		return err_set(err, -ENOTSUP, "CPU model %s needs features that the accelerator lacks:%s",
			       model->name, missing);
	return 0;
}

const struct x86_cpu_model *
x86_cpu_model_resolve(const char *name, const struct x86_cpu_capabilities *capabilities, struct err *err)
{
	const struct x86_cpu_model *v3 = x86_cpu_model_find("x86-64-v3", NULL);
	struct err ignored;

	if (strcmp(name, X86_CPU_MODEL_AUTO) != 0)
		return x86_cpu_model_find(name, err);
	return x86_model_check(v3, capabilities, &ignored) == 0 ? v3 : x86_cpu_model_find("x86-64-v2", err);
}

/* What the leaves are made from. */
struct x86_build {
	struct x86_cpuid_table *table;
	const struct x86_cpu_capabilities *capabilities;
	uint32_t feature[X86_WORD_COUNT];
	uint64_t xcr0;
	unsigned apic_id, cpu_count;
	unsigned core_shift; /* bits of the APIC id that number the cores */
};

/* A row per leaf keeps the makers below readable. */
static struct x86_cpuid_entry *x86_leaf(struct x86_build *build, uint32_t leaf)
{
	struct x86_cpuid_entry *entry = &build->table->entry[build->table->count++];

	*entry = (struct x86_cpuid_entry){.leaf = leaf};
	return entry;
}

static struct x86_cpuid_entry *x86_subleaf(struct x86_build *build, uint32_t leaf, uint32_t subleaf)
{
	struct x86_cpuid_entry *entry = x86_leaf(build, leaf);

	entry->subleaf = subleaf;
	entry->subleaf_matters = true;
	return entry;
}

static uint32_t x86_text4(const char *text)
{
	return (uint32_t)(uint8_t)text[0] | (uint32_t)(uint8_t)text[1] << 8 |
	       (uint32_t)(uint8_t)text[2] << 16 | (uint32_t)(uint8_t)text[3] << 24;
}

static void x86_put_vendor(const struct x86_build *build, struct x86_cpuid_entry *entry)
{
	const char *vendor = build->capabilities->vendor[0] ? build->capabilities->vendor : "GenuineIntel";

	entry->ebx = x86_text4(vendor);
	entry->edx = x86_text4(vendor + 4);
	entry->ecx = x86_text4(vendor + 8);
}

static void x86_build_vendor(struct x86_build *build)
{
	struct x86_cpuid_entry *entry = x86_leaf(build, 0);

	entry->eax = 0x16;
	x86_put_vendor(build, entry);
}

static void x86_build_features(struct x86_build *build)
{
	struct x86_cpuid_entry *entry = x86_leaf(build, 1);
	uint32_t htt = build->cpu_count > 1 ? BIT(28) : 0; /* EBX[23:16] is valid */

	entry->eax = build->capabilities->vendor[0] ? build->capabilities->signature : CPU_SIGNATURE;
	entry->ebx = (build->apic_id & 0xff) << 24 | (1u << build->core_shift & 0xff) << 16 |
		     8u << 8;                                  /* CLFLUSH: 64 bytes */
	entry->ecx = build->feature[X86_WORD_1_ECX] | BIT(31); /* a hypervisor is present */
	entry->edx = build->feature[X86_WORD_1_EDX] | htt;

	entry = x86_leaf(build, 2);
	entry->eax = 0x0000ff01; /* one round; 0xff: caches are in leaf 4 */

	entry = x86_subleaf(build, 7, 0);
	entry->eax = build->feature[X86_WORD_7_1_EAX] ? 1 : 0;
	entry->ebx = build->feature[X86_WORD_7_EBX];
	entry->ecx = build->feature[X86_WORD_7_ECX];
	entry->edx = build->feature[X86_WORD_7_EDX];
	if (build->feature[X86_WORD_7_1_EAX])
		x86_subleaf(build, 7, 1)->eax = build->feature[X86_WORD_7_1_EAX];
}

/* One cache of leaf 4: type 1 data, 2 instructions, 3 both; 64-byte lines. SDM vol. 2, CPUID, leaf 4. */
static void x86_build_cache(struct x86_build *build, uint32_t subleaf, uint32_t type_level, uint32_t ways,
			    uint32_t sets)
{
	struct x86_cpuid_entry *entry = x86_subleaf(build, 4, subleaf);
	uint32_t sharing = (type_level >> 5 & 7) == 3 ? (1u << build->core_shift) - 1 : 0;

	entry->eax = type_level | sharing << 14 | ((1u << build->core_shift) - 1) << 26;
	entry->ebx = (64 - 1) | (ways - 1) << 22;
	entry->ecx = sets - 1;
}

static void x86_build_caches(struct x86_build *build)
{
	x86_build_cache(build, 0, 1 | 1 << 5, 8, 64);    /* L1 data, 32 KiB */
	x86_build_cache(build, 1, 2 | 1 << 5, 8, 64);    /* L1 instructions, 32 KiB */
	x86_build_cache(build, 2, 3 | 2 << 5, 8, 1024);  /* L2, 512 KiB */
	x86_build_cache(build, 3, 3 | 3 << 5, 16, 8192); /* L3, 8 MiB, shared */
	x86_subleaf(build, 4, 4);                        /* none left */
}

/* Leaf 0xb: one thread a core, all cores in one package. SDM vol. 3, 9.9.1. */
static void x86_build_topology(struct x86_build *build)
{
	struct x86_cpuid_entry *entry = x86_subleaf(build, 0xb, 0);

	entry->ebx = 1;
	entry->ecx = 0 | 1 << 8; /* level 0: thread */
	entry->edx = build->apic_id;
	entry = x86_subleaf(build, 0xb, 1);
	entry->eax = build->core_shift;
	entry->ebx = build->cpu_count;
	entry->ecx = 1 | 2 << 8; /* level 1: core */
	entry->edx = build->apic_id;
	entry = x86_subleaf(build, 0xb, 2);
	entry->ecx = 2;
	entry->edx = build->apic_id;
}

/* Leaf 0xd. EBX of subleaves 0 and 1 follow XCR0: the accelerator answers those of its own; here stands the
 * largest. */
static void x86_build_xsave(struct x86_build *build)
{
	struct x86_cpuid_entry *entry;
	uint32_t size_bytes = 576;

	if (!build->xcr0)
		return;
	for (size_t i = 0; i < sizeof(x86_xsave_areas) / sizeof(x86_xsave_areas[0]); i++) {
		if (!(build->xcr0 >> x86_xsave_areas[i].component & 1))
			continue;
		size_bytes = x86_xsave_areas[i].offset + x86_xsave_areas[i].size_bytes;
		entry = x86_subleaf(build, 0xd, x86_xsave_areas[i].component);
		entry->eax = x86_xsave_areas[i].size_bytes;
		entry->ebx = x86_xsave_areas[i].offset;
	}
	entry = x86_subleaf(build, 0xd, 0);
	entry->eax = (uint32_t)build->xcr0;
	entry->edx = (uint32_t)(build->xcr0 >> 32);
	entry->ebx = entry->ecx = size_bytes;
	entry = x86_subleaf(build, 0xd, 1);
	entry->eax = build->feature[X86_WORD_D_1_EAX];
	entry->ebx = size_bytes;
}

/* TSC rate = crystal * numerator / denominator. */
struct x86_crystal {
	uint64_t hz;
	uint32_t numerator, denominator;
};

/*
 * A fraction near tsc_hz / hz whose numerator Linux can multiply with the crystal's kHz in 32 bits: the last
 * convergent of the continued fraction that is small enough, or, if that is nearer, the largest step towards
 * the next. Some rates a little off a whole multiple are missed by 80 ppm: guests that need better take leaf
 * 0x40000010 or the paravirtual clock.
 */
static struct x86_crystal x86_crystal_fraction(uint64_t tsc_hz, uint64_t hz)
{
	uint64_t numerator_max = UINT32_MAX / (hz / 1000 ? hz / 1000 : 1);
	uint64_t rest_a = tsc_hz, rest_b = hz;
	uint64_t p0 = 0, p1 = 1, q0 = 1, q1 = 0;

	while (rest_b) {
		uint64_t digit = rest_a / rest_b, rest = rest_a % rest_b;
		uint64_t room = p1 ? (numerator_max - p0) / p1 : UINT64_MAX;
		uint64_t step = digit < room ? digit : room;
		uint64_t p2 = step * p1 + p0, q2 = step * q1 + q0;

		/* A step of less than half the digit leads away. */
		if (step < digit && step * 2 <= digit)
			break;
		p0 = p1;
		p1 = p2;
		q0 = q1;
		q1 = q2;
		if (step < digit)
			break;
		rest_a = rest_b;
		rest_b = rest;
	}
	return (struct x86_crystal){.hz = hz, .numerator = (uint32_t)p1, .denominator = (uint32_t)q1};
}

/* The local APIC's timer runs at the crystal's rate. Where that is free, one tick of the TSC is one of the
 * crystal's, unless the rate would not fit the 32 bits of leaf 0x15's ECX. */
static struct x86_crystal x86_crystal(const struct x86_cpu_capabilities *capabilities)
{
	uint32_t ratio = (uint32_t)(capabilities->tsc_hz / CPUID_CRYSTAL_HZ_MAX) + 1;

	if (capabilities->apic_timer_hz)
		return x86_crystal_fraction(capabilities->tsc_hz, capabilities->apic_timer_hz);
	return (struct x86_crystal){.hz = capabilities->tsc_hz / ratio, .numerator = ratio, .denominator = 1};
}

uint64_t x86_cpu_model_crystal_hz(const struct x86_cpu_capabilities *capabilities)
{
	return x86_crystal(capabilities).hz;
}

/* Leaves 0x15 and 0x16: TSC rate = crystal * EBX / EAX. Linux multiplies kHz by EBX in 32 bits, so EBX is
 * kept small. */
static void x86_build_frequencies(struct x86_build *build)
{
	const struct x86_crystal crystal = x86_crystal(build->capabilities);
	uint64_t tsc_hz = build->capabilities->tsc_hz;
	struct x86_cpuid_entry *entry;

	if (tsc_hz == 0)
		return;
	entry = x86_leaf(build, 0x15);
	entry->eax = crystal.denominator;
	entry->ebx = crystal.numerator;
	entry->ecx = (uint32_t)crystal.hz;
	entry = x86_leaf(build, 0x16);
	entry->eax = entry->ebx = (uint32_t)((tsc_hz + 500000) / 1000000);
	entry->ecx = 100;
}

/* 0x40000000: who runs this guest; 0x40000010: TSC and APIC timer rates in kHz, a convention of several
 * hypervisors. */
static void x86_build_hypervisor(struct x86_build *build)
{
	const char *signature = build->capabilities->hypervisor_signature;
	struct x86_cpuid_entry *entry;

	if (!signature[0])
		return;
	entry = x86_leaf(build, 0x40000000);
	entry->eax = CPUID_HYPERVISOR_LAST;
	entry->ebx = x86_text4(signature);
	entry->ecx = x86_text4(signature + 4);
	entry->edx = x86_text4(signature + 8);
	if (build->capabilities->kvmclock)
		x86_leaf(build, 0x40000001)->eax =
			BIT(1) | BIT(3) |
			BIT(24); /* KVM's: no delays after port writes; clocksource2, stable */
	entry = x86_leaf(build, CPUID_HYPERVISOR_LAST);
	entry->eax = (uint32_t)(build->capabilities->tsc_hz / 1000);
	entry->ebx = (uint32_t)(x86_cpu_model_crystal_hz(build->capabilities) / 1000);
}

static void x86_build_brand(struct x86_build *build)
{
	char brand[48] = "vmmctl virtual CPU";

	for (uint32_t i = 0; i < 3; i++) {
		struct x86_cpuid_entry *entry = x86_leaf(build, 0x80000002 + i);

		entry->eax = x86_text4(brand + i * 16);
		entry->ebx = x86_text4(brand + i * 16 + 4);
		entry->ecx = x86_text4(brand + i * 16 + 8);
		entry->edx = x86_text4(brand + i * 16 + 12);
	}
}

static void x86_build_extended(struct x86_build *build)
{
	struct x86_cpuid_entry *entry = x86_leaf(build, 0x80000000);

	entry->eax = 0x80000008;
	x86_put_vendor(build, entry);
	entry = x86_leaf(build, 0x80000001);
	entry->ecx = build->feature[X86_WORD_EXT1_ECX];
	entry->edx = build->feature[X86_WORD_EXT1_EDX];
	x86_build_brand(build);
	x86_leaf(build, 0x80000006)->ecx = 512u << 16 | 6 << 12 | 64; /* L2: 512 KiB, 8 ways, 64-byte lines */
	x86_leaf(build, 0x80000007)->edx =
		build->feature[X86_WORD_EXT7_EDX] | BIT(8); /* the TSC never stops or changes */
	entry = x86_leaf(build, 0x80000008);
	entry->eax = build->capabilities->phys_bits | (uint32_t)build->capabilities->virt_bits << 8;
	entry->ebx = build->feature[X86_WORD_EXT8_EBX];
}

/* What a guest on the host's own CPU must know of speculation: IBRS, STIBP, SSBD, MD_CLEAR, L1D_FLUSH and
 * AMD's kin. */
static const uint32_t x86_speculation_bits[X86_WORD_COUNT] = {
	[X86_WORD_7_EDX] = BIT(10) | BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(31),
	[X86_WORD_EXT8_EBX] = BIT(12) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(24) |
			      BIT(25) | BIT(26) | BIT(28),
};

/* Bits that are never a model's: they follow the system's state, or the topology, or are set above. */
static void x86_build_select(struct x86_build *build, const struct x86_cpu_model *model)
{
	for (size_t i = 0; i < X86_WORD_COUNT; i++)
		build->feature[i] = (model->required[i] | model->wanted[i] |
				     (build->capabilities->vendor[0] ? x86_speculation_bits[i] : 0)) &
				    build->capabilities->feature[i];
	build->feature[X86_WORD_1_ECX] &= ~(BIT(27) | BIT(31)); /* OSXSAVE, hypervisor */
	build->feature[X86_WORD_1_EDX] &= ~BIT(28);             /* HTT */
	build->feature[X86_WORD_7_ECX] &= ~BIT(4);              /* OSPKE */
	if (!(build->feature[X86_WORD_1_ECX] & BIT(26))) {      /* XSAVE */
		build->feature[X86_WORD_D_1_EAX] = 0;
		build->xcr0 = 0;
		return;
	}
	build->xcr0 = build->capabilities->xcr0 & model->components;
	if (!(build->feature[X86_WORD_7_ECX] & BIT(3))) /* PKU */
		build->xcr0 &= ~(1ull << 9);
	if (!(build->feature[X86_WORD_1_ECX] & BIT(28))) /* AVX */
		build->xcr0 &= ~0xe4ull;
}

/* Their MSRs hold what each accelerator says of itself: bank counts, and what its CPU does not suffer from.
 */
static const uint32_t x86_accelerators_own[X86_WORD_COUNT] = {
	[X86_WORD_1_EDX] = BIT(7) | BIT(14), /* MCE MCA */
	[X86_WORD_7_EDX] = BIT(29),          /* ARCH_CAPABILITIES */
};

int x86_cpu_capabilities_meet(struct x86_cpu_capabilities *mine, const struct x86_cpu_capabilities *other,
			      struct err *err)
{
	if (!mine->tsc_any_rate && !other->tsc_any_rate && mine->tsc_hz != other->tsc_hz)
		return err_set(err, -ENOTSUP, "the accelerators' time-stamp counters have different rates");
	for (size_t i = 0; i < X86_WORD_COUNT; i++)
		mine->feature[i] &= other->feature[i] & ~x86_accelerators_own[i];
	mine->xcr0 &= other->xcr0;
	if (other->phys_bits < mine->phys_bits)
		mine->phys_bits = other->phys_bits;
	if (other->virt_bits < mine->virt_bits)
		mine->virt_bits = other->virt_bits;
	if (mine->tsc_any_rate)
		mine->tsc_hz = other->tsc_hz;
	mine->tsc_any_rate &= other->tsc_any_rate;
	if (!mine->apic_timer_hz)
		mine->apic_timer_hz = other->apic_timer_hz;
	if (strcmp(mine->hypervisor_signature, other->hypervisor_signature) != 0)
		mine->hypervisor_signature[0] = '\0';
	mine->kvmclock &= other->kvmclock;
	if (!mine->vendor[0]) {
		memcpy(mine->vendor, other->vendor, sizeof(mine->vendor));
		mine->signature = other->signature;
	}
	return 0;
}

static int x86_cpuid_compare_key(const struct x86_cpuid_entry *a, const struct x86_cpuid_entry *b)
{
	if (a->leaf != b->leaf)
		return a->leaf < b->leaf ? -1 : 1;
	return a->subleaf < b->subleaf ? -1 : a->subleaf > b->subleaf;
}

/* Insertion sort: at most X86_CPUID_ENTRIES_MAX entries, nearly sorted. */
static void x86_cpuid_sort(struct x86_cpuid_table *table)
{
	for (size_t i = 1; i < table->count; i++) {
		struct x86_cpuid_entry moving = table->entry[i];
		size_t at = i;

		for (; at > 0 && x86_cpuid_compare_key(&table->entry[at - 1], &moving) > 0; at--)
			table->entry[at] = table->entry[at - 1];
		table->entry[at] = moving;
	}
}

int x86_cpu_model_build(const struct x86_cpu_model *model, const struct x86_cpu_capabilities *capabilities,
			unsigned apic_id, unsigned cpu_count, struct x86_cpuid_table *table, struct err *err)
{
	struct x86_build build = {
		.table = table,
		.capabilities = capabilities,
		.apic_id = apic_id,
		.cpu_count = cpu_count,
	};
	int code = x86_model_check(model, capabilities, err);

	if (code < 0)
		return code;
	while (1u << build.core_shift < cpu_count)
		build.core_shift++;
	table->count = 0;
	x86_build_select(&build, model);
	x86_build_vendor(&build);
	x86_build_features(&build);
	x86_build_caches(&build);
	x86_build_topology(&build);
	x86_build_xsave(&build);
	x86_build_frequencies(&build);
	x86_build_hypervisor(&build);
	x86_build_extended(&build);
	x86_cpuid_sort(table);
	return 0;
}
