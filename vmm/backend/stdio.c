/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console on standard input and output. A terminal goes into raw mode and has the escape character
 * Ctrl-A; a pipe or file passes as it is. Also follows the shell's job control: the terminal is restored
 * while the process is stopped.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/backend/backend.h"
#include "vmm/backend/char_gather.h"
#include "vmm/backend/char_input.h"
#include "vmm/backend/escape.h"
#include "vmm/backend/terminal.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

struct stdio_chardev {
	struct chardev chardev;
	const struct chardev_env *env;
	struct char_input input;
	struct char_gather output;
	struct escape escape;
	bool is_terminal;
	int signal_fd; /* SIGTSTP and SIGCONT; -1 without a terminal */
	struct loop_fd *signal_watch;
	sigset_t old_mask;
};

static void stdio_command(struct stdio_chardev *stdio, enum console_command command)
{
	if (stdio->env->command)
		stdio->env->command(stdio->env->opaque, command);
}

static void stdio_break(struct stdio_chardev *stdio)
{
	const struct chardev_client *client = &stdio->chardev.client;

	if (client->event)
		client->event(client->opaque, CHARDEV_BREAK);
}

/* Straight to the descriptor: the stall state of the output is the device's. */
static void stdio_print_help(void)
{
	ssize_t written = write(STDOUT_FILENO, escape_help, strlen(escape_help));

	(void)written;
}

static void stdio_act(struct stdio_chardev *stdio, enum escape_action action)
{
	switch (action) {
	case ESCAPE_PASS:
	case ESCAPE_NOTHING: return;
	case ESCAPE_HELP: stdio_print_help(); return;
	case ESCAPE_QUIT: stdio_command(stdio, CONSOLE_QUIT); return;
	case ESCAPE_BREAK: stdio_break(stdio); return;
	case ESCAPE_RESET: stdio_command(stdio, CONSOLE_RESET); return;
	case ESCAPE_SWITCH_ACCEL: stdio_command(stdio, CONSOLE_SWITCH_ACCEL); return;
	case ESCAPE_POWER_BUTTON: stdio_command(stdio, CONSOLE_POWER_BUTTON); return;
	}
}

static size_t stdio_filter(void *opaque, uint8_t *data, size_t len)
{
	struct stdio_chardev *stdio = opaque;
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		enum escape_action action = escape_feed(&stdio->escape, &data[i]);

		if (action == ESCAPE_PASS)
			data[kept++] = data[i];
		else
			stdio_act(stdio, action);
	}
	return kept;
}

static size_t stdio_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	return char_gather_write(&((struct stdio_chardev *)chardev)->output, data, len);
}

static void stdio_accept_input(struct chardev *chardev)
{
	char_input_accept(&((struct stdio_chardev *)chardev)->input);
}

static void stdio_on_signal(void *opaque, uint32_t epoll_events)
{
	struct stdio_chardev *stdio = opaque;
	struct signalfd_siginfo info;

	if (read(stdio->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGTSTP) {
		terminal_suspend();
		kill(getpid(), SIGSTOP);
	}
	/* After SIGCONT the shell may have changed the settings; after SIGSTOP this is where we go on. */
	terminal_resume();
}

static int stdio_watch_job_control(struct stdio_chardev *stdio, struct err *err)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTSTP);
	sigaddset(&signals, SIGCONT);
	pthread_sigmask(SIG_BLOCK, &signals, &stdio->old_mask);
	stdio->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (stdio->signal_fd < 0)
		return err_set_errno(err, -errno, "signalfd");
	stdio->signal_watch =
		loop_fd_add(stdio->env->loop, stdio->signal_fd, EPOLLIN, stdio_on_signal, stdio, err);
	return stdio->signal_watch ? 0 : err_prefix(err, "job control");
}

static void stdio_destroy(struct chardev *chardev)
{
	struct stdio_chardev *stdio = (struct stdio_chardev *)chardev;

	char_gather_stop(&stdio->output);
	char_input_stop(&stdio->input);
	if (stdio->signal_watch)
		loop_fd_remove(stdio->signal_watch);
	if (stdio->signal_fd >= 0)
		close(stdio->signal_fd);
	if (stdio->is_terminal) {
		terminal_leave_raw();
		pthread_sigmask(SIG_SETMASK, &stdio->old_mask, NULL);
	}
	free(stdio);
}

static const struct chardev_ops stdio_ops = {
	.write = stdio_write,
	.accept_input = stdio_accept_input,
	.destroy = stdio_destroy,
};

static int stdio_start(struct stdio_chardev *stdio, struct err *err)
{
	int code = char_gather_start(&stdio->output, stdio->env->loop, err);

	if (code < 0)
		return code;
	code = char_input_start(&stdio->input, STDIN_FILENO, err);
	if (code < 0 || !isatty(STDIN_FILENO))
		return code < 0 ? err_prefix(err, "standard input") : 0;
	code = terminal_enter_raw(STDIN_FILENO, err);
	if (code < 0)
		return code;
	stdio->is_terminal = true;
	stdio->input.filter = stdio_filter;
	stdio->input.lossy = true; /* Ctrl-A x must be seen even when the guest reads nothing */
	return stdio_watch_job_control(stdio, err);
}

static struct chardev *stdio_create(const struct chardev_env *env, const char *argument, struct err *err)
{
	struct stdio_chardev *stdio = calloc(1, sizeof(*stdio));

	if (!stdio) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	stdio->chardev.ops = &stdio_ops;
	stdio->env = env;
	stdio->signal_fd = -1;
	stdio->input.chardev = &stdio->chardev;
	stdio->input.loop = env->loop;
	stdio->input.opaque = stdio;
	stdio->output.output.fd = STDOUT_FILENO;
	if (stdio_start(stdio, err) < 0) {
		stdio_destroy(&stdio->chardev);
		return NULL;
	}
	return &stdio->chardev;
}

const struct chardev_class stdio_chardev_class = {
	.name = "stdio",
	.summary = "standard input and output; a terminal becomes raw, and Ctrl-A h there tells the escapes",
	.create = stdio_create,
};
