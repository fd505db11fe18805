/* SPDX-License-Identifier: Apache-2.0 */
/* Manual page and completion from the option tables. man(7) for the one, bash's programmable completion for
 * the other. */
#include <string.h>

#include "vmm/machine/cli.h"

/* Escapes what roff would interpret: backslashes, and hyphens, which must stay ASCII for copying. */
static void docs_print_roff(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '-')
			fputs("\\-", out);
		else if (*text == '\\')
			fputs("\\e", out);
		else
			fputc(*text, out);
	}
}

static void docs_print_man_choices(FILE *out, const struct option_choice *choice)
{
	fputs("One of ", out);
	for (; choice->name; choice++) {
		fputs("\\fB", out);
		docs_print_roff(out, choice->name);
		fputs("\\fR", out);
		if (choice->summary) {
			fputs(" (", out);
			docs_print_roff(out, choice->summary);
			fputc(')', out);
		}
		fputs(choice[1].name ? ", " : ".\n", out);
	}
}

static void docs_print_man_help(FILE *out, const struct option *option)
{
	docs_print_roff(out, option->help);
	if (option->default_text) {
		fputs(" (default: ", out);
		docs_print_roff(out, option->default_text);
		fputc(')', out);
	}
	fputs(".\n", out);
	if (option->type == OPTION_CHOICE)
		docs_print_man_choices(out, option->choice);
}

/* The keys of a keyed record, as a list within the option. */
static void docs_print_man_keys(FILE *out, const struct option *option)
{
	fputs(".RS\n", out);
	for (const struct option *row = option->element + 1; row->path; row++) {
		fputs(".TP\n.B ", out);
		docs_print_roff(out, row->path);
		if (row->metavar) {
			fputs("\\fR=\\fI", out);
			docs_print_roff(out, row->metavar);
			fputs("\\fR", out);
		}
		fputc('\n', out);
		docs_print_man_help(out, row);
	}
	fputs(".RE\n", out);
}

static void docs_print_man_option(FILE *out, const struct option *option)
{
	enum option_argument kind = option_argument(option);

	fputs(".TP\n.B ", out);
	docs_print_roff(out, option->flag);
	if (kind != OPTION_ARGUMENT_NONE) {
		fputs(kind == OPTION_ARGUMENT_OPTIONAL ? " \\fR[\\fI" : " \\fI", out);
		docs_print_roff(out, option->metavar);
		fputs(kind == OPTION_ARGUMENT_OPTIONAL ? "\\fR]" : "\\fR", out);
	}
	fputc('\n', out);
	docs_print_man_help(out, option);
	if (option->path[0] != '-') { /* not an option of the command itself */
		fputs("In JSON:\n.IR ", out);
		docs_print_roff(out, option->path);
		fputs(" .\n", out);
	}
	if (option->type == OPTION_RECORDS && option->keyed)
		docs_print_man_keys(out, option);
}

static void docs_print_man_command(FILE *out, const struct cli_command *command)
{
	fprintf(out, ".SS vmmctl %s %s\n", command->name, command->arguments);
	docs_print_roff(out, command->description);
	fputc('\n', out);
	for (size_t i = 0; command->options[i]; i++) {
		for (const struct option *option = command->options[i]; option->path; option++) {
			if (option->flag)
				docs_print_man_option(out, option);
		}
	}
	fputs(".PP\nExamples:\n", out);
	for (const struct cli_example *example = command->example; example->command; example++) {
		fputs(".TP\n.B ", out);
		docs_print_roff(out, example->command);
		fputc('\n', out);
		docs_print_roff(out, example->meaning);
		fputc('\n', out);
	}
}

void cli_print_man_commands(FILE *out)
{
	for (const struct cli_command *command = cli_commands; command->name; command++)
		docs_print_man_command(out, command);
}

/* One case arm for each flag whose argument can be completed: files, or the names of its values. */
static void docs_print_completion_values(FILE *out, const struct option *option)
{
	bool is_file = option->type == OPTION_PATH || option->type == OPTION_RECORDS ||
		       (option->type == OPTION_STRINGS && !option->choice);

	if (is_file) {
		fprintf(out,
			"\t%s)\n\t\tcompopt -o filenames\n\t\tmapfile -t COMPREPLY < <(compgen -f -- "
			"\"$word\")\n"
			"\t\treturn ;;\n",
			option->flag);
	} else if (option->choice) {
		fprintf(out, "\t%s)\n\t\tmapfile -t COMPREPLY < <(compgen -W '", option->flag);
		for (const struct option_choice *choice = option->choice; choice->name; choice++)
			fprintf(out, "%s%s", choice == option->choice ? "" : " ", choice->name);
		fputs("' -- \"$word\")\n\t\treturn ;;\n", out);
	} else if (option_argument(option) == OPTION_ARGUMENT_REQUIRED) {
		fprintf(out, "\t%s)\n\t\treturn ;;\n", option->flag);
	}
}

/* A flag of several commands has one arm: the first table's. */
static bool docs_is_first(const struct option *option)
{
	for (const struct cli_command *command = cli_commands; command->name; command++) {
		for (size_t i = 0; command->options[i]; i++) {
			const struct option *found =
				option_find_flag(command->options[i], option->flag, strlen(option->flag));

			if (found)
				return found == option;
		}
	}
	return false;
}

static void docs_print_completion_arms(FILE *out, const struct cli_command *command)
{
	for (size_t i = 0; command->options[i]; i++) {
		for (const struct option *option = command->options[i]; option->path; option++) {
			if (option->flag && docs_is_first(option))
				docs_print_completion_values(out, option);
		}
	}
}

static void docs_print_completion_flags(FILE *out, const struct cli_command *command)
{
	fprintf(out, "\t%s) words='", command->name);
	for (size_t i = 0; command->options[i]; i++) {
		for (const struct option *option = command->options[i]; option->path; option++) {
			if (option->flag)
				fprintf(out, "%s%s", i == 0 && option == command->options[0] ? "" : " ",
					option->flag);
		}
	}
	fputs("' ;;\n", out);
}

void cli_print_completion(FILE *out)
{
	fputs("# SPDX-License-Identifier: Apache-2.0\n# bash completion of vmmctl. Generated from the option "
	      "tables: "
	      "`ninja -C build docs-update` makes it anew.\n\n_vmmctl() {\n"
	      "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} "
	      "words=\n\tCOMPREPLY=()\n"
	      "\tcase $before in\n",
	      out);
	for (const struct cli_command *command = cli_commands; command->name; command++)
		docs_print_completion_arms(out, command);
	fputs("\tesac\n\tcase ${COMP_WORDS[1]} in\n", out);
	for (const struct cli_command *command = cli_commands; command->name; command++)
		docs_print_completion_flags(out, command);
	fputs("\tesac\n\tif ((COMP_CWORD == 1)); then\n\t\twords='", out);
	for (const struct cli_command *command = cli_commands; command->name; command++)
		fprintf(out, "%s%s", command == cli_commands ? "" : " ", command->name);
	fputs("'\n\tfi\n\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n}\n"
	      "complete -F _vmmctl vmmctl\n",
	      out);
}
