/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration pipeline: option tables, JSON, command line, and what their mistakes are told as. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_accel.h"
#include "vmm/base/err.h"
#include "vmm/core/netdev.h"
#include "vmm/base/json.h"
#include "vmm/machine/cli.h"
#include "vmm/core/blockdev.h"
#include "vmm/machine/config.h"

const struct accel_ops *const accel_table[] = {&fake_accel_ops, NULL};

/* Reads JSON over a default configuration; the message, or "" when all is well. */
static const char *read_json(struct machine_config *config, const char *text, struct err *err)
{
	json_t *json;

	*err = (struct err){0};
	assert_int_equal(machine_config_init(config, NULL), 0);
	json = json_read_text("test", text, strlen(text), err);
	if (json)
		option_from_json(machine_options, config, json, err);
	json_decref(json);
	return err->message;
}

static void test_json_fills_every_field(void **state)
{
	struct machine_config config;
	struct machine_module *modules;
	struct err err;

	assert_string_equal(
		read_json(
			&config,
			"{\"boot\": {\"kernel\": \"k\", \"initrd\": [\"a\", \"b\"], \"append\": \"x y\", "
			"\"protocol\": "
			"\"pvh\", \"modules\": [{\"path\": \"m\", \"cmdline\": \"c d\"}, {\"path\": \"n\"}]},"
			" \"machine\": {\"memory\": \"2G\", \"cpus\": 4, \"cpu\": \"max\"},"
			" \"serial\": [\"null\", \"pty\"], \"exit_code_port\": \"0x501\", \"no_reboot\": "
			"true,"
			" \"log_level\": \"debug\"}",
			&err),
		"");
	modules = config.modules.item;
	assert_string_equal(config.kernel, "k");
	assert_int_equal(config.initrd.count, 2);
	assert_string_equal(config.initrd.item[1], "b");
	assert_string_equal(config.append, "x y");
	assert_int_equal(config.protocol, 2);
	assert_int_equal(config.modules.count, 2);
	assert_string_equal(modules[0].cmdline, "c d");
	assert_null(modules[1].cmdline);
	assert_true(config.memory_bytes == 2ull << 30);
	assert_int_equal(config.cpus, 4);
	assert_int_equal(config.serial.count, 2); /* the file's list replaces the default */
	assert_string_equal(config.serial.item[0], "null");
	assert_int_equal(config.exit_code_port, 0x501);
	assert_true(config.no_reboot);
	machine_config_free(&config);
}

static void test_json_mistakes_name_the_path(void **state)
{
	static const struct {
		const char *json, *message;
	} wrong[] = {
		{"{\"machine\": {\"memry\": \"1G\"}}",
		 "machine.memry: unknown key; did you mean \"memory\"?"},
		{"{\"boott\": {}}", "boott: unknown key; did you mean \"boot\"?"},
		{"{\"zzzzzz\": 1}", "zzzzzz: unknown key"},
		{"{\"machine\": 3}", "machine: is a number and must be an object"},
		{"{\"machine\": {\"memory\": \"12Q\"}}", "machine.memory: \"12Q\" is not a size: write a "
							 "whole number and K, M, G or T, such as 512M"},
		{"{\"machine\": {\"memory\": true}}",
		 "machine.memory: is true and must be a size, such as \"512M\""},
		{"{\"machine\": {\"memory\": \"1K\"}}",
		 "machine.memory: 1K is out of range: 1M to 1T is possible"},
		{"{\"machine\": {\"cpus\": 0}}", "machine.cpus: 0 is out of range: 1 to 255 is possible"},
		{"{\"machine\": {\"cpus\": -1}}", "machine.cpus: \"-1\" is not a number"},
		{"{\"machine\": {\"cpus\": 1.5}}", "machine.cpus: is a fraction and must be a number"},
		{"{\"serial\": \"stdio\"}", "serial: is a string and must be a list"},
		{"{\"serial\": [\"null\", 7]}", "serial[1]: is a number and must be a string"},
		{"{\"no_reboot\": \"yes\"}", "no_reboot: is a string and must be true or false"},
		{"{\"boot\": {\"modules\": [{\"path\": \"x\"}, {\"pth\": \"y\"}]}}",
		 "boot.modules[1]: pth: unknown key; did you mean \"path\"?"},
		{"{\"boot\": {\"protocol\": \"grub\"}}",
		 "boot.protocol: \"grub\" is not known: there are auto, linux, pvh, multiboot, flat"},
		{"{\"boot\": {\"kernel\": \"a\\u0000b\"}}", "test:1:30:"},
		{"[]", "is a list and must be an object"},
		{"{\"boot\": {}, \"boot\": {}}", "test:1:"},
		{"{", "test:1:1: "},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct machine_config config;
		struct err err;

		read_json(&config, wrong[i].json, &err);
		if (strncmp(err.message, wrong[i].message, strlen(wrong[i].message)) != 0)
			fail_msg("%s: \"%s\", expected \"%s\"", wrong[i].json, err.message, wrong[i].message);
		machine_config_free(&config);
	}
}

static void test_json_null_keeps_the_default(void **state)
{
	struct machine_config config;
	struct err err;

	assert_string_equal(read_json(&config, "{\"machine\": {\"cpus\": null}, \"serial\": null}", &err),
			    "");
	assert_int_equal(config.cpus, 1);
	assert_string_equal(config.serial.item[0], "stdio");
	machine_config_free(&config);
}

static void test_copy_is_equal_and_independent(void **state)
{
	struct machine_config config;
	struct machine_config copy;
	struct err err;
	json_t *one;
	json_t *two;

	read_json(&config,
		  "{\"boot\": {\"kernel\": \"k\", \"initrd\": [\"i\"], \"modules\": [{\"path\": \"a,b\", "
		  "\"cmdline\": \"c\"}]},"
		  " \"machine\": {\"memory\": \"1537K\", \"cpus\": 7}, \"exit_code_port\": 1281}",
		  &err);
	assert_int_equal(machine_config_copy(&copy, &config, NULL), 0);
	one = option_to_json(machine_options, &config);
	two = option_to_json(machine_options, &copy);
	assert_true(json_equal(one, two));
	assert_ptr_not_equal(config.kernel, copy.kernel);
	json_decref(one);
	json_decref(two);
	machine_config_free(&config);
	machine_config_free(&copy);
}

/* Parses and applies a command line, words separated by blanks; the message, or "". */
static const char *apply_words(struct machine_config *config, const char *line, struct err *err)
{
	static struct cli_settings settings;
	const struct cli_options options[] = {{machine_options, config}, {NULL, NULL}};
	char text[256];
	char *words[32];
	int count = 0;

	*err = (struct err){0};
	assert_int_equal(machine_config_init(config, NULL), 0);
	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		words[count++] = word;
	if (cli_parse(count, words, options, &settings, err) == 0)
		cli_apply(&settings, config, err);
	return err->message;
}

static void test_flags_set_fields(void **state)
{
	struct machine_config config;
	struct machine_module *modules;
	struct err err;

	assert_string_equal(
		apply_words(&config,
			    "--kernel k --mem=1G --initrd a --initrd b --module m,x=1,y --module n,,o "
			    "--serial null --exit-code-port --no-reboot --cpus 3",
			    &err),
		"");
	modules = config.modules.item;
	assert_true(config.memory_bytes == 1ull << 30);
	assert_int_equal(config.initrd.count, 2);
	assert_string_equal(modules[0].path, "m");
	assert_string_equal(modules[0].cmdline, "x=1,y");
	assert_string_equal(modules[1].path, "n,o");
	assert_null(modules[1].cmdline);
	assert_int_equal(config.serial.count, 1); /* replaces the default */
	assert_string_equal(config.serial.item[0], "null");
	assert_int_equal(config.exit_code_port, 0x501);
	assert_true(config.no_reboot);
	machine_config_free(&config);
	assert_string_equal(apply_words(&config, "--exit-code-port 0x600 --mem 64", &err), "");
	assert_int_equal(config.exit_code_port, 0x600);
	assert_true(config.memory_bytes == 64ull << 20);
	machine_config_free(&config);
}

static void test_disks_from_flags_and_json(void **state)
{
	struct machine_config config, copy;
	struct machine_disk *disks;
	struct err err;

	assert_string_equal(apply_words(&config,
					"--kernel k --disk a,,b,readonly,cache=direct,iops=100,bps=2M --disk "
					"c,engine=threads,queues=2,block_size=4096,serial=s,id=root",
					&err),
			    "");
	assert_int_equal(machine_config_check(&config, &err), 0);
	assert_int_equal(machine_config_copy(&copy, &config, &err), 0);
	assert_int_equal(copy.disks.count, 2);
	disks = copy.disks.item;
	assert_string_equal(disks[0].path, "a,b");
	assert_true(disks[0].readonly);
	assert_int_equal(disks[0].cache, BLOCK_CACHE_DIRECT);
	assert_int_equal(disks[0].iops, 100);
	assert_true(disks[0].bytes_per_s == 2 << 20);
	assert_int_equal(disks[1].engine, BLOCK_ENGINE_THREADS);
	assert_int_equal(disks[1].queues, 2);
	assert_int_equal(disks[1].block_bytes, 4096);
	assert_string_equal(disks[1].serial, "s");
	assert_string_equal(disks[1].id, "root");
	machine_config_free(&copy);
	machine_config_free(&config);
}

static void test_shares_and_sockets(void **state)
{
	struct machine_config config, copy;
	const struct machine_share *shares;
	const struct machine_vsock *vsock;
	const struct machine_vhost_user *users;
	struct err err;

	assert_string_equal(
		apply_words(&config,
			    "--kernel k --share a,docs,readonly --share b,readonly --share c,tag=t "
			    "--vsock cid=7,path=/v --vhost-user-blk /b,queues=2 --vhost-user-fs "
			    "socket=/f,tag=x --vhost-user-net /n,mac=52:54:00:00:00:01",
			    &err),
		"");
	assert_int_equal(machine_config_check(&config, &err), 0);
	assert_int_equal(machine_config_copy(&copy, &config, &err), 0);
	shares = copy.shares.item;
	assert_int_equal(copy.shares.count, 3);
	assert_string_equal(shares[0].path, "a");
	assert_string_equal(shares[0].tag, "docs");
	assert_true(shares[0].readonly && shares[1].readonly && !shares[2].readonly);
	assert_null(shares[1].tag);
	assert_string_equal(shares[2].tag, "t");
	vsock = copy.vsock.item;
	assert_int_equal(vsock->cid, 7);
	assert_string_equal(vsock->path, "/v");
	users = copy.vhost_user_fs.item;
	assert_string_equal(users->socket, "/f");
	assert_string_equal(users->tag, "x");
	users = copy.vhost_user_blk.item;
	assert_int_equal(users->queues, 2);
	machine_config_free(&copy);
	machine_config_free(&config);
}

/* Addresses that were not given are made up once, and no two are alike. */
static void test_what_was_left_to_chance(void **state)
{
	struct machine_config config, copy;
	struct netdev_config *cards;
	struct err err;

	assert_string_equal(apply_words(&config,
					"--kernel k --net user --net user,mac=52:54:00:00:00:01 "
					"--vhost-user-net /n",
					&err),
			    "");
	assert_int_equal(machine_config_copy(&copy, &config, &err), 0);
	assert_int_equal(machine_config_complete(&config, &err), 0);
	assert_int_equal(machine_config_complete(&copy, &err), 0);
	cards = config.net.item;
	assert_non_null(cards[0].mac);
	assert_non_null(((struct machine_vhost_user *)config.vhost_user_net.item)->mac);
	assert_string_equal(cards[1].mac, "52:54:00:00:00:01");
	assert_string_not_equal(cards[0].mac, ((struct netdev_config *)copy.net.item)->mac);
	machine_config_free(&copy);
	assert_int_equal(machine_config_copy(&copy, &config, &err), 0);
	assert_int_equal(machine_config_complete(&copy, &err), 0);
	assert_string_equal(cards[0].mac, ((struct netdev_config *)copy.net.item)->mac);
	assert_int_equal(machine_config_check(&copy, &err), 0);
	machine_config_free(&copy);
	machine_config_free(&config);
}

static void test_mistakes_of_shares_and_sockets(void **state)
{
	/* What is wrong, and a part of what is said of it. The first must not become a share's tag. */
	static const struct {
		const char *words, *message;
	} wrong[] = {
		{"--share a,readnly", "readnly"},
		{"--share a,t --share b,t", "two shares have the tag t"},
		{"--vsock /v --vsock /w", "one socket device"},
		{"--vsock cid=2,path=/v", "cid: 2"},
		{"--vsock cid=5", "no path"},
		{"--vhost-user-fs /f", "there is no tag"},
		{"--vhost-user-net /n,mac=x", "no MAC address"},
		{"--vhost-user-blk /b,queues=17", "queues"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct machine_config config;
		struct err err = {0};
		char words[128];
		const char *said;

		snprintf(words, sizeof(words), "--kernel k %s", wrong[i].words);
		said = apply_words(&config, words, &err);
		if (!said[0]) {
			assert_true(machine_config_check(&config, &err) < 0);
			said = err.message;
		}
		if (!strstr(said, wrong[i].message))
			fail_msg("%s: %s", wrong[i].words, said);
		machine_config_free(&config);
	}
}

static void test_flag_mistakes_name_the_flag(void **state)
{
	static const struct {
		const char *words, *message;
	} wrong[] = {
		{"--kernal x", "unknown option --kernal; did you mean --kernel?"},
		{"--frobnicate", "unknown option --frobnicate"},
		{"vmlinuz", "unexpected argument \"vmlinuz\": options begin with --"},
		{"--mem", "--mem needs an argument: SIZE"},
		{"--no-reboot=1", "--no-reboot takes no argument"},
		{"--mem 3X",
		 "--mem: \"3X\" is not a size: write a whole number and K, M, G or T, such as 512M"},
		{"--cpus 0", "--cpus: 0 is out of range: 1 to 255 is possible"},
		{"--cpus two", "--cpus: \"two\" is not a number"},
		{"--exit-code-port 0x10000",
		 "--exit-code-port: 0x10000 is out of range: 0 to 65532 is possible"},
		{"--log-level loud",
		 "--log-level: \"loud\" is not known: there are off, error, warning, info, debug, trace"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct machine_config config;
		struct err err;

		assert_string_equal(apply_words(&config, wrong[i].words, &err), wrong[i].message);
		machine_config_free(&config);
	}
}

static void test_check_names_flag_and_path(void **state)
{
	static const struct {
		const char *words, *message;
	} wrong[] = {
		{"--mem 1G",
		 "--kernel (boot.kernel): there is no kernel to boot: name one, such as --kernel bzImage"},
		{"--kernel k --serial stdin", "--serial (serial): \"stdin\" is not known: there are stdio, "
					      "file:PATH, pty, socket:PATH, null"},
		{"--kernel k --serial file",
		 "--serial (serial): \"file\" lacks its argument: write file:PATH"},
		{"--kernel k --serial null:x", "--serial (serial): \"null:x\": null takes no argument"},
		{"--kernel k --serial null --serial null --serial null",
		 "--serial (serial): 3 serial ports are asked for: the board has 2"},
		{"--kernel k --cpu i486",
		 "--cpu (machine.cpu): no CPU model \"i486\": "
		 "there are auto, x86-64, x86-64-v2, x86-64-v3, max"},
		{"--kernel k --machine q35", "--machine (machine.board): no board \"q35\": there is microvm"},
		{"--kernel k --accel xen",
		 "--accel (machine.accel): no accelerator \"xen\": there are auto, fake"},
		{"--kernel k --disk ,readonly",
		 "--disk (disks): disk 1: has no file: write PATH or PATH,KEY=VALUE..."},
		{"--kernel k --disk a --disk b,format=vhd",
		 "--disk (disks): disk 2: format \"vhd\" is not known: there are auto, raw"},
		{"--kernel k --disk a,block_size=1024",
		 "--disk (disks): disk 1: block_size: 1024 is neither 512 nor 4096"},
		{"--kernel k --disk a --disk b,id=disk0",
		 "--disk (disks): disk 2: id: \"disk0\" is disk 1's, too"},
		{"--kernel k --disk a,serial=123456789012345678901",
		 "--disk (disks): disk 1: serial: \"123456789012345678901\" is longer than 20 characters"},
		{"--kernel k --disk a,pin,engine=threads",
		 "--disk (disks): disk 1: pin: is for io_uring, not for engine=threads"},
		{"--kernel k --module ,x",
		 "--module (boot.modules): module 1 has no file: write FILE or FILE,CMDLINE"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct machine_config config;
		struct err err;

		assert_string_equal(apply_words(&config, wrong[i].words, &err), "");
		assert_true(machine_config_check(&config, &err) < 0);
		assert_string_equal(err.message, wrong[i].message);
		machine_config_free(&config);
	}
}

static void test_lists_are_bounded(void **state)
{
	struct machine_config config;
	const struct option *initrd = option_find_flag(machine_options, "--initrd", strlen("--initrd"));

	assert_int_equal(machine_config_init(&config, NULL), 0);
	for (int i = 0; i < OPTION_LIST_MAX; i++)
		assert_int_equal(option_set_text(initrd, &config, "x", NULL), 0);
	assert_int_equal(option_set_text(initrd, &config, "x", NULL), -E2BIG);
	machine_config_free(&config);
}

/* Every row can be written by --print-config and read back; every flag is unique. */
static void test_the_table_is_sound(void **state)
{
	for (const struct option *a = machine_options; a->path; a++) {
		assert_non_null(a->flag);
		assert_non_null(a->help);
		assert_ptr_equal(option_find_flag(machine_options, a->flag, strlen(a->flag)), a);
		for (const struct option *b = machine_options; b < a; b++)
			assert_string_not_equal(a->path, b->path);
	}
}

static void test_nearest(void **state)
{
	static const char *const names[] = {"--kernel", "--mem", "--cpus", NULL};

	assert_string_equal(option_nearest("--kernl", names), "--kernel");
	assert_string_equal(option_nearest("--cpu", names), "--cpus");
	assert_null(option_nearest("--xyzzy", names));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_fills_every_field),
		cmocka_unit_test(test_json_mistakes_name_the_path),
		cmocka_unit_test(test_json_null_keeps_the_default),
		cmocka_unit_test(test_copy_is_equal_and_independent),
		cmocka_unit_test(test_flags_set_fields),
		cmocka_unit_test(test_disks_from_flags_and_json),
		cmocka_unit_test(test_shares_and_sockets),
		cmocka_unit_test(test_what_was_left_to_chance),
		cmocka_unit_test(test_mistakes_of_shares_and_sockets),
		cmocka_unit_test(test_flag_mistakes_name_the_flag),
		cmocka_unit_test(test_check_names_flag_and_path),
		cmocka_unit_test(test_lists_are_bounded),
		cmocka_unit_test(test_the_table_is_sound),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
