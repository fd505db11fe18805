/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a VM and of its CPUs, and how other threads reach a CPU: requests are bits of `attention`, and
 * a CPU with nothing to do sleeps on that very word, so no wake-up can be lost.
 */
#include "tcg-fallback/core/vm.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/trace.h"
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/jit.h"
#include "tcg-fallback/x86/native.h"

struct x86_vm *x86_vm_create(unsigned cpu_count, const struct x86_host *host)
{
	struct x86_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->mailbox = calloc(cpu_count, sizeof(*vm->mailbox));
	if (!vm->mailbox) {
		free(vm);
		return NULL;
	}
	vm->host = host;
	vm->cpu_count = cpu_count;
	vm->tsc_native = x86_tsc_is_native();
	vm->pvclock_counter = x86_clock_counter(vm);
	atomic_store(&vm->a20_mask, UINT64_MAX);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	for (unsigned i = 0; i < cpu_count; i++)
		pthread_mutex_init(&vm->mailbox[i].lock, NULL);
	return vm;
}

void x86_vm_destroy(struct x86_vm *vm)
{
	if (!vm)
		return;
	while (vm->region_count)
		x86_vm_unmap(vm, vm->region[0].gpa);
	for (unsigned i = 0; i < vm->cpu_count; i++)
		pthread_mutex_destroy(&vm->mailbox[i].lock);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	x86_trace_destroy(vm->trace);
	free(vm->mailbox);
	free(vm);
}

int x86_vm_set_trace(struct x86_vm *vm, const struct x86_trace_config *config, struct err *err)
{
	return x86_trace_create(&vm->trace, config, err);
}

void x86_vm_set_jit(struct x86_vm *vm, const struct x86_jit_config *config)
{
	vm->jit = *config;
}

void x86_vm_set_a20(struct x86_vm *vm, bool enabled)
{
	uint64_t mask = enabled ? UINT64_MAX : ~((uint64_t)1 << 20);

	if (atomic_exchange(&vm->a20_mask, mask) == mask)
		return;
	for (unsigned i = 0; i < vm->cpu_count; i++)
		if (vm->cpu[i])
			x86_cpu_post(vm->cpu[i], ATTENTION_TLB);
}

/* Which register of which leaf is feature word n (feature.h). */
static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg;
} feature_source[X86_FEATURE_WORDS] = {
	{1, 0, REG_RCX},          {1, 0, REG_RDX},          {7, 0, REG_RBX},
	{7, 0, REG_RCX},          {7, 0, REG_RDX},          {7, 1, REG_RAX},
	{0xd, 1, REG_RAX},        {0x80000001, 0, REG_RCX}, {0x80000001, 0, REG_RDX},
	{0x80000007, 0, REG_RDX}, {0x80000008, 0, REG_RBX}, {0x80000021, 0, REG_RAX},
};

static const struct x86_cpuid_leaf *leaf_find(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < cpu->cpuid_count; i++)
		if (cpu->cpuid[i].leaf == leaf &&
		    (!cpu->cpuid[i].subleaf_matters || cpu->cpuid[i].subleaf == subleaf))
			return &cpu->cpuid[i];
	return NULL;
}

static uint32_t leaf_register(const struct x86_cpuid_leaf *leaf, unsigned reg)
{
	switch (reg) {
	case REG_RAX: return leaf->eax;
	case REG_RBX: return leaf->ebx;
	case REG_RCX: return leaf->ecx;
	default: return leaf->edx;
	}
}

/* The TSC's rate: in kHz of the hypervisor's leaf, else crystal * numerator / denominator, which may miss it
 * by some ppm. 0: none. */
static uint64_t told_hz(const struct x86_cpu *cpu)
{
	const struct x86_cpuid_leaf *leaf = leaf_find(cpu, 0x40000010, 0);

	if (leaf && leaf->eax)
		return (uint64_t)leaf->eax * 1000;
	leaf = leaf_find(cpu, 0x15, 0);
	return leaf && leaf->eax ? (uint64_t)leaf->ecx * leaf->ebx / leaf->eax : 0;
}

static void identify(struct x86_cpu *cpu)
{
	const struct x86_cpuid_leaf *leaf = leaf_find(cpu, 0x80000008, 0);
	unsigned bits = leaf && (leaf->eax & 0xff) ? leaf->eax & 0xff : 36;

	cpu->phys_mask = bits >= 52 ? ((uint64_t)1 << 52) - 1 : ((uint64_t)1 << bits) - 1;
	for (unsigned i = 0; i < X86_FEATURE_WORDS; i++) {
		leaf = leaf_find(cpu, feature_source[i].leaf, feature_source[i].subleaf);
		if (leaf)
			cpu->feature[i] = leaf_register(leaf, feature_source[i].reg);
	}
	memcpy(cpu->code->decode.feature, cpu->feature, sizeof(cpu->feature));
	cpu->tsc_hz = told_hz(cpu);
	leaf = leaf_find(cpu, 0, 0);
	cpu->code->decode.near_branch_66 = leaf && leaf->ebx == 0x68747541; /* "Auth"enticAMD */
}

static bool cpu_allocate(struct x86_cpu *cpu, const struct x86_cpuid_leaf *leaves, size_t count)
{
	struct x86_cpuid_leaf *copy = calloc(count ? count : 1, sizeof(*copy));

	cpu->cpuid = copy;
	cpu->tlb = x86_tlb_create();
	cpu->code = x86_code_create();
	if (!copy || !cpu->tlb || !cpu->code)
		return false;
	if (count)
		memcpy(copy, leaves, count * sizeof(*copy));
	cpu->cpuid_count = count;
	return true;
}

static void cpu_free(struct x86_cpu *cpu)
{
	x86_jit_destroy(cpu);
	x86_native_destroy(cpu);
	x86_code_destroy(cpu->code);
	x86_tlb_destroy(cpu->tlb);
	free((void *)(uintptr_t)cpu->cpuid);
	free(cpu);
}

struct x86_cpu *x86_cpu_create(struct x86_vm *vm, unsigned index, const struct x86_cpuid_leaf *leaves,
			       size_t count)
{
	struct x86_cpu *cpu;

	if (index >= vm->cpu_count || vm->cpu[index])
		return NULL;
	cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~(size_t)63);
	if (!cpu)
		return NULL;
	memset(cpu, 0, sizeof(*cpu));
	if (!cpu_allocate(cpu, leaves, count)) {
		cpu_free(cpu);
		return NULL;
	}
	cpu->index = index;
	cpu->count = vm->cpu_count;
	cpu->vm = vm;
	cpu->host = vm->host;
	atomic_store(&cpu->a20_mask, atomic_load(&vm->a20_mask));
	identify(cpu);
	if (!x86_native_create(cpu)) {
		cpu_free(cpu);
		return NULL;
	}
	x86_cpu_reset(cpu, false);
	cpu->wait_for_sipi = index != 0;
	cpu->r[REG_ZERO] = 0;
	cpu->r[REG_PAGE] = OP_PAGE_BIAS;
	x86_mode_changed(cpu);
	x86_jit_create(cpu);
	vm->cpu[index] = cpu;
	return cpu;
}

void x86_vm_forget_memory(struct x86_vm *vm)
{
	for (unsigned i = 0; i < vm->cpu_count; i++)
		if (vm->cpu[i])
			x86_cpu_post(vm->cpu[i], ATTENTION_TLB);
}

void x86_cpu_destroy(struct x86_cpu *cpu)
{
	if (!cpu)
		return;
	cpu->vm->cpu[cpu->index] = NULL;
	cpu_free(cpu);
}

bool x86_cpu_make_lenient(struct x86_cpu *cpu, const uint32_t feature[X86_FEATURE_WORDS])
{
	cpu->lenient = true;
	for (unsigned i = 0; i < X86_FEATURE_WORDS; i++)
		cpu->feature[i] |= feature[i];
	memcpy(cpu->code->decode.feature, cpu->feature, sizeof(cpu->feature));
	return x86_native_create(cpu);
}

void x86_cpu_post(struct x86_cpu *cpu, uint32_t attention)
{
	uint32_t old = atomic_fetch_or(&cpu->attention, attention);

	if (attention & ~old)
		syscall(SYS_futex, &cpu->attention, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void x86_cpu_unpost(struct x86_cpu *cpu, uint32_t attention)
{
	atomic_fetch_and(&cpu->attention, ~attention);
}

void x86_cpu_startup(struct x86_cpu *cpu, uint8_t vector)
{
	atomic_store(&cpu->vm->mailbox[cpu->index].sipi, 0x100u | vector);
	x86_cpu_post(cpu, ATTENTION_SIPI);
}

uint32_t x86_cpu_take_requests(struct x86_cpu *cpu, uint8_t *sipi_vector)
{
	const uint32_t latched = ATTENTION_NMI | ATTENTION_SMI | ATTENTION_INIT | ATTENTION_SIPI;
	uint32_t taken = atomic_fetch_and(&cpu->attention, ~latched) & (latched | ATTENTION_INTR);

	*sipi_vector = (uint8_t)atomic_exchange(&cpu->vm->mailbox[cpu->index].sipi, 0);
	return taken;
}

/* What ends the sleep of a CPU in this state. */
static uint32_t wake_bits(const struct x86_cpu *cpu)
{
	uint32_t bits = ATTENTION_KICK | ATTENTION_INIT;

	if (cpu->shutdown)
		return bits;
	if (cpu->wait_for_sipi)
		return bits | ATTENTION_SIPI;
	if (!cpu->nmi_masked)
		bits |= ATTENTION_NMI;
	if (cpu->eflags & FLAG_IF)
		bits |= ATTENTION_INTR;
	return bits;
}

void x86_cpu_wait(struct x86_cpu *cpu)
{
	uint32_t wake = wake_bits(cpu), seen;

	if (!cpu->halted && !cpu->wait_for_sipi && !cpu->shutdown)
		return;
	while (!((seen = atomic_load(&cpu->attention)) & wake))
		syscall(SYS_futex, &cpu->attention, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

#define COUNTERS (8 + JIT_COUNTERS)

static const char *const counter_name[COUNTERS] = {
	"tlb_walks",         "tlb_refills",     "tlb_flushes",        "tlb_page_flushes", "code_blocks",
	"code_instructions", "code_flushes",    "code_drops",         "jit_blocks",       "jit_instructions",
	"jit_bytes",         "jit_entries",     "jit_links",          "jit_slow",         "jit_calls",
	"jit_drops",         "jit_flushes",     "jit_verified",       "jit_mismatches",   "jit_exits_plain",
	"jit_exits_page",    "jit_exits_cross", "jit_exits_indirect", "jit_exits_c",
};

size_t x86_vm_counters(const struct x86_vm *vm, const char **names, uint64_t *values, size_t count)
{
	uint64_t sum[COUNTERS] = {0};

	for (unsigned i = 0; i < vm->cpu_count; i++) {
		const struct x86_cpu *cpu = vm->cpu[i];

		if (!cpu)
			continue;
		sum[0] += cpu->tlb->walks;
		sum[1] += cpu->tlb->refills;
		sum[2] += cpu->tlb->flushes;
		sum[3] += cpu->tlb->page_flushes;
		sum[4] += cpu->code->blocks;
		sum[5] += cpu->code->insns;
		sum[6] += cpu->code->flushes;
		sum[7] += cpu->code->drops;
		for (unsigned k = 0; cpu->jit && k < JIT_COUNTERS; k++)
			sum[8 + k] += x86_jit_count(cpu, (enum x86_jit_counter)k);
	}
	for (size_t i = 0; i < COUNTERS && i < count; i++) {
		names[i] = counter_name[i];
		values[i] = sum[i];
	}
	return COUNTERS;
}
