/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/machine/intr_x86 and irqfd on an accelerator that has interrupt controllers of its own and records what
 * it is told: who gets lines, messages, doorbells and eventfds, and what is carried over when the controllers
 * come home and go out again. The guest never runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/legacy/ioapic.h"
#include "devices/legacy/lapic.h"
#include "devices/legacy/pic.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/core/accel.h"
#include "vmm/core/bus.h"
#include "vmm/core/gmem.h"
#include "vmm/core/irqchip_state.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/parts.h"

#define LEVELS_MAX   64
#define IOAPIC_GPA   0xfec00000u
#define ENTRY_LEVEL  (1ull << 15)
#define MSI_ADDRESS  0xfee00000u
#define IRQ_LINE_5   5
#define DOORBELL_GPA 0xc0000050u

struct accel_vcpu {
	struct x86_cpu_state state;
	struct lapic_state lapic;
	bool intr;
};

struct accel_vm {
	struct accel_vcpu *vcpu;
	struct irqchip_state chips;
	unsigned chip_sets;
	struct {
		unsigned gsi;
		bool level;
	} line[LEVELS_MAX];
	unsigned lines;
	uint64_t msi_address;
	uint32_t msi_data;
	unsigned msis;
	int doorbells;
	int irqfds;
	bool refuses_irqfds;
	uint64_t route[IRQCHIP_IOAPIC_PINS];
};

static int chips_probe(struct err *err)
{
	return 0;
}

static int chips_capabilities(struct x86_cpu_capabilities *capabilities, struct err *err)
{
	*capabilities = (struct x86_cpu_capabilities){.phys_bits = 40, .virt_bits = 48, .tsc_hz = 1000000000};
	memset(capabilities->feature, 0xff, sizeof(capabilities->feature));
	return 0;
}

static struct accel_vm *chips_vm_create(const struct accel_vm_config *config, struct err *err)
{
	return calloc(1, sizeof(struct accel_vm));
}

static void chips_vm_destroy(struct accel_vm *vm)
{
	free(vm);
}

static int chips_mem_map(struct accel_vm *vm, const struct gmem_region *region, struct err *err)
{
	return 0;
}

static struct accel_vcpu *chips_vcpu_create(struct accel_vm *vm, const struct accel_vcpu_config *config,
					    struct err *err)
{
	vm->vcpu = aligned_alloc(_Alignof(struct accel_vcpu), sizeof(struct accel_vcpu));
	memset(vm->vcpu, 0, sizeof(*vm->vcpu));
	return vm->vcpu;
}

static void chips_vcpu_destroy(struct accel_vcpu *vcpu)
{
	free(vcpu);
}

static void chips_vcpu_pin(struct accel_vcpu *vcpu)
{
}

static void chips_vcpu_intr(struct accel_vcpu *vcpu, bool level)
{
	vcpu->intr = level;
}

static void chips_vcpu_pins_take(struct accel_vcpu *vcpu, struct accel_pins *pins)
{
	*pins = (struct accel_pins){.intr = vcpu->intr};
}

static int chips_state_get(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err)
{
	*state = vcpu->state;
	return 0;
}

static int chips_state_set(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err)
{
	vcpu->state = *state;
	return 0;
}

static unsigned chips_irqchips(void)
{
	return 1u << ACCEL_IRQCHIP_OFF | 1u << ACCEL_IRQCHIP_SPLIT | 1u << ACCEL_IRQCHIP_KERNEL;
}

static void chips_irq_line(struct accel_vm *vm, unsigned gsi, bool level)
{
	assert_true(vm->lines < LEVELS_MAX);
	vm->line[vm->lines].gsi = gsi;
	vm->line[vm->lines++].level = level;
}

static void chips_msi_send(struct accel_vm *vm, uint64_t address, uint32_t data)
{
	vm->msi_address = address;
	vm->msi_data = data;
	vm->msis++;
}

static void chips_ioapic_route(struct accel_vm *vm, unsigned pin, uint64_t entry)
{
	vm->route[pin] = entry;
}

static int chips_irqfd_add(struct accel_vm *vm, const struct irqfd_config *config, unsigned *handle,
			   struct err *err)
{
	if (vm->refuses_irqfds)
		return err_set(err, -ENOTSUP, "no");
	vm->irqfds++;
	*handle = 7;
	return 0;
}

static int chips_irqfd_update(struct accel_vm *vm, unsigned handle, uint64_t msi_address, uint32_t msi_data,
			      struct err *err)
{
	assert_int_equal(handle, 7);
	vm->msi_data = msi_data;
	return 0;
}

static void chips_irqfd_remove(struct accel_vm *vm, unsigned handle)
{
	assert_int_equal(handle, 7);
	vm->irqfds--;
}

static int chips_ioeventfd_add(struct accel_vm *vm, enum accel_bus bus, const struct bus_doorbell *doorbell,
			       struct err *err)
{
	assert_int_equal(bus, doorbell->address == DOORBELL_GPA ? ACCEL_BUS_MMIO : ACCEL_BUS_PIO);
	vm->doorbells++;
	return 0;
}

static void chips_ioeventfd_remove(struct accel_vm *vm, enum accel_bus bus,
				   const struct bus_doorbell *doorbell)
{
	vm->doorbells--;
}

static int chips_get(struct accel_vm *vm, struct irqchip_state *state, struct err *err)
{
	*state = vm->chips;
	return 0;
}

static int chips_set(struct accel_vm *vm, const struct irqchip_state *state, struct err *err)
{
	vm->chips = *state;
	vm->chip_sets++;
	return 0;
}

static int chips_lapic_get(struct accel_vcpu *vcpu, struct lapic_state *state, struct err *err)
{
	*state = vcpu->lapic;
	return 0;
}

static int chips_lapic_set(struct accel_vcpu *vcpu, const struct lapic_state *state, struct err *err)
{
	vcpu->lapic = *state;
	return 0;
}

static const struct accel_ops chips_accel_ops = {
	.name = "chips",
	.probe = chips_probe,
	.capabilities = chips_capabilities,
	.vm_create = chips_vm_create,
	.vm_destroy = chips_vm_destroy,
	.mem_map = chips_mem_map,
	.vcpu_create = chips_vcpu_create,
	.vcpu_destroy = chips_vcpu_destroy,
	.vcpu_kick = chips_vcpu_pin,
	.vcpu_intr = chips_vcpu_intr,
	.vcpu_nmi = chips_vcpu_pin,
	.vcpu_pins_take = chips_vcpu_pins_take,
	.state_get = chips_state_get,
	.state_set = chips_state_set,
	.irqchips = chips_irqchips,
	.irq_line = chips_irq_line,
	.msi_send = chips_msi_send,
	.ioapic_route = chips_ioapic_route,
	.irqfd_add = chips_irqfd_add,
	.irqfd_update = chips_irqfd_update,
	.irqfd_remove = chips_irqfd_remove,
	.ioeventfd_add = chips_ioeventfd_add,
	.ioeventfd_remove = chips_ioeventfd_remove,
	.irqchip_state_get = chips_get,
	.irqchip_state_set = chips_set,
	.lapic_state_get = chips_lapic_get,
	.lapic_state_set = chips_lapic_set,
};

/* As one that has none. */
static const struct accel_ops bare_accel_ops = {.name = "bare", .probe = chips_probe};

const struct accel_ops *const accel_table[] = {&chips_accel_ops, NULL};

static void config_set(struct machine_config *config, const char *path, const char *text)
{
	struct err err = {0};

	for (const struct option *option = machine_options; option->path; option++) {
		if (strcmp(option->path, path) == 0)
			assert_int_equal(option_set_text(option, config, text, &err), 0);
	}
}

/* A machine of one CPU whose kernel is one HLT. */
static struct machine *machine_with(const char *irqchip)
{
	char path[] = "/tmp/vmmctl-test-XXXXXX";
	struct machine_config config;
	struct machine *machine;
	struct err err = {0};
	int fd = mkstemp(path);

	assert_int_equal(write(fd, "\xf4", 1), 1);
	close(fd);
	assert_int_equal(machine_config_init(&config, NULL), 0);
	config_set(&config, "boot.kernel", path);
	config_set(&config, "boot.protocol", "flat");
	config_set(&config, "machine.memory", "4M");
	config_set(&config, "machine.irqchip", irqchip);
	free(config.serial.item[0]);
	config.serial.item[0] = strdup("null");
	machine = machine_create(&config, &err);
	if (!machine)
		fail_msg("%s", err.message);
	machine_config_free(&config);
	unlink(path);
	machine->vm->lines = machine->vm->msis = 0;
	return machine;
}

static void leave(struct machine *machine)
{
	struct err err = {0};

	if (machine_intr_leave(machine, &err) < 0)
		fail_msg("%s", err.message);
}

static void enter(struct machine *machine)
{
	struct err err = {0};

	if (machine_intr_enter(machine, &err) < 0)
		fail_msg("%s", err.message);
}

/* Whether the accelerator was told this level of the line since the record was cleared, last. */
static bool was_told(const struct accel_vm *vm, unsigned gsi, bool level)
{
	for (unsigned i = vm->lines; i-- > 0;) {
		if (vm->line[i].gsi == gsi)
			return vm->line[i].level == level;
	}
	return false;
}

static void test_what_firmware_leaves_reaches_the_accelerator(void **state)
{
	struct machine *machine = machine_with("auto");
	const struct accel_vm *vm = machine->vm;

	assert_int_equal(machine->irqchip, ACCEL_IRQCHIP_KERNEL);
	assert_int_equal(vm->chip_sets, 1);
	assert_int_equal(vm->vcpu->lapic.base, 0xfee00900);
	assert_int_equal(vm->vcpu->lapic.svr, 0x1ff);
	assert_int_equal(vm->vcpu->lapic.lvt[3], 0x700);
	assert_int_equal(vm->chips.ioapic.entry[7], 1u << 16);
	machine_destroy(machine);
}

static void test_lines_and_messages_go_to_the_accelerator(void **state)
{
	struct machine *machine = machine_with("kernel");
	struct irq_line a, b;

	assert_int_equal(machine_irq_line(machine, IRQ_LINE_5, &a, NULL), 0);
	assert_int_equal(machine_irq_line(machine, IRQ_LINE_5, &b, NULL), 0);
	irq_line_set(&a, true);
	irq_line_set(&b, true);
	irq_line_set(&a, false);
	assert_int_equal(machine->vm->lines, 1);
	assert_true(was_told(machine->vm, IRQ_LINE_5, true));
	irq_line_set(&b, false);
	assert_true(was_told(machine->vm, IRQ_LINE_5, false));
	msi_sink_send(&machine->device_env.msi, MSI_ADDRESS, 0x41);
	assert_int_equal(machine->vm->msis, 1);
	assert_int_equal(machine->vm->msi_data, 0x41);
	machine_destroy(machine);
}

/* At home the devices have what the accelerator had, and take what comes meanwhile. */
static void test_controllers_come_home_and_go_out(void **state)
{
	struct machine *machine = machine_with("kernel");
	struct accel_vm *vm = machine->vm;
	struct lapic_state lapic;
	struct pic_state pic;
	struct irq_line edge, level;

	machine_irq_line(machine, 4, &edge, NULL);
	machine_irq_line(machine, 10, &level, NULL);
	irq_line_set(&edge, true);
	vm->chips.pic.chip[0].imr = 0x5a;
	vm->chips.pic.chip[0].vector_base = 0x30;
	vm->chips.ioapic.entry[10] = ENTRY_LEVEL | 0x51;
	vm->chips.ioapic.entry[4] = 0x52;
	vm->vcpu->lapic.isr[2] = 1;
	leave(machine);
	assert_true(machine->intr_home);
	pic_state_get(machine->pic, &pic);
	assert_int_equal(pic.chip[0].imr, 0x5a);
	assert_int_equal(pic.chip[0].lines & 0x10, 0x10);
	lapic_state_get(machine->lapic, 0, &lapic);
	assert_int_equal(lapic.isr[2], 1);
	vm->lines = 0;
	irq_line_set(&level, true);
	msi_sink_send(&machine->device_env.msi, MSI_ADDRESS, 0x61);
	assert_int_equal(vm->lines + vm->msis, 0);
	enter(machine);
	/* The level was sent as a message, whose end is awaited; the other is pending, too. */
	assert_int_equal(vm->vcpu->lapic.irr[2] >> 0x11 & 1, 1);
	assert_int_equal(vm->vcpu->lapic.irr[3] >> 1 & 1, 1);
	assert_int_equal(vm->chips.ioapic.entry[10] >> 14 & 1, 1);
	assert_int_equal(vm->chips.pic.chip[0].vector_base, 0x30);
	assert_true(was_told(vm, 10, true));
	/* An edge that was taken long ago is not one again. */
	assert_true(was_told(vm, 4, false));
	assert_false(vm->vcpu->intr);
	machine_destroy(machine);
}

static void test_doorbells_follow_the_accelerator(void **state)
{
	struct machine *machine = machine_with("kernel");
	struct bus_doorbell mmio = {.address = DOORBELL_GPA, .size_bytes = 4};
	struct bus_doorbell pio = {.address = 0x1050, .size_bytes = 2};
	uint64_t count = 0;

	mmio.fd = pio.fd = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(bus_doorbell_add(machine->mmio, &mmio, NULL), 0);
	assert_int_equal(bus_doorbell_add(machine->pio, &pio, NULL), 0);
	assert_int_equal(machine->vm->doorbells, 2);
	leave(machine);
	assert_int_equal(machine->vm->doorbells, 0);
	/* The bus rings it itself, as ever. */
	bus_write(machine->mmio, DOORBELL_GPA, 0, 4);
	assert_int_equal(read(mmio.fd, &count, sizeof(count)), sizeof(count));
	enter(machine);
	assert_int_equal(machine->vm->doorbells, 2);
	bus_doorbell_remove(machine->mmio, &mmio);
	bus_doorbell_remove(machine->pio, &pio);
	assert_int_equal(machine->vm->doorbells, 0);
	close(mmio.fd);
	machine_destroy(machine);
}

static void on_enough(void *opaque)
{
	loop_stop(opaque, 0);
}

/* Lets the loop see what is ready. */
static void run_loop(struct machine *machine)
{
	for (int i = 0; i < 3; i++) {
		loop_post(machine->loop, on_enough, machine->loop);
		loop_run(machine->loop);
	}
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void test_an_irqfd_is_the_accelerators_or_the_loops(void **state)
{
	struct machine *machine = machine_with("kernel");
	const struct irqfd_maker *maker = &machine->device_env.irqfds;
	struct irqfd_config config = {
		.resample_fd = -1, .is_msi = true, .msi_address = MSI_ADDRESS, .msi_data = 0x41};
	struct irqfd *irqfd;

	config.fd = eventfd(0, EFD_NONBLOCK);
	irqfd = maker->add(maker->opaque, &config, NULL);
	assert_int_equal(machine->vm->irqfds, 1);
	assert_int_equal(maker->update(maker->opaque, irqfd, MSI_ADDRESS, 0x42, NULL), 0);
	assert_int_equal(machine->vm->msi_data, 0x42);
	leave(machine);
	assert_int_equal(machine->vm->irqfds, 0);
	machine->vm->refuses_irqfds = true;
	enter(machine);
	signal_fd(config.fd);
	run_loop(machine);
	assert_int_equal(machine->vm->msis, 1);
	assert_int_equal(machine->vm->msi_data, 0x42);
	maker->remove(maker->opaque, irqfd);
	signal_fd(config.fd);
	run_loop(machine);
	assert_int_equal(machine->vm->msis, 1);
	close(config.fd);
	machine_destroy(machine);
}

/* The line of a watched irqfd stays up until the guest has ended its interrupt. */
static void test_a_level_is_sampled_again(void **state)
{
	struct machine *machine = machine_with("off");
	const struct irqfd_maker *maker = &machine->device_env.irqfds;
	struct irqfd_config config = {.line = 10};
	struct ioapic_state ioapic;
	struct irqfd *irqfd;
	uint64_t count = 0;

	config.fd = eventfd(0, EFD_NONBLOCK);
	config.resample_fd = eventfd(0, EFD_NONBLOCK);
	irqfd = maker->add(maker->opaque, &config, NULL);
	assert_non_null(irqfd);
	bus_write(machine->mmio, IOAPIC_GPA, 0x10 + 10 * 2, 4);
	bus_write(machine->mmio, IOAPIC_GPA + 0x10, ENTRY_LEVEL | 0x51, 4);
	signal_fd(config.fd);
	run_loop(machine);
	ioapic_state_get(machine->ioapic, &ioapic);
	assert_int_equal(ioapic.lines, 1u << 10);
	assert_true(machine->vm->vcpu->intr);
	assert_int_equal(machine_intr_acknowledge(machine, 0), 0x51);
	lapic_mmio_write(machine->lapic, 0, 0xb0, 0, 4);
	run_loop(machine);
	ioapic_state_get(machine->ioapic, &ioapic);
	assert_int_equal(ioapic.lines, 0);
	assert_int_equal(read(config.resample_fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	maker->remove(maker->opaque, irqfd);
	close(config.fd);
	close(config.resample_fd);
	machine_destroy(machine);
}

static void test_split_sends_messages_of_our_own_ioapic(void **state)
{
	struct machine *machine = machine_with("split");
	struct accel_vm *vm = machine->vm;
	struct irq_line line;

	assert_int_equal(machine->irqchip, ACCEL_IRQCHIP_SPLIT);
	assert_int_equal(vm->chip_sets, 0);
	bus_write(machine->mmio, IOAPIC_GPA, 0x10 + 10 * 2, 4);
	bus_write(machine->mmio, IOAPIC_GPA + 0x10, ENTRY_LEVEL | 0x51, 4);
	assert_int_equal(vm->route[10], ENTRY_LEVEL | 0x51);
	machine_irq_line(machine, 10, &line, NULL);
	irq_line_set(&line, true);
	assert_int_equal(vm->msis, 1);
	assert_int_equal(vm->msi_data, 0x51 | 1u << 15 | 1u << 14);
	/* Still up at its end: it comes again. */
	machine->host.ioapic_eoi(machine->host.opaque, 0x51);
	assert_int_equal(vm->msis, 2);
	machine_destroy(machine);
}

static void test_split_has_our_own_pic_interrupt(void **state)
{
	static const uint8_t setup[] = {0x11, 0x20, 0x04, 0x01, 0xef};
	struct machine *machine = machine_with("split");
	struct irq_line line;

	for (unsigned i = 0; i < sizeof(setup); i++)
		bus_write(machine->pio, i ? 0x21 : 0x20, setup[i], 1);
	machine_irq_line(machine, 4, &line, NULL);
	irq_line_set(&line, true);
	assert_true(machine->vm->vcpu->intr);
	assert_int_equal(machine_intr_acknowledge(machine, 0), 0x24);
	assert_false(machine->vm->vcpu->intr);
	assert_int_equal(machine_intr_acknowledge(machine, 0), -1);
	machine_destroy(machine);
}

static void test_what_cannot_be_had_is_said(void **state)
{
	enum accel_irqchip irqchip = ACCEL_IRQCHIP_COUNT;
	struct err err = {0};

	assert_int_equal(accel_choice_irqchip(&bare_accel_ops, MACHINE_IRQCHIP_AUTO, &irqchip, &err), 0);
	assert_int_equal(irqchip, ACCEL_IRQCHIP_OFF);
	assert_int_equal(accel_choice_irqchip(&bare_accel_ops, MACHINE_IRQCHIP_OFF, &irqchip, &err), 0);
	assert_int_equal(accel_choice_irqchip(&bare_accel_ops, MACHINE_IRQCHIP_KERNEL, &irqchip, &err),
			 -ENOTSUP);
	assert_non_null(strstr(err.message, "--irqchip"));
	assert_non_null(strstr(err.message, "bare"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_firmware_leaves_reaches_the_accelerator),
		cmocka_unit_test(test_lines_and_messages_go_to_the_accelerator),
		cmocka_unit_test(test_controllers_come_home_and_go_out),
		cmocka_unit_test(test_doorbells_follow_the_accelerator),
		cmocka_unit_test(test_an_irqfd_is_the_accelerators_or_the_loops),
		cmocka_unit_test(test_a_level_is_sampled_again),
		cmocka_unit_test(test_split_sends_messages_of_our_own_ioapic),
		cmocka_unit_test(test_split_has_our_own_pic_interrupt),
		cmocka_unit_test(test_what_cannot_be_had_is_said),
	};

	return cmocka_run_group_tests_name("intr", tests, NULL, NULL);
}
