/* SPDX-License-Identifier: Apache-2.0 */
/* Asking and changing a machine that exists, as far as no particular device is meant. */
#include "vmm/machine/control.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "vmm/machine/accel_switch.h"
#include "vmm/base/err.h"
#include "vmm/machine/board.h"
#include "vmm/machine/console_hub.h"
#include "vmm/machine/parts.h"

#define CONTROL_COUNTERS_MAX 32

const struct machine_config *machine_config_of(const struct machine *machine)
{
	return &machine->config;
}

const char *machine_accel_name(const struct machine *machine)
{
	return machine->accel->name;
}

int machine_switch_accel(struct machine *machine, const char *name, struct err *err)
{
	return accel_switch(machine, name, err);
}

int machine_press_ctrl_alt_del(struct machine *machine, struct err *err)
{
	return machine->board->ctrl_alt_del(machine, err);
}

int machine_visit_console(struct machine *machine, int fd, struct err *err)
{
	if (machine->console)
		return console_hub_visit(machine->console, fd, err);
	close(fd);
	return err_set(err, -ENOENT, "the machine has no serial port");
}

static json_t *control_device_counters(const struct device *device)
{
	json_t *json = json_object();

	for (const struct metric_field *field = device->class->metrics; json && field->name; field++) {
		const _Atomic uint64_t *counter =
			(const _Atomic uint64_t *)(const void *)((const char *)device + field->offset);
		uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

		json_object_set_new(json, field->name, json_integer((json_int_t)value));
	}
	return json;
}

static json_t *control_accel_counters(const struct machine *machine)
{
	const char *names[CONTROL_COUNTERS_MAX];
	uint64_t values[CONTROL_COUNTERS_MAX];
	size_t count = accel_switch_counters(machine, names, values, CONTROL_COUNTERS_MAX);
	json_t *json = json_object();

	for (size_t i = 0; json && i < count && i < CONTROL_COUNTERS_MAX; i++)
		json_object_set_new(json, names[i], json_integer((json_int_t)values[i]));
	return json;
}

json_t *machine_counters(struct machine *machine)
{
	json_t *json = json_object();

	for (size_t i = 0; json && i < machine->device_count; i++) {
		const struct device *device = machine->device[i];

		if (device->class->metrics)
			json_object_set_new(json, device->id, control_device_counters(device));
	}
	if (json)
		json_object_set_new(json, "accel", control_accel_counters(machine));
	return json;
}

static const struct option *control_row(const char *path)
{
	const struct option *row = machine_options;

	while (row->path && strcmp(row->path, path) != 0)
		row++;
	assert(row->path); /* paths here are ours */
	return row;
}

int machine_add_wish(struct machine *machine, const char *path, const void *wish, struct err *err)
{
	const struct option *row = control_row(path);
	struct option_records *records = (void *)((char *)&machine->config + row->offset);
	json_t *json = option_to_json(row->element, wish);
	void *record = json ? option_add_record(row, &machine->config, err) : NULL;
	int code = record ? option_from_json(row->element, record, json, err)
			  : err_set(err, -E2BIG, "no room for one more");

	json_decref(json);
	if (code < 0 && record)
		machine_drop_wish(machine, path, records->count - 1);
	return code;
}

void machine_drop_wish(struct machine *machine, const char *path, size_t index)
{
	const struct option *row = control_row(path);
	struct option_records *records = (void *)((char *)&machine->config + row->offset);
	char *record = (char *)records->item + index * row->element_size;

	option_free(row->element, record);
	records->count--;
	memmove(record, record + row->element_size, (records->count - index) * row->element_size);
}
