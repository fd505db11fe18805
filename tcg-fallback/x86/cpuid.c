/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID: the leaves that the CPU was given, with the bits that follow the running state. What the leaves say
 * is not decided here. Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
 */
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/xsave.h"

#define APIC_BASE_MSR    0x1b
#define APIC_BASE_ENABLE (1u << 11)

#define LEAF1_ECX_OSXSAVE (1u << 27)
#define LEAF1_EDX_APIC    (1u << 9)
#define LEAF7_ECX_OSPKE   (1u << 4)

static const struct x86_cpuid_leaf *leaf_find(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < cpu->cpuid_count; i++) {
		const struct x86_cpuid_leaf *l = &cpu->cpuid[i];

		if (l->leaf == leaf && (!l->subleaf_matters || l->subleaf == subleaf))
			return l;
	}
	return NULL;
}

bool x86_vendor_is_intel(const struct x86_cpu *cpu)
{
	const struct x86_cpuid_leaf *l = leaf_find(cpu, 0, 0);

	return l && l->ebx == 0x756e6547; /* "Genu" */
}

uint32_t x86_cpuid_signature(const struct x86_cpu *cpu)
{
	const struct x86_cpuid_leaf *l = leaf_find(cpu, 1, 0);

	return l ? l->eax : 0;
}

static bool leaf_in_range(const struct x86_cpu *cpu, uint32_t leaf)
{
	const struct x86_cpuid_leaf *first = leaf_find(cpu, leaf & 0xffff0000, 0);

	return first && leaf <= first->eax;
}

/*
 * Beyond the maximum Intel answers with the highest basic leaf (also for the extended range), AMD with zeros.
 * A leaf in range that has no entry reads as zeros. The range of hypervisors (0x4000xxxx) follows the basic
 * rule too.
 */
static const struct x86_cpuid_leaf *leaf_answer(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
	const struct x86_cpuid_leaf *basic = leaf_find(cpu, 0, 0);

	if (leaf_in_range(cpu, leaf))
		return leaf_find(cpu, leaf, subleaf);
	return basic && x86_vendor_is_intel(cpu) ? leaf_find(cpu, basic->eax, subleaf) : NULL;
}

static bool apic_enabled(struct x86_cpu *cpu)
{
	uint64_t base;

	return !cpu->host || !cpu->host->apic_msr_read ||
	       !cpu->host->apic_msr_read(cpu->host->opaque, cpu->index, APIC_BASE_MSR, &base) ||
	       (base & APIC_BASE_ENABLE);
}

static void apply_dynamic(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	if (leaf == 1) {
		out[2] &= ~LEAF1_ECX_OSXSAVE;
		if (cpu->cr4 & CR4_OSXSAVE)
			out[2] |= LEAF1_ECX_OSXSAVE;
		if ((out[3] & LEAF1_EDX_APIC) && !apic_enabled(cpu))
			out[3] &= ~LEAF1_EDX_APIC;
	} else if (leaf == 7 && subleaf == 0) {
		out[2] &= ~LEAF7_ECX_OSPKE;
		if (cpu->cr4 & CR4_PKE)
			out[2] |= LEAF7_ECX_OSPKE;
	} else if (leaf == 0xd && subleaf == 0) {
		out[1] = x86_xsave_size_standard(cpu, cpu->xcr0);
	} else if (leaf == 0xd && subleaf == 1 && out[0]) {
		out[1] = x86_xsave_size_compacted(cpu, cpu->xcr0);
	}
}

/* Leaf 0xb past its last level still says the level and the x2APIC id. */
static void topology_beyond(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct x86_cpuid_leaf *first =
		leaf == 0xb && leaf_in_range(cpu, leaf) ? leaf_find(cpu, leaf, 0) : NULL;

	if (!first)
		return;
	out[2] = subleaf & 0xff;
	out[3] = first->edx;
}

void x86_cpuid_query(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct x86_cpuid_leaf *l = leaf_answer(cpu, leaf, subleaf);

	out[0] = out[1] = out[2] = out[3] = 0;
	if (!l) {
		topology_beyond(cpu, leaf, subleaf, out);
		return;
	}
	out[0] = l->eax;
	out[1] = l->ebx;
	out[2] = l->ecx;
	out[3] = l->edx;
	apply_dynamic(cpu, l->leaf, subleaf, out);
}

void x86_slow_cpuid(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint32_t out[4];

	x86_cpuid_query(cpu, cpu->r[REG_RAX], cpu->r[REG_RCX], out);
	cpu->r[REG_RAX] = out[0];
	cpu->r[REG_RBX] = out[1];
	cpu->r[REG_RCX] = out[2];
	cpu->r[REG_RDX] = out[3];
}
