/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a machine: its rows and defaults; config_check.c has what rows cannot say. */
#include "vmm/machine/config.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/json.h"
#include "vmm/base/log.h"
#include "vmm/core/cpu_model_x86.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/config_parts.h"

/* In the order of enum boot_protocol. */
static const struct option_choice config_protocols[] = {
	{"auto", "what the file is; never flat"},
	{"linux", "the Linux boot protocol: bzImage or ELF"},
	{"pvh", "ELF with a PVH entry note"},
	{"multiboot", "multiboot 1"},
	{"flat", "raw bytes at 0x7c00, entered in real mode"},
	{NULL, NULL},
};

/* In the order of enum log_level. */
static const struct option_choice config_log_levels[] = {
	{"off", NULL},   {"error", NULL}, {"warning", NULL}, {"info", NULL},
	{"debug", NULL}, {"trace", NULL}, {NULL, NULL},
};

/* For help and completion; the check asks the tables of models, boards, accelerators and backends themselves.
 */
static const struct option_choice config_cpu_models[] = {
	{"auto", "x86-64-v3 where the accelerator has it, else x86-64-v2"},
	{"x86-64", NULL},
	{"x86-64-v2", NULL},
	{"x86-64-v3", NULL},
	{"max", NULL},
	{NULL, NULL},
};
static const struct option_choice config_irqchips[] = {
	{"auto", "kernel where the accelerator has it, else off"},
	{"kernel", "PIC, I/O APIC, PIT and local APICs are the accelerator's (KVM)"},
	{"split", "the local APICs are the accelerator's, the others ours"},
	{"off", "all are ours; the only choice with tcg"},
	{NULL, NULL},
};

/*
 * Bitmaps by default: a snapshot reads the log once, with the machine paused, and a bitmap a slot is then
 * cheapest; rings cost every vCPU memory and, whenever one is full, an exit. They pay where much memory is
 * written little and the log is read often.
 */
static const struct option_choice config_dirty_logs[] = {
	{"bitmap", "a bitmap of all memory"},
	{"ring", "a ring of each vCPU, for large and quiet memory; bitmaps where KVM has none"},
	{NULL, NULL},
};

static const struct option_choice config_accels[] = {
	{"auto", NULL}, {"kvm", NULL}, {"tcg", NULL}, {NULL, NULL}};
static const struct option_choice config_jits[] = {
	{"off", NULL}, {"on", NULL}, {"verify", NULL}, {"verify=", NULL}, {NULL, NULL}};
/* In the order of enum machine_mmu. */
static const struct option_choice config_mmus[] = {
	{"fast", "a TLB for several address spaces, each access by a look into it"},
	{"ranges", "besides, stretches of memory that translated code looks at first; slower on most work"},
	{"safe", "a TLB for one address space at a time"},
	{NULL, NULL},
};
static const struct option_choice config_logs[] = {{"in_asm", NULL}, {"out_asm", NULL}, {"op", NULL},
						   {"int", NULL},    {"mmu", NULL},     {NULL, NULL}};
static const struct option_choice config_boards[] = {{"microvm", NULL}, {NULL, NULL}};
static const struct option_choice config_serials[] = {
	{"stdio", NULL}, {"file:", NULL}, {"pty", NULL}, {"socket:", NULL}, {"null", NULL}, {NULL, NULL},
};

/* In the order of enum virtio_transport_kind. */
static const struct option_choice config_virtio_transports[] = {
	{"mmio", "registers in memory, found through ACPI"},
	{"pci", "functions on a PCI bus, with MSI-X"},
	{NULL, NULL},
};

/* In the order of enum virtio_ring_kind. */
static const struct option_choice config_virtio_rings[] = {
	{"split", "what every driver can"},
	{"packed", "one ring for both sides, if the driver can"},
	{NULL, NULL},
};

const struct option machine_options[] = {
	{.path = "boot.kernel",
	 .flag = "--kernel",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct machine_config, kernel),
	 .metavar = "FILE",
	 .help = "The kernel: a bzImage, an ELF vmlinux, a multiboot kernel, or with --protocol flat any "
		 "bytes"},
	{.path = "boot.initrd",
	 .flag = "--initrd",
	 .type = OPTION_STRINGS,
	 .offset = offsetof(struct machine_config, initrd),
	 .metavar = "FILE",
	 .help = "An initramfs, compressed or not; given more than once, the files are joined"},
	{.path = "boot.append",
	 .flag = "--append",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_config, append),
	 .metavar = "STRING",
	 .help = "The kernel's command line",
	 .default_text = "console=ttyS0 for a Linux kernel with a serial port that is not null, else empty"},
	{.path = "boot.modules",
	 .flag = "--module",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, modules),
	 .metavar = "FILE[,CMDLINE]",
	 .help = "A module of a multiboot or PVH kernel, with its command line after a comma (,, is a comma "
		 "in FILE); "
		 "may be given more than once",
	 .element = machine_module_fields,
	 .element_size = sizeof(struct machine_module)},
	{.path = "boot.protocol",
	 .flag = "--protocol",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_config, protocol),
	 .metavar = "NAME",
	 .help = "How the kernel is loaded and entered",
	 .default_text = "auto",
	 .choice = config_protocols},
	{.path = "machine.memory",
	 .flag = "--mem",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct machine_config, memory_bytes),
	 .metavar = "SIZE",
	 .help = "The guest's memory; a plain number is MiB",
	 .default_text = "512M",
	 .min = MACHINE_MEMORY_MIN,
	 .max = MACHINE_MEMORY_MAX},
	{.path = "machine.cpus",
	 .flag = "--cpus",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_config, cpus),
	 .metavar = "N",
	 .help = "The number of CPUs, each a thread",
	 .default_text = "1",
	 .min = 1,
	 .max = MACHINE_CPUS_MAX},
	{.path = "machine.cpu",
	 .flag = "--cpu",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_config, cpu_model),
	 .metavar = "MODEL",
	 .help = "The CPU model that the guest sees: x86-64 is the baseline, max everything there is",
	 .default_text = "auto",
	 .choice = config_cpu_models},
	{.path = "machine.accel",
	 .flag = "--accel",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_config, accel),
	 .metavar = "NAME",
	 .help = "What runs the guest's code: auto takes the best that works here",
	 .default_text = "auto",
	 .choice = config_accels},
	{.path = "machine.accel_switch",
	 .flag = "--accel-switch",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_config, accel_switch),
	 .help = "Offer the guest a CPU that both KVM and the built-in CPU have, so that the machine can go "
		 "from one to the other while it runs (Ctrl-A k)"},
	{.path = "machine.accel_switch_every_ms",
	 .flag = "--accel-switch-every",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_config, accel_switch_every_ms),
	 .metavar = "MS",
	 .help = "Go to the other accelerator every so many milliseconds: a test of --accel-switch, which it "
		 "implies",
	 .default_text = "never",
	 .max = 3600000},
	{.path = "machine.irqchip",
	 .flag = "--irqchip",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_config, irqchip),
	 .metavar = "WHERE",
	 .help = "Where the interrupt controllers and the PIT are; the guest sees no difference",
	 .default_text = "auto",
	 .choice = config_irqchips},
	{.path = "machine.dirty_log",
	 .flag = "--dirty-log",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_config, dirty_log),
	 .metavar = "KIND",
	 .help = "How KVM tells the pages that the guest has written, for differential snapshots",
	 .default_text = "bitmap",
	 .choice = config_dirty_logs},
	{.path = "machine.jit",
	 .flag = "--jit",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_config, jit),
	 .metavar = "MODE",
	 .help = "Whether tcg translates hot code to host code: off, on, or verify[=N], which compares one "
		 "of "
		 "N blocks with the interpreter (one CPU only)",
	 .default_text = "on",
	 .choice = config_jits},
	{.path = "machine.mmu",
	 .flag = "--mmu",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_config, mmu),
	 .metavar = "MODE",
	 .help = "What tcg caches of the guest's page tables: where a guest misbehaves with fast but not "
		 "with "
		 "safe, an invalidation was missed",
	 .default_text = "fast",
	 .choice = config_mmus},
	{.path = "machine.board",
	 .flag = "--machine",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_config, board),
	 .metavar = "NAME",
	 .help = "The board: microvm is a small PC of ISA and virtio devices",
	 .default_text = "microvm",
	 .choice = config_boards},
	{.path = "serial",
	 .flag = "--serial",
	 .type = OPTION_STRINGS,
	 .offset = offsetof(struct machine_config, serial),
	 .metavar = "BACKEND",
	 .help = "What the serial port is connected to: stdio, file:PATH, pty, socket:PATH (a unix socket "
		 "that vmmctl "
		 "listens on) or null; a second one gives the guest COM2",
	 .default_text = "stdio",
	 .choice = config_serials},
	{.path = "machine.io_threads",
	 .flag = "--io-threads",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_config, io_threads),
	 .metavar = "N",
	 .help = "The number of threads that serve the virtio devices, each device by one of them in turn",
	 .default_text = "1",
	 .min = 1,
	 .max = MACHINE_IO_THREADS_MAX},
	{.path = "virtio.transport",
	 .flag = "--virtio-transport",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_config, virtio_transport),
	 .metavar = "NAME",
	 .help = "How the guest reaches its virtio devices",
	 .default_text = "mmio",
	 .choice = config_virtio_transports},
	{.path = "virtio.cmdline",
	 .flag = "--virtio-cmdline",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_config, virtio_cmdline),
	 .help = "Name the virtio-mmio devices on the kernel's command line, too: for a kernel without ACPI "
		 "that is "
		 "built with VIRTIO_MMIO_CMDLINE_DEVICES"},
	{.path = "virtio.fdt",
	 .flag = "--virtio-fdt",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_config, virtio_fdt),
	 .help = "Hand a Linux kernel a flattened device tree with all devices, too: for a kernel without "
		 "ACPI that is built with OF_EARLY_FLATTREE"},
	{.path = "virtio.ring",
	 .flag = "--virtio-ring",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_config, virtio_ring),
	 .metavar = "NAME",
	 .help = "The layout of queues that virtio devices offer",
	 .default_text = "split",
	 .choice = config_virtio_rings},
	{.path = "disks",
	 .flag = "--disk",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, disks),
	 .metavar = "PATH[,KEY=VALUE]...",
	 .help = "A virtio disk whose contents are this file or block device (,, is a comma in PATH); may be "
		 "given more than once",
	 .element = config_disk_fields,
	 .element_size = sizeof(struct machine_disk),
	 .keyed = true},
	{.path = "net",
	 .flag = "--net",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, net),
	 .metavar = "BACKEND[,KEY=VALUE]...",
	 .help = "A virtio network card, connected to the network by the backend: user (a network stack "
		 "inside "
		 "vmmctl, which needs no privilege), tap (an interface of the host), passt (the passt "
		 "daemon), "
		 "socket (another monitor), fd (a descriptor handed in); may be given more than once",
	 .element = netdev_options,
	 .element_size = sizeof(struct netdev_config),
	 .keyed = true},
	{.path = "rng",
	 .flag = "--rng",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, rng),
	 .metavar = "FILE[,KEY=VALUE]...",
	 .help = "A virtio-rng device: random bytes of the host for the guest; without FILE they are those "
		 "of "
		 "/dev/urandom",
	 .implied = "/dev/urandom",
	 .element = machine_rng_fields,
	 .element_size = sizeof(struct machine_rng),
	 .keyed = true},
	{.path = "shares",
	 .flag = "--share",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, shares),
	 .metavar = "DIR[,TAG][,KEY=VALUE]...",
	 .help = "A folder of the host for the guest (virtio-9p): mount -t 9p -o "
		 "trans=virtio,version=9p2000.L TAG /mnt; may be given more than once",
	 .element = config_share_fields,
	 .element_size = sizeof(struct machine_share),
	 .keyed = true,
	 .bare = "tag"},
	{.path = "console",
	 .flag = "--console",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, console),
	 .metavar = "BACKEND[,KEY=VALUE]...",
	 .help = "A port of the virtio console, connected to a backend as --serial names them: /dev/hvc0 and "
		 "so on in "
		 "the "
		 "guest, or with a name a port for programs",
	 .element = machine_console_fields,
	 .element_size = sizeof(struct machine_console),
	 .keyed = true},
	{.path = "balloon",
	 .flag = "--balloon",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, balloon),
	 .metavar = "SIZE[,KEY=VALUE]...",
	 .help = "A virtio balloon that takes SIZE of the guest's memory away; a plain number is MiB, 0 "
		 "takes nothing",
	 .element = machine_balloon_fields,
	 .element_size = sizeof(struct machine_balloon),
	 .keyed = true},
	{.path = "pmem",
	 .flag = "--pmem",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, pmem),
	 .metavar = "FILE[,KEY]...",
	 .help = "Persistent memory: FILE as memory of the guest, /dev/pmem0 and so on",
	 .element = machine_pmem_fields,
	 .element_size = sizeof(struct machine_pmem),
	 .keyed = true},
	{.path = "vsock",
	 .flag = "--vsock",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, vsock),
	 .metavar = "PATH[,cid=N]",
	 .help = "Sockets between guest and host (virtio-vsock): who connects to the unix socket PATH and "
		 "writes "
		 "CONNECT PORT reaches that port of the guest, and the guest reaches who listens on "
		 "PATH_PORT",
	 .element = config_vsock_fields,
	 .element_size = sizeof(struct machine_vsock),
	 .keyed = true,
	 .named = true},
	{.path = "vhost_user_blk",
	 .flag = "--vhost-user-blk",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, vhost_user_blk),
	 .metavar = "SOCKET[,queues=N]",
	 .help = "A disk that another process serves (vhost-user-blk, such as qemu-storage-daemon): SOCKET "
		 "is the one it listens on; it gets all of the guest's memory",
	 .element = config_vhost_user_blk_fields,
	 .element_size = sizeof(struct machine_vhost_user),
	 .keyed = true,
	 .named = true},
	{.path = "vhost_user_net",
	 .flag = "--vhost-user-net",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, vhost_user_net),
	 .metavar = "SOCKET[,mac=MAC]",
	 .help = "A network card that another process serves (vhost-user-net)",
	 .element = config_vhost_user_net_fields,
	 .element_size = sizeof(struct machine_vhost_user),
	 .keyed = true,
	 .named = true},
	{.path = "vhost_user_fs",
	 .flag = "--vhost-user-fs",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct machine_config, vhost_user_fs),
	 .metavar = "SOCKET,tag=TAG[,queues=N]",
	 .help = "A file system that another process serves (vhost-user-fs, such as virtiofsd): mount -t "
		 "virtiofs TAG /mnt",
	 .element = config_vhost_user_fs_fields,
	 .element_size = sizeof(struct machine_vhost_user),
	 .keyed = true,
	 .named = true},
	{.path = "exit_code_port",
	 .flag = "--exit-code-port",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_config, exit_code_port),
	 .metavar = "PORT",
	 .help = "A guest's write to this I/O port ends vmmctl with the value written as its exit status; "
		 "without PORT "
		 "it is " MACHINE_EXIT_PORT,
	 .default_text = "none",
	 .max = 0xfffc,
	 .implied = MACHINE_EXIT_PORT},
	{.path = "boot_timer",
	 .flag = "--boot-timer",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_config, boot_timer),
	 .help = "A byte of registers at 0xc0000000: a guest that writes 123 there has its boot time in the "
		 "log"},
	{.path = "no_reboot",
	 .flag = "--no-reboot",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_config, no_reboot),
	 .help = "End when the guest resets the machine, instead of starting it again"},
	{.path = "log",
	 .flag = "--log",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_config, log),
	 .metavar = "KIND[,KIND]...",
	 .help = "Tells what the built-in CPU does: in_asm (guest code of each translation), out_asm (its "
		 "host "
		 "code), op (what each instruction became), int (interrupts and exceptions), mmu (page walks "
		 "and flushes)",
	 .default_text = "nothing",
	 .choice = config_logs},
	{.path = "log_file",
	 .flag = "--log-file",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct machine_config, log_file),
	 .metavar = "FILE",
	 .help = "The file that --log is appended to",
	 .default_text = "standard error"},
	{.path = "perf_map",
	 .flag = "--perf-map",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_config, perf_map),
	 .help = "Writes /tmp/perf-PID.map, by which perf(1) names the built-in CPU's translated code"},
	{.path = "log_level",
	 .flag = "--log-level",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct machine_config, log_level),
	 .metavar = "LEVEL",
	 .help = "The least urgent messages printed on standard error",
	 .default_text = "warning",
	 .choice = config_log_levels},
	{.path = NULL},
};

const struct option *config_row(const char *path)
{
	for (const struct option *option = machine_options; option->path; option++) {
		if (strcmp(option->path, path) == 0)
			return option;
	}
	return NULL;
}

int machine_config_init(struct machine_config *config, struct err *err)
{
	*config = (struct machine_config){
		.memory_bytes = 512ull << 20,
		.cpus = 1,
		.io_threads = 1,
		.log_level = LOG_WARNING,
		.board = strdup("microvm"),
		.cpu_model = strdup(X86_CPU_MODEL_AUTO),
		.accel = strdup("auto"),
		.jit = strdup("on"),
	};
	if (config->board && config->cpu_model && config->accel && config->jit &&
	    option_set_text(config_row("serial"), config, "stdio", err) == 0)
		return 0;
	machine_config_free(config);
	return err_set(err, -ENOMEM, "no memory");
}

void machine_config_free(struct machine_config *config)
{
	option_free(machine_options, config);
}

int machine_config_copy(struct machine_config *copy, const struct machine_config *config, struct err *err)
{
	json_t *json = option_to_json(machine_options, config);
	int code;

	*copy = (struct machine_config){0};
	if (!json)
		return err_set(err, -ENOMEM, "no memory");
	code = option_from_json(machine_options, copy, json, err);
	json_decref(json);
	if (code < 0)
		machine_config_free(copy);
	return code;
}

int machine_config_read(struct machine_config *config, const char *path, struct err *err)
{
	json_t *json = json_read_file(path, err);
	int code;

	if (!json)
		return err ? err->code : -EINVAL;
	code = option_from_json(machine_options, config, json, err);
	json_decref(json);
	return code < 0 ? err_prefix(err, "%s", path) : 0;
}
