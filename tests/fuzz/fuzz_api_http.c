/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a stream of HTTP requests, in pieces whose sizes the first byte chooses. */
#include <assert.h>
#include <string.h>

#include "api/http_parser.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_BODY_MAX 512

static void fuzz_take(struct http_parser *parser, enum http_event event)
{
	if (event == HTTP_REQUEST) {
		assert(parser->request.path);
		assert(parser->request.body_len <= FUZZ_BODY_MAX);
		assert(!parser->request.body || parser->request.body[parser->request.body_len] == '\0');
		http_request_free(&parser->request);
	}
	assert(event != HTTP_BAD || parser->error[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const headers[] = {"Upgrade", "Accept", NULL};
	const struct http_parser_config config = {.body_max = FUZZ_BODY_MAX, .header = headers};
	struct http_parser parser;
	size_t piece = size ? data[0] + 1u : 1;

	http_parser_init(&parser, &config);
	for (size_t at = 1; at < size;) {
		size_t len = size - at < piece ? size - at : piece;
		size_t used;
		enum http_event event = http_parser_feed(&parser, (const char *)data + at, len, &used);

		assert(used <= len && (event != HTTP_MORE || used == len) && used > 0);
		fuzz_take(&parser, event);
		at += used;
	}
	http_parser_free(&parser);
	return 0;
}
