/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables and JSON: reading with the path in every message, writing in the order of the rows. */
#include "vmm/base/option.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/size.h"

#define OPTION_PATH_MAX 128
#define OPTION_KEYS_MAX 64 /* keys of one object that a suggestion looks at */

static const char *option_json_type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",    [JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number", [JSON_REAL] = "a fraction", [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};

	return names[json_typeof(value)];
}

static int option_json_wrong_type(const json_t *value, const char *wanted, struct err *err)
{
	return err_set(err, -EINVAL, "is %s and must be %s", option_json_type_name(value), wanted);
}

/* A string, or a whole number where numbers are allowed, goes through option_set_text, so that limits are
 * checked once. */
static int option_json_scalar(const struct option *option, void *object, const json_t *value,
			      const char *wanted, struct err *err)
{
	char number[24];

	if (json_is_string(value)) {
		if (strlen(json_string_value(value)) != json_string_length(value))
			return err_set(err, -EINVAL, "holds a zero character");
		return option_set_text(option, object, json_string_value(value), err);
	}
	if (!json_is_integer(value) || (option->type != OPTION_UINT && option->type != OPTION_SIZE))
		return option_json_wrong_type(value, wanted, err);
	snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	return option_set_text(option, object, number, err);
}

static int option_json_strings(const struct option *option, void *object, const json_t *list, struct err *err)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		int code = option_json_scalar(option, object, json_array_get(list, i), "a string", err);

		if (code < 0) {
			err_prefix(err, "[%zu]", i);
			return code;
		}
	}
	return 0;
}

static int option_json_records(const struct option *option, void *object, const json_t *list, struct err *err)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		void *record = option_add_record(option, object, err);
		int code = record ? 0 : -E2BIG;

		if (code < 0)
			return code;
		code = option_from_json(option->element, record, json_array_get(list, i), err);
		if (code < 0) {
			err_prefix(err, "[%zu]", i);
			return code;
		}
	}
	return 0;
}

static int option_json_list(const struct option *option, void *object, const json_t *value, struct err *err)
{
	if (!json_is_array(value))
		return option_json_wrong_type(value, "a list", err);
	option_clear_list(option, object);
	if (option->type == OPTION_STRINGS)
		return option_json_strings(option, object, value, err);
	return option_json_records(option, object, value, err);
}

static int option_json_value(const struct option *option, void *object, const json_t *value, struct err *err)
{
	if (json_is_null(value))
		return 0;
	switch (option->type) {
	case OPTION_STRING:
	case OPTION_PATH:
	case OPTION_CHOICE: return option_json_scalar(option, object, value, "a string", err);
	case OPTION_UINT: return option_json_scalar(option, object, value, "a number", err);
	case OPTION_SIZE: return option_json_scalar(option, object, value, "a size, such as \"512M\"", err);
	case OPTION_BOOL:
		if (!json_is_boolean(value))
			return option_json_wrong_type(value, "true or false", err);
		*(bool *)((char *)object + option->offset) = json_is_true(value);
		return 0;
	case OPTION_STRINGS:
	case OPTION_RECORDS: return option_json_list(option, object, value, err);
	}
	return err_set(err, -EINVAL, "no such type of option");
}

/* The row at this path; *is_section when the path is one that rows lie under. */
static const struct option *option_json_find(const struct option *table, const char *path, bool *is_section)
{
	size_t len = strlen(path);

	*is_section = false;
	for (const struct option *option = table; option->path; option++) {
		if (strcmp(option->path, path) == 0)
			return option;
		if (strncmp(option->path, path, len) == 0 && option->path[len] == '.')
			*is_section = true;
	}
	return NULL;
}

/* "unknown key", with the nearest of the keys that could stand there. Paths of whole rows are offered at the
 * top. */
static int option_json_unknown(const struct option *table, const char *section, const char *key,
			       struct err *err)
{
	char storage[OPTION_KEYS_MAX][OPTION_PATH_MAX];
	const char *names[OPTION_KEYS_MAX + 1];
	size_t section_len = strlen(section);
	size_t count = 0;
	const char *nearest;

	for (const struct option *option = table; option->path && count < OPTION_KEYS_MAX; option++) {
		if (strncmp(option->path, section, section_len) != 0)
			continue;
		snprintf(storage[count], OPTION_PATH_MAX, "%s", option->path + section_len);
		storage[count][strcspn(storage[count], ".")] = '\0';
		names[count] = storage[count];
		count++;
	}
	names[count] = NULL;
	nearest = option_nearest(key, names);
	if (nearest)
		return err_set(err, -EINVAL, "%s%s: unknown key; did you mean \"%s\"?", section, key,
			       nearest);
	return err_set(err, -EINVAL, "%s%s: unknown key", section, key);
}

/* Puts the path before a message; one that begins with an index or a longer path joins it without a blank. */
static int option_json_at(const char *path, int code, struct err *err)
{
	char message[ERR_MESSAGE_SIZE];

	if (!err)
		return code;
	memcpy(message, err->message, sizeof(message));
	return err_set(err, code, "%s%s%s", path, message[0] == '[' ? "" : ": ", message);
}

static int option_json_object(const struct option *table, void *object, const json_t *json,
			      const char *section, struct err *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)json, key, value)
	{
		char path[OPTION_PATH_MAX];
		bool is_section;
		const struct option *option;
		int code;

		if ((size_t)snprintf(path, sizeof(path), "%s%s", section, key) >= sizeof(path) - 1)
			return err_set(err, -EINVAL, "%s: unknown key", path);
		option = option_json_find(table, path, &is_section);
		if (!option && !is_section)
			return option_json_unknown(table, section, key, err);
		if (option) {
			code = option_json_value(option, object, value, err);
		} else if (!json_is_object(value)) {
			code = option_json_wrong_type(value, "an object", err);
		} else {
			strcat(path, ".");
			code = option_json_object(table, object, value, path, err);
			if (code < 0)
				return code;
		}
		if (code < 0)
			return option_json_at(path, code, err);
	}
	return 0;
}

int option_from_json(const struct option *table, void *object, const struct json_t *json, struct err *err)
{
	if (!json_is_object(json))
		return option_json_wrong_type(json, "an object", err);
	return option_json_object(table, object, json, "", err);
}

static json_t *option_string_to_json(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *option_list_to_json(const struct option *option, const void *field)
{
	const struct option_strings *strings = field;
	const struct option_records *records = field;
	json_t *list = json_array();

	for (size_t i = 0; option->type == OPTION_STRINGS && i < strings->count; i++)
		json_array_append_new(list, json_string(strings->item[i]));
	for (size_t i = 0; option->type == OPTION_RECORDS && i < records->count; i++)
		json_array_append_new(list,
				      option_to_json(option->element,
						     (const char *)records->item + i * option->element_size));
	return list;
}

static json_t *option_value_to_json(const struct option *option, const void *field)
{
	char text[SIZE_TEXT_MAX];

	switch (option->type) {
	case OPTION_STRING:
	case OPTION_PATH: return option_string_to_json(*(char *const *)field);
	case OPTION_BOOL: return json_boolean(*(const bool *)field);
	case OPTION_UINT: return json_integer(*(const uint32_t *)field);
	case OPTION_SIZE: size_format(*(const uint64_t *)field, text); return json_string(text);
	case OPTION_CHOICE: return json_string(option->choice[*(const uint32_t *)field].name);
	case OPTION_STRINGS:
	case OPTION_RECORDS: return option_list_to_json(option, field);
	}
	return NULL;
}

/* Stores value at a dotted path, making the objects on the way. */
static int option_json_store(json_t *root, const char *path, json_t *value)
{
	char section[OPTION_PATH_MAX];
	const char *dot = strchr(path, '.');
	json_t *child;

	if (!dot)
		return json_object_set_new(root, path, value);
	snprintf(section, sizeof(section), "%.*s", (int)(dot - path), path);
	child = json_object_get(root, section);
	if (!child) {
		child = json_object();
		if (json_object_set_new(root, section, child) < 0)
			return -1;
	}
	return option_json_store(child, dot + 1, value);
}

struct json_t *option_to_json(const struct option *table, const void *object)
{
	json_t *root = json_object();

	for (const struct option *option = table; option->path; option++) {
		json_t *value = option_value_to_json(option, (const char *)object + option->offset);

		if (!value || option_json_store(root, option->path, value) < 0) {
			json_decref(root);
			return NULL;
		}
	}
	return root;
}
