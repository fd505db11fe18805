/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to the guest: values of the store as text in the way of EC2's metadata service or as JSON, and with
 * version 2 tokens. A token is random and remembered; of very many the oldest is forgotten first.
 */
#include "api/mmds_guest.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/http_server.h"
#include "api/mmds.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/size.h"

#define MMDS_TOKENS_MAX  1024  /* bounds what a guest that only asks for tokens takes */
#define MMDS_TOKEN_BYTES 24    /* random */
#define MMDS_TTL_MAX_S   21600 /* six hours */
#define MMDS_TOKEN_PATH  "/latest/api/token"

enum mmds_header {
	MMDS_TOKEN,
	MMDS_AWS_TOKEN,
	MMDS_TTL,
	MMDS_AWS_TTL,
	MMDS_FORWARDED,
	MMDS_ACCEPT,
	MMDS_HEADERS_COUNT
};
static const char *const mmds_headers[MMDS_HEADERS_COUNT + 1] = {
	[MMDS_TOKEN] = "X-metadata-token",           [MMDS_AWS_TOKEN] = "X-aws-ec2-metadata-token",
	[MMDS_TTL] = "X-metadata-token-ttl-seconds", [MMDS_AWS_TTL] = "X-aws-ec2-metadata-token-ttl-seconds",
	[MMDS_FORWARDED] = "X-Forwarded-For",        [MMDS_ACCEPT] = "Accept",
};

struct mmds_token {
	char text[2 * MMDS_TOKEN_BYTES + 1];
	uint64_t until_ns; /* 0: none */
};

struct mmds_guest {
	struct mmds *mmds;
	struct http_server *http;
	struct mmds_token token[MMDS_TOKENS_MAX];
	unsigned next;
};

static void mmds_answer(struct http_response *response, unsigned status, const char *type, char *body)
{
	response->status = status;
	response->type = type;
	response->body = body;
}

__attribute__((format(printf, 3, 4))) static void mmds_refuse(struct http_response *response, unsigned status,
							      const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	mmds_answer(response, status, "text/plain", text);
}

/* --- tokens */

static bool mmds_make_token(struct mmds_guest *guest, uint64_t ttl_s, const char **text)
{
	struct mmds_token *token = &guest->token[guest->next];
	uint8_t random[MMDS_TOKEN_BYTES];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return false;
	guest->next = (guest->next + 1) % MMDS_TOKENS_MAX;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(token->text + 2 * i, 3, "%02x", random[i]);
	token->until_ns = clock_monotonic_ns() + ttl_s * NS_PER_S;
	*text = token->text;
	return true;
}

/* Whether two texts of a token's length are equal, in a time that tells nothing of where they differ. */
static bool mmds_same(const char *a, const char *b)
{
	unsigned char difference = 0;

	if (strlen(a) != strlen(b))
		return false;
	for (; *a; a++, b++)
		difference |= (unsigned char)(*a ^ *b);
	return difference == 0;
}

static bool mmds_knows(const struct mmds_guest *guest, const char *text)
{
	uint64_t now_ns = clock_monotonic_ns();

	for (unsigned i = 0; i < MMDS_TOKENS_MAX; i++) {
		if (guest->token[i].until_ns > now_ns && mmds_same(guest->token[i].text, text))
			return true;
	}
	return false;
}

static void mmds_put_token(struct mmds_guest *guest, const struct http_request *request,
			   struct http_response *response)
{
	const char *ttl =
		request->header[MMDS_TTL] ? request->header[MMDS_TTL] : request->header[MMDS_AWS_TTL];
	const char *token;
	uint64_t ttl_s = 0;

	if (strcmp(request->path, MMDS_TOKEN_PATH) != 0)
		mmds_refuse(response, 404, "Resource not found: %s.", request->path);
	else if (request->header[MMDS_FORWARDED])
		mmds_refuse(response, 400,
			    "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For");
	else if (!ttl)
		mmds_refuse(response, 400,
			    "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or "
			    "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.");
	else if (number_parse(ttl, &ttl_s, NULL) < 0 || ttl_s < 1 || ttl_s > MMDS_TTL_MAX_S)
		mmds_refuse(
			response, 400,
			"Invalid time to live value provided for token: %s. Please provide a value between 1 "
			"and %d.",
			ttl, MMDS_TTL_MAX_S);
	else if (!mmds_make_token(guest, ttl_s, &token))
		mmds_refuse(response, 501, "No random numbers.");
	else
		mmds_answer(response, 200, "text/plain", strdup(token));
}

/* --- values */

static json_t *mmds_member(json_t *value, const char *name)
{
	uint64_t index;

	if (json_is_object(value))
		return json_object_get(value, name);
	if (json_is_array(value) && number_parse(name, &index, NULL) == 0)
		return json_array_get(value, index);
	return NULL;
}

/* RFC 6901, section 3: ~1 is a slash, ~0 a tilde. */
static void mmds_unescape(char *name)
{
	char *to = name;

	for (const char *from = name; *from; from++) {
		if (from[0] == '~' && (from[1] == '0' || from[1] == '1'))
			*to++ = *++from == '0' ? '~' : '/';
		else
			*to++ = *from;
	}
	*to = '\0';
}

/* The value that a path names; slashes at its end and doubled ones mean nothing. Borrowed; NULL: none. */
static json_t *mmds_find(json_t *store, const char *path)
{
	char copy[HTTP_LINE_MAX];
	char *rest = NULL;
	json_t *value = store;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &rest); name && value; name = strtok_r(NULL, "/", &rest)) {
		mmds_unescape(name);
		value = mmds_member(value, name);
	}
	return value;
}

/* An object's keys, a line each; those of objects end with a slash. */
static char *mmds_list(json_t *object)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	const char *key, *separator = "";
	json_t *value;

	if (!out)
		return NULL;
	json_object_foreach(object, key, value)
	{
		fprintf(out, "%s%s%s", separator, key, json_is_object(value) ? "/" : "");
		separator = "\n";
	}
	fclose(out);
	return text;
}

static void mmds_get_value(struct mmds_guest *guest, const struct http_request *request,
			   struct http_response *response)
{
	json_t *value = mmds_find(mmds_get(guest->mmds), request->path);
	const char *accept = request->header[MMDS_ACCEPT];
	bool as_json = accept && strstr(accept, "application/json") && !mmds_is_imds_compat(guest->mmds);

	if (!value)
		mmds_refuse(response, 404, "Resource not found: %s.", request->path);
	else if (as_json)
		mmds_answer(response, 200, "application/json",
			    json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY));
	else if (json_is_object(value))
		mmds_answer(response, 200, "text/plain", mmds_list(value));
	else if (json_is_string(value))
		mmds_answer(response, 200, "text/plain", strdup(json_string_value(value)));
	else
		mmds_refuse(response, 501, "Cannot retrieve value. The value has an unsupported type.");
}

/* Version 2 wants a token that holds. */
static bool mmds_admits(struct mmds_guest *guest, const struct http_request *request,
			struct http_response *response)
{
	const char *token =
		request->header[MMDS_TOKEN] ? request->header[MMDS_TOKEN] : request->header[MMDS_AWS_TOKEN];

	if (mmds_get_version(guest->mmds) == MMDS_V1 || (token && mmds_knows(guest, token)))
		return true;
	if (token)
		mmds_refuse(response, 401, "MMDS token not valid.");
	else
		mmds_refuse(
			response, 401,
			"No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header "
			"to specify the session token.");
	return false;
}

static void mmds_handle(void *opaque, const struct http_request *request, struct http_response *response)
{
	struct mmds_guest *guest = opaque;

	switch (request->method) {
	case HTTP_GET:
		if (mmds_admits(guest, request, response))
			mmds_get_value(guest, request, response);
		return;
	case HTTP_PUT: mmds_put_token(guest, request, response); return;
	case HTTP_PATCH:
	case HTTP_DELETE:
		mmds_refuse(response, 405, "Not allowed HTTP method.");
		response->allow = "GET, PUT";
		return;
	}
}

struct mmds_guest *mmds_guest_create(struct loop *loop, struct mmds *mmds, const char *path, struct err *err)
{
	struct mmds_guest *guest = calloc(1, sizeof(*guest));
	const struct http_server_config config = {
		.path = path,
		.name = "MMDS",
		.parser = {.body_max = 0, .header = mmds_headers},
		.handle = mmds_handle,
		.opaque = guest,
	};

	if (!guest) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	guest->mmds = mmds;
	guest->http = http_server_create(loop, &config, err);
	if (guest->http)
		return guest;
	free(guest);
	return NULL;
}

void mmds_guest_destroy(struct mmds_guest *guest)
{
	if (!guest)
		return;
	http_server_destroy(guest->http);
	free(guest);
}
