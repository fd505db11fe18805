/* SPDX-License-Identifier: Apache-2.0 */
/* State tables to JSON and back; see the header. Everything read may be hostile. */
#include "vmm/machine/state_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/device.h"

static size_t state_size(enum state_type type)
{
	switch (type) {
	case STATE_U8: return 1;
	case STATE_U16: return 2;
	case STATE_U32: return 4;
	case STATE_U64: return 8;
	case STATE_BOOL: return sizeof(bool);
	}
	return 0;
}

static size_t state_group_count(const struct state_field *field, const void *instance)
{
	uint32_t count;

	if (!field->group)
		return 1;
	memcpy(&count, (const uint8_t *)instance + field->group->count_offset, sizeof(count));
	return count;
}

/* Saving. */

static json_t *state_scalar_to_json(enum state_type type, const uint8_t *at)
{
	char text[2 + 16 + 1];
	uint64_t value = 0;

	memcpy(&value, at, state_size(type));
	if (type == STATE_BOOL)
		return json_boolean(value);
	if (type != STATE_U64)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

static json_t *state_bytes_to_json(const uint8_t *bytes, size_t count)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * count + 1);
	json_t *json;

	if (!text)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	json = json_stringn(text, 2 * count);
	free(text);
	return json;
}

/* One field of one structure. */
static json_t *state_field_to_json(const struct state_field *field, const uint8_t *at)
{
	json_t *list;

	if (field->count == 1)
		return state_scalar_to_json(field->type, at);
	if (field->type == STATE_U8)
		return state_bytes_to_json(at, field->count);
	list = json_array();
	for (size_t i = 0; list && i < field->count; i++) {
		if (json_array_append_new(
			    list, state_scalar_to_json(field->type, at + i * state_size(field->type))) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

static json_t *state_group_to_json(const struct state_field *field, const uint8_t *instance)
{
	size_t count = state_group_count(field, instance);
	json_t *list = json_array();

	for (size_t i = 0; list && i < count; i++) {
		const uint8_t *at = instance + field->offset + i * field->group->stride;

		if (json_array_append_new(list, state_field_to_json(field, at)) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

json_t *state_to_json(const struct state_field *table, const void *instance)
{
	json_t *json = json_object();

	for (const struct state_field *field = table; json && field && field->name; field++) {
		json_t *value =
			field->group ? state_group_to_json(field, instance)
				     : state_field_to_json(field, (const uint8_t *)instance + field->offset);

		if (json_object_set_new(json, field->name, value) < 0) {
			json_decref(json);
			json = NULL;
		}
	}
	return json;
}

/* Loading. */

static bool state_parse_hex(const char *text, size_t len, uint64_t *value)
{
	char *end;

	if (len < 3 || len > 2 + 16 || text[0] != '0' || text[1] != 'x' ||
	    strspn(text + 2, "0123456789abcdef") != len - 2)
		return false;
	*value = strtoull(text + 2, &end, 16);
	return true;
}

static bool state_parse(enum state_type type, const json_t *json, uint64_t *value)
{
	if (type == STATE_BOOL) {
		*value = json_is_true(json);
		return json_is_boolean(json);
	}
	if (type == STATE_U64)
		return json_is_string(json) &&
		       state_parse_hex(json_string_value(json), json_string_length(json), value);
	*value = (uint64_t)json_integer_value(json);
	return json_is_integer(json) && json_integer_value(json) >= 0 &&
	       *value <= (1ull << 8 * state_size(type)) - 1;
}

static int state_scalar_from_json(const struct state_field *field, uint8_t *at, const json_t *json,
				  struct err *err)
{
	static const char *const names[] = {
		[STATE_U8] = "an 8-bit number",  [STATE_U16] = "a 16-bit number",
		[STATE_U32] = "a 32-bit number", [STATE_U64] = "a string of hexadecimal digits",
		[STATE_BOOL] = "true or false",
	};
	uint64_t value;

	if (!state_parse(field->type, json, &value))
		return err_set(err, -EINVAL, "%s: %s is expected", field->name, names[field->type]);
	if (field->max && value > field->max)
		return err_set(err, -EINVAL, "%s: %" PRIu64 " is more than %" PRIu64, field->name, value,
			       field->max);
	memcpy(at, &value, state_size(field->type));
	return 0;
}

static int state_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int state_bytes_from_json(const struct state_field *field, uint8_t *at, const json_t *json,
				 struct err *err)
{
	const char *text = json_string_value(json);

	if (!text || json_string_length(json) != 2 * field->count)
		return err_set(err, -EINVAL, "%s: a string of %zu hexadecimal digits is expected",
			       field->name, 2 * field->count);
	for (size_t i = 0; i < field->count; i++) {
		int high = state_digit(text[2 * i]), low = state_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return err_set(err, -EINVAL, "%s: no hexadecimal digit at %zu", field->name, 2 * i);
		at[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int state_field_from_json(const struct state_field *field, uint8_t *at, const json_t *json,
				 struct err *err)
{
	int code = 0;

	if (field->count == 1)
		return state_scalar_from_json(field, at, json, err);
	if (field->type == STATE_U8)
		return state_bytes_from_json(field, at, json, err);
	if (!json_is_array(json) || json_array_size(json) != field->count)
		return err_set(err, -EINVAL, "%s: a list of %zu is expected", field->name, field->count);
	for (size_t i = 0; i < field->count && code == 0; i++)
		code = state_scalar_from_json(field, at + i * state_size(field->type),
					      json_array_get(json, i), err);
	return code;
}

static int state_group_from_json(const struct state_field *field, uint8_t *instance, const json_t *json,
				 struct err *err)
{
	size_t count = state_group_count(field, instance);
	int code = 0;

	if (!json_is_array(json) || json_array_size(json) != count)
		return err_set(err, -EINVAL, "%s: a list of %zu is expected, one for each", field->name,
			       count);
	for (size_t i = 0; i < count && code == 0; i++)
		code = state_field_from_json(field, instance + field->offset + i * field->group->stride,
					     json_array_get(json, i), err);
	return code;
}

static const struct state_field *state_find(const struct state_field *table, const char *name)
{
	for (; table && table->name; table++) {
		if (strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

int state_from_json(const struct state_field *table, void *instance, const json_t *json, struct err *err)
{
	const char *name;
	json_t *value;
	int code = 0;

	if (!json_is_object(json))
		return err_set(err, -EINVAL, "an object is expected");
	json_object_foreach((json_t *)(uintptr_t)json, name, value)
	{
		const struct state_field *field = state_find(table, name);

		if (!field)
			code = err_set(err, -EINVAL, "%s: no such field; is the snapshot of a later version?",
				       name);
		else if (field->group)
			code = state_group_from_json(field, instance, value, err);
		else
			code = state_field_from_json(field, (uint8_t *)instance + field->offset, value, err);
		if (code < 0)
			return code;
	}
	return 0;
}
