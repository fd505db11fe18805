/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A paused machine to a state file, and a machine from one:
 *
 *     { "vmmctl": version, "config": ..., "capabilities": ..., "memory": [...],
 *       "cpus": [...], "devices": [ { "id", "class", "state" } ... ] }
 *
 * The configuration is the canonical JSON that --print-config shows; a device's state is the table of its
 * class.
 */
#include "vmm/machine/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/core/gmem.h"
#include "vmm/core/irq_router.h"
#include "vmm/machine/board.h"
#include "vmm/machine/snapshot_parts.h"
#include "vmm/machine/state_json.h"
#include "vmm/machine/version.h"

/* TSCs whose rates differ by less count alike: what an operating system's own calibration errs. */
#define SNAPSHOT_TSC_PPM 250

/* Saving. */

static int snapshot_save_cpu(struct machine *machine, unsigned index, json_t *list, struct err *err)
{
	const struct accel_ops *ops = machine->accel;
	struct accel_vcpu *vcpu = machine->vcpu[index].accel_vcpu;
	struct snapshot_cpu cpu = {
		.state = machine->side[machine->active_side].state + index,
		.clock = machine->pausing.clock[index],
	};
	int code = ops->state_get(vcpu, cpu.state, err);

	if (code < 0)
		return err_prefix(err, "CPU %u", index);
	/* Saved and given back: the machine goes on. */
	ops->vcpu_pins_take(vcpu, &cpu.pins);
	machine_drive_pins(ops, vcpu, &cpu.pins);
	if (json_array_append_new(list, snapshot_cpu_to_json(&cpu)) < 0)
		return err_set(err, -ENOMEM, "no memory for CPU %u", index);
	return 0;
}

static int snapshot_save_device(const struct device *device, json_t *list, struct err *err)
{
	json_t *json;

	if (device->class->unsaved && device->class->unsaved(device))
		return err_set(err, -ENOTSUP, "%s cannot be saved: %s", device->id,
			       device->class->unsaved(device));
	json = json_pack("{s:s, s:s, s:o}", "id", device->id, "class", device->class->name, "state",
			 state_to_json(device->class->state, device));
	return json_array_append_new(list, json) < 0 ? err_set(err, -ENOMEM, "no memory for %s", device->id)
						     : 0;
}

static int snapshot_save_parts(struct machine *machine, json_t *root, struct err *err)
{
	json_t *cpus = json_array(), *devices = json_array();
	int code = 0;

	/* Owned by the root from here on, complete or not. */
	if (json_object_set_new(root, "cpus", cpus) < 0 || json_object_set_new(root, "devices", devices) < 0)
		return err_set(err, -ENOMEM, "no memory for a snapshot");
	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++)
		code = snapshot_save_cpu(machine, i, cpus, err);
	pthread_mutex_lock(&machine->board_lock);
	for (size_t i = 0; i < machine->device_count && code == 0; i++)
		code = snapshot_save_device(machine->device[i], devices, err);
	pthread_mutex_unlock(&machine->board_lock);
	return code;
}

json_t *snapshot_state_to_json(struct machine *machine, struct err *err)
{
	json_t *root = json_pack("{s:s, s:o, s:o, s:o}", "vmmctl", VMMCTL_VERSION, "config",
				 option_to_json(machine_options, &machine->config), "capabilities",
				 snapshot_capabilities_to_json(&machine->capabilities), "memory",
				 snapshot_memory_to_json(machine));

	if (!root)
		err_set(err, -ENOMEM, "no memory");
	if (root && snapshot_save_parts(machine, root, err) == 0)
		return root;
	json_decref(root);
	return NULL;
}

static int snapshot_save_state(struct machine *machine, const char *path, struct err *err)
{
	json_t *root = snapshot_state_to_json(machine, err);
	int code = root ? snapshot_file_write(path, root, err) : err->code;

	json_decref(root);
	return code;
}

int machine_snapshot_create(struct machine *machine, const struct machine_snapshot_target *target,
			    struct err *err)
{
	uint64_t start_ns = clock_monotonic_ns();
	int code;

	if (!machine_is_paused(machine))
		return err_set(err, -EBUSY, "a machine is paused before it is saved");
	/* Last comes what makes the snapshot one that can be loaded. */
	code = snapshot_memory_save(machine, target, err);
	if (code == 0)
		code = snapshot_save_state(machine, target->state_path, err);
	if (code < 0)
		return err_prefix(err, "snapshot");
	snapshot_log_saved(machine);
	log_info("snapshot: %s and %s, in %" PRIu64 " ms", target->state_path, target->memory_path,
		 (uint64_t)((clock_monotonic_ns() - start_ns) / NS_PER_MS));
	return 0;
}

/* Loading: the state file by itself. */

static int snapshot_check_root(struct machine_snapshot *snapshot, struct err *err)
{
	json_error_t problem;
	json_t *config, *capabilities, *memory, *cpus, *devices;
	const char *version;
	int code;

	if (json_unpack_ex(snapshot->root, &problem, JSON_STRICT, "{s:s, s:o, s:o, s:o, s:o, s:o}", "vmmctl",
			   &version, "config", &config, "capabilities", &capabilities, "memory", &memory,
			   "cpus", &cpus, "devices", &devices) < 0)
		return err_set(err, -EINVAL, "state: %s", problem.text);
	code = option_from_json(machine_options, &snapshot->config, config, err);
	if (code < 0)
		return err_prefix(err, "config");
	code = snapshot_capabilities_from_json(&snapshot->capabilities, capabilities, err);
	if (code < 0)
		return err_prefix(err, "capabilities");
	if (!json_is_array(cpus) || json_array_size(cpus) != snapshot->config.cpus || !json_is_array(devices))
		return err_set(err, -EINVAL, "cpus: as many as the configuration says are expected");
	return 0;
}

struct machine_snapshot *snapshot_take(json_t *root, struct err *err)
{
	struct machine_snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (!snapshot) {
		json_decref(root);
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	snapshot->root = root;
	if (machine_config_init(&snapshot->config, err) == 0 && snapshot_check_root(snapshot, err) == 0)
		return snapshot;
	machine_snapshot_close(snapshot);
	return NULL;
}

struct machine_snapshot *machine_snapshot_open(const char *state_path, struct err *err)
{
	json_t *root = snapshot_file_read(state_path, err);
	struct machine_snapshot *snapshot = root ? snapshot_take(root, err) : NULL;

	if (root && !snapshot)
		err_prefix(err, "%s", state_path);
	return snapshot;
}

void machine_snapshot_close(struct machine_snapshot *snapshot)
{
	if (!snapshot)
		return;
	json_decref(snapshot->root);
	machine_config_free(&snapshot->config);
	free(snapshot);
}

struct machine_config *machine_snapshot_config(struct machine_snapshot *snapshot)
{
	return &snapshot->config;
}

/* Loading: the CPU that the guest knows. */

static bool snapshot_same_cpuid(const struct x86_cpuid_table *a, const struct x86_cpuid_table *b,
				uint32_t *leaf)
{
	if (a->count != b->count) {
		*leaf = 0;
		return false;
	}
	for (size_t i = 0; i < a->count; i++) {
		const struct x86_cpuid_entry *x = &a->entry[i], *y = &b->entry[i];

		*leaf = x->leaf;
		if (x->leaf != y->leaf || x->subleaf != y->subleaf || x->eax != y->eax || x->ebx != y->ebx ||
		    x->ecx != y->ecx || x->edx != y->edx)
			return false;
	}
	return true;
}

/* What is left of the old CPU on this host. */
static struct x86_cpu_capabilities snapshot_capabilities_here(const struct x86_cpu_capabilities *then,
							      const struct x86_cpu_capabilities *here)
{
	struct x86_cpu_capabilities left = *then;

	for (size_t i = 0; i < X86_WORD_COUNT; i++)
		left.feature[i] &= here->feature[i];
	left.xcr0 &= here->xcr0;
	left.kvmclock &= here->kvmclock;
	if (here->phys_bits < left.phys_bits)
		left.phys_bits = here->phys_bits;
	if (here->virt_bits < left.virt_bits)
		left.virt_bits = here->virt_bits;
	return left;
}

static int snapshot_check_tsc(const struct x86_cpu_capabilities *then,
			      const struct x86_cpu_capabilities *here, struct err *err)
{
	uint64_t apart =
		then->tsc_hz > here->tsc_hz ? then->tsc_hz - here->tsc_hz : here->tsc_hz - then->tsc_hz;

	if (here->tsc_any_rate || apart <= here->tsc_hz / 1000000 * SNAPSHOT_TSC_PPM)
		return 0;
	return err_set(err, -ENOTSUP,
		       "the guest's time-stamp counter ran at %" PRIu64 " Hz, this host's runs at %" PRIu64
		       " Hz and no other rate can be had",
		       then->tsc_hz, here->tsc_hz);
}

int snapshot_restore_capabilities(struct machine *machine, struct err *err)
{
	const struct x86_cpu_capabilities *then = &machine->restoring->capabilities;
	struct x86_cpu_capabilities here = snapshot_capabilities_here(then, &machine->capabilities);
	const struct x86_cpu_model *model = x86_cpu_model_find(machine->config.cpu_model, err);
	struct x86_cpuid_table wanted, had;
	uint32_t leaf = 0;

	if (!model || snapshot_check_tsc(then, &machine->capabilities, err) < 0 ||
	    x86_cpu_model_build(model, then, 0, machine->config.cpus, &wanted, err) < 0 ||
	    x86_cpu_model_build(model, &here, 0, machine->config.cpus, &had, err) < 0)
		return err->code;
	if (!snapshot_same_cpuid(&wanted, &had, &leaf))
		return err_set(
			err, -ENOTSUP,
			"accelerator %s cannot offer the guest its CPU here (CPUID leaf %#x is another "
			"one); a machine made with --accel-switch fits every accelerator of its host",
			machine->accel->name, leaf);
	machine->capabilities = here;
	return 0;
}

/* Loading: CPUs and devices. */

void machine_drive_pins(const struct accel_ops *ops, struct accel_vcpu *vcpu, const struct accel_pins *pins)
{
	if (pins->nmi)
		ops->vcpu_nmi(vcpu);
	if (pins->smi)
		ops->vcpu_smi(vcpu);
	if (pins->init)
		ops->vcpu_init(vcpu);
	if (pins->startup)
		ops->vcpu_startup(vcpu, pins->startup_vector);
}

static int snapshot_load_cpu(struct machine *machine, unsigned index, const json_t *json, struct err *err)
{
	struct machine_vcpu *vcpu = &machine->vcpu[index];
	struct accel_pins stale;
	struct snapshot_cpu cpu = {.state = machine->side[machine->active_side].state + index};
	int code;

	*cpu.state = *vcpu->reset_state;
	code = snapshot_cpu_from_json(&cpu, json, err);
	if (code == 0)
		code = machine->accel->state_set(vcpu->accel_vcpu, cpu.state, err);
	if (code < 0)
		return err_prefix(err, "cpus[%u]", index);
	machine->accel->vcpu_pins_take(vcpu->accel_vcpu, &stale);
	machine_drive_pins(machine->accel, vcpu->accel_vcpu, &cpu.pins);
	machine->pausing.clock[index] = cpu.clock;
	return 0;
}

static int snapshot_load_device(struct device *device, const json_t *json, struct err *err)
{
	const char *id = json_string_value(json_object_get(json, "id"));
	const char *class = json_string_value(json_object_get(json, "class"));
	int code = 0;

	if (!id || !class || strcmp(id, device->id) != 0 || strcmp(class, device->class->name) != 0)
		return err_set(err, -EINVAL, "the machine has %s (%s) where the snapshot has %s (%s)",
			       device->id, device->class->name, id ? id : "nothing",
			       class ? class : "of no class");
	if (device->class->pause)
		device->class->pause(device);
	if (device->class->state)
		code = state_from_json(device->class->state, device, json_object_get(json, "state"), err);
	if (code == 0 && device->class->loaded)
		code = device->class->loaded(device, err);
	return code < 0 ? err_prefix(err, "%s", device->id) : 0;
}

static int snapshot_load_devices(struct machine *machine, const json_t *list, struct err *err)
{
	int code = 0;

	if (json_array_size(list) != machine->device_count)
		return err_set(err, -EINVAL, "the machine has %zu devices, the snapshot %zu",
			       machine->device_count, json_array_size(list));
	pthread_mutex_lock(&machine->board_lock);
	for (size_t i = 0; i < machine->device_count && code == 0; i++)
		code = snapshot_load_device(machine->device[i], json_array_get(list, i), err);
	pthread_mutex_unlock(&machine->board_lock);
	return code < 0 ? err_prefix(err, "devices") : 0;
}

static int snapshot_load_cpus(struct machine *machine, const json_t *list, struct err *err)
{
	int code = 0;

	machine->pausing.clock = calloc(machine->vcpu_count, sizeof(*machine->pausing.clock));
	if (!machine->pausing.clock)
		return err_set(err, -ENOMEM, "no memory for the clocks");
	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++)
		code = snapshot_load_cpu(machine, i, json_array_get(list, i), err);
	return code;
}

int snapshot_restore_state(struct machine *machine, struct err *err)
{
	const struct machine_snapshot *snapshot = machine->restoring;
	int code = snapshot_memory_check(machine, json_object_get(snapshot->root, "memory"), err);

	/* CPUs first: a local APIC asks for the TSC. */
	if (code == 0)
		code = snapshot_load_cpus(machine, json_object_get(snapshot->root, "cpus"), err);
	if (code == 0)
		code = snapshot_load_devices(machine, json_object_get(snapshot->root, "devices"), err);
	if (code < 0)
		return err_prefix(err, "snapshot");
	machine->pausing.paused = true;
	machine->pausing.was_restored = true;
	return 0;
}
