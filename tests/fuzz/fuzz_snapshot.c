/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile state file: a machine on a fake accelerator is saved, values of the text are changed, and a
 * machine made of it is refused, or it goes on, stops and ends like any other. The input is a list of
 * changes, ten bytes each: which value (16 bits, of all that there are), and what it becomes.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/fake_accel.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/machine/snapshot_parts.h"

const struct accel_ops *const accel_table[] = {&fake_accel_ops, NULL};

#define FUZZ_MEMORY      (1u << 20)
#define FUZZ_CHANGE_SIZE 10u
#define FUZZ_CHANGES_MAX 16u

static void fuzz_set(struct machine_config *config, const char *path, const char *text)
{
	for (const struct option *option = machine_options; option->path; option++) {
		if (strcmp(option->path, path) == 0)
			option_set_text(option, config, text, NULL);
	}
}

static void fuzz_configure(struct machine_config *config, const char *kernel, bool is_pci)
{
	machine_config_init(config, NULL);
	fuzz_set(config, "boot.kernel", kernel);
	fuzz_set(config, "boot.protocol", "flat");
	fuzz_set(config, "machine.memory", "1M");
	fuzz_set(config, "machine.cpus", "2");
	fuzz_set(config, "virtio.transport", is_pci ? "pci" : "mmio");
	fuzz_set(config, "rng", "/dev/zero");
	fuzz_set(config, "console", "null");
	fuzz_set(config, "balloon", "size=4M");
	free(config->serial.item[0]);
	config->serial.item[0] = strdup("null");
}

/* The value of this number, counted through the whole text; replaced in its parent. */
struct fuzz_walk {
	unsigned left;
	uint64_t value;
	bool done;
};

static json_t *fuzz_value(const json_t *old, uint64_t value)
{
	char text[32];
	char *bytes;
	json_t *changed;

	if (json_is_boolean(old))
		return json_boolean(value & 1);
	if (json_is_integer(old))
		return json_integer((json_int_t)value);
	if (!json_is_string(old) || json_string_length(old) == 0)
		return NULL;
	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	if (strncmp(json_string_value(old), "0x", 2) == 0)
		return json_string(text);
	bytes = strdup(json_string_value(old));
	bytes[(value >> 8) % json_string_length(old)] = "0123456789abcdef"[value & 15];
	changed = json_string(bytes);
	free(bytes);
	return changed;
}

static void fuzz_walk(struct fuzz_walk *walk, json_t *json);

static bool fuzz_is_leaf(struct fuzz_walk *walk, json_t *json)
{
	if (json_is_object(json) || json_is_array(json)) {
		fuzz_walk(walk, json);
		return false;
	}
	return !walk->done && walk->left-- == 0;
}

static void fuzz_walk(struct fuzz_walk *walk, json_t *json)
{
	const char *key;
	json_t *value;
	size_t index;

	json_object_foreach(json, key, value)
	{
		if (!walk->done && fuzz_is_leaf(walk, value)) {
			walk->done = true;
			json_object_set_new(json, key, fuzz_value(value, walk->value));
			return;
		}
	}
	json_array_foreach(json, index, value)
	{
		if (!walk->done && fuzz_is_leaf(walk, value)) {
			walk->done = true;
			json_array_set_new(json, index, fuzz_value(value, walk->value));
			return;
		}
	}
}

static void fuzz_change(json_t *root, const uint8_t *change)
{
	static const char *const parts[] = {"devices", "cpus", "capabilities"};
	struct fuzz_walk walk = {.left = (unsigned)(change[0] | change[1] << 8)};

	memcpy(&walk.value, change + 2, sizeof(walk.value));
	for (unsigned i = 0; i < 3 && !walk.done; i++)
		fuzz_walk(&walk, json_object_get(root, parts[i]));
}

/* What it says must be possible is tried: going on, stopping, being saved again. */
static void fuzz_restore(json_t *root, const struct machine_config *config, const char *memory_path)
{
	const struct machine_snapshot_memory memory = {.path = memory_path};
	struct err err = {0};
	struct machine_snapshot *snapshot = snapshot_take(root, &err);
	struct machine *machine = NULL;

	if (snapshot) {
		machine_config_free(&snapshot->config);
		machine_config_copy(&snapshot->config, config, NULL);
		machine = machine_restore(snapshot, &memory, &err);
	}
	if (machine && machine_resume(machine, &err) == 0 && machine_pause(machine, &err) == 0)
		json_decref(snapshot_state_to_json(machine, &err));
	machine_destroy(machine);
	machine_snapshot_close(snapshot);
}

static void fuzz_run(const uint8_t *data, size_t size, const struct machine_config *config,
		     const char *memory_path)
{
	struct err err = {0};
	struct machine *machine = machine_create(config, &err);
	json_t *root;

	if (!machine || machine_pause(machine, &err) < 0)
		abort();
	root = snapshot_state_to_json(machine, &err);
	machine_destroy(machine);
	for (size_t at = 0; at + FUZZ_CHANGE_SIZE <= size && at < FUZZ_CHANGE_SIZE * FUZZ_CHANGES_MAX;
	     at += FUZZ_CHANGE_SIZE)
		fuzz_change(root, data + at);
	fuzz_restore(root, config, memory_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int kernel = memfd_create("kernel", MFD_CLOEXEC), memory = memfd_create("memory", MFD_CLOEXEC);
	char kernel_path[32], memory_path[32];
	struct machine_config config;

	if (size < 1 || kernel < 0 || memory < 0 || write(kernel, "l", 1) != 1 ||
	    ftruncate(memory, FUZZ_MEMORY) < 0)
		goto out;
	log_set_level(LOG_OFF);
	snprintf(kernel_path, sizeof(kernel_path), "/proc/self/fd/%d", kernel);
	snprintf(memory_path, sizeof(memory_path), "/proc/self/fd/%d", memory);
	fuzz_configure(&config, kernel_path, data[0] & 1);
	fuzz_run(data + 1, size - 1, &config, memory_path);
	machine_config_free(&config);
out:
	close(kernel);
	close(memory);
	return 0;
}
