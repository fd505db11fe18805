/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM accelerator as its own files see it: kvm.c is the table of operations, kvm_probe.c opens the
 * device, kvm_calibrate.c judges it, kvm_cpuid.c says what it can execute, kvm_memory.c maps guest memory,
 * kvm_vcpu.c runs, kvm_exit.c answers, kvm_state.c and kvm_msr.c move the state, kvm_reset.c does what INIT
 * and SIPI do. None of them knows a device or the other accelerator. Interface: the kernel's
 * Documentation/virt/kvm/api.rst.
 */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/core/accel.h"

struct err;

extern const struct accel_ops kvm_accel_ops;

/* Intel CPUs need three pages and one more for real mode, in guest-physical space that no board uses: below
 * the BIOS. */
#define KVM_IDENTITY_GPA 0xfffbc000ull
#define KVM_TSS_GPA      0xfffbd000ull

#define KVM_SLOTS_MAX                                                                                        \
	64 /* memory regions of one machine: a board has a handful, hot-added memory some more */

/* What somebody wants of a vCPU; bits of accel_vcpu.attention. */
enum kvm_attention {
	KVM_ATTENTION_KICK = 1 << 0,
	KVM_ATTENTION_INTR = 1 << 1, /* a level: stays until the interrupt controller takes it back */
	KVM_ATTENTION_NMI = 1 << 2,
	KVM_ATTENTION_SMI = 1 << 3,
	KVM_ATTENTION_INIT = 1 << 4,
	KVM_ATTENTION_SIPI = 1 << 5,
};

enum kvm_counter {
	KVM_COUNTER_EXITS,
	KVM_COUNTER_PIO,
	KVM_COUNTER_MMIO,
	KVM_COUNTER_MSR,
	KVM_COUNTER_HALT,
	KVM_COUNTER_WINDOW,
	KVM_COUNTER_INTERRUPTS,
	KVM_COUNTER_SIGNALS,
	KVM_COUNTER_COUNT,
};

struct kvm_slot {
	bool used;
	uint64_t gpa;
};

struct accel_vm {
	int kvm_fd, vm_fd;                   /* owned */
	const struct accel_host *host;       /* borrowed */
	size_t run_size_bytes;               /* mapping of struct kvm_run and what follows it */
	struct kvm_slot slot[KVM_SLOTS_MAX]; /* by slot number */
	bool exits_on_failure;               /* an instruction that KVM cannot emulate leaves no #UD behind */
	unsigned cpu_count;
	struct accel_vcpu **vcpu; /* cpu_count of them, NULL before they are made; owned by their creator */
};

struct accel_vcpu {
	struct accel_vm *vm;
	unsigned index;
	int fd;                                /* owned */
	struct kvm_run *run;                   /* mapping, owned */
	uint64_t tsc_hz;                       /* rate of the guest's TSC */
	uint32_t signature;                    /* CPUID leaf 1 EAX, which RDX holds after reset and INIT */
	uint32_t msr_index[X86_STATE_MSR_MAX]; /* MSRs of the saved state, those that this host has */
	uint32_t msr_count;
	struct x86_msr_state
		foreign[X86_STATE_MSR_MAX]; /* of a state, and not of this host: kept for others */
	uint32_t foreign_count;

	/* Any thread. Set before in_guest is read by whoever posts, and read after it is set by the vCPU's
	 * thread. */
	_Atomic uint32_t attention; /* enum kvm_attention; a futex */
	_Atomic bool in_guest;
	_Atomic pid_t thread_id; /* of the thread that runs it */
	_Atomic uint8_t sipi_vector;

	/* The vCPU's thread, or whoever holds it parked. */
	enum x86_mp_state mp_state;
	uint64_t cr8_entered; /* what KVM was given at the last entry */

	/* The guest's TSC and the host's clock at one moment. Any thread. */
	pthread_mutex_t anchor_lock; /* a leaf */
	uint64_t anchor_tsc, anchor_ns;

	_Atomic uint64_t counter[KVM_COUNTER_COUNT];
};

static inline void kvm_count(struct accel_vcpu *vcpu, enum kvm_counter counter)
{
	atomic_fetch_add_explicit(&vcpu->counter[counter], 1, memory_order_relaxed);
}

/* kvm_probe.c: opens the device, telling apart why it cannot be used. A descriptor, or -errno with err set.
 */
int kvm_open(struct err *err);
int kvm_probe(struct err *err);

/* kvm_calibrate.c: 0 and a phrase when guest code runs at the hardware's speed; -ERANGE when it is
 * interpreted. */
int kvm_calibrate(char *finding, size_t size, struct err *err);

/* kvm_cpuid.c */
int kvm_capabilities(struct x86_cpu_capabilities *capabilities, struct err *err);
int kvm_cpuid_set(struct accel_vcpu *vcpu, const struct x86_cpuid_table *table, struct err *err);
/* Whether x2APIC and TSC-deadline MSRs can be had from the machine's own APIC: KVM must hand their accesses
 * out. */
bool kvm_can_filter_msrs(int kvm_fd);

/* kvm_memory.c */
int kvm_mem_map(struct accel_vm *vm, const struct gmem_region *region, struct err *err);
int kvm_mem_unmap(struct accel_vm *vm, uint64_t gpa, struct err *err);

/* kvm_vcpu.c */
struct accel_vcpu *kvm_vcpu_create(struct accel_vm *vm, const struct accel_vcpu_config *config,
				   struct err *err);
void kvm_vcpu_destroy(struct accel_vcpu *vcpu);
void kvm_vcpu_post(struct accel_vcpu *vcpu, uint32_t attention);
void kvm_vcpu_wait(struct accel_vcpu *vcpu);
uint64_t kvm_vcpu_tsc_to_monotonic_ns(struct accel_vcpu *vcpu, uint64_t tsc);
/* Takes guest TSC and host clock together anew when the last pair is old; the vCPU's thread. */
void kvm_vcpu_refresh_anchor(struct accel_vcpu *vcpu, bool now);

/* kvm_clock.c */
int kvm_clock_get(struct accel_vcpu *vcpu, struct accel_clock *clock, struct err *err);
int kvm_clock_set(struct accel_vcpu *vcpu, const struct accel_clock *clock, struct err *err);

/* kvm_run.c */
enum accel_exit kvm_vcpu_run(struct accel_vcpu *vcpu, struct err *err);
/* Makes the kicking signal end KVM_RUN instead of the process. Once a process is enough, more often does no
 * harm. */
int kvm_kick_signal_prepare(struct err *err);
/* Sends it. Async-signal-safe. */
void kvm_kick_signal_send(pid_t thread_id);

/* kvm_exit.c: answers the exit in vcpu->run. True: run on. False: *why says what the machine must decide. */
bool kvm_exit_handle(struct accel_vcpu *vcpu, enum accel_exit *why, struct err *err);

/* kvm_state.c: all but CR8's way to the local APIC, and the start-up vector, which its sender may write
 * meanwhile. */
int kvm_state_save(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err);
int kvm_state_load(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err);
/* Gives KVM the local APIC's base, from which it derives CPUID's APIC bit. */
int kvm_state_set_apic_base(struct accel_vcpu *vcpu, uint64_t apic_base, struct err *err);

/* kvm_msr.c */
void kvm_msr_find(struct accel_vcpu *vcpu);
int kvm_msr_save(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err);
int kvm_msr_load(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err);
bool kvm_msr_get(struct accel_vcpu *vcpu, uint32_t index, uint64_t *value);
int kvm_msr_set(struct accel_vcpu *vcpu, uint32_t index, uint64_t value, struct err *err);

/* kvm_reset.c */
int kvm_reset(struct accel_vcpu *vcpu, struct err *err);
int kvm_reset_startup(struct accel_vcpu *vcpu, uint8_t vector, struct err *err);
