/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a body of the type that the first byte chooses, or as any JSON value: read, or refused with a
 * message and a place; what was read is written, and reads again as the same.
 */
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_reader.h"
#include "api/models.h"
#include "tests/fuzz/fuzz.h"

static const struct body *const fuzz_types[] = {
	&boot_source_type,
	&machine_type,
	&machine_update_type,
	&drive_type,
	&drive_update_type,
	&pmem_type,
	&net_type,
	&net_update_type,
	&vsock_type,
	&entropy_type,
	&serial_type,
	&balloon_type,
	&memory_hotplug_type,
	&logger_type,
	&metrics_type,
	&mmds_config_type,
	&action_type_body,
	&vm_update_type,
	&snapshot_create_type,
	&snapshot_load_type,
	&vm_config_type,
};
#define FUZZ_TYPES (sizeof(fuzz_types) / sizeof(fuzz_types[0]))

static void fuzz_value(const char *text, size_t len)
{
	struct json_reader reader;
	json_t *value;

	json_reader_init(&reader, text, len);
	value = json_read_value(&reader);
	assert(value || (reader.failed && strstr(reader.error, " at line ")));
	json_decref(value);
}

static void fuzz_body(const struct body *body, const char *text, size_t len)
{
	void *object = calloc(1, body->size);
	void *again = calloc(1, body->size);
	char error[JSON_READER_ERROR_SIZE];

	assert(object && again);
	if (body_parse(body, object, text, len, error)) {
		json_t *json = body_to_json(body, object);

		assert(json);
		body_merge(body, again, object);
		json_decref(json);
	} else {
		assert(strstr(error, " at line "));
	}
	body_clear(body, object);
	body_clear(body, again);
	free(object);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (size < 1)
		return 0;
	if (data[0] % (FUZZ_TYPES + 1) == FUZZ_TYPES)
		fuzz_value(text, size - 1);
	else
		fuzz_body(fuzz_types[data[0] % (FUZZ_TYPES + 1)], text, size - 1);
	return 0;
}
