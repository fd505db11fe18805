/* SPDX-License-Identifier: Apache-2.0 */
/* The microVM: its states, its start, what GET /vm/config says. */
#include "api/vm.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/mmds.h"
#include "api/mmds_guest.h"
#include "vmm/base/err.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/snapshot.h"

int api_vm_init(struct api_vm *vm, const struct api_vm_settings *settings, struct machine_config *base,
		struct err *err)
{
	struct machine_body *machine = calloc(1, sizeof(*machine));

	*vm = (struct api_vm){.settings = *settings, .base = *base};
	*base = (struct machine_config){0};
	api_metrics_init(&vm->metrics);
	vm->config.machine = machine;
	vm->mmds = mmds_create(settings->mmds_max);
	if (!machine || !vm->mmds)
		return err_set(err, -ENOMEM, "no memory");
	body_init(&machine_type, machine);
	return 0;
}

void api_vm_free(struct api_vm *vm)
{
	mmds_guest_destroy(vm->mmds_guest);
	vm->mmds_guest = NULL;
	if (!vm->is_borrowed)
		machine_destroy(vm->machine);
	vm->machine = NULL;
	api_metrics_free(&vm->metrics);
	mmds_destroy(vm->mmds);
	body_clear(&vm_config_type, &vm->config);
	body_clear(&serial_type, &vm->serial);
	machine_config_free(&vm->base);
}

enum api_state api_vm_state(const struct api_vm *vm)
{
	if (!vm->machine)
		return API_NOT_STARTED;
	return machine_is_paused(vm->machine) ? API_PAUSED : API_RUNNING;
}

const char *api_vm_state_name(const struct api_vm *vm)
{
	static const char *const names[] = {"Not started", "Running", "Paused"};

	return names[api_vm_state(vm)];
}

void api_vm_tell(struct api_vm *vm, const char *event)
{
	if (vm->on_event)
		vm->on_event(vm, event);
}

/* Beside the API's socket, or in the folder for temporary files. */
static void vm_name_mmds_socket(struct api_vm *vm)
{
	vm->mmds_path[0] = '\0';
	if (!vm->config.mmds)
		return;
	if (vm->settings.socket_path)
		snprintf(vm->mmds_path, sizeof(vm->mmds_path), "%s.mmds", vm->settings.socket_path);
	else
		snprintf(vm->mmds_path, sizeof(vm->mmds_path), "/tmp/vmmctl-mmds-%d", (int)getpid());
}

/* What belongs to a machine that was just made and is not the machine's own. */
static int vm_complete(struct api_vm *vm, struct err *err)
{
	if (vm->config.machine && vm->config.machine->track_dirty_pages &&
	    machine_snapshot_track(vm->machine, err) < 0)
		return err->code;
	if (!vm->mmds_path[0])
		return 0;
	vm->mmds_guest = mmds_guest_create(machine_loop(vm->machine), vm->mmds, vm->mmds_path, err);
	return vm->mmds_guest ? 0 : err->code;
}

int api_vm_start(struct api_vm *vm, struct err *err)
{
	struct machine_config config;

	if (!vm->config.boot_source && !vm->base.kernel)
		return err_set(err, -EINVAL, "Cannot start microvm without kernel configuration.");
	vm_name_mmds_socket(vm);
	if (api_vm_configure(vm, &config, err) < 0)
		return err->code;
	vm->machine = machine_create(&config, err);
	machine_config_free(&config);
	if (!vm->machine)
		return err->code ? err->code : -EIO;
	if (vm_complete(vm, err) < 0) {
		machine_destroy(vm->machine);
		vm->machine = NULL;
		return err->code;
	}
	vm->on_start(vm->opaque);
	return 0;
}

const char *api_vm_device_name(const struct api_vm *vm, const char *id)
{
	const struct drive *drives = vm->config.drives.item;
	const struct net_body *nets = vm->config.nets.item;
	size_t index, disk = 0;

	if (sscanf(id, "net%zu", &index) == 1 && index < vm->config.nets.count)
		return nets[index].iface_id;
	if (sscanf(id, "disk%zu", &index) != 1)
		return id;
	for (size_t i = 0; i < vm->config.drives.count; i++) {
		if (!drives[i].socket && disk++ == index)
			return drives[i].drive_id;
	}
	return id;
}

/* Sections that a client may send and never gets back. */
json_t *api_vm_config_json(const struct api_vm *vm)
{
	static const char *const secret[] = {"logger", "metrics", "cpu-config"};
	json_t *json = body_to_json(&vm_config_type, &vm->config);

	for (size_t i = 0; json && i < sizeof(secret) / sizeof(secret[0]); i++)
		json_object_set_new(json, secret[i], json_null());
	return json;
}
