/* SPDX-License-Identifier: Apache-2.0 */
/* What the built-in accelerator runs on in tests: memory, callbacks that answer nothing, a guest in flat
 * protected mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcg_rig.h"
#include "vmm/base/err.h"

static uint64_t no_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	return 0;
}

static void no_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
}

static uint64_t no_pio_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	return 0;
}

static void no_pio_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
}

static int no_interrupt(void *opaque, unsigned cpu)
{
	return -1;
}

static bool no_msr(void *opaque, unsigned cpu, uint32_t index, uint64_t *value)
{
	return false;
}

static bool no_msr_write(void *opaque, unsigned cpu, uint32_t index, uint64_t value)
{
	return false;
}

static uint64_t cr8_read(void *opaque, unsigned cpu)
{
	return 0;
}

static void cr8_write(void *opaque, unsigned cpu, uint64_t value)
{
}

static void no_ferr(void *opaque, unsigned cpu, bool level)
{
}

void rig_open(struct rig *rig, uint32_t more)
{
	struct x86_cpu_capabilities capabilities;
	struct x86_cpuid_table cpuid;
	struct err err = {0};
	const struct accel_vm_config config = {.host = &rig->host, .cpu_count = 2};

	rig->vm = OPS->vm_create(&config, &err);
	assert_int_equal(OPS->mem_map(rig->vm, gmem_region_at(rig->gmem, 0), &err), 0);
	assert_int_equal(OPS->capabilities(&capabilities, &err), 0);
	capabilities.tsc_hz = TSC_HZ;
	capabilities.feature[X86_WORD_1_ECX] |= more;
	for (unsigned i = 0; i < 2; i++) {
		const struct accel_vcpu_config vcpu = {.index = i, .cpu_count = 2, .cpuid = &cpuid};

		assert_int_equal(x86_cpu_model_build(x86_cpu_model_find("max", &err), &capabilities, i, 2,
						     &cpuid, &err),
				 0);
		rig->vcpu[i] = OPS->vcpu_create(rig->vm, &vcpu, &err);
		assert_non_null(rig->vcpu[i]);
	}
}

void rig_close(struct rig *rig)
{
	for (unsigned i = 0; i < 2; i++)
		OPS->vcpu_destroy(rig->vcpu[i]);
	OPS->vm_destroy(rig->vm);
}

int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct err err = {0};

	rig->host = (struct accel_host){
		.mmio_read = no_read,
		.mmio_write = no_write,
		.pio_read = no_pio_read,
		.pio_write = no_pio_write,
		.intr_acknowledge = no_interrupt,
		.apic_msr_read = no_msr,
		.apic_msr_write = no_msr_write,
		.cr8_read = cr8_read,
		.cr8_write = cr8_write,
		.ferr = no_ferr,
	};
	rig->gmem = gmem_create();
	assert_int_equal(gmem_add(rig->gmem, 0, RAM_BYTES, GMEM_RAM, &err), 0);
	rig->ram = gmem_span(rig->gmem, 0, RAM_BYTES);
	rig->state = aligned_alloc(64, sizeof(*rig->state));
	rig_open(rig, 0);
	*state = rig;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;

	rig_close(rig);
	gmem_destroy(rig->gmem);
	free(rig->state);
	free(rig);
	return 0;
}

void put32(struct rig *rig, uint32_t gpa, uint32_t value)
{
	memcpy(rig->ram + gpa, &value, 4);
}

uint32_t get32(const struct rig *rig, uint32_t gpa)
{
	uint32_t value;

	memcpy(&value, rig->ram + gpa, 4);
	return value;
}

uint64_t get64(const struct rig *rig, uint32_t gpa)
{
	uint64_t value;

	memcpy(&value, rig->ram + gpa, 8);
	return value;
}

void enter_flat(struct rig *rig, const void *code, size_t size)
{
	struct x86_cpu_state *state = rig->state;
	struct err err = {0};
	const struct x86_segment_state data = {
		.limit = UINT32_MAX, .selector = 0x10, .attributes = ATTRIBUTES_DATA};

	memcpy(rig->ram + CODE_GPA, code, size);
	rig->ram[HANDLER] = 0xf4;
	put32(rig, GDT_GPA + 8, 0x0000ffff);
	put32(rig, GDT_GPA + 12, 0x00cf9b00);
	put32(rig, GDT_GPA + 16, 0x0000ffff);
	put32(rig, GDT_GPA + 20, 0x00cf9300);
	for (unsigned i = 0; i < 256; i++) {
		put32(rig, IDT_GPA + 8 * i, 8u << 16 | HANDLER);
		put32(rig, IDT_GPA + 8 * i + 4, 0x00008e00);
	}
	assert_int_equal(OPS->state_get(rig->vcpu[0], state, &err), 0);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		state->segment[i] = data;
	state->segment[X86_CS].selector = 8;
	state->segment[X86_CS].attributes = ATTRIBUTES_CODE32;
	state->gdtr = (struct x86_table_state){.base = GDT_GPA, .limit = 0x17};
	state->idtr = (struct x86_table_state){.base = IDT_GPA, .limit = 0x7ff};
	state->cr0 = 0x11;
	state->gpr[X86_RSP] = STACK_GPA;
	state->rip = CODE_GPA;
	state->rflags = 0x202;
}

void load(struct rig *rig)
{
	struct err err = {0};

	assert_int_equal(OPS->state_set(rig->vcpu[0], rig->state, &err), 0);
	OPS->vcpu_mem_forget(rig->vcpu[0]);
}

void save(struct rig *rig)
{
	struct err err = {0};

	assert_int_equal(OPS->state_get(rig->vcpu[0], rig->state, &err), 0);
}

enum accel_exit run(struct rig *rig)
{
	struct err err = {0};

	return OPS->vcpu_run(rig->vcpu[0], &err);
}
