/* SPDX-License-Identifier: Apache-2.0 */
/* JSON value by value, with serde_json's messages and places. */
#include "api/json_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/text.h"

#define JSON_NUMBER_MAX 256 /* characters of a number that are looked at */

void json_reader_init(struct json_reader *reader, const char *text, size_t len)
{
	*reader = (struct json_reader){.text = text, .len = len};
}

bool json_fail(struct json_reader *reader, const char *format, ...)
{
	va_list args;

	if (reader->failed)
		return false;
	va_start(args, format);
	/* Room for the place stays. */
	vsnprintf(reader->error, sizeof(reader->error) - 64, format, args);
	va_end(args);
	reader->failed = true;
	return false;
}

static void json_place_at(struct json_reader *reader, size_t at)
{
	size_t line = 1, column = 0;

	if (reader->has_place)
		return;
	for (size_t i = 0; i < at; i++) {
		column++;
		if (reader->text[i] == '\n') {
			line++;
			column = 0;
		}
	}
	text_append(reader->error, sizeof(reader->error), " at line %zu column %zu", line, column);
	reader->has_place = true;
}

void json_place(struct json_reader *reader)
{
	json_place_at(reader, reader->at);
}

bool json_fail_syntax(struct json_reader *reader, const char *what)
{
	if (reader->failed)
		return false;
	json_fail(reader, "%s", what);
	json_place_at(reader, reader->at < reader->len ? reader->at + 1 : reader->len);
	return false;
}

/* At what has just been read. */
static bool json_fail_here(struct json_reader *reader, const char *what)
{
	if (reader->failed)
		return false;
	json_fail(reader, "%s", what);
	json_place(reader);
	return false;
}

static int json_char(const struct json_reader *reader)
{
	return reader->at < reader->len ? (unsigned char)reader->text[reader->at] : -1;
}

int json_peek(struct json_reader *reader)
{
	int c = json_char(reader);

	while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
		reader->at++;
		c = json_char(reader);
	}
	return c;
}

static bool json_word(struct json_reader *reader, const char *word)
{
	for (; *word; word++) {
		int c = json_char(reader);

		if (c < 0)
			return json_fail_syntax(reader, "EOF while parsing a value");
		reader->at++;
		if (c != *word)
			return json_fail_here(reader, "expected ident");
	}
	return true;
}

/* --- strings */

static bool json_hex4(struct json_reader *reader, unsigned *value)
{
	*value = 0;
	for (int i = 0; i < 4; i++) {
		int c = json_char(reader);
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;

		if (c < 0)
			return json_fail_syntax(reader, "EOF while parsing a string");
		reader->at++;
		if (digit < 0)
			return json_fail_here(reader, "invalid escape");
		*value = *value << 4 | (unsigned)digit;
	}
	return true;
}

static size_t json_put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* Behind "\u": one code point, of one or two escapes. */
static bool json_unicode(struct json_reader *reader, unsigned *code)
{
	unsigned low;

	if (!json_hex4(reader, code))
		return false;
	if (*code >= 0xdc00 && *code < 0xe000)
		return json_fail_here(reader, "lone leading surrogate in hex escape");
	if (*code < 0xd800 || *code >= 0xdc00)
		return true;
	if (json_char(reader) != '\\')
		return json_fail_syntax(reader, "unexpected end of hex escape");
	reader->at++;
	if (json_char(reader) != 'u')
		return json_fail_syntax(reader, "unexpected end of hex escape");
	reader->at++;
	if (!json_hex4(reader, &low))
		return false;
	if (low < 0xdc00 || low >= 0xe000)
		return json_fail_here(reader, "lone leading surrogate in hex escape");
	*code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
	return true;
}

static bool json_escape(struct json_reader *reader, char *to, size_t *len)
{
	static const char from[] = "\"\\/bfnrt";
	static const char into[] = "\"\\/\b\f\n\r\t";
	int c = json_char(reader);
	const char *found = c > 0 ? strchr(from, c) : NULL;
	unsigned code;

	if (c < 0)
		return json_fail_syntax(reader, "EOF while parsing a string");
	reader->at++;
	if (found) {
		to[(*len)++] = into[found - from];
		return true;
	}
	if (c != 'u')
		return json_fail_here(reader, "invalid escape");
	if (!json_unicode(reader, &code))
		return false;
	*len += json_put_utf8(to + *len, code);
	return true;
}

static size_t json_utf8_length(unsigned char c)
{
	return c < 0x80                ? 1
	       : c >= 0xc2 && c < 0xe0 ? 2
	       : c >= 0xe0 && c < 0xf0 ? 3
	       : c >= 0xf0 && c < 0xf5 ? 4
				       : 0;
}

/* One character that is no escape, quote or control. */
static bool json_plain(struct json_reader *reader, char *to, size_t *len)
{
	size_t size = json_utf8_length((unsigned char)reader->text[reader->at]);

	if (size == 0 || size > reader->len - reader->at)
		return json_fail_here(reader, "invalid unicode code point");
	for (size_t i = 1; i < size; i++) {
		if (((unsigned char)reader->text[reader->at + i] & 0xc0) != 0x80)
			return json_fail_here(reader, "invalid unicode code point");
	}
	memcpy(to + *len, reader->text + reader->at, size);
	*len += size;
	reader->at += size;
	return true;
}

/* The closing quote's place, or the end: what is between has at most as many bytes when it is read. */
static size_t json_string_bound(const struct json_reader *reader)
{
	size_t at = reader->at;

	while (at < reader->len && reader->text[at] != '"')
		at += reader->text[at] == '\\' ? 2 : 1;
	return (at < reader->len ? at : reader->len) - reader->at;
}

/* Behind the opening quote. */
static bool json_read_string(struct json_reader *reader, char **string, size_t *string_len)
{
	char *to = malloc(json_string_bound(reader) + 5);
	size_t len = 0;
	bool good = to != NULL;

	if (!to)
		json_fail_here(reader, "no memory");
	while (good) {
		int c = json_char(reader);

		if (c < 0) {
			good = json_fail_syntax(reader, "EOF while parsing a string");
		} else if (c == '"') {
			reader->at++;
			break;
		} else if (c < 0x20) {
			reader->at++;
			good = json_fail_here(
				reader, "control character (\\u0000-\\u001F) found while parsing a string");
		} else if (c == '\\') {
			reader->at++;
			good = json_escape(reader, to, &len);
		} else {
			good = json_plain(reader, to, &len);
		}
	}
	if (!good) {
		free(to);
		return false;
	}
	to[len] = '\0';
	*string = to;
	*string_len = len;
	return true;
}

/* --- numbers */

static bool json_is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool json_digits(struct json_reader *reader)
{
	if (json_char(reader) < 0)
		return json_fail_syntax(reader, "EOF while parsing a value");
	if (!json_is_digit(json_char(reader)))
		return json_fail_syntax(reader, "invalid number");
	while (json_is_digit(json_char(reader)))
		reader->at++;
	return true;
}

static bool json_fraction_and_exponent(struct json_reader *reader, bool *is_float)
{
	if (json_char(reader) == '.') {
		*is_float = true;
		reader->at++;
		if (!json_digits(reader))
			return false;
	}
	if (json_char(reader) != 'e' && json_char(reader) != 'E')
		return true;
	*is_float = true;
	reader->at++;
	if (json_char(reader) == '+' || json_char(reader) == '-')
		reader->at++;
	return json_digits(reader);
}

static bool json_value_of_number(struct json_reader *reader, const char *text, bool is_float,
				 struct json_scalar *scalar)
{
	char *end;

	errno = 0;
	scalar->token = JSON_TOKEN_UNSIGNED;
	if (!is_float && text[0] != '-') {
		scalar->number = strtoull(text, &end, 10);
	} else if (!is_float) {
		scalar->token = JSON_TOKEN_SIGNED;
		scalar->negative = strtoll(text, &end, 10);
	}
	if (!is_float && errno == 0)
		return true;
	scalar->token = JSON_TOKEN_FLOAT;
	scalar->fraction = strtod(text, &end);
	return isfinite(scalar->fraction) ? true : json_fail_here(reader, "number out of range");
}

static bool json_number(struct json_reader *reader, struct json_scalar *scalar)
{
	size_t start = reader->at;
	char text[JSON_NUMBER_MAX];
	bool is_float = false;

	if (json_char(reader) == '-')
		reader->at++;
	if (json_char(reader) == '0') {
		reader->at++;
		if (json_is_digit(json_char(reader)))
			return json_fail_syntax(reader, "invalid number");
	} else if (!json_digits(reader)) {
		return false;
	}
	if (!json_fraction_and_exponent(reader, &is_float))
		return false;
	if (reader->at - start >= sizeof(text))
		return json_fail_here(reader, "number out of range");
	memcpy(text, reader->text + start, reader->at - start);
	text[reader->at - start] = '\0';
	return json_value_of_number(reader, text, is_float, scalar);
}

bool json_read_scalar(struct json_reader *reader, struct json_scalar *scalar)
{
	int c = json_peek(reader);

	*scalar = (struct json_scalar){0};
	switch (c) {
	case -1: return json_fail_syntax(reader, "EOF while parsing a value");
	case 'n': scalar->token = JSON_TOKEN_NULL; return json_word(reader, "null");
	case 't':
	case 'f':
		scalar->token = JSON_TOKEN_BOOL;
		scalar->boolean = c == 't';
		return json_word(reader, c == 't' ? "true" : "false");
	case '"':
		scalar->token = JSON_TOKEN_STRING;
		reader->at++;
		return json_read_string(reader, &scalar->string, &scalar->string_len);
	case '[': scalar->token = JSON_TOKEN_LIST; return true;
	case '{': scalar->token = JSON_TOKEN_OBJECT; return true;
	default: break;
	}
	if (c == '-' || json_is_digit(c))
		return json_number(reader, scalar);
	return json_fail_syntax(reader, "expected value");
}

/* --- lists and objects */

bool json_enter(struct json_reader *reader)
{
	if (reader->depth == JSON_READER_DEPTH_MAX)
		return json_fail_syntax(reader, "recursion limit exceeded");
	reader->depth++;
	reader->at++;
	return true;
}

bool json_leave_object(struct json_reader *reader)
{
	int c = json_peek(reader);

	reader->depth--;
	if (c == '}') {
		reader->at++;
		return true;
	}
	if (c < 0)
		return json_fail_syntax(reader, "EOF while parsing an object");
	return json_fail_syntax(reader, c == ',' ? "trailing comma" : "trailing characters");
}

bool json_leave_list(struct json_reader *reader)
{
	int c = json_peek(reader);

	reader->depth--;
	if (c == ']') {
		reader->at++;
		return true;
	}
	if (c < 0)
		return json_fail_syntax(reader, "EOF while parsing a list");
	return json_fail_syntax(reader, c == ',' ? "trailing comma" : "trailing characters");
}

static enum json_step json_step_failed(struct json_reader *reader, const char *what)
{
	json_fail_syntax(reader, what);
	return JSON_STEP_FAILED;
}

enum json_step json_next_key(struct json_reader *reader, bool *first, char **key)
{
	int c = json_peek(reader);
	size_t len;

	if (c < 0)
		return json_step_failed(reader, "EOF while parsing an object");
	if (c == '}')
		return JSON_STEP_END;
	if (!*first) {
		if (c != ',')
			return json_step_failed(reader, "expected `,` or `}`");
		reader->at++;
		c = json_peek(reader);
		if (c == '}')
			return json_step_failed(reader, "trailing comma");
		if (c < 0)
			return json_step_failed(reader, "EOF while parsing a value");
	}
	*first = false;
	if (c != '"')
		return json_step_failed(reader, "key must be a string");
	reader->at++;
	return json_read_string(reader, key, &len) ? JSON_STEP_ITEM : JSON_STEP_FAILED;
}

bool json_colon(struct json_reader *reader)
{
	int c = json_peek(reader);

	if (c < 0)
		return json_fail_syntax(reader, "EOF while parsing an object");
	if (c != ':')
		return json_fail_syntax(reader, "expected `:`");
	reader->at++;
	return true;
}

enum json_step json_next_item(struct json_reader *reader, bool *first)
{
	int c = json_peek(reader);

	if (c < 0)
		return json_step_failed(reader, "EOF while parsing a list");
	if (c == ']')
		return JSON_STEP_END;
	if (!*first) {
		if (c != ',')
			return json_step_failed(reader, "expected `,` or `]`");
		reader->at++;
		c = json_peek(reader);
		if (c == ']')
			return json_step_failed(reader, "trailing comma");
		if (c < 0)
			return json_step_failed(reader, "EOF while parsing a value");
	}
	*first = false;
	return JSON_STEP_ITEM;
}

bool json_end(struct json_reader *reader)
{
	return json_peek(reader) < 0 || json_fail_syntax(reader, "trailing characters");
}
