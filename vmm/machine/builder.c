/* SPDX-License-Identifier: Apache-2.0 */
/* From a configuration to a machine, in steps that each leave it destroyable; and back to nothing in reverse
 * order. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/core/bus.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/accel_side.h"
#include "vmm/machine/accel_switch.h"
#include "vmm/machine/dirty_log.h"
#include "vmm/machine/cpu_choice.h"
#include "vmm/machine/jit_choice.h"
#include "vmm/machine/board.h"
#include "vmm/machine/console_hub.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot_parts.h"
#include "vmm/machine/trace_choice.h"

#define X86_LEAF1_ECX_X2APIC       (1u << 21)
#define X86_LEAF1_ECX_TSC_DEADLINE (1u << 24)

static void builder_on_console_command(void *opaque, enum console_command command)
{
	struct machine *machine = opaque;

	switch (command) {
	case CONSOLE_QUIT: machine_quit(machine); return;
	case CONSOLE_RESET: machine_reset(machine); return;
	case CONSOLE_POWER_BUTTON: machine_press_power_button(machine); return;
	case CONSOLE_SWITCH_ACCEL: accel_switch_request(machine); return;
	}
}

static int builder_add_loop(struct machine *machine, struct err *err)
{
	machine->loop = loop_create(err);
	if (!machine->loop)
		return err_prefix(err, "event loop");
	return machine_run_init(machine, err);
}

static int builder_add_accel(struct machine *machine, struct err *err)
{
	char reason[ERR_MESSAGE_SIZE + 128];

	machine->accel = accel_choice_make(machine->config.accel, reason, sizeof(reason), err);
	if (!machine->accel)
		return -ENODEV;
	log_info("accelerator: %s", reason);
	if (accel_choice_irqchip(machine->accel, machine->config.irqchip, &machine->irqchip, err) < 0)
		return -ENOTSUP;
	if (machine->accel->capabilities(&machine->capabilities, err) < 0)
		return err_prefix(err, "accelerator %s", machine->accel->name);
	if (!machine->accel->vcpu_tsc_to_monotonic_ns)
		machine->capabilities.feature[X86_WORD_1_ECX] &= ~X86_LEAF1_ECX_TSC_DEADLINE;
	machine_host_init(machine);
	if (accel_switch_prepare(machine, err) < 0 ||
	    cpu_choice_resolve(&machine->config, &machine->capabilities, err) < 0)
		return err->code;
	return machine->restoring ? snapshot_restore_capabilities(machine, err) : 0;
}

static int builder_add_buses(struct machine *machine, struct err *err)
{
	machine->pio = bus_create("I/O port", 16);
	machine->mmio = bus_create("memory", machine->capabilities.phys_bits);
	machine->gmem = gmem_create();
	if (!machine->pio || !machine->mmio || !machine->gmem)
		return err_set(err, -ENOMEM, "no memory for the buses");
	machine->device_env = (struct device_env){
		.pio = machine->pio,
		.mmio = machine->mmio,
		.gmem = machine->gmem,
		.loop = machine->loop,
		.lock = &machine->board_lock,
		.intr_lock = &machine->intr_lock,
	};
	return machine_intr_init(machine, err);
}

static int builder_add_memory(struct machine *machine, struct err *err)
{
	int code = machine->board->add_memory(machine, err);

	if (code == 0 && machine->restoring)
		code = snapshot_memory_load(machine, machine->restoring->memory, err);
	return code;
}

static int builder_add_vm(struct machine *machine, struct err *err)
{
	struct accel_vm_config vm_config = {
		.host = &machine->host,
		.cpu_count = machine->config.cpus,
		.irqchip = machine->irqchip,
		.dirty_ring = machine->config.dirty_log == MACHINE_DIRTY_LOG_RING,
	};
	struct jit_choice jit;
	int code = jit_choice_parse(machine->config.jit, &jit, err);

	if (code < 0)
		return code;
	vm_config.jit = jit.on;
	vm_config.jit_verify_every = jit.verify_every;
	vm_config.mmu_safe = machine->config.mmu == MACHINE_MMU_SAFE;
	vm_config.mmu_ranges = machine->config.mmu == MACHINE_MMU_RANGES;

	code = trace_choice_open(&machine->config, &vm_config, err);
	if (code < 0)
		return code;
	machine->vm = machine->accel->vm_create(&vm_config, err);
	trace_choice_close(&vm_config);
	if (!machine->vm)
		return err_prefix(err, "accelerator %s", machine->accel->name);
	for (size_t i = 0; i < gmem_region_count(machine->gmem) && code == 0; i++)
		code = machine->accel->mem_map(machine->vm, gmem_region_at(machine->gmem, i), err);
	return code < 0 ? err_prefix(err, "guest memory") : 0;
}

static uint32_t builder_leaf1_ecx(const struct x86_cpuid_table *cpuid)
{
	for (size_t i = 0; i < cpuid->count; i++) {
		if (cpuid->entry[i].leaf == 1)
			return cpuid->entry[i].ecx;
	}
	return 0;
}

int machine_cpuid_build(struct machine *machine, unsigned index, struct x86_cpuid_table *cpuid,
			struct err *err)
{
	const struct x86_cpu_model *model = x86_cpu_model_find(machine->config.cpu_model, err);

	if (!model)
		return -EINVAL;
	return x86_cpu_model_build(model, &machine->capabilities, index, machine->config.cpus, cpuid, err);
}

static int builder_add_vcpu(struct machine *machine, struct err *err)
{
	unsigned index = machine->vcpu_count;
	struct machine_vcpu *vcpu = &machine->vcpu[index];
	struct x86_cpuid_table cpuid;
	struct accel_vcpu_config vcpu_config = {
		.index = index, .cpu_count = machine->config.cpus, .cpuid = &cpuid};
	int code = machine_cpuid_build(machine, index, &cpuid, err);

	if (code < 0)
		return code;
	machine->has_x2apic = builder_leaf1_ecx(&cpuid) & X86_LEAF1_ECX_X2APIC;
	vcpu->machine = machine;
	vcpu->index = index;
	vcpu->accel_vcpu = machine->accel->vcpu_create(machine->vm, &vcpu_config, err);
	if (!vcpu->accel_vcpu)
		return err_prefix(err, "CPU %u", index);
	machine->vcpu_count++;
	return 0;
}

static int builder_add_vcpus(struct machine *machine, struct err *err)
{
	int code = 0;

	machine->vcpu = calloc(machine->config.cpus, sizeof(*machine->vcpu));
	if (!machine->vcpu)
		return err_set(err, -ENOMEM, "no memory for %u CPUs", machine->config.cpus);
	for (unsigned i = 0; i < machine->config.cpus && code == 0; i++)
		code = builder_add_vcpu(machine, err);
	if (code == 0)
		code = accel_sides_init(machine, err);
	return code < 0 ? code : machine_dirty_init(machine, err);
}

/* What a reset goes back to. After the devices: a part of a CPU's state (CR8) is in its local APIC. */
static int builder_keep_reset_states(struct machine *machine, struct err *err)
{
	int code = 0;

	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++) {
		struct machine_vcpu *vcpu = &machine->vcpu[i];

		vcpu->reset_state = machine_new_cpu_state();
		if (!vcpu->reset_state)
			return err_set(err, -ENOMEM, "no memory for CPU %u", i);
		code = machine->accel->state_get(vcpu->accel_vcpu, vcpu->reset_state, err);
	}
	return code;
}

struct chardev *machine_open_chardev(struct machine *machine, const char *spec, struct err *err)
{
	struct chardev *chardev = chardev_open(spec, &machine->chardev_env, err);

	if (chardev)
		machine->chardev[machine->chardev_count++] = chardev;
	return chardev;
}

/* The first serial port has room for visitors. */
static int builder_open_console(struct machine *machine, struct err *err)
{
	machine->console = console_hub_create(machine->loop, machine->chardev[0], err);
	machine->chardev[0] = machine->console;
	if (machine->console)
		return 0;
	machine->chardev_count--;
	memmove(machine->chardev, machine->chardev + 1, machine->chardev_count * sizeof(machine->chardev[0]));
	return -ENOMEM;
}

static int builder_add_chardevs(struct machine *machine, struct err *err)
{
	machine->chardev_env = (struct chardev_env){
		.loop = machine->loop,
		.command = builder_on_console_command,
		.opaque = machine,
	};
	for (size_t i = 0; i < machine->config.serial.count; i++) {
		if (!machine_open_chardev(machine, machine->config.serial.item[i], err))
			return err_prefix(err, "--serial %s", machine->config.serial.item[i]);
	}
	return machine->chardev_count > 0 ? builder_open_console(machine, err) : 0;
}

int machine_keep_device(struct machine *machine, struct device *device, struct err *err)
{
	if (!device)
		return err && err->code ? err->code : -ENOMEM;
	if (machine->device_count == MACHINE_DEVICES_MAX) {
		device->class->destroy(device);
		return err_set(err, -ENOSPC, "more than %d devices", MACHINE_DEVICES_MAX);
	}
	machine->device[machine->device_count++] = device;
	return 0;
}

static int builder_add_devices(struct machine *machine, struct err *err)
{
	return machine->board->add_devices(machine, err);
}

/* From a kernel; or from a snapshot, and the interrupt controllers are left at home until it is resumed. */
static int builder_give_state(struct machine *machine, struct err *err)
{
	int code = machine->restoring ? snapshot_restore_state(machine, err) : machine_load(machine, err);

	return code == 0 && !machine->restoring ? machine_intr_enter(machine, err) : code;
}

/* Consoles come last but for what needs them: a mistake found before leaves the terminal alone. */
static int (*const builder_steps[])(struct machine *machine, struct err *err) = {
	builder_add_loop,    builder_add_accel,         builder_add_buses,    builder_add_memory,
	builder_add_vm,      builder_add_vcpus,         builder_add_chardevs, machine_io_threads_start,
	builder_add_devices, builder_keep_reset_states, builder_give_state,
};

static void builder_init_locks(struct machine *machine)
{
	pthread_mutex_init(&machine->board_lock, NULL);
	pthread_mutex_init(&machine->intr_lock, NULL);
	pthread_mutex_init(&machine->side_lock, NULL);
	pthread_mutex_init(&machine->run.lock, NULL);
	pthread_rwlock_init(&machine->intr_gate, NULL);
	machine->intr_home = true;
	pthread_cond_init(&machine->run.changed, NULL);
	machine->run.request_fd = -1;
	machine->pausing.uffd = -1;
	machine->pausing.uffd_socket = -1;
}

static struct machine *builder_make(const struct machine_config *config, const struct machine_snapshot *from,
				    struct err *err)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int code = machine_config_check(config, err);

	if (!machine)
		err_set(err, -ENOMEM, "no memory for a machine");
	if (!machine || code < 0 || machine_config_copy(&machine->config, config, err) < 0) {
		free(machine);
		return NULL;
	}
	builder_init_locks(machine);
	code = machine_config_complete(&machine->config, err);
	machine->restoring = from;
	machine->board = board_find(config->board, err);
	for (size_t i = 0; i < sizeof(builder_steps) / sizeof(builder_steps[0]) && code == 0; i++)
		code = builder_steps[i](machine, err);
	if (code < 0) {
		machine_destroy(machine);
		return NULL;
	}
	machine->restoring = NULL;
	return machine;
}

struct machine *machine_create(const struct machine_config *config, struct err *err)
{
	return builder_make(config, NULL, err);
}

struct machine *machine_restore(struct machine_snapshot *snapshot,
				const struct machine_snapshot_memory *memory, struct err *err)
{
	struct machine *machine;

	snapshot->memory = memory;
	machine = builder_make(&snapshot->config, snapshot, err);
	snapshot->memory = NULL;
	return machine;
}

#define BUILDER_COUNTERS_MAX 64 /* an accelerator has some twenty */

static void builder_tell_counters(const struct machine *machine)
{
	const char *names[BUILDER_COUNTERS_MAX];
	uint64_t values[BUILDER_COUNTERS_MAX];
	size_t count;

	if (!machine->vm || !machine->accel->counters || log_get_level() < LOG_DEBUG)
		return;
	count = machine->accel->counters(machine->vm, names, values, BUILDER_COUNTERS_MAX);
	for (size_t i = 0; i < count && i < BUILDER_COUNTERS_MAX; i++)
		log_debug("%s: %s %" PRIu64, machine->accel->name, names[i], values[i]);
}

static void builder_destroy_vcpus(struct machine *machine)
{
	builder_tell_counters(machine);
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		machine->accel->vcpu_destroy(machine->vcpu[i].accel_vcpu);
		free(machine->vcpu[i].reset_state);
	}
	machine->vcpu_count = 0;
	free(machine->vcpu);
	if (machine->vm)
		machine->accel->vm_destroy(machine->vm);
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	machine_vcpus_stop(machine);
	machine_intr_close(machine);
	/* Devices first: their pins and timers name CPUs and loop. */
	while (machine->device_count > 0) {
		struct device *device = machine->device[--machine->device_count];

		device->class->destroy(device);
	}
	machine_close_disks(machine);
	free(machine->board_state);
	free(machine->switching);
	free(machine->pausing.clock);
	free(machine->snapshot_log);
	if (machine->pausing.uffd >= 0)
		close(machine->pausing.uffd);
	if (machine->pausing.uffd_socket >= 0)
		close(machine->pausing.uffd_socket);
	accel_sides_destroy(machine);
	builder_destroy_vcpus(machine);
	while (machine->chardev_count > 0)
		chardev_destroy(machine->chardev[--machine->chardev_count]);
	machine_io_threads_stop(machine);
	machine_intr_destroy(machine);
	bus_destroy(machine->pio);
	bus_destroy(machine->mmio);
	machine_dirty_destroy(machine);
	gmem_destroy(machine->gmem);
	machine_run_destroy(machine);
	loop_destroy(machine->loop);
	machine_config_free(&machine->config);
	pthread_mutex_destroy(&machine->board_lock);
	pthread_mutex_destroy(&machine->intr_lock);
	pthread_mutex_destroy(&machine->side_lock);
	pthread_mutex_destroy(&machine->run.lock);
	pthread_rwlock_destroy(&machine->intr_gate);
	pthread_cond_destroy(&machine->run.changed);
	free(machine);
}

struct loop *machine_loop(struct machine *machine)
{
	return machine->loop;
}
