/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's registers to and from the neutral state. KVM's structures are those of
 * arch/x86/include/uapi/asm/kvm.h; MSRs are in kvm_msr.c. The vCPU is parked and no access of its is half
 * done.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

_Static_assert(sizeof(((struct kvm_xsave *)0)->region) == X86_XSAVE_SIZE_MAX,
	       "both hold the standard format");

/* Everything that KVM knows of a vCPU but its MSRs. */
struct kvm_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	struct kvm_xcrs xcrs;
	struct kvm_mp_state mp;
	struct kvm_xsave xsave;
};

#define XSTATE_BV_OFFSET 512          /* in the XSAVE area: which components are in it */
#define XSTATE_AMX       (3ull << 17) /* lie beyond the 4 KiB; no model offers them */

/* A host with AMX has larger areas; what the guest can have lies in the first 4 KiB. */
static int kvm_xsave_read(struct accel_vcpu *vcpu, struct kvm_xsave *xsave, struct err *err)
{
	size_t size_bytes = vcpu->vm->xsave_size_bytes;
	struct kvm_xsave *large;
	uint64_t components;
	int code = 0;

	if (size_bytes <= sizeof(*xsave)) {
		if (ioctl(vcpu->fd, KVM_GET_XSAVE, xsave) < 0)
			return err_set_errno(err, -errno, "kvm: KVM_GET_XSAVE");
		return 0;
	}
	large = calloc(1, size_bytes);
	if (!large)
		return err_set(err, -ENOMEM, "kvm: no memory for the XSAVE area");
	if (ioctl(vcpu->fd, KVM_GET_XSAVE2, large) < 0)
		code = err_set_errno(err, -errno, "kvm: KVM_GET_XSAVE2");
	memcpy(&components, (const char *)large + XSTATE_BV_OFFSET, sizeof(components));
	if (code == 0 && (components & XSTATE_AMX))
		code = err_set(err, -ENOTSUP, "kvm: the guest uses AMX, which the state does not hold");
	memcpy(xsave, large, sizeof(*xsave));
	free(large);
	return code;
}

/* With KVM's own local APIC, KVM knows whether the CPU is halted or waits; else we do. */
static enum x86_mp_state kvm_mp_save(const struct kvm_mp_state *mp)
{
	switch (mp->mp_state) {
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD: return X86_MP_HALTED;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED: return X86_MP_WAIT_FOR_SIPI;
	default: return X86_MP_RUNNABLE;
	}
}

static struct kvm_mp_state kvm_mp_load(enum x86_mp_state state)
{
	switch (state) {
	case X86_MP_HALTED: return (struct kvm_mp_state){KVM_MP_STATE_HALTED};
	case X86_MP_WAIT_FOR_SIPI: return (struct kvm_mp_state){KVM_MP_STATE_INIT_RECEIVED};
	case X86_MP_RUNNABLE:
	case X86_MP_SHUTDOWN: break;
	}
	return (struct kvm_mp_state){KVM_MP_STATE_RUNNABLE};
}

static int kvm_state_read(struct accel_vcpu *vcpu, struct kvm_state *state, struct err *err)
{
	/* First of all: it carries out an INIT or start-up that waits, which changes the registers. */
	if (kvm_has_lapic(vcpu->vm) && ioctl(vcpu->fd, KVM_GET_MP_STATE, &state->mp) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_MP_STATE");
	if (ioctl(vcpu->fd, KVM_GET_REGS, &state->regs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_REGS");
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &state->sregs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_SREGS");
	if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &state->debug) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_DEBUGREGS");
	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &state->events) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_VCPU_EVENTS");
	/* A host without XSAVE has no XCR0 to read. */
	if (ioctl(vcpu->fd, KVM_GET_XCRS, &state->xcrs) < 0)
		state->xcrs = (struct kvm_xcrs){.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = 1}};
	return kvm_xsave_read(vcpu, &state->xsave, err);
}

/* SREGS before XCRS (CR4.OSXSAVE), XCRS before XSAVE, events last: each would disturb what follows it here.
 */
static int kvm_state_write(struct accel_vcpu *vcpu, struct kvm_state *state, struct err *err)
{
	if (ioctl(vcpu->fd, KVM_SET_REGS, &state->regs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_REGS");
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &state->sregs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_SREGS");
	if (ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &state->debug) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_DEBUGREGS");
	if (ioctl(vcpu->fd, KVM_SET_XCRS, &state->xcrs) < 0 && state->xcrs.xcrs[0].value != 1)
		return err_set_errno(err, -errno, "kvm: KVM_SET_XCRS");
	if (ioctl(vcpu->fd, KVM_SET_XSAVE, &state->xsave) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_XSAVE");
	return 0;
}

static struct x86_segment_state kvm_segment_save(const struct kvm_segment *segment)
{
	unsigned low = segment->type | segment->s << 4 | segment->dpl << 5 | segment->present << 7;
	unsigned high = segment->avl << 12 | segment->l << 13 | segment->db << 14 | segment->g << 15;

	return (struct x86_segment_state){
		.base = segment->base,
		.limit = segment->limit,
		.selector = segment->selector,
		.attributes = (uint16_t)(low | high | (segment->unusable ? X86_SEGMENT_UNUSABLE : 0)),
	};
}

/* An unusable segment that says "present" would be usable on AMD hosts, which have only that bit. */
static struct kvm_segment kvm_segment_load(const struct x86_segment_state *state)
{
	unsigned attributes = state->attributes;
	bool unusable = attributes & X86_SEGMENT_UNUSABLE;

	return (struct kvm_segment){
		.base = state->base,
		.limit = state->limit,
		.selector = state->selector,
		.type = attributes & 15,
		.s = attributes >> 4 & 1,
		.dpl = attributes >> 5 & 3,
		.present = unusable ? 0 : attributes >> 7 & 1,
		.avl = attributes >> 12 & 1,
		.l = attributes >> 13 & 1,
		.db = attributes >> 14 & 1,
		.g = attributes >> 15 & 1,
		.unusable = unusable,
	};
}

static void kvm_segments_save(const struct kvm_sregs *sregs, struct x86_cpu_state *state)
{
	state->segment[X86_ES] = kvm_segment_save(&sregs->es);
	state->segment[X86_CS] = kvm_segment_save(&sregs->cs);
	state->segment[X86_SS] = kvm_segment_save(&sregs->ss);
	state->segment[X86_DS] = kvm_segment_save(&sregs->ds);
	state->segment[X86_FS] = kvm_segment_save(&sregs->fs);
	state->segment[X86_GS] = kvm_segment_save(&sregs->gs);
	state->segment[X86_LDTR] = kvm_segment_save(&sregs->ldt);
	state->segment[X86_TR] = kvm_segment_save(&sregs->tr);
	state->gdtr = (struct x86_table_state){.base = sregs->gdt.base, .limit = sregs->gdt.limit};
	state->idtr = (struct x86_table_state){.base = sregs->idt.base, .limit = sregs->idt.limit};
}

static void kvm_segments_load(const struct x86_cpu_state *state, struct kvm_sregs *sregs)
{
	sregs->es = kvm_segment_load(&state->segment[X86_ES]);
	sregs->cs = kvm_segment_load(&state->segment[X86_CS]);
	sregs->ss = kvm_segment_load(&state->segment[X86_SS]);
	sregs->ds = kvm_segment_load(&state->segment[X86_DS]);
	sregs->fs = kvm_segment_load(&state->segment[X86_FS]);
	sregs->gs = kvm_segment_load(&state->segment[X86_GS]);
	sregs->ldt = kvm_segment_load(&state->segment[X86_LDTR]);
	sregs->tr = kvm_segment_load(&state->segment[X86_TR]);
	sregs->gdt = (struct kvm_dtable){.base = state->gdtr.base, .limit = state->gdtr.limit};
	sregs->idt = (struct kvm_dtable){.base = state->idtr.base, .limit = state->idtr.limit};
}

static void kvm_gprs_save(const struct kvm_regs *regs, struct x86_cpu_state *state)
{
	const uint64_t gpr[X86_GPR_COUNT] = {
		regs->rax, regs->rcx, regs->rdx, regs->rbx, regs->rsp, regs->rbp, regs->rsi, regs->rdi,
		regs->r8,  regs->r9,  regs->r10, regs->r11, regs->r12, regs->r13, regs->r14, regs->r15,
	};

	memcpy(state->gpr, gpr, sizeof(gpr));
	state->rip = regs->rip;
	state->rflags = regs->rflags;
}

static struct kvm_regs kvm_gprs_load(const struct x86_cpu_state *state)
{
	const uint64_t *gpr = state->gpr;

	return (struct kvm_regs){
		.rax = gpr[X86_RAX],
		.rcx = gpr[X86_RCX],
		.rdx = gpr[X86_RDX],
		.rbx = gpr[X86_RBX],
		.rsp = gpr[X86_RSP],
		.rbp = gpr[X86_RBP],
		.rsi = gpr[X86_RSI],
		.rdi = gpr[X86_RDI],
		.r8 = gpr[X86_R8],
		.r9 = gpr[X86_R9],
		.r10 = gpr[X86_R10],
		.r11 = gpr[X86_R11],
		.r12 = gpr[X86_R12],
		.r13 = gpr[X86_R13],
		.r14 = gpr[X86_R14],
		.r15 = gpr[X86_R15],
		.rip = state->rip,
		.rflags = state->rflags,
	};
}

#define VECTOR_DB 1
#define VECTOR_BP 3
#define VECTOR_OF 4

/*
 * Of an exception and an interrupt the exception counts: it was found in the delivery of the interrupt, which
 * it ends. RIP is that of the instruction of a software event, so nothing need be said of one.
 */
static struct x86_event_state kvm_event_save(const struct kvm_vcpu_events *events)
{
	const uint8_t vector = events->exception.nr;

	if (events->exception.injected && (vector == VECTOR_BP || vector == VECTOR_OF))
		return (struct x86_event_state){.injected = false};
	if (events->exception.injected)
		return (struct x86_event_state){
			.injected = true,
			.vector = events->exception.nr,
			.has_error_code = events->exception.has_error_code,
			.error_code = events->exception.error_code,
		};
	return (struct x86_event_state){
		.injected = events->interrupt.injected && !events->interrupt.soft,
		.vector = events->interrupt.nr,
		.is_interrupt = events->interrupt.injected && !events->interrupt.soft,
	};
}

static void kvm_events_save(const struct kvm_vcpu_events *events, struct x86_cpu_state *state)
{
	state->event = kvm_event_save(events);
	state->nmi_pending = events->nmi.pending || events->nmi.injected;
	state->nmi_masked = events->nmi.masked && !events->nmi.injected;
	state->interrupt_shadow = events->interrupt.shadow;
	state->smm = events->smi.smm;
}

/* KVM has no place for a debug trap that waits for a shadow's end: it comes at once. */
static struct kvm_vcpu_events kvm_events_load(const struct x86_cpu_state *state)
{
	const struct x86_event_state *event = &state->event;
	struct kvm_vcpu_events events = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.nmi.pending = state->nmi_pending,
		.nmi.masked = state->nmi_masked,
		.interrupt.shadow =
			state->interrupt_shadow ? KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0,
	};

	if (event->injected && event->is_interrupt) {
		events.interrupt.injected = 1;
		events.interrupt.nr = event->vector;
	} else if (event->injected && !event->is_software) {
		events.exception.injected = 1;
		events.exception.nr = event->vector;
		events.exception.has_error_code = event->has_error_code;
		events.exception.error_code = event->error_code;
	} else if (state->pending_debug) {
		events.exception.injected = 1;
		events.exception.nr = VECTOR_DB;
	}
	return events;
}

static void kvm_debug_save(const struct kvm_debugregs *debug, struct x86_cpu_state *state)
{
	for (unsigned i = 0; i < 4; i++)
		state->dr[i] = debug->db[i];
	state->dr[6] = debug->dr6;
	state->dr[7] = debug->dr7;
}

static struct kvm_debugregs kvm_debug_load(const struct x86_cpu_state *state)
{
	return (struct kvm_debugregs){
		.db = {state->dr[0], state->dr[1], state->dr[2], state->dr[3]},
		.dr6 = state->dr[6] | state->pending_debug,
		.dr7 = state->dr[7],
	};
}

enum x86_mp_state kvm_state_activity(struct accel_vcpu *vcpu)
{
	struct kvm_mp_state mp;

	if (!kvm_has_lapic(vcpu->vm) || ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) < 0)
		return vcpu->mp_state;
	return kvm_mp_save(&mp);
}

int kvm_state_save(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err)
{
	struct kvm_state kvm = {0};
	int code = kvm_state_read(vcpu, &kvm, err);

	memset(state, 0, sizeof(*state));
	if (code < 0)
		return code;
	kvm_gprs_save(&kvm.regs, state);
	kvm_segments_save(&kvm.sregs, state);
	state->cr0 = kvm.sregs.cr0;
	state->cr2 = kvm.sregs.cr2;
	state->cr3 = kvm.sregs.cr3;
	state->cr4 = kvm.sregs.cr4;
	state->cr8 = kvm.sregs.cr8;
	state->efer = kvm.sregs.efer;
	kvm_debug_save(&kvm.debug, state);
	state->xcr0 = kvm.xcrs.xcrs[0].value;
	memcpy(state->xsave, kvm.xsave.region, sizeof(state->xsave));
	kvm_events_save(&kvm.events, state);
	state->mp_state = vcpu->mp_state;
	if (kvm_has_lapic(vcpu->vm) && vcpu->mp_state != X86_MP_SHUTDOWN)
		state->mp_state = kvm_mp_save(&kvm.mp);
	state->sipi_vector = atomic_load(&vcpu->sipi_vector);
	return kvm_msr_save(vcpu, state, err);
}

static int kvm_state_load_sregs(struct accel_vcpu *vcpu, const struct x86_cpu_state *state,
				struct kvm_sregs *sregs, struct err *err)
{
	/* What the neutral state does not have (the local APIC's base) stays. */
	if (ioctl(vcpu->fd, KVM_GET_SREGS, sregs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_SREGS");
	memset(sregs->interrupt_bitmap, 0, sizeof(sregs->interrupt_bitmap));
	kvm_segments_load(state, sregs);
	sregs->cr0 = state->cr0;
	sregs->cr2 = state->cr2;
	sregs->cr3 = state->cr3;
	sregs->cr4 = state->cr4;
	sregs->cr8 = state->cr8;
	sregs->efer = state->efer;
	return 0;
}

/* What the CPU waits for is KVM's affair then, and it is always to be entered. */
static int kvm_mp_write(struct accel_vcpu *vcpu, enum x86_mp_state state, struct err *err)
{
	struct kvm_mp_state mp = kvm_mp_load(state);

	if (state != X86_MP_SHUTDOWN)
		vcpu->mp_state = X86_MP_RUNNABLE;
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_MP_STATE");
	return 0;
}

/* Some KVMs accept a mode that they cannot run, and change it. */
static int kvm_state_verify(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_SREGS");
	if (sregs.cr0 == state->cr0 && sregs.cr4 == state->cr4 && sregs.efer == state->efer)
		return 0;
	return err_set(err, -ENOTSUP,
		       "this KVM does not take CR0 0x%" PRIx64 " CR4 0x%" PRIx64 " EFER 0x%" PRIx64
		       ": it makes CR0 0x%" PRIx64 " CR4 0x%" PRIx64 " EFER 0x%" PRIx64 " of them",
		       state->cr0, state->cr4, state->efer, (uint64_t)sregs.cr0, (uint64_t)sregs.cr4,
		       (uint64_t)sregs.efer);
}

int kvm_state_load(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err)
{
	struct kvm_vcpu_events events = kvm_events_load(state);
	struct kvm_state kvm = {
		.regs = kvm_gprs_load(state),
		.debug = kvm_debug_load(state),
		.xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = state->xcr0}},
	};
	int code = kvm_state_load_sregs(vcpu, state, &kvm.sregs, err);

	memcpy(kvm.xsave.region, state->xsave, sizeof(kvm.xsave.region));
	if (code == 0)
		code = kvm_state_write(vcpu, &kvm, err);
	if (code == 0)
		code = kvm_state_verify(vcpu, state, err);
	if (code == 0)
		code = kvm_msr_load(vcpu, state, err);
	if (code < 0)
		return code;
	if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_VCPU_EVENTS");
	vcpu->run->cr8 = state->cr8;
	vcpu->cr8_entered = state->cr8;
	vcpu->mp_state = state->mp_state;
	if (kvm_has_lapic(vcpu->vm))
		return kvm_mp_write(vcpu, state->mp_state, err);
	kvm_vcpu_refresh_anchor(vcpu, true);
	return 0;
}

int kvm_state_set_apic_base(struct accel_vcpu *vcpu, uint64_t apic_base, struct err *err)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_SREGS");
	sregs.apic_base = apic_base;
	memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap));
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_SREGS");
	return 0;
}
