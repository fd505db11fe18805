/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line by option tables: which commands there are, how arguments reach fields, what the help
 * says. Manual page and completion are printed from the same tables. Knows no machine but its option table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "vmm/base/option.h"

struct err;

/* Exit statuses of every command; a guest's own comes on top (--exit-code-port). */
enum cli_status { CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2, CLI_TRIPLE_FAULT = 3 };

/* A table and the structure that its rows describe. */
struct cli_options {
	const struct option *table; /* NULL ends an array of these */
	void *object;
};

struct cli_example {
	const char *command;
	const char *meaning; /* one line */
};

struct cli_command {
	const char *name;                /* NULL ends the table */
	const char *summary;             /* one line without a final stop */
	const char *arguments;           /* for the usage line: "[OPTION]..." */
	const char *description;         /* one paragraph */
	const struct option *options[3]; /* tables; NULL after the last */
	struct cli_example example[6];   /* command NULL after the last */
	int (*run)(const struct cli_command *command, int argc,
		   char **argv); /* arguments after the name; cli_status */
};

extern const struct cli_command cli_commands[];
const struct cli_command *cli_find_command(const char *name);

/* One argument that was recognised, not applied yet. */
struct cli_setting {
	const struct option *option;
	void *object;
	const char *text;
};

#define CLI_SETTINGS_MAX 256 /* of one command line */

struct cli_settings {
	struct cli_setting item[CLI_SETTINGS_MAX];
	size_t count;
};

/* Recognises `--flag value`, `--flag=value` and `--flag`. -EINVAL with a message that names the flag. */
int cli_parse(int argc, char **argv, const struct cli_options *options, struct cli_settings *settings,
	      struct err *err);
/* Applies the settings of one object in order; a list's first setting empties it. Messages begin with the
 * flag. */
int cli_apply(const struct cli_settings *settings, const void *object, struct err *err);

/* The help of one command, and of the program. */
void cli_print_help(FILE *out, const struct cli_command *command);
void cli_print_overview(FILE *out);
/* Says a mistake and where the help is, on standard error; returns CLI_USAGE. */
int cli_usage_error(const struct cli_command *command, const struct err *err);

/* Parts of the manual page and the completion: made when docs are built, see docs/. */
void cli_print_man_commands(FILE *out);
void cli_print_completion(FILE *out);
