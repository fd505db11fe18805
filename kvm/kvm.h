/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM accelerator as its own files see it: kvm.c is the table of operations, kvm_probe.c opens the
 * device, kvm_calibrate.c judges it, kvm_cpuid.c says what it can execute, kvm_memory.c maps guest memory,
 * kvm_dirty.c watches it, kvm_vcpu.c and kvm_run.c run, kvm_exit.c answers, kvm_coalesced.c catches up with
 * late writes, kvm_state.c and kvm_msr.c move the state, kvm_reset.c does what INIT and SIPI do. KVM's own
 * interrupt controllers are in kvm_irqchip.c, their state in kvm_chips.c and kvm_lapic.c, eventfds in
 * kvm_eventfd.c. None of them knows a device or the other accelerator. Interface: the kernel's
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

#define KVM_PAGE_SIZE 4096u
#define KVM_SLOTS_MAX                                                                                        \
	128 /* memory regions of one machine, some cut in three: a board has a handful, hot-added memory     \
	       some more */

#define KVM_IOAPIC_GPA         0xfec00000u /* where KVM has its own, and no one else */
#define KVM_IOAPIC_PINS_COUNT  24u
#define KVM_IRQFDS_MAX         1024                  /* 32 devices of 32 vectors */
#define KVM_ROUTES_MAX         (24 + KVM_IRQFDS_MAX) /* GSIs: KVM has 4096 */
#define KVM_LAPIC_TIMER_HZ     1000000000ull         /* KVM's local APICs count nanoseconds */
#define KVM_COALESCED_MAX      16                    /* ranges: a board has a handful */
#define KVM_DIRTY_RING_ENTRIES 4096u                 /* a power of two; 16 bytes each */

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
	KVM_COUNTER_COALESCED,
	KVM_COUNTER_EOI,
	KVM_COUNTER_RING_FULL,
	KVM_COUNTER_COUNT,
};

/* What was logged once: this host's KVM lacks something, and something else does its work. */
enum kvm_said {
	KVM_SAID_IOEVENTFD = 1 << 0,
	KVM_SAID_IRQFD = 1 << 1,
	KVM_SAID_COALESCED = 1 << 2,
	KVM_SAID_READ_ONLY = 1 << 3,
	KVM_SAID_DIRTY_RING = 1 << 4,
	KVM_SAID_ROUTES = 1 << 5,
	KVM_SAID_BUS_LOCK = 1 << 6,
};

struct kvm_slot {
	bool used;
	bool read_only;
	uint64_t region_gpa; /* of the gmem region that it is, or is a part of */
	uint64_t gpa;
	uint64_t size_bytes;
	uint8_t *hva;
	/* While written pages are logged: a bit a page, and behind them as many that KVM fills in; owned. */
	uint64_t *dirty;
};

/* A GSI whose interrupt is a message. */
struct kvm_route {
	bool used;
	uint32_t data;
	uint64_t address;
	uint64_t entry; /* the redirection entry that it was made from, if from one */
};

struct kvm_irqfd_slot {
	bool used, is_msi;
	int fd, resample_fd;
	uint32_t gsi;
};

struct accel_vm {
	int kvm_fd, vm_fd;                   /* owned */
	const struct accel_host *host;       /* borrowed */
	size_t run_size_bytes;               /* mapping of struct kvm_run and what follows it */
	struct kvm_slot slot[KVM_SLOTS_MAX]; /* by slot number */
	bool is_shadowed;                    /* KVM holds copies of the guest's page tables */
	bool exits_on_failure;               /* an instruction that KVM cannot emulate leaves no #UD behind */
	unsigned cpu_count;
	struct accel_vcpu **vcpu; /* cpu_count of them, NULL before they are made; owned by their creator */
	enum accel_irqchip irqchip;
	_Atomic uint32_t said; /* enum kvm_said */

	bool has_ioeventfd, has_ioeventfd_any_size, has_irqfd, has_irqfd_resample, has_read_only;
	struct kvm_irqfd_slot irqfd[KVM_IRQFDS_MAX]; /* by handle; who adds and removes */
	pthread_mutex_t route_lock;                  /* guards the routes; a leaf */
	struct kvm_route route[KVM_ROUTES_MAX];      /* by GSI */
	uint64_t pit_lost_ns; /* parts of the PIT's periods that its state's loading has cost so far */

	size_t coalesced_page; /* of the ring, from the beginning of a vCPU's mapping; 0: there is none */
	bool has_coalesced_pio;
	struct accel_coalesced
		coalesced[KVM_COALESCED_MAX]; /* those that KVM knows; who starts the machine */
	unsigned coalesced_count;
	pthread_mutex_t coalesced_lock; /* held while late writes are carried out: outside the board lock */

	pthread_mutex_t dirty_lock; /* guards the slots and their logs; a leaf */
	bool dirty_logging, has_dirty_ring, has_manual_dirty;

	pthread_mutex_t msr_lock; /* a leaf; the MSRs are found by the first vCPU */
	bool msr_known;
	uint32_t msr_index[X86_STATE_MSR_MAX]; /* MSRs of the saved state, those that this host has */
	uint32_t msr_count;
	size_t xsave_size_bytes; /* of KVM_GET_XSAVE2, 0: there is only KVM_GET_XSAVE */
};

struct accel_vcpu {
	struct accel_vm *vm;
	unsigned index;
	int fd;              /* owned */
	struct kvm_run *run; /* mapping, owned */
	uint64_t tsc_hz;     /* rate of the guest's TSC */
	uint32_t signature;  /* CPUID leaf 1 EAX, which RDX holds after reset and INIT */
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

	uint32_t timer_initial_kept;      /* of a one-shot count that has run out, which KVM must not see */
	struct kvm_dirty_gfn *dirty_ring; /* mapping, owned; NULL: none. The VM's dirty lock guards it */
	uint32_t dirty_ring_next;

	_Atomic uint64_t counter[KVM_COUNTER_COUNT];
};

/* Whether the local APICs are KVM's. */
static inline bool kvm_has_lapic(const struct accel_vm *vm)
{
	return vm->irqchip != ACCEL_IRQCHIP_OFF;
}

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

/* kvm.c: one log line for each of enum kvm_said. */
void kvm_say_once(struct accel_vm *vm, enum kvm_said what, const char *text);

/* kvm_irqchip.c; see accel_ops. */
unsigned kvm_irqchips(void);
int kvm_irqchip_create(struct accel_vm *vm, struct err *err);
void kvm_irq_line(struct accel_vm *vm, unsigned gsi, bool level);
void kvm_msi_send(struct accel_vm *vm, uint64_t address, uint32_t data);
void kvm_ioapic_route(struct accel_vm *vm, unsigned pin, uint64_t entry);
/* A GSI of one's own for a message: its number, or -errno. */
int kvm_route_add(struct accel_vm *vm, uint64_t address, uint32_t data, struct err *err);
int kvm_route_change(struct accel_vm *vm, unsigned gsi, uint64_t address, uint32_t data, struct err *err);
void kvm_route_remove(struct accel_vm *vm, unsigned gsi);

/* kvm_chips.c, kvm_lapic.c; see accel_ops. */
int kvm_chips_save(struct accel_vm *vm, struct irqchip_state *state, struct err *err);
int kvm_chips_load(struct accel_vm *vm, const struct irqchip_state *state, struct err *err);
int kvm_lapic_save(struct accel_vcpu *vcpu, struct lapic_state *state, struct err *err);
int kvm_lapic_load(struct accel_vcpu *vcpu, const struct lapic_state *state, struct err *err);

/* kvm_eventfd.c; see accel_ops. */
void kvm_eventfd_probe(struct accel_vm *vm);
int kvm_ioeventfd_add(struct accel_vm *vm, enum accel_bus bus, const struct bus_doorbell *doorbell,
		      struct err *err);
void kvm_ioeventfd_remove(struct accel_vm *vm, enum accel_bus bus, const struct bus_doorbell *doorbell);
int kvm_irqfd_add(struct accel_vm *vm, const struct irqfd_config *config, unsigned *handle, struct err *err);
int kvm_irqfd_update(struct accel_vm *vm, unsigned handle, uint64_t msi_address, uint32_t msi_data,
		     struct err *err);
void kvm_irqfd_remove(struct accel_vm *vm, unsigned handle);

/* kvm_coalesced.c: drain carries out what is late, on a vCPU's thread after its exit. */
void kvm_coalesced_probe(struct accel_vm *vm);
int kvm_coalesce(struct accel_vm *vm, const struct accel_coalesced *range, struct err *err);
void kvm_coalesced_drain(struct accel_vcpu *vcpu);

/* kvm_dirty.c; start, fetch and stop as in accel_ops. */
void kvm_dirty_prepare(struct accel_vm *vm, bool want_ring);
int kvm_dirty_map_ring(struct accel_vcpu *vcpu, struct err *err);
void kvm_dirty_unmap_ring(struct accel_vcpu *vcpu);
/* KVM_EXIT_DIRTY_RING_FULL: makes room. */
int kvm_dirty_ring_full(struct accel_vm *vm, struct err *err);
int kvm_dirty_start(struct accel_vm *vm, struct err *err);
int kvm_dirty_fetch(struct accel_vm *vm, accel_dirty_fn *fn, void *opaque, struct err *err);
void kvm_dirty_stop(struct accel_vm *vm);
/* Gives a slot its log; all: every page counts as written. The caller applies the slot. */
int kvm_dirty_slot_start(struct kvm_slot *slot, bool all, struct err *err);

/* kvm_memory.c */
int kvm_mem_map(struct accel_vm *vm, const struct gmem_region *region, struct err *err);
int kvm_mem_unmap(struct accel_vm *vm, uint64_t gpa, struct err *err);
int kvm_mem_protect(struct accel_vm *vm, uint64_t gpa, uint64_t size_bytes, bool read_only, struct err *err);
/* The guest's page tables may have changed behind KVM's back: drops what it made of them, if it makes any. */
int kvm_mem_forget(struct accel_vm *vm, struct err *err);
bool kvm_mem_is_shadowed(const struct accel_vm *vm);
bool kvm_mem_find_shadows(void);
/* Tells KVM the slot as it stands. The dirty lock is held. */
int kvm_slot_apply(struct accel_vm *vm, const struct kvm_slot *slot, struct err *err);

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
/* Enters KVM with a signal waiting: what is due at an entry is done, and the guest does not run. Parked. */
void kvm_vcpu_turn_back(struct accel_vcpu *vcpu);
/* Makes the kicking signal end KVM_RUN instead of the process. Once a process is enough, more often does no
 * harm. */
int kvm_kick_signal_prepare(struct err *err);
/* Sends it. Async-signal-safe. */
void kvm_kick_signal_send(pid_t thread_id);

/* kvm_exit.c: answers the exit in vcpu->run. True: run on. False: *why says what the machine must decide. */
bool kvm_exit_handle(struct accel_vcpu *vcpu, enum accel_exit *why, struct err *err);
/* KVM_RUN has failed with this code: says how. */
void kvm_exit_error(const struct accel_vcpu *vcpu, int code, struct err *err);

/* kvm_state.c: all but CR8's way to the local APIC, and the start-up vector, which its sender may write
 * meanwhile. */
int kvm_state_save(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err);
int kvm_state_load(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err);
/* Whether the CPU runs, is halted, or waits for its start-up. */
enum x86_mp_state kvm_state_activity(struct accel_vcpu *vcpu);
/* Gives KVM the local APIC's base, from which it derives CPUID's APIC bit. */
int kvm_state_set_apic_base(struct accel_vcpu *vcpu, uint64_t apic_base, struct err *err);

/* kvm_msr.c */
int kvm_msr_find(struct accel_vcpu *vcpu, struct err *err);
int kvm_msr_save(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err);
int kvm_msr_load(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err);
bool kvm_msr_get(struct accel_vcpu *vcpu, uint32_t index, uint64_t *value);
int kvm_msr_set(struct accel_vcpu *vcpu, uint32_t index, uint64_t value, struct err *err);

/* kvm_reset.c */
int kvm_reset(struct accel_vcpu *vcpu, struct err *err);
int kvm_reset_startup(struct accel_vcpu *vcpu, uint8_t vector, struct err *err);
