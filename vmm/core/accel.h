/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs guest code: the operations that kvm/ and tcg-fallback/ implement, and the callbacks through which
 * they reach the machine. An accelerator never sees a device. vcpu_run returns only what the machine must
 * decide, never an I/O exit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/core/cpu_model_x86.h"
#include "vmm/core/cpu_state_x86.h"

struct err;
struct gmem_region;

struct accel_vm;   /* an accelerator's own */
struct accel_vcpu; /* an accelerator's own */

/*
 * The machine as an accelerator sees it. `opaque` is given back; `cpu` is the vCPU's index. All are called on
 * that vCPU's thread, with no lock of the accelerator's held that accel_vcpu_* entry points take.
 */
struct accel_host {
	void *opaque;
	uint64_t (*mmio_read)(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes);
	void (*mmio_write)(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes);
	uint64_t (*pio_read)(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes);
	void (*pio_write)(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes);
	/* Acknowledges the highest interrupt (local APIC first, then ExtINT of the PIC); vector, or -1 when
	 * none is left. */
	int (*intr_acknowledge)(void *opaque, unsigned cpu);
	/* Local APIC through the CPU: IA32_APIC_BASE, x2APIC MSRs (0x800-0x8ff), TSC deadline (0x6e0), CR8 as
	 * TPR[7:4]. MSR calls return false for #GP. */
	bool (*apic_msr_read)(void *opaque, unsigned cpu, uint32_t index, uint64_t *value);
	bool (*apic_msr_write)(void *opaque, unsigned cpu, uint32_t index, uint64_t value);
	uint64_t (*cr8_read)(void *opaque, unsigned cpu);
	void (*cr8_write)(void *opaque, unsigned cpu, uint64_t value);
	/* Address of the local APIC's 4 KiB page for this CPU, or UINT64_MAX while disabled or in x2APIC
	 * mode; the accelerator sends such accesses to mmio_read/mmio_write like any other, so most need not
	 * ask. */
	/* x87 FERR# (CR0.NE = 0): level of IRQ 13. */
	void (*ferr)(void *opaque, unsigned cpu, bool level);
};

/* Why vcpu_run came back. */
enum accel_exit {
	ACCEL_EXIT_KICKED,   /* somebody called vcpu_kick: look at your requests */
	ACCEL_EXIT_HALTED,   /* HLT (or wait-for-SIPI) with nothing pending: call vcpu_wait, then run again */
	ACCEL_EXIT_RESET,    /* the CPU asks for a reset of the machine */
	ACCEL_EXIT_SHUTDOWN, /* triple fault: the state is that of the fault */
	ACCEL_EXIT_POWER_OFF,
	ACCEL_EXIT_DEBUG,          /* a breakpoint or step of the host's debugger */
	ACCEL_EXIT_CANNOT_EXECUTE, /* this accelerator cannot run the instruction at RIP; the other may */
	ACCEL_EXIT_FAILED,         /* the accelerator itself failed; err says how */
};

struct accel_vcpu_config {
	unsigned index; /* 0 .. cpu_count - 1; also the APIC id */
	unsigned cpu_count;
	const struct x86_cpuid_table *cpuid; /* copied */
};

struct accel_vm_config {
	const struct accel_host *host; /* borrowed, outlives the vm */
	unsigned cpu_count;
	bool jit; /* tcg: translate hot code (--jit) */
};

struct accel_ops {
	const char *name; /* "kvm", "tcg" */

	/* Can this host do it? 0, or -errno with err saying what is missing. */
	int (*probe)(struct err *err);
	/*
	 * Looks how guest code runs here, for a choice that nobody made: 0 when it is worth being chosen,
	 * `finding` then being a phrase that says why; else -errno with err saying why not. May take some
	 * milliseconds. NULL: always worth it.
	 */
	int (*calibrate)(char *finding, size_t size, struct err *err);
	/* What the CPU model tables are filtered by. */
	int (*capabilities)(struct x86_cpu_capabilities *capabilities, struct err *err);

	struct accel_vm *(*vm_create)(const struct accel_vm_config *config, struct err *err);
	void (*vm_destroy)(struct accel_vm *vm);
	/* Maps or unmaps guest memory; only while every vCPU is parked. */
	int (*mem_map)(struct accel_vm *vm, const struct gmem_region *region, struct err *err);
	int (*mem_unmap)(struct accel_vm *vm, uint64_t gpa, struct err *err);
	/* The host wrote guest memory: drop translations of it. Any thread. May be NULL. */
	void (*mem_written)(struct accel_vm *vm, uint64_t gpa, uint64_t len);

	/* vCPUs are created by any thread, parked in their reset state: RUNNABLE for index 0, else
	 * WAIT_FOR_SIPI. */
	struct accel_vcpu *(*vcpu_create)(struct accel_vm *vm, const struct accel_vcpu_config *config,
					  struct err *err);
	void (*vcpu_destroy)(struct accel_vcpu *vcpu);
	/* Runs guest code on the calling thread until the machine must decide. */
	enum accel_exit (*vcpu_run)(struct accel_vcpu *vcpu, struct err *err);
	/* Sleeps on the calling thread while halted, until an interrupt, NMI, INIT, SIPI, kick. */
	void (*vcpu_wait)(struct accel_vcpu *vcpu);
	/* Makes a running vcpu_run return KICKED, a waiting vcpu_wait return, or the next vcpu_run return at
	 * once. Any thread; no wake-up is lost; async-signal-safe. */
	void (*vcpu_kick)(struct accel_vcpu *vcpu);

	/* Pins, as in struct cpu_pins. Any thread. */
	void (*vcpu_intr)(struct accel_vcpu *vcpu, bool level);
	void (*vcpu_nmi)(struct accel_vcpu *vcpu);
	void (*vcpu_smi)(struct accel_vcpu *vcpu);
	void (*vcpu_init)(struct accel_vcpu *vcpu);
	void (*vcpu_startup)(struct accel_vcpu *vcpu, uint8_t vector);
	/* A20 gate: masks address bit 20 of all vCPUs. May be NULL (then it is always open). */
	void (*set_a20)(struct accel_vm *vm, bool enabled);

	/*
	 * When (CLOCK_MONOTONIC ns) this vCPU's TSC reaches tsc; a time that is over for the past. Any
	 * thread, the interrupt lock may be held. NULL: the machine offers the guest no TSC-deadline timer.
	 */
	uint64_t (*vcpu_tsc_to_monotonic_ns)(struct accel_vcpu *vcpu, uint64_t tsc);

	/* Whole state, while the vCPU does not run. */
	int (*state_get)(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err);
	int (*state_set)(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err);
	/* Counters for metrics and logs: fills at most count names and values, returns how many there are.
	 * May be NULL. */
	size_t (*counters)(struct accel_vm *vm, const char **names, uint64_t *values, size_t count);
};

/* The accelerators built in, ended by NULL, best first. Generated by the build from the folders present. */
extern const struct accel_ops *const accel_table[];
