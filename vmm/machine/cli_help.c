/* SPDX-License-Identifier: Apache-2.0 */
/* Help texts from the option tables. */
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/machine/cli.h"

#define HELP_WIDTH  80
#define HELP_INDENT 28 /* where the explanations begin */

/* Prints words from `column` on, wrapped at HELP_WIDTH and continued at `indent`; returns the column reached.
 */
static int help_print_wrapped(FILE *out, const char *text, int column, int indent)
{
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (column > indent && column + 1 + len > HELP_WIDTH) {
			fprintf(out, "\n%*s", indent, "");
			column = indent;
		} else if (column > indent) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", len, text);
		column += len;
		text += len;
		text += strspn(text, " ");
	}
	return column;
}

static int help_print_flag(FILE *out, const struct option *option)
{
	int column = fprintf(out, "  %s", option->flag);

	switch (option_argument(option)) {
	case OPTION_ARGUMENT_NONE: return column;
	case OPTION_ARGUMENT_OPTIONAL: return column + fprintf(out, " [%s]", option->metavar);
	case OPTION_ARGUMENT_REQUIRED: return column + fprintf(out, " %s", option->metavar);
	}
	return column;
}

/* "A, b (what it is), c" of a row whose values have names. */
static void help_print_choices(FILE *out, const struct option *option, int column, int indent)
{
	char text[600] = "One of";
	size_t used = strlen(text);

	if (option->type != OPTION_CHOICE)
		return;
	for (const struct option_choice *choice = option->choice; choice->name && used < sizeof(text);
	     choice++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, " %s%s%s%s%s", choice->name,
					 choice->summary ? " (" : "", choice->summary ? choice->summary : "",
					 choice->summary ? ")" : "", choice[1].name ? "," : ".");
	help_print_wrapped(out, text, column, indent);
}

/* The keys of a keyed record, each on a line of its own. */
static void help_print_keys(FILE *out, const struct option *option)
{
	const int indent = HELP_INDENT + 2;
	char text[400];

	for (const struct option *row = option->element + 1; row->path; row++) {
		int column;

		snprintf(text, sizeof(text), "%s%s%s: %s%s%s%s.", row->path, row->metavar ? "=" : "",
			 row->metavar ? row->metavar : "", row->help, row->default_text ? " (default: " : "",
			 row->default_text ? row->default_text : "", row->default_text ? ")" : "");
		fprintf(out, "\n%*s", HELP_INDENT, "");
		column = help_print_wrapped(out, text, HELP_INDENT, indent);
		help_print_choices(out, row, column, indent);
	}
}

static void help_print_option(FILE *out, const struct option *option)
{
	char text[400];
	int column = help_print_flag(out, option);

	if (column >= HELP_INDENT - 1)
		fprintf(out, "\n%*s", HELP_INDENT, "");
	else
		fprintf(out, "%*s", HELP_INDENT - column, "");
	if (option->default_text)
		snprintf(text, sizeof(text), "%s (default: %s).", option->help, option->default_text);
	else
		snprintf(text, sizeof(text), "%s.", option->help);
	column = help_print_wrapped(out, text, HELP_INDENT, HELP_INDENT);
	help_print_choices(out, option, column, HELP_INDENT);
	if (option->type == OPTION_RECORDS && option->keyed)
		help_print_keys(out, option);
	fputc('\n', out);
}

static void help_print_tables(FILE *out, const struct cli_command *command)
{
	for (size_t i = 0; command->options[i]; i++) {
		for (const struct option *option = command->options[i]; option->path; option++) {
			if (option->flag)
				help_print_option(out, option);
		}
	}
}

void cli_print_help(FILE *out, const struct cli_command *command)
{
	fprintf(out, "Usage: vmmctl %s%s%s\n\n", command->name, command->arguments[0] ? " " : "",
		command->arguments);
	help_print_wrapped(out, command->description, 0, 0);
	fprintf(out, "\n\nOptions:\n\n");
	help_print_tables(out, command);
	fprintf(out, "\nExamples:\n");
	for (const struct cli_example *example = command->example; example->command; example++)
		fprintf(out, "\n  %s\n      %s\n", example->command, example->meaning);
}

void cli_print_overview(FILE *out)
{
	fprintf(out, "vmmctl runs virtual machines.\n\nUsage: vmmctl COMMAND [OPTION]...\n\nCommands:\n\n");
	for (const struct cli_command *command = cli_commands; command->name; command++)
		fprintf(out, "  %-10s%s\n", command->name, command->summary);
	fprintf(out, "\nExamples:\n\n  vmmctl boot --kernel bzImage --initrd rootfs.cpio.gz\n"
		     "      Boots a kernel with its console here; Ctrl-A x quits, Ctrl-A h helps.\n\n"
		     "  vmmctl boot --help\n      Tells the options of a command.\n");
}

int cli_usage_error(const struct cli_command *command, const struct err *err)
{
	fprintf(stderr, "vmmctl: %s\nTry `vmmctl %s%s--help`.\n", err->message, command ? command->name : "",
		command ? " " : "");
	return CLI_USAGE;
}
