/* SPDX-License-Identifier: Apache-2.0 */
/* The command line by option tables: recognising and applying arguments. */
#include "vmm/machine/cli.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"

#define CLI_FLAGS_MAX 64 /* flags of one command, for suggestions */

const struct cli_command *cli_find_command(const char *name)
{
	for (const struct cli_command *command = cli_commands; command->name; command++) {
		if (strcmp(command->name, name) == 0)
			return command;
	}
	return NULL;
}

static int cli_unknown_flag(const char *flag, size_t flag_len, const struct cli_options *options,
			    struct err *err)
{
	const char *names[CLI_FLAGS_MAX + 1];
	char written[64];
	size_t count = 0;
	const char *nearest;

	for (; options->table; options++) {
		for (const struct option *option = options->table; option->path && count < CLI_FLAGS_MAX;
		     option++) {
			if (option->flag)
				names[count++] = option->flag;
		}
	}
	names[count] = NULL;
	snprintf(written, sizeof(written), "%.*s", (int)flag_len, flag);
	nearest = option_nearest(written, names);
	if (nearest)
		return err_set(err, -EINVAL, "unknown option %s; did you mean %s?", written, nearest);
	return err_set(err, -EINVAL, "unknown option %s", written);
}

static const struct option *cli_find_flag(const char *flag, size_t flag_len,
					  const struct cli_options *options, void **object)
{
	if (flag_len == 2 && strncmp(flag, "-h", 2) == 0)
		return cli_find_flag("--help", strlen("--help"), options, object);
	for (; options->table; options++) {
		const struct option *option = option_find_flag(options->table, flag, flag_len);

		*object = options->object;
		if (option)
			return option;
	}
	return NULL;
}

/* The argument of a flag, from `=` or from the next word, which *index then passes. NULL when there is none.
 */
static const char *cli_argument(int argc, char **argv, int *index, const struct option *option)
{
	const char *equals = strchr(argv[*index], '=');
	enum option_argument kind = option_argument(option);

	if (equals)
		return equals + 1;
	if (kind == OPTION_ARGUMENT_NONE || *index + 1 >= argc)
		return NULL;
	if (kind == OPTION_ARGUMENT_OPTIONAL && argv[*index + 1][0] == '-')
		return NULL;
	return argv[++*index];
}

static int cli_parse_flag(int argc, char **argv, int *index, const struct cli_options *options,
			  struct cli_setting *setting, struct err *err)
{
	const char *word = argv[*index];
	size_t flag_len = strcspn(word, "=");

	setting->option = cli_find_flag(word, flag_len, options, &setting->object);
	if (!setting->option)
		return cli_unknown_flag(word, flag_len, options, err);
	setting->text = cli_argument(argc, argv, index, setting->option);
	switch (option_argument(setting->option)) {
	case OPTION_ARGUMENT_NONE:
		if (setting->text)
			return err_set(err, -EINVAL, "%s takes no argument", setting->option->flag);
		setting->text = "true";
		return 0;
	case OPTION_ARGUMENT_OPTIONAL:
		if (!setting->text)
			setting->text = setting->option->implied;
		return 0;
	case OPTION_ARGUMENT_REQUIRED:
		if (!setting->text)
			return err_set(err, -EINVAL, "%s needs an argument: %s", setting->option->flag,
				       setting->option->metavar);
		return 0;
	}
	return 0;
}

int cli_parse(int argc, char **argv, const struct cli_options *options, struct cli_settings *settings,
	      struct err *err)
{
	settings->count = 0;
	for (int i = 0; i < argc; i++) {
		int code;

		if (argv[i][0] != '-')
			return err_set(err, -EINVAL, "unexpected argument \"%s\": options begin with --",
				       argv[i]);
		if (settings->count == CLI_SETTINGS_MAX)
			return err_set(err, -E2BIG, "more than %d options", CLI_SETTINGS_MAX);
		code = cli_parse_flag(argc, argv, &i, options, &settings->item[settings->count], err);
		if (code < 0)
			return code;
		settings->count++;
	}
	return 0;
}

/* Whether an earlier setting is of the same row. */
static bool cli_is_repeated(const struct cli_settings *settings, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (settings->item[i].option == settings->item[index].option)
			return true;
	}
	return false;
}

int cli_apply(const struct cli_settings *settings, const void *object, struct err *err)
{
	for (size_t i = 0; i < settings->count; i++) {
		const struct cli_setting *setting = &settings->item[i];

		if (setting->object != object)
			continue;
		if (!cli_is_repeated(settings, i))
			option_clear_list(setting->option, setting->object);
		if (option_set_text(setting->option, setting->object, setting->text, err) < 0)
			return err_prefix(err, "%s", setting->option->flag);
	}
	return 0;
}
