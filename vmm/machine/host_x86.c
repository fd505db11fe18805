/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an x86 accelerator calls: buses, the local APIC through page, MSRs and CR8, interrupt acknowledge,
 * FERR#; and the other way, the CPU's pins over the accelerator's operations.
 */
#include "devices/legacy/ferr.h"
#include "devices/legacy/ioapic.h"
#include "devices/legacy/lapic.h"
#include "vmm/core/bus.h"
#include "vmm/machine/parts.h"

/* Whether an access lies in the CPU's APIC page, which each CPU sees as its own: no bus range could tell them
 * apart. */
static bool host_is_lapic(const struct machine *machine, unsigned cpu, uint64_t gpa)
{
	uint64_t page = lapic_mmio_page(machine->lapic, cpu);

	return page != LAPIC_MMIO_NONE && gpa - page < LAPIC_MMIO_SIZE;
}

/*
 * A helper reaches for the local APIC while that is the accelerator's: the device here is at rest and out of
 * date. The access is swallowed, and the assist does not count (assist.c). The vCPU's thread.
 */
static bool host_apic_is_away(const struct machine *machine, unsigned cpu)
{
	struct machine_assist *assist = &machine->vcpu[cpu].assist;

	if (machine->irqchip == ACCEL_IRQCHIP_OFF ||
	    !atomic_load_explicit(&assist->active, memory_order_relaxed))
		return false;
	assist->reached_apic = true;
	return true;
}

static uint64_t host_mmio_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	struct machine *machine = opaque;

	if (host_is_lapic(machine, cpu, gpa))
		return host_apic_is_away(machine, cpu)
			       ? 0
			       : lapic_mmio_read(machine->lapic, cpu, gpa % LAPIC_MMIO_SIZE, size_bytes);
	return bus_read(machine->mmio, gpa, size_bytes);
}

static void host_mmio_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
	struct machine *machine = opaque;

	if (!host_is_lapic(machine, cpu, gpa))
		bus_write(machine->mmio, gpa, value, size_bytes);
	else if (!host_apic_is_away(machine, cpu))
		lapic_mmio_write(machine->lapic, cpu, gpa % LAPIC_MMIO_SIZE, value, size_bytes);
}

static uint64_t host_pio_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	return bus_read(((struct machine *)opaque)->pio, port, size_bytes);
}

static void host_pio_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
	bus_write(((struct machine *)opaque)->pio, port, value, size_bytes);
}

static int host_intr_acknowledge(void *opaque, unsigned cpu)
{
	return machine_intr_acknowledge(opaque, cpu);
}

static bool host_apic_msr_read(void *opaque, unsigned cpu, uint32_t index, uint64_t *value)
{
	struct machine *machine = opaque;

	*value = 0;
	return host_apic_is_away(machine, cpu) || lapic_msr_read(machine->lapic, cpu, index, value);
}

static bool host_apic_msr_write(void *opaque, unsigned cpu, uint32_t index, uint64_t value)
{
	struct machine *machine = opaque;

	return host_apic_is_away(machine, cpu) || lapic_msr_write(machine->lapic, cpu, index, value);
}

static uint64_t host_cr8_read(void *opaque, unsigned cpu)
{
	const struct machine *machine = opaque;

	/* CPUs are made before the local APICs; an accelerator may ask while it makes them. */
	return machine->lapic ? lapic_cr8_read(machine->lapic, cpu) : 0;
}

static void host_cr8_write(void *opaque, unsigned cpu, uint64_t value)
{
	lapic_cr8_write(((struct machine *)opaque)->lapic, cpu, value);
}

static void host_ferr(void *opaque, unsigned cpu, bool level)
{
	ferr_set(((struct machine *)opaque)->ferr, level);
}

static void host_ioapic_eoi(void *opaque, uint8_t vector)
{
	struct machine *machine = opaque;
	struct eoi_sink sink = ioapic_eoi_sink(machine->ioapic);

	pthread_mutex_lock(&machine->intr_lock);
	sink.eoi(sink.opaque, vector);
	pthread_mutex_unlock(&machine->intr_lock);
}

void machine_host_init(struct machine *machine)
{
	machine->host = (struct accel_host){
		.opaque = machine,
		.mmio_read = host_mmio_read,
		.mmio_write = host_mmio_write,
		.pio_read = host_pio_read,
		.pio_write = host_pio_write,
		.intr_acknowledge = host_intr_acknowledge,
		.apic_msr_read = host_apic_msr_read,
		.apic_msr_write = host_apic_msr_write,
		.cr8_read = host_cr8_read,
		.cr8_write = host_cr8_write,
		.ferr = host_ferr,
		.ioapic_eoi = host_ioapic_eoi,
	};
}

/* Who has a CPU's pins: the accelerator, or who helps it out. */
struct host_pin {
	const struct accel_ops *ops;
	struct accel_vcpu *vcpu; /* NULL while the machine is being built */
};

static struct host_pin host_pin(const struct machine *machine, unsigned cpu)
{
	if (cpu >= machine->vcpu_count)
		return (struct host_pin){.vcpu = NULL};
	if (machine->vcpu[cpu].pin_ops)
		return (struct host_pin){machine->vcpu[cpu].pin_ops, machine->vcpu[cpu].pin_vcpu};
	return (struct host_pin){machine->accel, machine->vcpu[cpu].accel_vcpu};
}

static void host_pin_intr(void *opaque, unsigned cpu, bool level)
{
	struct machine *machine = opaque;
	struct host_pin pin = host_pin(machine, cpu);

	/* Told again by machine_intr_enter; an accelerator with local APICs has no use for these. */
	if (machine->intr_home || machine->irqchip != ACCEL_IRQCHIP_OFF)
		return;
	if (pin.vcpu)
		pin.ops->vcpu_intr(pin.vcpu, level);
}

static void host_pin_nmi(void *opaque, unsigned cpu)
{
	struct host_pin pin = host_pin(opaque, cpu);

	if (pin.vcpu)
		pin.ops->vcpu_nmi(pin.vcpu);
}

static void host_pin_smi(void *opaque, unsigned cpu)
{
	struct host_pin pin = host_pin(opaque, cpu);

	if (pin.vcpu)
		pin.ops->vcpu_smi(pin.vcpu);
}

static void host_pin_init(void *opaque, unsigned cpu)
{
	struct host_pin pin = host_pin(opaque, cpu);

	if (pin.vcpu)
		pin.ops->vcpu_init(pin.vcpu);
}

static void host_pin_startup(void *opaque, unsigned cpu, uint8_t vector)
{
	struct host_pin pin = host_pin(opaque, cpu);

	if (pin.vcpu)
		pin.ops->vcpu_startup(pin.vcpu, vector);
}

struct cpu_pins machine_cpu_pins(struct machine *machine)
{
	return (struct cpu_pins){
		.intr = host_pin_intr,
		.nmi = host_pin_nmi,
		.smi = host_pin_smi,
		.init = host_pin_init,
		.startup = host_pin_startup,
		.opaque = machine,
	};
}

uint64_t machine_tsc_to_monotonic_ns(void *opaque, unsigned cpu, uint64_t tsc)
{
	struct machine *machine = opaque;

	return machine->accel->vcpu_tsc_to_monotonic_ns(machine->vcpu[cpu].accel_vcpu, tsc);
}
