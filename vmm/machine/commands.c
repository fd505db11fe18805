/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, and the two that need no file of their own: version and help. */
#include "vmm/machine/commands.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/machine/config.h"
#include "vmm/machine/version.h"

const struct option command_boot_options[] = {
	{.path = "-config",
	 .flag = "--config",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct command_options, config_path),
	 .metavar = "FILE",
	 .help = "Reads the configuration from a JSON file (- is standard input); options given here "
		 "override it"},
	{.path = "-api-sock",
	 .flag = "--api-sock",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct command_options, api_sock),
	 .metavar = "PATH",
	 .help = "Serves the machine on this unix socket while it runs, as `vmmctl serve` does"},
	{.path = "-print-config",
	 .flag = "--print-config",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct command_options, print_config),
	 .help = "Prints the whole configuration as JSON, which --config reads back, and ends"},
	{.path = "-help",
	 .flag = "--help",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct command_options, help),
	 .help = "Prints this help and ends"},
	{.path = NULL},
};

const struct option command_help_options[] = {
	{.path = "-help",
	 .flag = "--help",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct command_options, help),
	 .help = "Prints this help and ends"},
	{.path = NULL},
};

const struct cli_command cli_commands[] = {
	{
		.name = "boot",
		.summary = "boot a kernel in a virtual machine",
		.arguments = "--kernel FILE [OPTION]...",
		.description = "Boots a kernel in a new virtual machine and runs it until the guest switches "
			       "it off. On a terminal "
			       "the guest's serial console is here: Ctrl-A x quits, Ctrl-A h tells the other "
			       "escapes. Sizes are "
			       "numbers with K, M, G or T. Every option is also a key of the JSON file that "
			       "--config reads.",
		.options = {machine_options, command_boot_options},
		.example =
			{
				{"vmmctl boot --kernel bzImage --initrd rootfs.cpio.gz",
				 "A Linux kernel with its console here."},
				{"vmmctl boot --kernel vmlinux --mem 2G --cpus 2 --append \"console=ttyS0 "
				 "quiet\"",
				 "An uncompressed kernel, more memory, two CPUs and a command line of its "
				 "own."},
				{"vmmctl boot --kernel xen.gz.elf --module \"vmlinuz,console=hvc0\" --module "
				 "initrd.img",
				 "A multiboot kernel with two modules, one of which has a command line."},
				{"vmmctl boot --kernel test.elf --serial file:log --exit-code-port "
				 "--no-reboot",
				 "A test: the output goes to a file, the guest's verdict becomes the exit "
				 "status."},
				{"vmmctl boot --kernel bzImage --cpus 4 --print-config > vm.json && vmmctl "
				 "boot --config vm.json",
				 "A configuration written to a file and used."},
			},
		.run = command_boot,
	},
	{
		.name = "run",
		.summary = "run a command in a virtual machine of its own",
		.arguments = "--rootfs DIR|IMAGE [OPTION]... -- COMMAND [ARGUMENT]...",
		.description = "Boots a kernel, runs COMMAND in the guest and ends with its exit status. "
			       "Input, output, errors "
			       "and signals are the command's; nothing else is printed. Without --kernel it "
			       "is Debian's, "
			       "which vmmctl-fetch gets once. Shares are mounted at /mnt/TAG; with --net "
			       "user the guest has "
			       "its network set up. Statuses of its own: 124 for a timeout, 125 when there "
			       "was no running "
			       "it, 126 when COMMAND cannot be executed, 127 when there is none. Three "
			       "Ctrl-C end the "
			       "virtual machine.",
		.options = {command_run_options, machine_options},
		.example =
			{
				{"vmmctl run --rootfs debian -- ls -l /",
				 "A command in a folder that holds a Debian."},
				{"vmmctl run --rootfs debian.ext4,overlay --cpus 2 --mem 1G -- make -C /src "
				 "check",
				 "An image that stays as it is."},
				{"vmmctl run --rootfs debian --share .,src --net user --timeout 600 -- sh -c "
				 "'cd "
				 "/mnt/src && ./test.sh'",
				 "The present folder, the network, ten minutes at most."},
				{"vmmctl run --rootfs debian --tty -- bash", "A shell."},
			},
		.run = command_run,
	},
	{
		.name = "bench",
		.summary = "measure the CPU that a guest gets",
		.arguments = "[OPTION]...",
		.description =
			"Runs small loops, each of one kind of work, in a guest without an operating "
			"system, and prints how long each "
			"takes, beside the same code run by this host directly. A figure is the best of "
			"five stretches. What writes "
			"code or needs a CPU's system side has no figure of the host.",
		.options = {command_bench_options},
		.example =
			{
				{"vmmctl bench",
				 "All kinds of work on the accelerator that boot would take."},
				{"vmmctl bench --accel tcg --jit off --class int-alu --class sort",
				 "Two of them, interpreted."},
				{"vmmctl bench --accel tcg --ms 500 --json bench.json",
				 "Longer stretches, and the figures in a file."},
				{"vmmctl bench --list", "What there is to measure."},
			},
		.run = command_bench,
	},
	{
		.name = "serve",
		.summary = "serve Firecracker's API on a unix socket",
		.arguments = "[--api-sock PATH] [OPTION]...",
		.description =
			"Waits for requests that configure and start one virtual machine, and serves it "
			"until it ends. The requests are Firecracker's; what that does not have is below "
			"/vmmctl. Options of the machine are what the requests start from. Under the "
			"name `firecracker` the program takes Firecracker's own command line.",
		.options = {serve_options_table, machine_options},
		.example =
			{
				{"vmmctl serve --api-sock /tmp/vm.sock", "A socket that waits for requests."},
				{"vmmctl serve --no-api --config-file vm.json",
				 "A machine from a configuration file of Firecracker's."},
			},
		.run = command_serve,
	},
	{
		.name = "ctl",
		.summary = "ask a machine that is served on a socket",
		.arguments = "SOCKET COMMAND [ARGUMENT]...",
		.description =
			"Sends a request to the socket of `vmmctl serve` or `vmmctl boot --api-sock`. "
			"Commands: status; config; pause; resume; snapshot STATE MEMORY; restore STATE "
			"MEMORY; metrics; console (Ctrl-] leaves); events; accel [NAME]; drive ID FILE; "
			"net ID TAP; unplug-drive ID; unplug-net ID; ctrl-alt-del; reset; stop; request "
			"METHOD PATH [BODY].",
		.options = {command_help_options},
		.example =
			{
				{"vmmctl ctl /tmp/vm.sock status", "What the machine does."},
				{"vmmctl ctl /tmp/vm.sock console", "Its first serial port, here."},
				{"vmmctl ctl /tmp/vm.sock snapshot vm.state vm.memory",
				 "The machine as it stands, in two files; it is paused first."},
			},
		.run = command_ctl,
	},
	{
		.name = "probe",
		.summary = "tell what this host can do",
		.arguments = "",
		.description = "Tells which accelerators this build has, whether each works on this host, "
			       "which one --accel auto "
			       "would take and why, and which CPU models there are.",
		.options = {command_help_options},
		.example = {{"vmmctl probe", "What this host can do."}},
		.run = command_probe,
	},
	{
		.name = "version",
		.summary = "print the version",
		.arguments = "",
		.description = "Prints the version of vmmctl.",
		.options = {command_help_options},
		.example = {{"vmmctl version", "The version."}},
		.run = command_version,
	},
	{
		.name = "help",
		.summary = "explain a command",
		.arguments = "[COMMAND]",
		.description = "Prints the help of a command, or the list of commands.",
		.options = {command_help_options},
		.example = {{"vmmctl help boot", "The help of `vmmctl boot`."}},
		.run = command_help,
	},
	{.name = NULL},
};

bool command_goes_on(const struct cli_command *command, int argc, char **argv, int *status)
{
	struct command_options own = {0};
	const struct cli_options options[] = {{command_help_options, &own}, {NULL, NULL}};
	struct cli_settings settings;
	struct err err = {0};

	if (cli_parse(argc, argv, options, &settings, &err) < 0 || cli_apply(&settings, &own, &err) < 0) {
		*status = cli_usage_error(command, &err);
		return false;
	}
	*status = CLI_OK;
	if (own.help)
		cli_print_help(stdout, command);
	return !own.help;
}

int command_version(const struct cli_command *command, int argc, char **argv)
{
	int status;

	if (!command_goes_on(command, argc, argv, &status))
		return status;
	printf("vmmctl %s\n", VMMCTL_VERSION);
	return CLI_OK;
}

int command_help(const struct cli_command *command, int argc, char **argv)
{
	const struct cli_command *wanted;
	struct err err = {0};
	int status;

	if (argc == 0) {
		cli_print_overview(stdout);
		return CLI_OK;
	}
	if (argc != 1 || argv[0][0] == '-') {
		if (command_goes_on(command, argc, argv, &status))
			status = CLI_USAGE;
		return status;
	}
	wanted = cli_find_command(argv[0]);
	if (!wanted) {
		err_set(&err, -EINVAL, "no command \"%s\"", argv[0]);
		return cli_usage_error(NULL, &err);
	}
	cli_print_help(stdout, wanted);
	return CLI_OK;
}
