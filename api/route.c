/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to its row, the checks that all rows share, and back to an answer. */
#include "api/route.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/body.h"
#include "api/http_server.h"
#include "api/json_reader.h"
#include "api/vm.h"
#include "vmm/base/log.h"

#define ROUTE_TOKENS_MAX 4

/* A path in pieces; what goes beyond is of no meaning. */
struct route_path {
	char text[HTTP_LINE_MAX];
	const char *token[ROUTE_TOKENS_MAX];
	unsigned count;
};

void api_fail(struct api_answer *answer, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(answer->message, sizeof(answer->message), format, args);
	va_end(args);
	answer->status = 400;
}

/* --- matching */

/* Pieces between slashes; one slash at the end makes no empty piece. */
static void route_split(struct route_path *path, const char *text)
{
	char *at = path->text;

	while (*text == '/')
		text++;
	snprintf(path->text, sizeof(path->text), "%s", text);
	path->count = 0;
	while (*at && path->count < ROUTE_TOKENS_MAX) {
		char *slash = strchr(at, '/');

		path->token[path->count++] = at;
		if (!slash)
			break;
		*slash = '\0';
		at = slash + 1;
	}
	if (path->count == 0)
		path->token[0] = "";
}

static bool route_is_id(const char *piece, size_t len)
{
	return len == 4 && strncmp(piece, "{id}", 4) == 0;
}

/*
 * How many literal pieces of the row's path the request has, all of which it must have; -1: not this row. A
 * missing id matches, so that it can be told; pieces beyond the row's are ignored.
 */
static int route_score(const struct api_route *route, const struct route_path *path)
{
	const char *piece = route->path;
	int score = 1;

	for (unsigned i = 0; *piece; i++) {
		size_t len = strcspn(piece, "/");

		if (!route_is_id(piece, len)) {
			if (i >= path->count || strlen(path->token[i]) != len ||
			    strncmp(piece, path->token[i], len) != 0)
				return -1;
			score++;
		}
		piece += len + (piece[len] == '/');
	}
	return *route->path || path->count == 0 ? score : -1;
}

static bool route_shares_first(const struct api_route *route, const struct route_path *path)
{
	size_t len = strcspn(route->path, "/");

	return strlen(path->token[0]) == len && strncmp(route->path, path->token[0], len) == 0;
}

static const struct api_route *route_find(enum http_method method, const struct route_path *path)
{
	const struct api_route *best = NULL;
	int best_score = 0;

	for (const struct api_route *route = api_routes; route->path; route++) {
		int score = route->method == method ? route_score(route, path) : -1;

		if (score > best_score) {
			best = route;
			best_score = score;
		}
	}
	return best;
}

/* Whether longer paths begin like this one: then a further piece that names none of them is a mistake. */
static bool route_has_longer(const struct api_route *found, const struct route_path *path)
{
	if (strchr(found->path, '/') || path->count < 2)
		return false;
	for (const struct api_route *route = api_routes; route->path; route++) {
		if (route->method == found->method && route_shares_first(route, path) &&
		    strchr(route->path, '/'))
			return true;
	}
	return false;
}

static void route_fail_path(struct api_answer *answer, const struct http_request *request,
			    const struct route_path *path)
{
	const char *method = http_method_name(request->method);

	if (strcmp(path->token[0], "snapshot") == 0 && request->method == HTTP_PUT) {
		if (path->count < 2)
			api_fail(answer, "Missing snapshot operation type.");
		else
			api_fail(answer, "Invalid request method and/or path: PUT /snapshot/%s.",
				 path->token[1]);
		return;
	}
	api_fail(answer, "Invalid request method and/or path: %s %s.", method, path->token[0]);
}

/* --- checks that all rows share */

static bool route_check_presence(const struct http_request *request, const struct api_route *route,
				 struct api_answer *answer)
{
	bool optional = route && (route->flags & ROUTE_BODY_OPTIONAL);

	switch (request->method) {
	case HTTP_GET:
		if (request->body)
			api_fail(answer, "GET request cannot have a body.");
		break;
	case HTTP_PUT:
		if (!request->body && !optional)
			api_fail(answer, "Empty PUT request.");
		break;
	case HTTP_PATCH:
		if (!request->body && !optional)
			api_fail(answer, "Empty PATCH request.");
		break;
	case HTTP_DELETE:
		if (request->body)
			api_fail(answer, "Empty Delete request.");
		break;
	}
	return answer->status == 0;
}

static bool route_is_id_text(const char *id)
{
	for (; *id; id++) {
		unsigned char c = (unsigned char)*id;

		if (c < 0x80 && c != '_' && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') &&
		    !(c >= 'A' && c <= 'Z'))
			return false;
	}
	return true;
}

/* The piece that stands where the row has {id}; NULL when the row has none. */
static bool route_take_id(const struct api_route *route, const struct route_path *path, const char **id,
			  struct api_answer *answer)
{
	const char *marker = strstr(route->path, "{id}");
	unsigned index = 0;

	*id = NULL;
	if (!marker)
		return true;
	for (const char *at = route->path; at < marker; at++)
		index += *at == '/';
	*id = index < path->count ? path->token[index] : "";
	if (!**id)
		api_fail(answer, "The ID cannot be empty.");
	else if (!route_is_id_text(*id))
		api_fail(answer,
			 "API Resource IDs can only contain alphanumeric characters and underscores.");
	return answer->status == 0;
}

static bool route_read_body(const struct api_route *route, struct api_request *request,
			    struct api_answer *answer)
{
	char error[JSON_READER_ERROR_SIZE];

	if (!route->body || !request->text)
		return true;
	request->body = calloc(1, route->body->size);
	if (request->body && body_parse(route->body, request->body, request->text, request->text_len, error))
		return true;
	if (request->body)
		api_fail(answer, "An error occurred when deserializing the json body of a request: %s.",
			 error);
	else
		api_fail(answer, "no memory");
	free(request->body);
	request->body = NULL;
	return false;
}

static bool route_check_id(const struct api_route *route, const struct api_request *request,
			   struct api_answer *answer)
{
	const char *in_body = NULL;

	if (!route->id_member || !request->body)
		return true;
	for (const struct body_field *field = route->body->field; field->name; field++) {
		if (strcmp(field->name, route->id_member) == 0)
			in_body = *(char *const *)((const char *)request->body + field->offset);
	}
	if (in_body && strcmp(in_body, request->id) == 0)
		return true;
	if (strcmp(route->id_member, "iface_id") == 0)
		api_fail(answer, "The id from the path [%s] does not match the id from the body [%s]!",
			 request->id, in_body ? in_body : "");
	else
		api_fail(answer, "The id from the path does not match the id from the body!");
	return false;
}

static bool route_check_phase(const struct api_vm *vm, const struct api_route *route,
			      struct api_answer *answer)
{
	bool started = api_vm_state(vm) != API_NOT_STARTED;

	if (route->phase & (started ? API_AFTER_START : API_BEFORE_START))
		return true;
	api_fail(answer, "The requested operation is not supported %s starting the microVM.",
		 started ? "after" : "before");
	return false;
}

/* --- answering */

static void route_run(struct api_vm *vm, const struct api_route *route, struct api_request *request,
		      struct api_answer *answer, bool *deprecated)
{
	if (!route_read_body(route, request, answer))
		return;
	if (route->is_deprecated && request->body && route->is_deprecated(request->body)) {
		*deprecated = true;
		vm->metrics.deprecated++;
		log_at("fc_api", LOG_WARNING, "%s %s: a member of the body is deprecated.",
		       http_method_name(route->method), route->path);
	}
	if (route_check_id(route, request, answer) && route_check_phase(vm, route, answer))
		route->handle(vm, request, answer);
	if (request->body)
		body_clear(route->body, request->body);
	free(request->body);
}

static void route_answer(struct api_vm *vm, const struct http_request *http, struct api_answer *answer,
			 bool *deprecated)
{
	struct api_request request = {
		.text = http->body, .text_len = http->body_len, .upgrade = http->header[API_HEADER_UPGRADE]};
	const struct api_route *route;
	struct route_path path;

	route_split(&path, http->path);
	route = route_find(http->method, &path);
	if (!route_check_presence(http, route, answer))
		return;
	if (!route) {
		route_fail_path(answer, http, &path);
		return;
	}
	vm->metrics.count[route - api_routes]++;
	if (route_has_longer(route, &path))
		api_fail(answer, "Unrecognized %s request path `%s`.", http_method_name(http->method),
			 path.token[1]);
	else if (route_take_id(route, &path, &request.id, answer))
		route_run(vm, route, &request, answer, deprecated);
	if (answer->status >= 400)
		vm->metrics.fails[route - api_routes]++;
}

static char *route_fault(const char *message)
{
	json_t *json = json_pack("{s:o}", "fault_message", json_stringn_nocheck(message, strlen(message)));
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	/* What is not UTF-8 is in no message that JSON can carry. */
	return text ? text : strdup("{\"fault_message\":\"The request is not valid UTF-8.\"}");
}

static void route_log_request(const struct http_request *http, bool is_secret)
{
	if (http->body && !is_secret)
		log_at("fc_api", LOG_INFO, "The API server received a %s request on \"%s\" with body \"%s\".",
		       http_method_title(http->method), http->path, http->body);
	else
		log_at("fc_api", LOG_INFO, "The API server received a %s request on \"%s\".",
		       http_method_title(http->method), http->path);
}

static void route_log_answer(const struct api_answer *answer)
{
	if (answer->status >= 400)
		log_at("fc_api", LOG_ERROR, "Received Error. Status code: %u %s. Message: %s", answer->status,
		       answer->status == 413 ? "Payload Too Large" : "Bad Request", answer->message);
	else
		log_at("fc_api", LOG_INFO, "The request was executed successfully. Status code: %u %s.",
		       answer->status, answer->status == 204 ? "No Content" : "OK");
}

void api_answer_request(struct api_vm *vm, const struct http_request *request, struct http_response *response)
{
	struct api_answer answer = {0};

	route_log_request(request, strncmp(request->path, "/mmds", 5) == 0);
	route_answer(vm, request, &answer, &response->deprecated);
	if (answer.status == 0)
		answer.status = answer.json || answer.text || answer.stream ? 200 : 204;
	route_log_answer(&answer);
	response->status = answer.status;
	response->type = answer.type;
	response->stream = answer.stream;
	response->upgrade = answer.upgrade;
	if (answer.status >= 400)
		response->body = route_fault(answer.message);
	else if (answer.json)
		response->body = json_dumps(answer.json, JSON_COMPACT);
	else
		response->body = answer.text;
	if (response->body != answer.text)
		free(answer.text);
	json_decref(answer.json);
}
