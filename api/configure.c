/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From Firecracker's configuration to a machine's: every setting goes through the row of machine_options that
 * a command line would use, over what the command line or /vmmctl/config said.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/vm.h"
#include "vmm/base/err.h"
#include "vmm/base/text.h"
#include "vmm/machine/control.h"

#define CONFIGURE_CMDLINE_MAX 2048 /* Firecracker's; longer ones are refused */
#define CONFIGURE_BOOT_ARGS                                                                                  \
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"

static const struct option *configure_row(const struct option *table, const char *path)
{
	while (table->path && strcmp(table->path, path) != 0)
		table++;
	assert(table->path); /* paths here are ours */
	return table;
}

__attribute__((format(printf, 5, 6))) static int configure_set(const struct option *table, void *object,
							       const char *path, struct err *err,
							       const char *format, ...)
{
	const struct option *row = configure_row(table, path);
	char *text = NULL;
	va_list args;
	int len;
	int code;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	if (len < 0)
		return err_set(err, -ENOMEM, "no memory");
	code = option_set_text(row, object, text, err);
	free(text);
	return code;
}

/* One more element of a list; its fields are set by the rows that *fields becomes. */
static void *configure_add(struct machine_config *config, const char *path, const struct option **fields,
			   struct err *err)
{
	const struct option *row = configure_row(machine_options, path);

	*fields = row->element;
	return option_add_record(row, config, err);
}

static int configure_bucket(const struct option *fields, void *object, const char *path,
			    const struct token_bucket *bucket, struct err *err)
{
	/* A bucket of zero is none. */
	if (!bucket || bucket->size == 0 || bucket->refill_time_ms == 0)
		return 0;
	return configure_set(fields, object, path, err, "%" PRIu64 "/%" PRIu64 "+%" PRIu64, bucket->size,
			     bucket->refill_time_ms, bucket->one_time_burst);
}

static int configure_limiter(const struct option *fields, void *object, const char *const path[2],
			     const struct rate_limiter_body *limiter, struct err *err)
{
	if (!limiter)
		return 0;
	if (configure_bucket(fields, object, path[0], limiter->bandwidth, err) < 0)
		return err->code;
	return configure_bucket(fields, object, path[1], limiter->ops, err);
}

/* --- the command line */

/* The root device as the guest's kernel names it; "" when no drive is one. */
static void configure_root(const struct vm_config_body *config, char *text, size_t size)
{
	const struct drive *drives = config->drives.item;
	const struct pmem_body *pmem = config->pmem.item;
	unsigned plain = 0, shared = 0;

	for (size_t i = 0; i < config->drives.count; i++)
		plain += !drives[i].socket;
	text[0] = '\0';
	for (size_t i = 0; i < config->drives.count; i++) {
		/* Drives of other processes come behind all others. */
		unsigned place = drives[i].socket ? plain + shared++ : (unsigned)i - shared;

		if (!drives[i].is_root_device)
			continue;
		if (drives[i].partuuid)
			snprintf(text, size, "root=PARTUUID=%s %s", drives[i].partuuid,
				 drives[i].is_read_only ? "ro" : "rw");
		else
			snprintf(text, size, "root=/dev/vd%c %s", 'a' + (int)(place % 26),
				 drives[i].is_read_only ? "ro" : "rw");
	}
	for (size_t i = 0; i < config->pmem.count; i++) {
		if (pmem[i].root_device)
			snprintf(text, size, "root=/dev/pmem%zu %s", i, pmem[i].read_only ? "ro" : "rw");
	}
}

static int configure_cmdline(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	const char *given = vm->config.boot_source->boot_args;
	const char *args = given ? given : vm->settings.is_plain ? "" : CONFIGURE_BOOT_ARGS;
	const char *init = strstr(args, " -- ");
	int len = init ? (int)(init - args) : (int)strlen(args);
	const char *pci = vm->settings.pci || vm->settings.is_plain ? "" : "pci=off";
	char root[160];
	char line[CONFIGURE_CMDLINE_MAX + 1] = "";

	configure_root(&vm->config, root, sizeof(root));
	if (strlen(args) + strlen(root) + strlen(pci) + 3 > CONFIGURE_CMDLINE_MAX)
		return err_set(err, -E2BIG,
			       "Invalid kernel command line: The command line is longer than %d bytes",
			       CONFIGURE_CMDLINE_MAX);
	text_append(line, sizeof(line), "%.*s", len, args);
	if (*pci)
		text_append(line, sizeof(line), "%s%s", line[0] ? " " : "", pci);
	if (*root)
		text_append(line, sizeof(line), "%s%s", line[0] ? " " : "", root);
	text_append(line, sizeof(line), "%s", init ? init : "");
	return configure_set(machine_options, config, "boot.append", err, "%s", line);
}

static int configure_boot(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	const struct boot_source *source = vm->config.boot_source;

	if (!source)
		return 0;
	if (configure_set(machine_options, config, "boot.kernel", err, "%s", source->kernel_image_path) < 0)
		return err->code;
	option_clear_list(configure_row(machine_options, "boot.initrd"), config);
	if (source->initrd_path &&
	    configure_set(machine_options, config, "boot.initrd", err, "%s", source->initrd_path) < 0)
		return err->code;
	return configure_cmdline(vm, config, err);
}

static int configure_machine(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	const struct machine_body *machine = vm->config.machine;

	config->no_reboot = true; /* a reset ends the process */
	config->virtio_transport = vm->settings.pci ? VIRTIO_TRANSPORT_PCI : config->virtio_transport;
	/* Kernels made for Firecracker may have no ACPI. */
	config->virtio_cmdline = config->virtio_transport == VIRTIO_TRANSPORT_MMIO;
	if (machine->given || !vm->settings.is_plain) {
		if (machine->mem_size_mib > MACHINE_MEMORY_MAX >> 20)
			return err_set(
				err, -ENOMEM,
				"Invalid Memory Configuration: Cannot create mmap region: Out of memory (os "
				"error 12)");
		config->memory_bytes = machine->mem_size_mib << 20;
		config->cpus = (uint32_t)machine->vcpu_count;
	}
	return 0;
}

/* --- devices */

static int configure_vhost_drive(struct machine_config *config, const struct drive *drive, struct err *err)
{
	const struct option *fields;
	void *disk = configure_add(config, "vhost_user_blk", &fields, err);

	if (!disk)
		return err->code;
	return configure_set(fields, disk, "socket", err, "%s", drive->socket);
}

static int configure_drive(struct machine_config *config, const struct drive *drive, struct err *err)
{
	static const char *const buckets[] = {"byte_bucket", "request_bucket"};
	const struct option *fields;
	void *disk;
	int code;

	if (drive->socket)
		return configure_vhost_drive(config, drive, err);
	disk = configure_add(config, "disks", &fields, err);
	if (!disk)
		return err->code;
	code = configure_set(fields, disk, "path", err, "%s", drive->path_on_host);
	if (code == 0)
		code = configure_set(fields, disk, "format", err, "raw");
	if (code == 0)
		code = configure_set(fields, disk, "serial", err, "%.20s", drive->drive_id);
	if (code == 0)
		code = configure_set(fields, disk, "readonly", err, "%s",
				     drive->is_read_only ? "true" : "false");
	if (code == 0)
		code = configure_set(fields, disk, "cache", err, "%s",
				     drive->cache_type == DRIVE_CACHE_WRITEBACK ? "writeback" : "unsafe");
	if (code == 0)
		code = configure_set(fields, disk, "engine", err, "%s",
				     drive->io_engine == DRIVE_ENGINE_ASYNC ? "io_uring" : "auto");
	return code < 0 ? code : configure_limiter(fields, disk, buckets, drive->rate_limiter, err);
}

/* Whether the guest reaches the metadata through this card. */
static bool configure_has_mmds(const struct api_vm *vm, const struct net_body *net)
{
	const struct mmds_config_body *mmds = vm->config.mmds;

	for (size_t i = 0; mmds && i < mmds->network_interfaces.count; i++) {
		if (strcmp(((char *const *)mmds->network_interfaces.item)[i], net->iface_id) == 0)
			return true;
	}
	return false;
}

static int configure_net(const struct api_vm *vm, struct machine_config *config, const struct net_body *net,
			 struct err *err)
{
	static const char *const rx[] = {"rx_byte_bucket", "rx_frame_bucket"};
	static const char *const tx[] = {"tx_byte_bucket", "tx_frame_bucket"};
	const struct option *fields;
	void *card = configure_add(config, "net", &fields, err);
	int code;

	if (!card)
		return err->code;
	code = configure_set(fields, card, "backend", err, "tap");
	if (code == 0)
		code = configure_set(fields, card, "ifname", err, "%s", net->host_dev_name);
	if (code == 0)
		code = configure_set(fields, card, "id", err, "%s", net->iface_id);
	if (code == 0 && vm->mmds_path[0] && configure_has_mmds(vm, net))
		code = configure_set(fields, card, "service", err, "%s:80=%s", vm->config.mmds->ipv4_address,
				     vm->mmds_path);
	/* A limiter that limits nothing: PATCH finds it. */
	if (code == 0)
		code = configure_set(fields, card, "rx_byte_bucket", err, "0/0");
	if (code == 0 && net->guest_mac)
		code = configure_set(fields, card, "mac", err, "%s", net->guest_mac);
	if (code == 0 && net->mtu)
		code = configure_set(fields, card, "mtu", err, "%" PRIu64, net->mtu);
	if (code == 0)
		code = configure_limiter(fields, card, rx, net->rx_rate_limiter, err);
	return code < 0 ? code : configure_limiter(fields, card, tx, net->tx_rate_limiter, err);
}

static int configure_pmem(struct machine_config *config, const struct pmem_body *pmem, struct err *err)
{
	const struct option *fields;
	void *item = configure_add(config, "pmem", &fields, err);

	if (!item || configure_set(fields, item, "path", err, "%s", pmem->path_on_host) < 0)
		return err->code;
	return configure_set(fields, item, "readonly", err, "%s", pmem->read_only ? "true" : "false");
}

static int configure_lists(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	const struct vm_config_body *from = &vm->config;
	int code = 0;

	for (size_t i = 0; i < from->drives.count && code == 0; i++)
		code = configure_drive(config, (const struct drive *)from->drives.item + i, err);
	for (size_t i = 0; i < from->nets.count && code == 0; i++)
		code = configure_net(vm, config, (const struct net_body *)from->nets.item + i, err);
	for (size_t i = 0; i < from->pmem.count && code == 0; i++)
		code = configure_pmem(config, (const struct pmem_body *)from->pmem.item + i, err);
	return code;
}

static int configure_vsock(struct machine_config *config, const struct vsock_body *vsock, struct err *err)
{
	const struct option *fields;
	void *item = configure_add(config, "vsock", &fields, err);

	if (!item || configure_set(fields, item, "path", err, "%s", vsock->uds_path) < 0)
		return err->code;
	return configure_set(fields, item, "cid", err, "%" PRIu64, vsock->guest_cid);
}

static int configure_entropy(struct machine_config *config, const struct entropy_body *entropy,
			     struct err *err)
{
	static const char *const buckets[] = {"byte_bucket", "request_bucket"};
	const struct option *fields;
	void *item = configure_add(config, "rng", &fields, err);

	if (!item || configure_set(fields, item, "source", err, "/dev/urandom") < 0)
		return err->code;
	return configure_limiter(fields, item, buckets, entropy->rate_limiter, err);
}

static int configure_balloon(struct machine_config *config, const struct balloon_body *balloon,
			     struct err *err)
{
	const struct option *fields;
	void *item = configure_add(config, "balloon", &fields, err);
	int code;

	if (!item)
		return err->code;
	code = configure_set(fields, item, "size", err, "%" PRIu64, balloon->amount_mib);
	if (code == 0)
		code = configure_set(fields, item, "deflate_on_oom", err, "%s",
				     balloon->deflate_on_oom ? "true" : "false");
	if (code == 0)
		code = configure_set(fields, item, "free_page_reporting", err, "%s",
				     balloon->free_page_reporting ? "true" : "false");
	if (code == 0)
		code = configure_set(fields, item, "stats", err, "%" PRIu64,
				     balloon->stats_polling_interval_s);
	return code;
}

static int configure_serial(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	if (!vm->has_serial || !vm->serial.serial_out_path)
		return 0;
	option_clear_list(configure_row(machine_options, "serial"), config);
	return configure_set(machine_options, config, "serial", err, "file:%s", vm->serial.serial_out_path);
}

static int configure_singles(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	const struct vm_config_body *from = &vm->config;
	int code = configure_serial(vm, config, err);

	if (code == 0 && from->vsock)
		code = configure_vsock(config, from->vsock, err);
	if (code == 0 && from->entropy)
		code = configure_entropy(config, from->entropy, err);
	if (code == 0 && from->balloon)
		code = configure_balloon(config, from->balloon, err);
	return code;
}

int api_vm_configure_unchecked(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	int code = machine_config_copy(config, &vm->base, err);

	if (code < 0)
		return code;
	code = configure_boot(vm, config, err);
	if (code == 0)
		code = configure_machine(vm, config, err);
	if (code == 0)
		code = configure_lists(vm, config, err);
	if (code == 0)
		code = configure_singles(vm, config, err);
	if (code < 0)
		machine_config_free(config);
	return code;
}

int api_vm_configure(const struct api_vm *vm, struct machine_config *config, struct err *err)
{
	int code = api_vm_configure_unchecked(vm, config, err);

	if (code < 0)
		return code;
	code = machine_config_check(config, err);
	if (code < 0)
		machine_config_free(config);
	return code;
}

int api_vm_plug_drive(struct api_vm *vm, struct drive *body, struct err *err)
{
	struct machine_config config = {0};
	int code = configure_drive(&config, body, err);

	if (code == 0)
		code = machine_plug_disk(vm->machine, config.disks.item, err);
	option_free(machine_options, &config);
	return code;
}

int api_vm_plug_net(struct api_vm *vm, struct net_body *body, struct err *err)
{
	struct machine_config config = {0};
	int code = configure_net(vm, &config, body, err);

	if (code == 0)
		code = machine_plug_net(vm->machine, config.net.item, err);
	option_free(machine_options, &config);
	return code;
}
