/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of KVM's own interrupt controllers and of a CPU's activity: it goes there and back, also by way
 * of our own devices, and neither loses nor repeats a timer's interrupt. Skipped by name where there is no
 * usable /dev/kvm.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kvm/kvm_rig.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/irq.h"
#include "vmm/core/irqchip_state.h"

#define VECTOR      0x45 /* of messages */
#define MSI_ADDRESS 0xfee00000u
#define LVT_MASKED  (1u << 16)
#define SVR_ENABLED 0x1ffu
#define TEST_PIT_HZ 1193182

/* sti; hlt; out 0x11,al; hlt */
static const uint8_t wait_for_one[] = {0xfb, 0xf4, 0xe6, 0x11, 0xf4};

/* Every field that KVM keeps comes back as it was set. */
static void test_chips_there_and_back(void **state)
{
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	struct irqchip_state set = {0}, got = {0};
	struct err err = {0};

	set.pic.chip[0] = (struct pic_chip_state){.isr = 0x10,
						  .imr = 0xa5,
						  .lines = 0x11,
						  .elcr = 0x20,
						  .lowest = 3,
						  .vector_base = 0x30,
						  .init_state = PIC_INIT_DONE,
						  .needs_icw4 = true,
						  .read_isr = true,
						  .special_mask = true,
						  .fully_nested = true};
	set.pic.chip[1] = (struct pic_chip_state){.irr = 0x02,
						  .imr = 0xff,
						  .lines = 0x42,
						  .elcr = 0x0e,
						  .lowest = 7,
						  .vector_base = 0x38,
						  .init_state = PIC_INIT_ICW3,
						  .needs_icw4 = true,
						  .auto_eoi = true,
						  .rotate_on_auto_eoi = true};
	set.ioapic.select = 0x13;
	set.ioapic.id = 2;
	for (unsigned pin = 0; pin < IRQCHIP_IOAPIC_PINS; pin++)
		set.ioapic.entry[pin] = 0x0100000000010030ull + pin;
	set.ioapic.entry[5] = 0x0000000000019055ull;
	set.pit.control = 3;
	for (unsigned i = 0; i < 3; i++)
		set.pit.channel[i] = (struct pit_channel_state){.mode = 2,
								.access = 3,
								.gate = true,
								.running = true,
								.count = 0x8000 + i,
								.loaded_ns = clock_monotonic_ns()};
	set.pit.channel[1].write_second = true;
	set.pit.channel[1].write_low = 0x42;
	set.pit.channel[2].latched = true;
	set.pit.channel[2].latch = 0x1234;
	set.pit.channel[2].read_second = true;
	if (kvm_accel_ops.irqchip_state_set(rig->vm, &set, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(kvm_accel_ops.irqchip_state_get(rig->vm, &got, &err), 0);
	assert_memory_equal(&got.pic, &set.pic, sizeof(set.pic));
	assert_memory_equal(&got.ioapic, &set.ioapic, sizeof(set.ioapic));
	assert_int_equal(got.pit.control, set.pit.control);
	for (unsigned i = 0; i < 3; i++) {
		assert_in_range(got.pit.channel[i].loaded_ns, set.pit.channel[i].loaded_ns,
				clock_monotonic_ns());
		got.pit.channel[i].loaded_ns = set.pit.channel[i].loaded_ns;
		assert_memory_equal(&got.pit.channel[i], &set.pit.channel[i], sizeof(set.pit.channel[i]));
	}
	rig_destroy(rig);
}

/* Counters of 60,000 that have run for 40,000 clocks, twice through a new KVM; how long that took. The making
 * of the KVM does not count: in the rig it takes longer than there is. */
static uint64_t pit_pass(struct irqchip_state *got)
{
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	uint64_t start_ns = clock_monotonic_ns(), passed_ns;
	uint64_t loaded_ns = start_ns - muldiv64(40000, NS_PER_S, TEST_PIT_HZ);
	struct irqchip_state chips = {.pic.chip[0].vector_base = 0x20};
	struct err err = {0};

	for (unsigned i = 0; i < 3; i++)
		chips.pit.channel[i] = (struct pit_channel_state){.mode = i == 1 ? 0 : 2,
								  .access = 3,
								  .gate = true,
								  .running = true,
								  .count = 60000,
								  .loaded_ns = loaded_ns};
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(kvm_accel_ops.irqchip_state_set(rig->vm, &chips, &err), 0);
		assert_int_equal(kvm_accel_ops.irqchip_state_get(rig->vm, &got[i], &err), 0);
	}
	passed_ns = clock_monotonic_ns() - start_ns;
	rig_destroy(rig);
	return passed_ns;
}

/*
 * A count that runs once goes on with what is left of it, and one of which two thirds of a period have passed
 * twice has lost a tick to be made good. What is left are 17 ms: a passage that took most of them, on a busy
 * host, says nothing, and another is made.
 */
static void test_the_pits_time_survives(void **state)
{
	struct irqchip_state got[2] = {0};

	alarm(60);
	while (pit_pass(got) > muldiv64(15000, NS_PER_S, TEST_PIT_HZ))
		;
	alarm(0);
	assert_in_range(got[0].pit.channel[1].count, 5000, 20000);
	assert_int_equal(got[0].pit.channel[0].count, 60000);
	assert_int_equal(got[0].pic.chip[0].irr & 1, 0);
	assert_int_equal(got[1].pic.chip[0].irr & 1, 1);
}

static void test_a_lapic_there_and_back(void **state)
{
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	struct lapic_state set, got;
	struct err err = {0};

	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &set, &err), 0);
	assert_int_equal(set.base, 0xfee00900);
	assert_int_equal(set.id, 0);
	set.tpr = 0x20;
	set.ldr = 1u << 24;
	set.svr = SVR_ENABLED;
	set.isr[2] = 1u << 3;
	set.irr[3] = 1u << 9;
	set.tmr[2] = 1u << 3;
	set.icr_high = 1u << 24;
	set.icr_low = 0x40fd;
	set.lvt[0] = LVT_MASKED | 0xec;
	set.lvt[3] = LVT_MASKED | 0x700;
	set.lvt[5] = 0xfe;
	set.timer_divide = 3;
	set.timer_initial = 2000000000;
	set.timer_current = 1500000000;
	if (kvm_accel_ops.lapic_state_set(rig->vcpu[0], &set, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &got, &err), 0);
	/* Counts go on: KVMs before 5.10 begin anew with the initial one. */
	assert_in_range(got.timer_current, 1, 2000000000);
	got.timer_current = set.timer_current;
	assert_memory_equal(&got, &set, sizeof(set));
	rig_destroy(rig);
}

/* One that runs out while the CPU is parked is in the state, and only once. */
static void test_a_timer_that_runs_out_meanwhile(void **state)
{
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	struct lapic_state lapic;
	struct x86_cpu_state cpu;
	struct err err = {0};

	rig_code(rig, CODE_GPA, wait_for_one, sizeof(wait_for_one));
	rig_enter(rig);
	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &lapic, &err), 0);
	lapic.svr = SVR_ENABLED;
	lapic.lvt[0] = VECTOR;
	lapic.timer_divide = 0xb;
	lapic.timer_initial = lapic.timer_current = 100000;
	assert_int_equal(kvm_accel_ops.lapic_state_set(rig->vcpu[0], &lapic, &err), 0);
	usleep(5000);
	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &lapic, &err), 0);
	assert_int_equal(lapic.irr[VECTOR / 32], 1u << VECTOR % 32);
	assert_int_equal(lapic.timer_current, 0);
	assert_int_equal(lapic.timer_initial, 100000);
	/* Not an instruction was executed for it. */
	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &cpu, &err), 0);
	assert_int_equal(cpu.rip, CODE_GPA);
	assert_int_equal(cpu.rflags & 0x200, 0);
	/* Taken by the guest, it does not come again. */
	lapic.irr[VECTOR / 32] = 0;
	assert_int_equal(kvm_accel_ops.lapic_state_set(rig->vcpu[0], &lapic, &err), 0);
	usleep(5000);
	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &lapic, &err), 0);
	assert_int_equal(lapic.irr[VECTOR / 32], 0);
	assert_int_equal(lapic.timer_initial, 100000);
	rig_destroy(rig);
}

static void test_a_tsc_deadline_goes_along(void **state)
{
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	struct lapic_state set, got;
	struct err err = {0};

	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &set, &err), 0);
	set.svr = SVR_ENABLED;
	set.lvt[0] = 2u << 17 | 0xec;
	set.tsc_deadline = 1ull << 60;
	assert_int_equal(kvm_accel_ops.lapic_state_set(rig->vcpu[0], &set, &err), 0);
	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &got, &err), 0);
	assert_int_equal(got.tsc_deadline, set.tsc_deadline);
	assert_int_equal(got.lvt[0], set.lvt[0]);
	rig_destroy(rig);
}

/* Whether a CPU runs, is halted or waits for its start-up is KVM's to know. */
static void test_activity_there_and_back(void **state)
{
	static const enum x86_mp_state states[] = {X86_MP_HALTED, X86_MP_WAIT_FOR_SIPI, X86_MP_RUNNABLE};
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	struct x86_cpu_state cpu;
	struct err err = {0};

	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &cpu, &err), 0);
		cpu.mp_state = states[i];
		assert_int_equal(kvm_accel_ops.state_set(rig->vcpu[0], &cpu, &err), 0);
		assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &cpu, &err), 0);
		assert_int_equal(cpu.mp_state, states[i]);
	}
	rig_destroy(rig);
}

/* A start-up that a CPU has not carried out when it is parked is in its state. */
static void test_a_start_up_that_waits_is_in_the_state(void **state)
{
	struct lapic_state lapic;
	struct x86_cpu_state cpu;
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	if (!rig_has_irqchip(ACCEL_IRQCHIP_KERNEL))
		skip();
	rig = rig_create_as(2, (struct accel_vm_config){.irqchip = ACCEL_IRQCHIP_KERNEL});
	/* KVM has a new CPU on its APIC bus once something of its APIC was set. */
	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[1], &lapic, &err), 0);
	assert_int_equal(kvm_accel_ops.lapic_state_set(rig->vcpu[1], &lapic, &err), 0);
	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[1], &cpu, &err), 0);
	assert_int_equal(cpu.mp_state, X86_MP_WAIT_FOR_SIPI);
	kvm_accel_ops.msi_send(rig->vm, MSI_ADDRESS | 1u << 12, INTR_INIT << 8 | 1u << 14);
	kvm_accel_ops.msi_send(rig->vm, MSI_ADDRESS | 1u << 12, INTR_STARTUP << 8 | 1u << 14 | AP_GPA >> 12);
	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[1], &cpu, &err), 0);
	assert_int_equal(cpu.mp_state, X86_MP_RUNNABLE);
	assert_int_equal(cpu.segment[X86_CS].base, AP_GPA);
	assert_int_equal(cpu.rip, 0);
	rig_destroy(rig);
}

/* An INIT and a start-up that another accelerator had latched, and not carried out, when it gave the CPU
 * away. */
static void test_a_start_up_that_was_handed_over(void **state)
{
	struct x86_cpu_state cpu;
	struct err err = {0};
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);

	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &cpu, &err), 0);
	cpu.mp_state = X86_MP_WAIT_FOR_SIPI;
	assert_int_equal(kvm_accel_ops.state_set(rig->vcpu[0], &cpu, &err), 0);
	/* out 0x11,al */
	rig_code(rig, AP_GPA, (const uint8_t[]){0xe6, 0x11, 0xf4}, 3);
	kvm_accel_ops.vcpu_startup(rig->vcpu[0], AP_GPA >> 12);
	alarm(60);
	rig_run(rig);
	alarm(0);
	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &cpu, &err), 0);
	assert_int_equal(cpu.segment[X86_CS].base, AP_GPA);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chips_there_and_back),
		cmocka_unit_test(test_the_pits_time_survives),
		cmocka_unit_test(test_a_lapic_there_and_back),
		cmocka_unit_test(test_a_timer_that_runs_out_meanwhile),
		cmocka_unit_test(test_a_tsc_deadline_goes_along),
		cmocka_unit_test(test_activity_there_and_back),
		cmocka_unit_test(test_a_start_up_that_waits_is_in_the_state),
		cmocka_unit_test(test_a_start_up_that_was_handed_over),
	};

	return cmocka_run_group_tests_name("kvm_chip_states", tests, NULL, NULL);
}
