/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmmctl bench`: a machine with the payload as its kernel and a file as its serial port, run to its end; the
 * same work by this host; a table.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/bench/bench_options.h"
#include "vmm/bench/bench_parts.h"
#include "vmm/core/accel.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/commands.h"
#include "vmm/machine/config.h"
#include "vmm/machine/machine.h"

#define BENCH_MEMORY    (64u << 20)
#define BENCH_EXIT_PORT 0x501u
#define BENCH_TEXT_MAX  (64u << 10) /* the payload prints some two KiB: bounds what is read back */
#define BENCH_LINE_MAX  2048u       /* the payload's command line: all names, and more */
#define BENCH_PATH_MAX  32u

static int bench_memory_file(const char *name, const void *bytes, size_t len, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0)
		return err_set_errno(err, -errno, "memfd");
	while (len) {
		ssize_t written = write(fd, bytes, len);

		if (written <= 0) {
			int code = written < 0 ? -errno : -EIO;

			close(fd);
			return err_set_errno(err, code, "memfd");
		}
		bytes = (const char *)bytes + written;
		len -= (size_t)written;
	}
	return fd;
}

static int bench_set(char **field, const char *value, struct err *err)
{
	char *copy = strdup(value);

	if (!copy)
		return err_set(err, -ENOMEM, "no memory");
	free(*field);
	*field = copy;
	return 0;
}

/* The payload's command line: `ms=N` and the names. */
static int bench_line(const struct bench_options *options, char line[BENCH_LINE_MAX], struct err *err)
{
	size_t used =
		(size_t)snprintf(line, BENCH_LINE_MAX, "ms=%u%s", options->ms, options->list ? " list" : "");

	for (size_t i = 0; i < options->classes.count; i++) {
		used += (size_t)snprintf(line + used, BENCH_LINE_MAX - used, " %s", options->classes.item[i]);
		if (used >= BENCH_LINE_MAX)
			return err_set(err, -E2BIG, "--class: too many");
	}
	return 0;
}

static int bench_configure(const struct bench_options *options, int image_fd, int output_fd,
			   struct machine_config *config, struct err *err)
{
	char path[BENCH_PATH_MAX + 8], line[BENCH_LINE_MAX];
	const struct option *serial = option_find_flag(machine_options, "--serial", strlen("--serial"));
	int code = bench_line(options, line, err);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", image_fd);
	if (code == 0)
		code = bench_set(&config->kernel, path, err);
	if (code == 0)
		code = bench_set(&config->append, line, err);
	if (code == 0 && options->accel)
		code = bench_set(&config->accel, options->accel, err);
	if (code == 0 && options->jit)
		code = bench_set(&config->jit, options->jit, err);
	if (code == 0 && options->cpu)
		code = bench_set(&config->cpu_model, options->cpu, err);
	if (code < 0)
		return code;
	snprintf(path, sizeof(path), "file:/proc/self/fd/%d", output_fd);
	option_clear_list(serial, config);
	if (option_set_text(serial, config, path, err) < 0)
		return -EINVAL;
	config->memory_bytes = BENCH_MEMORY;
	config->exit_code_port = BENCH_EXIT_PORT;
	config->no_reboot = true;
	return machine_config_check(config, err);
}

static int bench_run_machine(const struct machine_config *config, struct err *err)
{
	struct machine_result result = {0};
	struct machine *machine = machine_create(config, err);
	int code = machine ? machine_run(machine, &result, err) : -EINVAL;

	machine_destroy(machine);
	if (code == 0 && (result.end != MACHINE_EXITED || result.value != 0))
		return err_set(err, -EPROTO, "the guest did not come to its end");
	return code;
}

/* What the guest wrote, as text; owned. */
static char *bench_read_output(int fd, struct err *err)
{
	char *text = calloc(1, BENCH_TEXT_MAX + 1);
	ssize_t len = text ? pread(fd, text, BENCH_TEXT_MAX, 0) : -1;

	if (len >= 0)
		return text;
	free(text);
	err_set(err, -EIO, "the guest's output cannot be read");
	return NULL;
}

static int bench_in_guest(const struct bench_options *options, struct machine_config *config,
			  struct bench_report *report, struct err *err)
{
	int output_fd = bench_memory_file("bench-output", NULL, 0, err);
	int image_fd = bench_memory_file("bench-payload", bench_payload_image,
					 (size_t)(bench_payload_image_end - bench_payload_image), err);
	int code = output_fd < 0 || image_fd < 0 ? -EIO : 0;
	char *text = NULL;

	if (code == 0)
		code = bench_configure(options, image_fd, output_fd, config, err);
	if (code == 0)
		code = bench_run_machine(config, err);
	if (code == 0)
		text = bench_read_output(output_fd, err);
	if (text)
		code = bench_report_parse(report, text, err);
	free(text);
	if (output_fd >= 0)
		close(output_fd);
	if (image_fd >= 0)
		close(image_fd);
	return text ? code : code < 0 ? code : -EIO;
}

/* The payload passes over names that it does not know. */
static int bench_check_classes(const struct bench_options *options, const struct bench_report *report,
			       struct err *err)
{
	for (size_t i = 0; i < options->classes.count; i++) {
		size_t row = 0;

		while (row < report->count && strcmp(report->row[row].name, options->classes.item[i]) != 0)
			row++;
		if (row == report->count)
			return err_set(err, -EINVAL, "--class %s: no such class; --list tells them",
				       options->classes.item[i]);
	}
	return 0;
}

static int bench_write(const struct bench_options *options, const struct bench_report *report,
		       struct err *err)
{
	bool to_output = options->json_path && strcmp(options->json_path, "-") == 0;
	json_t *json;
	int failed;

	if (!to_output)
		bench_report_print(stdout, report);
	if (!options->json_path)
		return 0;
	json = bench_report_json(report);
	if (!json)
		return err_set(err, -ENOMEM, "no memory");
	failed = to_output ? json_dumpf(json, stdout, JSON_INDENT(1)) || puts("") < 0
			   : json_dump_file(json, options->json_path, JSON_INDENT(1));
	json_decref(json);
	return failed ? err_set(err, -EIO, "--json: cannot write %s", options->json_path) : 0;
}

static int bench_finish(const struct bench_options *options, const struct machine_config *config,
			struct bench_report *report, struct err *err)
{
	char reason[ERR_MESSAGE_SIZE + 128];
	const struct accel_ops *accel;
	int code = bench_check_classes(options, report, err);

	if (code < 0)
		return code;
	if (options->list) {
		for (size_t i = 0; i < report->count; i++)
			printf("%-16s %s\n", report->row[i].name, report->row[i].unit);
		return 0;
	}
	accel = accel_choice_make(config->accel, reason, sizeof(reason), err);
	if (!accel)
		return -ENODEV;
	report->accel = accel->name;
	report->jit = strcmp(accel->name, "tcg") == 0 ? config->jit : NULL;
	code = bench_native(report, err);
	return code < 0 ? code : bench_write(options, report, err);
}

static int bench_measure(const struct bench_options *options, struct err *err)
{
	struct bench_report report = {.ms = options->ms, .count = 0};
	struct machine_config config;
	int code = machine_config_init(&config, err);

	if (code < 0)
		return code;
	code = bench_in_guest(options, &config, &report, err);
	if (code == 0)
		code = bench_finish(options, &config, &report, err);
	machine_config_free(&config);
	return code;
}

static int bench_check(struct err *err)
{
	/* A stand-in has a byte, since an array has one. */
	if (bench_payload_image_end - bench_payload_image <= 1)
		return err_set(err, -ENOTSUP,
			       "this build has no payload: no compiler for x86-64 was at hand");
	return 0;
}

int command_bench(const struct cli_command *command, int argc, char **argv)
{
	struct bench_options options = {.ms = BENCH_MS_DEFAULT};
	const struct cli_options tables[] = {{command_bench_options, &options}, {NULL, NULL}};
	struct cli_settings settings;
	struct err err = {0};
	int status = CLI_OK;

	if (cli_parse(argc, argv, tables, &settings, &err) < 0 || cli_apply(&settings, &options, &err) < 0 ||
	    bench_check(&err) < 0) {
		status = cli_usage_error(command, &err);
	} else if (options.help) {
		cli_print_help(stdout, command);
	} else if (bench_measure(&options, &err) < 0) {
		log_error("%s", err.message);
		status = CLI_FAILURE;
	}
	option_free(command_bench_options, &options);
	return status;
}
