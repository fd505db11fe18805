/* SPDX-License-Identifier: Apache-2.0 */
/* What the payload printed (guest/bench/payload/payload.c has the format), as rows, as a table and as JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/bench/bench_parts.h"

static int report_parse_row(struct bench_report *report, const char *line, uint64_t tsc_khz)
{
	struct bench_row *row = &report->row[report->count];
	uint64_t units, ticks;

	if (report->count == BENCH_ROWS_MAX)
		return -EPROTO;
	*row = (struct bench_row){.native_ns = 0};
	if (sscanf(line, "%31[a-z0-9-]\t%" SCNu64 "\t%" SCNu64 "\t%31[^\r\n]", row->name, &units, &ticks,
		   row->unit) != 4 ||
	    !units)
		return -EPROTO;
	row->guest_ns = (double)ticks * 1e6 / (double)tsc_khz / (double)units;
	report->count++;
	return 0;
}

int bench_report_parse(struct bench_report *report, const char *text, struct err *err)
{
	uint64_t tsc_khz;
	const char *end;

	if (sscanf(text, "tsc-khz\t%" SCNu64, &tsc_khz) != 1 || !tsc_khz)
		return err_set(err, -EPROTO, "the guest did not tell its TSC's rate: \"%.60s\"", text);
	while ((end = strchr(text, '\n')) && end[1]) {
		text = end + 1;
		if (report_parse_row(report, text, tsc_khz) < 0)
			return err_set(err, -EPROTO, "the guest said \"%.60s\"", text);
	}
	return 0;
}

static void report_print_row(FILE *out, const struct bench_row *row)
{
	fprintf(out, "%-16s %14.2f ", row->name, row->guest_ns);
	if (row->native_ns > 0)
		fprintf(out, "%12.2f %9.2f", row->native_ns, row->guest_ns / row->native_ns);
	else
		fprintf(out, "%12s %9s", "-", "-");
	fprintf(out, "  %s\n", row->unit);
}

void bench_report_print(FILE *out, const struct bench_report *report)
{
	fprintf(out, "accelerator %s%s%s, %" PRIu32 " ms each; nanoseconds a unit\n\n", report->accel,
		report->jit ? ", --jit " : "", report->jit ? report->jit : "", report->ms);
	fprintf(out, "%-16s %14s %12s %9s  %s\n", "class", "guest, ns", "host, ns", "x host", "unit");
	for (size_t i = 0; i < report->count; i++)
		report_print_row(out, &report->row[i]);
}

static json_t *report_json_row(const struct bench_row *row)
{
	json_t *json = json_pack("{s:s, s:s, s:f}", "class", row->name, "unit", row->unit, "guest_ns",
				 row->guest_ns);

	if (json && row->native_ns > 0) {
		json_object_set_new(json, "host_ns", json_real(row->native_ns));
		json_object_set_new(json, "times_host", json_real(row->guest_ns / row->native_ns));
	}
	return json;
}

json_t *bench_report_json(const struct bench_report *report)
{
	json_t *rows = json_array();
	json_t *json = json_pack("{s:s, s:s?, s:I, s:o}", "accel", report->accel, "jit", report->jit, "ms",
				 (json_int_t)report->ms, "rows", rows);

	for (size_t i = 0; json && i < report->count; i++)
		json_array_append_new(rows, report_json_row(&report->row[i]));
	return json;
}
