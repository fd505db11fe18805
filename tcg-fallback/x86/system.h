/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the CPU's system behaviour share: questions about the mode, events on their way through
 * the IDT, setters of control state, task switches, MSRs, CPUID, I/O permission, debug traps. Intel SDM vol.
 * 3, chapters 2-8.
 */
#pragma once

#include "tcg-fallback/x86/cpu.h"
#include "tcg-fallback/x86/insn.h"

/* Every flag that exists. */
#define X86_FLAGS_ALL                                                                                        \
	(FLAGS_STATUS | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC |    \
	 FLAG_VIF | FLAG_VIP | FLAG_ID)

/* Questions about the mode. */
static inline bool x86_is_real(const struct x86_cpu *cpu)
{
	return !(cpu->cr0 & CR0_PE);
}

static inline bool x86_is_v86(const struct x86_cpu *cpu)
{
	return cpu->eflags & FLAG_VM;
}

/* Protected mode or long mode: selectors name descriptors. */
static inline bool x86_is_protected(const struct x86_cpu *cpu)
{
	return (cpu->cr0 & CR0_PE) && !(cpu->eflags & FLAG_VM);
}

static inline bool x86_is_64bit(const struct x86_cpu *cpu)
{
	return cpu->mode_bits == 64;
}

static inline unsigned x86_iopl(const struct x86_cpu *cpu)
{
	return cpu->eflags >> 12 & 3;
}

static inline bool x86_sign_extends(uint64_t linear, unsigned bits)
{
	unsigned shift = 64 - bits;

	return (uint64_t)((int64_t)(linear << shift) >> shift) == linear;
}

/* Canonical as the present paging mode sees it: targets of transfers, stack pointers. */
static inline bool x86_is_canonical(const struct x86_cpu *cpu, uint64_t linear)
{
	return x86_sign_extends(linear, cpu->cr4 & CR4_LA57 ? 57 : 48);
}

/* Canonical for this CPU's widest linear address: base registers and MSRs, which do not look at CR4.LA57. */
static inline bool x86_is_canonical_base(const struct x86_cpu *cpu, uint64_t linear)
{
	return x86_sign_extends(linear, x86_has(cpu, X86_FEATURE_LA57) ? 57 : 48);
}

/* A register operand of 1 (low byte), 2, 4 or 8 bytes; 4 clears the upper half. */
static inline void x86_gpr_set(struct x86_cpu *cpu, unsigned reg, uint64_t value, unsigned size_bytes)
{
	switch (size_bytes) {
	case 1: cpu->r[reg] = (cpu->r[reg] & ~0xffull) | (value & 0xff); break;
	case 2: cpu->r[reg] = (cpu->r[reg] & ~0xffffull) | (value & 0xffff); break;
	case 4: cpu->r[reg] = (uint32_t)value; break;
	default: cpu->r[reg] = value; break;
	}
}

static inline uint64_t x86_size_mask(unsigned size_bytes)
{
	return size_bytes >= 8 ? ~0ull : (1ull << (size_bytes * 8)) - 1;
}

/* Address after the present instruction, cut to the width of the code segment. */
static inline uint64_t x86_next_rip(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t next = cpu->rip + in->len;

	return x86_is_64bit(cpu) ? next : cpu->mode_bits == 32 ? (uint32_t)next : (uint16_t)next;
}

/* Events. */
enum x86_event_kind {
	X86_EVENT_EXTERNAL,  /* interrupt or NMI */
	X86_EVENT_EXCEPTION, /* found by the CPU; INT1 counts as one */
	X86_EVENT_SOFTWARE,  /* INT n, INT3, INTO */
};

struct x86_event {
	uint8_t vector;
	enum x86_event_kind kind;
	bool has_code;
	uint32_t code;
	uint64_t return_rip; /* pushed */
	uint32_t flags;      /* pushed */
};

/* The EXT bit of error codes that are raised while this event is delivered. */
static inline uint32_t x86_event_ext(const struct x86_event *event)
{
	return event->kind != X86_EVENT_SOFTWARE;
}

/* Carries the event through the IDT. Raises (state untouched) when that faults. gate.c */
void x86_event_deliver(struct x86_cpu *cpu, const struct x86_event *event);
/* As above through real mode's vector table: real mode, and virtual-8086 with VME. gate.c */
void x86_event_deliver_real(struct x86_cpu *cpu, const struct x86_event *event, uint64_t table,
			    uint32_t limit);
/* #DB with these DR6 bits. exception.c */
_Noreturn void x86_raise_db(struct x86_cpu *cpu, uint64_t dr6_bits);
/* Delivers a #DB trap (the instruction is complete) with these DR6 bits. exception.c */
void x86_deliver_db_trap(struct x86_cpu *cpu, uint64_t dr6_bits);

/* Task switches. task.c */
enum x86_task_source { X86_TASK_JMP, X86_TASK_CALL, X86_TASK_IRET, X86_TASK_EVENT };

struct x86_task_switch {
	enum x86_task_source source;
	uint16_t selector;             /* of the new TSS */
	uint32_t ext;                  /* EXT bit of error codes */
	uint64_t return_rip;           /* saved in the old TSS */
	uint32_t flags;                /* saved in the old TSS */
	const struct x86_event *event; /* X86_TASK_EVENT: its error code is pushed in the new task */
};

/* Switches; the TSS descriptor's own checks (type, DPL, present) are made here, by source. */
void x86_task_switch(struct x86_cpu *cpu, const struct x86_task_switch *task);
/* IRET with NT set: to the task named by the back link. */
void x86_task_return(struct x86_cpu *cpu, uint64_t return_rip);

/* Control registers: all checks, all effects. control.c, xcr.c */
void x86_cr0_write(struct x86_cpu *cpu, uint64_t value);
void x86_cr3_write(struct x86_cpu *cpu, uint64_t value);
void x86_cr4_write(struct x86_cpu *cpu, uint64_t value);
void x86_xcr0_write(struct x86_cpu *cpu, uint64_t value);
/* PAE: reads the four PDPTEs at CR3; false when one has reserved bits set. */
bool x86_pdptrs_read(struct x86_cpu *cpu, uint64_t cr3, uint64_t pdptr[4]);

/* MSRs: false is #GP(0). msr.c */
bool x86_msr_read(struct x86_cpu *cpu, uint32_t index, uint64_t *value);
bool x86_msr_write(struct x86_cpu *cpu, uint32_t index, uint64_t value);
/* Indices of the MSRs that a saved state keeps, in order; returns how many there are. msr.c */
size_t x86_msr_saved(const struct x86_cpu *cpu, uint32_t *index, size_t count);
/* Stores an MSR of a saved state without a guest's checks; false when this CPU has none of that index. msr.c
 */
bool x86_msr_restore(struct x86_cpu *cpu, uint32_t index, uint64_t value);

/* KVM's paravirtual clock, when CPUID offers it: the pages that tell a guest the time. core/pvclock.c */
bool x86_pvclock_offered(const struct x86_cpu *cpu);
void x86_pvclock_write_time(struct x86_cpu *cpu); /* the CPU is running */
void x86_pvclock_write_wall(struct x86_cpu *cpu);

/* CPUID with its dynamic bits. cpuid.c */
void x86_cpuid_query(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
bool x86_vendor_is_intel(const struct x86_cpu *cpu);
/* Family, model and stepping, as leaf 1 has them in EAX. */
uint32_t x86_cpuid_signature(const struct x86_cpu *cpu);

/* Raises #GP(0) unless port..port+size-1 may be used now. io.c */
void x86_io_check(struct x86_cpu *cpu, uint16_t port, unsigned size_bytes);

/* Debug, called by the run loop while cpu->debug_active. debug.c */
void x86_debug_before(struct x86_cpu *cpu);
void x86_debug_after(struct x86_cpu *cpu, bool tf_at_start);
void x86_debug_data(struct x86_cpu *cpu, uint64_t linear, unsigned len, bool write);
/* I/O breakpoints at port. debug.c */
void x86_debug_io(struct x86_cpu *cpu, uint16_t port, unsigned size_bytes);
