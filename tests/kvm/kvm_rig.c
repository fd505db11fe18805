/* SPDX-License-Identifier: Apache-2.0 */
/* The machine of the KVM payload tests. */
#include "tests/kvm/kvm_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/base/err.h"

static void rig_log(struct rig *rig, struct access access)
{
	if (rig->log_count < LOG_MAX)
		rig->log[rig->log_count++] = access;
}

static uint64_t rig_mmio_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	struct rig *rig = opaque;

	rig_log(rig, (struct access){.is_mmio = true, .address = gpa, .size_bytes = size_bytes, .cpu = cpu});
	return rig->input;
}

static void rig_mmio_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
	rig_log(opaque, (struct access){true, true, gpa, value, size_bytes, cpu});
}

static uint64_t rig_pio_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	struct rig *rig = opaque;

	rig_log(rig, (struct access){.address = port, .size_bytes = size_bytes, .cpu = cpu});
	return rig->input;
}

static void rig_pio_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
	struct rig *rig = opaque;

	rig_log(rig, (struct access){false, true, port, value, size_bytes, cpu});
	if (port != DONE_PORT)
		return;
	atomic_store(&rig->done, true);
	kvm_accel_ops.vcpu_kick(rig->vcpu[cpu]);
}

static int rig_acknowledge(void *opaque, unsigned cpu)
{
	struct rig *rig = opaque;

	kvm_accel_ops.vcpu_intr(rig->vcpu[cpu], false);
	return atomic_exchange(&rig->vector, -1);
}

static bool rig_msr_read(void *opaque, unsigned cpu, uint32_t index, uint64_t *value)
{
	*value = index == 0x1b ? 0xfee00900 : index;
	return index != 0x1b || cpu == 0;
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

static void rig_ioapic_eoi(void *opaque, uint8_t vector)
{
	struct rig *rig = opaque;

	rig->eoi_vector = vector;
	rig->eois++;
}

static void rig_add_vcpus(struct rig *rig)
{
	struct x86_cpuid_table cpuid;
	struct x86_cpu_capabilities capabilities;
	struct err err = {0};

	assert_int_equal(kvm_accel_ops.capabilities(&capabilities, &err), 0);
	for (unsigned i = 0; i < rig->cpu_count; i++) {
		const struct accel_vcpu_config config = {
			.index = i, .cpu_count = rig->cpu_count, .cpuid = &cpuid};

		assert_int_equal(x86_cpu_model_build(x86_cpu_model_find("x86-64", &err), &capabilities, i,
						     rig->cpu_count, &cpuid, &err),
				 0);
		rig->vcpu[i] = kvm_accel_ops.vcpu_create(rig->vm, &config, &err);
		if (!rig->vcpu[i])
			fail_msg("%s", err.message);
	}
}

struct rig *rig_create_as(unsigned cpu_count, struct accel_vm_config config)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct err err = {0};

	assert_non_null(rig);
	rig->cpu_count = cpu_count;
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
		.ioapic_eoi = rig_ioapic_eoi,
	};
	atomic_store(&rig->vector, -1);
	config.host = &rig->host;
	config.cpu_count = cpu_count;
	rig->gmem = gmem_create();
	assert_int_equal(gmem_add(rig->gmem, 0, RAM_BYTES, GMEM_RAM, &err), 0);
	rig->vm = kvm_accel_ops.vm_create(&config, &err);
	if (!rig->vm)
		fail_msg("%s", err.message);
	assert_int_equal(kvm_accel_ops.mem_map(rig->vm, gmem_region_at(rig->gmem, 0), &err), 0);
	rig_add_vcpus(rig);
	return rig;
}

struct rig *rig_create(unsigned cpu_count)
{
	return rig_create_as(cpu_count, (struct accel_vm_config){.irqchip = ACCEL_IRQCHIP_OFF});
}

void rig_destroy(struct rig *rig)
{
	for (unsigned i = 0; i < rig->cpu_count; i++)
		kvm_accel_ops.vcpu_destroy(rig->vcpu[i]);
	kvm_accel_ops.vm_destroy(rig->vm);
	gmem_destroy(rig->gmem);
	free(rig);
}

void rig_code(struct rig *rig, uint64_t gpa, const void *code, size_t size)
{
	assert_int_equal(gmem_write(rig->gmem, gpa, code, size), 0);
}

/* Real mode at CODE_GPA with every segment at 0 and 4 GiB long data segments. */
void rig_enter(struct rig *rig)
{
	struct x86_cpu_state state;
	struct err err = {0};

	assert_int_equal(kvm_accel_ops.state_get(rig->vcpu[0], &state, &err), 0);
	state.segment[X86_CS].base = 0;
	state.segment[X86_CS].selector = 0;
	state.segment[X86_DS] =
		(struct x86_segment_state){.limit = UINT32_MAX, .attributes = ATTRIBUTES_16 | 0x8000};
	state.rip = CODE_GPA;
	state.gpr[X86_RSP] = 0x8000;
	state.mp_state = X86_MP_RUNNABLE;
	if (kvm_accel_ops.state_set(rig->vcpu[0], &state, &err) < 0)
		fail_msg("%s", err.message);
}

/* Runs CPU 0 until the guest is done. */
void rig_run(struct rig *rig)
{
	while (!atomic_load(&rig->done)) {
		struct err err = {0};
		enum accel_exit why = kvm_accel_ops.vcpu_run(rig->vcpu[0], &err);

		if (why == ACCEL_EXIT_HALTED)
			kvm_accel_ops.vcpu_wait(rig->vcpu[0]);
		else if (why != ACCEL_EXIT_KICKED)
			fail_msg("exit %d: %s", why, err.message);
	}
}

/* Every case begins so: there must be a KVM to talk to. */
void need_kvm(void)
{
	if (kvm_accel_ops.probe(NULL) < 0)
		skip();
}

void expect_access(const struct rig *rig, unsigned index, struct access expected)
{
	assert_true(index < rig->log_count);
	assert_int_equal(rig->log[index].is_mmio, expected.is_mmio);
	assert_int_equal(rig->log[index].is_write, expected.is_write);
	assert_int_equal(rig->log[index].address, expected.address);
	assert_int_equal(rig->log[index].size_bytes, expected.size_bytes);
	if (expected.is_write)
		assert_int_equal(rig->log[index].value, expected.value);
}

bool rig_has_irqchip(enum accel_irqchip irqchip)
{
	return kvm_accel_ops.irqchips() >> irqchip & 1;
}

struct rig *rig_with_irqchip(enum accel_irqchip irqchip)
{
	need_kvm();
	if (!rig_has_irqchip(irqchip))
		skip();
	return rig_create_as(1, (struct accel_vm_config){.irqchip = irqchip});
}
