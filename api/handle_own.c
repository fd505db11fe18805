/* SPDX-License-Identifier: Apache-2.0 */
/* vmmctl's own routes: what Firecracker does not have, in the words of the command line. */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/handlers.h"
#include "api/vm.h"
#include "vmm/base/err.h"
#include "vmm/base/json.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine.h"

void api_own_get_accel(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->json =
		json_pack("{s:s?,s:s,s:b}", "name", vm->machine ? machine_accel_name(vm->machine) : NULL,
			  "asked", vm->base.accel, "can_switch", vm->base.accel_switch);
}

/* The body as JSON, owned; NULL: the answer says why. */
static json_t *own_read(const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};
	json_t *json = json_read_text("body", request->text, request->text_len, &err);

	if (!json)
		api_fail(answer, "%s", err.message);
	return json;
}

void api_own_put_accel(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	json_t *json = own_read(request, answer);
	const char *name = json_string_value(json_object_get(json, "name"));
	struct err err = {0};

	if (!json)
		return;
	if (!name || json_object_size(json) != 1)
		api_fail(answer, "body: an accelerator is asked for as {\"name\": \"kvm\"}");
	else if (machine_switch_accel(vm->machine, name, &err) < 0)
		api_fail(answer, "%s", err.message);
	else
		api_vm_tell(vm, "AcceleratorSwitched");
	json_decref(json);
}

void api_own_get_config(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct machine_config config;
	struct err err = {0};

	if (vm->machine) {
		answer->json = option_to_json(machine_options, machine_config_of(vm->machine));
	} else if (api_vm_configure_unchecked(vm, &config, &err) < 0) {
		api_fail(answer, "%s", err.message);
	} else {
		answer->json = option_to_json(machine_options, &config);
		machine_config_free(&config);
	}
}

void api_own_patch_config(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	json_t *json = own_read(request, answer);
	struct machine_config changed;
	struct err err = {0};

	if (!json)
		return;
	if (machine_config_copy(&changed, &vm->base, &err) < 0) {
		api_fail(answer, "%s", err.message);
	} else if (option_from_json(machine_options, &changed, json, &err) < 0) {
		api_fail(answer, "%s", err.message);
		machine_config_free(&changed);
	} else {
		machine_config_free(&vm->base);
		vm->base = changed;
		vm->is_dirty = true;
	}
	json_decref(json);
}

static const struct option *own_row(const char *path)
{
	const struct option *row = machine_options;

	while (row->path && strcmp(row->path, path) != 0)
		row++;
	assert(row->path); /* paths here are ours */
	return row;
}

static const char *own_id_of(const struct option *row, void *record)
{
	for (const struct option *field = row->element; field->path; field++) {
		if (strcmp(field->path, "id") == 0)
			return *(char **)((char *)record + field->offset);
	}
	return NULL;
}

/* Removes a record of this id that stands before the last one. */
static void own_drop_before_last(const struct option *row, struct option_records *records, const char *id)
{
	for (size_t i = 0; i + 1 < records->count; i++) {
		char *record = (char *)records->item + i * row->element_size;
		const char *own = own_id_of(row, record);

		if (!own || strcmp(own, id) != 0)
			continue;
		option_free(row->element, record);
		memmove(record, record + row->element_size, (records->count - i - 1) * row->element_size);
		records->count--;
		return;
	}
}

/* A record of a list, by the list's own rows. */
static void own_put_record(struct api_vm *vm, const char *path, const struct api_request *request,
			   struct api_answer *answer)
{
	const struct option *row = own_row(path);
	struct option_records *records = (void *)((char *)&vm->base + row->offset);
	json_t *json = own_read(request, answer);
	const char *id = json_string_value(json_object_get(json, "id"));
	struct err err = {0};
	void *record;

	if (!json)
		return;
	if (id && strcmp(id, request->id) != 0)
		api_fail(answer, "The id from the path does not match the id from the body!");
	if (!id && json_is_object(json))
		json_object_set_new(json, "id", json_string(request->id));
	record = answer->status ? NULL : option_add_record(row, &vm->base, &err);
	if (record && option_from_json(row->element, record, json, &err) < 0) {
		option_free(row->element, record);
		records->count--;
		record = NULL;
	}
	json_decref(json);
	if (answer->status)
		return;
	if (!record) {
		api_fail(answer, "%s", err.message);
		return;
	}
	own_drop_before_last(row, records, request->id);
	vm->is_dirty = true;
}

void api_own_put_drive(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	own_put_record(vm, "disks", request, answer);
}

void api_own_put_net(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	own_put_record(vm, "net", request, answer);
}

void api_own_console(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	if (!request->upgrade || strcmp(request->upgrade, "vmmctl-console") != 0) {
		api_fail(answer, "The console is a stream: send \"Upgrade: vmmctl-console\".");
		return;
	}
	answer->stream = "application/octet-stream";
	answer->upgrade = "vmmctl-console";
}

void api_own_events(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->stream = "application/x-ndjson";
}

void api_own_stop(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	if (vm->machine)
		machine_quit(vm->machine);
	else
		vm->is_stopped = true;
	if (!vm->machine)
		vm->on_start(vm->opaque);
}

void api_own_reset(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	if (api_vm_state(vm) == API_PAUSED) {
		api_fail(answer, "The machine is paused: resume it first.");
		return;
	}
	machine_restart(vm->machine);
	api_vm_tell(vm, "Reset");
}

void api_own_metrics(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->text = api_metrics_prometheus(vm);
	answer->type = "text/plain; version=0.0.4";
}

void api_own_openapi(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->json = api_openapi();
}
