/* SPDX-License-Identifier: Apache-2.0 */
/* Whole JSON values out of the reader, and what a value is called in a message. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_reader.h"
#include "vmm/base/text.h"

/* --- what a value is, in a message */

static void json_describe_string(const struct json_scalar *scalar, char *text, size_t size)
{
	text_append(text, size, "string \"");
	for (size_t i = 0; i < scalar->string_len; i++) {
		unsigned char c = (unsigned char)scalar->string[i];

		if (c == '"' || c == '\\')
			text_append(text, size, "\\%c", c);
		else if (c == '\n' || c == '\r' || c == '\t')
			text_append(text, size, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
		else if (c < 0x20 || c == 0x7f)
			text_append(text, size, "\\u{%x}", c);
		else
			text_append(text, size, "%c", c);
	}
	text_append(text, size, "\"");
}

/* The fewest digits that read back the same. */
static void json_describe_float(double value, char *text, size_t size)
{
	char digits[40];
	const char *plus;

	for (int precision = 1; precision <= 17; precision++) {
		snprintf(digits, sizeof(digits), "%.*g", precision, value);
		if (strtod(digits, NULL) == value)
			break;
	}
	plus = strstr(digits, "e+");
	text_append(text, size, "floating point `%.*s%s%s`",
		    plus ? (int)(plus - digits) + 1 : (int)strlen(digits), digits, plus ? plus + 2 : "",
		    strpbrk(digits, ".e") ? "" : ".0");
}

static void json_describe(const struct json_scalar *scalar, char *text, size_t size)
{
	text[0] = '\0';
	switch (scalar->token) {
	case JSON_TOKEN_NULL: text_append(text, size, "null"); return;
	case JSON_TOKEN_BOOL:
		text_append(text, size, "boolean `%s`", scalar->boolean ? "true" : "false");
		return;
	case JSON_TOKEN_UNSIGNED: text_append(text, size, "integer `%" PRIu64 "`", scalar->number); return;
	case JSON_TOKEN_SIGNED: text_append(text, size, "integer `%" PRId64 "`", scalar->negative); return;
	case JSON_TOKEN_FLOAT: json_describe_float(scalar->fraction, text, size); return;
	case JSON_TOKEN_STRING: json_describe_string(scalar, text, size); return;
	case JSON_TOKEN_LIST: text_append(text, size, "sequence"); return;
	case JSON_TOKEN_OBJECT: text_append(text, size, "map"); return;
	}
}

bool json_fail_type(struct json_reader *reader, const struct json_scalar *scalar, const char *expected)
{
	char found[512];

	json_describe(scalar, found, sizeof(found));
	json_fail(reader, "invalid type: %s, expected %s", found, expected);
	json_place(reader);
	return false;
}

bool json_fail_value(struct json_reader *reader, const struct json_scalar *scalar, const char *expected)
{
	char found[512];

	json_describe(scalar, found, sizeof(found));
	json_fail(reader, "invalid value: %s, expected %s", found, expected);
	json_place(reader);
	return false;
}

/* --- any value */

static json_t *json_read_members(struct json_reader *reader)
{
	json_t *object = json_object();
	bool first = true;
	enum json_step step = JSON_STEP_FAILED;
	char *key;

	while (object && (step = json_next_key(reader, &first, &key)) == JSON_STEP_ITEM) {
		json_t *value = json_colon(reader) ? json_read_value(reader) : NULL;

		if (value)
			json_object_set_new(object, key, value);
		free(key);
		if (!value) {
			step = JSON_STEP_FAILED;
			break;
		}
	}
	if (step == JSON_STEP_END && json_leave_object(reader))
		return object;
	json_decref(object);
	return NULL;
}

static json_t *json_read_items(struct json_reader *reader)
{
	json_t *list = json_array();
	bool first = true;
	enum json_step step = JSON_STEP_FAILED;

	while (list && (step = json_next_item(reader, &first)) == JSON_STEP_ITEM) {
		json_t *value = json_read_value(reader);

		if (!value) {
			step = JSON_STEP_FAILED;
			break;
		}
		json_array_append_new(list, value);
	}
	if (step == JSON_STEP_END && json_leave_list(reader))
		return list;
	json_decref(list);
	return NULL;
}

static json_t *json_of_scalar(const struct json_scalar *scalar)
{
	switch (scalar->token) {
	case JSON_TOKEN_NULL: return json_null();
	case JSON_TOKEN_BOOL: return json_boolean(scalar->boolean);
	case JSON_TOKEN_UNSIGNED:
		/* What jansson's integers do not hold keeps its size as a fraction. */
		return scalar->number <= INT64_MAX ? json_integer((json_int_t)scalar->number)
						   : json_real((double)scalar->number);
	case JSON_TOKEN_SIGNED: return json_integer(scalar->negative);
	case JSON_TOKEN_FLOAT: return json_real(scalar->fraction);
	case JSON_TOKEN_STRING: return json_stringn(scalar->string, scalar->string_len);
	case JSON_TOKEN_LIST:
	case JSON_TOKEN_OBJECT: return NULL;
	}
	return NULL;
}

json_t *json_read_value(struct json_reader *reader)
{
	struct json_scalar scalar;
	json_t *value;

	if (!json_read_scalar(reader, &scalar))
		return NULL;
	if (scalar.token == JSON_TOKEN_OBJECT)
		return json_enter(reader) ? json_read_members(reader) : NULL;
	if (scalar.token == JSON_TOKEN_LIST)
		return json_enter(reader) ? json_read_items(reader) : NULL;
	value = json_of_scalar(&scalar);
	free(scalar.string);
	if (!value)
		json_fail_syntax(reader, "no memory");
	return value;
}
