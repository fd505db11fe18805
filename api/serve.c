/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serving process from beginning to end: logs, microVM, socket, then a loop of its own until there is a
 * machine, then the machine's. Signals end it in order.
 */
#include "api/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "api/json_reader.h"
#include "api/mmds.h"
#include "api/server.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/json.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/size.h"
#include "vmm/machine/cli.h"
#include "vmm/machine/machine.h"

#define SERVE_METRICS_NS (60 * NS_PER_S)

struct serve {
	const struct serve_options *options;
	struct loop *loop; /* until there is a machine */
	struct api_vm vm;
	struct api_server *server;
	struct loop_timer *metrics_timer;
	struct loop_fd *signal_watch;
	int signal_fd;
	int caught; /* signal; 0: none */
};

static void serve_on_start(void *opaque)
{
	struct serve *serve = opaque;

	if (serve->loop)
		loop_stop(serve->loop, 0);
}

/* --- signals */

static void serve_signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
}

static void serve_on_signal(void *opaque, uint32_t events)
{
	struct serve *serve = opaque;
	struct signalfd_siginfo info;

	if (read(serve->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	serve->caught = (int)info.ssi_signo;
	if (serve->vm.machine)
		machine_quit(serve->vm.machine);
	else
		loop_stop(serve->loop, 0);
}

static int serve_watch_signals(struct serve *serve, struct loop *loop, struct err *err)
{
	sigset_t set;

	if (serve->signal_watch)
		loop_fd_remove(serve->signal_watch);
	serve_signal_set(&set);
	if (serve->signal_fd < 0)
		serve->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (serve->signal_fd < 0)
		return err_set_errno(err, -errno, "signalfd");
	serve->signal_watch = loop_fd_add(loop, serve->signal_fd, EPOLLIN, serve_on_signal, serve, err);
	return serve->signal_watch ? 0 : -EIO;
}

static const struct {
	int signal;
	enum serve_status status;
} serve_fatal[] = {
	{SIGSYS, SERVE_BAD_SYSCALL}, {SIGBUS, SERVE_SIGBUS},   {SIGSEGV, SERVE_SIGSEGV},
	{SIGXFSZ, SERVE_SIGXFSZ},    {SIGXCPU, SERVE_SIGXCPU}, {SIGHUP, SERVE_SIGHUP},
	{SIGILL, SERVE_SIGILL},
};

/* Says what happened and ends the process: whatever was going on is not to be trusted any more. */
static void serve_on_fatal(int number, siginfo_t *info, void *context)
{
	if (number == SIGSYS)
		log_error("Shutting down VM after intercepting a bad syscall (%d).", info->si_syscall);
	else
		log_error("Shutting down VM after intercepting signal %d, code %d.", number, info->si_code);
	for (size_t i = 0; i < sizeof(serve_fatal) / sizeof(serve_fatal[0]); i++) {
		if (serve_fatal[i].signal == number) {
			log_error("Firecracker exiting with error. exit_code=%d", serve_fatal[i].status);
			_exit(serve_fatal[i].status);
		}
	}
}

static void serve_catch_fatal(void)
{
	struct sigaction action = {.sa_sigaction = serve_on_fatal, .sa_flags = SA_SIGINFO | SA_RESETHAND};

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(serve_fatal) / sizeof(serve_fatal[0]); i++)
		sigaction(serve_fatal[i].signal, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* --- metrics */

static void serve_write_metrics(struct serve *serve)
{
	struct err err = {0};

	if (api_metrics_write(&serve->vm, &err) < 0)
		log_error("%s", err.message);
}

/* Not while the machine stands still. */
static void serve_on_metrics_timer(void *opaque)
{
	struct serve *serve = opaque;

	if (api_vm_state(&serve->vm) != API_PAUSED)
		serve_write_metrics(serve);
	loop_timer_arm(serve->metrics_timer, clock_monotonic_ns() + SERVE_METRICS_NS);
}

static uint64_t serve_number(const char *text)
{
	uint64_t value = 0;

	return text && number_parse(text, &value, NULL) == 0 ? value : 0;
}

/* How long it took to come here, on the clocks of whoever started us. */
static void serve_note_startup(struct serve *serve)
{
	uint64_t start_us = serve_number(serve->options->start_time_us);
	uint64_t start_cpu_us = serve_number(serve->options->start_time_cpu_us);
	uint64_t now_us = clock_monotonic_ns() / NS_PER_US;
	struct timespec cpu;
	uint64_t cpu_us;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	cpu_us = (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000;
	if (start_us && now_us > start_us)
		serve->vm.metrics.startup_us = now_us - start_us;
	if (start_cpu_us && cpu_us > start_cpu_us)
		serve->vm.metrics.startup_cpu_us =
			cpu_us - start_cpu_us + serve_number(serve->options->parent_cpu_time_us);
}

/* --- what the command line brings */

static int serve_set_metrics(struct serve *serve, struct err *err)
{
	struct metrics_body body = {.metrics_path = serve->options->metrics_path};

	if (!body.metrics_path)
		return 0;
	return api_metrics_open(&serve->vm.metrics, &body, err);
}

static int serve_load_metadata(struct serve *serve, struct err *err)
{
	const char *path = serve->options->metadata;
	json_t *json;
	int code;

	if (!path)
		return 0;
	json = json_read_file(path, err);
	if (!json)
		return err->code;
	code = mmds_put(serve->vm.mmds, json, err);
	json_decref(json);
	if (code == 0)
		log_info("Successfully added metadata to mmds from file");
	return code;
}

static int serve_set_up(struct serve *serve, struct machine_config *base, struct err *err)
{
	const struct serve_options *options = serve->options;
	size_t payload_max = options->payload_max ? options->payload_max : SERVE_PAYLOAD_DEFAULT;
	const struct api_vm_settings settings = {
		.id = options->id ? options->id : SERVE_ID_DEFAULT,
		.pci = options->pci,
		.is_plain = options->is_plain,
		.mmds_max = options->mmds_max ? options->mmds_max : payload_max,
		.socket_path = options->no_api     ? NULL
			       : options->api_sock ? options->api_sock
						   : SERVE_SOCKET_DEFAULT,
	};
	int code;

	base->boot_timer |= options->boot_timer;
	code = api_vm_init(&serve->vm, &settings, base, err);

	serve->vm.on_start = serve_on_start;
	serve->vm.opaque = serve;
	serve_note_startup(serve);
	serve->loop = loop_create(err);
	if (code < 0 || !serve->loop)
		return -ENOMEM;
	if (serve_set_metrics(serve, err) < 0 || serve_load_metadata(serve, err) < 0)
		return -EINVAL;
	if (options->config_file && api_vm_read_config(&serve->vm, options->config_file, err) < 0)
		return -EINVAL;
	return serve_watch_signals(serve, serve->loop, err);
}

static int serve_open_socket(struct serve *serve, struct err *err)
{
	const char *path = serve->vm.settings.socket_path;
	size_t payload_max =
		serve->options->payload_max ? serve->options->payload_max : SERVE_PAYLOAD_DEFAULT;

	if (!path)
		return 0;
	serve->server = api_server_create(serve->loop, &serve->vm, payload_max, err);
	if (!serve->server) {
		if (err->code == -EADDRINUSE || err->code == -EEXIST)
			err_set(err, err->code,
				"Failed to open the API socket at: %s. Check that it is not already used.",
				path);
		return err->code;
	}
	log_at("fc_api", LOG_INFO, "Listening on API socket (%s).", path);
	log_at("fc_api", LOG_INFO, "API server started.");
	return 0;
}

/* --- the machine */

static int serve_run_machine(struct serve *serve, int *status, struct err *err)
{
	struct machine *machine = serve->vm.machine;
	struct loop *loop = machine_loop(machine);
	struct machine_result result = {0};
	int code = serve_watch_signals(serve, loop, err);

	if (code == 0 && serve->server)
		code = api_server_move(serve->server, loop, err);
	if (code == 0)
		serve->metrics_timer = loop_timer_create(loop, serve_on_metrics_timer, serve, err);
	if (code < 0 || !serve->metrics_timer)
		return -EIO;
	loop_timer_arm(serve->metrics_timer, clock_monotonic_ns() + SERVE_METRICS_NS);
	serve_write_metrics(serve);
	api_vm_tell(&serve->vm, api_vm_state_name(&serve->vm));
	code = machine_run(machine, &result, err);
	*status = result.end == MACHINE_FAILED || code < 0 ? CLI_FAILURE : CLI_OK;
	return code;
}

/* Until a machine is there or none will be. */
static int serve_until_end(struct serve *serve, int *status, struct err *err)
{
	int code = 0;

	if (serve->options->config_file && api_vm_start(&serve->vm, err) < 0)
		return err_prefix(err, "Failed to start microVM");
	if (!serve->vm.machine)
		code = loop_run(serve->loop);
	if (code < 0)
		return err_set_errno(err, code, "event loop");
	if (serve->vm.load_failed)
		return err_set(err, -EIO, "The snapshot could not be loaded.");
	*status = CLI_OK;
	return serve->vm.machine ? serve_run_machine(serve, status, err) : 0;
}

static void serve_tear_down(struct serve *serve)
{
	api_vm_tell(&serve->vm, "Stopped");
	api_server_destroy(serve->server);
	serve_write_metrics(serve);
	if (serve->metrics_timer)
		loop_timer_destroy(serve->metrics_timer);
	if (serve->signal_watch)
		loop_fd_remove(serve->signal_watch);
	if (serve->signal_fd >= 0)
		close(serve->signal_fd);
	api_vm_free(&serve->vm);
	loop_destroy(serve->loop);
}

static int serve_set_logger(struct serve *serve, struct err *err)
{
	const struct serve_options *options = serve->options;
	char *level = options->level ? options->level : options->is_plain ? "Warning" : NULL;
	const struct logger_body body = {
		.log_path = options->log_path,
		.level = level,
		.module = options->module,
		.show_level = options->show_level,
		.show_log_origin = options->show_log_origin,
	};
	const struct api_vm vm = {.settings.id = options->id ? options->id : SERVE_ID_DEFAULT};
	enum log_level parsed;

	if (level && log_level_from_name(level, &parsed) < 0)
		return err_set(err, -EINVAL, "Invalid value for the log level: %s", level);
	if (!options->is_plain && !options->log_path && log_set_fd(STDOUT_FILENO) < 0)
		return err_set(err, -EBADF, "standard output is closed");
	return api_vm_set_logger(&vm, &body, err);
}

int serve_run(const struct serve_options *options, struct machine_config *base)
{
	struct serve serve = {.options = options, .signal_fd = -1};
	struct err err = {0};
	int status = CLI_FAILURE;
	sigset_t set, before;
	int code = serve_set_logger(&serve, &err);

	if (code < 0) {
		fprintf(stderr, "%s\n", err.message);
		machine_config_free(base);
		return options->is_plain ? CLI_USAGE : SERVE_BAD_CONFIG;
	}
	log_info("Running Firecracker v%s", API_FIRECRACKER_VERSION);
	serve_catch_fatal();
	serve_signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	code = serve_set_up(&serve, base, &err);
	if (code == 0)
		code = serve_open_socket(&serve, &err);
	if (code == 0)
		code = serve_until_end(&serve, &status, &err);
	if (code < 0) {
		status = CLI_FAILURE;
		log_error("%s", err.message);
	}
	log_info("Vmm is stopping.");
	serve_tear_down(&serve);
	if (status == CLI_OK)
		log_info("Firecracker exiting successfully. exit_code=0");
	else
		log_error("Firecracker exiting with error. exit_code=%d", status);
	if (serve.caught) {
		signal(serve.caught, SIG_DFL);
		raise(serve.caught); /* delivered by the next line */
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return status;
}
