/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics: one tree of all figures in Firecracker's groups; the file gets differences of it, Prometheus
 * gets it whole. Counters that nothing here counts are 0: readers look for each.
 */
#include "api/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/metrics_groups.h"
#include "api/route.h"
#include "api/vm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/machine/control.h"

void api_metrics_init(struct api_metrics *metrics)
{
	*metrics = (struct api_metrics){.fd = -1};
}

void api_metrics_free(struct api_metrics *metrics)
{
	if (metrics->fd >= 0)
		close(metrics->fd);
	json_decref(metrics->properties);
	json_decref(metrics->last);
	api_metrics_init(metrics);
}

int api_metrics_open(struct api_metrics *metrics, const struct metrics_body *body, struct err *err)
{
	int fd;

	if (metrics->fd >= 0)
		return err_set(
			err, -EEXIST,
			"Cannot initialize the metrics system due to bad user input: Reinitialization of "
			"metrics not allowed.");
	fd = open(body->metrics_path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set(err, -errno,
			       "Cannot initialize the metrics system due to bad user input: %s (os error %d)",
			       strerror(errno), errno);
	metrics->fd = fd;
	metrics->emit_id = body->emit_id;
	metrics->properties = json_incref(body->properties);
	return 0;
}

/* --- the tree */

static void metrics_add(json_t *group, const char *name, uint64_t amount)
{
	json_t *old = json_object_get(group, name);

	json_object_set_new(group, name, json_integer(json_integer_value(old) + (json_int_t)amount));
}

static json_t *metrics_group(json_t *tree, const char *name)
{
	json_t *group = json_object_get(tree, name);

	if (!group) {
		group = json_object();
		json_object_set_new(tree, name, group);
	}
	return group;
}

/* All groups with all fields at 0. */
static json_t *metrics_zero(void)
{
	json_t *tree = json_object();

	for (const struct metrics_group_fields *row = metrics_groups; tree && row->group; row++) {
		json_t *group = metrics_group(tree, row->group);

		for (const char *const *field = row->field; *field; field++) {
			if (strstr(*field, "_agg"))
				json_object_set_new(
					group, *field,
					json_pack("{s:i,s:i,s:i}", "min_us", 0, "max_us", 0, "sum_us", 0));
			else
				json_object_set_new(group, *field, json_integer(0));
		}
	}
	return tree;
}

static const char *metrics_request_group(enum http_method method)
{
	switch (method) {
	case HTTP_GET: return "get_api_requests";
	case HTTP_PUT: return "put_api_requests";
	case HTTP_PATCH: return "patch_api_requests";
	case HTTP_DELETE: return NULL;
	}
	return NULL;
}

static void metrics_add_requests(const struct api_metrics *metrics, json_t *tree)
{
	for (size_t i = 0; api_routes[i].path; i++) {
		const char *group = metrics_request_group(api_routes[i].method);
		char name[64];

		if (!group || !api_routes[i].metric)
			continue;
		snprintf(name, sizeof(name), "%s_count", api_routes[i].metric);
		metrics_add(metrics_group(tree, group), name, metrics->count[i]);
		if (api_routes[i].method == HTTP_GET)
			continue;
		snprintf(name, sizeof(name), "%s_fails", api_routes[i].metric);
		metrics_add(metrics_group(tree, group), name, metrics->fails[i]);
	}
	metrics_add(metrics_group(tree, "deprecated_api"), "deprecated_http_api_calls", metrics->deprecated);
}

static void metrics_add_latencies(const struct api_metrics *metrics, json_t *tree)
{
	static const char *const names[LATENCIES_COUNT] = {
		[LATENCY_FULL_CREATE_SNAPSHOT] = "full_create_snapshot",
		[LATENCY_DIFF_CREATE_SNAPSHOT] = "diff_create_snapshot",
		[LATENCY_LOAD_SNAPSHOT] = "load_snapshot",
		[LATENCY_PAUSE_VM] = "pause_vm",
		[LATENCY_RESUME_VM] = "resume_vm",
	};
	json_t *group = metrics_group(tree, "latencies_us");
	char name[64];

	for (int i = 0; i < LATENCIES_COUNT; i++) {
		metrics_add(group, names[i], metrics->latency_us[i]);
		snprintf(name, sizeof(name), "vmm_%s", names[i]);
		metrics_add(group, name, metrics->latency_us[i]);
	}
	group = metrics_group(tree, "api_server");
	metrics_add(group, "process_startup_time_us", metrics->startup_us);
	metrics_add(group, "process_startup_time_cpu_us", metrics->startup_cpu_us);
}

/* What a device counts under our names becomes Firecracker's, in its group and in one of its own. */
static void metrics_add_device(json_t *tree, const char *id, json_t *counters, const struct api_vm *vm)
{
	for (const struct metrics_device_row *row = metrics_devices; row->group; row++) {
		json_t *value = json_object_get(counters, row->counter);
		char own[160];

		if (!value || strncmp(id, row->prefix, strlen(row->prefix)) != 0)
			continue;
		metrics_add(metrics_group(tree, row->group), row->field, (uint64_t)json_integer_value(value));
		if (!row->has_own)
			continue;
		snprintf(own, sizeof(own), "%s_%s", row->group, api_vm_device_name(vm, id));
		metrics_add(metrics_group(tree, own), row->field, (uint64_t)json_integer_value(value));
	}
}

static void metrics_add_devices(const struct api_vm *vm, json_t *tree)
{
	json_t *counters = vm->machine ? machine_counters(vm->machine) : NULL;
	const char *id;
	json_t *device;

	json_object_foreach(counters, id, device) metrics_add_device(tree, id, device, vm);
	json_decref(counters);
}

json_t *api_metrics_json(const struct api_vm *vm)
{
	json_t *tree = metrics_zero();

	if (!tree)
		return NULL;
	metrics_add_requests(&vm->metrics, tree);
	metrics_add_latencies(&vm->metrics, tree);
	metrics_add_devices(vm, tree);
	return tree;
}

/* --- the file */

/* Figures that are not counted but measured. */
static bool metrics_is_absolute(const char *group)
{
	return strcmp(group, "latencies_us") == 0 || strcmp(group, "api_server") == 0 ||
	       strcmp(group, "signals") == 0;
}

static json_t *metrics_difference(const char *name, json_t *group, json_t *last)
{
	json_t *difference = json_object();
	const char *field;
	json_t *value;

	json_object_foreach(group, field, value)
	{
		json_int_t before = json_integer_value(json_object_get(last, field));

		if (!json_is_integer(value) || metrics_is_absolute(name))
			json_object_set(difference, field, value);
		else
			json_object_set_new(difference, field,
					    json_integer(json_integer_value(value) - before));
	}
	return difference;
}

static json_t *metrics_line(const struct api_vm *vm, json_t *now)
{
	const struct api_metrics *metrics = &vm->metrics;
	json_t *line = json_object();
	const char *name;
	json_t *group;

	if (!line)
		return NULL;
	json_object_set_new(line, "utc_timestamp_ms",
			    json_integer((json_int_t)(clock_realtime_ns() / NS_PER_MS)));
	if (metrics->emit_id)
		json_object_set_new(line, "id", json_string(vm->settings.id));
	if (metrics->properties)
		json_object_set(line, "properties", metrics->properties);
	json_object_foreach(now, name, group) json_object_set_new(
		line, name, metrics_difference(name, group, json_object_get(metrics->last, name)));
	return line;
}

/* One write, so that a reader never sees half a line of a file; a pipe that is full loses the line. */
static int metrics_write_text(int fd, char *text, struct err *err)
{
	size_t len = strlen(text);
	ssize_t written;

	text[len] = '\n'; /* there is room: see the caller */
	written = write(fd, text, len + 1);
	if (written == (ssize_t)len + 1)
		return 0;
	return err_set_errno(err, written < 0 ? -errno : -ENOSPC, "Failed to write metrics");
}

int api_metrics_write(struct api_vm *vm, struct err *err)
{
	struct api_metrics *metrics = &vm->metrics;
	json_t *now, *line;
	char *text;
	size_t size;
	int code = 0;

	if (metrics->fd < 0)
		return 0;
	now = api_metrics_json(vm);
	line = metrics_line(vm, now);
	size = json_dumpb(line, NULL, 0, JSON_COMPACT);
	text = calloc(1, size + 2);
	if (!text || size == 0 || json_dumpb(line, text, size, JSON_COMPACT) != size)
		code = err_set(err, -ENOMEM, "no memory");
	if (code == 0)
		code = metrics_write_text(metrics->fd, text, err);
	free(text);
	json_decref(line);
	if (code == 0) {
		json_decref(metrics->last);
		metrics->last = now;
	} else {
		json_decref(now);
	}
	return code;
}

/* --- Prometheus' text format 0.0.4 */

static void metrics_print_group(FILE *out, const char *group, json_t *fields)
{
	const char *name;
	json_t *value;

	json_object_foreach(fields, name, value)
	{
		if (json_is_integer(value))
			fprintf(out, "# TYPE vmmctl_%s_%s %s\nvmmctl_%s_%s %" JSON_INTEGER_FORMAT "\n", group,
				name, metrics_is_absolute(group) ? "gauge" : "counter", group, name,
				json_integer_value(value));
	}
}

/* Names of devices are a label there, not a part of the name. */
static void metrics_print_device(FILE *out, const char *id, json_t *device)
{
	const char *name;
	json_t *value;

	json_object_foreach(device, name, value)
	{
		fputs("vmmctl_device_", out);
		for (const char *at = name; *at; at++)
			fputc(*at == '.' || *at == '-' ? '_' : *at, out);
		fprintf(out, "{device=\"%s\"} %" JSON_INTEGER_FORMAT "\n", id, json_integer_value(value));
	}
}

static void metrics_print_devices(FILE *out, const struct api_vm *vm)
{
	json_t *counters = vm->machine ? machine_counters(vm->machine) : NULL;
	const char *id;
	json_t *device;

	json_object_foreach(counters, id, device)
	{
		metrics_print_device(out, api_vm_device_name(vm, id), device);
	}
	json_decref(counters);
}

char *api_metrics_prometheus(const struct api_vm *vm)
{
	json_t *tree = metrics_zero();
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	const char *group;
	json_t *fields;

	if (tree && out) {
		metrics_add_requests(&vm->metrics, tree);
		metrics_add_latencies(&vm->metrics, tree);
		json_object_foreach(tree, group, fields) metrics_print_group(out, group, fields);
		metrics_print_devices(out, vm);
	}
	json_decref(tree);
	if (out)
		fclose(out);
	return text;
}
