/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics file: a JSON object a line, in Firecracker's groups and names, and the same figures as
 * Prometheus text. Counters are differences since the line before.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_vm;
struct err;
struct json_t;
struct metrics_body;

#define API_ROUTES_MAX 64

enum api_latency {
	LATENCY_FULL_CREATE_SNAPSHOT,
	LATENCY_DIFF_CREATE_SNAPSHOT,
	LATENCY_LOAD_SNAPSHOT,
	LATENCY_PAUSE_VM,
	LATENCY_RESUME_VM,
	LATENCIES_COUNT,
};

struct api_metrics {
	int fd; /* -1: not initialised */
	bool emit_id;
	struct json_t *properties; /* owned; NULL: none */
	struct json_t *last;       /* owned: the counters of the last line, absolute */
	uint64_t count[API_ROUTES_MAX], fails[API_ROUTES_MAX]; /* requests by row of the route table */
	uint64_t deprecated;
	uint64_t startup_us, startup_cpu_us;
	uint64_t latency_us[LATENCIES_COUNT];
};

void api_metrics_init(struct api_metrics *metrics);
void api_metrics_free(struct api_metrics *metrics);
/* Opens the file; -EEXIST when one is open already. */
int api_metrics_open(struct api_metrics *metrics, const struct metrics_body *body, struct err *err);
/* Writes a line; nothing without a file. */
int api_metrics_write(struct api_vm *vm, struct err *err);
/* All figures, absolute; owned. */
struct json_t *api_metrics_json(const struct api_vm *vm);
/* The Prometheus text of all figures; owned. */
char *api_metrics_prometheus(const struct api_vm *vm);
