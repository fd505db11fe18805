/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmmctl run`: arguments, plan, machine, session; signals go to the command, its status is ours. What ends
 * the machine before the command is told with the end of the guest's console.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/backend/terminal.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/machine/commands.h"
#include "vmm/machine/config.h"
#include "vmm/machine/machine.h"
#include "vmm/run/plan.h"
#include "vmm/run/session.h"

/* Exit statuses beyond the command's own, as env(1), timeout(1) and shells have them. */
enum run_status {
	RUN_TIMED_OUT = 124,
	RUN_FAILED = 125, /* the virtual machine, not the command */
	RUN_KILLED = 137, /* 128 + SIGKILL: the machine was ended before the command */
};

#define RUN_CONSOLE_TAIL 2048 /* bytes of the guest's console shown when it fails */
#define RUN_IMPATIENT    3    /* so many interrupts end the machine, whatever the command does with them */

struct run {
	struct run_plan plan;
	struct machine *machine;
	struct session *session;
	int signal_fd;
	struct loop_fd *signal_watch;
	struct loop_timer *timeout;
	unsigned interrupts; /* SIGINTs so far */
	bool has_status;
	bool is_killed; /* by a signal before the command ran, or by impatience */
	unsigned status;
};

static void run_on_end(void *opaque, unsigned status)
{
	struct run *run = opaque;

	run->has_status = true;
	run->status = status;
	machine_quit(run->machine);
}

static void run_on_timeout(void *opaque)
{
	struct run *run = opaque;

	if (run->has_status)
		return;
	log_warning("%u s are over (--timeout): the virtual machine is ended",
		    run->plan.options->timeout_s);
	run_on_end(run, RUN_TIMED_OUT);
}

static void run_signal_set(sigset_t *set)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(set, numbers[i]);
}

static void run_send_window_size(struct run *run)
{
	struct winsize size;

	if (run->plan.options->tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		session_send_window_size(run->session, size.ws_row, size.ws_col);
}

static void run_on_signal(void *opaque, uint32_t epoll_events)
{
	struct run *run = opaque;
	struct signalfd_siginfo info;
	int number;

	if (read(run->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	number = (int)info.ssi_signo;
	if (number == SIGWINCH) {
		run_send_window_size(run);
		return;
	}
	run->interrupts += number == SIGINT;
	if (session_has_started(run->session) && run->interrupts < RUN_IMPATIENT) {
		session_send_signal(run->session, number);
	} else if (number != SIGCONT) {
		run->is_killed = true;
		run->status = 128 + (unsigned)number;
		machine_quit(run->machine);
	}
}

static int run_watch(struct run *run, struct err *err)
{
	struct loop *loop = machine_loop(run->machine);
	sigset_t set;

	run_signal_set(&set);
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (run->signal_fd < 0)
		return err_set_errno(err, -errno, "signalfd");
	run->signal_watch = loop_fd_add(loop, run->signal_fd, EPOLLIN, run_on_signal, run, err);
	if (!run->signal_watch)
		return err_prefix(err, "signals");
	if (run->plan.options->timeout_s == 0)
		return 0;
	run->timeout = loop_timer_create(loop, run_on_timeout, run, err);
	if (!run->timeout)
		return err_prefix(err, "--timeout");
	loop_timer_arm(run->timeout, clock_monotonic_ns() + run->plan.options->timeout_s * NS_PER_S);
	return 0;
}

static void run_unwatch(struct run *run)
{
	if (run->timeout)
		loop_timer_destroy(run->timeout);
	if (run->signal_watch)
		loop_fd_remove(run->signal_watch);
	if (run->signal_fd >= 0)
		close(run->signal_fd);
}

static int run_start_session(struct run *run, struct err *err)
{
	const struct session_config config = {
		.loop = machine_loop(run->machine),
		.socket_path = run->plan.socket,
		.task = run->plan.task.bytes,
		.task_len = run->plan.task.len,
		.on_end = run_on_end,
		.opaque = run,
	};

	run->session = session_create(&config, err);
	return run->session ? 0 : err->code;
}

/* The last lines of the guest's console, made harmless for a terminal. */
static void run_show_console(const struct run *run)
{
	char tail[RUN_CONSOLE_TAIL + 1];
	FILE *file = run->plan.options->console_log ? NULL : fopen(run->plan.console, "re");
	size_t len = 0;
	char *line;

	if (file && fseek(file, -RUN_CONSOLE_TAIL, SEEK_END) < 0)
		rewind(file);
	if (file) {
		len = fread(tail, 1, RUN_CONSOLE_TAIL, file);
		fclose(file);
	}
	tail[len] = '\0';
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)tail[i] < ' ' && tail[i] != '\n')
			tail[i] = ' ';
	}
	line = len == RUN_CONSOLE_TAIL && strchr(tail, '\n') ? strchr(tail, '\n') + 1 : tail;
	if (*line)
		fprintf(stderr, "--- the end of the guest's console:\n%s\n---\n", line);
}

static int run_exit_status(struct run *run, const struct machine_result *result)
{
	if (run->has_status) {
		if (session_failure(run->session)[0])
			log_error("%s", session_failure(run->session));
		return (int)run->status;
	}
	if (run->is_killed)
		return (int)run->status;
	switch (result->end) {
	case MACHINE_QUIT: return RUN_KILLED;
	case MACHINE_FAILED: return RUN_FAILED; /* which was logged */
	case MACHINE_RUNNING:
	case MACHINE_POWERED_OFF:
	case MACHINE_RESET:
	case MACHINE_TRIPLE_FAULT:
	case MACHINE_EXITED: break;
	}
	log_error("the guest ended before the command did");
	run_show_console(run);
	return RUN_FAILED;
}

static int run_machine(struct run *run, struct err *err)
{
	struct machine_result result = {0};
	int status = RUN_FAILED;
	int code;

	run->machine = machine_create(run->plan.config, err);
	code = run->machine ? run_start_session(run, err) : -1;
	if (code == 0)
		code = run_watch(run, err);
	if (code == 0 && run->plan.options->tty)
		code = terminal_enter_raw(STDIN_FILENO, err);
	if (code == 0)
		code = machine_run(run->machine, &result, err);
	terminal_leave_raw();
	run_unwatch(run);
	if (code == 0)
		status = run_exit_status(run, &result);
	session_destroy(run->session);
	machine_destroy(run->machine);
	return code == 0 ? status : -1;
}

static int run_with_signals(struct run *run)
{
	struct err err = {0};
	sigset_t set;
	sigset_t before;
	int status = -1;

	signal(SIGPIPE, SIG_IGN);
	run_signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	if (machine_config_check(run->plan.config, &err) == 0)
		status = run_machine(run, &err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (status >= 0)
		return status;
	log_error("%s", err.message);
	return RUN_FAILED;
}

/* The words before "--"; the command is what follows. */
static int run_split(int argc, char **argv)
{
	int own = 0;

	while (own < argc && strcmp(argv[own], "--") != 0)
		own++;
	return own;
}

static int run_configured(const struct cli_command *command, const struct cli_settings *settings,
			  struct run_options *options, struct machine_config *config, char **words)
{
	struct run run = {.plan = {.options = options, .config = config, .argv = words, .initramfs = -1},
			  .signal_fd = -1};
	struct err err = {0};
	int status;

	if (cli_apply(settings, options, &err) < 0)
		return cli_usage_error(command, &err);
	if (options->help) {
		cli_print_help(stdout, command);
		return CLI_OK;
	}
	if (cli_apply(settings, config, &err) < 0)
		return cli_usage_error(command, &err);
	log_set_level((enum log_level)config->log_level);
	if (run_plan_make(&run.plan, &err) < 0) {
		log_error("%s", err.message);
		status = err.code == -EINVAL ? CLI_USAGE : RUN_FAILED;
	} else {
		status = run_with_signals(&run);
	}
	run_plan_free(&run.plan);
	return status;
}

int command_run(const struct cli_command *command, int argc, char **argv)
{
	char *no_words[] = {NULL};
	int own = run_split(argc, argv);
	struct machine_config config;
	struct run_options options = {0};
	const struct cli_options tables[] = {
		{machine_options, &config}, {command_run_options, &options}, {NULL, NULL}};
	struct cli_settings settings;
	struct err err = {0};
	int status;

	if (cli_parse(own, argv, tables, &settings, &err) < 0)
		return cli_usage_error(command, &err);
	if (machine_config_init(&config, &err) < 0) {
		log_error("%s", err.message);
		return RUN_FAILED;
	}
	status =
		run_configured(command, &settings, &options, &config, own < argc ? argv + own + 1 : no_words);
	option_free(command_run_options, &options);
	machine_config_free(&config);
	return status;
}
