/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1 requests out of a stream of bytes: a line at a time, then a body of known length. */
#include "api/http_parser.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name, *title;
} http_methods[] = {
	[HTTP_GET] = {"GET", "Get"},
	[HTTP_PUT] = {"PUT", "Put"},
	[HTTP_PATCH] = {"PATCH", "Patch"},
	[HTTP_DELETE] = {"DELETE", "Delete"},
};

const char *http_method_name(enum http_method method)
{
	return http_methods[method].name;
}

const char *http_method_title(enum http_method method)
{
	return http_methods[method].title;
}

void http_request_free(struct http_request *request)
{
	for (size_t i = 0; i < HTTP_HEADERS_MAX; i++)
		free(request->header[i]);
	free(request->path);
	free(request->body);
	*request = (struct http_request){0};
}

void http_parser_init(struct http_parser *parser, const struct http_parser_config *config)
{
	*parser = (struct http_parser){.config = *config};
}

static void http_parser_restart(struct http_parser *parser)
{
	http_request_free(&parser->request);
	parser->state = HTTP_IN_REQUEST_LINE;
	parser->line_len = 0;
	parser->content_length = 0;
	parser->chunked = parser->expects_continue = false;
}

void http_parser_free(struct http_parser *parser)
{
	http_parser_restart(parser);
}

__attribute__((format(printf, 2, 3))) static enum http_event http_bad(struct http_parser *parser,
								      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(parser->error, sizeof(parser->error), format, args);
	va_end(args);
	http_parser_restart(parser);
	return HTTP_BAD;
}

static bool http_is_utf8(const char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)text[i];
		size_t more = c < 0x80 ? 0 : (c & 0xe0) == 0xc0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : 3;

		if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || more >= len - i)
			return false;
		for (size_t k = 1; k <= more; k++) {
			if (((unsigned char)text[i + k] & 0xc0) != 0x80)
				return false;
		}
		i += more + 1;
	}
	return true;
}

static bool http_find_method(const char *name, enum http_method *method)
{
	for (size_t i = 0; i < sizeof(http_methods) / sizeof(http_methods[0]); i++) {
		if (strcmp(http_methods[i].name, name) == 0) {
			*method = (enum http_method)i;
			return true;
		}
	}
	return false;
}

/* The path of "http://host/path" and of "/path"; "" for everything else. */
static const char *http_path_of(const char *uri)
{
	const char *slash;

	if (strncmp(uri, "http://", 7) == 0) {
		slash = strchr(uri + 7, '/');
		return slash ? slash : "";
	}
	return uri[0] == '/' ? uri : "";
}

/* METHOD SP URI SP VERSION, terminated, without CR LF. */
static enum http_event http_take_request_line(struct http_parser *parser)
{
	char *method = parser->line;
	char *uri = strchr(method, ' ');
	char *version = uri ? strchr(uri + 1, ' ') : NULL;

	if (!version || strlen(parser->line) != parser->line_len)
		return http_bad(parser, "Invalid request.");
	*uri++ = '\0';
	*version++ = '\0';
	if (!http_find_method(method, &parser->request.method))
		return http_bad(parser, "Invalid HTTP Method: Unsupported HTTP method.");
	if (!*uri)
		return http_bad(parser, "Invalid URI: Empty URI not allowed.");
	if (!http_is_utf8(uri, strlen(uri)))
		return http_bad(parser, "Invalid URI: Cannot parse URI as UTF-8.");
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return http_bad(parser, "Invalid HTTP Version: Unsupported HTTP version.");
	parser->request.path = strdup(http_path_of(uri));
	if (!parser->request.path)
		return http_bad(parser, "Invalid request.");
	parser->state = HTTP_IN_HEADERS;
	return HTTP_MORE;
}

static char *http_trim(char *text)
{
	size_t len;

	while (isspace((unsigned char)*text))
		text++;
	len = strlen(text);
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		text[--len] = '\0';
	return text;
}

static bool http_parse_length(const char *text, uint32_t *length)
{
	uint64_t value = 0;

	if (*text == '+')
		text++;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value > UINT32_MAX)
			return false;
	}
	*length = (uint32_t)value;
	return true;
}

/* Whether q=0 follows the media range. */
static bool http_is_refused(const char *parameters)
{
	const char *q = strstr(parameters, "q=0");

	if (!q)
		return false;
	for (q += 3; *q == '.' || *q == '0'; q++)
		;
	return *q < '1' || *q > '9';
}

/* Whether the list forbids to send the body as it is: "identity;q=0", or "*;q=0" without identity. */
static bool http_forbids_identity(char *list)
{
	bool any_refused = false, named = false;
	char *rest = NULL;

	for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		char *parameters = strchr(word, ';');
		const char *name;
		bool refused = parameters && http_is_refused(parameters + 1);

		if (parameters)
			*parameters = '\0';
		name = http_trim(word);
		if (strcasecmp(name, "identity") == 0) {
			named = true;
			if (refused)
				return true;
		}
		any_refused |= strcmp(name, "*") == 0 && refused;
	}
	return any_refused && !named;
}

static void http_keep_header(struct http_parser *parser, const char *name, const char *value)
{
	for (size_t i = 0; parser->config.header && parser->config.header[i]; i++) {
		if (strcasecmp(name, parser->config.header[i]) != 0)
			continue;
		free(parser->request.header[i]);
		parser->request.header[i] = strdup(value);
	}
}

static enum http_event http_take_known_header(struct http_parser *parser, const char *name, char *value)
{
	if (strcasecmp(name, "Content-Length") == 0 && !http_parse_length(value, &parser->content_length))
		return http_bad(parser, "Invalid header. Reason: Invalid value. Key:%s; Value:%s", name,
				value);
	if (strcasecmp(name, "Transfer-Encoding") == 0) {
		parser->chunked = strcmp(value, "chunked") == 0;
		if (!parser->chunked && strcmp(value, "identity") != 0)
			return http_bad(parser, "Invalid header. Reason: Unsupported value. Key:%s; Value:%s",
					name, value);
	}
	if (strcasecmp(name, "Expect") == 0 && strcmp(value, "100-continue") == 0)
		parser->expects_continue = true;
	if (strcasecmp(name, "Accept-Encoding") == 0 && http_forbids_identity(value))
		return http_bad(parser, "Invalid header. Reason: Invalid value. Key:%s; Value:%s", name,
				value);
	return HTTP_MORE;
}

static enum http_event http_take_header(struct http_parser *parser)
{
	char *colon = strchr(parser->line, ':');
	const char *name;
	char *value;

	if (!http_is_utf8(parser->line, parser->line_len) || strlen(parser->line) != parser->line_len)
		return http_bad(parser, "Invalid header. Reason: Header contains invalid characters. Key: ");
	if (!colon)
		return http_bad(parser, "Invalid header. Reason: Header is incorrectly formatted. Key: %s",
				parser->line);
	*colon = '\0';
	name = http_trim(parser->line);
	value = http_trim(colon + 1);
	http_keep_header(parser, name, value);
	return http_take_known_header(parser, name, value);
}

/* The empty line behind the headers. */
static enum http_event http_take_headers_end(struct http_parser *parser)
{
	size_t length = parser->content_length;
	bool ask = parser->expects_continue;

	if (length == 0)
		return HTTP_REQUEST;
	if (length > parser->config.body_max) {
		http_bad(parser,
			 "Request payload with size %zu is larger than the limit of %zu allowed by server.",
			 length, parser->config.body_max);
		/* What a client waits to send does not come; the rest does, and is no request. */
		parser->refused = ask ? 0 : length;
		parser->state = ask ? HTTP_IN_REQUEST_LINE : HTTP_IN_REFUSED_BODY;
		return HTTP_BAD;
	}
	parser->request.body = malloc(length + 1);
	if (!parser->request.body)
		return http_bad(parser, "Invalid request.");
	parser->state = HTTP_IN_BODY;
	return ask ? HTTP_CONTINUE : HTTP_MORE;
}

/* A line is complete: parser->line, terminated, without CR LF. */
static enum http_event http_take_line(struct http_parser *parser)
{
	enum http_event event;

	if (parser->state == HTTP_IN_REQUEST_LINE)
		event = http_take_request_line(parser);
	else if (parser->line_len == 0)
		event = http_take_headers_end(parser);
	else
		event = http_take_header(parser);
	parser->line_len = 0;
	return event;
}

static enum http_event http_line_too_long(struct http_parser *parser)
{
	if (parser->state == HTTP_IN_REQUEST_LINE)
		return http_bad(parser, "Invalid request.");
	return http_bad(parser, "Invalid header. Reason: Invalid header size.");
}

static enum http_event http_feed_line(struct http_parser *parser, const char *data, size_t len, size_t *used)
{
	while (*used < len) {
		parser->line[parser->line_len++] = data[(*used)++];
		if (parser->line_len >= 2 && memcmp(parser->line + parser->line_len - 2, "\r\n", 2) == 0) {
			parser->line_len -= 2;
			parser->line[parser->line_len] = '\0';
			return http_take_line(parser);
		}
		if (parser->line_len == HTTP_LINE_MAX)
			return http_line_too_long(parser);
	}
	return HTTP_MORE;
}

static enum http_event http_feed_body(struct http_parser *parser, const char *data, size_t len, size_t *used)
{
	struct http_request *request = &parser->request;
	size_t wanted = parser->content_length - request->body_len;
	size_t part = len - *used < wanted ? len - *used : wanted;

	memcpy(request->body + request->body_len, data + *used, part);
	request->body_len += part;
	*used += part;
	if (request->body_len < parser->content_length)
		return HTTP_MORE;
	request->body[request->body_len] = '\0';
	return HTTP_REQUEST;
}

static void http_feed_refused(struct http_parser *parser, size_t len, size_t *used)
{
	size_t part = len - *used < parser->refused ? len - *used : parser->refused;

	*used += part;
	parser->refused -= part;
	if (parser->refused == 0)
		parser->state = HTTP_IN_REQUEST_LINE;
}

enum http_event http_parser_feed(struct http_parser *parser, const char *data, size_t len, size_t *used)
{
	enum http_event event = HTTP_MORE;

	*used = 0;
	while (event == HTTP_MORE && *used < len) {
		switch (parser->state) {
		case HTTP_IN_REQUEST_LINE:
		case HTTP_IN_HEADERS: event = http_feed_line(parser, data, len, used); break;
		case HTTP_IN_BODY: event = http_feed_body(parser, data, len, used); break;
		case HTTP_IN_REFUSED_BODY: http_feed_refused(parser, len, used); break;
		}
	}
	if (event == HTTP_BAD && parser->state == HTTP_IN_REFUSED_BODY)
		http_feed_refused(parser, len, used);
	if (event == HTTP_BAD)
		*used = len;
	if (event == HTTP_REQUEST) {
		parser->state = HTTP_IN_REQUEST_LINE;
		parser->content_length = 0;
		parser->chunked = parser->expects_continue = false;
	}
	return event;
}
