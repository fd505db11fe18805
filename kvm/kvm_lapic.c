/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's local APIC of one CPU to and from the neutral state: the register page of KVM_GET_LAPIC (Intel SDM
 * vol. 3, table 11-1), and the two MSRs beside it. The base is set first, for it says how the page is read;
 * the TSC deadline last, when the TSC is right.
 *
 * A timer that runs out while the CPU is parked is noted by KVM, and becomes an interrupt when the CPU enters
 * the guest: the page does not show it. So the CPU is sent on its way in with a signal waiting, which turns
 * it back before the guest's first instruction. The other way, KVM takes a one-shot count that has reached 0
 * for one that is just due; it is given no count then, and the guest's value is kept here.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"
#include "vmm/core/irqchip_state.h"

#define MSR_APIC_BASE    0x01b
#define MSR_TSC_DEADLINE 0x6e0

#define BASE_X2APIC        (1ull << 10)
#define LVT_MASKED         (1u << 16)
#define LVT_TIMER_ONE_SHOT (0u << 17)
#define LVT_TIMER_MODE     (3u << 17)
#define LVT_TIMER_DEADLINE (2u << 17)

enum {
	APIC_ID = 0x020,
	APIC_VERSION = 0x030,
	APIC_TPR = 0x080,
	APIC_LDR = 0x0d0,
	APIC_DFR = 0x0e0,
	APIC_SVR = 0x0f0,
	APIC_ISR = 0x100,
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_ICR_LOW = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT = 0x320,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};

static uint32_t kvm_lapic_reg(const struct kvm_lapic_state *page, unsigned offset)
{
	uint32_t value;

	memcpy(&value, page->regs + offset, sizeof(value));
	return value;
}

static void kvm_lapic_set_reg(struct kvm_lapic_state *page, unsigned offset, uint32_t value)
{
	memcpy(page->regs + offset, &value, sizeof(value));
}

static void kvm_lapic_registers_save(const struct kvm_lapic_state *page, struct lapic_state *state)
{
	state->id = kvm_lapic_reg(page, APIC_ID) >> 24;
	state->tpr = kvm_lapic_reg(page, APIC_TPR);
	state->ldr = kvm_lapic_reg(page, APIC_LDR);
	state->dfr = kvm_lapic_reg(page, APIC_DFR);
	state->svr = kvm_lapic_reg(page, APIC_SVR);
	for (unsigned i = 0; i < 8; i++) {
		state->isr[i] = kvm_lapic_reg(page, APIC_ISR + i * 16);
		state->tmr[i] = kvm_lapic_reg(page, APIC_TMR + i * 16);
		state->irr[i] = kvm_lapic_reg(page, APIC_IRR + i * 16);
	}
	state->esr = kvm_lapic_reg(page, APIC_ESR);
	state->icr_low = kvm_lapic_reg(page, APIC_ICR_LOW);
	state->icr_high = kvm_lapic_reg(page, APIC_ICR_HIGH);
	for (unsigned i = 0; i < IRQCHIP_LVTS; i++)
		state->lvt[i] = kvm_lapic_reg(page, APIC_LVT + i * 16);
	state->timer_initial = kvm_lapic_reg(page, APIC_TIMER_INITIAL);
	state->timer_current = kvm_lapic_reg(page, APIC_TIMER_CURRENT);
	state->timer_divide = kvm_lapic_reg(page, APIC_TIMER_DIVIDE);
}

/* The version stays KVM's: it says which registers KVM has. */
static void kvm_lapic_registers_load(const struct lapic_state *state, struct kvm_lapic_state *page)
{
	kvm_lapic_set_reg(page, APIC_ID, state->id << 24);
	kvm_lapic_set_reg(page, APIC_TPR, state->tpr);
	kvm_lapic_set_reg(page, APIC_LDR, state->ldr);
	kvm_lapic_set_reg(page, APIC_DFR, state->dfr);
	kvm_lapic_set_reg(page, APIC_SVR, state->svr);
	for (unsigned i = 0; i < 8; i++) {
		kvm_lapic_set_reg(page, APIC_ISR + i * 16, state->isr[i]);
		kvm_lapic_set_reg(page, APIC_TMR + i * 16, state->tmr[i]);
		kvm_lapic_set_reg(page, APIC_IRR + i * 16, state->irr[i]);
	}
	kvm_lapic_set_reg(page, APIC_ESR, state->esr);
	kvm_lapic_set_reg(page, APIC_ICR_LOW, state->icr_low);
	kvm_lapic_set_reg(page, APIC_ICR_HIGH, state->icr_high);
	for (unsigned i = 0; i < IRQCHIP_LVTS; i++)
		kvm_lapic_set_reg(page, APIC_LVT + i * 16, state->lvt[i]);
	kvm_lapic_set_reg(page, APIC_TIMER_INITIAL, state->timer_initial);
	kvm_lapic_set_reg(page, APIC_TIMER_CURRENT, state->timer_current);
	kvm_lapic_set_reg(page, APIC_TIMER_DIVIDE, state->timer_divide);
}

/* Whether a count may have run out unseen. */
static bool kvm_lapic_timer_counts(const struct kvm_lapic_state *page)
{
	uint32_t lvt = kvm_lapic_reg(page, APIC_LVT);

	return !(lvt & LVT_MASKED) && (lvt & LVT_TIMER_MODE) != LVT_TIMER_DEADLINE &&
	       kvm_lapic_reg(page, APIC_TIMER_INITIAL) != 0;
}

static int kvm_lapic_page_get(struct accel_vcpu *vcpu, struct kvm_lapic_state *page, struct err *err)
{
	if (ioctl(vcpu->fd, KVM_GET_LAPIC, page) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_LAPIC");
	return 0;
}

int kvm_lapic_save(struct accel_vcpu *vcpu, struct lapic_state *state, struct err *err)
{
	struct kvm_lapic_state page;

	int code = kvm_lapic_page_get(vcpu, &page, err);

	*state = (struct lapic_state){.base = 0};
	if (code == 0 && kvm_lapic_timer_counts(&page)) {
		kvm_vcpu_turn_back(vcpu);
		code = kvm_lapic_page_get(vcpu, &page, err);
	}
	if (code < 0)
		return code;
	if (!kvm_msr_get(vcpu, MSR_APIC_BASE, &state->base))
		return err_set(err, -EIO, "kvm: cannot read IA32_APIC_BASE");
	kvm_lapic_registers_save(&page, state);
	if (state->timer_initial == 0)
		state->timer_initial = vcpu->timer_initial_kept;
	if ((state->lvt[0] & LVT_TIMER_MODE) == LVT_TIMER_DEADLINE)
		kvm_msr_get(vcpu, MSR_TSC_DEADLINE, &state->tsc_deadline);
	return 0;
}

int kvm_lapic_load(struct accel_vcpu *vcpu, const struct lapic_state *state, struct err *err)
{
	struct kvm_lapic_state page;
	int code = kvm_msr_set(vcpu, MSR_APIC_BASE, state->base, err);

	if (code < 0)
		return code;
	code = kvm_lapic_page_get(vcpu, &page, err);
	if (code < 0)
		return code;
	kvm_lapic_registers_load(state, &page);
	vcpu->timer_initial_kept = 0;
	if ((state->lvt[0] & LVT_TIMER_MODE) == LVT_TIMER_ONE_SHOT && state->timer_current == 0) {
		vcpu->timer_initial_kept = state->timer_initial;
		kvm_lapic_set_reg(&page, APIC_TIMER_INITIAL, 0);
	}
	if (ioctl(vcpu->fd, KVM_SET_LAPIC, &page) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_LAPIC");
	if ((state->lvt[0] & LVT_TIMER_MODE) != LVT_TIMER_DEADLINE)
		return 0;
	return kvm_msr_set(vcpu, MSR_TSC_DEADLINE, state->tsc_deadline, err);
}
