/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of `vmmctl bench`: the payload, the host's own figures, and the report. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;
struct json_t;

/* The payload's image (guest/bench/payload), carried in this program; empty in a build that has none. */
extern const char bench_payload_image[], bench_payload_image_end[];

#define BENCH_ROWS_MAX 128 /* of a payload's output, which has some forty */
#define BENCH_NAME_MAX 32

struct bench_row {
	char name[BENCH_NAME_MAX], unit[BENCH_NAME_MAX];
	double guest_ns;  /* a unit */
	double native_ns; /* 0: the host cannot run it */
};

struct bench_report {
	const char *accel, *jit;
	uint32_t ms;
	struct bench_row row[BENCH_ROWS_MAX];
	size_t count;
};

/* Reads what the payload printed. -EPROTO when that is nothing, or something else. */
int bench_report_parse(struct bench_report *report, const char *text, struct err *err);
void bench_report_print(FILE *out, const struct bench_report *report);
/* Owned (json_decref), or NULL. */
struct json_t *bench_report_json(const struct bench_report *report);

/* Runs the kernels that the host can run, each for so long, and fills in native_ns. */
int bench_native(struct bench_report *report, struct err *err);
