/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's own interrupt controllers through the accelerator's operations: lines, timer ticks, messages and
 * eventfds reach a guest, a split I/O APIC hears of its EOIs, kicks reach a CPU that sleeps in the kernel.
 * Skipped by name where there is no usable /dev/kvm.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kvm/kvm_rig.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/irq.h"
#include "vmm/core/irqchip_state.h"

#define HANDLER_GPA 0x3000
#define VECTOR      0x45 /* of messages */
#define PIC_VECTOR  0x20
#define MSI_ADDRESS 0xfee00000u
#define KICKS       500
#define LVT_MASKED  (1u << 16)
#define SVR_ENABLED 0x1ffu
#define ENTRY_LEVEL (1ull << 15)
#define TEST_PIT_HZ 1193182

/* The real-mode vector table's entry. */
static void rig_vector(struct rig *rig, uint8_t vector, uint16_t offset)
{
	const uint16_t entry[2] = {offset, 0};

	rig_code(rig, vector * 4u, entry, sizeof(entry));
}

/* mov al,0x11; out 0x20,al; mov al,0x20; out 0x21,al; mov al,4; out 0x21,al; mov al,1; out 0x21,al */
#define PIC_SETUP                                                                                            \
	0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21

/* The handler of a PIC's interrupt: mov al,0x77; out 0x10,al; mov al,0x20; out 0x20,al; iret */
static const uint8_t pic_handler[] = {0xb0, 0x77, 0xe6, 0x10, 0xb0, 0x20, 0xe6, 0x20, 0xcf};
/* That of a message: mov al,0x66; out 0x10,al; xor eax,eax; a32 mov [0xfee000b0],eax; iret */
static const uint8_t msi_handler[] = {0xb0, 0x66, 0xe6, 0x10, 0x66, 0x31, 0xc0, 0x67,
				      0x66, 0xa3, 0xb0, 0x00, 0xe0, 0xfe, 0xcf};
/* sti; hlt; out 0x11,al; hlt */
static const uint8_t wait_for_one[] = {0xfb, 0xf4, 0xe6, 0x11, 0xf4};

static void rig_enable_lapic(struct rig *rig)
{
	struct lapic_state lapic;
	struct err err = {0};

	assert_int_equal(kvm_accel_ops.lapic_state_get(rig->vcpu[0], &lapic, &err), 0);
	lapic.svr = SVR_ENABLED;
	if (kvm_accel_ops.lapic_state_set(rig->vcpu[0], &lapic, &err) < 0)
		fail_msg("%s", err.message);
}

/* Something that happens from outside while the guest sleeps. */
struct event {
	struct rig *rig;
	void (*happen)(struct rig *rig);
	pthread_t thread;
};

static void *event_main(void *opaque)
{
	struct event *event = opaque;

	usleep(20000);
	event->happen(event->rig);
	return NULL;
}

/* Runs the guest until it is done; 20 ms after its start the event happens. */
static void rig_run_with(struct rig *rig, void (*happen)(struct rig *rig))
{
	struct event event = {.rig = rig, .happen = happen};

	atomic_store(&rig->done, false);
	rig->log_count = 0;
	rig_enter(rig);
	alarm(60);
	assert_int_equal(pthread_create(&event.thread, NULL, event_main, &event), 0);
	rig_run(rig);
	pthread_join(event.thread, NULL);
	alarm(0);
}

static void expect_handled(const struct rig *rig, uint64_t mark)
{
	assert_int_equal(rig->log_count, 2);
	expect_access(rig, 0, (struct access){false, true, DATA_PORT, mark, 1, 0});
}

static void pulse_line_4(struct rig *rig)
{
	kvm_accel_ops.irq_line(rig->vm, 4, true);
	kvm_accel_ops.irq_line(rig->vm, 4, false);
}

static void test_a_line_wakes_a_cpu_that_sleeps_in_the_kernel(void **state)
{
	/* ...; mov al,0xef; out 0x21,al; sti; hlt; out 0x11,al; hlt */
	static const uint8_t code[] = {PIC_SETUP, 0xb0, 0xef, 0xe6, 0x21, 0xfb, 0xf4, 0xe6, 0x11, 0xf4};
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);

	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_code(rig, HANDLER_GPA, pic_handler, sizeof(pic_handler));
	rig_vector(rig, PIC_VECTOR + 4, HANDLER_GPA);
	rig_run_with(rig, pulse_line_4);
	expect_handled(rig, 0x77);
	rig_destroy(rig);
}

static void test_the_pit_ticks(void **state)
{
	/* ...; mov al,0x34; out 0x43,al; mov al,0; out 0x40,al; mov al,0x10; out 0x40,al; mov al,0xfe; out
	 * 0x21,al; sti; hlt; hlt; hlt; cli; out 0x11,al; hlt */
	static const uint8_t code[] = {PIC_SETUP, 0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x00, 0xe6, 0x40,
				       0xb0,      0x10, 0xe6, 0x40, 0xb0, 0xfe, 0xe6, 0x21, 0xfb,
				       0xf4,      0xf4, 0xf4, 0xfa, 0xe6, 0x11, 0xf4};
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	struct irqchip_state chips = {0};
	struct err err = {0};

	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_code(rig, HANDLER_GPA, pic_handler, sizeof(pic_handler));
	rig_vector(rig, PIC_VECTOR, HANDLER_GPA);
	rig_enter(rig);
	alarm(60);
	rig_run(rig);
	alarm(0);
	assert_true(rig->log_count >= 4);
	assert_int_equal(kvm_accel_ops.irqchip_state_get(rig->vm, &chips, &err), 0);
	assert_int_equal(chips.pit.channel[0].mode, 2);
	assert_int_equal(chips.pit.channel[0].count, 0x1000);
	assert_true(chips.pit.channel[0].running);
	assert_int_equal(chips.pic.chip[0].vector_base, PIC_VECTOR);
	assert_int_equal(chips.pic.chip[0].imr, 0xfe);
	rig_destroy(rig);
}

static void send_message(struct rig *rig)
{
	kvm_accel_ops.msi_send(rig->vm, MSI_ADDRESS, VECTOR);
}

static void check_message(enum accel_irqchip irqchip)
{
	struct rig *rig = rig_with_irqchip(irqchip);

	rig_code(rig, CODE_GPA, wait_for_one, sizeof(wait_for_one));
	rig_code(rig, HANDLER_GPA, msi_handler, sizeof(msi_handler));
	rig_vector(rig, VECTOR, HANDLER_GPA);
	rig_enable_lapic(rig);
	rig_run_with(rig, send_message);
	expect_handled(rig, 0x66);
	rig_destroy(rig);
}

static void test_a_message_kernel(void **state)
{
	check_message(ACCEL_IRQCHIP_KERNEL);
}

static void test_a_message_split(void **state)
{
	check_message(ACCEL_IRQCHIP_SPLIT);
}

/* The I/O APIC is ours: what its levels have sent comes back as an EOI. */
static void send_level(struct rig *rig)
{
	kvm_accel_ops.ioapic_route(rig->vm, 5, VECTOR | ENTRY_LEVEL);
	kvm_accel_ops.msi_send(rig->vm, MSI_ADDRESS, VECTOR | 1u << 15 | 1u << 14);
}

static void test_a_split_ioapic_hears_of_the_end(void **state)
{
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_SPLIT);

	rig_code(rig, CODE_GPA, wait_for_one, sizeof(wait_for_one));
	rig_code(rig, HANDLER_GPA, msi_handler, sizeof(msi_handler));
	rig_vector(rig, VECTOR, HANDLER_GPA);
	rig_enable_lapic(rig);
	rig_run_with(rig, send_level);
	expect_handled(rig, 0x66);
	assert_int_equal(rig->eois, 1);
	assert_int_equal(rig->eoi_vector, VECTOR);
	rig_destroy(rig);
}

static void raise_pic(struct rig *rig)
{
	atomic_store(&rig->vector, 0x24);
	kvm_accel_ops.vcpu_intr(rig->vcpu[0], true);
}

/* The PIC is ours: its interrupt goes through LINT0 as ExtINT. */
static void test_a_split_pic_interrupts(void **state)
{
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_SPLIT);

	rig_code(rig, CODE_GPA, wait_for_one, sizeof(wait_for_one));
	rig_code(rig, HANDLER_GPA, (const uint8_t[]){0xb0, 0x77, 0xe6, 0x10, 0xcf}, 5);
	rig_vector(rig, 0x24, HANDLER_GPA);
	rig_run_with(rig, raise_pic);
	expect_handled(rig, 0x77);
	rig_destroy(rig);
}

static void signal_event(struct rig *rig)
{
	const uint64_t one = 1;

	assert_int_equal(write(rig->event_fd, &one, sizeof(one)), sizeof(one));
}

static void check_message_by_eventfd(enum accel_irqchip irqchip)
{
	struct rig *rig = rig_with_irqchip(irqchip);
	struct irqfd_config config = {
		.resample_fd = -1, .is_msi = true, .msi_address = MSI_ADDRESS, .msi_data = VECTOR + 1};
	struct err err = {0};
	unsigned handle;

	rig->event_fd = config.fd = eventfd(0, EFD_NONBLOCK);
	if (kvm_accel_ops.irqfd_add(rig->vm, &config, &handle, &err) == -ENOTSUP)
		skip();
	assert_int_equal(kvm_accel_ops.irqfd_update(rig->vm, handle, MSI_ADDRESS, VECTOR, &err), 0);
	rig_code(rig, CODE_GPA, wait_for_one, sizeof(wait_for_one));
	rig_code(rig, HANDLER_GPA, msi_handler, sizeof(msi_handler));
	rig_vector(rig, VECTOR, HANDLER_GPA);
	rig_enable_lapic(rig);
	rig_run_with(rig, signal_event);
	expect_handled(rig, 0x66);
	kvm_accel_ops.irqfd_remove(rig->vm, handle);
	close(rig->event_fd);
	rig_destroy(rig);
}

static void test_a_message_by_eventfd_kernel(void **state)
{
	check_message_by_eventfd(ACCEL_IRQCHIP_KERNEL);
}

static void test_a_message_by_eventfd_split(void **state)
{
	check_message_by_eventfd(ACCEL_IRQCHIP_SPLIT);
}

/* The line is a level (ELCR): it stays up until the PIC's EOI, which its owner is told of. */
static void test_a_level_by_eventfd_is_sampled_again(void **state)
{
	/* ...; mov al,0x20; mov dx,0x4d0; out dx,al; mov al,0xdf; out 0x21,al; sti; hlt; out 0x11,al; hlt */
	static const uint8_t code[] = {PIC_SETUP, 0xb0, 0x20, 0xba, 0xd0, 0x04, 0xee, 0xb0,
				       0xdf,      0xe6, 0x21, 0xfb, 0xf4, 0xe6, 0x11, 0xf4};
	struct rig *rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL);
	struct irqfd_config config = {.line = 5};
	struct err err = {0};
	uint64_t resampled = 0;
	unsigned handle;

	rig->event_fd = config.fd = eventfd(0, EFD_NONBLOCK);
	config.resample_fd = eventfd(0, EFD_NONBLOCK);
	if (kvm_accel_ops.irqfd_add(rig->vm, &config, &handle, &err) == -ENOTSUP)
		skip();
	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_code(rig, HANDLER_GPA, pic_handler, sizeof(pic_handler));
	rig_vector(rig, PIC_VECTOR + 5, HANDLER_GPA);
	rig_run_with(rig, signal_event);
	expect_handled(rig, 0x77);
	assert_int_equal(read(config.resample_fd, &resampled, sizeof(resampled)), sizeof(resampled));
	assert_int_equal(resampled, 1);
	kvm_accel_ops.irqfd_remove(rig->vm, handle);
	close(config.fd);
	close(config.resample_fd);
	rig_destroy(rig);
}

struct kicker {
	struct rig *rig;
	_Atomic unsigned taken;
};

static void *kick_often(void *opaque)
{
	struct kicker *kicker = opaque;

	for (unsigned i = 0; i < KICKS; i++) {
		kvm_accel_ops.vcpu_kick(kicker->rig->vcpu[0]);
		while (atomic_load(&kicker->taken) <= i)
			;
	}
	return NULL;
}

static void test_no_kick_is_lost_on_a_cpu_that_sleeps_in_the_kernel(void **state)
{
	static const uint8_t code[] = {0xf4, 0xeb, 0xfd}; /* hlt; jmp back */
	struct kicker kicker = {.rig = rig_with_irqchip(ACCEL_IRQCHIP_KERNEL)};
	struct x86_cpu_state cpu;
	struct err err = {0};
	pthread_t thread;

	rig_code(kicker.rig, CODE_GPA, code, sizeof(code));
	rig_enter(kicker.rig);
	alarm(60);
	assert_int_equal(pthread_create(&thread, NULL, kick_often, &kicker), 0);
	while (atomic_load(&kicker.taken) < KICKS) {
		assert_int_equal(kvm_accel_ops.vcpu_run(kicker.rig->vcpu[0], &err), ACCEL_EXIT_KICKED);
		atomic_fetch_add(&kicker.taken, 1);
	}
	pthread_join(thread, NULL);
	alarm(0);
	assert_int_equal(kvm_accel_ops.state_get(kicker.rig->vcpu[0], &cpu, &err), 0);
	assert_true(cpu.mp_state == X86_MP_HALTED || cpu.mp_state == X86_MP_RUNNABLE);
	rig_destroy(kicker.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_wakes_a_cpu_that_sleeps_in_the_kernel),
		cmocka_unit_test(test_the_pit_ticks),
		cmocka_unit_test(test_a_message_kernel),
		cmocka_unit_test(test_a_message_split),
		cmocka_unit_test(test_a_split_ioapic_hears_of_the_end),
		cmocka_unit_test(test_a_split_pic_interrupts),
		cmocka_unit_test(test_a_message_by_eventfd_kernel),
		cmocka_unit_test(test_a_message_by_eventfd_split),
		cmocka_unit_test(test_a_level_by_eventfd_is_sampled_again),
		cmocka_unit_test(test_no_kick_is_lost_on_a_cpu_that_sleeps_in_the_kernel),
	};

	return cmocka_run_group_tests_name("kvm_chips", tests, NULL, NULL);
}
