/* SPDX-License-Identifier: Apache-2.0 */
/* main of vmmctl: finds the command and runs it. The only place that ends the process with a status. */
#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/machine/cli.h"
#include "vmm/machine/commands.h"

static int main_unknown_command(const char *name)
{
	const char *names[16] = {NULL};
	struct err err = {0};
	const char *nearest;

	for (size_t i = 0; i < 15 && cli_commands[i].name; i++)
		names[i] = cli_commands[i].name;
	nearest = option_nearest(name, names);
	if (nearest)
		err_set(&err, -EINVAL, "no command \"%s\"; did you mean %s?", name, nearest);
	else
		err_set(&err, -EINVAL, "no command \"%s\"", name);
	return cli_usage_error(NULL, &err);
}

/* Under this name, whatever the folder, the program takes that one's command line. */
static bool main_is_firecracker(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return path && strcmp(slash ? slash + 1 : path, "firecracker") == 0;
}

int main(int argc, char **argv)
{
	const struct cli_command *command;
	const char *name = argc > 1 ? argv[1] : NULL;

	if (main_is_firecracker(argv[0]))
		return firecracker_main(argc, argv);
	if (!name) {
		cli_print_overview(stderr);
		return CLI_USAGE;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	else if (strcmp(name, "--version") == 0)
		name = "version";
	command = cli_find_command(name);
	if (!command)
		return main_unknown_command(name);
	return command->run(command, argc - 2, argv + 2);
}
