/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board "microvm": a PC whose devices are ISA and virtio. RAM from 0 to 3 GiB and on from 4 GiB, ISA
 * devices at their PC addresses, one I/O APIC, local APICs, ACPI fixed hardware. Wiring as in the PC/AT and
 * the MP specification 1.4, 3.6: ISA interrupt n reaches the PIC's input n and the I/O APIC's pin n, but
 * interrupt 0 pin 2.
 */
#include <errno.h>
#include <stdlib.h>

#include "boot/boot.h"
#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/debug_exit.h"
#include "devices/legacy/ferr.h"
#include "devices/legacy/boot_timer.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/ioapic.h"
#include "devices/legacy/lapic.h"
#include "devices/legacy/pic.h"
#include "devices/legacy/pit.h"
#include "devices/legacy/port92.h"
#include "devices/legacy/post_port.h"
#include "devices/legacy/reset_port.h"
#include "devices/legacy/rtc.h"
#include "devices/legacy/serial.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"
#include "vmm/core/irq_router.h"
#include "vmm/machine/board.h"
#include "vmm/machine/irqfd.h"
#include "vmm/machine/parts.h"

#define MICROVM_LOW_RAM_MAX (3ull << 30)
#define MICROVM_HIGH_RAM    (4ull << 30)
#define MICROVM_IOAPIC_GPA  0xfec00000ull
#define MICROVM_PM_PORT     0x600
#define MICROVM_ISA_IRQS    16
#define MICROVM_PAGE_SIZE   4096

enum {
	IRQ_TIMER = 0,
	IRQ_KEYBOARD = 1,
	IRQ_COM2 = 3,
	IRQ_COM1 = 4,
	IRQ_RTC = 8,
	IRQ_SCI = 9,
	IRQ_MOUSE = 12,
	IRQ_FERR = 13
};

/* The two ways of one interrupt. */
struct microvm_gsi {
	struct irq_line pic; /* ISA interrupts only */
	struct irq_line ioapic;
};

struct microvm {
	struct microvm_gsi gsi[IRQ_ROUTER_PINS];
};

static uint64_t microvm_low_ram(const struct machine *machine)
{
	uint64_t size = machine->config.memory_bytes;

	return size < MICROVM_LOW_RAM_MAX ? size : MICROVM_LOW_RAM_MAX;
}

static uint64_t microvm_high_ram(const struct machine *machine)
{
	return machine->config.memory_bytes - microvm_low_ram(machine);
}

static int microvm_add_memory(struct machine *machine, struct err *err)
{
	uint64_t high = microvm_high_ram(machine);
	uint64_t limit = 1ull << machine->capabilities.phys_bits;
	int code = 0;

	if (machine->config.memory_bytes % MICROVM_PAGE_SIZE != 0)
		return err_set(err, -EINVAL, "--mem (machine.memory): the size must be a multiple of 4 KiB");
	if (high > limit - MICROVM_HIGH_RAM)
		return err_set(err, -EINVAL,
			       "--mem (machine.memory): the CPU's %u address bits do not reach the end of "
			       "the memory",
			       machine->capabilities.phys_bits);
	code = gmem_add(machine->gmem, 0, microvm_low_ram(machine), GMEM_RAM, err);
	if (code == 0 && high > 0)
		code = gmem_add(machine->gmem, MICROVM_HIGH_RAM, high, GMEM_RAM, err);
	if (code < 0)
		return err_prefix(err, "--mem (machine.memory)");
	return machine_add_pmem_memory(machine, MICROVM_HIGH_RAM + high, err);
}

static void microvm_gsi_set(struct machine *machine, unsigned gsi, bool level)
{
	const struct microvm *microvm = machine->board_state;

	irq_line_set(&microvm->gsi[gsi].pic, level);
	irq_line_set(&microvm->gsi[gsi].ioapic, level);
}

/* The board's own devices: there are fewer than a GSI has room for. */
static struct irq_line microvm_isa_line(struct machine *machine, unsigned irq)
{
	struct irq_line line = {.set = NULL};

	machine_irq_line(machine, irq, &line, NULL);
	return line;
}

/* One of the two A20 gates moved; address bit 20 passes while either is open. number: the gate's bit. */
static void microvm_a20_set(void *opaque, unsigned number, bool level)
{
	struct machine *machine = opaque;
	unsigned bit = 1u << number;
	unsigned gates;

	if (level)
		gates = atomic_fetch_or(&machine->a20_gates, bit) | bit;
	else
		gates = atomic_fetch_and(&machine->a20_gates, ~bit) & ~bit;
	if (machine->accel->set_a20)
		machine->accel->set_a20(machine->vm, gates != 0);
}

static struct irq_line microvm_a20_line(struct machine *machine, unsigned gate)
{
	return (struct irq_line){.set = microvm_a20_set, .opaque = machine, .number = gate};
}

static void microvm_on_reset(void *opaque)
{
	machine_reset(opaque);
}

static void microvm_on_reset_register(void *opaque, bool hard)
{
	machine_reset(opaque);
}

static void microvm_on_power_off(void *opaque)
{
	machine_run_request(opaque, REQUEST_POWER_OFF, 0);
}

static void microvm_on_exit(void *opaque, uint32_t value)
{
	machine_run_request(opaque, REQUEST_EXIT, value);
}

/* Called with the interrupt lock held. */
static int microvm_extint_acknowledge(void *opaque)
{
	return pic_acknowledge(((struct machine *)opaque)->pic);
}

static int microvm_add_lapic(struct machine *machine, struct err *err)
{
	const struct lapic_config config = {
		.cpu_count = machine->config.cpus,
		.x2apic = machine->has_x2apic,
		.phys_bits = machine->capabilities.phys_bits,
		.timer_hz = x86_cpu_model_crystal_hz(&machine->capabilities),
		.pins = machine_cpu_pins(machine),
		.extint_acknowledge = microvm_extint_acknowledge,
		.extint_opaque = machine,
		.tsc_to_monotonic_ns =
			machine->accel->vcpu_tsc_to_monotonic_ns ? machine_tsc_to_monotonic_ns : NULL,
		.tsc_opaque = machine,
	};

	machine->lapic = lapic_create(&machine->device_env, &config, err);
	return machine_keep_device(machine, machine->lapic, err);
}

static int microvm_add_pic(struct machine *machine, struct err *err)
{
	const struct pic_config config = {.output = machine_pic_output(machine)};

	machine->pic = pic_create(&machine->device_env, &config, err);
	return machine_keep_device(machine, machine->pic, err);
}

/* Four bits wide in the register: beyond 15 CPUs it shares a number with CPU 0, which xAPIC buses allow. */
static uint8_t microvm_ioapic_id(const struct machine *machine)
{
	return machine->config.cpus < 16 ? (uint8_t)machine->config.cpus : 0;
}

/* Called with the interrupt lock held. */
static void microvm_on_pin_ended(void *opaque, unsigned pin)
{
	machine_irqfds_ended(((struct machine *)opaque)->irqfds, pin == 2 ? 0 : pin);
}

static void microvm_on_pin_routed(void *opaque, unsigned pin, uint64_t entry)
{
	machine_ioapic_routed(opaque, pin, entry);
}

static int microvm_add_ioapic(struct machine *machine, struct err *err)
{
	struct microvm *microvm = machine->board_state;
	const struct ioapic_config config = {
		.base = MICROVM_IOAPIC_GPA,
		.apic_id = microvm_ioapic_id(machine),
		.sink = machine_ioapic_sink(machine),
		.ended = microvm_on_pin_ended,
		.routed = microvm_on_pin_routed,
		.opaque = machine,
	};
	struct eoi_sink eoi;
	int code;

	machine->ioapic = ioapic_create(&machine->device_env, &config, err);
	code = machine_keep_device(machine, machine->ioapic, err);
	if (code < 0)
		return code;
	eoi = ioapic_eoi_sink(machine->ioapic);
	lapic_set_eoi_sink(machine->lapic, &eoi);
	for (unsigned gsi = 0; gsi < IRQ_ROUTER_PINS; gsi++) {
		if (gsi == 2)
			continue; /* the PIC's cascade; the I/O APIC's pin is the timer's */
		if (gsi < MICROVM_ISA_IRQS)
			microvm->gsi[gsi].pic = pic_input(machine->pic, gsi);
		microvm->gsi[gsi].ioapic = ioapic_input(machine->ioapic, gsi == 0 ? 2 : gsi);
	}
	return 0;
}

static int microvm_add_interrupts(struct machine *machine, struct err *err)
{
	int code = microvm_add_lapic(machine, err);

	if (code == 0)
		code = microvm_add_pic(machine, err);
	return code < 0 ? code : microvm_add_ioapic(machine, err);
}

static int microvm_add_clocks(struct machine *machine, struct err *err)
{
	const struct pit_config pit = {.irq = microvm_isa_line(machine, IRQ_TIMER)};
	const struct rtc_config rtc = {
		.irq = microvm_isa_line(machine, IRQ_RTC),
		.ram_below_4g_bytes = microvm_low_ram(machine),
		.ram_above_4g_bytes = microvm_high_ram(machine),
	};
	int code;

	machine->pit = pit_create(&machine->device_env, &pit, err);
	code = machine_keep_device(machine, machine->pit, err);
	return code < 0 ? code
			: machine_keep_device(machine, rtc_create(&machine->device_env, &rtc, err), err);
}

static int microvm_add_keyboard(struct machine *machine, struct err *err)
{
	const struct i8042_config i8042 = {
		.keyboard_irq = microvm_isa_line(machine, IRQ_KEYBOARD),
		.mouse_irq = microvm_isa_line(machine, IRQ_MOUSE),
		.a20 = microvm_a20_line(machine, 0),
		.reset = microvm_on_reset,
		.reset_opaque = machine,
	};
	const struct port92_config port92 = {
		.a20 = microvm_a20_line(machine, 1),
		.reset = microvm_on_reset,
		.reset_opaque = machine,
	};
	int code;

	machine->i8042 = i8042_create(&machine->device_env, &i8042, err);
	code = machine_keep_device(machine, machine->i8042, err);

	return code < 0
		       ? code
		       : machine_keep_device(machine, port92_create(&machine->device_env, &port92, err), err);
}

static int microvm_add_serials(struct machine *machine, struct err *err)
{
	static const struct {
		const char *id;
		uint16_t port;
		unsigned irq;
	} ports[MACHINE_SERIAL_MAX] = {{"serial0", 0x3f8, IRQ_COM1}, {"serial1", 0x2f8, IRQ_COM2}};
	int code = 0;

	for (size_t i = 0; i < machine->config.serial.count && code == 0; i++) {
		const struct serial_config config = {
			.id = ports[i].id,
			.base_port = ports[i].port,
			.irq = microvm_isa_line(machine, ports[i].irq),
			.gsi = (int)ports[i].irq,
			.chardev = machine->chardev[i],
		};

		code = machine_keep_device(machine, serial_create(&machine->device_env, &config, err), err);
	}
	return code;
}

static int microvm_add_power(struct machine *machine, struct err *err)
{
	const struct acpi_pm_config pm = {
		.base_port = MICROVM_PM_PORT,
		.sci = microvm_isa_line(machine, IRQ_SCI),
		.power_off = microvm_on_power_off,
		.power_off_opaque = machine,
	};
	const struct reset_port_config reset = {
		.reset = microvm_on_reset_register,
		.reset_opaque = machine,
		.confadd_read = machine_confadd_read,
		.confadd_write = machine_confadd_write,
		.confadd_opaque = machine,
	};
	int code;

	machine->acpi_pm = acpi_pm_create(&machine->device_env, &pm, err);
	code = machine_keep_device(machine, machine->acpi_pm, err);
	return code < 0 ? code
			: machine_keep_device(machine, reset_port_create(&machine->device_env, &reset, err),
					      err);
}

static int microvm_add_small_ports(struct machine *machine, struct err *err)
{
	const struct ferr_config ferr = {.irq = microvm_isa_line(machine, IRQ_FERR)};
	const struct debug_exit_config debug_exit = {
		.base_port = (uint16_t)machine->config.exit_code_port,
		.exit = microvm_on_exit,
		.exit_opaque = machine,
	};
	int code;

	machine->ferr = ferr_create(&machine->device_env, &ferr, err);
	code = machine_keep_device(machine, machine->ferr, err);
	if (code == 0)
		code = machine_keep_device(machine, post_port_create(&machine->device_env, err), err);
	if (code == 0 && machine->config.boot_timer)
		code = machine_keep_device(
			machine, boot_timer_create(&machine->device_env, MACHINE_VIRTIO_MMIO_GPA, err), err);
	if (code < 0 || !machine->config.exit_code_port)
		return code;
	code = machine_keep_device(machine, debug_exit_create(&machine->device_env, &debug_exit, err), err);
	return code < 0 ? err_prefix(err, "--exit-code-port (exit_code_port)") : 0;
}

static int microvm_add_devices(struct machine *machine, struct err *err)
{
	static int (*const steps[])(struct machine * machine, struct err * err) = {
		microvm_add_interrupts,     microvm_add_clocks, microvm_add_keyboard,
		microvm_add_serials,        microvm_add_power,  microvm_add_small_ports,
		machine_add_virtio_devices,
	};
	int code = 0;

	machine->board_state = calloc(1, sizeof(struct microvm));
	if (!machine->board_state)
		return err_set(err, -ENOMEM, "no memory for the board");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && code == 0; i++)
		code = steps[i](machine, err);
	return code;
}

static void microvm_describe(const struct machine *machine, struct boot_x86_config *boot)
{
	boot->lapic_gpa = LAPIC_MMIO_BASE;
	boot->ioapic_gpa = MICROVM_IOAPIC_GPA;
	boot->ioapic_id = microvm_ioapic_id(machine);
	boot->acpi = (struct boot_acpi_hardware){
		.pm1a_event_port = MICROVM_PM_PORT + ACPI_PM_EVENT_OFFSET,
		.pm1a_control_port = MICROVM_PM_PORT + ACPI_PM_CONTROL_OFFSET,
		.pm_timer_port = MICROVM_PM_PORT + ACPI_PM_TIMER_OFFSET,
		.pm_timer_is_32bit = true,
		.reset_port = RESET_PORT_ADDRESS,
		.reset_value = RESET_PORT_VALUE,
		.sci_irq = IRQ_SCI,
		.sleep_type_s5 = ACPI_PM_S5_TYPE,
	};
	machine_describe_pci(machine, boot);
}

/*
 * A20 open, and the boot CPU's APIC in virtual wire mode: the PIC's interrupts pass LINT0, so that an
 * operating system without APIC support works. MP specification 1.4, 3.6.2.2. Registers: SVR 0xf0, LINT0
 * 0x350, LINT1 0x360.
 */
static void microvm_act_as_firmware(struct machine *machine)
{
	const unsigned svr_enabled = 0x1ff;
	const unsigned lvt_extint = INTR_EXTINT << 8;
	const unsigned lvt_nmi = INTR_NMI << 8;

	machine_assign_pci(machine);
	microvm_a20_set(machine, 1, true);
	lapic_mmio_write(machine->lapic, 0, 0xf0, svr_enabled, 4);
	lapic_mmio_write(machine->lapic, 0, 0x350, lvt_extint, 4);
	lapic_mmio_write(machine->lapic, 0, 0x360, lvt_nmi, 4);
}

static void microvm_power_button(struct machine *machine)
{
	acpi_pm_power_button(machine->acpi_pm);
}

static int microvm_ctrl_alt_del(struct machine *machine, struct err *err)
{
	int code = i8042_ctrl_alt_del(machine->i8042);

	return code < 0 ? err_set_errno(err, code, "the keyboard takes no keys now") : 0;
}

const struct board board_microvm = {
	.name = "microvm",
	.summary = "a small PC: ISA devices, APICs, ACPI and virtio",
	.add_memory = microvm_add_memory,
	.add_devices = microvm_add_devices,
	.describe = microvm_describe,
	.act_as_firmware = microvm_act_as_firmware,
	.gsi_set = microvm_gsi_set,
	.power_button = microvm_power_button,
	.ctrl_alt_del = microvm_ctrl_alt_del,
};
