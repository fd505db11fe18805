/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's two sides: the VM of the accelerator it was made with, and that of the other one, over the same
 * memory, with the same CPUID and the same callbacks. Who runs the guest is not decided here.
 */
#include "vmm/machine/accel_side.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/err.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/accel_switch.h"
#include "vmm/machine/dirty_log.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/jit_choice.h"
#include "vmm/machine/trace_choice.h"

const struct accel_ops *accel_other(const struct accel_ops *accel, struct err *err)
{
	struct err refusal = {0};

	for (size_t i = 0; accel_table[i]; i++) {
		if (accel_table[i] != accel && accel_table[i]->probe(&refusal) == 0)
			return accel_table[i];
	}
	err_set(err, -ENODEV, "there is no accelerator beside %s%s%s", accel->name,
		refusal.message[0] ? ": " : "", refusal.message);
	return NULL;
}

static void side_on_memory_written(void *opaque, uint64_t gpa, uint64_t len)
{
	struct machine *machine = opaque;

	for (unsigned i = 0; i < MACHINE_SIDES; i++) {
		const struct machine_side *side = &machine->side[i];

		if (atomic_load(&side->ready) && side->ops->mem_written)
			side->ops->mem_written(side->vm, gpa, len);
	}
}

static int side_allocate(struct machine *machine, struct machine_side *side, struct err *err)
{
	side->vcpu = calloc(machine->config.cpus, sizeof(*side->vcpu));
	side->state =
		aligned_alloc(_Alignof(struct x86_cpu_state), machine->config.cpus * sizeof(*side->state));
	return side->vcpu && side->state ? 0 : err_set(err, -ENOMEM, "no memory for the CPUs' states");
}

int accel_sides_init(struct machine *machine, struct err *err)
{
	struct machine_side *side = &machine->side[0];

	if (side_allocate(machine, side, err) < 0)
		return -ENOMEM;
	side->ops = machine->accel;
	side->vm = machine->vm;
	side->irqchip = machine->irqchip;
	for (unsigned i = 0; i < machine->vcpu_count; i++)
		side->vcpu[i] = machine->vcpu[i].accel_vcpu;
	atomic_store(&side->ready, true);
	return gmem_listen(machine->gmem, side_on_memory_written, machine);
}

static int side_add_vcpu(struct machine *machine, struct machine_side *side, unsigned index, struct err *err)
{
	struct x86_cpuid_table cpuid;
	const struct accel_vcpu_config config = {
		.index = index,
		.cpu_count = machine->config.cpus,
		.cpuid = &cpuid,
		.lenient = !accel_switch_is_prepared(machine),
	};
	int code = machine_cpuid_build(machine, index, &cpuid, err);

	if (code < 0)
		return code;
	side->vcpu[index] = side->ops->vcpu_create(side->vm, &config, err);
	return side->vcpu[index] ? 0 : err_prefix(err, "CPU %u", index);
}

static int side_add_vm(struct machine *machine, struct machine_side *side, struct err *err)
{
	struct accel_vm_config config = {
		.host = &machine->host,
		.cpu_count = machine->config.cpus,
		.irqchip = side->irqchip,
		.dirty_ring = machine->config.dirty_log == MACHINE_DIRTY_LOG_RING,
	};
	struct jit_choice jit;
	int code = jit_choice_parse(machine->config.jit, &jit, err);

	if (code < 0)
		return code;
	config.jit = jit.on;
	config.jit_verify_every = jit.verify_every;
	config.mmu_safe = machine->config.mmu == MACHINE_MMU_SAFE;
	config.mmu_ranges = machine->config.mmu == MACHINE_MMU_RANGES;
	code = trace_choice_open(&machine->config, &config, err);
	if (code < 0)
		return code;
	side->vm = side->ops->vm_create(&config, err);
	trace_choice_close(&config);
	if (!side->vm)
		return -EIO;
	for (size_t i = 0; i < gmem_region_count(machine->gmem) && code == 0; i++)
		code = side->ops->mem_map(side->vm, gmem_region_at(machine->gmem, i), err);
	for (unsigned i = 0; i < machine->config.cpus && code == 0; i++)
		code = side_add_vcpu(machine, side, i, err);
	return code;
}

static void side_free(struct machine *machine, struct machine_side *side)
{
	for (unsigned i = 0; side->vcpu && i < machine->config.cpus; i++) {
		if (side->vcpu[i])
			side->ops->vcpu_destroy(side->vcpu[i]);
	}
	if (side->vm)
		side->ops->vm_destroy(side->vm);
	free(side->vcpu);
	free(side->state);
	*side = (struct machine_side){.ops = NULL};
}

static int side_make(struct machine *machine, struct machine_side *side, struct err *err)
{
	side->ops = accel_other(machine->side[0].ops, err);
	if (!side->ops)
		return -ENODEV;
	/* One without controllers of its own is served by the devices, whatever the first one has. */
	if (side->ops->irqchips &&
	    accel_choice_irqchip(side->ops, machine->config.irqchip, &side->irqchip, err) < 0)
		return -ENOTSUP;
	if (side_allocate(machine, side, err) < 0 || side_add_vm(machine, side, err) < 0 ||
	    machine_dirty_join(machine, side, err) < 0) {
		err_prefix(err, "accelerator %s", side->ops->name);
		side_free(machine, side);
		return -EIO;
	}
	atomic_store(&side->ready, true);
	return 0;
}

struct machine_side *accel_side_other(struct machine *machine, struct err *err)
{
	struct machine_side *other = &machine->side[1 - machine->active_side];
	int code = 0;

	if (atomic_load(&other->ready))
		return other;
	pthread_mutex_lock(&machine->side_lock);
	if (!atomic_load(&other->ready))
		code = side_make(machine, other, err);
	pthread_mutex_unlock(&machine->side_lock);
	return code < 0 ? NULL : other;
}

void accel_sides_destroy(struct machine *machine)
{
	struct machine_side *active = &machine->side[machine->active_side];

	side_free(machine, &machine->side[1 - machine->active_side]);
	free(active->vcpu);
	free(active->state);
}

void accel_sides_kick(struct machine *machine, unsigned cpu)
{
	for (unsigned i = 0; i < MACHINE_SIDES; i++) {
		const struct machine_side *side = &machine->side[i];

		if (atomic_load(&side->ready))
			side->ops->vcpu_kick(side->vcpu[cpu]);
	}
}
