/* SPDX-License-Identifier: Apache-2.0 */
/* From a configuration to a guest ready to run: kernel and tables in memory, registers in the CPUs. At start
 * and reset. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "boot/boot.h"
#include "loader/image.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/machine/board.h"
#include "vmm/machine/config_parts.h"
#include "vmm/machine/parts.h"

#define LOAD_CONSOLE_APPEND "console=ttyS0"

const struct option machine_module_fields[] = {
	{.path = "path", .type = OPTION_PATH, .offset = offsetof(struct machine_module, path)},
	{.path = "cmdline", .type = OPTION_STRING, .offset = offsetof(struct machine_module, cmdline)},
	{.path = NULL},
};

/* Whether the kernel is one of those that read Linux's command line: other kernels would stumble over a
 * default. */
static bool load_is_linux(const struct machine_config *config)
{
	enum boot_protocol protocol = (enum boot_protocol)config->protocol;
	enum image_kind kind = IMAGE_UNKNOWN;
	struct image image;

	if (protocol != BOOT_AUTO)
		return protocol == BOOT_LINUX || protocol == BOOT_PVH;
	if (image_open(&image, config->kernel, IMAGE_KERNEL_SIZE_MAX, NULL) < 0)
		return false;
	if (image_detect(&image, &kind, NULL) < 0)
		kind = IMAGE_UNKNOWN;
	image_close(&image);
	return kind == IMAGE_LINUX || kind == IMAGE_ELF;
}

static const char *load_command_line(const struct machine_config *config)
{
	if (config->append)
		return config->append;
	if (config->serial.count == 0 || strcmp(config->serial.item[0], "null") == 0 ||
	    !load_is_linux(config))
		return "";
	return LOAD_CONSOLE_APPEND;
}

/* The initrds and then the modules, as boot/ takes them; returns how many. */
static size_t load_collect_modules(const struct machine_config *config, struct module *modules)
{
	const struct machine_module *given = config->modules.item;
	size_t count = 0;

	for (size_t i = 0; i < config->initrd.count; i++)
		modules[count++] = (struct module){.path = config->initrd.item[i]};
	for (size_t i = 0; i < config->modules.count; i++)
		modules[count++] = (struct module){.path = given[i].path, .cmdline = given[i].cmdline};
	return count;
}

static void load_log_summary(const struct machine_config *config, const struct boot_x86_summary *summary)
{
	const char *entry = summary->is_unpacked             ? "unpacked, 64-bit"
			    : summary->is_64bit_entry        ? "64-bit"
			    : summary->protocol == BOOT_FLAT ? "real-mode"
							     : "32-bit";

	log_info("kernel %s%s%s: %s protocol, %s entry at 0x%" PRIx64, config->kernel,
		 summary->kernel_version[0] ? ", " : "", summary->kernel_version,
		 boot_protocol_name(summary->protocol), entry, summary->entry_gpa);
	if (summary->initrd_size)
		log_info("initrd of %" PRIu64 " KiB at 0x%" PRIx64, summary->initrd_size >> 10,
			 summary->initrd_gpa);
}

/* Without it a guest boots all the same, at the addresses it was linked for. */
static uint64_t load_random(void)
{
	uint64_t random = 0;

	return getrandom(&random, sizeof(random), GRND_NONBLOCK) == sizeof(random) ? random : 0;
}

#define LOAD_MMIO_WORD_MAX 64 /* " virtio_mmio.device=4K@0xc0000000:16" */

/* The command line with a word for each device at a page of registers, owned; NULL when out of memory. */
static char *load_device_command_line(const struct machine *machine)
{
	const char *given = load_command_line(&machine->config);
	size_t room = strlen(given) + 1 + machine->device_count * LOAD_MMIO_WORD_MAX;
	char *line = malloc(room);
	size_t len = 0;

	if (!line)
		return NULL;
	len = (size_t)snprintf(line, room, "%s", given);
	for (size_t i = 0; i < machine->device_count && machine->config.virtio_cmdline; i++) {
		const struct device_description *device = &machine->device[i]->description;

		if (device->compatible && strcmp(device->compatible, "virtio,mmio") == 0)
			len += (size_t)snprintf(line + len, room - len,
						" virtio_mmio.device=%" PRIu64 "K@0x%" PRIx64 ":%d",
						device->mmio_size >> 10, device->mmio_base, device->irq[0]);
	}
	return line;
}

static int load_kernel(struct machine *machine, struct x86_cpu_state *bsp, struct err *err)
{
	const struct machine_config *config = &machine->config;
	struct module modules[2 * OPTION_LIST_MAX];
	const struct device_description *devices[MACHINE_DEVICES_MAX];
	struct boot_x86_summary summary = {0};
	struct boot_x86_config boot = {
		.protocol = (enum boot_protocol)config->protocol,
		.kernel_path = config->kernel,
		.module = modules,
		.module_count = load_collect_modules(config, modules),
		.random = load_random(),
		.cpu_count = config->cpus,
		.device = devices,
		.device_count = machine->device_count,
		.device_tree = config->virtio_fdt,
	};
	char *cmdline = load_device_command_line(machine);
	int code;

	if (!cmdline)
		return err_set(err, -ENOMEM, "no memory for the command line");
	boot.cmdline = cmdline;
	for (size_t i = 0; i < machine->device_count; i++)
		devices[i] = &machine->device[i]->description;
	machine->board->describe(machine, &boot);
	code = boot_x86_prepare(machine->gmem, &boot, bsp, &summary, err);
	if (code == 0)
		load_log_summary(config, &summary);
	free(cmdline);
	return code;
}

static int load_vcpu(struct machine *machine, unsigned index, struct x86_cpu_state *state, struct err *err)
{
	struct accel_pins pins;
	int code = 0;

	*state = *machine->vcpu[index].reset_state;
	/* It counts since the CPU was made, on all CPUs alike: a value of then would part them. */
	x86_cpu_state_drop_msr(state, X86_STATE_MSR_TSC);
	boot_x86_firmware_msrs(state);
	if (index == 0)
		code = load_kernel(machine, state, err);
	if (code < 0)
		return code;
	/* What was on its way to the CPU that was. */
	machine->accel->vcpu_pins_take(machine->vcpu[index].accel_vcpu, &pins);
	code = machine->accel->state_set(machine->vcpu[index].accel_vcpu, state, err);
	return code < 0 ? err_prefix(err, "registers of CPU %u", index) : 0;
}

struct x86_cpu_state *machine_new_cpu_state(void)
{
	struct x86_cpu_state *state = aligned_alloc(_Alignof(struct x86_cpu_state), sizeof(*state));

	if (state)
		memset(state, 0, sizeof(*state));
	return state;
}

int machine_load(struct machine *machine, struct err *err)
{
	struct x86_cpu_state *state = machine_new_cpu_state();
	int code = 0;

	if (!state)
		return err_set(err, -ENOMEM, "no memory for a CPU's registers");
	machine->board->act_as_firmware(machine);
	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++)
		code = load_vcpu(machine, i, state, err);
	free(state);
	return code;
}
