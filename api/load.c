/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine out of a snapshot: what the client may override goes into the configuration that the snapshot
 * has, and what GET /vm/config answers afterwards is read back from it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/serve.h"
#include "api/vm.h"
#include "vmm/base/err.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/snapshot.h"

static int load_replace(char **field, const char *text, struct err *err)
{
	char *copy = strdup(text);

	if (!copy)
		return err_set(err, -ENOMEM, "no memory");
	free(*field);
	*field = copy;
	return 0;
}

static int load_override_net(struct machine_config *config, const struct network_override *override,
			     struct err *err)
{
	struct netdev_config *cards = config->net.item;

	for (size_t i = 0; i < config->net.count; i++) {
		if (!cards[i].id || strcmp(cards[i].id, override->iface_id) != 0)
			continue;
		if (strcmp(cards[i].backend, "tap") != 0)
			return err_set(err, -EINVAL, "The network interface %s is no tap.",
				       override->iface_id);
		return load_replace(&cards[i].ifname, override->host_dev_name, err);
	}
	return err_set(err, -ENOENT, "Unknown Network Device: %s", override->iface_id);
}

static int load_override_vsock(struct machine_config *config, const struct vsock_override *override,
			       struct err *err)
{
	struct machine_vsock *vsock = config->vsock.item;

	if (config->vsock.count == 0)
		return err_set(err, -ENOENT, "Unknown Vsock Device");
	return load_replace(&vsock->path, override->uds_path, err);
}

static int load_override(struct machine_config *config, const struct api_vm *vm,
			 const struct snapshot_load_body *body, struct err *err)
{
	const struct network_override *nets = body->network_overrides.item;
	int code = 0;

	for (size_t i = 0; i < body->network_overrides.count && code == 0; i++)
		code = load_override_net(config, &nets[i], err);
	if (code == 0 && body->vsock_override)
		code = load_override_vsock(config, body->vsock_override, err);
	/* Which accelerator runs it is this process's to say, not that of the one that saved it. */
	if (code == 0)
		code = load_replace(&config->accel, vm->base.accel, err);
	return code;
}

/* --- the configuration as the client sees it */

static json_t *load_drive_json(const struct machine_disk *disk)
{
	return json_pack("{s:s,s:b,s:s,s:b,s:s,s:s}", "drive_id", disk->serial ? disk->serial : "",
			 "is_root_device", 0, "cache_type", disk->cache == 0 ? "Writeback" : "Unsafe",
			 "is_read_only", disk->readonly, "path_on_host", disk->path, "io_engine",
			 disk->engine == 1 ? "Async" : "Sync");
}

static json_t *load_lists_json(const struct machine_config *config)
{
	const struct machine_disk *disks = config->disks.item;
	const struct netdev_config *cards = config->net.item;
	json_t *drives = json_array();
	json_t *nets = json_array();

	for (size_t i = 0; i < config->disks.count; i++)
		json_array_append_new(drives, load_drive_json(&disks[i]));
	for (size_t i = 0; i < config->net.count; i++)
		json_array_append_new(nets,
				      json_pack("{s:s,s:s,s:s?}", "iface_id", cards[i].id ? cards[i].id : "",
						"host_dev_name", cards[i].ifname ? cards[i].ifname : "",
						"guest_mac", cards[i].mac));
	return json_pack("{s:o,s:o}", "drives", drives, "network-interfaces", nets);
}

static void load_add_singles(json_t *json, const struct machine_config *config)
{
	const struct machine_vsock *vsock = config->vsock.item;
	const struct machine_balloon *balloon = config->balloon.item;

	json_object_set_new(json, "boot-source",
			    json_pack("{s:s,s:s?,s:s?}", "kernel_image_path",
				      config->kernel ? config->kernel : "", "initrd_path",
				      config->initrd.count ? config->initrd.item[0] : NULL, "boot_args",
				      config->append));
	json_object_set_new(json, "machine-config",
			    json_pack("{s:i,s:I}", "vcpu_count", (int)config->cpus, "mem_size_mib",
				      (json_int_t)(config->memory_bytes >> 20)));
	if (config->vsock.count)
		json_object_set_new(json, "vsock",
				    json_pack("{s:i,s:s}", "guest_cid",
					      (int)(vsock->cid ? vsock->cid : MACHINE_VSOCK_CID), "uds_path",
					      vsock->path));
	if (config->balloon.count)
		json_object_set_new(json, "balloon",
				    json_pack("{s:i,s:b,s:i,s:b}", "amount_mib",
					      (int)(balloon->size_bytes >> 20), "deflate_on_oom",
					      balloon->deflate_on_oom, "stats_polling_interval_s",
					      (int)balloon->stats_s, "free_page_reporting",
					      balloon->free_page_reporting));
	if (config->rng.count)
		json_object_set_new(json, "entropy", json_object());
}

/* Through the same tables as a configuration file. What does not fit them is left out of the answer alone. */
void api_vm_adopt(struct api_vm *vm, const struct machine_config *config)
{
	json_t *json = load_lists_json(config);
	struct vm_config_body adopted = {0};
	char error[1024];
	char *text;

	if (!json)
		return;
	load_add_singles(json, config);
	text = json_dumps(json, 0);
	json_decref(json);
	if (text && body_parse(&vm_config_type, &adopted, text, strlen(text), error)) {
		body_clear(&vm_config_type, &vm->config);
		vm->config = adopted;
	}
	free(text);
}

int api_vm_load(struct api_vm *vm, const struct snapshot_load_body *body, struct err *err)
{
	const char *path = body->mem_backend ? body->mem_backend->backend_path : body->mem_file_path;
	bool is_uffd = body->mem_backend && body->mem_backend->backend_type == 1;
	const struct machine_snapshot_memory memory = {
		.path = is_uffd ? NULL : path,
		.uffd_socket = is_uffd ? path : NULL,
	};
	struct machine_snapshot *snapshot = machine_snapshot_open(body->snapshot_path, err);
	int code;

	if (!snapshot)
		return err->code ? err->code : -EINVAL;
	code = load_override(machine_snapshot_config(snapshot), vm, body, err);
	if (code == 0) {
		api_vm_adopt(vm, machine_snapshot_config(snapshot));
		vm->machine = machine_restore(snapshot, &memory, err);
		code = vm->machine ? 0 : -EIO;
	}
	machine_snapshot_close(snapshot);
	if (code == 0 && (body->track_dirty_pages || body->enable_diff_snapshots))
		code = machine_snapshot_track(vm->machine, err);
	if (code == 0 && body->resume_vm)
		code = machine_resume(vm->machine, err);
	if (code == 0)
		vm->on_start(vm->opaque);
	return code;
}

int serve_describe_snapshot(const char *path)
{
	struct err err = {0};
	struct machine_snapshot *snapshot = machine_snapshot_open(path, &err);

	if (!snapshot) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	machine_snapshot_close(snapshot);
	printf("v%s\n", API_SNAPSHOT_VERSION);
	return 0;
}
