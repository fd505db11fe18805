/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about devices: before the start they make the configuration, afterwards they change the machine.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "api/handlers.h"
#include "api/vm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine.h"

#define MIB_SHIFT 20

/* Plugging needs the PCI transport, and a machine that makes devices while it runs. */
static void device_fail_plug(const struct api_vm *vm, struct api_answer *answer, const char *class)
{
	if (!vm->settings.pci)
		api_fail(answer, "%s error: PCI is not enabled", class);
	else
		api_fail(answer, "%s error: This monitor cannot plug devices into a running machine", class);
}

static void token_bucket_config(const struct token_bucket *bucket, struct rate_bucket_config *config)
{
	*config = (struct rate_bucket_config){
		.size = bucket->size,
		.one_time_burst = bucket->one_time_burst,
		.refill_time_ns = bucket->refill_time_ms > UINT64_MAX / NS_PER_MS
					  ? UINT64_MAX
					  : bucket->refill_time_ms * NS_PER_MS,
	};
}

/* A limiter's buckets, as far as it has them. */
struct device_buckets {
	struct rate_bucket_config bandwidth, ops;
	struct machine_limits limits;
};

static void device_take_buckets(const struct rate_limiter_body *limiter, struct device_buckets *buckets)
{
	*buckets = (struct device_buckets){0};
	if (limiter && limiter->bandwidth) {
		token_bucket_config(limiter->bandwidth, &buckets->bandwidth);
		buckets->limits.bytes = &buckets->bandwidth;
	}
	if (limiter && limiter->ops) {
		token_bucket_config(limiter->ops, &buckets->ops);
		buckets->limits.operations = &buckets->ops;
	}
}

/* Buckets given replace those of the configuration; one of zero takes its limit away. */
static void device_note_limiter(struct rate_limiter_body **slot, struct rate_limiter_body **given)
{
	if (!*given)
		return;
	if (*slot) {
		body_merge(&rate_limiter_type, *slot, *given);
		return;
	}
	*slot = *given;
	*given = NULL;
}

/* --- drives */

/* The drive of this id, and its place among the machine's disks; NULL: there is none. */
static struct drive *device_find_drive(const struct api_vm *vm, const char *id, size_t *index)
{
	struct drive *drives = vm->config.drives.item;

	*index = 0;
	for (size_t i = 0; i < vm->config.drives.count; i++) {
		if (strcmp(drives[i].drive_id, id) == 0)
			return &drives[i];
		*index += !drives[i].socket;
	}
	return NULL;
}

static void device_plug_drive(struct api_vm *vm, struct drive *body, struct api_answer *answer)
{
	struct err err = {0};
	size_t index;

	if (!vm->settings.pci)
		api_fail(answer, "Drive config error: PCI is not enabled");
	else if (device_find_drive(vm, body->drive_id, &index))
		api_fail(answer, "Drive config error: Device ID in use");
	else if (body->is_root_device || !body->path_on_host)
		api_fail(answer,
			 "Drive config error: Only a file that is not the root device can be plugged in");
	else if (api_vm_plug_drive(vm, body, &err) < 0)
		api_fail(answer, "Drive config error: %s", err.message);
	else if (api_vm_set_drive(vm, body, &err) < 0)
		api_fail(answer, "%s", err.message);
	else
		vm->has_plugged = true;
}

void api_put_drive(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (vm->machine)
		device_plug_drive(vm, request->body, answer);
	else if (api_vm_set_drive(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

static int device_change_drive_path(struct api_vm *vm, struct drive *drive, size_t index,
				    struct drive_update *update, struct err *err)
{
	int code = machine_replace_disk(vm->machine, index, update->path_on_host, err);

	if (code == -ENOENT || code == -EACCES || code == -EISDIR || code == -EPERM) {
		err_set(err, code, "Error manipulating the backing file: %s (os error %d) %s",
			strerror(-code), -code, update->path_on_host);
		return code;
	}
	if (code < 0)
		return code;
	body_merge(&drive_type, drive,
		   &(struct drive){.given = 1u << 5, .path_on_host = update->path_on_host});
	update->path_on_host = NULL;
	return 0;
}

void api_patch_drive(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct drive_update *update = request->body;
	struct device_buckets buckets;
	struct err err = {0};
	size_t index;
	struct drive *drive = device_find_drive(vm, update->drive_id, &index);

	if (!drive) {
		api_fail(answer, "Drive config error: Device not found");
		return;
	}
	if (drive->socket ? update->path_on_host || update->rate_limiter
			  : !update->path_on_host && !update->rate_limiter) {
		api_fail(answer,
			 "Drive config error: Unable to patch the block device: Running method expected "
			 "different backend.");
		return;
	}
	if (update->path_on_host && device_change_drive_path(vm, drive, index, update, &err) < 0) {
		api_fail(answer,
			 "Drive config error: Unable to patch the block device: Virtio backend error: %s",
			 err.message);
		return;
	}
	device_take_buckets(update->rate_limiter, &buckets);
	if (update->rate_limiter && machine_limit_disk(vm->machine, index, &buckets.limits, &err) < 0) {
		api_fail(answer, "Drive config error: %s", err.message);
		return;
	}
	if (update->rate_limiter)
		body_set_given(&drive_type, drive, "rate_limiter");
	device_note_limiter(&drive->rate_limiter, &update->rate_limiter);
}

void api_delete_drive(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};
	size_t index;
	const struct drive *drive = device_find_drive(vm, request->id, &index);

	if (!vm->settings.pci)
		api_fail(answer, "Drive config error: PCI is not enabled");
	else if (!drive || drive->socket)
		api_fail(answer, "Drive config error: Device not found");
	else if (drive->is_root_device)
		api_fail(answer, "Drive config error: Cannot unplug root device");
	else if (machine_unplug_disk(vm->machine, index, &err) < 0)
		api_fail(answer, "Drive config error: %s", err.message);
	if (answer->status)
		return;
	api_vm_drop_drive(vm, (size_t)(drive - (const struct drive *)vm->config.drives.item));
	vm->has_plugged = true;
}

/* --- network cards */

/* Its place among the cards; the count: there is none. */
static size_t device_find_net(const struct api_vm *vm, const char *id)
{
	const struct net_body *nets = vm->config.nets.item;
	size_t index = 0;

	while (index < vm->config.nets.count && strcmp(nets[index].iface_id, id) != 0)
		index++;
	return index;
}

/* The card that the configuration has got last. */
static void device_plug_listed_net(struct api_vm *vm, struct api_answer *answer)
{
	size_t last = vm->config.nets.count - 1;
	struct err err = {0};

	if (api_vm_plug_net(vm, (struct net_body *)vm->config.nets.item + last, &err) < 0) {
		api_fail(answer, "Network config error: %s", err.message);
		api_vm_drop_net(vm, last);
		return;
	}
	vm->has_plugged = true;
}

static void device_plug_net(struct api_vm *vm, struct net_body *body, struct api_answer *answer)
{
	struct err err = {0};

	if (!vm->settings.pci)
		api_fail(answer, "Network config error: PCI is not enabled");
	else if (device_find_net(vm, body->iface_id) < vm->config.nets.count)
		api_fail(answer, "Network config error: Device ID in use");
	/* Checked and listed first: a tap that is in use cannot be tried any more. */
	else if (api_vm_set_net(vm, body, &err) < 0)
		api_fail(answer, "%s", err.message);
	else
		device_plug_listed_net(vm, answer);
}

void api_put_net(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (vm->machine)
		device_plug_net(vm, request->body, answer);
	else if (api_vm_set_net(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_patch_net(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct net_body *update = request->body;
	struct net_body *nets = vm->config.nets.item;
	struct device_buckets rx, tx;
	struct err err = {0};
	size_t index = 0;

	while (index < vm->config.nets.count && strcmp(nets[index].iface_id, update->iface_id) != 0)
		index++;
	if (index == vm->config.nets.count) {
		api_fail(answer, "Network config error: Device not found");
		return;
	}
	device_take_buckets(update->rx_rate_limiter, &rx);
	device_take_buckets(update->tx_rate_limiter, &tx);
	if (machine_limit_net(vm->machine, index, &rx.limits, &tx.limits, &err) < 0) {
		api_fail(answer, "Network config error: %s", err.message);
		return;
	}
	if (update->rx_rate_limiter)
		body_set_given(&net_type, &nets[index], "rx_rate_limiter");
	if (update->tx_rate_limiter)
		body_set_given(&net_type, &nets[index], "tx_rate_limiter");
	device_note_limiter(&nets[index].rx_rate_limiter, &update->rx_rate_limiter);
	device_note_limiter(&nets[index].tx_rate_limiter, &update->tx_rate_limiter);
}

void api_delete_net(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	size_t index = device_find_net(vm, request->id);
	struct err err = {0};

	if (!vm->settings.pci)
		api_fail(answer, "Network config error: PCI is not enabled");
	else if (index == vm->config.nets.count)
		api_fail(answer, "Network config error: Device not found");
	else if (machine_unplug_net(vm->machine, index, &err) < 0)
		api_fail(answer, "Network config error: %s", err.message);
	if (answer->status)
		return;
	api_vm_drop_net(vm, index);
	vm->has_plugged = true;
}

/* --- persistent memory */

void api_put_pmem(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (vm->machine)
		device_fail_plug(vm, answer, "Pmem config");
	else if (api_vm_set_pmem(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_patch_pmem(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	const struct pmem_body *pmem = vm->config.pmem.item;

	for (size_t i = 0; i < vm->config.pmem.count; i++) {
		if (strcmp(pmem[i].id, request->id) == 0) {
			api_fail(answer, "Pmem config error: This monitor does not limit persistent memory");
			return;
		}
	}
	api_fail(answer, "Pmem config error: Device not found");
}

void api_delete_pmem(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	device_fail_plug(vm, answer, "Pmem config");
}

/* --- those of which there is one */

void api_put_vsock(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_vsock(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_put_entropy(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_entropy(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_put_serial(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct serial_body *body = request->body;

	body_clear(&serial_type, &vm->serial);
	vm->serial = *body;
	vm->has_serial = true;
	*body = (struct serial_body){0};
}

void api_put_memory_hotplug(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_memory_hotplug(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

void api_memory_hotplug(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	api_fail(answer, "Memory hotplug config error: Device not found");
}

/* --- the balloon */

void api_put_balloon(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_balloon(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}

static bool device_has_balloon(const struct api_vm *vm, struct api_answer *answer)
{
	if (!vm->config.balloon)
		api_fail(answer, "Balloon config error: No balloon device found.");
	return vm->config.balloon != NULL;
}

void api_get_balloon(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	if (device_has_balloon(vm, answer))
		answer->json = body_to_json(&balloon_type, vm->config.balloon);
}

void api_patch_balloon(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	uint64_t amount_mib = ((const struct balloon_body *)request->body)->amount_mib;
	struct err err = {0};

	if (!device_has_balloon(vm, answer))
		return;
	if (amount_mib > vm->config.machine->mem_size_mib)
		api_fail(answer, "Balloon config error: Amount of pages requested is too large.");
	else if (machine_balloon_set(vm->machine, amount_mib << MIB_SHIFT, &err) < 0)
		api_fail(answer, "Balloon config error: %s", err.message);
	else
		vm->config.balloon->amount_mib = amount_mib;
}

void api_get_balloon_stats(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct machine_balloon_status status;
	struct err err = {0};

	if (!device_has_balloon(vm, answer))
		return;
	if (vm->config.balloon->stats_polling_interval_s == 0) {
		api_fail(answer, "Balloon config error: Statistics for the balloon device are not enabled");
		return;
	}
	if (machine_balloon_get(vm->machine, &status, &err) < 0) {
		api_fail(answer, "Balloon config error: %s", err.message);
		return;
	}
	answer->json = json_pack("{s:I,s:I,s:I,s:I}", "target_pages", (json_int_t)(status.target_bytes >> 12),
				 "actual_pages", (json_int_t)(status.actual_bytes >> 12), "target_mib",
				 (json_int_t)(status.target_bytes >> MIB_SHIFT), "actual_mib",
				 (json_int_t)(status.actual_bytes >> MIB_SHIFT));
	for (size_t i = 0; i < status.stat_count; i++) {
		if (status.stat[i].value != UINT64_MAX)
			json_object_set_new(answer->json, status.stat[i].name,
					    json_integer((json_int_t)status.stat[i].value));
	}
}

void api_patch_balloon_stats(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	uint64_t interval_s = ((const struct balloon_body *)request->body)->stats_polling_interval_s;
	struct err err = {0};

	if (!device_has_balloon(vm, answer))
		return;
	if ((interval_s == 0) != (vm->config.balloon->stats_polling_interval_s == 0))
		api_fail(answer, "Balloon config error: Cannot enable/disable the statistics after boot.");
	else if (interval_s && machine_balloon_poll(vm->machine, (uint32_t)interval_s, &err) < 0)
		api_fail(answer, "Balloon config error: %s", err.message);
	else
		vm->config.balloon->stats_polling_interval_s = interval_s;
}

void api_balloon_hinting(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	if (device_has_balloon(vm, answer))
		api_fail(answer, "Balloon config error: Free page hinting is not enabled");
}
