/* SPDX-License-Identifier: Apache-2.0 */
/* Why KVM_RUN came back, and the answer: accesses go to the machine, the rest is told to it. KVM's api.rst,
 * section 5. */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm_para.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"
#include "vmm/base/text.h"

/* Newer than the headers of some hosts. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

#define MSR_APIC_BASE    0x01b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST  0x8ff

#define VECTOR_UD 6

static void kvm_exit_pio(struct accel_vcpu *vcpu)
{
	const struct accel_host *host = vcpu->vm->host;
	const struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)vcpu->run + run->io.data_offset;
	unsigned size_bytes = run->io.size;

	kvm_count(vcpu, KVM_COUNTER_PIO);
	for (uint32_t i = 0; i < run->io.count; i++, data += size_bytes) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, size_bytes);
			host->pio_write(host->opaque, vcpu->index, run->io.port, value, size_bytes);
		} else {
			value = host->pio_read(host->opaque, vcpu->index, run->io.port, size_bytes);
			memcpy(data, &value, size_bytes);
		}
	}
}

/* The largest power of two that fits: an access that crosses a page comes in pieces of any length. */
static unsigned kvm_piece(unsigned len)
{
	return len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
}

static void kvm_exit_mmio(struct accel_vcpu *vcpu)
{
	const struct accel_host *host = vcpu->vm->host;
	struct kvm_run *run = vcpu->run;
	unsigned len = run->mmio.len <= sizeof(run->mmio.data) ? run->mmio.len : sizeof(run->mmio.data);
	unsigned size_bytes;

	kvm_count(vcpu, KVM_COUNTER_MMIO);
	for (unsigned at = 0; at < len; at += size_bytes) {
		uint64_t gpa = run->mmio.phys_addr + at;
		uint64_t value = 0;

		size_bytes = kvm_piece(len - at);
		if (run->mmio.is_write) {
			memcpy(&value, run->mmio.data + at, size_bytes);
			host->mmio_write(host->opaque, vcpu->index, gpa, value, size_bytes);
		} else {
			value = host->mmio_read(host->opaque, vcpu->index, gpa, size_bytes);
			memcpy(run->mmio.data + at, &value, size_bytes);
		}
	}
}

static bool kvm_is_apic_msr(uint32_t index)
{
	return index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE ||
	       (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST);
}

/* An MSR that is not the APIC's comes here when its value was refused: the guest gets its #GP. */
static void kvm_exit_rdmsr(struct accel_vcpu *vcpu)
{
	const struct accel_host *host = vcpu->vm->host;
	struct kvm_run *run = vcpu->run;
	uint64_t value = 0;

	kvm_count(vcpu, KVM_COUNTER_MSR);
	run->msr.error = !kvm_is_apic_msr(run->msr.index) ||
			 !host->apic_msr_read(host->opaque, vcpu->index, run->msr.index, &value);
	run->msr.data = value;
}

static int kvm_exit_wrmsr(struct accel_vcpu *vcpu, struct err *err)
{
	const struct accel_host *host = vcpu->vm->host;
	struct kvm_run *run = vcpu->run;

	kvm_count(vcpu, KVM_COUNTER_MSR);
	if (run->msr.index == MSR_TSC_DEADLINE)
		kvm_vcpu_refresh_anchor(vcpu, false);
	run->msr.error = !kvm_is_apic_msr(run->msr.index) ||
			 !host->apic_msr_write(host->opaque, vcpu->index, run->msr.index, run->msr.data);
	if (run->msr.index == MSR_APIC_BASE && !run->msr.error)
		return kvm_state_set_apic_base(vcpu, run->msr.data, err);
	return 0;
}

/* Split: a level-triggered interrupt of our I/O APIC has been ended at a local APIC of KVM's. */
static void kvm_exit_eoi(struct accel_vcpu *vcpu)
{
	const struct accel_host *host = vcpu->vm->host;

	kvm_count(vcpu, KVM_COUNTER_EOI);
	if (host->ioapic_eoi)
		host->ioapic_eoi(host->opaque, vcpu->run->eoi.vector);
}

/* Exits that need nothing but to be gone on from. */
static void kvm_exit_pass(struct accel_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_HYPERCALL:
		/* No hypercall is offered to user space: there is none of this number. */
		run->hypercall.ret = (uint64_t)-KVM_ENOSYS;
		return;
	case KVM_EXIT_X86_BUS_LOCK:
		kvm_say_once(vcpu->vm, KVM_SAID_BUS_LOCK, "the guest locks the bus across cache lines");
		return;
	case KVM_EXIT_IRQ_WINDOW_OPEN: kvm_count(vcpu, KVM_COUNTER_WINDOW); return;
	default: return;
	}
}

static const char *const kvm_exit_names[] = {
	[KVM_EXIT_UNKNOWN] = "unknown to KVM",
	[KVM_EXIT_EXCEPTION] = "exception",
	[KVM_EXIT_IO] = "port",
	[KVM_EXIT_HYPERCALL] = "hypercall",
	[KVM_EXIT_DEBUG] = "debug",
	[KVM_EXIT_HLT] = "halt",
	[KVM_EXIT_MMIO] = "MMIO",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt window",
	[KVM_EXIT_SHUTDOWN] = "shutdown",
	[KVM_EXIT_FAIL_ENTRY] = "failed entry",
	[KVM_EXIT_INTR] = "signal",
	[KVM_EXIT_SET_TPR] = "TPR",
	[KVM_EXIT_TPR_ACCESS] = "TPR access",
	[KVM_EXIT_NMI] = "NMI",
	[KVM_EXIT_INTERNAL_ERROR] = "internal error",
	[KVM_EXIT_SYSTEM_EVENT] = "system event",
	[KVM_EXIT_IOAPIC_EOI] = "I/O APIC EOI",
	[KVM_EXIT_HYPERV] = "Hyper-V",
	[KVM_EXIT_X86_RDMSR] = "RDMSR",
	[KVM_EXIT_X86_WRMSR] = "WRMSR",
	[KVM_EXIT_DIRTY_RING_FULL] = "dirty ring full",
	[KVM_EXIT_X86_BUS_LOCK] = "bus lock",
	[KVM_EXIT_AP_RESET_HOLD] = "AP reset hold",
	[KVM_EXIT_XEN] = "Xen",
	[KVM_EXIT_NOTIFY] = "notify",
	[KVM_EXIT_MEMORY_FAULT] = "memory fault",
	[KVM_EXIT_WATCHDOG] = "watchdog",
	[KVM_EXIT_S390_SIEIC] = "S/390",
	[KVM_EXIT_S390_RESET] = "S/390 reset",
	[KVM_EXIT_S390_UCONTROL] = "S/390 ucontrol",
	[KVM_EXIT_S390_TSCH] = "S/390 TSCH",
	[KVM_EXIT_S390_STSI] = "S/390 STSI",
	[KVM_EXIT_DCR] = "PowerPC DCR",
	[KVM_EXIT_OSI] = "PowerPC OSI",
	[KVM_EXIT_PAPR_HCALL] = "PowerPC hypercall",
	[KVM_EXIT_EPR] = "PowerPC EPR",
	[KVM_EXIT_ARM_NISV] = "Arm data abort",
	[KVM_EXIT_RISCV_SBI] = "RISC-V SBI",
	[KVM_EXIT_RISCV_CSR] = "RISC-V CSR",
};

static const char *kvm_exit_name(uint32_t reason)
{
	if (reason < sizeof(kvm_exit_names) / sizeof(kvm_exit_names[0]) && kvm_exit_names[reason])
		return kvm_exit_names[reason];
	return "unknown to this program";
}

/* The bytes of the instruction that KVM could not emulate, if it tells them. */
static void kvm_exit_instruction_text(const struct kvm_run *run, char *text, size_t size)
{
	const uint8_t *bytes = run->emulation_failure.insn_bytes;
	unsigned count = run->emulation_failure.insn_size;

	text[0] = '\0';
	if (run->internal.ndata == 0 ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	for (unsigned i = 0; i < count && i < sizeof(run->emulation_failure.insn_bytes); i++)
		text_append(text, size, "%s%02x", i > 0 ? " " : "", bytes[i]);
}

/* An older KVM has the guest's #UD waiting already; it must not get one before somebody else has tried. */
static int kvm_exit_drop_ud(struct accel_vcpu *vcpu, struct err *err)
{
	struct kvm_vcpu_events events;

	if (vcpu->vm->exits_on_failure)
		return 0;
	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_VCPU_EVENTS");
	if (!events.exception.injected || events.exception.nr != VECTOR_UD)
		return 0;
	events.exception.injected = 0;
	if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_VCPU_EVENTS");
	return 0;
}

static enum accel_exit kvm_exit_internal_error(struct accel_vcpu *vcpu, struct err *err)
{
	const struct kvm_run *run = vcpu->run;
	char bytes[64];

	/* The event is in the state, and its way through the tables another accelerator's, too. */
	if (run->internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV) {
		err_set(err, -ENOSYS, "kvm cannot deliver an event");
		return ACCEL_EXIT_CANNOT_EXECUTE;
	}
	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		err_set(err, -EIO, "kvm: internal error %u, data 0x%" PRIx64 " 0x%" PRIx64,
			run->internal.suberror, run->internal.ndata > 0 ? (uint64_t)run->internal.data[0] : 0,
			run->internal.ndata > 1 ? (uint64_t)run->internal.data[1] : 0);
		return ACCEL_EXIT_FAILED;
	}
	if (kvm_exit_drop_ud(vcpu, err) < 0)
		return ACCEL_EXIT_FAILED;
	kvm_exit_instruction_text(run, bytes, sizeof(bytes));
	err_set(err, -ENOSYS, "kvm cannot emulate the instruction%s%s", bytes[0] ? " with the bytes " : "",
		bytes);
	return ACCEL_EXIT_CANNOT_EXECUTE;
}

static enum accel_exit kvm_exit_system_event(const struct kvm_run *run, struct err *err)
{
	switch (run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN: return ACCEL_EXIT_POWER_OFF;
	case KVM_SYSTEM_EVENT_RESET: return ACCEL_EXIT_RESET;
	default:
		err_set(err, -EIO, "kvm: the guest crashed, system event %u", run->system_event.type);
		return ACCEL_EXIT_FAILED;
	}
}

/* Exits that end the run, and those that no KVM should make here. */
static enum accel_exit kvm_exit_last(struct accel_vcpu *vcpu, struct err *err)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN: return ACCEL_EXIT_SHUTDOWN;
	case KVM_EXIT_DEBUG: return ACCEL_EXIT_DEBUG;
	case KVM_EXIT_SYSTEM_EVENT: return kvm_exit_system_event(run, err);
	case KVM_EXIT_INTERNAL_ERROR: return kvm_exit_internal_error(vcpu, err);
	case KVM_EXIT_FAIL_ENTRY:
		err_set(err, -EIO, "kvm: the CPU refused to enter the guest, hardware reason 0x%" PRIx64,
			(uint64_t)run->fail_entry.hardware_entry_failure_reason);
		return ACCEL_EXIT_FAILED;
	case KVM_EXIT_EXCEPTION:
		err_set(err, -EIO, "kvm: the CPU took exception %u, error code 0x%x, out of the guest",
			run->ex.exception, run->ex.error_code);
		return ACCEL_EXIT_FAILED;
	case KVM_EXIT_NOTIFY:
		err_set(err, -EIO, "kvm: the CPU let no event in for too long, and its context is lost");
		return ACCEL_EXIT_FAILED;
	case KVM_EXIT_UNKNOWN:
		err_set(err, -EIO, "kvm: an exit that KVM does not know, hardware reason 0x%" PRIx64,
			(uint64_t)run->hw.hardware_exit_reason);
		return ACCEL_EXIT_FAILED;
	default:
		err_set(err, -EIO, "kvm: exit %u (%s) was not expected", run->exit_reason,
			kvm_exit_name(run->exit_reason));
		return ACCEL_EXIT_FAILED;
	}
}

/* A fault of the memory behind the guest's: a page of the host's that cannot be had. */
void kvm_exit_error(const struct accel_vcpu *vcpu, int code, struct err *err)
{
	struct {
		uint64_t flags, gpa, size_bytes;
	} fault;

	if (vcpu->run->exit_reason != KVM_EXIT_MEMORY_FAULT || (code != -EFAULT && code != -EHWPOISON)) {
		err_set_errno(err, code, "kvm: KVM_RUN");
		return;
	}
	/* The union's member of newer headers. */
	memcpy(&fault, &vcpu->run->hw, sizeof(fault));
	err_set_errno(err, code, "kvm: memory at 0x%" PRIx64 ", 0x%" PRIx64 " bytes, flags 0x%" PRIx64,
		      fault.gpa, fault.size_bytes, fault.flags);
}

bool kvm_exit_handle(struct accel_vcpu *vcpu, enum accel_exit *why, struct err *err)
{
	*why = ACCEL_EXIT_FAILED;
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO: kvm_exit_pio(vcpu); return true;
	case KVM_EXIT_MMIO: kvm_exit_mmio(vcpu); return true;
	case KVM_EXIT_X86_RDMSR: kvm_exit_rdmsr(vcpu); return true;
	case KVM_EXIT_X86_WRMSR: return kvm_exit_wrmsr(vcpu, err) == 0;
	case KVM_EXIT_IOAPIC_EOI: kvm_exit_eoi(vcpu); return true;
	case KVM_EXIT_DIRTY_RING_FULL:
		kvm_count(vcpu, KVM_COUNTER_RING_FULL);
		return kvm_dirty_ring_full(vcpu->vm, err) == 0;
	case KVM_EXIT_HLT:
	case KVM_EXIT_AP_RESET_HOLD:
		kvm_count(vcpu, KVM_COUNTER_HALT);
		if (!kvm_has_lapic(vcpu->vm))
			vcpu->mp_state = X86_MP_HALTED;
		return true;
	case KVM_EXIT_NOTIFY:
		if (!(vcpu->run->notify.flags & KVM_NOTIFY_CONTEXT_INVALID))
			return true;
		*why = kvm_exit_last(vcpu, err);
		return false;
	case KVM_EXIT_SET_TPR: /* taken over after every exit */
	case KVM_EXIT_TPR_ACCESS:
	case KVM_EXIT_INTR:
	case KVM_EXIT_NMI: /* the host's own */
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_HYPERCALL:
	case KVM_EXIT_X86_BUS_LOCK: kvm_exit_pass(vcpu); return true;
	default: *why = kvm_exit_last(vcpu, err); return false;
	}
}
