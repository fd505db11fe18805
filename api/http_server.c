/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: accepts, reads, has answers made, writes. A connection whose answers wait for its client is not
 * read from, so that what is kept for it stays within an answer and the input of one read.
 */
#include "api/http_server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/base/unix_socket.h"

#define HTTP_READ_SIZE   16384 /* of one read */
#define HTTP_OUTPUT_HIGH 65536 /* answers that wait: from here on nothing more is read */
#define HTTP_HEAD_MAX    512
#define HTTP_BACKLOG     128 /* who comes while a request is answered waits here */

struct http_connection {
	struct http_server *server;
	int fd;
	struct loop_fd *watch;
	struct http_parser parser;
	char *input; /* HTTP_READ_SIZE: what was read and not parsed yet */
	size_t input_head, input_tail;
	char *output; /* owned; what the client has not taken yet */
	size_t output_len, output_size, output_done;
	struct http_connection *next;
};

struct http_server {
	struct http_server_config config;
	struct loop *loop;
	int fd;
	struct loop_fd *watch;
	struct http_connection *first;
	unsigned count;
};

static void http_connection_destroy(struct http_connection *connection)
{
	struct http_server *server = connection->server;
	struct http_connection **link = &server->first;

	while (*link && *link != connection)
		link = &(*link)->next;
	if (*link) {
		*link = connection->next;
		server->count--;
	}
	if (connection->watch)
		loop_fd_remove(connection->watch);
	if (connection->fd >= 0)
		close(connection->fd);
	http_parser_free(&connection->parser);
	free(connection->input);
	free(connection->output);
	free(connection);
}

/* Puts bytes behind what waits; false when there is no memory for them. */
static bool http_put(struct http_connection *connection, const char *data, size_t len)
{
	if (len > connection->output_size - connection->output_len) {
		size_t size = connection->output_len + len + 1024;
		char *output = realloc(connection->output, size);

		if (!output)
			return false;
		connection->output = output;
		connection->output_size = size;
	}
	memcpy(connection->output + connection->output_len, data, len);
	connection->output_len += len;
	return true;
}

static bool http_put_text(struct http_connection *connection, const char *text)
{
	return http_put(connection, text, strlen(text));
}

static int http_head_of_stream(const struct http_connection *connection, const struct http_response *response,
			       char *head, size_t size)
{
	const char *name = connection->server->config.name;

	if (response->upgrade)
		return snprintf(head, size,
				"HTTP/1.1 101 \r\nServer: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
				name, response->upgrade);
	return snprintf(head, size,
			"HTTP/1.1 200 \r\nServer: %s\r\nConnection: close\r\nContent-Type: %s\r\n\r\n", name,
			response->stream);
}

static int http_head(const struct http_connection *connection, const struct http_response *response,
		     char *head, size_t size)
{
	const char *type = response->type ? response->type : "application/json";
	char length[128] = "";

	if (response->stream)
		return http_head_of_stream(connection, response, head, size);
	if (response->status != 100 && response->status != 204)
		snprintf(length, sizeof(length), "Content-Type: %s\r\nContent-Length: %zu\r\n", type,
			 response->body ? strlen(response->body) : 0);
	return snprintf(head, size, "HTTP/1.1 %u \r\nServer: %s\r\nConnection: keep-alive\r\n%s%s%s%s%s\r\n",
			response->status, connection->server->config.name, response->allow ? "Allow: " : "",
			response->allow ? response->allow : "", response->allow ? "\r\n" : "",
			response->deprecated ? "Deprecation: true\r\n" : "", length);
}

static bool http_put_response(struct http_connection *connection, const struct http_response *response)
{
	char head[HTTP_HEAD_MAX];
	int len = http_head(connection, response, head, sizeof(head));

	return http_put(connection, head, (size_t)len) &&
	       (!response->body || response->status == 204 || http_put_text(connection, response->body));
}

/* Writes what the socket takes. False when the client is gone. */
static bool http_write(struct http_connection *connection)
{
	while (connection->output_done < connection->output_len) {
		ssize_t sent =
			send(connection->fd, connection->output + connection->output_done,
			     connection->output_len - connection->output_done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN;
		connection->output_done += (size_t)sent;
	}
	connection->output_done = connection->output_len = 0;
	if (connection->output_size > HTTP_OUTPUT_HIGH) {
		free(connection->output);
		connection->output = NULL;
		connection->output_size = 0;
	}
	return true;
}

/* The connection leaves HTTP: the descriptor is handed on with what came behind the request. */
static void http_hand_over(struct http_connection *connection, const struct http_request *request)
{
	struct http_server *server = connection->server;
	int fd = connection->fd;

	loop_fd_remove(connection->watch);
	connection->watch = NULL;
	connection->fd = -1;
	/* The head is small and the socket's buffer empty: a client that does not take it is gone. */
	server->config.taken(server->config.opaque, request, fd, connection->input + connection->input_head,
			     connection->input_tail - connection->input_head);
}

/* False when the connection is over. */
static bool http_answer(struct http_connection *connection)
{
	struct http_server *server = connection->server;
	struct http_request request = connection->parser.request;
	struct http_response response = {0};
	bool goes_on;

	connection->parser.request = (struct http_request){0};
	server->config.handle(server->config.opaque, &request, &response);
	goes_on = http_put_response(connection, &response);
	if (goes_on && response.stream) {
		if (http_write(connection))
			http_hand_over(connection, &request);
		goes_on = false;
	}
	free(response.body);
	http_request_free(&request);
	return goes_on;
}

static bool http_refuse(struct http_connection *connection)
{
	char body[HTTP_ERROR_SIZE + 128];
	struct http_response response = {.status = 400, .body = body};

	/* The line feed within the string is theirs. */
	snprintf(body, sizeof(body),
		 "{ \"error\": \"%s\nAll previous unanswered requests will be dropped.\" }",
		 connection->parser.error);
	return http_put_response(connection, &response);
}

static bool http_on_event(struct http_connection *connection, enum http_event event)
{
	const struct http_response go_on = {.status = 100};

	switch (event) {
	case HTTP_MORE: return true;
	case HTTP_REQUEST: return http_answer(connection);
	case HTTP_CONTINUE: return http_put_response(connection, &go_on);
	case HTTP_BAD: return http_refuse(connection);
	}
	return false;
}

/* Answers what has been read, as long as the client takes the answers. False when the connection is over. */
static bool http_work(struct http_connection *connection)
{
	while (connection->input_head < connection->input_tail) {
		enum http_event event;
		size_t used;

		if (connection->output_len - connection->output_done >= HTTP_OUTPUT_HIGH)
			return true;
		event = http_parser_feed(&connection->parser, connection->input + connection->input_head,
					 connection->input_tail - connection->input_head, &used);
		connection->input_head += used;
		if (!http_on_event(connection, event) || !http_write(connection))
			return false;
	}
	return true;
}

/* False when the connection is over. */
static bool http_read(struct http_connection *connection)
{
	ssize_t got = recv(connection->fd, connection->input, HTTP_READ_SIZE, MSG_DONTWAIT);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	connection->input_head = 0;
	connection->input_tail = (size_t)got;
	return got > 0;
}

static void http_on_ready(void *opaque, uint32_t events)
{
	struct http_connection *connection = opaque;
	bool goes_on = http_write(connection);
	bool is_full;

	if (goes_on && connection->input_head == connection->input_tail && (events & (EPOLLIN | EPOLLHUP)))
		goes_on = http_read(connection);
	if (!goes_on || !http_work(connection)) {
		http_connection_destroy(connection);
		return;
	}
	is_full = connection->output_len > connection->output_done;
	loop_fd_modify(connection->watch, is_full ? EPOLLOUT : EPOLLIN);
}

static void http_turn_away(struct http_server *server, int fd)
{
	char answer[HTTP_HEAD_MAX];
	int len = snprintf(answer, sizeof(answer),
			   "HTTP/1.1 503 \r\nServer: %s\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
			   "{ \"error\": \"Too many open connections\" }",
			   server->config.name);
	ssize_t sent = send(fd, answer, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);

	(void)sent;
	close(fd);
}

static void http_add_connection(struct http_server *server, int fd)
{
	struct http_connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		close(fd);
		return;
	}
	connection->server = server;
	connection->fd = fd;
	http_parser_init(&connection->parser, &server->config.parser);
	connection->next = server->first;
	server->first = connection;
	server->count++;
	connection->input = malloc(HTTP_READ_SIZE);
	if (connection->input)
		connection->watch = loop_fd_add(server->loop, fd, EPOLLIN, http_on_ready, connection, NULL);
	if (!connection->watch)
		http_connection_destroy(connection);
}

static void http_on_connect(void *opaque, uint32_t events)
{
	struct http_server *server = opaque;
	int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (server->count >= HTTP_CONNECTIONS_MAX)
		http_turn_away(server, fd);
	else
		http_add_connection(server, fd);
}

struct http_server *http_server_create(struct loop *loop, const struct http_server_config *config,
				       struct err *err)
{
	struct http_server *server = calloc(1, sizeof(*server));

	if (!server) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	server->config = *config;
	server->loop = loop;
	server->fd = unix_socket_listen(config->path, HTTP_BACKLOG, err);
	if (server->fd >= 0)
		server->watch = loop_fd_add(loop, server->fd, EPOLLIN, http_on_connect, server, err);
	if (server->watch)
		return server;
	if (server->fd >= 0)
		unlink(config->path);
	if (server->fd >= 0)
		close(server->fd);
	free(server);
	return NULL;
}

static int http_move_connection(struct http_connection *connection, struct loop *loop, struct err *err)
{
	loop_fd_remove(connection->watch);
	connection->watch = loop_fd_add(loop, connection->fd, EPOLLIN, http_on_ready, connection, err);
	return connection->watch ? 0 : -EIO;
}

int http_server_move(struct http_server *server, struct loop *loop, struct err *err)
{
	struct http_connection *next;

	loop_fd_remove(server->watch);
	server->loop = loop;
	server->watch = loop_fd_add(loop, server->fd, EPOLLIN, http_on_connect, server, err);
	if (!server->watch)
		return -EIO;
	for (struct http_connection *connection = server->first; connection; connection = next) {
		next = connection->next;
		if (http_move_connection(connection, loop, err) < 0)
			return -EIO;
		/* What was read and not answered yet comes with no event. */
		http_on_ready(connection, 0);
	}
	return 0;
}

void http_server_flush(struct http_server *server, unsigned timeout_ms)
{
	uint64_t deadline_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;

	for (struct http_connection *connection = server->first; connection; connection = connection->next) {
		struct pollfd wait = {.fd = connection->fd, .events = POLLOUT};

		while (http_write(connection) && connection->output_len > 0) {
			uint64_t now_ns = clock_monotonic_ns();

			if (now_ns >= deadline_ns ||
			    poll(&wait, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1) <= 0)
				break;
		}
	}
}

void http_server_destroy(struct http_server *server)
{
	if (!server)
		return;
	while (server->first)
		http_connection_destroy(server->first);
	if (server->watch)
		loop_fd_remove(server->watch);
	close(server->fd);
	unlink(server->config.path);
	free(server);
}
