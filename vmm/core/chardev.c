/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a character backend by its text form. Knows the kinds only through chardev_table. */
#include "vmm/core/chardev.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/text.h"

static const struct chardev_class *chardev_find(const char *name, size_t name_len)
{
	for (size_t i = 0; chardev_table[i]; i++) {
		const char *candidate = chardev_table[i]->name;

		if (strlen(candidate) == name_len && strncmp(candidate, name, name_len) == 0)
			return chardev_table[i];
	}
	return NULL;
}

/* "stdio, file:PATH, ..." */
static void chardev_list(char *text, size_t size)
{
	text[0] = '\0';
	for (size_t i = 0; chardev_table[i]; i++) {
		const char *argument = chardev_table[i]->argument;

		text_append(text, size, "%s%s%s%s", i > 0 ? ", " : "", chardev_table[i]->name,
			    argument ? ":" : "", argument ? argument : "");
	}
}

int chardev_parse(const char *spec, const struct chardev_class **class, const char **argument,
		  struct err *err)
{
	const char *colon = strchr(spec, ':');
	size_t name_len = colon ? (size_t)(colon - spec) : strlen(spec);
	char kinds[160];

	*class = chardev_find(spec, name_len);
	*argument = colon ? colon + 1 : NULL;
	if (!*class) {
		chardev_list(kinds, sizeof(kinds));
		return err_set(err, -EINVAL, "\"%s\" is not known: there are %s", spec, kinds);
	}
	if ((*class)->argument && (!*argument || !**argument))
		return err_set(err, -EINVAL, "\"%s\" lacks its argument: write %s:%s", spec, (*class)->name,
			       (*class)->argument);
	if (!(*class)->argument && *argument)
		return err_set(err, -EINVAL, "\"%s\": %s takes no argument", spec, (*class)->name);
	return 0;
}

struct chardev *chardev_open(const char *spec, const struct chardev_env *env, struct err *err)
{
	const struct chardev_class *class;
	const char *argument;

	if (chardev_parse(spec, &class, &argument, err) < 0)
		return NULL;
	return class->create(env, argument, err);
}

void chardev_destroy(struct chardev *chardev)
{
	if (chardev)
		chardev->ops->destroy(chardev);
}
