/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal's raw mode. tcsetattr(3) is async-signal-safe (POSIX 2.4.3), so a crash handler may restore
 * it. */
#include "vmm/backend/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"

static const int terminal_crash_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP, SIGSYS};

#define CRASH_SIGNAL_COUNT (sizeof(terminal_crash_signals) / sizeof(terminal_crash_signals[0]))

/* At file scope because a signal handler has no other way to it, and a process has only one terminal. */
static struct {
	_Atomic bool raw; /* the settings below are not those in force */
	int fd;
	struct termios saved;
	struct termios raw_settings;
	struct sigaction old_action[CRASH_SIGNAL_COUNT];
	bool exit_hook; /* atexit has been called */
} terminal;

void terminal_suspend(void)
{
	if (atomic_load(&terminal.raw))
		tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
}

void terminal_resume(void)
{
	/* In the background tcsetattr would stop the process (SIGTTOU); coming to the foreground sends
	 * SIGCONT again. */
	if (atomic_load(&terminal.raw) && tcgetpgrp(terminal.fd) == getpgrp())
		tcsetattr(terminal.fd, TCSADRAIN, &terminal.raw_settings);
}

/* SA_RESETHAND has put the default action back: the signal raised here kills as soon as the handler returns.
 */
static void terminal_on_crash(int signal_number)
{
	int saved_errno = errno;

	terminal_suspend();
	raise(signal_number);
	errno = saved_errno;
}

static void terminal_handle_crashes(void)
{
	struct sigaction action = {.sa_handler = terminal_on_crash, .sa_flags = SA_RESETHAND | SA_ONSTACK};

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < CRASH_SIGNAL_COUNT; i++)
		sigaction(terminal_crash_signals[i], &action, &terminal.old_action[i]);
	if (!terminal.exit_hook)
		terminal.exit_hook = atexit(terminal_suspend) == 0;
}

/* Bytes pass both ways untouched, Ctrl-C and Ctrl-Z included: they are the guest's. */
static void terminal_make_raw(struct termios *settings)
{
	cfmakeraw(settings);
	settings->c_cc[VMIN] = 1;
	settings->c_cc[VTIME] = 0;
}

int terminal_enter_raw(int fd, struct err *err)
{
	if (atomic_load(&terminal.raw))
		return err_set(err, -EBUSY, "the terminal is another machine's console already");
	if (tcgetattr(fd, &terminal.saved) < 0)
		return err_set_errno(err, -errno, "cannot read the terminal's settings");
	terminal.fd = fd;
	terminal.raw_settings = terminal.saved;
	terminal_make_raw(&terminal.raw_settings);
	terminal_handle_crashes();
	atomic_store(&terminal.raw, true);
	log_set_raw_tty(true);
	terminal_resume();
	return 0;
}

void terminal_leave_raw(void)
{
	if (!atomic_load(&terminal.raw))
		return;
	tcsetattr(terminal.fd, TCSADRAIN, &terminal.saved);
	atomic_store(&terminal.raw, false);
	log_set_raw_tty(false);
	for (size_t i = 0; i < CRASH_SIGNAL_COUNT; i++)
		sigaction(terminal_crash_signals[i], &terminal.old_action[i], NULL);
}
