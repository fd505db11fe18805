/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routes: one row says method, path, phase, the body's table and who answers. Requests are matched,
 * checked and answered by the rows, and the OpenAPI document is printed from them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "api/http_parser.h"

struct api_vm;
struct body;
struct http_response;
struct json_t;

#define API_MESSAGE_SIZE 1536

/* What the server's parser keeps of the headers, see http_parser_config. */
enum api_header { API_HEADER_UPGRADE, API_HEADERS_COUNT };
extern const char *const api_headers[];

enum api_phase { API_BEFORE_START = 1, API_AFTER_START = 2, API_ANY_PHASE = 3 };

struct api_request {
	const char *id; /* the path's {id}; NULL: the route has none */
	void *body; /* the structure of route->body; handlers may take things out. NULL: no table, or left out
		     */
	const char *text; /* the body as it came; NULL: none */
	size_t text_len;
	const char *upgrade; /* the protocol asked for; NULL: none */
};

/* Zeroed: 204. */
struct api_answer {
	unsigned status;
	struct json_t *json;            /* owned; with it the status is 200 unless said otherwise */
	char *text;                     /* owned: instead of json */
	const char *type;               /* of text */
	const char *stream, *upgrade;   /* see http_response */
	char message[API_MESSAGE_SIZE]; /* of a failure */
};

/* Answers 400 with this fault_message. */
void api_fail(struct api_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum api_route_flag {
	ROUTE_BODY_OPTIONAL = 1u << 0,
	ROUTE_BODY_SECRET = 1u << 1, /* is not logged */
	ROUTE_BODY_ANY = 1u << 2,    /* any text: the handler reads it */
	ROUTE_OWN = 1u << 3,         /* vmmctl's, not Firecracker's */
	ROUTE_STREAM = 1u << 4,      /* the answer does not end */
	ROUTE_TEXT = 1u << 5,        /* the answer is text */
};

struct api_route {
	enum http_method method;
	const char *path; /* without the first slash: "drives/{id}" */
	enum api_phase phase;
	unsigned flags;
	const struct body *body;
	const char *id_member;                   /* of the body, which must be the path's id; NULL: none */
	const char *metric;                      /* "drive": drive_count and drive_fails; NULL: not counted */
	bool (*is_deprecated)(const void *body); /* NULL: never */
	void (*handle)(struct api_vm *vm, const struct api_request *request, struct api_answer *answer);
	const struct body *reply; /* for OpenAPI; NULL: an object, or nothing for 204 */
	const char *summary;      /* for OpenAPI */
};

/* Ends with path NULL. */
extern const struct api_route api_routes[];

/* Finds the route, checks, has it answered. */
void api_answer_request(struct api_vm *vm, const struct http_request *request,
			struct http_response *response);

/* The OpenAPI 3 document. Owned. */
struct json_t *api_openapi(void);
