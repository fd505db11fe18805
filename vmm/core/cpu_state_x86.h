/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The neutral and complete state of an x86 CPU: boot entry, snapshot, gdb, monitor and the hand-over of a
 * vCPU from one accelerator to another all use it. Field names and encodings are those of the Intel SDM (vol.
 * 3, chapters 2, 3 and 11).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum x86_segment_index {
	X86_ES,
	X86_CS,
	X86_SS,
	X86_DS,
	X86_FS,
	X86_GS,
	X86_LDTR,
	X86_TR,
	X86_SEGMENT_COUNT
};
enum x86_gpr_index {
	X86_RAX,
	X86_RCX,
	X86_RDX,
	X86_RBX,
	X86_RSP,
	X86_RBP,
	X86_RSI,
	X86_RDI,
	X86_R8,
	X86_R9,
	X86_R10,
	X86_R11,
	X86_R12,
	X86_R13,
	X86_R14,
	X86_R15,
	X86_GPR_COUNT
};

struct x86_segment_state {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity applied */
	uint16_t selector;
	uint16_t attributes; /* descriptor bits 40-47 in bits 0-7 (type, S, DPL, P), 52-55 in bits 12-15 (AVL,
			      * L, D/B, G); bit 8 set: unusable (null selector) */
};
#define X86_SEGMENT_UNUSABLE 0x100

struct x86_table_state {
	uint64_t base;
	uint16_t limit;
};

#define X86_XSAVE_SIZE_MAX 4096 /* standard (non-compacted) format up to AVX-512 and PKRU */

struct x86_msr_state {
	uint32_t index;
	uint64_t value;
};
#define X86_STATE_MSR_MAX 96 /* every MSR that either accelerator keeps for a guest */

/*
 * An event that was on its way into the CPU: an exception, with CR2 and DR6 as they are in the state, or an
 * interrupt that was acknowledged. Software events (INT n, INT3, INTO) are no such events: RIP is that of
 * their instruction, which is executed again. Intel SDM vol. 3, 26.6.
 */
struct x86_event_state {
	bool injected; /* delivery has begun and must be done again */
	uint8_t vector;
	bool is_interrupt; /* external, against exception */
	bool is_software;  /* not in a state that an accelerator gives; one that names it is not delivered */
	bool has_error_code;
	uint32_t error_code;
	uint8_t instruction_length; /* for software events */
};

enum x86_mp_state { X86_MP_RUNNABLE, X86_MP_WAIT_FOR_SIPI, X86_MP_HALTED, X86_MP_SHUTDOWN };

struct x86_cpu_state {
	uint64_t gpr[X86_GPR_COUNT];
	uint64_t rip;
	uint64_t rflags;
	struct x86_segment_state segment[X86_SEGMENT_COUNT];
	struct x86_table_state gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer;
	uint64_t dr[8]; /* 4 and 5 unused */
	uint64_t xcr0;
	uint8_t xsave[X86_XSAVE_SIZE_MAX]
		__attribute__((aligned(64)));        /* standard format, XSTATE_BV truthful */
	struct x86_msr_state msr[X86_STATE_MSR_MAX]; /* MSRs not named above: SYSENTER, STAR.., PAT, MTRRs,
							TSC, ... An accelerator keeps also those that it does
							not have, and gives them back unchanged */
	uint32_t msr_count;
	struct x86_event_state event;
	bool nmi_pending, nmi_masked;
	bool interrupt_shadow;  /* STI or MOV SS just executed */
	uint64_t pending_debug; /* DR6 bits of debug traps that wait for the end of a MOV SS's shadow */
	bool smm;
	enum x86_mp_state mp_state;
	uint8_t sipi_vector; /* valid when a start-up is on its way */
};

#define X86_STATE_MSR_TSC 0x10

/* Takes an MSR out of the state: whoever loads it keeps what it has. */
static inline void x86_cpu_state_drop_msr(struct x86_cpu_state *state, uint32_t index)
{
	for (uint32_t i = 0; i < state->msr_count; i++) {
		if (state->msr[i].index == index) {
			state->msr[i] = state->msr[--state->msr_count];
			return;
		}
	}
}
