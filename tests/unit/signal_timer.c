/* SPDX-License-Identifier: Apache-2.0 */
/* signal_timer.h: POSIX timers, and the one handler that a process can have for their signal. */
#include "tests/unit/signal_timer.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

static void (*timer_fn)(void);
static timer_t timer;

static void on_signal(int number)
{
	timer_fn();
}

void signal_timer_start(void (*fn)(void), long every_ns)
{
	const struct itimerspec often = {.it_interval.tv_nsec = every_ns, .it_value.tv_nsec = every_ns};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	timer_fn = fn;
	if (sigaction(SIGALRM, &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &often, NULL))
		abort();
}

void signal_timer_stop(void)
{
	timer_delete(timer);
	signal(SIGALRM, SIG_IGN);
}
