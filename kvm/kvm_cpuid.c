/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host's KVM can execute, as the CPU models ask it, and the leaves made from a model as KVM takes
 * them. Intel SDM vol. 2, CPUID; KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

#define BIT(n) (1u << (n))

#define KVM_CPUID_ENTRIES_MAX 256 /* KVM has some 50 to 100 */
#define KVM_FEATURES_LEAF     0x40000001u
#define KVM_XCR0              0x2e7ull /* x87, SSE, AVX, AVX-512, PKRU: what the state's XSAVE image holds */

/* Where each feature word stands. */
static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg; /* 0 EAX .. 3 EDX */
} kvm_word_places[X86_WORD_COUNT] = {
	[X86_WORD_1_ECX] = {1, 0, 2},
	[X86_WORD_1_EDX] = {1, 0, 3},
	[X86_WORD_7_EBX] = {7, 0, 1},
	[X86_WORD_7_ECX] = {7, 0, 2},
	[X86_WORD_7_EDX] = {7, 0, 3},
	[X86_WORD_7_1_EAX] = {7, 1, 0},
	[X86_WORD_D_1_EAX] = {0xd, 1, 0},
	[X86_WORD_EXT1_ECX] = {0x80000001, 0, 2},
	[X86_WORD_EXT1_EDX] = {0x80000001, 0, 3},
	[X86_WORD_EXT7_EDX] = {0x80000007, 0, 3},
	[X86_WORD_EXT8_EBX] = {0x80000008, 0, 1},
	[X86_WORD_EXT21_EAX] = {0x80000021, 0, 0},
};

/* Features whose other leaves, MSRs or state the models and the saved state do not have. */
static const uint32_t kvm_features_left_out[X86_WORD_COUNT] = {
	[X86_WORD_1_ECX] = BIT(2) | BIT(3) | BIT(5) | BIT(15), /* DTES64 MONITOR VMX PDCM */
	[X86_WORD_7_EBX] = BIT(2) | BIT(14) | BIT(25),         /* SGX MPX PT */
	[X86_WORD_7_ECX] =
		BIT(5) | BIT(7) | BIT(23) | BIT(24) | BIT(30), /* WAITPKG CET_SS KEYLOCKER BUS_LOCK SGX_LC */
	[X86_WORD_7_EDX] = BIT(5) | BIT(19) | BIT(20) | BIT(22) | BIT(24) | BIT(25) |
			   BIT(30), /* UINTR LBR CET_IBT AMX CORE_CAP */
	[X86_WORD_7_1_EAX] = ~(BIT(4) | BIT(5) | BIT(10) | BIT(11) | BIT(12) |
			       BIT(23)), /* but AVX-VNNI BF16 FZRM FSRS FSRC IFMA */
	[X86_WORD_D_1_EAX] = BIT(4),     /* XFD */
	[X86_WORD_EXT1_ECX] = BIT(2) | BIT(10) | BIT(15) | BIT(22) | BIT(23) | BIT(24) |
			      BIT(28), /* SVM IBS LWP TOPOEXT PMU */
	[X86_WORD_EXT21_EAX] = 0,
};

struct kvm_cpuid_buffer {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[KVM_CPUID_ENTRIES_MAX];
};

bool kvm_can_filter_msrs(int kvm_fd)
{
	int reasons = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_USER_SPACE_MSR);

	/* The answer is a plain 1 in all kernels so far. */
	return reasons > 0 && ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) > 0;
}

static const struct kvm_cpuid_entry2 *kvm_cpuid_find(const struct kvm_cpuid_buffer *cpuid, uint32_t leaf,
						     uint32_t subleaf)
{
	for (uint32_t i = 0; i < cpuid->head.nent; i++) {
		if (cpuid->entry[i].function == leaf && cpuid->entry[i].index == subleaf)
			return &cpuid->entry[i];
	}
	return NULL;
}

static uint32_t kvm_cpuid_word(const struct kvm_cpuid_buffer *cpuid, enum x86_feature_word word)
{
	const struct kvm_cpuid_entry2 *entry =
		kvm_cpuid_find(cpuid, kvm_word_places[word].leaf, kvm_word_places[word].subleaf);

	if (!entry)
		return 0;
	switch (kvm_word_places[word].reg) {
	case 0: return entry->eax;
	case 1: return entry->ebx;
	case 2: return entry->ecx;
	default: return entry->edx;
	}
}

/* A vCPU made for the question: older KVMs know the rate of nothing else. */
static int kvm_tsc_khz_of_vcpu(int vm_fd)
{
	int vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	int khz = vcpu_fd < 0 ? -1 : ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);

	if (vcpu_fd >= 0)
		close(vcpu_fd);
	return khz;
}

/* The rate at which a guest's TSC counts, 0 when KVM does not say. */
static uint64_t kvm_tsc_hz(int kvm_fd)
{
	int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	int khz = -1;

	if (vm_fd < 0)
		return 0;
	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TSC_CONTROL) > 0)
		khz = ioctl(vm_fd, KVM_GET_TSC_KHZ, 0);
	if (khz <= 0)
		khz = kvm_tsc_khz_of_vcpu(vm_fd);
	close(vm_fd);
	return khz > 0 ? (uint64_t)khz * 1000 : 0;
}

/* The guest runs on the host's CPU, so it is told which that is: its mitigations depend on it. */
static void kvm_identity_fill(const struct kvm_cpuid_buffer *cpuid, struct x86_cpu_capabilities *capabilities)
{
	const struct kvm_cpuid_entry2 *vendor = kvm_cpuid_find(cpuid, 0, 0);
	const struct kvm_cpuid_entry2 *features = kvm_cpuid_find(cpuid, 1, 0);

	if (!vendor || !features)
		return;
	memcpy(capabilities->vendor, &vendor->ebx, 4);
	memcpy(capabilities->vendor + 4, &vendor->edx, 4);
	memcpy(capabilities->vendor + 8, &vendor->ecx, 4);
	capabilities->signature = features->eax;
}

static void kvm_capabilities_fill(int kvm_fd, const struct kvm_cpuid_buffer *cpuid,
				  struct x86_cpu_capabilities *capabilities)
{
	const struct kvm_cpuid_entry2 *xsave = kvm_cpuid_find(cpuid, 0xd, 0);
	const struct kvm_cpuid_entry2 *widths = kvm_cpuid_find(cpuid, 0x80000008, 0);
	const struct kvm_cpuid_entry2 *paravirtual = kvm_cpuid_find(cpuid, KVM_FEATURES_LEAF, 0);

	*capabilities = (struct x86_cpu_capabilities){
		.xcr0 = xsave ? xsave->eax & KVM_XCR0 : 0,
		.phys_bits = widths ? (uint8_t)widths->eax : 36,
		.virt_bits = widths ? (uint8_t)(widths->eax >> 8) : 48,
		.tsc_hz = kvm_tsc_hz(kvm_fd),
		.apic_timer_hz = KVM_LAPIC_TIMER_HZ,
		.hypervisor_signature = "KVMKVMKVM",
		.kvmclock = paravirtual && (paravirtual->eax & BIT(KVM_FEATURE_CLOCKSOURCE2)),
	};
	kvm_identity_fill(cpuid, capabilities);
	for (unsigned word = 0; word < X86_WORD_COUNT; word++)
		capabilities->feature[word] =
			kvm_cpuid_word(cpuid, (enum x86_feature_word)word) & ~kvm_features_left_out[word];
	/* The machine's APIC has both, where KVM lets it see the MSRs; so has KVM's own. */
	if (kvm_can_filter_msrs(kvm_fd) || ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		capabilities->feature[X86_WORD_1_ECX] |= BIT(21) | BIT(24);
	else
		capabilities->feature[X86_WORD_1_ECX] &= ~(BIT(21) | BIT(24));
}

int kvm_capabilities(struct x86_cpu_capabilities *capabilities, struct err *err)
{
	struct kvm_cpuid_buffer *cpuid = calloc(1, sizeof(*cpuid));
	int fd = kvm_open(err);
	int code = fd < 0 ? fd : 0;

	if (!cpuid)
		code = err_set(err, -ENOMEM, "kvm: no memory for CPUID");
	if (code == 0) {
		cpuid->head.nent = KVM_CPUID_ENTRIES_MAX;
		if (ioctl(fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
			code = err_set_errno(err, -errno, "kvm: KVM_GET_SUPPORTED_CPUID");
	}
	if (code == 0)
		kvm_capabilities_fill(fd, cpuid, capabilities);
	if (fd >= 0)
		close(fd);
	free(cpuid);
	return code;
}

int kvm_cpuid_set(struct accel_vcpu *vcpu, const struct x86_cpuid_table *table, struct err *err)
{
	struct kvm_cpuid_buffer *cpuid = calloc(1, sizeof(*cpuid));
	int code = 0;

	if (!cpuid)
		return err_set(err, -ENOMEM, "kvm: no memory for CPUID");
	_Static_assert(X86_CPUID_ENTRIES_MAX <= KVM_CPUID_ENTRIES_MAX, "a model's leaves fit");
	cpuid->head.nent = (uint32_t)table->count;
	for (size_t i = 0; i < table->count; i++) {
		const struct x86_cpuid_entry *entry = &table->entry[i];

		cpuid->entry[i] = (struct kvm_cpuid_entry2){
			.function = entry->leaf,
			.index = entry->subleaf,
			.flags = entry->subleaf_matters ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = entry->eax,
			.ebx = entry->ebx,
			.ecx = entry->ecx,
			.edx = entry->edx,
		};
		if (entry->leaf != 1)
			continue;
		vcpu->signature = entry->eax;
		if (!kvm_has_lapic(vcpu->vm) && !kvm_can_filter_msrs(vcpu->vm->kvm_fd))
			cpuid->entry[i].ecx &= ~(BIT(21) | BIT(24));
	}
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		code = err_set_errno(err, -errno, "kvm: KVM_SET_CPUID2");
	free(cpuid);
	return code;
}
