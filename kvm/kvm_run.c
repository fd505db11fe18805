/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop around KVM_RUN: what a vCPU must look at before it enters, the interrupt it takes along, and the
 * kick that gets it out. KVM finishes an access that user space has answered at the next KVM_RUN, so a kick
 * passes through one, with immediate_exit set: state that is read after ACCEL_EXIT_KICKED is whole.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

#define KVM_SIGNAL_SET_SIZE 8 /* the kernel's sigset_t */

static void kvm_on_kick_signal(int number)
{
	/* That it arrives is all: it ends KVM_RUN with EINTR. */
}

static int kvm_kick_signal(void)
{
	return SIGRTMIN;
}

int kvm_kick_signal_prepare(struct err *err)
{
	struct sigaction action = {.sa_handler = kvm_on_kick_signal, .sa_flags = SA_RESTART};

	sigemptyset(&action.sa_mask);
	if (sigaction(kvm_kick_signal(), &action, NULL) < 0)
		return err_set_errno(err, -errno, "kvm: sigaction");
	return 0;
}

/* By thread id, which stays harmless should the thread have ended: the number means nothing, or one that
 * ignores it. */
void kvm_kick_signal_send(pid_t thread_id)
{
	if (thread_id)
		syscall(SYS_tgkill, getpid(), thread_id, kvm_kick_signal());
}

static void kvm_vcpu_adopt_thread(struct accel_vcpu *vcpu)
{
	pid_t thread_id = (pid_t)syscall(SYS_gettid);
	sigset_t kick;

	if (atomic_load(&vcpu->thread_id) == thread_id)
		return;
	atomic_store(&vcpu->thread_id, thread_id);
	sigemptyset(&kick);
	sigaddset(&kick, kvm_kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

/* KVM's own view of the mask lets the signal through that is blocked for this thread. */
static void kvm_vcpu_run_with(struct accel_vcpu *vcpu, const sigset_t *mask)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t set[KVM_SIGNAL_SET_SIZE];
	} kvm_mask = {.head.len = KVM_SIGNAL_SET_SIZE};

	memcpy(kvm_mask.head.sigset, mask, KVM_SIGNAL_SET_SIZE);
	if (ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &kvm_mask) < 0)
		return;
	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	ioctl(vcpu->fd, KVM_RUN, 0);
	ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, NULL);
}

void kvm_vcpu_turn_back(struct accel_vcpu *vcpu)
{
	const struct timespec at_once = {0};
	sigset_t kick, before, inside;

	sigemptyset(&kick);
	sigaddset(&kick, kvm_kick_signal());
	pthread_sigmask(SIG_BLOCK, &kick, &before);
	inside = before;
	sigdelset(&inside, kvm_kick_signal());
	kvm_kick_signal_send((pid_t)syscall(SYS_gettid));
	kvm_vcpu_run_with(vcpu, &inside);
	sigtimedwait(&kick, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool kvm_vcpu_take(struct accel_vcpu *vcpu, uint32_t attention)
{
	return atomic_fetch_and(&vcpu->attention, ~attention) & attention;
}

/* Gives KVM the interrupt that it can take now, or asks to be told when it can. */
static int kvm_vcpu_prepare_interrupt(struct accel_vcpu *vcpu, struct err *err)
{
	const struct accel_host *host = vcpu->vm->host;
	struct kvm_run *run = vcpu->run;
	struct kvm_interrupt interrupt;
	int vector;

	if (!(atomic_load(&vcpu->attention) & KVM_ATTENTION_INTR)) {
		run->request_interrupt_window = 0;
		return 0;
	}
	if (run->if_flag)
		vcpu->mp_state = X86_MP_RUNNABLE;
	if (!run->ready_for_interrupt_injection || !run->if_flag) {
		run->request_interrupt_window = 1;
		return 0;
	}
	vector = host->intr_acknowledge(host->opaque, vcpu->index);
	if (vector >= 0) {
		interrupt.irq = (uint32_t)vector;
		kvm_count(vcpu, KVM_COUNTER_INTERRUPTS);
		if (ioctl(vcpu->fd, KVM_INTERRUPT, &interrupt) < 0)
			return err_set_errno(err, -errno, "kvm: KVM_INTERRUPT");
		run->ready_for_interrupt_injection = 0;
	}
	run->request_interrupt_window = (atomic_load(&vcpu->attention) & KVM_ATTENTION_INTR) != 0;
	return 0;
}

/* CR8 lives in the machine's local APIC; KVM holds a copy while the guest runs. */
static void kvm_vcpu_give_cr8(struct accel_vcpu *vcpu)
{
	const struct accel_host *host = vcpu->vm->host;

	if (kvm_has_lapic(vcpu->vm))
		return;
	vcpu->cr8_entered = host->cr8_read(host->opaque, vcpu->index);
	vcpu->run->cr8 = vcpu->cr8_entered;
}

static void kvm_vcpu_take_cr8(struct accel_vcpu *vcpu)
{
	const struct accel_host *host = vcpu->vm->host;

	if (!kvm_has_lapic(vcpu->vm) && vcpu->run->cr8 != vcpu->cr8_entered)
		host->cr8_write(host->opaque, vcpu->index, vcpu->run->cr8);
}

/* 0, or -errno of KVM_RUN. `seen` are the requests that the caller has dealt with: others must not be slept
 * over. */
static int kvm_vcpu_enter(struct accel_vcpu *vcpu, uint32_t seen)
{
	int code = 0;

	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	atomic_store(&vcpu->in_guest, true);
	if (atomic_load(&vcpu->attention) & ~seen)
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	kvm_vcpu_give_cr8(vcpu);
	if (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
		code = -errno;
	atomic_store(&vcpu->in_guest, false);
	kvm_count(vcpu, KVM_COUNTER_EXITS);
	kvm_vcpu_take_cr8(vcpu);
	kvm_coalesced_drain(vcpu);
	return code;
}

/*
 * INIT and start-up come between two instructions. KVM finishes one whose access was answered at the next
 * KVM_RUN: with what is waiting in `attention` that does just this, and comes back. An access may have a
 * second half.
 */
static int kvm_vcpu_finish_access(struct accel_vcpu *vcpu, struct err *err)
{
	enum accel_exit why;
	int code;

	do
		code = kvm_vcpu_enter(vcpu, 0);
	while (code == 0 && kvm_exit_handle(vcpu, &why, err));
	if (code == 0 || code == -EINTR || code == -EAGAIN)
		return 0;
	kvm_exit_error(vcpu, code, err);
	return code;
}

/*
 * INIT first: it clears what was on its way. A start-up is for those who wait for it. With KVM's own local
 * APICs both come only from an accelerator that had the CPU before, and had not yet carried them out.
 */
static int kvm_vcpu_take_signals(struct accel_vcpu *vcpu, struct err *err)
{
	int code = 0;

	if (atomic_load(&vcpu->attention) & (KVM_ATTENTION_INIT | KVM_ATTENTION_SIPI))
		code = kvm_vcpu_finish_access(vcpu, err);
	if (code == 0 && kvm_vcpu_take(vcpu, KVM_ATTENTION_INIT))
		code = kvm_reset(vcpu, err);
	if (code == 0 && kvm_vcpu_take(vcpu, KVM_ATTENTION_SIPI) &&
	    kvm_state_activity(vcpu) == X86_MP_WAIT_FOR_SIPI)
		code = kvm_reset_startup(vcpu, atomic_load(&vcpu->sipi_vector), err);
	if (code < 0 || vcpu->mp_state == X86_MP_WAIT_FOR_SIPI)
		return code;
	if (kvm_vcpu_take(vcpu, KVM_ATTENTION_NMI)) {
		vcpu->mp_state = X86_MP_RUNNABLE;
		if (ioctl(vcpu->fd, KVM_NMI) < 0)
			return err_set_errno(err, -errno, "kvm: KVM_NMI");
	}
	/* A KVM without SMM has no handler to run, as a board without firmware has none. */
	if (kvm_vcpu_take(vcpu, KVM_ATTENTION_SMI) && ioctl(vcpu->fd, KVM_SMI) == 0)
		vcpu->mp_state = X86_MP_RUNNABLE;
	return 0;
}

/* True: the guest may be entered. Else *why. */
static bool kvm_vcpu_prepare(struct accel_vcpu *vcpu, enum accel_exit *why, struct err *err)
{
	if (kvm_vcpu_take_signals(vcpu, err) < 0 || kvm_vcpu_prepare_interrupt(vcpu, err) < 0) {
		*why = ACCEL_EXIT_FAILED;
		return false;
	}
	switch (vcpu->mp_state) {
	case X86_MP_RUNNABLE: return true;
	case X86_MP_WAIT_FOR_SIPI:
	case X86_MP_HALTED:
		*why = kvm_vcpu_take(vcpu, KVM_ATTENTION_KICK) ? ACCEL_EXIT_KICKED : ACCEL_EXIT_HALTED;
		return false;
	case X86_MP_SHUTDOWN: *why = ACCEL_EXIT_SHUTDOWN; return false;
	}
	return true;
}

enum accel_exit kvm_vcpu_run(struct accel_vcpu *vcpu, struct err *err)
{
	enum accel_exit why;

	kvm_vcpu_adopt_thread(vcpu);
	while (kvm_vcpu_prepare(vcpu, &why, err)) {
		uint32_t seen = vcpu->run->request_interrupt_window ? KVM_ATTENTION_INTR : 0;
		int code = kvm_vcpu_enter(vcpu, seen);

		if (code == 0 && kvm_exit_handle(vcpu, &why, err))
			continue;
		if (code == 0)
			return why;
		if (code != -EINTR && code != -EAGAIN) {
			kvm_exit_error(vcpu, code, err);
			return ACCEL_EXIT_FAILED;
		}
		if (kvm_vcpu_take(vcpu, KVM_ATTENTION_KICK))
			return ACCEL_EXIT_KICKED;
	}
	return why;
}
