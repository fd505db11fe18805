/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads JSON value by value and says what is wrong in the words, and with the line and column, of serde_json:
 * clients of Firecracker see these messages and some compare them. A parser that makes a tree first (jansson,
 * which the rest of the program uses) no longer knows where a value stood. Knows no bodies. RFC 8259.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

#define JSON_READER_DEPTH_MAX  127 /* as serde_json's; bounds the recursion */
#define JSON_READER_ERROR_SIZE 1024

struct json_reader {
	const char *text;
	size_t len, at;
	unsigned depth;
	bool failed;    /* error is set */
	bool has_place; /* and says line and column already */
	char error[JSON_READER_ERROR_SIZE];
};

enum json_token {
	JSON_TOKEN_NULL,
	JSON_TOKEN_BOOL,
	JSON_TOKEN_UNSIGNED,
	JSON_TOKEN_SIGNED, /* negative */
	JSON_TOKEN_FLOAT,
	JSON_TOKEN_STRING,
	JSON_TOKEN_LIST,   /* its "[" is next */
	JSON_TOKEN_OBJECT, /* its "{" is next */
};

struct json_scalar {
	enum json_token token;
	bool boolean;
	uint64_t number; /* UNSIGNED */
	int64_t negative;
	double fraction;
	char *string; /* owned, may hold NULs */
	size_t string_len;
};

void json_reader_init(struct json_reader *reader, const char *text, size_t len);

/* Records the first failure. false, for `return json_fail(...)`. Without a place: json_place adds it. */
bool json_fail(struct json_reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A mistake in the syntax, at the next character. */
bool json_fail_syntax(struct json_reader *reader, const char *what);
/* Adds " at line L column C" of what has been read so far, unless the message has its place. */
void json_place(struct json_reader *reader);

/* The next character that is no white space, or -1 at the end. */
int json_peek(struct json_reader *reader);

/*
 * Reads one scalar; of a list or an object only says that there is one. What is neither is "expected value".
 * The caller frees scalar->string.
 */
bool json_read_scalar(struct json_reader *reader, struct json_scalar *scalar);
/* "invalid type: string \"x\", expected u8" */
bool json_fail_type(struct json_reader *reader, const struct json_scalar *scalar, const char *expected);
/* "invalid value: integer `300`, expected u8" */
bool json_fail_value(struct json_reader *reader, const struct json_scalar *scalar, const char *expected);

/* Begins an object or a list whose bracket is next; one nested too deeply is refused. */
bool json_enter(struct json_reader *reader);
/* Reads its closing bracket. */
bool json_leave_object(struct json_reader *reader);
bool json_leave_list(struct json_reader *reader);

enum json_step { JSON_STEP_ITEM, JSON_STEP_END, JSON_STEP_FAILED };
/* The next member's key (owned by the caller), without its colon; *first is true for the first one. */
enum json_step json_next_key(struct json_reader *reader, bool *first, char **key);
bool json_colon(struct json_reader *reader);
enum json_step json_next_item(struct json_reader *reader, bool *first);

/* Reads any value; owned, or NULL with the failure recorded. */
struct json_t *json_read_value(struct json_reader *reader);
/* Nothing but white space may follow. */
bool json_end(struct json_reader *reader);
