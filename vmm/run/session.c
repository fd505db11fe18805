/* SPDX-License-Identifier: Apache-2.0 */
/* The session: connections by role, control messages, and when it is over. Streams are stream.c's. */
#include "vmm/run/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "guest/protocol.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/run/stream.h"

#define SESSION_BACKLOG 8

struct session {
	struct session_config config;
	int listener;
	struct loop_fd *listener_watch;
	int control; /* -1 until the agent has connected */
	struct loop_fd *control_watch;
	size_t task_sent;
	struct stream *in, *out, *err;
	char message[sizeof(struct guest_message) + GUEST_MESSAGE_MAX]; /* what arrived and is not complete */
	size_t message_len;
	bool has_started, has_status, has_ended;
	unsigned status;
	char failure[1024];
};

static void session_end(struct session *session, unsigned status)
{
	if (session->has_ended)
		return;
	session->has_ended = true;
	session->config.on_end(session->config.opaque, status);
}

/* The status counts when both outputs have been read to their ends. */
static void session_look_for_end(struct session *session)
{
	if (session->has_status && (!session->out || stream_is_done(session->out)) &&
	    (!session->err || stream_is_done(session->err)))
		session_end(session, session->status);
}

static void session_on_stream_done(void *opaque)
{
	session_look_for_end(opaque);
}

static void session_on_failed(struct session *session, const char *payload, size_t len)
{
	struct guest_failed failed;

	if (len < sizeof(failed))
		return;
	memcpy(&failed, payload, sizeof(failed));
	snprintf(session->failure, sizeof(session->failure), "%.*s", (int)(len - sizeof(failed)),
		 payload + sizeof(failed));
	/* A terminal is not to be steered by a guest's message. */
	for (char *at = session->failure; *at; at++) {
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = '?';
	}
	session->status = failed.status & 0xff;
	session_end(session, session->status);
}

static void session_on_message(struct session *session, const struct guest_message *message,
			       const char *payload)
{
	struct guest_exited exited;

	switch (message->type) {
	case GUEST_STARTED: session->has_started = true; return;
	case GUEST_EXITED:
		if (message->length != sizeof(exited))
			return;
		memcpy(&exited, payload, sizeof(exited));
		session->status = exited.status & 0xff;
		session->has_status = true;
		session_look_for_end(session);
		return;
	case GUEST_FAILED: session_on_failed(session, payload, message->length); return;
	}
}

static void session_close_control(struct session *session)
{
	if (session->control_watch)
		loop_fd_remove(session->control_watch);
	session->control_watch = NULL;
	if (session->control >= 0)
		close(session->control);
	session->control = -1;
}

static void session_parse(struct session *session)
{
	struct guest_message message;

	while (session->message_len >= sizeof(message)) {
		memcpy(&message, session->message, sizeof(message));
		if (message.length > GUEST_MESSAGE_MAX) {
			log_warning("the guest's agent sent a message of %u bytes; it is not listened to any "
				    "more",
				    message.length);
			session_close_control(session);
			return;
		}
		if (session->message_len < sizeof(message) + message.length)
			return;
		session_on_message(session, &message, session->message + sizeof(message));
		session->message_len -= sizeof(message) + message.length;
		memmove(session->message, session->message + sizeof(message) + message.length,
			session->message_len);
	}
}

static void session_read(struct session *session)
{
	ssize_t got = read(session->control, session->message + session->message_len,
			   sizeof(session->message) - session->message_len);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		session_close_control(session);
		return;
	}
	session->message_len += (size_t)got;
	session_parse(session);
}

/* The task is longer than a socket's buffer may be: header and payload as one run of bytes. */
static void session_send_task(struct session *session)
{
	const struct guest_message head = {.type = GUEST_START, .length = (uint32_t)session->config.task_len};
	size_t total = sizeof(head) + session->config.task_len;

	while (session->task_sent < total) {
		size_t at = session->task_sent;
		ssize_t done = at < sizeof(head)
				       ? send(session->control, (const char *)&head + at, sizeof(head) - at,
					      MSG_NOSIGNAL)
				       : send(session->control, session->config.task + (at - sizeof(head)),
					      total - at, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			break;
		session->task_sent += (size_t)done;
	}
	if (session->task_sent == total)
		loop_fd_modify(session->control_watch, EPOLLIN);
}

static void session_on_control(void *opaque, uint32_t epoll_events)
{
	struct session *session = opaque;

	if (epoll_events & EPOLLOUT)
		session_send_task(session);
	if (session->control >= 0 && (epoll_events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		session_read(session);
}

static void session_send(struct session *session, uint32_t type, const void *payload, size_t len)
{
	struct guest_message head = {.type = type, .length = (uint32_t)len};
	char bytes[sizeof(head) + 16];

	if (session->control < 0 || !session->has_started || len > sizeof(bytes) - sizeof(head))
		return;
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), payload, len);
	/* A guest that does not listen loses its signals: nothing waits for it. */
	if (send(session->control, bytes, sizeof(head) + len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("a message for the guest's agent was lost: %s", strerror(errno));
}

void session_send_signal(struct session *session, int number)
{
	const struct guest_signal signal_ = {.number = (uint32_t)number};

	session_send(session, GUEST_SIGNAL, &signal_, sizeof(signal_));
}

void session_send_window_size(struct session *session, unsigned rows, unsigned columns)
{
	const struct guest_window_size size = {.rows = (uint16_t)rows, .columns = (uint16_t)columns};

	session_send(session, GUEST_WINDOW_SIZE, &size, sizeof(size));
}

static void session_take_control(struct session *session, int fd)
{
	struct err err = {0};

	session->control_watch =
		loop_fd_add(session->config.loop, fd, EPOLLIN | EPOLLOUT, session_on_control, session, &err);
	if (session->control_watch)
		session->control = fd;
	else
		close(fd);
}

static void session_take_stream(struct session *session, struct stream **stream, int from, int to, int fd)
{
	const struct stream_config config = {
		.loop = session->config.loop,
		.from = from >= 0 ? from : fd,
		.to = to >= 0 ? to : fd,
		.socket = fd,
		.on_done = session_on_stream_done,
		.opaque = session,
	};

	*stream = stream_create(&config);
	if (!*stream)
		close(fd);
}

/* A connection's first byte says what it is; each role once. The agent sends it at once. */
static void session_on_connection(void *opaque, uint32_t epoll_events)
{
	struct session *session = opaque;
	const struct timeval patience = {.tv_sec = 2};
	int fd = accept4(session->listener, NULL, NULL, SOCK_CLOEXEC);
	char role = 0;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (recv(fd, &role, 1, 0) != 1)
		role = 0;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0}, sizeof(struct timeval));
	if (role == GUEST_ROLE_CONTROL && session->control < 0 && session->task_sent == 0)
		session_take_control(session, fd);
	else if (role == GUEST_ROLE_STDIN && !session->in)
		session_take_stream(session, &session->in, STDIN_FILENO, -1, fd);
	else if (role == GUEST_ROLE_STDOUT && !session->out)
		session_take_stream(session, &session->out, -1, STDOUT_FILENO, fd);
	else if (role == GUEST_ROLE_STDERR && !session->err)
		session_take_stream(session, &session->err, -1, STDERR_FILENO, fd);
	else
		close(fd);
}

static int session_listen(struct session *session, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = session->config.socket_path;

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s is too long for a unix socket", path);
	strcpy(address.sun_path, path);
	session->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (session->listener < 0 ||
	    bind(session->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(session->listener, SESSION_BACKLOG) < 0)
		return err_set_errno(err, -errno, "%s", path);
	session->listener_watch = loop_fd_add(session->config.loop, session->listener, EPOLLIN,
					      session_on_connection, session, err);
	return session->listener_watch ? 0 : -ENOMEM;
}

struct session *session_create(const struct session_config *config, struct err *err)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session) {
		err_set(err, -ENOMEM, "no memory for a session");
		return NULL;
	}
	session->config = *config;
	session->control = -1;
	session->listener = -1;
	if (session_listen(session, err) == 0)
		return session;
	session_destroy(session);
	return NULL;
}

void session_destroy(struct session *session)
{
	if (!session)
		return;
	session_close_control(session);
	stream_destroy(session->in);
	stream_destroy(session->out);
	stream_destroy(session->err);
	if (session->listener_watch)
		loop_fd_remove(session->listener_watch);
	if (session->listener >= 0) {
		close(session->listener);
		unlink(session->config.socket_path);
	}
	free(session);
}

bool session_has_started(const struct session *session)
{
	return session->has_started;
}

const char *session_failure(const struct session *session)
{
	return session->failure;
}
