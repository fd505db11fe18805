/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adapter between the built-in engine and the accelerator interface: the only file here that knows
 * core/accel.h. It maps calls and callbacks one to one and says truthfully what the engine executes. The
 * whole-state conversion is in tcg_state.c.
 */
#include "tcg-fallback/tcg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tcg-fallback/core/trace.h"
#include "tcg-fallback/core/vm.h"
#include "tcg-fallback/tcg_state.h"
#include "tcg-fallback/x86/disassemble.h"
#include "tcg-fallback/x86/native.h"
#include "tcg-fallback/x86/xsave.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/core/gmem.h"

_Static_assert((int)X86_FEATURE_WORDS == (int)X86_WORD_COUNT, "feature words are numbered alike");
_Static_assert(X86_FEATURE_SSE3 / 32 == X86_WORD_1_ECX && X86_FEATURE_FPU / 32 == X86_WORD_1_EDX, "leaf 1");
_Static_assert(X86_FEATURE_SMEP / 32 == X86_WORD_7_EBX && X86_FEATURE_UMIP / 32 == X86_WORD_7_ECX, "leaf 7");
_Static_assert(X86_FEATURE_FSRM / 32 == X86_WORD_7_EDX && X86_FEATURE_XSAVEOPT / 32 == X86_WORD_D_1_EAX,
	       "leaves 7, 0xd");
_Static_assert(X86_FEATURE_LZCNT / 32 == X86_WORD_EXT1_ECX && X86_FEATURE_LM / 32 == X86_WORD_EXT1_EDX,
	       "leaf 0x80000001");
_Static_assert((int)ACCEL_TRACE_IN_ASM == (int)X86_TRACE_IN_ASM &&
		       (int)ACCEL_TRACE_OUT_ASM == (int)X86_TRACE_OUT_ASM &&
		       (int)ACCEL_TRACE_OP == (int)X86_TRACE_OP &&
		       (int)ACCEL_TRACE_INT == (int)X86_TRACE_INT &&
		       (int)ACCEL_TRACE_MMU == (int)X86_TRACE_MMU,
	       "traces are numbered alike");
_Static_assert((int)SEG_TR == (int)X86_TR && (int)REG_R15 == (int)X86_R15, "registers are numbered alike");

struct accel_vm {
	struct x86_vm *engine; /* owned */
	struct x86_host host;  /* the machine's callbacks, as the engine calls them */
};

struct accel_vcpu {
	struct x86_cpu *cpu; /* owned */
	struct tcg_foreign_msrs foreign;
};

/* Every feature that insn.tab and the system code implement. */
static const uint16_t tcg_features[] = {
	X86_FEATURE_SSE3,         X86_FEATURE_PCLMULQDQ,
	X86_FEATURE_SSSE3,        X86_FEATURE_CX16,
	X86_FEATURE_PCID,         X86_FEATURE_SSE4_1,
	X86_FEATURE_SSE4_2,       X86_FEATURE_X2APIC,
	X86_FEATURE_MOVBE,        X86_FEATURE_POPCNT,
	X86_FEATURE_TSC_DEADLINE, X86_FEATURE_AES,
	X86_FEATURE_XSAVE,        X86_FEATURE_RDRAND,
	X86_FEATURE_HYPERVISOR,   X86_FEATURE_FPU,
	X86_FEATURE_VME,          X86_FEATURE_DE,
	X86_FEATURE_PSE,          X86_FEATURE_TSC,
	X86_FEATURE_MSR,          X86_FEATURE_PAE,
	X86_FEATURE_MCE,          X86_FEATURE_CX8,
	X86_FEATURE_APIC,         X86_FEATURE_SEP,
	X86_FEATURE_MTRR,         X86_FEATURE_PGE,
	X86_FEATURE_MCA,          X86_FEATURE_CMOV,
	X86_FEATURE_PAT,          X86_FEATURE_PSE36,
	X86_FEATURE_CLFSH,        X86_FEATURE_MMX,
	X86_FEATURE_FXSR,         X86_FEATURE_SSE,
	X86_FEATURE_SSE2,         X86_FEATURE_SS,
	X86_FEATURE_FSGSBASE,     X86_FEATURE_TSC_ADJUST,
	X86_FEATURE_BMI1,         X86_FEATURE_SMEP,
	X86_FEATURE_BMI2,         X86_FEATURE_ERMS,
	X86_FEATURE_INVPCID,      X86_FEATURE_ZERO_FCS_FDS,
	X86_FEATURE_RDSEED,       X86_FEATURE_ADX,
	X86_FEATURE_SMAP,         X86_FEATURE_CLFLUSHOPT,
	X86_FEATURE_CLWB,         X86_FEATURE_SHA,
	X86_FEATURE_UMIP,         X86_FEATURE_PKU,
	X86_FEATURE_LA57,         X86_FEATURE_RDPID,
	X86_FEATURE_FSRM,         X86_FEATURE_ARCH_CAPABILITIES,
	X86_FEATURE_XSAVEOPT,     X86_FEATURE_XSAVEC,
	X86_FEATURE_XGETBV1,      X86_FEATURE_XSAVES,
	X86_FEATURE_LAHF64,       X86_FEATURE_CR8_LEGACY,
	X86_FEATURE_LZCNT,        X86_FEATURE_PREFETCHW,
	X86_FEATURE_SYSCALL,      X86_FEATURE_NX,
	X86_FEATURE_GBPAGES,      X86_FEATURE_RDTSCP,
	X86_FEATURE_LM,
};

#define TCG_XCR0      (X86_XFEATURE_X87 | X86_XFEATURE_SSE | X86_XFEATURE_PKRU)
#define TCG_PHYS_BITS 46
#define TCG_VIRT_BITS 57

/* The engine needs nothing of the host. */
static int tcg_probe(struct err *err)
{
	return 0;
}

/* The engine's own and what it can have the host execute. */
static void tcg_feature_words(uint32_t words[X86_WORD_COUNT])
{
	x86_native_features(words);
	for (size_t i = 0; i < sizeof(tcg_features) / sizeof(tcg_features[0]); i++)
		words[tcg_features[i] / 32] |= 1u << (tcg_features[i] % 32);
}

static int tcg_capabilities(struct x86_cpu_capabilities *capabilities, struct err *err)
{
	*capabilities = (struct x86_cpu_capabilities){
		.xcr0 = TCG_XCR0,
		.phys_bits = TCG_PHYS_BITS,
		.virt_bits = TCG_VIRT_BITS,
		.tsc_hz = x86_tsc_hz(),
		.tsc_any_rate = true,
		.hypervisor_signature = "KVMKVMKVM",
		.kvmclock = true,
	};
	tcg_feature_words(capabilities->feature);
	if (capabilities->feature[X86_FEATURE_AVX / 32] >> X86_FEATURE_AVX % 32 & 1)
		capabilities->xcr0 |= X86_XFEATURE_AVX;
	if (capabilities->feature[X86_FEATURE_AVX512F / 32] >> X86_FEATURE_AVX512F % 32 & 1)
		capabilities->xcr0 |= X86_XFEATURE_AVX512;
	return 0;
}

static int tcg_set_trace(struct accel_vm *vm, const struct accel_vm_config *config, struct err *err)
{
	const struct x86_trace_config trace = {
		.kinds = config->trace,
		.fd = config->trace_fd,
		.perf_map = config->perf_map,
	};

	return x86_vm_set_trace(vm->engine, &trace, err);
}

static struct accel_vm *tcg_vm_create(const struct accel_vm_config *config, struct err *err)
{
	const struct accel_host *host = config->host;
	struct accel_vm *vm = calloc(1, sizeof(*vm));
	uint32_t native[X86_WORD_COUNT];

	if (!vm) {
		err_set_errno(err, -ENOMEM, "tcg");
		return NULL;
	}
	vm->host = (struct x86_host){
		.opaque = host->opaque,
		.mmio_read = host->mmio_read,
		.mmio_write = host->mmio_write,
		.pio_read = host->pio_read,
		.pio_write = host->pio_write,
		.intr_acknowledge = host->intr_acknowledge,
		.apic_msr_read = host->apic_msr_read,
		.apic_msr_write = host->apic_msr_write,
		.cr8_read = host->cr8_read,
		.cr8_write = host->cr8_write,
		.ferr = host->ferr,
	};
	if (!x86_native_features(native))
		log_warning("tcg: the host refuses executable memory, so there is no AVX");
	vm->engine = x86_vm_create(config->cpu_count, &vm->host);
	if (!vm->engine)
		err_set_errno(err, -ENOMEM, "tcg: %u CPUs", config->cpu_count);
	if (!vm->engine || tcg_set_trace(vm, config, err) < 0) {
		x86_vm_destroy(vm->engine);
		free(vm);
		return NULL;
	}
	x86_vm_set_jit(vm->engine,
		       &(struct x86_jit_config){.mode = !config->jit               ? X86_JIT_OFF
							: config->jit_verify_every ? X86_JIT_VERIFY
										   : X86_JIT_ON,
						.verify_every = config->jit_verify_every,
						.mmu_safe = config->mmu_safe,
						.mmu_ranges = config->mmu_ranges});
	return vm;
}

static void tcg_vm_destroy(struct accel_vm *vm)
{
	x86_vm_destroy(vm->engine);
	free(vm);
}

static int tcg_mem_map(struct accel_vm *vm, const struct gmem_region *region, struct err *err)
{
	const int rc = x86_vm_map(vm->engine, region->gpa, region->size_bytes, region->hva,
				  region->kind == GMEM_ROM);

	return rc ? err_set_errno(err, rc, "tcg: cannot map guest memory at %#llx",
				  (unsigned long long)region->gpa)
		  : 0;
}

static int tcg_mem_unmap(struct accel_vm *vm, uint64_t gpa, struct err *err)
{
	const int rc = x86_vm_unmap(vm->engine, gpa);

	return rc ? err_set_errno(err, rc, "tcg: cannot unmap guest memory at %#llx", (unsigned long long)gpa)
		  : 0;
}

static void tcg_mem_written(struct accel_vm *vm, uint64_t gpa, uint64_t len)
{
	x86_vm_written(vm->engine, gpa, len);
}

/* Bits that name no instruction and no MSR of their own, or that the engine follows by itself. */
static const uint32_t tcg_harmless[X86_WORD_COUNT] = {
	[X86_WORD_1_ECX] = 1u << 27,   /* OSXSAVE */
	[X86_WORD_1_EDX] = 1u << 28,   /* HTT */
	[X86_WORD_7_EBX] = 1u << 6,    /* FDP_EXCPTN_ONLY */
	[X86_WORD_7_ECX] = 1u << 4,    /* OSPKE */
	[X86_WORD_EXT1_ECX] = 1u << 1, /* CMP_LEGACY */
	[X86_WORD_EXT7_EDX] = 1u << 8, /* invariant TSC */
	[X86_WORD_EXT8_EBX] = 1u << 2, /* XSAVEERPTR */
	[X86_WORD_EXT21_EAX] =
		1u << 0 | 1u << 2 | 1u << 6, /* NO_NESTED_DATA_BP LFENCE_RDTSC NULL_SEL_CLR_BASE */
};

/* A vCPU may be told of more than the engine has: then it helps out another accelerator (accel.h). */
static bool tcg_promises_more(const struct x86_cpu *cpu)
{
	uint32_t words[X86_WORD_COUNT];

	tcg_feature_words(words);
	for (unsigned i = 0; i < X86_WORD_COUNT; i++)
		if (cpu->feature[i] & ~(words[i] | tcg_harmless[i]))
			return true;
	return false;
}

static struct accel_vcpu *tcg_vcpu_create(struct accel_vm *vm, const struct accel_vcpu_config *config,
					  struct err *err)
{
	struct x86_cpuid_leaf leaves[X86_CPUID_ENTRIES_MAX];
	struct accel_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	uint32_t words[X86_WORD_COUNT];

	for (size_t i = 0; i < config->cpuid->count; i++) {
		const struct x86_cpuid_entry *entry = &config->cpuid->entry[i];

		leaves[i] = (struct x86_cpuid_leaf){
			.leaf = entry->leaf,
			.subleaf = entry->subleaf,
			.subleaf_matters = entry->subleaf_matters,
			.eax = entry->eax,
			.ebx = entry->ebx,
			.ecx = entry->ecx,
			.edx = entry->edx,
		};
	}
	if (vcpu)
		vcpu->cpu = x86_cpu_create(vm->engine, config->index, leaves, config->cpuid->count);
	if (!vcpu || !vcpu->cpu) {
		free(vcpu);
		err_set_errno(err, -ENOMEM, "tcg: CPU %u", config->index);
		return NULL;
	}
	vcpu->cpu->promises_more = tcg_promises_more(vcpu->cpu);
	tcg_feature_words(words);
	if (config->lenient && !x86_cpu_make_lenient(vcpu->cpu, words)) {
		x86_cpu_destroy(vcpu->cpu);
		free(vcpu);
		err_set_errno(err, -ENOMEM, "tcg: CPU %u", config->index);
		return NULL;
	}
	return vcpu;
}

static void tcg_vcpu_destroy(struct accel_vcpu *vcpu)
{
	x86_cpu_destroy(vcpu->cpu);
	free(vcpu);
}

static enum accel_exit tcg_exit(enum x86_exit exit, struct err *err)
{
	switch (exit) {
	case X86_EXIT_KICKED: return ACCEL_EXIT_KICKED;
	case X86_EXIT_HALTED: return ACCEL_EXIT_HALTED;
	case X86_EXIT_SHUTDOWN: return ACCEL_EXIT_SHUTDOWN;
	case X86_EXIT_RESET: return ACCEL_EXIT_RESET;
	case X86_EXIT_DEBUG: return ACCEL_EXIT_DEBUG;
	case X86_EXIT_UNKNOWN:
		err_set(err, -ENOSYS, "the built-in CPU does not have the instruction or MSR");
		return ACCEL_EXIT_CANNOT_EXECUTE;
	}
	err_set(err, -EIO, "tcg: unknown exit");
	return ACCEL_EXIT_FAILED;
}

static enum accel_exit tcg_vcpu_run(struct accel_vcpu *vcpu, struct err *err)
{
	return tcg_exit(x86_cpu_run(vcpu->cpu), err);
}

static enum accel_exit tcg_vcpu_run_blocks(struct accel_vcpu *vcpu, unsigned count, struct err *err)
{
	return tcg_exit(x86_cpu_run_blocks(vcpu->cpu, count), err);
}

static void tcg_vcpu_wait(struct accel_vcpu *vcpu)
{
	x86_cpu_wait(vcpu->cpu);
}

static uint64_t tcg_vcpu_tsc_to_monotonic_ns(struct accel_vcpu *vcpu, uint64_t tsc)
{
	return x86_tsc_to_monotonic_ns(vcpu->cpu, tsc);
}

static void tcg_vcpu_kick(struct accel_vcpu *vcpu)
{
	x86_cpu_post(vcpu->cpu, ATTENTION_KICK);
}

static void tcg_vcpu_intr(struct accel_vcpu *vcpu, bool level)
{
	if (level)
		x86_cpu_post(vcpu->cpu, ATTENTION_INTR);
	else
		x86_cpu_unpost(vcpu->cpu, ATTENTION_INTR);
}

static void tcg_vcpu_nmi(struct accel_vcpu *vcpu)
{
	x86_cpu_post(vcpu->cpu, ATTENTION_NMI);
}

static void tcg_vcpu_smi(struct accel_vcpu *vcpu)
{
	x86_cpu_post(vcpu->cpu, ATTENTION_SMI);
}

static void tcg_vcpu_init(struct accel_vcpu *vcpu)
{
	x86_cpu_post(vcpu->cpu, ATTENTION_INIT);
}

static void tcg_vcpu_startup(struct accel_vcpu *vcpu, uint8_t vector)
{
	x86_cpu_startup(vcpu->cpu, vector);
}

static void tcg_vcpu_pins_take(struct accel_vcpu *vcpu, struct accel_pins *pins)
{
	uint8_t vector = 0;
	const uint32_t taken = x86_cpu_take_requests(vcpu->cpu, &vector);

	*pins = (struct accel_pins){
		.intr = taken & ATTENTION_INTR,
		.nmi = taken & ATTENTION_NMI,
		.smi = taken & ATTENTION_SMI,
		.init = taken & ATTENTION_INIT,
		.startup = taken & ATTENTION_SIPI,
		.startup_vector = vector,
	};
}

static int tcg_clock_get(struct accel_vcpu *vcpu, struct accel_clock *clock, struct err *err)
{
	struct x86_clock_point point;

	x86_clock_get(vcpu->cpu, &point);
	*clock = (struct accel_clock){
		.monotonic_ns = point.monotonic_ns,
		.host_tsc = point.host_tsc,
		.tsc = point.tsc,
		.has_paravirtual = true,
		.paravirtual_ns = point.pvclock_ns,
	};
	return 0;
}

static int tcg_clock_set(struct accel_vcpu *vcpu, const struct accel_clock *clock, struct err *err)
{
	const struct x86_clock_point point = {
		.monotonic_ns = clock->monotonic_ns,
		.host_tsc = clock->host_tsc,
		.tsc = clock->tsc,
		.pvclock_ns = clock->paravirtual_ns,
	};

	x86_clock_set(vcpu->cpu, &point, clock->has_paravirtual);
	return 0;
}

static int tcg_dirty_log_start(struct accel_vm *vm, struct err *err)
{
	const int code = x86_vm_log_start(vm->engine);

	return code < 0 ? err_set_errno(err, code, "tcg: dirty log") : 0;
}

static int tcg_dirty_log_fetch(struct accel_vm *vm, accel_dirty_fn *fn, void *opaque, struct err *err)
{
	x86_vm_log_fetch(vm->engine, fn, opaque);
	return 0;
}

static void tcg_dirty_log_stop(struct accel_vm *vm)
{
	x86_vm_log_stop(vm->engine);
}

static int tcg_mem_forget(struct accel_vm *vm, struct err *err)
{
	x86_vm_forget_memory(vm->engine);
	return 0;
}

static void tcg_vcpu_mem_forget(struct accel_vcpu *vcpu)
{
	x86_cpu_post(vcpu->cpu, ATTENTION_TLB);
}

static void tcg_vcpu_instruction(struct accel_vcpu *vcpu, char *text, size_t size)
{
	x86_cpu_insn_text(vcpu->cpu, text, size);
}

static void tcg_set_a20(struct accel_vm *vm, bool enabled)
{
	x86_vm_set_a20(vm->engine, enabled);
}

static int tcg_state_get(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err)
{
	tcg_state_save(vcpu->cpu, &vcpu->foreign, state);
	return 0;
}

static int tcg_state_set(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err)
{
	return tcg_state_load(vcpu->cpu, state, &vcpu->foreign, err);
}

static size_t tcg_counters(struct accel_vm *vm, const char **names, uint64_t *values, size_t count)
{
	return x86_vm_counters(vm->engine, names, values, count);
}

const struct accel_ops tcg_accel_ops = {
	.name = "tcg",
	.probe = tcg_probe,
	.capabilities = tcg_capabilities,
	.vm_create = tcg_vm_create,
	.vm_destroy = tcg_vm_destroy,
	.mem_map = tcg_mem_map,
	.mem_unmap = tcg_mem_unmap,
	.mem_written = tcg_mem_written,
	.vcpu_create = tcg_vcpu_create,
	.vcpu_destroy = tcg_vcpu_destroy,
	.vcpu_run = tcg_vcpu_run,
	.vcpu_run_blocks = tcg_vcpu_run_blocks,
	.vcpu_wait = tcg_vcpu_wait,
	.vcpu_kick = tcg_vcpu_kick,
	.vcpu_intr = tcg_vcpu_intr,
	.vcpu_nmi = tcg_vcpu_nmi,
	.vcpu_smi = tcg_vcpu_smi,
	.vcpu_init = tcg_vcpu_init,
	.vcpu_startup = tcg_vcpu_startup,
	.vcpu_pins_take = tcg_vcpu_pins_take,
	.set_a20 = tcg_set_a20,
	.vcpu_tsc_to_monotonic_ns = tcg_vcpu_tsc_to_monotonic_ns,
	.clock_get = tcg_clock_get,
	.clock_set = tcg_clock_set,
	.mem_forget = tcg_mem_forget,
	.dirty_log_start = tcg_dirty_log_start,
	.dirty_log_fetch = tcg_dirty_log_fetch,
	.dirty_log_stop = tcg_dirty_log_stop,
	.vcpu_mem_forget = tcg_vcpu_mem_forget,
	.vcpu_instruction = tcg_vcpu_instruction,
	.state_get = tcg_state_get,
	.state_set = tcg_state_set,
	.counters = tcg_counters,
};
