/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of vmmctl, one file each, and the options that are the command's and not the machine's. */
#pragma once

#include <stdbool.h>

#include "vmm/machine/cli.h"

struct machine;

/* What a command is told beyond a configuration. */
struct command_options {
	char *config_path; /* NULL: none */
	char *api_sock; /* where the machine is served; NULL: nowhere */
	bool print_config;
	bool help;
};

extern const struct option command_boot_options[]; /* --config, --print-config, --help */
extern const struct option
	command_run_options[]; /* vmm/run/run_options.c: what `vmmctl run` has of its own */
extern const struct option command_bench_options[]; /* vmm/bench/bench_options.c */
extern const struct option command_help_options[];  /* --help only */

int command_boot(const struct cli_command *command, int argc, char **argv);
/* vmm/run/command_run.c, which stands above this folder. */
int command_run(const struct cli_command *command, int argc, char **argv);
/* vmm/bench/command_bench.c, likewise. */
int command_bench(const struct cli_command *command, int argc, char **argv);
/* api/firecracker.c, which stands above this folder: `vmmctl serve`, and the program called firecracker. */
extern const struct option serve_options_table[];
int command_serve(const struct cli_command *command, int argc, char **argv);
int firecracker_main(int argc, char **argv);
/* api/attach.c: a socket for a machine that was made, before machine_run. Owned, or NULL with err set. */
struct api_attachment;
struct api_attachment *api_attach(struct machine *machine, const char *path, struct err *err);
/* Before machine_destroy. NULL: nothing. */
void api_detach(struct api_attachment *attachment);
/* api/command_ctl.c: the other end of such a socket. */
int command_ctl(const struct cli_command *command, int argc, char **argv);
int command_probe(const struct cli_command *command, int argc, char **argv);
int command_version(const struct cli_command *command, int argc, char **argv);
int command_help(const struct cli_command *command, int argc, char **argv);

/* Parses a command line that knows --help only; true when the command is to go on, else *status is what to
 * return. */
bool command_goes_on(const struct cli_command *command, int argc, char **argv, int *status);
