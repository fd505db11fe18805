/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables: setting fields from text, freeing them, finding rows and near misses. JSON is
 * option_json.c's. */
#include "vmm/base/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/size.h"
#include "vmm/base/text.h"

#define OPTION_NAME_LEN_MAX 64 /* longer names are near to nothing */

static void *option_field(const struct option *option, void *object)
{
	return (char *)object + option->offset;
}

static int option_set_string(char **field, const char *text, size_t len, struct err *err)
{
	char *copy = strndup(text, len);

	if (!copy)
		return err_set(err, -ENOMEM, "no memory");
	free(*field);
	*field = copy;
	return 0;
}

static int option_set_uint(const struct option *option, uint32_t *field, const char *text, struct err *err)
{
	uint64_t max = option->max ? option->max : UINT32_MAX;
	uint64_t value;
	int code = number_parse(text, &value, err);

	if (code < 0)
		return code;
	if (value < option->min || value > max)
		return err_set(err, -ERANGE, "%s is out of range: %" PRIu64 " to %" PRIu64 " is possible",
			       text, option->min, max);
	*field = (uint32_t)value;
	return 0;
}

static int option_set_size(const struct option *option, uint64_t *field, const char *text, struct err *err)
{
	char least[SIZE_TEXT_MAX];
	char most[SIZE_TEXT_MAX];
	uint64_t max = option->max ? option->max : UINT64_MAX;
	uint64_t value;
	int code = size_parse(text, SIZE_MIB, &value, err);

	if (code < 0)
		return code;
	if (value < option->min || value > max) {
		size_format(option->min, least);
		size_format(max, most);
		return err_set(err, -ERANGE, "%s is out of range: %s to %s is possible", text, least, most);
	}
	*field = value;
	return 0;
}

static int option_set_choice(const struct option *option, uint32_t *field, const char *text, struct err *err)
{
	char names[256] = "";

	for (uint32_t i = 0; option->choice[i].name; i++) {
		if (strcmp(text, option->choice[i].name) == 0) {
			*field = i;
			return 0;
		}
		text_append(names, sizeof(names), "%s%s", i > 0 ? ", " : "", option->choice[i].name);
	}
	return err_set(err, -EINVAL, "\"%s\" is not known: there are %s", text, names);
}

static int option_list_check(size_t count, struct err *err)
{
	if (count < OPTION_LIST_MAX)
		return 0;
	return err_set(err, -E2BIG, "more than %d items", OPTION_LIST_MAX);
}

static int option_add_string(struct option_strings *strings, const char *text, struct err *err)
{
	char **items;
	int code = option_list_check(strings->count, err);

	if (code < 0)
		return code;
	items = reallocarray(strings->item, strings->count + 1, sizeof(*items));
	if (!items)
		return err_set(err, -ENOMEM, "no memory");
	strings->item = items;
	items[strings->count] = strdup(text);
	if (!items[strings->count])
		return err_set(err, -ENOMEM, "no memory");
	strings->count++;
	return 0;
}

/* Length of the text before the first comma that is not doubled (",," stands for a comma in it). */
static size_t option_first_part(const char *text)
{
	size_t len = 0;

	while (text[len] && (text[len] != ',' || text[len + 1] == ','))
		len += text[len] == ',' ? 2 : 1;
	return len;
}

static void option_undouble_commas(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		*to++ = *from;
		if (from[0] == ',' && from[1] == ',')
			from++;
	}
	*to = '\0';
}

static int option_set_record(const struct option *option, void *record, const char *text, struct err *err)
{
	size_t first_len = option_first_part(text);
	char **first = option_field(&option->element[0], record);
	char **second = option_field(&option->element[1], record);
	int code = option_set_string(first, text, first_len, err);

	if (code < 0)
		return code;
	option_undouble_commas(*first);
	return text[first_len]
		       ? option_set_string(second, text + first_len + 1, strlen(text + first_len + 1), err)
		       : 0;
}

static int option_unknown_key(const struct option *option, const char *key, struct err *err)
{
	char keys[400] = "";

	for (const struct option *row = option->element + 1; row->path; row++)
		text_append(keys, sizeof(keys), "%s%s", keys[0] ? ", " : "", row->path);
	return err_set(err, -EINVAL, "\"%s\" is not known: there are %s", key, keys);
}

static const struct option *option_row(const struct option *row, const char *path)
{
	while (row->path && strcmp(row->path, path) != 0)
		row++;
	return row->path ? row : NULL;
}

/* One KEY, KEY=VALUE of a keyed record; the text is cut at the equals sign. */
static int option_set_pair(const struct option *option, void *record, char *text, struct err *err)
{
	char *equals = strchr(text, '=');
	const struct option *row;
	const char *value = equals ? equals + 1 : "true";

	if (equals)
		*equals = '\0';
	row = option_row(option->element + (option->named ? 0 : 1), text);
	if (!row)
		return option_unknown_key(option, text, err);
	if (!equals && row->type != OPTION_BOOL)
		return err_set(err, -EINVAL, "%s needs a value: write %s=%s", text, text,
			       row->metavar ? row->metavar : "VALUE");
	if (option_set_text(row, record, value, err) < 0)
		return err_prefix(err, "%s", text);
	return 0;
}

/* Whether the second word is the value of the bare row: a mistyped key is not. */
static bool option_is_bare(const struct option *option, const char *text)
{
	if (!option->bare || strchr(text, '='))
		return false;
	for (const struct option *row = option->element + 1; row->path; row++) {
		const char *const names[] = {row->path, NULL};

		if (strcmp(row->path, text) == 0 || option_nearest(text, names))
			return false;
	}
	return true;
}

/* Whether the first word is a key with its value. */
static bool option_is_named(const struct option *option, const char *text)
{
	size_t len = strcspn(text, "=");

	for (const struct option *row = option->element; option->named && text[len] && row->path; row++) {
		if (strlen(row->path) == len && strncmp(row->path, text, len) == 0)
			return true;
	}
	return false;
}

/* FIRST[,KEY[=VALUE]]...; a doubled comma is one that separates nothing. */
static int option_set_keyed(const struct option *option, void *record, const char *text, struct err *err)
{
	int code = 0;

	for (unsigned word = 0; code == 0 && (word == 0 || *text); word++) {
		size_t len = option_first_part(text);
		char *part = strndup(text, len);

		if (!part)
			return err_set(err, -ENOMEM, "no memory");
		option_undouble_commas(part);
		if (word == 0 && !option_is_named(option, part))
			code = option_set_text(option->element, record, part, err);
		else if (word == 1 && option_is_bare(option, part))
			code = option_set_text(option_row(option->element, option->bare), record, part, err);
		else
			code = option_set_pair(option, record, part, err);
		free(part);
		text += len + (text[len] == ',');
	}
	return code;
}

void *option_add_record(const struct option *option, void *object, struct err *err)
{
	struct option_records *records = option_field(option, object);
	void *items;
	void *record;

	if (option_list_check(records->count, err) < 0)
		return NULL;
	items = reallocarray(records->item, records->count + 1, option->element_size);
	if (!items) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	records->item = items;
	record = (char *)items + records->count * option->element_size;
	memset(record, 0, option->element_size);
	records->count++;
	return record;
}

static int option_add_record_text(const struct option *option, void *object, const char *text,
				  struct err *err)
{
	struct option_records *records = option_field(option, object);
	void *record = option_add_record(option, object, err);
	int code;

	if (!record)
		return err ? err->code : -ENOMEM;
	code = option->keyed ? option_set_keyed(option, record, text, err)
			     : option_set_record(option, record, text, err);
	if (code < 0) {
		option_free(option->element, record);
		records->count--;
	}
	return code;
}

int option_set_text(const struct option *option, void *object, const char *text, struct err *err)
{
	void *field = option_field(option, object);

	switch (option->type) {
	case OPTION_STRING:
	case OPTION_PATH: return option_set_string(field, text, strlen(text), err);
	case OPTION_BOOL:
		if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
			return err_set(err, -EINVAL, "\"%s\" is neither true nor false", text);
		*(bool *)field = text[0] == 't';
		return 0;
	case OPTION_UINT: return option_set_uint(option, field, text, err);
	case OPTION_SIZE: return option_set_size(option, field, text, err);
	case OPTION_CHOICE: return option_set_choice(option, field, text, err);
	case OPTION_STRINGS: return option_add_string(field, text, err);
	case OPTION_RECORDS: return option_add_record_text(option, object, text, err);
	}
	return err_set(err, -EINVAL, "no such type of option");
}

static void option_free_strings(struct option_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->item[i]);
	free(strings->item);
	*strings = (struct option_strings){0};
}

static void option_free_records(const struct option *option, struct option_records *records)
{
	for (size_t i = 0; i < records->count; i++)
		option_free(option->element, (char *)records->item + i * option->element_size);
	free(records->item);
	*records = (struct option_records){0};
}

void option_clear_list(const struct option *option, void *object)
{
	if (option->type == OPTION_STRINGS)
		option_free_strings(option_field(option, object));
	else if (option->type == OPTION_RECORDS)
		option_free_records(option, option_field(option, object));
}

void option_free(const struct option *table, void *object)
{
	for (const struct option *option = table; option->path; option++) {
		option_clear_list(option, object);
		if (option->type == OPTION_STRING || option->type == OPTION_PATH) {
			char **field = option_field(option, object);

			free(*field);
			*field = NULL;
		}
	}
}

enum option_argument option_argument(const struct option *option)
{
	if (option->type == OPTION_BOOL)
		return OPTION_ARGUMENT_NONE;
	return option->implied ? OPTION_ARGUMENT_OPTIONAL : OPTION_ARGUMENT_REQUIRED;
}

const struct option *option_find_flag(const struct option *table, const char *flag, size_t flag_len)
{
	for (const struct option *option = table; option->path; option++) {
		if (option->flag && strlen(option->flag) == flag_len &&
		    strncmp(option->flag, flag, flag_len) == 0)
			return option;
	}
	return NULL;
}

static size_t option_min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Levenshtein's distance; both names are at most OPTION_NAME_LEN_MAX long. */
static size_t option_distance(const char *a, const char *b)
{
	size_t row[OPTION_NAME_LEN_MAX + 1];
	size_t b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t above = row[j];

			row[j] = option_min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[b_len];
}

const char *option_nearest(const char *name, const char *const *names)
{
	const char *nearest = NULL;
	size_t best = strlen(name) / 3 + 1; /* a third of the letters may be wrong */

	if (strlen(name) > OPTION_NAME_LEN_MAX)
		return NULL;
	for (; *names; names++) {
		size_t distance;

		if (strlen(*names) > OPTION_NAME_LEN_MAX)
			continue;
		distance = option_distance(name, *names);
		if (distance <= best && (!nearest || distance < best)) {
			best = distance;
			nearest = *names;
		}
	}
	return nearest;
}
