/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM accelerator through its operations alone, on small real-mode payloads: ports, memory, interrupts,
 * kicks, INIT and start-up, whole state there and back. Skipped by name where there is no usable /dev/kvm;
 * one that interprets will do.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kvm/kvm_rig.h"
#include "vmm/base/err.h"
#include "vmm/core/accel.h"
#include "vmm/core/gmem.h"

#define KICKS    2000
#define STARTUPS 3000

static void test_ports(void **state)
{
	/* mov al,0x5a; out 0x10,al; in ax,0x10; out 0x10,ax; mov si,0x1100; mov cx,3; mov dx,0x10; cld; rep
	 * outsb; out 0x11,al */
	static const uint8_t code[] = {0xb0, 0x5a, 0xe6, 0x10, 0xe5, 0x10, 0xe7, 0x10, 0xbe, 0x00, 0x11, 0xb9,
				       0x03, 0x00, 0xba, 0x10, 0x00, 0xfc, 0xf3, 0x6e, 0xe6, 0x11, 0xf4};
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	rig->input = 0x1234;
	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_code(rig, 0x1100, "abc", 3);
	rig_enter(rig);
	rig_run(rig);
	expect_access(rig, 0,
		      (struct access){.is_write = true, .address = 0x10, .value = 0x5a, .size_bytes = 1});
	expect_access(rig, 1, (struct access){.address = 0x10, .size_bytes = 2});
	expect_access(rig, 2,
		      (struct access){.is_write = true, .address = 0x10, .value = 0x1234, .size_bytes = 2});
	for (unsigned i = 0; i < 3; i++)
		expect_access(rig, 3 + i,
			      (struct access){.is_write = true,
					      .address = 0x10,
					      .value = (uint64_t) "abc"[i],
					      .size_bytes = 1});
	rig_destroy(rig);
}

static void test_mmio(void **state)
{
	/* mov eax,[dword 0x200010]; mov [dword 0x200020],ax; mov [dword 0x200030],eax; out 0x11,al; hlt */
	static const uint8_t code[] = {0x67, 0x66, 0xa1, 0x10, 0x00, 0x20, 0x00, 0x67, 0xa3, 0x20, 0x00, 0x20,
				       0x00, 0x67, 0x66, 0xa3, 0x30, 0x00, 0x20, 0x00, 0xe6, 0x11, 0xf4};
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	rig->input = 0x89abcdef;
	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_enter(rig);
	rig_run(rig);
	expect_access(rig, 0, (struct access){.is_mmio = true, .address = HOLE_GPA + 0x10, .size_bytes = 4});
	expect_access(rig, 1, (struct access){true, true, HOLE_GPA + 0x20, 0xcdef, 2, 0});
	expect_access(rig, 2, (struct access){true, true, HOLE_GPA + 0x30, 0x89abcdef, 4, 0});
	rig_destroy(rig);
}

static void *raise_interrupt(void *opaque)
{
	struct rig *rig = opaque;

	usleep(20000);
	atomic_store(&rig->vector, 0x21);
	kvm_accel_ops.vcpu_intr(rig->vcpu[0], true);
	return NULL;
}

static void test_interrupt_wakes_a_halted_cpu(void **state)
{
	/* sti; hlt; out 0x11,al; hlt   handler at 0x3000: mov al,0x77; out 0x10,al; iret */
	static const uint8_t code[] = {0xfb, 0xf4, 0xe6, 0x11, 0xf4};
	static const uint8_t handler[] = {0xb0, 0x77, 0xe6, 0x10, 0xcf};
	static const uint8_t entry[] = {0x00, 0x30, 0x00, 0x00};
	struct rig *rig;
	pthread_t thread;

	need_kvm();
	rig = rig_create(1);
	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_code(rig, 0x3000, handler, sizeof(handler));
	rig_code(rig, 0x21 * 4, entry, sizeof(entry));
	rig_enter(rig);
	assert_int_equal(pthread_create(&thread, NULL, raise_interrupt, rig), 0);
	rig_run(rig);
	pthread_join(thread, NULL);
	assert_int_equal(rig->log_count, 2);
	expect_access(rig, 0,
		      (struct access){.is_write = true, .address = 0x10, .value = 0x77, .size_bytes = 1});
	rig_destroy(rig);
}

struct kicker {
	struct rig *rig;
	_Atomic unsigned sent, taken;
};

/* Kicks, and waits for each to have come through: one that is lost hangs the test. */
static void *kick_often(void *opaque)
{
	struct kicker *kicker = opaque;

	while (atomic_load(&kicker->sent) < KICKS) {
		unsigned number = atomic_fetch_add(&kicker->sent, 1);

		kvm_accel_ops.vcpu_kick(kicker->rig->vcpu[0]);
		while (atomic_load(&kicker->taken) <= number)
			;
	}
	return NULL;
}

static void test_no_kick_is_lost(void **state)
{
	static const uint8_t code[] = {0xeb, 0xfe}; /* jmp $ */
	struct kicker kicker = {0};
	pthread_t thread;

	need_kvm();
	kicker.rig = rig_create(1);
	rig_code(kicker.rig, CODE_GPA, code, sizeof(code));
	rig_enter(kicker.rig);
	alarm(60);
	assert_int_equal(pthread_create(&thread, NULL, kick_often, &kicker), 0);
	while (atomic_load(&kicker.taken) < KICKS) {
		struct err err = {0};

		assert_int_equal(kvm_accel_ops.vcpu_run(kicker.rig->vcpu[0], &err), ACCEL_EXIT_KICKED);
		atomic_fetch_add(&kicker.taken, 1);
	}
	pthread_join(thread, NULL);
	alarm(0);
	rig_destroy(kicker.rig);
}

static void test_startup_of_a_second_cpu(void **state)
{
	/* out 0x10,al; hlt */
	static const uint8_t code[] = {0xe6, 0x10, 0xf4};
	struct x86_cpu_state cpu;
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	rig = rig_create(2);
	rig_code(rig, AP_GPA, code, sizeof(code));
	assert_int_equal(kvm_accel_ops.vcpu_run(rig->vcpu[1], &err), ACCEL_EXIT_HALTED);
	kvm_accel_ops.vcpu_init(rig->vcpu[1]);
	kvm_accel_ops.vcpu_startup(rig->vcpu[1], AP_GPA >> 12);
	kvm_accel_ops.vcpu_wait(rig->vcpu[1]);
	assert_int_equal(kvm_accel_ops.vcpu_run(rig->vcpu[1], &err), ACCEL_EXIT_HALTED);
	expect_access(rig, 0, (struct access){.is_write = true, .address = 0x10, .size_bytes = 1});
	assert_int_equal(rig->log[0].cpu, 1);
	/* An INIT takes it back to where it waits. */
	kvm_accel_ops.vcpu_init(rig->vcpu[1]);
	assert_int_equal(kvm_accel_ops.vcpu_run(rig->vcpu[1], &err), ACCEL_EXIT_HALTED);
	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[1], &cpu, &err), 0);
	assert_int_equal(cpu.mp_state, X86_MP_WAIT_FOR_SIPI);
	assert_int_equal(cpu.segment[X86_CS].base, 0xffff0000);
	rig_destroy(rig);
}

struct starter {
	struct rig *rig;
	_Atomic unsigned started; /* CPUs 1 that the guest has seen come up */
};

/* INIT and start-up back to back, as kernels send them to a CPU they know to be new: at another page each
 * time. */
static void *start_often(void *opaque)
{
	struct starter *starter = opaque;

	for (unsigned i = 0; i < STARTUPS; i++) {
		kvm_accel_ops.vcpu_init(starter->rig->vcpu[1]);
		kvm_accel_ops.vcpu_startup(starter->rig->vcpu[1], (uint8_t)((AP_GPA >> 12) + (i & 1)));
		while (atomic_load(&starter->started) <= i)
			usleep(10);
	}
	return NULL;
}

/* A start-up's vector that comes while the INIT before it is carried out is the one that counts. */
static void test_startup_right_behind_an_init(void **state)
{
	/* mov ax,cs; out 0x10,ax; hlt */
	static const uint8_t code[] = {0x8c, 0xc8, 0xe7, 0x10, 0xf4};
	struct starter starter = {0};
	struct rig *rig;
	pthread_t thread;
	unsigned i = 0;

	need_kvm();
	starter.rig = rig = rig_create(2);
	rig_code(rig, AP_GPA, code, sizeof(code));
	rig_code(rig, AP_GPA + 0x1000, code, sizeof(code));
	alarm(120);
	assert_int_equal(pthread_create(&thread, NULL, start_often, &starter), 0);
	while (i < STARTUPS) {
		struct err err = {0};

		kvm_accel_ops.vcpu_wait(rig->vcpu[1]);
		assert_int_equal(kvm_accel_ops.vcpu_run(rig->vcpu[1], &err), ACCEL_EXIT_HALTED);
		if (rig->log_count == 0)
			continue;
		expect_access(rig, 0,
			      (struct access){false, true, 0x10, (AP_GPA >> 4) + (i & 1) * 0x100, 2, 1});
		rig->log_count = 0;
		atomic_store(&starter.started, ++i);
	}
	pthread_join(thread, NULL);
	alarm(0);
	rig_destroy(rig);
}

static uint64_t *msr_of(struct x86_cpu_state *state, uint32_t index)
{
	uint32_t i = 0;

	while (i < state->msr_count && state->msr[i].index != index)
		i++;
	if (i == state->msr_count)
		fail_msg("MSR 0x%x is not in the state", index);
	return &state->msr[i].value;
}

/* A 64-bit state with every kind of register in it. */
static void fill_state(struct x86_cpu_state *state)
{
	for (unsigned i = 0; i < X86_GPR_COUNT; i++)
		state->gpr[i] = 0x1111111111111111ull * i;
	state->rip = 0xffffffff80001234ull;
	state->rflags = 0x246;
	state->cr0 = 0x80000031;
	state->cr2 = 0x123456789000;
	state->cr3 = 0x5000;
	state->cr4 = 0x6a0;
	state->cr8 = 5;
	state->efer = 0xd01;
	state->segment[X86_CS] =
		(struct x86_segment_state){.limit = UINT32_MAX, .selector = 0x10, .attributes = 0xa09b};
	state->segment[X86_GS].base = 0xffff888000000000ull;
	state->gdtr = (struct x86_table_state){.base = 0xfffffe0000001000ull, .limit = 0x7f};
	state->dr[0] = 0xdeadbeef;
	state->dr[7] = 0x402;
	memcpy(state->xsave + 160, "an xmm register!", 16);
	state->xsave[512] |= 2;
	*msr_of(state, 0xc0000082) = 0xffffffff81000000ull;
	*msr_of(state, 0x174) = 0x10;
	state->interrupt_shadow = true;
	state->nmi_masked = true;
	state->mp_state = X86_MP_HALTED;
}

static void test_state_there_and_back(void **opaque)
{
	struct x86_cpu_state set, got;
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &set, &err), 0);
	fill_state(&set);
	if (kvm_accel_ops.state_set(rig->vcpu[0], &set, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &got, &err), 0);
	assert_memory_equal(got.gpr, set.gpr, sizeof(set.gpr));
	assert_int_equal(got.rip, set.rip);
	assert_int_equal(got.rflags, set.rflags);
	assert_int_equal(got.cr0, set.cr0);
	assert_int_equal(got.cr2, set.cr2);
	assert_int_equal(got.cr3, set.cr3);
	assert_int_equal(got.cr4, set.cr4);
	assert_int_equal(got.cr8, set.cr8);
	assert_int_equal(rig->cr8, set.cr8);
	assert_int_equal(got.efer, set.efer);
	assert_int_equal(got.segment[X86_CS].attributes, set.segment[X86_CS].attributes);
	assert_int_equal(got.segment[X86_GS].base, set.segment[X86_GS].base);
	assert_int_equal(got.gdtr.base, set.gdtr.base);
	assert_int_equal(got.dr[0], set.dr[0]);
	assert_int_equal(got.dr[7], set.dr[7]);
	assert_memory_equal(got.xsave + 160, "an xmm register!", 16);
	assert_int_equal(*msr_of(&got, 0xc0000082), 0xffffffff81000000ull);
	assert_int_equal(*msr_of(&got, 0x174), 0x10);
	assert_true(got.interrupt_shadow);
	assert_true(got.nmi_masked);
	assert_int_equal(got.mp_state, X86_MP_HALTED);
	rig_destroy(rig);
}

static void test_triple_fault(void **state)
{
	/* lidt [0x1100]; int3, with a table of no length */
	static const uint8_t code[] = {0x0f, 0x01, 0x1e, 0x00, 0x11, 0xcc};
	char finding[128];
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	/* A KVM that interprets has been seen to spin here for minutes. */
	if (kvm_accel_ops.calibrate(finding, sizeof(finding), &err) < 0)
		skip();
	rig = rig_create(1);
	rig_code(rig, CODE_GPA, code, sizeof(code));
	rig_enter(rig);
	assert_int_equal(kvm_accel_ops.vcpu_run(rig->vcpu[0], &err), ACCEL_EXIT_SHUTDOWN);
	rig_destroy(rig);
}

static void test_memory_comes_and_goes(void **state)
{
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	rig = rig_create(1);
	assert_int_equal(gmem_add(rig->gmem, 4ull << 30, RAM_BYTES, GMEM_ROM, &err), 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(kvm_accel_ops.mem_map(rig->vm, gmem_region_at(rig->gmem, 1), &err), 0);
		assert_int_equal(kvm_accel_ops.mem_unmap(rig->vm, 4ull << 30, &err), 0);
	}
	assert_int_equal(kvm_accel_ops.mem_unmap(rig->vm, 4ull << 30, &err), -ENOENT);
	rig_destroy(rig);
}

static void test_calibration_speaks(void **state)
{
	char finding[128] = "";
	struct err err = {0};
	int code;

	need_kvm();
	code = kvm_accel_ops.calibrate(finding, sizeof(finding), &err);
	assert_true(code == 0 || code == -ERANGE);
	assert_true(code == 0 ? finding[0] : err.message[0]);
}

/* The access of the instruction that an INIT comes after. */
static uint64_t read_and_start_anew(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	struct rig *rig = opaque;

	kvm_accel_ops.vcpu_init(rig->vcpu[1]);
	kvm_accel_ops.vcpu_startup(rig->vcpu[1], (AP_GPA >> 12) + 1);
	return 0x5a5a;
}

/* An instruction that waits for its memory's answer ends before the INIT, and not in what runs after it. */
static void test_an_init_waits_for_the_access(void **state)
{
	/* mov ax,0xffff; mov ds,ax; mov ax,[0x50] (behind RAM); out 0x10,al; out 0x11,al; hlt */
	static const uint8_t code[] = {0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xa1, 0x50,
				       0x00, 0xe6, 0x10, 0xe6, 0x11, 0xf4};
	/* nop; nop; out 0x10,al; out 0x11,al; hlt */
	static const uint8_t anew[] = {0x90, 0x90, 0xe6, 0x10, 0xe6, 0x11, 0xf4};
	struct err err = {0};
	struct rig *rig;

	need_kvm();
	rig = rig_create(2);
	rig->host.mmio_read = read_and_start_anew;
	rig_code(rig, AP_GPA, code, sizeof(code));
	rig_code(rig, AP_GPA + 0x1000, anew, sizeof(anew));
	kvm_accel_ops.vcpu_init(rig->vcpu[1]);
	kvm_accel_ops.vcpu_startup(rig->vcpu[1], AP_GPA >> 12);
	while (!atomic_load(&rig->done)) {
		if (kvm_accel_ops.vcpu_run(rig->vcpu[1], &err) == ACCEL_EXIT_FAILED)
			fail_msg("%s", err.message);
	}
	assert_int_equal(rig->log_count, 2);
	expect_access(rig, 0, (struct access){false, true, DATA_PORT, 0, 1, 1});
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_mmio),
		cmocka_unit_test(test_interrupt_wakes_a_halted_cpu),
		cmocka_unit_test(test_no_kick_is_lost),
		cmocka_unit_test(test_startup_of_a_second_cpu),
		cmocka_unit_test(test_startup_right_behind_an_init),
		cmocka_unit_test(test_state_there_and_back),
		cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_memory_comes_and_goes),
		cmocka_unit_test(test_calibration_speaks),
		cmocka_unit_test(test_an_init_waits_for_the_access),
	};

	return cmocka_run_group_tests_name("kvm", tests, NULL, NULL);
}
