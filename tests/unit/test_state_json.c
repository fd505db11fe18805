/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/machine/state_json: a state table to JSON and back, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>

#include "vmm/base/err.h"
#include "vmm/core/device.h"
#include "vmm/machine/state_json.h"

struct sample_part {
	uint16_t word;
	bool flag;
};

struct sample {
	uint8_t byte;
	uint32_t number;
	uint64_t wide[2];
	uint8_t bytes[3];
	uint32_t part_count;
	struct sample_part part[2];
};

static const struct state_group sample_group = {
	.count_offset = offsetof(struct sample, part_count),
	.stride = sizeof(struct sample_part),
};

static const struct state_field sample_fields[] = {
	STATE_FIELD_MAX(STATE_U8, struct sample, byte, 15),
	STATE_FIELD(STATE_U32, struct sample, number),
	STATE_ARRAY(STATE_U64, struct sample, wide, 2),
	STATE_ARRAY(STATE_U8, struct sample, bytes, 3),
	{"part.word", STATE_U16, offsetof(struct sample, part[0].word), 1, &sample_group, 0},
	{"part.flag", STATE_BOOL, offsetof(struct sample, part[0].flag), 1, &sample_group, 0},
	{.name = NULL},
};

static void test_a_table_comes_back(void **state)
{
	const struct sample sample = {.byte = 15,
				      .number = UINT32_MAX,
				      .wide = {0, UINT64_MAX},
				      .bytes = {0, 0x7f, 0xff},
				      .part_count = 2,
				      .part = {{1, true}, {UINT16_MAX, false}}};
	struct sample loaded = {.part_count = 2};
	json_t *json = state_to_json(sample_fields, &sample);

	assert_int_equal(state_from_json(sample_fields, &loaded, json, NULL), 0);
	assert_int_equal(loaded.byte, sample.byte);
	assert_int_equal(loaded.number, sample.number);
	assert_memory_equal(loaded.wide, sample.wide, sizeof(sample.wide));
	assert_memory_equal(loaded.bytes, sample.bytes, sizeof(sample.bytes));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(loaded.part[i].word, sample.part[i].word);
		assert_int_equal(loaded.part[i].flag, sample.part[i].flag);
	}
	json_decref(json);
	(void)state;
}

static void test_what_a_table_refuses(void **state)
{
	static const char *const refused[] = {
		"[]",
		"{\"byte\": 16}",
		"{\"byte\": -1}",
		"{\"byte\": \"1\"}",
		"{\"byte\": 1.0}",
		"{\"number\": 4294967296}",
		"{\"number\": null}",
		"{\"wide\": [\"0x1\"]}",
		"{\"wide\": [\"0x1\", 2]}",
		"{\"wide\": [\"0x1\", \"2\"]}",
		"{\"wide\": [\"0x1\", \"0x\"]}",
		"{\"wide\": [\"0x1\", \"0x11112222333344445\"]}",
		"{\"bytes\": \"0011\"}",
		"{\"bytes\": \"00112g\"}",
		"{\"bytes\": [0, 1, 2]}",
		"{\"part.word\": [1]}",
		"{\"part.word\": [1, 65536]}",
		"{\"part.flag\": [true, 1]}",
		"{\"colour\": 1}",
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct sample sample = {.part_count = 2};
		struct err err = {0};
		json_t *json = json_loads(refused[i], 0, NULL);

		assert_non_null(json);
		assert_int_equal(state_from_json(sample_fields, &sample, json, &err), -EINVAL);
		assert_int_not_equal(err.message[0], '\0');
		json_decref(json);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_table_comes_back),
		cmocka_unit_test(test_what_a_table_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
