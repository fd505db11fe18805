/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between the command and the host, the host's signals, and the end of it all. One thread, one poll. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "guest/agent/agent.h"
#include "guest/protocol.h"

#define RELAY_BUFFER (64u << 10)

/* One direction: from a descriptor into a buffer, from the buffer into another. -1: this side is closed. */
struct relay_way {
	int from, to;
	bool to_is_socket;
	size_t start, len;
	char buffer[RELAY_BUFFER];
};

struct relay {
	struct agent *agent;
	int signals;
	int terminal; /* -1: none */
	struct relay_way way[3];
	char control[sizeof(struct guest_message) + 64];
	size_t control_len;
	bool has_ended;
	unsigned status;
};

static void relay_close_to(struct relay_way *way)
{
	if (way->to < 0)
		return;
	if (way->to_is_socket)
		shutdown(way->to, SHUT_WR);
	else
		close(way->to);
	way->to = -1;
}

static void relay_fill(struct relay_way *way)
{
	ssize_t got = read(way->from, way->buffer, sizeof(way->buffer));

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) { /* EOF; EIO is a terminal without users */
		way->from = -1;
		relay_close_to(way);
		return;
	}
	way->start = 0;
	way->len = (size_t)got;
}

static void relay_drain(struct relay_way *way)
{
	ssize_t put = write(way->to, way->buffer + way->start, way->len);

	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (put <= 0) { /* nobody reads: the command shall see it */
		if (way->to_is_socket)
			close(way->from);
		way->len = 0;
		way->from = -1;
		way->to = -1;
		return;
	}
	way->start += (size_t)put;
	way->len -= (size_t)put;
}

static void relay_deliver_signal(struct relay *relay, uint32_t number)
{
	pid_t group = relay->terminal >= 0 ? tcgetpgrp(relay->terminal) : relay->agent->child;

	if (number > 0 && number < NSIG && !relay->has_ended)
		kill(group > 1 ? -group : -relay->agent->child, (int)number);
}

static void relay_resize(struct relay *relay, const struct guest_window_size *size)
{
	const struct winsize window = {.ws_row = size->rows, .ws_col = size->columns};

	if (relay->terminal >= 0)
		ioctl(relay->terminal, TIOCSWINSZ, &window);
}

static void relay_on_message(struct relay *relay, const struct guest_message *message, const void *payload)
{
	struct guest_signal signal_;
	struct guest_window_size size;

	if (message->type == GUEST_SIGNAL && message->length == sizeof(signal_)) {
		memcpy(&signal_, payload, sizeof(signal_));
		relay_deliver_signal(relay, signal_.number);
	} else if (message->type == GUEST_WINDOW_SIZE && message->length == sizeof(size)) {
		memcpy(&size, payload, sizeof(size));
		relay_resize(relay, &size);
	}
}

static void relay_read_control(struct relay *relay)
{
	struct guest_message message;
	ssize_t got = read(relay->agent->link[AGENT_CONTROL], relay->control + relay->control_len,
			   sizeof(relay->control) - relay->control_len);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		agent_power_off(); /* the host has gone */
	relay->control_len += (size_t)got;
	while (relay->control_len >= sizeof(message)) {
		memcpy(&message, relay->control, sizeof(message));
		if (message.length > sizeof(relay->control) - sizeof(message))
			agent_power_off();
		if (relay->control_len < sizeof(message) + message.length)
			return;
		relay_on_message(relay, &message, relay->control + sizeof(message));
		relay->control_len -= sizeof(message) + message.length;
		memmove(relay->control, relay->control + sizeof(message) + message.length,
			relay->control_len);
	}
}

/* Every child that has ended; ours ends the rest, as the end of a first process does. */
static void relay_reap(struct relay *relay)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(relay->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != relay->agent->child)
			continue;
		relay->has_ended = true;
		relay->status =
			WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 128u + (unsigned)WTERMSIG(status);
		kill(-1, SIGKILL);
		/* What is on its way in has no reader any more. */
		relay->way[0].from = -1;
		relay->way[0].len = 0;
	}
}

static bool relay_is_done(const struct relay *relay)
{
	return relay->has_ended && relay->way[1].from < 0 && relay->way[1].len == 0 &&
	       relay->way[2].from < 0 && relay->way[2].len == 0;
}

static void relay_round(struct relay *relay)
{
	struct pollfd poll_fd[8] = {
		{.fd = relay->signals, .events = POLLIN},
		{.fd = relay->agent->link[AGENT_CONTROL], .events = POLLIN},
	};

	for (int i = 0; i < 3; i++) {
		struct relay_way *way = &relay->way[i];

		poll_fd[2 + 2 * i] = (struct pollfd){.fd = way->len ? -1 : way->from, .events = POLLIN};
		poll_fd[3 + 2 * i] = (struct pollfd){.fd = way->len ? way->to : -1, .events = POLLOUT};
	}
	if (poll(poll_fd, 8, -1) < 0)
		return;
	if (poll_fd[0].revents)
		relay_reap(relay);
	if (poll_fd[1].revents)
		relay_read_control(relay);
	for (int i = 0; i < 3; i++) {
		struct relay_way *way = &relay->way[i];

		if (poll_fd[2 + 2 * i].revents && way->from >= 0)
			relay_fill(way);
		if (poll_fd[3 + 2 * i].revents && way->to >= 0 && way->len)
			relay_drain(way);
		if (way->from < 0 && way->len == 0)
			relay_close_to(way);
	}
}

static int relay_watch_children(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

unsigned agent_relay(struct agent *agent, int ends[3])
{
	static struct relay relay;

	relay.agent = agent;
	relay.signals = relay_watch_children();
	relay.terminal = agent->task.has_terminal ? ends[0] : -1;
	for (int i = 0; i < 3; i++) {
		int link = agent->link[AGENT_STDIN + i];

		fcntl(link, F_SETFL, O_NONBLOCK);
		if (ends[i] >= 0)
			fcntl(ends[i], F_SETFL, O_NONBLOCK);
		relay.way[i] = i == 0 ? (struct relay_way){.from = link, .to = ends[i]}
				      : (struct relay_way){.from = ends[i], .to = link, .to_is_socket = true};
	}
	/* A terminal's two ways share it: the end of input is the terminal's business, not a closed
	 * descriptor. */
	if (relay.terminal >= 0)
		relay.way[0].to = dup(ends[0]);
	relay_reap(&relay);
	while (!relay_is_done(&relay))
		relay_round(&relay);
	return relay.status;
}
