/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 requests out of a stream of bytes, in whatever pieces they come. Knows no sockets, no routes and no
 * VMs. It accepts and refuses what Firecracker's server does (lines end in CR LF and are at most a KiB, a
 * body has a Content-Length, four methods) and words a refusal as that one does, which general parsers do not
 * let one do: docs/decisions/0015-http-of-our-own.md. RFC 9112 where nothing else is said.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LINE_MAX    1024 /* request line or header with its CR LF: what Firecracker's buffer holds */
#define HTTP_HEADERS_MAX 8    /* names that a user of the parser can ask for */
#define HTTP_ERROR_SIZE  1280 /* a reason with a whole header line in it */

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };

/* "GET" */
const char *http_method_name(enum http_method method);
/* "Get", as Firecracker's log lines have it. */
const char *http_method_title(enum http_method method);

struct http_request {
	enum http_method method;
	char *path; /* owned; from the first slash on, or "" */
	char *body; /* owned, terminated beyond body_len; NULL: there is none */
	size_t body_len;
	char *header[HTTP_HEADERS_MAX]; /* owned; values of the names asked for, NULL: not sent */
};

void http_request_free(struct http_request *request);

/* What a header's name means is looked up without regard to case. */
struct http_parser_config {
	size_t body_max;           /* bytes; a larger Content-Length is refused unread */
	const char *const *header; /* names whose values requests keep, at most HTTP_HEADERS_MAX; NULL ends;
				      may be NULL */
};

enum http_event {
	HTTP_MORE,     /* all bytes are used, no request is complete */
	HTTP_REQUEST,  /* parser->request is complete: take it, or free it */
	HTTP_CONTINUE, /* the client waits for leave to send its body */
	HTTP_BAD,      /* parser->error says why; the parser begins anew behind what it has used */
};

enum http_parser_state { HTTP_IN_REQUEST_LINE, HTTP_IN_HEADERS, HTTP_IN_BODY, HTTP_IN_REFUSED_BODY };

struct http_parser {
	struct http_parser_config config;
	enum http_parser_state state;
	char line[HTTP_LINE_MAX + 1];
	size_t line_len;
	struct http_request request; /* under construction */
	uint32_t content_length;
	bool chunked, expects_continue;
	size_t refused; /* bytes of a refused body still to come */
	char error[HTTP_ERROR_SIZE];
};

void http_parser_init(struct http_parser *parser, const struct http_parser_config *config);
void http_parser_free(struct http_parser *parser);

/*
 * Takes bytes until something happened; *used says how many. On HTTP_BAD the rest of the bytes has been
 * thrown away, too: nobody can say where the next request begins. Never returns HTTP_MORE with bytes left.
 */
enum http_event http_parser_feed(struct http_parser *parser, const char *data, size_t len, size_t *used);
