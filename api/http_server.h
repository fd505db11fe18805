/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP server on a unix socket, on a loop: a few connections, requests one at a time and answered in
 * order. Knows no routes and no VMs: who made it is asked for every answer. Answers are laid out as
 * Firecracker's server does it: no reason phrase, its order of headers, keep-alive always.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "api/http_parser.h"

struct err;
struct http_connection;
struct http_server;
struct loop;

#define HTTP_CONNECTIONS_MAX 10 /* Firecracker's; bounds descriptors and buffers */

struct http_response {
	unsigned status;
	char *body;          /* owned, text; NULL: none */
	const char *type;    /* of the body; NULL: application/json */
	const char *allow;   /* NULL: no such header */
	bool deprecated;     /* with "Deprecation: true" */
	const char *stream;  /* the connection leaves HTTP behind this answer, with this as its content type:
				see  http_server_config.taken; NULL: no */
	const char *upgrade; /* stream: the protocol that the client asked for, else NULL */
};

struct http_server_config {
	const char *path; /* of the socket */
	const char *name; /* "Server: NAME" */
	struct http_parser_config parser;
	/* Answers; on the loop's thread. response is zeroed. */
	void (*handle)(void *opaque, const struct http_request *request, struct http_response *response);
	/*
	 * A connection has left HTTP (response.stream): the descriptor, non-blocking, is the callee's, and
	 * `early` are bytes that came behind the request. May be NULL if no answer has a stream.
	 */
	void (*taken)(void *opaque, const struct http_request *request, int fd, const char *early,
		      size_t early_len);
	void *opaque;
};

/* Listens. Owned, or NULL with err set (-EADDRINUSE: somebody listens there). The strings are borrowed. */
struct http_server *http_server_create(struct loop *loop, const struct http_server_config *config,
				       struct err *err);
/* Closes all connections, what they were still to be sent goes as far as it goes at once; removes the socket.
 */
void http_server_destroy(struct http_server *server);

/* Goes over to another loop with all its connections; neither loop runs. 0, or -errno: the server is of no
 * more use, and is still to be destroyed. */
int http_server_move(struct http_server *server, struct loop *loop, struct err *err);

/* Writes what waits for clients, for at most so long: before a process ends. */
void http_server_flush(struct http_server *server, unsigned timeout_ms);
