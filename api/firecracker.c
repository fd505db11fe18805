/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two command lines of a serving process: `vmmctl serve`, by vmmctl's own rules and with a machine's
 * options beside, and the program under the name `firecracker`, whose mistakes are told as that one does.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/serve.h"
#include "api/vm.h"
#include "vmm/base/err.h"
#include "vmm/machine/commands.h"
#include "vmm/machine/config.h"

#define ROW(path_, flag_, type_, member_)                                                                    \
	.path = (path_), .flag = (flag_), .type = (type_), .offset = offsetof(struct serve_options, member_)

const struct option serve_options_table[] = {
	{ROW("-api-sock", "--api-sock", OPTION_PATH, api_sock), .metavar = "PATH",
	 .help = "The unix socket that requests come to", .default_text = SERVE_SOCKET_DEFAULT},
	{ROW("-id", "--id", OPTION_STRING, id), .metavar = "NAME",
	 .help = "The instance's name: 1 to 64 letters, digits and hyphens",
	 .default_text = SERVE_ID_DEFAULT},
	{ROW("-config-file", "--config-file", OPTION_PATH, config_file), .metavar = "FILE",
	 .help = "A configuration in Firecracker's form; the machine is started at once"},
	{ROW("-metadata", "--metadata", OPTION_PATH, metadata), .metavar = "FILE",
	 .help = "What the metadata service has at first, as JSON"},
	{ROW("-no-api", "--no-api", OPTION_BOOL, no_api), .help = "Without a socket; needs --config-file"},
	{ROW("-log-path", "--log-path", OPTION_PATH, log_path), .metavar = "FILE",
	 .help = "Where log lines go instead of standard output"},
	{ROW("-level", "--level", OPTION_STRING, level), .metavar = "LEVEL",
	 .help = "The least urgent lines written: Error, Warning, Info, Debug, Trace or Off"},
	{ROW("-module", "--module-filter", OPTION_STRING, module), .metavar = "PATH",
	 .help = "Only lines of source files whose path begins so"},
	{ROW("-show-level", "--show-level", OPTION_BOOL, show_level), .help = "Log lines have their level"},
	{ROW("-show-log-origin", "--show-log-origin", OPTION_BOOL, show_log_origin),
	 .help = "Log lines have their file and line"},
	{ROW("-metrics-path", "--metrics-path", OPTION_PATH, metrics_path), .metavar = "FILE",
	 .help = "Where metrics go, a JSON object a line"},
	{ROW("-boot-timer", "--boot-timer", OPTION_BOOL, boot_timer),
	 .help = "A device that the guest tells when it has booted"},
	{ROW("-enable-pci", "--enable-pci", OPTION_BOOL, pci), .help = "virtio-pci instead of virtio-mmio"},
	{ROW("-payload", "--http-api-max-payload-size", OPTION_UINT, payload_max), .metavar = "BYTES",
	 .help = "The largest body of a request", .default_text = "51200", .min = 1},
	{ROW("-mmds-size", "--mmds-size-limit", OPTION_UINT, mmds_max), .metavar = "BYTES",
	 .help = "How much the metadata service takes", .default_text = "as much as a request", .min = 1},
	{ROW("-no-seccomp", "--no-seccomp", OPTION_BOOL, no_seccomp),
	 .help = "Without filters of system calls"},
	{ROW("-seccomp-filter", "--seccomp-filter", OPTION_PATH, seccomp_filter), .metavar = "FILE",
	 .help = "Filters of system calls as Firecracker's compiler makes them"},
	{ROW("-start-time-us", "--start-time-us", OPTION_STRING, start_time_us), .metavar = "N",
	 .help = "When the process was started, for the metrics"},
	{ROW("-start-time-cpu-us", "--start-time-cpu-us", OPTION_STRING, start_time_cpu_us), .metavar = "N",
	 .help = "The same on the clock of its CPU time"},
	{ROW("-parent-cpu-time-us", "--parent-cpu-time-us", OPTION_STRING, parent_cpu_time_us),
	 .metavar = "N", .help = "CPU time that its parent spent on starting it"},
	{ROW("-describe-snapshot", "--describe-snapshot", OPTION_PATH, describe_snapshot), .metavar = "FILE",
	 .help = "Prints the version of a snapshot's format, and ends"},
	{ROW("-snapshot-version", "--snapshot-version", OPTION_BOOL, snapshot_version),
	 .help = "Prints the version of the snapshots that are written, and ends"},
	{ROW("-version", "--version", OPTION_BOOL, version), .help = "Prints the version, and ends"},
	{ROW("-help", "--help", OPTION_BOOL, help), .help = "Prints this help, and ends"},
	{.path = NULL},
};

/* --- Firecracker's way of reading arguments */

/* "module" is --module there; here that is a multiboot module's. */
static const struct option *firecracker_find(const char *argument)
{
	const char *flag = strcmp(argument, "--module") == 0 ? "--module-filter" : argument;

	return option_find_flag(serve_options_table, flag, strlen(flag));
}

static int firecracker_take(struct serve_options *options, int *index, int argc, char **argv, uint32_t *seen,
			    struct err *err)
{
	const char *name = argv[*index];
	const struct option *row = firecracker_find(name);
	const char *shown = strncmp(name, "--", 2) == 0 ? name + 2 : name;
	uint32_t bit;

	if (!row)
		return err_set(
			err, -EINVAL,
			"Found argument '%.200s' which wasn't expected, or isn't valid in this context.",
			shown);
	bit = 1u << (row - serve_options_table);
	if (*seen & bit)
		return err_set(err, -EINVAL, "The argument '%s' was provided more than once.", shown);
	*seen |= bit;
	if (option_argument(row) == OPTION_ARGUMENT_NONE)
		return option_set_text(row, options, "true", err);
	if (*index + 1 >= argc || strncmp(argv[*index + 1], "--", 2) == 0)
		return err_set(err, -EINVAL, "The argument '%s' requires a value, but none was supplied.",
			       shown);
	(*index)++;
	if (option_set_text(row, options, argv[*index], err) < 0)
		return err_prefix(err, "The argument '%s'", shown);
	return 0;
}

static int serve_check(const struct serve_options *options, struct err *err)
{
	const char *id = options->id ? options->id : SERVE_ID_DEFAULT;
	size_t len = strlen(id);

	if (options->no_seccomp && options->seccomp_filter)
		return err_set(err, -EINVAL, "Argument '%s' cannot be used together with argument '%s'.",
			       "seccomp-filter", "no-seccomp");
	if (options->no_api && options->api_sock)
		return err_set(err, -EINVAL, "Argument '%s' cannot be used together with argument '%s'.",
			       "no-api", "api-sock");
	if (options->no_api && !options->config_file)
		return err_set(err, -EINVAL,
			       "The argument 'config-file' is required by 'no-api', but none was provided.");
	if (len == 0 || len > API_VM_ID_MAX)
		return err_set(err, -EINVAL,
			       "Invalid instance ID: Invalid len (%zu);  the length must be between 1 "
			       "and %d.",
			       len, API_VM_ID_MAX);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)id[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-'))
			return err_set(err, -EINVAL, "Invalid instance ID: Invalid char (%c) at position %zu",
				       c, i);
	}
	return 0;
}

static int firecracker_parse(struct serve_options *options, int argc, char **argv, struct err *err)
{
	uint32_t seen = 0;
	int code = 0;

	for (int i = 1; i < argc && code == 0; i++) {
		if (strcmp(argv[i], "--") == 0)
			break;
		code = firecracker_take(options, &i, argc, argv, &seen, err);
	}
	return code < 0 || options->help || options->version ? code : serve_check(options, err);
}

static void serve_print_flags(FILE *out)
{
	for (const struct option *row = serve_options_table; row->path; row++)
		fprintf(out, "  %s%s%s\n          %s\n", row->flag, row->metavar ? " " : "",
			row->metavar ? row->metavar : "", row->help);
}

/* What is asked for instead of serving. False: serve. */
static bool serve_told(const struct serve_options *options, int *status)
{
	*status = 0;
	if (options->version)
		printf("Firecracker v%s\n\n", API_FIRECRACKER_VERSION);
	else if (options->snapshot_version)
		printf("v%s\n", API_SNAPSHOT_VERSION);
	else if (options->describe_snapshot)
		*status = serve_describe_snapshot(options->describe_snapshot);
	else
		return false;
	return true;
}

static int firecracker_usage(const struct err *err)
{
	fprintf(stderr, "Error: %s\n\nFor more information try --help.\n", err->message);
	printf("Firecracker exiting with error. exit_code=%d\n", SERVE_BAD_ARGUMENTS);
	return SERVE_BAD_ARGUMENTS;
}

int firecracker_main(int argc, char **argv)
{
	struct serve_options options = {0};
	struct machine_config base;
	struct err err = {0};
	int status;

	if (firecracker_parse(&options, argc, argv, &err) < 0) {
		status = firecracker_usage(&err);
	} else if (options.help) {
		printf("Firecracker v%s (vmmctl)\n\n", API_FIRECRACKER_VERSION);
		serve_print_flags(stdout);
		status = 0;
	} else if (serve_told(&options, &status)) {
		if (options.version)
			printf("Firecracker exiting successfully. exit_code=0\n");
	} else if (machine_config_init(&base, &err) < 0) {
		status = CLI_FAILURE;
	} else {
		status = serve_run(&options, &base);
	}
	option_free(serve_options_table, &options);
	return status;
}

/* --- vmmctl serve */

static int serve_apply(const struct cli_settings *settings, struct serve_options *options,
		       struct machine_config *base, struct err *err)
{
	int code = cli_apply(settings, options, err);

	if (code == 0)
		code = cli_apply(settings, base, err);
	return code < 0 || options->help ? code : serve_check(options, err);
}

int command_serve(const struct cli_command *command, int argc, char **argv)
{
	struct serve_options options = {.is_plain = true};
	struct machine_config base;
	const struct cli_options tables[] = {
		{machine_options, &base}, {serve_options_table, &options}, {NULL, NULL}};
	struct cli_settings settings;
	struct err err = {0};
	int status;

	if (cli_parse(argc, argv, tables, &settings, &err) < 0)
		return cli_usage_error(command, &err);
	if (machine_config_init(&base, &err) < 0)
		return CLI_FAILURE;
	if (serve_apply(&settings, &options, &base, &err) < 0) {
		status = cli_usage_error(command, &err);
	} else if (options.help) {
		cli_print_help(stdout, command);
		status = CLI_OK;
	} else if (!serve_told(&options, &status)) {
		status = serve_run(&options, &base);
	}
	machine_config_free(&base);
	option_free(serve_options_table, &options);
	return status;
}
