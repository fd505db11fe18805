/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vCPU's state between KVM and the built-in CPU: what the one saves the other loads and gives back
 * unchanged, for random states of every mode; clocks that go on; a program that is passed to and fro while it
 * runs. Skipped by name where there is no usable /dev/kvm; one that interprets will do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/accel.h"
#include "vmm/core/gmem.h"

extern const struct accel_ops kvm_accel_ops;
extern const struct accel_ops tcg_accel_ops;

#define RAM_BYTES 0x100000u
#define CODE_GPA  0x1000u
#define DATA_GPA  0x3000u
#define DONE_PORT 0x11
#define STATES    40
#define PASSES    300

#define UNUSABLE X86_SEGMENT_UNUSABLE
#define XSAVE_BV 512

enum { KVM, TCG, SIDES };

static const struct accel_ops *const side_ops[SIDES] = {&kvm_accel_ops, &tcg_accel_ops};

struct rig {
	struct accel_host host;
	struct gmem *gmem;
	uint8_t *ram;
	struct x86_cpu_capabilities capabilities;
	struct accel_vm *vm[SIDES];
	struct accel_vcpu *vcpu[SIDES];
	uint64_t cr8;
	bool done;
	uint64_t random;
};

static uint64_t rig_mmio_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	return 0;
}

static void rig_mmio_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
}

static uint64_t rig_pio_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	return 0;
}

static void rig_pio_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
	struct rig *rig = opaque;

	if (port == DONE_PORT)
		rig->done = true;
	kvm_accel_ops.vcpu_kick(rig->vcpu[KVM]); /* which comes back after the access, if it is running */
}

static int rig_acknowledge(void *opaque, unsigned cpu)
{
	return -1;
}

static bool rig_msr_read(void *opaque, unsigned cpu, uint32_t index, uint64_t *value)
{
	*value = 0xfee00900;
	return index == 0x1b;
}

static bool rig_msr_write(void *opaque, unsigned cpu, uint32_t index, uint64_t value)
{
	return false;
}

static uint64_t rig_cr8_read(void *opaque, unsigned cpu)
{
	return ((struct rig *)opaque)->cr8;
}

static void rig_cr8_write(void *opaque, unsigned cpu, uint64_t value)
{
	((struct rig *)opaque)->cr8 = value;
}

static void rig_ferr(void *opaque, unsigned cpu, bool level)
{
}

static void need_kvm(void)
{
	if (kvm_accel_ops.probe(NULL) < 0)
		skip();
}

static void rig_add_side(struct rig *rig, unsigned side)
{
	const struct accel_ops *ops = side_ops[side];
	const struct accel_vm_config vm = {.host = &rig->host, .cpu_count = 1};
	struct x86_cpuid_table cpuid;
	const struct accel_vcpu_config vcpu = {.cpu_count = 1, .cpuid = &cpuid};
	struct err err = {0};

	assert_int_equal(x86_cpu_model_build(x86_cpu_model_find("x86-64", &err), &rig->capabilities, 0, 1,
					     &cpuid, &err),
			 0);
	rig->vm[side] = ops->vm_create(&vm, &err);
	if (!rig->vm[side])
		fail_msg("%s", err.message);
	assert_int_equal(ops->mem_map(rig->vm[side], gmem_region_at(rig->gmem, 0), &err), 0);
	rig->vcpu[side] = ops->vcpu_create(rig->vm[side], &vcpu, &err);
	if (!rig->vcpu[side])
		fail_msg("%s", err.message);
}

static struct rig *rig_create(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct x86_cpu_capabilities other = {0};
	struct err err = {0};

	rig->host = (struct accel_host){
		.opaque = rig,
		.mmio_read = rig_mmio_read,
		.mmio_write = rig_mmio_write,
		.pio_read = rig_pio_read,
		.pio_write = rig_pio_write,
		.intr_acknowledge = rig_acknowledge,
		.apic_msr_read = rig_msr_read,
		.apic_msr_write = rig_msr_write,
		.cr8_read = rig_cr8_read,
		.cr8_write = rig_cr8_write,
		.ferr = rig_ferr,
	};
	rig->random = 88172645463325252ull;
	rig->gmem = gmem_create();
	assert_int_equal(gmem_add(rig->gmem, 0, RAM_BYTES, GMEM_RAM, &err), 0);
	rig->ram = gmem_span(rig->gmem, 0, RAM_BYTES);
	assert_int_equal(kvm_accel_ops.capabilities(&rig->capabilities, &err), 0);
	assert_int_equal(tcg_accel_ops.capabilities(&other, &err), 0);
	assert_int_equal(x86_cpu_capabilities_meet(&rig->capabilities, &other, &err), 0);
	rig_add_side(rig, KVM);
	rig_add_side(rig, TCG);
	return rig;
}

static void rig_destroy(struct rig *rig)
{
	for (unsigned side = 0; side < SIDES; side++) {
		side_ops[side]->vcpu_destroy(rig->vcpu[side]);
		side_ops[side]->vm_destroy(rig->vm[side]);
	}
	gmem_destroy(rig->gmem);
	free(rig);
}

static void get(struct rig *rig, unsigned side, struct x86_cpu_state *state)
{
	struct err err = {0};

	if (side_ops[side]->state_get(rig->vcpu[side], state, &err) < 0)
		fail_msg("%s", err.message);
}

static void set(struct rig *rig, unsigned side, const struct x86_cpu_state *state)
{
	struct err err = {0};

	if (side_ops[side]->state_set(rig->vcpu[side], state, &err) < 0)
		fail_msg("%s: %s", side_ops[side]->name, err.message);
}

/* xorshift64: the same states in every run. */
static uint64_t draw(struct rig *rig)
{
	rig->random ^= rig->random << 13;
	rig->random ^= rig->random >> 7;
	rig->random ^= rig->random << 17;
	return rig->random;
}

static uint64_t draw_canonical(struct rig *rig)
{
	return (uint64_t)((int64_t)(draw(rig) << 16) >> 16);
}

/* Data or code; the granularity bit says no more than the limit does. */
static struct x86_segment_state draw_segment(struct rig *rig, unsigned type, unsigned dpl)
{
	bool big = draw(rig) & 1;

	return (struct x86_segment_state){
		.base = (uint32_t)draw(rig),
		.limit = big ? UINT32_MAX : (uint32_t)draw(rig) & 0xfffff,
		.selector = (uint16_t)((draw(rig) & 0xfff8) | dpl),
		.attributes =
			(uint16_t)(type | 0x90 | dpl << 5 | (draw(rig) & 1) << 14 | (big ? 0x8000u : 0)),
	};
}

enum mode { MODE_REAL, MODE_PROTECTED, MODE_PAGED32, MODE_PAE, MODE_LONG, MODE_COMPATIBILITY, MODES };

static void draw_mode(struct rig *rig, struct x86_cpu_state *state, enum mode mode)
{
	const unsigned dpl = mode == MODE_REAL ? 0 : draw(rig) & 1 ? 3 : 0;

	state->cr0 =
		0x10 | (mode > MODE_REAL) | (mode >= MODE_PAGED32 ? 0x80010000u : 0) | (draw(rig) & 0x2e);
	state->cr3 = draw(rig) & (RAM_BYTES - 1) & ~0xfffull;
	state->cr4 = (mode >= MODE_PAE ? 0x20 : 0) | (draw(rig) & 0x6dc);
	state->efer = (draw(rig) & 0x801) | (mode >= MODE_LONG ? 0x500 : 0);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		state->segment[i] = draw_segment(rig, i == X86_CS ? 11 : 3, dpl);
	if (mode == MODE_LONG)
		state->segment[X86_CS].attributes = (uint16_t)(0xa09b | dpl << 5);
	if (mode == MODE_COMPATIBILITY)
		state->segment[X86_CS].attributes = (uint16_t)(0xc09b | dpl << 5);
	if (mode >= MODE_LONG) {
		state->segment[X86_CS].base = 0;
		state->segment[X86_CS].limit = UINT32_MAX;
		state->segment[X86_FS].base = draw_canonical(rig);
		state->segment[X86_GS].base = draw_canonical(rig);
	}
	if (mode == MODE_REAL)
		for (unsigned i = X86_ES; i <= X86_GS; i++)
			state->segment[i] = (struct x86_segment_state){
				.base = state->segment[i].selector << 4,
				.limit = 0xffff,
				.selector = state->segment[i].selector,
				.attributes = i == X86_CS ? 0x9b : 0x93,
			};
}

static void draw_xsave(struct rig *rig, struct x86_cpu_state *state)
{
	uint8_t *area = state->xsave;

	memset(area, 0, sizeof(state->xsave));
	area[0] = 0x7f; /* FCW: all masked, extended precision */
	area[1] = 3;
	area[2] = (uint8_t)(draw(rig) & 0x3f);
	area[3] = (uint8_t)(draw(rig) & 0x47);
	area[4] = (uint8_t)draw(rig);
	area[24] = 0x80; /* MXCSR: all masked */
	area[25] = 0x1f;
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 10; k++)
			area[32 + 16 * i + k] = (uint8_t)draw(rig);
	for (unsigned i = 160; i < 416; i++)
		area[i] = (uint8_t)draw(rig);
	area[XSAVE_BV] = 3;
	state->xcr0 = 1;
}

static void draw_event(struct rig *rig, struct x86_cpu_state *state)
{
	memset(&state->event, 0, sizeof(state->event));
	switch (draw(rig) % 4) {
	case 0:
		state->event = (struct x86_event_state){
			.injected = true, .is_interrupt = true, .vector = (uint8_t)(32 + draw(rig) % 200)};
		state->rflags |= 0x200;
		break;
	case 1:
		state->event = (struct x86_event_state){.injected = true,
							.vector = 14,
							.has_error_code = state->cr0 & 1,
							.error_code = state->cr0 & 1 ? draw(rig) & 7 : 0};
		break;
	default: break;
	}
	state->nmi_masked = draw(rig) & 1;
	state->interrupt_shadow = !state->event.injected && (draw(rig) & 1);
	state->mp_state = draw(rig) & 1 ? X86_MP_RUNNABLE : X86_MP_HALTED;
}

static void draw_msrs(struct rig *rig, struct x86_cpu_state *state)
{
	static const uint32_t canonical[] = {0xc0000082, 0xc0000083, 0xc0000102};
	static const uint32_t words[] = {0x174, 0x175, 0x176, 0xc0000081,
					 0xc0000103}; /* AMD: SYSENTER's, too */

	for (uint32_t i = 0; i < state->msr_count; i++) {
		for (unsigned k = 0; k < sizeof(canonical) / sizeof(canonical[0]); k++)
			if (state->msr[i].index == canonical[k])
				state->msr[i].value = draw_canonical(rig);
		for (unsigned k = 0; k < sizeof(words) / sizeof(words[0]); k++)
			if (state->msr[i].index == words[k])
				state->msr[i].value = (uint32_t)draw(rig);
	}
	x86_cpu_state_drop_msr(state, X86_STATE_MSR_TSC);
}

static void draw_state(struct rig *rig, struct x86_cpu_state *state, enum mode mode)
{
	for (unsigned i = 0; i < X86_GPR_COUNT; i++)
		state->gpr[i] = draw(rig);
	state->rip = mode == MODE_LONG ? draw_canonical(rig) : (uint32_t)draw(rig);
	state->rflags = 2 | (draw(rig) & 0xed5); /* all but TF, NT, RF, VM, AC */
	state->cr2 = draw(rig);
	state->cr8 = draw(rig) & 15;
	draw_mode(rig, state, mode);
	draw_xsave(rig, state);
	draw_event(rig, state);
	draw_msrs(rig, state);
	state->gdtr = (struct x86_table_state){.base = draw_canonical(rig), .limit = (uint16_t)draw(rig)};
	state->idtr = (struct x86_table_state){.base = draw_canonical(rig), .limit = (uint16_t)draw(rig)};
	for (unsigned i = 0; i < 4; i++)
		state->dr[i] = draw_canonical(rig);
	state->dr[6] = 0xffff0ff0 | (draw(rig) & 0xf);
	state->dr[7] = 0x400; /* none enabled: KVM may run their breakpoints for a while */
}

static void expect_segments(const struct x86_cpu_state *a, const struct x86_cpu_state *b)
{
	for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++) {
		const struct x86_segment_state *x = &a->segment[i], *y = &b->segment[i];

		assert_int_equal(x->selector, y->selector);
		assert_int_equal(x->base, y->base);
		assert_int_equal(x->attributes & UNUSABLE, y->attributes & UNUSABLE);
		if (x->attributes & UNUSABLE)
			continue;
		assert_int_equal(x->limit, y->limit);
		if (x->attributes != y->attributes)
			fail_msg("segment %u: attributes %x, %x", i, x->attributes, y->attributes);
	}
}

/* Every MSR that `a` has, `b` has too; but the TSC, which counts, and what follows from it. */
static void expect_msrs(const struct x86_cpu_state *a, const struct x86_cpu_state *b)
{
	for (uint32_t i = 0; i < a->msr_count; i++) {
		uint32_t k = 0;

		if (a->msr[i].index == X86_STATE_MSR_TSC)
			continue;
		while (k < b->msr_count && b->msr[k].index != a->msr[i].index)
			k++;
		if (k == b->msr_count)
			fail_msg("MSR %#x was lost", a->msr[i].index);
		if (a->msr[i].value != b->msr[k].value)
			fail_msg("MSR %#x: %#llx became %#llx", a->msr[i].index,
				 (unsigned long long)a->msr[i].value, (unsigned long long)b->msr[k].value);
	}
}

static void expect_same(const struct x86_cpu_state *a, const struct x86_cpu_state *b)
{
	assert_memory_equal(a->gpr, b->gpr, sizeof(a->gpr));
	assert_int_equal(a->rip, b->rip);
	assert_int_equal(a->rflags, b->rflags);
	expect_segments(a, b);
	assert_memory_equal(&a->gdtr.base, &b->gdtr.base, 8);
	assert_int_equal(a->gdtr.limit, b->gdtr.limit);
	assert_memory_equal(&a->idtr.base, &b->idtr.base, 8);
	assert_int_equal(a->idtr.limit, b->idtr.limit);
	assert_int_equal(a->cr0, b->cr0);
	assert_int_equal(a->cr2, b->cr2);
	assert_int_equal(a->cr3, b->cr3);
	assert_int_equal(a->cr4, b->cr4);
	assert_int_equal(a->cr8, b->cr8);
	assert_int_equal(a->efer, b->efer);
	assert_memory_equal(a->dr, b->dr, sizeof(a->dr));
	assert_int_equal(a->xcr0, b->xcr0);
	/* FCW, FSW, FTW, then MXCSR without its mask, and the registers; not where the last x87 fault was. */
	assert_memory_equal(a->xsave, b->xsave, 5);
	assert_memory_equal(a->xsave + 24, b->xsave + 24, 4);
	for (unsigned i = 0; i < 8; i++)
		assert_memory_equal(a->xsave + 32 + 16 * i, b->xsave + 32 + 16 * i, 10);
	assert_memory_equal(a->xsave + 160, b->xsave + 160, 256);
	assert_int_equal(a->event.injected, b->event.injected);
	assert_int_equal(a->event.is_interrupt, b->event.is_interrupt);
	assert_int_equal(a->event.injected ? a->event.vector : 0, b->event.injected ? b->event.vector : 0);
	assert_int_equal(a->event.has_error_code, b->event.has_error_code);
	assert_int_equal(a->event.error_code, b->event.error_code);
	assert_int_equal(a->nmi_masked, b->nmi_masked);
	assert_int_equal(a->interrupt_shadow, b->interrupt_shadow);
	assert_int_equal(a->mp_state, b->mp_state);
	expect_msrs(a, b);
}

/* A KVM has been seen that drops CR0.PG outside long mode: its state_set says so. */
static bool takes_mode(struct rig *rig, const struct x86_cpu_state *state)
{
	struct err err = {0};

	if (kvm_accel_ops.state_set(rig->vcpu[KVM], state, &err) == 0)
		return true;
	if (!strstr(err.message, "does not take"))
		fail_msg("%s", err.message);
	print_message("%s\n", err.message);
	return false;
}

static void test_random_states_come_back(void **opaque)
{
	struct x86_cpu_state *state[4];
	struct rig *rig;

	need_kvm();
	rig = rig_create();
	for (unsigned i = 0; i < 4; i++)
		state[i] = aligned_alloc(64, sizeof(*state[i]));
	for (unsigned i = 0; i < STATES; i++) {
		get(rig, TCG, state[0]);
		draw_state(rig, state[0], (enum mode)(i % MODES));
		for (unsigned step = 0; step < 3 && takes_mode(rig, state[0]); step++) {
			unsigned side = step == 1 ? KVM : TCG;

			set(rig, side, state[step]);
			get(rig, side, state[step + 1]);
			expect_same(state[step], state[step + 1]);
		}
	}
	for (unsigned i = 0; i < 4; i++)
		free(state[i]);
	rig_destroy(rig);
}

static uint64_t tsc_of(struct rig *rig, unsigned side, struct accel_clock *clock)
{
	struct err err = {0};

	if (side_ops[side]->clock_get(rig->vcpu[side], clock, &err) < 0)
		fail_msg("%s", err.message);
	return clock->tsc;
}

/* What a pass may cost of the TSC's time: little, or, where the host was busy meanwhile, all that it took. */
static uint64_t pass_cost_ns(uint64_t passed_ns)
{
	return passed_ns < NS_PER_MS ? 100 * NS_PER_US : passed_ns;
}

/* To and fro, the TSC and the paravirtual clock never go back, nor away from the host's time. */
static void test_clocks_go_on(void **opaque)
{
	struct accel_clock first, clock, before = {0};
	struct err err = {0};
	struct rig *rig;
	uint64_t start_ns, hz;
	uint64_t cost_ns = 0;

	need_kvm();
	rig = rig_create();
	hz = rig->capabilities.tsc_hz;
	start_ns = clock_monotonic_ns();
	tsc_of(rig, TCG, &first);
	first.paravirtual_ns = 0;
	clock = first;
	for (unsigned i = 0; i < PASSES; i++) {
		unsigned side = i & 1;

		if (side_ops[side]->clock_set(rig->vcpu[side], &clock, &err) < 0)
			fail_msg("%s", err.message);
		tsc_of(rig, side, &clock);
		assert_true(clock.tsc >= before.tsc);
		assert_true(clock.paravirtual_ns >= before.paravirtual_ns);
		cost_ns += pass_cost_ns(clock.monotonic_ns - (i ? before.monotonic_ns : start_ns));
		before = clock;
	}
	/* The two rates agree to a hundredth. */
	assert_true(clock.tsc - first.tsc <=
		    muldiv64((clock.monotonic_ns - start_ns) / 100 * 101, hz, NS_PER_S));
	assert_true(clock.tsc - first.tsc + muldiv64(cost_ns, hz, NS_PER_S) >=
		    muldiv64((clock.monotonic_ns - first.monotonic_ns) / 100 * 99, hz, NS_PER_S));
	rig_destroy(rig);
}

/*
 * 16-bit code: a checksum over memory, by turns on both, some blocks at a time on the built-in CPU and until
 * a port is written on KVM. It must come to what it comes to on one of them alone. again: add ax,[si]; rol
 * ax,3; xor [si],ax; add si,2; cmp si,0x3100; jb on; mov si,0x3000; dec bx on: out 0x10,al; test bx,bx; jnz
 * again; out 0x11,al; hlt
 */
static const uint8_t code_sum[] = {0x03, 0x04, 0xc1, 0xc0, 0x03, 0x31, 0x04, 0x83, 0xc6, 0x02,
				   0x81, 0xfe, 0x00, 0x31, 0x72, 0x04, 0xbe, 0x00, 0x30, 0x4b,
				   0xe6, 0x10, 0x85, 0xdb, 0x75, 0xe6, 0xe6, 0x11, 0xf4};

static void sum_start(struct rig *rig, unsigned side, struct x86_cpu_state *state)
{
	memcpy(rig->ram + CODE_GPA, code_sum, sizeof(code_sum));
	for (unsigned i = 0; i < 0x100; i++)
		rig->ram[DATA_GPA + i] = (uint8_t)(i * 7 + 1);
	rig->done = false;
	get(rig, side, state);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		state->segment[i] =
			(struct x86_segment_state){.limit = 0xffff, .attributes = i == X86_CS ? 0x9b : 0x93};
	memset(state->gpr, 0, sizeof(state->gpr));
	state->gpr[X86_RSI] = DATA_GPA;
	state->gpr[X86_RBX] = 20;
	state->mp_state = X86_MP_RUNNABLE;
	state->rip = CODE_GPA;
	state->rflags = 2;
}

static uint64_t sum_run(struct rig *rig, bool alternate)
{
	struct x86_cpu_state *state = aligned_alloc(64, sizeof(*state));
	struct err err = {0};
	uint64_t sum;

	sum_start(rig, TCG, state);
	for (unsigned turn = 0; !rig->done; turn++) {
		unsigned side = alternate ? turn & 1 : TCG;

		set(rig, side, state);
		if (side == TCG) {
			tcg_accel_ops.vcpu_mem_forget(rig->vcpu[TCG]);
			tcg_accel_ops.vcpu_run_blocks(rig->vcpu[TCG], 3 + turn % 5, &err);
		} else if (kvm_accel_ops.vcpu_run(rig->vcpu[KVM], &err) == ACCEL_EXIT_FAILED) {
			fail_msg("%s", err.message);
		}
		get(rig, side, state);
	}
	sum = state->gpr[X86_RAX];
	free(state);
	return sum;
}

static void test_a_program_passed_to_and_fro(void **opaque)
{
	struct rig *rig;
	uint8_t memory[0x100];
	uint64_t sum;

	need_kvm();
	rig = rig_create();
	sum = sum_run(rig, false);
	memcpy(memory, rig->ram + DATA_GPA, sizeof(memory));
	assert_int_equal(sum_run(rig, true), sum);
	assert_memory_equal(rig->ram + DATA_GPA, memory, sizeof(memory));
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_states_come_back),
		cmocka_unit_test(test_clocks_go_on),
		cmocka_unit_test(test_a_program_passed_to_and_fro),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
