/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What RESET, INIT and start-up IPIs do to a CPU's registers. KVM would do this by itself only with its own
 * local APIC. Intel SDM vol. 3, table 10-1 and 9.4.
 */
#include <string.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

#define RESET_RIP       0xfff0
#define RESET_CS        0xf000
#define RESET_CS_BASE   0xffff0000u
#define RESET_RFLAGS    0x2
#define RESET_DR6       0xffff0ff0u
#define RESET_DR7       0x400
#define CR0_ET          (1u << 4)
#define CR0_CACHE_BITS  (3u << 29) /* CD and NW, which INIT leaves */
#define ATTRIBUTES_DATA 0x93
#define ATTRIBUTES_CODE 0x9b
#define ATTRIBUTES_LDT  0x82
#define ATTRIBUTES_TSS  0x8b

static void kvm_reset_segments(struct x86_cpu_state *state)
{
	for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
		state->segment[i] =
			(struct x86_segment_state){.limit = 0xffff, .attributes = ATTRIBUTES_DATA};
	state->segment[X86_CS].base = RESET_CS_BASE;
	state->segment[X86_CS].selector = RESET_CS;
	state->segment[X86_CS].attributes = ATTRIBUTES_CODE;
	state->segment[X86_LDTR].attributes = ATTRIBUTES_LDT;
	state->segment[X86_TR].attributes = ATTRIBUTES_TSS;
	state->gdtr = state->idtr = (struct x86_table_state){.base = 0, .limit = 0xffff};
}

/* What RESET and INIT have in common; the rest of the state stays as it is. */
static void kvm_reset_registers(const struct accel_vcpu *vcpu, struct x86_cpu_state *state)
{
	memset(state->gpr, 0, sizeof(state->gpr));
	state->gpr[X86_RDX] = vcpu->signature;
	state->rip = RESET_RIP;
	state->rflags = RESET_RFLAGS;
	kvm_reset_segments(state);
	state->cr0 = CR0_ET | (state->cr0 & CR0_CACHE_BITS);
	state->cr2 = state->cr3 = state->cr4 = state->cr8 = state->efer = 0;
	memset(state->dr, 0, sizeof(state->dr));
	state->dr[6] = RESET_DR6;
	state->dr[7] = RESET_DR7;
	memset(&state->event, 0, sizeof(state->event));
	state->nmi_pending = state->nmi_masked = state->interrupt_shadow = state->smm = false;
	/* Only CPU 0 is the bootstrap processor, which begins at the reset vector. */
	state->mp_state = vcpu->index == 0 ? X86_MP_RUNNABLE : X86_MP_WAIT_FOR_SIPI;
}

int kvm_reset(struct accel_vcpu *vcpu, struct err *err)
{
	struct x86_cpu_state state;
	int code = kvm_state_save(vcpu, &state, err);

	if (code < 0)
		return code;
	kvm_reset_registers(vcpu, &state);
	return kvm_state_load(vcpu, &state, err);
}

int kvm_reset_startup(struct accel_vcpu *vcpu, uint8_t vector, struct err *err)
{
	struct x86_cpu_state state;
	int code = kvm_state_save(vcpu, &state, err);

	if (code < 0)
		return code;
	state.segment[X86_CS].selector = (uint16_t)(vector << 8);
	state.segment[X86_CS].base = (uint64_t)vector << 12;
	state.rip = 0;
	state.mp_state = X86_MP_RUNNABLE;
	return kvm_state_load(vcpu, &state, err);
}
