/* SPDX-License-Identifier: Apache-2.0 */
/* `vmmctl probe`: what this host can do, in the words that --accel, --cpu and --serial take. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/size.h"
#include "vmm/core/accel.h"
#include "vmm/core/chardev.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/commands.h"

#define PROBE_KVM_DEVICE "/dev/kvm"

/* Opening is the only honest question: the file may be there and the module not, or the rights. */
static void probe_print_kvm_device(void)
{
	int fd = open(PROBE_KVM_DEVICE, O_RDWR | O_CLOEXEC);

	printf("%s     %s\n", PROBE_KVM_DEVICE,
	       fd >= 0 ? "present, and this user may use it" : strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void probe_print_host(void)
{
	char memory[SIZE_TEXT_MAX];
	struct utsname host;

	uname(&host);
	size_format((uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) & ~(SIZE_MIB - 1),
		    memory);
	printf("host         %s %s, %s, %ld CPUs online, %s of memory\n", host.sysname, host.release,
	       host.machine, sysconf(_SC_NPROCESSORS_ONLN), memory);
	probe_print_kvm_device();
}

/* Where interrupt controllers can be with an accelerator that has some, in the words that --irqchip takes. */
static void probe_print_irqchips(const struct accel_ops *accel)
{
	unsigned offered = accel->irqchips && accel->probe(NULL) == 0 ? accel->irqchips() : 0;

	if (!offered)
		return;
	printf("irqchip %-4s", accel->name);
	for (unsigned i = ACCEL_IRQCHIP_COUNT; i-- > 0;) {
		if (offered >> i & 1)
			printf(" %s", accel_choice_irqchip_name((enum accel_irqchip)i));
	}
	printf("\n");
}

static void probe_print_accels(void)
{
	for (size_t i = 0; accel_table[i]; i++) {
		char finding[128];
		struct err err = {0};
		bool fit = accel_choice_judge(accel_table[i], finding, sizeof(finding), &err) == 0;

		printf("accel %-6s %s%s%s\n", accel_table[i]->name, fit ? "works" : err.message,
		       finding[0] ? ": " : "", finding);
		probe_print_irqchips(accel_table[i]);
	}
}

/* Returns the accelerator, or NULL after saying why there is none. */
static const struct accel_ops *probe_print_choice(void)
{
	char reason[ERR_MESSAGE_SIZE + 128];
	struct err err = {0};
	const struct accel_ops *accel = accel_choice_make("auto", reason, sizeof(reason), &err);

	printf("--accel auto takes %s\n", accel ? reason : err.message);
	return accel;
}

static void probe_print_models(const struct accel_ops *accel)
{
	struct x86_cpu_capabilities capabilities = {0};
	const struct x86_cpu_model *model;
	struct err err = {0};

	if (accel->capabilities(&capabilities, &err) < 0) {
		printf("CPU models   %s\n", err.message);
		return;
	}
	for (size_t i = 0; (model = x86_cpu_model_at(i)); i++) {
		struct x86_cpuid_table table;
		bool works = x86_cpu_model_build(model, &capabilities, 0, 1, &table, &err) == 0;

		printf("cpu %-10s %s\n", x86_cpu_model_name(model),
		       works ? x86_cpu_model_summary(model) : err.message);
	}
	printf("guest        %u address bits, TSC at %" PRIu64 ".%03" PRIu64 " MHz\n", capabilities.phys_bits,
	       capabilities.tsc_hz / 1000000, capabilities.tsc_hz / 1000 % 1000);
}

static void probe_print_chardevs(void)
{
	for (size_t i = 0; chardev_table[i]; i++)
		printf("serial %s%s%s: %s\n", chardev_table[i]->name, chardev_table[i]->argument ? ":" : "",
		       chardev_table[i]->argument ? chardev_table[i]->argument : "",
		       chardev_table[i]->summary);
}

int command_probe(const struct cli_command *command, int argc, char **argv)
{
	const struct accel_ops *accel;
	int status;

	if (!command_goes_on(command, argc, argv, &status))
		return status;
	probe_print_host();
	probe_print_accels();
	accel = probe_print_choice();
	if (accel)
		probe_print_models(accel);
	probe_print_chardevs();
	return accel ? CLI_OK : CLI_FAILURE;
}
