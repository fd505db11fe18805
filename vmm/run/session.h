/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of guest/protocol.h: waits for the agent's connections on a unix socket, gives it its task,
 * carries this process's standard input and outputs, and learns the command's status. The agent is a
 * stranger's guest: what it says is checked, and it can do no more than end its own session. Knows no
 * machine.
 *
 * Control runs on the loop; each stream is carried by a thread of its own with blocking calls, because this
 * process's descriptors are shared with others and are not ours to make non-blocking.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct loop;
struct session;

struct session_config {
	struct loop *loop;       /* borrowed */
	const char *socket_path; /* listened on; removed at the end */
	const char *task;        /* a START payload, borrowed */
	size_t task_len;
	/* On the loop's thread, once: the command ended (or could not be started), all output is delivered.
	 */
	void (*on_end)(void *opaque, unsigned status);
	void *opaque;
};

struct session *session_create(const struct session_config *config, struct err *err);
/* Delivers what has arrived and ends the threads. The loop no longer runs. */
void session_destroy(struct session *session);

/* Whether the command has been started; before that there is nobody who could take a signal. */
bool session_has_started(const struct session *session);
/* The agent's own words when it could not start the command, else "". */
const char *session_failure(const struct session *session);

/* On the loop's thread. */
void session_send_signal(struct session *session, int number);
void session_send_window_size(struct session *session, unsigned rows, unsigned columns);
