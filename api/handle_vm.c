/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about the instance as a whole: what it is, its configuration, its start, pause, snapshots, logs.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "api/handlers.h"
#include "api/json_reader.h"
#include "api/vm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/snapshot.h"

void api_get_instance(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->json = json_pack("{s:s,s:s,s:s,s:s}", "id", vm->settings.id, "state", api_vm_state_name(vm),
				 "vmm_version", API_FIRECRACKER_VERSION, "app_name", "Firecracker");
}

void api_get_version(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->json = json_pack("{s:s}", "firecracker_version", API_FIRECRACKER_VERSION);
}

void api_get_vm_config(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->json = api_vm_config_json(vm);
}

void api_get_machine(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->json = body_to_json(&machine_type, vm->config.machine);
}

void api_put_machine(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_machine(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_patch_machine(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct machine_body *body = request->body;
	struct err err = {0};

	if (body->given == 0)
		api_fail(answer, "Empty PATCH request.");
	else if (api_vm_patch_machine(vm, body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_put_boot_source(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_boot_source(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_put_cpu_config(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct json_reader reader;
	struct err err = {0};
	json_t *json;

	json_reader_init(&reader, request->text, request->text_len);
	json = json_read_value(&reader);
	if (!json || !json_end(&reader))
		api_fail(answer, "An error occurred when deserializing the json body of a request: %s.",
			 reader.error);
	else if (api_vm_set_cpu_config(vm, json, &err) < 0)
		api_fail(answer, "%s", err.message);
	json_decref(json);
}

/* --- actions and states */

static void vm_instance_start(struct api_vm *vm, struct api_answer *answer)
{
	struct err err = {0};

	if (vm->machine) {
		api_fail(answer, "The requested operation is not supported after starting the microVM.");
		return;
	}
	if (api_vm_start(vm, &err) < 0)
		api_fail(answer, "Start microvm error: %s", err.message);
}

static void vm_flush_metrics(struct api_vm *vm, struct api_answer *answer)
{
	struct err err = {0};

	if (api_metrics_write(vm, &err) < 0)
		api_fail(answer, "Internal VMM error: %s", err.message);
}

static void vm_press_ctrl_alt_del(struct api_vm *vm, struct api_answer *answer)
{
	struct err err = {0};

	if (machine_press_ctrl_alt_del(vm->machine, &err) < 0)
		api_fail(answer, "Internal VMM error: %s", err.message);
}

void api_put_action(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	enum action_type type = ((const struct action_body *)request->body)->action_type;

	if (type != ACTION_INSTANCE_START && !vm->machine) {
		api_fail(answer, "The requested operation is not supported before starting the microVM.");
		return;
	}
	switch (type) {
	case ACTION_INSTANCE_START: vm_instance_start(vm, answer); return;
	case ACTION_FLUSH_METRICS: vm_flush_metrics(vm, answer); return;
	case ACTION_SEND_CTRL_ALT_DEL: vm_press_ctrl_alt_del(vm, answer); return;
	}
}

void api_patch_vm(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	bool pause = ((const struct vm_update *)request->body)->state == VM_UPDATE_PAUSED;
	bool was_paused = machine_is_paused(vm->machine);
	uint64_t start_ns = clock_monotonic_ns();
	struct err err = {0};
	int code = pause ? machine_pause(vm->machine, &err) : machine_resume(vm->machine, &err);

	if (code < 0) {
		api_fail(answer, "Internal VMM error: %s", err.message);
		return;
	}
	vm->metrics.latency_us[pause ? LATENCY_PAUSE_VM : LATENCY_RESUME_VM] =
		(clock_monotonic_ns() - start_ns) / NS_PER_US;
	if (was_paused != pause)
		api_vm_tell(vm, pause ? "Paused" : "Running");
}

/* --- snapshots */

void api_put_snapshot_create(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	const struct snapshot_create_body *body = request->body;
	bool full = body->snapshot_type == 1;
	const struct machine_snapshot_target target = {
		.kind = full ? MACHINE_SNAPSHOT_FULL : MACHINE_SNAPSHOT_DIFF,
		.state_path = body->snapshot_path,
		.memory_path = body->mem_file_path,
	};
	uint64_t start_ns = clock_monotonic_ns();
	struct err err = {0};

	if (vm->has_plugged) {
		api_fail(answer,
			 "Create snapshot error: Devices were plugged or unplugged while the guest ran, and "
			 "where they lie cannot be saved.");
		return;
	}
	if (machine_snapshot_create(vm->machine, &target, &err) < 0) {
		api_fail(answer, "Create snapshot error: %s", err.message);
		return;
	}
	vm->metrics.latency_us[full ? LATENCY_FULL_CREATE_SNAPSHOT : LATENCY_DIFF_CREATE_SNAPSHOT] =
		(clock_monotonic_ns() - start_ns) / NS_PER_US;
}

static bool vm_check_load(const struct api_vm *vm, const struct snapshot_load_body *body,
			  struct api_answer *answer)
{
	if (body->mem_backend && body->mem_file_path)
		api_fail(answer,
			 "too many fields: either `mem_backend` or `mem_file_path` exclusively is required.");
	else if (!body->mem_backend && !body->mem_file_path)
		api_fail(answer, "missing field: either `mem_backend` or `mem_file_path` is required");
	else if (vm->is_dirty)
		api_fail(answer,
			 "Load snapshot error: Loading a microVM snapshot not allowed after configuring "
			 "boot-specific resources.");
	return answer->status == 0;
}

void api_put_snapshot_load(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct snapshot_load_body *body = request->body;
	uint64_t start_ns = clock_monotonic_ns();
	struct err err = {0};

	if (!vm_check_load(vm, body, answer))
		return;
	if (api_vm_load(vm, body, &err) < 0) {
		api_fail(answer, "Load snapshot error: %s", err.message);
		vm->load_failed = true;
		vm->on_start(vm->opaque);
		return;
	}
	vm->metrics.latency_us[LATENCY_LOAD_SNAPSHOT] = (clock_monotonic_ns() - start_ns) / NS_PER_US;
}

/* --- logs and metrics */

void api_put_logger(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_logger(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_put_metrics(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_metrics_open(&vm->metrics, request->body, &err) < 0)
		api_fail(answer, "Metrics error: %s", err.message);
}
