/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's PIC, I/O APIC and PIT to and from the neutral state. KVM's structures are those of
 * arch/x86/include/uapi/asm/kvm.h.
 *
 * KVM loads every counter of the PIT anew when its state is set, and so begins its period again. A count that
 * runs once is given what is left of it; of a period the part that had passed is added up, and a whole one
 * of it is a tick that is given at once: a guest that is often handed over keeps its time.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/irqchip_state.h"

#define PIT_CLOCK_HZ 1193182u

_Static_assert(KVM_IOAPIC_NUM_PINS == IRQCHIP_IOAPIC_PINS, "both have the pins of one 82093AA");

/* States of KVM's byte order machines. */
enum kvm_pit_rw { KVM_PIT_RW_NONE, KVM_PIT_RW_LOW, KVM_PIT_RW_HIGH, KVM_PIT_RW_WORD0, KVM_PIT_RW_WORD1 };

static void kvm_pic_save(const struct kvm_pic_state *kvm, struct pic_chip_state *state)
{
	*state = (struct pic_chip_state){
		.irr = kvm->irr,
		.isr = kvm->isr,
		.imr = kvm->imr,
		.lines = kvm->last_irr,
		.elcr = kvm->elcr,
		.lowest = (kvm->priority_add + 7) & 7,
		.vector_base = kvm->irq_base,
		.init_state = kvm->init_state,
		.needs_icw4 = kvm->init4,
		.read_isr = kvm->read_reg_select,
		.poll = kvm->poll,
		.special_mask = kvm->special_mask,
		.auto_eoi = kvm->auto_eoi,
		.rotate_on_auto_eoi = kvm->rotate_on_auto_eoi,
		.fully_nested = kvm->special_fully_nested_mode,
	};
}

/* KVM pulses the cascade where our chips hold it: its last level is low. */
static void kvm_pic_load(const struct pic_chip_state *state, bool is_first, struct kvm_pic_state *kvm)
{
	*kvm = (struct kvm_pic_state){
		.irr = state->irr,
		.isr = state->isr,
		.imr = state->imr,
		.last_irr = is_first ? state->lines & 0xfb : state->lines,
		.elcr = state->elcr,
		.elcr_mask = is_first ? 0xf8 : 0xde,
		.priority_add = (state->lowest + 1) & 7,
		.irq_base = state->vector_base,
		.init_state = state->init_state,
		.init4 = state->needs_icw4,
		.read_reg_select = state->read_isr,
		.poll = state->poll,
		.special_mask = state->special_mask,
		.auto_eoi = state->auto_eoi,
		.rotate_on_auto_eoi = state->rotate_on_auto_eoi,
		.special_fully_nested_mode = state->fully_nested,
	};
}

static void kvm_ioapic_save(const struct kvm_ioapic_state *kvm, struct ioapic_state *state)
{
	*state = (struct ioapic_state){.select = (uint8_t)kvm->ioregsel, .id = (uint8_t)kvm->id};
	for (unsigned pin = 0; pin < IRQCHIP_IOAPIC_PINS; pin++)
		state->entry[pin] = kvm->redirtbl[pin].bits;
}

/* The request register stays clear: the machine tells the levels, and edges were sent when they came. */
static void kvm_ioapic_load(const struct ioapic_state *state, struct kvm_ioapic_state *kvm)
{
	*kvm = (struct kvm_ioapic_state){
		.base_address = KVM_IOAPIC_GPA, .ioregsel = state->select, .id = state->id};
	for (unsigned pin = 0; pin < IRQCHIP_IOAPIC_PINS; pin++)
		kvm->redirtbl[pin].bits = state->entry[pin];
}

static int kvm_chip_get(struct accel_vm *vm, uint32_t id, struct kvm_irqchip *chip, struct err *err)
{
	memset(chip, 0, sizeof(*chip));
	chip->chip_id = id;
	if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, chip) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_IRQCHIP");
	return 0;
}

static int kvm_chip_set(struct accel_vm *vm, const struct kvm_irqchip *chip, struct err *err)
{
	if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, chip) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_IRQCHIP");
	return 0;
}

static int kvm_irqchips_save(struct accel_vm *vm, struct irqchip_state *state, struct err *err)
{
	struct kvm_irqchip chip;
	int code = 0;

	for (uint32_t i = 0; i < 2 && code == 0; i++) {
		code = kvm_chip_get(vm, i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, &chip, err);
		if (code == 0)
			kvm_pic_save(&chip.chip.pic, &state->pic.chip[i]);
	}
	if (code == 0)
		code = kvm_chip_get(vm, KVM_IRQCHIP_IOAPIC, &chip, err);
	if (code == 0)
		kvm_ioapic_save(&chip.chip.ioapic, &state->ioapic);
	return code;
}

static int kvm_irqchips_load(struct accel_vm *vm, const struct irqchip_state *state, struct err *err)
{
	struct kvm_irqchip chip = {0};
	int code = 0;

	for (uint32_t i = 0; i < 2 && code == 0; i++) {
		chip.chip_id = i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER;
		kvm_pic_load(&state->pic.chip[i], i == 0, &chip.chip.pic);
		code = kvm_chip_set(vm, &chip, err);
	}
	memset(&chip, 0, sizeof(chip));
	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	kvm_ioapic_load(&state->ioapic, &chip.chip.ioapic);
	return code < 0 ? code : kvm_chip_set(vm, &chip, err);
}

static void kvm_pit_channel_save(const struct kvm_pit_channel_state *kvm, struct pit_channel_state *state)
{
	bool word = kvm->rw_mode == KVM_PIT_RW_WORD0;

	*state = (struct pit_channel_state){
		.mode = kvm->mode <= 5 ? kvm->mode : 0,
		.access = kvm->rw_mode & 3 ? kvm->rw_mode & 3 : 3,
		.bcd = kvm->bcd,
		.gate = kvm->gate,
		.running = kvm->mode <= 5,
		.count = kvm->count ? kvm->count : 65536,
		.loaded_ns = kvm->count_load_time > 0 ? (uint64_t)kvm->count_load_time : 0,
		.write_low = kvm->write_latch,
		.write_second = kvm->write_state == KVM_PIT_RW_WORD1,
		.read_second = kvm->count_latched ? word && kvm->count_latched == KVM_PIT_RW_HIGH
						  : kvm->read_state == KVM_PIT_RW_WORD1,
		.latch = kvm->latched_count,
		.latched = kvm->count_latched != 0,
		.status = kvm->status,
		.status_latched = kvm->status_latched,
	};
}

static bool kvm_pit_is_periodic(const struct pit_channel_state *state)
{
	return state->mode == 2 || state->mode == 3;
}

/* What is left of a count that runs once. One that has run out counts on, around its 16 bits. */
static uint32_t kvm_pit_count_left(const struct pit_channel_state *state, uint64_t now_ns)
{
	uint64_t elapsed_ns = state->loaded_ns < now_ns ? now_ns - state->loaded_ns : 0;
	uint64_t elapsed = muldiv64(elapsed_ns, PIT_CLOCK_HZ, NS_PER_S);

	if (!state->running || kvm_pit_is_periodic(state))
		return state->count;
	if (elapsed < state->count)
		return state->count - (uint32_t)elapsed;
	return 65536 - (uint32_t)((elapsed - state->count) % 65536);
}

static void kvm_pit_channel_load(const struct pit_channel_state *state, uint64_t now_ns,
				 struct kvm_pit_channel_state *kvm)
{
	bool word = state->access == 3;

	*kvm = (struct kvm_pit_channel_state){
		.count = kvm_pit_count_left(state, now_ns) & 0xffff,
		.latched_count = state->latch,
		.count_latched = !state->latched              ? KVM_PIT_RW_NONE
				 : word && state->read_second ? KVM_PIT_RW_HIGH
							      : state->access,
		.status_latched = state->status_latched,
		.status = state->status,
		.read_state =
			word && state->read_second && !state->latched ? KVM_PIT_RW_WORD1 : state->access,
		.write_state = word && state->write_second ? KVM_PIT_RW_WORD1 : state->access,
		.write_latch = state->write_low,
		.rw_mode = state->access,
		.mode = state->mode,
		.bcd = state->bcd,
		.gate = state->gate,
		.count_load_time = (int64_t)now_ns,
	};
}

static int kvm_pit_save(struct accel_vm *vm, struct pit_state *state, struct err *err)
{
	struct kvm_pit_state2 kvm;

	if (ioctl(vm->vm_fd, KVM_GET_PIT2, &kvm) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_GET_PIT2");
	for (unsigned i = 0; i < 3; i++)
		kvm_pit_channel_save(&kvm.channels[i], &state->channel[i]);
	state->control = (uint8_t)((kvm.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? 2 : 0) |
				   (state->channel[2].gate ? 1 : 0));
	return 0;
}

/* Ticks of channel 0 that the new beginning of its period takes from the guest. */
static void kvm_pit_make_good(struct accel_vm *vm, const struct pit_channel_state *state, uint64_t now_ns)
{
	uint64_t period_ns = muldiv64(state->count, NS_PER_S, PIT_CLOCK_HZ);

	if (!state->running || !kvm_pit_is_periodic(state) || !period_ns || state->loaded_ns > now_ns)
		return;
	vm->pit_lost_ns += (now_ns - state->loaded_ns) % period_ns;
	if (vm->pit_lost_ns < period_ns)
		return;
	vm->pit_lost_ns -= period_ns;
	kvm_irq_line(vm, 0, true);
	kvm_irq_line(vm, 0, false);
}

static int kvm_pit_load(struct accel_vm *vm, const struct pit_state *state, struct err *err)
{
	uint64_t now_ns = clock_monotonic_ns();
	struct kvm_pit_state2 kvm = {.flags = state->control & 2 ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0};

	for (unsigned i = 0; i < 3; i++)
		kvm_pit_channel_load(&state->channel[i], now_ns, &kvm.channels[i]);
	if (ioctl(vm->vm_fd, KVM_SET_PIT2, &kvm) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_PIT2");
	kvm_pit_make_good(vm, &state->channel[0], now_ns);
	return 0;
}

int kvm_chips_save(struct accel_vm *vm, struct irqchip_state *state, struct err *err)
{
	int code = kvm_irqchips_save(vm, state, err);

	return code < 0 ? code : kvm_pit_save(vm, &state->pit, err);
}

int kvm_chips_load(struct accel_vm *vm, const struct irqchip_state *state, struct err *err)
{
	int code = kvm_irqchips_load(vm, state, err);

	return code < 0 ? code : kvm_pit_load(vm, &state->pit, err);
}
