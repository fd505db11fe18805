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

struct bus_doorbell;
struct err;
struct gmem_region;
struct irqchip_state;
struct irqfd_config;
struct lapic_state;

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
	/* ACCEL_IRQCHIP_SPLIT: a CPU has ended a level-triggered interrupt of the I/O APIC. */
	void (*ioapic_eoi)(void *opaque, uint8_t vector);
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
	/* It helps out another accelerator's vCPU: like a CPU under a hypervisor it executes what it has,
	 * also where the table does not tell the guest of it. */
	bool lenient;
};

/*
 * Where the interrupt controllers are.
 *
 *           PIC, I/O APIC, PIT   local APICs   interrupts reach the accelerator by
 *   off     devices              devices       vcpu_intr, vcpu_nmi, ... and accel_host.intr_acknowledge
 *   split   devices              accelerator   msi_send, ioapic_route; PIC: vcpu_intr of CPU 0 +
 * intr_acknowledge kernel  accelerator          accelerator   irq_line, msi_send
 *
 * With an accelerator's local APICs, accel_host.apic_msr_*, cr8_* are not called, and start-up, INIT and HLT
 * are the accelerator's own: vcpu_run sleeps while the CPU is halted and does not return HALTED.
 */
enum accel_irqchip { ACCEL_IRQCHIP_OFF, ACCEL_IRQCHIP_SPLIT, ACCEL_IRQCHIP_KERNEL, ACCEL_IRQCHIP_COUNT };

enum accel_bus { ACCEL_BUS_MMIO, ACCEL_BUS_PIO };

/* Ports and registers whose writes may be gathered and carried out before the next exit. */
struct accel_coalesced {
	enum accel_bus bus;
	uint64_t address;
	uint32_t size;
};

/* Guest memory written since it was last asked: whole 4 KiB pages. */
typedef void accel_dirty_fn(void *opaque, uint64_t gpa, uint64_t size_bytes);

/* What an accelerator tells those who debug it. */
enum accel_trace {
	ACCEL_TRACE_IN_ASM = 1u << 0,
	ACCEL_TRACE_OUT_ASM = 1u << 1,
	ACCEL_TRACE_OP = 1u << 2,
	ACCEL_TRACE_INT = 1u << 3,
	ACCEL_TRACE_MMU = 1u << 4,
};

struct accel_vm_config {
	const struct accel_host *host; /* borrowed, outlives the vm */
	unsigned cpu_count;
	bool dirty_ring; /* find written pages by rings of the vCPUs rather than bitmaps, where offered */
	enum accel_irqchip irqchip; /* one of those that accel_ops.irqchips offers */
	bool jit;                   /* tcg: translate hot code (--jit) */
	bool mmu_safe;              /* tcg: cache little of the page tables (--mmu safe) */
	bool mmu_ranges;            /* tcg: ranges before the TLB (--mmu ranges) */
	uint32_t jit_verify_every;  /* tcg: compare one in so many blocks with the interpreter; 0: none */
	uint32_t trace;             /* tcg: bits of enum accel_trace (--log) */
	int trace_fd;               /* where they are written; borrowed during vm_create */
	bool perf_map;              /* tcg: write a map of translated code for perf(1) */
};

/* What a vCPU's pins have latched and it has not taken; intr is the pin's level. */
struct accel_pins {
	bool intr, nmi, smi, init, startup;
	uint8_t startup_vector;
};

/*
 * A vCPU's clocks at one moment, beside the host's two that they are made from. Of the pair, the clock that
 * counts for the accelerator is read first: a clock that goes on from the other one is late by what passed
 * between, and never early, so that no guest sees it go back.
 */
struct accel_clock {
	uint64_t monotonic_ns;   /* CLOCK_MONOTONIC */
	uint64_t host_tsc;       /* the host's time-stamp counter; 0: it has none */
	uint64_t tsc;            /* the vCPU's */
	bool has_paravirtual;    /* else a set leaves that clock and the guest's pages of it alone */
	uint64_t paravirtual_ns; /* the VM's paravirtual clock */
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
	/* A part of mapped memory (whole pages) becomes read-only, or is no more; -ENOTSUP. May be NULL. */
	int (*mem_protect)(struct accel_vm *vm, uint64_t gpa, uint64_t size_bytes, bool read_only,
			   struct err *err);
	/* The host wrote guest memory: drop translations of it. Any thread. May be NULL. */
	void (*mem_written)(struct accel_vm *vm, uint64_t gpa, uint64_t len);

	/* vCPUs are created by any thread, parked in their reset state: RUNNABLE for index 0, else
	 * WAIT_FOR_SIPI. */
	struct accel_vcpu *(*vcpu_create)(struct accel_vm *vm, const struct accel_vcpu_config *config,
					  struct err *err);
	void (*vcpu_destroy)(struct accel_vcpu *vcpu);
	/* Runs guest code on the calling thread until the machine must decide. */
	enum accel_exit (*vcpu_run)(struct accel_vcpu *vcpu, struct err *err);
	/*
	 * As vcpu_run, but comes back, KICKED, after about so many basic blocks; an event that waits is
	 * delivered first, and at least one instruction executed. CANNOT_EXECUTE: the state is that before
	 * such an instruction. NULL: this accelerator cannot stop so soon.
	 */
	enum accel_exit (*vcpu_run_blocks)(struct accel_vcpu *vcpu, unsigned count, struct err *err);
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
	/* Takes what the pins have latched out of the vCPU, for whoever goes on with it; the level stays. Any
	 * thread, no pin being driven at the same time. */
	void (*vcpu_pins_take)(struct accel_vcpu *vcpu, struct accel_pins *pins);
	/* A20 gate: masks address bit 20 of all vCPUs. May be NULL (then it is always open). */
	void (*set_a20)(struct accel_vm *vm, bool enabled);

	/*
	 * When (CLOCK_MONOTONIC ns) this vCPU's TSC reaches tsc; a time that is over for the past. Any
	 * thread, the interrupt lock may be held. NULL: the machine offers the guest no TSC-deadline timer.
	 */
	uint64_t (*vcpu_tsc_to_monotonic_ns)(struct accel_vcpu *vcpu, uint64_t tsc);

	/*
	 * Clocks, while no vCPU of the VM runs. set comes after state_set: the TSC goes on from `clock`; the
	 * VM's paravirtual clock, too, with that of CPU 0. NULL: the TSC of the state is all there is.
	 */
	int (*clock_get)(struct accel_vcpu *vcpu, struct accel_clock *clock, struct err *err);
	int (*clock_set)(struct accel_vcpu *vcpu, const struct accel_clock *clock, struct err *err);
	/* Another accelerator ran the VM: what this one has cached of guest memory may be wrong. While no
	 * vCPU of the VM runs. May be NULL. */
	int (*mem_forget)(struct accel_vm *vm, struct err *err);
	/* The same for what one vCPU has cached, while that one does not run. May be NULL. */
	void (*vcpu_mem_forget)(struct accel_vcpu *vcpu);
	/* Whether mem_forget has copies of page tables to drop. NULL: it has none. */
	bool (*mem_is_shadowed)(const struct accel_vm *vm);
	/* The instruction at RIP as text, for a person. May be NULL. */
	void (*vcpu_instruction)(struct accel_vcpu *vcpu, char *text, size_t size);

	/* Whole state, while the vCPU does not run, but what the pins have latched: state_set neither takes
	 * that nor drops it. */
	int (*state_get)(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err);
	int (*state_set)(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err);

	/*
	 * Interrupt controllers of the accelerator's own. All of these may be NULL in one that has none
	 * (irqchips NULL: only ACCEL_IRQCHIP_OFF).
	 */
	/* Bit n: enum accel_irqchip n can be had on this host. */
	unsigned (*irqchips)(void);
	/* Level of a GSI (ISA interrupt n is GSI n, the I/O APIC sees GSI 0 at pin 2). KERNEL. Any thread. */
	void (*irq_line)(struct accel_vm *vm, unsigned gsi, bool level);
	/* A message; SPLIT and KERNEL. Any thread. */
	void (*msi_send)(struct accel_vm *vm, uint64_t address, uint32_t data);
	/* The I/O APIC's redirection entry of a pin has changed; SPLIT. Any thread, the interrupt lock may be
	 * held. */
	void (*ioapic_route)(struct accel_vm *vm, unsigned pin, uint64_t entry);
	/* A signal of config->fd raises an interrupt; SPLIT (messages only) and KERNEL. 0 and a handle, or
	 * -errno: then the machine watches the eventfd itself. */
	int (*irqfd_add)(struct accel_vm *vm, const struct irqfd_config *config, unsigned *handle,
			 struct err *err);
	int (*irqfd_update)(struct accel_vm *vm, unsigned handle, uint64_t msi_address, uint32_t msi_data,
			    struct err *err);
	void (*irqfd_remove)(struct accel_vm *vm, unsigned handle);
	/* A write that signals an eventfd without an exit. -errno: bus_write will do it. Any thread. */
	int (*ioeventfd_add)(struct accel_vm *vm, enum accel_bus bus, const struct bus_doorbell *doorbell,
			     struct err *err);
	void (*ioeventfd_remove)(struct accel_vm *vm, enum accel_bus bus,
				 const struct bus_doorbell *doorbell);
	/* Writes that may arrive late (before the next exit); -errno: they arrive at once. */
	int (*coalesce)(struct accel_vm *vm, const struct accel_coalesced *range, struct err *err);

	/*
	 * The controllers' state, every vCPU parked; KERNEL. The levels of lines are the machine's: after a
	 * set it calls irq_line for each.
	 */
	int (*irqchip_state_get)(struct accel_vm *vm, struct irqchip_state *state, struct err *err);
	int (*irqchip_state_set)(struct accel_vm *vm, const struct irqchip_state *state, struct err *err);
	/* One CPU's local APIC; SPLIT and KERNEL. Set after state_set of the same CPU (TSC, then deadline).
	 */
	int (*lapic_state_get)(struct accel_vcpu *vcpu, struct lapic_state *state, struct err *err);
	int (*lapic_state_set)(struct accel_vcpu *vcpu, const struct lapic_state *state, struct err *err);

	/*
	 * Which pages does the guest write? start: from now on, none is dirty. fetch: fn for each piece
	 * written since start or the last fetch, on the calling thread; a page may be named twice, or only
	 * have been touched. Every vCPU is parked; those of kvm may also run, and what they write
	 * meanwhile is in this fetch or the next. NULL: not offered.
	 */
	int (*dirty_log_start)(struct accel_vm *vm, struct err *err);
	int (*dirty_log_fetch)(struct accel_vm *vm, accel_dirty_fn *fn, void *opaque, struct err *err);
	void (*dirty_log_stop)(struct accel_vm *vm);

	/* Counters for metrics and logs: fills at most count names and values, returns how many there are.
	 * May be NULL. */
	size_t (*counters)(struct accel_vm *vm, const char **names, uint64_t *values, size_t count);
};

/* The accelerators built in, ended by NULL, best first. Generated by the build from the folders present. */
extern const struct accel_ops *const accel_table[];
