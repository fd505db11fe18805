/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named x86 CPU models and the CPUID leaves made from them: one table for every accelerator, filtered by what
 * that accelerator can do. Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Feature words: the CPUID registers that hold feature bits. tcg-fallback/x86/feature.h numbers them the
 * same. */
enum x86_feature_word {
	X86_WORD_1_ECX,
	X86_WORD_1_EDX,
	X86_WORD_7_EBX,
	X86_WORD_7_ECX,
	X86_WORD_7_EDX,
	X86_WORD_7_1_EAX,
	X86_WORD_D_1_EAX,
	X86_WORD_EXT1_ECX,
	X86_WORD_EXT1_EDX,
	X86_WORD_EXT7_EDX,
	X86_WORD_EXT8_EBX,
	X86_WORD_EXT21_EAX,
	X86_WORD_COUNT
};

struct x86_cpuid_entry {
	uint32_t leaf, subleaf;
	bool subleaf_matters;
	uint32_t eax, ebx, ecx, edx;
};
#define X86_CPUID_ENTRIES_MAX 80

struct x86_cpuid_table {
	struct x86_cpuid_entry entry[X86_CPUID_ENTRIES_MAX];
	size_t count;
};

/* What an accelerator can execute. xcr0: the XSAVE components it can save; phys_bits: guest-physical width.
 */
struct x86_cpu_capabilities {
	uint32_t feature[X86_WORD_COUNT];
	uint64_t xcr0;
	uint8_t phys_bits, virt_bits;
	uint64_t tsc_hz;               /* rate at which the guest's TSC counts */
	bool tsc_any_rate;             /* it can count at any other as well: at what leaf 0x15 says */
	uint64_t apic_timer_hz;        /* rate of the local APIC's timer; 0: free, the TSC's is taken */
	char hypervisor_signature[13]; /* leaf 0x40000000, 12 characters; "" for none */
	/*
	 * Who the host's CPU is, when it is that CPU that runs the guest: 12 characters, and leaf 1's EAX.
	 * Such a guest must know what speculates and is told of the host's controls. "": the models' own
	 * identity holds.
	 */
	char vendor[13];
	uint32_t signature;
	bool kvmclock; /* leaf 0x40000001 offers the paravirtual clock */
};

/*
 * Narrows *mine to what a machine can offer that runs on this accelerator and on that other one by turns: one
 * CPU to the guest. The identity is that of the host's CPU where one of them runs on it. 0, or -ENOTSUP when
 * their TSCs cannot count alike.
 */
int x86_cpu_capabilities_meet(struct x86_cpu_capabilities *mine, const struct x86_cpu_capabilities *other,
			      struct err *err);

struct x86_cpu_model;

/* The model of this name, or NULL with err naming the models there are. */
const struct x86_cpu_model *x86_cpu_model_find(const char *name, struct err *err);
/*
 * Likewise; "auto" is x86-64-v3 where the accelerator has it, else x86-64-v2. This is the one place that says
 * so: what a guest was given stays its model, by name, in snapshots and everywhere else.
 */
#define X86_CPU_MODEL_AUTO "auto"
const struct x86_cpu_model *
x86_cpu_model_resolve(const char *name, const struct x86_cpu_capabilities *capabilities, struct err *err);
const char *x86_cpu_model_name(const struct x86_cpu_model *model);
const char *x86_cpu_model_summary(const struct x86_cpu_model *model); /* one line for --help */
const struct x86_cpu_model *x86_cpu_model_at(size_t index);           /* NULL past the end */

/*
 * Builds the leaves of one vCPU: model AND capabilities, topology of cpu_count single-threaded cores in one
 * package. Fails with -ENOTSUP when the model needs what the accelerator lacks (the message names the
 * features).
 */
int x86_cpu_model_build(const struct x86_cpu_model *model, const struct x86_cpu_capabilities *capabilities,
			unsigned apic_id, unsigned cpu_count, struct x86_cpuid_table *table, struct err *err);

/*
 * The crystal of leaf 0x15, from which the TSC rate is an exact multiple: also the rate of the local APIC
 * timer's input (Intel SDM vol. 3, 11.5.4), so that an operating system needs to calibrate neither. 0 when
 * the TSC rate is unknown.
 */
uint64_t x86_cpu_model_crystal_hz(const struct x86_cpu_capabilities *capabilities);
