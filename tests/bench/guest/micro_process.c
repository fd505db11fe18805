/* SPDX-License-Identifier: Apache-2.0 */
/* Micro classes of several processes and threads. */
#include "tests/bench/guest/micro.h"

#include <err.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static int pipe_out, pipe_in; /* to the child that echoes */

/* Sends back each byte, until there are no more. */
static _Noreturn void micro_echo(int in, int out)
{
	char byte;

	while (read(in, &byte, 1) == 1)
		if (write(out, &byte, 1) != 1)
			break;
	_exit(0);
}

/* The child ends with this process, which holds the pipe's other end. */
void micro_pipe_prepare(struct bench_room *room)
{
	int from[2], to[2];
	pid_t child;

	(void)room;
	if (pipe(to) || pipe(from))
		err(1, "pipe");
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (!child) {
		close(to[1]);
		micro_echo(to[0], from[1]);
	}
	pipe_out = to[1];
	pipe_in = from[0];
}

void micro_pipe(struct bench_room *room, uint64_t n)
{
	char byte = 1;

	(void)room;
	for (uint64_t i = 0; i < n; i++)
		if (write(pipe_out, &byte, 1) != 1 || read(pipe_in, &byte, 1) != 1)
			err(1, "ping-pong");
}

void micro_fork_wait(struct bench_room *room, uint64_t n)
{
	(void)room;
	for (uint64_t i = 0; i < n; i++) {
		pid_t child = fork();

		if (child < 0)
			err(1, "fork");
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

static pid_t micro_spawn(void)
{
	pid_t child = vfork();

	if (!child) {
		execl(MICRO_SELF, "micro", MICRO_LEAVE, (char *)NULL);
		_exit(1);
	}
	return child;
}

void micro_exec(struct bench_room *room, uint64_t n)
{
	(void)room;
	for (uint64_t i = 0; i < n; i++) {
		int status;
		pid_t child = micro_spawn();

		if (child < 0)
			err(1, "vfork");
		if (waitpid(child, &status, 0) != child || status)
			errx(1, "exec: status %d", status);
	}
}

static void *micro_thread_main(void *argument)
{
	return argument;
}

void micro_thread(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, micro_thread_main, room))
			err(1, "pthread_create");
		pthread_join(thread, NULL);
	}
}
