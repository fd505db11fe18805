/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration may be before the start: each section is checked as far as the host can tell now, and
 * replaces the one before. Files are opened to see whether that goes, and closed again: the machine opens
 * them for itself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <unistd.h>

#include "api/mmds.h"
#include "api/vm.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"

#define VM_CID_MIN 3

/* "No such file or directory (os error 2)" */
#define OS_ERROR "%s (os error %d)"

/* Moves a structure to the heap and to its place; what was there is freed. */
static int vm_keep(const struct body *type, void *slot, void *body, struct err *err)
{
	void **place = slot;
	void *copy = malloc(type->size);

	if (!copy)
		return err_set(err, -ENOMEM, "no memory");
	memcpy(copy, body, type->size);
	memset(body, 0, type->size);
	if (*place)
		body_clear(type, *place);
	free(*place);
	*place = copy;
	return 0;
}

/* Puts a structure into a list: over that at `index`, or at the end if index is the count; first if asked. */
static int vm_keep_item(const struct body *type, struct body_list *list, size_t index, bool is_first,
			void *body, struct err *err)
{
	char *items = list->item;

	if (index < list->count) {
		body_clear(type, items + index * type->size);
		memmove(items + index * type->size, items + (index + 1) * type->size,
			(list->count - index - 1) * type->size);
		list->count--;
	} else {
		if (list->count == BODY_LIST_MAX)
			return err_set(err, -E2BIG, "too many devices");
		items = reallocarray(list->item, list->count + 1, type->size);
		if (!items)
			return err_set(err, -ENOMEM, "no memory");
		list->item = items;
	}
	index = is_first ? 0 : index;
	memmove(items + (index + 1) * type->size, items + index * type->size,
		(list->count - index) * type->size);
	memcpy(items + index * type->size, body, type->size);
	memset(body, 0, type->size);
	list->count++;
	return 0;
}

static void vm_drop_item(const struct body *type, struct body_list *list, size_t index)
{
	char *item = (char *)list->item + index * type->size;

	body_clear(type, item);
	list->count--;
	memmove(item, item + type->size, (list->count - index) * type->size);
}

void api_vm_drop_drive(struct api_vm *vm, size_t index)
{
	vm_drop_item(&drive_type, &vm->config.drives, index);
}

void api_vm_drop_net(struct api_vm *vm, size_t index)
{
	vm_drop_item(&net_type, &vm->config.nets, index);
}

/* 0 when the file opens, else -errno. */
static int vm_try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int api_vm_set_boot_source(struct api_vm *vm, struct boot_source *body, struct err *err)
{
	int code = vm_try_open(body->kernel_image_path, O_RDONLY);

	if (code < 0)
		return err_set(err, code, "Boot source error: The kernel file cannot be opened: " OS_ERROR,
			       strerror(-code), -code);
	code = body->initrd_path ? vm_try_open(body->initrd_path, O_RDONLY) : 0;
	if (code < 0)
		return err_set(err, code, "Boot source error: The initrd file cannot be opened: " OS_ERROR,
			       strerror(-code), -code);
	vm->is_dirty = true;
	return vm_keep(&boot_source_type, &vm->config.boot_source, body, err);
}

static bool vm_are_cpus_good(const struct machine_body *body)
{
	return body->vcpu_count >= 1 && body->vcpu_count <= API_CPUS_MAX &&
	       (!body->smt || body->vcpu_count == 1 || body->vcpu_count % 2 == 0);
}

static int vm_check_machine(const struct api_vm *vm, const struct machine_body *body, struct err *err)
{
	if (!vm_are_cpus_good(body))
		return err_set(
			err, -EINVAL,
			"Machine config error: The number of vCPUs must be greater than 0, less than %d and "
			"must be 1 or an even number if SMT is enabled.",
			API_CPUS_MAX);
	if (body->mem_size_mib == 0 || (body->huge_pages != HUGE_PAGES_NONE && body->mem_size_mib % 2 != 0))
		return err_set(
			err, -EINVAL,
			"Machine config error: The memory size (MiB) is either 0, or not a multiple of the "
			"configured page size.");
	if (vm->config.balloon && vm->config.balloon->amount_mib > body->mem_size_mib)
		return err_set(err, -EINVAL,
			       "Machine config error: The memory size (MiB) is smaller than the previously "
			       "installed balloon device target size.");
	return 0;
}

/* A template of "None" is none. */
static void vm_drop_no_template(struct machine_body *body)
{
	if (body->cpu_template == MACHINE_CPU_TEMPLATE_NONE)
		body->given &= ~(1u << 3);
}

int api_vm_set_machine(struct api_vm *vm, struct machine_body *body, struct err *err)
{
	int code = vm_check_machine(vm, body, err);

	if (code < 0)
		return code;
	vm_drop_no_template(body);
	vm->is_dirty = true;
	return vm_keep(&machine_type, &vm->config.machine, body, err);
}

int api_vm_patch_machine(struct api_vm *vm, struct machine_body *body, struct err *err)
{
	struct machine_body merged = *vm->config.machine;
	int code;

	body_merge(&machine_update_type, &merged, body);
	code = vm_check_machine(vm, &merged, err);
	if (code < 0)
		return code;
	vm_drop_no_template(&merged);
	vm->is_dirty = true;
	*vm->config.machine = merged;
	return 0;
}

/* --- drives and persistent memory */

static int vm_check_drive_source(const struct drive *body, struct err *err)
{
	bool readonly = body->is_read_only;
	int code;

	if (body->socket &&
	    (body->path_on_host || body->rate_limiter || body_is_given(&drive_type, body, "is_read_only") ||
	     body_is_given(&drive_type, body, "io_engine")))
		return err_set(
			err, -EINVAL,
			"Drive config error: Unable to create the vhost-user block device: Invalid config: "
			"socket excludes path_on_host, is_read_only, rate_limiter and io_engine.");
	if (body->socket)
		return 0;
	if (!body->path_on_host)
		return err_set(
			err, -EINVAL,
			"Drive config error: Unable to create the block device: Invalid config: either "
			"path_on_host or socket is required.");
	code = vm_try_open(body->path_on_host, readonly ? O_RDONLY : O_RDWR);
	if (code < 0)
		return err_set(
			err, code,
			"Drive config error: Unable to create the virtio block device: Virtio backend error: "
			"Error manipulating the backing file: " OS_ERROR " %s",
			strerror(-code), -code, body->path_on_host);
	return 0;
}

static bool vm_has_other_root_drive(const struct api_vm *vm, const char *id)
{
	const struct drive *drives = vm->config.drives.item;

	for (size_t i = 0; i < vm->config.drives.count; i++) {
		if (drives[i].is_root_device && (!id || strcmp(drives[i].drive_id, id) != 0))
			return true;
	}
	return false;
}

static bool vm_has_other_root_pmem(const struct api_vm *vm, const char *id)
{
	const struct pmem_body *pmem = vm->config.pmem.item;

	for (size_t i = 0; i < vm->config.pmem.count; i++) {
		if (pmem[i].root_device && (!id || strcmp(pmem[i].id, id) != 0))
			return true;
	}
	return false;
}

int api_vm_set_drive(struct api_vm *vm, struct drive *body, struct err *err)
{
	const struct drive *drives = vm->config.drives.item;
	size_t index = 0;
	int code;

	if (body->is_root_device && vm_has_other_root_drive(vm, body->drive_id))
		return err_set(err, -EEXIST, "Drive config error: A root block device already exists!");
	if (body->is_root_device && vm_has_other_root_pmem(vm, NULL))
		return err_set(
			err, -EEXIST,
			"Drive config error: Attempt to add block as a root device while the root device "
			"defined as a pmem device");
	code = vm_check_drive_source(body, err);
	if (code < 0)
		return code;
	while (index < vm->config.drives.count && strcmp(drives[index].drive_id, body->drive_id) != 0)
		index++;
	if (!body->socket) {
		body_set_given(&drive_type, body, "is_read_only");
		body_set_given(&drive_type, body, "io_engine");
	}
	vm->is_dirty = true;
	return vm_keep_item(&drive_type, &vm->config.drives, index, body->is_root_device, body, err);
}

int api_vm_set_pmem(struct api_vm *vm, struct pmem_body *body, struct err *err)
{
	const struct pmem_body *pmem = vm->config.pmem.item;
	size_t index = 0;
	int code;

	if (body->root_device && vm_has_other_root_drive(vm, NULL))
		return err_set(
			err, -EEXIST,
			"Pmem config error: Attempt to add pmem as a root device while the root device "
			"defined as a block device");
	if (body->root_device && vm_has_other_root_pmem(vm, body->id))
		return err_set(err, -EEXIST, "Pmem config error: A root pmem device already exist");
	code = vm_try_open(body->path_on_host, body->read_only ? O_RDONLY : O_RDWR);
	if (code < 0)
		return err_set(err, code, "Pmem config error: Error backing file: " OS_ERROR, strerror(-code),
			       -code);
	while (index < vm->config.pmem.count && strcmp(pmem[index].id, body->id) != 0)
		index++;
	vm->is_dirty = true;
	return vm_keep_item(&pmem_type, &vm->config.pmem, index, false, body, err);
}

/* --- network cards */

static int vm_try_tap(const char *name, struct err *err)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int code = 0;

	if (fd < 0)
		return err_set(
			err, -errno,
			"Network config error: Could not create the network device: Open tap device failed: "
			"Couldn't open /dev/net/tun: " OS_ERROR,
			strerror(errno), errno);
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (strlen(name) >= IFNAMSIZ)
		code = -EINVAL;
	else if (ioctl(fd, TUNSETIFF, &request) < 0)
		code = -errno;
	close(fd);
	if (code < 0)
		return err_set(
			err, code,
			"Network config error: Could not create the network device: Open tap device failed: "
			"Error while creating ifreq structure: " OS_ERROR
			". Invalid TUN/TAP Backend provided by %s. Check our documentation on setting up the "
			"network devices.",
			strerror(-code), -code, name);
	return 0;
}

int api_vm_set_net(struct api_vm *vm, struct net_body *body, struct err *err)
{
	const struct net_body *nets = vm->config.nets.item;
	size_t place = vm->config.nets.count;
	int code;

	for (size_t i = 0; i < vm->config.nets.count; i++) {
		if (strcmp(nets[i].iface_id, body->iface_id) == 0)
			place = i;
		else if (body->guest_mac && nets[i].guest_mac &&
			 strcasecmp(nets[i].guest_mac, body->guest_mac) == 0)
			return err_set(err, -EEXIST,
				       "Network config error: The MAC address is already in use: %s",
				       body->guest_mac);
	}
	if (body_is_given(&net_type, body, "mtu") && body->mtu < 68)
		return err_set(err, -ERANGE,
			       "Network config error: Invalid MTU %u: must be between 68 and 65535",
			       (unsigned)body->mtu);
	code = vm_try_tap(body->host_dev_name, err);
	if (code < 0)
		return code;
	vm->is_dirty = true;
	return vm_keep_item(&net_type, &vm->config.nets, place, false, body, err);
}

/* --- the devices of which there is one */

int api_vm_set_vsock(struct api_vm *vm, struct vsock_body *body, struct err *err)
{
	bool is_ours = vm->config.vsock && strcmp(vm->config.vsock->uds_path, body->uds_path) == 0;

	if (body->guest_cid < VM_CID_MIN)
		return err_set(err, -EINVAL, "Vsock config error: The guest CID is less than %d.",
			       VM_CID_MIN);
	if (!is_ours && access(body->uds_path, F_OK) == 0)
		return err_set(
			err, -EADDRINUSE,
			"Vsock config error: Cannot create backend for vsock device: Error binding to the "
			"host-side Unix socket: Address in use (os error %d)",
			EADDRINUSE);
	vm->is_dirty = true;
	return vm_keep(&vsock_type, &vm->config.vsock, body, err);
}

int api_vm_set_entropy(struct api_vm *vm, struct entropy_body *body, struct err *err)
{
	vm->is_dirty = true;
	return vm_keep(&entropy_type, &vm->config.entropy, body, err);
}

int api_vm_set_balloon(struct api_vm *vm, struct balloon_body *body, struct err *err)
{
	if (body->amount_mib > vm->config.machine->mem_size_mib)
		return err_set(err, -EINVAL, "Balloon config error: Amount of pages requested is too large.");
	if (body->free_page_hinting)
		return err_set(err, -ENOTSUP,
			       "Balloon config error: Free page hinting is not offered by this balloon.");
	vm->is_dirty = true;
	return vm_keep(&balloon_type, &vm->config.balloon, body, err);
}

static bool vm_is_link_local(const char *text)
{
	struct in_addr address;
	uint32_t value;

	if (inet_pton(AF_INET, text, &address) != 1)
		return false;
	value = ntohl(address.s_addr);
	return value >= 0xa9fe0100 && value <= 0xa9fefeff;
}

int api_vm_set_mmds_config(struct api_vm *vm, struct mmds_config_body *body, struct err *err)
{
	char *const *wanted = body->network_interfaces.item;
	const struct net_body *nets = vm->config.nets.item;

	if (body->network_interfaces.count == 0)
		return err_set(
			err, -EINVAL,
			"MMMDS config error: The list of network interface IDs that allow forwarding MMDS "
			"requests is empty.");
	for (size_t i = 0; i < body->network_interfaces.count; i++) {
		size_t k = 0;

		while (k < vm->config.nets.count && strcmp(nets[k].iface_id, wanted[i]) != 0)
			k++;
		if (k == vm->config.nets.count)
			return err_set(
				err, -EINVAL,
				"MMMDS config error: The list of network interface IDs provided contains at "
				"least one ID that does not correspond to any existing network interface.");
	}
	if (body->ipv4_address && !vm_is_link_local(body->ipv4_address))
		return err_set(err, -EINVAL, "MMMDS config error: The MMDS IPv4 address is not link local.");
	if (!body->ipv4_address)
		body->ipv4_address = strdup(MMDS_ADDRESS_DEFAULT);
	body_set_given(&mmds_config_type, body, "ipv4_address");
	vm->is_dirty = true;
	mmds_set_version(vm->mmds, body->version ? MMDS_V2 : MMDS_V1, body->imds_compat);
	return vm_keep(&mmds_config_type, &vm->config.mmds, body, err);
}

int api_vm_set_memory_hotplug(struct api_vm *vm, struct memory_hotplug_body *body, struct err *err)
{
	return err_set(err, -ENOTSUP, "Memory hotplug config error: This monitor has no virtio-mem device.");
}

int api_vm_set_cpu_config(struct api_vm *vm, json_t *json, struct err *err)
{
	return err_set(err, -ENOTSUP, "Configure CPU error: Custom CPU templates are not supported.");
}

int api_vm_set_logger(const struct api_vm *vm, const struct logger_body *body, struct err *err)
{
	const struct log_style style = {
		.id = vm->settings.id,
		.module = body->module,
		.show_level = body->show_level,
		.show_origin = body->show_log_origin,
	};
	enum log_level level = LOG_INFO;
	int fd;

	if (body->log_path) {
		fd = open(body->log_path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0644);
		if (fd < 0 || log_set_fd(fd) < 0)
			return err_set(err, -errno, "Logger error: Failed to open target file: " OS_ERROR,
				       strerror(errno), errno);
		close(fd);
	}
	if (body->level)
		log_level_from_name(body->level, &level);
	log_set_level(level);
	log_set_style(&style);
	return 0;
}
