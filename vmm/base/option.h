/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option tables: one row says the name, type, limits and help of a setting, and where its field is. Command
 * line, JSON files, help text, manual page and completion all read the same rows. Knows no machine.
 *
 * A row's path places it in JSON: "boot.kernel" is the key "kernel" of the object "boot".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct json_t;

enum option_type {
	OPTION_STRING,  /* char *, owned; NULL: not set */
	OPTION_PATH,    /* as OPTION_STRING; completion offers files */
	OPTION_BOOL,    /* bool; the flag takes no argument and sets true */
	OPTION_UINT,    /* uint32_t within [min, max] */
	OPTION_SIZE,    /* uint64_t bytes within [min, max]; a plain number is MiB, as QEMU has it */
	OPTION_CHOICE,  /* uint32_t: index into choice */
	OPTION_STRINGS, /* struct option_strings; the flag may be repeated */
	OPTION_RECORDS, /* struct option_records; the flag may be repeated: FIRST[,SECOND], or keyed */
};

#define OPTION_LIST_MAX 64 /* items of a list: bounds what a configuration can ask for */

struct option_strings {
	char **item; /* owned, each too */
	size_t count;
};

/* Elements are structures of element_size bytes whose fields the element table describes. */
struct option_records {
	void *item; /* owned; contents freed by the element table */
	size_t count;
};

struct option_choice {
	const char *name;
	const char *summary; /* for the help; may be NULL */
};

struct option {
	const char *path; /* JSON path; NULL ends a table */
	const char *flag; /* "--mem"; NULL: only in JSON */
	enum option_type type;
	size_t offset;            /* of the field in the structure that the table describes */
	const char *metavar;      /* "SIZE", for the help */
	const char *help;         /* one sentence without a final stop */
	const char *default_text; /* as the help says it; NULL: not said */
	uint64_t min, max;        /* OPTION_UINT, OPTION_SIZE; max 0: no limit */
	const struct option_choice
		*choice; /* OPTION_CHOICE, ends with name NULL; OPTION_STRING: names to complete and list */
	const char *implied; /* OPTION_UINT: the flag's argument may be left out and is then this */
	const struct option
		*element; /* OPTION_RECORDS: string rows; the first two are the flag's FIRST and SECOND */
	size_t element_size;
	bool keyed; /* OPTION_RECORDS: FIRST[,KEY[=VALUE]]..., where FIRST is the first row and a KEY the path
		       of another, of any type; a bool's VALUE may be left out */
	bool named; /* keyed: the first word may be KEY=VALUE as well, as in cid=3,path=/run/v */
	const char *bare; /* keyed: path of the row that a second word is for which is no KEY nor like one */
};

/* Frees what the rows own in object and clears the fields. */
void option_free(const struct option *table, void *object);

/* Sets the field from text; a list gains an item. 0, or -errno with a message that does not name the flag. */
int option_set_text(const struct option *option, void *object, const char *text, struct err *err);
/* Adds a record of zeroes to an OPTION_RECORDS row; borrowed until the next one, or NULL with err set. */
void *option_add_record(const struct option *option, void *object, struct err *err);
/* Empties a list row; nothing for others. */
void option_clear_list(const struct option *option, void *object);
/* Whether a flag of this row takes an argument. */
enum option_argument { OPTION_ARGUMENT_NONE, OPTION_ARGUMENT_REQUIRED, OPTION_ARGUMENT_OPTIONAL };
enum option_argument option_argument(const struct option *option);

const struct option *option_find_flag(const struct option *table, const char *flag, size_t flag_len);

/*
 * Fills object from a parsed JSON object: every key must be a row's, with a value of its type; null leaves a
 * field as it is. A list in the file replaces the list in the object. Messages begin with the path:
 * `machine.memory: ...`.
 */
int option_from_json(const struct option *table, void *object, const struct json_t *json, struct err *err);
/* The whole object as JSON, every row in order; unset strings are null. NULL when out of memory. */
struct json_t *option_to_json(const struct option *table, const void *object);

/* The name nearest to `name` if one is near enough to be meant, else NULL. names ends with NULL. */
const char *option_nearest(const char *name, const char *const *names);
