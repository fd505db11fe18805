/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies by tables: a row says a member's name, type, limits and where its field is. Reading a request's body
 * or a section of a configuration file, writing the answer of a GET and the OpenAPI document all go by the
 * same rows. Knows no VM and no particular body: those are models.h's.
 *
 * The structure that a table describes begins with `uint32_t given`: bit i is set when row i's member was
 * there and not null. Objects are behind pointers, so that an absent one is NULL.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_reader;
struct json_t;

#define BODY_ROWS_MAX 32  /* bits of `given` */
#define BODY_LIST_MAX 128 /* items of a list in a body: bounds what a client can have allocated */

enum body_kind {
	BODY_BOOL,
	BODY_UINT,   /* uint64_t up to max */
	BODY_STRING, /* char *, owned */
	BODY_CHOICE, /* uint32_t: index into choice */
	BODY_OBJECT, /* pointer to a structure of `body`, owned */
	BODY_LIST,   /* struct body_list of structures of `body`, or of strings if body is NULL */
	BODY_VALUE,  /* json_t *, owned: any value */
};

enum body_flag {
	BODY_REQUIRED = 1u << 0,
	BODY_NULLABLE = 1u << 1, /* null means absent, and absent is written as null */
	BODY_OMITTED = 1u << 2,  /* with BODY_NULLABLE: an absent one is not written at all */
	BODY_HIDDEN = 1u << 3,   /* is read and never written */
	BODY_PATH = 1u << 4,     /* BODY_STRING: "path string" in messages */
};

struct body_list {
	void *item; /* owned: structures, or char * each owned */
	size_t count;
};

struct body;

struct body_field {
	const char *name; /* NULL ends a table */
	enum body_kind kind;
	unsigned flags;
	size_t offset;
	uint64_t max;              /* BODY_UINT: UINT8_MAX ... UINT64_MAX, and so its name in messages */
	uint64_t preset;           /* BODY_BOOL, BODY_UINT, BODY_CHOICE: what an absent one is */
	const char *const *choice; /* BODY_CHOICE; NULL ends */
	const struct body *body;   /* BODY_OBJECT, BODY_LIST */
	bool (*is_good)(const char *text); /* BODY_STRING: further demands; NULL: none */
	const char *complaint;             /* what is said if they are not met */
	const char *help;                  /* for OpenAPI; a sentence without a final stop; may be NULL */
};

struct body {
	const char *name; /* "BootSourceConfig": in messages and as the schema's name */
	const struct body_field *field;
	size_t size;
	bool takes_others; /* unknown members are skipped, not refused */
};

/*
 * Reads one object into the zeroed structure. false: reader->error says why, and the structure holds nothing.
 */
bool body_read(struct json_reader *reader, const struct body *body, void *object);
/* The same from a text of which it is all. error is JSON_READER_ERROR_SIZE bytes. */
bool body_parse(const struct body *body, void *object, const char *text, size_t len, char *error);

/* Frees what the rows own and zeroes the structure. */
void body_clear(const struct body *body, void *object);
/* Presets in a zeroed structure. */
void body_init(const struct body *body, void *object);
/* The members that `from` was given replace those of `to`; `from` is cleared. */
void body_merge(const struct body *body, void *to, void *from);
/* Whether this member was given. */
bool body_is_given(const struct body *body, const void *object, const char *name);
/* Makes an absent member of the same name of kind BODY_OBJECT, BODY_STRING ... present after its field was
 * set by hand. */
void body_set_given(const struct body *body, void *object, const char *name);

/* Owned; NULL when out of memory. */
struct json_t *body_to_json(const struct body *body, const void *object);

/* "#/components/schemas": the JSON schema of this body. Owned. */
struct json_t *body_schema(const struct body *body);
