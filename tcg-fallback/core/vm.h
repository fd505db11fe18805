/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in engine from outside: a guest's memory map shared by its CPUs, and the life of a CPU. This is
 * all that the adapter (tcg.c), tests and benchmarks need. It knows guest memory as host pointers and devices
 * as struct x86_host.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tcg-fallback/x86/cpu.h"

#define X86_VM_CPUS_MAX    256 /* xAPIC ids */
#define X86_VM_REGIONS_MAX 64  /* a board has a handful; bounds the linear search of a TLB fill */

/* Whether hot code is translated; VERIFY: and what it does is compared with the interpreter. */
enum x86_jit_mode { X86_JIT_OFF, X86_JIT_ON, X86_JIT_VERIFY };

struct err;
struct x86_trace_config; /* trace.h */

struct x86_jit_config {
	enum x86_jit_mode mode;
	unsigned verify_every; /* one in so many blocks; 0: each */
	bool mmu_safe;         /* one address space at a time */
	bool mmu_ranges;       /* translated code looks into range.h before the TLB */
	unsigned threshold;    /* entries of a block before it is translated; 0: as measured */
};

/*
 * One VM. host is borrowed and outlives it. NULL when out of memory. CPUs must be destroyed before the VM.
 */
struct x86_vm *x86_vm_create(unsigned cpu_count, const struct x86_host *host);
void x86_vm_destroy(struct x86_vm *vm);

/* How CPUs that are created from now on execute. Off at first. */
void x86_vm_set_jit(struct x86_vm *vm, const struct x86_jit_config *config);

/* What is traced of CPUs that are created from now on; nothing at first. 0, or -errno with err set. */
int x86_vm_set_trace(struct x86_vm *vm, const struct x86_trace_config *config, struct err *err);

/*
 * Guest memory: [gpa, gpa + size_bytes) is at hva (borrowed), both page-aligned. Writes to a read-only range
 * are ignored. 0, -EINVAL (alignment, overlap), -ENOSPC, -ENOMEM. Only while no CPU runs.
 */
int x86_vm_map(struct x86_vm *vm, uint64_t gpa, uint64_t size_bytes, uint8_t *hva, bool read_only);
int x86_vm_unmap(struct x86_vm *vm, uint64_t gpa);

/* The host wrote guest memory: translations of it are dropped before any CPU's next block. Any thread. */
void x86_vm_written(struct x86_vm *vm, uint64_t gpa, uint64_t len);
/* The A20 gate. Any thread; running CPUs follow at their next block. */
void x86_vm_set_a20(struct x86_vm *vm, bool enabled);

/*
 * A CPU in its reset state: runnable for index 0, else waiting for a SIPI. The leaves are copied; they decide
 * which instructions exist. NULL when out of memory or when the index is taken.
 */
struct x86_cpu *x86_cpu_create(struct x86_vm *vm, unsigned index, const struct x86_cpuid_leaf *leaves,
			       size_t count);
void x86_cpu_destroy(struct x86_cpu *cpu);
/* Lets a new CPU execute instructions of these features, whatever its leaves say. False: no memory. */
bool x86_cpu_make_lenient(struct x86_cpu *cpu, const uint32_t feature[X86_FEATURE_WORDS]);

/* Runs guest code on the calling thread until the caller must decide. */
enum x86_exit x86_cpu_run(struct x86_cpu *cpu);
/* Executes exactly one instruction (or delivers one event); the same exits, KICKED when it simply completed.
 */
enum x86_exit x86_cpu_step(struct x86_cpu *cpu);
/*
 * Delivers what is due and executes about so many blocks, at least one instruction if the CPU is to execute
 * any; the same exits, KICKED when that is done.
 */
enum x86_exit x86_cpu_run_blocks(struct x86_cpu *cpu, unsigned count);
/* Sleeps while the CPU is halted, shut down or waits for a SIPI and nothing in `attention` wakes it. */
void x86_cpu_wait(struct x86_cpu *cpu);
/* Sets ATTENTION_* bits and wakes the CPU. Any thread; async-signal-safe; no wake-up is lost. */
void x86_cpu_post(struct x86_cpu *cpu, uint32_t attention);
/* Clears bits, e.g. ATTENTION_INTR when the pin falls. Any thread. */
void x86_cpu_unpost(struct x86_cpu *cpu, uint32_t attention);
/* Start-up IPI: remembered while the CPU waits for one. Any thread. */
void x86_cpu_startup(struct x86_cpu *cpu, uint8_t vector);

/* Takes NMI, SMI, INIT and SIPI that the CPU has not; returns their ATTENTION_* bits, and INTR's, which
 * stays. Only while it does not run. */
uint32_t x86_cpu_take_requests(struct x86_cpu *cpu, uint8_t *sipi_vector);

/* The guest's TSC counts at this rate: the host's TSC where that is constant and never stops, else
 * nanoseconds. */
uint64_t x86_tsc_hz(void);
/* When (CLOCK_MONOTONIC ns) the CPU's TSC reaches tsc; now, when it has. Any thread. */
uint64_t x86_tsc_to_monotonic_ns(struct x86_cpu *cpu, uint64_t tsc);
bool x86_tsc_is_native(void);

/* The guest's clocks at one moment, and the host's two that they are made from. */
struct x86_clock_point {
	uint64_t monotonic_ns; /* CLOCK_MONOTONIC */
	uint64_t host_tsc;     /* the host's counter; 0: it has none */
	uint64_t tsc;          /* of this CPU */
	uint64_t pvclock_ns;   /* of the VM */
};
/* While the CPU does not run. set: its TSC goes on from the point; with pvclock, and no CPU running, so does
 * the VM's paravirtual clock, and the guest's page is written anew. */
void x86_clock_get(struct x86_cpu *cpu, struct x86_clock_point *point);
void x86_clock_set(struct x86_cpu *cpu, const struct x86_clock_point *point, bool pvclock);
/* Everything that was translated or cached of guest memory may be wrong: somebody else ran the guest. While
 * no CPU runs. */
void x86_vm_forget_memory(struct x86_vm *vm);

/*
 * Which pages the CPUs write. start: none is written yet; 0 or -ENOMEM. fetch: fn for each piece written
 * since start or the last fetch; what was mapped meanwhile counts as written. All of them only while no CPU
 * runs.
 */
typedef void x86_written_fn(void *opaque, uint64_t gpa, uint64_t size_bytes);
int x86_vm_log_start(struct x86_vm *vm);
void x86_vm_log_fetch(struct x86_vm *vm, x86_written_fn *fn, void *opaque);
void x86_vm_log_stop(struct x86_vm *vm);

/* What the engine counted, for metrics: names and values, at most count; returns how many there are. */
size_t x86_vm_counters(const struct x86_vm *vm, const char **names, uint64_t *values, size_t count);
