/* SPDX-License-Identifier: Apache-2.0 */
/* JSON files: read with a size limit and messages that name file, line and column. */
#pragma once

#include <stddef.h>

struct err;
struct json_t;

#define JSON_FILE_SIZE_MAX (1u << 20) /* a configuration has a few KiB: bounds the parser's memory */

/* Reads a JSON document ("-" is standard input); duplicate keys are errors. Owned (json_decref), or NULL with
 * err set. */
struct json_t *json_read_file(const char *path, struct err *err);
/* The same from text; `name` is what messages call it. */
struct json_t *json_read_text(const char *name, const char *text, size_t len, struct err *err);
