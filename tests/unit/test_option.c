/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/base/option: keyed records, from text and from JSON. The rest is tested with the machine's own rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/option.h"

struct thing {
	char *name;
	bool quick;
	uint32_t count;
	uint32_t shade;
	struct option_strings tags;
};

struct things {
	struct option_records thing;
};

static const struct option_choice shades[] = {{"light", NULL}, {"dark", NULL}, {NULL, NULL}};

static const struct option thing_rows[] = {
	{.path = "name", .type = OPTION_PATH, .offset = offsetof(struct thing, name)},
	{.path = "quick", .type = OPTION_BOOL, .offset = offsetof(struct thing, quick)},
	{.path = "count",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct thing, count),
	 .metavar = "N",
	 .max = 9},
	{.path = "shade", .type = OPTION_CHOICE, .offset = offsetof(struct thing, shade), .choice = shades},
	{.path = "tag", .type = OPTION_STRINGS, .offset = offsetof(struct thing, tags)},
	{.path = NULL},
};

static const struct option rows[] = {
	{.path = "things",
	 .flag = "--thing",
	 .type = OPTION_RECORDS,
	 .keyed = true,
	 .offset = offsetof(struct things, thing),
	 .element = thing_rows,
	 .element_size = sizeof(struct thing)},
	{.path = NULL},
};

static void test_pairs_set_fields(void **state)
{
	struct things things = {0};
	struct err err = {0};
	struct thing *thing;

	assert_int_equal(
		option_set_text(rows, &things, "a,,b,shade=dark,tag=x,,y,quick,tag=z=1,count=9", &err), 0);
	assert_int_equal(option_set_text(rows, &things, "c,quick=false", &err), 0);
	assert_int_equal(things.thing.count, 2);
	thing = things.thing.item;
	assert_string_equal(thing[0].name, "a,b");
	assert_true(thing[0].quick);
	assert_int_equal(thing[0].count, 9);
	assert_int_equal(thing[0].shade, 1);
	assert_int_equal(thing[0].tags.count, 2);
	assert_string_equal(thing[0].tags.item[0], "x,y");
	assert_string_equal(thing[0].tags.item[1], "z=1");
	assert_string_equal(thing[1].name, "c");
	assert_false(thing[1].quick);
	option_free(rows, &things);
}

static void test_wrong_pairs_leave_no_record(void **state)
{
	static const struct {
		const char *text, *message;
	} wrong[] = {
		{"a,colour=red", "\"colour\" is not known: there are quick, count, shade, tag"},
		{"a,name=b", "\"name\" is not known: there are quick, count, shade, tag"},
		{"a,count", "count needs a value: write count=N"},
		{"a,tag=t,count=10", "count: 10 is out of range: 0 to 9 is possible"},
		{"a,quick=perhaps", "quick: \"perhaps\" is neither true nor false"},
		{"a,shade=red", "shade: \"red\" is not known: there are light, dark"},
		{"a,quick,", NULL},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct things things = {0};
		struct err err = {0};
		int code = option_set_text(rows, &things, wrong[i].text, &err);

		assert_int_equal(code < 0, wrong[i].message != NULL);
		if (wrong[i].message)
			assert_string_equal(err.message, wrong[i].message);
		assert_int_equal(things.thing.count, wrong[i].message ? 0 : 1);
		option_free(rows, &things);
	}
}

static void test_json_and_back(void **state)
{
	static const char text[] =
		"{\"things\": [{\"name\": \"a,b\", \"quick\": true, \"count\": 3, \"shade\": \"dark\", "
		"\"tag\": [\"t\"]}]}";
	struct things things = {0};
	struct err err = {0};
	json_t *json = json_loads(text, 0, NULL);
	json_t *back;

	assert_int_equal(option_from_json(rows, &things, json, &err), 0);
	back = option_to_json(rows, &things);
	assert_true(json_equal(json, back));
	json_decref(back);
	json_decref(json);
	option_free(rows, &things);
	json = json_loads("{\"things\": [{\"name\": \"a\"}, {\"count\": \"many\"}]}", 0, NULL);
	assert_true(option_from_json(rows, &things, json, &err) < 0);
	assert_string_equal(err.message, "things[1]: count: \"many\" is not a number");
	json_decref(json);
	option_free(rows, &things);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs_set_fields),
		cmocka_unit_test(test_wrong_pairs_leave_no_record),
		cmocka_unit_test(test_json_and_back),
	};

	return cmocka_run_group_tests_name("option", tests, NULL, NULL);
}
