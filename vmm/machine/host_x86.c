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

static uint64_t host_mmio_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	struct machine *machine = opaque;

	if (host_is_lapic(machine, cpu, gpa))
		return lapic_mmio_read(machine->lapic, cpu, gpa % LAPIC_MMIO_SIZE, size_bytes);
	return bus_read(machine->mmio, gpa, size_bytes);
}

static void host_mmio_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
	struct machine *machine = opaque;

	if (host_is_lapic(machine, cpu, gpa))
		lapic_mmio_write(machine->lapic, cpu, gpa % LAPIC_MMIO_SIZE, value, size_bytes);
	else
		bus_write(machine->mmio, gpa, value, size_bytes);
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
	return lapic_msr_read(((struct machine *)opaque)->lapic, cpu, index, value);
}

static bool host_apic_msr_write(void *opaque, unsigned cpu, uint32_t index, uint64_t value)
{
	return lapic_msr_write(((struct machine *)opaque)->lapic, cpu, index, value);
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

/* The accelerator's own of a CPU; NULL while the machine is being built. */
static struct accel_vcpu *host_vcpu(const struct machine *machine, unsigned cpu)
{
	return cpu < machine->vcpu_count ? machine->vcpu[cpu].accel_vcpu : NULL;
}

static void host_pin_intr(void *opaque, unsigned cpu, bool level)
{
	struct machine *machine = opaque;

	/* Told again by machine_intr_enter; an accelerator with local APICs has no use for these. */
	if (machine->intr_home || machine->irqchip != ACCEL_IRQCHIP_OFF)
		return;
	if (host_vcpu(machine, cpu))
		machine->accel->vcpu_intr(host_vcpu(machine, cpu), level);
}

static void host_pin_nmi(void *opaque, unsigned cpu)
{
	struct machine *machine = opaque;

	if (host_vcpu(machine, cpu))
		machine->accel->vcpu_nmi(host_vcpu(machine, cpu));
}

static void host_pin_smi(void *opaque, unsigned cpu)
{
	struct machine *machine = opaque;

	if (host_vcpu(machine, cpu))
		machine->accel->vcpu_smi(host_vcpu(machine, cpu));
}

static void host_pin_init(void *opaque, unsigned cpu)
{
	struct machine *machine = opaque;

	if (host_vcpu(machine, cpu))
		machine->accel->vcpu_init(host_vcpu(machine, cpu));
}

static void host_pin_startup(void *opaque, unsigned cpu, uint8_t vector)
{
	struct machine *machine = opaque;

	if (host_vcpu(machine, cpu))
		machine->accel->vcpu_startup(host_vcpu(machine, cpu), vector);
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

	return machine->accel->vcpu_tsc_to_monotonic_ns(host_vcpu(machine, cpu), tsc);
}
