/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, writing, merging and describing bodies by their tables. */
#include "api/body.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_reader.h"
#include "vmm/base/text.h"

#define BODY_NAMES_SIZE 512 /* of the members that a message lists */

static void *body_at(void *object, const struct body_field *field)
{
	return (char *)object + field->offset;
}

static uint32_t *body_given(void *object)
{
	return object;
}

static const void *body_at_const(const void *object, const struct body_field *field)
{
	return (const char *)object + field->offset;
}

/* --- freeing, presets */

static void body_clear_list(const struct body_field *field, struct body_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (field->body)
			body_clear(field->body, (char *)list->item + i * field->body->size);
		else
			free(((char **)list->item)[i]);
	}
	free(list->item);
	*list = (struct body_list){0};
}

static void body_clear_field(const struct body_field *field, void *object)
{
	void *at = body_at(object, field);

	switch (field->kind) {
	case BODY_BOOL:
	case BODY_UINT:
	case BODY_CHOICE: return;
	case BODY_STRING: free(*(char **)at); break;
	case BODY_OBJECT:
		if (*(void **)at)
			body_clear(field->body, *(void **)at);
		free(*(void **)at);
		break;
	case BODY_LIST: body_clear_list(field, at); return;
	case BODY_VALUE: json_decref(*(json_t **)at); break;
	}
	*(void **)at = NULL;
}

void body_clear(const struct body *body, void *object)
{
	for (const struct body_field *field = body->field; field->name; field++)
		body_clear_field(field, object);
	memset(object, 0, body->size);
}

void body_init(const struct body *body, void *object)
{
	for (const struct body_field *field = body->field; field->name; field++) {
		void *at = body_at(object, field);

		if (field->kind == BODY_BOOL)
			*(bool *)at = field->preset != 0;
		else if (field->kind == BODY_UINT)
			*(uint64_t *)at = field->preset;
		else if (field->kind == BODY_CHOICE)
			*(uint32_t *)at = (uint32_t)field->preset;
	}
}

/* --- messages */

/* "`a`", "`a` or `b`", "one of `a`, `b`, `c`" */
static void body_list_names(const char *const *name, size_t count, char *text, size_t size)
{
	text[0] = '\0';
	if (count > 2)
		text_append(text, size, "one of ");
	for (size_t i = 0; i < count; i++)
		text_append(text, size, "%s`%s`", i == 0 ? "" : count == 2 ? " or " : ", ", name[i]);
}

static bool body_fail_unknown(struct json_reader *reader, const struct body *body, const char *key)
{
	const char *names[BODY_ROWS_MAX];
	char text[BODY_NAMES_SIZE];
	size_t count = 0;

	while (count < BODY_ROWS_MAX && body->field[count].name) {
		names[count] = body->field[count].name;
		count++;
	}
	body_list_names(names, count, text, sizeof(text));
	if (count == 0)
		return json_fail(reader, "unknown field `%.200s`, there are no fields", key);
	return json_fail(reader, "unknown field `%.200s`, expected %s", key, text);
}

static bool body_fail_variant(struct json_reader *reader, const struct body_field *field, const char *value)
{
	char text[BODY_NAMES_SIZE];
	size_t count = 0;

	while (field->choice[count])
		count++;
	body_list_names(field->choice, count, text, sizeof(text));
	json_fail(reader, "unknown variant `%.200s`, expected %s", value, text);
	json_place(reader);
	return false;
}

static const char *body_uint_name(const struct body_field *field)
{
	return field->max == UINT8_MAX      ? "u8"
	       : field->max == UINT16_MAX   ? "u16"
	       : field->max == UINT32_MAX   ? "u32"
	       : field->max == SIZE_MAX - 1 ? "usize"
					    : "u64";
}

/* --- reading */

static bool body_take_bool(struct json_reader *reader, const struct json_scalar *scalar, bool *to)
{
	if (scalar->token != JSON_TOKEN_BOOL)
		return json_fail_type(reader, scalar, "a boolean");
	*to = scalar->boolean;
	return true;
}

static bool body_take_uint(struct json_reader *reader, const struct body_field *field,
			   const struct json_scalar *scalar, uint64_t *to)
{
	if (scalar->token == JSON_TOKEN_SIGNED || (scalar->token == JSON_TOKEN_UNSIGNED &&
						   field->max < SIZE_MAX - 1 && scalar->number > field->max))
		return json_fail_value(reader, scalar, body_uint_name(field));
	if (scalar->token != JSON_TOKEN_UNSIGNED)
		return json_fail_type(reader, scalar, body_uint_name(field));
	*to = scalar->number;
	return true;
}

/* The string changes its owner. */
static bool body_take_string(struct json_reader *reader, const struct body_field *field,
			     struct json_scalar *scalar, char **to)
{
	if (scalar->token != JSON_TOKEN_STRING)
		return json_fail_type(reader, scalar, field->flags & BODY_PATH ? "path string" : "a string");
	if (strlen(scalar->string) != scalar->string_len)
		return json_fail_value(reader, scalar, "a string without zero characters");
	if (field->is_good && !field->is_good(scalar->string))
		return json_fail(reader, "%s", field->complaint);
	free(*to);
	*to = scalar->string;
	scalar->string = NULL;
	return true;
}

static bool body_take_choice(struct json_reader *reader, const struct body_field *field,
			     const struct json_scalar *scalar, uint32_t *to)
{
	if (scalar->token != JSON_TOKEN_STRING)
		return json_fail_syntax(reader, "expected value");
	for (uint32_t i = 0; field->choice[i]; i++) {
		if (strcmp(field->choice[i], scalar->string) == 0) {
			*to = i;
			return true;
		}
	}
	return body_fail_variant(reader, field, scalar->string);
}

static bool body_read_object(struct json_reader *reader, const struct body *body, void **to)
{
	void *object = calloc(1, body->size);

	if (!object)
		return json_fail(reader, "no memory");
	if (!body_read(reader, body, object)) {
		free(object);
		return false;
	}
	if (*to)
		body_clear(body, *to);
	free(*to);
	*to = object;
	return true;
}

static bool body_read_string_item(struct json_reader *reader, const struct body_field *field, char **to)
{
	struct json_scalar scalar;
	bool good = json_read_scalar(reader, &scalar) && body_take_string(reader, field, &scalar, to);

	free(scalar.string);
	return good;
}

static bool body_read_item(struct json_reader *reader, const struct body_field *field, struct body_list *list)
{
	size_t size = field->body ? field->body->size : sizeof(char *);
	void *items;
	char *item;

	if (list->count == BODY_LIST_MAX)
		return json_fail_syntax(reader, "too many items");
	items = reallocarray(list->item, list->count + 1, size);
	if (!items)
		return json_fail_syntax(reader, "no memory");
	list->item = items;
	item = (char *)items + list->count * size;
	memset(item, 0, size);
	if (field->body ? !body_read(reader, field->body, item)
			: !body_read_string_item(reader, field, (char **)(void *)item))
		return false;
	list->count++;
	return true;
}

static bool body_read_list(struct json_reader *reader, const struct body_field *field, struct body_list *list)
{
	enum json_step step;
	bool first = true;
	bool good = true;

	if (!json_enter(reader))
		return false;
	while (good && (step = json_next_item(reader, &first)) != JSON_STEP_END)
		good = step == JSON_STEP_ITEM && body_read_item(reader, field, list);
	good = good && json_leave_list(reader);
	if (!good)
		body_clear_list(field, list);
	return good;
}

/* Objects, lists and values that may be anything: what is not a scalar of its own kind. */
static bool body_read_compound(struct json_reader *reader, const struct body_field *field, void *at)
{
	struct json_scalar scalar;

	if (field->kind == BODY_VALUE) {
		json_t *value = json_read_value(reader);

		if (!value)
			return false;
		json_decref(*(json_t **)at);
		*(json_t **)at = value;
		return true;
	}
	if (field->kind == BODY_OBJECT)
		return body_read_object(reader, field->body, at);
	if (json_peek(reader) == '[')
		return body_read_list(reader, field, at);
	if (json_read_scalar(reader, &scalar))
		json_fail_type(reader, &scalar, "a sequence");
	free(scalar.string);
	return false;
}

static bool body_read_simple(struct json_reader *reader, const struct body_field *field, void *at)
{
	struct json_scalar scalar;
	bool good = false;

	/* What is no string is refused for an enumeration before it is read. */
	if (field->kind == BODY_CHOICE && json_peek(reader) >= 0 && json_peek(reader) != '"')
		return json_fail_syntax(reader, "expected value");
	if (!json_read_scalar(reader, &scalar)) {
		free(scalar.string);
		return false;
	}
	if (field->kind == BODY_BOOL)
		good = body_take_bool(reader, &scalar, at);
	else if (field->kind == BODY_UINT)
		good = body_take_uint(reader, field, &scalar, at);
	else if (field->kind == BODY_STRING)
		good = body_take_string(reader, field, &scalar, at);
	else
		good = body_take_choice(reader, field, &scalar, at);
	free(scalar.string);
	return good;
}

/* Whether the value is a null that means absence; it is read then. */
static bool body_skip_null(struct json_reader *reader, const struct body_field *field)
{
	struct json_scalar scalar;

	if (!(field->flags & BODY_NULLABLE) || json_peek(reader) != 'n')
		return false;
	json_read_scalar(reader, &scalar);
	return true;
}

static bool body_read_field(struct json_reader *reader, const struct body_field *field, void *object,
			    bool *is_null)
{
	void *at = body_at(object, field);

	*is_null = body_skip_null(reader, field);
	if (*is_null)
		return !reader->failed;
	if (field->kind == BODY_OBJECT || field->kind == BODY_LIST || field->kind == BODY_VALUE)
		return body_read_compound(reader, field, at);
	return body_read_simple(reader, field, at);
}

static bool body_skip_value(struct json_reader *reader)
{
	json_t *value = json_read_value(reader);

	json_decref(value);
	return value != NULL;
}

static bool body_read_member(struct json_reader *reader, const struct body *body, void *object,
			     const char *key, uint32_t *seen)
{
	unsigned index = 0;
	bool is_null;

	while (body->field[index].name && strcmp(body->field[index].name, key) != 0)
		index++;
	if (!body->field[index].name && !body->takes_others)
		return body_fail_unknown(reader, body, key);
	if (body->field[index].name && (*seen & 1u << index))
		return json_fail(reader, "duplicate field `%s`", key);
	if (!json_colon(reader))
		return false;
	if (!body->field[index].name)
		return body_skip_value(reader);
	*seen |= 1u << index;
	if (!body_read_field(reader, &body->field[index], object, &is_null))
		return false;
	if (!is_null)
		*body_given(object) |= 1u << index;
	return true;
}

static bool body_check_required(struct json_reader *reader, const struct body *body, uint32_t seen)
{
	for (unsigned i = 0; body->field[i].name; i++) {
		if ((body->field[i].flags & BODY_REQUIRED) && !(seen & 1u << i))
			return json_fail(reader, "missing field `%s`", body->field[i].name);
	}
	return true;
}

static bool body_read_members(struct json_reader *reader, const struct body *body, void *object)
{
	enum json_step step;
	uint32_t seen = 0;
	bool first = true;
	bool good = true;
	char *key;

	while (good && (step = json_next_key(reader, &first, &key)) != JSON_STEP_END) {
		if (step == JSON_STEP_FAILED)
			return false;
		good = body_read_member(reader, body, object, key, &seen);
		free(key);
	}
	return good && body_check_required(reader, body, seen);
}

bool body_read(struct json_reader *reader, const struct body *body, void *object)
{
	struct json_scalar scalar;
	char expected[96];
	bool good;

	if (json_peek(reader) != '{') {
		snprintf(expected, sizeof(expected), "struct %s", body->name);
		if (json_read_scalar(reader, &scalar))
			json_fail_type(reader, &scalar, expected);
		free(scalar.string);
		return false;
	}
	if (!json_enter(reader))
		return false;
	body_init(body, object);
	good = body_read_members(reader, body, object);
	/* The closing bracket is read for the sake of the place, too. */
	good = json_leave_object(reader) && good;
	if (!good || reader->failed) {
		json_place(reader);
		body_clear(body, object);
		return false;
	}
	return true;
}

bool body_parse(const struct body *body, void *object, const char *text, size_t len, char *error)
{
	struct json_reader reader;

	json_reader_init(&reader, text, len);
	if (body_read(&reader, body, object)) {
		if (json_end(&reader))
			return true;
		body_clear(body, object);
	}
	snprintf(error, JSON_READER_ERROR_SIZE, "%s", reader.error);
	return false;
}

/* --- merging */

static void body_move_field(const struct body_field *field, void *to, void *from)
{
	void *source = body_at(from, field);
	void *target = body_at(to, field);

	body_clear_field(field, to);
	switch (field->kind) {
	case BODY_BOOL: *(bool *)target = *(bool *)source; return;
	case BODY_UINT: *(uint64_t *)target = *(uint64_t *)source; return;
	case BODY_CHOICE: *(uint32_t *)target = *(uint32_t *)source; return;
	case BODY_LIST:
		*(struct body_list *)target = *(struct body_list *)source;
		*(struct body_list *)source = (struct body_list){0};
		return;
	case BODY_STRING:
	case BODY_OBJECT:
	case BODY_VALUE:
		*(void **)target = *(void **)source;
		*(void **)source = NULL;
		return;
	}
}

void body_merge(const struct body *body, void *to, void *from)
{
	for (unsigned i = 0; body->field[i].name; i++) {
		if (*body_given(from) & 1u << i)
			body_move_field(&body->field[i], to, from);
	}
	*body_given(to) |= *body_given(from);
	body_clear(body, from);
}

static uint32_t body_bit(const struct body *body, const char *name)
{
	for (unsigned i = 0; body->field[i].name; i++) {
		if (strcmp(body->field[i].name, name) == 0)
			return 1u << i;
	}
	return 0;
}

bool body_is_given(const struct body *body, const void *object, const char *name)
{
	return (*(const uint32_t *)object & body_bit(body, name)) != 0;
}

void body_set_given(const struct body *body, void *object, const char *name)
{
	*body_given(object) |= body_bit(body, name);
}

/* --- writing */

static json_t *body_list_to_json(const struct body_field *field, const struct body_list *list)
{
	json_t *json = json_array();

	for (size_t i = 0; json && i < list->count; i++) {
		json_t *item = field->body ? body_to_json(field->body,
							  (const char *)list->item + i * field->body->size)
					   : json_string(((char *const *)list->item)[i]);

		json_array_append_new(json, item);
	}
	return json;
}

static json_t *body_field_to_json(const struct body_field *field, const void *at)
{
	switch (field->kind) {
	case BODY_BOOL: return json_boolean(*(const bool *)at);
	case BODY_UINT: return json_integer((json_int_t) * (const uint64_t *)at);
	case BODY_STRING: return *(char *const *)at ? json_string(*(char *const *)at) : json_null();
	case BODY_CHOICE: return json_string(field->choice[*(const uint32_t *)at]);
	case BODY_OBJECT:
		return *(void *const *)at ? body_to_json(field->body, *(void *const *)at) : json_null();
	case BODY_LIST: return body_list_to_json(field, at);
	case BODY_VALUE: return *(json_t *const *)at ? json_incref(*(json_t *const *)at) : json_null();
	}
	return NULL;
}

/* What is behind a pointer is there with it, however it came. */
static bool body_is_there(const struct body_field *field, const void *object, bool given)
{
	if (field->kind == BODY_OBJECT || field->kind == BODY_STRING || field->kind == BODY_VALUE)
		return *(void *const *)body_at_const(object, field) != NULL;
	return given;
}

json_t *body_to_json(const struct body *body, const void *object)
{
	json_t *json = json_object();

	for (unsigned i = 0; json && body->field[i].name; i++) {
		const struct body_field *field = &body->field[i];
		bool given = body_is_there(field, object, *(const uint32_t *)object & 1u << i);

		if ((field->flags & BODY_HIDDEN) || (!given && (field->flags & BODY_OMITTED)))
			continue;
		if (!given && (field->flags & BODY_NULLABLE))
			json_object_set_new(json, field->name, json_null());
		else
			json_object_set_new(json, field->name,
					    body_field_to_json(field, body_at_const(object, field)));
	}
	return json;
}

/* --- describing */

static json_t *body_reference(const struct body *body)
{
	return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", body->name));
}

static json_t *body_choice_schema(const struct body_field *field)
{
	json_t *names = json_array();

	for (size_t i = 0; field->choice[i]; i++)
		json_array_append_new(names, json_string(field->choice[i]));
	return json_pack("{s:s,s:o}", "type", "string", "enum", names);
}

static json_t *body_uint_schema(const struct body_field *field)
{
	json_t *json = json_pack("{s:s,s:i}", "type", "integer", "minimum", 0);

	if (field->max <= UINT32_MAX)
		json_object_set_new(json, "maximum", json_integer((json_int_t)field->max));
	return json;
}

static json_t *body_field_schema(const struct body_field *field)
{
	switch (field->kind) {
	case BODY_BOOL: return json_pack("{s:s}", "type", "boolean");
	case BODY_UINT: return body_uint_schema(field);
	case BODY_STRING: return json_pack("{s:s}", "type", "string");
	case BODY_CHOICE: return body_choice_schema(field);
	case BODY_OBJECT: return body_reference(field->body);
	case BODY_LIST:
		return json_pack("{s:s,s:o}", "type", "array", "items",
				 field->body ? body_reference(field->body)
					     : json_pack("{s:s}", "type", "string"));
	case BODY_VALUE: return json_object();
	}
	return NULL;
}

json_t *body_schema(const struct body *body)
{
	json_t *properties = json_object();
	json_t *required = json_array();
	json_t *json = json_pack("{s:s,s:o,s:b}", "type", "object", "properties", properties,
				 "additionalProperties", body->takes_others);

	for (const struct body_field *field = body->field; field->name; field++) {
		json_t *schema = body_field_schema(field);

		if (field->kind != BODY_OBJECT && (field->flags & BODY_NULLABLE))
			json_object_set_new(schema, "nullable", json_true());
		if (field->kind != BODY_OBJECT && field->help)
			json_object_set_new(schema, "description", json_string(field->help));
		json_object_set_new(properties, field->name, schema);
		if (field->flags & BODY_REQUIRED)
			json_array_append_new(required, json_string(field->name));
	}
	if (json_array_size(required) > 0)
		json_object_set(json, "required", required);
	json_decref(required);
	return json;
}
