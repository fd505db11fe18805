/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O threads: each runs an event loop on which queues and their backends are served. They start before
 * the devices and end after them, so that a device can always be sure that somebody runs its loop. Knows no
 * device.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/machine/parts.h"

struct machine_io_thread {
	struct loop *loop;
	pthread_t thread;
};

static void *io_thread_main(void *opaque)
{
	struct machine_io_thread *io_thread = opaque;
	int code = loop_run(io_thread->loop);

	if (code < 0)
		log_error("an I/O thread ends: its event loop fails with %d", -code);
	return NULL;
}

static int io_thread_start(struct machine_io_thread *io_thread, unsigned index, struct err *err)
{
	char name[16];
	int code;

	io_thread->loop = loop_create(err);
	if (!io_thread->loop)
		return err_prefix(err, "I/O thread %u", index);
	code = pthread_create(&io_thread->thread, NULL, io_thread_main, io_thread);
	if (code != 0) {
		loop_destroy(io_thread->loop);
		return err_set_errno(err, -code, "cannot start I/O thread %u", index);
	}
	snprintf(name, sizeof(name), "io%u", index);
	pthread_setname_np(io_thread->thread, name);
	return 0;
}

/* Signals to the process are the main thread's; those of a crash stay open. */
static void io_thread_signal_mask(sigset_t *mask)
{
	static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP, SIGSYS};

	sigfillset(mask);
	for (size_t i = 0; i < sizeof(crash_signals) / sizeof(crash_signals[0]); i++)
		sigdelset(mask, crash_signals[i]);
}

int machine_io_threads_start(struct machine *machine, struct err *err)
{
	sigset_t mask, before;
	int code = 0;

	machine->io_thread = calloc(machine->config.io_threads, sizeof(*machine->io_thread));
	if (!machine->io_thread)
		return err_set(err, -ENOMEM, "no memory for %u I/O threads", machine->config.io_threads);
	io_thread_signal_mask(&mask);
	pthread_sigmask(SIG_SETMASK, &mask, &before);
	while (machine->io_thread_count < machine->config.io_threads && code == 0) {
		code = io_thread_start(&machine->io_thread[machine->io_thread_count],
				       machine->io_thread_count, err);
		machine->io_thread_count += code == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

void machine_io_threads_stop(struct machine *machine)
{
	while (machine->io_thread_count > 0) {
		struct machine_io_thread *io_thread = &machine->io_thread[--machine->io_thread_count];

		loop_stop(io_thread->loop, 0);
		pthread_join(io_thread->thread, NULL);
		loop_destroy(io_thread->loop);
	}
	free(machine->io_thread);
	machine->io_thread = NULL;
}

struct device_env machine_io_env(struct machine *machine)
{
	struct device_env env = machine->device_env;

	env.io_loop = machine->io_thread[machine->io_thread_next].loop;
	machine->io_thread_next = (machine->io_thread_next + 1) % machine->io_thread_count;
	return env;
}
